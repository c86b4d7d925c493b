#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * gp_hash64() - SipHash-2-4 under a key of ours that everybody knows
 *
 * For tables that gateways have in common: the same on every machine, and a
 * second text of the same hash costs 2^64 tries. No secret may rest on it.
 */
uint64_t gp_hash64(const void *data, size_t len, uint64_t salt);

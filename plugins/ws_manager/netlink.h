#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * What we ask the kernel directly, because a shell-out costs 10 ms on the path of
 * a start: the bridge, isolating its ports, and what rules our table holds.
 */
int wsm_netlink_isolate_port(const char *port, gp_err_t *err);

/* The bridge is there, up, with this MAC and IPv4 address (network byte order): made or put right. */
int wsm_netlink_bridge(const char *name, const uint8_t mac[6], uint32_t address, int prefix, gp_err_t *err);

/* A digest of all rules of table inet `table`; *ret_n how many. 0 rules when there is no such table. */
int wsm_netlink_rules(const char *table, uint64_t *ret_digest, int *ret_n, gp_err_t *err);

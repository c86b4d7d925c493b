#pragma once

#include <stddef.h>
#include <stdint.h>

/* Writes 2 * len lower-case digits to dst; no NUL. */
void gp_hex_encode(const uint8_t *src, size_t len, char *dst);

/* len must be even; writes len / 2 bytes. Both cases are taken. 0, or -GP_INVALID_ARGUMENT. */
int gp_hex_decode(const char *src, size_t len, uint8_t *dst);

#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Envelopes of Connect streams: one flag byte, four bytes of length (big
 * endian), payload. The last one of a stream has GP_CONNECT_END and JSON.
 */
#define GP_CONNECT_HEADER_LEN 5
#define GP_CONNECT_COMPRESSED 0x01
#define GP_CONNECT_END 0x02

#define GP_CONNECT_MORE 1 /* outcome: the envelope is not complete yet */

typedef struct {
    uint8_t flags;
    const uint8_t *payload; /* borrowed from the input */
    size_t payload_len;
    size_t total_len; /* header and payload: what to drop from the input */
} gp_connect_envelope_t;

void gp_connect_put_header(uint8_t out[GP_CONNECT_HEADER_LEN], uint8_t flags, uint32_t payload_len);

/*
 * gp_connect_envelope_parse() - the envelope at the start of the input
 *
 * 0; +GP_CONNECT_MORE; -GP_RESOURCE_EXHAUSTED: longer than limit;
 * -GP_UNIMPLEMENTED: compressed, which was not asked for; -GP_INVALID_ARGUMENT:
 * flags nobody defined.
 */
int gp_connect_envelope_parse(const uint8_t *bytes, size_t len, size_t limit, gp_connect_envelope_t *ret_envelope)
    __attribute__((warn_unused_result));

/* Connect-Timeout-Ms: 1 to 10 digits. 0 and *ret_ms, or -GP_INVALID_ARGUMENT. */
int gp_connect_timeout_parse(const char *text, uint64_t *ret_ms) __attribute__((warn_unused_result));

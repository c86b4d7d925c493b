#include "core/code.h"
#include "wire/connect.h"

#define GP_CONNECT_TIMEOUT_DIGITS 10 /* the protocol's bound */


void gp_connect_put_header(uint8_t out[GP_CONNECT_HEADER_LEN], uint8_t flags, uint32_t payload_len)
{
    out[0] = flags;
    out[1] = (uint8_t) (payload_len >> 24);
    out[2] = (uint8_t) (payload_len >> 16);
    out[3] = (uint8_t) (payload_len >> 8);
    out[4] = (uint8_t) payload_len;
}


int gp_connect_envelope_parse(const uint8_t *bytes, size_t len, size_t limit, gp_connect_envelope_t *ret_envelope)
{
    size_t payload_len;

    if (len > 0 && (bytes[0] & ~(GP_CONNECT_COMPRESSED | GP_CONNECT_END)) != 0) {
        return -GP_INVALID_ARGUMENT;
    }

    if (len < GP_CONNECT_HEADER_LEN) {
        return GP_CONNECT_MORE;
    }

    payload_len = (size_t) bytes[1] << 24 | (size_t) bytes[2] << 16 | (size_t) bytes[3] << 8 | bytes[4];
    if (payload_len > limit) {
        return -GP_RESOURCE_EXHAUSTED;
    }

    if (bytes[0] & GP_CONNECT_COMPRESSED) {
        return -GP_UNIMPLEMENTED;
    }

    if (len - GP_CONNECT_HEADER_LEN < payload_len) {
        return GP_CONNECT_MORE;
    }

    ret_envelope->flags = bytes[0];
    ret_envelope->payload = bytes + GP_CONNECT_HEADER_LEN;
    ret_envelope->payload_len = payload_len;
    ret_envelope->total_len = GP_CONNECT_HEADER_LEN + payload_len;

    return 0;
}


int gp_connect_timeout_parse(const char *text, uint64_t *ret_ms)
{
    uint64_t ms;
    int n;

    ms = 0;
    for (n = 0; text[n] != '\0'; n++) {
        if (text[n] < '0' || text[n] > '9' || n == GP_CONNECT_TIMEOUT_DIGITS) {
            return -GP_INVALID_ARGUMENT;
        }
        ms = ms * 10 + (uint64_t) (text[n] - '0');
    }

    if (n == 0) {
        return -GP_INVALID_ARGUMENT;
    }

    *ret_ms = ms;

    return 0;
}

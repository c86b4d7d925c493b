#include "core/base64url.h"
#include "core/code.h"


size_t gp_base64url_encode(const uint8_t *src, size_t len, char *dst)
{
    static const char table[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    uint32_t bits;
    size_t i, left;
    char *p;

    p = dst;
    for (i = 0; i < len; i += 3) {
        left = len - i;
        bits = (uint32_t) src[i] << 16;
        if (left > 1) {
            bits |= (uint32_t) src[i + 1] << 8;
        }
        if (left > 2) {
            bits |= src[i + 2];
        }

        *p++ = table[bits >> 18];
        *p++ = table[(bits >> 12) & 0x3f];
        if (left > 1) {
            *p++ = table[(bits >> 6) & 0x3f];
        }
        if (left > 2) {
            *p++ = table[bits & 0x3f];
        }
    }

    return (size_t) (p - dst);
}


static int gp_base64url_value(char ch)
{
    if (ch >= 'A' && ch <= 'Z') {
        return ch - 'A';
    }

    if (ch >= 'a' && ch <= 'z') {
        return ch - 'a' + 26;
    }

    if (ch >= '0' && ch <= '9') {
        return ch - '0' + 52;
    }

    if (ch == '-') {
        return 62;
    }

    return ch == '_' ? 63 : -1;
}


int gp_base64url_decode(const char *src, size_t len, uint8_t *dst, size_t *ret_len)
{
    uint32_t bits;
    size_t i, n;
    int value, have;

    if (len % 4 == 1) {
        return -GP_INVALID_ARGUMENT;
    }

    bits = 0;
    have = 0;
    n = 0;
    for (i = 0; i < len; i++) {
        value = gp_base64url_value(src[i]);
        if (value < 0) {
            return -GP_INVALID_ARGUMENT;
        }

        bits = ((bits << 6) | (uint32_t) value) & 0xffff;
        have += 6;
        if (have >= 8) {
            have -= 8;
            dst[n++] = (uint8_t) (bits >> have);
            bits &= (1u << have) - 1;
        }
    }

    if (bits != 0) {
        return -GP_INVALID_ARGUMENT;
    }

    *ret_len = n;

    return 0;
}

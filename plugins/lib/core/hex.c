#include "core/hex.h"
#include "core/code.h"


void gp_hex_encode(const uint8_t *src, size_t len, char *dst)
{
    static const char digits[] = "0123456789abcdef";

    size_t i;

    for (i = 0; i < len; i++) {
        dst[2 * i] = digits[src[i] >> 4];
        dst[2 * i + 1] = digits[src[i] & 0x0f];
    }
}


static int gp_hex_value(char ch)
{
    if (ch >= '0' && ch <= '9') {
        return ch - '0';
    }

    if (ch >= 'a' && ch <= 'f') {
        return ch - 'a' + 10;
    }

    if (ch >= 'A' && ch <= 'F') {
        return ch - 'A' + 10;
    }

    return -1;
}


int gp_hex_decode(const char *src, size_t len, uint8_t *dst)
{
    size_t i;
    int high, low;

    if (len % 2 != 0) {
        return -GP_INVALID_ARGUMENT;
    }

    for (i = 0; i < len / 2; i++) {
        high = gp_hex_value(src[2 * i]);
        low = gp_hex_value(src[2 * i + 1]);
        if (high < 0 || low < 0) {
            return -GP_INVALID_ARGUMENT;
        }
        dst[i] = (uint8_t) (high * 16 + low);
    }

    return 0;
}

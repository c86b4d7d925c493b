#include <stdint.h>
#include <string.h>

#include "rpc/utf8.h"


/* Bytes of the character at p, 0 when it is none. */
static size_t gp_utf8_char(const uint8_t *p, size_t left)
{
    uint8_t low = 0x80, high = 0xbf;
    size_t n, i;

    if (p[0] < 0x80) {
        return 1;
    }
    if (p[0] < 0xc2 || p[0] > 0xf4) {
        return 0;
    }

    n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (n > left) {
        return 0;
    }

    low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : low;
    high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : high;
    if (p[1] < low || p[1] > high) {
        return 0;
    }
    for (i = 2; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }

    return n;
}


bool gp_utf8_valid(const char *s, size_t len)
{
    const uint8_t *p = (const uint8_t *) s;
    size_t n;

    while (len > 0) {
        n = gp_utf8_char(p, len);
        if (n == 0) {
            return false;
        }
        p += n;
        len -= n;
    }

    return true;
}


const char *gp_utf8_repair(gp_arena_t *arena, const char *s)
{
    static const char replacement[] = "\xef\xbf\xbd";
    const uint8_t *p = (const uint8_t *) s;
    size_t len = strlen(s), n, used = 0;
    char *copy;

    if (gp_utf8_valid(s, len)) {
        return s;
    }

    copy = gp_arena_alloc(arena, len * 3 + 1);
    while (len > 0) {
        n = gp_utf8_char(p, len);
        if (n > 0) {
            memcpy(copy + used, p, n);
            used += n;
        } else {
            n = 1;
            memcpy(copy + used, replacement, 3);
            used += 3;
        }
        p += n;
        len -= n;
    }

    return copy;
}

#include <string.h>

#include "core/hex.h"
#include "rpc/form.h"


/* Percent-decoding of a form field: '+' is a space. NULL: a bad escape or a NUL. */
static char *gp_form_decode(gp_arena_t *arena, const char *text, size_t len)
{
    uint8_t byte;
    char *out;
    size_t i, n;

    out = gp_arena_alloc(arena, len + 1);
    n = 0;
    for (i = 0; i < len; i++) {
        if (text[i] == '+') {
            out[n++] = ' ';
            continue;
        }
        if (text[i] != '%') {
            out[n++] = text[i];
            continue;
        }

        if (len - i < 3 || gp_hex_decode(text + i + 1, 2, &byte) != 0 || byte == 0) {
            return NULL;
        }
        out[n++] = (char) byte;
        i += 2;
    }
    out[n] = '\0';

    return out;
}


char *gp_form_find(gp_arena_t *arena, const char *text, size_t len, const char *name)
{
    const char *end, *stop, *equal;
    size_t name_len;

    name_len = strlen(name);
    for (end = text + len; text < end; text = stop + 1) {
        stop = memchr(text, '&', (size_t) (end - text));
        stop = stop ? stop : end;
        equal = memchr(text, '=', (size_t) (stop - text));

        if (equal != NULL && (size_t) (equal - text) == name_len && memcmp(text, name, name_len) == 0) {
            return gp_form_decode(arena, equal + 1, (size_t) (stop - equal - 1));
        }
    }

    return NULL;
}

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/glob.h"

/*
 * Pattern, NUL, text. A table that fills row by row knows the answer; it is
 * slow, so long inputs are only run.
 */

#define PLAIN_MAX 256 /* bytes of either, to be compared */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static bool plain(const char *pattern, size_t pattern_len, const char *text, size_t len)
{
    static bool fits[PLAIN_MAX + 1][PLAIN_MAX + 1];
    size_t p, t;

    for (p = 0; p <= pattern_len; p++) {
        for (t = 0; t <= len; t++) {
            if (p == 0) {
                fits[p][t] = t == 0;
            } else if (pattern[p - 1] == '*') {
                fits[p][t] = fits[p - 1][t] || (t > 0 && fits[p][t - 1]);
            } else {
                fits[p][t] = t > 0 && fits[p - 1][t - 1] && pattern[p - 1] == text[t - 1];
            }
        }
    }

    return fits[pattern_len][len];
}


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *pattern = (const char *) data, *text;
    size_t pattern_len, len;
    bool got;

    if (size == 0 || memchr(data, '\0', size) == NULL) {
        return 0;
    }
    pattern_len = strlen(pattern);
    text = pattern + pattern_len + 1;
    len = size - pattern_len - 1;

    got = gp_glob_match(pattern, pattern_len, text, len);
    if (pattern_len <= PLAIN_MAX && len <= PLAIN_MAX && got != plain(pattern, pattern_len, text, len)) {
        abort();
    }

    return 0;
}

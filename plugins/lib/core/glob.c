#include "core/glob.h"


/* On a mismatch the last star takes one character more; earlier ones never need to. */
bool gp_glob_match(const char *pattern, size_t pattern_len, const char *text, size_t len)
{
    size_t p = 0, t = 0, star = 0, from = 0;
    bool starred = false;

    while (t < len) {
        if (p < pattern_len && pattern[p] == '*') {
            starred = true;
            star = ++p;
            from = t;
        } else if (p < pattern_len && pattern[p] == text[t]) {
            p++;
            t++;
        } else if (starred) {
            p = star;
            t = ++from;
        } else {
            return false;
        }
    }

    while (p < pattern_len && pattern[p] == '*') {
        p++;
    }

    return p == pattern_len;
}

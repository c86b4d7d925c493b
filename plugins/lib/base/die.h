#pragma once

/* Out of memory or a broken invariant: one log line, then abort(). Never for input. */
void gp_die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Stays on in release. */
#define gp_assert(cond)                                                                                                                    \
    do {                                                                                                                                   \
        if (__builtin_expect(!(cond), 0)) {                                                                                                \
            gp_die("%s:%d: assertion failed: %s", __FILE__, __LINE__, #cond);                                                              \
        }                                                                                                                                  \
    } while (0)

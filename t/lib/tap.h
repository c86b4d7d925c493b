#pragma once

/*
 * TAP for compiled tests, run by prove. Each text is a sentence that is false
 * when it fails. main ends with `return tap_done();`.
 */
#include <stdio.h>
#include <stdarg.h>
#include <string.h>

static int tap_n, tap_failed;

__attribute__((format(printf, 4, 5), unused)) static int tap_check(int ok, const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    tap_n++;
    printf("%sok %d - ", ok ? "" : "not ", tap_n);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    if (!ok) {
        tap_failed++;
        printf("#   failed at %s:%d\n", file, line);
    }
    fflush(stdout);
    return ok;
}

#define ok(cond, ...) tap_check(!!(cond), __FILE__, __LINE__, __VA_ARGS__)

__attribute__((unused)) static int tap_is_str(const char *got, const char *want, const char *file, int line, const char *text)
{
    int same = got != NULL && want != NULL && strcmp(got, want) == 0;

    tap_check(same, file, line, "%s", text);
    if (!same) {
        printf("#   got:  %s\n#   want: %s\n", got ? got : "(null)", want ? want : "(null)");
    }
    return same;
}

#define is_str(got, want, text) tap_is_str((got), (want), __FILE__, __LINE__, (text))

__attribute__((unused)) static int tap_is_int(long long got, long long want, const char *file, int line, const char *text)
{
    tap_check(got == want, file, line, "%s", text);
    if (got != want) {
        printf("#   got:  %lld\n#   want: %lld\n", got, want);
    }
    return got == want;
}

#define is_int(got, want, text) tap_is_int((long long) (got), (long long) (want), __FILE__, __LINE__, (text))

__attribute__((unused)) static int tap_done(void)
{
    printf("1..%d\n", tap_n);
    return tap_failed ? 1 : 0;
}

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/cookie.h"

/*
 * A Set-Cookie of a workspace: what the browser gets has the name of that
 * workspace, has no Domain, comes back as it was set, and to no other. The same
 * bytes as a line that a browser sends.
 */
#define MAX 4096

static const char id[] = "amber-fox-1", other[] = "amber-fox-10";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void back(const char *text, const char *line, size_t len)
{
    const char *end = memchr(line, ';', len), *from = text;
    size_t pair = end == NULL ? len : (size_t) (end - line), n;
    char *got = malloc(pair);

    n = gp_cookie_in(line, pair, id, sizeof(id) - 1, got);
    while (*from == ' ' || *from == '\t') {
        from++;
    }
    /* a promise within a promise that was none is not believed; all else is the same again */
    if (n > 0 && memcmp(got, from, n) != 0) {
        abort();
    }
    if (gp_cookie_in(line, pair, other, sizeof(other) - 1, got) != 0) {
        abort();
    }
    free(got);
}


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *) data;
    char *dst;
    size_t n;

    if (size > MAX) {
        return 0;
    }

    dst = malloc(size + GP_COOKIE_GROWTH);
    n = gp_cookie_out(text, size, id, sizeof(id) - 1, dst);
    if (n > size + GP_COOKIE_GROWTH) {
        abort();
    }
    if (n > 0) {
        back(text, dst, n);
    }
    free(dst);

    dst = malloc(size + 1);
    n = gp_cookie_in(text, size, id, sizeof(id) - 1, dst);
    if (n > size || (n > 0 && (memchr(dst, '=', n) == NULL || gp_cookie_ours(dst, (size_t) ((char *) memchr(dst, '=', n) - dst))))) {
        abort();
    }
    free(dst);

    return 0;
}

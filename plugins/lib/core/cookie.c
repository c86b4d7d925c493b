#include <string.h>

#include "core/cookie.h"

#define COOKIE_LISTENER_DIGITS 5 /* 65535 */


static char cookie_lower(char ch)
{
    return (char) ((ch >= 'A' && ch <= 'Z') ? ch | 0x20 : ch);
}


/* Whether text begins with a word in lower case, whatever its own case. */
static bool cookie_begins(const char *text, size_t len, const char *word)
{
    size_t i;

    for (i = 0; word[i] != '\0'; i++) {
        if (i == len || cookie_lower(text[i]) != word[i]) {
            return false;
        }
    }

    return true;
}


/* The length of a prefix that browsers take as a promise, 0: there is none. */
static size_t cookie_promise(const char *name, size_t len)
{
    static const char *const promises[] = {"__host-", "__secure-"};
    size_t i;

    for (i = 0; i < sizeof(promises) / sizeof(promises[0]); i++) {
        if (cookie_begins(name, len, promises[i])) {
            return strlen(promises[i]);
        }
    }

    return 0;
}


static const char *cookie_skip(const char *p, const char *last)
{
    while (p < last && (*p == ' ' || *p == '\t')) {
        p++;
    }

    return p;
}


static const char *cookie_find(const char *p, const char *last, char ch)
{
    const char *found = p < last ? memchr(p, ch, (size_t) (last - p)) : NULL;

    return found == NULL ? last : found;
}


static size_t cookie_name_len(const char *name, const char *end)
{
    while (end > name && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }

    return (size_t) (end - name);
}


/* Nothing, or "_" and the number of a listener. */
static bool cookie_listener(const char *p, size_t len)
{
    size_t i;

    if (len == 0) {
        return true;
    }

    if (*p != '_' || len < 2 || len > COOKIE_LISTENER_DIGITS + 1) {
        return false;
    }

    for (i = 1; i < len; i++) {
        if (p[i] < '0' || p[i] > '9') {
            return false;
        }
    }

    return true;
}


bool gp_cookie_ours(const char *name, size_t len)
{
    static const char *const names[] = {GP_COOKIE_SESSION, GP_COOKIE_WORKSPACE, GP_COOKIE_NONCE, GP_COOKIE_ORIGIN};
    size_t promise = cookie_promise(name, len);
    size_t i, base;

    name += promise;
    len -= promise;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        base = strlen(names[i]);
        if (cookie_begins(name, len, names[i]) && cookie_listener(name + base, len - base)) {
            return true;
        }
    }

    return false;
}


static char *cookie_put(char *dst, const char *from, size_t len)
{
    memcpy(dst, from, len);

    return dst + len;
}


/* "; attribute" after "; attribute", but for Domain. */
static char *cookie_attributes(const char *p, const char *last, char *dst)
{
    const char *end, *name;

    while (p < last) {
        end = cookie_find(p + 1, last, ';');
        name = cookie_skip(p + 1, end);
        if (cookie_name_len(name, cookie_find(name, end, '=')) != sizeof("domain") - 1 ||
            !cookie_begins(name, (size_t) (end - name), "domain")) {
            dst = cookie_put(dst, p, (size_t) (end - p));
        }
        p = end;
    }

    return dst;
}


size_t gp_cookie_out(const char *line, size_t len, const char *id, size_t id_len, char *dst)
{
    const char *last = line + len;
    const char *end = cookie_find(line, last, ';');
    const char *name = cookie_skip(line, end);
    const char *eq = cookie_find(name, end, '=');
    size_t name_len = cookie_name_len(name, eq);
    size_t promise = cookie_promise(name, name_len);
    char *p = dst;

    /* without "=" it is a value without a name: it would come back as "name=value" of anybody */
    if (eq == end || name_len == 0 || gp_cookie_ours(name, name_len)) {
        return 0;
    }

    p = cookie_put(p, name, promise);
    p = cookie_put(p, GP_COOKIE_APPLICATION, sizeof(GP_COOKIE_APPLICATION) - 1);
    p = cookie_put(p, id, id_len);
    *p++ = '.';
    p = cookie_put(p, name + promise, (size_t) (end - name) - promise);

    return (size_t) (cookie_attributes(end, last, p) - dst);
}


size_t gp_cookie_in(const char *pair, size_t len, const char *id, size_t id_len, char *dst)
{
    const char *last = pair + len;
    const char *name = cookie_skip(pair, last);
    const char *eq = cookie_find(name, last, '=');
    size_t name_len = cookie_name_len(name, eq);
    size_t promise = cookie_promise(name, name_len);
    size_t prefix = sizeof(GP_COOKIE_APPLICATION) - 1 + id_len + 1;
    const char *rest = name + promise;
    size_t rest_len = name_len - promise;
    char *p = dst;

    if (eq == last || id_len == 0 || rest_len < prefix || memcmp(rest, GP_COOKIE_APPLICATION, sizeof(GP_COOKIE_APPLICATION) - 1) != 0 ||
        memcmp(rest + sizeof(GP_COOKIE_APPLICATION) - 1, id, id_len) != 0 || rest[prefix - 1] != '.') {
        return 0;
    }
    rest += prefix;
    rest_len -= prefix;

    /* a script can write any name: none of ours, and no promise that the browser did not hear */
    if (gp_cookie_ours(rest, rest_len) || (promise == 0 && cookie_promise(rest, rest_len) > 0)) {
        return 0;
    }

    p = cookie_put(p, name, promise);
    p = cookie_put(p, rest, (size_t) (last - rest));

    return (size_t) (p - dst);
}

#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/code.h"
#include "core/contract.h"
#include "core/hex.h"
#include "rpc/internal.h"

/* A call is the first member of its exchange. */
static const gp_exchange_t *gp_call_exchange(const gp_call_t *call)
{
    return (const gp_exchange_t *) call;
}


const char *gp_call_param(const gp_call_t *call, const char *name)
{
    return gp_fcgi_request_param(gp_call_exchange(call)->req, name);
}


bool gp_call_flag(const gp_call_t *call, const char *name)
{
    const char *flags = gp_call_param(call, GP_PARAM_FLAGS);
    size_t len = strlen(name), n;

    for (; flags != NULL && *flags != '\0'; flags += n + (flags[n] == ' ')) {
        n = strcspn(flags, " ");
        if (n == len && memcmp(flags, name, len) == 0) {
            return true;
        }
    }

    return false;
}


bool gp_call_cancelled(const gp_call_t *call)
{
    return gp_fcgi_request_gone(gp_call_exchange(call)->req) || gp_service_stopping(call->service) ||
           (call->deadline_ms != 0 && gp_clock_ms() >= call->deadline_ms);
}


const void *gp_call_body(const gp_call_t *call, size_t *ret_len)
{
    return gp_fcgi_request_body(gp_call_exchange(call)->req, ret_len);
}


/* RFC 9110 5.6.2 for names; values without what could end the line. */
static bool gp_header_valid(const char *name, const char *value)
{
    static const char token[] = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    return name[0] != '\0' && name[strspn(name, token)] == '\0' && value[strcspn(value, "\r\n")] == '\0';
}


void gp_http_reply_header(gp_call_t *call, gp_http_reply_t *reply, const char *name, const char *value)
{
    gp_exchange_t *exchange = (gp_exchange_t *) call;
    gp_reply_header_t *header, **last;

    (void) reply;
    if (!gp_header_valid(name, value)) {
        gp_log(GP_LOG_ERROR, "dropped a reply header that is not well formed", "header", name, "method", call->method, NULL);
        return;
    }

    header = gp_arena_alloc(call->arena, sizeof(gp_reply_header_t));
    header->name = gp_arena_strdup(call->arena, name);
    header->value = gp_arena_strdup(call->arena, value);

    /* in the order given: Set-Cookie may come twice */
    for (last = &exchange->headers; *last != NULL; last = &(*last)->next) {
    }
    *last = header;
}


/* Percent-decoding of a form field: '+' is a space. NULL: a bad escape or a NUL. */
static char *gp_query_decode(gp_arena_t *arena, const char *text, size_t len)
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


/* The field of that name in "a=b&c=d". Names are compared as they are written. */
static char *gp_query_find(gp_arena_t *arena, const char *text, size_t len, const char *name)
{
    const char *end, *stop, *equal;
    size_t name_len;

    name_len = strlen(name);
    for (end = text + len; text < end; text = stop + 1) {
        stop = memchr(text, '&', (size_t) (end - text));
        stop = stop ? stop : end;
        equal = memchr(text, '=', (size_t) (stop - text));

        if (equal != NULL && (size_t) (equal - text) == name_len && memcmp(text, name, name_len) == 0) {
            return gp_query_decode(arena, equal + 1, (size_t) (stop - equal - 1));
        }
    }

    return NULL;
}


char *gp_call_query(const gp_call_t *call, const char *name)
{
    static const char form[] = "application/x-www-form-urlencoded";

    const char *type;
    const void *body;
    char *value;
    size_t len;

    value = gp_query_find(call->arena, call->query, strlen(call->query), name);
    if (value != NULL) {
        return value;
    }

    type = gp_call_param(call, "CONTENT_TYPE");
    if (type == NULL || strncasecmp(type, form, sizeof(form) - 1) != 0) {
        return NULL;
    }

    body = gp_call_body(call, &len);

    return gp_query_find(call->arena, body, len, name);
}


const char *gp_call_cookie(const gp_call_t *call, const char *name, int *ret_n)
{
    const char *p, *end, *value;
    size_t name_len;

    *ret_n = 0;
    value = NULL;
    name_len = strlen(name);
    p = gp_call_param(call, "HTTP_COOKIE");

    while (p != NULL && *p != '\0') {
        p += strspn(p, "; \t");
        end = p + strcspn(p, ";");

        if ((size_t) (end - p) > name_len && p[name_len] == '=' && memcmp(p, name, name_len) == 0) {
            *ret_n += 1;
            if (value == NULL) {
                value = gp_arena_strndup(call->arena, p + name_len + 1, (size_t) (end - p) - name_len - 1);
            }
        }
        p = end;
    }

    return value;
}

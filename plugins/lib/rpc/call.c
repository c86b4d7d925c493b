#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/code.h"
#include "core/contract.h"
#include "rpc/form.h"
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


char *gp_call_query(const gp_call_t *call, const char *name)
{
    static const char form[] = "application/x-www-form-urlencoded";

    const char *type;
    const void *body;
    char *value;
    size_t len;

    value = gp_form_find(call->arena, call->query, strlen(call->query), name);
    if (value != NULL) {
        return value;
    }

    type = gp_call_param(call, "CONTENT_TYPE");
    if (type == NULL || strncasecmp(type, form, sizeof(form) - 1) != 0) {
        return NULL;
    }

    body = gp_call_body(call, &len);

    return gp_form_find(call->arena, body, len, name);
}

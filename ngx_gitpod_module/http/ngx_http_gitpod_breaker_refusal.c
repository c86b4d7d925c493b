
/*
 * What a request gets that a breaker has refused: the fallback, or a 503 that
 * says why and when to come again.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_gitpod_request.h"
#include "ngx_http_gitpod_breaker.h"


#define NGX_HTTP_GITPOD_BREAKER_TEXT  256     /* bytes of a message */


static void ngx_http_gitpod_breaker_answer(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_breaker_fallback(ngx_http_request_t *r,
    ngx_http_gitpod_breaker_ctx_t *ctx);
static ngx_int_t ngx_http_gitpod_breaker_refuse(ngx_http_request_t *r,
    ngx_http_gitpod_breaker_ctx_t *ctx);


/*
 * nginx is about to send its page.  Without a body to send it lets go of the
 * request, which we hold; what we do with it begins when all of this returned.
 */

ngx_int_t
ngx_http_gitpod_breaker_divert(ngx_http_request_t *r,
    ngx_http_gitpod_breaker_ctx_t *ctx)
{
    if (ngx_http_post_request(r, NULL) != NGX_OK) {
        return NGX_ERROR;
    }

    ctx->diverted = 1;
    ctx->header_only = r->header_only;

    r->header_only = 1;
    r->write_event_handler = ngx_http_gitpod_breaker_answer;
    r->main->count++;

    return NGX_DONE;
}


static void
ngx_http_gitpod_breaker_answer(ngx_http_request_t *r)
{
    ngx_int_t                       rc;
    ngx_http_gitpod_breaker_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gitpod_breaker_module);

    /* as if nothing had been said yet */

    r->header_only = ctx->header_only;
    r->err_status = 0;
    r->headers_out.status = 0;
    r->headers_out.content_type.len = 0;
    r->headers_out.content_length_n = -1;
    r->write_event_handler = ngx_http_request_empty_handler;

    if (ctx->conf->fallback.len) {
        ngx_http_finalize_request(r, ngx_http_gitpod_breaker_fallback(r, ctx));
        return;
    }

    rc = ngx_http_gitpod_breaker_refuse(r, ctx);

    /* NGX_DONE: it was answered, and may be gone */

    if (rc != NGX_DONE) {
        ngx_http_finalize_request(r, rc);
    }
}


static ngx_int_t
ngx_http_gitpod_breaker_fallback(ngx_http_request_t *r,
    ngx_http_gitpod_breaker_ctx_t *ctx)
{
    ngx_str_t  uri, args;

    uri = ctx->conf->fallback;

    if (uri.data[0] == '@') {
        return ngx_http_named_location(r, &uri);
    }

    ngx_http_split_args(r, &uri, &args);

    return ngx_http_internal_redirect(r, &uri, &args);
}


static ngx_int_t
ngx_http_gitpod_breaker_refuse(ngx_http_request_t *r,
    ngx_http_gitpod_breaker_ctx_t *ctx)
{
    u_char                    *p, *last;
    ngx_uint_t                 retry_s;
    ngx_http_gitpod_ctx_t     *gctx;
    ngx_gitpod_breaker_use_t  *use;
    u_char                     text[NGX_HTTP_GITPOD_BREAKER_TEXT];

    static const char  *why[] = {
        "is coming back",
        "cannot be connected to",
        "breaks off without an answer",
        "does not answer in time",
        "answers 500",
        "answers 502",
        "answers 503",
        "answers 504",
        "fails its health check"
    };

    use = &ctx->use;
    retry_s = (ngx_uint_t) ((use->retry_ms + 999) / 1000);
    retry_s = ngx_max(retry_s, 1);

    gctx = ngx_http_gitpod_ctx_get(r);

    if (gctx) {
        ngx_http_gitpod_ctx_refuse(gctx, "breaker");
    }

    if (ngx_http_gitpod_reply_header(r, GP_HEADER_BREAKER,
                                     "%V; state=%s; reason=%s; retry_ms=%uL",
                                     &ctx->conf->name,
                                     gp_breaker_phase_name(
                                          (enum gp_breaker_phase) ctx->phase),
                                     gp_breaker_reason_name(
                                          (enum gp_breaker_reason)
                                          ctx->reason),
                                     use->retry_ms)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    p = text;
    last = text + sizeof(text) - 1;

    if (use->key_len) {
        p = ngx_slprintf(p, last, "Port %ud of the workspace",
                         (ngx_uint_t) use->key[1] << 8 | use->key[2]);
    } else {
        p = ngx_slprintf(p, last, "The service %V", &ctx->conf->name);
    }

    p = ngx_slprintf(p, last, " %s. The gateway tries it again in %ui s",
                     why[(ctx->phase == GP_BREAKER_RECOVERING)
                         ? GP_BREAKER_NONE : ctx->reason],
                     retry_s);
    *p = '\0';

    return ngx_http_gitpod_reply_again(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                       retry_s, (char *) text);
}

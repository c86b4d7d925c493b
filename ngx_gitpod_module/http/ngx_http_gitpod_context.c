
/*
 * The context that one client request has from its first phase to its end.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_gitpod_request.h"


static void ngx_http_gitpod_ctx_cleanup(void *data);


ngx_http_gitpod_ctx_t *
ngx_http_gitpod_ctx_get(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t     *cln;
    ngx_http_gitpod_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r->main, ngx_http_gitpod_request_module);

    if (ctx != NULL) {
        return ctx;
    }

    for (cln = r->main->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler == ngx_http_gitpod_ctx_cleanup) {
            ctx = cln->data;
            ngx_http_set_ctx(r->main, ctx, ngx_http_gitpod_request_module);
            return ctx;
        }
    }

    return NULL;
}


/* Notes why, for the log; the answer to the client says less. */

ngx_int_t
ngx_http_gitpod_ctx_refuse(ngx_http_gitpod_ctx_t *ctx, char *reason)
{
    ctx->reason.data = (u_char *) reason;
    ctx->reason.len = ngx_strlen(reason);

    return NGX_DECLINED;
}


/* The post-read phase: the first that runs, once, for main requests only. */

ngx_int_t
ngx_http_gitpod_ctx_init(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t                  *cln;
    ngx_gitpod_zone_t                   *zone;
    ngx_http_gitpod_ctx_t               *ctx;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);

    zone = ngx_http_gitpod_zone(r);

    if (gscf->domain.len == 0 || zone == NULL || r != r->main
        || ngx_http_gitpod_ctx_get(r) != NULL)
    {
        return NGX_DECLINED;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_gitpod_ctx_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_http_gitpod_ctx_t));

    ctx->request = r;
    ctx->zone = zone;
    ctx->host = r->headers_in.server;
    ngx_str_set(&ctx->suffix, "");
    ngx_queue_init(&ctx->waiters);

    cln->handler = ngx_http_gitpod_ctx_cleanup;
    ngx_http_set_ctx(r, ctx, ngx_http_gitpod_request_module);

    if (ngx_http_gitpod_request_line(r) != NGX_OK
        || ngx_http_gitpod_place_init(r, ctx) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_gitpod_request_filter(r, ctx);
}


static void
ngx_http_gitpod_ctx_cleanup(void *data)
{
    ngx_http_gitpod_activity_unwatch(data);
    ngx_http_gitpod_wake_leave(data);
    ngx_http_gitpod_live_remove(data);
    ngx_http_gitpod_limit_release(data);
    ngx_http_gitpod_token_abandon(data);
}

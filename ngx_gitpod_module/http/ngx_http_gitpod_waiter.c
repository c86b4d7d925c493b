
/*
 * Requests that wait in their phase for what something else learns: they go
 * through their phases again when they are woken.  Each is in one queue, and
 * ngx_http_gitpod_token_abandon() takes those out that end before.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_gitpod_request.h"


static void ngx_http_gitpod_waiter_woken(ngx_event_t *ev);


void
ngx_http_gitpod_waiter_init(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx)
{
    ctx->wake.handler = ngx_http_gitpod_waiter_woken;
    ctx->wake.data = ctx;
    ctx->wake.log = r->connection->log;
}


void
ngx_http_gitpod_waiter_add(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_queue_t *queue)
{
    ngx_http_gitpod_waiter_init(r, ctx);

    ngx_queue_insert_tail(queue, &ctx->queue);
    ctx->waiting = 1;
}


void
ngx_http_gitpod_waiter_wake(ngx_http_gitpod_ctx_t *ctx)
{
    ngx_queue_remove(&ctx->queue);
    ctx->waiting = 0;

    ngx_post_event(&ctx->wake, &ngx_posted_events);
}


static void
ngx_http_gitpod_waiter_woken(ngx_event_t *ev)
{
    ngx_connection_t       *c;
    ngx_http_gitpod_ctx_t  *ctx;

    ctx = ev->data;
    c = ctx->request->connection;

    ngx_http_core_run_phases(ctx->request);
    ngx_http_run_posted_requests(c);
}

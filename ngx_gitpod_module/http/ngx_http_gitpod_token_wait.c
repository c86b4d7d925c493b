
/*
 * Requests with the same token wait for one answer.  The first of a worker
 * leads: it asks, or, when another worker does so already, looks for the
 * answer in shared memory; the others of this worker wait for it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "jose/digest.h"

#include "ngx_http_gitpod_request.h"


#define NGX_HTTP_GITPOD_WAITERS_MAX   1024    /* requests for one answer */
#define NGX_HTTP_GITPOD_REMOTE_MS     20      /* looks for others' answers */


static void ngx_http_gitpod_token_look(ngx_event_t *ev);


/* of this worker: who leads, whichever the token */

static ngx_queue_t  ngx_http_gitpod_leaders;
static ngx_event_t  ngx_http_gitpod_token_timer;


/* NGX_OK: nobody asks for this token, so ask; NGX_AGAIN: somebody does. */

ngx_int_t
ngx_http_gitpod_token_wait(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx)
{
    ngx_uint_t              n;
    ngx_queue_t            *q;
    ngx_http_gitpod_ctx_t  *leader;

    if (ngx_http_gitpod_leaders.next == NULL) {
        ngx_queue_init(&ngx_http_gitpod_leaders);
    }

    for (q = ngx_queue_head(&ngx_http_gitpod_leaders), n = 0;
         q != ngx_queue_sentinel(&ngx_http_gitpod_leaders)
         && n < NGX_HTTP_GITPOD_WAITERS_MAX;
         q = ngx_queue_next(q), n++)
    {
        leader = ngx_queue_data(q, ngx_http_gitpod_ctx_t, queue);

        if (ngx_memcmp(leader->digest, ctx->digest, GP_SHA256_LEN) != 0
            || leader->waiters_n == NGX_HTTP_GITPOD_WAITERS_MAX)
        {
            continue;
        }

        leader->waiters_n++;
        ngx_http_gitpod_waiter_add(r, ctx, &leader->waiters);

        return NGX_AGAIN;
    }

    return NGX_OK;
}


/* Whoever has this token from now on waits for what this request learns. */

void
ngx_http_gitpod_token_lead(ngx_http_gitpod_ctx_t *ctx)
{
    ctx->leading = 1;
    ngx_queue_insert_tail(&ngx_http_gitpod_leaders, &ctx->queue);
}


/* Another worker asks: look for its answer, for all that wait here. */

void
ngx_http_gitpod_token_follow(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx)
{
    ctx->remote = 1;
    ngx_http_gitpod_token_lead(ctx);
    ngx_http_gitpod_waiter_init(r, ctx);

    if (!ngx_http_gitpod_token_timer.timer_set) {
        ngx_http_gitpod_timer_start(&ngx_http_gitpod_token_timer,
                                    ngx_http_gitpod_token_look,
                                    NGX_HTTP_GITPOD_REMOTE_MS);
    }
}


static void
ngx_http_gitpod_token_look(ngx_event_t *ev)
{
    ngx_int_t               rc;
    ngx_uint_t              n;
    ngx_queue_t            *q, *next;
    ngx_http_gitpod_ctx_t  *ctx;

    n = 0;

    for (q = ngx_queue_head(&ngx_http_gitpod_leaders);
         q != ngx_queue_sentinel(&ngx_http_gitpod_leaders);
         q = next)
    {
        next = ngx_queue_next(q);
        ctx = ngx_queue_data(q, ngx_http_gitpod_ctx_t, queue);

        if (!ctx->remote) {
            continue;
        }

        rc = ngx_gitpod_ask_state(ctx->zone, ctx->digest);

        if (rc == NGX_AGAIN) {
            n++;
            continue;
        }

        ctx->remote = 0;

        if (rc == NGX_ERROR) {
            ctx->asked = 1;
            ctx->answered = 1;
            ctx->status = NGX_HTTP_BAD_GATEWAY;
        }

        ngx_http_gitpod_token_wake(ctx, rc == NGX_ERROR);
        ngx_post_event(&ctx->wake, &ngx_posted_events);
    }

    if (n) {
        ngx_add_timer(ev, NGX_HTTP_GITPOD_REMOTE_MS);
    }
}


/*
 * All that wait look at the cache again; when who asked went away, one of them
 * asks anew.  That auth does not answer is an answer to all of them: each
 * asking for itself, they would wait for one timeout after the other.
 */

void
ngx_http_gitpod_token_wake(ngx_http_gitpod_ctx_t *ctx, ngx_uint_t failed)
{
    ngx_queue_t            *q;
    ngx_http_gitpod_ctx_t  *waiter;

    if (!ctx->leading) {
        return;
    }

    ctx->leading = 0;
    ngx_queue_remove(&ctx->queue);

    while (!ngx_queue_empty(&ctx->waiters)) {
        q = ngx_queue_head(&ctx->waiters);
        waiter = ngx_queue_data(q, ngx_http_gitpod_ctx_t, queue);

        if (failed) {
            waiter->asked = 1;
            waiter->answered = 1;
            waiter->status = NGX_HTTP_BAD_GATEWAY;
        }

        ngx_http_gitpod_waiter_wake(waiter);
    }

    ctx->waiters_n = 0;
}


/* The request ends, perhaps early: nothing may point to it any more. */

void
ngx_http_gitpod_token_abandon(ngx_http_gitpod_ctx_t *ctx)
{
    ngx_http_gitpod_token_wake(ctx, 0);

    if (ctx->owning) {
        ngx_gitpod_ask_end(ctx->zone, ctx->digest, 0);
    }

    if (ctx->waiting) {
        ngx_queue_remove(&ctx->queue);
        ctx->waiting = 0;
    }

    if (ctx->wake.posted) {
        ngx_delete_posted_event(&ctx->wake);
    }
}

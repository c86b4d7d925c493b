
/*
 * Requests whose token names a key that no set has: perhaps the issuer has a
 * new one.  They wait for one fetch, whichever worker they are in; who names
 * keys at random gets no more fetches than one in so many seconds.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_gitpod_key_url.h"


#define NGX_HTTP_GITPOD_KEY_WAIT_MS   2000  /* at most */
#define NGX_HTTP_GITPOD_KEY_LOOK_MS   20
#define NGX_HTTP_GITPOD_KEY_WAIT_MAX  256   /* requests of one worker */


static ngx_int_t ngx_http_gitpod_key_park(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static void ngx_http_gitpod_key_look(ngx_event_t *ev);
static ngx_int_t ngx_http_gitpod_key_unknown(ngx_http_gitpod_ctx_t *ctx,
    ngx_gitpod_counter_e counter);


/* of this worker */

static ngx_queue_t  ngx_http_gitpod_key_waits;
static ngx_event_t  ngx_http_gitpod_key_timer;


ngx_int_t
ngx_http_gitpod_key_wait(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_str_t *kid)
{
    ngx_int_t                        rc;
    ngx_http_gitpod_key_url_conf_t  *kcf;

    kcf = ngx_http_get_module_main_conf(r, ngx_http_gitpod_key_url_module);

    if (kcf->from.url.len == 0) {
        return NGX_DECLINED;
    }

    if (ctx->waiting) {
        return NGX_AGAIN;
    }

    if (ctx->key_round == 0) {

        rc = ngx_gitpod_key_missing(ctx->zone, kid)
             ? NGX_DECLINED
             : ngx_gitpod_key_url_want(ctx->zone, kcf->again,
                                       &ctx->key_round);

        if (rc == NGX_DECLINED) {
            ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_KEY_MISSING);
            return NGX_DECLINED;
        }

        if (rc != NGX_OK) {
            return ngx_http_gitpod_key_unknown(ctx,
                                               NGX_GITPOD_N_KEY_WAIT_FULL);
        }

        ctx->key_deadline = ngx_current_msec + NGX_HTTP_GITPOD_KEY_WAIT_MS;

        return ngx_http_gitpod_key_park(r, ctx);
    }

    switch (ngx_gitpod_key_url_outcome(ctx->zone, ctx->key_round)) {

    case NGX_OK:
        ngx_gitpod_key_missed(ctx->zone, kid);
        ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_KEY_WAIT_MISSING);
        ctx->key_round = 0;
        return NGX_DECLINED;

    case NGX_AGAIN:

        if ((ngx_msec_int_t) (ctx->key_deadline - ngx_current_msec) > 0) {
            return ngx_http_gitpod_key_park(r, ctx);
        }

        /* fall through */

    default:
        return ngx_http_gitpod_key_unknown(ctx, NGX_GITPOD_N_KEY_WAIT_LATE);
    }
}


void
ngx_http_gitpod_key_found(ngx_http_gitpod_ctx_t *ctx)
{
    if (ctx->key_round) {
        ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_KEY_WAIT_FOUND);
        ctx->key_round = 0;
    }
}


static ngx_int_t
ngx_http_gitpod_key_unknown(ngx_http_gitpod_ctx_t *ctx,
    ngx_gitpod_counter_e counter)
{
    ngx_gitpod_count(ctx->zone, counter);
    ctx->key_round = 0;

    return NGX_ERROR;
}


static ngx_int_t
ngx_http_gitpod_key_park(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx)
{
    ngx_uint_t    n;
    ngx_queue_t  *q;

    if (ngx_http_gitpod_key_waits.next == NULL) {
        ngx_queue_init(&ngx_http_gitpod_key_waits);
    }

    for (q = ngx_queue_head(&ngx_http_gitpod_key_waits), n = 0;
         q != ngx_queue_sentinel(&ngx_http_gitpod_key_waits);
         q = ngx_queue_next(q))
    {
        n++;
    }

    if (n >= NGX_HTTP_GITPOD_KEY_WAIT_MAX) {
        return ngx_http_gitpod_key_unknown(ctx, NGX_GITPOD_N_KEY_WAIT_FULL);
    }

    ngx_http_gitpod_waiter_add(r, ctx, &ngx_http_gitpod_key_waits);

    if (!ngx_http_gitpod_key_timer.timer_set) {
        ngx_http_gitpod_timer_start(&ngx_http_gitpod_key_timer,
                                    ngx_http_gitpod_key_look,
                                    NGX_HTTP_GITPOD_KEY_LOOK_MS);
    }

    return NGX_AGAIN;
}


static void
ngx_http_gitpod_key_look(ngx_event_t *ev)
{
    ngx_queue_t            *q, *next;
    ngx_http_gitpod_ctx_t  *ctx;

    for (q = ngx_queue_head(&ngx_http_gitpod_key_waits);
         q != ngx_queue_sentinel(&ngx_http_gitpod_key_waits);
         q = next)
    {
        next = ngx_queue_next(q);
        ctx = ngx_queue_data(q, ngx_http_gitpod_ctx_t, queue);

        if (ngx_gitpod_key_url_outcome(ctx->zone, ctx->key_round) != NGX_AGAIN
            || (ngx_msec_int_t) (ctx->key_deadline - ngx_current_msec) <= 0)
        {
            ngx_http_gitpod_waiter_wake(ctx);
        }
    }

    if (!ngx_queue_empty(&ngx_http_gitpod_key_waits)) {
        ngx_add_timer(ev, NGX_HTTP_GITPOD_KEY_LOOK_MS);
    }
}


/*
 * Requests that live on: WebSockets, streams, long downloads.  When a right is
 * taken away (log-out, a token revoked, a port made private, the owner token
 * changed) they end within a second, not with the next request.  So they do
 * when their workspace stops, though a container that is killed with its
 * network says no good-bye: an editor learns that it has to connect again.
 *
 * A worker looks four times a second whether any route or revocation moved at
 * all; only then does it judge what it has open.
 *
 * A worker that is told to end (a stop, a reload, an upgrade) ends what
 * gitpod_resumable names, which would keep it for nothing.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_gitpod_request.h"
#include "ngx_gitpod_zone.h"


#define NGX_HTTP_GITPOD_LIVE_MS  250


static void ngx_http_gitpod_live_look(ngx_event_t *ev);
static void ngx_http_gitpod_live_end(void);
static ngx_uint_t ngx_http_gitpod_live_lost(ngx_http_gitpod_ctx_t *ctx);
static ngx_uint_t ngx_http_gitpod_live_stopped(ngx_http_gitpod_ctx_t *ctx);
static void ngx_http_gitpod_live_close(ngx_http_gitpod_ctx_t *ctx,
    char *reason);


/* of this worker */

static ngx_queue_t  ngx_http_gitpod_lives;
static ngx_event_t  ngx_http_gitpod_live_timer;
static ngx_uint_t   ngx_http_gitpod_live_websockets;
static uint64_t     ngx_http_gitpod_live_routes;
static uint64_t     ngx_http_gitpod_live_revocations;


/* From here on the request ends when its right does. */

void
ngx_http_gitpod_live_add(ngx_http_gitpod_ctx_t *ctx)
{
    if (ctx->living) {
        return;
    }

    if (ngx_http_gitpod_lives.next == NULL) {
        ngx_queue_init(&ngx_http_gitpod_lives);
    }

    if (ctx->upgrade) {
        ngx_gitpod_worker_websockets(++ngx_http_gitpod_live_websockets);
    }

    ctx->living = 1;
    ngx_queue_insert_tail(&ngx_http_gitpod_lives, &ctx->live);

    if (ngx_http_gitpod_live_timer.timer_set) {
        return;
    }

    /* the first look judges in any case: something may move this moment */

    ngx_http_gitpod_live_routes = (uint64_t) -1;
    ngx_http_gitpod_live_revocations = (uint64_t) -1;

    ngx_http_gitpod_timer_start(&ngx_http_gitpod_live_timer,
                                ngx_http_gitpod_live_look,
                                NGX_HTTP_GITPOD_LIVE_MS);
}


void
ngx_http_gitpod_live_remove(ngx_http_gitpod_ctx_t *ctx)
{
    if (ctx->living) {
        ngx_queue_remove(&ctx->live);
        ctx->living = 0;

        if (ctx->upgrade) {
            ngx_gitpod_worker_websockets(--ngx_http_gitpod_live_websockets);
        }
    }
}


static void
ngx_http_gitpod_live_look(ngx_event_t *ev)
{
    uint64_t                routes, revocations;
    ngx_queue_t            *q, *next;
    ngx_gitpod_zone_t      *zone;
    ngx_http_gitpod_ctx_t  *ctx;

    if (ngx_exiting) {
        ngx_http_gitpod_live_end();
    }

    if (ngx_queue_empty(&ngx_http_gitpod_lives)) {

        /* the next request starts the timer again */

        return;
    }

    q = ngx_queue_head(&ngx_http_gitpod_lives);
    ctx = ngx_queue_data(q, ngx_http_gitpod_ctx_t, live);
    zone = ctx->zone;

    routes = ngx_gitpod_route_sequence(zone);
    revocations = ngx_gitpod_revocation_sequence(zone);

    if (routes != ngx_http_gitpod_live_routes
        || revocations != ngx_http_gitpod_live_revocations)
    {
        ngx_http_gitpod_live_routes = routes;
        ngx_http_gitpod_live_revocations = revocations;

        for (q = ngx_queue_head(&ngx_http_gitpod_lives);
             q != ngx_queue_sentinel(&ngx_http_gitpod_lives);
             q = next)
        {
            next = ngx_queue_next(q);
            ctx = ngx_queue_data(q, ngx_http_gitpod_ctx_t, live);

            if (ngx_http_gitpod_live_revoked(zone, ctx->credential,
                                             &ctx->credential_id, &ctx->user,
                                             &ctx->workspace_id, ctx->issued)
                || ngx_http_gitpod_live_lost(ctx))
            {
                ngx_http_gitpod_live_close(ctx, "right taken away");

            } else if (ngx_http_gitpod_live_stopped(ctx)) {
                ngx_http_gitpod_live_close(ctx, "workspace stopped");
            }
        }
    }

    ngx_add_timer(ev, NGX_HTTP_GITPOD_LIVE_MS);
}


static void
ngx_http_gitpod_live_end(void)
{
    ngx_queue_t            *q, *next;
    ngx_http_gitpod_ctx_t  *ctx;

    for (q = ngx_queue_head(&ngx_http_gitpod_lives);
         q != ngx_queue_sentinel(&ngx_http_gitpod_lives);
         q = next)
    {
        next = ngx_queue_next(q);
        ctx = ngx_queue_data(q, ngx_http_gitpod_ctx_t, live);

        if (ctx->resumable) {
            ngx_http_gitpod_live_close(ctx, "worker ends");
        }
    }
}


ngx_uint_t
ngx_http_gitpod_live_revoked(ngx_gitpod_zone_t *zone,
    ngx_http_gitpod_credential_e credential, ngx_str_t *id, ngx_str_t *user,
    ngx_str_t *workspace, time_t issued)
{
    ngx_gitpod_revoked_e  kind;

    if (credential == NGX_HTTP_GITPOD_NONE
        || credential == NGX_HTTP_GITPOD_OWNER_TOKEN
        || credential == NGX_HTTP_GITPOD_OWNER_COOKIE)
    {
        return 0;
    }

    kind = (credential == NGX_HTTP_GITPOD_TOKEN)
           ? NGX_GITPOD_REVOKED_TOKEN
           : NGX_GITPOD_REVOKED_SESSION;

    return ngx_gitpod_revoked(zone, kind, id, issued)
           || ngx_gitpod_revoked(zone, NGX_GITPOD_REVOKED_USER, user, issued)
           || (credential == NGX_HTTP_GITPOD_WORKSPACE
               && ngx_gitpod_revoked(zone, NGX_GITPOD_REVOKED_WORKSPACE,
                                     workspace, issued));
}


/* Does the route still give the right? */

static ngx_uint_t
ngx_http_gitpod_live_lost(ngx_http_gitpod_ctx_t *ctx)
{
    ngx_uint_t                number;
    ngx_gitpod_route_t        route;
    ngx_gitpod_route_port_t  *port;

    if (ctx->workspace_id.len == 0) {
        return 0;
    }

    if (ngx_gitpod_route_get(ctx->zone, &ctx->workspace_id, &route)
        != NGX_OK)
    {
        return 1;
    }

    if (ctx->listener
        && (!ngx_gitpod_listener_claimed(&route, ctx->listener, &number)
            || number != ctx->port))
    {
        return 1;
    }

    port = ctx->port ? ngx_gitpod_route_port(&route, ctx->port) : NULL;

    if (ctx->open || (port && port->visible)) {
        return 0;
    }

    switch (ctx->credential) {

    case NGX_HTTP_GITPOD_WORKSPACE:
        return !ngx_http_gitpod_workspace_allowed(&route, &ctx->user);

    case NGX_HTTP_GITPOD_OWNER_TOKEN:
        return !ngx_http_gitpod_owner_good(&route, &ctx->owner_token);

    case NGX_HTTP_GITPOD_OWNER_COOKIE:
        return !ngx_http_gitpod_owner_good(&route, &ctx->owner_cookie);

    case NGX_HTTP_GITPOD_NONE:
    case NGX_HTTP_GITPOD_SESSION:
    case NGX_HTTP_GITPOD_TOKEN:
    default:
        return 1;
    }
}


/* Is what it is connected to gone?  One that is stopping may say good-bye. */

static ngx_uint_t
ngx_http_gitpod_live_stopped(ngx_http_gitpod_ctx_t *ctx)
{
    ngx_gitpod_route_t  route;

    if (ctx->workspace_id.len == 0
        || ngx_gitpod_route_get(ctx->zone, &ctx->workspace_id, &route)
           != NGX_OK)
    {
        return 0;
    }

    return route.phase == NGX_GITPOD_PHASE_STOPPED
           || route.instance_len != ctx->instance_id.len
           || ngx_memcmp(route.instance, ctx->instance_id.data,
                         route.instance_len)
              != 0;
}


static void
ngx_http_gitpod_live_close(ngx_http_gitpod_ctx_t *ctx, char *reason)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = ctx->request;
    c = r->connection;

    ngx_log_error(NGX_LOG_INFO, c->log, 0,
                  "gitpod: closed: %s", reason);

    ngx_http_gitpod_live_remove(ctx);
    (void) ngx_http_gitpod_ctx_refuse(ctx, reason);

    /*
     * The clean-up of an upstream finalizes the request too: with the last
     * reference it would keep the connection alive for the next request, or
     * free this one under the hands of who terminates it.
     */

    r->main->count++;

    ngx_http_finalize_request(r, NGX_HTTP_CLOSE);
    ngx_http_run_posted_requests(c);
}

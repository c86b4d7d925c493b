
/*
 * gitpod_wake: requests of programs for a workspace that does not run yet.
 * People get the start page; programs with a right to the workspace wait until
 * it runs, bounded in time and number, and with the owner's token they start
 * it.  A worker that has waiters looks every 20 ms whether any route moved.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/contract.h"
#include "core/id.h"

#include "ngx_gitpod_json.h"
#include "ngx_gitpod_zone.h"
#include "ngx_http_gitpod_manager.h"
#include "ngx_http_gitpod_request.h"


#define NGX_HTTP_GITPOD_WAKE_LOOK_MS      20
#define NGX_HTTP_GITPOD_WAKE_WAITERS_MAX  1024  /* of one worker */
#define NGX_HTTP_GITPOD_WAKE_GRACE_MS     1000  /* a marker after the call */
#define NGX_HTTP_GITPOD_WAKE_AGAIN_MS     1000
#define NGX_HTTP_GITPOD_WAKE_API          GP_PATH_SUPERVISOR "v1/"


/* one request that waits, or has waited */

struct ngx_http_gitpod_wait_s {
    ngx_queue_t              queue;
    ngx_event_t              event;         /* its deadline, or it is woken */
    ngx_http_gitpod_ctx_t   *ctx;
    uint64_t                 deadline_ms;
    uint64_t                 version;       /* of the route, as judged last */
    u_char                   instance_len;  /* when it began to wait */
    u_char                   instance[GP_INSTANCE_ID_LEN];
    unsigned                 queued:1;
    unsigned                 late:1;
    unsigned                 started:1;     /* was seen on its way */
};


/* one start, under way */

typedef struct {
    ngx_queue_t                 queue;
    ngx_gitpod_zone_t          *zone;
    ngx_log_t                  *log;
    ngx_http_gitpod_fastcgi_t  *fastcgi;
    ngx_str_t                   id;
    ngx_str_t                   instance;
    u_char                      id_data[GP_WORKSPACE_ID_MAX];
    u_char                      instance_data[GP_INSTANCE_ID_LEN];
} ngx_http_gitpod_start_t;


static ngx_uint_t ngx_http_gitpod_wake_may_wait(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static ngx_int_t ngx_http_gitpod_wake_start(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route);
static ngx_int_t ngx_http_gitpod_wake_call(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route);
static void ngx_http_gitpod_wake_called(void *data, ngx_int_t status,
    ngx_str_t *text);
static void ngx_http_gitpod_wake_reason(u_char *reason, ngx_int_t status,
    ngx_str_t *text);
static ngx_int_t ngx_http_gitpod_wake_wait(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route);
static ngx_int_t ngx_http_gitpod_wake_begin(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route, uint64_t now);
static ngx_uint_t ngx_http_gitpod_wake_waiters(ngx_str_t *workspace);
static ngx_int_t ngx_http_gitpod_wake_failed(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_counter_e counter, char *reason,
    char *text);
static ngx_uint_t ngx_http_gitpod_wake_starting(u_char phase);
static void ngx_http_gitpod_wake_look(ngx_event_t *ev);
static void ngx_http_gitpod_wake_woken(ngx_event_t *ev);


/* of this worker */

static ngx_queue_t        ngx_http_gitpod_waits;
static ngx_uint_t         ngx_http_gitpod_waits_n;
static ngx_event_t        ngx_http_gitpod_wake_timer;
static uint64_t           ngx_http_gitpod_wake_routes;
static ngx_atomic_uint_t  ngx_http_gitpod_wake_refused;
static ngx_queue_t        ngx_http_gitpod_starts;


/* NGX_DECLINED: there is nothing to wait for; else as a phase handler. */

ngx_int_t
ngx_http_gitpod_wake(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_gitpod_route_t *route)
{
    ngx_int_t                            rc;
    ngx_http_gitpod_wait_t              *wait;
    ngx_http_gitpod_manager_loc_conf_t  *mlcf;

    mlcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_manager_module);
    wait = ctx->wait;

    if (mlcf->wake == 0 || !ngx_http_gitpod_wake_may_wait(r, ctx)) {
        return NGX_DECLINED;
    }

    if (wait && wait->late) {
        return ngx_http_gitpod_wake_failed(r, ctx, NGX_GITPOD_N_WAKE_LATE,
                   "not running in time",
                   "The workspace is still starting. Try again");
    }

    if (ngx_http_gitpod_wake_starting(route->phase)) {
        rc = ngx_http_gitpod_wake_wait(r, ctx, route);

        if (rc == NGX_AGAIN) {
            ctx->wait->started = 1;
        }

        return rc;
    }

    /* it was on its way, or another instance of it has come and gone */

    if (wait && route->phase == NGX_GITPOD_PHASE_STOPPED
        && (wait->started
            || wait->instance_len != route->instance_len
            || ngx_memcmp(wait->instance, route->instance,
                          route->instance_len)
               != 0))
    {
        return ngx_http_gitpod_wake_failed(r, ctx, NGX_GITPOD_N_WAKE_FAILED,
                   "start failed",
                   "The workspace did not start, or was stopped. Its page on "
                   "the dashboard says why");
    }

    if (!mlcf->start || ctx->credential != NGX_HTTP_GITPOD_OWNER_TOKEN) {
        return NGX_DECLINED;
    }

    if (route->phase != NGX_GITPOD_PHASE_STOPPING) {
        rc = ngx_http_gitpod_wake_start(r, ctx, route);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    return ngx_http_gitpod_wake_wait(r, ctx, route);
}


/*
 * People have the start page.  Clients poll the supervisor until it is there,
 * and an editor left open sends heartbeats: those neither wait nor start.
 */

static ngx_uint_t
ngx_http_gitpod_wake_may_wait(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    if (ctx->page || ctx->open || ctx->credential == NGX_HTTP_GITPOD_NONE) {
        return 0;
    }

    return ctx->port
           || r->uri.len < sizeof(NGX_HTTP_GITPOD_WAKE_API) - 1
           || ngx_memcmp(r->uri.data, NGX_HTTP_GITPOD_WAKE_API,
                         sizeof(NGX_HTTP_GITPOD_WAKE_API) - 1)
              != 0;
}


static ngx_uint_t
ngx_http_gitpod_wake_starting(u_char phase)
{
    return phase >= NGX_GITPOD_PHASE_PREPARING
           && phase <= NGX_GITPOD_PHASE_INITIALIZING;
}


/* NGX_OK: it is being started; else the answer. */

static ngx_int_t
ngx_http_gitpod_wake_start(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_gitpod_route_t *route)
{
    ngx_int_t                             rc;
    u_char                                text[NGX_GITPOD_WAKE_TEXT_MAX];
    ngx_str_t                             instance;
    ngx_http_gitpod_manager_main_conf_t  *mmcf;

    mmcf = ngx_http_get_module_main_conf(r, ngx_http_gitpod_manager_module);

    instance.data = route->instance;
    instance.len = route->instance_len;

    rc = ngx_gitpod_wake_begin(ctx->zone, &ctx->workspace_id, &instance,
                               mmcf->timeout + NGX_HTTP_GITPOD_WAKE_GRACE_MS,
                               text);
    switch (rc) {

    case NGX_OK:
        return ngx_http_gitpod_wake_call(r, ctx, route);

    case NGX_AGAIN:
        return NGX_OK;

    case NGX_BUSY:
        return ngx_http_gitpod_wake_failed(r, ctx, NGX_GITPOD_N_WAKE_FULL,
                   "too many starts",
                   "Too many workspaces are being started. Try again");

    default: /* NGX_DECLINED */
        return ngx_http_gitpod_wake_failed(r, ctx, NGX_GITPOD_N_WAKE_FAILED,
                                           "start refused", (char *) text);
    }
}


/* It goes on whatever becomes of the request that asked for it. */

static ngx_int_t
ngx_http_gitpod_wake_call(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_gitpod_route_t *route)
{
    ngx_str_t                             body, instance, none;
    ngx_http_gitpod_start_t              *start;
    ngx_http_gitpod_manager_main_conf_t  *mmcf;
    u_char                                buf[GP_WORKSPACE_ID_MAX
                                              + GP_USER_ID_LEN + 64];

    static ngx_str_t                      path =
               ngx_string(NGX_HTTP_GITPOD_MANAGER_SERVICE "StartWorkspace");

    mmcf = ngx_http_get_module_main_conf(r, ngx_http_gitpod_manager_module);
    ngx_str_null(&none);

    instance.data = route->instance;
    instance.len = route->instance_len;

    start = ngx_calloc(sizeof(ngx_http_gitpod_start_t), ngx_cycle->log);
    if (start == NULL) {
        ngx_gitpod_wake_end(ctx->zone, &ctx->workspace_id, &instance,
                            "out of memory");
        return NGX_ERROR;
    }

    start->zone = ctx->zone;
    start->log = ngx_cycle->log;
    start->id.data = start->id_data;
    start->id.len = ctx->workspace_id.len;
    ngx_memcpy(start->id_data, ctx->workspace_id.data, start->id.len);
    start->instance.data = start->instance_data;
    start->instance.len = instance.len;
    ngx_memcpy(start->instance_data, instance.data, instance.len);

    if (ngx_http_gitpod_starts.next == NULL) {
        ngx_queue_init(&ngx_http_gitpod_starts);
    }

    ngx_queue_insert_tail(&ngx_http_gitpod_starts, &start->queue);

    if (gp_id_uuid_valid((char *) route->owner, route->owner_len)) {
        body.data = buf;
        body.len = ngx_sprintf(buf, "{\"userId\":\"%*s\",\"workspaceId\":"
                               "\"%V\"}", (size_t) route->owner_len,
                               route->owner, &start->id)
                   - buf;

        start->fastcgi = ngx_http_gitpod_fastcgi_call(&mmcf->addr, &path,
                                            &body, mmcf->timeout, start->log,
                                            ngx_http_gitpod_wake_called,
                                            start);
    }

    if (start->fastcgi == NULL) {
        ngx_http_gitpod_wake_called(start, NGX_ERROR, &none);

        return ngx_http_gitpod_wake_failed(r, ctx, NGX_GITPOD_N_WAKE_FAILED,
                   "start refused",
                   "The workspace cannot be started at the moment: "
                   "ws_manager does not answer. Try again");
    }

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "gitpod: workspace \"%V\" is started for this request",
                  &start->id);

    return NGX_OK;
}


static void
ngx_http_gitpod_wake_called(void *data, ngx_int_t status, ngx_str_t *text)
{
    ngx_http_gitpod_start_t *start = data;

    u_char  reason[NGX_GITPOD_WAKE_TEXT_MAX];

    if (status == NGX_HTTP_OK) {
        ngx_gitpod_count(start->zone, NGX_GITPOD_N_START_OK);
        ngx_gitpod_wake_end(start->zone, &start->id, &start->instance, NULL);

    } else {
        ngx_http_gitpod_wake_reason(reason, status, text);

        ngx_gitpod_count(start->zone, NGX_GITPOD_N_START_REFUSED);
        ngx_gitpod_wake_end(start->zone, &start->id, &start->instance,
                            (char *) reason);

        ngx_log_error(NGX_LOG_WARN, start->log, 0,
                      "gitpod: workspace \"%V\" was not started for a "
                      "request: %s", &start->id, reason);
    }

    ngx_queue_remove(&start->queue);
    ngx_free(start);
}


/* What ws_manager says, fit for JSON of ours: text of a Connect error. */

static void
ngx_http_gitpod_wake_reason(u_char *reason, ngx_int_t status, ngx_str_t *text)
{
    u_char     *p, *last;
    size_t      i;
    json_t     *doc;
    ngx_str_t   said;

    doc = (status == NGX_ERROR) ? NULL
                                : json_loadb((char *) text->data, text->len,
                                             0, NULL);
    said = ngx_gitpod_json_text(json_object_get(doc, "message"));

    p = reason;
    last = reason + NGX_GITPOD_WAKE_TEXT_MAX - 1;

    if (said.len == 0) {
        p = ngx_slprintf(p, last, "The workspace cannot be started at the "
                         "moment: ws_manager does not answer. Try again");
    }

    for (i = 0; i < said.len && p < last; i++) {

        if (said.data[i] >= ' ' && said.data[i] < 0x7f
            && said.data[i] != '"' && said.data[i] != '\\')
        {
            *p++ = said.data[i];
        }
    }

    *p = '\0';

    json_decref(doc);
}


/* NGX_AGAIN, or the answer. */

static ngx_int_t
ngx_http_gitpod_wake_wait(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_gitpod_route_t *route)
{
    uint64_t                 now;
    ngx_int_t                rc;
    ngx_msec_t               ms;
    ngx_http_gitpod_wait_t  *wait;

    now = ngx_gitpod_now_ms();

    if (ngx_http_gitpod_waits.next == NULL) {
        ngx_queue_init(&ngx_http_gitpod_waits);
    }

    if (ctx->wait == NULL) {
        rc = ngx_http_gitpod_wake_begin(r, ctx, route, now);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    wait = ctx->wait;
    wait->version = route->version;
    wait->queued = 1;

    ngx_queue_insert_tail(&ngx_http_gitpod_waits, &wait->queue);
    ngx_http_gitpod_waits_n++;

    ms = (wait->deadline_ms > now) ? (ngx_msec_t) (wait->deadline_ms - now)
                                   : 1;

    /* asked for, and still not on its way: perhaps it has to be again */

    if (route->phase == NGX_GITPOD_PHASE_STOPPED) {
        ms = ngx_min(ms, NGX_HTTP_GITPOD_WAKE_AGAIN_MS);
    }

    ngx_add_timer(&wait->event, ms);

    if (!ngx_http_gitpod_wake_timer.timer_set) {

        /* something may move this moment: the first look takes all for new */

        ngx_http_gitpod_wake_routes = (uint64_t) -1;

        ngx_http_gitpod_timer_start(&ngx_http_gitpod_wake_timer,
                                    ngx_http_gitpod_wake_look,
                                    NGX_HTTP_GITPOD_WAKE_LOOK_MS);
    }

    /* a client that leaves ends its request */

    if (r->connection->read->ready) {
        ngx_post_event(r->connection->read, &ngx_posted_events);

    } else if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    return NGX_AGAIN;
}


/* Unless too many wait: NGX_OK, or the answer. */

static ngx_int_t
ngx_http_gitpod_wake_begin(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_gitpod_route_t *route, uint64_t now)
{
    ngx_http_gitpod_wait_t              *wait;
    ngx_http_gitpod_manager_loc_conf_t  *mlcf;

    mlcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_manager_module);

    if (ngx_http_gitpod_wake_waiters(&ctx->workspace_id) >= mlcf->waiters
        || ngx_http_gitpod_waits_n >= NGX_HTTP_GITPOD_WAKE_WAITERS_MAX)
    {
        return ngx_http_gitpod_wake_failed(r, ctx,
                   NGX_GITPOD_N_WAKE_FULL, "too many wait",
                   "The workspace is starting, and too many wait for it. "
                   "Try again");
    }

    wait = ngx_pcalloc(r->pool, sizeof(ngx_http_gitpod_wait_t));
    if (wait == NULL) {
        return NGX_ERROR;
    }

    wait->ctx = ctx;
    wait->deadline_ms = now + mlcf->wake;
    wait->instance_len = route->instance_len;
    ngx_memcpy(wait->instance, route->instance, route->instance_len);

    wait->event.handler = ngx_http_gitpod_wake_woken;
    wait->event.data = wait;
    wait->event.log = r->connection->log;

    ctx->wait = wait;

    return NGX_OK;
}


static ngx_uint_t
ngx_http_gitpod_wake_waiters(ngx_str_t *workspace)
{
    ngx_str_t               *id;
    ngx_uint_t               n;
    ngx_queue_t             *q;
    ngx_http_gitpod_wait_t  *wait;

    n = 0;

    for (q = ngx_queue_head(&ngx_http_gitpod_waits);
         q != ngx_queue_sentinel(&ngx_http_gitpod_waits);
         q = ngx_queue_next(q))
    {
        wait = ngx_queue_data(q, ngx_http_gitpod_wait_t, queue);
        id = &wait->ctx->workspace_id;

        n += id->len == workspace->len
             && ngx_memcmp(id->data, workspace->data, id->len) == 0;
    }

    return n;
}


static ngx_int_t
ngx_http_gitpod_wake_failed(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_gitpod_counter_e counter, char *reason, char *text)
{
    ngx_gitpod_count(ctx->zone, counter);
    ngx_http_gitpod_ctx_refuse(ctx, reason);

    return ngx_http_gitpod_reply_error(r, NGX_HTTP_SERVICE_UNAVAILABLE, text);
}


/* The workspace runs, and this request goes to it. */

void
ngx_http_gitpod_wake_done(ngx_http_gitpod_ctx_t *ctx)
{
    if (ctx->wait) {
        ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_WAKE_RUNNING);
        ctx->wait = NULL;
    }
}


/* The request ends. */

void
ngx_http_gitpod_wake_leave(ngx_http_gitpod_ctx_t *ctx)
{
    ngx_http_gitpod_wait_t  *wait;

    wait = ctx->wait;

    if (wait == NULL) {
        return;
    }

    if (wait->queued) {
        wait->queued = 0;
        ngx_queue_remove(&wait->queue);
        ngx_http_gitpod_waits_n--;
        ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_WAKE_GONE);
    }

    if (wait->event.timer_set) {
        ngx_del_timer(&wait->event);
    }

    if (wait->event.posted) {
        ngx_delete_posted_event(&wait->event);
    }
}


static void
ngx_http_gitpod_wake_look(ngx_event_t *ev)
{
    uint64_t                 routes;
    ngx_queue_t             *q;
    ngx_gitpod_zone_t       *zone;
    ngx_gitpod_route_t       route;
    ngx_atomic_uint_t        refused;
    ngx_http_gitpod_wait_t  *wait;

    if (ngx_queue_empty(&ngx_http_gitpod_waits)) {

        /* the next one that waits starts the timer again */

        return;
    }

    ngx_add_timer(ev, NGX_HTTP_GITPOD_WAKE_LOOK_MS);

    q = ngx_queue_head(&ngx_http_gitpod_waits);
    wait = ngx_queue_data(q, ngx_http_gitpod_wait_t, queue);
    zone = wait->ctx->zone;

    routes = ngx_gitpod_route_sequence(zone);
    refused = ngx_gitpod_wakes_refused(zone);

    if (routes == ngx_http_gitpod_wake_routes
        && refused == ngx_http_gitpod_wake_refused)
    {
        return;
    }

    for ( /* void */ ;
         q != ngx_queue_sentinel(&ngx_http_gitpod_waits);
         q = ngx_queue_next(q))
    {
        wait = ngx_queue_data(q, ngx_http_gitpod_wait_t, queue);

        if (!wait->event.posted
            && (refused != ngx_http_gitpod_wake_refused
                || ngx_gitpod_route_get(zone, &wait->ctx->workspace_id,
                                        &route)
                   != NGX_OK
                || route.version != wait->version))
        {
            ngx_post_event(&wait->event, &ngx_posted_events);
        }
    }

    ngx_http_gitpod_wake_routes = routes;
    ngx_http_gitpod_wake_refused = refused;
}


static void
ngx_http_gitpod_wake_woken(ngx_event_t *ev)
{
    ngx_connection_t        *c;
    ngx_http_request_t      *r;
    ngx_http_gitpod_wait_t  *wait;

    wait = ev->data;
    r = wait->ctx->request;
    c = r->connection;

    wait->late = (ngx_gitpod_now_ms() >= wait->deadline_ms);
    wait->queued = 0;
    ngx_queue_remove(&wait->queue);
    ngx_http_gitpod_waits_n--;

    if (ev->timer_set) {
        ngx_del_timer(ev);
    }

    if (ev->posted) {
        ngx_delete_posted_event(ev);
    }

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;

    ngx_http_core_run_phases(r);
    ngx_http_run_posted_requests(c);
}


void
ngx_http_gitpod_wake_exit(void)
{
    ngx_queue_t              *q;
    ngx_http_gitpod_start_t  *start;

    if (ngx_http_gitpod_starts.next == NULL) {
        return;
    }

    while (!ngx_queue_empty(&ngx_http_gitpod_starts)) {
        q = ngx_queue_head(&ngx_http_gitpod_starts);
        ngx_queue_remove(q);

        start = ngx_queue_data(q, ngx_http_gitpod_start_t, queue);

        ngx_http_gitpod_fastcgi_cancel(start->fastcgi);
        ngx_free(start);
    }
}

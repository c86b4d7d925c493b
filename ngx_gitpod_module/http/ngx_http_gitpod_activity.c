
/*
 * gitpod_activity: who is at work in a workspace, as far as the gateway sees
 * it, and the reports of it.
 *
 * A person at work opens pages, changes things, and above all sends WebSocket
 * frames.  An editor sends frames on its own too, and deflates them, so what
 * tells a person is how many come how fast, and that they are not the very
 * short ones of its keep-alive (measured: docs/adr/019-activity.md).  Pings,
 * polls and what a workspace says itself count for nothing.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/contract.h"
#include "core/websocket.h"

#include "ngx_gitpod_zone.h"
#include "ngx_http_gitpod_manager.h"
#include "ngx_http_gitpod_request.h"


#define NGX_HTTP_GITPOD_FRAMES_WINDOW  5    /* s */
#define NGX_HTTP_GITPOD_FRAMES_N       10   /* in a window: somebody works */
#define NGX_HTTP_GITPOD_FRAMES_EDITOR  12   /* bytes; shorter: keep-alive */
#define NGX_HTTP_GITPOD_FRAMES_PORT    1    /* bytes; an empty one is a ping */

#define NGX_HTTP_GITPOD_REPORT_SOON    1    /* ms: there is more to report */
#define NGX_HTTP_GITPOD_REPORT_ENTRY                                          \
    (sizeof("{\"workspaceId\":\"\",\"idleSeconds\":},") - 1                   \
     + GP_WORKSPACE_ID_MAX + NGX_INT32_LEN)
#define NGX_HTTP_GITPOD_REPORT_MAX                                            \
    (sizeof("{\"workspaces\":[]}") - 1                                        \
     + GP_ACTIVITY_BATCH_MAX * NGX_HTTP_GITPOD_REPORT_ENTRY)


_Static_assert(NGX_HTTP_GITPOD_REPORT_MAX <= NGX_HTTP_GITPOD_FASTCGI_BODY_MAX,
               "a report fits one FastCGI record");


/* of an upgraded connection */

struct ngx_http_gitpod_frames_s {
    gp_websocket_t     reader;
    ngx_recv_pt        recv;            /* the connection's own */
    uint64_t           len_min;
    time_t             window;          /* when it began */
    time_t             noted;
    ngx_uint_t         n;               /* frames in it */
};


static void ngx_http_gitpod_activity_watch(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static ssize_t ngx_http_gitpod_activity_recv(ngx_connection_t *c, u_char *buf,
    size_t size);
static void ngx_http_gitpod_activity_read(ngx_http_gitpod_ctx_t *ctx,
    u_char *p, size_t len);
static void ngx_http_gitpod_activity_frame(ngx_http_gitpod_ctx_t *ctx,
    uint64_t len);
static void ngx_http_gitpod_activity_report(ngx_event_t *ev);
static void ngx_http_gitpod_activity_send(ngx_log_t *log);
static void ngx_http_gitpod_activity_answer(void *data, ngx_int_t status,
    ngx_str_t *text);
static void ngx_http_gitpod_activity_failed(ngx_log_t *log, ngx_str_t *text);


/* of this worker */

static ngx_http_gitpod_manager_main_conf_t  *ngx_http_gitpod_activity_conf;
static ngx_gitpod_zone_t          *ngx_http_gitpod_activity_zone;
static ngx_event_t                 ngx_http_gitpod_activity_timer;
static ngx_http_gitpod_fastcgi_t  *ngx_http_gitpod_activity_call;
static ngx_uint_t                  ngx_http_gitpod_activity_failing;
static ngx_uint_t                  ngx_http_gitpod_activity_n;
static ngx_gitpod_activity_t  ngx_http_gitpod_activity_list[
                                                      GP_ACTIVITY_BATCH_MAX];


/* A request that may go on to its workspace. */

void
ngx_http_gitpod_activity_request(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    ngx_http_gitpod_manager_loc_conf_t  *mlcf;

    mlcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_manager_module);

    if (!mlcf->activity) {
        return;
    }

    if (ctx->port == 0) {

        if (ctx->credential == NGX_HTTP_GITPOD_NONE) {
            return;
        }

    } else if (mlcf->ports == NGX_HTTP_GITPOD_ACTIVITY_PORTS_NONE
               || (mlcf->ports == NGX_HTTP_GITPOD_ACTIVITY_PORTS_OWNER
                   && ctx->credential == NGX_HTTP_GITPOD_NONE))
    {
        return;
    }

    if (ctx->upgrade) {
        ngx_http_gitpod_activity_watch(r, ctx);
        return;
    }

    /* programs poll the supervisor; it knows itself what is a heartbeat */

    if (ctx->port == 0
        && r->uri.len >= sizeof(GP_PATH_SUPERVISOR) - 1
        && ngx_memcmp(r->uri.data, GP_PATH_SUPERVISOR,
                      sizeof(GP_PATH_SUPERVISOR) - 1)
           == 0)
    {
        return;
    }

    if (ctx->page
        || !(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD|NGX_HTTP_OPTIONS)))
    {
        ngx_gitpod_activity_note(ctx->zone, &ctx->workspace_id);
    }
}


/*
 * What the client will send goes by ngx_http_gitpod_activity_recv().  Until
 * the workspace agrees to the upgrade nobody reads from the connection; if it
 * does not, the next request finds the connection as it was.
 */

static void
ngx_http_gitpod_activity_watch(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    ngx_str_t                 *value;
    ngx_connection_t          *c;
    ngx_http_gitpod_frames_t  *frames;

    value = &r->headers_in.upgrade->value;

    if (value->len != sizeof("websocket") - 1
        || ngx_strncasecmp(value->data, (u_char *) "websocket", value->len)
           != 0)
    {
        return;
    }

#if (NGX_HTTP_V2)
    if (r->stream) {
        return;
    }
#endif

    if (ctx->frames) {
        return;
    }

    frames = ngx_pcalloc(r->pool, sizeof(ngx_http_gitpod_frames_t));
    if (frames == NULL) {
        return;
    }

    c = r->connection;

    frames->recv = c->recv;
    frames->len_min = ctx->port ? NGX_HTTP_GITPOD_FRAMES_PORT
                                : NGX_HTTP_GITPOD_FRAMES_EDITOR;
    ctx->frames = frames;
    c->recv = ngx_http_gitpod_activity_recv;

    /* frames that came in one piece with the request */

    if (r->header_in->last > r->header_in->pos) {
        ngx_http_gitpod_activity_read(ctx, r->header_in->pos,
                                      r->header_in->last - r->header_in->pos);
    }
}


/* The request ends: its connection may have another one. */

void
ngx_http_gitpod_activity_unwatch(ngx_http_gitpod_ctx_t *ctx)
{
    if (ctx->frames) {
        ctx->request->connection->recv = ctx->frames->recv;
        ctx->frames = NULL;
    }
}


static ssize_t
ngx_http_gitpod_activity_recv(ngx_connection_t *c, u_char *buf, size_t size)
{
    ssize_t                 n;
    ngx_http_gitpod_ctx_t  *ctx;

    ctx = ngx_http_gitpod_ctx_get(c->data);

    n = ctx->frames->recv(c, buf, size);

    if (n > 0) {
        ngx_http_gitpod_activity_read(ctx, buf, n);
    }

    return n;
}


static void
ngx_http_gitpod_activity_read(ngx_http_gitpod_ctx_t *ctx, u_char *p,
    size_t len)
{
    int                        rc;
    size_t                     size;
    const uint8_t             *data;
    gp_websocket_frame_t       frame;

    data = p;
    size = len;

    while ((rc = gp_websocket_read(&ctx->frames->reader, &data, &size,
                                   &frame))
           == 1)
    {
        if (frame.opcode <= GP_WEBSOCKET_BINARY) {
            ngx_http_gitpod_activity_frame(ctx, frame.len);
        }
    }

    /* some editors ask for bare bytes after the upgrade */

    if (rc < 0) {
        ngx_http_gitpod_activity_frame(ctx, len);
    }
}


static void
ngx_http_gitpod_activity_frame(ngx_http_gitpod_ctx_t *ctx, uint64_t len)
{
    ngx_http_gitpod_frames_t  *frames;

    frames = ctx->frames;

    if (len < frames->len_min) {
        return;
    }

    if (ngx_time() - frames->window >= NGX_HTTP_GITPOD_FRAMES_WINDOW) {
        frames->window = ngx_time();
        frames->n = 0;
    }

    if (++frames->n >= NGX_HTTP_GITPOD_FRAMES_N
        && frames->noted != ngx_time())
    {
        frames->noted = ngx_time();
        ngx_gitpod_activity_note(ctx->zone, &ctx->workspace_id);
    }
}


void
ngx_http_gitpod_activity_init(ngx_http_gitpod_manager_main_conf_t *mmcf,
    ngx_gitpod_zone_t *zone)
{
    ngx_http_gitpod_activity_conf = mmcf;
    ngx_http_gitpod_activity_zone = zone;

    ngx_http_gitpod_timer_start(&ngx_http_gitpod_activity_timer,
                                ngx_http_gitpod_activity_report,
                                mmcf->interval);
}


void
ngx_http_gitpod_activity_exit(void)
{
    if (ngx_http_gitpod_activity_call) {
        ngx_http_gitpod_fastcgi_cancel(ngx_http_gitpod_activity_call);
        ngx_http_gitpod_activity_call = NULL;
    }
}


/* An empty report tells that the gateway would see it. */

static void
ngx_http_gitpod_activity_report(ngx_event_t *ev)
{
    ngx_add_timer(ev, ngx_http_gitpod_activity_conf->interval);

    if (ngx_http_gitpod_activity_call
        || !ngx_gitpod_lease_held(ngx_http_gitpod_activity_zone))
    {
        return;
    }

    ngx_http_gitpod_activity_n = ngx_gitpod_activity_collect(
                                               ngx_http_gitpod_activity_zone,
                                               ngx_http_gitpod_activity_list,
                                               GP_ACTIVITY_BATCH_MAX);

    ngx_http_gitpod_activity_send(ev->log);
}


static void
ngx_http_gitpod_activity_send(ngx_log_t *log)
{
    u_char                 *p;
    uint64_t                now;
    ngx_str_t               body;
    ngx_uint_t              i;
    ngx_gitpod_activity_t  *entry;

    static ngx_str_t        path =
               ngx_string(NGX_HTTP_GITPOD_MANAGER_SERVICE "ReportActivity");
    static ngx_str_t        memory = ngx_string("out of memory");
    static ngx_str_t        connect = ngx_string("cannot connect");

    body.data = ngx_alloc(NGX_HTTP_GITPOD_REPORT_MAX, log);
    if (body.data == NULL) {
        ngx_http_gitpod_activity_failed(log, &memory);
        return;
    }

    now = ngx_gitpod_now_ms();
    p = ngx_cpymem(body.data, "{\"workspaces\":[",
                   sizeof("{\"workspaces\":[") - 1);

    for (i = 0; i < ngx_http_gitpod_activity_n; i++) {
        entry = &ngx_http_gitpod_activity_list[i];

        p = ngx_sprintf(p, "%s{\"workspaceId\":\"%*s\",\"idleSeconds\":%uD}",
                        i ? "," : "", (size_t) entry->id_len, entry->id,
                        (uint32_t) ((now - entry->active_ms) / 1000));
    }

    p = ngx_cpymem(p, "]}", 2);
    body.len = p - body.data;

    ngx_http_gitpod_activity_call = ngx_http_gitpod_fastcgi_call(
                                     &ngx_http_gitpod_activity_conf->addr,
                                     &path, &body,
                                     ngx_http_gitpod_activity_conf->timeout,
                                     log, ngx_http_gitpod_activity_answer,
                                     log);

    ngx_free(body.data);

    if (ngx_http_gitpod_activity_call == NULL) {
        ngx_http_gitpod_activity_failed(log, &connect);
    }
}


static void
ngx_http_gitpod_activity_answer(void *data, ngx_int_t status,
    ngx_str_t *text)
{
    ngx_log_t *log = data;

    ngx_http_gitpod_activity_call = NULL;

    if (status != NGX_HTTP_OK) {
        ngx_http_gitpod_activity_failed(log, text);
        return;
    }

    ngx_gitpod_count(ngx_http_gitpod_activity_zone, NGX_GITPOD_N_REPORT_OK);

    ngx_gitpod_activity_done(ngx_http_gitpod_activity_zone,
                             ngx_http_gitpod_activity_list,
                             ngx_http_gitpod_activity_n);

    if (ngx_http_gitpod_activity_failing) {
        ngx_http_gitpod_activity_failing = 0;
        ngx_log_error(NGX_LOG_NOTICE, log, 0,
                      "gitpod: ws_manager takes reports of activity again");
    }

    if (ngx_http_gitpod_activity_n == GP_ACTIVITY_BATCH_MAX && !ngx_exiting) {
        ngx_add_timer(&ngx_http_gitpod_activity_timer,
                      NGX_HTTP_GITPOD_REPORT_SOON);
    }
}


/* Nothing is lost: the next report has it. */

static void
ngx_http_gitpod_activity_failed(ngx_log_t *log, ngx_str_t *text)
{
    ngx_gitpod_count(ngx_http_gitpod_activity_zone,
                     NGX_GITPOD_N_REPORT_FAILED);

    if (!ngx_http_gitpod_activity_failing) {
        ngx_http_gitpod_activity_failing = 1;
        ngx_log_error(NGX_LOG_WARN, log, 0,
                      "gitpod: ws_manager takes no report of activity: %V",
                      text);
    }
}


/*
 * grpc.health.v1.Health/Watch: a message now, and one whenever what /ready
 * says changes.  A worker looks four times a second for all of its watchers.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/grpc.h"

#include "ngx_http_gitpod_grpc.h"
#include "ngx_http_gitpod_probe.h"


#define NGX_HTTP_GITPOD_WATCH_MS        250
#define NGX_HTTP_GITPOD_WATCHERS_MAX    256     /* of a worker */
#define NGX_HTTP_GITPOD_WATCH_MESSAGES  1000    /* then it may ask again */


/* HealthCheckResponse.ServingStatus */

#define NGX_HTTP_GITPOD_SERVING          1
#define NGX_HTTP_GITPOD_NOT_SERVING      2
#define NGX_HTTP_GITPOD_SERVICE_UNKNOWN  3


typedef struct {
    ngx_queue_t          queue;
    ngx_http_request_t  *request;
    ngx_uint_t           status;            /* that it was told */
    ngx_uint_t           messages;
} ngx_http_gitpod_watcher_t;


static ngx_int_t ngx_http_gitpod_watch_begin(ngx_http_request_t *r);
static void ngx_http_gitpod_watch_add(ngx_http_gitpod_watcher_t *w);
static void ngx_http_gitpod_watch_remove(void *data);
static void ngx_http_gitpod_watch_look(ngx_event_t *ev);
static void ngx_http_gitpod_watch_judge(ngx_http_gitpod_watcher_t *w,
    ngx_uint_t status);
static ngx_int_t ngx_http_gitpod_watch_tell(ngx_http_gitpod_watcher_t *w,
    ngx_uint_t status);
static ngx_int_t ngx_http_gitpod_watch_send(ngx_http_request_t *r,
    ngx_str_t *text, ngx_uint_t last);
static void ngx_http_gitpod_watch_write(ngx_http_request_t *r);


/* of this worker */

static ngx_queue_t  ngx_http_gitpod_watchers;
static ngx_uint_t   ngx_http_gitpod_watchers_n;
static ngx_event_t  ngx_http_gitpod_watch_timer;


static ngx_str_t  ngx_http_gitpod_watch_messages[] = {
    ngx_string("\0\0\0\0\2\x08\0"),
    ngx_string("\0\0\0\0\2\x08\1"),
    ngx_string("\0\0\0\0\2\x08\2"),
    ngx_string("\0\0\0\0\2\x08\3")
};

static ngx_str_t  ngx_http_gitpod_watch_full =
    ngx_string("\x80\0\0\0\x3e" "grpc-status: 8\r\n"
               "grpc-message: Too many watch. Ask with Check\r\n");

static ngx_str_t  ngx_http_gitpod_watch_over =
    ngx_string("\x80\0\0\0\x38" "grpc-status: 14\r\n"
               "grpc-message: The gateway ends. Again\r\n");


void
ngx_http_gitpod_grpc_watch(ngx_http_request_t *r, ngx_uint_t known)
{
    ngx_int_t                   rc;
    ngx_pool_cleanup_t         *cln;
    ngx_http_gitpod_watcher_t  *w;

    rc = ngx_http_gitpod_watch_begin(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        ngx_http_finalize_request(r, rc);
        return;
    }

    if (ngx_http_gitpod_watchers_n == NGX_HTTP_GITPOD_WATCHERS_MAX) {
        rc = ngx_http_gitpod_watch_send(r, &ngx_http_gitpod_watch_full, 1);
        ngx_http_finalize_request(r, rc);
        return;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_gitpod_watcher_t));
    if (cln == NULL) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }

    w = cln->data;
    ngx_memzero(w, sizeof(ngx_http_gitpod_watcher_t));

    w->request = r;
    ngx_http_gitpod_watch_add(w);

    cln->handler = ngx_http_gitpod_watch_remove;

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_gitpod_watch_write;

    rc = ngx_http_gitpod_watch_tell(w,
             !known ? NGX_HTTP_GITPOD_SERVICE_UNKNOWN
                    : ngx_http_gitpod_probe_is_ready(r)
                      ? NGX_HTTP_GITPOD_SERVING
                      : NGX_HTTP_GITPOD_NOT_SERVING);

    if (rc == NGX_ERROR) {
        ngx_http_finalize_request(r, NGX_ERROR);
    }
}


static ngx_int_t
ngx_http_gitpod_watch_begin(ngx_http_request_t *r)
{
    r->headers_out.status = NGX_HTTP_OK;
    ngx_str_set(&r->headers_out.content_type, GP_GRPC_WEB_TYPE "+proto");
    r->headers_out.content_type_len = r->headers_out.content_type.len;

    return ngx_http_send_header(r);
}


static void
ngx_http_gitpod_watch_add(ngx_http_gitpod_watcher_t *w)
{
    if (ngx_http_gitpod_watchers.next == NULL) {
        ngx_queue_init(&ngx_http_gitpod_watchers);
    }

    ngx_queue_insert_tail(&ngx_http_gitpod_watchers, &w->queue);
    ngx_http_gitpod_watchers_n++;

    if (ngx_http_gitpod_watch_timer.timer_set) {
        return;
    }

    ngx_http_gitpod_timer_start(&ngx_http_gitpod_watch_timer,
                                ngx_http_gitpod_watch_look,
                                NGX_HTTP_GITPOD_WATCH_MS);

    /* a worker that exits ends them first */

    ngx_http_gitpod_watch_timer.cancelable = 0;
}


static void
ngx_http_gitpod_watch_remove(void *data)
{
    ngx_http_gitpod_watcher_t *w = data;

    ngx_queue_remove(&w->queue);
    ngx_http_gitpod_watchers_n--;
}


static void
ngx_http_gitpod_watch_look(ngx_event_t *ev)
{
    ngx_queue_t                *q, *next;
    ngx_uint_t                  status;
    ngx_http_gitpod_watcher_t  *w;

    if (ngx_queue_empty(&ngx_http_gitpod_watchers)) {

        /* the next watcher starts the timer again */

        return;
    }

    q = ngx_queue_head(&ngx_http_gitpod_watchers);
    w = ngx_queue_data(q, ngx_http_gitpod_watcher_t, queue);

    status = ngx_http_gitpod_probe_is_ready(w->request)
             ? NGX_HTTP_GITPOD_SERVING : NGX_HTTP_GITPOD_NOT_SERVING;

    for ( ; q != ngx_queue_sentinel(&ngx_http_gitpod_watchers); q = next) {
        next = ngx_queue_next(q);
        w = ngx_queue_data(q, ngx_http_gitpod_watcher_t, queue);

        ngx_http_gitpod_watch_judge(w, status);
    }

    if (!ngx_exiting) {
        ngx_add_timer(ev, NGX_HTTP_GITPOD_WATCH_MS);
    }
}


static void
ngx_http_gitpod_watch_judge(ngx_http_gitpod_watcher_t *w, ngx_uint_t status)
{
    ngx_int_t            rc;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = w->request;
    c = r->connection;

    if (ngx_exiting || w->messages == NGX_HTTP_GITPOD_WATCH_MESSAGES) {
        rc = ngx_http_gitpod_watch_send(r, &ngx_http_gitpod_watch_over, 1);
        ngx_http_finalize_request(r, rc);

    } else if (w->status != NGX_HTTP_GITPOD_SERVICE_UNKNOWN
               && w->status != status
               && ngx_http_gitpod_watch_tell(w, status) == NGX_ERROR)
    {
        ngx_http_finalize_request(r, NGX_ERROR);
    }

    ngx_http_run_posted_requests(c);
}


/* Who did not read the last message yet gets no more. */

static ngx_int_t
ngx_http_gitpod_watch_tell(ngx_http_gitpod_watcher_t *w, ngx_uint_t status)
{
    ngx_http_request_t  *r;

    r = w->request;

    if (w->messages && (r->buffered || r->connection->buffered)) {
        return NGX_ERROR;
    }

    w->status = status;
    w->messages++;

    return ngx_http_gitpod_watch_send(r,
                                      &ngx_http_gitpod_watch_messages[status],
                                      0);
}


static ngx_int_t
ngx_http_gitpod_watch_send(ngx_http_request_t *r, ngx_str_t *text,
    ngx_uint_t last)
{
    ngx_buf_t    *b;
    ngx_chain_t   out;

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = text->data;
    b->last = text->data + text->len;
    b->memory = 1;
    b->flush = !last;
    b->last_buf = last;
    b->last_in_chain = last;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


static void
ngx_http_gitpod_watch_write(ngx_http_request_t *r)
{
    if (ngx_http_output_filter(r, NULL) == NGX_ERROR) {
        ngx_http_finalize_request(r, NGX_ERROR);
    }
}

#include <stdlib.h>
#include <string.h>

#include "base/die.h"
#include "core/code.h"
#include "net/fcgi_internal.h"

/* The side of a request that any thread may call. */


gp_fcgi_request_t *gp_fcgi_request_new(gp_fcgi_server_t *server, gp_fcgi_conn_t *conn, uint16_t id, bool keep_conn)
{
    gp_fcgi_request_t *req;

    req = calloc(1, sizeof(gp_fcgi_request_t));
    if (req == NULL) {
        gp_die("out of memory: a request");
    }

    req->server = server;
    req->conn = conn;
    req->id = id;
    req->keep_conn = keep_conn;
    atomic_init(&req->refs, 1);
    gp_buf_init(&req->params, GP_FCGI_PARAMS_MAX);
    gp_buf_init(&req->body, server->conf.body_limit);
    pthread_mutex_init(&req->lock, NULL);

    return req;
}


void gp_fcgi_request_ref(gp_fcgi_request_t *req)
{
    atomic_fetch_add_explicit(&req->refs, 1, memory_order_relaxed);
}


void gp_fcgi_request_unref(gp_fcgi_request_t *req)
{
    gp_fcgi_chunk_t *chunk;

    if (atomic_fetch_sub_explicit(&req->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }

    if (req->data_free != NULL) {
        req->data_free(req->data);
    }

    while (req->out != NULL) {
        chunk = req->out;
        req->out = chunk->next;
        free(chunk);
    }

    gp_buf_done(&req->params);
    gp_buf_done(&req->body);
    pthread_mutex_destroy(&req->lock);
    free(req);
}


const char *gp_fcgi_request_param(const gp_fcgi_request_t *req, const char *name)
{
    return gp_fcgi_params_get(req->params.data, req->params.len, name);
}


const void *gp_fcgi_request_body(const gp_fcgi_request_t *req, size_t *ret_len)
{
    *ret_len = req->body.len;

    return req->body.data ? req->body.data : "";
}


enum gp_fcgi_size gp_fcgi_request_size(const gp_fcgi_request_t *req)
{
    return req->size;
}


bool gp_fcgi_request_gone(const gp_fcgi_request_t *req)
{
    return atomic_load_explicit(&req->gone, memory_order_acquire);
}


void gp_fcgi_request_set_deadline(gp_fcgi_request_t *req, uint64_t deadline_ms)
{
    req->deadline_ms = deadline_ms;
}


uint64_t gp_fcgi_request_deadline(const gp_fcgi_request_t *req)
{
    return req->deadline_ms;
}


void gp_fcgi_request_set_data(gp_fcgi_request_t *req, void *data, void (*free_fn)(void *data))
{
    req->data = data;
    req->data_free = free_fn;
}


void *gp_fcgi_request_data(const gp_fcgi_request_t *req)
{
    return req->data;
}


/* The framed form of parts: STDOUT records, and END_REQUEST when it is the last. */
static gp_fcgi_chunk_t *gp_fcgi_chunk_new(gp_fcgi_request_t *req, const struct iovec *parts, int parts_n, size_t total, bool last)
{
    gp_fcgi_chunk_t *chunk;
    size_t records, len, left, room, n;
    const char *from;
    char *to;
    int i;

    records = (total + GP_FCGI_CONTENT_MAX - 1) / GP_FCGI_CONTENT_MAX;
    len = total + records * GP_FCGI_HEADER_LEN + (last ? GP_FCGI_END_LEN : 0);

    chunk = malloc(sizeof(gp_fcgi_chunk_t) + len);
    if (chunk == NULL) {
        gp_die("out of memory: a reply of %zu bytes", total);
    }
    chunk->next = NULL;
    chunk->req = NULL;
    chunk->len = len;
    chunk->last = last;

    to = chunk->bytes;
    left = total; /* of the reply */
    room = 0; /* of the record */
    for (i = 0; i < parts_n; i++) {
        from = parts[i].iov_base;
        for (n = parts[i].iov_len; n > 0;) {
            size_t piece;

            if (room == 0) {
                room = left < GP_FCGI_CONTENT_MAX ? left : GP_FCGI_CONTENT_MAX;
                gp_fcgi_put_header((uint8_t *) to, GP_FCGI_STDOUT, req->id, room);
                to += GP_FCGI_HEADER_LEN;
            }

            piece = n < room ? n : room;
            memcpy(to, from, piece);
            to += piece;
            from += piece;
            n -= piece;
            room -= piece;
            left -= piece;
        }
    }

    if (last) {
        gp_fcgi_put_end((uint8_t *) to, req->id, GP_FCGI_REQUEST_COMPLETE);
    }

    return chunk;
}


void gp_fcgi_request_list(gp_fcgi_request_t *req)
{
    gp_fcgi_server_t *server = req->server;
    bool wake;

    gp_fcgi_request_ref(req);
    pthread_mutex_lock(&server->dirty_lock);
    wake = server->dirty == NULL;
    req->dirty_next = server->dirty;
    server->dirty = req;
    pthread_mutex_unlock(&server->dirty_lock);

    if (wake) {
        (void) uv_async_send(&server->wake); /* fails only on a closed handle */
    }
}


static int gp_fcgi_request_put(gp_fcgi_request_t *req, const struct iovec *parts, int parts_n, size_t queue_limit, bool last)
{
    gp_fcgi_chunk_t *chunk;
    size_t total;
    bool list;
    int i, rc;

    total = 0;
    for (i = 0; i < parts_n; i++) {
        total += parts[i].iov_len;
    }

    chunk = gp_fcgi_chunk_new(req, parts, parts_n, total, last);

    rc = 0;
    list = false;
    pthread_mutex_lock(&req->lock);
    if (req->finished || gp_fcgi_request_gone(req)) {
        rc = -GP_CANCELED;
    } else if (queue_limit != 0 && req->queued + chunk->len > queue_limit) {
        rc = -GP_RESOURCE_EXHAUSTED;
    } else {
        if (req->out == NULL) {
            req->out = chunk;
        } else {
            req->out_last->next = chunk;
        }
        req->out_last = chunk;
        req->queued += chunk->len;
        req->finished = last;
        chunk = NULL;
        list = !req->listed;
        req->listed = true;
    }
    if (last) {
        req->finished = true;
        atomic_store_explicit(&req->gone, true, memory_order_release);
    }
    pthread_mutex_unlock(&req->lock);

    free(chunk);
    if (list) {
        gp_fcgi_request_list(req);
    }

    return rc;
}


int gp_fcgi_request_write(gp_fcgi_request_t *req, const struct iovec *parts, int parts_n, size_t queue_limit)
{
    return gp_fcgi_request_put(req, parts, parts_n, queue_limit, false);
}


int gp_fcgi_request_finish(gp_fcgi_request_t *req, const struct iovec *parts, int parts_n)
{
    return gp_fcgi_request_put(req, parts, parts_n, 0, true);
}


void gp_fcgi_request_on_gone(gp_fcgi_request_t *req, void (*fn)(gp_fcgi_request_t *req, void *data), void *data)
{
    bool list;

    list = false;
    pthread_mutex_lock(&req->lock);
    req->on_gone = fn;
    req->on_gone_data = data;
    if (fn != NULL && gp_fcgi_request_gone(req)) {
        list = !req->listed;
        req->listed = true;
    }
    pthread_mutex_unlock(&req->lock);

    if (list) {
        gp_fcgi_request_list(req);
    }
}


gp_fcgi_chunk_t *gp_fcgi_request_take(gp_fcgi_request_t *req, void (**ret_gone)(gp_fcgi_request_t *, void *), void **ret_gone_data)
{
    gp_fcgi_chunk_t *chunks;

    *ret_gone = NULL;
    pthread_mutex_lock(&req->lock);
    req->listed = false;
    chunks = req->out;
    req->out = NULL;
    req->out_last = NULL;
    if (gp_fcgi_request_gone(req)) {
        *ret_gone = req->on_gone;
        *ret_gone_data = req->on_gone_data;
        req->on_gone = NULL;
    }
    pthread_mutex_unlock(&req->lock);

    return chunks;
}


void gp_fcgi_request_sent(gp_fcgi_request_t *req, size_t len)
{
    pthread_mutex_lock(&req->lock);
    req->queued -= len;
    pthread_mutex_unlock(&req->lock);
}

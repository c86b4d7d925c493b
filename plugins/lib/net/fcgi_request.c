#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/die.h"
#include "core/code.h"
#include "net/fcgi_internal.h"

/* The side of a request that any thread may call. */
#define GP_FCGI_PARTS_MAX 4 /* pieces of a reply that are sent without copying */


gp_fcgi_request_t *gp_fcgi_request_new(gp_fcgi_server_t *server, gp_fcgi_conn_t *conn, uint16_t id, bool keep_conn)
{
    gp_fcgi_request_t *req;

    req = calloc(1, sizeof(gp_fcgi_request_t));
    if (req == NULL) {
        gp_die("out of memory: a request");
    }

    req->server = server;
    req->id = id;
    req->keep_conn = keep_conn;
    atomic_init(&req->refs, 1);
    gp_buf_init(&req->params, GP_FCGI_PARAMS_MAX);
    gp_buf_init(&req->body, server->conf.body_limit);
    pthread_mutex_init(&req->lock, NULL);
    req->counted = true;
    req->fd = conn->fd;

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


void gp_fcgi_request_find(const gp_fcgi_request_t *req, const gp_span_t *names, size_t names_n, const char **values)
{
    gp_fcgi_params_find(req->params.data, req->params.len, names, names_n, values);
}


const void *gp_fcgi_request_body(const gp_fcgi_request_t *req, size_t *ret_len)
{
    *ret_len = req->body.len;

    return req->body.data ? req->body.data : "";
}


void gp_fcgi_request_drop_body(gp_fcgi_request_t *req)
{
    gp_buf_done(&req->body);
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
    chunk->sent = 0;
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


/* Of a request that has just been marked as listed. */
static void gp_fcgi_request_push(gp_fcgi_request_t *req)
{
    gp_fcgi_server_t *server = req->server;
    bool wake;

    gp_fcgi_request_ref(req);
    pthread_mutex_lock(&server->shared_lock);
    wake = server->dirty == NULL;
    req->dirty_next = server->dirty;
    server->dirty = req;
    pthread_mutex_unlock(&server->shared_lock);

    if (wake) {
        (void) uv_async_send(&server->wake); /* fails only on a closed handle */
    }
}


void gp_fcgi_request_list(gp_fcgi_request_t *req)
{
    bool listed;

    pthread_mutex_lock(&req->lock);
    listed = req->listed;
    req->listed = true;
    pthread_mutex_unlock(&req->lock);

    if (!listed) {
        gp_fcgi_request_push(req);
    }
}


/* Sends a reply of one record without copying it; *ret_sent: what the kernel took. -GP_CANCELED: the peer is gone. */
static int gp_fcgi_send_now(gp_fcgi_request_t *req, const struct iovec *parts, int parts_n, size_t total, bool last, size_t *ret_sent)
{
    struct iovec iov[GP_FCGI_PARTS_MAX + 2];
    struct msghdr msg = {.msg_iov = iov};
    uint8_t header[GP_FCGI_HEADER_LEN], end[GP_FCGI_END_LEN];
    ssize_t n;

    *ret_sent = 0;
    if (req->fd < 0 || req->out != NULL || req->queued > 0 || parts_n > GP_FCGI_PARTS_MAX || total > GP_FCGI_CONTENT_MAX) {
        return 0;
    }

    if (total > 0) {
        gp_fcgi_put_header(header, GP_FCGI_STDOUT, req->id, total);
        iov[msg.msg_iovlen++] = (struct iovec){.iov_base = header, .iov_len = sizeof(header)};
        memcpy(&iov[msg.msg_iovlen], parts, (size_t) parts_n * sizeof(struct iovec));
        msg.msg_iovlen += (size_t) parts_n;
    }
    if (last) {
        gp_fcgi_put_end(end, req->id, GP_FCGI_REQUEST_COMPLETE);
        iov[msg.msg_iovlen++] = (struct iovec){.iov_base = end, .iov_len = sizeof(end)};
    }

    do {
        n = sendmsg(req->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);

    if (n < 0) {
        return errno == EAGAIN || errno == ENOBUFS ? 0 : -GP_CANCELED;
    }
    *ret_sent = (size_t) n;

    return 0;
}


static void gp_fcgi_request_queue(gp_fcgi_request_t *req, gp_fcgi_chunk_t *chunk)
{
    if (req->out == NULL) {
        req->out = chunk;
    } else {
        req->out_last->next = chunk;
    }
    req->out_last = chunk;
    req->queued += chunk->len - chunk->sent;
}


/* Whether the loop must look at the request; under the lock. */
static bool gp_fcgi_request_needs_loop(gp_fcgi_request_t *req)
{
    bool needs;

    needs = req->out != NULL || (gp_fcgi_request_gone(req) && (req->on_gone != NULL || atomic_load(&req->server->stopping)));
    if (!needs || req->listed) {
        return false;
    }
    req->listed = true;

    return true;
}


/* The end is out or queued: no more of it, and the request no longer counts. */
static void gp_fcgi_request_end(gp_fcgi_request_t *req)
{
    req->finished = true;
    atomic_store_explicit(&req->gone, true, memory_order_release);
    if (req->counted) {
        req->counted = false;
        atomic_fetch_sub(&req->server->requests_now, 1);
    }
}


static int gp_fcgi_request_put_locked(gp_fcgi_request_t *req, const struct iovec *parts, int parts_n, size_t queue_limit, bool last)
{
    gp_fcgi_chunk_t *chunk;
    size_t total, framed, sent;
    int i, rc;

    if (req->finished || gp_fcgi_request_gone(req)) {
        return -GP_CANCELED;
    }

    total = 0;
    for (i = 0; i < parts_n; i++) {
        total += parts[i].iov_len;
    }
    framed = total + (total + GP_FCGI_CONTENT_MAX - 1) / GP_FCGI_CONTENT_MAX * GP_FCGI_HEADER_LEN + (last ? GP_FCGI_END_LEN : 0);
    if (queue_limit != 0 && req->queued > 0 && req->queued + framed > queue_limit) {
        return -GP_RESOURCE_EXHAUSTED;
    }

    rc = gp_fcgi_send_now(req, parts, parts_n, total, last, &sent);
    if (rc == 0 && sent < framed) {
        chunk = gp_fcgi_chunk_new(req, parts, parts_n, total, last);
        chunk->sent = sent;
        gp_fcgi_request_queue(req, chunk);
    }

    if (last) {
        req->answered = rc == 0 && sent == framed;
        gp_fcgi_request_end(req);
        if (!req->keep_conn && req->answered && req->watched) {
            (void) shutdown(req->fd, SHUT_RDWR); /* the loop sees the end of the connection and closes it */
        }
    }

    return rc;
}


static int gp_fcgi_request_put(gp_fcgi_request_t *req, const struct iovec *parts, int parts_n, size_t queue_limit, bool last)
{
    bool list;
    int rc;

    pthread_mutex_lock(&req->lock);
    rc = gp_fcgi_request_put_locked(req, parts, parts_n, queue_limit, last);
    if (last && rc != 0) {
        req->finished = true;
    }
    list = gp_fcgi_request_needs_loop(req);
    pthread_mutex_unlock(&req->lock);

    if (list) {
        gp_fcgi_request_push(req);
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

    pthread_mutex_lock(&req->lock);
    req->on_gone = fn;
    req->on_gone_data = data;
    list = gp_fcgi_request_needs_loop(req);
    pthread_mutex_unlock(&req->lock);

    if (list) {
        gp_fcgi_request_push(req);
    }
}


void gp_fcgi_request_close(gp_fcgi_request_t *req)
{
    bool list;

    pthread_mutex_lock(&req->lock);
    req->fd = -1;
    atomic_store_explicit(&req->gone, true, memory_order_release);
    if (req->counted) {
        req->counted = false;
        atomic_fetch_sub(&req->server->requests_now, 1);
    }
    list = gp_fcgi_request_needs_loop(req);
    pthread_mutex_unlock(&req->lock);

    if (list) {
        gp_fcgi_request_push(req);
    }
}


bool gp_fcgi_request_watch(gp_fcgi_request_t *req)
{
    pthread_mutex_lock(&req->lock);
    req->watched = true;
    pthread_mutex_unlock(&req->lock);

    return gp_fcgi_request_answered(req);
}


bool gp_fcgi_request_answered(gp_fcgi_request_t *req)
{
    bool answered;

    pthread_mutex_lock(&req->lock);
    answered = req->answered;
    if (answered) {
        req->fd = -1;
    }
    pthread_mutex_unlock(&req->lock);

    return answered;
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

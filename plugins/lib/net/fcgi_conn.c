#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/die.h"
#include "base/log.h"
#include "core/code.h"
#include "net/fcgi_internal.h"

/* Connections, as the loop has them: what comes in, what goes out, their end. */


/* ---- the life of connections and of their requests ---- */


static void gp_fcgi_conn_freed(uv_handle_t *handle)
{
    gp_fcgi_conn_t *conn = handle->data;

    atomic_fetch_sub(&conn->server->connections_now, 1);
    free(conn);
}


/* The connection has no request any more; the request may live on with its handler. */
static void gp_fcgi_conn_detach(gp_fcgi_conn_t *conn)
{
    gp_fcgi_server_t *server = conn->server;
    gp_fcgi_request_t *req = conn->req;

    conn->req = NULL;
    req->conn = NULL;
    if (req->prev != NULL) {
        req->prev->next = req->next;
    } else {
        server->requests = req->next;
    }
    if (req->next != NULL) {
        req->next->prev = req->prev;
    }
    if (req->timed) {
        req->timed = false;
        server->deadlines_n--;
    }

    gp_fcgi_request_unref(req);
}


/* Its deadline counts from now on. */
static void gp_fcgi_request_time(gp_fcgi_request_t *req)
{
    if (req->deadline_ms != 0) {
        req->timed = true;
        req->server->deadlines_n++;
        gp_fcgi_server_tick(req->server);
    }
}


static void gp_fcgi_conn_attach(gp_fcgi_conn_t *conn)
{
    gp_fcgi_server_t *server = conn->server;
    gp_fcgi_request_t *req = conn->req;

    req->conn = conn;
    req->prev = NULL;
    req->next = server->requests;
    if (req->next != NULL) {
        req->next->prev = req;
    }
    server->requests = req;
    gp_fcgi_request_time(req);
}


void gp_fcgi_conn_settle(gp_fcgi_conn_t *conn)
{
    if (conn->req != NULL && gp_fcgi_request_answered(conn->req)) {
        gp_fcgi_parser_end_request(&conn->parser);
        gp_fcgi_conn_detach(conn);
    }
}


void gp_fcgi_conn_drop(gp_fcgi_conn_t *conn)
{
    if (conn->req != NULL) {
        gp_fcgi_request_close(conn->req);
        gp_fcgi_request_unref(conn->req);
    }
    (void) close(conn->fd);
    atomic_fetch_sub(&conn->server->connections_now, 1);
    free(conn);
}


void gp_fcgi_conn_close(gp_fcgi_conn_t *conn)
{
    gp_fcgi_server_t *server = conn->server;
    gp_fcgi_request_t *req = conn->req;

    if (conn->closing) {
        return;
    }
    conn->closing = true;

    if (req != NULL) {
        gp_fcgi_request_close(req);
        gp_fcgi_conn_detach(conn);
    }

    if (conn->prev != NULL) {
        conn->prev->next = conn->next;
    } else {
        server->conns = conn->next;
    }
    if (conn->next != NULL) {
        conn->next->prev = conn->prev;
    }

    uv_close((uv_handle_t *) &conn->pipe, gp_fcgi_conn_freed);
}


/* ---- sending ---- */


static void gp_fcgi_chunk_sent(uv_write_t *write, int status)
{
    gp_fcgi_chunk_t *chunk = write->data;
    gp_fcgi_conn_t *conn = write->handle->data;
    bool close;

    close = status != 0;
    if (chunk->req != NULL) {
        gp_fcgi_request_sent(chunk->req, chunk->len - chunk->sent);
        close = close || (chunk->last && !chunk->req->keep_conn);
        gp_fcgi_request_unref(chunk->req);
    }
    free(chunk);

    if (close || (atomic_load(&conn->server->stopping) && conn->req == NULL)) {
        gp_fcgi_conn_close(conn);
    }
}


static void gp_fcgi_conn_send(gp_fcgi_conn_t *conn, gp_fcgi_chunk_t *chunk)
{
    uv_buf_t buf;
    int rc;

    chunk->write.data = chunk;
    buf = uv_buf_init(chunk->bytes + chunk->sent, (unsigned) (chunk->len - chunk->sent));
    rc = uv_write(&chunk->write, (uv_stream_t *) &conn->pipe, &buf, 1, gp_fcgi_chunk_sent);
    if (rc != 0) {
        if (chunk->req != NULL) {
            gp_fcgi_request_unref(chunk->req);
        }
        free(chunk);
        gp_fcgi_conn_close(conn);
    }
}


void gp_fcgi_request_flush(gp_fcgi_request_t *req)
{
    gp_fcgi_chunk_t *chunk, *next;
    gp_fcgi_conn_t *conn;
    void (*gone)(gp_fcgi_request_t *, void *);
    void *gone_data = NULL;

    gp_fcgi_conn_recall(req);
    conn = req->conn;
    for (chunk = gp_fcgi_request_take(req, &gone, &gone_data); chunk != NULL; chunk = next) {
        next = chunk->next;

        if (conn == NULL || conn->closing) {
            free(chunk);
            continue;
        }

        gp_fcgi_request_ref(req);
        chunk->req = req;
        if (chunk->last) {
            gp_fcgi_parser_end_request(&conn->parser);
            gp_fcgi_conn_detach(conn);
        }
        gp_fcgi_conn_send(conn, chunk);
    }

    conn = req->conn;
    if (conn != NULL && atomic_load(&conn->server->stopping)) {
        gp_fcgi_conn_settle(conn);
        if (conn->req == NULL) {
            gp_fcgi_conn_close(conn);
        }
    }

    if (gone != NULL) {
        gone(req, gone_data);
    }
}


/* ---- receiving ---- */


static int gp_fcgi_on_begin(void *data, uint16_t id, bool keep_conn)
{
    gp_fcgi_conn_t *conn = data;
    gp_fcgi_server_t *server = conn->server;

    conn->req = gp_fcgi_request_new(server, conn, id, keep_conn);
    atomic_fetch_add(&server->requests_now, 1);
    atomic_fetch_add(&server->requests_n, 1);
    if (conn->watched) {
        conn->req->watched = true;
        gp_fcgi_conn_attach(conn);
    }

    return 0;
}


static int gp_fcgi_on_params(void *data, const uint8_t *chunk, size_t len)
{
    gp_fcgi_conn_t *conn = data;
    gp_fcgi_request_t *req = conn->req;

    if (req->size == GP_FCGI_FITS && gp_buf_append(&req->params, chunk, len) != 0) {
        req->size = GP_FCGI_PARAMS_TOO_LARGE;
        gp_buf_done(&req->params);
    }

    return 0;
}


static int gp_fcgi_on_params_end(void *data)
{
    gp_fcgi_conn_t *conn = data;
    gp_fcgi_request_t *req = conn->req;
    char *fitted;

    if (gp_fcgi_params_decode(req->params.data, req->params.len, &req->params.len) != 0) {
        return -GP_INVALID_ARGUMENT;
    }

    /* an idle stream keeps its parameters: no more memory for them than they need */
    fitted = req->params.len ? realloc(req->params.data, req->params.len) : NULL;
    if (fitted != NULL) {
        req->params.data = fitted;
        req->params.size = req->params.len;
    }

    return 0;
}


static int gp_fcgi_on_body(void *data, const uint8_t *chunk, size_t len)
{
    gp_fcgi_conn_t *conn = data;
    gp_fcgi_request_t *req = conn->req;

    if (req->size == GP_FCGI_FITS && gp_buf_append(&req->body, chunk, len) != 0) {
        req->size = GP_FCGI_BODY_TOO_LARGE;
        gp_buf_done(&req->body);
    }

    return 0;
}


static int gp_fcgi_on_body_end(void *data)
{
    gp_fcgi_conn_t *conn = data;

    conn->whole = true; /* it is run when the parser lets go of the connection */

    return 0;
}


static int gp_fcgi_on_abort(void *data)
{
    (void) data;

    /* the connection ends with it; nginx would have closed it anyway */
    return -GP_CANCELED;
}


static int gp_fcgi_on_reply(void *data, const uint8_t *record, size_t len)
{
    gp_fcgi_conn_t *conn = data;
    gp_fcgi_chunk_t *chunk;

    if (!conn->watched) { /* the first bytes on it: they fit */
        return send(conn->fd, record, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t) len ? 0 : -GP_CANCELED;
    }

    chunk = calloc(1, sizeof(gp_fcgi_chunk_t) + len);
    if (chunk == NULL) {
        gp_die("out of memory: a management record");
    }
    chunk->len = len;
    memcpy(chunk->bytes, record, len);
    gp_fcgi_conn_send(conn, chunk);

    return conn->closing ? -GP_CANCELED : 0;
}


static const gp_fcgi_events_t gp_fcgi_events = {
    .begin = gp_fcgi_on_begin,
    .params = gp_fcgi_on_params,
    .params_end = gp_fcgi_on_params_end,
    .body = gp_fcgi_on_body,
    .body_end = gp_fcgi_on_body_end,
    .abort = gp_fcgi_on_abort,
    .reply = gp_fcgi_on_reply,
};


static void gp_fcgi_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    gp_fcgi_conn_t *conn = handle->data;

    (void) suggested;
    *buf = uv_buf_init(conn->server->read_buffer, sizeof(conn->server->read_buffer));
}


/* By the pool. */
static void gp_fcgi_request_submit(gp_fcgi_request_t *req)
{
    gp_fcgi_server_t *server = req->server;

    if (gp_pool_submit(server->pool, req) != 0) {
        atomic_fetch_add(&server->refused, 1);
        server->conf.overloaded(req, server->conf.data);
        gp_fcgi_request_unref(req);
    }
}


/* Of a connection that this thread has accepted: here, while fewer handlers run than may. */
static void gp_fcgi_conn_run_first(gp_fcgi_conn_t *conn, bool at_once)
{
    gp_fcgi_server_t *server = conn->server;
    gp_fcgi_request_t *req = conn->req;
    bool entered;

    entered = !at_once && !conn->acceptor->spare && gp_pool_enter(server->pool);
    gp_fcgi_conn_lend(conn, at_once || entered);
    if (at_once || entered) {
        server->conf.handle(req, server->conf.data);
    } else {
        gp_fcgi_request_submit(req);
    }
    if (entered) {
        gp_pool_leave(server->pool);
    }
    gp_fcgi_conn_reclaim(req);
}


/* A request that has been read to its end. */
static void gp_fcgi_conn_run(gp_fcgi_conn_t *conn)
{
    gp_fcgi_server_t *server = conn->server;
    gp_fcgi_request_t *req = conn->req;
    bool at_once;

    conn->whole = false;
    at_once = server->conf.prepare(req, server->conf.data);
    gp_fcgi_request_ref(req); /* the handler's */
    gp_fcgi_request_ref(req); /* ours: the connection's ends with the connection */
    if (!conn->watched) {
        gp_fcgi_conn_run_first(conn, at_once);
    } else {
        gp_fcgi_request_time(req);
        if (at_once) {
            server->conf.handle(req, server->conf.data);
        } else {
            gp_fcgi_request_submit(req);
        }
    }
    gp_fcgi_request_unref(req);
}


void gp_fcgi_conn_feed(gp_fcgi_conn_t *conn, const char *bytes, size_t len)
{
    int rc;

    if (conn->watched) {
        gp_fcgi_conn_settle(conn);
    }
    rc = gp_fcgi_parser_feed(&conn->parser, (const uint8_t *) bytes, len, &gp_fcgi_events, conn);
    if (rc == -GP_INVALID_ARGUMENT) {
        gp_log(GP_LOG_WARN, "closed a connection that does not speak FastCGI", NULL);
    }

    if (rc != 0 && !conn->watched) {
        gp_fcgi_conn_drop(conn);
    } else if (rc != 0) {
        gp_fcgi_conn_close(conn);
    } else if (conn->whole) {
        gp_fcgi_conn_run(conn);
    } else if (!conn->watched) {
        gp_fcgi_conn_give(conn);
    }
}


static void gp_fcgi_on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    if (n < 0) {
        gp_fcgi_conn_close(stream->data);
    } else if (n > 0) {
        gp_fcgi_conn_feed(stream->data, buf->base, (size_t) n);
    }
}


void gp_fcgi_conn_stop(gp_fcgi_conn_t *conn)
{
    gp_fcgi_server_t *server = conn->server;

    if (conn->req != NULL) {
        server->conf.stopping(conn->req, server->conf.data);
    }

    gp_fcgi_conn_settle(conn);
    if (conn->req == NULL && uv_stream_get_write_queue_size((uv_stream_t *) &conn->pipe) == 0) {
        gp_fcgi_conn_close(conn);
    }
}


void gp_fcgi_conn_watch(gp_fcgi_conn_t *conn)
{
    gp_fcgi_server_t *server = conn->server;

    if (conn->req != NULL && gp_fcgi_request_watch(conn->req) && !conn->req->keep_conn) {
        gp_fcgi_conn_drop(conn); /* answered meanwhile */
        return;
    }

    if (uv_pipe_init(&server->loop, &conn->pipe, 0) != 0) {
        gp_die("out of memory: a connection");
    }
    conn->pipe.data = conn;
    conn->watched = true;
    conn->prev = NULL;
    conn->next = server->conns;
    if (conn->next != NULL) {
        conn->next->prev = conn;
    }
    server->conns = conn;
    if (conn->req != NULL) {
        gp_fcgi_conn_attach(conn);
    }

    if (uv_pipe_open(&conn->pipe, conn->fd) != 0 || uv_read_start((uv_stream_t *) &conn->pipe, gp_fcgi_on_alloc, gp_fcgi_on_read) != 0) {
        gp_fcgi_conn_close(conn);
    } else if (server->stop_begun) {
        gp_fcgi_conn_stop(conn);
    }
}

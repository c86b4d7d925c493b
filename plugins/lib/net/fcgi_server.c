#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include "core/code.h"
#include "net/fcgi_internal.h"

#define GP_FCGI_TICK_MS 100 /* how late a deadline may be noticed */


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
    if (req->deadline_ms != 0) {
        server->deadlines_n--;
    }

    gp_fcgi_request_unref(req);
}


/* A request that a thread has answered makes way for the next. */
static void gp_fcgi_conn_settle(gp_fcgi_conn_t *conn)
{
    if (conn->req != NULL && gp_fcgi_request_answered(conn->req)) {
        gp_fcgi_parser_end_request(&conn->parser);
        gp_fcgi_conn_detach(conn);
    }
}


static void gp_fcgi_conn_close(gp_fcgi_conn_t *conn)
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


/* Sends what threads have put into a request, or tells them that nobody listens. */
static void gp_fcgi_request_flush(gp_fcgi_request_t *req)
{
    gp_fcgi_chunk_t *chunk, *next;
    gp_fcgi_conn_t *conn;
    void (*gone)(gp_fcgi_request_t *, void *);
    void *gone_data = NULL;

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


static void gp_fcgi_stop_check(gp_fcgi_server_t *server);
static void gp_fcgi_tick(gp_fcgi_server_t *server);


static void gp_fcgi_on_wake(uv_async_t *wake)
{
    gp_fcgi_server_t *server = wake->data;
    gp_fcgi_request_t *req, *next;

    pthread_mutex_lock(&server->dirty_lock);
    req = server->dirty;
    server->dirty = NULL;
    pthread_mutex_unlock(&server->dirty_lock);

    for (; req != NULL; req = next) {
        next = req->dirty_next;
        gp_fcgi_request_flush(req);
        gp_fcgi_request_unref(req);
    }

    gp_fcgi_stop_check(server);
}


/* ---- receiving ---- */


static int gp_fcgi_on_begin(void *data, uint16_t id, bool keep_conn)
{
    gp_fcgi_conn_t *conn = data;
    gp_fcgi_server_t *server = conn->server;
    gp_fcgi_request_t *req;

    req = gp_fcgi_request_new(server, conn, id, keep_conn);
    conn->req = req;
    req->next = server->requests;
    if (req->next != NULL) {
        req->next->prev = req;
    }
    server->requests = req;
    atomic_fetch_add(&server->requests_now, 1);
    atomic_fetch_add(&server->requests_n, 1);

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


static void gp_fcgi_handle(void *job)
{
    gp_fcgi_request_t *req = job;

    req->server->conf.handle(req, req->server->conf.data);
}


static int gp_fcgi_on_body_end(void *data)
{
    gp_fcgi_conn_t *conn = data;
    gp_fcgi_server_t *server = conn->server;
    gp_fcgi_request_t *req = conn->req;

    if (server->conf.prepare(req, server->conf.data)) {
        return 0;
    }

    if (req->deadline_ms != 0) {
        server->deadlines_n++;
        gp_fcgi_tick(server);
    }

    gp_fcgi_request_ref(req);
    if (gp_pool_submit(server->pool, req) != 0) {
        atomic_fetch_add(&server->refused, 1);
        server->conf.overloaded(req, server->conf.data);
        gp_fcgi_request_unref(req);
    }

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


static void gp_fcgi_conn_feed(gp_fcgi_conn_t *conn, const char *bytes, size_t len)
{
    int rc;

    gp_fcgi_conn_settle(conn);
    rc = gp_fcgi_parser_feed(&conn->parser, (const uint8_t *) bytes, len, &gp_fcgi_events, conn);
    if (rc == 0) {
        return;
    }

    if (rc == -GP_INVALID_ARGUMENT) {
        gp_log(GP_LOG_WARN, "closed a connection that does not speak FastCGI", NULL);
    }
    gp_fcgi_conn_close(conn);
}


static void gp_fcgi_on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    if (n < 0) {
        gp_fcgi_conn_close(stream->data);
    } else if (n > 0) {
        gp_fcgi_conn_feed(stream->data, buf->base, (size_t) n);
    }
}


/* The peer has mostly sent its request by now: reading it here spares a turn of the loop. What is not there yet comes by gp_fcgi_on_read(). */
static void gp_fcgi_conn_read_first(gp_fcgi_conn_t *conn)
{
    char *buffer = conn->server->read_buffer;
    uv_os_fd_t fd;
    ssize_t n;

    if (uv_fileno((uv_handle_t *) &conn->pipe, &fd) != 0) {
        return;
    }

    n = recv(fd, buffer, sizeof(conn->server->read_buffer), MSG_DONTWAIT);
    if (n > 0) {
        gp_fcgi_conn_feed(conn, buffer, (size_t) n);
    }
}


static void gp_fcgi_on_connection(uv_stream_t *listener, int status)
{
    gp_fcgi_server_t *server = listener->data;
    gp_fcgi_conn_t *conn;

    if (status != 0) {
        gp_log(GP_LOG_ERROR, "cannot accept a connection", "reason", uv_strerror(status), NULL);
        return;
    }

    conn = calloc(1, sizeof(gp_fcgi_conn_t));
    if (conn == NULL || uv_pipe_init(&server->loop, &conn->pipe, 0) != 0) {
        gp_die("out of memory: a connection");
    }

    conn->server = server;
    conn->pipe.data = conn;
    gp_fcgi_parser_init(&conn->parser);
    conn->next = server->conns;
    if (conn->next != NULL) {
        conn->next->prev = conn;
    }
    server->conns = conn;
    atomic_fetch_add(&server->connections, 1);
    atomic_fetch_add(&server->connections_now, 1);

    if (uv_accept(listener, (uv_stream_t *) &conn->pipe) != 0 || atomic_load(&server->connections_now) > GP_FCGI_CONNECTIONS_MAX ||
        uv_read_start((uv_stream_t *) &conn->pipe, gp_fcgi_on_alloc, gp_fcgi_on_read) != 0) {
        gp_fcgi_conn_close(conn);
        return;
    }

    gp_fcgi_conn_read_first(conn);
}


/* ---- time and stop ---- */


static void gp_fcgi_expire(gp_fcgi_server_t *server)
{
    gp_fcgi_request_t *req, *next;
    uint64_t now;

    if (server->deadlines_n == 0) {
        return;
    }

    now = gp_clock_ms();
    for (req = server->requests; req != NULL; req = next) {
        next = req->next;
        if (req->deadline_ms != 0 && req->deadline_ms <= now) {
            server->deadlines_n--;
            req->deadline_ms = 0;
            if (!gp_fcgi_request_gone(req)) {
                server->conf.expired(req, server->conf.data);
            }
        }
    }
}


static void gp_fcgi_stop_begin(gp_fcgi_server_t *server)
{
    gp_fcgi_conn_t *conn, *next_conn;
    gp_fcgi_request_t *req, *next;

    server->stop_begun = true;
    server->stop_at_ms = gp_clock_ms() + GP_FCGI_STOP_GRACE_MS;
    gp_log(GP_LOG_INFO, "stopping: no new connections, what runs is finished", NULL);
    uv_close((uv_handle_t *) &server->listener, NULL);
    gp_fcgi_tick(server);

    for (req = server->requests; req != NULL; req = next) {
        next = req->next;
        server->conf.stopping(req, server->conf.data);
    }

    for (conn = server->conns; conn != NULL; conn = next_conn) {
        next_conn = conn->next;
        gp_fcgi_conn_settle(conn);
        if (conn->req == NULL && uv_stream_get_write_queue_size((uv_stream_t *) &conn->pipe) == 0) {
            gp_fcgi_conn_close(conn);
        }
    }
}


static void gp_fcgi_stop_check(gp_fcgi_server_t *server)
{
    if (!atomic_load(&server->stopping) || server->stopped) {
        return;
    }

    if (!server->stop_begun) {
        gp_fcgi_stop_begin(server);
    }

    if ((server->conns == NULL && gp_pool_busy(server->pool) == 0) || gp_clock_ms() >= server->stop_at_ms) {
        server->stopped = true;
        uv_stop(&server->loop);
    }
}


static void gp_fcgi_on_tick(uv_timer_t *timer)
{
    gp_fcgi_server_t *server = timer->data;

    gp_fcgi_expire(server);
    gp_fcgi_stop_check(server);
    gp_fcgi_tick(server);
}


/* The timer runs only while somebody needs it: an idle service does not wake up. */
static void gp_fcgi_tick(gp_fcgi_server_t *server)
{
    bool needed;

    needed = server->deadlines_n > 0 || (atomic_load(&server->stopping) && !server->stopped);
    if (needed && !uv_is_active((uv_handle_t *) &server->timer)) {
        (void) uv_timer_start(&server->timer, gp_fcgi_on_tick, GP_FCGI_TICK_MS, GP_FCGI_TICK_MS); /* cannot fail with a callback */

    } else if (!needed) {
        (void) uv_timer_stop(&server->timer);
    }
}


static void gp_fcgi_on_signal(uv_signal_t *handle, int signum)
{
    gp_fcgi_server_t *server = handle->data;

    (void) signum;
    atomic_store(&server->stopping, true);
    gp_fcgi_stop_check(server);
}


void gp_fcgi_server_stop(gp_fcgi_server_t *server)
{
    atomic_store(&server->stopping, true);
    (void) uv_async_send(&server->wake);
}


bool gp_fcgi_server_stopping(const gp_fcgi_server_t *server)
{
    return atomic_load(&server->stopping);
}


void gp_fcgi_server_stats(const gp_fcgi_server_t *server, gp_fcgi_stats_t *ret_stats)
{
    ret_stats->connections = atomic_load(&server->connections);
    ret_stats->requests = atomic_load(&server->requests_n);
    ret_stats->refused = atomic_load(&server->refused);
    ret_stats->connections_now = atomic_load(&server->connections_now);
    ret_stats->requests_now = atomic_load(&server->requests_now);
}


/* ---- the server as a whole ---- */


static int gp_fcgi_server_handles(gp_fcgi_server_t *server)
{
    uv_loop_t *loop = &server->loop;
    int rc;

    rc = uv_pipe_init(loop, &server->listener, 0);
    rc = rc ? rc : uv_async_init(loop, &server->wake, gp_fcgi_on_wake);
    rc = rc ? rc : uv_timer_init(loop, &server->timer);
    rc = rc ? rc : uv_signal_init(loop, &server->on_term);
    rc = rc ? rc : uv_signal_init(loop, &server->on_int);
    if (rc != 0) {
        return rc;
    }

    server->listener.data = server;
    server->wake.data = server;
    server->timer.data = server;
    server->on_term.data = server;
    server->on_int.data = server;

    rc = uv_pipe_open(&server->listener, server->conf.listen_fd);
    rc = rc ? rc : uv_listen((uv_stream_t *) &server->listener, SOMAXCONN, gp_fcgi_on_connection);
    rc = rc ? rc : uv_signal_start(&server->on_term, gp_fcgi_on_signal, SIGTERM);
    rc = rc ? rc : uv_signal_start(&server->on_int, gp_fcgi_on_signal, SIGINT);

    return rc;
}


int gp_fcgi_server_new(const gp_fcgi_server_conf_t *conf, gp_fcgi_server_t **ret_server, gp_err_t *err)
{
    gp_fcgi_server_t *server;
    int rc;

    server = calloc(1, sizeof(gp_fcgi_server_t));
    if (server == NULL || uv_loop_init(&server->loop) != 0) {
        gp_die("out of memory: the event loop");
    }

    server->conf = *conf;
    pthread_mutex_init(&server->dirty_lock, NULL);
    (void) signal(SIGPIPE, SIG_IGN); /* a peer that is gone is an error of write(2) */

    rc = gp_fcgi_server_handles(server);
    if (rc != 0) {
        return gp_err(err, GP_INTERNAL, "cannot serve on the socket: %s", uv_strerror(rc)); /* the process ends: nothing to undo */
    }

    server->pool = gp_pool_new(conf->threads, gp_fcgi_handle);
    *ret_server = server;

    return 0;
}


static void gp_fcgi_close_handle(uv_handle_t *handle, void *data)
{
    (void) data;
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}


bool gp_fcgi_server_run(gp_fcgi_server_t *server)
{
    bool drained;

    (void) uv_run(&server->loop, UV_RUN_DEFAULT);

    drained = gp_pool_drain(server->pool, server->stop_at_ms);
    server->handlers_left = !drained;
    if (!drained) {
        gp_log(GP_LOG_ERROR, "handlers still run after the grace of a stop", NULL);
        return false;
    }

    while (server->conns != NULL) {
        gp_fcgi_conn_close(server->conns);
    }
    while (server->dirty != NULL) { /* what the last handlers and the closes above left; no thread adds to it now */
        gp_fcgi_on_wake(&server->wake);
    }
    uv_walk(&server->loop, gp_fcgi_close_handle, NULL);
    (void) uv_run(&server->loop, UV_RUN_DEFAULT);

    return true;
}


gp_fcgi_server_t *gp_fcgi_server_free(gp_fcgi_server_t *server)
{
    if (server == NULL || server->handlers_left) {
        return NULL;
    }

    if (uv_loop_close(&server->loop) != 0) {
        gp_log(GP_LOG_ERROR, "the loop still has handles at the end", NULL);
        return NULL;
    }
    pthread_mutex_destroy(&server->dirty_lock);
    free(server);

    return NULL;
}

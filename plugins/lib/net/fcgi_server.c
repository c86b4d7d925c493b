#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include "core/code.h"
#include "net/fcgi_internal.h"

#define GP_FCGI_TICK_MS 100 /* how late a deadline may be noticed */


static void gp_fcgi_stop_check(gp_fcgi_server_t *server);


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


static void gp_fcgi_on_connection(uv_stream_t *listener, int status)
{
    if (status != 0) {
        gp_log(GP_LOG_ERROR, "cannot accept a connection", "reason", uv_strerror(status), NULL);
        return;
    }

    gp_fcgi_conn_accept(listener->data);
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
    gp_fcgi_server_tick(server);

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
    gp_fcgi_server_tick(server);
}


void gp_fcgi_server_tick(gp_fcgi_server_t *server)
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


static void gp_fcgi_handle(void *job)
{
    gp_fcgi_request_t *req = job;

    req->server->conf.handle(req, req->server->conf.data);
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

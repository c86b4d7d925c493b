#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

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

    gp_fcgi_lent_sweep(server);

    pthread_mutex_lock(&server->shared_lock);
    req = server->dirty;
    server->dirty = NULL;
    pthread_mutex_unlock(&server->shared_lock);

    for (; req != NULL; req = next) {
        next = req->dirty_next;
        gp_fcgi_request_flush(req);
        gp_fcgi_request_unref(req);
    }

    gp_fcgi_stop_check(server);
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
        if (req->timed && req->deadline_ms <= now) {
            server->deadlines_n--;
            req->timed = false;
            if (!gp_fcgi_request_gone(req)) {
                server->conf.expired(req, server->conf.data);
            }
        }
    }
}


static void gp_fcgi_stop_begin(gp_fcgi_server_t *server)
{
    gp_fcgi_conn_t *conn, *next;

    server->stop_begun = true;
    server->stop_at_ms = gp_clock_ms() + GP_FCGI_STOP_GRACE_MS;
    gp_log(GP_LOG_INFO, "stopping: no new connections, what runs is finished", NULL);
    gp_fcgi_acceptors_stop(server);
    gp_fcgi_server_tick(server);

    for (conn = server->conns; conn != NULL; conn = next) {
        next = conn->next;
        gp_fcgi_conn_stop(conn);
    }
    gp_fcgi_conn_recall_all(server);
}


/* In this order: what a thread has left is seen once it has ended. */
static bool gp_fcgi_is_done(gp_fcgi_server_t *server)
{
    return atomic_load(&server->acceptors_alive) == 0 && gp_pool_busy(server->pool) == 0 && gp_fcgi_none_lent(server) &&
           server->conns == NULL;
}


static void gp_fcgi_stop_check(gp_fcgi_server_t *server)
{
    if (!atomic_load(&server->stopping) || server->stopped) {
        return;
    }

    if (!server->stop_begun) {
        gp_fcgi_stop_begin(server);
    }

    if (!server->listener_closed && atomic_load(&server->accepting) == 0) {
        (void) close(server->conf.listen_fd); /* no thread comes to accept() any more */
        server->listener_closed = true;
    }

    if (gp_fcgi_is_done(server) || gp_clock_ms() >= server->stop_at_ms) {
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

    rc = uv_async_init(loop, &server->wake, gp_fcgi_on_wake);
    rc = rc ? rc : uv_timer_init(loop, &server->timer);
    rc = rc ? rc : uv_timer_init(loop, &server->lent_timer);
    rc = rc ? rc : uv_signal_init(loop, &server->on_term);
    rc = rc ? rc : uv_signal_init(loop, &server->on_int);
    if (rc != 0) {
        return rc;
    }

    server->wake.data = server;
    server->timer.data = server;
    server->lent_timer.data = server;
    server->on_term.data = server;
    server->on_int.data = server;

    rc = uv_signal_start(&server->on_term, gp_fcgi_on_signal, SIGTERM);
    rc = rc ? rc : uv_signal_start(&server->on_int, gp_fcgi_on_signal, SIGINT);

    return rc;
}


static void gp_fcgi_handle(void *job)
{
    gp_fcgi_request_t *req = job;
    gp_fcgi_server_t *server = req->server;

    if (req->came_on == NULL) {
        server->conf.handle(req, server->conf.data);
        return;
    }

    gp_fcgi_request_ref(req);
    server->conf.handle(req, server->conf.data);
    gp_fcgi_conn_reclaim(req);
    gp_fcgi_request_unref(req);
}


int gp_fcgi_server_new(const gp_fcgi_server_conf_t *conf, gp_fcgi_server_t **ret_server, gp_err_t *err)
{
    gp_fcgi_server_t *server;
    int flags, rc;

    server = calloc(1, sizeof(gp_fcgi_server_t));
    if (server == NULL || uv_loop_init(&server->loop) != 0) {
        gp_die("out of memory: the event loop");
    }

    server->conf = *conf;
    pthread_mutex_init(&server->shared_lock, NULL);
    pthread_cond_init(&server->spare, NULL);
    (void) signal(SIGPIPE, SIG_IGN); /* a peer that is gone is an error of write(2) */

    flags = fcntl(conf->listen_fd, F_GETFL);
    rc = flags >= 0 && fcntl(conf->listen_fd, F_SETFL, flags & ~O_NONBLOCK) == 0 ? gp_fcgi_server_handles(server) : -errno;
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

    gp_fcgi_acceptors_start(server);
    (void) uv_run(&server->loop, UV_RUN_DEFAULT);

    drained = atomic_load(&server->acceptors_alive) == 0 && gp_pool_drain(server->pool, server->stop_at_ms);
    server->handlers_left = !drained;
    if (!drained) {
        gp_log(GP_LOG_ERROR, "handlers still run after the grace of a stop", NULL);
        return false;
    }

    gp_fcgi_acceptors_join(server);
    gp_fcgi_conn_recall_all(server);
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
    pthread_cond_destroy(&server->spare);
    pthread_mutex_destroy(&server->shared_lock);
    free(server);

    return NULL;
}

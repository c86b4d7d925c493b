#include <string.h>

#include "base/clock.h"
#include "net/fcgi_internal.h"

/* Connections that the loop does not watch yet. */
#define GP_FCGI_LENT_MS 10 /* how late the end of a connection may be noticed */


/* Under the lock; whether the loop is to be told. */
static bool gp_fcgi_lent_put(gp_fcgi_conn_t *conn, bool first)
{
    gp_fcgi_server_t *server = conn->server;
    bool tell;

    conn->prev = first ? NULL : server->lent_last;
    conn->next = first ? server->lent : NULL;
    *(conn->prev ? &conn->prev->next : &server->lent) = conn;
    *(conn->next ? &conn->next->prev : &server->lent_last) = conn;
    tell = first || !server->lent_timed;
    server->lent_timed = true;

    return tell;
}


void gp_fcgi_conn_lend(gp_fcgi_conn_t *conn)
{
    gp_fcgi_server_t *server = conn->server;
    bool tell;

    conn->req->came_lent = true;
    conn->due_ms = gp_clock_ms() + GP_FCGI_LENT_MS;
    pthread_mutex_lock(&server->shared_lock);
    conn->req->lent = conn;
    tell = gp_fcgi_lent_put(conn, false);
    pthread_mutex_unlock(&server->shared_lock);

    if (tell) {
        (void) uv_async_send(&server->wake); /* fails only on a closed handle */
    }
}


void gp_fcgi_conn_give(gp_fcgi_conn_t *conn)
{
    gp_fcgi_server_t *server = conn->server;

    conn->due_ms = 0;
    pthread_mutex_lock(&server->shared_lock);
    (void) gp_fcgi_lent_put(conn, true);
    pthread_mutex_unlock(&server->shared_lock);

    (void) uv_async_send(&server->wake);
}


/* Under the lock. */
static void gp_fcgi_lent_remove(gp_fcgi_conn_t *conn)
{
    gp_fcgi_server_t *server = conn->server;

    if (conn->prev != NULL) {
        conn->prev->next = conn->next;
    } else {
        server->lent = conn->next;
    }
    if (conn->next != NULL) {
        conn->next->prev = conn->prev;
    } else {
        server->lent_last = conn->prev;
    }
    if (conn->req != NULL) {
        conn->req->lent = NULL;
    }
}


/* The first, if it is due by then; else NULL, and in *ret_due_ms when it will be, 0: there is none. */
static gp_fcgi_conn_t *gp_fcgi_lent_take(gp_fcgi_server_t *server, uint64_t now_ms, uint64_t *ret_due_ms)
{
    gp_fcgi_conn_t *conn;

    pthread_mutex_lock(&server->shared_lock);
    conn = server->lent;
    *ret_due_ms = conn ? conn->due_ms : 0;
    if (conn != NULL && conn->due_ms <= now_ms) {
        gp_fcgi_lent_remove(conn);
    } else {
        server->lent_timed = conn != NULL;
        conn = NULL;
    }
    pthread_mutex_unlock(&server->shared_lock);

    return conn;
}


static void gp_fcgi_on_lent_timer(uv_timer_t *timer)
{
    gp_fcgi_lent_sweep(timer->data);
}


void gp_fcgi_lent_sweep(gp_fcgi_server_t *server)
{
    uint64_t now_ms, due_ms;
    gp_fcgi_conn_t *conn;

    now_ms = gp_clock_ms();
    while ((conn = gp_fcgi_lent_take(server, now_ms, &due_ms)) != NULL) {
        gp_fcgi_conn_watch(conn);
    }

    if (due_ms != 0) {
        (void) uv_timer_start(&server->lent_timer, gp_fcgi_on_lent_timer, due_ms - now_ms, 0); /* cannot fail with a callback */
    }
}


void gp_fcgi_conn_recall_all(gp_fcgi_server_t *server)
{
    gp_fcgi_conn_t *conn;
    uint64_t due_ms;

    while ((conn = gp_fcgi_lent_take(server, UINT64_MAX, &due_ms)) != NULL) {
        gp_fcgi_conn_watch(conn);
    }
}


bool gp_fcgi_none_lent(gp_fcgi_server_t *server)
{
    bool none;

    pthread_mutex_lock(&server->shared_lock);
    none = server->lent == NULL;
    pthread_mutex_unlock(&server->shared_lock);

    return none;
}


void gp_fcgi_conn_recall(gp_fcgi_request_t *req)
{
    gp_fcgi_server_t *server = req->server;
    gp_fcgi_conn_t *conn;

    pthread_mutex_lock(&server->shared_lock);
    conn = req->lent;
    if (conn != NULL) {
        gp_fcgi_lent_remove(conn);
    }
    pthread_mutex_unlock(&server->shared_lock);

    if (conn != NULL) {
        gp_fcgi_conn_watch(conn);
    }
}


void gp_fcgi_conn_reclaim(gp_fcgi_request_t *req)
{
    gp_fcgi_server_t *server = req->server;
    gp_fcgi_conn_t *conn;
    bool answered;

    answered = gp_fcgi_request_answered(req);
    pthread_mutex_lock(&server->shared_lock);
    conn = req->lent;
    if (conn != NULL && answered && !req->keep_conn) {
        gp_fcgi_lent_remove(conn);
    }
    pthread_mutex_unlock(&server->shared_lock);

    if (conn == NULL || !answered) {
        return; /* the loop has it, or will have it in time */
    }

    if (req->keep_conn) {
        gp_fcgi_request_list(req); /* for the next request */
    } else {
        gp_fcgi_conn_drop(conn);
    }
}

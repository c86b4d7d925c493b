#include <string.h>

#include "base/clock.h"
#include "net/fcgi_internal.h"

/*
 * Connections that the loop does not watch yet: each lies with the acceptor that
 * runs its request or, when none does, on a list.
 */
#define GP_FCGI_LENT_MS 50 /* how late the end of a connection may be noticed */


/* The loop comes when the first is due; it is told once. */
static void gp_fcgi_lent_tell(gp_fcgi_server_t *server)
{
    if (!atomic_load(&server->lent_timed) && !atomic_exchange(&server->lent_timed, true)) {
        (void) uv_async_send(&server->wake); /* fails only on a closed handle */
    }
}


/* Under the lock. */
static void gp_fcgi_lent_put(gp_fcgi_conn_t *conn, bool first)
{
    gp_fcgi_server_t *server = conn->server;

    conn->prev = first ? NULL : server->lent_last;
    conn->next = first ? server->lent : NULL;
    *(conn->prev ? &conn->prev->next : &server->lent) = conn;
    *(conn->next ? &conn->next->prev : &server->lent_last) = conn;
    if (conn->req != NULL) {
        conn->req->lent = conn;
    }
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


/* The request that lies with an acceptor, for the one who gets true. */
static bool gp_fcgi_acceptor_take(gp_fcgi_acceptor_t *acceptor, gp_fcgi_request_t *req)
{
    return atomic_compare_exchange_strong(&acceptor->req, &req, NULL);
}


void gp_fcgi_conn_lend(gp_fcgi_conn_t *conn, bool here)
{
    gp_fcgi_acceptor_t *acceptor = conn->acceptor;
    gp_fcgi_server_t *server = conn->server;
    gp_fcgi_request_t *req = conn->req;

    req->came_on = conn;
    conn->due_ms = gp_clock_ms() + GP_FCGI_LENT_MS;
    if (here) {
        req->acceptor = acceptor;
        atomic_store(&acceptor->due_ms, conn->due_ms);
        atomic_store(&acceptor->req, req);
    } else {
        pthread_mutex_lock(&server->shared_lock);
        gp_fcgi_lent_put(conn, false);
        pthread_mutex_unlock(&server->shared_lock);
    }
    gp_fcgi_lent_tell(server);
}


void gp_fcgi_conn_give(gp_fcgi_conn_t *conn)
{
    gp_fcgi_server_t *server = conn->server;

    conn->due_ms = 0;
    pthread_mutex_lock(&server->shared_lock);
    gp_fcgi_lent_put(conn, true);
    pthread_mutex_unlock(&server->shared_lock);

    (void) uv_async_send(&server->wake);
}


/* The first of the list, if it is due by then; else NULL, and *due_ms is no later than when it will be. */
static gp_fcgi_conn_t *gp_fcgi_lent_take(gp_fcgi_server_t *server, uint64_t now_ms, uint64_t *due_ms)
{
    gp_fcgi_conn_t *conn;

    pthread_mutex_lock(&server->shared_lock);
    conn = server->lent;
    if (conn != NULL && conn->due_ms <= now_ms) {
        gp_fcgi_lent_remove(conn);
    } else if (conn != NULL) {
        *due_ms = conn->due_ms < *due_ms ? conn->due_ms : *due_ms;
        conn = NULL;
    }
    pthread_mutex_unlock(&server->shared_lock);

    return conn;
}


/* Watches what is due by then. When the next will be, UINT64_MAX: there is none. */
static uint64_t gp_fcgi_lent_watch(gp_fcgi_server_t *server, uint64_t now_ms)
{
    gp_fcgi_acceptor_t *acceptor;
    gp_fcgi_request_t *req;
    gp_fcgi_conn_t *conn;
    uint64_t due_ms, next_ms = UINT64_MAX;
    size_t i;

    while ((conn = gp_fcgi_lent_take(server, now_ms, &next_ms)) != NULL) {
        gp_fcgi_conn_watch(conn);
    }

    for (i = 0; i <= GP_FCGI_ACCEPTORS; i++) {
        acceptor = &server->acceptors[i];
        req = atomic_load(&acceptor->req);
        due_ms = atomic_load(&acceptor->due_ms);
        if (req == NULL) {
            continue;
        }
        if (due_ms > now_ms) {
            next_ms = due_ms < next_ms ? due_ms : next_ms;
        } else if (gp_fcgi_acceptor_take(acceptor, req)) { /* or, at the same address, the next one: sooner than is due */
            gp_fcgi_conn_watch(req->came_on);
            gp_fcgi_acceptors_relieve(server);
        }
    }

    return next_ms;
}


static void gp_fcgi_on_lent_timer(uv_timer_t *timer)
{
    gp_fcgi_lent_sweep(timer->data);
}


void gp_fcgi_lent_sweep(gp_fcgi_server_t *server)
{
    uint64_t now_ms, next_ms;

    now_ms = gp_clock_ms();
    next_ms = gp_fcgi_lent_watch(server, now_ms);
    if (next_ms == UINT64_MAX) {
        atomic_store(&server->lent_timed, false);
        next_ms = gp_fcgi_lent_watch(server, now_ms); /* again: what came before that has told nobody */
    }

    if (next_ms != UINT64_MAX) {
        atomic_store(&server->lent_timed, true);
        (void) uv_timer_start(&server->lent_timer, gp_fcgi_on_lent_timer, next_ms - now_ms, 0); /* cannot fail with a callback */
    }
}


void gp_fcgi_conn_recall_all(gp_fcgi_server_t *server)
{
    (void) gp_fcgi_lent_watch(server, UINT64_MAX);
}


bool gp_fcgi_none_lent(gp_fcgi_server_t *server)
{
    bool none;
    size_t i;

    pthread_mutex_lock(&server->shared_lock);
    none = server->lent == NULL;
    pthread_mutex_unlock(&server->shared_lock);
    for (i = 0; i <= GP_FCGI_ACCEPTORS; i++) {
        none = none && atomic_load(&server->acceptors[i].req) == NULL;
    }

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
    } else if (req->acceptor != NULL && gp_fcgi_acceptor_take(req->acceptor, req)) {
        conn = req->came_on;
    }
    pthread_mutex_unlock(&server->shared_lock);

    if (conn != NULL) {
        gp_fcgi_conn_watch(conn);
        gp_fcgi_acceptors_relieve(server); /* it will not be due, and its handler may go on */
    }
}


/* From the acceptor, which needs the place for its next one, to the list. */
static void gp_fcgi_acceptor_give(gp_fcgi_request_t *req)
{
    gp_fcgi_server_t *server = req->server;
    bool taken;

    pthread_mutex_lock(&server->shared_lock); /* gp_fcgi_conn_recall() finds it here or there */
    taken = gp_fcgi_acceptor_take(req->acceptor, req);
    if (taken) {
        req->came_on->due_ms = 0;
        gp_fcgi_lent_put(req->came_on, true);
    }
    pthread_mutex_unlock(&server->shared_lock);

    if (taken) {
        (void) uv_async_send(&server->wake);
    }
}


/* Takes the connection of an answered request off the list, if it is there; else NULL. */
static gp_fcgi_conn_t *gp_fcgi_lent_end(gp_fcgi_request_t *req)
{
    gp_fcgi_server_t *server = req->server;
    gp_fcgi_conn_t *conn;

    pthread_mutex_lock(&server->shared_lock);
    conn = req->lent;
    if (conn != NULL) {
        gp_fcgi_lent_remove(conn);
    }
    pthread_mutex_unlock(&server->shared_lock);

    return conn;
}


void gp_fcgi_conn_reclaim(gp_fcgi_request_t *req)
{
    gp_fcgi_conn_t *conn = NULL;
    bool answered;

    answered = gp_fcgi_request_answered(req);
    if (answered && !req->keep_conn) {
        if (req->acceptor == NULL) {
            conn = gp_fcgi_lent_end(req);
        } else if (gp_fcgi_acceptor_take(req->acceptor, req)) {
            conn = req->came_on;
        }
        if (conn != NULL) {
            gp_fcgi_conn_drop(conn);
        }

    } else if (req->acceptor != NULL) {
        gp_fcgi_acceptor_give(req);

    } else if (answered) {
        gp_fcgi_request_list(req); /* for the next request */
    }
}

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/die.h"
#include "base/log.h"
#include "net/fcgi_internal.h"

/*
 * The threads that accept. They block in accept4(2): the kernel wakes one of
 * them a connection, the one that has waited longest. One more, the spare one,
 * sleeps until all others have handlers that take long; it runs none itself.
 */
#define GP_FCGI_FIRST_READ 8192 /* bytes, on the stack: what nginx sends at once fits, what is longer the loop reads */
#define GP_FCGI_FIRST_WAIT_MS 5 /* for a request to follow its connection; later the loop waits for it */
#define GP_FCGI_TURN 3 /* connections in a row, then others may have the processor */
#define GP_FCGI_STARVED_MS 100 /* until accepting is tried again when it could not be done */


/* What has come with the connection. */
static void gp_fcgi_conn_begin(gp_fcgi_conn_t *conn)
{
    struct pollfd pollfd = {.fd = conn->fd, .events = POLLIN};
    char bytes[GP_FCGI_FIRST_READ];
    ssize_t n;

    n = recv(conn->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN && poll(&pollfd, 1, GP_FCGI_FIRST_WAIT_MS) > 0) {
        n = recv(conn->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    }

    if (n > 0) {
        gp_fcgi_conn_feed(conn, bytes, (size_t) n);
    } else {
        gp_fcgi_conn_give(conn); /* nothing yet, or its end: the loop sees which */
    }
}


static void gp_fcgi_accepted(gp_fcgi_acceptor_t *acceptor, int fd)
{
    gp_fcgi_server_t *server = acceptor->server;
    gp_fcgi_conn_t *conn;

    conn = calloc(1, sizeof(gp_fcgi_conn_t));
    if (conn == NULL) {
        gp_die("out of memory: a connection");
    }

    conn->server = server;
    conn->acceptor = acceptor;
    conn->fd = fd;
    gp_fcgi_parser_init(&conn->parser);
    atomic_fetch_add(&server->connections, 1);
    if (atomic_fetch_add(&server->connections_now, 1) >= GP_FCGI_CONNECTIONS_MAX) {
        gp_fcgi_conn_drop(conn);
        return;
    }

    gp_fcgi_conn_begin(conn);
}


/* Descriptors or memory are short: said once, and what waits goes on waiting. */
static void gp_fcgi_accept_failed(gp_fcgi_server_t *server, int error)
{
    const struct timespec pause = {.tv_nsec = GP_FCGI_STARVED_MS * 1000000L};

    if (!atomic_exchange(&server->starved, true)) {
        gp_log(GP_LOG_ERROR, "cannot accept connections for now", "reason", strerror(error), NULL);
    }
    (void) nanosleep(&pause, NULL);
}


static void gp_fcgi_accept_left(void *data)
{
    gp_fcgi_server_t *server = data;

    atomic_fetch_sub(&server->accepting, 1);
}


/* A connection. The only place where a stop ends the thread, which does not come back then. */
static int gp_fcgi_accept(gp_fcgi_server_t *server)
{
    int fd, error, state;

    atomic_fetch_add(&server->accepting, 1);
    pthread_cleanup_push(gp_fcgi_accept_left, server);
    (void) pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
    fd = accept4(server->conf.listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    error = errno;
    (void) pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    pthread_cleanup_pop(1);

    if (fd >= 0) {
        atomic_store(&server->starved, false);
    } else if (error != EINTR && error != ECONNABORTED) {
        gp_fcgi_accept_failed(server, error);
    }

    return fd;
}


/* The spare one sleeps while another accepts. */
static void gp_fcgi_spare_wait(gp_fcgi_server_t *server)
{
    pthread_mutex_lock(&server->shared_lock);
    if (atomic_load(&server->accepting) > 0) {
        server->spare_wanted = false;
    }
    while (!server->spare_wanted && !atomic_load(&server->stopping)) {
        pthread_cond_wait(&server->spare, &server->shared_lock);
    }
    pthread_mutex_unlock(&server->shared_lock);
}


void gp_fcgi_acceptors_relieve(gp_fcgi_server_t *server)
{
    if (atomic_load(&server->accepting) > 0) {
        return; /* the last one comes here, too */
    }

    pthread_mutex_lock(&server->shared_lock);
    server->spare_wanted = true;
    pthread_cond_signal(&server->spare);
    pthread_mutex_unlock(&server->shared_lock);
}


static void gp_fcgi_acceptor_ended(void *data)
{
    gp_fcgi_server_t *server = data;

    atomic_fetch_sub(&server->acceptors_alive, 1);
    (void) uv_async_send(&server->wake); /* a stop waits for it */
}


static void *gp_fcgi_acceptor(void *data)
{
    gp_fcgi_acceptor_t *acceptor = data;
    gp_fcgi_server_t *server = acceptor->server;
    int fd, state;

    (void) pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    pthread_cleanup_push(gp_fcgi_acceptor_ended, server);
    for (;;) {
        if (acceptor->spare) {
            gp_fcgi_spare_wait(server);
        }
        if (atomic_load(&server->stopping)) {
            break;
        }
        fd = gp_fcgi_accept(server);
        if (fd >= 0) {
            gp_fcgi_accepted(acceptor, fd);
        }
        if (++acceptor->turn % GP_FCGI_TURN == 0) {
            (void) sched_yield(); /* else the kernel takes it at the end of a slice, and then with a request in hand */
        }
    }
    pthread_cleanup_pop(1);

    return NULL;
}


void gp_fcgi_acceptors_start(gp_fcgi_server_t *server)
{
    gp_fcgi_acceptor_t *acceptor;
    pthread_attr_t attr;
    size_t i;

    atomic_store(&server->acceptors_alive, GP_FCGI_ACCEPTORS + 1);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, GP_POOL_STACK);
    for (i = 0; i <= GP_FCGI_ACCEPTORS; i++) {
        acceptor = &server->acceptors[i];
        acceptor->server = server;
        acceptor->spare = i == GP_FCGI_ACCEPTORS;
        if (pthread_create(&acceptor->thread, &attr, gp_fcgi_acceptor, acceptor) != 0) {
            gp_die("cannot start thread %zu that accepts: raise the limit of processes", i);
        }
    }
    pthread_attr_destroy(&attr);
}


void gp_fcgi_acceptors_stop(gp_fcgi_server_t *server)
{
    size_t i;

    pthread_mutex_lock(&server->shared_lock);
    pthread_cond_signal(&server->spare);
    pthread_mutex_unlock(&server->shared_lock);
    for (i = 0; i <= GP_FCGI_ACCEPTORS; i++) {
        (void) pthread_cancel(server->acceptors[i].thread);
    }
}


void gp_fcgi_acceptors_join(gp_fcgi_server_t *server)
{
    size_t i;

    for (i = 0; i <= GP_FCGI_ACCEPTORS; i++) {
        (void) pthread_join(server->acceptors[i].thread, NULL);
    }
}

#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "base/buf.h"
#include "net/fcgi_server.h"
#include "net/pool.h"
#include "wire/fastcgi.h"

/*
 * Connections belong to the loop. Requests are shared: the loop holds a
 * reference while the connection serves it, the handler another, each chunk on
 * its way out a third. What threads may touch of a request is below its lock.
 * A reply goes out from the thread that gives it, as far as the kernel takes it:
 * that spares two wake-ups a request. What is left is put on the request, the
 * request once on the server's list, and the loop is woken.
 */
typedef struct gp_fcgi_conn gp_fcgi_conn_t;
typedef struct gp_fcgi_chunk gp_fcgi_chunk_t;

struct gp_fcgi_chunk {
    uv_write_t write;
    gp_fcgi_chunk_t *next;
    gp_fcgi_request_t *req; /* a reference, NULL for management replies */
    size_t len;
    size_t sent; /* bytes that are out already */
    bool last; /* ends the request */
    char bytes[];
};

struct gp_fcgi_request {
    gp_fcgi_server_t *server;
    atomic_uint refs;
    atomic_bool gone; /* client gone or request answered */
    uint16_t id;
    bool keep_conn;
    enum gp_fcgi_size size;

    gp_buf_t params; /* decoded: name NUL value NUL ... */
    gp_buf_t body;
    uint64_t deadline_ms;
    void *data;
    void (*data_free)(void *data);

    gp_fcgi_conn_t *conn; /* loop; NULL once detached */
    gp_fcgi_request_t *next, *prev; /* loop: requests that live */

    pthread_mutex_t lock;
    gp_fcgi_chunk_t *out, *out_last;
    int fd; /* of the connection, -1 when it is closing: threads write on it under the lock */
    size_t queued; /* bytes that the kernel has not taken */
    bool finished; /* the end is out or queued */
    bool answered; /* the end is out: the connection may go on */
    bool counted; /* in server->requests_now */
    bool listed; /* on server->dirty */
    gp_fcgi_request_t *dirty_next;
    void (*on_gone)(gp_fcgi_request_t *req, void *data);
    void *on_gone_data;
};

struct gp_fcgi_conn {
    uv_pipe_t pipe;
    gp_fcgi_server_t *server;
    gp_fcgi_conn_t *next, *prev;
    gp_fcgi_request_t *req;
    gp_fcgi_parser_t parser;
    bool closing;
};

struct gp_fcgi_server {
    gp_fcgi_server_conf_t conf;
    uv_loop_t loop;
    uv_pipe_t listener;
    uv_async_t wake;
    uv_timer_t timer;
    uv_signal_t on_term, on_int;
    gp_pool_t *pool;
    gp_fcgi_conn_t *conns;
    gp_fcgi_request_t *requests;
    uint64_t deadlines_n; /* requests with a deadline */
    atomic_bool stopping;
    bool stop_begun;
    bool stopped; /* the loop has been told to end */
    bool handlers_left;
    uint64_t stop_at_ms;
    atomic_ullong connections, requests_n, refused, connections_now, requests_now;

    pthread_mutex_t dirty_lock;
    gp_fcgi_request_t *dirty;

    char read_buffer[65536]; /* one for all: what is read is used up before the loop goes on */
};

/* The timer runs only while somebody needs it: an idle service does not wake up. */
void gp_fcgi_server_tick(gp_fcgi_server_t *server);

/* Takes the connection that waits on the listener. */
void gp_fcgi_conn_accept(gp_fcgi_server_t *server);
/* A request that a thread has answered makes way for the next. */
void gp_fcgi_conn_settle(gp_fcgi_conn_t *conn);
void gp_fcgi_conn_close(gp_fcgi_conn_t *conn);

/* Sends what threads have put into a request, or tells them that nobody listens. */
void gp_fcgi_request_flush(gp_fcgi_request_t *req);
gp_fcgi_request_t *gp_fcgi_request_new(gp_fcgi_server_t *server, gp_fcgi_conn_t *conn, uint16_t id, bool keep_conn);
/* What waits to be sent, in order, the caller's now; and the function to call, when the client is gone. */
gp_fcgi_chunk_t *gp_fcgi_request_take(gp_fcgi_request_t *req, void (**ret_gone)(gp_fcgi_request_t *, void *), void **ret_gone_data);
void gp_fcgi_request_sent(gp_fcgi_request_t *req, size_t len);
bool gp_fcgi_request_answered(gp_fcgi_request_t *req);
/* The connection closes: nobody writes any more. */
void gp_fcgi_request_close(gp_fcgi_request_t *req);
/* Puts it on the list of those the loop must look at. */
void gp_fcgi_request_list(gp_fcgi_request_t *req);

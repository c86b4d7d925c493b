#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "base/buf.h"
#include "net/fcgi_server.h"
#include "net/pool.h"
#include "wire/fastcgi.h"

#define GP_FCGI_ACCEPTORS 8 /* threads; on a busy machine each is one more claim to a processor */

/*
 * Threads accept connections and read the request that comes with them. They run
 * it, too, while fewer handlers run than may; else the pool does. One thread that
 * accepts for all is late for all, and each hand-over waits for a processor. When
 * all of them have handlers that take long, a spare one accepts for the pool.
 *
 * The loop watches connections that wait for something: for the rest of a
 * request, for the next one, for the end of a request that runs for long. A
 * connection that came with a whole request is lent to it at first: most are
 * answered before a look at the connection would tell anything, and then the
 * thread that has answered closes it. On this way threads meet at no lock: one
 * that loses the processor while it holds it stops all others for milliseconds.
 *
 * Requests are shared: the loop holds a
 * reference while the connection serves it, the handler another, each chunk on
 * its way out a third. What threads may touch of a request is below its lock.
 * A reply goes out from the thread that gives it, as far as the kernel takes it:
 * that spares two wake-ups a request. What is left is put on the request, the
 * request once on the server's list, and the loop is woken.
 */
typedef struct gp_fcgi_conn gp_fcgi_conn_t;
typedef struct gp_fcgi_chunk gp_fcgi_chunk_t;
typedef struct gp_fcgi_acceptor gp_fcgi_acceptor_t;

struct gp_fcgi_acceptor {
    gp_fcgi_server_t *server;
    pthread_t thread;
    bool spare;
    unsigned turn; /* of accepting; wraps */
    /*
     * What it runs. Whoever takes the request out, and nobody else, has the
     * connection it came on: this thread when it is done, the loop when it is due.
     */
    _Atomic(gp_fcgi_request_t *) req;
    atomic_ullong due_ms;
};

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

    gp_fcgi_conn_t *conn; /* loop: the one that it watches, NULL once detached */
    gp_fcgi_conn_t *came_on; /* it is the first on this connection, which was lent to it */
    gp_fcgi_acceptor_t *acceptor; /* that runs it, if one does */
    gp_fcgi_conn_t *lent; /* under the server's lock: the one that is on the list of those that nobody watches yet */
    gp_fcgi_request_t *next, *prev; /* loop: requests that live */
    bool timed; /* loop: in server->deadlines_n */

    pthread_mutex_t lock;
    gp_fcgi_chunk_t *out, *out_last;
    int fd; /* of the connection, -1 when it is closing: threads write on it under the lock */
    size_t queued; /* bytes that the kernel has not taken */
    bool finished; /* the end is out or queued */
    bool answered; /* the end is out: the connection may go on */
    bool watched; /* the loop sees the end of the connection */
    bool counted; /* in server->requests_now */
    bool listed; /* on server->dirty */
    gp_fcgi_request_t *dirty_next;
    void (*on_gone)(gp_fcgi_request_t *req, void *data);
    void *on_gone_data;
};

struct gp_fcgi_conn {
    uv_pipe_t pipe; /* once it is watched */
    gp_fcgi_server_t *server;
    gp_fcgi_acceptor_t *acceptor; /* that has it until it is watched */
    gp_fcgi_conn_t *next, *prev; /* of server->conns or, while lent, of server->lent */
    gp_fcgi_request_t *req;
    gp_fcgi_parser_t parser;
    uint64_t due_ms; /* when the loop is to watch it */
    int fd;
    bool watched;
    bool whole; /* the request has been read to its end and does not run yet */
    bool closing;
};

struct gp_fcgi_server {
    gp_fcgi_server_conf_t conf;
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t timer, lent_timer;
    uv_signal_t on_term, on_int;
    gp_pool_t *pool;
    gp_fcgi_conn_t *conns;
    gp_fcgi_request_t *requests;
    uint64_t deadlines_n; /* requests whose deadline is to come */
    atomic_bool stopping;
    bool stop_begun;
    bool listener_closed;
    bool stopped; /* the loop has been told to end */
    bool handlers_left;
    gp_fcgi_acceptor_t acceptors[GP_FCGI_ACCEPTORS + 1]; /* the last is the spare one */
    atomic_uint acceptors_alive;
    atomic_uint accepting; /* of them, those that wait for a connection */
    atomic_bool starved; /* connections cannot be accepted */
    atomic_bool lent_timed; /* the loop knows that connections are lent */
    uint64_t stop_at_ms;
    atomic_ullong connections, requests_n, refused, connections_now, requests_now;

    pthread_mutex_t shared_lock; /* of what threads take from the loop or hand to it */
    gp_fcgi_request_t *dirty; /* requests it must look at */
    gp_fcgi_conn_t *lent, *lent_last; /* the one that is due first comes first */
    pthread_cond_t spare; /* it is wanted, or ends */
    bool spare_wanted;

    char read_buffer[65536]; /* one for all: what is read is used up before the loop goes on */
};

/* The timer runs only while somebody needs it: an idle service does not wake up. */
void gp_fcgi_server_tick(gp_fcgi_server_t *server);

/* ---- fcgi_accept.c ---- */

void gp_fcgi_acceptors_start(gp_fcgi_server_t *server);
/* Those that wait for a connection end now, the others when they are done. The listener closes once none can use it. */
void gp_fcgi_acceptors_stop(gp_fcgi_server_t *server);
void gp_fcgi_acceptors_join(gp_fcgi_server_t *server);
/* Handlers take long: if that leaves no thread to accept, the spare one does. */
void gp_fcgi_acceptors_relieve(gp_fcgi_server_t *server);

/* ---- fcgi_lent.c ---- */

/* Its request is about to run, in this thread or another. From now on it may be closed by another thread. */
void gp_fcgi_conn_lend(gp_fcgi_conn_t *conn, bool here);
/* The loop is to watch it at once. */
void gp_fcgi_conn_give(gp_fcgi_conn_t *conn);
/* Loop: watches those that are due, and comes again for the others. */
void gp_fcgi_lent_sweep(gp_fcgi_server_t *server);
/* Loop: watches the connection of a request, if it is lent. */
void gp_fcgi_conn_recall(gp_fcgi_request_t *req);
/* Loop: all of them; and whether there are none. */
void gp_fcgi_conn_recall_all(gp_fcgi_server_t *server);
bool gp_fcgi_none_lent(gp_fcgi_server_t *server);
/* Any thread, when it has done with a request: a lent connection that is not needed any more ends here. */
void gp_fcgi_conn_reclaim(gp_fcgi_request_t *req);

/* ---- fcgi_conn.c ---- */

/* What has come on it: any thread that alone has it, else the loop. It may be gone afterwards. */
void gp_fcgi_conn_feed(gp_fcgi_conn_t *conn, const char *bytes, size_t len);
/* The server stops: its request hears of it. */
void gp_fcgi_conn_stop(gp_fcgi_conn_t *conn);
void gp_fcgi_conn_watch(gp_fcgi_conn_t *conn);
/* Any thread that alone has it: closes one that is not watched. */
void gp_fcgi_conn_drop(gp_fcgi_conn_t *conn);
/* A request that a thread has answered makes way for the next. */
void gp_fcgi_conn_settle(gp_fcgi_conn_t *conn);
/* Loop: of one that is watched; it is freed in a later turn. */
void gp_fcgi_conn_close(gp_fcgi_conn_t *conn);

/* Sends what threads have put into a request, or tells them that nobody listens. */
void gp_fcgi_request_flush(gp_fcgi_request_t *req);
gp_fcgi_request_t *gp_fcgi_request_new(gp_fcgi_server_t *server, gp_fcgi_conn_t *conn, uint16_t id, bool keep_conn);
/* What waits to be sent, in order, the caller's now; and the function to call, when the client is gone. */
gp_fcgi_chunk_t *gp_fcgi_request_take(gp_fcgi_request_t *req, void (**ret_gone)(gp_fcgi_request_t *, void *), void **ret_gone_data);
void gp_fcgi_request_sent(gp_fcgi_request_t *req, size_t len);
bool gp_fcgi_request_answered(gp_fcgi_request_t *req);
/* The loop sees the end of its connection from now on; as above. */
bool gp_fcgi_request_watch(gp_fcgi_request_t *req);
/* The connection closes: nobody writes any more. */
void gp_fcgi_request_close(gp_fcgi_request_t *req);
/* Puts it on the list of those the loop must look at. */
void gp_fcgi_request_list(gp_fcgi_request_t *req);

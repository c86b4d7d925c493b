#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "core/span.h"

/*
 * FastCGI responder: a few threads accept, one loop thread does the I/O of
 * everything that lasts, a bounded number of handlers runs. A request that
 * streams holds no thread: whoever has a reference writes to it. The loop reads
 * on while a request runs, so that the end of the connection (nginx never sends
 * ABORT) or an ABORT is noticed: at once, in the first milliseconds of a
 * connection after those.
 */
#define GP_FCGI_CONNECTIONS_MAX 16384 /* below the 20,000 open files many systems allow */
#define GP_FCGI_STOP_GRACE_MS 20000 /* what a stop waits for handlers; supervisors kill after 30 s or later */

typedef struct gp_fcgi_server gp_fcgi_server_t;
typedef struct gp_fcgi_request gp_fcgi_request_t;

typedef struct {
    int listen_fd; /* owned */
    unsigned threads; /* handlers that run at once */
    size_t body_limit; /* bytes; what is longer is read and dropped */
    void *data; /* of the functions below */
    /* Any thread, never blocks: sets data and deadline. True: handle() neither blocks nor takes long, and is called right there. */
    bool (*prepare)(gp_fcgi_request_t *req, void *data);
    /* A thread for handlers. It owns one reference. */
    void (*handle)(gp_fcgi_request_t *req, void *data);
    /* Must answer with gp_fcgi_request_finish(). Any thread: the queue was full; loop: the deadline passed. */
    void (*overloaded)(gp_fcgi_request_t *req, void *data);
    void (*expired)(gp_fcgi_request_t *req, void *data);
    /* Loop: a stop has begun while this request lives. */
    void (*stopping)(gp_fcgi_request_t *req, void *data);
} gp_fcgi_server_conf_t;

enum gp_fcgi_size { GP_FCGI_FITS, GP_FCGI_PARAMS_TOO_LARGE, GP_FCGI_BODY_TOO_LARGE };

typedef struct {
    uint64_t connections, requests, refused; /* since the start */
    uint64_t connections_now, requests_now;
} gp_fcgi_stats_t;

int gp_fcgi_server_new(const gp_fcgi_server_conf_t *conf, gp_fcgi_server_t **ret_server, gp_err_t *err) __attribute__((warn_unused_result));
/* Serves until SIGTERM, SIGINT or gp_fcgi_server_stop(). False: handlers still ran when the grace was over, so nothing may be freed. */
bool gp_fcgi_server_run(gp_fcgi_server_t *server);
gp_fcgi_server_t *gp_fcgi_server_free(gp_fcgi_server_t *server);
void gp_fcgi_server_stop(gp_fcgi_server_t *server); /* any thread */
bool gp_fcgi_server_stopping(const gp_fcgi_server_t *server);
void gp_fcgi_server_stats(const gp_fcgi_server_t *server, gp_fcgi_stats_t *ret_stats);

void gp_fcgi_request_ref(gp_fcgi_request_t *req);
void gp_fcgi_request_unref(gp_fcgi_request_t *req);
/* A parameter, or NULL; borrowed. */
const char *gp_fcgi_request_param(const gp_fcgi_request_t *req, const char *name);
/* Many at once: gp_fcgi_params_find(). */
void gp_fcgi_request_find(const gp_fcgi_request_t *req, const gp_span_t *names, size_t names_n, const char **values);
const void *gp_fcgi_request_body(const gp_fcgi_request_t *req, size_t *ret_len);
/* The handler is done with it. */
void gp_fcgi_request_drop_body(gp_fcgi_request_t *req);
enum gp_fcgi_size gp_fcgi_request_size(const gp_fcgi_request_t *req);
/* The client is gone, or the request is answered. */
bool gp_fcgi_request_gone(const gp_fcgi_request_t *req);
/* In prepare only. CLOCK_MONOTONIC ms; 0: none. */
void gp_fcgi_request_set_deadline(gp_fcgi_request_t *req, uint64_t deadline_ms);
uint64_t gp_fcgi_request_deadline(const gp_fcgi_request_t *req);
/* A pointer of the caller's, freed with the request. */
void gp_fcgi_request_set_data(gp_fcgi_request_t *req, void *data, void (*free_fn)(void *data));
void *gp_fcgi_request_data(const gp_fcgi_request_t *req);

/*
 * Any thread, never blocks. What the kernel does not take now is copied and sent
 * by the loop. queue_limit: most bytes
 * that may wait for the peer, 0: any. 0, -GP_CANCELED: gone or finished,
 * -GP_RESOURCE_EXHAUSTED: over queue_limit (nothing was queued).
 */
int gp_fcgi_request_write(gp_fcgi_request_t *req, const struct iovec *parts, int parts_n, size_t queue_limit);
/* The last bytes and the end of the request. The first call counts: 0, or -GP_CANCELED. */
int gp_fcgi_request_finish(gp_fcgi_request_t *req, const struct iovec *parts, int parts_n);
/*
 * fn runs once, on the loop, when the client goes away or the request has been
 * answered; soon, when that is so already. NULL takes it back (one that runs
 * right now goes on).
 */
void gp_fcgi_request_on_gone(gp_fcgi_request_t *req, void (*fn)(gp_fcgi_request_t *req, void *data), void *data);

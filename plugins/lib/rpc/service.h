#pragma once

#include <stdint.h>
#include <stdbool.h>
#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/option.h"

/*
 * A service is tables: methods, plain HTTP paths, options. gp_service_main()
 * is the rest: FastCGI responder on the service's socket (or the one passed by
 * socket activation), bounded pool for handlers, logs, /health, /metrics,
 * graceful stop on SIGTERM.
 *
 * A handler runs on a pool thread and may block; it gives up when
 * gp_call_cancelled(). Request and response live in call->arena.
 */
typedef struct gp_service gp_service_t;
typedef struct gp_stream gp_stream_t;

typedef struct {
    gp_service_t *service;
    gp_arena_t *arena; /* freed when the reply is out */
    void *data; /* gp_service_def_t.data */
    const char *method; /* "gitpod.v1.WorkspaceService/GetWorkspace" or the plain path */
    const char *http_method; /* "POST" */
    const char *query; /* QUERY_STRING, "" when none */
    const char *user; /* GITPOD_USER; "" anonymous */
    const char *credential; /* session | token | none */
    const char *credential_id;
    const char *scopes;
    const char *caller; /* internal calls: the calling service */
    const char *request_id;
    const char *scheme; /* http | https */
    uint64_t deadline_ms; /* CLOCK_MONOTONIC; 0 none */
} gp_call_t;

/* A FastCGI parameter by name, or NULL. Borrowed, lives as long as the call. */
const char *gp_call_param(const gp_call_t *call, const char *name);
/*
 * Is a feature flag on for the caller? As the gateway saw it when the request came in: nothing is asked, nobody waits. A name that
 * conf/nginx/nginx_flags.conf.in does not have is off.
 */
bool gp_call_flag(const gp_call_t *call, const char *name);
/* The client is gone, the deadline passed or the service stops. */
bool gp_call_cancelled(const gp_call_t *call);

/* Unary: req is validated for form only. res is initialised; fill it from call->arena. 0 or -code with err. */
typedef int (*gp_unary_pt)(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);

/*
 * Server stream: the handler gets one reference to stream and returns. 0: the
 * stream lives on, without a thread, until gp_stream_end(). -code: it ends
 * with err. call and req are valid until the stream is gone.
 */
typedef int (*gp_stream_pt)(gp_call_t *call, const ProtobufCMessage *req, gp_stream_t *stream, gp_err_t *err);

/* Any thread. Encodes now, sends from the loop. -GP_CANCELED: the client is gone. -GP_RESOURCE_EXHAUSTED: the reader is too slow (limit 256 KiB queued); end it. */
int gp_stream_send(gp_stream_t *stream, const ProtobufCMessage *msg) __attribute__((warn_unused_result));
/* Any thread, once: final envelope (err NULL or code 0: {}), then drops the handler's reference. */
void gp_stream_end(gp_stream_t *stream, const gp_err_t *err);
/*
 * fn runs once on the loop when the client goes away, the deadline passes or the service stops (it never begins after
 * gp_stream_end). Must not block; may call gp_stream_end(), which somebody must in any case.
 */
void gp_stream_on_close(gp_stream_t *stream, void (*fn)(gp_stream_t *stream, void *data), void *data);

typedef struct {
    const ProtobufCServiceDescriptor *service;
    const char *name; /* "GetWorkspace" */
    gp_unary_pt unary; /* one of the two */
    gp_stream_pt stream;
} gp_method_t;

/* Plain HTTP. status 0 means 200. */
typedef struct {
    int status;
    const char *content_type;
    const char *body; /* arena */
    size_t body_len;
} gp_http_reply_t;

/* Header values are checked for CR, LF and NUL (dropped with an error log). Arena copies are made. */
void gp_http_reply_header(gp_call_t *call, gp_http_reply_t *reply, const char *name, const char *value);
/* The request body (at most GP_RPC_BODY_MAX), borrowed. */
const void *gp_call_body(const gp_call_t *call, size_t *ret_len);
/* A query (or form) field, percent-decoded into the arena, or NULL. */
char *gp_call_query(const gp_call_t *call, const char *name);

typedef int (*gp_http_pt)(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err);

typedef struct {
    const char *method; /* "GET" */
    const char *path; /* exact */
    gp_http_pt handler;
} gp_http_route_t;

/* A named check for /health: 0 fine, else -code with the reason. Runs at start, then on a thread of its own when asked and 2 s have passed; its last result is served. */
typedef struct {
    const char *name;
    int (*fn)(void *data, gp_err_t *err);
} gp_check_t;

/* Options every service has; embed first in the service's own struct. */
typedef struct {
    char *run_dir; /* --run */
    char *state_dir; /* --state */
    char *domain; /* --domain */
    char *workspace_domain; /* --workspace-domain */
    int64_t port; /* --port: the public one */
    int64_t listener_first; /* --listener-first: of mode port; 0: mode host */
    int64_t listener_last; /* --listener-last */
    char *listen; /* --listen: FastCGI socket; default <run>/<service>/fcgi.sock */
    int64_t threads; /* --threads: pool size, default 8 */
    char *log_level; /* --log-level */
    char *external_scheme; /* --external-scheme: http | https */
} gp_service_conf_t;

typedef struct {
    const char *name; /* "auth" */
    const char *text; /* first line of --help */
    const gp_option_t *options; /* the service's own, offsets into its struct */
    size_t n_options;
    size_t conf_size; /* sizeof(struct that begins with gp_service_conf_t) */
    const gp_method_t *methods;
    size_t n_methods;
    const gp_http_route_t *routes;
    size_t n_routes;
    const gp_check_t *checks;
    size_t n_checks;
    /* After options, before the socket: opens databases, starts threads. *ret_data becomes call->data. */
    int (*start)(gp_service_t *service, const void *conf, void **ret_data, gp_err_t *err);
    /* After the last request: joins threads, closes databases. */
    void (*stop)(void *data);
} gp_service_def_t;

int gp_service_main(const gp_service_def_t *def, int argc, char **argv);
const gp_service_conf_t *gp_service_conf(const gp_service_t *service);
bool gp_service_stopping(const gp_service_t *service);

/* Counters and gauges for /metrics; created once at start, any thread adds. name as Prometheus wants it; labels "a=\"b\"" or "". */
typedef struct gp_metric gp_metric_t;
gp_metric_t *gp_metric_counter(gp_service_t *service, const char *name, const char *labels, const char *help);
gp_metric_t *gp_metric_gauge(gp_service_t *service, const char *name, const char *labels, const char *help);
void gp_metric_add(gp_metric_t *metric, int64_t n);
void gp_metric_set(gp_metric_t *metric, int64_t n);

/* ---- calling other services, through the gateway's internal listener of this one ---- */

/*
 * Blocking, pool threads only. res is allocated in arena. Binary protobuf on the wire.
 * Retries: none here except a refused or missing socket (the gateway restarts): until
 * timeout_ms. Errors: the peer's code and text; UNAVAILABLE naming the service.
 */
int gp_rpc_unary(gp_service_t *service, const ProtobufCServiceDescriptor *descriptor, const char *method, const ProtobufCMessage *req,
                 gp_arena_t *arena, ProtobufCMessage **ret_res, uint32_t timeout_ms, gp_err_t *err) __attribute__((warn_unused_result));

/* As above for a server stream: fn per message (its memory lasts for the call); non-zero ends the call and is returned. cancelled (may be NULL) is polled every 100 ms. timeout_ms 0: none. */
int gp_rpc_stream(gp_service_t *service, const ProtobufCServiceDescriptor *descriptor, const char *method, const ProtobufCMessage *req,
                  int (*fn)(const ProtobufCMessage *msg, void *data, gp_err_t *err), void *data, bool (*cancelled)(void *data),
                  uint32_t timeout_ms, gp_err_t *err) __attribute__((warn_unused_result));

#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "net/fcgi_server.h"
#include "rpc/service.h"

/* What the files of the service half share; nobody else includes this. */

#define GP_CALL_ARENA_MAX 100663296 /* bytes: 96 MiB; the codec keeps a decoded message below some 30 MB */
#define GP_STREAM_QUEUE_MAX 262144 /* bytes a slow reader may leave unread before its stream ends */
#define GP_SERVICE_METRICS_MAX 256
#define GP_SERVICE_CHECKS_MAX 32
#define GP_HEALTH_INTERVAL_MS 2000 /* checks run no more often */
#define GP_HEALTH_STALE_MS 30000 /* a check that takes longer counts as failed */

/* From GP_CODEC_STREAM_JSON on messages have envelopes; from GP_CODEC_GRPC_JSON on (gRPC-web) unary ones too. */
enum gp_codec {
    GP_CODEC_NONE,
    GP_CODEC_JSON,
    GP_CODEC_PROTO,
    GP_CODEC_STREAM_JSON,
    GP_CODEC_STREAM_PROTO,
    GP_CODEC_GRPC_JSON,
    GP_CODEC_GRPC_PROTO
};

typedef struct gp_exchange gp_exchange_t;
typedef struct gp_reply_header gp_reply_header_t;

struct gp_reply_header {
    gp_reply_header_t *next;
    const char *name;
    const char *value;
};

struct gp_stream {
    gp_exchange_t *exchange;
    atomic_bool ended; /* the handler's reference is dropped */
    void (*on_close)(gp_stream_t *stream, void *data);
    void *on_close_data;
};

/* One request; lives as long as the FastCGI request it belongs to. */
struct gp_exchange {
    gp_call_t call;
    gp_fcgi_request_t *req;
    const char *path; /* GITPOD_PATH */
    const char *content_type;
    const char *timeout; /* Connect-Timeout-Ms or grpc-timeout */
    enum gp_codec codec;
    const gp_method_t *method; /* NULL: a plain path, or nothing of ours */
    size_t method_index;
    gp_reply_header_t *headers;
    gp_stream_t stream;
    atomic_bool is_stream; /* the handler is, or was, asked for a stream */
    pthread_mutex_t lock; /* the head of a stream goes out before anything else of it */
    bool head_sent;
    uint64_t started_ms;
};

typedef struct {
    char *path; /* "/package.Service/Method" */
    atomic_ullong by_code[17];
    atomic_ullong duration_ms;
} gp_method_state_t;

struct gp_metric {
    const char *name, *labels, *help;
    bool gauge;
    atomic_llong value;
};

typedef struct {
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t wanted;
    bool ask, stop;
    uint64_t begun_ms, done_ms; /* of the last round; begun > done: it runs */
    int rc[GP_SERVICE_CHECKS_MAX];
    char text[GP_SERVICE_CHECKS_MAX][GP_ERR_TEXT_MAX];
} gp_health_t;

struct gp_service {
    const gp_service_def_t *def;
    const gp_service_conf_t *conf;
    void *data;
    gp_fcgi_server_t *server;
    gp_method_state_t *methods; /* one per def->methods */
    gp_health_t health;
    pthread_mutex_t metrics_lock;
    gp_metric_t metrics[GP_SERVICE_METRICS_MAX];
    atomic_uint metrics_n;
    int64_t started_epoch_s;
};

/* ---- reply.c: any thread, answers once ---- */

/* {"code":"...","message":"..."} */
int gp_reply_error_json(gp_buf_t *buf, const gp_err_t *err) __attribute__((warn_unused_result));
/* status 0: the code's */
void gp_reply_error(gp_fcgi_request_t *req, const gp_err_t *err, int status);
void gp_reply_bytes(gp_fcgi_request_t *req, int status, const char *content_type, const gp_reply_header_t *headers, const void *body,
                    size_t len);
enum gp_codec gp_codec_of(const char *content_type);
const char *gp_codec_content_type(enum gp_codec codec);
bool gp_codec_is_enveloped(enum gp_codec codec);
bool gp_codec_is_grpc(enum gp_codec codec);
bool gp_codec_is_json(enum gp_codec codec);
/* The message as JSON or binary, in arena. */
int gp_codec_encode(enum gp_codec codec, const ProtobufCMessage *msg, gp_arena_t *arena, void **ret_data, size_t *ret_len, gp_err_t *err)
    __attribute__((warn_unused_result));
/* An error in the form the request asked for: error JSON, or the end of a stream. */
void gp_reply_failure(gp_exchange_t *exchange, const gp_err_t *err);

/* ---- stream.c ---- */

void gp_stream_head(gp_exchange_t *exchange);
/* The final envelope, by the handler or by the kit. */
void gp_stream_finish(gp_exchange_t *exchange, const gp_err_t *err);
/* The one message of a unary gRPC call and the final envelope. */
void gp_stream_reply(gp_exchange_t *exchange, const void *data, size_t len);

/* ---- dispatch.c ---- */

bool gp_dispatch_prepare(gp_fcgi_request_t *req, void *data);
void gp_dispatch_handle(gp_fcgi_request_t *req, void *data);
void gp_dispatch_overloaded(gp_fcgi_request_t *req, void *data);
void gp_dispatch_expired(gp_fcgi_request_t *req, void *data);
void gp_dispatch_stopping(gp_fcgi_request_t *req, void *data);

/* ---- health.c ---- */

void gp_health_start(gp_service_t *service);
void gp_health_stop(gp_service_t *service);
void gp_health_reply(gp_service_t *service, gp_fcgi_request_t *req);

/* ---- metric.c ---- */

void gp_metric_reply(gp_service_t *service, gp_fcgi_request_t *req);

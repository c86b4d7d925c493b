#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include "core/code.h"
#include "core/contract.h"
#include "core/grpc.h"
#include "rpc/internal.h"
#include "rpc/message.h"
#include "wire/connect.h"

/*
 * From a FastCGI request to a handler. What the loop may have to say later
 * (too busy, too late, stopping) is settled in prepare; the rest happens on a
 * pool thread.
 */


static const char *gp_dispatch_param(const gp_exchange_t *exchange, const char *name)
{
    const char *value;

    value = gp_fcgi_request_param(exchange->req, name);

    return value ? value : "";
}


static void gp_exchange_free(void *data)
{
    gp_exchange_t *exchange = data;

    exchange->call.arena = gp_arena_free(exchange->call.arena);
    pthread_mutex_destroy(&exchange->lock);
    free(exchange);
}


static void gp_dispatch_find_method(gp_exchange_t *exchange)
{
    gp_service_t *service = exchange->call.service;
    size_t i;

    for (i = 0; i < service->def->n_methods; i++) {
        if (strcmp(service->methods[i].path, exchange->path) == 0) {
            exchange->method = &service->def->methods[i];
            exchange->method_index = i;
            return;
        }
    }
}


#define GP_NAME(text)                                                                                                                      \
    {                                                                                                                                      \
        text, sizeof(text) - 1                                                                                                             \
    }

/* What every call looks at, in one pass over the parameters. */
static void gp_dispatch_read_params(gp_exchange_t *exchange)
{
    static const gp_span_t names[] = {
        GP_NAME("GITPOD_PATH"),       GP_NAME("CONTENT_TYPE"),      GP_NAME("HTTP_CONNECT_TIMEOUT_MS"),
        GP_NAME("HTTP_GRPC_TIMEOUT"), GP_NAME("REQUEST_METHOD"),    GP_NAME("QUERY_STRING"),
        GP_NAME(GP_PARAM_USER),       GP_NAME(GP_PARAM_CREDENTIAL), GP_NAME(GP_PARAM_CREDENTIAL_ID),
        GP_NAME(GP_PARAM_SCOPES),     GP_NAME(GP_PARAM_CALLER),     GP_NAME(GP_PARAM_REQUEST_ID),
        GP_NAME(GP_PARAM_SCHEME),
    };
    const size_t names_n = sizeof(names) / sizeof(names[0]);
    gp_call_t *call = &exchange->call;
    const char *values[sizeof(names) / sizeof(names[0])] = {NULL};
    size_t i;

    gp_fcgi_request_find(exchange->req, names, names_n, values);
    for (i = 0; i < names_n; i++) {
        values[i] = values[i] ? values[i] : "";
    }

    exchange->path = values[0];
    exchange->content_type = values[1];
    exchange->codec = gp_codec_of(exchange->content_type);
    exchange->timeout = gp_codec_is_grpc(exchange->codec) ? values[3] : values[2];
    call->http_method = values[4];
    call->query = values[5];
    call->user = values[6];
    call->credential = values[7];
    call->credential_id = values[8];
    call->scopes = values[9];
    call->caller = values[10];
    call->request_id = values[11];
    call->scheme = values[12];
}


/* What the client gave the call, in either protocol's form. */
static int gp_dispatch_timeout(const gp_exchange_t *exchange, uint64_t *ret_ms)
{
    return gp_codec_is_grpc(exchange->codec) ? gp_grpc_timeout_parse(exchange->timeout, ret_ms)
                                             : gp_connect_timeout_parse(exchange->timeout, ret_ms);
}


/* What is answered from memory, also while every handler thread is busy. */
static bool gp_dispatch_is_probe(const gp_exchange_t *exchange)
{
    return strcmp(exchange->path, GP_PATH_HEALTH) == 0 || strcmp(exchange->path, GP_PATH_METRICS) == 0;
}


static void gp_dispatch_probe(gp_exchange_t *exchange)
{
    if (strcmp(exchange->path, GP_PATH_HEALTH) == 0) {
        gp_health_reply(exchange->call.service, exchange->req);
    } else {
        gp_metric_reply(exchange->call.service, exchange->req);
    }
}


bool gp_dispatch_prepare(gp_fcgi_request_t *req, void *data)
{
    gp_service_t *service = data;
    gp_exchange_t *exchange;
    uint64_t timeout_ms;

    exchange = calloc(1, sizeof(gp_exchange_t));
    if (exchange == NULL) {
        gp_die("out of memory: a call");
    }

    exchange->req = req;
    exchange->call.service = service;
    exchange->call.data = service->data;
    exchange->stream.exchange = exchange;
    exchange->started_ms = gp_clock_ms();
    pthread_mutex_init(&exchange->lock, NULL);
    gp_fcgi_request_set_data(req, exchange, gp_exchange_free);

    gp_dispatch_read_params(exchange);
    gp_dispatch_find_method(exchange);
    exchange->call.method = exchange->method ? exchange->path + 1 : exchange->path;

    if (gp_dispatch_timeout(exchange, &timeout_ms) == 0) {
        exchange->call.deadline_ms = exchange->started_ms + timeout_ms;
        gp_fcgi_request_set_deadline(req, exchange->call.deadline_ms);
    }

    return gp_dispatch_is_probe(exchange);
}


void gp_dispatch_overloaded(gp_fcgi_request_t *req, void *data)
{
    gp_exchange_t *exchange = gp_fcgi_request_data(req);
    gp_service_t *service = data;
    gp_err_t err = GP_ERR_INIT;

    (void) gp_err(&err, GP_RESOURCE_EXHAUSTED, "%s has too many calls waiting; try again in a moment", service->def->name);
    if (gp_codec_is_enveloped(exchange->codec)) {
        gp_stream_finish(exchange, &err);
        return;
    }

    gp_reply_error(req, &err, 503);
}


void gp_dispatch_expired(gp_fcgi_request_t *req, void *data)
{
    gp_exchange_t *exchange = gp_fcgi_request_data(req);
    gp_err_t err = GP_ERR_INIT;

    (void) data;
    (void) gp_err(&err, GP_DEADLINE_EXCEEDED, "%s did not finish within the time the caller gave it", exchange->path);
    gp_reply_failure(exchange, &err);
}


void gp_dispatch_stopping(gp_fcgi_request_t *req, void *data)
{
    gp_exchange_t *exchange = gp_fcgi_request_data(req);
    gp_service_t *service = data;
    gp_err_t err = GP_ERR_INIT;

    if (exchange == NULL || !atomic_load(&exchange->is_stream)) {
        return; /* still being read, or unary: it is finished */
    }

    (void) gp_err(&err, GP_UNAVAILABLE, "%s stops; call again", service->def->name);
    gp_stream_finish(exchange, &err);
}


/* An error that no handler gives: with a status of its own. */
static int gp_dispatch_refuse(gp_exchange_t *exchange, int status, const char *allow, const gp_err_t *err)
{
    gp_auto_buf gp_buf_t body = {.limit = 8192};
    gp_reply_header_t header = {.name = "Allow", .value = allow};

    if (gp_reply_error_json(&body, err) != 0) {
        gp_die("out of memory: an error reply");
    }
    gp_reply_bytes(exchange->req, status, "application/json", allow ? &header : NULL, body.data, body.len);

    return -err->code;
}


/* Unary calls have bare messages in Connect, streams have envelopes, gRPC has them always. */
static int gp_dispatch_check_type(gp_exchange_t *exchange)
{
    const char *path = exchange->call.method, *type = exchange->content_type;
    gp_err_t err = GP_ERR_INIT;
    bool stream;

    stream = exchange->method->stream != NULL;
    if (exchange->codec != GP_CODEC_NONE && (gp_codec_is_grpc(exchange->codec) || gp_codec_is_enveloped(exchange->codec) == stream)) {
        return 0;
    }

    if (gp_grpc_is_native(type, strlen(type))) {
        (void) gp_err(&err, GP_INVALID_ARGUMENT, "%s: gRPC needs HTTP/2; over HTTP/1.1 send %s or %s", path,
                      gp_codec_content_type(GP_CODEC_GRPC_PROTO), gp_codec_content_type(stream ? GP_CODEC_STREAM_JSON : GP_CODEC_JSON));
    } else {
        (void) gp_err(&err, GP_INVALID_ARGUMENT, "%s: content type \"%.100s\" is not supported: send %s or %s", path, type,
                      gp_codec_content_type(stream ? GP_CODEC_STREAM_JSON : GP_CODEC_JSON),
                      gp_codec_content_type(stream ? GP_CODEC_STREAM_PROTO : GP_CODEC_PROTO));
    }

    return gp_dispatch_refuse(exchange, 415, NULL, &err);
}


/* The header that says how messages are compressed. */
static const char *gp_dispatch_encoding(const gp_exchange_t *exchange)
{
    if (gp_codec_is_grpc(exchange->codec)) {
        return gp_dispatch_param(exchange, "HTTP_GRPC_ENCODING");
    }

    return gp_dispatch_param(exchange, gp_codec_is_enveloped(exchange->codec) ? "HTTP_CONNECT_CONTENT_ENCODING" : "HTTP_CONTENT_ENCODING");
}


/* What every RPC must satisfy before its body is looked at; non-zero: answered. */
static int gp_dispatch_check_rpc(gp_exchange_t *exchange)
{
    const char *path, *encoding;
    gp_err_t err = GP_ERR_INIT;
    uint64_t ms;
    int rc;

    path = exchange->call.method;
    if (strcmp(exchange->call.http_method, "POST") != 0) {
        (void) gp_err(&err, GP_UNIMPLEMENTED, "%s takes POST, not %s", path, exchange->call.http_method);
        return gp_dispatch_refuse(exchange, 405, "POST", &err);
    }

    rc = gp_dispatch_check_type(exchange);
    if (rc != 0) {
        return rc;
    }

    encoding = gp_dispatch_encoding(exchange);
    if (encoding[0] != '\0' && strcmp(encoding, "identity") != 0) {
        (void) gp_err(&err, GP_UNIMPLEMENTED, "%s: compressed requests (%.40s) are not supported: send identity", path, encoding);
    } else if (exchange->timeout[0] != '\0' && gp_dispatch_timeout(exchange, &ms) != 0) {
        (void) gp_err(&err, GP_INVALID_ARGUMENT, "%s: %s", path,
                      gp_codec_is_grpc(exchange->codec) ? "grpc-timeout is not a number of up to 8 digits with one of H, M, S, m, u, n"
                                                        : "Connect-Timeout-Ms is not a number of up to 10 digits");
    } else if (gp_fcgi_request_size(exchange->req) == GP_FCGI_BODY_TOO_LARGE) {
        (void) gp_err(&err, GP_RESOURCE_EXHAUSTED, "%s: the request body is longer than %d bytes", path, GP_RPC_BODY_MAX);
    }

    if (err.code != 0) {
        gp_reply_failure(exchange, &err);
    }

    return -err.code;
}


/* The payload of the only envelope that the body must be. */
static int gp_dispatch_open(const gp_exchange_t *exchange, const uint8_t **body, size_t *len, gp_err_t *err)
{
    gp_connect_envelope_t envelope;
    int rc;

    rc = gp_connect_envelope_parse(*body, *len, GP_RPC_BODY_MAX, &envelope);
    if (rc == -GP_UNIMPLEMENTED) {
        /* gRPC's compression.md: compressed without saying how is a broken client */
        return gp_err(err, gp_codec_is_grpc(exchange->codec) ? GP_INTERNAL : GP_UNIMPLEMENTED,
                      "request envelope: compressed messages are not supported");
    }
    if (rc == -GP_RESOURCE_EXHAUSTED) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "request envelope: the message is longer than %d bytes", GP_RPC_BODY_MAX);
    }
    if (rc != 0 || envelope.flags != 0 || envelope.total_len != *len) {
        return gp_err(err, GP_INVALID_ARGUMENT, "request envelope: expected exactly one message (5 bytes of header, then its bytes)");
    }

    *body = envelope.payload;
    *len = envelope.payload_len;

    return 0;
}


/* The message in the body: the whole body, or the one envelope of a stream. */
static int gp_dispatch_decode(gp_exchange_t *exchange, const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage **ret_req,
                              gp_err_t *err)
{
    const uint8_t *body;
    size_t len;
    int rc;

    body = gp_fcgi_request_body(exchange->req, &len);
    if (gp_codec_is_enveloped(exchange->codec)) {
        rc = gp_dispatch_open(exchange, &body, &len, err);
        if (rc != 0) {
            return rc;
        }
    }

    if (!gp_codec_is_json(exchange->codec)) {
        return gp_message_from_binary(descriptor, body, len, exchange->call.arena, ret_req, err);
    }

    if (len == 0) {
        body = (const uint8_t *) "{}";
        len = 2;
    }

    return gp_message_from_json(descriptor, (const char *) body, len, true, exchange->call.arena, ret_req, err);
}


/* A handler's result as an error with code and text, whatever it left in err. */
static int gp_dispatch_result(const gp_exchange_t *exchange, int rc, gp_err_t *err)
{
    uint64_t deadline_ms = exchange->call.deadline_ms;

    if (rc == 0) {
        return 0;
    }

    if (rc == -GP_CANCELED && deadline_ms != 0 && gp_clock_ms() >= deadline_ms) {
        return gp_err(err, GP_DEADLINE_EXCEEDED, "%s did not finish within the time the caller gave it", exchange->call.method);
    }

    if (rc > 0 || err->code == 0) {
        (void) gp_err(err, rc > 0 ? GP_INTERNAL : -rc, "%s: %s", exchange->call.method, gp_code_name(rc > 0 ? GP_INTERNAL : -rc));
    }

    return -err->code;
}


static void gp_dispatch_log(const gp_exchange_t *exchange, const gp_err_t *err)
{
    enum gp_log_level level;

    level = GP_LOG_DEBUG;
    if (err->code == GP_INTERNAL || err->code == GP_UNKNOWN || err->code == GP_DATA_LOSS) {
        level = GP_LOG_ERROR;
    } else if (err->code == GP_UNAVAILABLE || err->code == GP_RESOURCE_EXHAUSTED) {
        level = GP_LOG_WARN;
    }

    gp_log(level, "call failed", "method", exchange->call.method, "code", gp_code_name(err->code), "reason", err->text, "caller",
           exchange->call.caller, NULL);
}


static int gp_dispatch_unary(gp_exchange_t *exchange, const ProtobufCMethodDescriptor *descriptor, gp_err_t *err)
{
    ProtobufCMessage *req = NULL, *res;
    void *data = NULL;
    size_t len = 0;
    int rc;

    rc = gp_dispatch_decode(exchange, descriptor->input, &req, err);
    if (rc != 0) {
        return rc;
    }

    res = gp_arena_alloc(exchange->call.arena, descriptor->output->sizeof_message);
    protobuf_c_message_init(descriptor->output, res);
    rc = gp_dispatch_result(exchange, exchange->method->unary(&exchange->call, req, res, err), err);
    if (rc != 0) {
        return rc;
    }

    rc = gp_codec_encode(exchange->codec, res, exchange->call.arena, &data, &len, err);
    if (rc == 0 && gp_codec_is_grpc(exchange->codec)) {
        gp_stream_reply(exchange, data, len);
    } else if (rc == 0) {
        gp_reply_bytes(exchange->req, 200, gp_codec_content_type(exchange->codec), exchange->headers, data, len);
    }

    return rc;
}


static int gp_dispatch_stream(gp_exchange_t *exchange, const ProtobufCMethodDescriptor *descriptor, gp_err_t *err)
{
    ProtobufCMessage *req = NULL;
    int rc;

    rc = gp_dispatch_decode(exchange, descriptor->input, &req, err);
    if (rc != 0) {
        return rc;
    }

    atomic_store(&exchange->is_stream, true);
    if (gp_service_stopping(exchange->call.service)) {
        return gp_err(err, GP_UNAVAILABLE, "%s stops; call again", exchange->call.service->def->name);
    }

    gp_stream_head(exchange);
    gp_fcgi_request_ref(exchange->req); /* the stream's, dropped by gp_stream_end() */
    rc = gp_dispatch_result(exchange, exchange->method->stream(&exchange->call, req, &exchange->stream, err), err);
    if (rc != 0) {
        gp_stream_end(&exchange->stream, err);
    }

    return rc;
}


static void gp_dispatch_rpc(gp_exchange_t *exchange)
{
    gp_method_state_t *state = &exchange->call.service->methods[exchange->method_index];
    const ProtobufCMethodDescriptor *descriptor;
    gp_err_t err = GP_ERR_INIT;
    int rc;

    descriptor = protobuf_c_service_descriptor_get_method_by_name(exchange->method->service, exchange->method->name);
    gp_assert(descriptor != NULL); /* looked up at the start */

    rc = gp_dispatch_check_rpc(exchange);
    if (rc == 0) {
        rc = exchange->method->stream ? gp_dispatch_stream(exchange, descriptor, &err) : gp_dispatch_unary(exchange, descriptor, &err);
        if (rc != 0) {
            gp_dispatch_log(exchange, &err);
            gp_reply_failure(exchange, &err);
        }
    }

    atomic_fetch_add(&state->by_code[-rc], 1);
    atomic_fetch_add(&state->duration_ms, gp_clock_ms() - exchange->started_ms);
}


/* The paths of services are /<package.Service>/<Method>; all others are plain. */
static bool gp_dispatch_is_rpc_path(const char *path)
{
    const char *slash;

    slash = path[0] == '/' ? strchr(path + 1, '/') : NULL;

    return slash != NULL && memchr(path, '.', (size_t) (slash - path)) != NULL && strchr(slash + 1, '/') == NULL;
}


static void gp_dispatch_unknown(gp_exchange_t *exchange, const char *path)
{
    gp_err_t err = GP_ERR_INIT;

    if (gp_dispatch_is_rpc_path(path)) {
        (void) gp_err(&err, GP_UNIMPLEMENTED, "there is no method %.200s", path + 1);
        gp_reply_failure(exchange, &err);
        return;
    }

    (void) gp_err(&err, GP_NOT_FOUND, "there is nothing at %.200s", path);
    gp_reply_error(exchange->req, &err, 0);
}


static const gp_http_route_t *gp_dispatch_find_route(const gp_exchange_t *exchange, const char *path, const char **ret_allow)
{
    const gp_service_def_t *def = exchange->call.service->def;
    const gp_http_route_t *route;
    const char *method;
    size_t i;

    *ret_allow = NULL;
    method = strcmp(exchange->call.http_method, "HEAD") == 0 ? "GET" : exchange->call.http_method;
    for (i = 0; i < def->n_routes; i++) {
        route = &def->routes[i];
        if (strcmp(route->path, path) != 0) {
            continue;
        }
        if (strcmp(route->method, method) == 0) {
            return route;
        }
        *ret_allow = route->method;
    }

    return NULL;
}


static void gp_dispatch_plain(gp_exchange_t *exchange, const char *path)
{
    const gp_http_route_t *route;
    const char *allow;
    gp_http_reply_t reply = {0};
    gp_err_t err = GP_ERR_INIT;

    route = gp_dispatch_find_route(exchange, path, &allow);
    if (route == NULL && allow == NULL) {
        gp_dispatch_unknown(exchange, path);
        return;
    }

    if (route == NULL) {
        (void) gp_err(&err, GP_UNIMPLEMENTED, "%s takes %s, not %s", path, allow, exchange->call.http_method);
        (void) gp_dispatch_refuse(exchange, 405, allow, &err);
        return;
    }

    if (gp_fcgi_request_size(exchange->req) == GP_FCGI_BODY_TOO_LARGE) {
        (void) gp_err(&err, GP_RESOURCE_EXHAUSTED, "%s: the request body is longer than %d bytes", path, GP_RPC_BODY_MAX);
        gp_reply_error(exchange->req, &err, 413);
        return;
    }

    if (gp_dispatch_result(exchange, route->handler(&exchange->call, &reply, &err), &err) != 0) {
        gp_dispatch_log(exchange, &err);
        gp_reply_error(exchange->req, &err, 0);
        return;
    }

    gp_reply_bytes(exchange->req, reply.status ? reply.status : 200, reply.content_type, exchange->headers, reply.body ? reply.body : "",
                   reply.body_len);
}


void gp_dispatch_handle(gp_fcgi_request_t *req, void *data)
{
    gp_exchange_t *exchange = gp_fcgi_request_data(req);
    gp_err_t err = GP_ERR_INIT;

    (void) data;
    if (gp_fcgi_request_gone(req)) { /* it went away while it waited */
        gp_fcgi_request_unref(req);
        return;
    }

    if (gp_dispatch_is_probe(exchange)) {
        gp_dispatch_probe(exchange);
        gp_fcgi_request_unref(req);
        return;
    }

    exchange->call.arena = gp_arena_new(GP_CALL_ARENA_MAX);
    gp_log_set_trace(exchange->call.request_id);

    if (gp_fcgi_request_size(req) == GP_FCGI_PARAMS_TOO_LARGE) {
        (void) gp_err(&err, GP_RESOURCE_EXHAUSTED, "the request's headers are longer than 64 KiB");
        gp_reply_error(req, &err, 431);
    } else if (exchange->method != NULL) {
        gp_dispatch_rpc(exchange);
    } else {
        gp_dispatch_plain(exchange, exchange->path);
    }

    gp_log_set_trace(NULL);
    if (!atomic_load(&exchange->is_stream)) {
        /* the connection keeps the request until its next one comes */
        exchange->call.arena = gp_arena_free(exchange->call.arena);
        gp_fcgi_request_drop_body(req);
    }
    gp_fcgi_request_unref(req);
}

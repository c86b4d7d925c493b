#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "core/code.h"
#include "core/contract.h"
#include "net/http_client.h"
#include "rpc/internal.h"
#include "rpc/message.h"
#include "wire/connect.h"

/*
 * Calls to other services, through this one's internal listener of the gateway:
 * the socket is who we are. Binary protobuf, Connect protocol.
 */
#define GP_RPC_PATH_MAX 256
#define GP_RPC_URL_MAX 512
#define GP_RPC_RETRY_FIRST_MS 20 /* doubled up to the next: the gateway restarts in some 100 ms */
#define GP_RPC_RETRY_MAX_MS 500
#define GP_RPC_STREAM_BUFFER_MAX (2 * GP_RPC_BODY_MAX)

typedef struct {
    char socket[GP_RPC_PATH_MAX];
    char second_socket[GP_RPC_PATH_MAX];
    char url[GP_RPC_URL_MAX];
    char timeout[48];
    const char *headers[3];
    const ProtobufCMethodDescriptor *method;
    const char *service_name;
    void *body;
    size_t body_len;
} gp_rpc_target_t;


static int gp_rpc_target(gp_service_t *service, const ProtobufCServiceDescriptor *descriptor, const char *method, uint32_t timeout_ms,
                         gp_rpc_target_t *ret_target, gp_err_t *err)
{
    int n;

    memset(ret_target, 0, sizeof(*ret_target));
    ret_target->service_name = descriptor->name;
    ret_target->method = protobuf_c_service_descriptor_get_method_by_name(descriptor, method);
    if (ret_target->method == NULL) {
        return gp_err(err, GP_UNIMPLEMENTED, "%s has no method %s", descriptor->name, method);
    }

    (void) snprintf(ret_target->socket, sizeof(ret_target->socket), GP_SOCKET_GATEWAY_FMT, service->conf->run_dir, service->def->name);
    n = snprintf(ret_target->second_socket, sizeof(ret_target->second_socket), GP_SOCKET_GATEWAY2_FMT, service->conf->run_dir,
                 service->def->name);
    if (n < 0 || (size_t) n >= sizeof(ret_target->second_socket)) {
        return gp_err(err, GP_INVALID_ARGUMENT, "the run directory %s is too long", service->conf->run_dir);
    }
    (void) snprintf(ret_target->url, sizeof(ret_target->url), "http://gateway/%s/%s", descriptor->name, method);

    ret_target->headers[0] = "Connect-Protocol-Version: 1";
    if (timeout_ms != 0) {
        (void) snprintf(ret_target->timeout, sizeof(ret_target->timeout), "Connect-Timeout-Ms: %u", timeout_ms);
        ret_target->headers[1] = ret_target->timeout;
    }

    return 0;
}


/* As Connect clients do when the body says nothing. */
static int gp_rpc_code_of_status(int status)
{
    switch (status) {
    case 400:
        return GP_INVALID_ARGUMENT;
    case 401:
        return GP_UNAUTHENTICATED;
    case 403:
        return GP_PERMISSION_DENIED;
    case 404:
        return GP_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GP_UNAVAILABLE;
    default:
        return GP_UNKNOWN;
    }
}


/* {"code":..., "message":...} as an error; 0 when it is none. */
static int gp_rpc_error_object(const json_t *object, gp_err_t *err)
{
    const char *code, *message;

    code = json_string_value(json_object_get(object, "code"));
    if (code == NULL) {
        return 0;
    }
    message = json_string_value(json_object_get(object, "message"));

    return gp_err(err, gp_code_from_name(code, strlen(code)), "%s", message ? message : code);
}


static int gp_rpc_failed(const gp_rpc_target_t *target, const gp_http_response_t *res, gp_err_t *err)
{
    gp_auto_json json_t *object = NULL;
    int rc;

    object = json_loadb(res->body, res->body_len, 0, NULL);
    rc = gp_rpc_error_object(object, err);
    if (rc != 0) {
        return rc;
    }

    return gp_err(err, gp_rpc_code_of_status(res->status), "%s: the gateway answered %d", target->service_name, res->status);
}


/* Waits before the next try; false when the time is over. */
static bool gp_rpc_wait(uint32_t *delay_ms, uint64_t until_ms)
{
    struct timespec ts;

    if (until_ms != 0 && gp_clock_ms() + *delay_ms >= until_ms) {
        return false;
    }

    ts.tv_sec = 0;
    ts.tv_nsec = (long) *delay_ms * 1000000;
    (void) nanosleep(&ts, NULL); /* shorter is fine */
    *delay_ms = *delay_ms * 2 < GP_RPC_RETRY_MAX_MS ? *delay_ms * 2 : GP_RPC_RETRY_MAX_MS;

    return true;
}


/* A gateway that restarts hands over to the second one of this machine, if there is one. */
static int gp_rpc_try(gp_http_request_t *http, const gp_rpc_target_t *target, gp_arena_t *arena, gp_http_response_t *ret_res, gp_err_t *err)
{
    gp_err_t failure = GP_ERR_INIT;
    int rc;

    http->unix_socket = target->socket;
    rc = gp_http_client_do(http, arena, ret_res, err);
    if (rc == 0 || err->errnum != ECONNREFUSED) {
        return rc;
    }

    http->unix_socket = target->second_socket;
    rc = gp_http_client_do(http, arena, ret_res, &failure);
    if (rc != 0 && failure.errnum != ECONNREFUSED) {
        *err = failure; /* it was there */
    }

    return rc;
}


/* One exchange, again and again while no gateway's socket is there: nothing has been sent then. */
static int gp_rpc_exchange(gp_http_request_t *http, const gp_rpc_target_t *target, uint32_t timeout_ms, gp_arena_t *arena,
                           gp_http_response_t *ret_res, gp_err_t *err)
{
    uint64_t until_ms, now;
    uint32_t delay_ms;
    gp_err_t failure;
    int rc;

    until_ms = timeout_ms ? gp_clock_ms() + timeout_ms : 0;
    delay_ms = GP_RPC_RETRY_FIRST_MS;

    for (;;) {
        failure = (gp_err_t) GP_ERR_INIT;
        rc = gp_rpc_try(http, target, arena, ret_res, &failure);
        if (rc == 0) {
            return 0;
        }

        if (failure.errnum != ECONNREFUSED || (http->cancelled != NULL && http->cancelled(http->data)) ||
            !gp_rpc_wait(&delay_ms, until_ms)) {
            break;
        }

        now = gp_clock_ms();
        if (until_ms != 0) {
            http->timeout_ms = until_ms > now ? (uint32_t) (until_ms - now) : 1;
        }
    }

    if (err != NULL) {
        *err = failure;
    }

    return rc;
}


int gp_rpc_unary(gp_service_t *service, const ProtobufCServiceDescriptor *descriptor, const char *method, const ProtobufCMessage *req,
                 gp_arena_t *arena, ProtobufCMessage **ret_res, uint32_t timeout_ms, gp_err_t *err)
{
    gp_rpc_target_t target;
    gp_http_request_t http;
    gp_http_response_t res = {0};
    int rc;

    rc = gp_rpc_target(service, descriptor, method, timeout_ms, &target, err);
    rc = rc ? rc : gp_message_to_binary(req, arena, &target.body, &target.body_len, err);
    if (rc != 0) {
        return rc;
    }

    http = (gp_http_request_t){
        .method = "POST",
        .url = target.url,
        .content_type = "application/proto",
        .headers = target.headers,
        .body = target.body,
        .body_len = target.body_len,
        .timeout_ms = timeout_ms,
        .response_limit = GP_RPC_BODY_MAX,
    };

    rc = gp_rpc_exchange(&http, &target, timeout_ms, arena, &res, err);
    if (rc != 0) {
        return err ? gp_err_prefix(err, "%s", target.service_name) : rc;
    }

    if (res.status != 200) {
        return gp_rpc_failed(&target, &res, err);
    }

    return gp_message_from_binary(target.method->output, res.body, res.body_len, arena, ret_res, err);
}


/* ---- server streams ---- */

typedef struct {
    gp_service_t *service;
    const gp_rpc_target_t *target;
    int (*fn)(const ProtobufCMessage *msg, void *data, gp_err_t *err);
    bool (*cancelled)(void *data);
    void *data;
    gp_buf_t input;
    bool ended;
    int end_rc;
    gp_err_t end_err;
} gp_rpc_stream_t;


static bool gp_rpc_stream_cancelled(void *data)
{
    gp_rpc_stream_t *stream = data;

    return gp_service_stopping(stream->service) || (stream->cancelled != NULL && stream->cancelled(stream->data));
}


static int gp_rpc_stream_message(gp_rpc_stream_t *stream, const gp_connect_envelope_t *envelope, gp_err_t *err)
{
    gp_auto_arena gp_arena_t *arena = NULL;
    gp_auto_json json_t *end = NULL;
    ProtobufCMessage *msg = NULL;
    int rc;

    if (envelope->flags & GP_CONNECT_END) {
        end = json_loadb((const char *) envelope->payload, envelope->payload_len, 0, NULL);
        stream->ended = true;
        stream->end_rc = gp_rpc_error_object(json_object_get(end, "error"), &stream->end_err);
        return 0;
    }

    arena = gp_arena_new(GP_CALL_ARENA_MAX);
    rc = gp_message_from_binary(stream->target->method->output, envelope->payload, envelope->payload_len, arena, &msg, err);

    return rc ? rc : stream->fn(msg, stream->data, err);
}


static int gp_rpc_stream_on_body(const void *chunk, size_t len, void *data, gp_err_t *err)
{
    gp_rpc_stream_t *stream = data;
    gp_connect_envelope_t envelope;
    size_t used;
    int rc;

    if (gp_buf_append(&stream->input, chunk, len) != 0) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "%s: a message is longer than %d bytes", stream->target->service_name, GP_RPC_BODY_MAX);
    }

    used = 0;
    rc = 0;
    while (!stream->ended && rc == 0) {
        rc = gp_connect_envelope_parse((const uint8_t *) stream->input.data + used, stream->input.len - used, GP_RPC_BODY_MAX, &envelope);
        if (rc == GP_CONNECT_MORE) {
            rc = 0;
            break;
        }
        if (rc != 0) {
            return gp_err(err, -rc, "%s: the stream's framing is broken", stream->target->service_name);
        }

        used += envelope.total_len;
        rc = gp_rpc_stream_message(stream, &envelope, err);
    }
    gp_buf_consume(&stream->input, used);

    return rc;
}


static int gp_rpc_stream_result(const gp_rpc_stream_t *stream, int rc, const gp_http_response_t *res, gp_err_t *err)
{
    if (rc != 0) {
        return rc;
    }

    if (res->status != 200) {
        return gp_rpc_failed(stream->target, res, err);
    }

    if (!stream->ended) {
        return gp_err(err, GP_UNAVAILABLE, "%s: the stream broke off", stream->target->service_name);
    }

    if (stream->end_rc != 0 && err != NULL) {
        *err = stream->end_err;
    }

    return stream->end_rc;
}


int gp_rpc_stream(gp_service_t *service, const ProtobufCServiceDescriptor *descriptor, const char *method, const ProtobufCMessage *req,
                  int (*fn)(const ProtobufCMessage *msg, void *data, gp_err_t *err), void *data, bool (*cancelled)(void *data),
                  uint32_t timeout_ms, gp_err_t *err)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(GP_CALL_ARENA_MAX);
    gp_auto_buf gp_buf_t body = {.limit = GP_RPC_BODY_MAX + GP_CONNECT_HEADER_LEN};
    gp_rpc_target_t target;
    gp_rpc_stream_t stream;
    gp_http_request_t http;
    gp_http_response_t res = {0};
    uint8_t header[GP_CONNECT_HEADER_LEN];
    int rc;

    rc = gp_rpc_target(service, descriptor, method, timeout_ms, &target, err);
    rc = rc ? rc : gp_message_to_binary(req, arena, &target.body, &target.body_len, err);
    if (rc != 0) {
        return rc;
    }

    gp_connect_put_header(header, 0, (uint32_t) target.body_len);
    if (gp_buf_append(&body, header, sizeof(header)) != 0 || gp_buf_append(&body, target.body, target.body_len) != 0) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "%s: the request is longer than %d bytes", target.service_name, GP_RPC_BODY_MAX);
    }

    stream = (gp_rpc_stream_t){.service = service, .target = &target, .fn = fn, .cancelled = cancelled, .data = data};
    gp_buf_init(&stream.input, GP_RPC_STREAM_BUFFER_MAX);
    http = (gp_http_request_t){
        .method = "POST",
        .url = target.url,
        .content_type = "application/connect+proto",
        .headers = target.headers,
        .body = body.data,
        .body_len = body.len,
        .timeout_ms = timeout_ms,
        .connect_timeout_ms = timeout_ms,
        .cancelled = gp_rpc_stream_cancelled,
        .data = &stream,
        .on_body = gp_rpc_stream_on_body,
    };

    rc = gp_rpc_exchange(&http, &target, timeout_ms, arena, &res, err);
    rc = gp_rpc_stream_result(&stream, rc, &res, err);
    gp_buf_done(&stream.input);

    return rc;
}

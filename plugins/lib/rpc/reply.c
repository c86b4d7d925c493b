#include <string.h>
#include <strings.h>

#include "base/die.h"
#include "core/code.h"
#include "core/grpc.h"
#include "rpc/internal.h"
#include "rpc/message.h"
#include "rpc/message_codec.h"
#include "rpc/utf8.h"

#define GP_REPLY_HEAD_MAX 65536 /* bytes of all reply headers */
#define GP_REPLY_ERROR_MAX 8192 /* bytes of error JSON: 512 of text, each at most six */

static const char *const gp_codec_types[] = {
    [GP_CODEC_NONE] = "",
    [GP_CODEC_JSON] = "application/json",
    [GP_CODEC_PROTO] = "application/proto",
    [GP_CODEC_STREAM_JSON] = "application/connect+json",
    [GP_CODEC_STREAM_PROTO] = "application/connect+proto",
    [GP_CODEC_GRPC_JSON] = GP_GRPC_WEB_TYPE "+json",
    [GP_CODEC_GRPC_PROTO] = GP_GRPC_WEB_TYPE "+proto",
};


const char *gp_codec_content_type(enum gp_codec codec)
{
    return gp_codec_types[codec];
}


enum gp_codec gp_codec_of(const char *content_type)
{
    size_t len;
    int codec;

    len = strcspn(content_type, "; \t");
    for (codec = GP_CODEC_JSON; codec <= GP_CODEC_GRPC_PROTO; codec++) {
        if (strlen(gp_codec_types[codec]) == len && strncasecmp(content_type, gp_codec_types[codec], len) == 0) {
            return (enum gp_codec) codec;
        }
    }

    return gp_grpc_is_web(content_type, len) ? GP_CODEC_GRPC_PROTO : GP_CODEC_NONE; /* without a suffix: proto */
}


bool gp_codec_is_enveloped(enum gp_codec codec)
{
    return codec >= GP_CODEC_STREAM_JSON;
}


bool gp_codec_is_grpc(enum gp_codec codec)
{
    return codec >= GP_CODEC_GRPC_JSON;
}


bool gp_codec_is_json(enum gp_codec codec)
{
    return codec == GP_CODEC_JSON || codec == GP_CODEC_STREAM_JSON || codec == GP_CODEC_GRPC_JSON;
}


int gp_codec_encode(enum gp_codec codec, const ProtobufCMessage *msg, gp_arena_t *arena, void **ret_data, size_t *ret_len, gp_err_t *err)
{
    char *json = NULL;
    int rc;

    if (!gp_codec_is_json(codec)) {
        return gp_message_to_binary(msg, arena, ret_data, ret_len, err);
    }

    rc = gp_message_to_json(msg, arena, &json, ret_len, err);
    *ret_data = json;

    return rc;
}


int gp_reply_error_json(gp_buf_t *buf, const gp_err_t *err)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(GP_REPLY_ERROR_MAX);
    const char *text;
    int rc;

    text = gp_utf8_repair(arena, err->text);
    rc = gp_buf_printf(buf, "{\"code\":\"%s\",\"message\":", gp_code_name(err->code));
    rc = rc ? rc : gp_codec_append_string(buf, text, strlen(text));

    return rc ? rc : gp_buf_append(buf, "}", 1);
}


void gp_reply_bytes(gp_fcgi_request_t *req, int status, const char *content_type, const gp_reply_header_t *headers, const void *body,
                    size_t len)
{
    gp_auto_buf gp_buf_t head = {.limit = GP_REPLY_HEAD_MAX};
    struct iovec parts[2];
    int rc;

    rc = gp_buf_printf(&head, "Status: %d\r\n", status);
    if (rc == 0 && content_type != NULL && content_type[0] != '\0') {
        rc = gp_buf_printf(&head, "Content-Type: %s\r\n", content_type);
    }
    if (rc == 0 && status != 204 && status != 304) {
        rc = gp_buf_printf(&head, "Content-Length: %zu\r\n", len);
    }
    for (; rc == 0 && headers != NULL; headers = headers->next) {
        rc = gp_buf_printf(&head, "%s: %s\r\n", headers->name, headers->value);
    }
    rc = rc ? rc : gp_buf_append(&head, "\r\n", 2);

    if (rc != 0) {
        gp_err_t err = GP_ERR_INIT;

        (void) gp_err(&err, GP_INTERNAL, "the reply headers are longer than %d bytes", GP_REPLY_HEAD_MAX);
        gp_reply_error(req, &err, 0);
        return;
    }

    parts[0] = (struct iovec){.iov_base = head.data, .iov_len = head.len};
    parts[1] = (struct iovec){.iov_len = len};
    memcpy(&parts[1].iov_base, &body, sizeof(body)); /* iov_base is not const; nobody writes */
    (void) gp_fcgi_request_finish(req, parts, 2); /* CANCELED: nobody waits any more */
}


void gp_reply_error(gp_fcgi_request_t *req, const gp_err_t *err, int status)
{
    gp_auto_buf gp_buf_t body = {.limit = GP_REPLY_ERROR_MAX};

    if (gp_reply_error_json(&body, err) != 0) {
        gp_die("out of memory: an error reply");
    }

    gp_reply_bytes(req, status ? status : gp_code_http_status(err->code), "application/json", NULL, body.data, body.len);
}


void gp_reply_failure(gp_exchange_t *exchange, const gp_err_t *err)
{
    if (gp_codec_is_enveloped(exchange->codec)) {
        gp_stream_finish(exchange, err);
        return;
    }

    gp_reply_error(exchange->req, err, 0);
}

#include <stdio.h>
#include <string.h>

#include "base/die.h"
#include "core/code.h"
#include "core/grpc.h"
#include "rpc/internal.h"
#include "wire/connect.h"

#define GP_STREAM_MESSAGE_ARENA (2 * GP_CALL_ARENA_MAX)
#define GP_STREAM_END_MAX 8192 /* bytes of the final envelope */
#define GP_STREAM_HEAD_MAX 256 /* bytes of the status line and headers */


static struct iovec gp_stream_part(const void *data, size_t len)
{
    struct iovec part = {.iov_len = len};

    memcpy(&part.iov_base, &data, sizeof(data)); /* iov_base is not const; nobody writes */

    return part;
}


/* The status line and headers of a stream, unless they went out before. */
static int gp_stream_head_text(gp_exchange_t *exchange, char *text, size_t size)
{
    if (exchange->head_sent) {
        return 0;
    }
    exchange->head_sent = true;

    return snprintf(text, size, "Status: 200\r\nContent-Type: %s\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\n%s\r\n",
                    gp_codec_content_type(exchange->codec), gp_codec_is_grpc(exchange->codec) ? "grpc-accept-encoding: identity\r\n" : "");
}


void gp_stream_head(gp_exchange_t *exchange)
{
    struct iovec part;
    char head[GP_STREAM_HEAD_MAX];
    int len;

    pthread_mutex_lock(&exchange->lock);
    len = gp_stream_head_text(exchange, head, sizeof(head));
    if (len > 0) {
        part = gp_stream_part(head, (size_t) len);
        (void) gp_fcgi_request_write(exchange->req, &part, 1, 0); /* CANCELED: the handler will see it */
    }
    pthread_mutex_unlock(&exchange->lock);
}


/* {} or {"error":{...}} */
static int gp_stream_end_json(gp_buf_t *frame, const gp_err_t *err)
{
    int rc;

    rc = gp_buf_append(frame, "{", 1);
    if (rc == 0 && err != NULL && err->code != 0) {
        rc = gp_buf_append(frame, "\"error\":", 8);
        rc = rc ? rc : gp_reply_error_json(frame, err);
    }

    return rc ? rc : gp_buf_append(frame, "}", 1);
}


/* The trailers of HTTP/2, as gRPC-web puts them into the body. */
static int gp_stream_end_trailers(gp_buf_t *frame, const gp_err_t *err)
{
    char message[3 * GP_ERR_TEXT_MAX];
    size_t len;

    if (err == NULL || err->code == 0) {
        return gp_buf_printf(frame, "grpc-status: 0\r\n");
    }

    len = gp_grpc_message_escape(err->text, strlen(err->text), message);

    return gp_buf_printf(frame, "grpc-status: %d\r\ngrpc-message: %.*s\r\n", err->code, (int) len, message);
}


/* The final envelope with its header. */
static void gp_stream_end_frame(enum gp_codec codec, const gp_err_t *err, gp_buf_t *frame)
{
    uint8_t header[GP_CONNECT_HEADER_LEN] = {0};
    int rc;

    rc = gp_buf_append(frame, header, sizeof(header));
    if (rc == 0) {
        rc = gp_codec_is_grpc(codec) ? gp_stream_end_trailers(frame, err) : gp_stream_end_json(frame, err);
    }
    if (rc != 0) {
        gp_die("out of memory: the end of a stream");
    }

    gp_connect_put_header((uint8_t *) frame->data, gp_codec_is_grpc(codec) ? GP_GRPC_TRAILER_FLAG : GP_CONNECT_END,
                          (uint32_t) (frame->len - sizeof(header)));
}


/* Headers, if they are not out, then message (NULL: none), then the final envelope. */
static void gp_stream_last(gp_exchange_t *exchange, const struct iovec *message, const gp_err_t *err)
{
    gp_auto_buf gp_buf_t frame = {.limit = GP_STREAM_END_MAX};
    struct iovec parts[4];
    uint8_t header[GP_CONNECT_HEADER_LEN];
    char head[GP_STREAM_HEAD_MAX];
    int n;

    gp_stream_end_frame(exchange->codec, err, &frame);
    pthread_mutex_lock(&exchange->lock);
    n = gp_stream_head_text(exchange, head, sizeof(head));
    parts[0] = gp_stream_part(head, (size_t) n);
    n = 1;
    if (message != NULL) {
        gp_connect_put_header(header, 0, (uint32_t) message->iov_len);
        parts[n++] = gp_stream_part(header, sizeof(header));
        parts[n++] = *message;
    }
    parts[n++] = gp_stream_part(frame.data, frame.len);
    (void) gp_fcgi_request_finish(exchange->req, parts, n); /* CANCELED: nobody waits any more */
    pthread_mutex_unlock(&exchange->lock);
}


void gp_stream_finish(gp_exchange_t *exchange, const gp_err_t *err)
{
    gp_stream_last(exchange, NULL, err);
}


void gp_stream_reply(gp_exchange_t *exchange, const void *data, size_t len)
{
    struct iovec message = gp_stream_part(data, len);

    gp_stream_last(exchange, &message, NULL);
}


int gp_stream_send(gp_stream_t *stream, const ProtobufCMessage *msg)
{
    gp_exchange_t *exchange = stream->exchange;
    gp_auto_arena gp_arena_t *arena = NULL;
    struct iovec parts[2];
    uint8_t header[GP_CONNECT_HEADER_LEN];
    gp_err_t err = GP_ERR_INIT;
    void *data = NULL;
    size_t len = 0;
    int rc;

    if (gp_fcgi_request_gone(exchange->req)) {
        return -GP_CANCELED;
    }

    arena = gp_arena_new(GP_STREAM_MESSAGE_ARENA);
    rc = gp_codec_encode(exchange->codec, msg, arena, &data, &len, &err);
    if (rc != 0) {
        return rc;
    }

    gp_connect_put_header(header, 0, (uint32_t) len);
    parts[0] = gp_stream_part(header, sizeof(header));
    parts[1] = gp_stream_part(data, len);

    return gp_fcgi_request_write(exchange->req, parts, 2, GP_STREAM_QUEUE_MAX);
}


void gp_stream_end(gp_stream_t *stream, const gp_err_t *err)
{
    gp_fcgi_request_t *req = stream->exchange->req;

    if (atomic_exchange(&stream->ended, true)) {
        return;
    }

    gp_fcgi_request_on_gone(req, NULL, NULL);
    gp_stream_finish(stream->exchange, err);
    gp_fcgi_request_unref(req);
}


static void gp_stream_gone(gp_fcgi_request_t *req, void *data)
{
    gp_stream_t *stream = data;

    (void) req;
    if (!atomic_load(&stream->ended)) {
        stream->on_close(stream, stream->on_close_data);
    }
}


void gp_stream_on_close(gp_stream_t *stream, void (*fn)(gp_stream_t *stream, void *data), void *data)
{
    stream->on_close = fn;
    stream->on_close_data = data;
    gp_fcgi_request_on_gone(stream->exchange->req, fn ? gp_stream_gone : NULL, stream);
}

#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/span.h"

/*
 * gRPC and gRPC-web on the wire, as gRPC's PROTOCOL-HTTP2.md and
 * PROTOCOL-WEB.md have it. The plugins speak gRPC-web, whose status is the last
 * frame of the body; the gateway turns that frame into the trailers of HTTP/2.
 */
#define GP_GRPC_TYPE "application/grpc"
#define GP_GRPC_WEB_TYPE "application/grpc-web"
#define GP_GRPC_HEADER_LEN 5 /* bytes: flags, length */
#define GP_GRPC_TRAILER_FLAG 0x80
#define GP_GRPC_TRAILER_MAX 8192 /* bytes of the trailer frame */

/* Is this content type native gRPC with a codec of ours: application/grpc, +proto or +json? Any letter case, parameters allowed. */
int gp_grpc_is_native(const char *type, size_t len);
/* Is it gRPC-web? */
int gp_grpc_is_web(const char *type, size_t len);

/* grpc-timeout: 1 to 8 digits and one of H M S m u n. 0 and *ret_ms (rounded up), or -GP_INVALID_ARGUMENT. */
int gp_grpc_timeout_parse(const char *text, uint64_t *ret_ms) __attribute__((warn_unused_result));

/* grpc-message: percent-encodes text into out, which has room for 3 * len bytes. Returns the length; no NUL is written. */
size_t gp_grpc_message_escape(const char *text, size_t len, char *out);

/*
 * The gRPC code of an answer that is no gRPC: gRPC's
 * http-grpc-status-mapping.md, but for 413 and 429, which it leaves to UNKNOWN
 * and UNAVAILABLE: both say that a limit was hit.
 */
int gp_grpc_code_from_http(unsigned status);

/*
 * gp_grpc_health_service() - grpc.health.v1.HealthCheckRequest
 *
 * 0 and the name of the service it asks for, borrowed, "" for the whole server;
 * -GP_INVALID_ARGUMENT: the body is not one frame with at most that one field.
 */
int gp_grpc_health_service(const uint8_t *body, size_t len, gp_span_t *ret_name) __attribute__((warn_unused_result));

/* Where in the frames of a body a reader is; zero it to begin. */
typedef struct {
    uint32_t left; /* bytes of the payload to come */
    uint8_t header_len; /* bytes of a frame's header that were seen, 0 to 4 */
    uint8_t trailer; /* in the trailer frame, or behind it */
    uint8_t done; /* the trailer frame is complete */
} gp_grpc_scan_t;

enum gp_grpc_run {
    GP_GRPC_RUN_MESSAGE, /* of a message's frame: header or payload */
    GP_GRPC_RUN_HEADER, /* of the trailer frame's header */
    GP_GRPC_RUN_TRAILER, /* of its text */
    GP_GRPC_RUN_AFTER /* behind it, where nothing belongs */
};

/* How many of the first len (at least 1) bytes belong together; scan moves behind them. */
size_t gp_grpc_scan(gp_grpc_scan_t *scan, const uint8_t *bytes, size_t len, enum gp_grpc_run *ret_run);
/* Between two frames, or behind the last? */
int gp_grpc_scan_between(const gp_grpc_scan_t *scan);

/*
 * gp_grpc_trailer_next() - one line of the trailer frame's text
 *
 * 1, and *text stands behind the line; 0 at the end; -GP_INVALID_ARGUMENT: a
 * line that is no "name: value", with a name that is no lower-case token or a
 * value with control characters.
 */
int gp_grpc_trailer_next(gp_span_t *text, gp_span_t *ret_name, gp_span_t *ret_value) __attribute__((warn_unused_result));

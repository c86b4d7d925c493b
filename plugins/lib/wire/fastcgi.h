#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/span.h"

/*
 * FastCGI 1.0, responder side, as a state machine on partial input. No I/O and
 * no allocation: bytes go in, events come out. One request at a time on a
 * connection (nginx never multiplexes); a second one is answered with
 * CANT_MPX_CONN. Source: FastCGI Specification 1.0, sections 3 to 6 and 8.
 */
#define GP_FCGI_HEADER_LEN 8
#define GP_FCGI_END_LEN 16 /* header and body of END_REQUEST */
#define GP_FCGI_CONTENT_MAX 65535 /* bytes of one record's content: a 16 bit field */
#define GP_FCGI_PARAMS_MAX 65536 /* bytes of all parameters of a request; nginx sends 1 to 2 KiB and at most its header buffers */
#define GP_FCGI_REPLY_MAX 128 /* bytes of a management reply */

enum gp_fcgi_type {
    GP_FCGI_BEGIN_REQUEST = 1,
    GP_FCGI_ABORT_REQUEST = 2,
    GP_FCGI_END_REQUEST = 3,
    GP_FCGI_PARAMS = 4,
    GP_FCGI_STDIN = 5,
    GP_FCGI_STDOUT = 6,
    GP_FCGI_STDERR = 7,
    GP_FCGI_DATA = 8,
    GP_FCGI_GET_VALUES = 9,
    GP_FCGI_GET_VALUES_RESULT = 10,
    GP_FCGI_UNKNOWN_TYPE = 11
};

enum gp_fcgi_protocol_status { GP_FCGI_REQUEST_COMPLETE, GP_FCGI_CANT_MPX_CONN, GP_FCGI_OVERLOADED, GP_FCGI_UNKNOWN_ROLE };

/* Non-zero from one of them ends the parse and is returned. Pointers are borrowed until the function returns. */
typedef struct {
    int (*begin)(void *data, uint16_t id, bool keep_conn);
    int (*params)(void *data, const uint8_t *chunk, size_t len); /* raw bytes of the name-value stream */
    int (*params_end)(void *data);
    int (*body)(void *data, const uint8_t *chunk, size_t len);
    int (*body_end)(void *data); /* the request is complete */
    int (*abort)(void *data); /* of the request that runs */
    int (*reply)(void *data, const uint8_t *record, size_t len); /* bytes for the peer */
} gp_fcgi_events_t;

enum gp_fcgi_phase { GP_FCGI_IDLE, GP_FCGI_IN_PARAMS, GP_FCGI_IN_BODY, GP_FCGI_RUNNING };

typedef struct {
    enum gp_fcgi_phase phase;
    uint16_t id; /* of the request that is read or runs */
    uint8_t header[GP_FCGI_HEADER_LEN];
    uint8_t header_len;
    uint8_t padding; /* bytes to skip after the content */
    bool in_record;
    uint16_t content_left;
    uint8_t small[GP_FCGI_REPLY_MAX]; /* content of BEGIN_REQUEST and GET_VALUES */
    uint8_t small_len;
} gp_fcgi_parser_t;

void gp_fcgi_parser_init(gp_fcgi_parser_t *parser);

/* 0; -GP_INVALID_ARGUMENT: not FastCGI, close the connection; else what an event returned. */
int gp_fcgi_parser_feed(gp_fcgi_parser_t *parser, const uint8_t *bytes, size_t len, const gp_fcgi_events_t *events, void *data)
    __attribute__((warn_unused_result));

/* The reply to the request is out (END_REQUEST queued): the next one may begin. */
void gp_fcgi_parser_end_request(gp_fcgi_parser_t *parser);

/*
 * gp_fcgi_params_decode() - turn the name-value stream into C strings, in place
 *
 * Afterwards the bytes are name NUL value NUL and so on, *ret_len of them (never
 * more than len). -GP_INVALID_ARGUMENT: lengths that do not fit, an empty name, a
 * NUL inside a name or value.
 */
int gp_fcgi_params_decode(char *params, size_t len, size_t *ret_len) __attribute__((warn_unused_result));

/* The value of the first parameter of that name in decoded params, or NULL. */
const char *gp_fcgi_params_get(const char *params, size_t len, const char *name);

/*
 * gp_fcgi_params_find() - many values in one pass
 *
 * values[i], NULL before, becomes the value of the first parameter named
 * names[i]; it stays NULL when there is none.
 */
void gp_fcgi_params_find(const char *params, size_t len, const gp_span_t *names, size_t names_n, const char **values);

void gp_fcgi_put_header(uint8_t out[GP_FCGI_HEADER_LEN], enum gp_fcgi_type type, uint16_t id, size_t content_len);
void gp_fcgi_put_end(uint8_t out[GP_FCGI_END_LEN], uint16_t id, enum gp_fcgi_protocol_status status);

#include <string.h>

#include "core/code.h"
#include "wire/fastcgi.h"

/*
 * A record is a header of eight bytes, content, padding. The parser keeps the
 * bytes of a header that came in pieces and hands content on as it comes;
 * only BEGIN_REQUEST (8 bytes) and GET_VALUES (a few names) are gathered.
 */
#define GP_FCGI_VERSION 1
#define GP_FCGI_RESPONDER 1
#define GP_FCGI_KEEP_CONN 1
#define GP_FCGI_BEGIN_LEN 8


void gp_fcgi_parser_init(gp_fcgi_parser_t *parser)
{
    memset(parser, 0, sizeof(gp_fcgi_parser_t));
}


void gp_fcgi_parser_end_request(gp_fcgi_parser_t *parser)
{
    parser->phase = GP_FCGI_IDLE;
    parser->id = 0;
}


void gp_fcgi_put_header(uint8_t out[GP_FCGI_HEADER_LEN], enum gp_fcgi_type type, uint16_t id, size_t content_len)
{
    out[0] = GP_FCGI_VERSION;
    out[1] = (uint8_t) type;
    out[2] = (uint8_t) (id >> 8);
    out[3] = (uint8_t) id;
    out[4] = (uint8_t) (content_len >> 8);
    out[5] = (uint8_t) content_len;
    out[6] = 0;
    out[7] = 0;
}


void gp_fcgi_put_end(uint8_t out[GP_FCGI_END_LEN], uint16_t id, enum gp_fcgi_protocol_status status)
{
    memset(out, 0, GP_FCGI_END_LEN);
    gp_fcgi_put_header(out, GP_FCGI_END_REQUEST, id, GP_FCGI_END_LEN - GP_FCGI_HEADER_LEN);
    out[12] = (uint8_t) status;
}


static uint16_t gp_fcgi_record_id(const gp_fcgi_parser_t *parser)
{
    return (uint16_t) (parser->header[2] << 8 | parser->header[3]);
}


/* Whether the record at hand is of the request at hand. */
static bool gp_fcgi_is_current(const gp_fcgi_parser_t *parser)
{
    return parser->phase != GP_FCGI_IDLE && gp_fcgi_record_id(parser) == parser->id;
}


static int gp_fcgi_refuse(gp_fcgi_parser_t *parser, enum gp_fcgi_protocol_status status, const gp_fcgi_events_t *events, void *data)
{
    uint8_t end[GP_FCGI_END_LEN];

    gp_fcgi_put_end(end, gp_fcgi_record_id(parser), status);

    return events->reply(data, end, sizeof(end));
}


static int gp_fcgi_begin(gp_fcgi_parser_t *parser, const gp_fcgi_events_t *events, void *data)
{
    uint16_t id;
    unsigned role;

    id = gp_fcgi_record_id(parser);
    if (parser->small_len != GP_FCGI_BEGIN_LEN || id == 0 || gp_fcgi_is_current(parser)) {
        return -GP_INVALID_ARGUMENT;
    }

    if (parser->phase != GP_FCGI_IDLE) {
        return gp_fcgi_refuse(parser, GP_FCGI_CANT_MPX_CONN, events, data);
    }

    role = (unsigned) (parser->small[0] << 8 | parser->small[1]);
    if (role != GP_FCGI_RESPONDER) {
        return gp_fcgi_refuse(parser, GP_FCGI_UNKNOWN_ROLE, events, data);
    }

    parser->phase = GP_FCGI_IN_PARAMS;
    parser->id = id;

    return events->begin(data, id, parser->small[2] & GP_FCGI_KEEP_CONN);
}


/* One pair's lengths at *pos; 1 or 4 bytes each. */
static int gp_fcgi_length(const uint8_t *bytes, size_t len, size_t *pos, size_t *ret_length)
{
    if (*pos >= len) {
        return -GP_INVALID_ARGUMENT;
    }

    if (bytes[*pos] < 0x80) {
        *ret_length = bytes[*pos];
        *pos += 1;
        return 0;
    }

    if (len - *pos < 4) {
        return -GP_INVALID_ARGUMENT;
    }

    *ret_length = (size_t) (bytes[*pos] & 0x7f) << 24 | (size_t) bytes[*pos + 1] << 16 | (size_t) bytes[*pos + 2] << 8 | bytes[*pos + 3];
    *pos += 4;

    return 0;
}


static int gp_fcgi_pair(const uint8_t *bytes, size_t len, size_t *pos, size_t *ret_name_len, size_t *ret_value_len)
{
    if (gp_fcgi_length(bytes, len, pos, ret_name_len) != 0 || gp_fcgi_length(bytes, len, pos, ret_value_len) != 0) {
        return -GP_INVALID_ARGUMENT;
    }

    if (*ret_name_len > len - *pos || *ret_value_len > len - *pos - *ret_name_len) {
        return -GP_INVALID_ARGUMENT;
    }

    return 0;
}


/* FCGI_MPXS_CONNS is what we answer; names we do not know are left out, as section 4.1 says. */
static int gp_fcgi_get_values(gp_fcgi_parser_t *parser, const gp_fcgi_events_t *events, void *data)
{
    static const char name[] = "FCGI_MPXS_CONNS";

    uint8_t out[GP_FCGI_REPLY_MAX];
    size_t pos, name_len, value_len, n;

    n = GP_FCGI_HEADER_LEN;
    pos = 0;
    while (pos < parser->small_len) {
        if (gp_fcgi_pair(parser->small, parser->small_len, &pos, &name_len, &value_len) != 0) {
            return -GP_INVALID_ARGUMENT;
        }

        if (n == GP_FCGI_HEADER_LEN && name_len == sizeof(name) - 1 && memcmp(parser->small + pos, name, name_len) == 0) {
            out[n++] = (uint8_t) name_len;
            out[n++] = 1;
            memcpy(out + n, name, name_len);
            n += name_len;
            out[n++] = '0';
        }
        pos += name_len + value_len;
    }

    gp_fcgi_put_header(out, GP_FCGI_GET_VALUES_RESULT, 0, n - GP_FCGI_HEADER_LEN);

    return events->reply(data, out, n);
}


static int gp_fcgi_unknown_type(gp_fcgi_parser_t *parser, const gp_fcgi_events_t *events, void *data)
{
    uint8_t out[GP_FCGI_HEADER_LEN + 8] = {0};

    gp_fcgi_put_header(out, GP_FCGI_UNKNOWN_TYPE, 0, 8);
    out[GP_FCGI_HEADER_LEN] = parser->header[1];

    return events->reply(data, out, sizeof(out));
}


/* Bytes that must be gathered before they can be used. */
static int gp_fcgi_gather(gp_fcgi_parser_t *parser, const uint8_t *chunk, size_t len)
{
    if (len > sizeof(parser->small) - parser->small_len) {
        return -GP_INVALID_ARGUMENT;
    }

    memcpy(parser->small + parser->small_len, chunk, len);
    parser->small_len = (uint8_t) (parser->small_len + len);

    return 0;
}


/* A piece of the content of the record at hand. */
static int gp_fcgi_content(gp_fcgi_parser_t *parser, const uint8_t *chunk, size_t len, const gp_fcgi_events_t *events, void *data)
{
    uint8_t type;

    type = parser->header[1];
    if (type == GP_FCGI_BEGIN_REQUEST || type == GP_FCGI_GET_VALUES) {
        return gp_fcgi_gather(parser, chunk, len);
    }

    if (!gp_fcgi_is_current(parser)) {
        return 0; /* of a request that is over or was refused */
    }

    if (type == GP_FCGI_PARAMS) {
        return parser->phase == GP_FCGI_IN_PARAMS ? events->params(data, chunk, len) : -GP_INVALID_ARGUMENT;
    }

    if (type == GP_FCGI_STDIN) {
        return parser->phase == GP_FCGI_IN_BODY ? events->body(data, chunk, len) : -GP_INVALID_ARGUMENT;
    }

    return 0;
}


/* An empty PARAMS or STDIN record ends that stream. */
static int gp_fcgi_stream_end(gp_fcgi_parser_t *parser, const gp_fcgi_events_t *events, void *data)
{
    if (!gp_fcgi_is_current(parser)) {
        return 0;
    }

    if (parser->header[1] == GP_FCGI_PARAMS) {
        if (parser->phase != GP_FCGI_IN_PARAMS) {
            return -GP_INVALID_ARGUMENT;
        }
        parser->phase = GP_FCGI_IN_BODY;
        return events->params_end(data);
    }

    if (parser->phase != GP_FCGI_IN_BODY) {
        return -GP_INVALID_ARGUMENT;
    }
    parser->phase = GP_FCGI_RUNNING;

    return events->body_end(data);
}


static int gp_fcgi_record_end(gp_fcgi_parser_t *parser, const gp_fcgi_events_t *events, void *data)
{
    bool empty;

    empty = parser->header[4] == 0 && parser->header[5] == 0;

    switch (parser->header[1]) {
    case GP_FCGI_BEGIN_REQUEST:
        return gp_fcgi_begin(parser, events, data);
    case GP_FCGI_GET_VALUES:
        return gp_fcgi_get_values(parser, events, data);
    case GP_FCGI_ABORT_REQUEST:
        return gp_fcgi_is_current(parser) ? events->abort(data) : 0;
    case GP_FCGI_PARAMS:
    case GP_FCGI_STDIN:
        return empty ? gp_fcgi_stream_end(parser, events, data) : 0;
    case GP_FCGI_DATA:
        return 0;
    default:
        /* section 4.2: a management record we do not know; any other one is the peer's mistake */
        return gp_fcgi_record_id(parser) == 0 ? gp_fcgi_unknown_type(parser, events, data) : -GP_INVALID_ARGUMENT;
    }
}


static int gp_fcgi_record_begin(gp_fcgi_parser_t *parser)
{
    if (parser->header[0] != GP_FCGI_VERSION) {
        return -GP_INVALID_ARGUMENT;
    }

    parser->in_record = true;
    parser->content_left = (uint16_t) (parser->header[4] << 8 | parser->header[5]);
    parser->padding = parser->header[6];
    parser->small_len = 0;

    return 0;
}


int gp_fcgi_parser_feed(gp_fcgi_parser_t *parser, const uint8_t *bytes, size_t len, const gp_fcgi_events_t *events, void *data)
{
    size_t n;
    int rc;

    for (;;) {
        if (!parser->in_record) {
            n = (size_t) (GP_FCGI_HEADER_LEN - parser->header_len);
            n = n < len ? n : len;
            if (n > 0) {
                memcpy(parser->header + parser->header_len, bytes, n);
            }
            parser->header_len = (uint8_t) (parser->header_len + n);
            bytes += n;
            len -= n;

            if (parser->header_len < GP_FCGI_HEADER_LEN) {
                return 0;
            }
            rc = gp_fcgi_record_begin(parser);
            if (rc != 0) {
                return rc;
            }
        }

        n = parser->content_left < len ? parser->content_left : len;
        if (n > 0) {
            rc = gp_fcgi_content(parser, bytes, n, events, data);
            if (rc != 0) {
                return rc;
            }
            parser->content_left = (uint16_t) (parser->content_left - n);
            bytes += n;
            len -= n;
        }

        if (parser->content_left == 0) {
            n = parser->padding < len ? parser->padding : len;
            parser->padding = (uint8_t) (parser->padding - n);
            bytes += n;
            len -= n;
        }

        if (parser->content_left > 0 || parser->padding > 0) {
            return 0;
        }

        parser->in_record = false;
        parser->header_len = 0;
        rc = gp_fcgi_record_end(parser, events, data);
        if (rc != 0) {
            return rc;
        }
    }
}


int gp_fcgi_params_decode(char *params, size_t len, size_t *ret_len)
{
    size_t in, out, name_len, value_len;

    in = 0;
    out = 0;
    while (in < len) {
        if (gp_fcgi_pair((const uint8_t *) params, len, &in, &name_len, &value_len) != 0 || name_len == 0) {
            return -GP_INVALID_ARGUMENT;
        }

        if (memchr(params + in, '\0', name_len + value_len) != NULL) {
            return -GP_INVALID_ARGUMENT;
        }

        /* two length bytes at least went before, so the two NULs fit */
        memmove(params + out, params + in, name_len);
        params[out + name_len] = '\0';
        memmove(params + out + name_len + 1, params + in + name_len, value_len);
        out += name_len + 1 + value_len;
        params[out++] = '\0';
        in += name_len + value_len;
    }

    *ret_len = out;

    return 0;
}


const char *gp_fcgi_params_get(const char *params, size_t len, const char *name)
{
    const char *p, *value, *end;

    end = params + len;
    for (p = params; p < end; p = value + strlen(value) + 1) {
        value = p + strlen(p) + 1;
        if (strcmp(p, name) == 0) {
            return value;
        }
    }

    return NULL;
}


void gp_fcgi_params_find(const char *params, size_t len, const gp_span_t *names, size_t names_n, const char **values)
{
    const char *p, *value, *end;
    size_t i, name_len;

    end = params + len;
    for (p = params; p < end; p = value + strlen(value) + 1) {
        name_len = strlen(p);
        value = p + name_len + 1;

        for (i = 0; i < names_n; i++) {
            if (names[i].len == name_len && values[i] == NULL && memcmp(names[i].ptr, p, name_len) == 0) {
                values[i] = value;
                break;
            }
        }
    }
}

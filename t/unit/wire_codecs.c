#include <stdlib.h>

#include "base/buf.h"
#include "core/code.h"
#include "wire/connect.h"
#include "wire/fastcgi.h"
#include "tap.h"

/* What the parser said, as text. */
static char seen[8192];


static int say(const char *fmt, const void *text, size_t len)
{
    size_t n = strlen(seen);

    (void) fmt;
    if (n + strlen(fmt) + len + 2 > sizeof(seen)) {
        return -GP_RESOURCE_EXHAUSTED;
    }
    memcpy(seen + n, fmt, strlen(fmt));
    n += strlen(fmt);
    memcpy(seen + n, text, len);
    seen[n + len] = '\0';
    return 0;
}


static int on_begin(void *data, uint16_t id, bool keep)
{
    char text[32];

    (void) data;
    (void) snprintf(text, sizeof(text), "begin %d%s;", id, keep ? " keep" : "");
    return say(text, "", 0);
}

static int on_params(void *data, const uint8_t *chunk, size_t len)
{
    gp_buf_t *params = data;

    return gp_buf_append(params, chunk, len);
}

static int on_params_end(void *data)
{
    (void) data;
    return say("params;", "", 0);
}

static int on_body(void *data, const uint8_t *chunk, size_t len)
{
    (void) data;
    return say("", chunk, len);
}

static int on_body_end(void *data)
{
    (void) data;
    return say(";end;", "", 0);
}

static int on_abort(void *data)
{
    (void) data;
    return say("abort;", "", 0);
}

static int on_reply(void *data, const uint8_t *record, size_t len)
{
    char text[32];

    (void) data;
    (void) snprintf(text, sizeof(text), "reply %d/%zu;", record[1], len);
    return say(text, "", 0);
}

static const gp_fcgi_events_t events = {on_begin, on_params, on_params_end, on_body, on_body_end, on_abort, on_reply};

static const uint8_t request[] = "\1\1\0\1\0\10\0\0"
                                 "\0\1\1\0\0\0\0\0" /* BEGIN, responder, keep */
                                 "\1\4\0\1\0\7\3\0"
                                 "\1\4ABCDE\0\0\0" /* PARAMS, padded */
                                 "\1\4\0\1\0\0\0\0"
                                 "\1\5\0\1\0\3\0\0xyz"
                                 "\1\5\0\1\0\0\0\0"
                                 "\1\2\0\1\0\0\0\0"; /* ABORT */


/* Feeds the bytes in pieces of that size. */
static int feed(const uint8_t *bytes, size_t len, size_t piece, gp_buf_t *params)
{
    gp_fcgi_parser_t parser;
    size_t at, n;
    int rc;

    seen[0] = '\0';
    gp_buf_clear(params);
    gp_fcgi_parser_init(&parser);
    rc = 0;
    for (at = 0; at < len && rc == 0; at += n) {
        n = len - at < piece ? len - at : piece;
        rc = gp_fcgi_parser_feed(&parser, bytes + at, n, &events, params);
    }

    return rc;
}


static void test_fastcgi(void)
{
    static const uint8_t other[] = "\1\1\0\1\0\10\0\0\0\1\0\0\0\0\0\0" /* request 1 */
                                   "\1\1\0\2\0\10\0\0\0\1\0\0\0\0\0\0" /* request 2: cannot multiplex */
                                   "\1\5\0\2\0\1\0\0?" /* of request 2: ignored */
                                   "\1\1\0\3\0\10\0\0\0\3\0\0\0\0\0\0"; /* request 3: a filter, but the connection is busy */
    static const uint8_t again[] = "\1\1\0\1\0\10\0\0\0\1\0\0\0\0\0\0\1\1\0\1\0\10\0\0\0\1\0\0\0\0\0\0";
    static const uint8_t zero[] = "\1\1\0\0\0\10\0\0\0\1\0\0\0\0\0\0";

    gp_auto_buf gp_buf_t params = {.limit = 4096};
    size_t piece;

    for (piece = 1; piece <= sizeof(request); piece++) {
        if (feed(request, sizeof(request) - 1, piece, &params) != 0 || strcmp(seen, "begin 1 keep;params;xyz;end;abort;") != 0 ||
            params.len != 7 || memcmp(params.data, "\1\4ABCDE", 7) != 0) {
            break;
        }
    }
    is_int(piece, sizeof(request) + 1, "pieces of every size say the same");

    is_int(feed(other, sizeof(other) - 1, 5, &params), 0, "records of other requests are no fault");
    is_str(seen, "begin 1;reply 3/16;reply 3/16;", "but are refused or ignored");
    is_int(feed(again, sizeof(again) - 1, 64, &params), -GP_INVALID_ARGUMENT, "a request that begins twice is a fault");
    is_int(feed(zero, sizeof(zero) - 1, 64, &params), -GP_INVALID_ARGUMENT, "so is one with id 0");
    is_int(feed((const uint8_t *) "GET / HTTP/1.1\r\n", 16, 64, &params), -GP_INVALID_ARGUMENT, "so is HTTP");
}


static void test_params(void)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {{"\1", 1}, {"\2\1A", 3}, {"\1\2AB", 4}, {"\0\1B", 3}, {"\x80\0\0", 3}, {"\xff\xff\xff\xff\1A", 6}, {"\1\1A\0", 4}};
    const gp_span_t names[] = {{"B", 1}, {"NONE", 4}, {"A", 1}};
    const char *values[3] = {NULL, NULL, NULL};
    char ok_bytes[] = "\1\0A"
                      "\1\x80\0\0\3"
                      "Bxyz"
                      "\1\1A!";
    char copy[16];
    size_t len = 0, i;

    ok(gp_fcgi_params_decode(ok_bytes, sizeof(ok_bytes) - 1, &len) == 0, "pairs with short and long lengths are decoded");
    is_str(gp_fcgi_params_get(ok_bytes, len, "A"), "", "the first of a name counts");
    is_str(gp_fcgi_params_get(ok_bytes, len, "B"), "xyz", "a value is found");
    ok(gp_fcgi_params_get(ok_bytes, len, "C") == NULL, "what is not there is not found");
    gp_fcgi_params_find(ok_bytes, len, names, 3, values);
    ok(values[0] && strcmp(values[0], "xyz") == 0 && values[1] == NULL && values[2] && values[2][0] == '\0', "many are found in one pass");

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        memcpy(copy, bad[i].bytes, bad[i].len);
        is_int(gp_fcgi_params_decode(copy, bad[i].len, &len), -GP_INVALID_ARGUMENT, "lengths that lie, empty names and NULs are refused");
    }
}


static void test_connect(void)
{
    gp_connect_envelope_t e;
    uint8_t bytes[16] = "";
    uint64_t ms;

    gp_connect_put_header(bytes, GP_CONNECT_END, 3);
    memcpy(bytes + 5, "abc", 3);
    is_int(gp_connect_envelope_parse(bytes, 8, 3, &e), 0, "an envelope is parsed");
    ok(e.flags == GP_CONNECT_END && e.payload_len == 3 && e.total_len == 8 && memcmp(e.payload, "abc", 3) == 0, "with all its parts");
    is_int(gp_connect_envelope_parse(bytes, 7, 3, &e), GP_CONNECT_MORE, "one byte less waits");
    is_int(gp_connect_envelope_parse(bytes, 4, 3, &e), GP_CONNECT_MORE, "so does half a header");
    is_int(gp_connect_envelope_parse(bytes, 0, 3, &e), GP_CONNECT_MORE, "and nothing");
    is_int(gp_connect_envelope_parse(bytes, 8, 2, &e), -GP_RESOURCE_EXHAUSTED, "over the limit is refused");
    bytes[0] = GP_CONNECT_COMPRESSED;
    is_int(gp_connect_envelope_parse(bytes, 8, 3, &e), -GP_UNIMPLEMENTED, "so is compression");
    bytes[0] = 0x10;
    is_int(gp_connect_envelope_parse(bytes, 1, 3, &e), -GP_INVALID_ARGUMENT, "so are flags nobody defined");

    ok(gp_connect_timeout_parse("9999999999", &ms) == 0 && ms == 9999999999u, "ten digits are a timeout");
    ok(gp_connect_timeout_parse("10000000000", &ms) != 0, "eleven are not");
    ok(gp_connect_timeout_parse("", &ms) != 0 && gp_connect_timeout_parse("-1", &ms) != 0, "nor is nothing, or a sign");
}


int main(void)
{
    test_fastcgi();
    test_params();
    test_connect();

    return tap_done();
}

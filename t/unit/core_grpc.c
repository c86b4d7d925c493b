#include <stdint.h>
#include <string.h>

#include "core/code.h"
#include "core/grpc.h"
#include "tap.h"


static void test_types(void)
{
    static const char *const native[] = {"application/grpc", "application/grpc+proto", "application/grpc+json", "Application/gRPC+Proto",
                                         "application/grpc; charset=utf-8"};
    static const char *const web[] = {"application/grpc-web", "application/grpc-web+proto", "application/grpc-web+json"};
    static const char *const other[] = {"",
                                        "application/grp",
                                        "application/grpcx",
                                        "application/grpc+",
                                        "application/grpc+thrift",
                                        "application/grpc-web-text",
                                        "application/json",
                                        "application/grpc-web+protos"};
    size_t i;

    for (i = 0; i < sizeof(native) / sizeof(native[0]); i++) {
        ok(gp_grpc_is_native(native[i], strlen(native[i])) && !gp_grpc_is_web(native[i], strlen(native[i])), "\"%s\" is native", native[i]);
    }
    for (i = 0; i < sizeof(web) / sizeof(web[0]); i++) {
        ok(!gp_grpc_is_native(web[i], strlen(web[i])) && gp_grpc_is_web(web[i], strlen(web[i])), "\"%s\" is gRPC-web", web[i]);
    }
    for (i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
        ok(!gp_grpc_is_native(other[i], strlen(other[i])) && !gp_grpc_is_web(other[i], strlen(other[i])), "\"%s\" is neither", other[i]);
    }
}


static void test_timeout(void)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } cases[] = {{"1S", 1000}, {"2M", 120000}, {"1H", 3600000}, {"15m", 15},     {"1u", 1},
                 {"1001u", 2}, {"1n", 1},      {"0S", 0},       {"1000000n", 1}, {"99999999H", 359999996400000}};
    static const char *const bad[] = {"", "S", "1", "1s", "-1S", "1.5S", "123456789S", "1SS", " 1S", "1 S", "1x"};
    uint64_t ms;
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ok(gp_grpc_timeout_parse(cases[i].text, &ms) == 0 && ms == cases[i].ms, "timeout %s", cases[i].text);
    }
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ok(gp_grpc_timeout_parse(bad[i], &ms) == -GP_INVALID_ARGUMENT, "timeout \"%s\" is refused", bad[i]);
    }
}


static void test_message(void)
{
    char out[64];
    size_t n;

    n = gp_grpc_message_escape("50 % of \xc3\xa4\n~", 12, out);
    out[n] = '\0';
    is_str(out, "50 %25 of %C3%A4%0A~", "a message is percent-encoded");
}


static void test_http(void)
{
    static const struct {
        unsigned status;
        int code;
    } cases[] = {{400, GP_INTERNAL},
                 {401, GP_UNAUTHENTICATED},
                 {403, GP_PERMISSION_DENIED},
                 {404, GP_UNIMPLEMENTED},
                 {413, GP_RESOURCE_EXHAUSTED},
                 {429, GP_RESOURCE_EXHAUSTED},
                 {502, GP_UNAVAILABLE},
                 {503, GP_UNAVAILABLE},
                 {504, GP_UNAVAILABLE},
                 {418, GP_UNKNOWN},
                 {200, GP_UNKNOWN},
                 {500, GP_UNKNOWN}};
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ok(gp_grpc_code_from_http(cases[i].status) == cases[i].code, "status %u", cases[i].status);
    }
}


/* The body in pieces of that many bytes; what is of which kind, one letter a byte. */
static void scan_in(size_t step, const uint8_t *body, size_t len, char *letters, gp_grpc_scan_t *scan)
{
    enum gp_grpc_run run;
    size_t at, piece, n;

    memset(scan, 0, sizeof(*scan));
    for (at = 0; at < len; at += n) {
        piece = len - at < step ? len - at : step;
        n = gp_grpc_scan(scan, body + at, piece, &run);
        memset(letters + at, "mhta"[run], n);
    }
    letters[len] = '\0';
}


static void test_scan(void)
{
    static const uint8_t body[] = "\0\0\0\0\3abc"
                                  "\0\0\0\0\0"
                                  "\0\0\0\0\2\x80\x81"
                                  "\x80\0\0\0\4s: 0"
                                  "zz";
    static const char want[] = "mmmmmmmmmmmmmmmmmmmmhhhhhttttaa";
    gp_grpc_scan_t scan;
    char letters[64];
    size_t step;

    for (step = 1; step < sizeof(body); step++) {
        scan_in(step, body, sizeof(body) - 1, letters, &scan);
        ok(strcmp(letters, want) == 0 && scan.done, "frames in pieces of %zu: %s", step, letters);
    }

    scan_in(3, body, 8, letters, &scan);
    ok(gp_grpc_scan_between(&scan), "behind a message is between");
    scan_in(3, body, 7, letters, &scan);
    ok(!gp_grpc_scan_between(&scan), "inside it is not");
    scan_in(3, body, 9, letters, &scan);
    ok(!gp_grpc_scan_between(&scan), "nor inside a header");
    scan_in(8, (const uint8_t *) "\x80\0\0\0\0x", 6, letters, &scan);
    ok(scan.done && strcmp(letters, "hhhhha") == 0, "an empty trailer frame ends the body");
}


static void test_trailer(void)
{
    static const char *const bad[] = {"grpc-status", "Grpc-Status: 0", ": 0", "a b: 0", "a: \x01", "a: \x80", ":path: /"};
    gp_span_t text, name, value;
    size_t i;

    text = (gp_span_t){"grpc-status: 5\r\ngrpc-message:a: b \r\nx-bin:\n", 42};
    text.len = strlen(text.ptr);
    ok(gp_grpc_trailer_next(&text, &name, &value) == 1 && name.len == 11 && memcmp(name.ptr, "grpc-status", 11) == 0 && value.len == 1 &&
           value.ptr[0] == '5',
       "a line");
    ok(gp_grpc_trailer_next(&text, &name, &value) == 1 && name.len == 12 && value.len == 4 && memcmp(value.ptr, "a: b", 4) == 0,
       "the value is trimmed, and may have a colon");
    ok(gp_grpc_trailer_next(&text, &name, &value) == 1 && value.len == 0, "an empty value");
    ok(gp_grpc_trailer_next(&text, &name, &value) == 0, "the end");

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        text = (gp_span_t){bad[i], strlen(bad[i])};
        ok(gp_grpc_trailer_next(&text, &name, &value) == -GP_INVALID_ARGUMENT, "line %zu is refused", i);
    }
}


static void test_health(void)
{
    static const struct {
        const char *body;
        size_t len;
        const char *name; /* NULL: refused */
    } cases[] = {{"\0\0\0\0\0", 5, ""},
                 {"\0\0\0\0\2\x0a\0", 7, ""},
                 {"\0\0\0\0\5\x0a\3abc", 10, "abc"},
                 {"", 0, NULL},
                 {"\0\0\0\0", 4, NULL},
                 {"\1\0\0\0\0", 5, NULL},
                 {"\0\0\0\0\1", 5, NULL},
                 {"\0\0\0\0\1\x0a", 6, NULL},
                 {"\0\0\0\0\3\x0a\2a", 8, NULL},
                 {"\0\0\0\0\2\x12\0", 7, NULL},
                 {"\0\0\1\0\2\x0a\0", 7, NULL},
                 {"\0\0\0\0\3\x0a\0x", 8, NULL}};
    gp_span_t name;
    size_t i;
    int rc;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rc = gp_grpc_health_service((const uint8_t *) cases[i].body, cases[i].len, &name);
        ok(cases[i].name ? rc == 0 && name.len == strlen(cases[i].name) && memcmp(name.ptr, cases[i].name, name.len) == 0
                         : rc == -GP_INVALID_ARGUMENT,
           "health request %zu", i);
    }
}


int main(void)
{
    test_types();
    test_timeout();
    test_message();
    test_http();
    test_scan();
    test_trailer();
    test_health();

    return tap_done();
}

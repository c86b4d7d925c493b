#include <stdint.h>

#include "core/base64url.h"
#include "core/code.h"
#include "core/event.h"
#include "core/field.h"
#include "core/glob.h"
#include "core/hash.h"
#include "core/hex.h"
#include "core/http_answer.h"
#include "core/jwt_split.h"
#include "core/scope.h"
#include "core/contract.h"
#include "tap.h"


static void test_base64url(void)
{
    /* RFC 4648 10, without padding, and the two characters that differ */
    static const struct {
        const char *bytes;
        const char *text;
    } cases[] = {{"", ""},           {"f", "Zg"},          {"fo", "Zm8"},          {"foo", "Zm9v"},
                 {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xfb\xff\xfe", "-__-"}};
    static const char *const bad[] = {"A", "AAAAA", "Zg==", "Zh", "Zm9", "Z+8A", "Z/8A", "Zm 9", "Zm\n"};

    char text[32];
    uint8_t bytes[32];
    size_t i, n;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        n = gp_base64url_encode((const uint8_t *) cases[i].bytes, strlen(cases[i].bytes), text);
        text[n] = '\0';
        is_str(text, cases[i].text, "base64url of a vector");
        ok(gp_base64url_decode(text, n, bytes, &n) == 0 && n == strlen(cases[i].bytes) && memcmp(bytes, cases[i].bytes, n) == 0,
           "and back: %s", text);
    }
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        is_int(gp_base64url_decode(bad[i], strlen(bad[i]), bytes, &n), -GP_INVALID_ARGUMENT, bad[i]);
    }
}


static void test_hex(void)
{
    char text[9] = "";
    uint8_t bytes[4];

    gp_hex_encode((const uint8_t *) "\x00\x7f\x80\xff", 4, text);
    is_str(text, "007f80ff", "hex of four bytes");
    ok(gp_hex_decode("007F80fF", 8, bytes) == 0 && memcmp(bytes, "\x00\x7f\x80\xff", 4) == 0, "both cases are read");
    ok(gp_hex_decode("0", 1, bytes) != 0, "an odd length is refused");
    ok(gp_hex_decode("0g", 2, bytes) != 0, "a letter that is no digit is refused");
}


static void test_jwt_split(void)
{
    static const char *const bad[] = {"", "a", "a.b", "a.b.", ".b.c", "a..c", "a.b.c.d", "a.b.c.", "a.b.c=", "a.b c.d", "..", "a.b.c\n"};
    static char longest[GP_CREDENTIAL_MAX + 2];

    gp_jwt_parts_t parts;
    size_t i;

    ok(gp_jwt_split("ab.cde.f-_", 10, &parts) == 0, "three parts are split");
    ok(parts.header.len == 2 && parts.payload.len == 3 && parts.signature.len == 3 && memcmp(parts.signature.ptr, "f-_", 3) == 0,
       "each where it stands");
    ok(parts.signed_part.len == 6 && memcmp(parts.signed_part.ptr, "ab.cde", 6) == 0, "and what was signed");
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        is_int(gp_jwt_split(bad[i], strlen(bad[i]), &parts), -GP_INVALID_ARGUMENT, "malformed");
    }

    memset(longest, 'a', sizeof(longest));
    longest[1] = '.';
    longest[3] = '.';
    is_int(gp_jwt_split(longest, GP_CREDENTIAL_MAX, &parts), 0, "the longest token is split");
    is_int(gp_jwt_split(longest, GP_CREDENTIAL_MAX + 1, &parts), -GP_INVALID_ARGUMENT, "one byte more is refused");
}


static void test_codes(void)
{
    int code;

    for (code = GP_CANCELED; code <= GP_UNAUTHENTICATED; code++) {
        const char *name = gp_code_name(code);

        ok(gp_code_from_name(name, strlen(name)) == code && gp_code_http_status(code) >= 400, "%s and back", name);
    }
    is_str(gp_code_name(99), "unknown", "a number that is none");
    is_int(gp_code_from_name("not_foun", 8), GP_UNKNOWN, "a name that is none");
    is_int(gp_code_http_status(GP_NOT_FOUND), 404, "not_found is 404");
    is_int(gp_code_http_status(GP_UNAUTHENTICATED), 401, "unauthenticated is 401");
}


static void test_glob(void)
{
    static const struct {
        const char *pattern;
        const char *text;
        int match;
    } cases[] = {{"", "", 1},
                 {"", "a", 0},
                 {"*", "", 1},
                 {"*", "a/b", 1},
                 {"a", "a", 1},
                 {"a", "A", 0},
                 {"a*", "a", 1},
                 {"*a", "bca", 1},
                 {"*a", "bcab", 0},
                 {"gitpod.v1.*", "gitpod.v1.UserService/GetAuthenticatedUser", 1},
                 {"gitpod.v1.*", "gitpod.v2.UserService/GetAuthenticatedUser", 0},
                 {"*/StartWorkspace", "gitpod.v1.WorkspaceService/StartWorkspace", 1},
                 {"*/StartWorkspace", "gitpod.v1.WorkspaceService/StartWorkspaces", 0},
                 {"*/StartWorkspace", "StartWorkspace", 0},
                 {"*ab*ab*", "aababab", 1},
                 {"a*b*c", "abbbc", 1},
                 {"a*b*c", "acb", 0},
                 {"**", "x", 1},
                 {"a", "", 0}};
    char text[4096];
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        is_int(gp_glob_match(cases[i].pattern, strlen(cases[i].pattern), cases[i].text, strlen(cases[i].text)), cases[i].match,
               cases[i].pattern);
    }

    memset(text, 'a', sizeof(text));
    ok(!gp_glob_match("*a*a*a*a*a*a*a*a*b", 18, text, sizeof(text)), "many stars and no match: an answer all the same");
}


/* Against `openssl mac ... SIPHASH` over the salt, little-endian, and the text. */
static void test_hash(void)
{
    static const struct {
        const char *text;
        uint64_t hash;
    } cases[] = {{"", UINT64_C(0x3764a2c10a62bcc9)},
                 {"a", UINT64_C(0x04ff87a357f4a075)},
                 {"abcdefg", UINT64_C(0x0dc74a6cdd5d8e31)},
                 {"abcdefgh", UINT64_C(0x814471c0c202e204)},
                 {"gitpod.v1.WorkspaceService/StartWorkspace", UINT64_C(0x8e79deafaab4a1b0)}};
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ok(gp_hash64(cases[i].text, strlen(cases[i].text), 1) == cases[i].hash, "SipHash-2-4 of \"%s\"", cases[i].text);
    }
    ok(gp_hash64("a", 1, 1) != gp_hash64("a", 1, 2), "the salt counts");
}


static gp_span_t span(const char *text)
{
    return (gp_span_t){text, strlen(text)};
}


static void test_event_ids(void)
{
    static const char *const bad[] = {"",
                                      "-",
                                      "1",
                                      "1-",
                                      "-1",
                                      "1-1-1",
                                      "+1-1",
                                      "1-+1",
                                      " 1-1",
                                      "1-1 ",
                                      "01-1",
                                      "1-01",
                                      "1-1048576",
                                      "x-1",
                                      "1-x",
                                      "1--1",
                                      "1.0-1",
                                      "17592186044416-0",
                                      "99999999999999999999999999-1",
                                      "1-99999999999999999999999999"};
    static const char *const good[] = {"0-0", "0-1", "1700000000000-0", "1700000000000-1048575", "17592186044415-1048575"};
    char text[GP_EVENT_ID_TEXT_MAX];
    uint64_t id, before = 0;
    size_t i;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ok(gp_event_id_parse(span(good[i]), &id) && (i == 0 || id > before), "%s is an id, and later than the one before", good[i]);
        is_int((int) gp_event_id_format(id, text), (int) strlen(good[i]), "its text has its length");
        is_str(text, good[i], "and is the same");
        before = id;
    }
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ok(!gp_event_id_parse(span(bad[i]), &id), "\"%s\" is no id", bad[i]);
    }
}


static void test_event_records(void)
{
    static const char user[] = "11111111-1111-4111-8111-111111111111";
    static const char *const kinds[] = {"", "K", "a-b", "a b", "a\n", "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"};
    static const char *const data[] = {"", "{", "}", "[]", "{}\n", "{\r}", "{\t}", " {}", "{} ", "1"};
    static char text[GP_EVENT_RECORD_MAX + 2];
    gp_event_t event;
    size_t i;

    (void) snprintf(text, sizeof(text), "5-7 image_build %s {\"a\": 1}", user);
    ok(gp_event_message_parse(span(text), &event) && event.id == (UINT64_C(5) << GP_EVENT_ID_SEQUENCE_BITS | 7), "a message has an id");
    ok(event.kind.len == 11 && memcmp(event.kind.ptr, "image_build", 11) == 0, "and a kind");
    ok(event.user.len == GP_USER_ID_LEN && memcmp(event.user.ptr, user, GP_USER_ID_LEN) == 0, "and a user");
    ok(event.data.len == 8 && memcmp(event.data.ptr, "{\"a\": 1}", 8) == 0, "and its data, with the spaces in it");
    ok(!gp_event_record_parse(span(text), &event), "a message is no record");
    ok(!gp_event_message_parse(span(text + 4), &event), "a record is no message");

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        (void) snprintf(text, sizeof(text), "%s %s {}", kinds[i], user);
        ok(!gp_event_record_parse(span(text), &event), "kind %zu is none", i);
    }
    for (i = 0; i < sizeof(data) / sizeof(data[0]); i++) {
        (void) snprintf(text, sizeof(text), "workspace %s %s", user, data[i]);
        ok(!gp_event_record_parse(span(text), &event), "data %zu is none", i);
    }
    (void) snprintf(text, sizeof(text), "workspace %.35s {}", user);
    ok(!gp_event_record_parse(span(text), &event), "a user is a UUID");

    (void) snprintf(text, sizeof(text), "workspace %s {", user);
    memset(text + strlen(text), ' ', GP_EVENT_RECORD_MAX - 1 - strlen(text));
    text[GP_EVENT_RECORD_MAX - 1] = '}';
    ok(gp_event_record_parse(span(text), &event), "the longest record is one");
    text[GP_EVENT_RECORD_MAX - 1] = ' ';
    text[GP_EVENT_RECORD_MAX] = '}';
    ok(!gp_event_record_parse(span(text), &event), "a byte more is refused");
}


static void test_scopes(void)
{
    static const char *const all[] = {"*", "function:*", "function:* resource:default", "a function:*", " * "};
    static const char *const some[] = {
        "", " ", "function", "function:*x", "xfunction:*", "function:getWorkspace", "**", "resource:default"};
    size_t i;

    for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        ok(gp_scope_all(span(all[i])), "\"%s\" is full access", all[i]);
    }
    for (i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
        ok(!gp_scope_all(span(some[i])), "\"%s\" is not", some[i]);
    }
}

static void test_fields(void)
{
    static const char *const tokens[] = {"PUT", "x-own", "!#$%&'*+-.^_`|~", "P"};
    static const char *const lists[] = {"content-type,x-own", "a, b , c", ", a", "a,,b", "a,"};
    static const char *const none[] = {"", " ", ",", "a b", "a b, c", "a\tb", "a\"b", "a\r\nb", "a;b", "\xc3\xa4", "a, b c"};
    size_t i;

    for (i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
        ok(gp_field_tokens(tokens[i], strlen(tokens[i]), 32, false), "\"%s\" is a token", tokens[i]);
        ok(gp_field_tokens(tokens[i], strlen(tokens[i]), 32, true), "and a list");
    }
    for (i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        ok(gp_field_tokens(lists[i], strlen(lists[i]), 32, true), "\"%s\" is a list of tokens", lists[i]);
        ok(!gp_field_tokens(lists[i], strlen(lists[i]), 32, false), "and none");
    }
    for (i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        ok(!gp_field_tokens(none[i], strlen(none[i]), 32, true), "case %zu is no list", i);
    }
    ok(!gp_field_tokens("a\0b", 3, 32, true), "a NUL is none either");
    ok(gp_field_tokens("PUT", 3, 3, false) && !gp_field_tokens("PUT", 3, 2, false), "at most so many bytes");
}


static void test_http_answer(void)
{
    static const char good[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-length:  2 \r\n\r\nhi";
    static const char *const bad[] = {"",
                                      "HTTP/1.1 200 OK\r\n",
                                      "HTTP/2 200 OK\r\n\r\n",
                                      "HTTP/1.1 2000\r\n\r\n",
                                      "HTTP/1.1 099 X\r\n\r\n",
                                      "HTTP/1.1  200\r\n\r\n",
                                      "http/1.1 200 OK\r\n\r\n",
                                      "HTTP/1.1 200 OK\n\n",
                                      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
                                      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nhi",
                                      "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi",
                                      "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhi",
                                      "HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\nhi",
                                      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"};
    gp_http_answer_t answer = {0};
    size_t i;

    ok(gp_http_answer_parse(good, strlen(good), &answer) == 0 && answer.status == 200 && answer.body.len == 2, "an answer with a length");
    ok(gp_http_answer_parse("HTTP/1.0 404 \r\n\r\n", 17, &answer) == 0 && answer.status == 404 && answer.body.len == 0,
       "one without, and without a body");
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        is_int(gp_http_answer_parse(bad[i], strlen(bad[i]), &answer), -GP_INVALID_ARGUMENT, "an answer that is none");
    }
}


int main(void)
{
    test_http_answer();
    test_fields();
    test_event_ids();
    test_event_records();
    test_scopes();
    test_base64url();
    test_hex();
    test_jwt_split();
    test_codes();
    test_glob();
    test_hash();

    return tap_done();
}

#include <stdint.h>

#include "core/base64url.h"
#include "core/code.h"
#include "core/glob.h"
#include "core/hash.h"
#include "core/hex.h"
#include "core/jwt_split.h"
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


int main(void)
{
    test_base64url();
    test_hex();
    test_jwt_split();
    test_codes();
    test_glob();
    test_hash();

    return tap_done();
}

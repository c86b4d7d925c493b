#include <stdint.h>

#include "core/code.h"
#include "core/reflection.h"
#include "tap.h"

/* a.proto: package p; message M { int x; message N {} enum E {} } service S { rpc Get } enum Top {}. b.proto: no package, service B. */
#define N_N "\x1a\x03\x0a\x01N"
#define M_M                                                                                                                                \
    "\x22\x12\x0a\x01M\x12\x03\x0a\x01x" N_N "\x22\x03\x0a\x01"                                                                            \
    "E"
#define S_S "\x32\x0a\x0a\x01S\x12\x05\x0a\x03Get"
#define E_TOP "\x2a\x05\x0a\x03Top"
#define FILE_A                                                                                                                             \
    "\x0a\x07"                                                                                                                             \
    "a.proto"                                                                                                                              \
    "\x12\x01p" M_M E_TOP S_S
#define FILE_B                                                                                                                             \
    "\x0a\x07"                                                                                                                             \
    "b.proto"                                                                                                                              \
    "\x32\x03\x0a\x01"                                                                                                                     \
    "B"

static char set_bytes[256];
static gp_span_t set;
static uint8_t head[GP_REFLECTION_HEAD_MAX];


static size_t add_file(size_t at, const char *file, size_t len)
{
    set_bytes[at] = 0x0a;
    set_bytes[at + 1] = (char) len;
    memcpy(set_bytes + at + 2, file, len);

    return at + 2 + len;
}


/* The length of the answer's message, and what begins behind the request in it. */
static const uint8_t *ask(uint8_t number, const char *what, gp_span_t *ret_file, int *ret_n)
{
    char request[64];
    size_t len = strlen(what);

    request[0] = (char) (number << 3 | 2);
    request[1] = (char) len;
    memcpy(request + 2, what, len);
    *ret_n = gp_reflection_answer(set, (gp_span_t){request, len + 2}, head, ret_file);
    ok(*ret_n > 0 && head[0] == 0 && (size_t) (head[3] << 8 | head[4]) == (size_t) *ret_n - 5 + ret_file->len, "an answer is a frame");
    ok(head[5] == 0x12 && head[6] == len + 2 && memcmp(head + 7, request, len + 2) == 0, "that repeats the request");

    return head + 7 + len + 2;
}


static void test_files(void)
{
    static const char *const in_a[] = {"p.M", "p.M.x", "p.M.N", "p.M.E", "p.S", "p.S.Get", "p.Top"};
    static const char *const nowhere[] = {"p",         "p.",   "",   "M",   "p.M.", "p.M.y", "p.M.N.x", "p.S.Put",
                                          "p.S.Get.x", "p.MM", "pM", "q.M", ".p.M", "p..M",  "B.x",     "p.B"};
    gp_span_t file;
    const uint8_t *rest;
    size_t i;
    int n;

    for (i = 0; i < sizeof(in_a) / sizeof(in_a[0]); i++) {
        rest = ask(4, in_a[i], &file, &n);
        ok(rest[0] == 0x22 && file.len == sizeof(FILE_A) - 1 && memcmp(file.ptr, FILE_A, file.len) == 0, "%s is in a.proto", in_a[i]);
        ok(rest[1] == file.len + 2 && rest[2] == 0x0a && rest[3] == file.len && rest + 4 == head + n, "which follows");
    }
    for (i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
        rest = ask(4, nowhere[i], &file, &n);
        ok(rest[0] == 0x3a && rest[2] == 0x08 && rest[3] == GP_NOT_FOUND && file.len == 0, "\"%s\" is nowhere", nowhere[i]);
    }
    rest = ask(4, "B", &file, &n);
    ok(rest[0] == 0x22 && file.len == sizeof(FILE_B) - 1, "a service without a package");
    rest = ask(3, "b.proto", &file, &n);
    ok(rest[0] == 0x22 && memcmp(file.ptr, FILE_B, file.len) == 0, "a file by its name");
    rest = ask(3, "c.proto", &file, &n);
    ok(rest[0] == 0x3a && rest[3] == GP_NOT_FOUND, "no such file");
}


static void test_others(void)
{
    static const char services[] = "\x32\x0c\x0a\x05\x0a\x03p.S\x0a\x03\x0a\x01"
                                   "B";
    static char long_request[GP_REFLECTION_REQUEST_MAX + 1];
    gp_span_t file;
    const uint8_t *rest;
    int n;

    rest = ask(7, "*", &file, &n);
    ok(head + n - rest == sizeof(services) - 1 && memcmp(rest, services, sizeof(services) - 1) == 0, "the services");
    rest = ask(6, "p.M", &file, &n);
    ok(rest[0] == 0x3a && rest[3] == GP_NOT_FOUND, "there are no extensions");
    n = gp_reflection_answer(set, (gp_span_t){"", 0}, head, &file);
    ok(n > 0 && head[7] == 0x3a && head[10] == GP_UNIMPLEMENTED, "nothing is asked");
    ok(gp_reflection_answer(set, (gp_span_t){"\x22\x05p", 3}, head, &file) < 0, "a string that is cut");
    ok(gp_reflection_answer(set, (gp_span_t){"\x20\x05", 2}, head, &file) < 0, "a symbol that is a number");
    ok(gp_reflection_answer(set, (gp_span_t){"\xff", 1}, head, &file) < 0, "no message");
    ok(gp_reflection_answer(set, (gp_span_t){long_request, sizeof(long_request)}, head, &file) < 0, "one that is too long");
}


static void test_sets(void)
{
    static char many[64000];
    gp_span_t file, big = {many, 0};
    size_t i;
    int n;

    ok(gp_reflection_check(set) == 0, "a set");
    ok(gp_reflection_check((gp_span_t){"", 0}) < 0, "an empty file is none");
    ok(gp_reflection_check((gp_span_t){set.ptr, set.len - 1}) < 0, "nor is one that was cut");
    ok(gp_reflection_check((gp_span_t){"\x0a\x00", 2}) < 0, "a file without a name");
    ok(gp_reflection_check((gp_span_t){"#include", 8}) < 0, "text");

    for (i = 0; i < 4000; i++) {
        memcpy(many + big.len,
               "\x0a\x0e\x0a\x07"
               "b.proto"
               "\x32\x03\x0a\x01"
               "B",
               16);
        big.len += 16;
    }
    n = gp_reflection_answer(big, (gp_span_t){"\x3a\x01*", 3}, head, &file);
    ok(n > 0, "more services than an answer holds");
    ok(n < 200 && head[5] == 0x3a && head[8] == GP_RESOURCE_EXHAUSTED, "are answered so");
}


int main(void)
{
    set.ptr = set_bytes;
    set.len = add_file(add_file(0, FILE_A, sizeof(FILE_A) - 1), FILE_B, sizeof(FILE_B) - 1);
    test_sets();
    test_files();
    test_others();

    return tap_done();
}

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/random.h"
#include "core/id.h"
#include "tap.h"

static int order[4], order_n;


static void note(void *data)
{
    order[order_n++] = *(int *) data;
}


static void test_arena(void)
{
    gp_arena_t *arena = gp_arena_new(65536);
    int one = 1, two = 2, i, fits;
    char *text, *p;
    size_t j;
    pid_t pid;
    int status;

    text = gp_arena_strdup(arena, "kept");
    fits = 1;
    for (i = 1; i < 300; i++) {
        p = gp_arena_alloc(arena, (size_t) i % 97);
        fits = fits && ((uintptr_t) p % 16) == 0;
        for (j = 0; j < (size_t) i % 97; j++) {
            fits = fits && p[j] == 0;
        }
        memset(p, 'x', (size_t) i % 97);
    }
    ok(fits, "memory is aligned to 16 and zero");
    p = gp_arena_alloc(arena, 20000);
    memset(p, 'y', 20000);
    is_str(text, "kept", "large and small pieces do not overlap");
    is_str(gp_arena_printf(arena, "%d-%s", 7, text), "7-kept", "text is formatted");
    ok(gp_arena_strdup(arena, NULL) == NULL, "NULL gives NULL");
    ok(gp_arena_left(arena) < 65536 - 20000, "what is left shrinks");
    gp_arena_cleanup(arena, note, &one);
    gp_arena_cleanup(arena, note, &two);
    gp_arena_free(arena);
    ok(order_n == 2 && order[0] == 2 && order[1] == 1, "cleanups run once, last first");

    pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};

        (void) setrlimit(RLIMIT_CORE, &none);
        (void) close(STDERR_FILENO);
        arena = gp_arena_new(4096);
        for (i = 0; i < 5; i++) {
            (void) gp_arena_alloc(arena, 1024);
        }
        _exit(0);
    }
    (void) waitpid(pid, &status, 0);
    ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "over the cap the process ends");
}


static void test_buf(void)
{
    gp_auto_buf gp_buf_t buf = {.limit = 10};

    ok(gp_buf_append(&buf, "12345", 5) == 0 && gp_buf_printf(&buf, "%d", 67890) == 0, "ten bytes fit");
    is_str(buf.data, "1234567890", "and are there");
    is_int(gp_buf_append(&buf, "x", 1), -GP_RESOURCE_EXHAUSTED, "the eleventh does not");
    is_int(gp_buf_append(&buf, "x", SIZE_MAX), -GP_RESOURCE_EXHAUSTED, "nor does what overflows");
    gp_buf_consume(&buf, 4);
    ok(buf.len == 6 && memcmp(buf.data, "567890", 6) == 0, "the front is dropped");
}


static void test_err(void)
{
    char longest[1000];
    gp_err_t err = GP_ERR_INIT;

    is_int(gp_err(&err, GP_NOT_FOUND, "no %s", "fox"), -GP_NOT_FOUND, "the code comes back negated");
    is_int(gp_err_prefix(&err, "room %d", 1), -GP_NOT_FOUND, "also by the prefix");
    is_str(err.text, "room 1: no fox", "which stands before the text");
    is_int(gp_err(&err, GP_NOT_FOUND, "again: %s", err.text), -GP_NOT_FOUND, "the text may be its own argument");
    is_str(err.text, "again: room 1: no fox", "and is not torn");
    is_int(gp_err(NULL, GP_INTERNAL, "x"), -GP_INTERNAL, "nobody need listen");
    is_int(gp_err(&err, 77, "x"), -GP_UNKNOWN, "a code that is none is unknown");
    is_int(gp_err_errno(&err, ENOSPC, "write %s", "f"), -GP_RESOURCE_EXHAUSTED, "a full disk is RESOURCE_EXHAUSTED");
    is_str(err.text, "write f: No space left on device", "and says so");
    memset(longest, 'l', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    (void) gp_err(&err, GP_INTERNAL, "%s", longest);
    (void) gp_err_prefix(&err, "%s", longest);
    ok(strlen(err.text) < GP_ERR_TEXT_MAX, "long texts are cut");
}


static void test_random(void)
{
    char a[37], b[37], text[41];

    gp_random_uuid(a);
    gp_random_uuid(b);
    ok(gp_id_uuid_valid(a, 36) && a[14] == '4' && strchr("89ab", a[19]) != NULL, "a UUID of version 4");
    ok(strcmp(a, b) != 0, "no two alike");
    gp_random_text("ab", text, 40);
    ok(strlen(text) == 40 && strspn(text, "ab") == 40 && strchr(text, 'a') && strchr(text, 'b'), "text of the alphabet");
}


int main(void)
{
    test_arena();
    test_buf();
    test_err();
    test_random();

    return tap_done();
}

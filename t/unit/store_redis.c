#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/contract.h"
#include "store/redis.h"
#include "tap.h"

/* The Redis writer against a redis-server of its own: ACL user, versions, reconnects. */

#define PASSWORD "only-for-this-test-0123456789abcdef"
#define START_MS 10000

static char dir[] = "/tmp/gp-redis-XXXXXX";
static char socket_path[128], password_file[128];
static gp_err_t err;


static pid_t server_start(void)
{
    char path[160], acl[256];
    FILE *file;
    pid_t pid;

    (void) snprintf(path, sizeof(path), "%s/redis.conf", dir);
    (void) snprintf(acl, sizeof(acl),
                    "user ws_manager on >%s ~gitpod:routes* ~gitpod:events &gitpod:routes:changes &gitpod:events:changes +eval +hget +hset "
                    "+publish +ping "
                    "+keys +set +get +xadd +xrange +xlen",
                    PASSWORD);
    file = fopen(path, "w");
    if (file == NULL) {
        abort();
    }
    (void) fprintf(file, "port 0\nunixsocket %s\ndir %s\nsave \"\"\nlogfile %s/redis.log\nuser default off\n%s\n", socket_path, dir, dir,
                   acl);
    (void) fclose(file);

    pid = fork();
    if (pid == 0) {
        (void) execlp("redis-server", "redis-server", path, (char *) NULL);
        _exit(127);
    }

    return pid;
}


static void server_stop(pid_t pid)
{
    if (pid > 0) {
        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, NULL, 0);
    }
}


static int command(gp_redis_t *redis, gp_arena_t *arena, char **ret_text, const char *a, const char *b, const char *c)
{
    const char *argv[] = {a, b, c};

    return gp_redis_command(redis, arena, ret_text, &err, b == NULL ? 1 : c == NULL ? 2 : 3, argv);
}


static int wait_for_server(gp_redis_t *redis)
{
    struct timespec pause = {0, 20000000};
    int waited_ms, rc = -1;

    for (waited_ms = 0; rc != 0 && waited_ms < START_MS; waited_ms += 20) {
        rc = command(redis, NULL, NULL, "PING", NULL, NULL);
        if (rc != 0) {
            (void) nanosleep(&pause, NULL);
        }
    }

    return rc;
}


static void write_password(const char *text)
{
    FILE *file = fopen(password_file, "w");

    if (file == NULL) {
        abort();
    }
    (void) fputs(text, file);
    (void) fclose(file);
}


static int put(gp_redis_t *redis, uint64_t version, const char *json)
{
    return gp_redis_put_record(redis, GP_REDIS_ROUTES, GP_REDIS_ROUTES_CHANNEL, "amber-fox", version, json, &err);
}


static void test_versions(gp_redis_t *redis, gp_arena_t *arena)
{
    char *text = NULL;
    char large[GP_ROUTE_RECORD_MAX + 2];

    ok(command(redis, arena, &text, "HGET", GP_REDIS_ROUTES, "amber-fox") == 0 && text == NULL, "a field that is not there is NULL");
    ok(put(redis, 2, "{\"version\":2}") == 0, "version 2 is written");
    ok(put(redis, 1, "{\"version\":1}") == 0 && put(redis, 2, "{\"version\":2,\"x\":1}") == 0,
       "older and equal ones change nothing, without a fault");
    ok(command(redis, arena, &text, "HGET", GP_REDIS_ROUTES, "amber-fox") == 0, "read it");
    is_str(text, "{\"version\":2}", "it is still the first of version 2");
    ok(put(redis, 10, "{\"version\":10,\"deleted\":true}") == 0 && command(redis, arena, &text, "HGET", GP_REDIS_ROUTES, "amber-fox") == 0,
       "version 10");
    is_str(text, "{\"version\":10,\"deleted\":true}", "is higher than 2: compared as numbers");
    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    is_int(put(redis, 11, large), -GP_OUT_OF_RANGE, "a record over the limit is refused");
}


static void test_events(gp_redis_t *redis, gp_arena_t *arena)
{
    static const char user[] = "11111111-1111-4111-8111-111111111111";
    static char large[GP_EVENT_RECORD_MAX];
    char *text = NULL;

    ok(gp_redis_add_event(redis, "workspace", user, "{\"n\":1}", &err) == 0, "an event is added");
    ok(gp_redis_add_event(redis, "reset", user, "{}", &err) == 0, "and another");
    ok(command(redis, arena, &text, "XRANGE", GP_REDIS_EVENTS, "-") < 0, "(XRANGE wants an end)");
    {
        const char *argv[] = {"XRANGE", GP_REDIS_EVENTS, "-", "+"};

        ok(gp_redis_command(redis, arena, &text, &err, 4, argv) == 0, "both are in the stream");
    }
    ok(text != NULL && strstr(text, "\nevent\nworkspace 11111111-1111-4111-8111-111111111111 {\"n\":1}\n") != NULL,
       "under the field of the contract, as a record");
    ok(text != NULL && strstr(text, "\nevent\nreset ") != NULL, "in order");
    is_int(gp_redis_add_event(redis, "workspace", "nobody", "{}", &err), -GP_INTERNAL, "what is no record is not written");
    is_int(gp_redis_add_event(redis, "workspace", user, "{\n}", &err), -GP_INTERNAL, "nor what has two lines");
    memset(large, 'x', sizeof(large) - 1);
    is_int(gp_redis_add_event(redis, "workspace", user, large, &err), -GP_OUT_OF_RANGE, "nor what is too long");
    ok(command(redis, arena, &text, "XLEN", GP_REDIS_EVENTS, NULL) == 0, "the length of the stream");
    is_str(text, "2", "is still two");
}


static void test_errors(gp_redis_t *redis, gp_arena_t *arena)
{
    char *text = NULL;

    is_int(command(redis, arena, &text, "GET", "other", NULL), -GP_INTERNAL, "a key the user may not read is a fault");
    ok(strstr(err.text, "NOPERM") != NULL, "with Redis' own words");
    is_int(command(redis, arena, &text, "FLUSHALL", NULL, NULL), -GP_INTERNAL, "a command the user may not run is a fault");
    ok(command(redis, arena, &text, "SET", "gitpod:routes:a", "with spaces\r\nand lines") == 0 &&
           command(redis, arena, &text, "GET", "gitpod:routes:a", NULL) == 0,
       "arguments are not split");
    is_str(text, "with spaces\r\nand lines", "at blanks or lines");
}


static void test_reconnect(gp_redis_t *redis, gp_arena_t *arena, pid_t *pid)
{
    struct timespec before, after;
    pid_t stopped;

    server_stop(*pid);
    (void) unlink(socket_path);
    is_int(command(redis, arena, NULL, "PING", NULL, NULL), -GP_UNAVAILABLE, "a server that is gone is UNAVAILABLE, no signal");
    *pid = server_start();
    ok(wait_for_server(redis) == 0, "a new server is found by itself");

    server_stop(*pid);
    (void) unlink(socket_path);
    *pid = server_start();
    {
        gp_redis_t *other = gp_redis_new(socket_path, "ws_manager", password_file);

        ok(wait_for_server(other) == 0, "a restart between two commands");
        other = gp_redis_free(other);
    }
    ok(command(redis, arena, NULL, "PING", NULL, NULL) == 0, "is not seen by the next one");

    stopped = *pid;
    (void) kill(stopped, SIGSTOP);
    (void) clock_gettime(CLOCK_MONOTONIC, &before);
    is_int(command(redis, arena, NULL, "PING", NULL, NULL), -GP_UNAVAILABLE, "a server that hangs is UNAVAILABLE");
    (void) clock_gettime(CLOCK_MONOTONIC, &after);
    (void) kill(stopped, SIGCONT);
    ok(after.tv_sec - before.tv_sec <= 6, "within a bounded time");
}


static void test_credentials(gp_arena_t *arena)
{
    gp_redis_t *redis = gp_redis_new(socket_path, "ws_manager", "/nonexistent/password");

    ok(command(redis, arena, NULL, "PING", NULL, NULL) < 0 && strstr(err.text, "/nonexistent/password") != NULL,
       "a password file that is not there is named");
    redis = gp_redis_free(redis);

    write_password("wrong\n");
    redis = gp_redis_new(socket_path, "ws_manager", password_file);
    ok(command(redis, arena, NULL, "PING", NULL, NULL) == -GP_INTERNAL && strstr(err.text, "WRONGPASS") != NULL &&
           strstr(err.text, "wrong\n") == NULL,
       "a wrong password is refused");
    write_password(PASSWORD "\nsecond line\n");
    ok(command(redis, arena, NULL, "PING", NULL, NULL) == 0, "the file is read again at the next connect, first line only");
    redis = gp_redis_free(redis);
}


int main(void)
{
    static const char *const names[] = {"redis.conf", "redis.log", "redis.sock", "password"};
    gp_arena_t *arena = gp_arena_new(1 << 20);
    char path[160];
    gp_redis_t *redis;
    size_t i;
    pid_t pid;

    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    (void) snprintf(socket_path, sizeof(socket_path), "%s/redis.sock", dir);
    (void) snprintf(password_file, sizeof(password_file), "%s/password", dir);
    write_password(PASSWORD);

    pid = server_start();
    redis = gp_redis_new(socket_path, "ws_manager", password_file);
    if (ok(wait_for_server(redis) == 0, "a redis-server on a unix socket answers")) {
        test_versions(redis, arena);
        test_events(redis, arena);
        test_errors(redis, arena);
        test_reconnect(redis, arena, &pid);
        test_credentials(arena);
    }
    redis = gp_redis_free(redis);
    server_stop(pid);

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void) snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        (void) unlink(path);
    }
    ok(rmdir(dir) == 0, "nothing else was left in the directory");
    arena = gp_arena_free(arena);

    return tap_done();
}

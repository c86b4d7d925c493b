#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include <hiredis/hiredis.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/die.h"
#include "core/contract.h"
#include "core/event.h"
#include "store/redis.h"

/*
 * hiredis' blocking client behind one lock. A connection that died while idle
 * is replaced and the command sent once more: everything written here is
 * versioned or absolute, so twice is as good as once.
 *
 * hiredis writes with write(2): SIGPIPE is blocked around each command and
 * taken back, whatever the process does with it elsewhere.
 */
#define GP_REDIS_TIMEOUT_S 2
#define GP_REDIS_PASSWORD_MAX 256 /* bytes */
#define GP_REDIS_REPLY_MAX 1048576 /* bytes of a reply as text */
#define GP_REDIS_NESTING_MAX 4 /* lists in lists of a reply */
#define GP_REDIS_ARGS_MAX 64

struct gp_redis {
    pthread_mutex_t lock;
    redisContext *ctx;
    char *socket_path;
    char *user;
    char *password_file;
};

/* The versioned write of docs/contracts/redis.md. KEYS: hash. ARGV: field, version, record, channel. */
static const char gp_redis_put_script[] =
    "local old = redis.call('HGET', KEYS[1], ARGV[1])\n"
    "if old then\n"
    "  local ok, record = pcall(cjson.decode, old)\n"
    "  if ok and type(record) == 'table' and (tonumber(record.version) or -1) >= tonumber(ARGV[2]) then\n"
    "    return 0\n"
    "  end\n"
    "end\n"
    "redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])\n"
    "redis.call('PUBLISH', ARGV[4], ARGV[3])\n"
    "return 1\n";


/* KEYS: stream. ARGV: length, field, record, channel. */
static const char gp_redis_event_script[] = "local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', ARGV[2], ARGV[3])\n"
                                            "redis.call('PUBLISH', ARGV[4], id .. ' ' .. ARGV[3])\n"
                                            "return id\n";


static void gp_redis_reply_free(redisReply **reply)
{
    if (*reply != NULL) {
        freeReplyObject(*reply);
        *reply = NULL;
    }
}


#define gp_auto_reply gp_cleanup(gp_redis_reply_free)


gp_redis_t *gp_redis_new(const char *socket_path, const char *user, const char *password_file)
{
    gp_redis_t *redis = calloc(1, sizeof(gp_redis_t));

    if (redis == NULL || pthread_mutex_init(&redis->lock, NULL) != 0) {
        gp_die("out of memory: a Redis client");
    }
    redis->socket_path = strdup(socket_path);
    redis->user = strdup(user ? user : "");
    redis->password_file = password_file ? strdup(password_file) : NULL;
    if (redis->socket_path == NULL || redis->user == NULL || (password_file != NULL && redis->password_file == NULL)) {
        gp_die("out of memory: a Redis client");
    }

    return redis;
}


static void gp_redis_disconnect(gp_redis_t *redis)
{
    if (redis->ctx != NULL) {
        redisFree(redis->ctx);
        redis->ctx = NULL;
    }
}


gp_redis_t *gp_redis_free(gp_redis_t *redis)
{
    if (redis != NULL) {
        gp_redis_disconnect(redis);
        (void) pthread_mutex_destroy(&redis->lock); /* nobody holds it: the caller's duty */
        free(redis->socket_path);
        free(redis->user);
        free(redis->password_file);
        free(redis);
    }

    return NULL;
}


/* First line of the file. Read at each connect, so that a new password needs no restart. */
static int gp_redis_password(const gp_redis_t *redis, char ret_password[GP_REDIS_PASSWORD_MAX], gp_err_t *err)
{
    gp_auto_fd int fd = open(redis->password_file, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0) {
        return gp_err_errno(err, errno, "cannot read the Redis password %s", redis->password_file);
    }
    n = read(fd, ret_password, GP_REDIS_PASSWORD_MAX - 1);
    if (n < 0) {
        return gp_err_errno(err, errno, "cannot read the Redis password %s", redis->password_file);
    }
    ret_password[n] = '\0';
    ret_password[strcspn(ret_password, "\r\n")] = '\0';

    return ret_password[0] ? 0 : gp_err(err, GP_FAILED_PRECONDITION, "the file %s has no password in its first line", redis->password_file);
}


static int gp_redis_authenticate(gp_redis_t *redis, gp_err_t *err)
{
    gp_auto_reply redisReply *reply = NULL;
    char password[GP_REDIS_PASSWORD_MAX];
    const char *argv[] = {"AUTH", redis->user, password};
    int rc;

    if (redis->password_file == NULL) {
        return 0;
    }
    rc = gp_redis_password(redis, password, err);
    if (rc < 0) {
        return rc;
    }

    reply = redisCommandArgv(redis->ctx, 3, argv, NULL);
    explicit_bzero(password, sizeof(password));
    if (reply == NULL) {
        return gp_err(err, GP_UNAVAILABLE, "Redis at %s does not answer: %s", redis->socket_path, redis->ctx->errstr);
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        return gp_err(err, GP_INTERNAL, "Redis at %s refuses the user \"%s\": %s", redis->socket_path, redis->user, reply->str);
    }

    return 0;
}


static int gp_redis_connect(gp_redis_t *redis, gp_err_t *err)
{
    struct timeval timeout = {GP_REDIS_TIMEOUT_S, 0};
    int rc;

    redis->ctx = redisConnectUnixWithTimeout(redis->socket_path, timeout);
    if (redis->ctx == NULL) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory: a connection to Redis");
    }
    if (redis->ctx->err) {
        rc = gp_err(err, GP_UNAVAILABLE, "Redis at %s cannot be reached: %s", redis->socket_path, redis->ctx->errstr);
        gp_redis_disconnect(redis);
        return rc;
    }
    if (redisSetTimeout(redis->ctx, timeout) != REDIS_OK) {
        rc = gp_err(err, GP_UNAVAILABLE, "Redis at %s: %s", redis->socket_path, redis->ctx->errstr);
        gp_redis_disconnect(redis);
        return rc;
    }

    (void) fcntl(redis->ctx->fd, F_SETFD, FD_CLOEXEC); /* hiredis does not; a child must not inherit a signed-in connection */
    rc = gp_redis_authenticate(redis, err);
    if (rc < 0) {
        gp_redis_disconnect(redis);
    }

    return rc;
}


/* Sends on a connection there is or a new one; an old one may have died meanwhile, a new one gets no second chance. */
static int gp_redis_exchange(gp_redis_t *redis, int argc, const char **argv, redisReply **ret_reply, gp_err_t *err)
{
    redisReply *reply;
    bool fresh;
    int attempt, rc;

    for (attempt = 0; attempt < 2; attempt++) {
        fresh = redis->ctx == NULL;
        if (fresh) {
            rc = gp_redis_connect(redis, err);
            if (rc < 0) {
                return rc;
            }
        }

        reply = redisCommandArgv(redis->ctx, argc, argv, NULL);
        if (reply != NULL) {
            *ret_reply = reply;
            return 0;
        }

        rc = gp_err(err, GP_UNAVAILABLE, "Redis at %s does not answer within %d s: %s", redis->socket_path, GP_REDIS_TIMEOUT_S,
                    redis->ctx->errstr);
        gp_redis_disconnect(redis);
        if (fresh) {
            return rc;
        }
    }

    return rc;
}


/* SIGPIPE blocked for this thread during the exchange. */
static int gp_redis_exchange_quietly(gp_redis_t *redis, int argc, const char **argv, redisReply **ret_reply, gp_err_t *err)
{
    struct timespec none = {0, 0};
    sigset_t pipe_set, before, pending;
    bool was_pending;
    int rc;

    (void) sigemptyset(&pipe_set);
    (void) sigaddset(&pipe_set, SIGPIPE);
    (void) sigpending(&pending); /* these four cannot fail with valid arguments */
    was_pending = sigismember(&pending, SIGPIPE) == 1;
    (void) pthread_sigmask(SIG_BLOCK, &pipe_set, &before);

    rc = gp_redis_exchange(redis, argc, argv, ret_reply, err);

    if (!was_pending) {
        while (sigtimedwait(&pipe_set, NULL, &none) < 0 && errno == EINTR) {
        }
    }
    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);

    return rc;
}


/* A list becomes lines. */
static int gp_redis_reply_text(const redisReply *reply, gp_buf_t *buf, int nesting)
{
    size_t i;
    int rc = 0;

    if (reply->type == REDIS_REPLY_INTEGER) {
        return gp_buf_printf(buf, "%lld", reply->integer);
    }
    if (reply->type != REDIS_REPLY_ARRAY) {
        return reply->type == REDIS_REPLY_NIL ? 0 : gp_buf_append(buf, reply->str, reply->len);
    }

    for (i = 0; rc == 0 && nesting < GP_REDIS_NESTING_MAX && i < reply->elements; i++) {
        rc = i > 0 ? gp_buf_append(buf, "\n", 1) : 0;
        if (rc == 0) {
            rc = gp_redis_reply_text(reply->element[i], buf, nesting + 1);
        }
    }

    return rc;
}


static int gp_redis_give_text(const gp_redis_t *redis, const redisReply *reply, gp_arena_t *arena, char **ret_text, gp_err_t *err)
{
    gp_auto_buf gp_buf_t buf = {NULL, 0, 0, GP_REDIS_REPLY_MAX};

    if (ret_text == NULL) {
        return 0;
    }
    if (reply->type == REDIS_REPLY_NIL) {
        *ret_text = NULL;
        return 0;
    }

    if (gp_redis_reply_text(reply, &buf, 0) < 0 || buf.len + 64 > gp_arena_left(arena)) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "the answer of Redis at %s is larger than %d bytes", redis->socket_path,
                      GP_REDIS_REPLY_MAX);
    }
    *ret_text = gp_arena_strndup(arena, buf.data ? buf.data : "", buf.len);

    return 0;
}


int gp_redis_command(gp_redis_t *redis, gp_arena_t *arena, char **ret_text, gp_err_t *err, int argc, const char *const *argv)
{
    gp_auto_reply redisReply *reply = NULL;
    const char *args[GP_REDIS_ARGS_MAX];
    int rc;

    if (argc < 1 || argc > GP_REDIS_ARGS_MAX) {
        return gp_err(err, GP_INTERNAL, "a Redis command of %d arguments; at most %d", argc, GP_REDIS_ARGS_MAX);
    }
    memcpy(args, argv, (size_t) argc * sizeof(args[0]));

    gp_assert(pthread_mutex_lock(&redis->lock) == 0);
    rc = gp_redis_exchange_quietly(redis, argc, args, &reply, err);
    gp_assert(pthread_mutex_unlock(&redis->lock) == 0);
    if (rc < 0) {
        return rc;
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        return gp_err(err, GP_INTERNAL, "Redis at %s refuses %s: %s", redis->socket_path, argv[0], reply->str);
    }

    return gp_redis_give_text(redis, reply, arena, ret_text, err);
}


int gp_redis_put_record(gp_redis_t *redis, const char *hash, const char *channel, const char *field, uint64_t version, const char *json,
                        gp_err_t *err)
{
    char number[24];
    const char *argv[] = {"EVAL", gp_redis_put_script, "1", hash, field, number, json, channel};

    if (strlen(json) > GP_ROUTE_RECORD_MAX) {
        return gp_err(err, GP_OUT_OF_RANGE, "the record of \"%s\" is longer than %d bytes", field, GP_ROUTE_RECORD_MAX);
    }
    (void) snprintf(number, sizeof(number), "%" PRIu64, version); /* 20 digits at most */

    return gp_redis_command(redis, NULL, NULL, err, (int) (sizeof(argv) / sizeof(argv[0])), argv);
}


int gp_redis_add_event(gp_redis_t *redis, const char *kind, const char *user, const char *data, gp_err_t *err)
{
    gp_auto_buf gp_buf_t record = {NULL, 0, 0, GP_EVENT_RECORD_MAX + 1};
    char length[12];
    const char *argv[] = {"EVAL", gp_redis_event_script, "1",  GP_REDIS_EVENTS,
                          length, GP_REDIS_EVENTS_FIELD, NULL, GP_REDIS_EVENTS_CHANNEL};
    gp_event_t event;

    if (gp_buf_printf(&record, "%s %s %s", kind, user, data) < 0) {
        return gp_err(err, GP_OUT_OF_RANGE, "an event of kind \"%s\" is longer than %d bytes", kind, GP_EVENT_RECORD_MAX);
    }
    if (!gp_event_record_parse((gp_span_t){record.data, strlen(record.data)}, &event)) {
        return gp_err(err, GP_INTERNAL, "an event of kind \"%s\" for \"%s\" is no record", kind, user);
    }
    (void) snprintf(length, sizeof(length), "%d", GP_EVENTS_MAX);
    argv[6] = record.data;

    return gp_redis_command(redis, NULL, NULL, err, (int) (sizeof(argv) / sizeof(argv[0])), argv);
}

#pragma once

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

/*
 * Blocking Redis writer for services (hiredis, unix socket, ACL user): one
 * connection behind a lock, reconnects, 2 s deadline. Never used in nginx.
 */
typedef struct gp_redis gp_redis_t;

/* Does not connect yet. password_file: first line. */
gp_redis_t *gp_redis_new(const char *socket_path, const char *user, const char *password_file);
gp_redis_t *gp_redis_free(gp_redis_t *redis);
/* Runs one command given as argv of NUL-terminated strings; *ret_text (may be NULL): the reply as text in arena. Errors: UNAVAILABLE, INTERNAL with Redis' error. */
int gp_redis_command(gp_redis_t *redis, gp_arena_t *arena, char **ret_text, gp_err_t *err, int argc, const char *const *argv)
    __attribute__((warn_unused_result));
/* The versioned write of docs/contracts/redis.md: compares, HSET, PUBLISH in one script. */
int gp_redis_put_record(gp_redis_t *redis, const char *hash, const char *channel, const char *field, uint64_t version, const char *json,
                        gp_err_t *err) __attribute__((warn_unused_result));
/*
 * Adds an event of docs/contracts/redis.md and tells of it, in one script; data: a JSON object in one line. Should the answer be lost it is sent
 * again, so it may be there twice. Errors as above, and OUT_OF_RANGE: longer than GP_EVENT_RECORD_MAX.
 */
int gp_redis_add_event(gp_redis_t *redis, const char *kind, const char *user, const char *data, gp_err_t *err)
    __attribute__((warn_unused_result));

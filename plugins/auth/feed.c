#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include "auth.h"

/*
 * Key set, revocations and feature flags to Redis: at once when they change, all
 * of it when Redis was away or lost it. One thread; it also clears away what has expired.
 */
#define AUTH_FEED_CHECK_S 10 /* does Redis still have it? */
#define AUTH_FEED_RETRY_S 2 /* Redis is away */
#define AUTH_FEED_CLEAN_S 60 /* expired rows, keys that are due */
#define AUTH_FEED_ARENA 33554432 /* bytes, a cap: one pass over all revocations */

struct auth_feed {
    auth_t *auth;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    bool dirty; /* something may be missing in Redis */
};

/* One revocation in a transaction with what it is about. */
typedef struct auth_revocation {
    const char *kind;
    const char *id;
    int64_t epoch_s;
    struct auth_revocation *next;
} auth_revocation_t;

/* Rows are gathered first: whoever talks to Redis, which may be slow, does not hold the database. */
typedef struct {
    gp_arena_t *arena;
    auth_revocation_t *list;
} auth_pass_t;


static int auth_feed_command(auth_t *auth, gp_arena_t *arena, char **ret_text, gp_err_t *err, int argc, const char *a, const char *b,
                             const char *c, const char *d)
{
    const char *argv[] = {a, b, c, d};

    return gp_redis_command(auth->redis, arena, ret_text, err, argc, argv);
}


static const char *auth_feed_message(gp_arena_t *arena, const auth_revocation_t *r)
{
    return gp_arena_printf(arena, "{\"kind\":\"%s\",\"id\":\"%s\",\"epoch\":%lld}", r->kind, r->id, (long long) r->epoch_s);
}


static int auth_feed_revocation(auth_t *auth, gp_arena_t *arena, const auth_revocation_t *r, gp_err_t *err)
{
    const char *field = gp_arena_printf(arena, "%s:%s", r->kind, r->id);
    const char *epoch = gp_arena_printf(arena, "%lld", (long long) r->epoch_s);
    const char *message = auth_feed_message(arena, r);
    int rc;

    rc = auth_feed_command(auth, arena, NULL, err, 4, "HSET", GP_REDIS_REVOCATIONS, field, epoch);
    if (rc < 0) {
        return rc;
    }

    return auth_feed_command(auth, arena, NULL, err, 3, "PUBLISH", GP_REDIS_REVOCATIONS_CHANNEL, message, NULL);
}


static int auth_feed_row(const gp_row_t *row, void *data, gp_err_t *err)
{
    auth_pass_t *pass = data;
    auth_revocation_t *r = gp_arena_alloc(pass->arena, sizeof(*r));

    r->kind = gp_arena_strdup(pass->arena, gp_row_text(row, 0));
    r->id = gp_arena_strdup(pass->arena, gp_row_text(row, 1));
    r->epoch_s = gp_row_int(row, 2);
    r->next = pass->list;
    pass->list = r;

    return 0;
}


/* Each with an arena of its own: a pass may be long. */
static int auth_feed_each(auth_t *auth, const auth_revocation_t *list,
                          int (*fn)(auth_t *, gp_arena_t *, const auth_revocation_t *, gp_err_t *), gp_err_t *err)
{
    int rc = 0;

    for (; list != NULL && rc == 0; list = list->next) {
        gp_auto_arena gp_arena_t *arena = gp_arena_new(65536);

        rc = fn(auth, arena, list, err);
    }

    return rc;
}


static int auth_feed_keys(auth_t *auth, gp_arena_t *arena, gp_err_t *err)
{
    const char *set = auth_keys_set(auth->keys, arena);
    int rc;

    rc = auth_feed_command(auth, arena, NULL, err, 3, "SET", GP_REDIS_KEY_SET, set, NULL);
    if (rc < 0) {
        return rc;
    }

    return auth_feed_command(auth, arena, NULL, err, 3, "PUBLISH", GP_REDIS_KEY_SET_CHANNEL, set, NULL);
}


static int auth_feed_publish(auth_t *auth, gp_err_t *err)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(AUTH_FEED_ARENA);
    auth_pass_t pass = {.arena = arena};
    int rc;

    /* Revocations first: a gateway that waits for keys must not accept what is revoked. */
    rc = gp_db_query(auth->db, auth_feed_row, &pass, AUTH_REVOCATIONS_MAX, err, "SELECT kind, id, epoch FROM revocation", "");
    if (rc == 0) {
        rc = auth_feed_each(auth, pass.list, auth_feed_revocation, err);
    }
    if (rc == 0) {
        rc = auth_feed_keys(auth, arena, err);
    }

    return rc;
}


int auth_feed_snapshot(gp_snapshot_file_t *file, void *data, gp_err_t *err)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(AUTH_FEED_ARENA);
    auth_t *auth = data;
    auth_pass_t pass = {.arena = arena};
    const auth_revocation_t *r;
    int rc;

    rc = gp_db_query(auth->db, auth_feed_row, &pass, AUTH_REVOCATIONS_MAX, err, "SELECT kind, id, epoch FROM revocation", "");
    for (r = pass.list; rc == 0 && r != NULL; r = r->next) {
        gp_auto_arena gp_arena_t *line = gp_arena_new(65536);

        rc = gp_snapshot_add(file, auth_feed_message(line, r), err);
    }

    return rc;
}


static int auth_feed_count(const gp_row_t *row, void *data, gp_err_t *err)
{
    int64_t *n = data;

    *n = gp_row_int(row, 0);

    return 0;
}


/* Redis may have been emptied behind our back. */
static int auth_feed_missing(auth_t *auth, bool *ret_missing, gp_err_t *err)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(AUTH_FEED_ARENA);
    char *text = NULL, *count = NULL;
    int64_t n = 0;
    int rc;

    rc = auth_feed_command(auth, arena, &text, err, 2, "GET", GP_REDIS_KEY_SET, NULL, NULL);
    if (rc == 0) {
        rc = auth_feed_command(auth, arena, &count, err, 2, "HLEN", GP_REDIS_REVOCATIONS, NULL, NULL);
    }
    if (rc == 0) {
        rc = gp_db_query(auth->db, auth_feed_count, &n, 1, err, "SELECT count(*) FROM revocation", "");
    }
    if (rc < 0) {
        return rc;
    }
    *ret_missing = text == NULL || strcmp(text, auth_keys_set(auth->keys, arena)) != 0 || count == NULL || strtoll(count, NULL, 10) < n;

    return 0;
}


static int auth_feed_forget(auth_t *auth, gp_arena_t *arena, const auth_revocation_t *r, gp_err_t *err)
{
    const char *field = gp_arena_printf(arena, "%s:%s", r->kind, r->id);

    return auth_feed_command(auth, arena, NULL, err, 3, "HDEL", GP_REDIS_REVOCATIONS, field, NULL);
}


/* What nothing can use any more: no credential outlives GP_SESSION_TTL_S without a renewal. */
static int auth_feed_clean(auth_t *auth, gp_err_t *err)
{
    static const char *const expired[] = {
        "DELETE FROM handoff_code WHERE expires < ?",
        "DELETE FROM login_link WHERE expires < ?",
        "DELETE FROM session WHERE expires < ?",
    };
    int64_t now = gp_clock_epoch_s();
    int64_t old = now - GP_SESSION_TTL_S - AUTH_FEED_CLEAN_S;
    gp_auto_arena gp_arena_t *arena = gp_arena_new(AUTH_FEED_ARENA);
    auth_pass_t pass = {.arena = arena};
    size_t i;
    int rc;

    for (i = 0; i < sizeof(expired) / sizeof(expired[0]); i++) {
        rc = gp_db_exec(auth->db, NULL, err, expired[i], "i", now - AUTH_FEED_CLEAN_S);
        if (rc < 0) {
            return rc;
        }
    }
    rc = gp_db_query(auth->db, auth_feed_row, &pass, AUTH_REVOCATIONS_MAX, err, "SELECT kind, id, epoch FROM revocation WHERE epoch < ?",
                     "i", old);
    if (rc == 0) {
        rc = auth_feed_each(auth, pass.list, auth_feed_forget, err);
    }
    if (rc == 0) {
        rc = gp_db_exec(auth->db, NULL, err, "DELETE FROM revocation WHERE epoch < ?", "i", old);
    }

    if (rc == 0) {
        rc = auth_flags_clean(auth, err);
    }

    return rc == 0 ? auth_keys_maintain(auth, err) : rc;
}


/* Waits for a wake-up or the time; false: the service stops. */
static bool auth_feed_wait(auth_feed_t *feed, int seconds, bool *ret_dirty)
{
    struct timespec until;
    bool stop;
    int rc = 0;

    (void) clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += seconds;
    (void) pthread_mutex_lock(&feed->lock);
    while (!feed->stop && !feed->dirty && rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&feed->wake, &feed->lock, &until);
    }
    stop = feed->stop;
    *ret_dirty = feed->dirty;
    feed->dirty = false;
    (void) pthread_mutex_unlock(&feed->lock);

    return !stop;
}


static int auth_feed_turn(auth_t *auth, bool dirty, gp_err_t *err)
{
    bool missing = dirty;
    int rc = 0;

    if (!dirty) {
        rc = auth_feed_missing(auth, &missing, err);
    }
    if (rc == 0 && missing) {
        rc = auth_feed_publish(auth, err);
    }
    if (rc == 0) {
        rc = auth_flags_feed(auth, err);
    }

    return rc;
}


static void *auth_feed_run(void *data)
{
    auth_feed_t *feed = data;
    uint64_t clean_ms = 0;
    bool failed = false, dirty = false;
    int rc;

    while (auth_feed_wait(feed, failed ? AUTH_FEED_RETRY_S : AUTH_FEED_CHECK_S, &dirty)) {
        gp_err_t err = GP_ERR_INIT;

        rc = auth_feed_turn(feed->auth, dirty || failed, &err);
        if (rc < 0 && !failed) {
            gp_log(GP_LOG_WARN, "Redis does not have the key set, the revocations and the flags; trying again", "error", err.text, NULL);
        } else if (rc == 0 && failed) {
            gp_log(GP_LOG_INFO, "Redis has the key set, the revocations and the flags again", NULL);
        }
        failed = rc < 0;
        if (gp_clock_ms() - clean_ms >= AUTH_FEED_CLEAN_S * 1000ULL) {
            clean_ms = gp_clock_ms();
            if (auth_feed_clean(feed->auth, &err) < 0 && !failed) {
                gp_log(GP_LOG_WARN, "what has expired could not be cleared away", "error", err.text, NULL);
            }
        }
    }

    return NULL;
}


int auth_feed_open(auth_t *auth, auth_feed_t **ret_feed, gp_err_t *err)
{
    auth_feed_t *feed = calloc(1, sizeof(*feed));
    pthread_condattr_t attr;
    int rc;

    gp_assert(feed != NULL);
    feed->auth = auth;
    feed->dirty = true; /* all of it at start */
    (void) pthread_mutex_init(&feed->lock, NULL);
    (void) pthread_condattr_init(&attr);
    (void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void) pthread_cond_init(&feed->wake, &attr);
    (void) pthread_condattr_destroy(&attr);
    rc = pthread_create(&feed->thread, NULL, auth_feed_run, feed);
    if (rc != 0) {
        free(feed);
        return gp_err_errno(err, rc, "the thread that feeds Redis cannot start");
    }
    *ret_feed = feed;

    return 0;
}


auth_feed_t *auth_feed_close(auth_feed_t *feed)
{
    if (feed != NULL) {
        (void) pthread_mutex_lock(&feed->lock);
        feed->stop = true;
        (void) pthread_cond_signal(&feed->wake);
        (void) pthread_mutex_unlock(&feed->lock);
        (void) pthread_join(feed->thread, NULL);
        (void) pthread_cond_destroy(&feed->wake);
        (void) pthread_mutex_destroy(&feed->lock);
        free(feed);
    }

    return NULL;
}


void auth_feed_wake(auth_feed_t *feed)
{
    if (feed == NULL) {
        return; /* not started yet: its first turn publishes everything */
    }
    (void) pthread_mutex_lock(&feed->lock);
    feed->dirty = true;
    (void) pthread_cond_signal(&feed->wake);
    (void) pthread_mutex_unlock(&feed->lock);
}


int auth_revoke(auth_t *auth, const char *kind, const char *id, gp_err_t *err)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(65536);
    auth_revocation_t r = {.kind = kind, .id = id, .epoch_s = gp_clock_epoch_s()};
    gp_err_t redis_err = GP_ERR_INIT;
    int rc;

    rc = gp_db_exec(auth->db, NULL, err,
                    "INSERT INTO revocation (kind, id, epoch) VALUES (?, ?, ?)"
                    " ON CONFLICT (kind, id) DO UPDATE SET epoch = max(epoch, excluded.epoch)",
                    "ssi", kind, id, r.epoch_s);
    if (rc < 0) {
        return rc;
    }
    gp_snapshot_wake(auth->snapshot);
    if (auth_feed_revocation(auth, arena, &r, &redis_err) < 0) {
        gp_log(GP_LOG_WARN, "a revocation is stored, and not yet known to the gateway", "kind", kind, "error", redis_err.text, NULL);
        auth_feed_wake(auth->feed);
    }

    return 0;
}

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "core/flag.h"
#include "auth.h"

/*
 * Feature flags: the record as the gateway reads it is what the database
 * keeps. A deleted one stays as a tombstone for GP_FLAG_TOMBSTONE_S, so that a
 * gateway which was away learns of it.
 */
#define AUTH_FLAG_PASS_ARENA 1048576 /* bytes, a cap: all records, at most 2 KB each */

typedef struct {
    const char *name; /* of the arena, as record */
    const char *record;
    uint64_t version;
} auth_flag_row_t;

typedef struct {
    gp_arena_t *arena;
    auth_flag_row_t rows[GP_FLAGS_MAX];
    size_t n;
} auth_flag_rows_t;

/* What one change makes of one row, in a transaction. */
typedef struct {
    gp_arena_t *arena;
    const char *name;
    json_t *rule; /* the record but its version; NULL: a tombstone */
    char *record;
    int64_t version;
    int64_t others; /* flags of other names */
    bool kept; /* there is such a flag, and no tombstone */
    bool known;
} auth_flag_change_t;


static int auth_flag_row(const gp_row_t *row, void *data, gp_err_t *err)
{
    auth_flag_rows_t *rows = data;
    auth_flag_row_t *r = &rows->rows[rows->n++];

    r->name = gp_arena_strdup(rows->arena, gp_row_text(row, 0));
    r->version = (uint64_t) gp_row_int(row, 1);
    r->record = gp_arena_strdup(rows->arena, gp_row_text(row, 2));

    return 0;
}


int auth_flags_feed(auth_t *auth, gp_err_t *err)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(AUTH_FLAG_PASS_ARENA);
    auth_flag_rows_t *rows = gp_arena_alloc(arena, sizeof(*rows));
    size_t i;
    int rc;

    rows->arena = arena;
    rows->n = 0;
    rc = gp_db_query(auth->db, auth_flag_row, rows, GP_FLAGS_MAX, err, "SELECT name, version, record FROM flag", "");
    for (i = 0; rc == 0 && i < rows->n; i++) {
        rc = gp_redis_put_record(auth->redis, GP_REDIS_FLAGS, GP_REDIS_FLAGS_CHANNEL, rows->rows[i].name, rows->rows[i].version,
                                 rows->rows[i].record, err);
    }

    return rc;
}


int auth_flags_clean(auth_t *auth, gp_err_t *err)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(AUTH_FLAG_PASS_ARENA);
    auth_flag_rows_t *rows = gp_arena_alloc(arena, sizeof(*rows));
    int64_t old = gp_clock_epoch_s() - GP_FLAG_TOMBSTONE_S;
    size_t i;
    int rc;

    rows->arena = arena;
    rows->n = 0;
    rc = gp_db_query(auth->db, auth_flag_row, rows, GP_FLAGS_MAX, err,
                     "SELECT name, version, record FROM flag WHERE deleted > 0 AND deleted < ?", "i", old);
    for (i = 0; rc == 0 && i < rows->n; i++) {
        const char *argv[] = {"HDEL", GP_REDIS_FLAGS, rows->rows[i].name};

        /* set again meanwhile: the row stays, and the next feed brings it back */
        rc = gp_redis_command(auth->redis, arena, NULL, err, 3, argv);
        if (rc == 0) {
            rc = gp_db_exec(auth->db, NULL, err, "DELETE FROM flag WHERE name = ? AND deleted > 0", "s", rows->rows[i].name);
        }
    }

    return rc;
}


static int auth_flag_old(const gp_row_t *row, void *data, gp_err_t *err)
{
    auth_flag_change_t *change = data;

    change->version = gp_row_int(row, 0);
    change->kept = gp_row_int(row, 1) == 0;
    change->known = true;

    return 0;
}


static int auth_flag_others(const gp_row_t *row, void *data, gp_err_t *err)
{
    auth_flag_change_t *change = data;

    change->others = gp_row_int(row, 0);

    return 0;
}


/* The record with its version as text, and proof that the gateway will take it. */
static int auth_flag_record(auth_flag_change_t *change, gp_err_t *err)
{
    gp_auto_json json_t *doc = change->rule ? json_copy(change->rule) : json_pack("{s:b}", "deleted", 1);
    const char *why = "";
    gp_flag_t flag;
    char *text;

    if (doc == NULL || json_object_set_new(doc, "name", json_string(change->name)) != 0 ||
        json_object_set_new(doc, "version", json_integer(change->version)) != 0) {
        return gp_err(err, GP_INVALID_ARGUMENT, "name: it is not UTF-8");
    }
    text = json_dumps(doc, JSON_COMPACT);
    if (text == NULL) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory: the record of a flag");
    }
    change->record = gp_arena_strdup(change->arena, text);
    free(text);
    if (gp_flag_parse(change->record, strlen(change->record), &flag, &why) < 0) {
        return gp_err(err, GP_INVALID_ARGUMENT, "the flag was not set: %s", why);
    }

    return 0;
}


static int auth_flag_write(gp_db_t *db, void *data, gp_err_t *err)
{
    auth_flag_change_t *change = data;
    int64_t now_ms = gp_clock_epoch_ms();
    int rc;

    if ((rc = gp_db_query(db, auth_flag_old, change, 1, err, "SELECT version, deleted FROM flag WHERE name = ?", "s", change->name)) < 0 ||
        (rc = gp_db_query(db, auth_flag_others, change, 1, err, "SELECT count(*) FROM flag WHERE name <> ?", "s", change->name)) < 0) {
        return rc;
    }
    if (change->rule == NULL && !change->kept) {
        return gp_err(err, GP_NOT_FOUND, "there is no flag \"%.*s\"; ./build.sh flag list names all that are set", GP_FLAG_NAME_MAX,
                      change->name);
    }
    if (!change->known && change->others >= GP_FLAGS_MAX) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "there are %d flags, the most there can be; deleted ones count for %d days", GP_FLAGS_MAX,
                      GP_FLAG_TOMBSTONE_S / 86400);
    }

    /* By the clock, so that a database restored from a backup is not behind Redis for ever. */
    change->version = change->known && change->version >= now_ms ? change->version + 1 : now_ms;
    rc = auth_flag_record(change, err);
    if (rc < 0) {
        return rc;
    }

    return gp_db_exec(db, NULL, err,
                      "INSERT INTO flag (name, version, record, deleted) VALUES (?, ?, ?, ?)"
                      " ON CONFLICT (name) DO UPDATE SET version = excluded.version, record = excluded.record, deleted = excluded.deleted",
                      "sisi", change->name, change->version, change->record, change->rule ? (int64_t) 0 : now_ms / 1000);
}


/* Into the database, then to Redis; when Redis is away the feed brings it later. */
static int auth_flag_change(auth_t *auth, auth_flag_change_t *change, gp_err_t *err)
{
    gp_err_t redis_err = GP_ERR_INIT;
    int rc;

    rc = gp_db_transaction(auth->db, auth_flag_write, change, err);
    if (rc < 0) {
        return rc;
    }
    if (gp_redis_put_record(auth->redis, GP_REDIS_FLAGS, GP_REDIS_FLAGS_CHANNEL, change->name, (uint64_t) change->version, change->record,
                            &redis_err) < 0) {
        gp_log(GP_LOG_WARN, "a flag is stored, and not yet known to the gateway", "flag", change->name, "error", redis_err.text, NULL);
        auth_feed_wake(auth->feed);
    }
    gp_log(GP_LOG_INFO, "a flag was changed", "record", change->record, NULL);

    return 0;
}


/* A record of the database as a message; NULL: a tombstone, or one that is broken. */
static Gitpod__Internal__V1__Flag *auth_flag_message(gp_arena_t *arena, const char *record, const char *user_id)
{
    gp_auto_json json_t *doc = json_loads(record, 0, NULL);
    const json_t *users = json_object_get(doc, "users");
    Gitpod__Internal__V1__Flag *out;
    const char *why = "";
    gp_flag_t flag;
    size_t i;

    if (gp_flag_parse(record, strlen(record), &flag, &why) < 0 || flag.deleted) {
        return NULL;
    }
    out = GP_MESSAGE_NEW(arena, Gitpod__Internal__V1__Flag, gitpod__internal__v1__flag__init);
    out->name = gp_arena_strndup(arena, flag.name, flag.name_len);
    out->on = flag.on;
    out->percent = flag.percent;
    out->version = flag.version;
    out->on_for_user = gp_flag_on(&flag, user_id, strlen(user_id));
    out->n_users = json_array_size(users);
    out->users = gp_arena_alloc(arena, (out->n_users + 1) * sizeof(char *));
    for (i = 0; i < out->n_users; i++) {
        out->users[i] = gp_arena_strdup(arena, json_string_value(json_array_get(users, i)));
    }

    return out;
}


int auth_list_flags(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__Internal__V1__ListFlagsRequest *in = (const Gitpod__Internal__V1__ListFlagsRequest *) req;
    Gitpod__Internal__V1__ListFlagsResponse *out = (Gitpod__Internal__V1__ListFlagsResponse *) res;
    auth_flag_rows_t *rows = gp_arena_alloc(call->arena, sizeof(*rows));
    auth_t *auth = call->data;
    auth_user_t user;
    size_t i;
    int rc;

    if (in->user_id[0] != '\0') {
        rc = auth_user_get(auth, in->user_id, call->arena, &user, err);
        if (rc < 0) {
            return rc;
        }
    }
    rows->arena = call->arena;
    rows->n = 0;
    rc = gp_db_query(auth->db, auth_flag_row, rows, GP_FLAGS_MAX, err,
                     "SELECT name, version, record FROM flag WHERE deleted = 0 ORDER BY name", "");
    if (rc < 0) {
        return rc;
    }

    out->flags = gp_arena_alloc(call->arena, (rows->n + 1) * sizeof(out->flags[0]));
    for (i = 0; i < rows->n; i++) {
        Gitpod__Internal__V1__Flag *flag = auth_flag_message(call->arena, rows->rows[i].record, in->user_id);

        if (flag != NULL) {
            out->flags[out->n_flags++] = flag;
        }
    }

    return 0;
}


static int auth_flag_rule(const Gitpod__Internal__V1__SetFlagRequest *in, json_t **ret_rule, gp_err_t *err)
{
    gp_auto_json json_t *rule = json_pack("{s:b}", "on", in->on);
    json_t *users = json_array();
    size_t i;

    for (i = 0; i < in->n_users; i++) {
        (void) json_array_append_new(users, json_string(in->users[i]));
    }
    if (in->n_users > 0) {
        (void) json_object_set(rule, "users", users);
    }
    json_decref(users);
    if (in->_percent_case == GITPOD__INTERNAL__V1__SET_FLAG_REQUEST___PERCENT_PERCENT) {
        (void) json_object_set_new(rule, "percent", json_integer(in->percent));
    }
    if (rule == NULL || json_object_size(rule) != 1U + (in->n_users > 0) + (in->_percent_case != 0) ||
        json_array_size(json_object_get(rule, "users")) != in->n_users) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory: the rule of a flag");
    }
    *ret_rule = json_incref(rule);

    return 0;
}


int auth_set_flag(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__Internal__V1__SetFlagRequest *in = (const Gitpod__Internal__V1__SetFlagRequest *) req;
    Gitpod__Internal__V1__SetFlagResponse *out = (Gitpod__Internal__V1__SetFlagResponse *) res;
    auth_flag_change_t change = {.arena = call->arena, .name = in->name};
    gp_auto_json json_t *rule = NULL;
    int rc;

    if (in->n_users > GP_FLAG_USERS_MAX) {
        return gp_err(err, GP_INVALID_ARGUMENT, "users: %zu of them; at most %d", in->n_users, GP_FLAG_USERS_MAX);
    }
    rc = auth_flag_rule(in, &rule, err);
    if (rc < 0) {
        return rc;
    }
    change.rule = rule;
    rc = auth_flag_change(call->data, &change, err);
    if (rc == 0) {
        out->flag = auth_flag_message(call->arena, change.record, "");
    }

    return rc;
}


int auth_delete_flag(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__Internal__V1__DeleteFlagRequest *in = (const Gitpod__Internal__V1__DeleteFlagRequest *) req;
    auth_flag_change_t change = {.arena = call->arena, .name = in->name};

    return auth_flag_change(call->data, &change, err);
}

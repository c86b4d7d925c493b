/*
 * The truth about workspaces: two tables. A workspace keeps its row while its
 * content exists and an hour longer as a tombstone; an instance is one start of
 * it, the last is current, a few older ones are kept for people who ask why.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "core/contract.h"
#include "store.h"

#define STORE_INSTANCES_KEPT 10
#define STORE_ROWS_MAX (GP_WORKSPACES_MAX * 4) /* live ones and an hour of tombstones */

static const char *const migrations[] = {
    "CREATE TABLE workspace ("
    " id TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, pinned INTEGER NOT NULL, context_url TEXT NOT NULL,"
    " git_uri TEXT NOT NULL, git_mode INTEGER NOT NULL, git_target TEXT NOT NULL, git_location TEXT NOT NULL, git_full INTEGER NOT NULL,"
    " class TEXT NOT NULL, editor TEXT NOT NULL, editor_version TEXT NOT NULL, warnings TEXT NOT NULL,"
    " git_user_name TEXT NOT NULL, git_user_email TEXT NOT NULL, owner_token TEXT NOT NULL, request_key TEXT,"
    " uid_slot INTEGER UNIQUE, created_ms INTEGER NOT NULL, deleted_ms INTEGER NOT NULL, deleted INTEGER NOT NULL,"
    " version INTEGER NOT NULL, commit_id TEXT NOT NULL, branch TEXT NOT NULL, instance TEXT) STRICT;"
    "CREATE UNIQUE INDEX workspace_request ON workspace (owner, request_key) WHERE request_key IS NOT NULL;"
    "CREATE TABLE instance ("
    " id TEXT PRIMARY KEY, workspace TEXT NOT NULL REFERENCES workspace (id) ON DELETE CASCADE, phase INTEGER NOT NULL,"
    " phase_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL, activity_ms INTEGER NOT NULL, container TEXT NOT NULL,"
    " address TEXT NOT NULL, editor TEXT NOT NULL, failed TEXT NOT NULL, failed_reason INTEGER NOT NULL, timeout TEXT NOT NULL,"
    " stop_immediately INTEGER NOT NULL) STRICT;"
    "CREATE INDEX instance_workspace ON instance (workspace, started_ms);",
    "ALTER TABLE workspace ADD COLUMN ports TEXT NOT NULL DEFAULT '{}';",
    "CREATE TABLE listener ("
    " number INTEGER PRIMARY KEY, workspace TEXT REFERENCES workspace (id) ON DELETE SET NULL, port INTEGER NOT NULL,"
    " used_ms INTEGER NOT NULL) STRICT;"
    "CREATE UNIQUE INDEX listener_workspace ON listener (workspace, port) WHERE workspace IS NOT NULL;",
};

#define STORE_SELECT                                                                                                                       \
    "SELECT w.id, w.owner, w.name, w.pinned, w.context_url, w.git_uri, w.git_mode, w.git_target, w.git_location, w.git_full, w.class,"     \
    " w.editor, w.editor_version, w.warnings, w.git_user_name, w.git_user_email, w.owner_token, w.request_key,"                            \
    " coalesce(w.uid_slot, -1), w.created_ms, w.deleted_ms, w.deleted, w.version, w.commit_id, w.branch, w.ports,"                         \
    " (SELECT group_concat(l.port || ':' || l.number, ' ') FROM listener l WHERE l.workspace = w.id),"                                     \
    " i.id, i.phase, i.phase_ms, i.started_ms, i.activity_ms, i.container, i.address, i.editor, i.failed, i.failed_reason, i.timeout,"     \
    " i.stop_immediately FROM workspace w LEFT JOIN instance i ON i.id = w.instance "

int wsm_store_open(const char *path, gp_db_t **ret_db, gp_err_t *err)
{
    return gp_db_open(path, migrations, (int) (sizeof(migrations) / sizeof(migrations[0])), ret_db, err);
}

/* "0:10000 3000:10001" */
static void read_listeners(const char *text, wsm_listeners_t *ret)
{
    ret->n = 0;
    while (text && *text && ret->n < WSM_LISTENERS_MAX) {
        wsm_listener_t *item = &ret->items[ret->n++];
        char *end;

        item->port = (int) strtol(text, &end, 10);
        item->number = (int) strtol(*end == ':' ? end + 1 : end, &end, 10);
        text = *end == ' ' ? end + 1 : NULL;
    }
}

static void read_row(const gp_row_t *row, gp_arena_t *arena, wsm_workspace_t *ws)
{
    int c = 0;

    memset(ws, 0, sizeof(*ws));
#define TEXT() gp_arena_strdup(arena, gp_row_text(row, c++))
    ws->id = TEXT();
    ws->owner = TEXT();
    ws->name = TEXT();
    ws->pinned = gp_row_int(row, c++) != 0;
    ws->context_url = TEXT();
    ws->git_uri = TEXT();
    ws->git_mode = (int) gp_row_int(row, c++);
    ws->git_target = TEXT();
    ws->git_location = TEXT();
    ws->git_full = gp_row_int(row, c++) != 0;
    ws->class_id = TEXT();
    ws->editor = TEXT();
    ws->editor_version = TEXT();
    ws->warnings = TEXT();
    ws->git_user_name = TEXT();
    ws->git_user_email = TEXT();
    ws->owner_token = TEXT();
    ws->request_key = TEXT();
    ws->uid_slot = gp_row_int(row, c++);
    ws->created_ms = gp_row_int(row, c++);
    ws->deleted_ms = gp_row_int(row, c++);
    ws->deleted = (int) gp_row_int(row, c++);
    ws->version = (uint64_t) gp_row_int(row, c++);
    ws->commit = TEXT();
    ws->branch = TEXT();
    ws->ports = TEXT();
    read_listeners(gp_row_text(row, c++), &ws->listeners);
    ws->instance = TEXT();
    ws->phase = (int) gp_row_int(row, c++);
    ws->phase_ms = gp_row_int(row, c++);
    ws->started_ms = gp_row_int(row, c++);
    ws->activity_ms = gp_row_int(row, c++);
    ws->container = TEXT();
    ws->address = TEXT();
    ws->instance_editor = TEXT();
    ws->failed = TEXT();
    ws->failed_reason = (int) gp_row_int(row, c++);
    ws->timeout = TEXT();
    ws->stop_immediately = gp_row_int(row, c++) != 0;
#undef TEXT
}

typedef struct {
    gp_arena_t *arena;
    wsm_workspace_t *ws;
    int n;
} one_t;

static int on_one(const gp_row_t *row, void *data, gp_err_t *err)
{
    one_t *one = data;

    read_row(row, one->arena, one->ws);
    one->n++;
    return 0;
}

int wsm_store_get(gp_db_t *db, const char *id, gp_arena_t *arena, wsm_workspace_t *ret, gp_err_t *err)
{
    one_t one = {.arena = arena, .ws = ret};
    int rc = gp_db_query(db, on_one, &one, 1, err, STORE_SELECT "WHERE w.id = ?", "s", id);

    if (rc == 0 && one.n == 0) {
        return gp_err(err, GP_NOT_FOUND, "There is no workspace %.64s", id);
    }
    return rc;
}

int wsm_store_find_request(gp_db_t *db, const char *owner, const char *key, gp_arena_t *arena, wsm_workspace_t *ret, gp_err_t *err)
{
    one_t one = {.arena = arena, .ws = ret};
    int rc = gp_db_query(db, on_one, &one, 1, err, STORE_SELECT "WHERE w.owner = ? AND w.request_key = ?", "ss", owner, key);

    return rc < 0 ? rc : one.n == 0;
}

typedef struct {
    gp_arena_t *arena;
    wsm_workspace_list_t *list;
    int size;
} many_t;

static int on_many(const gp_row_t *row, void *data, gp_err_t *err)
{
    many_t *many = data;

    if (many->list->n < many->size) {
        read_row(row, many->arena, &many->list->items[many->list->n++]);
    }
    return 0;
}

static int on_count(const gp_row_t *row, void *data, gp_err_t *err)
{
    *(int *) data = (int) gp_row_int(row, 0);
    return 0;
}

#define STORE_ACTIVE "(w.deleted = 1 OR (w.deleted = 0 AND coalesce(i.phase, 10) <> 10))"

int wsm_store_list(gp_db_t *db, bool active, gp_arena_t *arena, wsm_workspace_list_t *ret, gp_err_t *err)
{
    many_t many = {.arena = arena, .list = ret};
    int rc = gp_db_query(db, on_count, &many.size, 1, err, "SELECT count(*) FROM workspace", "");

    ret->n = 0;
    ret->items = NULL;
    if (rc < 0) {
        return rc;
    }
    many.size = many.size + 8 < STORE_ROWS_MAX ? many.size + 8 : STORE_ROWS_MAX;
    ret->items = gp_arena_alloc(arena, (size_t) many.size * sizeof(*ret->items));
    return gp_db_query(db, on_many, &many, STORE_ROWS_MAX, err,
                       active ? STORE_SELECT "WHERE " STORE_ACTIVE
                              : STORE_SELECT "ORDER BY w.pinned DESC, max(w.created_ms, coalesce(i.started_ms, 0)) DESC, w.id",
                       "");
}

int wsm_store_count_stopped(gp_db_t *db, int *ret_n, gp_err_t *err)
{
    return gp_db_query(
        db, on_count, ret_n, 1, err,
        "SELECT count(*) FROM workspace w LEFT JOIN instance i ON i.id = w.instance WHERE w.deleted = 0 AND coalesce(i.phase, 10) = 10",
        "");
}

typedef struct {
    wsm_workspace_t *ws;
    int max_slots;
} insert_t;

static int insert_in_transaction(gp_db_t *db, void *data, gp_err_t *err)
{
    insert_t *in = data;
    wsm_workspace_t *ws = in->ws;
    int slot = -1, rc;

    /* The lowest slot nobody has: 0, or one after a taken one. */
    rc = gp_db_query(
        db, on_count, &slot, 1, err,
        "SELECT coalesce(min(s), -1) FROM (SELECT 0 AS s UNION ALL SELECT uid_slot + 1 FROM workspace WHERE uid_slot IS NOT NULL)"
        " WHERE s NOT IN (SELECT uid_slot FROM workspace WHERE uid_slot IS NOT NULL)",
        "");
    if (rc < 0) {
        return rc;
    }
    if (slot < 0 || slot >= in->max_slots) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED,
                      "This installation keeps %d workspaces, which is its limit: delete one that is no longer needed", in->max_slots);
    }
    ws->uid_slot = slot;
    return gp_db_exec(
        db, NULL, err,
        "INSERT INTO workspace (id, owner, name, pinned, context_url, git_uri, git_mode, git_target, git_location, git_full, class,"
        " editor, editor_version, warnings, git_user_name, git_user_email, owner_token, request_key, uid_slot, created_ms, deleted_ms,"
        " deleted, version, commit_id, branch) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,0,0,?,'','')",
        "sssissississssssssiii", ws->id, ws->owner, ws->name, (int64_t) ws->pinned, ws->context_url, ws->git_uri, (int64_t) ws->git_mode,
        ws->git_target, ws->git_location, (int64_t) ws->git_full, ws->class_id, ws->editor, ws->editor_version, ws->warnings,
        ws->git_user_name, ws->git_user_email, ws->owner_token, *ws->request_key ? ws->request_key : NULL, ws->uid_slot, ws->created_ms,
        (int64_t) ws->version);
}

int wsm_store_insert(gp_db_t *db, wsm_workspace_t *ws, int max_slots, gp_err_t *err)
{
    insert_t in = {.ws = ws, .max_slots = max_slots};

    return gp_db_transaction(db, insert_in_transaction, &in, err);
}

static int save_instance(gp_db_t *db, const wsm_workspace_t *ws, gp_err_t *err)
{
    int rc;

    if (!ws->new_instance) {
        return gp_db_exec(
            db, NULL, err,
            "UPDATE instance SET phase = ?, phase_ms = ?, activity_ms = ?, container = ?, address = ?, editor = ?, failed = ?,"
            " failed_reason = ?, timeout = ?, stop_immediately = ? WHERE id = ?",
            "iiissssisis", (int64_t) ws->phase, ws->phase_ms, ws->activity_ms, ws->container, ws->address, ws->instance_editor, ws->failed,
            (int64_t) ws->failed_reason, ws->timeout, (int64_t) ws->stop_immediately, ws->instance);
    }
    rc = gp_db_exec(db, NULL, err, "INSERT INTO instance VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", "ssiiiissssisi", ws->instance, ws->id,
                    (int64_t) ws->phase, ws->phase_ms, ws->started_ms, ws->activity_ms, ws->container, ws->address, ws->instance_editor,
                    ws->failed, (int64_t) ws->failed_reason, ws->timeout, (int64_t) ws->stop_immediately);
    if (rc < 0) {
        return rc;
    }
    return gp_db_exec(
        db, NULL, err,
        "DELETE FROM instance WHERE workspace = ? AND id NOT IN (SELECT id FROM instance WHERE workspace = ? ORDER BY started_ms DESC"
        " LIMIT ?)",
        "ssi", ws->id, ws->id, (int64_t) STORE_INSTANCES_KEPT);
}

/* All anew; one that became somebody else's meanwhile fails the whole change. */
static int save_listeners(gp_db_t *db, const wsm_workspace_t *ws, gp_err_t *err)
{
    int64_t now = gp_clock_epoch_ms(), changes = 1;
    int rc = gp_db_exec(db, NULL, err, "UPDATE listener SET workspace = NULL, used_ms = ? WHERE workspace = ?", "is", now, ws->id);

    for (int i = 0; rc == 0 && i < ws->listeners.n; i++) {
        const wsm_listener_t *item = &ws->listeners.items[i];

        rc = gp_db_exec(db, &changes, err,
                        "INSERT INTO listener (number, workspace, port, used_ms) VALUES (?, ?, ?, ?) ON CONFLICT (number) DO UPDATE SET"
                        " workspace = excluded.workspace, port = excluded.port, used_ms = excluded.used_ms WHERE workspace IS NULL",
                        "isii", (int64_t) item->number, ws->id, (int64_t) item->port, now);
        if (rc == 0 && changes == 0) {
            return gp_err(err, GP_ABORTED, "Listener %d is another workspace's", item->number);
        }
    }
    return rc;
}

static int save_in_transaction(gp_db_t *db, void *data, gp_err_t *err)
{
    const wsm_workspace_t *ws = *(wsm_workspace_t *const *) data;
    int rc = *ws->instance ? save_instance(db, ws, err) : 0;

    rc = rc < 0 || !ws->new_listeners ? rc : save_listeners(db, ws, err);
    if (rc < 0) {
        return rc;
    }
    if (ws->uid_slot < 0) {
        rc = gp_db_exec(db, NULL, err, "UPDATE workspace SET uid_slot = NULL WHERE id = ?", "s", ws->id);
    }
    if (rc < 0) {
        return rc;
    }
    return gp_db_exec(db, NULL, err,
                      "UPDATE workspace SET name = ?, pinned = ?, warnings = ?, request_key = ?, deleted_ms = ?, deleted = ?, version = ?,"
                      " commit_id = ?, branch = ?, ports = ?, instance = ? WHERE id = ?",
                      "sissiiisssss", ws->name, (int64_t) ws->pinned, ws->warnings, *ws->request_key ? ws->request_key : NULL,
                      ws->deleted_ms, (int64_t) ws->deleted, (int64_t) ws->version, ws->commit, ws->branch, ws->ports,
                      *ws->instance ? ws->instance : NULL, ws->id);
}

int wsm_store_save(gp_db_t *db, const wsm_workspace_t *ws, gp_err_t *err)
{
    return gp_db_transaction(db, save_in_transaction, &ws, err);
}

int wsm_store_activity(gp_db_t *db, const char *instance, int64_t epoch_ms, gp_err_t *err)
{
    return gp_db_exec(db, NULL, err, "UPDATE instance SET activity_ms = max(activity_ms, ?) WHERE id = ?", "is", epoch_ms, instance);
}

int wsm_store_free_listener(gp_db_t *db, int first, int last, int *ret_number, gp_err_t *err)
{
    *ret_number = 0;
    return gp_db_query(
        db, on_count, ret_number, 1, err,
        "SELECT number FROM (WITH RECURSIVE range (number) AS (SELECT ? UNION ALL SELECT number + 1 FROM range WHERE number < ?)"
        " SELECT r.number AS number, coalesce(l.used_ms, 0) AS used_ms FROM range r LEFT JOIN listener l ON l.number = r.number"
        " WHERE l.workspace IS NULL ORDER BY used_ms, r.number LIMIT 1)",
        "ii", (int64_t) first, (int64_t) last);
}

int wsm_store_count_ports(gp_db_t *db, int first, int last, int *ret_n, gp_err_t *err)
{
    return gp_db_query(db, on_count, ret_n, 1, err,
                       "SELECT count(*) FROM listener l JOIN workspace w ON w.id = l.workspace LEFT JOIN instance i ON i.id = w.instance"
                       " WHERE l.number BETWEEN ? AND ? AND l.port <> 0 AND coalesce(i.phase, 10) <> 10",
                       "ii", (int64_t) first, (int64_t) last);
}

typedef struct {
    gp_arena_t *arena;
    const char *id;
    wsm_listener_t item;
} idle_t;

static int on_idle(const gp_row_t *row, void *data, gp_err_t *err)
{
    idle_t *idle = data;

    idle->id = gp_arena_strdup(idle->arena, gp_row_text(row, 0));
    idle->item = (wsm_listener_t){.port = (int) gp_row_int(row, 1), .number = (int) gp_row_int(row, 2)};
    return 0;
}

int wsm_store_idle_listener(gp_db_t *db, int first, int last, const char *except, gp_arena_t *arena, const char **ret_id,
                            wsm_listener_t *ret, gp_err_t *err)
{
    idle_t idle = {.arena = arena};
    int rc = gp_db_query(db, on_idle, &idle, 1, err,
                         "SELECT w.id, l.port, l.number FROM listener l JOIN workspace w ON w.id = l.workspace"
                         " LEFT JOIN instance i ON i.id = w.instance WHERE l.number BETWEEN ? AND ? AND coalesce(i.phase, 10) = 10"
                         " AND w.id <> ? ORDER BY l.port = 0, coalesce(i.phase_ms, 0), l.number LIMIT 1",
                         "iis", (int64_t) first, (int64_t) last, except);

    *ret_id = idle.id;
    *ret = idle.item;
    return rc < 0 ? rc : idle.id == NULL;
}

int wsm_store_purge(gp_db_t *db, const char *id, gp_err_t *err)
{
    return gp_db_exec(db, NULL, err, "DELETE FROM workspace WHERE id = ?", "s", id);
}

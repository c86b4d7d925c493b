#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "listener.h"
#include "store/db.h"

/* Numbers of gitpod.internal.v1.Phase. */
enum wsm_phase {
    WSM_PHASE_NONE = 0,
    WSM_PHASE_PREPARING = 1,
    WSM_PHASE_CREATING = 4,
    WSM_PHASE_INITIALIZING = 5,
    WSM_PHASE_RUNNING = 6,
    WSM_PHASE_STOPPING = 9,
    WSM_PHASE_STOPPED = 10
};

/* gitpod.v1 FailedReason. */
enum wsm_failed { WSM_FAILED_NONE = 0, WSM_FAILED_CONTENT = 1, WSM_FAILED_IMAGE = 3, WSM_FAILED_UNEXPECTED = 4 };

enum wsm_deleted { WSM_KEPT = 0, WSM_DELETING = 1, WSM_DELETED = 2 };

/*
 * One workspace with its last instance, as the database has it. Texts are never
 * NULL and live in the arena it was loaded into.
 */
typedef struct {
    const char *id;
    const char *owner;
    const char *name;
    bool pinned;
    const char *context_url;
    const char *git_uri;
    int git_mode;
    const char *git_target;
    const char *git_location;
    bool git_full;
    const char *class_id;
    const char *editor;
    const char *editor_version;
    const char *warnings; /* JSON array: of the creation, then of the content */
    const char *git_user_name;
    const char *git_user_email;
    const char *owner_token;
    const char *request_key;
    int64_t uid_slot; /* -1: none any more */
    int64_t created_ms;
    int64_t deleted_ms;
    int deleted; /* enum wsm_deleted */
    uint64_t version;
    const char *commit;
    const char *branch;
    const char *ports; /* JSON, see ports.h */
    wsm_listeners_t listeners;
    bool new_listeners; /* set by a change: they are written */

    const char *instance; /* "": never started */
    int phase;
    int64_t phase_ms;
    int64_t started_ms;
    int64_t activity_ms;
    const char *container;
    const char *address;
    const char *instance_editor;
    const char *failed;
    int failed_reason;
    const char *timeout;
    bool stop_immediately;
    bool new_instance; /* set by a change: the instance is inserted, not updated */
} wsm_workspace_t;

typedef struct {
    wsm_workspace_t *items;
    int n;
} wsm_workspace_list_t;

int wsm_store_open(const char *path, gp_db_t **ret_db, gp_err_t *err) __attribute__((warn_unused_result));
/* NOT_FOUND names the workspace. */
int wsm_store_get(gp_db_t *db, const char *id, gp_arena_t *arena, wsm_workspace_t *ret, gp_err_t *err) __attribute__((warn_unused_result));
/* By owner and request key; positive: none. */
int wsm_store_find_request(gp_db_t *db, const char *owner, const char *key, gp_arena_t *arena, wsm_workspace_t *ret, gp_err_t *err)
    __attribute__((warn_unused_result));
/* Tombstones included; active: only those with something to do or to watch. */
int wsm_store_list(gp_db_t *db, bool active, gp_arena_t *arena, wsm_workspace_list_t *ret, gp_err_t *err)
    __attribute__((warn_unused_result));
/* Gives it the lowest free uid slot. RESOURCE_EXHAUSTED when max_slots are taken. */
int wsm_store_insert(gp_db_t *db, wsm_workspace_t *ws, int max_slots, gp_err_t *err) __attribute__((warn_unused_result));
int wsm_store_save(gp_db_t *db, const wsm_workspace_t *ws, gp_err_t *err) __attribute__((warn_unused_result));
/* The last use of an instance, when it is later than the one kept. */
int wsm_store_activity(gp_db_t *db, const char *instance, int64_t epoch_ms, gp_err_t *err) __attribute__((warn_unused_result));
/* How many kept workspaces have an instance that is not active, or none. */
int wsm_store_count_stopped(gp_db_t *db, int *ret_n, gp_err_t *err) __attribute__((warn_unused_result));
/*
 * A listener of the range that is nobody's: one never used before, else the one
 * that is so longest. 0: there is none.
 */
int wsm_store_free_listener(gp_db_t *db, int first, int last, int *ret_number, gp_err_t *err) __attribute__((warn_unused_result));
/* How many of the range ports of started workspaces have; editors do not count. */
int wsm_store_count_ports(gp_db_t *db, int first, int last, int *ret_n, gp_err_t *err) __attribute__((warn_unused_result));
/* The stopped workspace that gives one of its own, and which. Positive: there is none but except. */
int wsm_store_idle_listener(gp_db_t *db, int first, int last, const char *except, gp_arena_t *arena, const char **ret_id,
                            wsm_listener_t *ret, gp_err_t *err) __attribute__((warn_unused_result));
int wsm_store_purge(gp_db_t *db, const char *id, gp_err_t *err) __attribute__((warn_unused_result));

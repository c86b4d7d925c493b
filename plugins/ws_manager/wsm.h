#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"
#include "core/contract.h"
#include "engine.h"
#include "gitpod/internal/v1/ws_manager.pb-c.h"
#include "network.h"
#include "rpc/service.h"
#include "store.h"
#include "store/redis.h"
#include "store/snapshot.h"

/*
 * ws_manager: intent first (database), then the side effect (engine, content),
 * then the event (route record, watchers). A request only changes intent and
 * wakes a worker; workers, one per workspace at a time, make it so; a loop
 * compares intent with the engine every few seconds and wakes workers again.
 */
#define WSM_ARENA_BYTES (96u << 20) /* a cap: all rows with the longest texts */
#define WSM_RUNS_HASH 1024
#define WSM_QUEUE_MAX (GP_WORKSPACES_MAX * 2)
#define WSM_WATCHERS_MAX 64
#define WSM_EVENTS_MAX 1024 /* that wait for Redis */
#define WSM_WORKERS_MAX 32
#define WSM_POLLERS 4
#define WSM_STEP_MAX 64
#define WSM_DETAIL_MAX 200

typedef struct {
    gp_service_conf_t service; /* first: the kit's own */
    char *installation;
    char *engine_socket;
    char *image;
    char *supervisor_dir;
    char *network;
    char *bridge;
    char *subnet;
    int64_t uid_base;
    int64_t idle_timeout_s;
    int64_t workers;
    int64_t class_memory_bytes;
    int64_t class_cpus;
    int64_t class_pids;
    int64_t content_timeout_s;
    int64_t content_stall_s;
    int64_t editor_timeout_s;
    int64_t engine_timeout_s;
    int64_t reconcile_s;
    int64_t activity_s;
    int64_t tombstone_s;
} wsm_conf_t;

/* What is known of a workspace only while this process lives. Never freed before its tombstone goes. */
typedef struct wsm_run {
    struct wsm_run *next; /* hash chain */
    char id[GP_WORKSPACE_ID_MAX + 1];
    atomic_bool cancel; /* the start under way shall end */
    atomic_bool died; /* its container may have ended: look */
    /* under runs_lock */
    bool queued, busy, again;
    char step[WSM_STEP_MAX];
    char detail[WSM_DETAIL_MAX];
    int percent;
    uint64_t version; /* last one told to watchers */
    uint64_t event_version; /* last one told by an event */
    uint64_t progress_ms;
    int64_t active_ms; /* epoch: the gateway's reports, MarkActive, the supervisor's word */
    /* the pollers' own */
    int ide_restarts, silent;
    int64_t wish_seq; /* the last one of its supervisor that was seen to */
    char ide_instance[GP_INSTANCE_ID_LEN + 1];
    uint64_t ide_restarts_ms;
    uint64_t urls_told; /* a hash of them */
    int listener_fault; /* told in the log */
} wsm_run_t;

typedef struct {
    gp_metric_t *phase[WSM_PHASE_STOPPED + 1];
    gp_metric_t *failed[WSM_FAILED_UNEXPECTED + 1];
    gp_metric_t *events, *events_lost;
    gp_metric_t *starts, *start_ms[6], *engine_up, *redis_up, *gateway_reports;
} wsm_metrics_t;

typedef struct {
    gp_service_t *service;
    const wsm_conf_t *conf;
    gp_db_t *db;
    gp_redis_t *redis;
    gp_snapshot_t *snapshot; /* routes, for a gateway that starts without Redis */
    wsm_engine_t engine;
    wsm_network_t network;
    wsm_metrics_t metrics;
    char table[64];
    char gateway_url[512]; /* scheme://D[:port] */
    char host_suffix[512]; /* .W[:port]/ */
    atomic_bool stopping;
    pthread_mutex_t state_lock; /* one change at a time */

    pthread_mutex_t runs_lock;
    pthread_cond_t runs_cond;
    wsm_run_t *runs[WSM_RUNS_HASH];
    wsm_run_t *queue[WSM_QUEUE_MAX];
    int queue_head, queue_n;

    pthread_mutex_t watch_lock;
    gp_stream_t *watchers[WSM_WATCHERS_MAX];

    pthread_mutex_t events_lock;
    pthread_cond_t events_cond;
    struct wsm_event {
        char owner[GP_USER_ID_LEN + 1];
        char *data;
    } events[WSM_EVENTS_MAX];
    int events_head, events_n;
    bool events_lost; /* everybody shall read anew */

    pthread_mutex_t tick_lock;
    pthread_cond_t tick_cond; /* reconcile, activity and route loops sleep here */
    atomic_bool routes_dirty, engine_up;
    uint64_t began_ms; /* clock of the machine */
    atomic_uint_fast64_t reported_ms; /* last report of a gateway; at first, the start */
    atomic_bool gateway_silent;
    char engine_fault[256];

    pthread_t threads[WSM_WORKERS_MAX + WSM_POLLERS + 4];
    int n_threads;
} wsm_t;

static inline void wsm_arena_done(gp_arena_t **arena)
{
    *arena = gp_arena_free(*arena);
}
#define wsm_auto_arena __attribute__((cleanup(wsm_arena_done))) gp_arena_t *

/* ---- manager.c: changes of state, runtime records, workers ---- */

/* Changes ws (texts from arena or literals). 0 save it; positive: nothing to do; negative with err. */
typedef int (*wsm_change_pt)(wsm_t *m, wsm_workspace_t *ws, gp_arena_t *arena, void *data, gp_err_t *err);
/* Loads, changes, saves with a higher version, tells watchers and the gateway. Returns what fn returned; ret (may be NULL) lives in arena. */
int wsm_change(wsm_t *m, const char *id, gp_arena_t *arena, wsm_change_pt fn, void *data, wsm_workspace_t *ret, gp_err_t *err);
/* The version after this one: the clock, so that it grows over restarts too. */
uint64_t wsm_next_version(wsm_t *m, const wsm_workspace_t *ws);
void wsm_set_phase(wsm_workspace_t *ws, int phase);
bool wsm_is_starting(int phase);
const char *wsm_phase_name(int phase);

wsm_run_t *wsm_run_get(wsm_t *m, const char *id);
/* Somebody used it at that time; nothing happens when this process does not know it. */
void wsm_run_active(wsm_t *m, const char *id, int64_t epoch_ms);
/* When somebody used it last, in epoch ms; 0: not since it was started. */
int64_t wsm_last_use(wsm_t *m, const wsm_workspace_t *ws);
void wsm_run_drop(wsm_t *m, const char *id); /* when idle */
/* Watchers hear of what is known of it only here. */
void wsm_run_tell(wsm_t *m, const wsm_run_t *run);
/* Step shown to people while it starts; told to watchers at most 4 times a second unless the step is new. */
void wsm_run_progress(wsm_t *m, wsm_run_t *run, const char *step, const char *detail, int percent);
/* A worker looks at the workspace soon. */
void wsm_wake(wsm_t *m, const char *id);
/* Waits up to ms for the tick or the end; true: the service stops. */
bool wsm_sleep(wsm_t *m, int64_t ms);
void wsm_tick(wsm_t *m);
int wsm_manager_start(wsm_t *m, gp_err_t *err);
void wsm_manager_stop(wsm_t *m);
void wsm_manager_free(wsm_t *m);

/* ---- message.c, watch.c ---- */
Gitpod__Internal__V1__ManagedWorkspace *wsm_message(wsm_t *m, const wsm_workspace_t *ws, gp_arena_t *arena);
void wsm_watch_tell(wsm_t *m, const wsm_workspace_t *ws);
int wsm_watch_add(wsm_t *m, gp_stream_t *stream, gp_err_t *err);
void wsm_watch_stop(wsm_t *m);

/* ---- route.c: records for the gateway ---- */
void wsm_route_put(wsm_t *m, const wsm_workspace_t *ws);
void *wsm_route_loop(void *data);
int wsm_route_snapshot(gp_snapshot_file_t *file, void *data, gp_err_t *err);

/* ---- listener.c, listener_assign.c: mode port ---- */
bool wsm_mode_port(const wsm_t *m);
/* Before a start: there is a listener for its editor, of a stopped workspace if need be. RESOURCE_EXHAUSTED names the setting. */
int wsm_listener_room(wsm_t *m, const char *id, gp_arena_t *arena, gp_err_t *err);
/* The listener of a port (0: the editor), 0: it has none. */
int wsm_listener_number(const wsm_t *m, const wsm_workspace_t *ws, int port);
/* In a change: a port (0: the editor) has a listener of the range. */
int wsm_listener_assign(wsm_t *m, wsm_workspace_t *ws, int port, gp_err_t *err);
/* A port of a running workspace has a listener afterwards, served or not; ws is as it is then. RESOURCE_EXHAUSTED: there is none. */
int wsm_listener_give(wsm_t *m, wsm_workspace_t *ws, int port, gp_arena_t *arena, gp_err_t *err);
/* Ports that programs of a running workspace serve have listeners, and those inside know them. */
void wsm_listener_tend(wsm_t *m, wsm_run_t *run, const wsm_workspace_t *ws, gp_arena_t *arena);
/* The "ports" of the route record, for the caller to release; NULL: out of memory. */
json_t *wsm_route_ports(const wsm_t *m, const wsm_workspace_t *ws);
/* Where people find the editor (port 0) or a port, with a slash at the end; empty: nowhere. */
const char *wsm_url(const wsm_t *m, const wsm_workspace_t *ws, int port, gp_arena_t *arena);

/* ---- port_link.c: an address of the gateway that leads to a port ---- */
int wsm_port_link(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err);

/* ---- event.c: what people are told, last of all ---- */
void wsm_event_tell(wsm_t *m, const wsm_workspace_t *ws);
void *wsm_event_loop(void *data);
void wsm_event_wake(wsm_t *m); /* it looks whether the service stops */
void wsm_event_free(wsm_t *m);

/* ---- start.c, stop.c: what workers do ---- */
void wsm_start(wsm_t *m, wsm_run_t *run, const wsm_workspace_t *ws, gp_arena_t *arena);
void wsm_stop(wsm_t *m, wsm_run_t *run, const wsm_workspace_t *ws, gp_arena_t *arena);
void wsm_delete(wsm_t *m, wsm_run_t *run, const wsm_workspace_t *ws, gp_arena_t *arena);
/* Looks whether the container of a running workspace still runs; ends the instance if not. */
void wsm_check(wsm_t *m, wsm_run_t *run, const wsm_workspace_t *ws, gp_arena_t *arena);
/* Ends the instance with a reason, content kept. immediately: no grace. */
void wsm_fail(wsm_t *m, const wsm_workspace_t *ws, gp_arena_t *arena, int reason, const char *text);
/* Calls the engine again while it cannot be reached, for at most engine_timeout_s. */
typedef int (*wsm_engine_pt)(wsm_t *m, void *data, gp_err_t *err);
int wsm_engine_try(wsm_t *m, wsm_run_t *run, wsm_engine_pt fn, void *data, gp_err_t *err);
const char *wsm_container_name(const wsm_workspace_t *ws, gp_arena_t *arena);
const char *wsm_end_text(const wsm_container_t *container, const char *log, gp_arena_t *arena);

/* ---- spec.c: what the container looks like ---- */
void wsm_spec_fill(wsm_t *m, const wsm_workspace_t *ws, const char *ide_source, const char *ide_command, const char *ide_probe,
                   gp_arena_t *arena, wsm_container_spec_t *ret);
const char *wsm_instance_dir(wsm_t *m, const wsm_workspace_t *ws, gp_arena_t *arena);
const char *wsm_checkout(const wsm_workspace_t *ws, gp_arena_t *arena);
/* Made fresh, without a go signal. */
int wsm_instance_dir_prepare(wsm_t *m, const wsm_workspace_t *ws, gp_arena_t *arena, gp_err_t *err);
int wsm_instance_ready(wsm_t *m, const wsm_workspace_t *ws, const char *source, const char *location, gp_arena_t *arena, gp_err_t *err);
/* A file for those inside, whole at once. */
int wsm_instance_write(wsm_t *m, const wsm_workspace_t *ws, const char *name, const char *text, gp_arena_t *arena, gp_err_t *err);
/* Which ports are not as others are, for the supervisor to tell; a fault is logged. */
void wsm_instance_ports(wsm_t *m, const wsm_workspace_t *ws, gp_arena_t *arena);
void wsm_instance_dir_remove(wsm_t *m, const wsm_workspace_t *ws, gp_arena_t *arena);

/* ---- supervisor.c ---- */
#define WSM_WISHES_MAX 16

typedef struct {
    int64_t seq; /* grows */
    int port;
    const char *set; /* "public", "https", ... */
} wsm_wish_t;

typedef struct {
    int64_t last_activity_s;
    int64_t editor_s; /* the editor's word: an open tab keeps it fresh, used or not */
    bool stop_requested;
    int ide_restarts;
    wsm_wish_t wishes[WSM_WISHES_MAX]; /* of ports, from inside */
    size_t n_wishes;
} wsm_activity_t;
/* Positive: not yet, ask again; UNAVAILABLE with ECONNREFUSED: it does not listen (yet). */
int wsm_supervisor_ide(const char *address, bool wait, bool (*cancelled)(void *), void *data, gp_arena_t *arena, gp_err_t *err);
/* Ports that programs serve or .gitpod.yml names, at most max: how many. */
int wsm_supervisor_ports(const char *address, int *ports, int max, gp_arena_t *arena, gp_err_t *err);
int wsm_supervisor_activity(const char *address, gp_arena_t *arena, wsm_activity_t *ret, gp_err_t *err);

/* ---- reconcile.c, activity.c ---- */
void *wsm_reconcile_loop(void *data);
void *wsm_events_loop(void *data);
void *wsm_activity_loop(void *data);
/* A gateway has reported, if only that nothing happened. */
void wsm_activity_reported(wsm_t *m);
/* Shared with the API. */
typedef struct {
    bool immediately;
    const char *timeout;
    const char *user; /* NULL: nobody in particular */
} wsm_stop_t;
int wsm_change_stop(wsm_t *m, wsm_workspace_t *ws, gp_arena_t *arena, void *data, gp_err_t *err);

/* ---- api.c ---- */
extern const gp_method_t wsm_methods[];
extern const size_t wsm_methods_n;

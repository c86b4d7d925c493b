#pragma once

#include "wsm.h"

/* Where the time of a start goes. */
enum wsm_time { WSM_T_RESOLVE, WSM_T_CONTENT, WSM_T_CREATE, WSM_T_START, WSM_T_NETWORK, WSM_T_EDITOR, WSM_T_N };

typedef struct {
    const char *instance;
    int reason;
    const char *text;
} wsm_failure_t;

/* What content says; texts in its own arena, since a thread of its own writes them. */
typedef struct {
    pthread_t thread;
    bool begun;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    gp_arena_t *arena;
    wsm_workspace_t ws; /* as it was when content began */
    /* under lock */
    bool there, done;
    int rc;
    gp_err_t err;
    uint64_t heard_ms;
    /* the rest once done */
    bool stalled;
    atomic_bool abandon, spoke; /* spoke: in the call under way */
    uint64_t begun_ms;
    const char *source, *location, *commit, *branch, *warnings, *ports;
} wsm_content_t;

typedef struct {
    wsm_t *m;
    wsm_run_t *run;
    wsm_workspace_t ws;
    gp_arena_t *arena;
    wsm_content_t content;
    wsm_container_spec_t spec;
    wsm_container_t container;
    const char *ide_source, *ide_command, *ide_probe, *editor_id;
    int next_phase;
    int reason; /* enum wsm_failed, for what fails next */
    uint64_t ms[WSM_T_N];
} wsm_start_t;

bool wsm_start_cancelled(void *data);

/* ---- content.c: content's stream on a thread of its own ---- */
void wsm_content_init(wsm_start_t *start);
int wsm_content_begin(wsm_start_t *start, gp_err_t *err);
/* Until the directory is there, or (done) all of it. */
int wsm_content_wait(wsm_start_t *start, bool done, gp_err_t *err);
/* Cancels what still runs; joins. */
void wsm_content_end(wsm_start_t *start);
/* Both JSON arrays: the first and what is new in the second. */
const char *wsm_content_warnings(const char *before, const char *added, gp_arena_t *arena);

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include "wsm.h"

#define MANAGER_PROGRESS_MS 250
#define MANAGER_STEPS_MAX 8 /* of one workspace before others have their turn */

static const char *const phase_names[WSM_PHASE_STOPPED + 1] = {"stopped", "preparing",   "building", "pending",  "creating", "initializing",
                                                               "running", "interrupted", "paused",   "stopping", "stopped"};

const char *wsm_phase_name(int phase)
{
    return phase < 0 || phase > WSM_PHASE_STOPPED ? "stopped" : phase_names[phase];
}

bool wsm_is_starting(int phase)
{
    return phase == WSM_PHASE_PREPARING || phase == WSM_PHASE_CREATING || phase == WSM_PHASE_INITIALIZING;
}

void wsm_set_phase(wsm_workspace_t *ws, int phase)
{
    if (ws->phase != phase) {
        ws->phase = phase;
        ws->phase_ms = gp_clock_epoch_ms();
    }
}

/* ---- changes ---- */

uint64_t wsm_next_version(wsm_t *m, const wsm_workspace_t *ws)
{
    wsm_run_t *run = wsm_run_get(m, ws->id);
    uint64_t version = (uint64_t) gp_clock_epoch_ms();

    (void) pthread_mutex_lock(&m->runs_lock);
    if (version <= ws->version) {
        version = ws->version + 1;
    }
    if (version <= run->version) {
        version = run->version + 1;
    }
    run->version = version;
    (void) pthread_mutex_unlock(&m->runs_lock);
    return version;
}

static int change_locked(wsm_t *m, const char *id, gp_arena_t *arena, wsm_change_pt fn, void *data, wsm_workspace_t *ws, gp_err_t *err)
{
    int rc = wsm_store_get(m->db, id, arena, ws, err);

    if (rc < 0) {
        return rc;
    }
    rc = fn(m, ws, arena, data, err);
    if (rc != 0) {
        return rc;
    }
    ws->version = wsm_next_version(m, ws);
    rc = wsm_store_save(m->db, ws, err);
    if (rc == 0) {
        wsm_instance_ports(m, ws, arena);
        wsm_watch_tell(m, ws);
    }
    return rc;
}

int wsm_change(wsm_t *m, const char *id, gp_arena_t *arena, wsm_change_pt fn, void *data, wsm_workspace_t *ret, gp_err_t *err)
{
    wsm_workspace_t ws;
    int rc;

    (void) pthread_mutex_lock(&m->state_lock);
    rc = change_locked(m, id, arena, fn, data, &ws, err);
    (void) pthread_mutex_unlock(&m->state_lock);
    if (rc >= 0 && ret) {
        *ret = ws;
    }
    if (rc == 0) {
        wsm_route_put(m, &ws);
        wsm_event_tell(m, &ws);
    }
    return rc;
}

/* ---- runtime records ---- */

static unsigned hash_id(const char *id)
{
    unsigned h = 2166136261u;

    for (; *id; id++) {
        h = (h ^ (unsigned char) *id) * 16777619u;
    }
    return h % WSM_RUNS_HASH;
}

static wsm_run_t *run_find_locked(wsm_t *m, const char *id)
{
    wsm_run_t *run = m->runs[hash_id(id)];

    while (run && strcmp(run->id, id) != 0) {
        run = run->next;
    }
    return run;
}

static wsm_run_t *run_get_locked(wsm_t *m, const char *id)
{
    unsigned h = hash_id(id);
    wsm_run_t *run = run_find_locked(m, id);

    if (!run) {
        run = calloc(1, sizeof(*run));
        if (!run) {
            gp_die("out of memory");
        }
        (void) snprintf(run->id, sizeof(run->id), "%s", id);
        run->percent = -1;
        run->next = m->runs[h];
        m->runs[h] = run;
    }
    return run;
}

wsm_run_t *wsm_run_get(wsm_t *m, const char *id)
{
    wsm_run_t *run;

    (void) pthread_mutex_lock(&m->runs_lock);
    run = run_get_locked(m, id);
    (void) pthread_mutex_unlock(&m->runs_lock);
    return run;
}

void wsm_run_active(wsm_t *m, const char *id, int64_t epoch_ms)
{
    wsm_run_t *run;

    (void) pthread_mutex_lock(&m->runs_lock);
    run = run_find_locked(m, id);
    if (run && epoch_ms > run->active_ms) {
        run->active_ms = epoch_ms;
    }
    (void) pthread_mutex_unlock(&m->runs_lock);
}

int64_t wsm_last_use(wsm_t *m, const wsm_workspace_t *ws)
{
    const wsm_run_t *run;
    int64_t last = ws->activity_ms;

    (void) pthread_mutex_lock(&m->runs_lock);
    run = run_find_locked(m, ws->id);
    if (run && run->active_ms > last) {
        last = run->active_ms;
    }
    (void) pthread_mutex_unlock(&m->runs_lock);
    return last;
}

void wsm_run_drop(wsm_t *m, const char *id)
{
    wsm_run_t **at, *run;

    (void) pthread_mutex_lock(&m->runs_lock);
    for (at = &m->runs[hash_id(id)]; (run = *at) != NULL; at = &run->next) {
        if (strcmp(run->id, id) == 0) {
            if (!run->busy && !run->queued) {
                *at = run->next;
                free(run);
            }
            break;
        }
    }
    (void) pthread_mutex_unlock(&m->runs_lock);
}

void wsm_run_tell(wsm_t *m, const wsm_run_t *run)
{
    wsm_auto_arena arena = gp_arena_new(WSM_ARENA_BYTES);
    wsm_workspace_t ws;
    gp_err_t err = GP_ERR_INIT;

    (void) pthread_mutex_lock(&m->state_lock);
    if (wsm_store_get(m->db, run->id, arena, &ws, &err) == 0 && ws.deleted == WSM_KEPT) {
        ws.version = wsm_next_version(m, &ws);
        wsm_watch_tell(m, &ws);
        wsm_event_tell(m, &ws);
    }
    (void) pthread_mutex_unlock(&m->state_lock);
}

void wsm_run_progress(wsm_t *m, wsm_run_t *run, const char *step, const char *detail, int percent)
{
    uint64_t now = gp_clock_ms();
    bool tell;

    (void) pthread_mutex_lock(&m->runs_lock);
    tell = strcmp(run->step, step) != 0 || now - run->progress_ms >= MANAGER_PROGRESS_MS;
    (void) snprintf(run->step, sizeof(run->step), "%s", step);
    (void) snprintf(run->detail, sizeof(run->detail), "%s", detail);
    run->percent = percent;
    if (tell) {
        run->progress_ms = now;
    }
    (void) pthread_mutex_unlock(&m->runs_lock);
    if (tell) {
        wsm_run_tell(m, run);
    }
}

/* ---- workers ---- */

void wsm_wake(wsm_t *m, const char *id)
{
    wsm_run_t *run;

    (void) pthread_mutex_lock(&m->runs_lock);
    run = run_get_locked(m, id);
    if (run->busy) {
        run->again = true;
    } else if (!run->queued && m->queue_n < WSM_QUEUE_MAX) {
        run->queued = true;
        m->queue[(m->queue_head + m->queue_n++) % WSM_QUEUE_MAX] = run;
        (void) pthread_cond_signal(&m->runs_cond);
    }
    (void) pthread_mutex_unlock(&m->runs_lock);
}

/* One thing that is due. False: nothing is. */
static bool work_step(wsm_t *m, wsm_run_t *run)
{
    wsm_auto_arena arena = gp_arena_new(WSM_ARENA_BYTES);
    gp_err_t err = GP_ERR_INIT;
    wsm_workspace_t ws;

    atomic_store(&run->cancel, false); /* before the state is read: a later wish sets it again */
    if (wsm_store_get(m->db, run->id, arena, &ws, &err) < 0) {
        if (err.code != GP_NOT_FOUND) {
            gp_log(GP_LOG_ERROR, "cannot read a workspace", "workspace", run->id, "error", err.text, NULL);
        }
        return false;
    }
    if (ws.phase == WSM_PHASE_STOPPING) {
        wsm_stop(m, run, &ws, arena);
        return true;
    }
    if (ws.deleted == WSM_DELETING) {
        wsm_delete(m, run, &ws, arena);
        return false;
    }
    if (ws.deleted == WSM_KEPT && wsm_is_starting(ws.phase)) {
        wsm_start(m, run, &ws, arena);
        return true;
    }
    if (ws.deleted == WSM_KEPT && ws.phase == WSM_PHASE_RUNNING && atomic_load(&run->died)) {
        wsm_check(m, run, &ws, arena);
        return true;
    }
    return false;
}

static void work(wsm_t *m, wsm_run_t *run)
{
    for (int i = 0; i < MANAGER_STEPS_MAX && !atomic_load(&m->stopping); i++) {
        if (!work_step(m, run)) {
            break;
        }
    }
}

static void *worker(void *data)
{
    wsm_t *m = data;

    (void) pthread_mutex_lock(&m->runs_lock);
    while (!atomic_load(&m->stopping)) {
        wsm_run_t *run;

        if (m->queue_n == 0) {
            (void) pthread_cond_wait(&m->runs_cond, &m->runs_lock);
            continue;
        }
        run = m->queue[m->queue_head];
        m->queue_head = (m->queue_head + 1) % WSM_QUEUE_MAX;
        m->queue_n--;
        run->queued = false;
        run->busy = true;
        run->again = false;
        (void) pthread_mutex_unlock(&m->runs_lock);
        work(m, run);
        (void) pthread_mutex_lock(&m->runs_lock);
        run->busy = false;
        if (run->again && m->queue_n < WSM_QUEUE_MAX) {
            run->again = false;
            run->queued = true;
            m->queue[(m->queue_head + m->queue_n++) % WSM_QUEUE_MAX] = run;
        }
    }
    (void) pthread_mutex_unlock(&m->runs_lock);
    return NULL;
}

bool wsm_sleep(wsm_t *m, int64_t ms)
{
    struct timespec until;

    (void) clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void) pthread_mutex_lock(&m->tick_lock);
    if (!atomic_load(&m->stopping)) {
        (void) pthread_cond_timedwait(&m->tick_cond, &m->tick_lock, &until);
    }
    (void) pthread_mutex_unlock(&m->tick_lock);
    return atomic_load(&m->stopping);
}

void wsm_tick(wsm_t *m)
{
    (void) pthread_mutex_lock(&m->tick_lock);
    (void) pthread_cond_broadcast(&m->tick_cond);
    (void) pthread_mutex_unlock(&m->tick_lock);
}

static int spawn(wsm_t *m, void *(*fn)(void *), void *data, gp_err_t *err)
{
    int rc = pthread_create(&m->threads[m->n_threads], NULL, fn, data);

    if (rc != 0) {
        return gp_err_errno(err, rc, "Cannot start a thread");
    }
    m->n_threads++;
    return 0;
}

int wsm_manager_start(wsm_t *m, gp_err_t *err)
{
    int rc = 0;

    for (int i = 0; rc == 0 && i < m->conf->workers; i++) {
        rc = spawn(m, worker, m, err);
    }
    for (int i = 0; rc == 0 && i < WSM_POLLERS; i++) {
        rc = spawn(m, wsm_activity_loop, m, err);
    }
    if (rc == 0) {
        rc = spawn(m, wsm_reconcile_loop, m, err);
    }
    if (rc == 0) {
        rc = spawn(m, wsm_events_loop, m, err);
    }
    if (rc == 0) {
        rc = spawn(m, wsm_route_loop, m, err);
    }
    if (rc == 0) {
        rc = spawn(m, wsm_event_loop, m, err);
    }
    return rc;
}

void wsm_manager_stop(wsm_t *m)
{
    atomic_store(&m->stopping, true);
    (void) pthread_mutex_lock(&m->runs_lock);
    (void) pthread_cond_broadcast(&m->runs_cond);
    (void) pthread_mutex_unlock(&m->runs_lock);
    wsm_tick(m);
    wsm_event_wake(m);
    for (int i = 0; i < m->n_threads; i++) {
        (void) pthread_join(m->threads[i], NULL);
    }
    m->n_threads = 0;
}

void wsm_manager_free(wsm_t *m)
{
    wsm_event_free(m);
    for (int i = 0; i < WSM_RUNS_HASH; i++) {
        while (m->runs[i]) {
            wsm_run_t *run = m->runs[i];

            m->runs[i] = run->next;
            free(run);
        }
    }
}

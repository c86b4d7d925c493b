/*
 * Intent against what the engine has, at start and every few seconds; and the
 * engine's events, so that the death of a container is seen at once. Nothing is
 * decided here: workers are woken and look for themselves. The database is read
 * before the engine's list, so that what a worker did in between is no surprise.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "wsm.h"

#define RECONCILE_EVENTS_RETRY_MS 1000

static const wsm_container_t *find_container(const wsm_container_t *list, int n, const char *instance)
{
    for (int i = 0; i < n; i++) {
        if (strcmp(list[i].instance, instance) == 0) {
            return &list[i];
        }
    }
    return NULL;
}

static int change_address(wsm_t *m, wsm_workspace_t *ws, gp_arena_t *arena, void *data, gp_err_t *err)
{
    const wsm_container_t *container = data;

    if (ws->phase != WSM_PHASE_RUNNING || strcmp(ws->instance, container->instance) != 0 || strcmp(ws->address, container->address) == 0) {
        return 1;
    }
    ws->address = gp_arena_strdup(arena, container->address);
    return 0;
}

static void reconcile_one(wsm_t *m, const wsm_workspace_t *ws, wsm_container_t *list, int n, gp_arena_t *arena)
{
    const wsm_container_t *container;
    wsm_container_t copy;
    gp_err_t err = GP_ERR_INIT;
    wsm_run_t *run;

    if (ws->deleted == WSM_DELETING || (ws->deleted == WSM_KEPT && (ws->phase == WSM_PHASE_STOPPING || wsm_is_starting(ws->phase)))) {
        run = wsm_run_get(m, ws->id);
        if (!run->busy) { /* a hint: a worker that has it goes on by itself */
            wsm_wake(m, ws->id);
        }
        return;
    }
    if (ws->deleted != WSM_KEPT || ws->phase != WSM_PHASE_RUNNING) {
        return;
    }
    container = find_container(list, n, ws->instance);
    if (!container || !container->running) {
        run = wsm_run_get(m, ws->id);
        atomic_store(&run->died, true);
        wsm_wake(m, ws->id);
        return;
    }
    if (*container->address && strcmp(container->address, ws->address) != 0) {
        copy = *container;
        (void) wsm_change(m, ws->id, arena, change_address, &copy, NULL, &err);
    }
}

/* Read again: its workspace may have begun since the list of workspaces was made. */
static void reconcile_stray(wsm_t *m, const wsm_container_t *container, gp_arena_t *arena)
{
    wsm_workspace_t ws;
    gp_err_t err = GP_ERR_INIT;
    int rc = wsm_store_get(m->db, container->workspace, arena, &ws, &err);

    if (rc < 0 && rc != -GP_NOT_FOUND) {
        return;
    }
    if (rc == 0 && strcmp(ws.instance, container->instance) == 0 && ws.phase != WSM_PHASE_STOPPED && ws.deleted != WSM_DELETED) {
        return;
    }
    rc = m->engine.remove(&m->engine, container->id, &err);
    gp_log(rc < 0 ? GP_LOG_WARN : GP_LOG_INFO, rc < 0 ? "a stray container cannot be removed" : "a stray container was removed",
           "container", container->id, "workspace", container->workspace, "error", err.text, NULL);
}

static void engine_state(wsm_t *m, bool up, const gp_err_t *err)
{
    gp_metric_set(m->metrics.engine_up, up);
    if (!up) {
        (void) pthread_mutex_lock(&m->tick_lock);
        (void) snprintf(m->engine_fault, sizeof(m->engine_fault), "%.250s", err->text);
        (void) pthread_mutex_unlock(&m->tick_lock);
    }
    if (atomic_exchange(&m->engine_up, up) == up) {
        return;
    }
    if (up) {
        gp_log(GP_LOG_INFO, "the container engine answers", NULL);
    } else {
        gp_log(GP_LOG_WARN, "the container engine does not answer; workspaces that run go on, starts wait", "error", err->text, NULL);
    }
}

static void reconcile_metrics(wsm_t *m, const wsm_workspace_list_t *list)
{
    int64_t n[WSM_PHASE_STOPPED + 1] = {0};

    gp_err_t err = GP_ERR_INIT;
    int stopped = 0;

    for (int i = 0; i < list->n; i++) {
        int phase = list->items[i].phase;

        if (list->items[i].deleted == WSM_KEPT && phase >= 0 && phase < WSM_PHASE_STOPPED) {
            n[phase]++;
        }
    }
    if (wsm_store_count_stopped(m->db, &stopped, &err) == 0) {
        n[WSM_PHASE_STOPPED] = stopped;
    }
    for (int i = 0; i <= WSM_PHASE_STOPPED; i++) {
        if (m->metrics.phase[i]) {
            gp_metric_set(m->metrics.phase[i], n[i]);
        }
    }
}

static void reconcile(wsm_t *m)
{
    wsm_auto_arena arena = gp_arena_new(WSM_ARENA_BYTES);
    wsm_workspace_list_t workspaces;
    wsm_container_t *containers = NULL;
    gp_err_t err = GP_ERR_INIT;
    int n = 0;

    if (wsm_store_list(m->db, true, arena, &workspaces, &err) < 0) {
        gp_log(GP_LOG_ERROR, "cannot read the workspaces", "error", err.text, NULL);
        return;
    }
    reconcile_metrics(m, &workspaces);
    bool was_up = atomic_load(&m->engine_up);
    if ((!was_up && m->engine.prepare(&m->engine, &err) < 0) || m->engine.list(&m->engine, arena, &containers, &n, &err) < 0) {
        engine_state(m, false, &err);
        return;
    }
    engine_state(m, true, &err);
    if (wsm_network_secure(&m->network, &err) < 0 || wsm_network_isolate(&m->network, NULL, &err) < 0) {
        gp_log(GP_LOG_ERROR, "the network of workspaces is not secured", "error", err.text, NULL);
    }
    for (int i = 0; i < workspaces.n && !atomic_load(&m->stopping); i++) {
        reconcile_one(m, &workspaces.items[i], containers, n, arena);
    }
    for (int i = 0; i < n && !atomic_load(&m->stopping); i++) {
        reconcile_stray(m, &containers[i], arena);
    }
}

void *wsm_reconcile_loop(void *data)
{
    wsm_t *m = data;

    do {
        reconcile(m);
    } while (!wsm_sleep(m, atomic_load(&m->engine_up) ? m->conf->reconcile_s * 1000 : 1000));
    return NULL;
}

/* ---- events ---- */

static bool events_cancelled(void *data)
{
    wsm_t *m = data;

    return atomic_load(&m->stopping);
}

static void events_ended(const wsm_container_t *ended, void *data)
{
    wsm_t *m = data;
    wsm_run_t *run;

    if (strlen(ended->workspace) > GP_WORKSPACE_ID_MAX) {
        return;
    }
    run = wsm_run_get(m, ended->workspace);
    atomic_store(&run->died, true);
    wsm_wake(m, ended->workspace); /* the worker looks whether it is the instance that should run */
}

void *wsm_events_loop(void *data)
{
    wsm_t *m = data;

    do {
        gp_err_t err = GP_ERR_INIT;

        if (atomic_load(&m->engine_up)) {
            (void) m->engine.watch(&m->engine, events_ended, events_cancelled, m, &err); /* the list of the reconcile loop tells the rest */
        }
    } while (!wsm_sleep(m, RECONCILE_EVENTS_RETRY_MS));
    return NULL;
}

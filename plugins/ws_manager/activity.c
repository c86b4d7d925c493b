/*
 * When a workspace was used last, and what follows. People are seen by the
 * gateway, which reports; the supervisor of each running workspace is asked
 * every few seconds for what it alone knows: typing into tasks, a wish to stop,
 * an editor that does not stay up. A few threads share the work, so that one
 * that hangs delays few.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "ports.h"
#include "wsm.h"

#define ACTIVITY_CRASHES_MAX 5 /* restarts of the editor */
#define ACTIVITY_CRASH_WINDOW_MS 120000 /* within this long: a crash loop, if the supervisor says so */
#define ACTIVITY_SILENT_MAX 3 /* unanswered polls until the container is looked at */
#define ACTIVITY_SAVE_MS 60000 /* how old the last use in the database may be */

static void activity_stop(wsm_t *m, const wsm_workspace_t *ws, gp_arena_t *arena, const char *timeout, const char *why)
{
    wsm_stop_t stop = {.timeout = timeout};
    gp_err_t err = GP_ERR_INIT;

    if (wsm_change(m, ws->id, arena, wsm_change_stop, &stop, NULL, &err) == 0) {
        gp_log(GP_LOG_INFO, "workspace is stopped", "workspace", ws->id, "why", why, NULL);
        wsm_wake(m, ws->id);
    }
}

/* Its process may be gone without the engine knowing (its monitor was killed). */
static void activity_silent(wsm_t *m, wsm_run_t *run, const wsm_workspace_t *ws, gp_arena_t *arena)
{
    wsm_container_t container;
    gp_err_t err = GP_ERR_INIT;
    char path[64];

    if (++run->silent < ACTIVITY_SILENT_MAX) {
        return;
    }
    run->silent = 0;
    if (m->engine.inspect(&m->engine, wsm_container_name(ws, arena), arena, &container, &err) < 0 || !container.running ||
        container.pid <= 0) {
        return;
    }
    (void) snprintf(path, sizeof(path), "/proc/%lld", (long long) container.pid);
    if (access(path, F_OK) < 0) {
        wsm_fail(m, ws, arena, WSM_FAILED_UNEXPECTED,
                 "The container's process is gone, and so is its monitor. Start the workspace again: your files are kept.");
        wsm_wake(m, ws->id);
    }
}

static void activity_editor(wsm_t *m, wsm_run_t *run, const wsm_workspace_t *ws, int restarts, gp_arena_t *arena)
{
    gp_err_t err = GP_ERR_INIT;
    uint64_t now = gp_clock_ms();

    if (strcmp(run->ide_instance, ws->instance) != 0 || now - run->ide_restarts_ms > ACTIVITY_CRASH_WINDOW_MS) {
        (void) snprintf(run->ide_instance, sizeof(run->ide_instance), "%s", ws->instance);
        run->ide_restarts = restarts;
        run->ide_restarts_ms = now;
        return;
    }
    if (restarts > run->ide_restarts && wsm_supervisor_ide(ws->address, false, NULL, NULL, arena, &err) == -GP_FAILED_PRECONDITION) {
        wsm_fail(m, ws, arena, WSM_FAILED_UNEXPECTED, err.text);
        wsm_wake(m, ws->id);
    } else if (restarts - run->ide_restarts >= ACTIVITY_CRASHES_MAX) {
        wsm_fail(m, ws, arena, WSM_FAILED_UNEXPECTED,
                 "The editor crashes again and again. Start the workspace again; if it stays so, look for an extension or a setting that "
                 "breaks it. Your files are kept.");
        wsm_wake(m, ws->id);
    }
}

static const char *duration(int64_t s, gp_arena_t *arena)
{
    if (s < 120) {
        return gp_arena_printf(arena, "%lld s", (long long) s);
    }
    if (s < 7200) {
        return gp_arena_printf(arena, "%lld min", (long long) s / 60);
    }
    return gp_arena_printf(arena, "%lld h %lld min", (long long) s / 3600, (long long) s / 60 % 60);
}

void wsm_activity_reported(wsm_t *m)
{
    atomic_store(&m->reported_ms, gp_clock_ms());
    if (atomic_exchange(&m->gateway_silent, false)) {
        gp_metric_set(m->metrics.gateway_reports, 1);
        gp_log(GP_LOG_INFO, "the gateway reports activity again", NULL);
    }
}

/* Without reports an open editor counts, used or not: better late than while somebody works. */
static bool activity_gateway_silent(wsm_t *m)
{
    bool silent = gp_clock_ms() - atomic_load(&m->reported_ms) >= GP_ACTIVITY_SILENCE_S * 1000u;

    if (silent && !atomic_exchange(&m->gateway_silent, true)) {
        gp_metric_set(m->metrics.gateway_reports, 0);
        gp_log(GP_LOG_WARN, "the gateway reports no activity; until it does, an open editor counts as use", NULL);
    }
    return silent;
}

/* A workspace's word: its clock is its own. */
static void activity_heard(wsm_t *m, const wsm_workspace_t *ws, const wsm_activity_t *activity)
{
    int64_t now = gp_clock_epoch_ms(), said = activity->last_activity_s;

    if (activity_gateway_silent(m) && activity->editor_s > said) {
        said = activity->editor_s;
    }
    wsm_run_active(m, ws->id, said < now / 1000 ? said * 1000 : now);
}

static void activity_save(wsm_t *m, const wsm_run_t *run, const wsm_workspace_t *ws, int64_t last)
{
    gp_err_t err = GP_ERR_INIT;

    if (last - ws->activity_ms < ACTIVITY_SAVE_MS) {
        return;
    }
    if (wsm_store_activity(m->db, ws->instance, last, &err) < 0) {
        gp_log(GP_LOG_ERROR, "cannot record the last use", "workspace", ws->id, "error", err.text, NULL);
    }
    wsm_run_tell(m, run);
}

static void activity_idle(wsm_t *m, const wsm_run_t *run, const wsm_workspace_t *ws, gp_arena_t *arena)
{
    int64_t last = wsm_last_use(m, ws);
    int64_t timeout_s = m->conf->idle_timeout_s;
    int64_t grace_s = timeout_s < GP_ACTIVITY_SILENCE_S ? timeout_s : GP_ACTIVITY_SILENCE_S;
    int64_t idle_s = (gp_clock_epoch_ms() - (last > ws->phase_ms ? last : ws->phase_ms)) / 1000;

    activity_save(m, run, ws, last);
    /* Just started, this process has not heard yet what gateways saw while it was away. */
    if (idle_s < timeout_s || gp_clock_ms() - m->began_ms < (uint64_t) grace_s * 1000) {
        return;
    }
    activity_stop(m, ws, arena,
                  gp_arena_printf(arena, "The workspace was idle for %s; it stops when it is unused for %s.", duration(idle_s, arena),
                                  duration(timeout_s, arena)),
                  "idle");
}

static int change_wish(wsm_t *m, wsm_workspace_t *ws, gp_arena_t *arena, void *data, gp_err_t *err)
{
    const wsm_wish_t *wish = data;
    bool visible = strcmp(wish->set, "public") == 0, who = visible || strcmp(wish->set, "private") == 0;
    const wsm_port_change_t change = {.port = wish->port, .visible = who ? &visible : NULL, .protocol = who ? "" : wish->set};

    if (ws->phase != WSM_PHASE_RUNNING || ws->deleted != WSM_KEPT) {
        return 1;
    }
    return wsm_ports_change(ws->ports, &change, arena, &ws->ports, err);
}

/* What somebody inside wants of ports, each wish once. */
static void activity_ports(wsm_t *m, wsm_run_t *run, const wsm_workspace_t *ws, wsm_activity_t *activity, gp_arena_t *arena)
{
    for (size_t i = 0; i < activity->n_wishes; i++) {
        wsm_wish_t *wish = &activity->wishes[i];
        gp_err_t err = GP_ERR_INIT;

        if (wish->seq <= run->wish_seq) {
            continue;
        }
        run->wish_seq = wish->seq;
        if (wsm_change(m, ws->id, arena, change_wish, wish, NULL, &err) < 0) {
            gp_log(GP_LOG_WARN, "a port stays as it is", "workspace", ws->id, "error", err.text, NULL);
        }
    }
}

static void activity_one(wsm_t *m, const wsm_workspace_t *ws)
{
    wsm_auto_arena arena = gp_arena_new(WSM_ARENA_BYTES);
    wsm_run_t *run = wsm_run_get(m, ws->id);
    wsm_activity_t activity = {0};
    gp_err_t err = GP_ERR_INIT;

    if (wsm_supervisor_activity(ws->address, arena, &activity, &err) < 0) {
        activity_silent(m, run, ws, arena);
        activity_idle(m, run, ws, arena);
        return;
    }
    run->silent = 0;
    if (activity.stop_requested) {
        activity_stop(m, ws, arena, NULL, "asked from inside");
        return;
    }
    activity_ports(m, run, ws, &activity, arena);
    activity_editor(m, run, ws, activity.ide_restarts, arena);
    activity_heard(m, ws, &activity);
    wsm_listener_tend(m, run, ws, arena);
    activity_idle(m, run, ws, arena);
}

void *wsm_activity_loop(void *data)
{
    static atomic_int next;
    wsm_t *m = data;
    int share = atomic_fetch_add(&next, 1) % WSM_POLLERS;

    while (!wsm_sleep(m, m->conf->activity_s * 1000)) {
        wsm_auto_arena arena = gp_arena_new(WSM_ARENA_BYTES);
        wsm_workspace_list_t list;
        gp_err_t err = GP_ERR_INIT;

        if (wsm_store_list(m->db, true, arena, &list, &err) < 0) {
            gp_log(GP_LOG_ERROR, "cannot read the workspaces", "error", err.text, NULL);
            continue;
        }
        for (int i = 0; i < list.n && !atomic_load(&m->stopping); i++) {
            const wsm_workspace_t *ws = &list.items[i];

            if (i % WSM_POLLERS == share && ws->deleted == WSM_KEPT && ws->phase == WSM_PHASE_RUNNING && *ws->address) {
                activity_one(m, ws);
            }
        }
    }
    return NULL;
}

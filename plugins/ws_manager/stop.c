/*
 * The end of an instance: the gateway knew first (phase stopping), then the
 * engine stops and removes the container; content stays. And the end of a
 * workspace: content moves away, then its uid range is free.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "gitpod/internal/v1/content.pb-c.h"
#include "rpc/message.h"
#include "start.h"

#define STOP_GRACE_S 30
#define STOP_GRACE_NOW_S 1
#define STOP_CONTENT_MS 30000

const char *wsm_end_text(const wsm_container_t *container, const char *log, gp_arena_t *arena)
{
    const char *why = "";

    if (container->oom_killed) {
        why = ", it used more memory than its class allows";
    } else if (container->exit_code == 137) {
        why = ", it was killed from outside or for using too much memory";
    }
    return gp_arena_printf(arena, "The container ended unexpectedly (exit code %d%s). Start the workspace again: your files are kept.%s%s",
                           container->exit_code, why, *log ? " Its last words: " : "", log);
}

typedef struct {
    const char *id;
    int grace_s;
} stop_call_t;

static int engine_stop(wsm_t *m, void *data, gp_err_t *err)
{
    const stop_call_t *call = data;

    return m->engine.stop(&m->engine, call->id, call->grace_s, err);
}

static int engine_remove(wsm_t *m, void *data, gp_err_t *err)
{
    const stop_call_t *call = data;

    return m->engine.remove(&m->engine, call->id, err);
}

static int change_stopped(wsm_t *m, wsm_workspace_t *ws, gp_arena_t *arena, void *data, gp_err_t *err)
{
    if (strcmp(ws->instance, data) != 0 || ws->phase != WSM_PHASE_STOPPING) {
        return 1;
    }
    wsm_set_phase(ws, WSM_PHASE_STOPPED);
    ws->container = "";
    ws->address = "";
    return 0;
}

void wsm_stop(wsm_t *m, wsm_run_t *run, const wsm_workspace_t *ws, gp_arena_t *arena)
{
    stop_call_t call = {.id = wsm_container_name(ws, arena), .grace_s = ws->stop_immediately ? STOP_GRACE_NOW_S : STOP_GRACE_S};
    gp_err_t err = GP_ERR_INIT;
    uint64_t t0 = gp_clock_ms();
    char instance[GP_INSTANCE_ID_LEN + 1];
    int rc = 0;

    if (!ws->stop_immediately && *ws->container) { /* else removal by force does both */
        rc = wsm_engine_try(m, NULL, engine_stop, &call, &err);
    }
    if (rc < 0) {
        gp_log(GP_LOG_WARN, "the container does not stop; it is removed by force", "workspace", ws->id, "error", err.text, NULL);
        err = (gp_err_t) GP_ERR_INIT;
    }
    /* Nothing that was ever told to us runs: what an unreachable engine may have is a stray, removed when it is back. */
    rc = *ws->container ? wsm_engine_try(m, NULL, engine_remove, &call, &err) : engine_remove(m, &call, &err);
    if (rc < 0 && ((rc == -GP_UNAVAILABLE && *ws->container) || atomic_load(&m->stopping))) {
        return; /* stays stopping; the reconcile loop tries again */
    }
    if (rc < 0) {
        gp_log(GP_LOG_ERROR, "the container cannot be removed; the reconcile loop tries on", "workspace", ws->id, "error", err.text, NULL);
    }
    wsm_instance_dir_remove(m, ws, arena);
    (void) snprintf(instance, sizeof(instance), "%s", ws->instance);
    rc = wsm_change(m, ws->id, arena, change_stopped, instance, NULL, &err);
    if (rc < 0) {
        gp_log(GP_LOG_ERROR, "cannot record a stop", "workspace", ws->id, "error", err.text, NULL);
    }
    char ms[32];
    (void) snprintf(ms, sizeof(ms), "%llu", (unsigned long long) (gp_clock_ms() - t0));
    gp_log(GP_LOG_INFO, "stop finished", "workspace", ws->id, "instance", ws->instance, "ms", ms, NULL);
}

static int change_gone(wsm_t *m, wsm_workspace_t *ws, gp_arena_t *arena, void *data, gp_err_t *err)
{
    if (ws->deleted != WSM_DELETING) {
        return 1;
    }
    ws->deleted = WSM_DELETED;
    ws->deleted_ms = gp_clock_epoch_ms();
    ws->uid_slot = -1;
    return 0;
}

void wsm_delete(wsm_t *m, wsm_run_t *run, const wsm_workspace_t *ws, gp_arena_t *arena)
{
    Gitpod__Internal__V1__DeleteWorkspaceContentRequest req = GITPOD__INTERNAL__V1__DELETE_WORKSPACE_CONTENT_REQUEST__INIT;
    ProtobufCMessage *res = NULL;
    gp_err_t err = GP_ERR_INIT;
    int rc;

    req.workspace_id = gp_arena_strdup(arena, ws->id);
    rc = gp_rpc_unary(m->service, &gitpod__internal__v1__content_service__descriptor, "DeleteWorkspace", &req.base, arena, &res,
                      STOP_CONTENT_MS, &err);
    if (rc < 0 && rc != -GP_NOT_FOUND) {
        gp_log(GP_LOG_WARN, "content of a deleted workspace stays for now", "workspace", ws->id, "error", err.text, NULL);
        return; /* the reconcile loop asks again */
    }
    rc = wsm_change(m, ws->id, arena, change_gone, NULL, NULL, &err);
    if (rc < 0) {
        gp_log(GP_LOG_ERROR, "cannot record a deletion", "workspace", ws->id, "error", err.text, NULL);
        return;
    }
    gp_log(GP_LOG_INFO, "workspace deleted", "workspace", ws->id, NULL);
}

void wsm_check(wsm_t *m, wsm_run_t *run, const wsm_workspace_t *ws, gp_arena_t *arena)
{
    wsm_container_t container;
    gp_err_t err = GP_ERR_INIT;
    int rc;

    atomic_store(&run->died, false); /* before the look: what happens after it counts again */
    rc = m->engine.inspect(&m->engine, wsm_container_name(ws, arena), arena, &container, &err);
    if (rc == -GP_NOT_FOUND) {
        wsm_fail(m, ws, arena, WSM_FAILED_UNEXPECTED,
                 "The container is gone: it was removed from outside, or the machine restarted. Start the workspace again: your files are "
                 "kept.");
    } else if (rc == 0 && !container.running) {
        wsm_fail(m, ws, arena, WSM_FAILED_UNEXPECTED, wsm_end_text(&container, "", arena));
    }
}

int wsm_change_stop(wsm_t *m, wsm_workspace_t *ws, gp_arena_t *arena, void *data, gp_err_t *err)
{
    const wsm_stop_t *stop = data;

    if ((stop->user && strcmp(stop->user, ws->owner) != 0) || ws->deleted != WSM_KEPT) {
        return gp_err(err, GP_NOT_FOUND, "There is no workspace %.64s", ws->id);
    }
    if (!*ws->instance || ws->phase == WSM_PHASE_STOPPED ||
        (ws->phase == WSM_PHASE_STOPPING && ws->stop_immediately >= stop->immediately)) {
        return 1;
    }
    if (ws->phase != WSM_PHASE_STOPPING && stop->timeout) {
        ws->timeout = gp_arena_strdup(arena, stop->timeout);
    }
    ws->stop_immediately = stop->immediately || wsm_is_starting(ws->phase);
    ws->activity_ms = wsm_last_use(m, ws);
    wsm_set_phase(ws, WSM_PHASE_STOPPING);
    return 0;
}

/*
 * One start: the editor is resolved while content is put in place; the
 * container is created and started as soon as the content's directory is
 * there; the network is closed; the go signal is written; the supervisor says
 * when the editor answers. Nothing sleeps on this path, everything is bounded,
 * and a cancelled start leaves without a word: who cancelled it says what next.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "gitpod/internal/v1/content.pb-c.h"
#include "gitpod/internal/v1/ide.pb-c.h"
#include "ports.h"
#include "rpc/message.h"
#include "start.h"

#define START_WAIT_SLICE_MS 100 /* how fast a cancel is seen while waiting for content */
#define START_RETRY_MS 200 /* a peer restarts */
#define START_REFUSED_MS 5 /* the supervisor does not listen yet */
#define START_EDITOR_CALL_MS 10000
#define START_PEER_RETRY_MS 60000
#define START_LOG_MAX 240
#define START_RECORD_TRIES 100

bool wsm_start_cancelled(void *data)
{
    const wsm_start_t *start = data;

    return atomic_load(&start->run->cancel) || atomic_load(&start->m->stopping) || gp_service_stopping(start->m->service);
}

static void start_pause(long ms)
{
    const struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    (void) nanosleep(&ts, NULL);
}

/* ---- engine, with patience while it is away ---- */

int wsm_engine_try(wsm_t *m, wsm_run_t *run, wsm_engine_pt fn, void *data, gp_err_t *err)
{
    uint64_t until_ms = gp_clock_ms() + (uint64_t) m->conf->engine_timeout_s * 1000;

    for (;;) {
        int rc = fn(m, data, err);

        if (rc != -GP_UNAVAILABLE || gp_clock_ms() >= until_ms) {
            return rc;
        }
        if ((run && atomic_load(&run->cancel)) || atomic_load(&m->stopping)) {
            return gp_err(err, GP_CANCELED, "The wait for the container engine was cancelled");
        }
        start_pause(START_RETRY_MS);
    }
}

/* ---- the phases ---- */

/* What .gitpod.yml says of ports counts from this start on; what it says too much is told, never a fault. */
static void change_ports(const wsm_start_t *start, wsm_workspace_t *ws, gp_arena_t *arena)
{
    gp_err_t err = GP_ERR_INIT;
    size_t left_out = 0;

    if (wsm_ports_configure(ws->ports, start->content.ports, arena, &ws->ports, &left_out, &err) < 0) {
        gp_log(GP_LOG_ERROR, "the ports of .gitpod.yml have no effect", "workspace", ws->id, "error", err.text, NULL);
    } else if (left_out > 0) {
        const char *told = gp_arena_printf(arena,
                                           "[\".gitpod.yml: visibility and protocol of %zu ports have no effect: %d are the limit of a"
                                           " workspace, and its own ports are not to be had\"]",
                                           left_out, GP_ROUTE_PORTS_MAX);
        ws->warnings = wsm_content_warnings(ws->warnings, told, arena);
    }
}

static int change_phase(wsm_t *m, wsm_workspace_t *ws, gp_arena_t *arena, void *data, gp_err_t *err)
{
    wsm_start_t *start = data;

    if (strcmp(ws->instance, start->ws.instance) != 0 || !wsm_is_starting(ws->phase) || ws->deleted != WSM_KEPT) {
        return 1; /* somebody stopped it */
    }
    wsm_set_phase(ws, start->next_phase);
    ws->container = gp_arena_strdup(arena, start->container.id);
    ws->address = gp_arena_strdup(arena, start->container.address);
    ws->instance_editor = gp_arena_strdup(arena, start->editor_id);
    if (start->next_phase == WSM_PHASE_RUNNING) {
        ws->activity_ms = gp_clock_epoch_ms();
        ws->commit = gp_arena_strdup(arena, start->content.commit);
        ws->branch = gp_arena_strdup(arena, start->content.branch);
        ws->warnings = wsm_content_warnings(ws->warnings, start->content.warnings, arena);
        change_ports(start, ws, arena);
    }
    return 0;
}

/* Positive: somebody else has decided; the start ends. */
static int start_phase(wsm_start_t *start, int phase, gp_err_t *err)
{
    start->next_phase = phase;
    return wsm_change(start->m, start->ws.id, start->arena, change_phase, start, &start->ws, err);
}

static int change_failed(wsm_t *m, wsm_workspace_t *ws, gp_arena_t *arena, void *data, gp_err_t *err)
{
    const wsm_failure_t *failure = data;

    if (strcmp(ws->instance, failure->instance) != 0 || ws->phase == WSM_PHASE_STOPPED || ws->phase == WSM_PHASE_STOPPING) {
        return 1;
    }
    ws->failed = gp_arena_strdup(arena, failure->text);
    ws->failed_reason = failure->reason;
    ws->stop_immediately = true;
    wsm_set_phase(ws, WSM_PHASE_STOPPING);
    return 0;
}

void wsm_fail(wsm_t *m, const wsm_workspace_t *ws, gp_arena_t *arena, int reason, const char *text)
{
    wsm_failure_t failure = {.instance = ws->instance, .reason = reason, .text = text};
    gp_err_t err = GP_ERR_INIT;
    int rc = wsm_change(m, ws->id, arena, change_failed, &failure, NULL, &err);

    for (int i = 0; rc < 0 && rc != -GP_NOT_FOUND && i < START_RECORD_TRIES && !atomic_load(&m->stopping);
         i++) { /* a full disk gets free again */
        start_pause(START_RETRY_MS);
        rc = wsm_change(m, ws->id, arena, change_failed, &failure, NULL, &err);
    }
    if (rc < 0) {
        gp_log(GP_LOG_ERROR, "cannot record a failure", "workspace", ws->id, "failure", text, "error", err.text, NULL);
        return;
    }
    if (rc == 0) {
        gp_metric_add(m->metrics.failed[reason], 1);
        gp_log(GP_LOG_WARN, "instance failed", "workspace", ws->id, "instance", ws->instance, "failed", text, NULL);
    }
}

/* ---- editor ---- */

static int start_editor(wsm_start_t *start, gp_err_t *err)
{
    Gitpod__Internal__V1__ResolveEditorRequest req = GITPOD__INTERNAL__V1__RESOLVE_EDITOR_REQUEST__INIT;
    ProtobufCMessage *res = NULL;
    uint64_t until_ms = gp_clock_ms() + START_PEER_RETRY_MS;
    gp_auto_json json_t *command = json_array();
    int rc;

    req.id = gp_arena_strdup(start->arena, start->ws.editor);
    req.version = gp_arena_strdup(start->arena, start->ws.editor_version);
    for (;;) {
        rc = gp_rpc_unary(start->m->service, &gitpod__internal__v1__ide_service__descriptor, "ResolveEditor", &req.base, start->arena, &res,
                          START_EDITOR_CALL_MS, err);
        if (rc != -GP_UNAVAILABLE || gp_clock_ms() > until_ms || wsm_start_cancelled(start)) {
            break;
        }
        start_pause(START_RETRY_MS);
    }
    if (rc < 0) {
        return rc;
    }
    const Gitpod__Internal__V1__Editor *editor = ((const Gitpod__Internal__V1__ResolveEditorResponse *) res)->editor;
    if (!editor || editor->n_command == 0 || !*editor->mount_source) {
        return gp_err(err, GP_INTERNAL, "The editor %s has no directory or no command in the catalogue", start->ws.editor);
    }
    for (size_t i = 0; i < editor->n_command; i++) {
        json_array_append_new(command, json_string(editor->command[i]));
    }
    char *text = json_dumps(command, JSON_COMPACT);
    start->ide_command = gp_arena_strdup(start->arena, text ? text : "[]");
    free(text);
    start->ide_source = editor->mount_source;
    start->ide_probe = editor->probe_url;
    start->editor_id = editor->id;
    return 0;
}

/* ---- container ---- */

/* crun drops nosuid and nodev of a bind mount in a user namespace: the directory's own mount must have them. */
static int start_check_mount(wsm_start_t *start, gp_err_t *err)
{
    const char *path = gp_arena_printf(start->arena, "%s/content", start->m->conf->service.state_dir);
    struct statvfs fs;

    if (statvfs(path, &fs) < 0) {
        return gp_err_errno(err, errno, "Cannot look at %s", path);
    }
    if ((fs.f_flag & (ST_NOSUID | ST_NODEV)) != (ST_NOSUID | ST_NODEV)) {
        return gp_err(err, GP_FAILED_PRECONDITION, "%s is not mounted nosuid,nodev, so /workspace would not be: run ./build.sh up again",
                      path);
    }
    return 0;
}

static int engine_create(wsm_t *m, void *data, gp_err_t *err)
{
    wsm_start_t *start = data;
    int rc = m->engine.create(&m->engine, &start->spec, start->container.id, err);

    if (rc == -GP_ALREADY_EXISTS) { /* of an earlier try of this instance */
        rc = m->engine.remove(&m->engine, start->spec.name, err);
        if (rc == 0) {
            rc = m->engine.create(&m->engine, &start->spec, start->container.id, err);
        }
    }
    return rc;
}

static int engine_start(wsm_t *m, void *data, gp_err_t *err)
{
    wsm_start_t *start = data;
    int rc = wsm_network_bridge(&m->network, err);

    rc = rc < 0 ? rc : m->engine.start(&m->engine, start->container.id, err);
    return rc < 0 ? rc : wsm_network_bridge(&m->network, err); /* the engine may have removed it in between, with another workspace's end */
}

static int engine_inspect(wsm_t *m, void *data, gp_err_t *err)
{
    wsm_start_t *start = data;

    return m->engine.inspect(&m->engine, start->spec.name, start->arena, &start->container, err);
}

static int start_container(wsm_start_t *start, gp_err_t *err)
{
    uint64_t t0 = gp_clock_ms();
    int rc;

    wsm_run_progress(start->m, start->run, "Creating the container", "", -1);
    wsm_spec_fill(start->m, &start->ws, start->ide_source, start->ide_command, start->ide_probe, start->arena, &start->spec);
    rc = wsm_engine_try(start->m, start->run, engine_create, start, err);
    if (rc == -GP_NOT_FOUND && strstr(err->text, "image")) {
        start->reason = WSM_FAILED_IMAGE;
        return gp_err(err, GP_NOT_FOUND,
                      "The workspace image %s is not on this machine. Build it with ./build.sh deps, or name another one (GITPOD_IMAGE)",
                      start->m->conf->image);
    }
    if (rc == -GP_NOT_FOUND && start->m->engine.prepare(&start->m->engine, err) == 0) { /* somebody removed the network */
        rc = wsm_engine_try(start->m, start->run, engine_create, start, err);
    }
    if (rc < 0) {
        return rc;
    }
    start->ms[WSM_T_CREATE] = gp_clock_ms() - t0;
    t0 = gp_clock_ms();
    rc = wsm_engine_try(start->m, start->run, engine_start, start, err);
    if (rc == 0) {
        rc = wsm_engine_try(start->m, start->run, engine_inspect, start, err);
    }
    if (rc < 0) {
        return rc;
    }
    start->ms[WSM_T_START] = gp_clock_ms() - t0;
    if (!start->container.running || !*start->container.address) {
        const char *log = start->m->engine.logs(&start->m->engine, start->container.id, start->arena);
        return gp_err(err, GP_INTERNAL, "%.400s", wsm_end_text(&start->container, log, start->arena));
    }
    return 0;
}

/* ---- network, go, supervisor ---- */

static int start_close_network(wsm_start_t *start, gp_err_t *err)
{
    uint64_t t0 = gp_clock_ms();
    int n = 0, rc = wsm_network_secure(&start->m->network, err);

    if (rc == 0) {
        rc = wsm_network_isolate(&start->m->network, &n, err);
    }
    if (rc == 0 && n == 0) {
        return gp_err(err, GP_INTERNAL, "The container runs, but the bridge %s has no port: its network cannot be isolated",
                      start->m->conf->bridge);
    }
    start->ms[WSM_T_NETWORK] = gp_clock_ms() - t0;
    return rc;
}

static int start_died(wsm_start_t *start, gp_err_t *err)
{
    const char *log;

    if (start->m->engine.inspect(&start->m->engine, start->container.id, start->arena, &start->container, err) == 0 &&
        start->container.running) {
        return 0;
    }
    log = start->m->engine.logs(&start->m->engine, start->container.id, start->arena);
    return gp_err(err, GP_INTERNAL, "%.400s", wsm_end_text(&start->container, log, start->arena));
}

static int start_wait_editor(wsm_start_t *start, gp_err_t *err)
{
    uint64_t t0 = gp_clock_ms(), until_ms = t0 + (uint64_t) start->m->conf->editor_timeout_s * 1000, looked_ms = t0;
    char address[WSM_ADDRESS_MAX + 1];

    (void) snprintf(address, sizeof(address), "%s", start->container.address);
    wsm_run_progress(start->m, start->run, "Starting the editor", "", -1);
    while (gp_clock_ms() < until_ms) {
        wsm_auto_arena arena = gp_arena_new(WSM_ARENA_BYTES);
        gp_err_t why = GP_ERR_INIT;
        int rc = wsm_supervisor_ide(address, true, wsm_start_cancelled, start, arena, &why);

        if (rc == 0) {
            start->ms[WSM_T_EDITOR] = gp_clock_ms() - t0;
            return 0;
        }
        gp_log(GP_LOG_DEBUG, "the supervisor does not say ready yet", "workspace", start->ws.id, "address", address, "error", why.text,
               NULL);
        if (rc == -GP_FAILED_PRECONDITION || rc == -GP_CANCELED || wsm_start_cancelled(start)) {
            *err = why;
            return rc < 0 ? rc : -GP_CANCELED;
        }
        if (why.errnum != ECONNREFUSED || gp_clock_ms() - looked_ms > 1000) {
            looked_ms = gp_clock_ms();
            if (start_died(start, err) < 0) {
                return -err->code;
            }
        }
        start_pause(rc < 0 ? START_REFUSED_MS : START_RETRY_MS);
    }
    return gp_err(err, GP_DEADLINE_EXCEEDED,
                  "The editor did not answer within %lld s. Start the workspace again; if it stays so, see its log in the container",
                  (long long) start->m->conf->editor_timeout_s);
}

/* ---- all of it ---- */

static int start_steps(wsm_start_t *start, gp_err_t *err)
{
    uint64_t t0 = gp_clock_ms();
    int rc;

    start->reason = WSM_FAILED_UNEXPECTED;
    wsm_run_progress(start->m, start->run, "Preparing", "", -1);
    rc = wsm_instance_dir_prepare(start->m, &start->ws, start->arena, err);
    rc = rc < 0 ? rc : start_check_mount(start, err);
    rc = rc < 0 ? rc : wsm_content_begin(start, err);
    rc = rc < 0 ? rc : start_editor(start, err);
    start->ms[WSM_T_RESOLVE] = gp_clock_ms() - t0;
    rc = rc < 0 ? rc : wsm_content_wait(start, false, err);
    rc = rc < 0 ? rc : start_phase(start, WSM_PHASE_CREATING, err);
    if (rc != 0) {
        return rc;
    }
    rc = start_container(start, err);
    rc = rc < 0 ? rc : start_phase(start, WSM_PHASE_INITIALIZING, err);
    if (rc != 0) {
        return rc;
    }
    rc = start_close_network(start, err);
    rc = rc < 0 ? rc : wsm_content_wait(start, true, err);
    rc = rc < 0 ? rc : wsm_instance_ready(start->m, &start->ws, start->content.source, start->content.location, start->arena, err);
    rc = rc < 0 ? rc : start_wait_editor(start, err);
    return rc < 0 ? rc : start_phase(start, WSM_PHASE_RUNNING, err);
}

static void start_report(wsm_start_t *start, uint64_t total_ms)
{
    static const char *const names[WSM_T_N] = {"resolve", "content", "create", "start", "network", "editor"};
    char split[START_LOG_MAX];
    int at = 0;

    for (int i = 0; i < WSM_T_N; i++) {
        at += snprintf(split + at, sizeof(split) - (size_t) at, "%s%s=%llu", i ? " " : "", names[i], (unsigned long long) start->ms[i]);
        gp_metric_add(start->m->metrics.start_ms[i], (int64_t) start->ms[i]);
    }
    (void) snprintf(split + at, sizeof(split) - (size_t) at, " total=%llu", (unsigned long long) total_ms);
    gp_metric_add(start->m->metrics.starts, 1);
    gp_log(GP_LOG_INFO, "start finished", "workspace", start->ws.id, "instance", start->ws.instance, "ms", split, NULL);
}

void wsm_start(wsm_t *m, wsm_run_t *run, const wsm_workspace_t *ws, gp_arena_t *arena)
{
    wsm_start_t start = {.m = m, .run = run, .ws = *ws, .arena = arena, .editor_id = ""};
    gp_err_t err = GP_ERR_INIT;
    uint64_t t0 = gp_clock_ms();
    int rc;

    if (ws->phase != WSM_PHASE_PREPARING || *ws->container) { /* an earlier process began: from the beginning, nothing of it is kept */
        (void) m->engine.remove(&m->engine, wsm_container_name(ws, arena), &err);
        err = (gp_err_t) GP_ERR_INIT;
    }
    wsm_content_init(&start);
    rc = start_steps(&start, &err);
    wsm_content_end(&start);
    if (rc == 0) {
        start_report(&start, gp_clock_ms() - t0);
        wsm_tick(m); /* its ports are asked for */
    } else if (rc > 0 || wsm_start_cancelled(&start)) {
        gp_log(GP_LOG_INFO, "start cancelled", "workspace", ws->id, "instance", ws->instance, NULL);
    } else {
        wsm_fail(m, ws, arena, start.reason, err.text);
    }
}

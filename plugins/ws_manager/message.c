#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "rpc/utf8.h"
#include "wsm.h"

typedef Gitpod__Internal__V1__ManagedWorkspace managed_t;
typedef Gitpod__Internal__V1__WorkspaceInstance instance_t;

#define MESSAGE_WARNINGS_MAX 64

/*
 * protobuf-c strings are not const. A text that was cut to its room may end
 * within a letter: one such message would end the stream of everybody.
 */
static char *text(const char *s, gp_arena_t *arena)
{
    return gp_arena_strdup(arena, gp_utf8_repair(arena, s));
}

static Google__Protobuf__Timestamp *timestamp(int64_t ms, gp_arena_t *arena)
{
    Google__Protobuf__Timestamp *t;

    if (ms <= 0) {
        return NULL;
    }
    t = gp_arena_alloc(arena, sizeof(*t));
    google__protobuf__timestamp__init(t);
    t->seconds = ms / 1000;
    t->nanos = (int32_t) (ms % 1000) * 1000000;
    return t;
}

static void fill_warnings(managed_t *msg, const char *json, gp_arena_t *arena)
{
    gp_auto_json json_t *doc = json_loads(json, 0, NULL);
    size_t n = json_array_size(doc);

    n = n > MESSAGE_WARNINGS_MAX ? MESSAGE_WARNINGS_MAX : n;
    msg->warnings = gp_arena_alloc(arena, (n + 1) * sizeof(char *));
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(doc, i));
        msg->warnings[msg->n_warnings++] = text(s ? s : "", arena);
    }
}

static void fill_ports(wsm_t *m, managed_t *msg, const wsm_workspace_t *ws, gp_arena_t *arena)
{
    gp_auto_json json_t *doc = wsm_route_ports(m, ws);
    size_t n = json_array_size(doc);

    msg->ports = gp_arena_alloc(arena, (n + 1) * sizeof(*msg->ports));
    for (size_t i = 0; i < n; i++) {
        const json_t *entry = json_array_get(doc, i);
        const char *visibility = json_string_value(json_object_get(entry, "visibility"));
        const char *protocol = json_string_value(json_object_get(entry, "protocol"));
        Gitpod__Internal__V1__ManagedPort *port = gp_arena_alloc(arena, sizeof(*port));

        gitpod__internal__v1__managed_port__init(port);
        port->port = (uint32_t) json_integer_value(json_object_get(entry, "port"));
        port->visible = visibility && strcmp(visibility, "public") == 0;
        port->protocol = text(protocol ? protocol : "http", arena);
        port->url = text(wsm_url(m, ws, (int) port->port, arena), arena);
        msg->ports[msg->n_ports++] = port;
    }
}

static Gitpod__Internal__V1__GitSource *git_source(const wsm_workspace_t *ws, gp_arena_t *arena)
{
    Gitpod__Internal__V1__GitSource *git = gp_arena_alloc(arena, sizeof(*git));

    gitpod__internal__v1__git_source__init(git);
    git->remote_uri = text(ws->git_uri, arena);
    git->target_mode = (Gitpod__Internal__V1__GitSource__TargetMode) ws->git_mode;
    git->clone_target = text(ws->git_target, arena);
    git->checkout_location = text(ws->git_location, arena);
    git->full_clone = ws->git_full;
    return git;
}

static instance_t *instance(wsm_t *m, const wsm_workspace_t *ws, gp_arena_t *arena)
{
    instance_t *msg = gp_arena_alloc(arena, sizeof(*msg));
    wsm_run_t *run = wsm_run_get(m, ws->id);
    int64_t activity_ms = ws->activity_ms;

    gitpod__internal__v1__workspace_instance__init(msg);
    msg->id = text(ws->instance, arena);
    msg->phase = (Gitpod__Internal__V1__Phase) ws->phase;
    msg->phase_time = timestamp(ws->phase_ms, arena);
    msg->failed = text(ws->failed, arena);
    msg->failed_reason = ws->failed_reason;
    msg->timeout = text(ws->timeout, arena);
    msg->start_time = timestamp(ws->started_ms, arena);
    msg->editor = text(ws->instance_editor, arena);
    msg->address = text(ws->address, arena);
    msg->step_percent = -1;
    msg->version = ws->version;
    (void) pthread_mutex_lock(&m->runs_lock);
    if (run->version > msg->version) {
        msg->version = run->version;
    }
    if (wsm_is_starting(ws->phase)) {
        msg->step = text(run->step, arena);
        msg->step_detail = text(run->detail, arena);
        msg->step_percent = run->percent;
    }
    if (run->active_ms > activity_ms) {
        activity_ms = run->active_ms;
    }
    (void) pthread_mutex_unlock(&m->runs_lock);
    msg->last_activity = timestamp(activity_ms, arena);
    return msg;
}

managed_t *wsm_message(wsm_t *m, const wsm_workspace_t *ws, gp_arena_t *arena)
{
    managed_t *msg = gp_arena_alloc(arena, sizeof(*msg));

    gitpod__internal__v1__managed_workspace__init(msg);
    msg->id = text(ws->id, arena);
    msg->owner_id = text(ws->owner, arena);
    msg->name = text(ws->name, arena);
    msg->pinned = ws->pinned;
    msg->context_url = text(ws->context_url, arena);
    msg->git = git_source(ws, arena);
    msg->class_id = text(ws->class_id, arena);
    msg->url = text(wsm_url(m, ws, 0, arena), arena);
    msg->creation_time = timestamp(ws->created_ms, arena);
    msg->commit = text(ws->commit, arena);
    msg->branch = text(ws->branch, arena);
    msg->deleted = ws->deleted != WSM_KEPT;
    fill_warnings(msg, ws->warnings, arena);
    fill_ports(m, msg, ws, arena);
    if (*ws->instance) {
        msg->instance = instance(m, ws, arena);
    }
    return msg;
}

/*
 * WorkspaceManagerService: a call reads, or changes intent and wakes a worker.
 * Whoever may call is the gateway's business; whose workspace it is, ours.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/random.h"
#include "core/id.h"
#include "ports.h"
#include "rpc/message.h"
#include "wsm.h"

#define API_LIST_DEFAULT 50
#define API_ID_PART_MIN 2
#define API_ID_PART_MAX 16
#define API_ID_RANDOM 11
#define API_ID_TRIES 8
#define API_URI_MAX 2048
#define API_TEXT_MAX 255
#define API_WARNINGS_MAX 64
#define API_CLASS "default"

#define REQ(type) const Gitpod__Internal__V1__##type *in = (const Gitpod__Internal__V1__##type *) req
#define RES(type) Gitpod__Internal__V1__##type *out = (Gitpod__Internal__V1__##type *) res

static int check_user(const gp_call_t *call, const char *user, gp_err_t *err)
{
    if (*user || strcmp(call->caller, "admin") == 0) {
        return 0;
    }
    return gp_err(err, GP_INVALID_ARGUMENT, "user_id: required, only the administrator's tools leave it out");
}

/* Somebody else's and deleted ones are not there. */
static int check_owner(const wsm_workspace_t *ws, const char *user, gp_err_t *err)
{
    if (ws->deleted != WSM_KEPT || (*user && strcmp(ws->owner, user) != 0)) {
        return gp_err(err, GP_NOT_FOUND, "There is no workspace %.64s", ws->id);
    }
    return 0;
}

static int load_owned(gp_call_t *call, const char *id, const char *user, wsm_workspace_t *ret, gp_err_t *err)
{
    wsm_t *m = call->data;
    int rc = check_user(call, user, err);

    if (rc == 0 && !*id) {
        rc = gp_err(err, GP_INVALID_ARGUMENT, "workspace_id: required");
    }
    rc = rc < 0 ? rc : wsm_store_get(m->db, id, call->arena, ret, err);
    return rc < 0 ? rc : check_owner(ret, user, err);
}

static int reply(gp_call_t *call, const wsm_workspace_t *ws, ProtobufCMessage *res)
{
    RES(WorkspaceResponse);

    out->workspace = wsm_message(call->data, ws, call->arena);
    return 0;
}

/* ---- create ---- */

static int check_text(const char *field, const char *value, size_t max, bool required, gp_err_t *err)
{
    if (required && !*value) {
        return gp_err(err, GP_INVALID_ARGUMENT, "%s: required", field);
    }
    if (strlen(value) > max) {
        return gp_err(err, GP_INVALID_ARGUMENT, "%s: longer than %zu bytes", field, max);
    }
    for (const char *p = value; *p; p++) {
        if ((unsigned char) *p < ' ' || *p == 0x7f) {
            return gp_err(err, GP_INVALID_ARGUMENT, "%s: contains a control character", field);
        }
    }
    return 0;
}

static int check_location(const char *location, gp_err_t *err)
{
    int rc = check_text("git.checkout_location", location, API_TEXT_MAX, true, err);

    if (rc < 0) {
        return rc;
    }
    if (*location == '/' || strcmp(location, "..") == 0 || strncmp(location, "../", 3) == 0 || strstr(location, "/../") ||
        (strlen(location) > 2 && strcmp(location + strlen(location) - 3, "/..") == 0)) {
        return gp_err(err, GP_INVALID_ARGUMENT, "git.checkout_location: must be a path below /workspace");
    }
    return 0;
}

static int check_create(const Gitpod__Internal__V1__CreateWorkspaceRequest *in, gp_err_t *err)
{
    int rc;

    if (!gp_id_uuid_valid(in->owner_id, strlen(in->owner_id))) {
        return gp_err(err, GP_INVALID_ARGUMENT, "owner_id: not a UUID");
    }
    if (!in->git) {
        return gp_err(err, GP_INVALID_ARGUMENT, "git: required");
    }
    if (*in->class_id && strcmp(in->class_id, API_CLASS) != 0) {
        return gp_err(err, GP_INVALID_ARGUMENT, "class_id: there is no class \"%.64s\", only \"" API_CLASS "\"", in->class_id);
    }
    rc = check_text("git.remote_uri", in->git->remote_uri, API_URI_MAX, true, err);
    rc = rc < 0 ? rc : check_text("git.clone_target", in->git->clone_target, API_TEXT_MAX * 2, false, err);
    rc = rc < 0 ? rc : check_text("request_key", in->request_key, API_TEXT_MAX, false, err);
    rc = rc < 0 ? rc : check_text("name", in->name, GP_WORKSPACE_NAME_MAX, false, err);
    rc = rc < 0 ? rc : check_text("context_url", in->context_url, GP_CONTEXT_URL_MAX, false, err);
    rc = rc < 0 ? rc : check_text("editor", in->editor, 64, false, err);
    rc = rc < 0 ? rc : check_text("editor_version", in->editor_version, 64, false, err);
    rc = rc < 0 ? rc : check_text("git_user_name", in->git_user_name, API_TEXT_MAX, false, err);
    return rc < 0 ? rc : check_text("git_user_email", in->git_user_email, API_TEXT_MAX, false, err);
}

/* 2 to 16 of [0-9a-z]; never all digits, never "debug": a host name would read it as a prefix. */
static void id_part(const char *hint, const char *otherwise, char ret[API_ID_PART_MAX + 1])
{
    int n = 0;
    bool letter = false;

    for (; *hint && n < API_ID_PART_MAX; hint++) {
        char c = (char) tolower((unsigned char) *hint);

        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
            ret[n++] = c;
            letter = letter || c >= 'a';
        }
    }
    ret[n] = '\0';
    if (n < API_ID_PART_MIN || !letter || strcmp(ret, "debug") == 0) {
        (void) snprintf(ret, API_ID_PART_MAX + 1, "%s", otherwise);
    }
}

static const char *last_part(const char *uri, gp_arena_t *arena)
{
    size_t len = strlen(uri), begin;

    while (len > 0 && uri[len - 1] == '/') {
        len--;
    }
    if (len > 4 && strncmp(uri + len - 4, ".git", 4) == 0) {
        len -= 4;
    }
    for (begin = len; begin > 0 && uri[begin - 1] != '/' && uri[begin - 1] != ':'; begin--) {
    }
    return len > begin ? gp_arena_strndup(arena, uri + begin, len - begin) : "workspace";
}

static void create_id(const Gitpod__Internal__V1__CreateWorkspaceRequest *in, const char *repository, gp_arena_t *arena, const char **ret)
{
    char owner[API_ID_PART_MAX + 1], repo[API_ID_PART_MAX + 1], random[API_ID_RANDOM + 1];

    id_part(in->id_hint_owner, "workspace", owner);
    id_part(*in->id_hint_repository ? in->id_hint_repository : repository, "repository", repo);
    gp_random_text(GP_ALPHABET_ID, random, API_ID_RANDOM);
    *ret = gp_arena_printf(arena, "%s-%s-%s", owner, repo, random);
}

static const char *warnings_json(char **warnings, size_t n, gp_arena_t *arena)
{
    gp_auto_json json_t *doc = json_array();

    for (size_t i = 0; i < n && i < API_WARNINGS_MAX; i++) {
        json_array_append_new(doc, json_string(warnings[i]));
    }
    char *text = json_dumps(doc, JSON_COMPACT);
    const char *copy = gp_arena_strdup(arena, text ? text : "[]");
    free(text);
    return copy;
}

static void create_fill(const Gitpod__Internal__V1__CreateWorkspaceRequest *in, gp_arena_t *arena, wsm_workspace_t *ws)
{
    char *token = gp_arena_alloc(arena, GP_OWNER_TOKEN_LEN + 1);
    const char *repository = last_part(in->git->remote_uri, arena);

    memset(ws, 0, sizeof(*ws));
    gp_random_text(GP_ALPHABET_OWNER_TOKEN, token, GP_OWNER_TOKEN_LEN);
    ws->owner = in->owner_id;
    ws->name = *in->name ? in->name : repository;
    ws->context_url = in->context_url;
    ws->git_uri = in->git->remote_uri;
    ws->git_mode = (int) in->git->target_mode;
    ws->git_target = in->git->clone_target;
    ws->git_location = *in->git->checkout_location ? in->git->checkout_location : repository;
    ws->git_full = in->git->full_clone;
    ws->class_id = API_CLASS;
    ws->editor = in->editor;
    ws->editor_version = in->editor_version;
    ws->warnings = warnings_json(in->warnings, in->n_warnings, arena);
    ws->git_user_name = in->git_user_name;
    ws->git_user_email = in->git_user_email;
    ws->owner_token = token;
    ws->request_key = in->request_key;
    ws->created_ms = gp_clock_epoch_ms();
    ws->ports = WSM_PORTS_NONE;
    ws->commit = ws->branch = ws->instance = ws->container = ws->address = ws->instance_editor = ws->failed = ws->timeout = "";
    create_id(in, repository, arena, &ws->id);
}

/* Under state_lock: two creations with one key are one after the other. */
static int create_locked(wsm_t *m, const Gitpod__Internal__V1__CreateWorkspaceRequest *in, gp_arena_t *arena, wsm_workspace_t *ws,
                         bool *ret_new, gp_err_t *err)
{
    int rc = *in->request_key ? wsm_store_find_request(m->db, in->owner_id, in->request_key, arena, ws, err) : 1;

    if (rc <= 0) {
        return rc;
    }
    create_fill(in, arena, ws);
    rc = check_location(ws->git_location, err);
    for (int i = 0; rc == 0 && i < API_ID_TRIES; i++) {
        ws->version = wsm_next_version(m, ws);
        rc = wsm_store_insert(m->db, ws, GP_WORKSPACES_MAX, err);
        if (rc != -GP_ALREADY_EXISTS) {
            break;
        }
        create_id(in, last_part(in->git->remote_uri, arena), arena, &ws->id);
        rc = 0;
    }
    if (rc == 0) {
        *ret_new = true;
        wsm_watch_tell(m, ws);
    }
    return rc;
}

static int create_workspace(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    REQ(CreateWorkspaceRequest);
    wsm_t *m = call->data;
    wsm_workspace_t ws;
    bool fresh = false;
    int rc = check_create(in, err);

    if (rc < 0) {
        return rc;
    }
    (void) pthread_mutex_lock(&m->state_lock);
    rc = create_locked(m, in, call->arena, &ws, &fresh, err);
    (void) pthread_mutex_unlock(&m->state_lock);
    if (rc < 0) {
        return rc;
    }
    if (fresh) {
        wsm_route_put(m, &ws);
        wsm_event_tell(m, &ws);
        gp_log(GP_LOG_INFO, "workspace created", "workspace", ws.id, "owner", ws.owner, NULL);
    }
    return reply(call, &ws, res);
}

/* ---- start, stop, delete, update ---- */

static int change_start(wsm_t *m, wsm_workspace_t *ws, gp_arena_t *arena, void *data, gp_err_t *err)
{
    char instance[GP_INSTANCE_ID_LEN + 1];
    wsm_run_t *run;
    int rc = check_owner(ws, data, err);

    if (rc < 0) {
        return rc;
    }
    if (*ws->instance && ws->phase != WSM_PHASE_STOPPED) {
        return 1;
    }
    rc = wsm_listener_assign(m, ws, 0, err);
    if (rc < 0) {
        return rc;
    }
    gp_random_uuid(instance);
    ws->instance = gp_arena_strdup(arena, instance);
    ws->new_instance = true;
    ws->phase = WSM_PHASE_NONE;
    wsm_set_phase(ws, WSM_PHASE_PREPARING);
    ws->started_ms = ws->phase_ms;
    ws->activity_ms = 0;
    ws->failed_reason = WSM_FAILED_NONE;
    ws->stop_immediately = false;
    ws->container = ws->address = ws->instance_editor = ws->failed = ws->timeout = "";
    run = wsm_run_get(m, ws->id);
    (void) pthread_mutex_lock(&m->runs_lock);
    run->step[0] = run->detail[0] = '\0';
    run->percent = -1;
    (void) pthread_mutex_unlock(&m->runs_lock);
    return 0;
}

static int start_workspace(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    REQ(StartWorkspaceRequest);
    wsm_t *m = call->data;
    wsm_workspace_t ws;
    int rc = check_user(call, in->user_id, err);

    rc = rc < 0 ? rc : wsm_listener_room(m, in->workspace_id, call->arena, err);
    rc = rc < 0 ? rc : wsm_change(m, in->workspace_id, call->arena, change_start, in->user_id, &ws, err);
    if (rc < 0) {
        return rc;
    }
    if (rc == 0) {
        wsm_wake(m, ws.id);
    }
    return reply(call, &ws, res);
}

static void cancel_and_wake(wsm_t *m, const char *id)
{
    atomic_store(&wsm_run_get(m, id)->cancel, true);
    wsm_wake(m, id);
}

static int stop_workspace(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    REQ(StopWorkspaceRequest);
    wsm_t *m = call->data;
    wsm_stop_t stop = {.immediately = in->immediately, .user = *in->user_id ? in->user_id : NULL};
    int rc = check_user(call, in->user_id, err);

    rc = rc < 0 ? rc : wsm_change(m, in->workspace_id, call->arena, wsm_change_stop, &stop, NULL, err);
    if (rc == 0) {
        cancel_and_wake(m, in->workspace_id);
    }
    return rc < 0 ? rc : 0;
}

static int change_delete(wsm_t *m, wsm_workspace_t *ws, gp_arena_t *arena, void *data, gp_err_t *err)
{
    int rc = check_owner(ws, data, err);

    if (rc < 0) {
        return rc;
    }
    ws->deleted = WSM_DELETING;
    ws->request_key = "";
    ws->new_listeners = ws->listeners.n > 0;
    ws->listeners.n = 0;
    if (*ws->instance && ws->phase != WSM_PHASE_STOPPED) {
        ws->stop_immediately = true;
        wsm_set_phase(ws, WSM_PHASE_STOPPING);
    }
    return 0;
}

static int delete_workspace(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    REQ(DeleteWorkspaceRequest);
    wsm_t *m = call->data;
    int rc = check_user(call, in->user_id, err);

    rc = rc < 0 ? rc : wsm_change(m, in->workspace_id, call->arena, change_delete, in->user_id, NULL, err);
    if (rc == 0) {
        cancel_and_wake(m, in->workspace_id);
    }
    return rc < 0 ? rc : 0;
}

static int change_update(wsm_t *m, wsm_workspace_t *ws, gp_arena_t *arena, void *data, gp_err_t *err)
{
    const Gitpod__Internal__V1__UpdateWorkspaceRequest *in = data;
    int rc = check_owner(ws, in->user_id, err);

    if (rc < 0) {
        return rc;
    }
    if (in->_name_case == GITPOD__INTERNAL__V1__UPDATE_WORKSPACE_REQUEST___NAME_NAME) {
        rc = check_text("name", in->name, GP_WORKSPACE_NAME_MAX, true, err);
        ws->name = in->name;
    }
    if (in->_pinned_case == GITPOD__INTERNAL__V1__UPDATE_WORKSPACE_REQUEST___PINNED_PINNED) {
        ws->pinned = in->pinned;
    }
    return rc;
}

static int update_workspace(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    Gitpod__Internal__V1__UpdateWorkspaceRequest in = *(const Gitpod__Internal__V1__UpdateWorkspaceRequest *) req;
    wsm_t *m = call->data;
    wsm_workspace_t ws;
    int rc = check_user(call, in.user_id, err);

    rc = rc < 0 ? rc : wsm_change(m, in.workspace_id, call->arena, change_update, &in, &ws, err);
    return rc < 0 ? rc : reply(call, &ws, res);
}

static int change_port(wsm_t *m, wsm_workspace_t *ws, gp_arena_t *arena, void *data, gp_err_t *err)
{
    const Gitpod__Internal__V1__UpdatePortRequest *in = data;
    bool visible = in->_visible_case == GITPOD__INTERNAL__V1__UPDATE_PORT_REQUEST___VISIBLE_VISIBLE && in->visible;
    const wsm_port_change_t change = {
        .port = in->port > 65535 ? 0 : (int) in->port,
        .visible = in->_visible_case == GITPOD__INTERNAL__V1__UPDATE_PORT_REQUEST___VISIBLE_VISIBLE ? &visible : NULL,
        .protocol = in->protocol,
    };
    int rc = check_owner(ws, in->user_id, err);

    return rc < 0 ? rc : wsm_ports_change(ws->ports, &change, arena, &ws->ports, err);
}

static int update_port(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    Gitpod__Internal__V1__UpdatePortRequest in = *(const Gitpod__Internal__V1__UpdatePortRequest *) req;
    wsm_workspace_t ws;
    int rc = check_user(call, in.user_id, err);

    rc = rc < 0 ? rc : wsm_change(call->data, in.workspace_id, call->arena, change_port, &in, &ws, err);
    if (rc == 0 && wsm_mode_port(call->data)) {
        wsm_tick(call->data); /* it gets a listener now */
    }
    return rc < 0 ? rc : reply(call, &ws, res);
}

/* ---- reading ---- */

static int get_workspace(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    REQ(GetWorkspaceRequest);
    wsm_workspace_t ws;
    int rc = load_owned(call, in->workspace_id, in->user_id, &ws, err);

    return rc < 0 ? rc : reply(call, &ws, res);
}

static bool list_wants(const wsm_workspace_t *ws, const Gitpod__Internal__V1__ListWorkspacesRequest *in)
{
    const char *term = in->search_term;

    if (ws->deleted != WSM_KEPT || (*in->user_id && strcmp(ws->owner, in->user_id) != 0) || (in->pinned && !ws->pinned)) {
        return false;
    }
    return !*term || strcasestr(ws->name, term) || strcasestr(ws->context_url, term) || strcasestr(ws->id, term);
}

static int list_workspaces(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    REQ(ListWorkspacesRequest);
    RES(ListWorkspacesResponse);
    wsm_auto_arena rows = gp_arena_new(WSM_ARENA_BYTES);
    wsm_t *m = call->data;
    wsm_workspace_list_t list;
    int limit = in->limit > 0 ? in->limit : API_LIST_DEFAULT;
    int rc = check_user(call, in->user_id, err);

    rc = rc < 0 ? rc : wsm_store_list(m->db, false, rows, &list, err);
    if (rc < 0) {
        return rc;
    }
    limit = limit > GP_WORKSPACES_MAX ? GP_WORKSPACES_MAX : limit;
    out->workspaces = gp_arena_alloc(call->arena, ((size_t) limit + 1) * sizeof(*out->workspaces));
    for (int i = 0; i < list.n; i++) {
        if (!list_wants(&list.items[i], in)) {
            continue;
        }
        if (out->total >= in->offset && out->n_workspaces < (size_t) limit) {
            out->workspaces[out->n_workspaces++] = wsm_message(m, &list.items[i], call->arena);
        }
        out->total++;
    }
    return 0;
}

static int watch_workspaces(gp_call_t *call, const ProtobufCMessage *req, gp_stream_t *stream, gp_err_t *err)
{
    return wsm_watch_add(call->data, stream, err);
}

static int mark_active(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    REQ(MarkActiveRequest);
    wsm_t *m = call->data;
    wsm_workspace_t ws;
    int rc = load_owned(call, in->workspace_id, in->user_id, &ws, err);

    if (rc == 0 && !in->closed) { /* the last tab says good-bye: no sign of use */
        (void) wsm_run_get(m, ws.id);
        wsm_run_active(m, ws.id, gp_clock_epoch_ms());
    }
    return rc;
}

static int report_activity(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    REQ(ReportActivityRequest);
    int64_t now = gp_clock_epoch_ms();

    if (strcmp(call->caller, "gateway") != 0) {
        return gp_err(err, GP_PERMISSION_DENIED, "Only the gateway sees what people do");
    }
    if (in->n_workspaces > GP_ACTIVITY_BATCH_MAX) {
        return gp_err(err, GP_INVALID_ARGUMENT, "workspaces: more than %d", GP_ACTIVITY_BATCH_MAX);
    }
    wsm_activity_reported(call->data);
    for (size_t i = 0; i < in->n_workspaces; i++) {
        wsm_run_active(call->data, in->workspaces[i]->workspace_id, now - (int64_t) in->workspaces[i]->idle_seconds * 1000);
    }
    return 0;
}

static int list_classes(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    RES(ListWorkspaceClassesResponse);
    const wsm_t *m = call->data;
    Gitpod__Internal__V1__WorkspaceClass *class =
        GP_MESSAGE_NEW(call->arena, Gitpod__Internal__V1__WorkspaceClass, gitpod__internal__v1__workspace_class__init);
    char id[] = API_CLASS, name[] = "Default";

    class->id = gp_arena_strdup(call->arena, id);
    class->display_name = gp_arena_strdup(call->arena, name);
    class->description = gp_arena_printf(call->arena, "Up to %lld CPUs, %lld MiB of memory", (long long) m->conf->class_cpus,
                                         (long long) (m->conf->class_memory_bytes >> 20));
    class->is_default = true;
    out->classes = gp_arena_alloc(call->arena, sizeof(*out->classes));
    out->classes[out->n_classes++] = class;
    return 0;
}

static int get_owner_token(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    REQ(GetOwnerTokenRequest);
    RES(GetOwnerTokenResponse);
    wsm_workspace_t ws;
    int rc = load_owned(call, in->workspace_id, in->user_id, &ws, err);

    if (rc == 0) {
        out->owner_token = gp_arena_strdup(call->arena, ws.owner_token);
    }
    return rc;
}

#define SERVICE &gitpod__internal__v1__workspace_manager_service__descriptor

const gp_method_t wsm_methods[] = {
    {SERVICE, "CreateWorkspace", create_workspace, NULL},  {SERVICE, "StartWorkspace", start_workspace, NULL},
    {SERVICE, "StopWorkspace", stop_workspace, NULL},      {SERVICE, "DeleteWorkspace", delete_workspace, NULL},
    {SERVICE, "GetWorkspace", get_workspace, NULL},        {SERVICE, "ListWorkspaces", list_workspaces, NULL},
    {SERVICE, "UpdateWorkspace", update_workspace, NULL},  {SERVICE, "UpdatePort", update_port, NULL},
    {SERVICE, "WatchWorkspaces", NULL, watch_workspaces},  {SERVICE, "MarkActive", mark_active, NULL},
    {SERVICE, "ListWorkspaceClasses", list_classes, NULL}, {SERVICE, "GetOwnerToken", get_owner_token, NULL},
    {SERVICE, "ReportActivity", report_activity, NULL},
};
const size_t wsm_methods_n = sizeof(wsm_methods) / sizeof(wsm_methods[0]);

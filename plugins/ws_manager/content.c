#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "gitpod/internal/v1/content.pb-c.h"
#include "start.h"

#define CONTENT_SLICE_MS 100
#define CONTENT_RETRIES 100 /* of CONTENT_RETRY_MS: content or the gateway restarts */
#define CONTENT_RETRY_MS 300
#define CONTENT_WARNINGS_MAX 64
#define CONTENT_PORTS_MAX 64

typedef Gitpod__Internal__V1__InitializeWorkspaceResponse progress_t;

void wsm_content_init(wsm_start_t *start)
{
    pthread_condattr_t attr;

    (void) pthread_mutex_init(&start->content.lock, NULL);
    (void) pthread_condattr_init(&attr);
    (void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void) pthread_cond_init(&start->content.cond, &attr);
    (void) pthread_condattr_destroy(&attr);
    start->content.arena = gp_arena_new(WSM_ARENA_BYTES);
    start->content.source = start->content.location = start->content.commit = start->content.branch = "";
    start->content.warnings = start->content.ports = "[]";
}

static bool content_cancelled(void *data)
{
    wsm_start_t *start = data;
    wsm_content_t *content = &start->content;
    bool stalled;

    (void) pthread_mutex_lock(&content->lock);
    stalled = gp_clock_ms() - content->heard_ms > (uint64_t) start->m->conf->content_stall_s * 1000;
    content->stalled = content->stalled || stalled;
    (void) pthread_mutex_unlock(&content->lock);
    return stalled || atomic_load(&content->abandon) || wsm_start_cancelled(start);
}

static const char *const steps[] = {"Preparing the content",  "Connecting to the repository", "Cloning the repository",
                                    "Cloning the repository", "Checking out files",           "Cloning submodules",
                                    "Content is in place"};

/* As entries of a route record; who uses them judges them. */
static const char *content_ports(wsm_content_t *content, const Gitpod__Internal__V1__ContentResult *result)
{
    gp_auto_json json_t *ports = json_array();
    gp_auto_free char *text = NULL;

    for (size_t i = 0; i < result->n_ports && i < CONTENT_PORTS_MAX; i++) {
        const Gitpod__Internal__V1__ContentPort *port = result->ports[i];

        json_array_append_new(ports, json_pack("{s:I, s:s, s:s}", "port", (json_int_t) port->port, "visibility",
                                               port->visible ? "public" : "private", "protocol", port->protocol));
    }
    text = json_dumps(ports, JSON_COMPACT);
    return gp_arena_strdup(content->arena, text ? text : "[]");
}

static void content_result(wsm_content_t *content, const Gitpod__Internal__V1__ContentResult *result)
{
    gp_auto_json json_t *warnings = json_array();
    char *text;

    for (size_t i = 0; i < result->n_warnings && i < CONTENT_WARNINGS_MAX; i++) {
        json_array_append_new(warnings, json_string(result->warnings[i]));
    }
    text = json_dumps(warnings, JSON_COMPACT);
    content->warnings = gp_arena_strdup(content->arena, text ? text : "[]");
    free(text);
    content->ports = content_ports(content, result);
    content->source = gp_arena_strdup(content->arena, result->source);
    content->location = gp_arena_strdup(content->arena, result->location);
    content->commit = gp_arena_strdup(content->arena, result->commit);
    content->branch = gp_arena_strdup(content->arena, result->branch);
}

static int content_on_progress(const ProtobufCMessage *msg, void *data, gp_err_t *err)
{
    wsm_start_t *start = data;
    wsm_content_t *content = &start->content;
    const progress_t *progress = (const progress_t *) msg;
    int step = (int) progress->step;

    atomic_store(&content->spoke, true);
    (void) pthread_mutex_lock(&content->lock);
    content->heard_ms = gp_clock_ms();
    content->there = true;
    if (progress->result) {
        content_result(content, progress->result);
    }
    (void) pthread_cond_broadcast(&content->cond);
    (void) pthread_mutex_unlock(&content->lock);
    if (step > 0 && step < 6) {
        wsm_run_progress(start->m, start->run, steps[step], progress->detail, progress->percent);
    }
    return 0;
}

static int content_call(wsm_start_t *start, gp_err_t *err)
{
    Gitpod__Internal__V1__InitializeWorkspaceRequest req = GITPOD__INTERNAL__V1__INITIALIZE_WORKSPACE_REQUEST__INIT;
    Gitpod__Internal__V1__GitSource git = GITPOD__INTERNAL__V1__GIT_SOURCE__INIT;
    gp_arena_t *arena = start->content.arena;
    const wsm_workspace_t *ws = &start->content.ws;
    const wsm_t *m = start->m;

    req.workspace_id = gp_arena_strdup(arena, ws->id);
    req.instance_id = gp_arena_strdup(arena, ws->instance);
    req.user_id = gp_arena_strdup(arena, ws->owner);
    req.uid_base = (uint32_t) (m->conf->uid_base + ws->uid_slot * GP_UID_RANGE);
    git.remote_uri = gp_arena_strdup(arena, ws->git_uri);
    git.target_mode = (Gitpod__Internal__V1__GitSource__TargetMode) ws->git_mode;
    git.clone_target = gp_arena_strdup(arena, ws->git_target);
    git.checkout_location = gp_arena_strdup(arena, ws->git_location);
    git.full_clone = ws->git_full;
    req.git = &git;
    return gp_rpc_stream(m->service, &gitpod__internal__v1__content_service__descriptor, "InitializeWorkspace", &req.base,
                         content_on_progress, start, content_cancelled, (uint32_t) m->conf->content_timeout_s * 1000, err);
}

/* Content or the gateway went away, and not: content says that the git server is. The kit's own texts name the service. */
static bool content_broke_off(wsm_content_t *content, const gp_err_t *err)
{
    return !atomic_load(&content->spoke) || strstr(err->text, gitpod__internal__v1__content_service__descriptor.name) != NULL;
}

static void *content_thread(void *data)
{
    wsm_start_t *start = data;
    wsm_content_t *content = &start->content;
    const struct timespec pause = {.tv_nsec = CONTENT_RETRY_MS * 1000000L};
    gp_err_t err = GP_ERR_INIT;
    int rc = 0;

    for (int i = 0; i < CONTENT_RETRIES; i++) {
        err = (gp_err_t) GP_ERR_INIT;
        atomic_store(&content->spoke, false);
        rc = content_call(start, &err);
        if (rc != -GP_UNAVAILABLE || !content_broke_off(content, &err) || content_cancelled(start)) {
            break;
        }
        (void) nanosleep(&pause, NULL); /* idempotent: it is asked again */
    }
    (void) pthread_mutex_lock(&content->lock);
    content->done = true;
    content->rc = rc;
    content->err = err;
    start->ms[WSM_T_CONTENT] = gp_clock_ms() - content->begun_ms;
    (void) pthread_cond_broadcast(&content->cond);
    (void) pthread_mutex_unlock(&content->lock);
    return NULL;
}

int wsm_content_begin(wsm_start_t *start, gp_err_t *err)
{
    int rc;

    start->content.ws = start->ws;
    start->content.begun_ms = start->content.heard_ms = gp_clock_ms();
    rc = pthread_create(&start->content.thread, NULL, content_thread, start);
    if (rc != 0) {
        return gp_err_errno(err, rc, "Cannot start a thread for the content");
    }
    start->content.begun = true;
    return 0;
}

static int content_failed(wsm_start_t *start, gp_err_t *err)
{
    const wsm_content_t *content = &start->content;

    start->reason = WSM_FAILED_CONTENT;
    if (content->stalled) {
        return gp_err(err, GP_DEADLINE_EXCEEDED,
                      "Putting the content in place made no progress for %lld s. Is the git server reachable? Then start again",
                      (long long) start->m->conf->content_stall_s);
    }
    *err = content->err;
    return content->rc;
}

int wsm_content_wait(wsm_start_t *start, bool done, gp_err_t *err)
{
    wsm_content_t *content = &start->content;
    int rc = 0;

    (void) pthread_mutex_lock(&content->lock);
    while (!content->done && (done || !content->there)) {
        struct timespec until;

        (void) clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += CONTENT_SLICE_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        (void) pthread_cond_timedwait(&content->cond, &content->lock, &until);
        if (wsm_start_cancelled(start)) {
            rc = gp_err(err, GP_CANCELED, "The start was cancelled");
            break;
        }
    }
    if (rc == 0 && content->done && content->rc != 0) {
        rc = content_failed(start, err);
    } else if (rc == 0 && content->done && !*content->location) {
        start->reason = WSM_FAILED_CONTENT;
        rc = gp_err(err, GP_INTERNAL, "The content service ended without a result");
    }
    (void) pthread_mutex_unlock(&content->lock);
    return rc;
}

void wsm_content_end(wsm_start_t *start)
{
    wsm_content_t *content = &start->content;

    atomic_store(&content->abandon, true);
    if (content->begun) {
        (void) pthread_join(content->thread, NULL);
        content->begun = false;
    }
    (void) pthread_mutex_destroy(&content->lock);
    (void) pthread_cond_destroy(&content->cond);
    content->arena = gp_arena_free(content->arena);
}

const char *wsm_content_warnings(const char *before, const char *added, gp_arena_t *arena)
{
    gp_auto_json json_t *all = json_loads(before, 0, NULL);
    gp_auto_json json_t *more = json_loads(added, 0, NULL);
    char *text;
    const char *copy;

    if (!all) {
        all = json_array();
    }
    for (size_t i = 0; i < json_array_size(more) && json_array_size(all) < CONTENT_WARNINGS_MAX; i++) {
        json_t *one = json_array_get(more, i);
        bool known = false;

        for (size_t k = 0; k < json_array_size(all); k++) {
            known = known || json_equal(json_array_get(all, k), one);
        }
        if (!known) {
            json_array_append(all, one);
        }
    }
    text = json_dumps(all, JSON_COMPACT);
    copy = gp_arena_strdup(arena, text ? text : "[]");
    free(text);
    return copy;
}

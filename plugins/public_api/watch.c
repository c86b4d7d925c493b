#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include "public_api.h"

/*
 * One stream of ws_manager, fanned out to everybody who watches.
 *
 * One thread reads WatchWorkspaces and sends each change to the watchers of its
 * owner; it reconnects when ws_manager restarts. `seen` remembers the version
 * of each workspace, so that only what changed is sent again; a workspace that
 * vanished meanwhile is found by asking for the lists anew. Watchers hold no
 * thread. A watcher is in the list, or whoever took it out ends its stream.
 */
#define PUB_WATCH_RETRY_FIRST_MS 100
#define PUB_WATCH_RETRY_MAX_MS 2000
#define PUB_WATCH_LIST_MS 1000 /* an answer of ws_manager; a stop waits for it */
#define PUB_WATCH_ARENA 262144 /* bytes: one message */
#define PUB_WATCH_LIST_ARENA 16777216 /* bytes: the lists of one owner */
#define PUB_WATCH_CATCH_UP 5 /* reads of a workspace that changes while its watcher is added */

typedef struct pub_watcher pub_watcher_t;

struct pub_watcher {
    pub_watcher_t *next;
    pub_watcher_t **prev; /* NULL: not in the list */
    pub_watch_t *watch;
    gp_stream_t *stream;
    const char *user_id;
    const char *workspace_id; /* "": all of the user */
    uint64_t version; /* the last one sent, of workspace_id */
};

typedef struct {
    char id[GP_WORKSPACE_ID_MAX + 1];
    char owner_id[GP_USER_ID_LEN + 1];
    uint64_t version;
    bool listed; /* in the list that was asked for last */
} pub_seen_t;

struct pub_watch {
    pub_t *pub;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    pub_watcher_t *watchers;
    size_t n_watchers;
    pub_seen_t *seen;
    size_t n_seen;
    gp_metric_t *gauge;
};


/* ---- the list of watchers; the lock is held ---- */

static void pub_watcher_link(pub_watch_t *watch, pub_watcher_t *watcher)
{
    watcher->next = watch->watchers;
    watcher->prev = &watch->watchers;
    if (watcher->next != NULL) {
        watcher->next->prev = &watcher->next;
    }
    watch->watchers = watcher;
    watch->n_watchers++;
    gp_metric_set(watch->gauge, (int64_t) watch->n_watchers);
}


static void pub_watcher_unlink(pub_watcher_t *watcher)
{
    *watcher->prev = watcher->next;
    if (watcher->next != NULL) {
        watcher->next->prev = watcher->prev;
    }
    watcher->prev = NULL;
    watcher->watch->n_watchers--;
    gp_metric_set(watcher->watch->gauge, (int64_t) watcher->watch->n_watchers);
}


static int pub_watch_room(const pub_watch_t *watch, const char *user_id, gp_err_t *err)
{
    const pub_watcher_t *w;
    size_t n = 0;

    for (w = watch->watchers; w != NULL; w = w->next) {
        n += strcmp(w->user_id, user_id) == 0 ? 1 : 0;
    }
    if (watch->n_watchers >= PUB_WATCHERS_MAX) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "%d streams are open, the most there can be; try again later", PUB_WATCHERS_MAX);
    }
    if (n >= PUB_USER_WATCHERS_MAX) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "you have %d streams open, the most there can be; close a page", PUB_USER_WATCHERS_MAX);
    }

    return 0;
}


/* ---- sending ---- */

/* gone: the workspace was deleted; a status without a phase says so. */
static int pub_watch_send(pub_watcher_t *watcher, const pub_managed_t *managed, bool gone)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(PUB_WATCH_ARENA);
    Gitpod__V1__WatchWorkspaceStatusResponse out;

    gitpod__v1__watch_workspace_status_response__init(&out);
    out.workspace_id = managed->id;
    out.status = gp_workspace_status(arena, managed);
    if (gone) {
        out.status->phase->name = GITPOD__V1__WORKSPACE_PHASE__PHASE__PHASE_UNSPECIFIED;
    }

    return gp_stream_send(watcher->stream, &out.base);
}


/* A change to one watcher; true: its stream must end, with err. The lock is held. */
static bool pub_watch_deliver(pub_watcher_t *watcher, const pub_managed_t *managed, bool gone, gp_err_t *err)
{
    uint64_t version = managed->instance == NULL ? 0 : managed->instance->version;
    int rc;

    if (strcmp(watcher->user_id, managed->owner_id) != 0) {
        return false;
    }
    if (watcher->workspace_id[0] != '\0') {
        if (strcmp(watcher->workspace_id, managed->id) != 0 || (version <= watcher->version && !gone)) {
            return false;
        }
        watcher->version = version;
    }
    rc = pub_watch_send(watcher, managed, gone);
    if (rc == -GP_RESOURCE_EXHAUSTED) {
        (void) gp_err(err, GP_RESOURCE_EXHAUSTED, "the stream was read too slowly; watch again");
        return true;
    }
    if (rc < 0 && rc != -GP_CANCELED) {
        (void) gp_err(err, -rc, "the status of %s cannot be sent", managed->id);
        return true;
    }
    if (gone && watcher->workspace_id[0] != '\0') {
        (void) gp_err(err, GP_NOT_FOUND, "the workspace %s was deleted", managed->id);
        return true;
    }

    return false;
}


static void pub_watch_fan_out(pub_watch_t *watch, const pub_managed_t *managed, bool gone)
{
    pub_watcher_t *w, *next;

    for (w = watch->watchers; w != NULL; w = next) {
        gp_err_t err = GP_ERR_INIT;

        next = w->next;
        if (pub_watch_deliver(w, managed, gone, &err)) {
            pub_watcher_unlink(w);
            gp_stream_end(w->stream, &err);
        }
    }
}


/* ---- what came from ws_manager ---- */

static pub_seen_t *pub_seen_find(pub_watch_t *watch, const char *id)
{
    size_t i;

    for (i = 0; i < watch->n_seen; i++) {
        if (strcmp(watch->seen[i].id, id) == 0) {
            return &watch->seen[i];
        }
    }

    return NULL;
}


/* True: this version is new. */
static bool pub_seen_note(pub_watch_t *watch, const pub_managed_t *managed)
{
    pub_seen_t *seen = pub_seen_find(watch, managed->id);
    uint64_t version = managed->instance == NULL ? 0 : managed->instance->version;

    if (seen == NULL) {
        if (watch->n_seen == GP_WORKSPACES_MAX || strlen(managed->id) > GP_WORKSPACE_ID_MAX || strlen(managed->owner_id) > GP_USER_ID_LEN) {
            return true;
        }
        seen = &watch->seen[watch->n_seen++];
        memset(seen, 0, sizeof(*seen));
        memcpy(seen->id, managed->id, strlen(managed->id) + 1);
        memcpy(seen->owner_id, managed->owner_id, strlen(managed->owner_id) + 1);
    } else if (version <= seen->version) {
        return false;
    }
    seen->version = version;

    return true;
}


static void pub_seen_drop(pub_watch_t *watch, pub_seen_t *seen)
{
    *seen = watch->seen[--watch->n_seen];
}


static int pub_watch_message(const ProtobufCMessage *msg, void *data, gp_err_t *err)
{
    const pub_managed_t *managed = ((const Gitpod__Internal__V1__WorkspaceResponse *) msg)->workspace;
    pub_watch_t *watch = data;
    pub_seen_t *seen;

    (void) pthread_mutex_lock(&watch->lock);
    if (managed != NULL && managed->deleted) {
        seen = pub_seen_find(watch, managed->id);
        if (seen != NULL) {
            pub_seen_drop(watch, seen);
            pub_watch_fan_out(watch, managed, true);
        }
    } else if (managed != NULL && pub_seen_note(watch, managed)) {
        pub_watch_fan_out(watch, managed, false);
    }
    (void) pthread_mutex_unlock(&watch->lock);

    return 0;
}


/* ---- after a break: who is gone? ---- */

static void pub_seen_mark(pub_watch_t *watch, const char *owner_id, const Gitpod__Internal__V1__ListWorkspacesResponse *page)
{
    pub_seen_t *seen;
    size_t i;

    (void) pthread_mutex_lock(&watch->lock);
    for (i = 0; i < page->n_workspaces; i++) {
        seen = pub_seen_find(watch, page->workspaces[i]->id);
        if (seen != NULL && strcmp(seen->owner_id, owner_id) == 0) {
            seen->listed = true;
        }
    }
    (void) pthread_mutex_unlock(&watch->lock);
}


/* What the list of that owner does not have was deleted while nobody told us. */
static void pub_seen_sweep(pub_watch_t *watch, char *owner_id)
{
    pub_managed_t gone;
    pub_seen_t seen;
    size_t i = 0;

    (void) pthread_mutex_lock(&watch->lock);
    while (i < watch->n_seen) {
        seen = watch->seen[i];
        if (seen.listed || strcmp(seen.owner_id, owner_id) != 0) {
            i++;
            continue;
        }
        pub_seen_drop(watch, &watch->seen[i]);
        gitpod__internal__v1__managed_workspace__init(&gone);
        gone.id = seen.id;
        gone.owner_id = owner_id;
        pub_watch_fan_out(watch, &gone, true);
    }
    (void) pthread_mutex_unlock(&watch->lock);
}


static int pub_watch_list(pub_watch_t *watch, char *owner_id, gp_err_t *err)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(PUB_WATCH_LIST_ARENA);
    const Gitpod__Internal__V1__ListWorkspacesResponse *page;
    Gitpod__Internal__V1__ListWorkspacesRequest list;
    ProtobufCMessage *answer = NULL;
    int rc;

    gitpod__internal__v1__list_workspaces_request__init(&list);
    list.user_id = owner_id;
    list.limit = PUB_PAGE_MAX;
    do {
        rc = gp_rpc_unary(watch->pub->service, &gitpod__internal__v1__workspace_manager_service__descriptor, "ListWorkspaces", &list.base,
                          arena, &answer, PUB_WATCH_LIST_MS, err);
        if (rc < 0) {
            return rc;
        }
        page = (const Gitpod__Internal__V1__ListWorkspacesResponse *) answer;
        pub_seen_mark(watch, owner_id, page);
        list.offset += (int32_t) page->n_workspaces;
    } while (page->n_workspaces > 0 && list.offset < page->total);
    pub_seen_sweep(watch, owner_id);

    return 0;
}


/* Owner by owner; unlisted entries are those nobody asked about yet. */
static int pub_watch_catch_up(pub_watch_t *watch, gp_err_t *err)
{
    char owner_id[GP_USER_ID_LEN + 1];
    size_t i;
    bool more;
    int rc = 0;

    (void) pthread_mutex_lock(&watch->lock);
    for (i = 0; i < watch->n_seen; i++) {
        watch->seen[i].listed = false;
    }
    (void) pthread_mutex_unlock(&watch->lock);

    do {
        more = false;
        (void) pthread_mutex_lock(&watch->lock);
        for (i = 0; i < watch->n_seen && !more; i++) {
            more = !watch->seen[i].listed;
            memcpy(owner_id, watch->seen[i].owner_id, sizeof(owner_id));
        }
        (void) pthread_mutex_unlock(&watch->lock);
        if (more) {
            rc = pub_watch_list(watch, owner_id, err);
        }
    } while (more && rc == 0);

    return rc;
}


/* ---- the thread ---- */

static bool pub_watch_stopping(void *data)
{
    pub_watch_t *watch = data;
    bool stop;

    (void) pthread_mutex_lock(&watch->lock);
    stop = watch->stop;
    (void) pthread_mutex_unlock(&watch->lock);

    return stop || gp_service_stopping(watch->pub->service);
}


static void pub_watch_pause(pub_watch_t *watch, int64_t ms)
{
    struct timespec until;

    (void) clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t) (ms / 1000);
    until.tv_nsec += (long) (ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void) pthread_mutex_lock(&watch->lock);
    if (!watch->stop) {
        (void) pthread_cond_timedwait(&watch->wake, &watch->lock, &until); /* too early is fine */
    }
    (void) pthread_mutex_unlock(&watch->lock);
}


static int pub_watch_once(pub_watch_t *watch, gp_err_t *err)
{
    Gitpod__Internal__V1__WatchWorkspacesRequest req;
    int rc;

    rc = pub_watch_catch_up(watch, err);
    if (rc < 0) {
        return rc;
    }
    gitpod__internal__v1__watch_workspaces_request__init(&req);

    return gp_rpc_stream(watch->pub->service, &gitpod__internal__v1__workspace_manager_service__descriptor, "WatchWorkspaces", &req.base,
                         pub_watch_message, watch, pub_watch_stopping, 0, err);
}


static void *pub_watch_run(void *data)
{
    pub_watch_t *watch = data;
    int64_t pause_ms = PUB_WATCH_RETRY_FIRST_MS;
    uint64_t started;

    while (!pub_watch_stopping(watch)) {
        gp_err_t err = GP_ERR_INIT;

        started = gp_clock_ms();
        (void) pub_watch_once(watch, &err); /* it ends for a reason, or because ws_manager stops: both mean again */
        if (pub_watch_stopping(watch)) {
            break;
        }
        if (gp_clock_ms() - started > PUB_WATCH_RETRY_MAX_MS) {
            pause_ms = PUB_WATCH_RETRY_FIRST_MS;
        } else if (pause_ms == PUB_WATCH_RETRY_MAX_MS / 2) {
            gp_log(GP_LOG_WARN, "no changes of workspaces are heard of; trying again", "error", err.text, NULL);
        }
        pub_watch_pause(watch, pause_ms);
        pause_ms = pause_ms * 2 < PUB_WATCH_RETRY_MAX_MS ? pause_ms * 2 : PUB_WATCH_RETRY_MAX_MS;
    }

    return NULL;
}


/* ---- open, close ---- */

int pub_watch_open(pub_t *pub, pub_watch_t **ret_watch, gp_err_t *err)
{
    pub_watch_t *watch = calloc(1, sizeof(*watch));
    pthread_condattr_t attr;
    int rc;

    gp_assert(watch != NULL);
    watch->seen = calloc(GP_WORKSPACES_MAX, sizeof(*watch->seen));
    gp_assert(watch->seen != NULL);
    watch->pub = pub;
    watch->gauge = gp_metric_gauge(pub->service, "gitpod_public_api_watchers", "", "Open streams of workspace changes");
    (void) pthread_mutex_init(&watch->lock, NULL);
    (void) pthread_condattr_init(&attr);
    (void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void) pthread_cond_init(&watch->wake, &attr);
    (void) pthread_condattr_destroy(&attr);
    rc = pthread_create(&watch->thread, NULL, pub_watch_run, watch);
    if (rc != 0) {
        free(watch->seen);
        free(watch);
        return gp_err_errno(err, rc, "the thread that watches workspaces cannot start");
    }
    *ret_watch = watch;

    return 0;
}


pub_watch_t *pub_watch_close(pub_watch_t *watch)
{
    if (watch != NULL) {
        (void) pthread_mutex_lock(&watch->lock);
        watch->stop = true;
        (void) pthread_cond_signal(&watch->wake);
        (void) pthread_mutex_unlock(&watch->lock);
        (void) pthread_join(watch->thread, NULL);
        (void) pthread_cond_destroy(&watch->wake);
        (void) pthread_mutex_destroy(&watch->lock);
        free(watch->seen);
        free(watch);
    }

    return NULL;
}


/* ---- the method ---- */

/* On the loop: the client is gone. The watcher lives in the call's arena, as long as its stream. */
static void pub_watcher_closed(gp_stream_t *stream, void *data)
{
    pub_watcher_t *watcher = data;
    bool ours;

    (void) pthread_mutex_lock(&watcher->watch->lock);
    ours = watcher->prev != NULL;
    if (ours) {
        pub_watcher_unlink(watcher);
    }
    (void) pthread_mutex_unlock(&watcher->watch->lock);
    if (ours) {
        gp_stream_end(stream, NULL);
    }
}


static int pub_watch_read(gp_call_t *call, const char *workspace_id, const pub_managed_t **ret_managed, gp_err_t *err)
{
    Gitpod__Internal__V1__GetWorkspaceRequest get;
    ProtobufCMessage *res = NULL;
    int rc;

    gitpod__internal__v1__get_workspace_request__init(&get);
    get.user_id = gp_arena_strdup(call->arena, call->user);
    get.workspace_id = gp_arena_strdup(call->arena, workspace_id);
    rc = pub_call_workspaces(call, "GetWorkspace", &get.base, &res, err);
    if (rc == 0 && ((const Gitpod__Internal__V1__WorkspaceResponse *) res)->workspace == NULL) {
        return gp_err(err, GP_INTERNAL, "GetWorkspace: the answer has no workspace");
    }
    if (rc == 0) {
        *ret_managed = ((const Gitpod__Internal__V1__WorkspaceResponse *) res)->workspace;
    }

    return rc;
}


/* One watcher more. behind: what was sent is older than what the stream of ws_manager has brought already. */
static int pub_watch_add(pub_watcher_t *watcher, bool *ret_behind, gp_err_t *err)
{
    pub_watch_t *watch = watcher->watch;
    const pub_seen_t *seen;
    int rc;

    (void) pthread_mutex_lock(&watch->lock);
    seen = watcher->workspace_id[0] == '\0' ? NULL : pub_seen_find(watch, watcher->workspace_id);
    *ret_behind = seen != NULL && seen->version > watcher->version;
    rc = *ret_behind ? 0 : pub_watch_room(watch, watcher->user_id, err);
    if (rc == 0 && !*ret_behind) {
        pub_watcher_link(watch, watcher);
    }
    (void) pthread_mutex_unlock(&watch->lock);

    return rc;
}


/* The present state first; again, should it change before the watcher is in the list. */
static int pub_watch_begin(gp_call_t *call, pub_watcher_t *watcher, gp_err_t *err)
{
    Gitpod__V1__WatchWorkspaceStatusResponse hello;
    const pub_managed_t *managed = NULL;
    bool behind = true;
    int i, rc = 0;

    if (watcher->workspace_id[0] == '\0') {
        gitpod__v1__watch_workspace_status_response__init(&hello);
        rc = gp_stream_send(watcher->stream, &hello.base);
        return rc < 0 ? gp_err(err, -rc, "the client is gone") : pub_watch_add(watcher, &behind, err);
    }
    for (i = 0; rc == 0 && behind && i < PUB_WATCH_CATCH_UP; i++) {
        rc = pub_watch_read(call, watcher->workspace_id, &managed, err);
        if (rc < 0) {
            return rc;
        }
        watcher->version = managed->instance == NULL ? 0 : managed->instance->version;
        rc = pub_watch_send(watcher, managed, false);
        rc = rc < 0 ? gp_err(err, -rc, "the client is gone") : pub_watch_add(watcher, &behind, err);
    }

    return rc == 0 && behind ? gp_err(err, GP_UNAVAILABLE, "the workspace changes too fast; watch again") : rc;
}


int pub_watch_status(gp_call_t *call, const ProtobufCMessage *req, gp_stream_t *stream, gp_err_t *err)
{
    const Gitpod__V1__WatchWorkspaceStatusRequest *in = (const Gitpod__V1__WatchWorkspaceStatusRequest *) req;
    pub_watcher_t *watcher = gp_arena_alloc(call->arena, sizeof(*watcher));
    pub_t *pub = call->data;
    int rc;

    watcher->watch = pub->watch;
    watcher->stream = stream;
    watcher->user_id = call->user;
    watcher->workspace_id = in->workspace_id;
    rc = pub_require_user(call, err);
    if (rc == 0 && in->workspace_id[0] != '\0') {
        rc = pub_check_workspace_id(in->workspace_id, err);
    }
    if (rc == 0) {
        rc = pub_watch_begin(call, watcher, err);
    }
    if (rc == 0) {
        gp_stream_on_close(stream, pub_watcher_closed, watcher);
    }

    return rc;
}

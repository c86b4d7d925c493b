/*
 * Streams of every change. A reader that is too slow is ended: it comes back
 * and begins with the present state again, so nothing is lost for good.
 */
#include <time.h>

#include "base/log.h"
#include "wsm.h"

#define WATCH_SLOW_TRIES 500 /* of 20 ms while the first state goes out */

static int watch_send(wsm_t *m, gp_stream_t *stream, const wsm_workspace_t *ws)
{
    wsm_auto_arena arena = gp_arena_new(WSM_ARENA_BYTES);
    Gitpod__Internal__V1__WorkspaceResponse msg = GITPOD__INTERNAL__V1__WORKSPACE_RESPONSE__INIT;

    msg.workspace = wsm_message(m, ws, arena);
    return gp_stream_send(stream, &msg.base);
}

static void watch_end(gp_stream_t *stream, int rc)
{
    gp_err_t err = GP_ERR_INIT;

    if (rc == -GP_RESOURCE_EXHAUSTED) {
        (void) gp_err(&err, GP_RESOURCE_EXHAUSTED, "The reader of WatchWorkspaces is too slow: connect again");
    }
    gp_stream_end(stream, &err);
}

void wsm_watch_tell(wsm_t *m, const wsm_workspace_t *ws)
{
    (void) pthread_mutex_lock(&m->watch_lock);
    for (int i = 0; i < WSM_WATCHERS_MAX; i++) {
        int rc = m->watchers[i] ? watch_send(m, m->watchers[i], ws) : 0;

        if (rc < 0) {
            watch_end(m->watchers[i], rc);
            m->watchers[i] = NULL;
        }
    }
    (void) pthread_mutex_unlock(&m->watch_lock);
}

static bool watch_take(wsm_t *m, gp_stream_t *stream)
{
    bool found = false;

    (void) pthread_mutex_lock(&m->watch_lock);
    for (int i = 0; i < WSM_WATCHERS_MAX; i++) {
        if (m->watchers[i] == stream) {
            m->watchers[i] = NULL;
            found = true;
        }
    }
    (void) pthread_mutex_unlock(&m->watch_lock);
    return found;
}

static void watch_closed(gp_stream_t *stream, void *data)
{
    if (watch_take(data, stream)) {
        gp_stream_end(stream, NULL);
    }
}

/* Loaded and sent under watch_lock, so that a later state is never followed by an earlier one. Positive: the stream has ended. */
static int watch_first(wsm_t *m, int slot, gp_stream_t *stream, const char *id)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    gp_err_t err = GP_ERR_INIT;
    int rc = 0;

    for (int i = 0; i < WATCH_SLOW_TRIES; i++) {
        wsm_auto_arena arena = gp_arena_new(WSM_ARENA_BYTES);
        wsm_workspace_t ws;

        (void) pthread_mutex_lock(&m->watch_lock);
        if (m->watchers[slot] != stream) {
            rc = 1;
        } else if (wsm_store_get(m->db, id, arena, &ws, &err) == 0 && ws.deleted == WSM_KEPT) {
            rc = watch_send(m, stream, &ws);
        }
        (void) pthread_mutex_unlock(&m->watch_lock);
        if (rc != -GP_RESOURCE_EXHAUSTED || atomic_load(&m->stopping)) {
            return rc;
        }
        (void) nanosleep(&pause, NULL);
    }
    return rc;
}

int wsm_watch_add(wsm_t *m, gp_stream_t *stream, gp_err_t *err)
{
    wsm_auto_arena arena = gp_arena_new(WSM_ARENA_BYTES);
    wsm_workspace_list_t list;
    int rc = 0, slot = -1;

    (void) pthread_mutex_lock(&m->watch_lock);
    for (int i = 0; i < WSM_WATCHERS_MAX && slot < 0; i++) {
        if (!m->watchers[i]) {
            m->watchers[i] = stream;
            slot = i;
        }
    }
    (void) pthread_mutex_unlock(&m->watch_lock);
    if (slot < 0) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "%d streams watch workspaces, which is the limit", WSM_WATCHERS_MAX);
    }
    gp_stream_on_close(stream, watch_closed, m);
    rc = wsm_store_list(m->db, false, arena, &list, err);
    for (int i = 0; rc == 0 && i < list.n; i++) {
        rc = watch_first(m, slot, stream, list.items[i].id);
    }
    if (rc >= 0 || !watch_take(m, stream)) {
        return 0;
    }
    return err->code ? rc : gp_err(err, -rc, "The reader of WatchWorkspaces is gone or too slow");
}

void wsm_watch_stop(wsm_t *m)
{
    (void) pthread_mutex_lock(&m->watch_lock);
    for (int i = 0; i < WSM_WATCHERS_MAX; i++) {
        if (m->watchers[i]) {
            watch_end(m->watchers[i], 0);
            m->watchers[i] = NULL;
        }
    }
    (void) pthread_mutex_unlock(&m->watch_lock);
}

/*
 * Events for people (docs/contracts/redis.md): the last step of a change, after
 * its row and its route record. A thread of its own sends them, so that Redis
 * holds up nobody. What cannot be sent is not kept: once Redis takes events
 * again, every owner is told to read anew. The same at the start, since a
 * process that was killed may have owed some.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "rpc/message.h"
#include "rpc/workspace_status.h"
#include "wsm.h"

#define EVENT_RETRY_MS 500

/* Of one workspace they are told in the order of its versions. */
static bool event_is_news(wsm_t *m, const wsm_workspace_t *ws)
{
    wsm_run_t *run = wsm_run_get(m, ws->id);
    bool news;

    (void) pthread_mutex_lock(&m->runs_lock);
    news = ws->version > run->event_version;
    if (news) {
        run->event_version = ws->version;
    }
    (void) pthread_mutex_unlock(&m->runs_lock);
    return news;
}

/* NULL: it cannot be written as JSON. To be freed. */
static char *event_data(wsm_t *m, const wsm_workspace_t *ws)
{
    wsm_auto_arena arena = gp_arena_new(WSM_ARENA_BYTES);
    Gitpod__Internal__V1__ManagedWorkspace *managed = wsm_message(m, ws, arena);
    Gitpod__V1__WatchWorkspaceStatusResponse msg = GITPOD__V1__WATCH_WORKSPACE_STATUS_RESPONSE__INIT;
    gp_err_t err = GP_ERR_INIT;
    char *json;
    size_t len;

    msg.workspace_id = managed->id;
    msg.status = managed->deleted ? NULL : gp_workspace_status(arena, managed);
    if (gp_message_to_json(&msg.base, arena, &json, &len, &err) < 0) {
        gp_log(GP_LOG_ERROR, "an event cannot be written", "workspace", ws->id, "error", err.text, NULL);
        return NULL;
    }
    return strdup(json);
}

void wsm_event_tell(wsm_t *m, const wsm_workspace_t *ws)
{
    char *data;

    if (!event_is_news(m, ws)) {
        return;
    }
    data = event_data(m, ws);
    (void) pthread_mutex_lock(&m->events_lock);
    if (data && m->events_n < WSM_EVENTS_MAX) {
        struct wsm_event *event = &m->events[(m->events_head + m->events_n++) % WSM_EVENTS_MAX];

        (void) snprintf(event->owner, sizeof(event->owner), "%s", ws->owner);
        event->data = data;
        data = NULL;
    } else {
        m->events_lost = true;
    }
    (void) pthread_cond_signal(&m->events_cond);
    (void) pthread_mutex_unlock(&m->events_lock);
    free(data);
}

static void event_drop_all(wsm_t *m)
{
    (void) pthread_mutex_lock(&m->events_lock);
    while (m->events_n > 0) {
        free(m->events[m->events_head].data);
        m->events_head = (m->events_head + 1) % WSM_EVENTS_MAX;
        m->events_n--;
    }
    m->events_lost = false;
    (void) pthread_mutex_unlock(&m->events_lock);
}

/* Lost from here on counts again, so before the owners are read. */
static int event_reset_all(wsm_t *m, gp_err_t *err)
{
    wsm_auto_arena arena = gp_arena_new(WSM_ARENA_BYTES);
    wsm_workspace_list_t list;
    int rc, i, k;

    event_drop_all(m);
    rc = wsm_store_list(m->db, false, arena, &list, err);
    for (i = 0; rc == 0 && i < list.n && !atomic_load(&m->stopping); i++) {
        for (k = 0; k < i && strcmp(list.items[k].owner, list.items[i].owner) != 0; k++) {
        }
        if (k == i) {
            rc = gp_redis_add_event(m->redis, GP_EVENT_RESET, list.items[i].owner, "{\"reason\":\"lost\"}", err);
        }
    }
    return rc;
}

/* The next one, or NULL: everybody shall read anew (lost), or the service stops. */
static char *event_next(wsm_t *m, char ret_owner[GP_USER_ID_LEN + 1], bool *ret_lost)
{
    char *data = NULL;

    (void) pthread_mutex_lock(&m->events_lock);
    while (m->events_n == 0 && !m->events_lost && !atomic_load(&m->stopping)) {
        (void) pthread_cond_wait(&m->events_cond, &m->events_lock);
    }
    *ret_lost = m->events_lost;
    if (!m->events_lost && m->events_n > 0) {
        struct wsm_event *event = &m->events[m->events_head];

        memcpy(ret_owner, event->owner, GP_USER_ID_LEN + 1);
        data = event->data;
        m->events_head = (m->events_head + 1) % WSM_EVENTS_MAX;
        m->events_n--;
    }
    (void) pthread_mutex_unlock(&m->events_lock);
    return data;
}

static void event_set_lost(wsm_t *m)
{
    (void) pthread_mutex_lock(&m->events_lock);
    m->events_lost = true;
    (void) pthread_mutex_unlock(&m->events_lock);
}

void *wsm_event_loop(void *data)
{
    wsm_t *m = data;
    bool away = false;

    event_set_lost(m);
    while (!atomic_load(&m->stopping)) {
        gp_err_t err = GP_ERR_INIT;
        char owner[GP_USER_ID_LEN + 1];
        bool lost;
        char *text = event_next(m, owner, &lost);
        int rc = lost ? event_reset_all(m, &err) : text ? gp_redis_add_event(m->redis, GP_EVENT_WORKSPACE, owner, text, &err) : 0;

        if (rc == 0 && text) {
            gp_metric_add(m->metrics.events, 1);
        }
        free(text);
        if (rc == 0 && away) {
            gp_log(GP_LOG_INFO, "events are written", NULL);
        }
        if (rc < 0) {
            gp_metric_add(m->metrics.events_lost, 1);
            event_set_lost(m);
        }
        if (rc < 0 && !away) {
            gp_log(GP_LOG_WARN, "events are lost until Redis takes them; everybody is told to read anew then", "error", err.text, NULL);
        }
        away = rc < 0;
        if (away) {
            (void) wsm_sleep(m, EVENT_RETRY_MS);
        }
    }
    return NULL;
}

void wsm_event_wake(wsm_t *m)
{
    (void) pthread_mutex_lock(&m->events_lock);
    (void) pthread_cond_broadcast(&m->events_cond);
    (void) pthread_mutex_unlock(&m->events_lock);
}

void wsm_event_free(wsm_t *m)
{
    event_drop_all(m);
}

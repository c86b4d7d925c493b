/*
 * Route records: what the gateway must know of a workspace. Each change is
 * written at once; while Redis is away nothing waits for it, and when it is
 * back everything is written again. Versions make a second write harmless.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "core/contract.h"
#include "jose/digest.h"
#include "wsm.h"

#define ROUTE_CHECK_MS 3000
#define ROUTE_RETRY_MS 500
#define ROUTE_ALL_MS 30000 /* all again, for what Redis lost unnoticed */

/* NULL: out of memory, or no digest. */
static char *route_json(const wsm_t *m, const wsm_workspace_t *ws)
{
    char digest[GP_SHA256_HEX_LEN + 1];
    gp_auto_json json_t *doc = NULL, *ports = NULL;

    if (ws->deleted != WSM_KEPT) {
        doc = json_pack("{s:I, s:s, s:b}", "version", (json_int_t) ws->version, "id", ws->id, "deleted", 1);
        return json_dumps(doc, JSON_COMPACT);
    }
    if (gp_sha256_hex(ws->owner_token, strlen(ws->owner_token), digest) < 0) {
        return NULL;
    }
    ports = wsm_route_ports(m, ws);
    doc = json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:O}", "version", (json_int_t) ws->version, "id", ws->id, "phase",
                    wsm_phase_name(ws->phase), "admission", "owner", "owner", ws->owner, "owner_token_sha256", digest, "ports", ports);
    if (wsm_listener_number(m, ws, 0) != 0) {
        json_object_set_new(doc, "listen", json_integer(wsm_listener_number(m, ws, 0)));
    }
    if (*ws->instance) {
        json_object_set_new(doc, "instance", json_string(ws->instance));
    }
    if (ws->phase == WSM_PHASE_RUNNING && *ws->address) {
        json_object_set_new(doc, "address", json_string(ws->address));
    }
    return doc ? json_dumps(doc, JSON_COMPACT) : NULL;
}

static int route_write(wsm_t *m, const wsm_workspace_t *ws, gp_err_t *err)
{
    char *json = route_json(m, ws);
    int rc;

    if (!json) {
        return gp_err(err, GP_INTERNAL, "The route record of %s cannot be written", ws->id);
    }
    rc = gp_redis_put_record(m->redis, GP_REDIS_ROUTES, GP_REDIS_ROUTES_CHANNEL, ws->id, ws->version, json, err);
    free(json);
    return rc;
}

static void route_state(wsm_t *m, bool dirty, const gp_err_t *err)
{
    if (atomic_exchange(&m->routes_dirty, dirty) == dirty) {
        return;
    }
    gp_metric_set(m->metrics.redis_up, !dirty);
    if (dirty) {
        gp_log(GP_LOG_WARN, "route records wait for Redis", "error", err->text, NULL);
        wsm_tick(m);
    } else {
        gp_log(GP_LOG_INFO, "route records are written", NULL);
    }
}

void wsm_route_put(wsm_t *m, const wsm_workspace_t *ws)
{
    gp_err_t err = GP_ERR_INIT;

    gp_snapshot_wake(m->snapshot);
    if (atomic_load(&m->routes_dirty)) {
        return; /* the loop writes all of them when Redis is back */
    }
    if (route_write(m, ws, &err) < 0) {
        route_state(m, true, &err);
    }
}

static int route_drop(wsm_t *m, const wsm_workspace_t *ws, gp_arena_t *arena, gp_err_t *err)
{
    const char *argv[] = {"HDEL", GP_REDIS_ROUTES, ws->id};
    int rc = gp_redis_command(m->redis, arena, NULL, err, 3, argv);

    if (rc == 0) {
        rc = wsm_store_purge(m->db, ws->id, err);
    }
    if (rc == 0) {
        wsm_run_drop(m, ws->id);
    }
    return rc;
}

static int route_all(wsm_t *m, gp_err_t *err)
{
    wsm_auto_arena arena = gp_arena_new(WSM_ARENA_BYTES);
    int64_t old_ms = gp_clock_epoch_ms() - m->conf->tombstone_s * 1000;
    wsm_workspace_list_t list;
    int rc = wsm_store_list(m->db, false, arena, &list, err);

    for (int i = 0; rc == 0 && i < list.n && !atomic_load(&m->stopping); i++) {
        const wsm_workspace_t *ws = &list.items[i];
        rc = ws->deleted == WSM_DELETED && ws->deleted_ms < old_ms ? route_drop(m, ws, arena, err) : route_write(m, ws, err);
    }
    return rc;
}

int wsm_route_snapshot(gp_snapshot_file_t *file, void *data, gp_err_t *err)
{
    wsm_auto_arena arena = gp_arena_new(WSM_ARENA_BYTES);
    wsm_t *m = data;
    wsm_workspace_list_t list;
    int rc = wsm_store_list(m->db, false, arena, &list, err);

    for (int i = 0; rc == 0 && i < list.n; i++) {
        char *json = route_json(m, &list.items[i]);

        rc = json ? gp_snapshot_add(file, json, err)
                  : gp_err(err, GP_INTERNAL, "The route record of %s cannot be written", list.items[i].id);
        free(json);
    }
    return rc;
}

/* A new connection id means that Redis may have come back with less. */
static int route_connection(wsm_t *m, int64_t *ret_id, gp_err_t *err)
{
    wsm_auto_arena arena = gp_arena_new(WSM_ARENA_BYTES);
    const char *argv[] = {"CLIENT", "ID"};
    char *text = NULL;
    int rc = gp_redis_command(m->redis, arena, &text, err, 2, argv);

    if (rc == 0) {
        *ret_id = text ? strtoll(text, NULL, 10) : 0;
    }
    return rc;
}

void *wsm_route_loop(void *data)
{
    wsm_t *m = data;
    int64_t connection = 0;
    uint64_t all_ms = 0;

    do {
        gp_err_t err = GP_ERR_INIT;
        int64_t id = 0;
        int rc = route_connection(m, &id, &err);

        if (rc == 0 && (id != connection || atomic_load(&m->routes_dirty) || gp_clock_ms() - all_ms >= ROUTE_ALL_MS)) {
            rc = route_all(m, &err);
            if (rc == 0) {
                /* A change made meanwhile was held back if the flag was up: once more. */
                rc = atomic_load(&m->routes_dirty) ? (route_state(m, false, &err), route_all(m, &err)) : 0;
                connection = id;
                all_ms = gp_clock_ms();
            }
        }
        if (rc < 0) {
            route_state(m, true, &err);
        }
    } while (!wsm_sleep(m, atomic_load(&m->routes_dirty) ? ROUTE_RETRY_MS : ROUTE_CHECK_MS));
    return NULL;
}

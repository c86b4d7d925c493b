/*
 * Mode port: the gateway's listeners are given to editors and ports here, by
 * number, and published in the route record. Ports are those that the supervisor
 * tells of and those that somebody set; people inside learn their URLs from a
 * file.
 */
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "core/hash.h"
#include "ports.h"
#include "wsm.h"

#define LISTENER_TRIES 3 /* somebody else may take the one that was made free */

static int change_give(wsm_t *m, wsm_workspace_t *ws, gp_arena_t *arena, void *data, gp_err_t *err)
{
    const wsm_listener_t *item = data;

    if (ws->phase != WSM_PHASE_STOPPED || wsm_listeners_find(&ws->listeners, item->port) != item->number) {
        return 1;
    }
    wsm_listeners_remove(&ws->listeners, item->port);
    ws->new_listeners = true;
    return 0;
}

/* One at least is free afterwards, of a stopped workspace other than id if need be. */
static int make_room(wsm_t *m, const char *id, gp_arena_t *arena, gp_err_t *err)
{
    int first = (int) m->conf->service.listener_first, last = (int) m->conf->service.listener_last;
    int number = 0, rc = 0;

    for (int i = 0; i < LISTENER_TRIES; i++) {
        wsm_listener_t item;
        const char *from = NULL;

        rc = wsm_store_free_listener(m->db, first, last, &number, err);
        if (rc < 0 || number != 0) {
            return rc;
        }
        rc = wsm_store_idle_listener(m->db, first, last, id, arena, &from, &item, err);
        if (rc > 0) {
            return gp_err(err, GP_RESOURCE_EXHAUSTED,
                          "All %d ports of workspaces are in use: stop a workspace, or make GITPOD_PORT_RANGE (%d-%d) larger",
                          last - first + 1, first, last);
        }
        rc = rc < 0 ? rc : wsm_change(m, from, arena, change_give, &item, NULL, err);
        if (rc < 0 && rc != -GP_NOT_FOUND) {
            return rc;
        }
        gp_log(GP_LOG_INFO, "a stopped workspace gave its listener", "workspace", from, NULL);
    }
    return 0;
}

int wsm_listener_room(wsm_t *m, const char *id, gp_arena_t *arena, gp_err_t *err)
{
    wsm_workspace_t ws;
    int rc = wsm_mode_port(m) ? wsm_store_get(m->db, id, arena, &ws, err) : 1;

    if (rc != 0 || wsm_listener_number(m, &ws, 0) != 0) {
        return rc < 0 ? rc : 0;
    }
    return make_room(m, id, arena, err);
}

int wsm_listener_assign(wsm_t *m, wsm_workspace_t *ws, int port, gp_err_t *err)
{
    int number = 0, rc;

    if (!wsm_mode_port(m) || wsm_listener_number(m, ws, port) != 0) {
        return 0;
    }
    wsm_listeners_remove(&ws->listeners, port); /* of another range */
    if (ws->listeners.n == WSM_LISTENERS_MAX) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "port: %d ports of this workspace have listeners, which is the limit",
                      GP_ROUTE_PORTS_MAX);
    }
    rc = wsm_store_free_listener(m->db, (int) m->conf->service.listener_first, (int) m->conf->service.listener_last, &number, err);
    if (rc < 0) {
        return rc;
    }
    if (number == 0) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "All ports of workspaces are in use: stop a workspace, or make GITPOD_PORT_RANGE larger");
    }
    /* Not in the database yet: the next one asked for must differ. */
    for (int i = 0; i < ws->listeners.n; i++) {
        if (ws->listeners.items[i].number == number) {
            return gp_err(err, GP_ABORTED, "one listener at a time");
        }
    }
    ws->listeners.items[ws->listeners.n++] = (wsm_listener_t){.port = port, .number = number};
    ws->new_listeners = true;
    return 0;
}

/* ---- ports of a running workspace ---- */

typedef struct {
    int ports[GP_ROUTE_PORTS_MAX];
    int n;
} wanted_t;

static bool wants(const wanted_t *wanted, int port)
{
    for (int i = 0; i < wanted->n; i++) {
        if (wanted->ports[i] == port) {
            return true;
        }
    }
    return port == 0;
}

static void want(wanted_t *wanted, json_int_t port)
{
    if (port >= 1 && port <= 65535 && !wants(wanted, (int) port) && wanted->n < GP_ROUTE_PORTS_MAX) {
        wanted->ports[wanted->n++] = (int) port;
    }
}

/* Those that somebody set first, for they are in the record anyway. */
static void want_set(wanted_t *wanted, const char *ports)
{
    gp_auto_json json_t *set = wsm_ports_effective(ports);

    for (size_t i = 0; i < json_array_size(set); i++) {
        want(wanted, json_integer_value(json_object_get(json_array_get(set, i), "port")));
    }
}

/* The first that has no listener; negative: all have. */
static int missing_port(const wsm_t *m, const wsm_workspace_t *ws, const wanted_t *wanted)
{
    if (wsm_listener_number(m, ws, 0) == 0) {
        return 0;
    }
    for (int i = 0; i < wanted->n; i++) {
        if (wsm_listener_number(m, ws, wanted->ports[i]) == 0) {
            return wanted->ports[i];
        }
    }
    return -1;
}

/* The first that is missing gets one, after room was made among those nobody wants any more. */
static int change_port(wsm_t *m, wsm_workspace_t *ws, gp_arena_t *arena, void *data, gp_err_t *err)
{
    const wanted_t *wanted = data;
    int missing = missing_port(m, ws, wanted);

    if (ws->phase != WSM_PHASE_RUNNING || ws->deleted != WSM_KEPT || missing < 0) {
        return 1;
    }
    for (int i = 0; ws->listeners.n == WSM_LISTENERS_MAX && i < ws->listeners.n; i++) {
        if (!wants(wanted, ws->listeners.items[i].port)) {
            wsm_listeners_remove(&ws->listeners, ws->listeners.items[i].port);
        }
    }
    return wsm_listener_assign(m, ws, missing, err);
}

/* {"3000":"http://W:10001/"}, for gp and the supervisor. */
static char *urls_json(const wsm_t *m, const wsm_workspace_t *ws, gp_arena_t *arena)
{
    gp_auto_json json_t *doc = json_object();

    for (int i = 0; i < ws->listeners.n; i++) {
        const wsm_listener_t *item = &ws->listeners.items[i];

        if (item->port != 0) {
            json_object_set_new(doc, gp_arena_printf(arena, "%d", item->port), json_string(wsm_url(m, ws, item->port, arena)));
        }
    }
    return json_dumps(doc, JSON_COMPACT | JSON_SORT_KEYS);
}

/* Ports have half of the range at most: programs that listen shall not keep editors from starting. */
static int check_share(const wsm_t *m, gp_err_t *err)
{
    int first = (int) m->conf->service.listener_first, last = (int) m->conf->service.listener_last, n = 0;
    int rc = wsm_store_count_ports(m->db, first, last, &n, err);

    if (rc == 0 && n >= (last - first + 1) / 2) {
        return gp_err(
            err, GP_RESOURCE_EXHAUSTED,
            "Ports of programs have %d listeners, half of the range: end programs that listen, or make GITPOD_PORT_RANGE (%d-%d) larger", n,
            first, last);
    }
    return rc;
}

static void tell_urls(wsm_t *m, wsm_run_t *run, const wsm_workspace_t *ws, gp_arena_t *arena)
{
    gp_auto_free char *text = urls_json(m, ws, arena);
    gp_err_t err = GP_ERR_INIT;
    uint64_t told;

    if (!text) {
        return;
    }
    told = gp_hash64(text, strlen(text), gp_hash64(ws->instance, strlen(ws->instance), 0));
    if (told == run->urls_told) {
        return;
    }
    if (wsm_instance_write(m, ws, GP_FILE_PORTS_NAME, text, arena, &err) < 0) {
        gp_log(GP_LOG_WARN, "a workspace does not hear of its URLs", "workspace", ws->id, "error", err.text, NULL);
        return;
    }
    run->urls_told = told;
}

/* Ports as they are wanted, until one finds no listener; now: the workspace as it was, and is afterwards. */
static int give_all(wsm_t *m, wanted_t *wanted, gp_arena_t *arena, wsm_workspace_t *now, gp_err_t *err)
{
    const char *id = now->id;
    int missing, rc = 0;

    for (int i = 0; rc == 0 && i < WSM_LISTENERS_MAX && (missing = missing_port(m, now, wanted)) >= 0; i++) {
        rc = missing == 0 ? 0 : check_share(m, err);
        rc = rc < 0 ? rc : make_room(m, id, arena, err);
        rc = rc < 0 ? rc : wsm_change(m, id, arena, change_port, wanted, now, err);
    }
    return rc;
}

int wsm_listener_give(wsm_t *m, wsm_workspace_t *ws, int port, gp_arena_t *arena, gp_err_t *err)
{
    int served[GP_ROUTE_PORTS_MAX], n, rc;
    wanted_t wanted = {.n = 0};

    if (!wsm_mode_port(m) || wsm_listener_number(m, ws, port) != 0) {
        return 0;
    }
    n = wsm_supervisor_ports(ws->address, served, GP_ROUTE_PORTS_MAX, arena, err);
    if (n < 0) {
        return n;
    }
    want(&wanted, port);
    want_set(&wanted, ws->ports);
    for (int i = 0; i < n; i++) {
        want(&wanted, served[i]);
    }
    rc = give_all(m, &wanted, arena, ws, err);
    wsm_tick(m); /* those inside hear of it */
    return wsm_listener_number(m, ws, port) != 0 ? 0 : rc < 0 ? rc : gp_err(err, GP_UNAVAILABLE, "The workspace has changed; try again");
}

void wsm_listener_tend(wsm_t *m, wsm_run_t *run, const wsm_workspace_t *ws, gp_arena_t *arena)
{
    int served[GP_ROUTE_PORTS_MAX];
    wsm_workspace_t now = *ws;
    wanted_t wanted = {.n = 0};
    gp_err_t err = GP_ERR_INIT;
    int n, rc;

    if (!wsm_mode_port(m)) {
        return;
    }
    want_set(&wanted, ws->ports);
    n = wsm_supervisor_ports(ws->address, served, GP_ROUTE_PORTS_MAX, arena, &err);
    if (n < 0) {
        return; /* the activity poll says so */
    }
    for (int i = 0; i < n; i++) {
        want(&wanted, served[i]);
    }
    rc = give_all(m, &wanted, arena, &now, &err);
    if (rc < 0 && rc != run->listener_fault) {
        gp_log(GP_LOG_WARN, "a port has no listener", "workspace", ws->id, "error", err.text, NULL);
    }
    run->listener_fault = rc < 0 ? rc : 0;
    tell_urls(m, run, &now, arena);
}

/*
 * Mode port: which listener is whose, as the database has it, in URLs and in the
 * route record. No side effects.
 */
#include "base/cleanup.h"
#include "ports.h"
#include "wsm.h"

int wsm_listeners_find(const wsm_listeners_t *listeners, int port)
{
    for (int i = 0; i < listeners->n; i++) {
        if (listeners->items[i].port == port) {
            return listeners->items[i].number;
        }
    }
    return 0;
}

void wsm_listeners_remove(wsm_listeners_t *listeners, int port)
{
    for (int i = 0; i < listeners->n; i++) {
        if (listeners->items[i].port == port) {
            listeners->items[i] = listeners->items[--listeners->n];
            return;
        }
    }
}

bool wsm_mode_port(const wsm_t *m)
{
    return m->conf->service.listener_first != 0;
}

/* One of another range, as after a change of the setting, does not count. */
int wsm_listener_number(const wsm_t *m, const wsm_workspace_t *ws, int port)
{
    const gp_service_conf_t *conf = &m->conf->service;
    int number = wsm_listeners_find(&ws->listeners, port);

    return wsm_mode_port(m) && number >= conf->listener_first && number <= conf->listener_last ? number : 0;
}

const char *wsm_url(const wsm_t *m, const wsm_workspace_t *ws, int port, gp_arena_t *arena)
{
    const char *scheme = m->conf->service.external_scheme;
    int number = wsm_listener_number(m, ws, port);

    if (!wsm_mode_port(m)) {
        return port ? gp_arena_printf(arena, "%s://%d-%s%s", scheme, port, ws->id, m->host_suffix)
                    : gp_arena_printf(arena, "%s://%s%s", scheme, ws->id, m->host_suffix);
    }
    return number ? gp_arena_printf(arena, "%s://%s:%d/", scheme, m->conf->service.workspace_domain, number) : "";
}

json_t *wsm_route_ports(const wsm_t *m, const wsm_workspace_t *ws)
{
    gp_auto_json json_t *ports = wsm_ports_effective(ws->ports);
    size_t set = json_array_size(ports);

    for (size_t i = 0; wsm_mode_port(m) && i < set; i++) {
        json_t *entry = json_array_get(ports, i);
        int number = wsm_listener_number(m, ws, (int) json_integer_value(json_object_get(entry, "port")));

        if (number != 0) {
            json_object_set_new(entry, "listen", json_integer(number));
        }
    }
    for (int i = 0; ports && i < ws->listeners.n && json_array_size(ports) < GP_ROUTE_PORTS_MAX; i++) {
        const wsm_listener_t *item = &ws->listeners.items[i];
        size_t at = 0;

        while (at < set && json_integer_value(json_object_get(json_array_get(ports, at), "port")) != item->port) {
            at++;
        }
        if (at == set && item->port != 0 && wsm_listener_number(m, ws, item->port) != 0) {
            json_array_append_new(ports, json_pack("{s:i, s:i}", "port", item->port, "listen", item->number));
        }
    }
    return gp_steal(&ports);
}

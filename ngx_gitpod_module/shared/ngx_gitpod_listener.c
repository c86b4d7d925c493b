
/*
 * Listeners of mode port: which workspace has which.  The routes are the
 * truth; this table only leads to one, which must claim the listener itself.
 * So an entry that a route has left behind leads nowhere, and of two routes
 * that claim the same listener the later has it.
 */


#include "ngx_gitpod_zone.h"


static ngx_int_t ngx_gitpod_listener_set(ngx_gitpod_zone_t *zone,
    uint16_t listener, ngx_gitpod_listener_t *entry);
static void ngx_gitpod_listener_clean(ngx_gitpod_zone_t *zone);


ngx_int_t
ngx_gitpod_listener_get(ngx_gitpod_zone_t *zone, ngx_uint_t listener,
    ngx_gitpod_route_t *copy, ngx_uint_t *port)
{
    uint16_t               key;
    ngx_str_t              id;
    ngx_gitpod_listener_t  entry;

    key = (uint16_t) listener;

    if (key != listener
        || ngx_gitpod_table_get(&zone->listeners, (u_char *) &key,
                                sizeof(uint16_t), &entry)
           != NGX_OK)
    {
        return NGX_DECLINED;
    }

    id.data = entry.id;
    id.len = entry.id_len;

    if (ngx_gitpod_route_get(zone, &id, copy) != NGX_OK) {
        return NGX_DECLINED;
    }

    /* a copy does not tell its id */

    copy->id_len = entry.id_len;
    ngx_memcpy(copy->id, entry.id, entry.id_len);

    return ngx_gitpod_listener_claimed(copy, listener, port) ? NGX_OK
                                                             : NGX_DECLINED;
}


ngx_uint_t
ngx_gitpod_listener_claimed(ngx_gitpod_route_t *route, ngx_uint_t listener,
    ngx_uint_t *port)
{
    ngx_uint_t  i;

    if (listener == 0) {
        return 0;
    }

    if (route->listener == listener) {
        *port = 0;
        return 1;
    }

    for (i = 0; i < route->ports_n; i++) {

        if (route->ports[i].listener == listener) {
            *port = route->ports[i].port;
            return 1;
        }
    }

    return 0;
}


/* NGX_BUSY: there is no room for all of them. */

ngx_int_t
ngx_gitpod_listener_enter(ngx_gitpod_zone_t *zone, ngx_gitpod_route_t *route)
{
    ngx_int_t              rc;
    ngx_uint_t             i;
    ngx_gitpod_listener_t  entry;

    ngx_memzero(&entry, sizeof(ngx_gitpod_listener_t));

    entry.id_len = route->id_len;
    ngx_memcpy(entry.id, route->id, route->id_len);

    rc = ngx_gitpod_listener_set(zone, route->listener, &entry);

    for (i = 0; i < route->ports_n; i++) {

        if (ngx_gitpod_listener_set(zone, route->ports[i].listener, &entry)
            != NGX_OK)
        {
            rc = NGX_BUSY;
        }
    }

    return rc;
}


static ngx_int_t
ngx_gitpod_listener_set(ngx_gitpod_zone_t *zone, uint16_t listener,
    ngx_gitpod_listener_t *entry)
{
    ngx_int_t               rc;
    ngx_gitpod_listener_t  *old;

    if (listener == 0) {
        return NGX_OK;
    }

    old = ngx_gitpod_table_find(&zone->listeners, (u_char *) &listener,
                                sizeof(uint16_t));

    if (old && ngx_memcmp(old, entry, sizeof(ngx_gitpod_listener_t)) == 0) {
        return NGX_OK;
    }

    rc = ngx_gitpod_table_set(&zone->listeners, (u_char *) &listener,
                              sizeof(uint16_t), entry);

    if (rc != NGX_OK) {
        ngx_gitpod_listener_clean(zone);
        rc = ngx_gitpod_table_set(&zone->listeners, (u_char *) &listener,
                                  sizeof(uint16_t), entry);
    }

    return rc;
}


/* Drops what leads nowhere.  Rare: it takes another range of listeners. */

static void
ngx_gitpod_listener_clean(ngx_gitpod_zone_t *zone)
{
    uint32_t             n;
    uint16_t             listener;
    ngx_str_t            key;
    ngx_uint_t           port;
    ngx_gitpod_route_t   route;

    for (n = 0; ngx_gitpod_table_walk(&zone->listeners, &n, &key); n++) {

        ngx_memcpy(&listener, key.data, sizeof(uint16_t));

        if (ngx_gitpod_listener_get(zone, listener, &route, &port)
            != NGX_OK)
        {
            ngx_gitpod_table_drop(&zone->listeners, n);
        }
    }
}

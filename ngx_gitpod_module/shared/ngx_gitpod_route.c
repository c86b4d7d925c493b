
/*
 * Routes: one record per workspace id (docs/contracts/redis.md).  Text from
 * outside becomes a record once; requests only copy it.
 */


#include "ngx_gitpod_zone.h"


#define NGX_GITPOD_ROUTE_TELL_S  60     /* between lines about a full table */


#if !(NGX_HAVE_LITTLE_ENDIAN)
#error "ngx_gitpod_route_hex() wants the low byte of a pair first"
#endif


/* eight bytes, and their sixteen digits */

typedef u_char       ngx_gitpod_hex_bytes_t __attribute__((vector_size(8)));
typedef uint16_t     ngx_gitpod_hex_pairs_t __attribute__((vector_size(16)));
typedef signed char  ngx_gitpod_hex_digits_t __attribute__((vector_size(16)));


static void ngx_gitpod_route_pack(ngx_gitpod_route_record_t *record,
    ngx_gitpod_route_t *route);
static void ngx_gitpod_route_unpack(ngx_gitpod_route_t *route,
    ngx_gitpod_route_record_t *record);
static void ngx_gitpod_route_pack_uuid(u_char *bytes, u_char *text);
static void ngx_gitpod_route_unpack_uuid(u_char *text, u_char *bytes);
static ngx_inline void ngx_gitpod_route_hex(uint64_t digits[2],
    u_char bytes[8]);
static void ngx_gitpod_route_apply(ngx_gitpod_zone_t *zone,
    ngx_gitpod_route_t *route, ngx_log_t *log);


ngx_int_t
ngx_gitpod_route_get(ngx_gitpod_zone_t *zone, ngx_str_t *id,
    ngx_gitpod_route_t *copy)
{
    ngx_gitpod_route_record_t  record;

    if (ngx_gitpod_table_get(&zone->routes, id->data, id->len, &record)
        != NGX_OK
        || record.deleted || record.refused)
    {
        return NGX_DECLINED;
    }

    ngx_gitpod_route_unpack(copy, &record);

    return NGX_OK;
}


ngx_gitpod_route_port_t *
ngx_gitpod_route_port(ngx_gitpod_route_t *route, ngx_uint_t port)
{
    ngx_uint_t  i;

    for (i = 0; i < route->ports_n; i++) {
        if (route->ports[i].port == port) {
            return &route->ports[i];
        }
    }

    return NULL;
}


uint64_t
ngx_gitpod_route_sequence(ngx_gitpod_zone_t *zone)
{
    return __atomic_load_n(&zone->routes.sequence, __ATOMIC_ACQUIRE);
}


ngx_uint_t
ngx_gitpod_routes_synced(ngx_gitpod_zone_t *zone)
{
    return __atomic_load_n(&zone->feed.routes_synced, __ATOMIC_ACQUIRE);
}


ngx_uint_t
ngx_gitpod_routes_current(ngx_gitpod_zone_t *zone)
{
    return ngx_gitpod_routes_synced(zone)
           && zone->feed.subscribed
           && zone->feed.synced_ms >= zone->feed.changed_ms;
}


ngx_int_t
ngx_gitpod_route_feed(ngx_gitpod_zone_t *zone, ngx_str_t *id, ngx_str_t *text,
    ngx_array_t *cidrs, ngx_log_t *log)
{
    ngx_str_t            name;
    const char          *why;
    ngx_gitpod_route_t   route;

    ngx_memzero(&route, sizeof(ngx_gitpod_route_t));

    if (ngx_gitpod_route_parse(text, id, &route, cidrs, &why) != NGX_OK) {
        ngx_str_null(&name);

        if (id && id->len <= GP_WORKSPACE_ID_MAX) {
            name = *id;

        } else if (route.id_len) {
            name.data = route.id;
            name.len = route.id_len;
        }

        ngx_gitpod_count(zone, NGX_GITPOD_N_ROUTE_REFUSED);
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "gitpod: route of workspace \"%V\" refused: %s",
                      &name, why);

        /*
         * What a bad record replaces is out of date: when it tells its id
         * and version, that workspace has no route until a good one comes.
         */

        route.refused = 1;
    }

    if (route.id_len && route.version) {
        ngx_gitpod_route_apply(zone, &route, log);
    }

    return route.refused ? NGX_DECLINED : NGX_OK;
}


static void
ngx_gitpod_route_apply(ngx_gitpod_zone_t *zone, ngx_gitpod_route_t *route,
    ngx_log_t *log)
{
    ngx_int_t                   rc;
    ngx_uint_t                  full;
    ngx_gitpod_counter_e        counter;
    ngx_gitpod_route_record_t  *old, record;

    static time_t               told, told_listeners;

    ngx_gitpod_route_pack(&record, route);

    full = 0;

    ngx_gitpod_zone_lock(zone);

    old = ngx_gitpod_table_find(&zone->routes, route->id, route->id_len);

    if (old && old->version >= route->version) {
        ngx_gitpod_table_touch(&zone->routes, route->id, route->id_len);
        counter = NGX_GITPOD_N_ROUTE_OLD;
        rc = NGX_OK;

    } else {

        /* listeners first: who is killed between has changed nothing */

        full = !route->deleted && !route->refused
               && ngx_gitpod_listener_enter(zone, route) != NGX_OK;

        rc = ngx_gitpod_table_put(&zone->routes, route->id, route->id_len,
                                  &record, ngx_gitpod_route_bytes(&record));
        counter = (rc == NGX_OK) ? NGX_GITPOD_N_ROUTE_UPDATED
                                 : NGX_GITPOD_N_ROUTE_FULL;
    }

    ngx_gitpod_zone_unlock(zone);

    ngx_gitpod_count(zone, counter);

    if (full && ngx_time() - told_listeners >= NGX_GITPOD_ROUTE_TELL_S) {
        told_listeners = ngx_time();

        ngx_log_error(NGX_LOG_ALERT, log, 0,
                      "gitpod: the zone has room for %uD listeners and is "
                      "full; one of \"%*s\" leads nowhere: raise gitpod_zone",
                      zone->listeners.records_max, (size_t) route->id_len,
                      route->id);
    }

    /* each of them at each resync would fill the log */

    if (rc != NGX_OK && ngx_time() - told >= NGX_GITPOD_ROUTE_TELL_S) {
        told = ngx_time();

        ngx_log_error(NGX_LOG_ALERT, log, 0,
                      "gitpod: the zone has room for %uD routes and is full; "
                      "the route of \"%*s\" was dropped: raise gitpod_zone",
                      zone->routes.records_max, (size_t) route->id_len,
                      route->id);
    }
}


static void
ngx_gitpod_route_pack(ngx_gitpod_route_record_t *record,
    ngx_gitpod_route_t *route)
{
    ngx_memzero(record, sizeof(ngx_gitpod_route_record_t));

    record->version = route->version;
    record->phase = route->phase;
    record->admission = route->admission;
    record->ports_n = route->ports_n;
    record->deleted = route->deleted;
    record->refused = route->refused;
    record->owner_token = route->owner_token;
    record->listener = route->listener;

    if (route->socklen == sizeof(struct sockaddr_in)) {
        record->address_len = 4;
        ngx_memcpy(record->rest, &route->u.sin.sin_addr, 4);

    } else if (route->socklen) {
        record->address_len = 16;
        ngx_memcpy(record->rest, &route->u.sin6.sin6_addr, 16);
    }

    if (route->instance_len) {
        record->instance_set = 1;
        ngx_gitpod_route_pack_uuid(record->instance, route->instance);
    }

    if (route->owner_len) {
        record->owner_set = 1;
        ngx_gitpod_route_pack_uuid(record->owner, route->owner);
    }

    ngx_memcpy(record->digest, route->digest, NGX_GITPOD_DIGEST_LEN);
    ngx_memcpy(record->rest + record->address_len, route->ports,
               route->ports_n * sizeof(ngx_gitpod_route_port_t));
}


static void
ngx_gitpod_route_unpack(ngx_gitpod_route_t *route,
    ngx_gitpod_route_record_t *record)
{
    ngx_memzero(route, offsetof(ngx_gitpod_route_t, digest));

    route->version = record->version;
    route->phase = record->phase;
    route->admission = record->admission;
    route->ports_n = record->ports_n;
    route->owner_token = record->owner_token;
    route->listener = record->listener;

    switch (record->address_len) {

    case 4:
        route->u.sin.sin_family = AF_INET;
        ngx_memcpy(&route->u.sin.sin_addr, record->rest, 4);
        route->socklen = sizeof(struct sockaddr_in);
        break;

    case 16:
        route->u.sin6.sin6_family = AF_INET6;
        ngx_memcpy(&route->u.sin6.sin6_addr, record->rest, 16);
        route->socklen = sizeof(struct sockaddr_in6);
        break;

    default:
        break;
    }

    if (record->instance_set) {
        route->instance_len = GP_INSTANCE_ID_LEN;
        ngx_gitpod_route_unpack_uuid(route->instance, record->instance);
    }

    if (record->owner_set) {
        route->owner_len = GP_USER_ID_LEN;
        ngx_gitpod_route_unpack_uuid(route->owner, record->owner);
    }

    ngx_memcpy(route->digest, record->digest, NGX_GITPOD_DIGEST_LEN);
    ngx_memcpy(route->ports, record->rest + record->address_len,
               record->ports_n * sizeof(ngx_gitpod_route_port_t));
}


/* The text was judged by gp_id_uuid_valid(): lower case, dashes in place. */

static void
ngx_gitpod_route_pack_uuid(u_char *bytes, u_char *text)
{
    ngx_uint_t  i;

    for (i = 0; i < 16; i++) {

        if (*text == '-') {
            text++;
        }

        bytes[i] = (u_char) ngx_hextoi(text, 2);
        text += 2;
    }
}


/* Two of them for each request: sixteen digits at a time. */

static void
ngx_gitpod_route_unpack_uuid(u_char *text, u_char *bytes)
{
    uint64_t  digits[2];

    ngx_gitpod_route_hex(digits, bytes);

    ngx_memcpy(text, &digits[0], 8);
    text[8] = '-';
    ngx_memcpy(text + 9, &digits[1], 4);
    text[13] = '-';
    digits[1] >>= 32;
    ngx_memcpy(text + 14, &digits[1], 4);
    text[18] = '-';

    ngx_gitpod_route_hex(digits, bytes + 8);

    ngx_memcpy(text + 19, &digits[0], 4);
    text[23] = '-';
    digits[0] >>= 32;
    ngx_memcpy(text + 24, &digits[0], 4);
    ngx_memcpy(text + 28, &digits[1], 8);
}


static ngx_inline void
ngx_gitpod_route_hex(uint64_t digits[2], u_char bytes[8])
{
    ngx_gitpod_hex_bytes_t   eight;
    ngx_gitpod_hex_pairs_t   pairs;
    ngx_gitpod_hex_digits_t  n;

    ngx_memcpy(&eight, bytes, sizeof(eight));

    /* a byte becomes a pair, the high digit first; 10 and more are letters */

    pairs = __builtin_convertvector(eight, ngx_gitpod_hex_pairs_t);
    pairs = (pairs >> 4 | pairs << 8) & 0x0f0f;

    n = (ngx_gitpod_hex_digits_t) pairs;
    n += '0' + ((n > 9) & ('a' - '0' - 10));

    ngx_memcpy(digits, &n, sizeof(n));
}


/*
 * A zone of another size or name starts with what the one before it knew.
 * Both are mapped in the master, and no worker uses the new one yet; the
 * workers of the old configuration still write to the old one, so that is
 * read under its lock.  What changes there meanwhile the new workers read
 * from Redis when they start.
 */


#include "ngx_gitpod_zone.h"


#define NGX_GITPOD_COPY_STEP  16        /* groups a turn of the lock */


static uint32_t ngx_gitpod_copy_table(ngx_gitpod_zone_t *from,
    ngx_gitpod_zone_t *zone, size_t offset, ngx_log_t *log);
static ngx_int_t ngx_gitpod_copy_record(ngx_gitpod_zone_t *zone,
    ngx_gitpod_table_t *table, ngx_str_t *key, void *value, size_t size,
    ngx_log_t *log);
static void ngx_gitpod_copy_keys(ngx_gitpod_zone_t *from,
    ngx_gitpod_zone_t *zone, ngx_log_t *log);


void
ngx_gitpod_zone_copy(ngx_gitpod_zone_t *from, ngx_gitpod_zone_t *zone,
    ngx_log_t *log)
{
    uint32_t    lost;
    ngx_uint_t  level;

    if (ngx_gitpod_zone_check(from) != NGX_OK) {
        return;
    }

    /* revocations first: what is read of the rest is judged by them */

    zone->revoked_floor = from->revoked_floor;

    (void) ngx_gitpod_copy_table(from, zone,
                                 offsetof(ngx_gitpod_zone_t, revocations),
                                 log);
    (void) ngx_gitpod_copy_table(from, zone,
                                 offsetof(ngx_gitpod_zone_t, credentials),
                                 log);
    (void) ngx_gitpod_copy_table(from, zone,
                                 offsetof(ngx_gitpod_zone_t, flags), log);
    lost = ngx_gitpod_copy_table(from, zone,
                                 offsetof(ngx_gitpod_zone_t, routes), log);

    (void) ngx_gitpod_copy_table(from, zone,
                                 offsetof(ngx_gitpod_zone_t, listeners), log);

    ngx_gitpod_copy_keys(from, zone, log);

    ngx_memcpy(zone->checks, from->checks, sizeof(from->checks));

    /* a table that lost some is not what was synced */

    zone->feed.routes_synced = from->feed.routes_synced && lost == 0;
    zone->feed.revocations_synced = from->feed.revocations_synced;

    level = lost ? NGX_LOG_ALERT : NGX_LOG_NOTICE;

    ngx_log_error(level, log, 0,
                  "gitpod: the new zone took over %uD routes, "
                  "%uD revocations and %uD tokens; it has no room for "
                  "%uD routes", zone->routes.live, zone->revocations.live,
                  zone->credentials.live, lost);
}


/* How many found no room. */

static uint32_t
ngx_gitpod_copy_table(ngx_gitpod_zone_t *from, ngx_gitpod_zone_t *zone,
    size_t offset, ngx_log_t *log)
{
    void                *value;
    uint32_t             n, lost, last;
    ngx_str_t            key;
    ngx_gitpod_table_t  *old, *table;

    old = (ngx_gitpod_table_t *) (void *) ((u_char *) from + offset);
    table = (ngx_gitpod_table_t *) (void *) ((u_char *) zone + offset);

    n = 0;
    lost = 0;

    do {
        ngx_gitpod_zone_lock(from);

        last = n / NGX_GITPOD_TABLE_GROUP + NGX_GITPOD_COPY_STEP;

        for ( ;; ) {
            value = ngx_gitpod_table_walk(old, &n, &key);

            /* a record that changes meanwhile stays in its group, mostly */

            if (value == NULL || n / NGX_GITPOD_TABLE_GROUP >= last) {
                break;
            }

            if (ngx_gitpod_copy_record(zone, table, &key, value,
                                       ngx_gitpod_table_bytes(old, n), log)
                != NGX_OK)
            {
                lost++;
            }

            n++;
        }

        ngx_gitpod_zone_unlock(from);

    } while (value);

    return lost;
}


static ngx_int_t
ngx_gitpod_copy_record(ngx_gitpod_zone_t *zone, ngx_gitpod_table_t *table,
    ngx_str_t *key, void *value, size_t size, ngx_log_t *log)
{
    /* a table of revocations that is full forgets the oldest ones */

    if (table == &zone->revocations) {
        return ngx_gitpod_revocation_set(zone, key->data, key->len,
                                         *(uint64_t *) value, log);
    }

    return ngx_gitpod_table_put(table, key->data, key->len, value, size);
}


static void
ngx_gitpod_copy_keys(ngx_gitpod_zone_t *from, ngx_gitpod_zone_t *zone,
    ngx_log_t *log)
{
    ngx_str_t               text;
    ngx_uint_t              i;
    ngx_gitpod_key_text_t  *set;

    ngx_gitpod_zone_lock(from);

    for (i = 0; i < NGX_GITPOD_KEY_SETS; i++) {
        set = &from->keys[i];

        text.data = set->text[set->seq & 1];
        text.len = set->len[set->seq & 1];

        if (text.len) {
            (void) ngx_gitpod_keys_feed(zone, i, &text, log);
        }
    }

    zone->key_url.source = from->key_url.source;
    zone->key_url.fetched = from->key_url.fetched;
    zone->key_url.lost = from->key_url.lost;

    ngx_gitpod_zone_unlock(from);
}

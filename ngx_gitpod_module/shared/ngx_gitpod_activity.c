
/*
 * When somebody used which workspace last, as long as it was not reported.
 * Any worker writes, at most once a second for each workspace; the holder of
 * the lease reports and takes out what was taken in.
 */


#include "ngx_gitpod_zone.h"


#define NGX_GITPOD_ACTIVITY_SLICE  64       /* records for one lock */


void
ngx_gitpod_activity_note(ngx_gitpod_zone_t *zone, ngx_str_t *id)
{
    uint64_t  now, active;

    now = ngx_gitpod_now_ms();

    if (ngx_gitpod_table_get(&zone->activity, id->data, id->len, &active)
        == NGX_OK
        && now - active < NGX_GITPOD_ACTIVITY_GRAIN_MS)
    {
        return;
    }

    ngx_gitpod_zone_lock(zone);

    if (ngx_gitpod_table_set(&zone->activity, id->data, id->len, &now)
        == NGX_BUSY)
    {
        /* nobody reports: the eldest are forgotten */

        ngx_gitpod_table_evict(&zone->activity);
        ngx_gitpod_count(zone, NGX_GITPOD_N_ACTIVITY_DROPPED);

        (void) ngx_gitpod_table_set(&zone->activity, id->data, id->len, &now);
    }

    ngx_gitpod_zone_unlock(zone);

    ngx_gitpod_count(zone, NGX_GITPOD_N_ACTIVITY_NOTED);
}


ngx_uint_t
ngx_gitpod_activity_collect(ngx_gitpod_zone_t *zone,
    ngx_gitpod_activity_t *list, ngx_uint_t max)
{
    uint32_t                i, n;
    uint64_t               *active;
    ngx_str_t               key;
    ngx_uint_t              found;
    ngx_gitpod_activity_t  *entry;

    n = 0;
    found = 0;

    for ( ;; ) {
        ngx_gitpod_zone_lock(zone);

        for (i = 0; i < NGX_GITPOD_ACTIVITY_SLICE; i++) {

            active = ngx_gitpod_table_walk(&zone->activity, &n, &key);

            if (active == NULL || found == max) {
                ngx_gitpod_zone_unlock(zone);
                return found;
            }

            entry = &list[found++];

            entry->active_ms = *active;
            entry->id_len = (u_char) key.len;
            ngx_memcpy(entry->id, key.data, key.len);

            n++;
        }

        ngx_gitpod_zone_unlock(zone);
    }
}


void
ngx_gitpod_activity_done(ngx_gitpod_zone_t *zone,
    ngx_gitpod_activity_t *list, ngx_uint_t n)
{
    uint64_t    *active;
    ngx_uint_t   i;

    for (i = 0; i < n; i++) {

        ngx_gitpod_zone_lock(zone);

        /* used again since: that is for the next report */

        active = ngx_gitpod_table_find(&zone->activity, list[i].id,
                                       list[i].id_len);

        if (active && *active == list[i].active_ms) {
            ngx_gitpod_table_remove(&zone->activity, list[i].id,
                                    list[i].id_len);
        }

        ngx_gitpod_zone_unlock(zone);
    }
}

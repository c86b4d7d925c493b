
#include "ngx_gitpod_zone.h"


const uint32_t  ngx_gitpod_bounds_ms[NGX_GITPOD_BUCKETS_N - 1] = {
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000
};


ngx_uint_t
ngx_gitpod_bucket(uint64_t took_ms)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_GITPOD_BUCKETS_N - 1; i++) {
        if (took_ms <= ngx_gitpod_bounds_ms[i]) {
            break;
        }
    }

    return i;
}


void
ngx_gitpod_histogram_add(ngx_gitpod_histogram_t *histogram, uint64_t took_ms)
{
    (void) ngx_atomic_fetch_add(
                         &histogram->buckets[ngx_gitpod_bucket(took_ms)], 1);
    (void) ngx_atomic_fetch_add(&histogram->sum_ms,
                                (ngx_atomic_int_t) took_ms);
}


ngx_uint_t
ngx_gitpod_class_enter(ngx_gitpod_zone_t *zone, ngx_str_t *name)
{
    char        *p;
    ngx_uint_t   i;

    ngx_gitpod_zone_lock(zone);

    for (i = 0; i < NGX_GITPOD_CLASSES_MAX; i++) {
        p = zone->observe.names[i];

        if (p[0] == '\0') {
            ngx_cpystrn((u_char *) p, name->data,
                        ngx_min(name->len + 1, NGX_GITPOD_CLASS_NAME_MAX));
            break;
        }

        if (ngx_strlen(p) == name->len
            && ngx_strncmp(p, name->data, name->len) == 0)
        {
            break;
        }
    }

    ngx_gitpod_zone_unlock(zone);

    return i;
}


ngx_gitpod_class_t *
ngx_gitpod_class(ngx_gitpod_zone_t *zone, ngx_uint_t class)
{
    return &zone->observe.shards[ngx_worker % NGX_GITPOD_SHARDS_N][class];
}


/*
 * One a second and bucket is enough, and nobody waits for the lock: what is
 * not noted now will be by another request.
 */

void
ngx_gitpod_exemplar_note(ngx_gitpod_zone_t *zone, ngx_uint_t class,
    uint64_t took_ms, u_char *trace)
{
    uint64_t                now;
    volatile ngx_time_t    *tp;
    ngx_gitpod_exemplar_t  *e;

    tp = ngx_cached_time;
    now = (uint64_t) tp->sec * 1000 + tp->msec;

    e = &zone->observe.exemplars[class][ngx_gitpod_bucket(took_ms)];

    if (now - e->epoch_ms < 1000
        || !ngx_shmtx_trylock(&zone->shpool->mutex))
    {
        return;
    }

    ngx_memcpy(e->trace, trace, NGX_GITPOD_TRACE_LEN);
    e->took_ms = took_ms;
    e->epoch_ms = now;

    ngx_gitpod_zone_unlock(zone);
}


void
ngx_gitpod_exemplar_read(ngx_gitpod_zone_t *zone, ngx_uint_t class,
    ngx_uint_t bucket, ngx_gitpod_exemplar_t *copy)
{
    ngx_gitpod_zone_lock(zone);
    *copy = zone->observe.exemplars[class][bucket];
    ngx_gitpod_zone_unlock(zone);
}


/*
 * Which workspaces are being started for a request, so that one worker of all
 * asks ws_manager, once.  A marker has the pid of who asks and a deadline: a
 * killed worker's is taken over.  It stays a while when ws_manager said yes,
 * until the route says so too, and when it said no, so that all who wait learn
 * of it and none asks again at once.  It is of the instance that had stopped:
 * what a start leads to is another one, which may be started anew.
 */


#include "ngx_gitpod_zone.h"


#define NGX_GITPOD_WAKE_SETTLE_MS  3000     /* until the route moves */
#define NGX_GITPOD_WAKE_REFUSED_MS 2000     /* a "no" is remembered */


static ngx_gitpod_wake_t *ngx_gitpod_wake_find(ngx_gitpod_zone_t *zone,
    ngx_str_t *id, ngx_str_t *instance, uint64_t now);


/* The marker of a workspace, or a free one, or NULL. */

static ngx_gitpod_wake_t *
ngx_gitpod_wake_find(ngx_gitpod_zone_t *zone, ngx_str_t *id,
    ngx_str_t *instance, uint64_t now)
{
    ngx_uint_t          i;
    ngx_gitpod_wake_t  *wake, *unused;

    unused = NULL;

    for (i = 0; i < NGX_GITPOD_WAKES_MAX; i++) {
        wake = &zone->wakes[i];

        if (wake->until_ms <= now
            || (wake->pid && !ngx_gitpod_process_alive(wake->pid)))
        {
            unused = wake;
            continue;
        }

        if (wake->id_len == id->len
            && ngx_memcmp(wake->id, id->data, id->len) == 0
            && wake->instance_len == instance->len
            && ngx_memcmp(wake->instance, instance->data, instance->len) == 0)
        {
            return wake;
        }
    }

    if (unused) {
        ngx_memzero(unused, sizeof(ngx_gitpod_wake_t));
    }

    return unused;
}


ngx_int_t
ngx_gitpod_wake_begin(ngx_gitpod_zone_t *zone, ngx_str_t *id,
    ngx_str_t *instance, ngx_msec_t ms, u_char *text)
{
    uint64_t            now;
    ngx_int_t           rc;
    ngx_gitpod_wake_t  *wake;

    now = ngx_gitpod_now_ms();

    ngx_gitpod_zone_lock(zone);

    wake = ngx_gitpod_wake_find(zone, id, instance, now);

    if (wake == NULL) {
        rc = NGX_BUSY;

    } else if (wake->id_len == 0) {
        ngx_memcpy(wake->id, id->data, id->len);
        wake->id_len = (u_char) id->len;
        ngx_memcpy(wake->instance, instance->data, instance->len);
        wake->instance_len = (u_char) instance->len;
        wake->pid = ngx_pid;
        wake->until_ms = now + ms;

        rc = NGX_OK;

    } else if (wake->refused) {
        ngx_memcpy(text, wake->text, NGX_GITPOD_WAKE_TEXT_MAX);
        rc = NGX_DECLINED;

    } else {
        rc = NGX_AGAIN;
    }

    ngx_gitpod_zone_unlock(zone);

    return rc;
}


void
ngx_gitpod_wake_end(ngx_gitpod_zone_t *zone, ngx_str_t *id,
    ngx_str_t *instance, char *refused)
{
    uint64_t            now;
    ngx_gitpod_wake_t  *wake;

    now = ngx_gitpod_now_ms();

    ngx_gitpod_zone_lock(zone);

    wake = ngx_gitpod_wake_find(zone, id, instance, now);

    if (wake && wake->id_len && wake->pid == ngx_pid) {
        wake->pid = 0;
        wake->until_ms = now + (refused ? NGX_GITPOD_WAKE_REFUSED_MS
                                        : NGX_GITPOD_WAKE_SETTLE_MS);

        if (refused) {
            wake->refused = 1;
            ngx_cpystrn(wake->text, (u_char *) refused,
                        NGX_GITPOD_WAKE_TEXT_MAX);
        }
    }

    ngx_gitpod_zone_unlock(zone);

    if (refused) {
        (void) ngx_atomic_fetch_add(&zone->wakes_refused, 1);
    }
}


ngx_atomic_uint_t
ngx_gitpod_wakes_refused(ngx_gitpod_zone_t *zone)
{
    return zone->wakes_refused;
}

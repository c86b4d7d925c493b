
/*
 * Which worker asks auth about which token: one question at a time for all of
 * them.  Who waits looks here until the entry is free again, and then into the
 * cache.  A worker that is killed, or takes too long, asks nothing any more.
 */


#include "jose/digest.h"

#include "ngx_gitpod_zone.h"


#define NGX_GITPOD_ASK_MS     10000     /* longer than any question takes */
#define NGX_GITPOD_FAILED_MS  500       /* that long the end is seen */


static ngx_gitpod_ask_t *ngx_gitpod_ask_find(ngx_gitpod_zone_t *zone,
    u_char digest[NGX_GITPOD_DIGEST_LEN]);
static ngx_int_t ngx_gitpod_ask_look(ngx_gitpod_ask_t *ask, uint64_t now);


/* Under the lock, as all here: its entry, else the one to use for it. */

static ngx_gitpod_ask_t *
ngx_gitpod_ask_find(ngx_gitpod_zone_t *zone,
    u_char digest[NGX_GITPOD_DIGEST_LEN])
{
    uint64_t           now;
    ngx_uint_t         i;
    ngx_gitpod_ask_t  *ask, *unused;

    now = ngx_gitpod_now_ms();
    unused = NULL;

    for (i = 0; i < NGX_GITPOD_ASKS_MAX; i++) {
        ask = &zone->asks[i];

        if (ask->until_ms
            && gp_equal_constant_time(ask->digest, digest,
                                      NGX_GITPOD_DIGEST_LEN))
        {
            return ask;
        }

        if (unused == NULL && ngx_gitpod_ask_look(ask, now) == NGX_DECLINED) {
            unused = ask;
        }
    }

    if (unused) {
        unused->until_ms = 0;
        ngx_memcpy(unused->digest, digest, NGX_GITPOD_DIGEST_LEN);
    }

    return unused;
}


static ngx_int_t
ngx_gitpod_ask_look(ngx_gitpod_ask_t *ask, uint64_t now)
{
    if (ask->until_ms <= now) {
        return NGX_DECLINED;
    }

    if (ask->pid == 0) {
        return NGX_ERROR;
    }

    return ngx_gitpod_process_alive(ask->pid) ? NGX_AGAIN : NGX_DECLINED;
}


ngx_int_t
ngx_gitpod_ask_begin(ngx_gitpod_zone_t *zone,
    u_char digest[NGX_GITPOD_DIGEST_LEN])
{
    uint64_t           now;
    ngx_int_t          rc;
    ngx_gitpod_ask_t  *ask;

    rc = NGX_OK;
    now = ngx_gitpod_now_ms();

    ngx_gitpod_zone_lock(zone);

    ask = ngx_gitpod_ask_find(zone, digest);

    if (ask && ngx_gitpod_ask_look(ask, now) == NGX_AGAIN) {
        rc = NGX_AGAIN;

    } else if (ask) {
        ask->until_ms = now + NGX_GITPOD_ASK_MS;
        ask->pid = ngx_pid;
    }

    ngx_gitpod_zone_unlock(zone);

    return rc;
}


ngx_int_t
ngx_gitpod_ask_state(ngx_gitpod_zone_t *zone,
    u_char digest[NGX_GITPOD_DIGEST_LEN])
{
    ngx_int_t          rc;
    ngx_gitpod_ask_t  *ask;

    ngx_gitpod_zone_lock(zone);

    ask = ngx_gitpod_ask_find(zone, digest);
    rc = ask ? ngx_gitpod_ask_look(ask, ngx_gitpod_now_ms()) : NGX_DECLINED;

    ngx_gitpod_zone_unlock(zone);

    return rc;
}


void
ngx_gitpod_ask_end(ngx_gitpod_zone_t *zone,
    u_char digest[NGX_GITPOD_DIGEST_LEN], ngx_uint_t failed)
{
    ngx_gitpod_ask_t  *ask;

    ngx_gitpod_zone_lock(zone);

    ask = ngx_gitpod_ask_find(zone, digest);

    if (ask && ask->until_ms && ask->pid == ngx_pid) {
        ask->pid = 0;
        ask->until_ms = failed ? ngx_gitpod_now_ms() + NGX_GITPOD_FAILED_MS
                               : 0;
    }

    ngx_gitpod_zone_unlock(zone);
}


/*
 * What workers agree on about a key set that comes from a URL: who fetches is
 * the holder of the lease; any other says that a fetch is wanted, since a
 * token names a key that it does not know, and waits for the end of it.
 *
 * A key that a fetch did not bring is remembered as missing: 40 bits of the
 * hash of its name and the second until which it is, in one word.
 */


#include "core/hash.h"

#include "ngx_gitpod_zone.h"


#define NGX_GITPOD_MISSING_S     60     /* a key is known to be missing */
#define NGX_GITPOD_MISSING_SALT  2
#define NGX_GITPOD_MISSING_TIME  0xffffff


static uint64_t ngx_gitpod_missing_hash(ngx_str_t *kid);


ngx_gitpod_key_url_t *
ngx_gitpod_key_url(ngx_gitpod_zone_t *zone)
{
    return &zone->key_url;
}


ngx_int_t
ngx_gitpod_key_url_want(ngx_gitpod_zone_t *zone, ngx_msec_t again,
    ngx_atomic_uint_t *round)
{
    ngx_atomic_uint_t      begun;
    ngx_gitpod_key_url_t  *url;

    url = &zone->key_url;
    begun = url->begun;

    if (begun != url->ended) {
        *round = begun;
        return NGX_OK;
    }

    if (begun && ngx_gitpod_now_ms() - url->begun_ms < again) {
        return (url->good == begun) ? NGX_DECLINED : NGX_BUSY;
    }

    url->wanted = 1;
    *round = begun + 1;

    return NGX_OK;
}


ngx_int_t
ngx_gitpod_key_url_outcome(ngx_gitpod_zone_t *zone, ngx_atomic_uint_t round)
{
    if ((ngx_atomic_int_t) (zone->key_url.ended - round) < 0) {
        return NGX_AGAIN;
    }

    return (ngx_atomic_int_t) (zone->key_url.good - round) >= 0 ? NGX_OK
                                                                : NGX_ERROR;
}


static uint64_t
ngx_gitpod_missing_hash(ngx_str_t *kid)
{
    return gp_hash64(kid->data, kid->len, NGX_GITPOD_MISSING_SALT);
}


ngx_uint_t
ngx_gitpod_key_missing(ngx_gitpod_zone_t *zone, ngx_str_t *kid)
{
    uint64_t  hash, word, now;

    hash = ngx_gitpod_missing_hash(kid);
    word = zone->key_url.missing[hash % NGX_GITPOD_MISSING_KEYS];
    now = ngx_gitpod_now_ms() / 1000;

    return (word & ~(uint64_t) NGX_GITPOD_MISSING_TIME)
           == (hash & ~(uint64_t) NGX_GITPOD_MISSING_TIME)
           && ((word - now) & NGX_GITPOD_MISSING_TIME) <= NGX_GITPOD_MISSING_S;
}


void
ngx_gitpod_key_missed(ngx_gitpod_zone_t *zone, ngx_str_t *kid)
{
    uint64_t  hash, until;

    hash = ngx_gitpod_missing_hash(kid);
    until = ngx_gitpod_now_ms() / 1000 + NGX_GITPOD_MISSING_S;

    zone->key_url.missing[hash % NGX_GITPOD_MISSING_KEYS] =
        (hash & ~(uint64_t) NGX_GITPOD_MISSING_TIME)
        | (until & NGX_GITPOD_MISSING_TIME);
}

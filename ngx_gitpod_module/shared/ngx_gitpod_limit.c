
#include "jose/digest.h"

#include "ngx_gitpod_limit.h"


#define NGX_GITPOD_LIMIT_TRIES  64  /* workers that swap at the same moment */

#define ngx_gitpod_held_count(value)       ((value) & 0xffffffff)
#define ngx_gitpod_held_generation(value)  ((value) >> 32)


u_char *
ngx_gitpod_limits_init(ngx_gitpod_limits_t *limits, u_char *memory,
    size_t size)
{
    u_char  *p;

    p = ngx_gitpod_pairs_init(&limits->rates, memory, size / 2);
    p = ngx_gitpod_pairs_init(&limits->known, p, size / 4);
    p = ngx_gitpod_pairs_init(&limits->held, p, size / 8);
    p = ngx_gitpod_pairs_init(&limits->spent, p, size / 8);

    limits->generation = 1;

    /* two gateways of the same number would not hear each other */

    if (gp_jose_random_bytes((u_char *) &limits->gateway,
                             sizeof(limits->gateway))
        != 0)
    {
        return NULL;
    }

    return p;
}


ngx_gitpod_limit_slot_t *
ngx_gitpod_limit_enter(ngx_gitpod_limits_t *limits, ngx_str_t *name,
    ngx_uint_t (*used)(void *data, char *name), void *data)
{
    ngx_uint_t                i;
    ngx_gitpod_limit_slot_t  *slot, *found;

    found = NULL;

    for (i = 0; i < NGX_GITPOD_LIMITS_MAX; i++) {
        slot = &limits->slots[i];

        if (ngx_strlen(slot->name) == name->len
            && ngx_strncmp(slot->name, name->data, name->len) == 0)
        {
            return slot;
        }

        /* a free one, or that of a limit which earlier configurations had */

        if (found == NULL
            && (slot->name[0] == '\0' || !used(data, slot->name)))
        {
            found = slot;
        }
    }

    if (found) {
        ngx_memzero(found, sizeof(ngx_gitpod_limit_slot_t));
        ngx_cpystrn((u_char *) found->name, name->data,
                    ngx_min(name->len + 1, NGX_GITPOD_LIMIT_NAME_MAX));
    }

    return found;
}


ngx_int_t
ngx_gitpod_rate_take(ngx_gitpod_limits_t *limits, ngx_gitpod_rate_t *rate,
    uint64_t key, uint64_t *left, uint64_t *wait)
{
    uint64_t            now, seen, full, room;
    ngx_uint_t          tries;
    ngx_gitpod_pair_t  *pair;

    now = ngx_gitpod_limit_now();
    room = rate->interval * rate->burst;

    *left = rate->burst - 1;
    *wait = 0;

    pair = ngx_gitpod_pairs_claim(&limits->rates, key, now, 1);

    if (pair == NULL) {
        return NGX_OK;
    }

    seen = ngx_gitpod_pair_value(pair);

    for (tries = 0; tries < NGX_GITPOD_LIMIT_TRIES; tries++) {

        full = ngx_max(seen, now) + rate->interval;

        if (full - now > room) {
            *left = 0;
            *wait = full - now - room;
            return NGX_BUSY;
        }

        if (ngx_gitpod_pair_swap(pair, &seen, full)) {
            *left = (room - (full - now)) / rate->interval;
            return NGX_OK;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_gitpod_rate_look(ngx_gitpod_limits_t *limits, ngx_gitpod_rate_t *rate,
    uint64_t key, uint64_t *wait)
{
    uint64_t            now, full, room;
    ngx_gitpod_pair_t  *pair;

    now = ngx_gitpod_limit_now();
    room = rate->interval * rate->burst;

    pair = ngx_gitpod_pairs_find(&limits->rates, key);

    if (pair == NULL) {
        return NGX_OK;
    }

    full = ngx_max(ngx_gitpod_pair_value(pair), now) + rate->interval;

    if (full - now <= room) {
        return NGX_OK;
    }

    *wait = full - now - room;

    return NGX_BUSY;
}


void
ngx_gitpod_rate_return(ngx_gitpod_limits_t *limits, ngx_gitpod_rate_t *rate,
    uint64_t key)
{
    uint64_t            seen;
    ngx_uint_t          tries;
    ngx_gitpod_pair_t  *pair;

    pair = ngx_gitpod_pairs_find(&limits->rates, key);

    if (pair == NULL) {
        return;
    }

    seen = ngx_gitpod_pair_value(pair);

    for (tries = 0; tries < NGX_GITPOD_LIMIT_TRIES; tries++) {

        if (seen < rate->interval
            || ngx_gitpod_pair_swap(pair, &seen, seen - rate->interval))
        {
            return;
        }
    }
}


void
ngx_gitpod_rate_charge(ngx_gitpod_limits_t *limits, ngx_gitpod_rate_t *rate,
    uint64_t key, uint64_t units)
{
    uint64_t            now, seen, full, most;
    ngx_uint_t          tries;
    ngx_gitpod_pair_t  *pair;

    now = ngx_gitpod_limit_now();
    most = rate->burst * NGX_GITPOD_LIMIT_DEBT;
    units = ngx_min(units, most);

    pair = ngx_gitpod_pairs_claim(&limits->rates, key, now, 1);

    if (pair == NULL) {
        return;
    }

    seen = ngx_gitpod_pair_value(pair);

    for (tries = 0; tries < NGX_GITPOD_LIMIT_TRIES; tries++) {

        full = ngx_max(seen, now) + rate->interval * units;
        full = ngx_min(full, now + rate->interval * most);

        if (ngx_gitpod_pair_swap(pair, &seen, full)) {
            return;
        }
    }
}


ngx_int_t
ngx_gitpod_held_take(ngx_gitpod_limits_t *limits, uint64_t key, uint64_t max,
    ngx_gitpod_held_t *held)
{
    uint64_t            seen, base, count;
    ngx_uint_t          tries;
    ngx_gitpod_pair_t  *pair;

    held->pair = NULL;
    held->key = key;
    held->generation = __atomic_load_n(&limits->generation, __ATOMIC_ACQUIRE);

    base = held->generation << 32;

    for (tries = 0; tries < NGX_GITPOD_LIMIT_TRIES; tries++) {

        pair = ngx_gitpod_pairs_claim(&limits->held, key, base, 0);

        if (pair == NULL) {
            return NGX_DECLINED;
        }

        seen = ngx_gitpod_pair_value(pair);
        count = (seen > base) ? ngx_gitpod_held_count(seen) : 0;

        if (count >= max) {
            return NGX_BUSY;
        }

        if (!ngx_gitpod_pair_swap(pair, &seen, base + count + 1)) {
            continue;
        }

        held->pair = pair;

        if (__atomic_load_n(&pair->key, __ATOMIC_ACQUIRE) == key) {
            return NGX_OK;
        }

        /* it was dead until now, and somebody took it */

        ngx_gitpod_held_return(limits, held);
        held->key = key;
    }

    return NGX_DECLINED;
}


void
ngx_gitpod_held_return(ngx_gitpod_limits_t *limits, ngx_gitpod_held_t *held)
{
    uint64_t    seen;

    if (held->pair == NULL) {
        return;
    }

    seen = ngx_gitpod_pair_value(held->pair);

    while (ngx_gitpod_held_generation(seen) == held->generation
           && ngx_gitpod_held_count(seen) > 0)
    {
        if (ngx_gitpod_pair_swap(held->pair, &seen, seen - 1)) {
            break;
        }
    }

    held->pair = NULL;
}


void
ngx_gitpod_held_forget(ngx_gitpod_limits_t *limits)
{
    (void) __atomic_add_fetch(&limits->generation, 1, __ATOMIC_ACQ_REL);
}


ngx_uint_t
ngx_gitpod_known(ngx_gitpod_limits_t *limits, uint64_t key)
{
    uint64_t            seen;
    ngx_gitpod_pair_t  *pair;

    pair = ngx_gitpod_pairs_find(&limits->known, key);

    if (pair == NULL) {
        return 0;
    }

    seen = ngx_gitpod_pair_value(pair);

    return seen && seen + NGX_GITPOD_KNOWN_MS > ngx_current_msec;
}


void
ngx_gitpod_known_add(ngx_gitpod_limits_t *limits, uint64_t key)
{
    uint64_t            now, dead;
    ngx_gitpod_pair_t  *pair;

    now = ngx_current_msec;
    dead = (now > NGX_GITPOD_KNOWN_MS) ? now - NGX_GITPOD_KNOWN_MS : 0;

    pair = ngx_gitpod_pairs_claim(&limits->known, key, dead, 1);

    if (pair) {
        __atomic_store_n(&pair->value, now, __ATOMIC_RELAXED);
    }
}


void
ngx_gitpod_known_remove(ngx_gitpod_limits_t *limits, uint64_t key)
{
    ngx_gitpod_pair_t  *pair;

    pair = ngx_gitpod_pairs_find(&limits->known, key);

    if (pair) {
        __atomic_store_n(&pair->value, 0, __ATOMIC_RELAXED);
    }
}

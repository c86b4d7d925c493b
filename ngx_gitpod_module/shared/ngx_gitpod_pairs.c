
#include "ngx_gitpod_pairs.h"


#define NGX_GITPOD_PAIRS_TRIES  8   /* others claim in the same set */


u_char *
ngx_gitpod_pairs_init(ngx_gitpod_pairs_t *pairs, u_char *memory, size_t size)
{
    size_t  set;

    set = NGX_GITPOD_PAIRS_WAYS * sizeof(ngx_gitpod_pair_t);

    for (pairs->sets = 1; pairs->sets * 2 * set <= size; pairs->sets *= 2) {
        /* void */
    }

    pairs->pairs = (ngx_gitpod_pair_t *) (void *) memory;

    return memory + pairs->sets * set;
}


ngx_gitpod_pair_t *
ngx_gitpod_pairs_find(ngx_gitpod_pairs_t *pairs, uint64_t key)
{
    ngx_uint_t          i;
    ngx_gitpod_pair_t  *pair;

    pair = &pairs->pairs[(key & (pairs->sets - 1)) * NGX_GITPOD_PAIRS_WAYS];

    for (i = 0; i < NGX_GITPOD_PAIRS_WAYS; i++) {

        if (__atomic_load_n(&pair[i].key, __ATOMIC_ACQUIRE) == key) {
            return &pair[i];
        }
    }

    return NULL;
}


ngx_gitpod_pair_t *
ngx_gitpod_pairs_claim(ngx_gitpod_pairs_t *pairs, uint64_t key, uint64_t dead,
    ngx_uint_t evict)
{
    uint64_t            old, value, least;
    ngx_uint_t          i, tries;
    ngx_gitpod_pair_t  *set, *pair;

    set = &pairs->pairs[(key & (pairs->sets - 1)) * NGX_GITPOD_PAIRS_WAYS];

    for (tries = 0; tries < NGX_GITPOD_PAIRS_TRIES; tries++) {

        pair = ngx_gitpod_pairs_find(pairs, key);

        if (pair) {
            return pair;
        }

        pair = set;
        least = ngx_gitpod_pair_value(pair);

        for (i = 1; i < NGX_GITPOD_PAIRS_WAYS && least > dead; i++) {
            value = ngx_gitpod_pair_value(&set[i]);

            if (value < least) {
                pair = &set[i];
                least = value;
            }
        }

        if (least > dead && !evict) {
            return NULL;
        }

        old = __atomic_load_n(&pair->key, __ATOMIC_RELAXED);

        if (__atomic_compare_exchange_n(&pair->key, &old, key, 0,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        {
            /* what the former owner had must not count for this one */

            if (least > dead) {
                (void) ngx_gitpod_pair_swap(pair, &least, dead);
            }

            return pair;
        }
    }

    return NULL;
}


ngx_uint_t
ngx_gitpod_pairs_live(ngx_gitpod_pairs_t *pairs, uint64_t dead)
{
    ngx_uint_t  i, n, live;

    n = ngx_gitpod_pairs_max(pairs);
    live = 0;

    for (i = 0; i < n; i++) {
        live += (ngx_gitpod_pair_value(&pairs->pairs[i]) > dead);
    }

    return live;
}


/*
 * A bounded table of (key, value) pairs of 64 bits in shared memory, without
 * locks: keys are hashes, four of them share a cache line, and that line is
 * all a look-up touches.  Nobody waits, and a process may be killed at any
 * moment: a pair is never half there.
 *
 * Values only grow old: what is at or below "dead" says as much as no pair at
 * all.  So there is nothing to delete, and a new key takes the place of a dead
 * one.  Two workers that meet in one pair at the same moment may lose one
 * change of the value; who needs more than that must not use this.
 */


#ifndef _NGX_GITPOD_PAIRS_H_INCLUDED_
#define _NGX_GITPOD_PAIRS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_GITPOD_PAIRS_WAYS  4


typedef struct {
    uint64_t             key;           /* 0: was never used */
    uint64_t             value;
} ngx_gitpod_pair_t;


typedef struct {
    uint64_t             sets;          /* a power of two */
    ngx_gitpod_pair_t   *pairs;
} ngx_gitpod_pairs_t;


/*
 * Uses as much of the memory, which is zero and begins at a cache line, as
 * a power of two of sets takes; returns the first byte behind.
 */
u_char *ngx_gitpod_pairs_init(ngx_gitpod_pairs_t *pairs, u_char *memory,
    size_t size);

/* NULL: not there. */
ngx_gitpod_pair_t *ngx_gitpod_pairs_find(ngx_gitpod_pairs_t *pairs,
    uint64_t key);

/*
 * The pair of a key, which may be one that was dead a moment ago, its value
 * as it was left.  When all of a set are alive the one of least value goes, if
 * evict is set; otherwise NULL.
 */
ngx_gitpod_pair_t *ngx_gitpod_pairs_claim(ngx_gitpod_pairs_t *pairs,
    uint64_t key, uint64_t dead, ngx_uint_t evict);

/* Pairs whose value is above "dead": for metrics, it reads all of them. */
ngx_uint_t ngx_gitpod_pairs_live(ngx_gitpod_pairs_t *pairs, uint64_t dead);

#define ngx_gitpod_pairs_max(pairs)                                           \
    ((ngx_uint_t) (pairs)->sets * NGX_GITPOD_PAIRS_WAYS)

#define ngx_gitpod_pair_value(pair)                                           \
    __atomic_load_n(&(pair)->value, __ATOMIC_RELAXED)

/* 1: the value was still *seen and is "next" now; 0: *seen is what it is. */
#define ngx_gitpod_pair_swap(pair, seen, next)                                \
    __atomic_compare_exchange_n(&(pair)->value, seen, next, 0,                \
                                __ATOMIC_RELAXED, __ATOMIC_RELAXED)


#endif /* _NGX_GITPOD_PAIRS_H_INCLUDED_ */

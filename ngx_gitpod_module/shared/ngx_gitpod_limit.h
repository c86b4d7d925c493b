
/*
 * Limits that all workers share.
 *
 * A rate is a token bucket kept as one number, the time at which it will be
 * full again (GCRA): to take is one compare-and-swap, and a bucket that is
 * full needs no memory.  A count of requests under way is the number of those
 * of all workers; when a worker was killed the rest count theirs anew.
 *
 * Times are nanoseconds of the clock that ngx_current_msec has.
 */


#ifndef _NGX_GITPOD_LIMIT_H_INCLUDED_
#define _NGX_GITPOD_LIMIT_H_INCLUDED_


#include "core/contract.h"

#include "ngx_gitpod_pairs.h"


#define NGX_GITPOD_LIMITS_MAX          32
#define NGX_GITPOD_LIMIT_NAME_MAX      32       /* bytes, with a NUL */
#define NGX_GITPOD_LIMIT_DEBT          16       /* bursts owed, at most */
#define NGX_GITPOD_KNOWN_MS            86400000 /* a credential is known */


typedef struct {
    uint64_t             interval;      /* ns that one unit takes to return */
    uint64_t             burst;         /* units of a full bucket */
} ngx_gitpod_rate_t;


/* What a limit did, by its name: survives reloads. */

typedef struct {
    char                 name[NGX_GITPOD_LIMIT_NAME_MAX];
    ngx_gitpod_rate_t    shared;        /* burst 0: other gateways are not */
    ngx_atomic_t         refused;
    ngx_atomic_t         dry;           /* would have been, in a dry run */
    ngx_atomic_t         untold;        /* not kept count of: no room */
} ngx_gitpod_limit_slot_t;


typedef struct {
    ngx_gitpod_pairs_t       rates;     /* when the bucket is full again */
    ngx_gitpod_pairs_t       held;      /* generation, requests under way */
    ngx_gitpod_pairs_t       known;     /* good credentials, when last seen */
    ngx_gitpod_pairs_t       spent;     /* slot, units to tell others of */
    uint64_t                 generation;
    uint64_t                 gateway;   /* who we are among them */
    ngx_atomic_t             told;      /* messages sent */
    ngx_atomic_t             heard;     /* and taken */
    ngx_gitpod_limit_slot_t  slots[NGX_GITPOD_LIMITS_MAX];
} ngx_gitpod_limits_t;


/* One request among those under way. */

typedef struct {
    ngx_gitpod_pair_t   *pair;          /* NULL: not counted */
    uint64_t             key;
    uint64_t             generation;
} ngx_gitpod_held_t;


#define ngx_gitpod_limit_now()  ((uint64_t) ngx_current_msec * 1000000)


/* Uses memory that is zero; returns the first byte behind, or NULL. */
u_char *ngx_gitpod_limits_init(ngx_gitpod_limits_t *limits, u_char *memory,
    size_t size);

/* The slot of a name, a new one if need be; under the lock of the zone. */
ngx_gitpod_limit_slot_t *ngx_gitpod_limit_enter(ngx_gitpod_limits_t *limits,
    ngx_str_t *name, ngx_uint_t (*used)(void *data, char *name), void *data);

/*
 * Takes one unit.  NGX_OK, *left is how many remain; NGX_BUSY: there is none,
 * *wait is how long until there is.
 */
ngx_int_t ngx_gitpod_rate_take(ngx_gitpod_limits_t *limits,
    ngx_gitpod_rate_t *rate, uint64_t key, uint64_t *left, uint64_t *wait);

/* As if one were taken, without doing so. */
ngx_int_t ngx_gitpod_rate_look(ngx_gitpod_limits_t *limits,
    ngx_gitpod_rate_t *rate, uint64_t key, uint64_t *wait);

/* Gives one unit back. */
void ngx_gitpod_rate_return(ngx_gitpod_limits_t *limits,
    ngx_gitpod_rate_t *rate, uint64_t key);

/*
 * What other gateways let through.  The bucket may come to owe up to
 * NGX_GITPOD_LIMIT_DEBT bursts, so that in the long run all of them together
 * keep to the rate.
 */
void ngx_gitpod_rate_charge(ngx_gitpod_limits_t *limits,
    ngx_gitpod_rate_t *rate, uint64_t key, uint64_t units);

/* A unit was taken that other gateways shall know of. */
void ngx_gitpod_share(ngx_gitpod_limits_t *limits,
    ngx_gitpod_limit_slot_t *slot, uint64_t key);

/* And was returned: they need not know, unless they do already. */
void ngx_gitpod_share_back(ngx_gitpod_limits_t *limits, uint64_t key);

/*
 * The next message for them from *at on, terminated; NGX_DONE: there is none
 * (what it has is told, whether it arrives or not).
 */
ngx_int_t ngx_gitpod_share_next(ngx_gitpod_limits_t *limits, ngx_uint_t *at,
    u_char text[GP_LIMITS_MESSAGE_MAX]);

/* A message of one of them, or of ourselves. */
void ngx_gitpod_share_take(ngx_gitpod_limits_t *limits, ngx_str_t *text,
    ngx_log_t *log);

/*
 * One more request under way: NGX_OK, NGX_BUSY when there are max already, or
 * NGX_DECLINED: the table has no room, and the request is not counted.
 */
ngx_int_t ngx_gitpod_held_take(ngx_gitpod_limits_t *limits, uint64_t key,
    uint64_t max, ngx_gitpod_held_t *held);
void ngx_gitpod_held_return(ngx_gitpod_limits_t *limits,
    ngx_gitpod_held_t *held);

/* All counts are zero again, and every worker takes what it holds anew. */
void ngx_gitpod_held_forget(ngx_gitpod_limits_t *limits);

/* Credentials that were good once, by their hash. */
ngx_uint_t ngx_gitpod_known(ngx_gitpod_limits_t *limits, uint64_t key);
void ngx_gitpod_known_add(ngx_gitpod_limits_t *limits, uint64_t key);
void ngx_gitpod_known_remove(ngx_gitpod_limits_t *limits, uint64_t key);


#endif /* _NGX_GITPOD_LIMIT_H_INCLUDED_ */

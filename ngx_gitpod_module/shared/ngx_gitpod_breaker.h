
/*
 * Circuit breakers in shared memory: one record for each breaker of the
 * configuration, by name, and a bounded table for the routes of those whose
 * upstream is gitpod_route.  What happens to a breaker is decided by
 * plugins/lib/core/breaker.h; here is where it is kept.
 *
 * Nothing is written and no lock is taken while all is well: a good answer of
 * a breaker without failures ends with a look at it, and a healthy route has
 * no record at all.  Changes are made under the lock, to the idle one of two
 * slots, so a killed worker leaves the old value.
 */


#ifndef _NGX_GITPOD_BREAKER_H_INCLUDED_
#define _NGX_GITPOD_BREAKER_H_INCLUDED_


#include "ngx_gitpod.h"

#include "core/breaker.h"


#define NGX_GITPOD_BREAKERS_MAX          32
#define NGX_GITPOD_BREAKER_NAME_MAX      63     /* bytes */
#define NGX_GITPOD_BREAKER_ROUTES_MAX    4096   /* failing ones remembered */
#define NGX_GITPOD_BREAKER_FORGET_MS     600000 /* that nobody asks for */

/* number of the breaker, port, instance */
#define NGX_GITPOD_BREAKER_KEY_MAX       (1 + 2 + GP_INSTANCE_ID_LEN)


typedef struct ngx_gitpod_breaker_s  ngx_gitpod_breaker_t;


/*
 * One use of a breaker: the caller sets the first four (and the key, for a
 * route), gets the rest and keeps it until the request is judged.
 */

typedef struct {
    ngx_gitpod_zone_t    *zone;
    ngx_gitpod_breaker_t *breaker;
    gp_breaker_policy_t  *policy;
    size_t                key_len;          /* 0: one service, no routes */
    u_char                key[NGX_GITPOD_BREAKER_KEY_MAX];

    gp_breaker_pass_t     pass;
    ngx_uint_t            phase;            /* enum gp_breaker_phase */
    ngx_uint_t            reason;           /* why it is not closed */
    uint64_t              retry_ms;
    ngx_uint_t            changed;          /* the phase, by this call */
} ngx_gitpod_breaker_use_t;


/*
 * One breaker, for pages and metrics; with routes: all of them.  Its phase is
 * the worst, its reason and time are those of the one that opened last, and
 * retry_ms is of the first to be tried.
 */

typedef struct {
    char                 name[NGX_GITPOD_BREAKER_NAME_MAX + 1];
    ngx_uint_t           routes;            /* it has a breaker for each */
    ngx_uint_t           phase;             /* enum gp_breaker_phase */
    ngx_uint_t           reason;            /* of the last opening */
    uint64_t             since_ms;          /* in this phase for so long */
    uint64_t             retry_ms;
    uint64_t             opened;            /* counters */
    uint64_t             refused;
    uint64_t             failed;
    ngx_uint_t           phases[GP_BREAKER_PHASES_N];  /* how many in each */
} ngx_gitpod_breaker_info_t;


/*
 * The breakers of a new configuration: names that it has not are no longer
 * listed, others go on as they were.  For the master only.
 */
void ngx_gitpod_breaker_begin(ngx_gitpod_zone_t *zone);
ngx_gitpod_breaker_t *ngx_gitpod_breaker_enter(ngx_gitpod_zone_t *zone,
    ngx_str_t *name, ngx_uint_t routes);

/* The route to a port of an instance. */
void ngx_gitpod_breaker_key(ngx_gitpod_breaker_use_t *use, u_char *instance,
    size_t len, in_port_t port);

/* NGX_OK: the request may pass; NGX_BUSY: it is refused. */
ngx_int_t ngx_gitpod_breaker_admit(ngx_gitpod_breaker_use_t *use);

/* What became of an admitted request: enum gp_breaker_reason. */
void ngx_gitpod_breaker_judge(ngx_gitpod_breaker_use_t *use,
    ngx_uint_t reason);

/* It will not be known, say since the client went away. */
void ngx_gitpod_breaker_abandon(ngx_gitpod_breaker_use_t *use);

/* An active check changed its mind. */
void ngx_gitpod_breaker_check(ngx_gitpod_breaker_use_t *use,
    ngx_uint_t passes);

/* Those of the configuration, at most max of them; returns how many. */
ngx_uint_t ngx_gitpod_breaker_list(ngx_gitpod_zone_t *zone,
    ngx_gitpod_breaker_info_t *info, ngx_uint_t max);


#endif /* _NGX_GITPOD_BREAKER_H_INCLUDED_ */

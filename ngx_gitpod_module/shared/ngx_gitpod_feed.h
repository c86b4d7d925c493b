
/*
 * The holder of the lease feeds the zone from Redis: one connection is
 * subscribed, another reads.  Every worker ticks, one has the lease.
 */


#ifndef _NGX_GITPOD_FEED_H_INCLUDED_
#define _NGX_GITPOD_FEED_H_INCLUDED_


#include "ngx_gitpod_zone.h"
#include "ngx_gitpod_redis.h"


#define NGX_GITPOD_FEED_COMMAND_MS  3000    /* a command without an answer */
#define NGX_GITPOD_FEED_PING_MS     1000    /* of silence before a ping */
#define NGX_GITPOD_FEED_BACKOFF_MS  100     /* doubled at each failure */
#define NGX_GITPOD_FEED_BACKOFF_MAX 3000
#define NGX_GITPOD_FEED_SYNC_MS     60000   /* to read everything once */
#define NGX_GITPOD_FEED_RESYNC_MS   300000  /* even when nothing is amiss */
#define NGX_GITPOD_FEED_SCAN_COUNT  "200"   /* fields a step asks for */


typedef enum {
    NGX_GITPOD_SYNC_IDLE = 0,
    NGX_GITPOD_SYNC_REVOCATIONS,
    NGX_GITPOD_SYNC_REVOCATIONS_SWEEP,
    NGX_GITPOD_SYNC_KEYS,
    NGX_GITPOD_SYNC_ROUTES,
    NGX_GITPOD_SYNC_ROUTES_SWEEP
} ngx_gitpod_sync_e;


typedef struct {
    ngx_gitpod_zone_t   *zone;
    ngx_log_t           *log;
    ngx_addr_t           addr;
    ngx_str_t            user;
    ngx_str_t            password;
    ngx_array_t         *cidrs;

    ngx_gitpod_redis_t   messages;
    ngx_gitpod_redis_t   reads;

    ngx_event_t          retry;
    ngx_event_t          slice;         /* the rest of a reply or sweep */

    ngx_gitpod_sync_e    sync;
    redisReply          *scan;          /* being applied, in slices */
    size_t               scan_at;
    uint32_t             sweep_at;
    uint32_t             routes_generation;
    uint32_t             revocations_generation;
    ngx_uint_t           swept;
    uint64_t             sync_started_ms;

    ngx_uint_t           channels;      /* that are subscribed */
    ngx_uint_t           failures;      /* in a row */
    uint64_t             messages_heard_ms;
    uint64_t             reads_asked_ms;
    uint64_t             pinged_ms;

    unsigned             active:1;      /* this worker holds the lease */
    unsigned             open:1;        /* connecting or connected */
    unsigned             reads_ready:1;
    unsigned             asked:1;       /* "reads" owes an answer */
    unsigned             pinged:1;
} ngx_gitpod_feed_t;


void ngx_gitpod_feed_init(ngx_gitpod_feed_t *feed);
void ngx_gitpod_feed_start(ngx_gitpod_feed_t *feed);
void ngx_gitpod_feed_tick(ngx_gitpod_feed_t *feed);
void ngx_gitpod_feed_stop(ngx_gitpod_feed_t *feed);


#endif /* _NGX_GITPOD_FEED_H_INCLUDED_ */

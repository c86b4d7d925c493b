
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
#define NGX_GITPOD_FEED_BACKOFF_MAX 1000    /* well again 2 s after Redis */
#define NGX_GITPOD_FEED_SYNC_MS     60000   /* to read everything once */
#define NGX_GITPOD_FEED_RESYNC_MS   300000  /* even when nothing is amiss */
#define NGX_GITPOD_FEED_SHARE_MS    1000    /* what limits let through */
#define NGX_GITPOD_FEED_SCAN_COUNT  "200"   /* fields a step asks for */
#define NGX_GITPOD_FEED_STREAM_COUNT    "100"   /* entries a step asks for */
#define NGX_GITPOD_FEED_STREAM_COUNT_N  100


typedef struct ngx_gitpod_feed_s  ngx_gitpod_feed_t;

/* field: of the hash, or NULL when the text is a message or a whole string */
typedef void (*ngx_gitpod_source_apply_pt)(ngx_gitpod_feed_t *feed,
    ngx_str_t *field, ngx_str_t *text);


typedef enum {
    NGX_GITPOD_SOURCE_MESSAGES = 0,     /* nothing is kept in Redis */
    NGX_GITPOD_SOURCE_STRING,
    NGX_GITPOD_SOURCE_HASH,
    NGX_GITPOD_SOURCE_STREAM
} ngx_gitpod_source_e;


/* One thing that Redis tells about; offsets are those of the zone. */

typedef struct {
    const char                  *channel;   /* NULL: end of the list */
    const char                  *key;
    ngx_gitpod_source_e          type;
    ngx_gitpod_source_apply_pt   apply;
    size_t                       table;     /* swept, of a hash */
    ngx_gitpod_expired_pt        expired;   /* NULL: untouched is gone */
    size_t                       synced;    /* uint32_t set to 1, or 0 */
} ngx_gitpod_source_t;


struct ngx_gitpod_feed_s {
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

    ngx_gitpod_source_t *source;        /* being read; NULL: none */
    redisReply          *scan;          /* being applied, in slices */
    size_t               scan_at;
    uint32_t             sweep_at;
    uint32_t             generation;    /* of the sweep */
    ngx_uint_t           swept;
    uint64_t             sync_started_ms;

    uint64_t             stream_at;     /* newest entry read */
    uint64_t             stream_missed; /* newest message before its turn */
    ngx_uint_t           share_at;      /* bucket to tell of next */
    uint64_t             shared_ms;     /* begin of the last round */

    ngx_uint_t           unconfirmed;   /* subscriptions */
    ngx_uint_t           failures;      /* in a row */
    uint64_t             messages_heard_ms;
    uint64_t             reads_asked_ms;
    uint64_t             pinged_ms;

    unsigned             active:1;      /* this worker holds the lease */
    unsigned             open:1;        /* connecting or connected */
    unsigned             subscribed:1;  /* to all channels */
    unsigned             stream_live:1; /* messages of it count */
    unsigned             synced:1;      /* on these connections */
    unsigned             reads_ready:1;
    unsigned             asked:1;       /* "reads" owes an answer */
    unsigned             pinged:1;
    unsigned             sharing:1;     /* a round of messages */
    unsigned             mute:1;        /* Redis does not let us publish */
};


void ngx_gitpod_feed_init(ngx_gitpod_feed_t *feed);
void ngx_gitpod_feed_start(ngx_gitpod_feed_t *feed);
void ngx_gitpod_feed_tick(ngx_gitpod_feed_t *feed);
void ngx_gitpod_feed_stop(ngx_gitpod_feed_t *feed);

/* Both connections are dropped, to be opened again later. */
void ngx_gitpod_feed_fail(ngx_gitpod_feed_t *feed, const char *why);

/* Redis said something. */
void ngx_gitpod_feed_heard(ngx_gitpod_feed_t *feed);

/* Sends a command on the reading connection; NGX_ERROR: closed. */
ngx_int_t ngx_gitpod_feed_ask(ngx_gitpod_feed_t *feed, int argc,
    const char **argv);


/* reading everything */

void ngx_gitpod_sync_start(ngx_gitpod_feed_t *feed);
void ngx_gitpod_sync_stop(ngx_gitpod_feed_t *feed);

/* Takes the reply; as ngx_gitpod_redis_reply_pt. */
ngx_int_t ngx_gitpod_sync_reply(ngx_gitpod_feed_t *feed, redisReply *reply);

/* The rest of a reply or of a sweep. */
void ngx_gitpod_sync_slice(ngx_event_t *ev);

/* The source at hand is read. */
ngx_int_t ngx_gitpod_sync_next(ngx_gitpod_feed_t *feed);


/* reading a stream: ngx_gitpod_sync.c calls the first two */

ngx_int_t ngx_gitpod_stream_begin(ngx_gitpod_feed_t *feed);
ngx_int_t ngx_gitpod_stream_reply(ngx_gitpod_feed_t *feed, redisReply *reply);
void ngx_gitpod_stream_message(ngx_gitpod_feed_t *feed, ngx_str_t *message);


#define ngx_gitpod_source_table(feed)                                         \
    ((ngx_gitpod_table_t *)                                                   \
     (void *) ((u_char *) (feed)->zone + (feed)->source->table))


extern ngx_gitpod_source_t  ngx_gitpod_sources[];


#endif /* _NGX_GITPOD_FEED_H_INCLUDED_ */

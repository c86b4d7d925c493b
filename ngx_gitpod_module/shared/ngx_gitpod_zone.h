
/*
 * The layout of the zone, for the files that fill it.  Times are milliseconds
 * of CLOCK_MONOTONIC, the same in every process.
 */


#ifndef _NGX_GITPOD_ZONE_H_INCLUDED_
#define _NGX_GITPOD_ZONE_H_INCLUDED_


#include "ngx_gitpod.h"
#include "ngx_gitpod_event.h"
#include "ngx_gitpod_limit.h"
#include "ngx_gitpod_breaker.h"
#include "ngx_gitpod_table.h"
#include "ngx_gitpod_observe.h"


#define NGX_GITPOD_MAGIC            0x676974706f64aa01
#define NGX_GITPOD_LAYOUT           15

#define NGX_GITPOD_ZONE_MIN         (1024 * 1024)
#define NGX_GITPOD_WORKERS_MAX      256     /* two generations of 128 */
#define NGX_GITPOD_WAKES_MAX        64      /* started for a request at once */
#define NGX_GITPOD_CHECKS_MAX       32
#define NGX_GITPOD_CHECK_NAME_MAX   32
#define NGX_GITPOD_CHECK_TEXT_MAX   128

#define NGX_GITPOD_REVOCATIONS_MAX  100000
#define NGX_GITPOD_CREDENTIALS_MAX  65536
#define NGX_GITPOD_ACTIVITY_MAX     16384

/* bytes, two lines of memory: an id of 24, an IPv4 address, three ports */
#define NGX_GITPOD_ROUTE_HEAD       128

#define NGX_GITPOD_ASKS_MAX         128     /* questions to auth at once */
#define NGX_GITPOD_FETCHED_MAX      16384   /* bytes of keys of a URL */
#define NGX_GITPOD_LISTENERS_MAX    4096    /* some for other control planes */

#define NGX_GITPOD_TICK_MS          250     /* a worker stamps its slot */
#define NGX_GITPOD_LEASE_MS         3000    /* older: somebody else takes it */


typedef struct {
    ngx_atomic_t         pid;               /* 0: free */
    uint64_t             heartbeat_ms;
    uint64_t             lag_ms;            /* worst of the last ticks */
    uint64_t             subscribers;       /* of events */
    uint64_t             connections;       /* to clients and upstreams */
    uint64_t             websockets;        /* of workspaces */
    ngx_atomic_t         counters[NGX_GITPOD_COUNTERS_N];
} ngx_gitpod_worker_t;


typedef struct {
    ngx_atomic_t         pid;               /* 0: nobody */
    uint64_t             heartbeat_ms;
} ngx_gitpod_lease_t;


/*
 * A route as it lies in the table, small: ids of 36 characters in 16 bytes,
 * and of "rest" only what its address and its ports take, in that order.
 * Readers get an ngx_gitpod_route_t.
 */

typedef struct {
    uint64_t             version;

    u_char               phase;
    u_char               admission;
    u_char               ports_n;
    u_char               address_len;       /* 0, 4 or 16 */

    unsigned             deleted:1;
    unsigned             refused:1;
    unsigned             owner_token:1;
    unsigned             instance_set:1;
    unsigned             owner_set:1;

    uint16_t             listener;

    u_char               instance[16];
    u_char               owner[16];
    u_char               digest[NGX_GITPOD_DIGEST_LEN];

    u_char               rest[16 + GP_ROUTE_PORTS_MAX
                              * sizeof(ngx_gitpod_route_port_t)];
} ngx_gitpod_route_record_t;


#define ngx_gitpod_route_bytes(record)                                        \
    (offsetof(ngx_gitpod_route_record_t, rest) + (record)->address_len        \
     + (record)->ports_n * sizeof(ngx_gitpod_route_port_t))


/* which route to ask; the key is the listener's number, two bytes */

typedef struct {
    u_char               id_len;
    u_char               id[GP_WORKSPACE_ID_MAX];
} ngx_gitpod_listener_t;


/* the connection to Redis, as the holder of the lease last saw it */

typedef struct {
    uint64_t             heard_ms;          /* last reply of either kind */
    uint64_t             changed_ms;        /* subscribed, or lost */
    uint64_t             synced_ms;         /* end of the last resync */
    uint64_t             current_ms;        /* lacked nothing, or cold start */
    uint32_t             subscribed;
    uint32_t             routes_synced;
    uint32_t             revocations_synced;
} ngx_gitpod_feed_state_t;


typedef struct {
    uint32_t             known;             /* it has run at least once */
    uint32_t             ok;
    uint32_t             passes;
    uint32_t             fails;
    uint64_t             ran_ms;
    uint64_t             changed_ms;
    uint64_t             took_ms;
    char                 text[NGX_GITPOD_CHECK_TEXT_MAX];
} ngx_gitpod_check_state_t;


typedef struct {
    char                      name[NGX_GITPOD_CHECK_NAME_MAX];
    uint64_t                  seq;          /* slot seq & 1 is current */
    ngx_gitpod_check_state_t  slots[2];
} ngx_gitpod_check_record_t;


struct ngx_gitpod_breaker_s {
    char                      name[NGX_GITPOD_BREAKER_NAME_MAX + 1];
    uint32_t                  configured;   /* the current one has it */
    uint32_t                  routes;       /* values are in the table */

    ngx_atomic_t              opened;
    ngx_atomic_t              refused;
    ngx_atomic_t              failed;

    uint64_t                  seq;          /* slot seq & 1 is current */
    gp_breaker_t              slots[2];
};


typedef struct {
    uint64_t             until_ms;          /* past: free */
    ngx_pid_t            pid;               /* of who asks; 0: it was asked */
    u_char               refused;
    u_char               id_len;
    u_char               instance_len;
    u_char               id[GP_WORKSPACE_ID_MAX];
    u_char               instance[GP_INSTANCE_ID_LEN];
    u_char               text[NGX_GITPOD_WAKE_TEXT_MAX];
} ngx_gitpod_wake_t;


/* a question to auth under way, by the digest of the token */

typedef struct {
    uint64_t             until_ms;          /* past: free */
    ngx_pid_t            pid;               /* 0: it failed */
    u_char               digest[NGX_GITPOD_DIGEST_LEN];
} ngx_gitpod_ask_t;


/* the text of a key set */

typedef struct {
    uint64_t             seq;               /* text[seq & 1] is current */
    uint32_t             max;
    uint32_t             len[2];
    u_char              *text[2];
} ngx_gitpod_key_text_t;


struct ngx_gitpod_zone_s {
    uint64_t                   magic;
    uint32_t                   layout;
    uint32_t                   size;        /* of this structure */

    ngx_slab_pool_t           *shpool;

    ngx_gitpod_table_t         routes;
    ngx_gitpod_table_t         revocations;
    ngx_gitpod_table_t         credentials;
    ngx_gitpod_table_t         flags;
    ngx_gitpod_table_t         activity;
    ngx_gitpod_table_t         breaker_routes;
    ngx_gitpod_table_t         listeners;

    /* tokens issued at or before it are refused: the table was full once */
    ngx_atomic_t               revoked_floor;

    ngx_gitpod_key_text_t      keys[NGX_GITPOD_KEY_SETS];
    ngx_gitpod_key_url_t       key_url;
    ngx_gitpod_ask_t           asks[NGX_GITPOD_ASKS_MAX];

    ngx_gitpod_limits_t        limits;
    ngx_gitpod_events_t        events;

    uint64_t                   drain_ms;    /* since then; 0: it serves */

    ngx_gitpod_lease_t         lease;
    ngx_gitpod_feed_state_t    feed;
    ngx_gitpod_check_record_t  checks[NGX_GITPOD_CHECKS_MAX];
    ngx_gitpod_breaker_t       breakers[NGX_GITPOD_BREAKERS_MAX];
    ngx_gitpod_worker_t        workers[NGX_GITPOD_WORKERS_MAX];
    ngx_gitpod_observe_t       observe;
    ngx_gitpod_wake_t          wakes[NGX_GITPOD_WAKES_MAX];
    ngx_atomic_t               wakes_refused;
};


#define ngx_gitpod_zone_lock(zone)    ngx_shmtx_lock(&(zone)->shpool->mutex)
#define ngx_gitpod_zone_unlock(zone)  ngx_shmtx_unlock(&(zone)->shpool->mutex)


/* Lays out a fresh zone; NULL: it is too small. events: bytes of the ring. */
ngx_gitpod_zone_t *ngx_gitpod_zone_create(ngx_slab_pool_t *shpool,
    size_t events);

/* NGX_OK: the memory of the last cycle is of this very layout. */
ngx_int_t ngx_gitpod_zone_check(ngx_gitpod_zone_t *zone);

/* Fills a zone that was just laid out with what another one knows. */
void ngx_gitpod_zone_copy(ngx_gitpod_zone_t *from, ngx_gitpod_zone_t *zone,
    ngx_log_t *log);

/* Now, not as of the start of this turn of the event loop. */
uint64_t ngx_gitpod_now_ms(void);
uint64_t ngx_gitpod_now_us(void);

ngx_uint_t ngx_gitpod_process_alive(ngx_pid_t pid);


/* the slot of this worker */

void ngx_gitpod_worker_enter(ngx_gitpod_zone_t *zone, ngx_log_t *log);
void ngx_gitpod_worker_stamp(ngx_gitpod_zone_t *zone);
void ngx_gitpod_worker_leave(ngx_gitpod_zone_t *zone);

/* Frees the slots of workers that were killed, and what they held. */
void ngx_gitpod_workers_reap(ngx_gitpod_zone_t *zone);

/* How many subscribers of events it has. */
void ngx_gitpod_worker_subscribers(uint64_t n);
void ngx_gitpod_worker_websockets(uint64_t n);


/* NGX_OK: this worker holds the lease (now stamped); NGX_DECLINED */

ngx_int_t ngx_gitpod_lease_take(ngx_gitpod_zone_t *zone);
ngx_int_t ngx_gitpod_lease_keep(ngx_gitpod_zone_t *zone);
void ngx_gitpod_lease_drop(ngx_gitpod_zone_t *zone);

#define ngx_gitpod_lease_held(zone)                                           \
    ((ngx_pid_t) (zone)->lease.pid == ngx_pid)


/*
 * Snapshot files, read by the master.  whole: routes that are not in the file
 * are gone, since there is no Redis that could know more.
 */
void ngx_gitpod_snapshot_routes(ngx_gitpod_zone_t *zone, ngx_str_t *path,
    ngx_array_t *cidrs, ngx_uint_t whole, ngx_log_t *log);
void ngx_gitpod_snapshot_revocations(ngx_gitpod_zone_t *zone,
    ngx_str_t *path, time_t max_age, ngx_log_t *log);

/* While nothing was fetched yet.  source: hash of the URL. */
void ngx_gitpod_snapshot_keys(ngx_gitpod_zone_t *zone, ngx_str_t *path,
    uint64_t source, time_t max_age, ngx_log_t *log);


/* feeding the tables; texts are JSON, from Redis or a snapshot */

/*
 * NGX_ERROR and why; id and version are set when at least those could be read.
 * id: what it must be, or NULL.
 */
ngx_int_t ngx_gitpod_route_parse(ngx_str_t *text, ngx_str_t *id,
    ngx_gitpod_route_t *route, ngx_array_t *cidrs, const char **why);

/*
 * id: the field of the hash, or NULL when a message brought the record.
 * NGX_DECLINED: it was refused.
 */
ngx_int_t ngx_gitpod_route_feed(ngx_gitpod_zone_t *zone, ngx_str_t *id,
    ngx_str_t *text, ngx_array_t *cidrs, ngx_log_t *log);

/* From now on its listeners lead to that route; wants the lock. */
ngx_int_t ngx_gitpod_listener_enter(ngx_gitpod_zone_t *zone,
    ngx_gitpod_route_t *route);

void ngx_gitpod_revocation_feed(ngx_gitpod_zone_t *zone, ngx_str_t *field,
    ngx_str_t *value, ngx_log_t *log);
ngx_int_t ngx_gitpod_revocation_message(ngx_gitpod_zone_t *zone,
    ngx_str_t *text, ngx_log_t *log);

/* Makes room when the table is full; wants the lock. */
ngx_int_t ngx_gitpod_revocation_set(ngx_gitpod_zone_t *zone, u_char *key,
    size_t len, uint64_t epoch, ngx_log_t *log);

/* 1: what that epoch refuses has expired anyway. */
ngx_uint_t ngx_gitpod_revocation_expired(void *epoch);

/* name: the field of the hash, or NULL when a message brought the record. */
void ngx_gitpod_flag_feed(ngx_gitpod_zone_t *zone, ngx_str_t *name,
    ngx_str_t *text, ngx_log_t *log);

/* 1: a tombstone. */
ngx_uint_t ngx_gitpod_flag_expired(void *flag);

/* NGX_OK: taken, or the same; NGX_DECLINED: there is no usable key in it. */
ngx_int_t ngx_gitpod_keys_feed(ngx_gitpod_zone_t *zone,
    ngx_gitpod_key_set_e set, ngx_str_t *text, ngx_log_t *log);
void ngx_gitpod_keys_drop(ngx_gitpod_zone_t *zone, ngx_gitpod_key_set_e set);

/* The text of a set, in set->max bytes; NGX_AGAIN: it moves too fast. */
ngx_int_t ngx_gitpod_keys_copy(ngx_gitpod_key_text_t *set, u_char *text,
    size_t *len, uint64_t *seq);

/* Frees what this process parsed. */
void ngx_gitpod_keys_done(void);

/* What the sweep leaves although it was not touched: 0. */
typedef ngx_uint_t (*ngx_gitpod_expired_pt)(void *value);

/*
 * What was not touched since the begin goes.  NGX_AGAIN: more to do, *n says
 * where; NGX_DECLINED: another worker began one since.
 */
uint32_t ngx_gitpod_sweep_begin(ngx_gitpod_zone_t *zone,
    ngx_gitpod_table_t *table);
ngx_int_t ngx_gitpod_sweep(ngx_gitpod_zone_t *zone, ngx_gitpod_table_t *table,
    uint32_t generation, ngx_gitpod_expired_pt expired, uint32_t *n,
    uint64_t until_us, ngx_uint_t *swept);

/* Forgets what auth said about a user or a token. */
void ngx_gitpod_credential_forget(ngx_gitpod_zone_t *zone,
    ngx_gitpod_revoked_e kind, ngx_str_t *id);


/* observing */

/* The number of a class; NGX_GITPOD_NO_CLASS: there are too many. */
ngx_uint_t ngx_gitpod_class_enter(ngx_gitpod_zone_t *zone, ngx_str_t *name);

/* The shard of this worker. */
ngx_gitpod_class_t *ngx_gitpod_class(ngx_gitpod_zone_t *zone,
    ngx_uint_t class);

/* trace: NGX_GITPOD_TRACE_LEN hex digits. */
void ngx_gitpod_exemplar_note(ngx_gitpod_zone_t *zone, ngx_uint_t class,
    uint64_t took_ms, u_char *trace);
void ngx_gitpod_exemplar_read(ngx_gitpod_zone_t *zone, ngx_uint_t class,
    ngx_uint_t bucket, ngx_gitpod_exemplar_t *copy);


/* checks */

ngx_gitpod_check_record_t *ngx_gitpod_check_enter(ngx_gitpod_zone_t *zone,
    ngx_str_t *name);
void ngx_gitpod_check_read(ngx_gitpod_check_record_t *check,
    ngx_gitpod_check_state_t *copy);
void ngx_gitpod_check_write(ngx_gitpod_check_record_t *check,
    ngx_gitpod_check_state_t *state);


#endif /* _NGX_GITPOD_ZONE_H_INCLUDED_ */

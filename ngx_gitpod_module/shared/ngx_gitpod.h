
/*
 * What every worker knows without asking anybody: one zone of shared memory
 * with the routes, the revocations, the credentials that were resolved, the
 * key set, counters and the state of checks.  A request only reads it; one
 * worker (the holder of the lease) feeds it from Redis.
 *
 * No value is written in place: a record of a table goes to a free place, all
 * else has two slots and a sequence that is raised only when the idle slot is
 * complete.  Readers take no lock: they copy the current one and try again if
 * it changed meanwhile.  A writer that is killed half way leaves the old
 * value.  Writers hold the mutex of the zone's slab pool, which the master
 * unlocks when a worker dies.
 */


#ifndef _NGX_GITPOD_H_INCLUDED_
#define _NGX_GITPOD_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "core/contract.h"
#include "core/flag.h"
#include "jose/jws.h"


#define NGX_GITPOD_ID_MAX       64      /* bytes of any id but a workspace's */
#define NGX_GITPOD_SCOPES_MAX   256     /* bytes of scopes, space separated */
#define NGX_GITPOD_DIGEST_LEN   32      /* bytes: SHA-256 */


typedef struct ngx_gitpod_zone_s  ngx_gitpod_zone_t;


/* routes */

typedef enum {
    NGX_GITPOD_PHASE_UNKNOWN = 0,
    NGX_GITPOD_PHASE_PREPARING,
    NGX_GITPOD_PHASE_BUILDING,
    NGX_GITPOD_PHASE_PENDING,
    NGX_GITPOD_PHASE_CREATING,
    NGX_GITPOD_PHASE_INITIALIZING,
    NGX_GITPOD_PHASE_RUNNING,
    NGX_GITPOD_PHASE_STOPPING,
    NGX_GITPOD_PHASE_STOPPED
} ngx_gitpod_phase_e;


typedef enum {
    NGX_GITPOD_ADMIT_OWNER = 0,
    NGX_GITPOD_ADMIT_EVERYONE
} ngx_gitpod_admission_e;


/* what is spoken to a port */

typedef enum {
    NGX_GITPOD_PROTOCOL_HTTP = 0,
    NGX_GITPOD_PROTOCOL_HTTPS,
    NGX_GITPOD_PROTOCOL_H2C,                /* HTTP/2 without TLS */
    NGX_GITPOD_PROTOCOL_GRPC                /* the same */
} ngx_gitpod_protocol_e;


/* small: there are 16 of them in a record */

typedef struct {
    uint16_t             port;
    uint16_t             listener;          /* of mode port; 0: it has none */
    u_char               visible:1;         /* "public" */
    u_char               protocol:2;        /* ngx_gitpod_protocol_e */
} ngx_gitpod_route_port_t;


/*
 * A copy of one record, the reader's own.  Texts are not terminated.  socklen
 * is 0 when the workspace has no address, that is, when it does not run; the
 * port of the address is 0 for the reader to set.
 */

typedef struct {
    uint64_t                 version;

    union {
        struct sockaddr      sockaddr;
        struct sockaddr_in   sin;
        struct sockaddr_in6  sin6;
    } u;
    socklen_t                socklen;

    u_char                   phase;         /* ngx_gitpod_phase_e */
    u_char                   admission;     /* ngx_gitpod_admission_e */
    u_char                   ports_n;
    u_char                   instance_len;
    u_char                   owner_len;
    u_char                   id_len;

    unsigned                 deleted:1;     /* never seen by readers */
    unsigned                 refused:1;     /* never seen by readers */
    unsigned                 owner_token:1; /* digest is set */

    uint16_t                 listener;      /* the editor's, in mode port */

    u_char                   digest[NGX_GITPOD_DIGEST_LEN];
    u_char                   id[GP_WORKSPACE_ID_MAX];
    u_char                   instance[GP_INSTANCE_ID_LEN];
    u_char                   owner[GP_USER_ID_LEN];
    ngx_gitpod_route_port_t  ports[GP_ROUTE_PORTS_MAX];
} ngx_gitpod_route_t;


/* NGX_OK and the copy, or NGX_DECLINED: there is no such workspace. */
ngx_int_t ngx_gitpod_route_get(ngx_gitpod_zone_t *zone, ngx_str_t *id,
    ngx_gitpod_route_t *copy);

/* The explicit entry of a port, or NULL: private, http. */
ngx_gitpod_route_port_t *ngx_gitpod_route_port(ngx_gitpod_route_t *route,
    ngx_uint_t port);

/* listeners of mode port */

/*
 * NGX_OK, a copy of the route that claims the listener, and the port of the
 * workspace it stands for (0: the editor); NGX_DECLINED: it is nobody's.
 */
ngx_int_t ngx_gitpod_listener_get(ngx_gitpod_zone_t *zone,
    ngx_uint_t listener, ngx_gitpod_route_t *copy, ngx_uint_t *port);

/* Does the route claim it, and for which port? */
ngx_uint_t ngx_gitpod_listener_claimed(ngx_gitpod_route_t *route,
    ngx_uint_t listener, ngx_uint_t *port);

/* Moves with every change of any route: who waits for one polls this. */
uint64_t ngx_gitpod_route_sequence(ngx_gitpod_zone_t *zone);

/* All routes were read, from Redis or a snapshot, since the cold start. */
ngx_uint_t ngx_gitpod_routes_synced(ngx_gitpod_zone_t *zone);

/* Redis is there, and all was read since: what is not here is nowhere. */
ngx_uint_t ngx_gitpod_routes_current(ngx_gitpod_zone_t *zone);


/* revocations */

typedef enum {
    NGX_GITPOD_REVOKED_USER = 0,
    NGX_GITPOD_REVOKED_SESSION,
    NGX_GITPOD_REVOKED_TOKEN,
    NGX_GITPOD_REVOKED_WORKSPACE
} ngx_gitpod_revoked_e;


/*
 * 1 when credentials of that user, session, token or workspace issued at iat
 * are refused.  For sessions and tokens any iat is.
 */
ngx_uint_t ngx_gitpod_revoked(ngx_gitpod_zone_t *zone,
    ngx_gitpod_revoked_e kind, ngx_str_t *id, time_t iat);

/* Before this no session is accepted: a revocation could be missing. */
ngx_uint_t ngx_gitpod_revocations_synced(ngx_gitpod_zone_t *zone);

/* Moves with every revocation: live connections look again. */
uint64_t ngx_gitpod_revocation_sequence(ngx_gitpod_zone_t *zone);


/* credentials that the auth plugin resolved, by SHA-256 of their text */

typedef struct {
    time_t                   fetched;       /* when auth was asked */
    time_t                   expires;       /* 0: it did not say */
    u_char                   kind;          /* the caller's own enumeration */
    u_char                   user_len;
    u_char                   credential_len;
    uint16_t                 scopes_len;
    u_char                   user[NGX_GITPOD_ID_MAX];
    u_char                   credential[NGX_GITPOD_ID_MAX];
    u_char                   scopes[NGX_GITPOD_SCOPES_MAX];
} ngx_gitpod_credential_t;


/*
 * NGX_OK and a copy, fresh or not: the caller judges by "fetched".
 * NGX_DECLINED: not known, expired, or its user or token was revoked after
 * it was fetched.
 */
ngx_int_t ngx_gitpod_credential_get(ngx_gitpod_zone_t *zone,
    u_char digest[NGX_GITPOD_DIGEST_LEN], ngx_gitpod_credential_t *copy);

/* "fetched" is the time before auth was asked, so that no revocation slips. */
void ngx_gitpod_credential_put(ngx_gitpod_zone_t *zone,
    u_char digest[NGX_GITPOD_DIGEST_LEN], ngx_gitpod_credential_t *credential);

/* When auth says that it is not valid any more. */
void ngx_gitpod_credential_remove(ngx_gitpod_zone_t *zone,
    u_char digest[NGX_GITPOD_DIGEST_LEN]);


/*
 * Who asks auth about a token.  begin: NGX_OK: the caller, who tells the end;
 * NGX_AGAIN: another worker does.  state: NGX_AGAIN: somebody asks;
 * NGX_ERROR: auth did not answer a moment ago; NGX_DECLINED: nobody.
 */
ngx_int_t ngx_gitpod_ask_begin(ngx_gitpod_zone_t *zone,
    u_char digest[NGX_GITPOD_DIGEST_LEN]);
ngx_int_t ngx_gitpod_ask_state(ngx_gitpod_zone_t *zone,
    u_char digest[NGX_GITPOD_DIGEST_LEN]);
void ngx_gitpod_ask_end(ngx_gitpod_zone_t *zone,
    u_char digest[NGX_GITPOD_DIGEST_LEN], ngx_uint_t failed);


/* feature flags: NGX_OK and a copy, or NGX_DECLINED: nobody has set it */

ngx_int_t ngx_gitpod_flag_get(ngx_gitpod_zone_t *zone, ngx_str_t *name,
    gp_flag_t *copy);


/* activity: which workspace was used when, until it is reported */

#define NGX_GITPOD_ACTIVITY_GRAIN_MS  1000  /* used twice within: once */


typedef struct {
    uint64_t                 active_ms;     /* ngx_gitpod_now_ms() */
    u_char                   id_len;
    u_char                   id[GP_WORKSPACE_ID_MAX];
} ngx_gitpod_activity_t;


/* Somebody uses this workspace now. */
void ngx_gitpod_activity_note(ngx_gitpod_zone_t *zone, ngx_str_t *id);

/* How many of at most max are to be reported; copies of them in list. */
ngx_uint_t ngx_gitpod_activity_collect(ngx_gitpod_zone_t *zone,
    ngx_gitpod_activity_t *list, ngx_uint_t max);

/* These were reported. */
void ngx_gitpod_activity_done(ngx_gitpod_zone_t *zone,
    ngx_gitpod_activity_t *list, ngx_uint_t n);


/* wake: who asks ws_manager to start which workspace */

#define NGX_GITPOD_WAKE_TEXT_MAX  160       /* bytes, terminated */


/*
 * instance: the one that has stopped, or empty.
 * NGX_OK: the caller is to ask, within ms, and tells the end; NGX_AGAIN:
 * somebody does, or has; NGX_DECLINED: ws_manager refused it lately, text
 * (NGX_GITPOD_WAKE_TEXT_MAX bytes) says why; NGX_BUSY: too many at once.
 */
ngx_int_t ngx_gitpod_wake_begin(ngx_gitpod_zone_t *zone, ngx_str_t *id,
    ngx_str_t *instance, ngx_msec_t ms, u_char *text);

/* refused: why ws_manager did not, or NULL. */
void ngx_gitpod_wake_end(ngx_gitpod_zone_t *zone, ngx_str_t *id,
    ngx_str_t *instance, char *refused);

/* Moves with every refusal: who waits looks again. */
ngx_atomic_uint_t ngx_gitpod_wakes_refused(ngx_gitpod_zone_t *zone);


/* When draining began, 0: it did not. */
uint64_t ngx_gitpod_drain_since(ngx_gitpod_zone_t *zone);


typedef enum {
    NGX_GITPOD_KEYS_FED = 0,                /* of a file, and of Redis */
    NGX_GITPOD_KEYS_FETCHED,                /* of gitpod_key_set_url */

    NGX_GITPOD_KEY_SETS
} ngx_gitpod_key_set_e;


/*
 * A key set as this worker parsed it; parsed again when the text in the zone
 * moved.  NULL: no key is known.  Owned by the zone; valid until the next
 * call for this set.
 */
gp_jose_keys_t *ngx_gitpod_keys(ngx_gitpod_zone_t *zone,
    ngx_gitpod_key_set_e set, ngx_log_t *log);

/* Of all sets, each once. */
ngx_uint_t ngx_gitpod_keys_count(ngx_gitpod_zone_t *zone, ngx_log_t *log);

/* Another one after any change of any set; never 0. */
ngx_uint_t ngx_gitpod_keys_generation(ngx_gitpod_zone_t *zone);


/* a key set of a URL: the holder of the lease fetches */

#define NGX_GITPOD_MISSING_KEYS  256        /* names of keys, remembered */


typedef struct {
    uint64_t             source;            /* hash of the URL; 0: none */
    uint64_t             fed;               /* the other set, as it was */
    uint64_t             next_ms;           /* of the next refresh */
    uint64_t             begun_ms;          /* of the last fetch */
    time_t               fetched;           /* of the last good one; 0: none */
    ngx_atomic_t         wanted;
    ngx_atomic_t         begun;             /* so many fetches */
    ngx_atomic_t         ended;
    ngx_atomic_t         good;              /* the last one that was */
    ngx_uint_t           fails;             /* in a row */
    ngx_uint_t           lost;              /* too old, and dropped */
    uint64_t             missing[NGX_GITPOD_MISSING_KEYS];
} ngx_gitpod_key_url_t;


ngx_gitpod_key_url_t *ngx_gitpod_key_url(ngx_gitpod_zone_t *zone);

/*
 * Somebody needs a fetch: NGX_OK and the one to wait for, perhaps under way;
 * the last one began less than "again" ago: NGX_DECLINED, and was good, so
 * there is nothing new; NGX_BUSY, and was not.
 */
ngx_int_t ngx_gitpod_key_url_want(ngx_gitpod_zone_t *zone, ngx_msec_t again,
    ngx_atomic_uint_t *round);

/* NGX_OK: that fetch or a later one was good; NGX_AGAIN; NGX_ERROR. */
ngx_int_t ngx_gitpod_key_url_outcome(ngx_gitpod_zone_t *zone,
    ngx_atomic_uint_t round);

/* Did a fetch lately not have this key?  It did not. */
ngx_uint_t ngx_gitpod_key_missing(ngx_gitpod_zone_t *zone, ngx_str_t *kid);
void ngx_gitpod_key_missed(ngx_gitpod_zone_t *zone, ngx_str_t *kid);


/* counters; their names stand in ngx_http_gitpod_metrics.c */

typedef enum {
    /* what became of a request where the module decides; one of them each */
    NGX_GITPOD_N_REQUEST_OK = 0,            /* let through */
    NGX_GITPOD_N_REQUEST_HANDOFF,           /* sent to log in */
    NGX_GITPOD_N_REQUEST_BAD,               /* 400 */
    NGX_GITPOD_N_REQUEST_UNAUTHENTICATED,   /* 401 */
    NGX_GITPOD_N_REQUEST_FORBIDDEN,         /* 403 */
    NGX_GITPOD_N_REQUEST_NOT_FOUND,         /* 404 */
    NGX_GITPOD_N_REQUEST_LIMITED,           /* 429 */
    NGX_GITPOD_N_REQUEST_ERROR,             /* 500 */
    NGX_GITPOD_N_REQUEST_UNAVAILABLE,       /* 503, or the start page */

    /* credentials */
    NGX_GITPOD_N_SESSION_OK,
    NGX_GITPOD_N_SESSION_REFUSED,
    NGX_GITPOD_N_TOKEN_OK,
    NGX_GITPOD_N_TOKEN_REFUSED,
    NGX_GITPOD_N_WORKSPACE_OK,
    NGX_GITPOD_N_WORKSPACE_REFUSED,
    NGX_GITPOD_N_OWNER_TOKEN_OK,
    NGX_GITPOD_N_OWNER_TOKEN_REFUSED,
    NGX_GITPOD_N_OWNER_COOKIE_OK,
    NGX_GITPOD_N_OWNER_COOKIE_REFUSED,

    /* the auth plugin was asked */
    NGX_GITPOD_N_ASK_OK,
    NGX_GITPOD_N_ASK_REFUSED,
    NGX_GITPOD_N_ASK_FAILED,

    /* the cache of credentials */
    NGX_GITPOD_N_CACHE_HIT,
    NGX_GITPOD_N_CACHE_STALE,
    NGX_GITPOD_N_CACHE_REFRESH,             /* used, and asked for anew */
    NGX_GITPOD_N_CACHE_MISS,

    NGX_GITPOD_N_HANDOFF_OK,
    NGX_GITPOD_N_HANDOFF_REFUSED,
    NGX_GITPOD_N_ORIGIN_REFUSED,

    NGX_GITPOD_N_ACTIVITY_NOTED,
    NGX_GITPOD_N_ACTIVITY_DROPPED,
    NGX_GITPOD_N_REPORT_OK,
    NGX_GITPOD_N_REPORT_FAILED,

    /* subscribers of events */
    NGX_GITPOD_N_SUBSCRIBE_NEW,
    NGX_GITPOD_N_SUBSCRIBE_RESUMED,
    NGX_GITPOD_N_SUBSCRIBE_RESET,
    NGX_GITPOD_N_SUBSCRIBE_REFUSED,         /* too many */
    NGX_GITPOD_N_SUBSCRIBER_SLOW,
    NGX_GITPOD_N_EVENT_SENT,

    /* requests that waited for their workspace, and starts for them */
    NGX_GITPOD_N_WAKE_RUNNING,
    NGX_GITPOD_N_WAKE_LATE,
    NGX_GITPOD_N_WAKE_FAILED,
    NGX_GITPOD_N_WAKE_FULL,
    NGX_GITPOD_N_WAKE_GONE,
    NGX_GITPOD_N_START_OK,
    NGX_GITPOD_N_START_REFUSED,

    /* the feed */
    NGX_GITPOD_N_ROUTE_UPDATED,
    NGX_GITPOD_N_ROUTE_OLD,
    NGX_GITPOD_N_ROUTE_REFUSED,
    NGX_GITPOD_N_ROUTE_FULL,
    NGX_GITPOD_N_REVOKED,
    NGX_GITPOD_N_FLAG_UPDATED,
    NGX_GITPOD_N_FLAG_OLD,
    NGX_GITPOD_N_FLAG_REFUSED,
    NGX_GITPOD_N_FLAG_FULL,
    NGX_GITPOD_N_KEY_SET,
    NGX_GITPOD_N_KEY_FETCH_OK,
    NGX_GITPOD_N_KEY_FETCH_FAILED,

    /* requests whose token names a key that is not known */
    NGX_GITPOD_N_KEY_WAIT_FOUND,
    NGX_GITPOD_N_KEY_WAIT_MISSING,
    NGX_GITPOD_N_KEY_WAIT_LATE,             /* or the fetch failed */
    NGX_GITPOD_N_KEY_WAIT_FULL,             /* or fetched a moment ago */
    NGX_GITPOD_N_KEY_MISSING,               /* known to be missing */
    NGX_GITPOD_N_EVENT_TAKEN,
    NGX_GITPOD_N_EVENT_OLD,
    NGX_GITPOD_N_EVENT_REFUSED,
    NGX_GITPOD_N_REDIS_CONNECT,
    NGX_GITPOD_N_REDIS_FAIL,
    NGX_GITPOD_N_REDIS_MESSAGE,
    NGX_GITPOD_N_RESYNC,
    NGX_GITPOD_N_LEASE,

    NGX_GITPOD_COUNTERS_N
} ngx_gitpod_counter_e;


void ngx_gitpod_count(ngx_gitpod_zone_t *zone, ngx_gitpod_counter_e counter);


#endif /* _NGX_GITPOD_H_INCLUDED_ */


/*
 * The request path: what is known about one client request and the functions
 * that find it out.  The context lives on a clean-up of the main request's
 * pool, so that internal redirects, named locations and subrequests share it.
 */


#ifndef _NGX_HTTP_GITPOD_REQUEST_H_INCLUDED_
#define _NGX_HTTP_GITPOD_REQUEST_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/contract.h"
#include "core/host.h"

#include "ngx_gitpod_limit.h"
#include "ngx_http_gitpod.h"


#define NGX_HTTP_GITPOD_AUTH_OFF       0
#define NGX_HTTP_GITPOD_AUTH_ON        1
#define NGX_HTTP_GITPOD_AUTH_OPTIONAL  2

#define NGX_HTTP_GITPOD_MODE_HOST  0   /* a workspace is known by its host */
#define NGX_HTTP_GITPOD_MODE_PORT  1   /* or by the port of its listener */

#define NGX_HTTP_GITPOD_COOKIE_SESSION    0
#define NGX_HTTP_GITPOD_COOKIE_WORKSPACE  1
#define NGX_HTTP_GITPOD_COOKIE_NONCE      2
#define NGX_HTTP_GITPOD_COOKIE_ORIGIN     3
#define NGX_HTTP_GITPOD_COOKIES_N         4

#define NGX_HTTP_GITPOD_TOKEN_FRESH     60   /* s: then auth is asked again */
#define NGX_HTTP_GITPOD_TOKEN_STALE   3600   /* s: while auth is away */
#define NGX_HTTP_GITPOD_TOKEN_STALE_MAX  86400
#define NGX_HTTP_GITPOD_TOKEN_REFUSED   10   /* s: a "no" is remembered */


typedef enum {
    NGX_HTTP_GITPOD_NONE = 0,
    NGX_HTTP_GITPOD_SESSION,
    NGX_HTTP_GITPOD_TOKEN,
    NGX_HTTP_GITPOD_WORKSPACE,
    NGX_HTTP_GITPOD_OWNER_TOKEN,
    NGX_HTTP_GITPOD_OWNER_COOKIE
} ngx_http_gitpod_credential_e;


typedef struct {
    ngx_str_t     domain;              /* D, lower case */
    ngx_str_t     workspace_domain;    /* W, lower case */
    ngx_str_t     external_url;        /* scheme://host[:port], no slash */
    ngx_str_t     issuer;              /* of our tokens; default D */

    /* taken from external_url */
    ngx_str_t     scheme;
    ngx_str_t     port;                /* ":8080", or empty */
    ngx_str_t     cookies[NGX_HTTP_GITPOD_COOKIES_N];
    time_t        token_fresh;         /* s: then auth is asked again */
    time_t        token_stale;         /* s: while auth is away */
    ngx_str_t     cookie_prefix;       /* of Gitpod's names: "_<D>_" */
    unsigned      tls:1;

    ngx_uint_t    mode;
} ngx_http_gitpod_request_srv_conf_t;


typedef struct {
    ngx_uint_t    auth;
    ngx_flag_t    workspace;
    ngx_flag_t    handoff;
    ngx_flag_t    preflight;           /* of private ports is answered */
    ngx_str_t     introspect;          /* internal uri */
    ngx_str_t     redeem;              /* internal uri */
    ngx_str_t     protocols[NGX_GITPOD_PROTOCOL_GRPC + 1];  /* @name */
} ngx_http_gitpod_request_loc_conf_t;


typedef enum {
    NGX_HTTP_GITPOD_COUNT_REQUESTS = 0,
    NGX_HTTP_GITPOD_COUNT_UPGRADES,
    NGX_HTTP_GITPOD_COUNT_FAILURES,     /* credentials that were not good */
    NGX_HTTP_GITPOD_COUNT_UNKNOWN,      /* workspaces that are not there */
    NGX_HTTP_GITPOD_COUNT_OPEN          /* needs no credential */
} ngx_http_gitpod_limit_count_e;


#define NGX_HTTP_GITPOD_HELD_MAX  4     /* concurrent limits of one request */


typedef struct ngx_http_gitpod_limit_s   ngx_http_gitpod_limit_t;
typedef struct ngx_http_gitpod_ctx_s     ngx_http_gitpod_ctx_t;
typedef struct ngx_http_gitpod_frames_s  ngx_http_gitpod_frames_t;
typedef struct ngx_http_gitpod_wait_s    ngx_http_gitpod_wait_t;

typedef ngx_int_t (*ngx_http_gitpod_answer_pt)(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);

struct ngx_http_gitpod_ctx_s {
    ngx_http_request_t            *request;       /* the main one */
    ngx_gitpod_zone_t             *zone;

    /* what the client sent, taken out of its headers */
    ngx_str_t                      cookies[NGX_HTTP_GITPOD_COOKIES_N];
    ngx_str_t                      owner_token;
    ngx_array_t                   *owner_cookies; /* Gitpod's form of it */
    ngx_str_t                      owner_cookie;  /* the one that was good */
    ngx_str_t                      token;         /* personal access token */
    ngx_str_t                      origin;
    ngx_str_t                      traceparent;   /* the client's, then ours */
    ngx_str_t                      request_id;

    /* who */
    ngx_http_gitpod_credential_e   credential;
    ngx_str_t                      user;
    ngx_str_t                      credential_id;
    ngx_str_t                      scopes;
    time_t                         issued;        /* for revocations */
    time_t                         expires;       /* 0: not known */

    /* where */
    ngx_str_t                      host;          /* mode port: W:listener */
    ngx_uint_t                     listener;      /* mode port, or 0 */
    ngx_str_t                      suffix;        /* of its cookies' names */
    ngx_str_t                      workspace_id;
    ngx_str_t                      instance_id;
    ngx_uint_t                     port;          /* the person's; 0: editor */
    ngx_sockaddr_t                 sockaddr;
    socklen_t                      socklen;
    ngx_str_t                      address;       /* sockaddr as text */

    /* a question to the auth plugin under way */
    ngx_http_request_t            *subrequest;
    ngx_str_t                      code;          /* hand-off code to redeem */
    ngx_queue_t                    waiters;
    ngx_queue_t                    queue;         /* place among waiters */
    ngx_uint_t                     waiters_n;
    ngx_uint_t                     status;        /* of the answer */
    ngx_event_t                    wake;
    u_char                         digest[NGX_GITPOD_DIGEST_LEN];
    time_t                         asked_at;

    /* a key that is waited for */
    ngx_atomic_uint_t              key_round;     /* of fetches; 0: none */
    ngx_msec_t                     key_deadline;

    ngx_queue_t                    live;
    ngx_str_t                      reason;        /* why it was refused */
    ngx_http_gitpod_frames_t      *frames;        /* of a WebSocket */
    ngx_http_gitpod_wait_t        *wait;          /* for the workspace */
    ngx_uint_t                     observed;      /* class + 1; 0: none yet */

    /* limits */
    ngx_http_gitpod_limit_t       *limit;         /* that was reached */
    uint64_t                       limit_wait;    /* ns until it is not */
    ngx_table_elt_t               *limit_headers[3];
    uint64_t                       limit_left;    /* as they say */
    ngx_queue_t                    holding;
    ngx_uint_t                     held_n;
    ngx_gitpod_held_t              held[NGX_HTTP_GITPOD_HELD_MAX];

    unsigned                       page:1;        /* a person's navigation */
    unsigned                       html:1;
    unsigned                       upgrade:1;
    unsigned                       cors:1;
    unsigned                       service_worker:1;  /* it asks for one */
    unsigned                       duplicate:1;   /* cookie of ours */
    unsigned                       origins:2;
    unsigned                       owner_tokens:2;
    unsigned                       asked:1;       /* subrequest was sent */
    unsigned                       answered:1;
    unsigned                       leading:1;
    unsigned                       owning:1;      /* of all workers */
    unsigned                       remote:1;      /* another worker asks */
    unsigned                       waiting:1;
    unsigned                       identified:1;
    unsigned                       debug:1;       /* of the host */
    unsigned                       protocol:2;    /* ngx_gitpod_protocol_e */
    unsigned                       traced:1;
    unsigned                       open:1;        /* needs no credential */
    unsigned                       living:1;
    unsigned                       resumable:1;   /* its worker may end it */
    unsigned                       limited:1;     /* by address, once */
    unsigned                       limited_user:1;
    unsigned                       limit_dry:1;   /* reached in a dry run */
    unsigned                       spent:1;       /* one failure, so far */
};


/* context; init: the post-read phase, where it begins */

ngx_int_t ngx_http_gitpod_ctx_init(ngx_http_request_t *r);
ngx_http_gitpod_ctx_t *ngx_http_gitpod_ctx_get(ngx_http_request_t *r);
ngx_int_t ngx_http_gitpod_ctx_refuse(ngx_http_gitpod_ctx_t *ctx,
    char *reason);

/* request: the filter of what clients send */

ngx_int_t ngx_http_gitpod_request_filter(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
ngx_int_t ngx_http_gitpod_authorization(ngx_http_request_t *r,
    ngx_table_elt_t *h, ngx_uint_t offset);

/* cookie */

ngx_int_t ngx_http_gitpod_cookie_take(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_str_t *header);
ngx_int_t ngx_http_gitpod_cookie_set(ngx_http_request_t *r,
    ngx_uint_t cookie, ngx_str_t *value, char *path, time_t age);
ngx_int_t ngx_http_gitpod_cookie_expire_all(ngx_http_request_t *r);

/*
 * owner: the token of an instance, in our header or in Gitpod's cookie.
 * NGX_OK, NGX_DECLINED (none, or not good), NGX_BUSY too many were not good.
 */

ngx_int_t ngx_http_gitpod_owner_names(ngx_conf_t *cf,
    ngx_http_gitpod_request_srv_conf_t *conf);
ngx_int_t ngx_http_gitpod_owner_take(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value);
ngx_uint_t ngx_http_gitpod_owner_good(ngx_gitpod_route_t *route,
    ngx_str_t *token);
ngx_int_t ngx_http_gitpod_owner_token(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route);
ngx_int_t ngx_http_gitpod_owner_cookie(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route);

/*
 * claims: tokens of ours; token: those that auth knows.  NGX_OK it is good,
 * NGX_DECLINED it is not, NGX_AGAIN wait, NGX_ERROR cannot tell, NGX_BUSY too
 * many were not good.
 */

ngx_int_t ngx_http_gitpod_claims_session(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
ngx_int_t ngx_http_gitpod_claims_workspace(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);

/* The answer to NGX_ERROR of those two: what is missing. */
ngx_int_t ngx_http_gitpod_claims_untold(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);

ngx_int_t ngx_http_gitpod_token_opaque(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);

/*
 * token_wait: one request asks for a token, the others with it wait.  NGX_OK:
 * nobody asks for this one, so ask; NGX_AGAIN: somebody does.
 */

ngx_int_t ngx_http_gitpod_token_wait(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
void ngx_http_gitpod_token_lead(ngx_http_gitpod_ctx_t *ctx);
void ngx_http_gitpod_token_follow(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
void ngx_http_gitpod_token_wake(ngx_http_gitpod_ctx_t *ctx,
    ngx_uint_t failed);
void ngx_http_gitpod_token_abandon(ngx_http_gitpod_ctx_t *ctx);

/* waiter: requests that go through their phases again when they are woken */

void ngx_http_gitpod_waiter_init(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
void ngx_http_gitpod_waiter_add(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_queue_t *queue);
void ngx_http_gitpod_waiter_wake(ngx_http_gitpod_ctx_t *ctx);

/* ask: NGX_AGAIN the question is under way; a header of its answer, or NULL */

ngx_int_t ngx_http_gitpod_ask(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_str_t *uri);
ngx_int_t ngx_http_gitpod_ask_behind(ngx_http_request_t *r, ngx_str_t *uri,
    ngx_http_post_subrequest_pt handler, void *data);
ngx_str_t *ngx_http_gitpod_ask_header(ngx_http_request_t *sr, char *name);

/* access phase */

ngx_int_t ngx_http_gitpod_auth_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_gitpod_workspace_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_gitpod_handoff_start(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
ngx_int_t ngx_http_gitpod_handoff_check(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
ngx_int_t ngx_http_gitpod_handoff_redeem(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route);
ngx_int_t ngx_http_gitpod_workspace_unknown(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
ngx_uint_t ngx_http_gitpod_workspace_allowed(ngx_gitpod_route_t *route,
    ngx_str_t *user);

/* stranger: whoever has no credential; missing: there is no such workspace */

ngx_int_t ngx_http_gitpod_stranger(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_uint_t missing);

/* protocol: where a request goes on that plain HTTP does not suit */

char *ngx_http_gitpod_protocol(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
void ngx_http_gitpod_protocol_merge(ngx_http_gitpod_request_loc_conf_t *conf,
    ngx_http_gitpod_request_loc_conf_t *prev);
ngx_int_t ngx_http_gitpod_protocol_handler(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);

/*
 * place: which workspace, and which of its ports, a host stands for; in mode
 * port "W:listener", and id_len is 0 when the listener is nobody's.
 * NGX_DECLINED: no host of workspaces.
 */

ngx_int_t ngx_http_gitpod_place(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_str_t *host, gp_host_t *place);

/* Of a request for W in mode port, by the listener it came to. */
ngx_int_t ngx_http_gitpod_place_init(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);

/* Clears what pages of another workspace stored at this listener. */
ngx_int_t ngx_http_gitpod_place_clear(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);

/* 1: a service worker for all of it would outlive its workspace. */
ngx_uint_t ngx_http_gitpod_place_stays(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);

/* The request's own, again; NGX_DECLINED as above. */
ngx_int_t ngx_http_gitpod_place_again(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, gp_host_t *place);

/* origin: NGX_OK or NGX_DECLINED */

ngx_int_t ngx_http_gitpod_origin_check(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
ngx_uint_t ngx_http_gitpod_origin_sibling(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
ngx_uint_t ngx_http_gitpod_origin_may_ask(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);

/* reply: each returns what the phase handler returns */

ngx_int_t ngx_http_gitpod_reply_error(ngx_http_request_t *r,
    ngx_uint_t status, char *message);
ngx_int_t ngx_http_gitpod_reply_again(ngx_http_request_t *r,
    ngx_uint_t status, ngx_uint_t retry_s, char *message);
ngx_int_t ngx_http_gitpod_reply_redirect(ngx_http_request_t *r,
    ngx_uint_t status, ngx_str_t *url);
ngx_int_t ngx_http_gitpod_reply_empty(ngx_http_request_t *r,
    ngx_uint_t status);
ngx_int_t ngx_http_gitpod_reply_header(ngx_http_request_t *r,
    char *name, char *fmt, ...);
ngx_int_t ngx_http_gitpod_reply_challenge(ngx_http_request_t *r,
    char *scheme);

/* 1: return the status, for "satisfy any" lets others judge too. */
ngx_uint_t ngx_http_gitpod_reply_deferred(ngx_http_request_t *r,
    ngx_uint_t status);

/*
 * limit: NGX_OK, or what the phase handler returns (limit_user: the end of the
 * access phase)
 */

ngx_int_t ngx_http_gitpod_limit_user(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);

/* Counts an event, before it is known whether it is one: NGX_OK, NGX_BUSY. */
ngx_int_t ngx_http_gitpod_limit_spend(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_http_gitpod_limit_count_e count);

/* Is there any left? */
ngx_int_t ngx_http_gitpod_limit_look(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_http_gitpod_limit_count_e count);

/* It was none. */
void ngx_http_gitpod_limit_return(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_http_gitpod_limit_count_e count);

/* Credentials that were good: no budget keeps them from being judged. */
ngx_uint_t ngx_http_gitpod_limit_known(ngx_http_gitpod_ctx_t *ctx,
    ngx_str_t *credential);
void ngx_http_gitpod_limit_know(ngx_http_gitpod_ctx_t *ctx,
    ngx_str_t *credential, ngx_uint_t good);

/* After NGX_BUSY: the answer, 429. */
ngx_int_t ngx_http_gitpod_limit_refuse(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);

/* The request ends. */
void ngx_http_gitpod_limit_release(ngx_http_gitpod_ctx_t *ctx);

/* Prometheus text. */
u_char *ngx_http_gitpod_limit_metrics(ngx_http_request_t *r, u_char *p,
    u_char *last, ngx_gitpod_zone_t *zone);

/* route: 1 when the peer of this upstream is what the handler chose */

ngx_uint_t ngx_http_gitpod_route_used(ngx_http_upstream_srv_conf_t *us);

/* live: requests that end when their right does */

void ngx_http_gitpod_live_add(ngx_http_gitpod_ctx_t *ctx);
void ngx_http_gitpod_live_remove(ngx_http_gitpod_ctx_t *ctx);

/* activity: what people do in workspaces */

void ngx_http_gitpod_activity_request(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
void ngx_http_gitpod_activity_unwatch(ngx_http_gitpod_ctx_t *ctx);

/* Was a credential taken away?  workspace: of that kind, else empty. */
ngx_uint_t ngx_http_gitpod_live_revoked(ngx_gitpod_zone_t *zone,
    ngx_http_gitpod_credential_e credential, ngx_str_t *id, ngx_str_t *user,
    ngx_str_t *workspace, time_t issued);

/* wake: requests that wait for their workspace; NGX_DECLINED: not this one */

ngx_int_t ngx_http_gitpod_wake(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route);
void ngx_http_gitpod_wake_done(ngx_http_gitpod_ctx_t *ctx);
void ngx_http_gitpod_wake_leave(ngx_http_gitpod_ctx_t *ctx);

/* variables */

ngx_int_t ngx_http_gitpod_variables_add(ngx_conf_t *cf);
ngx_int_t ngx_http_gitpod_request_line(ngx_http_request_t *r);


extern ngx_module_t  ngx_http_gitpod_request_module;


#endif /* _NGX_HTTP_GITPOD_REQUEST_H_INCLUDED_ */

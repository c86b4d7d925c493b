
/*
 * gitpod_breaker: circuit breakers of upstreams.  The directive and what is
 * told about breakers is in ngx_http_gitpod_breaker_conf.c, what a request
 * meets in ngx_http_gitpod_breaker.c, and what it gets when it was refused in
 * ngx_http_gitpod_breaker_refusal.c.
 */


#ifndef _NGX_HTTP_GITPOD_BREAKER_H_INCLUDED_
#define _NGX_HTTP_GITPOD_BREAKER_H_INCLUDED_


#include "ngx_http_gitpod.h"
#include "ngx_gitpod_breaker.h"


typedef struct {
    ngx_str_t                         name;
    gp_breaker_policy_t               policy;
    ngx_uint_t                        on;         /* 1 << each reason */
    ngx_str_t                         fallback;   /* @name, /uri or empty */
    ngx_uint_t                        routes;
    ngx_str_t                         host;       /* of the upstream */

    ngx_gitpod_zone_t                *zone;
    ngx_gitpod_breaker_t             *breaker;

    ngx_http_upstream_init_pt         init_upstream;
    ngx_http_upstream_init_peer_pt    init_peer;      /* NULL: not in use */
} ngx_http_gitpod_breaker_srv_conf_t;


typedef struct {
    ngx_array_t                       breakers;   /* of pointers to those */
} ngx_http_gitpod_breaker_main_conf_t;


/* what is known of a request */

typedef struct {
    ngx_http_request_t                  *request;
    ngx_http_gitpod_breaker_srv_conf_t  *conf;
    ngx_gitpod_breaker_use_t             use;
    ngx_uint_t                           phase;     /* that it met */
    ngx_uint_t                           reason;
    void                               (*finalize)(ngx_http_request_t *r,
                                                   ngx_int_t rc);
    unsigned                             judged:1;
    unsigned                             refused:1;
    unsigned                             diverted:1;
    unsigned                             error_page:1;
    unsigned                             header_only:1;
} ngx_http_gitpod_breaker_ctx_t;


char *ngx_http_gitpod_breaker_conf(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* One line in the log, when this use has changed the phase. */
void ngx_http_gitpod_breaker_log(ngx_http_gitpod_breaker_srv_conf_t *bscf,
    ngx_gitpod_breaker_use_t *use, ngx_log_t *log);

/* The check of a name changed its mind: so may the breaker of that name. */
void ngx_http_gitpod_breaker_check(ngx_str_t *name, ngx_uint_t passes,
    ngx_log_t *log);

/* metrics */
size_t ngx_http_gitpod_breaker_metrics_size(void);
u_char *ngx_http_gitpod_breaker_metrics(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone);


/* Instead of nginx's page, whose header is about to go out; gives NGX_DONE. */
ngx_int_t ngx_http_gitpod_breaker_divert(ngx_http_request_t *r,
    ngx_http_gitpod_breaker_ctx_t *ctx);

ngx_int_t ngx_http_gitpod_breaker_init_upstream(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us);


extern ngx_module_t  ngx_http_gitpod_breaker_module;


#endif /* _NGX_HTTP_GITPOD_BREAKER_H_INCLUDED_ */

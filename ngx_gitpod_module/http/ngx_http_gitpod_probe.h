
/*
 * Probes answer from memory.  Checks run on timers of the worker that holds
 * the lease, each with its own deadline, and leave their result in the zone.
 */


#ifndef _NGX_HTTP_GITPOD_PROBE_H_INCLUDED_
#define _NGX_HTTP_GITPOD_PROBE_H_INCLUDED_


#include "ngx_http_gitpod.h"
#include "ngx_http_gitpod_fastcgi.h"
#include "ngx_gitpod_zone.h"


#define NGX_HTTP_GITPOD_LAG            5000     /* ms, of gitpod_live_lag */

/* a result older than two intervals, its timeout and this is none */
#define NGX_HTTP_GITPOD_CHECK_GRACE    (NGX_GITPOD_LEASE_MS + 2000)


typedef enum {
    NGX_HTTP_GITPOD_CHECK_REDIS = 0,
    NGX_HTTP_GITPOD_CHECK_ROUTES,
    NGX_HTTP_GITPOD_CHECK_KEYS,
    NGX_HTTP_GITPOD_CHECK_FASTCGI
} ngx_http_gitpod_check_e;


typedef enum {
    NGX_HTTP_GITPOD_PROBE_NONE = 0,
    NGX_HTTP_GITPOD_PROBE_LIVE,
    NGX_HTTP_GITPOD_PROBE_STARTUP,
    NGX_HTTP_GITPOD_PROBE_READY,
    NGX_HTTP_GITPOD_PROBE_METRICS
} ngx_http_gitpod_probe_e;


typedef struct {
    ngx_str_t                    name;
    ngx_http_gitpod_check_e      type;
    ngx_addr_t                   addr;
    ngx_msec_t                   interval;
    ngx_msec_t                   timeout;
    ngx_uint_t                   rise;
    ngx_uint_t                   fall;
    ngx_uint_t                   required;
    ngx_msec_t                   age;           /* 0: any */

    /* of this worker */
    ngx_gitpod_zone_t           *zone;
    ngx_gitpod_check_record_t   *record;
    ngx_event_t                  timer;
    uint64_t                     started_ms;
    ngx_http_gitpod_fastcgi_t   *fastcgi;       /* under way */
} ngx_http_gitpod_check_t;


typedef struct {
    ngx_array_t                  checks;    /* of ngx_http_gitpod_check_t */
    ngx_uint_t                   feed;      /* there is a first sync */
    ngx_msec_t                   lag;       /* a worker may be stuck */
} ngx_http_gitpod_probe_main_conf_t;


typedef struct {
    ngx_uint_t                   probe;     /* ngx_http_gitpod_probe_e */
} ngx_http_gitpod_probe_loc_conf_t;


/* What /ready would say now. */

ngx_uint_t ngx_http_gitpod_probe_is_ready(ngx_http_request_t *r);


/* check */

char *ngx_http_gitpod_check_conf(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_gitpod_check_init(ngx_cycle_t *cycle,
    ngx_http_gitpod_probe_main_conf_t *pmcf, ngx_gitpod_zone_t *zone);
void ngx_http_gitpod_check_exit(ngx_http_gitpod_probe_main_conf_t *pmcf);
void ngx_http_gitpod_check_done(ngx_http_gitpod_check_t *check, ngx_uint_t ok,
    const char *text);

/* 1 when it counts as passed now; *why says what is wrong otherwise. */
ngx_uint_t ngx_http_gitpod_check_passed(ngx_http_gitpod_check_t *check,
    ngx_gitpod_zone_t *zone, ngx_gitpod_check_state_t *state,
    const char **why);


/* metrics: the body and its type, or NULL */

ngx_buf_t *ngx_http_gitpod_metrics(ngx_http_request_t *r,
    ngx_gitpod_zone_t *zone, ngx_http_gitpod_probe_main_conf_t *pmcf,
    ngx_str_t *type);


extern ngx_module_t  ngx_http_gitpod_probe_module;


#endif /* _NGX_HTTP_GITPOD_PROBE_H_INCLUDED_ */

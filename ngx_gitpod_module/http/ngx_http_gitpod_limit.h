
/*
 * Limits: what is counted, for whom, and how much of it.  Limits by address
 * alone are looked at before anybody asks who it is (preaccess phase), those
 * by user or token once that is known (end of the access phase).  Others count
 * events: failed credentials, look-ups of unknown workspaces, requests that
 * need no credential; who notices the event asks.
 */


#ifndef _NGX_HTTP_GITPOD_LIMIT_H_INCLUDED_
#define _NGX_HTTP_GITPOD_LIMIT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_gitpod_zone.h"
#include "ngx_http_gitpod_request.h"


#define NGX_HTTP_GITPOD_LIMIT_ADDRESS  0x1
#define NGX_HTTP_GITPOD_LIMIT_USER     0x2
#define NGX_HTTP_GITPOD_LIMIT_TOKEN    0x4
#define NGX_HTTP_GITPOD_LIMIT_METHOD   0x8


struct ngx_http_gitpod_limit_s {
    ngx_str_t                      name;
    ngx_uint_t                     keys;        /* what one bucket is for */
    ngx_http_gitpod_limit_count_e  count;
    ngx_array_t                   *methods;     /* of ngx_str_t; NULL: all */

    ngx_gitpod_rate_t              rate;        /* interval 0: concurrent */
    uint64_t                       concurrent;
    ngx_uint_t                     shared;      /* with other gateways */

    ngx_str_t                      text;        /* for people: "3 in 10s" */
    uint64_t                       salt;        /* of its keys */
    ngx_gitpod_limit_slot_t       *slot;
};


typedef struct {
    ngx_array_t                    limits;      /* ngx_http_gitpod_limit_t * */
} ngx_http_gitpod_limit_main_conf_t;


typedef struct {
    ngx_array_t                   *uses;        /* ngx_http_gitpod_limit_t * */
    ngx_flag_t                     dry_run;
    ngx_flag_t                     headers;
} ngx_http_gitpod_limit_loc_conf_t;


/* The preaccess phase. */
ngx_int_t ngx_http_gitpod_limit_handler(ngx_http_request_t *r);


/* One parameter of gitpod_limit; NGX_CONF_OK, or what is wrong with it. */
char *ngx_http_gitpod_limit_parameter(ngx_conf_t *cf,
    ngx_http_gitpod_limit_t *limit, ngx_str_t *value);

/* Whether all of them go together; NGX_CONF_OK, or what does not. */
char *ngx_http_gitpod_limit_fits(ngx_http_gitpod_limit_t *limit);


extern ngx_module_t  ngx_http_gitpod_limit_module;


#endif /* _NGX_HTTP_GITPOD_LIMIT_H_INCLUDED_ */

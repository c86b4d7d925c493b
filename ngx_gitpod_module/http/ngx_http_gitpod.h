
/*
 * The main module: the zone, Redis, the key set.  Other modules of this
 * folder ask it for the zone and use shared/ngx_gitpod.h.
 */


#ifndef _NGX_HTTP_GITPOD_H_INCLUDED_
#define _NGX_HTTP_GITPOD_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_gitpod.h"


typedef struct {
    ngx_shm_zone_t      *shm_zone;
    ngx_gitpod_zone_t   *zone;          /* NULL without gitpod_zone */
    size_t               events;        /* bytes of their ring */
    ngx_array_t         *cidrs;         /* of ngx_cidr_t, for addresses */

    ngx_str_t            key_set_file;
    ngx_str_t            key_set;       /* its text */

    ngx_str_t            route_file;    /* snapshots for a cold start */
    ngx_str_t            revocation_file;
    time_t               snapshot_max_age;

    ngx_addr_t           redis;         /* sockaddr NULL: none */
    ngx_str_t            redis_user;
    ngx_str_t            redis_password;
} ngx_http_gitpod_main_conf_t;


/* The zone of this request, or NULL when the configuration has none. */
#define ngx_http_gitpod_zone(r)                                               \
    (((ngx_http_gitpod_main_conf_t *)                                         \
      ngx_http_get_module_main_conf(r, ngx_http_gitpod_module))->zone)


/*
 * 1 when the flag is on for that user (empty: nobody).  The fallback counts
 * when nobody has set the flag and the configuration does not name it.
 */
ngx_uint_t ngx_http_gitpod_flag_on(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *user, ngx_uint_t fallback);


/* Adds a module's variables; the one without a name ends them. */
ngx_int_t ngx_http_gitpod_add_variables(ngx_conf_t *cf,
    ngx_http_variable_t *variables);


/* Calls the handler once, unless the worker ends before that. */
void ngx_http_gitpod_timer_start(ngx_event_t *ev,
    ngx_event_handler_pt handler, ngx_msec_t ms);


/* Directives: gitpod_redis, gitpod_key_set_file, gitpod_route_cidr. */
char *ngx_http_gitpod_conf_redis(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_gitpod_conf_key_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_gitpod_conf_cidr(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* "unix:" and the path of a socket; says what else the value is. */
char *ngx_http_gitpod_conf_socket(ngx_conf_t *cf, ngx_str_t *value,
    ngx_addr_t *addr);


extern ngx_module_t  ngx_http_gitpod_module;


#endif /* _NGX_HTTP_GITPOD_H_INCLUDED_ */


/*
 * What the gateway tells ws_manager and asks of it, outside of any client's
 * request: who is at work where, and what is to be started for whom.
 */


#ifndef _NGX_HTTP_GITPOD_MANAGER_H_INCLUDED_
#define _NGX_HTTP_GITPOD_MANAGER_H_INCLUDED_


#include "ngx_http_gitpod.h"
#include "ngx_http_gitpod_fastcgi.h"


#define NGX_HTTP_GITPOD_ACTIVITY_PORTS_NONE   0
#define NGX_HTTP_GITPOD_ACTIVITY_PORTS_OWNER  1
#define NGX_HTTP_GITPOD_ACTIVITY_PORTS_ALL    2

#define NGX_HTTP_GITPOD_MANAGER_SERVICE                                       \
    "/gitpod.internal.v1.WorkspaceManagerService/"


typedef struct {
    ngx_addr_t           addr;          /* sockaddr NULL: none */
    ngx_msec_t           interval;      /* of reports */
    ngx_msec_t           timeout;       /* of each call */
    ngx_uint_t           activity;      /* somewhere it is on */
    ngx_uint_t           start;         /* somewhere wake may */
} ngx_http_gitpod_manager_main_conf_t;


typedef struct {
    ngx_flag_t           activity;
    ngx_uint_t           ports;
    ngx_msec_t           wake;          /* how long to wait; 0: off */
    ngx_uint_t           waiters;       /* for one workspace, of a worker */
    ngx_uint_t           start;         /* for the owner's token */
} ngx_http_gitpod_manager_loc_conf_t;


/* activity: reports, by the holder of the lease */

void ngx_http_gitpod_activity_init(ngx_http_gitpod_manager_main_conf_t *mmcf,
    ngx_gitpod_zone_t *zone);
void ngx_http_gitpod_activity_exit(void);

/* wake */

void ngx_http_gitpod_wake_exit(void);


extern ngx_module_t  ngx_http_gitpod_manager_module;


#endif /* _NGX_HTTP_GITPOD_MANAGER_H_INCLUDED_ */

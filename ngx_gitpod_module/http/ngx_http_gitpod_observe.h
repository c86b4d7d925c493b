
/* What /metrics asks of gitpod_observe. */


#ifndef _NGX_HTTP_GITPOD_OBSERVE_H_INCLUDED_
#define _NGX_HTTP_GITPOD_OBSERVE_H_INCLUDED_


#include "ngx_http_gitpod.h"


/* Most bytes that the next function writes. */
size_t ngx_http_gitpod_observe_metrics_size(void);

/* exemplars: 1 to add them, which only OpenMetrics knows. */
u_char *ngx_http_gitpod_observe_metrics(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone, ngx_uint_t exemplars);

/* 1 with "gitpod_exemplars on". */
ngx_uint_t ngx_http_gitpod_observe_exemplars(ngx_http_request_t *r);


#endif /* _NGX_HTTP_GITPOD_OBSERVE_H_INCLUDED_ */

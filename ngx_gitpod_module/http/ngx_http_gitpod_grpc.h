
/*
 * gRPC: the filter of answers, their status, and the health service.
 */


#ifndef _NGX_HTTP_GITPOD_GRPC_H_INCLUDED_
#define _NGX_HTTP_GITPOD_GRPC_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/grpc.h"


/* an answer of gRPC */

typedef struct {
    gp_grpc_scan_t   scan;
    ngx_buf_t       *text;          /* of the trailer frame, or error JSON */
    ngx_str_t        status;        /* grpc-status, as text */

    unsigned         held:1;        /* headers wait for the error JSON */
    unsigned         ended:1;       /* the status is out */
} ngx_http_gitpod_grpc_ctx_t;


/* status: the trailers of an answer that is at its end, once */

ngx_int_t ngx_http_gitpod_grpc_trailers(ngx_http_request_t *r,
    ngx_http_gitpod_grpc_ctx_t *ctx);

/* the message of {"code":...,"message":...}, else the status of HTTP */

ngx_int_t ngx_http_gitpod_grpc_message(ngx_http_request_t *r,
    ngx_http_gitpod_grpc_ctx_t *ctx, ngx_str_t *message);

/* adds grpc-status and grpc-message to headers or trailers */

ngx_int_t ngx_http_gitpod_grpc_status(ngx_http_request_t *r,
    ngx_http_gitpod_grpc_ctx_t *ctx, ngx_list_t *list, ngx_uint_t code,
    ngx_str_t *message);

/* health: the directive's handler */

char *ngx_http_gitpod_grpc_health(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* watch: an answer that goes on; known: it is of the whole server */

void ngx_http_gitpod_grpc_watch(ngx_http_request_t *r, ngx_uint_t known);


#endif /* _NGX_HTTP_GITPOD_GRPC_H_INCLUDED_ */


/*
 * gRPC: the filter of answers, and the health service.
 */


#ifndef _NGX_HTTP_GITPOD_GRPC_H_INCLUDED_
#define _NGX_HTTP_GITPOD_GRPC_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/* health: the directive's handler */

char *ngx_http_gitpod_grpc_health(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* watch: an answer that goes on; known: it is of the whole server */

void ngx_http_gitpod_grpc_watch(ngx_http_request_t *r, ngx_uint_t known);


#endif /* _NGX_HTTP_GITPOD_GRPC_H_INCLUDED_ */

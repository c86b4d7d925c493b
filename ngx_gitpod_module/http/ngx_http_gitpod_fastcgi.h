
/*
 * Questions of the gateway's own to a plugin, outside of any client's request:
 * one FastCGI request over the plugin's socket, bounded in size and time.
 */


#ifndef _NGX_HTTP_GITPOD_FASTCGI_H_INCLUDED_
#define _NGX_HTTP_GITPOD_FASTCGI_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>


#define NGX_HTTP_GITPOD_FASTCGI_PATH_MAX    127    /* bytes of GITPOD_PATH */
#define NGX_HTTP_GITPOD_FASTCGI_BODY_MAX    65535  /* bytes, one record */
#define NGX_HTTP_GITPOD_FASTCGI_ANSWER_MAX  8192   /* bytes that are kept */
#define NGX_HTTP_GITPOD_FASTCGI_READ_MAX    65536  /* bytes that are read */


typedef struct ngx_http_gitpod_fastcgi_s  ngx_http_gitpod_fastcgi_t;


/*
 * The end of a call, once, never from within ngx_http_gitpod_fastcgi_call().
 * status: of the answer, and text its body; or NGX_ERROR, and text says why.
 * text is terminated and lives as long as the handler runs.
 */

typedef void (*ngx_http_gitpod_fastcgi_pt)(void *data, ngx_int_t status,
    ngx_str_t *text);


/* A POST of JSON, or a GET when body is empty.  NULL: it cannot be begun. */
ngx_http_gitpod_fastcgi_t *ngx_http_gitpod_fastcgi_call(ngx_addr_t *addr,
    ngx_str_t *path, ngx_str_t *body, ngx_msec_t timeout, ngx_log_t *log,
    ngx_http_gitpod_fastcgi_pt handler, void *data);

/* Before its end: the handler is not called any more. */
void ngx_http_gitpod_fastcgi_cancel(ngx_http_gitpod_fastcgi_t *f);


#endif /* _NGX_HTTP_GITPOD_FASTCGI_H_INCLUDED_ */

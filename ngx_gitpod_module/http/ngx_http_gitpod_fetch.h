
/*
 * A document of a server, fetched outside of any client's request: one GET on
 * a connection of its own, bounded in size and time, no redirects.  Names are
 * nginx's resolver's, and with https the certificate must be good for the
 * name.
 */


#ifndef _NGX_HTTP_GITPOD_FETCH_H_INCLUDED_
#define _NGX_HTTP_GITPOD_FETCH_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>
#include <ngx_http.h>


#define NGX_HTTP_GITPOD_FETCH_URL_MAX   1024    /* bytes of host and path */
#define NGX_HTTP_GITPOD_FETCH_HEAD_MAX  8192    /* bytes of an answer's head */
#define NGX_HTTP_GITPOD_FETCH_BODY_MAX  65536   /* bytes of its body */


/* Where from; made at configuration time. */

typedef struct {
    ngx_str_t                  url;         /* as it was given */
    ngx_str_t                  authority;   /* what Host says */
    ngx_str_t                  name;        /* resolved and certified */
    ngx_str_t                  uri;
    in_port_t                  port;
    ngx_addr_t                *addr;        /* NULL: name is to be resolved */
    ngx_ssl_t                 *ssl;         /* NULL: http */
    ngx_http_core_loc_conf_t  *clcf;        /* has the resolver */
} ngx_http_gitpod_fetch_conf_t;


typedef struct ngx_http_gitpod_fetch_s  ngx_http_gitpod_fetch_t;


/*
 * The end, once, never from within ngx_http_gitpod_fetch().  body: of an
 * answer 200; NULL: why says what happened instead.
 */

typedef void (*ngx_http_gitpod_fetch_pt)(void *data, ngx_str_t *body,
    char *why);


/*
 * "http" only to a unix socket or a loopback address: whoever could change
 * what comes otherwise would be believed.  certificate: of whom to trust.
 */
char *ngx_http_gitpod_fetch_url(ngx_conf_t *cf, ngx_str_t *url,
    ngx_str_t *certificate, ngx_http_gitpod_fetch_conf_t *conf);

/* NULL: it cannot be begun. */
ngx_http_gitpod_fetch_t *ngx_http_gitpod_fetch(
    ngx_http_gitpod_fetch_conf_t *conf, ngx_msec_t timeout, ngx_log_t *log,
    ngx_http_gitpod_fetch_pt handler, void *data);

/* Before its end: the handler is not called any more. */
void ngx_http_gitpod_fetch_cancel(ngx_http_gitpod_fetch_t *f);


#endif /* _NGX_HTTP_GITPOD_FETCH_H_INCLUDED_ */

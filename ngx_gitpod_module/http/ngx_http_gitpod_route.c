
/*
 * gitpod_route in an upstream: the peer is the address that the phase handler
 * has chosen.  All refusals were answered there; here only faults are left.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_gitpod_request.h"


#define NGX_HTTP_GITPOD_ROUTE_IGNORE                                          \
    (NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT                                        \
     |NGX_HTTP_UPSTREAM_IGN_XA_EXPIRES                                        \
     |NGX_HTTP_UPSTREAM_IGN_XA_LIMIT_RATE                                     \
     |NGX_HTTP_UPSTREAM_IGN_XA_BUFFERING                                      \
     |NGX_HTTP_UPSTREAM_IGN_XA_CHARSET)


static ngx_int_t ngx_http_gitpod_route_init_upstream(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_gitpod_route_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_gitpod_route_get_peer(ngx_peer_connection_t *pc,
    void *data);
static void ngx_http_gitpod_route_free_peer(ngx_peer_connection_t *pc,
    void *data, ngx_uint_t state);
#if (NGX_HTTP_SSL)
static ngx_int_t ngx_http_gitpod_route_set_session(ngx_peer_connection_t *pc,
    void *data);
static void ngx_http_gitpod_route_save_session(ngx_peer_connection_t *pc,
    void *data);
#endif
static char *ngx_http_gitpod_route(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_command_t  ngx_http_gitpod_route_commands[] = {

    { ngx_string("gitpod_route"),
      NGX_HTTP_UPS_CONF|NGX_CONF_NOARGS,
      ngx_http_gitpod_route,
      NGX_HTTP_SRV_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gitpod_route_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_gitpod_route_module = {
    NGX_MODULE_V1,
    &ngx_http_gitpod_route_module_ctx,     /* module context */
    ngx_http_gitpod_route_commands,        /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* of the placeholder among the servers */

static ngx_str_t  ngx_http_gitpod_route_name = ngx_string("gitpod_route");


ngx_uint_t
ngx_http_gitpod_route_used(ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_upstream_server_t  *server;

    if (us->servers == NULL || us->servers->nelts == 0) {
        return 0;
    }

    server = us->servers->elts;

    return server[0].name.data == ngx_http_gitpod_route_name.data;
}


static ngx_int_t
ngx_http_gitpod_route_init_upstream(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us)
{
    us->peer.init = ngx_http_gitpod_route_init_peer;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_route_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_upstream_t    *u;
    ngx_http_gitpod_ctx_t  *ctx;

    u = r->upstream;

    /*
     * A workspace runs its user's programs: one X-Accel-Redirect, and it
     * reads our internal locations.  A header filter would come too late.
     */

    if ((u->conf->ignore_headers & NGX_HTTP_GITPOD_ROUTE_IGNORE)
        != NGX_HTTP_GITPOD_ROUTE_IGNORE)
    {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "gitpod_route refuses to run: this location needs "
                      "\"proxy_ignore_headers X-Accel-Redirect "
                      "X-Accel-Expires X-Accel-Limit-Rate X-Accel-Buffering "
                      "X-Accel-Charset\"");
        return NGX_ERROR;
    }

    ctx = ngx_http_gitpod_ctx_get(r);

    if (ctx == NULL || ctx->socklen == 0) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "gitpod_route has no address: this location needs "
                      "\"gitpod_workspace on\"");
        return NGX_ERROR;
    }

    u->peer.data = ctx;
    u->peer.get = ngx_http_gitpod_route_get_peer;
    u->peer.free = ngx_http_gitpod_route_free_peer;
    u->peer.tries = 1;

#if (NGX_HTTP_SSL)
    u->peer.set_session = ngx_http_gitpod_route_set_session;
    u->peer.save_session = ngx_http_gitpod_route_save_session;
#endif

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_route_get_peer(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_gitpod_ctx_t  *ctx = data;

    pc->cached = 0;
    pc->connection = NULL;
    pc->sockaddr = &ctx->sockaddr.sockaddr;
    pc->socklen = ctx->socklen;
    pc->name = &ctx->address;

    return NGX_OK;
}


static void
ngx_http_gitpod_route_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state)
{
    /* one address, no second try; a stale kept connection adds one itself */

    if (pc->tries) {
        pc->tries--;
    }
}


#if (NGX_HTTP_SSL)

static ngx_int_t
ngx_http_gitpod_route_set_session(ngx_peer_connection_t *pc, void *data)
{
    return NGX_OK;
}


static void
ngx_http_gitpod_route_save_session(ngx_peer_connection_t *pc, void *data)
{
    /* no session of one workspace for another */
}

#endif


static char *
ngx_http_gitpod_route(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_url_t                      u;
    ngx_http_upstream_server_t    *server;
    ngx_http_upstream_srv_conf_t  *uscf;

    uscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);

    if (uscf->peer.init_upstream) {
        return "must come first in its upstream, before \"keepalive\"";
    }

    /* nginx refuses an upstream without a server */

    ngx_memzero(&u, sizeof(ngx_url_t));
    ngx_str_set(&u.url, "127.0.0.1:9");

    if (ngx_parse_url(cf->pool, &u) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    server = ngx_array_push(uscf->servers);
    if (server == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(server, sizeof(ngx_http_upstream_server_t));

    server->name = ngx_http_gitpod_route_name;
    server->addrs = u.addrs;
    server->naddrs = u.naddrs;
    server->weight = 1;
    server->down = 1;

    uscf->peer.init_upstream = ngx_http_gitpod_route_init_upstream;
    uscf->flags = NGX_HTTP_UPSTREAM_CREATE;

    return NGX_CONF_OK;
}


/*
 * Which workspace a request is for.  In mode host the name tells, and has a
 * wildcard in DNS and in the certificate.  In mode port there is one name, W,
 * and the listener that the connection came to tells: what Host says of the
 * port counts for nothing.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/host.h"

#include "ngx_http_gitpod_request.h"


#define NGX_HTTP_GITPOD_PLACE_AGE  34560000  /* s: 400 days, browsers' most */


static ngx_int_t ngx_http_gitpod_place_parse(
    ngx_http_gitpod_request_srv_conf_t *gscf, ngx_str_t *host,
    ngx_uint_t *listener);
static void ngx_http_gitpod_place_find(ngx_gitpod_zone_t *zone,
    ngx_uint_t listener, gp_host_t *place);
static ngx_uint_t ngx_http_gitpod_place_listener(ngx_http_request_t *r);


ngx_int_t
ngx_http_gitpod_place(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_str_t *host, gp_host_t *place)
{
    ngx_uint_t                           listener;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);

    if (gscf->mode == NGX_HTTP_GITPOD_MODE_PORT) {

        if (ngx_http_gitpod_place_parse(gscf, host, &listener) != NGX_OK) {
            return NGX_DECLINED;
        }

        ngx_http_gitpod_place_find(ctx->zone, listener, place);

        return NGX_OK;
    }

    if (ngx_strlchr(host->data, host->data + host->len, ':')
        || gp_host_parse((char *) host->data, host->len,
                         (char *) gscf->workspace_domain.data,
                         gscf->workspace_domain.len, place)
           != 0)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* "W:listener", as we write it ourselves and browsers write an origin. */

static ngx_int_t
ngx_http_gitpod_place_parse(ngx_http_gitpod_request_srv_conf_t *gscf,
    ngx_str_t *host, ngx_uint_t *listener)
{
    u_char     *p;
    size_t      len;
    ngx_int_t   n;
    ngx_str_t  *domain;

    domain = &gscf->workspace_domain;

    if (host->len <= domain->len + 1
        || ngx_memcmp(host->data, domain->data, domain->len) != 0
        || host->data[domain->len] != ':')
    {
        return NGX_DECLINED;
    }

    p = host->data + domain->len + 1;
    len = host->len - domain->len - 1;
    n = (len <= 5 && *p != '0') ? ngx_atoi(p, len) : NGX_ERROR;

    if (n == NGX_ERROR || n > 65535) {
        return NGX_DECLINED;
    }

    *listener = (ngx_uint_t) n;

    return NGX_OK;
}


static void
ngx_http_gitpod_place_find(ngx_gitpod_zone_t *zone, ngx_uint_t listener,
    gp_host_t *place)
{
    ngx_uint_t          port;
    ngx_gitpod_route_t  route;

    ngx_memzero(place, sizeof(gp_host_t));

    if (ngx_gitpod_listener_get(zone, listener, &route, &port) == NGX_OK) {
        ngx_memcpy(place->id, route.id, route.id_len);
        place->id_len = route.id_len;
        place->port = (uint16_t) port;
    }
}


/*
 * Behind a load balancer one socket is for all listeners, and the header of
 * the PROXY protocol tells to which the client connected; 0 when it does not
 * (UNKNOWN, LOCAL), which is no workspace's.
 *
 * A client's address is believed from the load balancer only, since limits go
 * by it.  Of this number whoever reaches the socket may lie: to say it is to
 * connect to that listener, which everybody may, and it is no right.  Token,
 * hand-off, Origin and names of cookies are those of the listener it says.
 * Nor does a browser say it in another's name: no request of its begins so.
 */

static ngx_uint_t
ngx_http_gitpod_place_listener(ngx_http_request_t *r)
{
    ngx_connection_t  *c;

    c = r->connection;

    if (r->http_connection->addr_conf->proxy_protocol) {
        return c->proxy_protocol ? c->proxy_protocol->dst_port : 0;
    }

    return ngx_inet_get_port(c->local_sockaddr);
}


ngx_int_t
ngx_http_gitpod_place_init(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx)
{
    u_char                              *p;
    gp_host_t                            place;
    ngx_str_t                            id, *domain;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);
    domain = &gscf->workspace_domain;

    if (gscf->mode != NGX_HTTP_GITPOD_MODE_PORT
        || ctx->host.len != domain->len
        || ngx_memcmp(ctx->host.data, domain->data, domain->len) != 0)
    {
        return NGX_OK;
    }

    ctx->listener = ngx_http_gitpod_place_listener(r);

    if (ctx->listener == 0) {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, domain->len + 2 * sizeof(":65535"));
    if (p == NULL) {
        return NGX_ERROR;
    }

    ctx->host.data = p;
    p = ngx_sprintf(p, "%V:%ui", domain, ctx->listener);
    ctx->host.len = p - ctx->host.data;

    ctx->suffix.data = p;
    ctx->suffix.len = ngx_sprintf(p, "_%ui", ctx->listener) - p;

    /* cookies are read next, and they are those of one workspace */

    ngx_http_gitpod_place_find(ctx->zone, ctx->listener, &place);

    id.data = (u_char *) place.id;
    id.len = place.id_len;

    ctx->port = place.port;
    ctx->workspace_id.len = id.len;
    ctx->workspace_id.data = ngx_pstrdup(r->pool, &id);

    return ctx->workspace_id.data ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_http_gitpod_place_again(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    gp_host_t *place)
{
    if (ngx_http_gitpod_place(r, ctx, &ctx->host, place) != NGX_OK) {
        return NGX_DECLINED;
    }

    /* it waited, and the listener is another's now */

    if (ctx->listener
        && (place->id_len != ctx->workspace_id.len
            || ngx_memcmp(place->id, ctx->workspace_id.data, place->id_len)
               != 0))
    {
        ngx_memzero(place, sizeof(gp_host_t));
    }

    return NGX_OK;
}


/*
 * The storage of a browser is kept by origin, and an origin is a listener,
 * which may have been another workspace's.  A cookie that scripts cannot read
 * or change says whose storage there is.
 */

ngx_int_t
ngx_http_gitpod_place_clear(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx)
{
    ngx_str_t  *whose;

    if (ctx->listener == 0) {
        return NGX_OK;
    }

    whose = &ctx->cookies[NGX_HTTP_GITPOD_COOKIE_ORIGIN];

    if (whose->len == ctx->workspace_id.len
        && ngx_memcmp(whose->data, ctx->workspace_id.data, whose->len) == 0)
    {
        return NGX_OK;
    }

    if (ngx_http_gitpod_reply_header(r, "Clear-Site-Data", "\"storage\"")
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_gitpod_cookie_set(r, NGX_HTTP_GITPOD_COOKIE_ORIGIN,
                                      &ctx->workspace_id, "/",
                                      NGX_HTTP_GITPOD_PLACE_AGE);
}


/*
 * A service worker in "/" would answer in the place of the gateway, the
 * hand-off that clears it too.
 */

ngx_uint_t
ngx_http_gitpod_place_stays(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx)
{
    return ctx->listener && ctx->service_worker
           && ngx_strlchr(r->uri.data + 1, r->uri.data + r->uri.len, '/')
              == NULL;
}

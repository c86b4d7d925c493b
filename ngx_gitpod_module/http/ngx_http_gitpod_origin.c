
/*
 * The Origin rule.  A cookie is sent by the browser whoever asked for it, so
 * with a cookie as the credential an Upgrade, or a request that changes
 * something, must come from a page of the same origin.  In mode port it holds
 * for whatever a page of another listener asks for: its preflight was answered
 * before anybody looked whose that is.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/host.h"

#include "ngx_http_gitpod_request.h"


static ngx_uint_t ngx_http_gitpod_origin_host(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_str_t *host);
static ngx_uint_t ngx_http_gitpod_origin_place(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, gp_host_t *place);


/*
 * Scheme and port must be those people see; *host is what is between.  In mode
 * port the port is part of it: "W:listener".
 */

static ngx_uint_t
ngx_http_gitpod_origin_host(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_str_t *host)
{
    size_t                               around;
    ngx_str_t                           *origin, *port, empty;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);

    ngx_str_set(&empty, "");

    origin = &ctx->origin;
    port = ctx->listener ? &empty : &gscf->port;
    around = gscf->scheme.len + sizeof("://") - 1 + port->len;

    if (origin->len <= around
        || ngx_memcmp(origin->data, gscf->scheme.data, gscf->scheme.len) != 0
        || ngx_memcmp(origin->data + gscf->scheme.len, "://", 3) != 0
        || ngx_strncmp(origin->data + origin->len - port->len, port->data,
                       port->len)
           != 0)
    {
        return 0;
    }

    host->data = origin->data + gscf->scheme.len + 3;
    host->len = origin->len - around;

    return ctx->listener
           || ngx_strlchr(host->data, host->data + host->len, ':') == NULL;
}


ngx_int_t
ngx_http_gitpod_origin_check(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx)
{
    gp_host_t  place;
    ngx_str_t  host;

    if (!ctx->upgrade
        && (r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD|NGX_HTTP_OPTIONS))
        && !(ctx->listener && ngx_http_gitpod_origin_place(r, ctx, &place)))
    {
        return NGX_OK;
    }

    if (ctx->credential != NGX_HTTP_GITPOD_SESSION
        && ctx->credential != NGX_HTTP_GITPOD_WORKSPACE
        && ctx->credential != NGX_HTTP_GITPOD_OWNER_COOKIE)
    {
        return NGX_OK;
    }

    if (ngx_http_gitpod_origin_host(r, ctx, &host)
        && host.len == ctx->host.len
        && ngx_memcmp(host.data, ctx->host.data, host.len) == 0)
    {
        return NGX_OK;
    }

    /* ports of a workspace belong to one person: they may talk */

    if (ctx->port && ngx_http_gitpod_origin_sibling(r, ctx)) {
        return NGX_OK;
    }

    ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_ORIGIN_REFUSED);

    return ngx_http_gitpod_ctx_refuse(ctx, "origin");
}


/* Is it a page of the same workspace, on whatever port? */

ngx_uint_t
ngx_http_gitpod_origin_sibling(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    gp_host_t  place;

    return ctx->workspace_id.len
           && ngx_http_gitpod_origin_place(r, ctx, &place)
           && place.id_len == ctx->workspace_id.len
           && ngx_memcmp(place.id, ctx->workspace_id.data, place.id_len) == 0;
}


/*
 * May its preflight be answered with yes?  In mode port only the table knows
 * which listeners are of one workspace, so the answer would tell: there it is
 * enough to be a page of any.
 */

ngx_uint_t
ngx_http_gitpod_origin_may_ask(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    gp_host_t  place;

    return ctx->listener ? ngx_http_gitpod_origin_place(r, ctx, &place)
                         : ngx_http_gitpod_origin_sibling(r, ctx);
}


/* Is it a page of a workspace, and of which? */

static ngx_uint_t
ngx_http_gitpod_origin_place(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, gp_host_t *place)
{
    ngx_str_t  host;

    return ngx_http_gitpod_origin_host(r, ctx, &host)
           && ngx_http_gitpod_place(r, ctx, &host, place) == NGX_OK;
}

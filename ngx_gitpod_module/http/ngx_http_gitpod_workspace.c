
/*
 * gitpod_workspace: one request for a workspace host.  The route decides what
 * is asked for, the credential whether it may be; both are looked up in shared
 * memory on each request, so a credential for one workspace opens no other.
 *
 * Unknown workspaces and those of somebody else get the same answer.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/contract.h"
#include "core/host.h"

#include "ngx_http_gitpod.h"
#include "ngx_http_gitpod_request.h"


#define NGX_HTTP_GITPOD_SUPERVISOR_STATUS  "/_supervisor/v1/status/"


static ngx_int_t ngx_http_gitpod_workspace_none(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_workspace_missing(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static ngx_uint_t ngx_http_gitpod_workspace_table(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static ngx_int_t ngx_http_gitpod_workspace_find(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route);
static ngx_uint_t ngx_http_gitpod_workspace_reserved(ngx_uint_t port);
static ngx_int_t ngx_http_gitpod_workspace_admit(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route);
static ngx_int_t ngx_http_gitpod_workspace_cookie(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route);
static ngx_int_t ngx_http_gitpod_workspace_anonymous(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_uint_t public);
static ngx_int_t ngx_http_gitpod_workspace_busy(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_uint_t public);
static ngx_uint_t ngx_http_gitpod_workspace_open(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static ngx_uint_t ngx_http_gitpod_workspace_prefix(ngx_http_request_t *r,
    char *prefix);
static ngx_int_t ngx_http_gitpod_workspace_away(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static ngx_int_t ngx_http_gitpod_workspace_address(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route);
static in_port_t ngx_http_gitpod_workspace_port(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route);


ngx_int_t
ngx_http_gitpod_workspace_handler(ngx_http_request_t *r)
{
    ngx_int_t                            rc;
    ngx_http_gitpod_ctx_t               *ctx;
    ngx_gitpod_route_t                   route;
    ngx_http_gitpod_request_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_request_module);

    if (!glcf->workspace) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_gitpod_ctx_get(r);

    if (ctx == NULL) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "\"gitpod_workspace\" needs \"gitpod_domain\" and "
                      "\"gitpod_zone\"");
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->socklen = 0;

    rc = ngx_http_gitpod_workspace_find(r, ctx, &route);

    if (rc != NGX_OK && rc != NGX_DECLINED) {
        return rc;
    }

    if (ngx_http_gitpod_workspace_prefix(r, GP_PATH_GITPOD)) {

        if (r->uri.len == sizeof(GP_PATH_HANDOFF) - 1
            && ngx_memcmp(r->uri.data, GP_PATH_HANDOFF, r->uri.len) == 0)
        {
            return ngx_http_gitpod_handoff_redeem(r, ctx, rc == NGX_OK
                                                          ? &route : NULL);
        }

        ngx_http_gitpod_ctx_refuse(ctx, "reserved path");
        return ngx_http_gitpod_reply_error(r, NGX_HTTP_NOT_FOUND,
                                           "There is nothing at this path");
    }

    if (rc == NGX_DECLINED) {
        return ngx_http_gitpod_workspace_missing(r, ctx);
    }

    rc = ngx_http_gitpod_workspace_admit(r, ctx, &route);

    if (rc != NGX_OK) {

        /* answered: the request, and ctx with it, may be gone */

        return rc;
    }

    rc = ngx_http_gitpod_limit_user(r, ctx);

    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_gitpod_place_stays(r, ctx)) {
        ngx_http_gitpod_ctx_refuse(ctx, "service worker");
        return ngx_http_gitpod_reply_error(r, NGX_HTTP_FORBIDDEN,
                   "A service worker must lie in a directory: one for the "
                   "whole address would stay when another workspace has it");
    }

    /* whether it runs is for those only who may enter */

    rc = ngx_http_gitpod_workspace_address(r, ctx, &route);

    if (rc == NGX_DECLINED) {
        rc = ngx_http_gitpod_wake(r, ctx, &route);

        return (rc == NGX_DECLINED) ? ngx_http_gitpod_workspace_away(r, ctx)
                                    : rc;
    }

    if (rc != NGX_OK) {
        return rc;
    }

    ctx->socklen = route.socklen;
    ctx->reason.len = 0;
    ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_REQUEST_OK);
    ngx_http_gitpod_live_add(ctx);
    ngx_http_gitpod_activity_request(r, ctx);
    ngx_http_gitpod_wake_done(ctx);

    return ngx_http_gitpod_protocol_handler(r, ctx);
}


/*
 * Whoever has no business here cannot tell why.  While the table may lack
 * something nobody is told that a workspace does not exist.
 */

ngx_int_t
ngx_http_gitpod_workspace_unknown(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    if (!ngx_http_gitpod_workspace_table(r, ctx)) {
        return ngx_http_gitpod_reply_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                   "It cannot be told at the moment whether there is such a "
                   "workspace: Redis is away, or was not read to the end yet. "
                   "Try again");
    }

    return ngx_http_gitpod_workspace_none(r);
}


/* Is what it does not have not there? */

static ngx_uint_t
ngx_http_gitpod_workspace_table(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    ngx_http_gitpod_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_gitpod_module);

    return (mcf->redis.sockaddr == NULL
            || ngx_gitpod_routes_current(ctx->zone))
           && (mcf->route_file.len == 0
               || ngx_gitpod_routes_synced(ctx->zone));
}


/*
 * There is no route.  Strangers get the answers that a workspace of somebody
 * else has; that it is not there is told to who was in it.  While the table
 * may lack something that is what everybody is told.
 */

static ngx_int_t
ngx_http_gitpod_workspace_missing(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    ngx_int_t  rc;

    ngx_http_gitpod_ctx_refuse(ctx, "unknown workspace");

    if (!ngx_http_gitpod_workspace_table(r, ctx)) {
        return ngx_http_gitpod_workspace_unknown(r, ctx);
    }

    if (ctx->cookies[NGX_HTTP_GITPOD_COOKIE_WORKSPACE].data
        && ctx->owner_token.data == NULL)
    {
        rc = ngx_http_gitpod_claims_workspace(r, ctx);

        if (rc == NGX_OK) {
            ngx_http_gitpod_ctx_refuse(ctx, "unknown workspace");
            return ngx_http_gitpod_workspace_unknown(r, ctx);
        }

        if (rc == NGX_AGAIN) {
            return NGX_AGAIN;
        }

        if (rc == NGX_BUSY) {
            return ngx_http_gitpod_limit_refuse(r, ctx);
        }

        if (rc == NGX_ERROR) {
            return ngx_http_gitpod_claims_untold(r, ctx);
        }
    }

    ngx_http_gitpod_ctx_refuse(ctx, "unknown workspace");

    return ngx_http_gitpod_stranger(r, ctx, 1);
}


static ngx_int_t
ngx_http_gitpod_workspace_none(ngx_http_request_t *r)
{
    return ngx_http_gitpod_reply_error(r, NGX_HTTP_NOT_FOUND,
               "There is no such workspace, or it is not yours");
}


/* NGX_DECLINED: there is no route; else as a phase handler. */

static ngx_int_t
ngx_http_gitpod_workspace_find(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route)
{
    gp_host_t  host;
    ngx_str_t  id;

    if (ngx_http_gitpod_place_again(r, ctx, &host) != NGX_OK) {
        ngx_http_gitpod_ctx_refuse(ctx, "host");
        return ngx_http_gitpod_workspace_none(r);
    }

    if (ngx_http_gitpod_workspace_reserved(host.port)) {
        ngx_http_gitpod_ctx_refuse(ctx, "reserved port");
        return ngx_http_gitpod_workspace_none(r);
    }

    ctx->port = host.port;
    ctx->debug = host.debug;

    id.data = (u_char *) host.id;
    id.len = host.id_len;

    ctx->workspace_id.len = id.len;
    ctx->workspace_id.data = ngx_pstrdup(r->pool, &id);
    if (ctx->workspace_id.data == NULL) {
        return NGX_ERROR;
    }

    return ngx_gitpod_route_get(ctx->zone, &id, route);
}


/* Ports that are ours: none of them is anybody's program. */

static ngx_uint_t
ngx_http_gitpod_workspace_reserved(ngx_uint_t port)
{
    ngx_uint_t        i;

    static uint16_t  ports[] = {
        GP_PORT_SUPERVISOR, GP_PORT_IDE, GP_PORT_SSH,
        GP_PORT_DEBUG_SUPERVISOR, GP_PORT_DEBUG_IDE, GP_PORT_DEBUG_SSH,
        GP_PORT_DEBUG_PROXY
    };

    for (i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
        if (port == ports[i]) {
            return 1;
        }
    }

    return 0;
}


static ngx_int_t
ngx_http_gitpod_workspace_admit(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route)
{
    ngx_int_t                 rc;
    ngx_uint_t                public;
    ngx_gitpod_route_port_t  *port;

    port = ctx->port ? ngx_gitpod_route_port(route, ctx->port) : NULL;
    public = port && port->visible;

    if (ctx->owner_token.data) {

        rc = ngx_http_gitpod_owner_token(r, ctx, route);

    } else {
        rc = ngx_http_gitpod_workspace_cookie(r, ctx, route);

        if (rc == NGX_DECLINED) {
            rc = ngx_http_gitpod_owner_cookie(r, ctx, route);
        }
    }

    if (rc == NGX_BUSY) {
        return ngx_http_gitpod_workspace_busy(r, ctx, public);
    }

    if (rc == NGX_DECLINED) {
        return ngx_http_gitpod_workspace_anonymous(r, ctx, public);
    }

    if (rc != NGX_OK || public) {
        return rc;
    }

    if (ngx_http_gitpod_origin_check(r, ctx) != NGX_OK) {
        return ngx_http_gitpod_reply_error(r, NGX_HTTP_FORBIDDEN,
                   "Origin must be a page of this workspace. Programs send "
                   GP_HEADER_OWNER_TOKEN " instead");
    }

    return NGX_OK;
}


/* Too many credentials were not good: only who needs none gets through. */

static ngx_int_t
ngx_http_gitpod_workspace_busy(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_uint_t public)
{
    ctx->open = ngx_http_gitpod_workspace_open(r, ctx);

    if (public || ctx->open) {
        ctx->limit = NULL;
        return ngx_http_gitpod_workspace_anonymous(r, ctx, public);
    }

    return ngx_http_gitpod_limit_refuse(r, ctx);
}


/*
 * NGX_DECLINED: no credential for this host; NGX_BUSY; else as a phase
 * handler.
 */

static ngx_int_t
ngx_http_gitpod_workspace_cookie(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route)
{
    ngx_int_t  rc;

    if (ctx->cookies[NGX_HTTP_GITPOD_COOKIE_WORKSPACE].data == NULL) {
        return NGX_DECLINED;
    }

    rc = ngx_http_gitpod_claims_workspace(r, ctx);

    if (rc == NGX_BUSY || rc == NGX_AGAIN) {
        return rc;
    }

    if (rc == NGX_ERROR) {
        return ngx_http_gitpod_claims_untold(r, ctx);
    }

    ngx_gitpod_count(ctx->zone, rc == NGX_OK
                                ? NGX_GITPOD_N_WORKSPACE_OK
                                : NGX_GITPOD_N_WORKSPACE_REFUSED);

    if (rc != NGX_OK) {
        return NGX_DECLINED;
    }

    if (!ngx_http_gitpod_workspace_allowed(route, &ctx->user)) {
        ngx_http_gitpod_ctx_refuse(ctx, "not the owner");
        return ngx_http_gitpod_workspace_unknown(r, ctx);
    }

    return NGX_OK;
}


/* May this signed-in person enter? */

ngx_uint_t
ngx_http_gitpod_workspace_allowed(ngx_gitpod_route_t *route,
    ngx_str_t *user)
{
    if (route->admission == NGX_GITPOD_ADMIT_EVERYONE) {
        return 1;
    }

    return user->len && user->len == route->owner_len
           && ngx_memcmp(user->data, route->owner, user->len) == 0;
}


static ngx_int_t
ngx_http_gitpod_workspace_anonymous(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_uint_t public)
{
    ctx->credential = NGX_HTTP_GITPOD_NONE;

    ctx->open = ngx_http_gitpod_workspace_open(r, ctx);

    if (public) {
        return NGX_OK;
    }

    if (ctx->open) {

        if (ngx_http_gitpod_limit_look(r, ctx, NGX_HTTP_GITPOD_COUNT_UNKNOWN)
            == NGX_OK
            && ngx_http_gitpod_limit_spend(r, ctx,
                                           NGX_HTTP_GITPOD_COUNT_OPEN)
               == NGX_OK)
        {
            return NGX_OK;
        }

        return ngx_http_gitpod_limit_refuse(r, ctx);
    }

    return ngx_http_gitpod_stranger(r, ctx, 0);
}


/*
 * Gitpod's clients ask for the status before they have a credential.  The raw
 * path is what goes upstream, so it must be the very one that was judged.
 */

static ngx_uint_t
ngx_http_gitpod_workspace_open(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    u_char                  *p;
    size_t                   len, prefix;
    ngx_uint_t               i;

    static const ngx_str_t   names[] = {
        ngx_string("ide"),
        ngx_string("ide/wait/true"),
        ngx_string("supervisor"),
        ngx_string("supervisor/wait/true"),
        ngx_null_string
    };

    prefix = sizeof(NGX_HTTP_GITPOD_SUPERVISOR_STATUS) - 1;

    if (ctx->port || !(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))
        || !ngx_http_gitpod_workspace_prefix(r,
                                          NGX_HTTP_GITPOD_SUPERVISOR_STATUS)
        || r->unparsed_uri.len < r->uri.len
        || ngx_memcmp(r->unparsed_uri.data, r->uri.data, r->uri.len) != 0
        || (r->unparsed_uri.len > r->uri.len
            && r->unparsed_uri.data[r->uri.len] != '?'))
    {
        return 0;
    }

    p = r->uri.data + prefix;
    len = r->uri.len - prefix;

    for (i = 0; names[i].len; i++) {

        if (len == names[i].len && ngx_memcmp(p, names[i].data, len) == 0) {
            return 1;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_http_gitpod_workspace_prefix(ngx_http_request_t *r, char *prefix)
{
    size_t  len;

    len = ngx_strlen(prefix);

    return r->uri.len >= len && ngx_memcmp(r->uri.data, prefix, len) == 0;
}


/* It is known, and it does not run: people wait on the start page. */

static ngx_int_t
ngx_http_gitpod_workspace_away(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    ngx_str_t                            url;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    ngx_http_gitpod_ctx_refuse(ctx, "not running");

    if (!ctx->page) {
        return ngx_http_gitpod_reply_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                   "The workspace is not running. Start it, then try again");
    }

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);

    url.data = ngx_pnalloc(r->pool, gscf->external_url.len
                                    + sizeof("/start/#") - 1
                                    + ctx->workspace_id.len);
    if (url.data == NULL) {
        return NGX_ERROR;
    }

    ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_REQUEST_UNAVAILABLE);

    url.len = ngx_sprintf(url.data, "%V/start/#%V", &gscf->external_url,
                          &ctx->workspace_id)
              - url.data;

    return ngx_http_gitpod_reply_redirect(r, NGX_HTTP_MOVED_TEMPORARILY, &url);
}


/*
 * Where the request would go; socklen is set once it may.  NGX_DECLINED: the
 * workspace does not run.  Eight bytes of the instance id and the protocol in
 * the unused part of the address keep the kept connections of two instances
 * apart, though the engine may give both the same address, and those of a port
 * whose protocol was changed.
 */

static ngx_int_t
ngx_http_gitpod_workspace_address(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route)
{
    u_char               *p;
    uint32_t              hash;
    in_port_t             port;
    struct sockaddr_in   *sin;
#if (NGX_HAVE_INET6)
    struct sockaddr_in6  *sin6;
#endif

    if (route->phase != NGX_GITPOD_PHASE_RUNNING || route->socklen == 0) {
        return NGX_DECLINED;
    }

    ctx->instance_id.len = route->instance_len;
    ctx->instance_id.data = ngx_pnalloc(r->pool,
                                        route->instance_len
                                        + NGX_SOCKADDR_STRLEN);
    if (ctx->instance_id.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(ctx->instance_id.data, route->instance,
                   route->instance_len);

    port = ngx_http_gitpod_workspace_port(r, ctx, route);

    ngx_memcpy(&ctx->sockaddr, &route->u, route->socklen);

    hash = ngx_crc32_short(route->instance, route->instance_len)
           + ctx->protocol;

    switch (ctx->sockaddr.sockaddr.sa_family) {

#if (NGX_HAVE_INET6)
    case AF_INET6:
        sin6 = &ctx->sockaddr.sockaddr_in6;
        sin6->sin6_port = htons(port);
        sin6->sin6_flowinfo = hash;
        break;
#endif

    default: /* AF_INET */
        sin = &ctx->sockaddr.sockaddr_in;
        sin->sin_port = htons(port);
        ngx_memcpy(sin->sin_zero, &hash, sizeof(hash));
        hash = ngx_murmur_hash2(route->instance, route->instance_len);
        ngx_memcpy(sin->sin_zero + sizeof(hash), &hash, sizeof(hash));
    }

    ctx->address.data = p;
    ctx->address.len = ngx_sock_ntop(&ctx->sockaddr.sockaddr, route->socklen,
                                     p, NGX_SOCKADDR_STRLEN, 1);

    return NGX_OK;
}


/* The port in the workspace, and what is spoken there. */

static in_port_t
ngx_http_gitpod_workspace_port(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route)
{
    ngx_gitpod_route_port_t  *port;

    ctx->protocol = NGX_GITPOD_PROTOCOL_HTTP;

    if (ctx->port && ctx->debug) {

        /* the program there forwards it to $gitpod_debug_port */

        return GP_PORT_DEBUG_PROXY;
    }

    if (ctx->port) {
        port = ngx_gitpod_route_port(route, ctx->port);

        if (port) {
            ctx->protocol = port->protocol;
        }

        return (in_port_t) ctx->port;
    }

    if (ngx_http_gitpod_workspace_prefix(r, GP_PATH_SUPERVISOR)) {
        return ctx->debug ? GP_PORT_DEBUG_SUPERVISOR : GP_PORT_SUPERVISOR;
    }

    return ctx->debug ? GP_PORT_DEBUG_IDE : GP_PORT_IDE;
}

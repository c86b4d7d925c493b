
/*
 * The hand-off: how somebody who is logged in on the main domain gets a cookie
 * of a workspace host, without any cookie that covers both.  A nonce in the
 * browser binds the one-time code to it; docs/contracts/tokens.md has the
 * steps.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/base64url.h"
#include "core/contract.h"
#include "core/host.h"
#include "jose/digest.h"

#include "ngx_http_gitpod.h"
#include "ngx_http_gitpod_request.h"


#define NGX_HTTP_GITPOD_NONCE_BYTES  32
#define NGX_HTTP_GITPOD_NONCE_LEN    43      /* characters of base64url */


static ngx_int_t ngx_http_gitpod_handoff_done(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route);
static ngx_uint_t ngx_http_gitpod_handoff_path(ngx_str_t *path);


/* Step 1, on the workspace host: a nonce, and over to the main domain. */

ngx_int_t
ngx_http_gitpod_handoff_start(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    u_char                              *p;
    size_t                               len;
    uintptr_t                            escape;
    ngx_str_t                            url, path, nonce;
    u_char                               bytes[NGX_HTTP_GITPOD_NONCE_BYTES];
    char                                 text[NGX_HTTP_GITPOD_NONCE_LEN + 1];
    char                                 hex[GP_SHA256_HEX_LEN + 1];
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);

    if (gp_jose_random_bytes(bytes, sizeof(bytes)) != 0) {
        return NGX_ERROR;
    }

    nonce.data = (u_char *) text;
    nonce.len = gp_base64url_encode(bytes, sizeof(bytes), text);

    if (gp_sha256_hex(nonce.data, nonce.len, hex) != 0) {
        return NGX_ERROR;
    }

    path = r->unparsed_uri;

    if (!ngx_http_gitpod_handoff_path(&path)) {
        ngx_str_set(&path, "/");
    }

    escape = 2 * ngx_escape_uri(NULL, path.data, path.len,
                                NGX_ESCAPE_URI_COMPONENT);

    len = gscf->external_url.len
          + sizeof("/api/handoff?host=&nonce=&path=") - 1
          + ctx->host.len + GP_SHA256_HEX_LEN + path.len + escape;

    url.data = ngx_pnalloc(r->pool, len);
    if (url.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(url.data, "%V/api/handoff?host=%V&nonce=%s&path=",
                    &gscf->external_url, &ctx->host, hex);
    p = (u_char *) ngx_escape_uri(p, path.data, path.len,
                                  NGX_ESCAPE_URI_COMPONENT);
    url.len = p - url.data;

    if (ngx_http_gitpod_cookie_set(r, NGX_HTTP_GITPOD_COOKIE_NONCE, &nonce,
                                   "/_gitpod", GP_HANDOFF_NONCE_TTL_S)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_http_gitpod_ctx_refuse(ctx, "hand-off");
    ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_REQUEST_HANDOFF);

    return ngx_http_gitpod_reply_redirect(r, NGX_HTTP_MOVED_TEMPORARILY, &url);
}


/*
 * Step 2, on the main domain: is this person's right to that host good?  Then
 * the request goes on to the auth plugin, which issues the code.
 */

ngx_int_t
ngx_http_gitpod_handoff_check(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    gp_host_t            host;
    ngx_str_t            value, id, path, raw;
    u_char              *src, *dst;
    ngx_gitpod_route_t   route;

    /* a code is bound to a session: a token cannot ask for one */

    if (ctx->credential != NGX_HTTP_GITPOD_SESSION
        || ngx_http_arg(r, (u_char *) "host", 4, &value) != NGX_OK
        || ngx_http_gitpod_place(r, ctx, &value, &host) != NGX_OK)
    {
        ngx_http_gitpod_ctx_refuse(ctx, "hand-off host");
        return ngx_http_gitpod_workspace_unknown(r, ctx);
    }

    id.data = (u_char *) host.id;
    id.len = host.id_len;

    if (ngx_gitpod_route_get(ctx->zone, &id, &route) != NGX_OK
        || !ngx_http_gitpod_workspace_allowed(&route, &ctx->user))
    {
        ngx_http_gitpod_ctx_refuse(ctx, "hand-off right");
        return ngx_http_gitpod_workspace_unknown(r, ctx);
    }

    /* auth is told: in mode port the host does not tell it */

    ctx->workspace_id.len = id.len;
    ctx->workspace_id.data = ngx_pstrdup(r->pool, &id);
    if (ctx->workspace_id.data == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_arg(r, (u_char *) "path", 4, &raw) == NGX_OK && raw.len) {

        path.data = ngx_pnalloc(r->pool, raw.len);
        if (path.data == NULL) {
            return NGX_ERROR;
        }

        src = raw.data;
        dst = path.data;
        ngx_unescape_uri(&dst, &src, raw.len, 0);
        path.len = dst - path.data;

        if (!ngx_http_gitpod_handoff_path(&path)) {
            ngx_http_gitpod_ctx_refuse(ctx, "hand-off path");
            return ngx_http_gitpod_reply_error(r, NGX_HTTP_BAD_REQUEST,
                       "path must begin with one slash and stay on its host");
        }
    }

    return NGX_OK;
}


/*
 * Step 3, on the workspace host: the code for a cookie.  For a workspace that
 * is not there (route NULL) no code was ever issued.
 */

ngx_int_t
ngx_http_gitpod_handoff_redeem(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route)
{
    ngx_http_gitpod_request_loc_conf_t  *glcf;

    if (ctx->asked) {
        return ctx->answered ? ngx_http_gitpod_handoff_done(r, ctx, route)
                             : NGX_AGAIN;
    }

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_request_module);

    if (glcf->redeem.len == 0) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "hand-off needs \"gitpod_redeem\"");
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (route == NULL || !(r->method & NGX_HTTP_GET)
        || ngx_http_arg(r, (u_char *) "code", 4, &ctx->code) != NGX_OK
        || ctx->code.len == 0 || ctx->code.len > GP_CREDENTIAL_MAX
        || ctx->cookies[NGX_HTTP_GITPOD_COOKIE_NONCE].len == 0
        || ctx->cookies[NGX_HTTP_GITPOD_COOKIE_NONCE].len > GP_CREDENTIAL_MAX)
    {
        ngx_http_gitpod_ctx_refuse(ctx, "hand-off incomplete");
        return ngx_http_gitpod_reply_error(r, NGX_HTTP_UNAUTHORIZED,
                   "This link works once, for a short time, in the browser "
                   "that asked for it. Open the workspace again");
    }

    if (ngx_http_gitpod_limit_spend(r, ctx, NGX_HTTP_GITPOD_COUNT_FAILURES)
        != NGX_OK)
    {
        return ngx_http_gitpod_limit_refuse(r, ctx);
    }

    ctx->spent = 1;

    return ngx_http_gitpod_ask(r, ctx, &glcf->redeem);
}


static ngx_int_t
ngx_http_gitpod_handoff_done(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route)
{
    ngx_str_t                           *token, *location, *user, url, empty;
    ngx_uint_t                           status;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);
    status = ctx->status;
    ngx_str_null(&empty);

    /* a code that is refused was a guess */

    if (ctx->spent
        && (status == NGX_HTTP_OK || status < NGX_HTTP_OK
            || status >= NGX_HTTP_INTERNAL_SERVER_ERROR))
    {
        ngx_http_gitpod_limit_return(r, ctx, NGX_HTTP_GITPOD_COUNT_FAILURES);
        ctx->spent = 0;
    }

    if (status >= NGX_HTTP_INTERNAL_SERVER_ERROR || status < NGX_HTTP_OK) {
        return ngx_http_gitpod_reply_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                   "The auth service does not answer. Open the workspace "
                   "again in a moment");
    }

    token = ngx_http_gitpod_ask_header(ctx->subrequest,
                                       GP_AUTH_HEADER_WORKSPACE_TOKEN);
    location = ngx_http_gitpod_ask_header(ctx->subrequest,
                                          GP_AUTH_HEADER_LOCATION);
    user = ngx_http_gitpod_ask_header(ctx->subrequest, GP_AUTH_HEADER_USER);

    if (status != NGX_HTTP_OK || token == NULL || location == NULL
        || user == NULL || token->len > GP_CREDENTIAL_MAX
        || !ngx_http_gitpod_handoff_path(location))
    {
        ngx_http_gitpod_ctx_refuse(ctx, "hand-off code");
        ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_HANDOFF_REFUSED);
        return ngx_http_gitpod_reply_error(r, NGX_HTTP_UNAUTHORIZED,
                   "This link works once, for a short time, in the browser "
                   "that asked for it. Open the workspace again");
    }

    if (!ngx_http_gitpod_workspace_allowed(route, user)) {
        ngx_http_gitpod_ctx_refuse(ctx, "not the owner");
        return ngx_http_gitpod_workspace_unknown(r, ctx);
    }

    ctx->user = *user;
    ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_HANDOFF_OK);
    ngx_http_gitpod_limit_know(ctx, token, 1);

    if (ngx_http_gitpod_cookie_set(r, NGX_HTTP_GITPOD_COOKIE_WORKSPACE, token,
                                   "/", GP_WORKSPACE_TOKEN_TTL_S)
        != NGX_OK
        || ngx_http_gitpod_cookie_set(r, NGX_HTTP_GITPOD_COOKIE_NONCE, &empty,
                                      "/_gitpod", 0)
           != NGX_OK
        || ngx_http_gitpod_reply_header(r, "Referrer-Policy", "no-referrer")
           != NGX_OK
        || ngx_http_gitpod_place_clear(r, ctx) != NGX_OK)
    {
        return NGX_ERROR;
    }

    url.data = ngx_pnalloc(r->pool, gscf->scheme.len + 3 + ctx->host.len
                                    + gscf->port.len + location->len);
    if (url.data == NULL) {
        return NGX_ERROR;
    }

    url.len = ngx_sprintf(url.data, "%V://%V%V%V", &gscf->scheme, &ctx->host,
                          ctx->listener ? &empty : &gscf->port, location)
              - url.data;

    return ngx_http_gitpod_reply_redirect(r, NGX_HTTP_SEE_OTHER, &url);
}


/* One slash first, nothing that a browser takes for a host, no controls. */

static ngx_uint_t
ngx_http_gitpod_handoff_path(ngx_str_t *path)
{
    size_t  i;

    if (path->len == 0 || path->len > GP_PATH_MAX || path->data[0] != '/'
        || (path->len > 1 && (path->data[1] == '/' || path->data[1] == '\\')))
    {
        return 0;
    }

    for (i = 0; i < path->len; i++) {

        if (path->data[i] <= ' ' || path->data[i] == 0x7f
            || path->data[i] == '\\')
        {
            return 0;
        }
    }

    return 1;
}


/*
 * gitpod_auth: who is asking, on the main domain.  A personal access token
 * that was given counts before the session cookie, and when it is not good the
 * cookie does not repair it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_gitpod_request.h"


static ngx_int_t ngx_http_gitpod_auth_refuse(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static void ngx_http_gitpod_auth_count(ngx_http_gitpod_ctx_t *ctx,
    ngx_int_t rc);
static ngx_int_t ngx_http_gitpod_auth_login(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);


ngx_int_t
ngx_http_gitpod_auth_handler(ngx_http_request_t *r)
{
    ngx_int_t                            rc;
    ngx_http_gitpod_ctx_t               *ctx;
    ngx_http_gitpod_request_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_request_module);

    if (glcf->auth == NGX_HTTP_GITPOD_AUTH_OFF) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_gitpod_ctx_get(r);

    if (ctx == NULL) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "\"gitpod_auth\" needs \"gitpod_domain\" and "
                      "\"gitpod_zone\"");
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (!ctx->identified) {

        if (ctx->token.data) {
            rc = ngx_http_gitpod_token_opaque(r, ctx);

        } else {
            rc = ngx_http_gitpod_claims_session(r, ctx);
        }

        if (rc == NGX_AGAIN) {
            return NGX_AGAIN;
        }

        if (rc == NGX_BUSY && glcf->auth == NGX_HTTP_GITPOD_AUTH_ON) {
            return ngx_http_gitpod_limit_refuse(r, ctx);
        }

        if (rc == NGX_ERROR && ctx->token.data == NULL) {
            return ngx_http_gitpod_claims_untold(r, ctx);
        }

        if (rc == NGX_ERROR) {
            return ngx_http_gitpod_reply_error(r,
                       NGX_HTTP_SERVICE_UNAVAILABLE,
                       "The token cannot be checked at the moment: "
                       "the service auth does not answer. Try again");
        }

        ctx->identified = 1;
        ngx_http_gitpod_auth_count(ctx, rc);

        if (rc != NGX_OK) {
            ctx->credential = NGX_HTTP_GITPOD_NONE;
        }
    }

    if (ctx->credential == NGX_HTTP_GITPOD_NONE) {

        if (glcf->auth == NGX_HTTP_GITPOD_AUTH_OPTIONAL) {
            return NGX_OK;
        }

        return ngx_http_gitpod_auth_refuse(r, ctx);
    }

    ctx->reason.len = 0;

    if (ngx_http_gitpod_origin_check(r, ctx) != NGX_OK) {

        /* who is let in by another check is not who the cookie says */

        if (ngx_http_gitpod_reply_deferred(r, NGX_HTTP_FORBIDDEN)) {
            ctx->credential = NGX_HTTP_GITPOD_NONE;
            ctx->user.len = 0;
            ctx->credential_id.len = 0;
            ctx->scopes.len = 0;
        }

        return ngx_http_gitpod_reply_error(r, NGX_HTTP_FORBIDDEN,
                   "With the session cookie, Origin must be this site's own. "
                   "Programs use Authorization: Bearer instead");
    }

    rc = ngx_http_gitpod_limit_user(r, ctx);

    if (rc != NGX_OK) {
        return rc;
    }

    if (glcf->handoff) {
        return ngx_http_gitpod_handoff_check(r, ctx);
    }

    ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_REQUEST_OK);
    ngx_http_gitpod_live_add(ctx);

    return NGX_OK;
}


static void
ngx_http_gitpod_auth_count(ngx_http_gitpod_ctx_t *ctx, ngx_int_t rc)
{
    if (ctx->token.data) {
        ngx_gitpod_count(ctx->zone, rc == NGX_OK
                                    ? NGX_GITPOD_N_TOKEN_OK
                                    : NGX_GITPOD_N_TOKEN_REFUSED);

    } else if (ctx->cookies[NGX_HTTP_GITPOD_COOKIE_SESSION].data) {
        ngx_gitpod_count(ctx->zone, rc == NGX_OK
                                    ? NGX_GITPOD_N_SESSION_OK
                                    : NGX_GITPOD_N_SESSION_REFUSED);
    }
}


static ngx_int_t
ngx_http_gitpod_auth_refuse(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx)
{
    if (ctx->page && ctx->token.data == NULL
        && !ngx_http_gitpod_reply_deferred(r, NGX_HTTP_UNAUTHORIZED))
    {
        return ngx_http_gitpod_auth_login(r, ctx);
    }

    if (ngx_http_gitpod_reply_challenge(r, "Bearer") != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_gitpod_reply_error(r, NGX_HTTP_UNAUTHORIZED,
               ctx->token.data
               ? "The token is unknown, expired or revoked"
               : "Log in, or send Authorization: Bearer with a personal "
                 "access token");
}


/* The way back is a path of this site: never a host, never a scheme. */

static ngx_int_t
ngx_http_gitpod_auth_login(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx)
{
    u_char                              *p;
    size_t                               len;
    uintptr_t                            escape;
    ngx_str_t                            url, path;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);

    path = r->unparsed_uri;

    if (path.len > GP_PATH_MAX || path.len == 0 || path.data[0] != '/'
        || (path.len > 1 && (path.data[1] == '/' || path.data[1] == '\\')))
    {
        ngx_str_set(&path, "/");
    }

    escape = 2 * ngx_escape_uri(NULL, path.data, path.len,
                                NGX_ESCAPE_URI_COMPONENT);

    len = gscf->external_url.len + sizeof("/login?return=") - 1
          + path.len + escape;

    url.data = ngx_pnalloc(r->pool, len);
    if (url.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(url.data, gscf->external_url.data, gscf->external_url.len);
    p = ngx_cpymem(p, "/login?return=", sizeof("/login?return=") - 1);
    p = (u_char *) ngx_escape_uri(p, path.data, path.len,
                                  NGX_ESCAPE_URI_COMPONENT);
    url.len = p - url.data;

    ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_REQUEST_HANDOFF);

    return ngx_http_gitpod_reply_redirect(r, NGX_HTTP_MOVED_TEMPORARILY,
                                          &url);
}

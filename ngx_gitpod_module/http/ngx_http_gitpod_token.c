
/*
 * Opaque tokens.  They are the auth plugin's to know: one subrequest, whose
 * answer all requests with the same token wait for, whichever worker they are
 * in, and a cache that every worker has.  What is in use is asked for anew
 * before it is too old, while requests go on.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/contract.h"
#include "jose/digest.h"

#include "ngx_http_gitpod.h"
#include "ngx_http_gitpod_request.h"


typedef struct {
    ngx_gitpod_zone_t       *zone;
    time_t                   asked_at;
    u_char                   digest[NGX_GITPOD_DIGEST_LEN];
    unsigned                 ended:1;
} ngx_http_gitpod_refresh_t;


static ngx_int_t ngx_http_gitpod_token_identity(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_credential_t *known);
static ngx_int_t ngx_http_gitpod_token_answer(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static ngx_int_t ngx_http_gitpod_token_read(ngx_http_request_t *sr,
    ngx_gitpod_zone_t *zone, ngx_gitpod_credential_t *known);
static ngx_int_t ngx_http_gitpod_token_asked(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_credential_t *cached);
static ngx_int_t ngx_http_gitpod_token_cached(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_credential_t *cached);
static void ngx_http_gitpod_token_refresh(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static ngx_int_t ngx_http_gitpod_token_refreshed(ngx_http_request_t *sr,
    void *data, ngx_int_t rc);
static void ngx_http_gitpod_token_refresh_end(void *data);
static ngx_int_t ngx_http_gitpod_token_stale(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);


/* A personal access token: from the cache, or asked for, once at a time. */

ngx_int_t
ngx_http_gitpod_token_opaque(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    ngx_int_t                            rc;
    ngx_gitpod_credential_t              cached;
    ngx_http_gitpod_request_loc_conf_t  *glcf;

    if (ctx->asked) {
        return ctx->answered ? ngx_http_gitpod_token_answer(r, ctx)
                             : NGX_AGAIN;
    }

    if (ctx->waiting || ctx->remote) {
        return NGX_AGAIN;
    }

    if (ctx->token.len > GP_CREDENTIAL_MAX) {
        return ngx_http_gitpod_ctx_refuse(ctx, "token too long");
    }

    if (gp_sha256(ctx->token.data, ctx->token.len, ctx->digest) != 0) {
        return NGX_ERROR;
    }

    rc = ngx_http_gitpod_token_cached(r, ctx, &cached);

    if (rc == NGX_OK) {
        ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_CACHE_HIT);
        return ngx_http_gitpod_token_identity(r, ctx, &cached);
    }

    if (rc == NGX_AGAIN) {
        ngx_http_gitpod_token_refresh(r, ctx);
        return ngx_http_gitpod_token_identity(r, ctx, &cached);
    }

    ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_CACHE_MISS);

    rc = ngx_http_gitpod_token_wait(r, ctx);

    if (rc != NGX_OK) {
        return rc;
    }

    /* a question costs one failure until the answer is that it was none */

    if (!ctx->spent && !ngx_http_gitpod_limit_known(ctx, &ctx->token)) {

        if (ngx_http_gitpod_limit_spend(r, ctx, NGX_HTTP_GITPOD_COUNT_FAILURES)
            != NGX_OK)
        {
            return NGX_BUSY;
        }

        ctx->spent = 1;
    }

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_request_module);

    if (glcf->introspect.len == 0) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "personal access tokens need \"gitpod_introspect\"");
        return NGX_ERROR;
    }

    if (ngx_gitpod_ask_begin(ctx->zone, ctx->digest) == NGX_AGAIN) {
        ngx_http_gitpod_token_follow(r, ctx);
        return NGX_AGAIN;
    }

    ctx->owning = 1;

    /* the one before may have ended since the look above */

    if (ngx_http_gitpod_token_cached(r, ctx, &cached) == NGX_OK) {
        return ngx_http_gitpod_token_asked(r, ctx, &cached);
    }

    rc = ngx_http_gitpod_ask(r, ctx, &glcf->introspect);

    if (rc == NGX_AGAIN) {
        ngx_http_gitpod_token_lead(ctx);

    } else {
        ctx->owning = 0;
        ngx_gitpod_ask_end(ctx->zone, ctx->digest, 1);
    }

    return rc;
}


/* Another worker asked in the meantime. */

static ngx_int_t
ngx_http_gitpod_token_asked(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_gitpod_credential_t *cached)
{
    ctx->owning = 0;
    ngx_gitpod_ask_end(ctx->zone, ctx->digest, 0);

    if (ctx->spent && cached->kind == NGX_HTTP_GITPOD_TOKEN) {
        ngx_http_gitpod_limit_return(r, ctx, NGX_HTTP_GITPOD_COUNT_FAILURES);
        ctx->spent = 0;
    }

    return ngx_http_gitpod_token_identity(r, ctx, cached);
}


/* NGX_OK: use it; NGX_AGAIN: use it, and ask anew; NGX_DECLINED. */

static ngx_int_t
ngx_http_gitpod_token_cached(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_credential_t *cached)
{
    time_t                               age;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    if (ngx_gitpod_credential_get(ctx->zone, ctx->digest, cached) != NGX_OK) {
        return NGX_DECLINED;
    }

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);
    age = ngx_time() - cached->fetched;

    if (cached->kind != NGX_HTTP_GITPOD_TOKEN) {
        return (age < NGX_HTTP_GITPOD_TOKEN_REFUSED) ? NGX_OK : NGX_DECLINED;
    }

    if (age < gscf->token_fresh) {
        return NGX_OK;
    }

    /* as long again, who is in use waits for nobody */

    return (age < 2 * gscf->token_fresh) ? NGX_AGAIN : NGX_DECLINED;
}


/* The answer that is known counts once more; one request of all asks anew. */

static void
ngx_http_gitpod_token_refresh(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    ngx_pool_cleanup_t                  *cln;
    ngx_http_gitpod_refresh_t           *refresh;
    ngx_http_gitpod_request_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_request_module);

    ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_CACHE_REFRESH);

    if (glcf->introspect.len == 0
        || ngx_gitpod_ask_state(ctx->zone, ctx->digest) != NGX_DECLINED
        || ngx_gitpod_ask_begin(ctx->zone, ctx->digest) != NGX_OK)
    {
        return;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_gitpod_refresh_t));
    if (cln == NULL) {
        ngx_gitpod_ask_end(ctx->zone, ctx->digest, 1);
        return;
    }

    refresh = cln->data;
    refresh->zone = ctx->zone;
    refresh->asked_at = ngx_time() - 1;
    refresh->ended = 0;
    ngx_memcpy(refresh->digest, ctx->digest, NGX_GITPOD_DIGEST_LEN);

    cln->handler = ngx_http_gitpod_token_refresh_end;

    if (ngx_http_gitpod_ask_behind(r, &glcf->introspect,
                                   ngx_http_gitpod_token_refreshed, refresh)
        != NGX_OK)
    {
        ngx_http_gitpod_token_refresh_end(refresh);
    }
}


static ngx_int_t
ngx_http_gitpod_token_refreshed(ngx_http_request_t *sr, void *data,
    ngx_int_t rc)
{
    ngx_http_gitpod_refresh_t *refresh = data;

    ngx_uint_t               status;
    ngx_gitpod_credential_t  known;

    status = sr->headers_out.status;

    if (rc == NGX_ERROR || rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        status = (rc == NGX_ERROR) ? NGX_HTTP_BAD_GATEWAY : (ngx_uint_t) rc;
        rc = NGX_OK;
    }

    ngx_memzero(&known, sizeof(ngx_gitpod_credential_t));
    known.fetched = refresh->asked_at;

    if (refresh->ended) {
        return rc;
    }

    if (status == NGX_HTTP_UNAUTHORIZED || status == NGX_HTTP_FORBIDDEN) {
        ngx_gitpod_count(refresh->zone, NGX_GITPOD_N_ASK_REFUSED);

    } else if (status != NGX_HTTP_OK
               || ngx_http_gitpod_token_read(sr, refresh->zone, &known)
                  != NGX_OK)
    {
        ngx_gitpod_count(refresh->zone, NGX_GITPOD_N_ASK_FAILED);
        ngx_http_gitpod_token_refresh_end(refresh);
        return rc;
    }

    ngx_gitpod_credential_put(refresh->zone, refresh->digest, &known);

    refresh->ended = 1;
    ngx_gitpod_ask_end(refresh->zone, refresh->digest, 0);

    return rc;
}


/* Without an answer, also when the request ends before there is one. */

static void
ngx_http_gitpod_token_refresh_end(void *data)
{
    ngx_http_gitpod_refresh_t *refresh = data;

    if (!refresh->ended) {
        refresh->ended = 1;
        ngx_gitpod_ask_end(refresh->zone, refresh->digest, 1);
    }
}


static ngx_int_t
ngx_http_gitpod_token_identity(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_credential_t *known)
{
    u_char     *p;
    ngx_str_t   user, id;

    if (known->kind != NGX_HTTP_GITPOD_TOKEN) {
        return ngx_http_gitpod_ctx_refuse(ctx, "token");
    }

    user.data = known->user;
    user.len = known->user_len;
    id.data = known->credential;
    id.len = known->credential_len;

    if (ngx_gitpod_revoked(ctx->zone, NGX_GITPOD_REVOKED_TOKEN, &id,
                           known->fetched)
        || ngx_gitpod_revoked(ctx->zone, NGX_GITPOD_REVOKED_USER, &user,
                              known->fetched))
    {
        return ngx_http_gitpod_ctx_refuse(ctx, "token revoked");
    }

    p = ngx_pnalloc(r->pool, user.len + id.len + known->scopes_len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ctx->user.data = p;
    ctx->user.len = user.len;
    p = ngx_cpymem(p, user.data, user.len);

    ctx->credential_id.data = p;
    ctx->credential_id.len = id.len;
    p = ngx_cpymem(p, id.data, id.len);

    ctx->scopes.data = p;
    ctx->scopes.len = known->scopes_len;
    ngx_memcpy(p, known->scopes, known->scopes_len);

    ctx->issued = known->fetched;
    ctx->expires = known->expires;
    ctx->credential = NGX_HTTP_GITPOD_TOKEN;

    return NGX_OK;
}


/* The leader's way on: what auth said goes to the cache, then to who waits. */

static ngx_int_t
ngx_http_gitpod_token_answer(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    ngx_int_t                rc;
    ngx_uint_t               failed;
    ngx_gitpod_credential_t  known;

    ngx_memzero(&known, sizeof(ngx_gitpod_credential_t));
    known.fetched = ctx->asked_at;

    if (ctx->status == NGX_HTTP_OK) {
        rc = ngx_http_gitpod_token_read(ctx->subrequest, ctx->zone, &known);

    } else if (ctx->status == NGX_HTTP_UNAUTHORIZED
               || ctx->status == NGX_HTTP_FORBIDDEN)
    {
        ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_ASK_REFUSED);
        rc = NGX_OK;

    } else {
        rc = NGX_ERROR;
    }

    failed = (rc != NGX_OK);

    if (ctx->spent && (failed || known.kind == NGX_HTTP_GITPOD_TOKEN)) {
        ngx_http_gitpod_limit_return(r, ctx, NGX_HTTP_GITPOD_COUNT_FAILURES);
        ctx->spent = 0;
    }

    if (!failed) {
        ngx_http_gitpod_limit_know(ctx, &ctx->token,
                                   known.kind == NGX_HTTP_GITPOD_TOKEN);
        ngx_gitpod_credential_put(ctx->zone, ctx->digest, &known);
        rc = ngx_http_gitpod_token_identity(r, ctx, &known);

    } else {
        ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_ASK_FAILED);
        rc = ngx_http_gitpod_token_stale(r, ctx);
    }

    if (ctx->owning) {
        ctx->owning = 0;
        ngx_gitpod_ask_end(ctx->zone, ctx->digest, failed);
    }

    ngx_http_gitpod_token_wake(ctx, failed);

    return rc;
}


static ngx_int_t
ngx_http_gitpod_token_read(ngx_http_request_t *sr, ngx_gitpod_zone_t *zone,
    ngx_gitpod_credential_t *known)
{
    ngx_str_t  *user, *id, *scopes;

    user = ngx_http_gitpod_ask_header(sr, GP_AUTH_HEADER_USER);
    id = ngx_http_gitpod_ask_header(sr, GP_AUTH_HEADER_TOKEN_ID);
    scopes = ngx_http_gitpod_ask_header(sr, GP_AUTH_HEADER_SCOPES);

    if (user == NULL || user->len == 0 || user->len > NGX_GITPOD_ID_MAX
        || id == NULL || id->len == 0 || id->len > NGX_GITPOD_ID_MAX
        || scopes == NULL || scopes->len > NGX_GITPOD_SCOPES_MAX)
    {
        ngx_log_error(NGX_LOG_ERR, sr->connection->log, 0,
                      "introspection answered 200 without "
                      GP_AUTH_HEADER_USER ", " GP_AUTH_HEADER_TOKEN_ID
                      " and " GP_AUTH_HEADER_SCOPES " of proper length");
        return NGX_ERROR;
    }

    known->kind = NGX_HTTP_GITPOD_TOKEN;

    known->user_len = (u_char) user->len;
    ngx_memcpy(known->user, user->data, user->len);

    known->credential_len = (u_char) id->len;
    ngx_memcpy(known->credential, id->data, id->len);

    known->scopes_len = (uint16_t) scopes->len;
    ngx_memcpy(known->scopes, scopes->data, scopes->len);

    ngx_gitpod_count(zone, NGX_GITPOD_N_ASK_OK);

    return NGX_OK;
}


/* auth is away: what it said not long ago still holds. */

static ngx_int_t
ngx_http_gitpod_token_stale(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx)
{
    ngx_gitpod_credential_t              known;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);

    if (ngx_gitpod_credential_get(ctx->zone, ctx->digest, &known) == NGX_OK
        && known.kind == NGX_HTTP_GITPOD_TOKEN
        && ngx_time() - known.fetched < gscf->token_stale)
    {
        ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_CACHE_STALE);
        return ngx_http_gitpod_token_identity(r, ctx, &known);
    }

    (void) ngx_http_gitpod_ctx_refuse(ctx, "auth unavailable");

    return NGX_ERROR;
}

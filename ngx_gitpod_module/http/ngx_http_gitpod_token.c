
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


#define NGX_HTTP_GITPOD_WAITERS_MAX   1024    /* requests for one answer */
#define NGX_HTTP_GITPOD_REMOTE_MS     20      /* looks for others' answers */


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
static void ngx_http_gitpod_token_follow(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static void ngx_http_gitpod_token_look(ngx_event_t *ev);
static ngx_int_t ngx_http_gitpod_token_stale(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static ngx_int_t ngx_http_gitpod_token_wait(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static void ngx_http_gitpod_token_wake(ngx_http_gitpod_ctx_t *ctx,
    ngx_uint_t failed);
static void ngx_http_gitpod_token_woken(ngx_event_t *ev);


/* of this worker: who asks for which token */

static ngx_queue_t  ngx_http_gitpod_leaders;
static ngx_event_t  ngx_http_gitpod_token_timer;


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
        ctx->leading = 1;
        ngx_queue_insert_tail(&ngx_http_gitpod_leaders, &ctx->queue);

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


/* Another worker asks: look for its answer, for all that wait here. */

static void
ngx_http_gitpod_token_follow(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    ctx->remote = 1;
    ctx->leading = 1;
    ngx_queue_insert_tail(&ngx_http_gitpod_leaders, &ctx->queue);

    ctx->wake.handler = ngx_http_gitpod_token_woken;
    ctx->wake.data = ctx;
    ctx->wake.log = r->connection->log;

    if (!ngx_http_gitpod_token_timer.timer_set) {
        ngx_http_gitpod_timer_start(&ngx_http_gitpod_token_timer,
                                    ngx_http_gitpod_token_look,
                                    NGX_HTTP_GITPOD_REMOTE_MS);
    }
}


static void
ngx_http_gitpod_token_look(ngx_event_t *ev)
{
    ngx_int_t               rc;
    ngx_uint_t              n;
    ngx_queue_t            *q, *next;
    ngx_http_gitpod_ctx_t  *ctx;

    n = 0;

    for (q = ngx_queue_head(&ngx_http_gitpod_leaders);
         q != ngx_queue_sentinel(&ngx_http_gitpod_leaders);
         q = next)
    {
        next = ngx_queue_next(q);
        ctx = ngx_queue_data(q, ngx_http_gitpod_ctx_t, queue);

        if (!ctx->remote) {
            continue;
        }

        rc = ngx_gitpod_ask_state(ctx->zone, ctx->digest);

        if (rc == NGX_AGAIN) {
            n++;
            continue;
        }

        ctx->remote = 0;

        if (rc == NGX_ERROR) {
            ctx->asked = 1;
            ctx->answered = 1;
            ctx->status = NGX_HTTP_BAD_GATEWAY;
        }

        ngx_http_gitpod_token_wake(ctx, rc == NGX_ERROR);
        ngx_post_event(&ctx->wake, &ngx_posted_events);
    }

    if (n) {
        ngx_add_timer(ev, NGX_HTTP_GITPOD_REMOTE_MS);
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


/* NGX_OK: nobody asks for this token, so ask; NGX_AGAIN: somebody does. */

static ngx_int_t
ngx_http_gitpod_token_wait(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx)
{
    ngx_uint_t              n;
    ngx_queue_t            *q;
    ngx_http_gitpod_ctx_t  *leader;

    if (ngx_http_gitpod_leaders.next == NULL) {
        ngx_queue_init(&ngx_http_gitpod_leaders);
    }

    for (q = ngx_queue_head(&ngx_http_gitpod_leaders), n = 0;
         q != ngx_queue_sentinel(&ngx_http_gitpod_leaders)
         && n < NGX_HTTP_GITPOD_WAITERS_MAX;
         q = ngx_queue_next(q), n++)
    {
        leader = ngx_queue_data(q, ngx_http_gitpod_ctx_t, queue);

        if (ngx_memcmp(leader->digest, ctx->digest, GP_SHA256_LEN) != 0
            || leader->waiters_n == NGX_HTTP_GITPOD_WAITERS_MAX)
        {
            continue;
        }

        leader->waiters_n++;
        ngx_queue_insert_tail(&leader->waiters, &ctx->queue);
        ctx->waiting = 1;

        ctx->wake.handler = ngx_http_gitpod_token_woken;
        ctx->wake.data = ctx;
        ctx->wake.log = r->connection->log;

        return NGX_AGAIN;
    }

    return NGX_OK;
}


/*
 * All that wait look at the cache again; when who asked went away, one of them
 * asks anew.  That auth does not answer is an answer to all of them: each
 * asking for itself, they would wait for one timeout after the other.
 */

static void
ngx_http_gitpod_token_wake(ngx_http_gitpod_ctx_t *ctx, ngx_uint_t failed)
{
    ngx_queue_t            *q;
    ngx_http_gitpod_ctx_t  *waiter;

    if (!ctx->leading) {
        return;
    }

    ctx->leading = 0;
    ngx_queue_remove(&ctx->queue);

    while (!ngx_queue_empty(&ctx->waiters)) {
        q = ngx_queue_head(&ctx->waiters);
        ngx_queue_remove(q);

        waiter = ngx_queue_data(q, ngx_http_gitpod_ctx_t, queue);
        waiter->waiting = 0;

        if (failed) {
            waiter->asked = 1;
            waiter->answered = 1;
            waiter->status = NGX_HTTP_BAD_GATEWAY;
        }

        ngx_post_event(&waiter->wake, &ngx_posted_events);
    }

    ctx->waiters_n = 0;
}


static void
ngx_http_gitpod_token_woken(ngx_event_t *ev)
{
    ngx_connection_t       *c;
    ngx_http_gitpod_ctx_t  *ctx;

    ctx = ev->data;
    c = ctx->request->connection;

    ngx_http_core_run_phases(ctx->request);
    ngx_http_run_posted_requests(c);
}


/* The request ends, perhaps early: nothing may point to it any more. */

void
ngx_http_gitpod_token_abandon(ngx_http_gitpod_ctx_t *ctx)
{
    ngx_http_gitpod_token_wake(ctx, 0);

    if (ctx->owning) {
        ngx_gitpod_ask_end(ctx->zone, ctx->digest, 0);
    }

    if (ctx->waiting) {
        ngx_queue_remove(&ctx->queue);
        ctx->waiting = 0;
    }

    if (ctx->wake.posted) {
        ngx_delete_posted_event(&ctx->wake);
    }
}


/*
 * Credentials to identities.  Tokens of ours that carry their claims (session,
 * workspace) are verified here, with keys held in this worker; a token that
 * was verified is remembered byte for byte, since a signature costs more than
 * the rest of a request.  Revocation, expiry, audience and right are looked at
 * on each request.
 *
 * Opaque tokens are the auth plugin's to know: one subrequest, whose answer
 * all requests with the same token wait for, and a cache that every worker
 * has.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/contract.h"
#include "jose/digest.h"
#include "jose/jws.h"

#include "ngx_gitpod_zone.h"
#include "ngx_http_gitpod.h"
#include "ngx_http_gitpod_request.h"


#define NGX_HTTP_GITPOD_CLAIMS_SETS   256     /* x 4 tokens, x 1.5 KB */
#define NGX_HTTP_GITPOD_CLAIMS_WAYS   4
#define NGX_HTTP_GITPOD_CLAIMS_TEXT   400     /* bytes of aud, sub, sid, ws */
#define NGX_HTTP_GITPOD_CLAIMS_TOKEN  1024    /* bytes; longer: not kept */
#define NGX_HTTP_GITPOD_CLAIMS_TAIL   32      /* bytes of signature hashed */
#define NGX_HTTP_GITPOD_WAITERS_MAX   1024    /* requests for one answer */


typedef struct {
    int64_t      iat;
    int64_t      exp;
    ngx_uint_t   keys;         /* generation of the key set; 0: empty */
    uint16_t     aud;          /* lengths, in the order of text */
    uint16_t     sub;
    uint16_t     sid;
    uint16_t     ws;
    uint16_t     token_len;
    u_char       token[NGX_HTTP_GITPOD_CLAIMS_TOKEN];
    u_char       text[NGX_HTTP_GITPOD_CLAIMS_TEXT];
} ngx_http_gitpod_claims_t;


static ngx_int_t ngx_http_gitpod_claims_get(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_str_t *token,
    ngx_http_gitpod_claims_t **claims);
static ngx_int_t ngx_http_gitpod_claims_keep(ngx_http_gitpod_claims_t *slot,
    gp_jose_claims_t *claims);
static ngx_int_t ngx_http_gitpod_claims_use(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_http_gitpod_claims_t *claims,
    ngx_str_t *audience, ngx_str_t *workspace);
static ngx_int_t ngx_http_gitpod_token_identity(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_credential_t *known);
static ngx_int_t ngx_http_gitpod_token_answer(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static ngx_int_t ngx_http_gitpod_token_read(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_credential_t *known);
static ngx_int_t ngx_http_gitpod_token_stale(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static ngx_int_t ngx_http_gitpod_token_wait(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static void ngx_http_gitpod_token_wake(ngx_http_gitpod_ctx_t *ctx,
    ngx_uint_t failed);
static void ngx_http_gitpod_token_woken(ngx_event_t *ev);
static ngx_int_t ngx_http_gitpod_token_asked(ngx_http_request_t *r,
    void *data, ngx_int_t rc);


/* of this worker: verified tokens, and who asks for which opaque one */

static ngx_http_gitpod_claims_t  *ngx_http_gitpod_claims;
static ngx_queue_t                ngx_http_gitpod_leaders;


/*
 * NGX_OK: *claims are what a good signature of ours covers; NGX_DECLINED: not
 * a token of ours; NGX_ERROR: cannot tell.
 */

static ngx_int_t
ngx_http_gitpod_claims_get(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_str_t *token, ngx_http_gitpod_claims_t **claims)
{
    uint32_t                             set;
    ngx_int_t                            rc;
    ngx_uint_t                           i, generation;
    gp_span_t                            issuer;
    gp_jose_keys_t                      *keys;
    gp_jose_claims_t                     found;
    ngx_http_gitpod_claims_t            *way, *slot;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    if (token->len == 0 || token->len > GP_CREDENTIAL_MAX) {
        return NGX_DECLINED;
    }

    /* before the keys: what an old set verified never counts for a new one */

    generation = __atomic_load_n(&ctx->zone->keys_seq, __ATOMIC_ACQUIRE) + 1;
    keys = ngx_gitpod_keys(ctx->zone, r->connection->log);

    if (keys == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_gitpod_claims == NULL) {
        ngx_http_gitpod_claims = ngx_calloc(NGX_HTTP_GITPOD_CLAIMS_SETS
                                            * NGX_HTTP_GITPOD_CLAIMS_WAYS
                                            * sizeof(ngx_http_gitpod_claims_t),
                                            r->connection->log);
        if (ngx_http_gitpod_claims == NULL) {
            return NGX_ERROR;
        }
    }

    /* the end of a token of ours is its signature: as good as random */

    set = (token->len < NGX_HTTP_GITPOD_CLAIMS_TAIL)
          ? 0
          : ngx_murmur_hash2(token->data + token->len
                             - NGX_HTTP_GITPOD_CLAIMS_TAIL,
                             NGX_HTTP_GITPOD_CLAIMS_TAIL);
    way = &ngx_http_gitpod_claims[(set % NGX_HTTP_GITPOD_CLAIMS_SETS)
                                  * NGX_HTTP_GITPOD_CLAIMS_WAYS];
    slot = way;

    for (i = 0; i < NGX_HTTP_GITPOD_CLAIMS_WAYS; i++) {

        if (way[i].keys == generation
            && way[i].token_len == token->len
            && gp_equal_constant_time(way[i].token, token->data, token->len))
        {
            *claims = &way[i];
            return NGX_OK;
        }

        /* the next to go: what no key covers any more, then what ends first */

        if (slot->keys == generation
            && (way[i].keys != generation || way[i].exp < slot->exp))
        {
            slot = &way[i];
        }
    }

    rc = gp_jose_verify(keys, GP_JOSE_ES256, (char *) token->data, token->len,
                        &found);

    if (rc != 0) {
        return rc == GP_JOSE_NO ? NGX_DECLINED : NGX_ERROR;
    }

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);

    issuer.ptr = (char *) gscf->issuer.data;
    issuer.len = gscf->issuer.len;

    rc = NGX_DECLINED;

    if (gp_jose_claims_check(&found, &issuer, NULL, ngx_time()) == 0
        && ngx_http_gitpod_claims_keep(slot, &found) == NGX_OK)
    {
        if (token->len <= NGX_HTTP_GITPOD_CLAIMS_TOKEN) {
            ngx_memcpy(slot->token, token->data, token->len);
            slot->token_len = (uint16_t) token->len;
            slot->keys = generation;
        }

        *claims = slot;
        rc = NGX_OK;
    }

    gp_jose_claims_clear(&found);

    return rc;
}


static ngx_int_t
ngx_http_gitpod_claims_keep(ngx_http_gitpod_claims_t *slot,
    gp_jose_claims_t *claims)
{
    u_char  *p;

    if (claims->aud.len > GP_HOST_MAX || claims->aud.len == 0
        || claims->sub.len > GP_USER_ID_LEN || claims->sub.len == 0
        || claims->sid.len > GP_USER_ID_LEN || claims->sid.len == 0
        || claims->ws.len > GP_WORKSPACE_ID_MAX
        || claims->aud.len + claims->sub.len + claims->sid.len
           + claims->ws.len > NGX_HTTP_GITPOD_CLAIMS_TEXT)
    {
        return NGX_DECLINED;
    }

    slot->keys = 0;
    slot->iat = claims->iat_epoch_s;
    slot->exp = claims->exp_epoch_s;
    slot->aud = (uint16_t) claims->aud.len;
    slot->sub = (uint16_t) claims->sub.len;
    slot->sid = (uint16_t) claims->sid.len;
    slot->ws = (uint16_t) claims->ws.len;

    p = ngx_cpymem(slot->text, claims->aud.ptr, claims->aud.len);
    p = ngx_cpymem(p, claims->sub.ptr, claims->sub.len);
    p = ngx_cpymem(p, claims->sid.ptr, claims->sid.len);

    if (claims->ws.len) {
        ngx_memcpy(p, claims->ws.ptr, claims->ws.len);
    }

    return NGX_OK;
}


/* What may change while a token lives, and whether it was meant for here. */

static ngx_int_t
ngx_http_gitpod_claims_use(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_http_gitpod_claims_t *claims, ngx_str_t *audience,
    ngx_str_t *workspace)
{
    u_char     *p;
    ngx_str_t   user, sid;

    if (claims->exp + GP_JOSE_LEEWAY_S <= ngx_time()) {
        return ngx_http_gitpod_ctx_refuse(ctx, "token expired");
    }

    if (claims->aud != audience->len
        || ngx_memcmp(claims->text, audience->data, audience->len) != 0)
    {
        return ngx_http_gitpod_ctx_refuse(ctx, "token audience");
    }

    user.data = claims->text + claims->aud;
    user.len = claims->sub;
    sid.data = user.data + user.len;
    sid.len = claims->sid;
    p = sid.data + sid.len;

    if (claims->ws != workspace->len
        || (workspace->len
            && ngx_memcmp(p, workspace->data, workspace->len) != 0))
    {
        return ngx_http_gitpod_ctx_refuse(ctx, "token workspace");
    }

    if (!ngx_gitpod_revocations_synced(ctx->zone)) {
        (void) ngx_http_gitpod_ctx_refuse(ctx, "revocations not known yet");
        return NGX_ERROR;
    }

    if (ngx_gitpod_revoked(ctx->zone, NGX_GITPOD_REVOKED_SESSION, &sid,
                           claims->iat)
        || ngx_gitpod_revoked(ctx->zone, NGX_GITPOD_REVOKED_USER, &user,
                              claims->iat)
        || (workspace->len
            && ngx_gitpod_revoked(ctx->zone, NGX_GITPOD_REVOKED_WORKSPACE,
                                  workspace, claims->iat)))
    {
        return ngx_http_gitpod_ctx_refuse(ctx, "token revoked");
    }

    p = ngx_pnalloc(r->pool, user.len + sid.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ctx->issued = (time_t) claims->iat;

    ctx->user.data = p;
    ctx->user.len = user.len;
    p = ngx_cpymem(p, user.data, user.len);

    ctx->credential_id.data = p;
    ctx->credential_id.len = sid.len;
    ngx_memcpy(p, sid.data, sid.len);

    return NGX_OK;
}


ngx_int_t
ngx_http_gitpod_token_session(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    ngx_int_t                  rc;
    ngx_http_gitpod_claims_t  *claims;

    static ngx_str_t           audience = ngx_string(GP_TOKEN_AUD_SESSION);
    static ngx_str_t           none = ngx_null_string;

    if (ctx->cookies[NGX_HTTP_GITPOD_COOKIE_SESSION].len == 0) {
        return ngx_http_gitpod_ctx_refuse(ctx, "no credential");
    }

    rc = ngx_http_gitpod_claims_get(r, ctx,
                       &ctx->cookies[NGX_HTTP_GITPOD_COOKIE_SESSION], &claims);

    if (rc == NGX_OK) {
        rc = ngx_http_gitpod_claims_use(r, ctx, claims, &audience, &none);

    } else {
        (void) ngx_http_gitpod_ctx_refuse(ctx, "token");
    }

    if (rc != NGX_OK) {
        return rc;
    }

    ctx->credential = NGX_HTTP_GITPOD_SESSION;
    ngx_str_set(&ctx->scopes, "*");

    return NGX_OK;
}


ngx_int_t
ngx_http_gitpod_token_workspace(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    ngx_int_t                  rc;
    ngx_http_gitpod_claims_t  *claims;

    rc = ngx_http_gitpod_claims_get(r, ctx,
                     &ctx->cookies[NGX_HTTP_GITPOD_COOKIE_WORKSPACE], &claims);

    if (rc == NGX_OK) {
        rc = ngx_http_gitpod_claims_use(r, ctx, claims, &ctx->host,
                                        &ctx->workspace_id);

    } else {
        (void) ngx_http_gitpod_ctx_refuse(ctx, "token");
    }

    if (rc == NGX_OK) {
        ctx->credential = NGX_HTTP_GITPOD_WORKSPACE;
    }

    return rc;
}


/* A personal access token: from the cache, or asked for, once at a time. */

ngx_int_t
ngx_http_gitpod_token_opaque(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    time_t                               age;
    ngx_int_t                            rc;
    ngx_gitpod_credential_t              cached;
    ngx_http_gitpod_request_loc_conf_t  *glcf;

    if (ctx->asked) {
        return ctx->answered ? ngx_http_gitpod_token_answer(r, ctx)
                             : NGX_AGAIN;
    }

    if (ctx->waiting) {
        return NGX_AGAIN;
    }

    if (ctx->token.len > GP_CREDENTIAL_MAX) {
        return ngx_http_gitpod_ctx_refuse(ctx, "token too long");
    }

    if (gp_sha256(ctx->token.data, ctx->token.len, ctx->digest) != 0) {
        return NGX_ERROR;
    }

    if (ngx_gitpod_credential_get(ctx->zone, ctx->digest, &cached) == NGX_OK) {

        age = ngx_time() - cached.fetched;

        if (age < (cached.kind == NGX_HTTP_GITPOD_TOKEN
                   ? NGX_HTTP_GITPOD_TOKEN_FRESH
                   : NGX_HTTP_GITPOD_TOKEN_REFUSED))
        {
            ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_CACHE_HIT);
            return ngx_http_gitpod_token_identity(r, ctx, &cached);
        }
    }

    ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_CACHE_MISS);

    rc = ngx_http_gitpod_token_wait(r, ctx);

    if (rc != NGX_OK) {
        return rc;
    }

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_request_module);

    if (glcf->introspect.len == 0) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "personal access tokens need \"gitpod_introspect\"");
        return NGX_ERROR;
    }

    rc = ngx_http_gitpod_token_ask(r, ctx, &glcf->introspect);

    if (rc == NGX_AGAIN) {
        ctx->leading = 1;
        ngx_queue_insert_tail(&ngx_http_gitpod_leaders, &ctx->queue);
    }

    return rc;
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
        rc = ngx_http_gitpod_token_read(r, ctx, &known);

    } else if (ctx->status == NGX_HTTP_UNAUTHORIZED
               || ctx->status == NGX_HTTP_FORBIDDEN)
    {
        ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_ASK_REFUSED);
        rc = NGX_OK;

    } else {
        rc = NGX_ERROR;
    }

    failed = (rc != NGX_OK);

    if (!failed) {
        ngx_gitpod_credential_put(ctx->zone, ctx->digest, &known);
        rc = ngx_http_gitpod_token_identity(r, ctx, &known);

    } else {
        ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_ASK_FAILED);
        rc = ngx_http_gitpod_token_stale(r, ctx);
    }

    ngx_http_gitpod_token_wake(ctx, failed);

    return rc;
}


static ngx_int_t
ngx_http_gitpod_token_read(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_gitpod_credential_t *known)
{
    ngx_str_t  *user, *id, *scopes;

    user = ngx_http_gitpod_token_header(ctx->subrequest, GP_AUTH_HEADER_USER);
    id = ngx_http_gitpod_token_header(ctx->subrequest,
                                      GP_AUTH_HEADER_TOKEN_ID);
    scopes = ngx_http_gitpod_token_header(ctx->subrequest,
                                          GP_AUTH_HEADER_SCOPES);

    if (user == NULL || user->len == 0 || user->len > NGX_GITPOD_ID_MAX
        || id == NULL || id->len == 0 || id->len > NGX_GITPOD_ID_MAX
        || scopes == NULL || scopes->len > NGX_GITPOD_SCOPES_MAX)
    {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
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

    ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_ASK_OK);

    return NGX_OK;
}


/* auth is away: what it said within the last hour still holds. */

static ngx_int_t
ngx_http_gitpod_token_stale(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx)
{
    ngx_gitpod_credential_t  known;

    if (ngx_gitpod_credential_get(ctx->zone, ctx->digest, &known) == NGX_OK
        && known.kind == NGX_HTTP_GITPOD_TOKEN
        && ngx_time() - known.fetched < NGX_HTTP_GITPOD_TOKEN_STALE)
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

    if (ctx->waiting) {
        ngx_queue_remove(&ctx->queue);
        ctx->waiting = 0;
    }

    if (ctx->wake.posted) {
        ngx_delete_posted_event(&ctx->wake);
    }
}


/* A question to the auth plugin, through an internal location. */

ngx_int_t
ngx_http_gitpod_token_ask(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_str_t *uri)
{
    ngx_http_request_t          *sr;
    ngx_http_post_subrequest_t  *ps;

    ps = ngx_palloc(r->pool, sizeof(ngx_http_post_subrequest_t));
    if (ps == NULL) {
        return NGX_ERROR;
    }

    ps->handler = ngx_http_gitpod_token_asked;
    ps->data = ctx;

    if (ngx_http_subrequest(r, uri, NULL, &sr, ps, NGX_HTTP_SUBREQUEST_WAITED)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* without one, upstream would take the client's body for its own */

    sr->request_body = ngx_pcalloc(r->pool, sizeof(ngx_http_request_body_t));
    if (sr->request_body == NULL) {
        return NGX_ERROR;
    }

    sr->header_only = 1;
    sr->method = NGX_HTTP_GET;
    ngx_str_set(&sr->method_name, "GET");

    ctx->subrequest = sr;
    ctx->asked = 1;
    ctx->asked_at = ngx_time() - 1;

    return NGX_AGAIN;
}


static ngx_int_t
ngx_http_gitpod_token_asked(ngx_http_request_t *r, void *data, ngx_int_t rc)
{
    ngx_http_gitpod_ctx_t  *ctx = data;

    ctx->answered = 1;
    ctx->status = r->headers_out.status;

    if (rc == NGX_ERROR || rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        ctx->status = (rc == NGX_ERROR) ? NGX_HTTP_BAD_GATEWAY : rc;

        /* no error_page for a question of ours */

        return NGX_OK;
    }

    return rc;
}


/* A header of the plugin's answer, or NULL. */

ngx_str_t *
ngx_http_gitpod_token_header(ngx_http_request_t *sr, char *name)
{
    size_t            len;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    len = ngx_strlen(name);
    part = &sr->headers_out.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return NULL;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len == len
            && ngx_strncasecmp(h[i].key.data, (u_char *) name, len) == 0)
        {
            return &h[i].value;
        }
    }
}

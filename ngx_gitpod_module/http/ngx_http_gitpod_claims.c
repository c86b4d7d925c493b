
/*
 * Tokens of ours that carry their claims (session, workspace).  They are
 * verified here, with keys held in this worker; a token that was verified is
 * remembered byte for byte, since a signature costs more than the rest of a
 * request.  Revocation, expiry, audience and right are looked at on each
 * request.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/contract.h"
#include "jose/digest.h"
#include "jose/jws.h"

#include "ngx_gitpod_zone.h"
#include "ngx_http_gitpod.h"
#include "ngx_http_gitpod_key_url.h"
#include "ngx_http_gitpod_request.h"


#define NGX_HTTP_GITPOD_CLAIMS_SETS   256     /* x 4 tokens, x 1.7 KB */
#define NGX_HTTP_GITPOD_CLAIMS_WAYS   4
#define NGX_HTTP_GITPOD_CLAIMS_TEXT   400     /* bytes of aud, sub, sid, ws */
#define NGX_HTTP_GITPOD_CLAIMS_TOKEN  1280    /* bytes; longer: not kept */
#define NGX_HTTP_GITPOD_CLAIMS_TAIL   32      /* bytes of signature hashed */


typedef struct {
    int64_t      iat;
    int64_t      exp;
    ngx_uint_t   keys;         /* generation of the key set; 0: empty */
    uint32_t     tag;          /* of the token: few need to be compared */
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
static ngx_int_t ngx_http_gitpod_claims_find(ngx_str_t *token, uint32_t tag,
    ngx_uint_t generation, ngx_http_gitpod_claims_t **slot);
static ngx_int_t ngx_http_gitpod_claims_key(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_str_t *token,
    ngx_http_gitpod_claims_t *slot);
static ngx_int_t ngx_http_gitpod_claims_verify(ngx_http_request_t *r,
    gp_jose_keys_t *keys, ngx_str_t *token, ngx_http_gitpod_claims_t *slot);
static ngx_int_t ngx_http_gitpod_claims_keep(ngx_http_gitpod_claims_t *slot,
    gp_jose_claims_t *claims);
static ngx_int_t ngx_http_gitpod_claims_use(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_http_gitpod_claims_t *claims,
    ngx_str_t *audience, ngx_str_t *workspace);


/* of this worker */

static ngx_http_gitpod_claims_t  *ngx_http_gitpod_claims;


/*
 * NGX_OK: *claims are what a good signature of ours covers; NGX_DECLINED: not
 * a token of ours; NGX_AGAIN: the request waits for its key; NGX_ERROR: cannot
 * tell; NGX_BUSY: a signature costs more than who sends so many bad ones may
 * spend.
 */

static ngx_int_t
ngx_http_gitpod_claims_get(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_str_t *token, ngx_http_gitpod_claims_t **claims)
{
    uint32_t    tag;
    ngx_int_t   rc;
    ngx_uint_t  generation, known;

    if (token->len == 0 || token->len > GP_CREDENTIAL_MAX) {
        return NGX_DECLINED;
    }

    /* before the keys: what an old set verified never counts for a new one */

    generation = ngx_gitpod_keys_generation(ctx->zone);

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

    tag = (token->len < NGX_HTTP_GITPOD_CLAIMS_TAIL)
          ? 0
          : ngx_murmur_hash2(token->data + token->len
                             - NGX_HTTP_GITPOD_CLAIMS_TAIL,
                             NGX_HTTP_GITPOD_CLAIMS_TAIL);

    if (ngx_http_gitpod_claims_find(token, tag, generation, claims)
        == NGX_OK)
    {
        ngx_http_gitpod_key_found(ctx);
        return NGX_OK;
    }

    known = ngx_http_gitpod_limit_known(ctx, token);

    if (!known
        && ngx_http_gitpod_limit_spend(r, ctx, NGX_HTTP_GITPOD_COUNT_FAILURES)
           != NGX_OK)
    {
        return NGX_BUSY;
    }

    rc = ngx_http_gitpod_claims_key(r, ctx, token, *claims);

    if (!known && rc != NGX_DECLINED) {
        ngx_http_gitpod_limit_return(r, ctx, NGX_HTTP_GITPOD_COUNT_FAILURES);
    }

    if (rc == NGX_OK) {
        ngx_http_gitpod_key_found(ctx);

        if (!known) {
            ngx_http_gitpod_limit_know(ctx, token, 1);
        }
    }

    if (rc == NGX_OK && token->len <= NGX_HTTP_GITPOD_CLAIMS_TOKEN) {
        ngx_memcpy((*claims)->token, token->data, token->len);
        (*claims)->token_len = (uint16_t) token->len;
        (*claims)->tag = tag;
        (*claims)->keys = generation;
    }

    return rc;
}


/* NGX_OK: *slot has it; NGX_DECLINED: *slot is the place for it. */

static ngx_int_t
ngx_http_gitpod_claims_find(ngx_str_t *token, uint32_t tag,
    ngx_uint_t generation, ngx_http_gitpod_claims_t **slot)
{
    ngx_uint_t                 i;
    ngx_http_gitpod_claims_t  *way;

    way = &ngx_http_gitpod_claims[(tag % NGX_HTTP_GITPOD_CLAIMS_SETS)
                                  * NGX_HTTP_GITPOD_CLAIMS_WAYS];
    *slot = way;

    for (i = 0; i < NGX_HTTP_GITPOD_CLAIMS_WAYS; i++) {

        if (way[i].tag == tag
            && way[i].keys == generation
            && way[i].token_len == token->len
            && gp_equal_constant_time(way[i].token, token->data, token->len))
        {
            *slot = &way[i];
            return NGX_OK;
        }

        /* the next to go: what no key covers any more, then what ends first */

        if ((*slot)->keys == generation
            && (way[i].keys != generation || way[i].exp < (*slot)->exp))
        {
            *slot = &way[i];
        }
    }

    return NGX_DECLINED;
}


/* By the key that it names, of whichever set. */

static ngx_int_t
ngx_http_gitpod_claims_key(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_str_t *token, ngx_http_gitpod_claims_t *slot)
{
    char             name[GP_JOSE_KID_MAX + 1];
    ngx_int_t        rc;
    ngx_str_t        kid;
    gp_jose_keys_t  *fed, *fetched;

    fed = ngx_gitpod_keys(ctx->zone, NGX_GITPOD_KEYS_FED, r->connection->log);
    fetched = ngx_http_gitpod_key_url_keys(r, ctx->zone);

    if (fed) {
        rc = ngx_http_gitpod_claims_verify(r, fed, token, slot);

        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    if (!gp_jose_kid((char *) token->data, token->len, name)) {
        return (fed || fetched) ? NGX_DECLINED : NGX_ERROR;
    }

    if (gp_jose_keys_has(fed, name)) {
        return NGX_DECLINED;
    }

    if (gp_jose_keys_has(fetched, name)) {
        return ngx_http_gitpod_claims_verify(r, fetched, token, slot);
    }

    kid.data = (u_char *) name;
    kid.len = ngx_strlen(name);

    rc = ngx_http_gitpod_key_wait(r, ctx, &kid);

    return (rc == NGX_DECLINED && fed == NULL && fetched == NULL) ? NGX_ERROR
                                                                  : rc;
}


static ngx_int_t
ngx_http_gitpod_claims_verify(ngx_http_request_t *r, gp_jose_keys_t *keys,
    ngx_str_t *token, ngx_http_gitpod_claims_t *slot)
{
    time_t                               now;
    ngx_int_t                            rc;
    gp_span_t                            issuer;
    gp_jose_claims_t                     found;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    /* which of them is the key's, never the token's to say */

    rc = gp_jose_verify(keys, GP_JOSE_ES256|GP_JOSE_RS256,
                        (char *) token->data, token->len, &found);

    if (rc != 0) {
        return rc == GP_JOSE_NO ? NGX_DECLINED : NGX_ERROR;
    }

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);

    issuer.ptr = (char *) gscf->issuer.data;
    issuer.len = gscf->issuer.len;

    rc = NGX_DECLINED;

    /* one that has expired is kept too: it comes again and again */

    now = ngx_min(ngx_time(), (time_t) found.exp_epoch_s);

    if (gp_jose_claims_check(&found, &issuer, NULL, now) == 0) {
        rc = ngx_http_gitpod_claims_keep(slot, &found);
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
    ctx->expires = (time_t) claims->exp;

    ctx->user.data = p;
    ctx->user.len = user.len;
    p = ngx_cpymem(p, user.data, user.len);

    ctx->credential_id.data = p;
    ctx->credential_id.len = sid.len;
    ngx_memcpy(p, sid.data, sid.len);

    return NGX_OK;
}


ngx_int_t
ngx_http_gitpod_claims_session(ngx_http_request_t *r,
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

    } else if (rc != NGX_BUSY && rc != NGX_AGAIN) {
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
ngx_http_gitpod_claims_workspace(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    ngx_int_t                  rc;
    ngx_http_gitpod_claims_t  *claims;

    rc = ngx_http_gitpod_claims_get(r, ctx,
                     &ctx->cookies[NGX_HTTP_GITPOD_COOKIE_WORKSPACE], &claims);

    if (rc == NGX_OK) {
        rc = ngx_http_gitpod_claims_use(r, ctx, claims, &ctx->host,
                                        &ctx->workspace_id);

    } else if (rc != NGX_BUSY && rc != NGX_AGAIN) {
        (void) ngx_http_gitpod_ctx_refuse(ctx, "token");
    }

    if (rc == NGX_OK) {
        ctx->credential = NGX_HTTP_GITPOD_WORKSPACE;
    }

    return rc;
}


ngx_int_t
ngx_http_gitpod_claims_untold(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    if (!ngx_gitpod_revocations_synced(ctx->zone)) {
        return ngx_http_gitpod_reply_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                   "Sessions cannot be checked at the moment: the gateway has "
                   "not read the revocations from Redis yet. Try again");
    }

    return ngx_http_gitpod_reply_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
               "This session cannot be checked at the moment: the gateway "
               "does not have its key, and Redis or the key set's URL does "
               "not answer. Try again");
}


/*
 * Requests for a workspace without a credential, or with none for here.
 * Whether there is such a workspace makes no difference.
 *
 * A preflight (Fetch standard, 4.8) never has one, since browsers send none of
 * theirs with it, so a private port's application does not get to see it.
 * With gitpod_preflight pages of the same workspace are allowed here what the
 * application decides about the request itself, which has to bring its
 * credential.  In mode port all listeners answer alike, since nobody is to be
 * told what they are.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/contract.h"
#include "core/field.h"

#include "ngx_http_gitpod_request.h"


#define NGX_HTTP_GITPOD_PREFLIGHT_METHOD   32      /* bytes */
#define NGX_HTTP_GITPOD_PREFLIGHT_HEADERS  1024    /* bytes */
#define NGX_HTTP_GITPOD_PREFLIGHT_AGE      60      /* s */


typedef struct {
    ngx_str_t    method;
    ngx_str_t    headers;      /* empty: none were asked for */
    ngx_uint_t   repeated;
} ngx_http_gitpod_preflight_t;


static ngx_uint_t ngx_http_gitpod_preflight_read(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_http_gitpod_preflight_t *pf);
static void ngx_http_gitpod_preflight_header(ngx_http_gitpod_preflight_t *pf,
    ngx_table_elt_t *h);
static ngx_int_t ngx_http_gitpod_preflight(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static ngx_int_t ngx_http_gitpod_preflight_allow(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_http_gitpod_preflight_t *pf);


/*
 * When an address asked for too many workspaces that there are not, the answer
 * must not depend on whether there is this one, else the 429 would tell.
 */

ngx_int_t
ngx_http_gitpod_stranger(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_uint_t missing)
{
    ngx_int_t  rc;

    rc = missing
         ? ngx_http_gitpod_limit_spend(r, ctx, NGX_HTTP_GITPOD_COUNT_UNKNOWN)
         : ngx_http_gitpod_limit_look(r, ctx, NGX_HTTP_GITPOD_COUNT_UNKNOWN);

    /* people are sent to log in, there or not, and learn it then */

    if (ctx->page && ctx->owner_token.data == NULL) {
        ctx->limit = NULL;
        return ngx_http_gitpod_handoff_start(r, ctx);
    }

    if (rc != NGX_OK) {
        return ngx_http_gitpod_limit_refuse(r, ctx);
    }

    rc = ngx_http_gitpod_preflight(r, ctx);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ctx->reason.len == 0) {
        ngx_http_gitpod_ctx_refuse(ctx, "no credential");
    }

    if (ngx_http_gitpod_reply_challenge(r, "Gitpod") != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_gitpod_reply_error(r, NGX_HTTP_UNAUTHORIZED,
               "Open this address in a browser to log in, or send "
               GP_HEADER_OWNER_TOKEN);
}


/* NGX_DECLINED: it is none, or none is answered here. */

static ngx_int_t
ngx_http_gitpod_preflight(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx)
{
    ngx_http_gitpod_preflight_t          pf;
    ngx_http_gitpod_request_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_request_module);

    if (!glcf->preflight || !ngx_http_gitpod_preflight_read(r, ctx, &pf)) {
        return NGX_DECLINED;
    }

    ngx_http_gitpod_ctx_refuse(ctx, "preflight");

    if (!ngx_http_gitpod_origin_may_ask(r, ctx)) {
        ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_ORIGIN_REFUSED);

        return ngx_http_gitpod_reply_error(r, NGX_HTTP_FORBIDDEN,
                   "Only pages of its own workspace may call a private port");
    }

    return ngx_http_gitpod_preflight_allow(r, ctx, &pf);
}


/* What is repeated to the client must be what the standard lets it be. */

static ngx_uint_t
ngx_http_gitpod_preflight_read(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_http_gitpod_preflight_t *pf)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    if (r->method != NGX_HTTP_OPTIONS
        || (ctx->port == 0 && ctx->listener == 0)
        || ctx->origin.len == 0 || ctx->owner_token.data
        || ctx->cookies[NGX_HTTP_GITPOD_COOKIE_WORKSPACE].data)
    {
        return 0;
    }

    ngx_memzero(pf, sizeof(ngx_http_gitpod_preflight_t));

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            ngx_http_gitpod_preflight_header(pf, &h[i]);
        }
    }

    return !pf->repeated
           && gp_field_tokens((char *) pf->method.data, pf->method.len,
                              NGX_HTTP_GITPOD_PREFLIGHT_METHOD, false)
           && (pf->headers.data == NULL
               || gp_field_tokens((char *) pf->headers.data, pf->headers.len,
                                  NGX_HTTP_GITPOD_PREFLIGHT_HEADERS, true));
}


static void
ngx_http_gitpod_preflight_header(ngx_http_gitpod_preflight_t *pf,
    ngx_table_elt_t *h)
{
    ngx_str_t               *value;

    static const ngx_str_t   method =
        ngx_string("access-control-request-method");
    static const ngx_str_t   headers =
        ngx_string("access-control-request-headers");

    if (h->hash == 0) {
        return;
    }

    if (h->key.len == method.len
        && ngx_memcmp(h->lowcase_key, method.data, method.len) == 0)
    {
        value = &pf->method;

    } else if (h->key.len == headers.len
               && ngx_memcmp(h->lowcase_key, headers.data, headers.len) == 0)
    {
        value = &pf->headers;

    } else {
        return;
    }

    pf->repeated |= (value->data != NULL);
    *value = h->value;
}


static ngx_int_t
ngx_http_gitpod_preflight_allow(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_http_gitpod_preflight_t *pf)
{
    if (ngx_http_gitpod_reply_header(r, "Access-Control-Allow-Origin", "%V",
                                     &ctx->origin)
        != NGX_OK
        || ngx_http_gitpod_reply_header(r, "Access-Control-Allow-Credentials",
                                        "true")
           != NGX_OK
        || ngx_http_gitpod_reply_header(r, "Access-Control-Allow-Methods",
                                        "%V", &pf->method)
           != NGX_OK
        || (pf->headers.data
            && ngx_http_gitpod_reply_header(r, "Access-Control-Allow-Headers",
                                            "%V", &pf->headers)
               != NGX_OK)
        || ngx_http_gitpod_reply_header(r, "Access-Control-Max-Age", "%d",
                                        NGX_HTTP_GITPOD_PREFLIGHT_AGE)
           != NGX_OK
        || ngx_http_gitpod_reply_header(r, "Vary", "Origin, "
                                        "Access-Control-Request-Method, "
                                        "Access-Control-Request-Headers")
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_REQUEST_OK);

    return ngx_http_gitpod_reply_empty(r, NGX_HTTP_NO_CONTENT);
}

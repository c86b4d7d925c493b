
/*
 * The owner's token of an instance: x-gitpod-owner-token, or the cookie that
 * Gitpod's clients have, "_<D>_ws_<instance>_owner_", D with its dots and
 * hyphens as "_".  A cookie is sent by the browser whoever asked, so it has
 * the rights of a cookie: the Origin rule holds, and it starts no workspace.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "jose/digest.h"

#include "ngx_http_gitpod_request.h"


#define NGX_HTTP_GITPOD_OWNER_COOKIES_MAX  64   /* of one request */

#define NGX_HTTP_GITPOD_OWNER_BEFORE_LEN                                      \
    (sizeof(GP_COOKIE_OWNER_BEFORE) - 1)
#define NGX_HTTP_GITPOD_OWNER_BEHIND_LEN                                      \
    (sizeof(GP_COOKIE_OWNER_BEHIND) - 1)


typedef struct {
    ngx_str_t   instance;
    ngx_str_t   value;
    unsigned    twice:1;            /* with different values */
} ngx_http_gitpod_owner_cookie_t;


static ngx_int_t ngx_http_gitpod_owner_judge(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route, ngx_str_t *token);
static ngx_uint_t ngx_http_gitpod_owner_instance(ngx_str_t *prefix,
    ngx_str_t *name, ngx_str_t *instance);
static ngx_http_gitpod_owner_cookie_t *ngx_http_gitpod_owner_find(
    ngx_http_gitpod_ctx_t *ctx, u_char *instance, size_t len);


ngx_int_t
ngx_http_gitpod_owner_names(ngx_conf_t *cf,
    ngx_http_gitpod_request_srv_conf_t *conf)
{
    u_char  *p, *last;

    conf->cookie_prefix.len = conf->domain.len + 2;
    conf->cookie_prefix.data = ngx_pnalloc(cf->pool, conf->cookie_prefix.len);
    if (conf->cookie_prefix.data == NULL) {
        return NGX_ERROR;
    }

    last = ngx_sprintf(conf->cookie_prefix.data, "_%V_", &conf->domain);

    for (p = conf->cookie_prefix.data; p < last; p++) {
        if (*p == '.' || *p == '-') {
            *p = '_';
        }
    }

    return NGX_OK;
}


/* Keeps what is a cookie of that form: whose it is the route will tell. */

ngx_int_t
ngx_http_gitpod_owner_take(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_str_t *name, ngx_str_t *value)
{
    ngx_str_t                            instance;
    ngx_http_gitpod_owner_cookie_t      *cookie;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);

    if (!ngx_http_gitpod_owner_instance(&gscf->cookie_prefix, name,
                                        &instance))
    {
        return NGX_OK;
    }

    if (ctx->owner_cookies == NULL) {
        ctx->owner_cookies = ngx_array_create(r->pool, 4,
                                     sizeof(ngx_http_gitpod_owner_cookie_t));
        if (ctx->owner_cookies == NULL) {
            return NGX_ERROR;
        }
    }

    cookie = ngx_http_gitpod_owner_find(ctx, instance.data, instance.len);

    if (cookie) {
        cookie->twice |= (cookie->value.len != value->len
                          || ngx_memcmp(cookie->value.data, value->data,
                                        value->len)
                             != 0);
        return NGX_OK;
    }

    if (ctx->owner_cookies->nelts == NGX_HTTP_GITPOD_OWNER_COOKIES_MAX) {
        return NGX_OK;
    }

    cookie = ngx_array_push(ctx->owner_cookies);
    if (cookie == NULL) {
        return NGX_ERROR;
    }

    cookie->instance = instance;
    cookie->value = *value;
    cookie->twice = 0;

    return NGX_OK;
}


static ngx_uint_t
ngx_http_gitpod_owner_instance(ngx_str_t *prefix, ngx_str_t *name,
    ngx_str_t *instance)
{
    if (name->len != prefix->len + NGX_HTTP_GITPOD_OWNER_BEFORE_LEN
                     + GP_INSTANCE_ID_LEN + NGX_HTTP_GITPOD_OWNER_BEHIND_LEN)
    {
        return 0;
    }

    instance->data = name->data + prefix->len
                     + NGX_HTTP_GITPOD_OWNER_BEFORE_LEN;
    instance->len = GP_INSTANCE_ID_LEN;

    return ngx_memcmp(name->data, prefix->data, prefix->len) == 0
           && ngx_memcmp(name->data + prefix->len,
                         GP_COOKIE_OWNER_BEFORE,
                         NGX_HTTP_GITPOD_OWNER_BEFORE_LEN)
              == 0
           && ngx_memcmp(instance->data + instance->len,
                         GP_COOKIE_OWNER_BEHIND,
                         NGX_HTTP_GITPOD_OWNER_BEHIND_LEN)
              == 0;
}


static ngx_http_gitpod_owner_cookie_t *
ngx_http_gitpod_owner_find(ngx_http_gitpod_ctx_t *ctx, u_char *instance,
    size_t len)
{
    ngx_uint_t                       i;
    ngx_http_gitpod_owner_cookie_t  *cookies;

    if (ctx->owner_cookies == NULL) {
        return NULL;
    }

    cookies = ctx->owner_cookies->elts;

    for (i = 0; i < ctx->owner_cookies->nelts; i++) {

        if (cookies[i].instance.len == len
            && ngx_memcmp(cookies[i].instance.data, instance, len) == 0)
        {
            return &cookies[i];
        }
    }

    return NULL;
}


/* Is it the token of this instance?  Takes the same time for any other. */

ngx_uint_t
ngx_http_gitpod_owner_good(ngx_gitpod_route_t *route, ngx_str_t *token)
{
    uint8_t  digest[GP_SHA256_LEN];

    return route->owner_token
           && gp_sha256(token->data, token->len, digest) == 0
           && gp_equal_constant_time(digest, route->digest, GP_SHA256_LEN);
}


ngx_int_t
ngx_http_gitpod_owner_token(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_gitpod_route_t *route)
{
    ngx_int_t  rc;

    rc = ngx_http_gitpod_owner_judge(r, ctx, route, &ctx->owner_token);

    ngx_gitpod_count(ctx->zone, rc == NGX_OK
                                ? NGX_GITPOD_N_OWNER_TOKEN_OK
                                : NGX_GITPOD_N_OWNER_TOKEN_REFUSED);

    if (rc == NGX_OK) {
        ctx->credential = NGX_HTTP_GITPOD_OWNER_TOKEN;
    }

    return rc;
}


ngx_int_t
ngx_http_gitpod_owner_cookie(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_gitpod_route_t *route)
{
    ngx_int_t                        rc;
    ngx_http_gitpod_owner_cookie_t  *cookie;

    cookie = ngx_http_gitpod_owner_find(ctx, route->instance,
                                        route->instance_len);

    if (cookie == NULL) {
        return NGX_DECLINED;
    }

    if (cookie->twice) {

        /* somebody tossed one of them: neither counts */

        rc = ngx_http_gitpod_ctx_refuse(ctx, "duplicate cookie");

    } else {
        rc = ngx_http_gitpod_owner_judge(r, ctx, route, &cookie->value);
    }

    ngx_gitpod_count(ctx->zone, rc == NGX_OK
                                ? NGX_GITPOD_N_OWNER_COOKIE_OK
                                : NGX_GITPOD_N_OWNER_COOKIE_REFUSED);

    if (rc == NGX_OK) {
        ctx->owner_cookie = cookie->value;
        ctx->credential = NGX_HTTP_GITPOD_OWNER_COOKIE;
    }

    return rc;
}


static ngx_int_t
ngx_http_gitpod_owner_judge(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_gitpod_route_t *route, ngx_str_t *token)
{
    ngx_int_t  rc;

    if (ngx_http_gitpod_owner_good(route, token)) {
        return NGX_OK;
    }

    ngx_http_gitpod_ctx_refuse(ctx, "owner token");

    rc = ngx_http_gitpod_limit_spend(r, ctx, NGX_HTTP_GITPOD_COUNT_FAILURES);

    return (rc == NGX_OK) ? NGX_DECLINED : NGX_BUSY;
}

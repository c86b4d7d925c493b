
/*
 * Cookies.  Ours are taken out of what goes to plugins and workspaces; two of
 * one name mean that somebody tossed one at us, so neither counts.  Workspaces
 * run their users' programs: what they set under our names, or for a parent
 * domain, does not reach the browser.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/cookie.h"

#include "ngx_http_gitpod_request.h"


#define NGX_HTTP_GITPOD_COOKIE_PREFIX_LEN                                     \
    (sizeof(GP_COOKIE_HOST_PREFIX) - 1)


static ngx_uint_t ngx_http_gitpod_cookie_ours(
    ngx_http_gitpod_request_srv_conf_t *gscf, u_char *name, size_t len);
static ngx_uint_t ngx_http_gitpod_cookie_is(
    ngx_http_gitpod_request_srv_conf_t *gscf, ngx_http_gitpod_ctx_t *ctx,
    ngx_uint_t cookie, u_char *name, size_t len);
static u_char *ngx_http_gitpod_cookie_pass(
    ngx_http_gitpod_request_srv_conf_t *gscf, ngx_http_gitpod_ctx_t *ctx,
    u_char *pair, size_t len, u_char *out);
static ngx_uint_t ngx_http_gitpod_cookie_keep(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_str_t *value);
static void ngx_http_gitpod_cookie_issued(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_str_t *value);
static ngx_int_t ngx_http_gitpod_cookie_name(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_str_t *value);
static ngx_int_t ngx_http_gitpod_cookie_header(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_table_elt_t *h);
static ngx_uint_t ngx_http_gitpod_cookie_named(ngx_table_elt_t *h,
    char *name);
static ngx_int_t ngx_http_gitpod_cookie_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_cookie_filter_init(ngx_conf_t *cf);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;


static ngx_http_module_t  ngx_http_gitpod_cookie_filter_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_gitpod_cookie_filter_init,    /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_gitpod_cookie_filter_module = {
    NGX_MODULE_V1,
    &ngx_http_gitpod_cookie_filter_module_ctx, /* module context */
    NULL,                                  /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/*
 * With or without __Host-: neither form is anybody else's.  All that Gitpod
 * names for the domain is credentials.
 */

static ngx_uint_t
ngx_http_gitpod_cookie_ours(ngx_http_gitpod_request_srv_conf_t *gscf,
    u_char *name, size_t len)
{
    ngx_str_t  *prefix;

    if (gp_cookie_ours((char *) name, len)) {
        return 1;
    }

    if (len > NGX_HTTP_GITPOD_COOKIE_PREFIX_LEN
        && ngx_strncasecmp(name, (u_char *) GP_COOKIE_HOST_PREFIX,
                           NGX_HTTP_GITPOD_COOKIE_PREFIX_LEN)
           == 0)
    {
        name += NGX_HTTP_GITPOD_COOKIE_PREFIX_LEN;
        len -= NGX_HTTP_GITPOD_COOKIE_PREFIX_LEN;
    }

    prefix = &gscf->cookie_prefix;

    return len >= prefix->len
           && ngx_strncasecmp(name, prefix->data, prefix->len) == 0;
}


/* Is it the cookie of that kind, for the listener of this request? */

static ngx_uint_t
ngx_http_gitpod_cookie_is(ngx_http_gitpod_request_srv_conf_t *gscf,
    ngx_http_gitpod_ctx_t *ctx, ngx_uint_t cookie, u_char *name, size_t len)
{
    ngx_str_t  *base, *suffix;

    base = &gscf->cookies[cookie];
    suffix = &ctx->suffix;

    return len == base->len + suffix->len
           && ngx_memcmp(name, base->data, base->len) == 0
           && ngx_memcmp(name + base->len, suffix->data, suffix->len) == 0;
}


/* Of somebody else: the application's, as it set it, and where it ends. */

static u_char *
ngx_http_gitpod_cookie_pass(ngx_http_gitpod_request_srv_conf_t *gscf,
    ngx_http_gitpod_ctx_t *ctx, u_char *pair, size_t len, u_char *out)
{
    u_char  *eq;

    if (ctx->listener == 0) {
        return ngx_cpymem(out, pair, len);
    }

    len = gp_cookie_in((char *) pair, len, (char *) ctx->workspace_id.data,
                       ctx->workspace_id.len, (char *) out);

    eq = ngx_strlchr(out, out + len, '=');

    if (eq == NULL || ngx_http_gitpod_cookie_ours(gscf, out, eq - out)) {
        return out;
    }

    return out + len;
}


/*
 * Splits one Cookie line: ours go to the context, the rest stays in place.  In
 * mode port that is what this workspace has set; those of others, and what
 * scripts wrote under whatever name, are nobody's.  NGX_DECLINED: nothing is
 * left.
 */

ngx_int_t
ngx_http_gitpod_cookie_take(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_str_t *header)
{
    u_char                              *p, *last, *end, *eq, *out, *name;
    u_char                              *begin;
    size_t                               len;
    ngx_str_t                            kept, *cookie, named, value;
    ngx_uint_t                           i;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    last = header->data + header->len;

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);

    if (ctx->listener == 0
        && ngx_strlcasestrn(header->data, last, (u_char *) "gp_", 3 - 1)
           == NULL
        && ngx_strlcasestrn(header->data, last, gscf->cookie_prefix.data,
                            gscf->cookie_prefix.len - 1)
           == NULL)
    {
        return NGX_OK;
    }

    /* ";" becomes "; " */

    kept.data = ngx_pnalloc(r->pool, 2 * header->len);
    if (kept.data == NULL) {
        return NGX_ERROR;
    }

    out = kept.data;

    for (p = header->data; p < last; p = end + 1) {

        end = ngx_strlchr(p, last, ';');
        if (end == NULL) {
            end = last;
        }

        while (p < end && (*p == ' ' || *p == '\t')) { p++; }

        eq = ngx_strlchr(p, end, '=');
        name = p;
        len = (eq ? eq : end) - p;

        while (len && (name[len - 1] == ' ' || name[len - 1] == '\t')) {
            len--;
        }

        if (!ngx_http_gitpod_cookie_ours(gscf, name, len)) {

            begin = out;

            if (out != kept.data) {
                *out++ = ';';
                *out++ = ' ';
            }

            name = out;
            out = ngx_http_gitpod_cookie_pass(gscf, ctx, p, end - p, out);

            if (out == name) {
                out = begin;
            }

            continue;
        }

        if (eq == NULL) {
            continue;
        }

        named.data = name;
        named.len = len;

        value.data = eq + 1;
        value.len = end - value.data;

        while (value.len && value.data[value.len - 1] == ' ') { value.len--; }

        for (i = 0; i < NGX_HTTP_GITPOD_COOKIES_N; i++) {

            if (!ngx_http_gitpod_cookie_is(gscf, ctx, i, name, len)) {
                continue;
            }

            cookie = &ctx->cookies[i];

            if (cookie->data) {
                ctx->duplicate = 1;
            }

            *cookie = value;
        }

        if (ngx_http_gitpod_owner_take(r, ctx, &named, &value) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    kept.len = out - kept.data;
    *header = kept;

    return kept.len ? NGX_OK : NGX_DECLINED;
}


ngx_int_t
ngx_http_gitpod_cookie_set(ngx_http_request_t *r, ngx_uint_t cookie,
    ngx_str_t *value, char *path, time_t age)
{
    ngx_http_gitpod_ctx_t               *ctx;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);

    ctx = ngx_http_gitpod_ctx_get(r);

    return ngx_http_gitpod_reply_header(r, "Set-Cookie",
               "%V%V=%V; Path=%s; Max-Age=%T; HttpOnly; SameSite=Lax%s",
               &gscf->cookies[cookie], &ctx->suffix, value, path, age,
               gscf->tls ? "; Secure" : "");
}


/*
 * Expires our cookies of this host, and those that somebody set for the host
 * and what is below it.
 */

ngx_int_t
ngx_http_gitpod_cookie_expire_all(ngx_http_request_t *r)
{
    ngx_uint_t                           i, d;
    ngx_str_t                           *names, *domains[2];
    ngx_http_gitpod_ctx_t               *ctx;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    static ngx_str_t                     empty = ngx_null_string;

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);
    names = gscf->cookies;
    ctx = ngx_http_gitpod_ctx_get(r);

    domains[0] = &r->headers_in.server;
    domains[1] = &gscf->workspace_domain;

    for (i = 0; i < NGX_HTTP_GITPOD_COOKIES_N; i++) {

        if (i == NGX_HTTP_GITPOD_COOKIE_ORIGIN && ctx->listener == 0) {
            continue;
        }

        if (ngx_http_gitpod_cookie_set(r, i, &empty,
                i == NGX_HTTP_GITPOD_COOKIE_NONCE ? "/_gitpod" : "/", 0)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        for (d = 0; d < 2; d++) {

            if (d == 1 && domains[0]->len <= domains[1]->len) {
                break;
            }

            if (ngx_http_gitpod_reply_header(r, "Set-Cookie",
                    "%V%V=; Path=/; Domain=%V; Max-Age=0", &names[i],
                    &ctx->suffix, domains[d])
                != NGX_OK)
            {
                return NGX_ERROR;
            }
        }
    }

    return NGX_OK;
}


/*
 * Set-Cookie of a workspace in mode port: all workspaces share one host, so
 * the name tells whose it is.  NGX_DECLINED: the browser must not see it.
 */

static ngx_int_t
ngx_http_gitpod_cookie_name(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_str_t *value)
{
    u_char                              *p, *eq;
    size_t                               len;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);

    for (p = value->data; *p == ' ' || *p == '\t'; p++) { /* void */ }

    eq = ngx_strlchr(p, value->data + value->len, '=');

    if (eq && ngx_http_gitpod_cookie_ours(gscf, p, eq - p)) {
        return NGX_DECLINED;
    }

    p = ngx_pnalloc(r->pool, value->len + GP_COOKIE_GROWTH);
    if (p == NULL) {
        return NGX_ERROR;
    }

    len = gp_cookie_out((char *) value->data, value->len,
                        (char *) ctx->workspace_id.data, ctx->workspace_id.len,
                        (char *) p);

    value->data = p;
    value->len = len;

    return len ? NGX_OK : NGX_DECLINED;
}


/* Set-Cookie of a workspace: may the browser see it? */

static ngx_uint_t
ngx_http_gitpod_cookie_keep(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_str_t *value)
{
    u_char                              *p, *last, *end, *eq;
    size_t                               len;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);

    p = value->data;
    last = p + value->len;

    end = ngx_strlchr(p, last, ';');
    if (end == NULL) {
        end = last;
    }

    while (p < end && (*p == ' ' || *p == '\t')) { p++; }

    eq = ngx_strlchr(p, end, '=');
    len = (eq ? eq : end) - p;

    while (len && (p[len - 1] == ' ' || p[len - 1] == '\t')) { len--; }

    if (ngx_http_gitpod_cookie_ours(gscf, p, len)) {
        return 0;
    }

    /* a nameless cookie "=gp_session=x" is sent back as "gp_session=x" */

    if (len == 0) {
        return 0;
    }

    while (end < last) {

        p = end + 1;
        end = ngx_strlchr(p, last, ';');
        if (end == NULL) {
            end = last;
        }

        while (p < end && (*p == ' ' || *p == '\t')) { p++; }

        if (end - p < 6 || ngx_strncasecmp(p, (u_char *) "domain", 6) != 0) {
            continue;
        }

        for (p += 6; p < end && (*p == ' ' || *p == '\t'); p++) { /* void */ }

        if (p == end || *p != '=') {
            continue;
        }

        for (p++; p < end && (*p == ' ' || *p == '\t' || *p == '.'); p++) {
            /* void */
        }

        for (len = end - p;
             len && (p[len - 1] == ' ' || p[len - 1] == '\t');
             len--)
        {
            /* void */
        }

        if (len && (len != ctx->host.len
                    || ngx_strncasecmp(p, ctx->host.data, len) != 0))
        {
            return 0;
        }
    }

    return 1;
}


/* A session that the auth plugin issues is known before it comes back. */

static void
ngx_http_gitpod_cookie_issued(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_str_t *value)
{
    u_char                              *end;
    ngx_str_t                           *name, token;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);
    name = &gscf->cookies[NGX_HTTP_GITPOD_COOKIE_SESSION];

    if (value->len <= name->len
        || ngx_memcmp(value->data, name->data, name->len) != 0
        || value->data[name->len] != '=')
    {
        return;
    }

    token.data = value->data + name->len + 1;
    end = ngx_strlchr(token.data, value->data + value->len, ';');
    token.len = (end ? end : value->data + value->len) - token.data;

    if (token.len) {
        ngx_http_gitpod_limit_know(ctx, &token, 1);
    }
}


static ngx_int_t
ngx_http_gitpod_cookie_header(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_table_elt_t *h)
{
    if (!ngx_http_gitpod_cookie_named(h, "Set-Cookie")) {

        /* in mode port the host, and what is stored for it, is not theirs */

        if (ctx->listener && ctx->socklen
            && (ngx_http_gitpod_cookie_named(h, "Clear-Site-Data")
                || ngx_http_gitpod_cookie_named(h, "Service-Worker-Allowed")))
        {
            h->hash = 0;
        }

        return NGX_OK;
    }

    if (ctx->socklen == 0) {
        ngx_http_gitpod_cookie_issued(r, ctx, &h->value);
        return NGX_OK;
    }

    if (ctx->listener) {
        switch (ngx_http_gitpod_cookie_name(r, ctx, &h->value)) {

        case NGX_OK:
            return NGX_OK;

        case NGX_DECLINED:
            h->hash = 0;
            return NGX_OK;

        default:
            return NGX_ERROR;
        }
    }

    if (!ngx_http_gitpod_cookie_keep(r, ctx, &h->value)) {
        h->hash = 0;
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_gitpod_cookie_named(ngx_table_elt_t *h, char *name)
{
    size_t  len;

    len = ngx_strlen(name);

    return h->key.len == len
           && ngx_strncasecmp(h->key.data, (u_char *) name, len) == 0;
}


static ngx_int_t
ngx_http_gitpod_cookie_header_filter(ngx_http_request_t *r)
{
    ngx_uint_t              i;
    ngx_list_part_t        *part;
    ngx_table_elt_t        *h;
    ngx_http_gitpod_ctx_t  *ctx;

    if (r->upstream == NULL) {
        return ngx_http_next_header_filter(r);
    }

    ctx = ngx_http_gitpod_ctx_get(r);

    if (ctx == NULL) {
        return ngx_http_next_header_filter(r);
    }

    part = &r->headers_out.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].hash
            && ngx_http_gitpod_cookie_header(r, ctx, &h[i]) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_gitpod_cookie_filter_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_gitpod_cookie_header_filter;

    return NGX_OK;
}

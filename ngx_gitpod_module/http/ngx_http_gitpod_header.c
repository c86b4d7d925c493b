
/*
 * What clients send is looked at once, in one pass: our credentials are taken
 * out of the header list and kept in the context, so that nothing behind the
 * gateway ever sees them; names that only the gateway may set are dropped.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/host.h"

#include "ngx_http_gitpod_request.h"


#define ngx_http_gitpod_is(h, s)                                              \
    ((h)->key.len == sizeof(s) - 1                                            \
     && ngx_memcmp((h)->lowcase_key, s, sizeof(s) - 1) == 0)


static ngx_int_t ngx_http_gitpod_header(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_table_elt_t *h);
static ngx_uint_t ngx_http_gitpod_header_ours(ngx_table_elt_t *h);
static ngx_int_t ngx_http_gitpod_header_authorization(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_table_elt_t *h);
static ngx_int_t ngx_http_gitpod_headers_rebuild(ngx_http_request_t *r,
    ngx_list_t *kept);
static ngx_uint_t ngx_http_gitpod_host_canonical(ngx_http_request_t *r);
static ngx_uint_t ngx_http_gitpod_host_misdirected(ngx_http_request_t *r);
static ngx_uint_t ngx_http_gitpod_list_has(ngx_str_t *value, char *item);


ngx_int_t
ngx_http_gitpod_request_filter(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    ngx_int_t         rc;
    ngx_uint_t        i, dropped;
    ngx_list_t        kept;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h, *k;

    if (!ngx_http_gitpod_host_canonical(r)) {
        ngx_http_gitpod_ctx_refuse(ctx, "host");
        return NGX_HTTP_BAD_REQUEST;
    }

    if (ngx_http_gitpod_host_misdirected(r)) {
        ngx_http_gitpod_ctx_refuse(ctx, "server name");
        return NGX_HTTP_MISDIRECTED_REQUEST;
    }

    if (ngx_list_init(&kept, r->pool, 24, sizeof(ngx_table_elt_t)) != NGX_OK) {
        return NGX_ERROR;
    }

    dropped = 0;
    part = &r->headers_in.headers.part;
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

        rc = ngx_http_gitpod_header(r, ctx, &h[i]);

        if (rc == NGX_DECLINED) {
            dropped = 1;
            continue;
        }

        if (rc != NGX_OK) {
            return rc;
        }

        k = ngx_list_push(&kept);
        if (k == NULL) {
            return NGX_ERROR;
        }

        *k = h[i];
    }

    if (dropped && ngx_http_gitpod_headers_rebuild(r, &kept) != NGX_OK) {
        return NGX_ERROR;
    }

    ctx->upgrade = (r->headers_in.upgrade != NULL);
    ctx->page = (ctx->html && !ctx->cors && !ctx->upgrade
                 && (r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD)));

    if (ctx->origins > 1 || ctx->owner_tokens > 1) {
        ngx_http_gitpod_ctx_refuse(ctx, "duplicate header");
        return ngx_http_gitpod_reply_error(r, NGX_HTTP_BAD_REQUEST,
                   "A header that may come once came twice: Origin or "
                   GP_HEADER_OWNER_TOKEN);
    }

    if (ctx->duplicate) {
        ngx_http_gitpod_ctx_refuse(ctx, "duplicate cookie");

        if (ngx_http_gitpod_cookie_expire_all(r) != NGX_OK) {
            return NGX_ERROR;
        }

        return ngx_http_gitpod_reply_error(r, NGX_HTTP_BAD_REQUEST,
                   "Two cookies of one of our names came with this request, "
                   "so one is not ours. Both were removed: log in again");
    }

    return NGX_DECLINED;
}


/* NGX_OK keep, NGX_DECLINED drop, or an answer. */

static ngx_int_t
ngx_http_gitpod_header(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_table_elt_t *h)
{
    switch (h->lowcase_key[0]) {

    case 'a':

        if (ngx_http_gitpod_is(h, "accept")) {
            ctx->html |= ngx_http_gitpod_list_has(&h->value, "text/html");

        } else if (ngx_http_gitpod_is(h, "authorization")) {
            return ngx_http_gitpod_header_authorization(r, ctx, h);
        }

        return NGX_OK;

    case 'c':

        if (ngx_http_gitpod_is(h, "cookie")) {
            return ngx_http_gitpod_cookie_take(r, ctx, &h->value);
        }

        return NGX_OK;

    case 'f':
        return ngx_http_gitpod_is(h, "forwarded") ? NGX_DECLINED : NGX_OK;

    case 'o':

        if (ngx_http_gitpod_is(h, "origin")) {
            ctx->origin = h->value;
            ctx->origins += (ctx->origins < 2);
        }

        return NGX_OK;

    case 'p':

        /* CVE-2016-5385: it would reach plugins as HTTP_PROXY */

        return ngx_http_gitpod_is(h, "proxy") ? NGX_DECLINED : NGX_OK;

    case 's':

        if (ngx_http_gitpod_is(h, "sec-fetch-mode")
            && (h->value.len < 8
                || ngx_strncasecmp(h->value.data, (u_char *) "navigate", 8)
                   != 0))
        {
            ctx->cors = 1;

        } else if (ngx_http_gitpod_is(h, "service-worker")) {
            ctx->service_worker = 1;
        }

        return NGX_OK;

    case 't':

        if (ngx_http_gitpod_is(h, "traceparent")) {
            ctx->traceparent = h->value;
        }

        return NGX_OK;

    case 'g':
    case 'x':

        if (ngx_http_gitpod_is(h, GP_HEADER_OWNER_TOKEN)) {
            ctx->owner_token = h->value;
            ctx->owner_tokens += (ctx->owner_tokens < 2);
            return NGX_DECLINED;
        }

        return ngx_http_gitpod_header_ours(h) ? NGX_DECLINED : NGX_OK;

    default:
        return NGX_OK;
    }
}


/* Names of our own, with '-' and '_' the same: FastCGI folds them anyway. */

static ngx_uint_t
ngx_http_gitpod_header_ours(ngx_table_elt_t *h)
{
    size_t                   i;
    ngx_uint_t               n;

    static const ngx_str_t   ours[] = {
        ngx_string("gitpod-"),
        ngx_string("x-gitpod-"),
        ngx_string("x-forwarded-"),
        ngx_string("x-real-ip"),
        ngx_null_string
    };

    for (n = 0; ours[n].len; n++) {

        if (h->key.len < ours[n].len) {
            continue;
        }

        for (i = 0; i < ours[n].len; i++) {

            if (h->lowcase_key[i] != ours[n].data[i]
                && !(h->lowcase_key[i] == '_' && ours[n].data[i] == '-'))
            {
                break;
            }
        }

        if (i == ours[n].len) {
            return 1;
        }
    }

    return 0;
}


/*
 * A personal access token of ours goes no further; what an application in a
 * workspace has agreed with its own clients does.
 */

static ngx_int_t
ngx_http_gitpod_header_authorization(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_table_elt_t *h)
{
    u_char  *p, *last;

    p = h->value.data;
    last = p + h->value.len;

    if (h->value.len > 7
        && ngx_strncasecmp(p, (u_char *) "Bearer ", 7) == 0)
    {
        for (p += 7; p < last && *p == ' '; p++) { /* void */ }

        if ((size_t) (last - p) >= sizeof(GP_PAT_PREFIX) - 1
            && ngx_memcmp(p, GP_PAT_PREFIX, sizeof(GP_PAT_PREFIX) - 1) == 0)
        {
            ctx->token.data = p;
            ctx->token.len = last - p;
            r->headers_in.authorization = NULL;

            return NGX_DECLINED;
        }
    }

    /* the same line again: see ngx_http_gitpod_authorization() */

    return (h == r->headers_in.authorization) ? NGX_OK : NGX_DECLINED;
}


/*
 * nginx's own pointers to single headers keep pointing to the old list, whose
 * memory lives as long as the request.
 */

static ngx_int_t
ngx_http_gitpod_headers_rebuild(ngx_http_request_t *r, ngx_list_t *kept)
{
    r->headers_in.headers = *kept;

    if (kept->last == &kept->part) {
        r->headers_in.headers.last = &r->headers_in.headers.part;
    }

    r->headers_in.x_forwarded_for.nelts = 0;

    return NGX_OK;
}


/*
 * No trailing dot, the port a number: nginx itself would fold both and serve
 * the request.  Capitals are folded, names have no case (RFC 9110 4.2.3).
 */

static ngx_uint_t
ngx_http_gitpod_host_canonical(ngx_http_request_t *r)
{
    size_t      len, i;
    ngx_str_t  *host;

    if (r->headers_in.host == NULL) {
        return r->headers_in.server.len == 0 || r->host_start == NULL;
    }

    host = &r->headers_in.host->value;

    if (gp_host_strip_port((char *) host->data, host->len, &len) != 0
        || len == 0 || len > GP_HOST_MAX
        || len != r->headers_in.server.len)
    {
        return 0;
    }

    /* headers_in.server is the folded name; of an absolute URI, its host */

    for (i = 0; i < len; i++) {
        if (ngx_tolower(host->data[i]) != r->headers_in.server.data[i]) {
            return 0;
        }
    }

    return 1;
}


/*
 * A connection by TLS is for the host it was made for: browsers that have one
 * for another host of the same certificate make a new one then (RFC 9110
 * 15.5.20).  Who names no host there is taken by its Host.
 */

static ngx_uint_t
ngx_http_gitpod_host_misdirected(ngx_http_request_t *r)
{
#if (NGX_HTTP_SSL)
    size_t       len;
    ngx_str_t   *host;
    const char  *name;

    if (r->connection->ssl == NULL) {
        return 0;
    }

    name = SSL_get_servername(r->connection->ssl->connection,
                              TLSEXT_NAMETYPE_host_name);
    if (name == NULL) {
        return 0;
    }

    host = &r->headers_in.server;
    len = ngx_strlen(name);

    return len != host->len
           || ngx_strncasecmp((u_char *) (uintptr_t) name, host->data, len)
              != 0;
#else
    return 0;
#endif
}


static ngx_uint_t
ngx_http_gitpod_list_has(ngx_str_t *value, char *item)
{
    return ngx_strlcasestrn(value->data, value->data + value->len,
                            (u_char *) item, ngx_strlen(item) - 1)
           != NULL;
}


/*
 * Gitpod's clients send the same Authorization line twice.  Equal values count
 * as one; the filter of the post-read phase drops the second line.  nginx's
 * own handler answers 400 to any second line.
 */

ngx_int_t
ngx_http_gitpod_authorization(ngx_http_request_t *r, ngx_table_elt_t *h,
    ngx_uint_t offset)
{
    ngx_table_elt_t  *first;

    first = r->headers_in.authorization;

    if (first == NULL) {
        r->headers_in.authorization = h;
        return NGX_OK;
    }

    if (first->value.len == h->value.len
        && ngx_memcmp(first->value.data, h->value.data, h->value.len) == 0)
    {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "client sent two different \"Authorization\" headers");

    ngx_http_finalize_request(r, NGX_HTTP_BAD_REQUEST);

    return NGX_ERROR;
}


/*
 * Answers of the gateway's own.  People get pages (error_page of the
 * configuration), programs get Connect error JSON.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_gitpod_request.h"


#define NGX_HTTP_GITPOD_RETRY_AFTER  2      /* s: about one start */


static ngx_table_elt_t *ngx_http_gitpod_reply_last(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_reply_cors(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static ngx_int_t ngx_http_gitpod_reply_send(ngx_http_request_t *r,
    ngx_str_t *body);
static char *ngx_http_gitpod_reply_code(ngx_uint_t status);
static ngx_gitpod_counter_e ngx_http_gitpod_reply_counter(ngx_uint_t status);


/*
 * Adds a response header; the value is formatted as by ngx_sprintf() and must
 * stay below NGX_MAX_CONF_ERRSTR bytes.
 */

ngx_int_t
ngx_http_gitpod_reply_header(ngx_http_request_t *r, char *name,
    char *fmt, ...)
{
    u_char           *p;
    va_list           args;
    ngx_table_elt_t  *h;
    u_char            buf[GP_CREDENTIAL_MAX + 512];

    va_start(args, fmt);
    p = ngx_vslprintf(buf, buf + sizeof(buf), fmt, args);
    va_end(args);

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 0;
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value.len = p - buf;
    h->value.data = ngx_pnalloc(r->pool, h->value.len + 1);
    if (h->value.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(h->value.data, buf, h->value.len);
    h->value.data[h->value.len] = '\0';
    h->lowcase_key = h->key.data;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif
    h->hash = 1;

    return NGX_OK;
}


/* What to log in with; nginx takes it back when somebody else lets through. */

ngx_int_t
ngx_http_gitpod_reply_challenge(ngx_http_request_t *r, char *scheme)
{
    if (ngx_http_gitpod_reply_header(r, "WWW-Authenticate", "%s", scheme)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    r->headers_out.www_authenticate = ngx_http_gitpod_reply_last(r);

    return NGX_OK;
}


static ngx_table_elt_t *
ngx_http_gitpod_reply_last(ngx_http_request_t *r)
{
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    part = r->headers_out.headers.last;
    h = part->elts;

    return &h[part->nelts - 1];
}


/* Under "satisfy any" a refusal is not the last word. */

ngx_uint_t
ngx_http_gitpod_reply_deferred(ngx_http_request_t *r, ngx_uint_t status)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    return clcf->satisfy == NGX_HTTP_SATISFY_ANY
           && (status == NGX_HTTP_UNAUTHORIZED
               || status == NGX_HTTP_FORBIDDEN);
}


/*
 * A refusal.  For a person's navigation the status alone is returned, so that
 * error_page finds it; message must be a text of our own, free of what a
 * client sent.
 */

ngx_int_t
ngx_http_gitpod_reply_error(ngx_http_request_t *r, ngx_uint_t status,
    char *message)
{
    ngx_uint_t  retry_s;

    if (ngx_http_gitpod_ctx_get(r) == NULL) {
        return status;
    }

    retry_s = (status == NGX_HTTP_SERVICE_UNAVAILABLE
               || status == NGX_HTTP_TOO_MANY_REQUESTS)
              ? NGX_HTTP_GITPOD_RETRY_AFTER : 0;

    return ngx_http_gitpod_reply_again(r, status, retry_s, message);
}


/* The same with Retry-After in seconds, or 0; servers without a domain too. */

ngx_int_t
ngx_http_gitpod_reply_again(ngx_http_request_t *r, ngx_uint_t status,
    ngx_uint_t retry_s, char *message)
{
    u_char                 *p;
    size_t                  len;
    ngx_str_t               body;
    ngx_http_gitpod_ctx_t  *ctx;
    const char             *code;

    ctx = ngx_http_gitpod_ctx_get(r);

    if (ctx) {
        ngx_gitpod_count(ctx->zone, ngx_http_gitpod_reply_counter(status));
    }

    if (retry_s
        && ngx_http_gitpod_reply_header(r, "Retry-After", "%ui", retry_s)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ctx && (ctx->page || ngx_http_gitpod_reply_deferred(r, status))) {
        return status;
    }

    code = ngx_http_gitpod_reply_code(status);

    len = ngx_strlen(code) + ngx_strlen(message)
          + sizeof("{\"code\":\"\",\"message\":\"\"}" CRLF);

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    body.data = p;
    body.len = ngx_snprintf(p, len, "{\"code\":\"%s\",\"message\":\"%s\"}\n",
                            code, message)
               - p;

    if (ctx && ngx_http_gitpod_reply_cors(r, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    r->headers_out.status = status;
    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;

    return ngx_http_gitpod_reply_send(r, &body);
}


ngx_int_t
ngx_http_gitpod_reply_empty(ngx_http_request_t *r, ngx_uint_t status)
{
    ngx_str_t  body;

    ngx_str_null(&body);
    r->headers_out.status = status;

    return ngx_http_gitpod_reply_send(r, &body);
}


ngx_int_t
ngx_http_gitpod_reply_redirect(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *url)
{
    ngx_str_t         body;
    ngx_table_elt_t  *h;

    ngx_str_null(&body);

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_str_set(&h->key, "Location");
    h->value = *url;
    h->lowcase_key = h->key.data;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif
    h->hash = 1;

    r->headers_out.location = h;
    r->headers_out.status = status;

    return ngx_http_gitpod_reply_send(r, &body);
}


/*
 * A page of the same workspace on another host may read why it was refused;
 * others see that something answered.  In mode port only the table knows which
 * listeners are of one workspace, so the difference would tell.
 */

static ngx_int_t
ngx_http_gitpod_reply_cors(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx)
{
    ngx_http_gitpod_request_loc_conf_t  *glcf;
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_request_module);
    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);

    if (!glcf->workspace || ctx->origin.len == 0) {
        return NGX_OK;
    }

    if (ngx_http_gitpod_reply_header(r, "Vary", "Origin") != NGX_OK) {
        return NGX_ERROR;
    }

    if (gscf->mode == NGX_HTTP_GITPOD_MODE_PORT
        || !ngx_http_gitpod_origin_sibling(r, ctx))
    {
        return ngx_http_gitpod_reply_header(r, "Access-Control-Allow-Origin",
                                            "*");
    }

    if (ngx_http_gitpod_reply_header(r, "Access-Control-Allow-Credentials",
                                     "true")
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_gitpod_reply_header(r, "Access-Control-Allow-Origin",
                                        "%V", &ctx->origin);
}


static ngx_int_t
ngx_http_gitpod_reply_send(ngx_http_request_t *r, ngx_str_t *body)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_gitpod_reply_header(r, "Cache-Control", "no-store")
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    r->headers_out.content_length_n = body->len;

    if (body->len == 0) {
        r->header_only = 1;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        ngx_http_finalize_request(r, rc);
        return NGX_DONE;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return NGX_DONE;
    }

    b->pos = body->data;
    b->last = body->data + body->len;
    b->memory = 1;
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    ngx_http_finalize_request(r, ngx_http_output_filter(r, &out));

    return NGX_DONE;
}


static char *
ngx_http_gitpod_reply_code(ngx_uint_t status)
{
    switch (status) {

    case NGX_HTTP_BAD_REQUEST:
        return "invalid_argument";

    case NGX_HTTP_UNAUTHORIZED:
        return "unauthenticated";

    case NGX_HTTP_FORBIDDEN:
        return "permission_denied";

    case NGX_HTTP_NOT_FOUND:
        return "not_found";

    case NGX_HTTP_TOO_MANY_REQUESTS:
        return "resource_exhausted";

    case NGX_HTTP_SERVICE_UNAVAILABLE:
    case NGX_HTTP_BAD_GATEWAY:
        return "unavailable";

    default:
        return "internal";
    }
}


static ngx_gitpod_counter_e
ngx_http_gitpod_reply_counter(ngx_uint_t status)
{
    switch (status) {

    case NGX_HTTP_BAD_REQUEST:
        return NGX_GITPOD_N_REQUEST_BAD;

    case NGX_HTTP_UNAUTHORIZED:
        return NGX_GITPOD_N_REQUEST_UNAUTHENTICATED;

    case NGX_HTTP_FORBIDDEN:
        return NGX_GITPOD_N_REQUEST_FORBIDDEN;

    case NGX_HTTP_NOT_FOUND:
        return NGX_GITPOD_N_REQUEST_NOT_FOUND;

    case NGX_HTTP_TOO_MANY_REQUESTS:
        return NGX_GITPOD_N_REQUEST_LIMITED;

    case NGX_HTTP_SERVICE_UNAVAILABLE:
        return NGX_GITPOD_N_REQUEST_UNAVAILABLE;

    default:
        return NGX_GITPOD_N_REQUEST_ERROR;
    }
}


/*
 * Variables of the request path.  Subrequests see those of their main request.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/contract.h"
#include "jose/digest.h"

#include "ngx_http_gitpod_limit.h"
#include "ngx_http_gitpod_request.h"


#define NGX_HTTP_GITPOD_TRACE_ID_LEN     16    /* bytes, W3C trace context */
#define NGX_HTTP_GITPOD_SPAN_ID_LEN       8
#define NGX_HTTP_GITPOD_TRACEPARENT_LEN  55    /* 00-<32>-<16>-<2> */
#define NGX_HTTP_GITPOD_RANDOM_BYTES     4096  /* drawn at a time */

#define ngx_http_gitpod_field(name)                                           \
    offsetof(ngx_http_gitpod_ctx_t, name)


static ngx_int_t ngx_http_gitpod_variable_field(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gitpod_variable_credential(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gitpod_variable_limit(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gitpod_variable_limit_status(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gitpod_variable_port(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gitpod_variable_request_id(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gitpod_variable_traceparent(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gitpod_variable_uri(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gitpod_variable_scheme(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gitpod_variable_format(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gitpod_variable_set(ngx_http_variable_value_t *v,
    ngx_str_t *value);
static ngx_int_t ngx_http_gitpod_random_hex(ngx_http_request_t *r, size_t n,
    ngx_str_t *hex);
static ngx_uint_t ngx_http_gitpod_uri_secret(u_char *name, size_t len);
static ngx_int_t ngx_http_gitpod_uri_mask(ngx_http_request_t *r,
    ngx_str_t *uri);
static ngx_int_t ngx_http_gitpod_uri_ascii(ngx_http_request_t *r,
    ngx_str_t *uri);


static ngx_http_variable_t  ngx_http_gitpod_variables[] = {

    { ngx_string("gitpod_user"), NULL, ngx_http_gitpod_variable_field,
      ngx_http_gitpod_field(user), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gitpod_credential"), NULL,
      ngx_http_gitpod_variable_credential, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gitpod_credential_id"), NULL,
      ngx_http_gitpod_variable_field, ngx_http_gitpod_field(credential_id),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gitpod_scopes"), NULL, ngx_http_gitpod_variable_field,
      ngx_http_gitpod_field(scopes), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gitpod_workspace_id"), NULL, ngx_http_gitpod_variable_field,
      ngx_http_gitpod_field(workspace_id), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gitpod_instance_id"), NULL, ngx_http_gitpod_variable_field,
      ngx_http_gitpod_field(instance_id), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gitpod_port"), NULL, ngx_http_gitpod_variable_port, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gitpod_debug_port"), NULL, ngx_http_gitpod_variable_port, 1,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gitpod_reason"), NULL, ngx_http_gitpod_variable_field,
      ngx_http_gitpod_field(reason), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gitpod_limit"), NULL, ngx_http_gitpod_variable_limit, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gitpod_limit_status"), NULL,
      ngx_http_gitpod_variable_limit_status, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gitpod_request_id"), NULL,
      ngx_http_gitpod_variable_request_id, 0, 0, 0 },

    { ngx_string("gitpod_traceparent"), NULL,
      ngx_http_gitpod_variable_traceparent, 0, 0, 0 },

    { ngx_string("gitpod_uri"), NULL, ngx_http_gitpod_variable_uri, 0, 0, 0 },

    { ngx_string("gitpod_scheme"), NULL, ngx_http_gitpod_variable_scheme, 0,
      0, 0 },

    { ngx_string("gitpod_format"), NULL, ngx_http_gitpod_variable_format, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    /* for the introspect and redeem locations only: secrets, never logged */

    { ngx_string("gitpod_token"), NULL, ngx_http_gitpod_variable_field,
      ngx_http_gitpod_field(token), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gitpod_code"), NULL, ngx_http_gitpod_variable_field,
      ngx_http_gitpod_field(code), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gitpod_nonce"), NULL, ngx_http_gitpod_variable_field,
      ngx_http_gitpod_field(cookies[NGX_HTTP_GITPOD_COOKIE_NONCE]),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gitpod_host"), NULL, ngx_http_gitpod_variable_field,
      ngx_http_gitpod_field(host), NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_gitpod_add_variables(ngx_conf_t *cf, ngx_http_variable_t *variables)
{
    ngx_http_variable_t  *var, *v;

    for (v = variables; v->name.len; v++) {

        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_gitpod_variables_add(ngx_conf_t *cf)
{
    return ngx_http_gitpod_add_variables(cf, ngx_http_gitpod_variables);
}


static ngx_int_t
ngx_http_gitpod_variable_set(ngx_http_variable_value_t *v, ngx_str_t *value)
{
    v->len = value->len;
    v->data = value->data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_variable_field(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t              *field;
    ngx_http_gitpod_ctx_t  *ctx;

    ctx = ngx_http_gitpod_ctx_get(r);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    field = (ngx_str_t *) ((u_char *) ctx + data);

    return ngx_http_gitpod_variable_set(v, field);
}


static ngx_int_t
ngx_http_gitpod_variable_credential(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gitpod_ctx_t  *ctx;

    static ngx_str_t        names[] = {
        ngx_string("none"),
        ngx_string("session"),
        ngx_string("token"),
        ngx_string("workspace"),
        ngx_string("owner-token"),
        ngx_string("owner-cookie")
    };

    ctx = ngx_http_gitpod_ctx_get(r);

    return ngx_http_gitpod_variable_set(v, &names[ctx ? ctx->credential : 0]);
}


/* The limit that was reached, in a dry run too. */

static ngx_int_t
ngx_http_gitpod_variable_limit(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gitpod_ctx_t  *ctx;

    ctx = ngx_http_gitpod_ctx_get(r);

    if (ctx == NULL || ctx->limit == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_http_gitpod_variable_set(v, &ctx->limit->name);
}


static ngx_int_t
ngx_http_gitpod_variable_limit_status(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gitpod_ctx_t  *ctx;

    static ngx_str_t        passed = ngx_string("passed");
    static ngx_str_t        refused = ngx_string("refused");
    static ngx_str_t        dry = ngx_string("dry-run");

    ctx = ngx_http_gitpod_ctx_get(r);

    if (ctx == NULL || ctx->limit == NULL) {
        return ngx_http_gitpod_variable_set(v, &passed);
    }

    return ngx_http_gitpod_variable_set(v, ctx->limit_dry ? &dry : &refused);
}


static ngx_int_t
ngx_http_gitpod_variable_port(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t               value;
    ngx_http_gitpod_ctx_t  *ctx;

    ctx = ngx_http_gitpod_ctx_get(r);

    /* data: only of debug hosts */

    if (ctx == NULL || ctx->port == 0 || (data && !ctx->debug)) {
        v->not_found = 1;
        return NGX_OK;
    }

    value.data = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_sprintf(value.data, "%ui", ctx->port) - value.data;

    return ngx_http_gitpod_variable_set(v, &value);
}


/* Ids, not secrets: bytes are drawn for many requests at a time. */

static ngx_int_t
ngx_http_gitpod_random_hex(ngx_http_request_t *r, size_t n, ngx_str_t *hex)
{
    static u_char  bytes[NGX_HTTP_GITPOD_RANDOM_BYTES];
    static size_t  left;

    if (left < n) {
        left = 0;

        if (gp_jose_random_bytes(bytes, sizeof(bytes)) != 0) {
            return NGX_ERROR;
        }

        left = sizeof(bytes);
    }

    hex->data = ngx_pnalloc(r->pool, 2 * n);
    if (hex->data == NULL) {
        return NGX_ERROR;
    }

    left -= n;
    hex->len = ngx_hex_dump(hex->data, bytes + left, n) - hex->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_variable_request_id(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gitpod_ctx_t  *ctx;

    ctx = ngx_http_gitpod_ctx_get(r);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    if (ctx->request_id.len == 0
        && ngx_http_gitpod_random_hex(r->main, NGX_HTTP_GITPOD_TRACE_ID_LEN,
                                      &ctx->request_id)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_gitpod_variable_set(v, &ctx->request_id);
}


/* A client's trace goes on, with the gateway as its next span. */

static ngx_int_t
ngx_http_gitpod_variable_traceparent(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                 *p, *from;
    ngx_str_t               trace, span, flags;
    ngx_uint_t              i;
    ngx_http_gitpod_ctx_t  *ctx;

    ctx = ngx_http_gitpod_ctx_get(r);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    if (ctx->traced) {
        return ngx_http_gitpod_variable_set(v, &ctx->traceparent);
    }

    from = ctx->traceparent.data;
    ngx_str_null(&trace);
    ngx_str_set(&flags, "01");

    if (ctx->traceparent.len == NGX_HTTP_GITPOD_TRACEPARENT_LEN
        && ngx_strncmp(from, "00-", 3) == 0 && from[35] == '-'
        && from[52] == '-')
    {
        for (i = 3; i < NGX_HTTP_GITPOD_TRACEPARENT_LEN; i++) {

            if (!((from[i] >= '0' && from[i] <= '9')
                  || (from[i] >= 'a' && from[i] <= 'f')
                  || ((i == 35 || i == 52) && from[i] == '-')))
            {
                break;
            }
        }

        if (i == NGX_HTTP_GITPOD_TRACEPARENT_LEN) {
            trace.data = from + 3;
            trace.len = 2 * NGX_HTTP_GITPOD_TRACE_ID_LEN;
            flags.data = from + 53;
        }
    }

    if (trace.len == 0
        && ngx_http_gitpod_random_hex(r->main, NGX_HTTP_GITPOD_TRACE_ID_LEN,
                                      &trace)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_http_gitpod_random_hex(r->main, NGX_HTTP_GITPOD_SPAN_ID_LEN, &span)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    p = ngx_pnalloc(r->main->pool, NGX_HTTP_GITPOD_TRACEPARENT_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ctx->traceparent.data = p;
    ctx->traceparent.len = ngx_sprintf(p, "00-%V-%V-%V", &trace, &span,
                                       &flags)
                           - p;
    ctx->traced = 1;

    return ngx_http_gitpod_variable_set(v, &ctx->traceparent);
}


static ngx_uint_t
ngx_http_gitpod_uri_secret(u_char *name, size_t len)
{
    ngx_uint_t               i;

    static const ngx_str_t   names[] = {
        ngx_string("token"), ngx_string("code"), ngx_string("nonce"),
        ngx_string("state"), ngx_string("access_token"),
        ngx_string("id_token"), ngx_string("refresh_token"),
        ngx_string("client_secret"), ngx_string("password"),
        ngx_string("secret"), ngx_string("tkn"), ngx_string("api_key"),
        ngx_null_string
    };

    for (i = 0; names[i].len; i++) {

        if (names[i].len == len
            && ngx_strncasecmp(names[i].data, name, len) == 0)
        {
            return 1;
        }
    }

    /* a name with an escape in it may be any of them */

    return ngx_strlchr(name, name + len, '%') != NULL;
}


/*
 * The request line's URI for logs, values of secret arguments masked; NGX_OK,
 * or NGX_DECLINED when there is none.
 */

static ngx_int_t
ngx_http_gitpod_uri_mask(ngx_http_request_t *r, ngx_str_t *uri)
{
    u_char      *p, *last, *end, *eq, *out;
    ngx_str_t    value;
    ngx_uint_t   masked;

    value = r->unparsed_uri;
    *uri = value;
    last = value.data + value.len;
    p = ngx_strlchr(value.data, last, '?');

    if (p == NULL) {
        return NGX_DECLINED;
    }

    /* a mask is three bytes, a value it hides may be none: "a=&a=" */

    out = ngx_pnalloc(r->pool, 3 * value.len + 3);
    if (out == NULL) {
        return NGX_ERROR;
    }

    masked = 0;
    value.data = ngx_cpymem(out, value.data, p - value.data);
    *value.data++ = '?';

    for (p++; p < last; p = end + 1) {

        end = ngx_strlchr(p, last, '&');
        if (end == NULL) {
            end = last;
        }

        eq = ngx_strlchr(p, end, '=');

        if (eq && ngx_http_gitpod_uri_secret(p, eq - p)) {
            value.data = ngx_cpymem(value.data, p, eq + 1 - p);
            value.data = ngx_cpymem(value.data, "***", 3);
            masked = 1;

        } else {
            value.data = ngx_cpymem(value.data, p, end - p);
        }

        if (end < last) {
            *value.data++ = '&';
        }
    }

    uri->len = value.data - out;
    uri->data = out;

    return masked ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_http_gitpod_variable_uri(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t  uri;

    if (ngx_http_gitpod_uri_mask(r->main, &uri) == NGX_ERROR
        || ngx_http_gitpod_uri_ascii(r, &uri) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_gitpod_variable_set(v, &uri);
}


/* nginx escapes for JSON what is not UTF-8 as little as what is. */

static ngx_int_t
ngx_http_gitpod_uri_ascii(ngx_http_request_t *r, ngx_str_t *uri)
{
    u_char  *p, *to;
    size_t   i, n;

    n = 0;

    for (i = 0; i < uri->len; i++) {
        n += (uri->data[i] < 0x20 || uri->data[i] > 0x7e);
    }

    if (n == 0) {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, uri->len + 2 * n);
    if (p == NULL) {
        return NGX_ERROR;
    }

    to = p;

    for (i = 0; i < uri->len; i++) {

        if (uri->data[i] < 0x20 || uri->data[i] > 0x7e) {
            to = ngx_sprintf(to, "%%%02Xd", (int) uri->data[i]);

        } else {
            *to++ = uri->data[i];
        }
    }

    uri->data = p;
    uri->len = to - p;

    return NGX_OK;
}


/* nginx puts the request line into its error log: without secrets, please. */

ngx_int_t
ngx_http_gitpod_request_line(ngx_http_request_t *r)
{
    u_char     *p;
    ngx_int_t   rc;
    ngx_str_t   uri;

    rc = ngx_http_gitpod_uri_mask(r, &uri);

    if (rc != NGX_OK) {
        return rc == NGX_ERROR ? NGX_ERROR : NGX_OK;
    }

    p = ngx_pnalloc(r->pool, r->method_name.len + uri.len
                             + r->http_protocol.len + 2);
    if (p == NULL) {
        return NGX_ERROR;
    }

    r->request_line.data = p;
    r->request_line.len = ngx_sprintf(p, "%V %V %V", &r->method_name, &uri,
                                      &r->http_protocol)
                          - p;

    return NGX_OK;
}


/* As the person sees it, which is not what a load balancer speaks to us. */

static ngx_int_t
ngx_http_gitpod_variable_scheme(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gitpod_request_srv_conf_t  *gscf;

    gscf = ngx_http_get_module_srv_conf(r, ngx_http_gitpod_request_module);

    return ngx_http_gitpod_variable_set(v, &gscf->scheme);
}


/* Which form of an error the client can read. */

static ngx_int_t
ngx_http_gitpod_variable_format(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gitpod_ctx_t  *ctx;

    static ngx_str_t        html = ngx_string("html");
    static ngx_str_t        json = ngx_string("json");

    ctx = ngx_http_gitpod_ctx_get(r);

    return ngx_http_gitpod_variable_set(v, (ctx && ctx->page) ? &html : &json);
}

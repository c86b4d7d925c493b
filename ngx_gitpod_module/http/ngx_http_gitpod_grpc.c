
/*
 * gitpod_grpc: native gRPC for plugins that speak gRPC-web.  The request's
 * content type is handed on as theirs ($gitpod_content_type); of the answer
 * the last frame becomes the trailers of HTTP/2.  An answer that is no gRPC,
 * the gateway's own errors above all, becomes one of headers only.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/code.h"
#include "core/grpc.h"

#include "ngx_http_gitpod_grpc.h"
#include "ngx_http_gitpod_request.h"


#define NGX_HTTP_GITPOD_GRPC_BODY     4096    /* bytes of error JSON read */

#define NGX_HTTP_GITPOD_GRPC_TYPE_LEN  (sizeof(GP_GRPC_TYPE) - 1)


typedef struct {
    ngx_flag_t       grpc;
} ngx_http_gitpod_grpc_loc_conf_t;


static ngx_uint_t ngx_http_gitpod_grpc_wanted(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_grpc_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_grpc_type(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_grpc_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_int_t ngx_http_gitpod_grpc_frames(ngx_http_request_t *r,
    ngx_http_gitpod_grpc_ctx_t *ctx, ngx_buf_t *b);
static ngx_uint_t ngx_http_gitpod_grpc_broken(ngx_http_request_t *r,
    ngx_http_gitpod_grpc_ctx_t *ctx, ngx_buf_t *b);
static ngx_int_t ngx_http_gitpod_grpc_keep(ngx_http_request_t *r,
    ngx_http_gitpod_grpc_ctx_t *ctx, u_char *data, size_t len, size_t max);
static ngx_int_t ngx_http_gitpod_grpc_collect(ngx_http_request_t *r,
    ngx_http_gitpod_grpc_ctx_t *ctx, ngx_chain_t *in);
static ngx_int_t ngx_http_gitpod_grpc_refuse(ngx_http_request_t *r,
    ngx_http_gitpod_grpc_ctx_t *ctx);
static ngx_int_t ngx_http_gitpod_grpc_type_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gitpod_grpc_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gitpod_grpc_add_variables(ngx_conf_t *cf);
static void *ngx_http_gitpod_grpc_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_gitpod_grpc_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static ngx_int_t ngx_http_gitpod_grpc_init(ngx_conf_t *cf);


static ngx_command_t  ngx_http_gitpod_grpc_commands[] = {

    { ngx_string("gitpod_grpc"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gitpod_grpc_loc_conf_t, grpc),
      NULL },

    { ngx_string("gitpod_grpc_health"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_http_gitpod_grpc_health,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gitpod_grpc_filter_module_ctx = {
    ngx_http_gitpod_grpc_add_variables,    /* preconfiguration */
    ngx_http_gitpod_grpc_init,             /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_gitpod_grpc_create_loc_conf,  /* create location configuration */
    ngx_http_gitpod_grpc_merge_loc_conf    /* merge location configuration */
};


ngx_module_t  ngx_http_gitpod_grpc_filter_module = {
    NGX_MODULE_V1,
    &ngx_http_gitpod_grpc_filter_module_ctx, /* module context */
    ngx_http_gitpod_grpc_commands,         /* module directives */
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


static ngx_http_variable_t  ngx_http_gitpod_grpc_variables[] = {

    { ngx_string("gitpod_content_type"), NULL,
      ngx_http_gitpod_grpc_type_variable, 0, 0, 0 },

    { ngx_string("gitpod_grpc_status"), NULL,
      ngx_http_gitpod_grpc_status_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;


/*
 * Nothing is remembered from phase to phase: an internal redirect to a page
 * of errors finds the same answer.
 */

static ngx_uint_t
ngx_http_gitpod_grpc_wanted(ngx_http_request_t *r)
{
    ngx_table_elt_t                  *type;
    ngx_http_gitpod_grpc_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_grpc_filter_module);
    type = r->headers_in.content_type;

    return glcf->grpc && r->http_version == NGX_HTTP_VERSION_20 && type
           && gp_grpc_is_native((char *) type->value.data, type->value.len);
}


static ngx_int_t
ngx_http_gitpod_grpc_header_filter(ngx_http_request_t *r)
{
    ngx_http_gitpod_grpc_ctx_t  *ctx;

    if (r != r->main || !ngx_http_gitpod_grpc_wanted(r)) {
        return ngx_http_next_header_filter(r);
    }

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_gitpod_grpc_ctx_t));
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    ngx_http_set_ctx(r, ctx, ngx_http_gitpod_grpc_filter_module);

    r->filter_need_in_memory = 1;

    if (r->headers_out.status == NGX_HTTP_OK
        && gp_grpc_is_web((char *) r->headers_out.content_type.data,
                          r->headers_out.content_type.len))
    {
        if (ngx_http_gitpod_grpc_type(r) != NGX_OK) {
            return NGX_ERROR;
        }

        return ngx_http_next_header_filter(r);
    }

    if (r->header_only) {
        return ngx_http_gitpod_grpc_refuse(r, ctx);
    }

    ctx->held = 1;

    return NGX_OK;
}


/* application/grpc-web+proto of the answer becomes application/grpc+proto. */

static ngx_int_t
ngx_http_gitpod_grpc_type(ngx_http_request_t *r)
{
    u_char     *p;
    size_t      rest;
    ngx_str_t  *type;

    type = &r->headers_out.content_type;
    rest = type->len - (sizeof(GP_GRPC_WEB_TYPE) - 1);

    p = ngx_pnalloc(r->pool, NGX_HTTP_GITPOD_GRPC_TYPE_LEN + rest);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, GP_GRPC_TYPE, NGX_HTTP_GITPOD_GRPC_TYPE_LEN);
    ngx_memcpy(p + NGX_HTTP_GITPOD_GRPC_TYPE_LEN,
               type->data + sizeof(GP_GRPC_WEB_TYPE) - 1, rest);

    type->data = p;
    type->len = NGX_HTTP_GITPOD_GRPC_TYPE_LEN + rest;

    r->headers_out.content_type_len = type->len;
    r->headers_out.content_type_lowcase = NULL;
    r->allow_ranges = 0;

    ngx_http_clear_content_length(r);
    ngx_http_clear_last_modified(r);
    ngx_http_clear_etag(r);

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_grpc_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_buf_t                   *b;
    ngx_chain_t                 *cl;
    ngx_http_gitpod_grpc_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gitpod_grpc_filter_module);

    if (ctx == NULL || in == NULL) {
        return ngx_http_next_body_filter(r, in);
    }

    if (ctx->held) {
        return ngx_http_gitpod_grpc_collect(r, ctx, in);
    }

    for (cl = in; cl; cl = cl->next) {
        b = cl->buf;

        if (ngx_buf_in_memory(b)
            && ngx_http_gitpod_grpc_frames(r, ctx, b) != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (ngx_http_gitpod_grpc_broken(r, ctx, b)) {
            b->last_buf = 1;
        }

        if (b->last_buf && ngx_http_gitpod_grpc_trailers(r, ctx) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return ngx_http_next_body_filter(r, in);
}


/*
 * Cuts the buffer where its messages end: behind them is the trailer frame,
 * and nothing more.
 */

static ngx_int_t
ngx_http_gitpod_grpc_frames(ngx_http_request_t *r,
    ngx_http_gitpod_grpc_ctx_t *ctx, ngx_buf_t *b)
{
    u_char            *p, *end;
    size_t             n;
    enum gp_grpc_run   run;

    end = b->pos;

    for (p = b->pos; p < b->last; p += n) {
        n = gp_grpc_scan(&ctx->scan, p, b->last - p, &run);

        switch (run) {

        case GP_GRPC_RUN_MESSAGE:
            end = p + n;
            break;

        case GP_GRPC_RUN_TRAILER:
            if (ngx_http_gitpod_grpc_keep(r, ctx, p, n, GP_GRPC_TRAILER_MAX)
                != NGX_OK)
            {
                return NGX_ERROR;
            }

            break;

        case GP_GRPC_RUN_HEADER:
        case GP_GRPC_RUN_AFTER:
            break;
        }
    }

    if (end == b->pos && end != b->last) {

        /* an empty buffer is one of its flags only */

        b->memory = 0;
        b->temporary = 0;
        b->mmap = 0;
        b->sync = 1;
    }

    b->last = end;

    return NGX_OK;
}


/*
 * The upstream module has given the answer up and flushes what there is: the
 * stream would be reset without a word why.
 */

static ngx_uint_t
ngx_http_gitpod_grpc_broken(ngx_http_request_t *r,
    ngx_http_gitpod_grpc_ctx_t *ctx, ngx_buf_t *b)
{
    return b->flush && !b->last_buf && !ctx->ended
           && gp_grpc_scan_between(&ctx->scan)
           && r->upstream && r->upstream->cleanup == NULL;
}


/* Up to max bytes are kept, the rest is dropped. */

static ngx_int_t
ngx_http_gitpod_grpc_keep(ngx_http_request_t *r,
    ngx_http_gitpod_grpc_ctx_t *ctx, u_char *data, size_t len, size_t max)
{
    size_t  room;

    if (ctx->text == NULL) {
        ctx->text = ngx_create_temp_buf(r->pool, max);
        if (ctx->text == NULL) {
            return NGX_ERROR;
        }
    }

    room = ctx->text->end - ctx->text->last;
    ctx->text->last = ngx_cpymem(ctx->text->last, data, ngx_min(len, room));

    return NGX_OK;
}


/* The body of an answer that is no gRPC: it says why. */

static ngx_int_t
ngx_http_gitpod_grpc_collect(ngx_http_request_t *r,
    ngx_http_gitpod_grpc_ctx_t *ctx, ngx_chain_t *in)
{
    ngx_buf_t   *b;
    ngx_uint_t   last;

    for (last = 0; in; in = in->next) {
        b = in->buf;

        if (ngx_buf_in_memory(b)
            && ngx_http_gitpod_grpc_keep(r, ctx, b->pos, b->last - b->pos,
                                         NGX_HTTP_GITPOD_GRPC_BODY)
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        b->pos = b->last;
        b->file_pos = b->file_last;
        last |= b->last_buf;
    }

    if (!last || ctx->ended) {
        return NGX_OK;
    }

    return ngx_http_gitpod_grpc_refuse(r, ctx);
}


/*
 * "Trailers-Only": one HEADERS frame, with the status and the end of the
 * stream in it.  The log keeps the status of HTTP.
 */

static ngx_int_t
ngx_http_gitpod_grpc_refuse(ngx_http_request_t *r,
    ngx_http_gitpod_grpc_ctx_t *ctx)
{
    ngx_int_t   rc;
    ngx_str_t   message;
    ngx_uint_t  code;

    ctx->ended = 1;
    code = gp_grpc_code_from_http(r->headers_out.status);

    if (ngx_http_gitpod_grpc_message(r, ctx, &message) != NGX_OK) {
        return NGX_ERROR;
    }

    rc = ngx_http_gitpod_grpc_status(r, ctx, &r->headers_out.headers, code,
                                     &message);
    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    r->err_status = r->headers_out.status;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.status_line.len = 0;
    ngx_str_set(&r->headers_out.content_type, GP_GRPC_TYPE);
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;
    r->headers_out.charset.len = 0;

    ngx_http_clear_content_length(r);
    ngx_http_clear_accept_ranges(r);
    ngx_http_clear_last_modified(r);
    ngx_http_clear_etag(r);

    r->header_only = 1;

    return ngx_http_next_header_filter(r);
}


/* What a plugin is told: gRPC-web, where the client speaks gRPC. */

static ngx_int_t
ngx_http_gitpod_grpc_type_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char     *p;
    size_t      rest;
    ngx_str_t  *type;

    if (r->headers_in.content_type == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    type = &r->headers_in.content_type->value;

    v->len = type->len;
    v->data = type->data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    if (!ngx_http_gitpod_grpc_wanted(r)) {
        return NGX_OK;
    }

    rest = type->len - NGX_HTTP_GITPOD_GRPC_TYPE_LEN;

    p = ngx_pnalloc(r->pool, sizeof(GP_GRPC_WEB_TYPE) - 1 + rest);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->data = p;
    p = ngx_cpymem(p, GP_GRPC_WEB_TYPE, sizeof(GP_GRPC_WEB_TYPE) - 1);
    p = ngx_cpymem(p, type->data + NGX_HTTP_GITPOD_GRPC_TYPE_LEN, rest);
    v->len = p - v->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_grpc_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gitpod_grpc_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gitpod_grpc_filter_module);

    if (ctx == NULL || ctx->status.len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->len = ctx->status.len;
    v->data = ctx->status.data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_grpc_add_variables(ngx_conf_t *cf)
{
    return ngx_http_gitpod_add_variables(cf, ngx_http_gitpod_grpc_variables);
}


static void *
ngx_http_gitpod_grpc_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_gitpod_grpc_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_grpc_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->grpc = NGX_CONF_UNSET;

    return conf;
}


static char *
ngx_http_gitpod_grpc_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_gitpod_grpc_loc_conf_t *prev = parent;
    ngx_http_gitpod_grpc_loc_conf_t *conf = child;

    ngx_conf_merge_value(conf->grpc, prev->grpc, 0);

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_gitpod_grpc_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_gitpod_grpc_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_gitpod_grpc_body_filter;

    return NGX_OK;
}

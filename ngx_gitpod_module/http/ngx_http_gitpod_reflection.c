
/*
 * gitpod_grpc_reflection: grpc.reflection.v1.ServerReflection, by which tools
 * find out what there is to call.  It is the one method whose client waits for
 * an answer before it asks on, so it cannot be a plugin's, who gets a request
 * when it is complete: the body is read, and answered, message by message.
 *
 * Answers are in gRPC-web; the filter of gitpod_grpc turns them into gRPC.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/grpc.h"
#include "core/reflection.h"


#define NGX_HTTP_GITPOD_REFLECTION_SET      (1024 * 1024)    /* bytes */
#define NGX_HTTP_GITPOD_REFLECTION_ANSWERS  256              /* of a stream */


typedef struct {
    gp_span_t            set;
} ngx_http_gitpod_reflection_loc_conf_t;


typedef struct {
    ngx_uint_t           answers;
    size_t               len;               /* of the message's frame so far */
    u_char               frame[GP_GRPC_HEADER_LEN + GP_REFLECTION_REQUEST_MAX];
    unsigned             ended:1;           /* the status is out */
} ngx_http_gitpod_reflection_ctx_t;


static ngx_int_t ngx_http_gitpod_reflection_handler(ngx_http_request_t *r);
static void ngx_http_gitpod_reflection_begin(ngx_http_request_t *r);
static void ngx_http_gitpod_reflection_read(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_reflection_more(ngx_http_request_t *r,
    ngx_http_gitpod_reflection_ctx_t *ctx);
static ngx_int_t ngx_http_gitpod_reflection_take(ngx_http_request_t *r,
    ngx_http_gitpod_reflection_ctx_t *ctx, ngx_buf_t *b);
static ngx_int_t ngx_http_gitpod_reflection_answer(ngx_http_request_t *r,
    ngx_http_gitpod_reflection_ctx_t *ctx);
static ngx_int_t ngx_http_gitpod_reflection_end(ngx_http_request_t *r,
    ngx_http_gitpod_reflection_ctx_t *ctx, ngx_str_t *trailer);
static ngx_chain_t *ngx_http_gitpod_reflection_link(ngx_http_request_t *r,
    const char *data, size_t len);
static void ngx_http_gitpod_reflection_write(ngx_http_request_t *r);
static void *ngx_http_gitpod_reflection_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_gitpod_reflection(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gitpod_reflection_load(ngx_conf_t *cf, ngx_str_t *path,
    gp_span_t *set);


static ngx_command_t  ngx_http_gitpod_reflection_commands[] = {

    { ngx_string("gitpod_grpc_reflection"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gitpod_reflection,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gitpod_reflection_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_gitpod_reflection_create_loc_conf, /* create location conf */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_gitpod_reflection_module = {
    NGX_MODULE_V1,
    &ngx_http_gitpod_reflection_module_ctx, /* module context */
    ngx_http_gitpod_reflection_commands,   /* module directives */
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


static ngx_str_t  ngx_http_gitpod_reflection_ok =
    ngx_string("\x80\0\0\0\x10" "grpc-status: 0\r\n");

static ngx_str_t  ngx_http_gitpod_reflection_malformed =
    ngx_string("\x80\0\0\0\x45" "grpc-status: 3\r\n"
               "grpc-message: This is not a ServerReflectionRequest\r\n");

static ngx_str_t  ngx_http_gitpod_reflection_enough =
    ngx_string("\x80\0\0\0\x3c" "grpc-status: 8\r\n"
               "grpc-message: Ask the rest in a new stream\r\n");


static ngx_int_t
ngx_http_gitpod_reflection_handler(ngx_http_request_t *r)
{
    ngx_int_t                          rc;
    ngx_str_t                         *type;
    ngx_http_gitpod_reflection_ctx_t  *ctx;

    if (r->method != NGX_HTTP_POST) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    if (r->headers_in.content_type == NULL
        || r->http_version != NGX_HTTP_VERSION_20)
    {
        return NGX_HTTP_UNSUPPORTED_MEDIA_TYPE;
    }

    type = &r->headers_in.content_type->value;

    if (!gp_grpc_is_native((char *) type->data, type->len)) {
        return NGX_HTTP_UNSUPPORTED_MEDIA_TYPE;
    }

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_gitpod_reflection_ctx_t));
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_set_ctx(r, ctx, ngx_http_gitpod_reflection_module);

    r->request_body_no_buffering = 1;

    rc = ngx_http_read_client_request_body(r,
                                          ngx_http_gitpod_reflection_begin);

    return (rc >= NGX_HTTP_SPECIAL_RESPONSE) ? rc : NGX_DONE;
}


static void
ngx_http_gitpod_reflection_begin(ngx_http_request_t *r)
{
    ngx_int_t  rc;

    r->headers_out.status = NGX_HTTP_OK;
    ngx_str_set(&r->headers_out.content_type, GP_GRPC_WEB_TYPE "+proto");
    r->headers_out.content_type_len = r->headers_out.content_type.len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        ngx_http_finalize_request(r, rc);
        return;
    }

    r->read_event_handler = ngx_http_gitpod_reflection_read;
    r->write_event_handler = ngx_http_gitpod_reflection_write;

    ngx_http_gitpod_reflection_read(r);
}


static void
ngx_http_gitpod_reflection_read(ngx_http_request_t *r)
{
    ngx_int_t                          rc;
    ngx_http_gitpod_reflection_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gitpod_reflection_module);

    do {
        rc = ngx_http_gitpod_reflection_more(r, ctx);
    } while (rc == NGX_OK && !ctx->ended);

    if (rc == NGX_AGAIN) {
        return;
    }

    ngx_http_finalize_request(r, (rc == NGX_OK) ? NGX_OK : NGX_ERROR);
}


/* NGX_OK: there is more, or it ended; NGX_AGAIN: wait; NGX_ERROR. */

static ngx_int_t
ngx_http_gitpod_reflection_more(ngx_http_request_t *r,
    ngx_http_gitpod_reflection_ctx_t *ctx)
{
    ngx_int_t     rc;
    ngx_chain_t  *cl, *next;

    for (cl = r->request_body->bufs; cl; cl = next) {
        next = cl->next;

        if (!ctx->ended
            && ngx_http_gitpod_reflection_take(r, ctx, cl->buf) != NGX_OK)
        {
            return NGX_ERROR;
        }

        cl->buf->pos = cl->buf->last;
        ngx_free_chain(r->pool, cl);
    }

    r->request_body->bufs = NULL;

    if (ctx->ended) {
        return NGX_OK;
    }

    if (!r->reading_body) {
        return ngx_http_gitpod_reflection_end(r, ctx,
                   ctx->len ? &ngx_http_gitpod_reflection_malformed
                            : &ngx_http_gitpod_reflection_ok);
    }

    rc = ngx_http_read_unbuffered_request_body(r);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return NGX_ERROR;
    }

    return (r->request_body->bufs || !r->reading_body) ? NGX_OK : NGX_AGAIN;
}


static ngx_int_t
ngx_http_gitpod_reflection_take(ngx_http_request_t *r,
    ngx_http_gitpod_reflection_ctx_t *ctx, ngx_buf_t *b)
{
    u_char  *p;
    size_t   want, n;

    p = b->pos;

    while (p < b->last && !ctx->ended) {
        want = GP_GRPC_HEADER_LEN;

        if (ctx->len >= GP_GRPC_HEADER_LEN) {
            want += ((size_t) ctx->frame[1] << 24) | (ctx->frame[2] << 16)
                    | (ctx->frame[3] << 8) | ctx->frame[4];
        }

        if (want > sizeof(ctx->frame)
            || (ctx->len && ctx->frame[0] != 0))
        {
            return ngx_http_gitpod_reflection_end(r, ctx,
                                     &ngx_http_gitpod_reflection_malformed);
        }

        n = ngx_min(want - ctx->len, (size_t) (b->last - p));
        ngx_memcpy(ctx->frame + ctx->len, p, n);
        ctx->len += n;
        p += n;

        if (ngx_http_gitpod_reflection_answer(r, ctx) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* When the frame is complete. */

static ngx_int_t
ngx_http_gitpod_reflection_answer(ngx_http_request_t *r,
    ngx_http_gitpod_reflection_ctx_t *ctx)
{
    int                                     len;
    size_t                                  n;
    u_char                                 *head;
    gp_span_t                               request, file;
    ngx_chain_t                            *out;
    ngx_http_gitpod_reflection_loc_conf_t  *rlcf;

    static u_char                           buf[GP_REFLECTION_HEAD_MAX];

    if (ctx->len < GP_GRPC_HEADER_LEN) {
        return NGX_OK;
    }

    n = ((size_t) ctx->frame[1] << 24) | (ctx->frame[2] << 16)
        | (ctx->frame[3] << 8) | ctx->frame[4];

    if (ctx->len < GP_GRPC_HEADER_LEN + n) {
        return NGX_OK;
    }

    ctx->len = 0;

    if (ctx->answers++ == NGX_HTTP_GITPOD_REFLECTION_ANSWERS) {
        return ngx_http_gitpod_reflection_end(r, ctx,
                                       &ngx_http_gitpod_reflection_enough);
    }

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_reflection_module);

    request.ptr = (char *) ctx->frame + GP_GRPC_HEADER_LEN;
    request.len = n;

    len = gp_reflection_answer(rlcf->set, request, buf, &file);

    if (len < 0) {
        return ngx_http_gitpod_reflection_end(r, ctx,
                                     &ngx_http_gitpod_reflection_malformed);
    }

    head = ngx_pnalloc(r->pool, len);
    if (head == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(head, buf, len);

    out = ngx_http_gitpod_reflection_link(r, (char *) head, len);
    if (out == NULL) {
        return NGX_ERROR;
    }

    if (file.len) {
        out->next = ngx_http_gitpod_reflection_link(r, file.ptr, file.len);
        if (out->next == NULL) {
            return NGX_ERROR;
        }
    }

    (file.len ? out->next : out)->buf->flush = 1;

    return (ngx_http_output_filter(r, out) == NGX_ERROR) ? NGX_ERROR : NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_reflection_end(ngx_http_request_t *r,
    ngx_http_gitpod_reflection_ctx_t *ctx, ngx_str_t *trailer)
{
    ngx_chain_t  *out;

    ctx->ended = 1;

    out = ngx_http_gitpod_reflection_link(r, (char *) trailer->data,
                                          trailer->len);
    if (out == NULL) {
        return NGX_ERROR;
    }

    out->buf->last_buf = 1;
    out->buf->last_in_chain = 1;

    return (ngx_http_output_filter(r, out) == NGX_ERROR) ? NGX_ERROR : NGX_OK;
}


static ngx_chain_t *
ngx_http_gitpod_reflection_link(ngx_http_request_t *r, const char *data,
    size_t len)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    b = ngx_calloc_buf(r->pool);
    cl = ngx_alloc_chain_link(r->pool);

    if (b == NULL || cl == NULL) {
        return NULL;
    }

    b->pos = (u_char *) (uintptr_t) data;
    b->last = b->pos + len;
    b->memory = 1;

    cl->buf = b;
    cl->next = NULL;

    return cl;
}


static void
ngx_http_gitpod_reflection_write(ngx_http_request_t *r)
{
    if (ngx_http_output_filter(r, NULL) == NGX_ERROR) {
        ngx_http_finalize_request(r, NGX_ERROR);
    }
}


static void *
ngx_http_gitpod_reflection_create_loc_conf(ngx_conf_t *cf)
{
    /*
     * set by ngx_pcalloc():
     *
     *     conf->set = { NULL, 0 };
     */

    return ngx_pcalloc(cf->pool,
                       sizeof(ngx_http_gitpod_reflection_loc_conf_t));
}


static char *
ngx_http_gitpod_reflection(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_reflection_loc_conf_t *rlcf = conf;

    ngx_str_t                 *value;
    ngx_http_core_loc_conf_t  *clcf;

    if (rlcf->set.ptr) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_conf_full_name(cf->cycle, &value[1], 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_gitpod_reflection_handler;

    return ngx_http_gitpod_reflection_load(cf, &value[1], &rlcf->set);
}


static char *
ngx_http_gitpod_reflection_load(ngx_conf_t *cf, ngx_str_t *path,
    gp_span_t *set)
{
    u_char           *p;
    size_t            size;
    ssize_t           n;
    ngx_fd_t          fd;
    ngx_file_info_t   fi;

    fd = ngx_open_file(path->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", path);
        return NGX_CONF_ERROR;
    }

    n = -1;
    size = 0;
    p = NULL;

    if (ngx_fd_info(fd, &fi) != NGX_FILE_ERROR) {
        size = ngx_min(ngx_file_size(&fi), NGX_HTTP_GITPOD_REFLECTION_SET + 1);
        p = ngx_pnalloc(cf->pool, size + 1);
    }

    if (p) {
        n = ngx_read_fd(fd, p, size);
    }

    if (ngx_close_file(fd) == NGX_FILE_ERROR || n == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "reading \"%V\" failed", path);
        return NGX_CONF_ERROR;
    }

    set->ptr = (char *) p;
    set->len = n;

    if (n > NGX_HTTP_GITPOD_REFLECTION_SET || gp_reflection_check(*set) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is no FileDescriptorSet of at most 1 MB: "
                           "make one by \"protoc --include_imports "
                           "--descriptor_set_out=%V\"", path, path);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}

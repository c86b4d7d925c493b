
/*
 * The status of gRPC: from the trailer frame of an answer, or of our own.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/code.h"

#include "ngx_gitpod_json.h"
#include "ngx_http_gitpod_grpc.h"


#define NGX_HTTP_GITPOD_GRPC_MESSAGE  1024    /* bytes of a message used */


static ngx_int_t ngx_http_gitpod_grpc_add(ngx_list_t *list, ngx_str_t *name,
    ngx_str_t *value);


static ngx_str_t  ngx_http_gitpod_grpc_name_status =
    ngx_string("grpc-status");
static ngx_str_t  ngx_http_gitpod_grpc_name_message =
    ngx_string("grpc-message");


/* An answer without a status is one that broke off. */

ngx_int_t
ngx_http_gitpod_grpc_trailers(ngx_http_request_t *r,
    ngx_http_gitpod_grpc_ctx_t *ctx)
{
    int          rc;
    ngx_str_t    name, value;
    gp_span_t    text, n, v;
    ngx_list_t  *trailers;

    static ngx_str_t  broken =
        ngx_string("The service broke the answer off. Try again");

    if (ctx->ended) {
        return NGX_OK;
    }

    ctx->ended = 1;
    trailers = &r->headers_out.trailers;

    text.ptr = ctx->text ? (char *) ctx->text->pos : NULL;
    text.len = (ctx->text && ctx->scan.done)
               ? (size_t) (ctx->text->last - ctx->text->pos) : 0;

    for ( ;; ) {
        rc = gp_grpc_trailer_next(&text, &n, &v);

        if (rc <= 0) {
            break;
        }

        name.data = (u_char *) (uintptr_t) n.ptr;
        name.len = n.len;
        value.data = (u_char *) (uintptr_t) v.ptr;
        value.len = v.len;

        if (ngx_http_gitpod_grpc_add(trailers, &name, &value) != NGX_OK) {
            return NGX_ERROR;
        }

        if (name.len == ngx_http_gitpod_grpc_name_status.len
            && ngx_memcmp(name.data, ngx_http_gitpod_grpc_name_status.data,
                          name.len)
               == 0)
        {
            ctx->status = value;
        }
    }

    if (rc == 0 && ctx->status.len) {
        return NGX_OK;
    }

    if (ctx->status.len) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "the trailer frame of the answer is malformed");
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "the answer ended without a grpc-status");

    return ngx_http_gitpod_grpc_status(r, ctx, trailers, GP_UNAVAILABLE,
                                       &broken);
}


/* The message of {"code":...,"message":...}, else the number of the status. */

ngx_int_t
ngx_http_gitpod_grpc_message(ngx_http_request_t *r,
    ngx_http_gitpod_grpc_ctx_t *ctx, ngx_str_t *message)
{
    json_t     *json;
    ngx_str_t   text;

    json = NULL;
    ngx_str_null(&text);

    if (ctx->text) {
        json = json_loadb((char *) ctx->text->pos,
                          ctx->text->last - ctx->text->pos, 0, NULL);
        text = ngx_gitpod_json_text(json_object_get(json, "message"));
    }

    if (text.len == 0 || text.len > NGX_HTTP_GITPOD_GRPC_MESSAGE) {
        message->data = ngx_pnalloc(r->pool, sizeof("HTTP status ")
                                             + NGX_INT_T_LEN);
        if (message->data) {
            message->len = ngx_sprintf(message->data, "HTTP status %ui",
                                       r->headers_out.status)
                           - message->data;
        }

    } else {
        message->data = ngx_pstrdup(r->pool, &text);
        message->len = text.len;
    }

    json_decref(json);

    return message->data ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_http_gitpod_grpc_status(ngx_http_request_t *r,
    ngx_http_gitpod_grpc_ctx_t *ctx, ngx_list_t *list, ngx_uint_t code,
    ngx_str_t *message)
{
    u_char     *p;
    ngx_str_t   escaped;

    p = ngx_pnalloc(r->pool, NGX_INT_T_LEN + 3 * message->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ctx->status.data = p;
    ctx->status.len = ngx_sprintf(p, "%ui", code) - p;

    escaped.data = p + ctx->status.len;
    escaped.len = gp_grpc_message_escape((char *) message->data, message->len,
                                         (char *) escaped.data);

    if (ngx_http_gitpod_grpc_add(list, &ngx_http_gitpod_grpc_name_status,
                                 &ctx->status)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_gitpod_grpc_add(list, &ngx_http_gitpod_grpc_name_message,
                                    &escaped);
}


static ngx_int_t
ngx_http_gitpod_grpc_add(ngx_list_t *list, ngx_str_t *name, ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(list);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    h->key = *name;
    h->value = *value;
    h->lowcase_key = h->key.data;

    return NGX_OK;
}


/*
 * A question of the gateway to the auth plugin: a subrequest to an internal
 * location.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_gitpod_request.h"


static ngx_int_t ngx_http_gitpod_ask_bare(ngx_http_request_t *r,
    ngx_http_request_t *sr);
static ngx_int_t ngx_http_gitpod_asked(ngx_http_request_t *r, void *data,
    ngx_int_t rc);


ngx_int_t
ngx_http_gitpod_ask(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_str_t *uri)
{
    ngx_http_request_t          *sr;
    ngx_http_post_subrequest_t  *ps;

    ps = ngx_palloc(r->pool, sizeof(ngx_http_post_subrequest_t));
    if (ps == NULL) {
        return NGX_ERROR;
    }

    ps->handler = ngx_http_gitpod_asked;
    ps->data = ctx;

    if (ngx_http_subrequest(r, uri, NULL, &sr, ps, NGX_HTTP_SUBREQUEST_WAITED)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_http_gitpod_ask_bare(r, sr) != NGX_OK) {
        return NGX_ERROR;
    }

    ctx->subrequest = sr;
    ctx->asked = 1;
    ctx->asked_at = ngx_time() - 1;

    return NGX_AGAIN;
}


/* The same, while the request goes on: handler gets the answer. */

ngx_int_t
ngx_http_gitpod_ask_behind(ngx_http_request_t *r, ngx_str_t *uri,
    ngx_http_post_subrequest_pt handler, void *data)
{
    ngx_http_request_t          *sr;
    ngx_http_post_subrequest_t  *ps;

    ps = ngx_palloc(r->pool, sizeof(ngx_http_post_subrequest_t));
    if (ps == NULL) {
        return NGX_ERROR;
    }

    ps->handler = handler;
    ps->data = data;

    if (ngx_http_subrequest(r, uri, NULL, &sr, ps,
                            NGX_HTTP_SUBREQUEST_BACKGROUND)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_gitpod_ask_bare(r, sr);
}


/* A GET without a body: else upstream would take the client's for its own. */

static ngx_int_t
ngx_http_gitpod_ask_bare(ngx_http_request_t *r, ngx_http_request_t *sr)
{
    sr->request_body = ngx_pcalloc(r->pool, sizeof(ngx_http_request_body_t));
    if (sr->request_body == NULL) {
        return NGX_ERROR;
    }

    sr->header_only = 1;
    sr->method = NGX_HTTP_GET;
    ngx_str_set(&sr->method_name, "GET");

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_asked(ngx_http_request_t *r, void *data, ngx_int_t rc)
{
    ngx_http_gitpod_ctx_t  *ctx = data;

    ctx->answered = 1;
    ctx->status = r->headers_out.status;

    if (rc == NGX_ERROR || rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        ctx->status = (rc == NGX_ERROR) ? NGX_HTTP_BAD_GATEWAY : rc;

        /* no error_page for a question of ours */

        return NGX_OK;
    }

    return rc;
}


/* A header of the plugin's answer, or NULL. */

ngx_str_t *
ngx_http_gitpod_ask_header(ngx_http_request_t *sr, char *name)
{
    size_t            len;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    len = ngx_strlen(name);
    part = &sr->headers_out.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return NULL;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len == len
            && ngx_strncasecmp(h[i].key.data, (u_char *) name, len) == 0)
        {
            return &h[i].value;
        }
    }
}

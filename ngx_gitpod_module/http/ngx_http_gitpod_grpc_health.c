
/*
 * gitpod_grpc_health: grpc.health.v1.Health, what /ready says for load
 * balancers that speak gRPC.  Check is answered from memory, in gRPC-web; the
 * filter turns that into gRPC.  Watch is in ngx_http_gitpod_grpc_watch.c.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/grpc.h"

#include "ngx_http_gitpod_grpc.h"
#include "ngx_http_gitpod_probe.h"


#define NGX_HTTP_GITPOD_HEALTH_BODY  256    /* bytes of a question */


static ngx_int_t ngx_http_gitpod_grpc_health_check(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_grpc_health_watch(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_grpc_health_handler(ngx_http_request_t *r,
    ngx_http_client_body_handler_pt handler);
static int ngx_http_gitpod_grpc_health_name(ngx_http_request_t *r,
    gp_span_t *name);
static void ngx_http_gitpod_grpc_health_asked(ngx_http_request_t *r);
static void ngx_http_gitpod_grpc_health_watched(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_grpc_health_send(ngx_http_request_t *r,
    ngx_str_t *body);


static ngx_str_t  ngx_http_gitpod_health_serving =
    ngx_string("\0\0\0\0\2\x08\1\x80\0\0\0\x10" "grpc-status: 0\r\n");

static ngx_str_t  ngx_http_gitpod_health_not_serving =
    ngx_string("\0\0\0\0\2\x08\2\x80\0\0\0\x10" "grpc-status: 0\r\n");

static ngx_str_t  ngx_http_gitpod_health_not_found =
    ngx_string("\x80\0\0\0\x56" "grpc-status: 5\r\n"
               "grpc-message: Only the whole server has a health: "
               "ask without a name\r\n");

static ngx_str_t  ngx_http_gitpod_health_malformed =
    ngx_string("\x80\0\0\0\x42" "grpc-status: 3\r\n"
               "grpc-message: This is not one HealthCheckRequest\r\n");


char *
ngx_http_gitpod_grpc_health(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t                    *value;
    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_gitpod_main_conf_t  *mcf;

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "watch") != 0) {
        return "is followed by nothing, for Check, or by \"watch\"";
    }

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gitpod_module);

    if (mcf->shm_zone == NULL) {
        return "needs \"gitpod_zone\" before it";
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = (cf->args->nelts == 2)
                    ? ngx_http_gitpod_grpc_health_watch
                    : ngx_http_gitpod_grpc_health_check;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_gitpod_grpc_health_check(ngx_http_request_t *r)
{
    return ngx_http_gitpod_grpc_health_handler(r,
                                       ngx_http_gitpod_grpc_health_asked);
}


static ngx_int_t
ngx_http_gitpod_grpc_health_watch(ngx_http_request_t *r)
{
    return ngx_http_gitpod_grpc_health_handler(r,
                                       ngx_http_gitpod_grpc_health_watched);
}


static ngx_int_t
ngx_http_gitpod_grpc_health_handler(ngx_http_request_t *r,
    ngx_http_client_body_handler_pt handler)
{
    ngx_int_t   rc;
    ngx_str_t  *type;

    if (r->method != NGX_HTTP_POST) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    if (r->headers_in.content_type == NULL) {
        return NGX_HTTP_UNSUPPORTED_MEDIA_TYPE;
    }

    type = &r->headers_in.content_type->value;

    if (!gp_grpc_is_web((char *) type->data, type->len)
        && !(r->http_version == NGX_HTTP_VERSION_20
             && gp_grpc_is_native((char *) type->data, type->len)))
    {
        return NGX_HTTP_UNSUPPORTED_MEDIA_TYPE;
    }

    r->request_body_in_single_buf = 1;

    rc = ngx_http_read_client_request_body(r, handler);

    return (rc >= NGX_HTTP_SPECIAL_RESPONSE) ? rc : NGX_DONE;
}


/* Which service is asked about: of one frame, empty for all of them. */

static int
ngx_http_gitpod_grpc_health_name(ngx_http_request_t *r, gp_span_t *name)
{
    size_t        len;
    ngx_buf_t    *b;
    ngx_chain_t  *bufs;

    b = NULL;
    bufs = r->request_body ? r->request_body->bufs : NULL;

    if (bufs && bufs->next == NULL && ngx_buf_in_memory(bufs->buf)) {
        b = bufs->buf;
    }

    len = b ? (size_t) (b->last - b->pos) : 0;

    return (len <= NGX_HTTP_GITPOD_HEALTH_BODY)
           ? gp_grpc_health_service(b ? b->pos : NULL, len, name) : -1;
}


static void
ngx_http_gitpod_grpc_health_asked(ngx_http_request_t *r)
{
    gp_span_t   name;
    ngx_str_t  *answer;

    if (ngx_http_gitpod_grpc_health_name(r, &name) != 0) {
        answer = &ngx_http_gitpod_health_malformed;

    } else if (name.len) {
        answer = &ngx_http_gitpod_health_not_found;

    } else {
        answer = ngx_http_gitpod_probe_is_ready(r)
                 ? &ngx_http_gitpod_health_serving
                 : &ngx_http_gitpod_health_not_serving;
    }

    ngx_http_finalize_request(r, ngx_http_gitpod_grpc_health_send(r, answer));
}


static void
ngx_http_gitpod_grpc_health_watched(ngx_http_request_t *r)
{
    gp_span_t  name;

    if (ngx_http_gitpod_grpc_health_name(r, &name) != 0) {
        ngx_http_finalize_request(r,
            ngx_http_gitpod_grpc_health_send(r,
                                         &ngx_http_gitpod_health_malformed));
        return;
    }

    ngx_http_gitpod_grpc_watch(r, name.len == 0);
}


static ngx_int_t
ngx_http_gitpod_grpc_health_send(ngx_http_request_t *r, ngx_str_t *body)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = body->len;
    ngx_str_set(&r->headers_out.content_type, GP_GRPC_WEB_TYPE "+proto");
    r->headers_out.content_type_len = r->headers_out.content_type.len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = body->data;
    b->last = body->data + body->len;
    b->memory = 1;
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


/*
 * gitpod_drain: the word in shared memory that turns /ready to 503 in every
 * worker, before anything closes.  Who stops nginx sets it, waits until load
 * balancers have seen it, and then sends SIGQUIT.
 *
 * gitpod_resumable: what does not keep a worker from ending then.
 */


#include "ngx_http_gitpod.h"
#include "ngx_http_gitpod_request.h"
#include "ngx_gitpod_zone.h"


#define NGX_HTTP_GITPOD_DRAIN_TEXT  128     /* bytes of an answer */


typedef struct {
    ngx_flag_t  resumable;
} ngx_http_gitpod_drain_loc_conf_t;


static void *ngx_http_gitpod_drain_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_gitpod_drain_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static char *ngx_http_gitpod_drain_conf(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_gitpod_drain_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_gitpod_drain_close(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_drain_resumable(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_drain_handler(ngx_http_request_t *r);
static void ngx_http_gitpod_drain_set(ngx_gitpod_zone_t *zone, uint64_t since,
    ngx_log_t *log);
static ngx_int_t ngx_http_gitpod_drain_send(ngx_http_request_t *r,
    ngx_gitpod_zone_t *zone);


static ngx_command_t  ngx_http_gitpod_drain_commands[] = {

    { ngx_string("gitpod_drain"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_gitpod_drain_conf,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gitpod_resumable"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gitpod_drain_loc_conf_t, resumable),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gitpod_drain_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_gitpod_drain_init,            /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_gitpod_drain_create_loc_conf, /* create location configuration */
    ngx_http_gitpod_drain_merge_loc_conf   /* merge location configuration */
};


ngx_module_t  ngx_http_gitpod_drain_module = {
    NGX_MODULE_V1,
    &ngx_http_gitpod_drain_module_ctx,     /* module context */
    ngx_http_gitpod_drain_commands,        /* module directives */
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


static void *
ngx_http_gitpod_drain_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_gitpod_drain_loc_conf_t  *conf;

    conf = ngx_palloc(cf->pool, sizeof(ngx_http_gitpod_drain_loc_conf_t));

    if (conf) {
        conf->resumable = NGX_CONF_UNSET;
    }

    return conf;
}


static char *
ngx_http_gitpod_drain_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_gitpod_drain_loc_conf_t *prev = parent;
    ngx_http_gitpod_drain_loc_conf_t *conf = child;

    ngx_conf_merge_value(conf->resumable, prev->resumable, 0);

    return NGX_CONF_OK;
}


static char *
ngx_http_gitpod_drain_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_gitpod_main_conf_t  *mcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gitpod_module);

    if (mcf->shm_zone == NULL) {
        return "needs \"gitpod_zone\" before it";
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_gitpod_drain_handler;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_gitpod_drain_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt          *h;
    ngx_http_core_main_conf_t    *cmcf;
    ngx_http_gitpod_main_conf_t  *mcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gitpod_module);

    if (mcf->shm_zone == NULL) {
        return NGX_OK;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_POST_READ_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_gitpod_drain_close;

    /* after access: from then on what lives is judged by its right */

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_gitpod_drain_resumable;

    return NGX_OK;
}


/*
 * What is answered now is the last answer on its connection, so that the end
 * of this process finds none between two requests.
 */

static ngx_int_t
ngx_http_gitpod_drain_close(ngx_http_request_t *r)
{
    if (ngx_gitpod_drain_since(ngx_http_gitpod_zone(r))) {
        r->keepalive = 0;
    }

    return NGX_DECLINED;
}


/* Ends when its worker is told to: ngx_http_gitpod_live.c. */

static ngx_int_t
ngx_http_gitpod_drain_resumable(ngx_http_request_t *r)
{
    ngx_http_gitpod_ctx_t             *ctx;
    ngx_http_gitpod_drain_loc_conf_t  *dlcf;

    dlcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_drain_module);

    if (!dlcf->resumable || r != r->main) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_gitpod_ctx_get(r);

    if (ctx) {
        ctx->resumable = 1;
        ngx_http_gitpod_live_add(ctx);
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_gitpod_drain_handler(ngx_http_request_t *r)
{
    ngx_int_t           rc;
    ngx_gitpod_zone_t  *zone;

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    zone = ngx_http_gitpod_zone(r);

    switch (r->method) {

    case NGX_HTTP_POST:
        if (!ngx_gitpod_drain_since(zone)) {
            ngx_http_gitpod_drain_set(zone, ngx_gitpod_now_ms(),
                                      r->connection->log);
        }

        break;

    case NGX_HTTP_DELETE:
        if (ngx_gitpod_drain_since(zone)) {
            ngx_http_gitpod_drain_set(zone, 0, r->connection->log);
        }

        break;

    case NGX_HTTP_GET:
    case NGX_HTTP_HEAD:
        break;

    default:
        return NGX_HTTP_NOT_ALLOWED;
    }

    return ngx_http_gitpod_drain_send(r, zone);
}


static void
ngx_http_gitpod_drain_set(ngx_gitpod_zone_t *zone, uint64_t since,
    ngx_log_t *log)
{
    __atomic_store_n(&zone->drain_ms, since, __ATOMIC_RELEASE);

    ngx_log_error(NGX_LOG_NOTICE, log, 0,
                  since ? "gitpod: draining: /ready answers 503"
                        : "gitpod: draining ended: /ready tells the checks");
}


static ngx_int_t
ngx_http_gitpod_drain_send(ngx_http_request_t *r, ngx_gitpod_zone_t *zone)
{
    uint64_t     since;
    ngx_buf_t   *b;
    ngx_int_t    rc;
    ngx_chain_t  out;

    b = ngx_create_temp_buf(r->pool, NGX_HTTP_GITPOD_DRAIN_TEXT);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    since = ngx_gitpod_drain_since(zone);

    b->last = ngx_slprintf(b->last, b->end,
                           "{\"status\":\"%s\",\"since_ms\":%uL}\n",
                           since ? "draining" : "serving",
                           since ? ngx_gitpod_now_ms() - since : 0);

    b->last_buf = (r == r->main);
    b->last_in_chain = 1;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = b->last - b->pos;
    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}

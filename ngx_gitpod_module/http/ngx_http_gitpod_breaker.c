
/*
 * gitpod_breaker: what a request to an upstream with a breaker meets.
 *
 * It is admitted when the upstream is initialised, and judged once: when the
 * header of the answer goes out, or, without one, when the upstream is
 * finalised.  So retries among the servers of an upstream are one request, a
 * WebSocket counts by its handshake and a stream by its beginning.
 *
 * A refused request gets a peer that declines, so nginx would answer 502.  It
 * is stopped where it sends the header of that answer, and goes on, from the
 * queue of posted requests, with the fallback or with a 503 of ours.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_gitpod_request.h"
#include "ngx_http_gitpod_breaker.h"


/* no route to it, no neighbour: the kernel's timeout instead of ours */
#define NGX_HTTP_GITPOD_BREAKER_SLOW_MS  1000


static ngx_int_t ngx_http_gitpod_breaker_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);
static void ngx_http_gitpod_breaker_route(ngx_http_request_t *r,
    ngx_gitpod_breaker_use_t *use);
static ngx_int_t ngx_http_gitpod_breaker_decline(ngx_peer_connection_t *pc,
    void *data);
static void ngx_http_gitpod_breaker_finalize(ngx_http_request_t *r,
    ngx_int_t rc);
static void ngx_http_gitpod_breaker_judge(ngx_http_request_t *r,
    ngx_http_gitpod_breaker_ctx_t *ctx);
static ngx_int_t ngx_http_gitpod_breaker_outcome(ngx_http_upstream_t *u);
static void ngx_http_gitpod_breaker_cleanup(void *data);
static ngx_http_gitpod_breaker_ctx_t *ngx_http_gitpod_breaker_ctx(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_breaker_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_breaker_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gitpod_breaker_add_variables(ngx_conf_t *cf);
static ngx_int_t ngx_http_gitpod_breaker_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_gitpod_breaker_init_module(ngx_cycle_t *cycle);
static void *ngx_http_gitpod_breaker_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_gitpod_breaker_create_srv_conf(ngx_conf_t *cf);


static ngx_command_t  ngx_http_gitpod_breaker_commands[] = {

    { ngx_string("gitpod_breaker"),
      NGX_HTTP_UPS_CONF|NGX_CONF_ANY,
      ngx_http_gitpod_breaker_conf,
      NGX_HTTP_SRV_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gitpod_breaker_module_ctx = {
    ngx_http_gitpod_breaker_add_variables, /* preconfiguration */
    ngx_http_gitpod_breaker_init,          /* postconfiguration */

    ngx_http_gitpod_breaker_create_main_conf, /* create main configuration */
    NULL,                                  /* init main configuration */

    ngx_http_gitpod_breaker_create_srv_conf, /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_gitpod_breaker_module = {
    NGX_MODULE_V1,
    &ngx_http_gitpod_breaker_module_ctx,   /* module context */
    ngx_http_gitpod_breaker_commands,      /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_gitpod_breaker_init_module,   /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_http_variable_t  ngx_http_gitpod_breaker_variables[] = {

    { ngx_string("gitpod_breaker_state"), NULL,
      ngx_http_gitpod_breaker_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gitpod_breaker_reason"), NULL,
      ngx_http_gitpod_breaker_variable, 1, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;


ngx_int_t
ngx_http_gitpod_breaker_init_upstream(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_gitpod_breaker_srv_conf_t  *bscf;

    bscf = ngx_http_conf_upstream_srv_conf(us, ngx_http_gitpod_breaker_module);

    if (bscf->init_upstream(cf, us) != NGX_OK) {
        return NGX_ERROR;
    }

    bscf->routes = ngx_http_gitpod_route_used(us);
    bscf->init_peer = us->peer.init;

    us->peer.init = ngx_http_gitpod_breaker_init_peer;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_breaker_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_int_t                            rc;
    ngx_pool_cleanup_t                  *cln;
    ngx_http_upstream_t                 *u;
    ngx_gitpod_breaker_use_t            *use;
    ngx_http_gitpod_breaker_ctx_t       *ctx;
    ngx_http_gitpod_breaker_srv_conf_t  *bscf;

    bscf = ngx_http_conf_upstream_srv_conf(us, ngx_http_gitpod_breaker_module);

    if (bscf->init_peer(r, us) != NGX_OK) {
        return NGX_ERROR;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_gitpod_breaker_ctx_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_http_gitpod_breaker_ctx_t));

    u = r->upstream;
    use = &ctx->use;

    ctx->request = r;
    ctx->conf = bscf;
    ctx->finalize = u->finalize_request;

    use->zone = bscf->zone;
    use->breaker = bscf->breaker;
    use->policy = &bscf->policy;

    if (bscf->routes) {
        ngx_http_gitpod_breaker_route(r, use);
    }

    rc = ngx_gitpod_breaker_admit(use);

    ngx_http_gitpod_breaker_log(bscf, use, r->connection->log);

    ctx->phase = use->phase;
    ctx->reason = use->reason;

    /* from here on it is found, and its probe is given back */

    cln->handler = ngx_http_gitpod_breaker_cleanup;
    ngx_http_set_ctx(r, ctx, ngx_http_gitpod_breaker_module);

    if (rc == NGX_OK) {
        u->finalize_request = ngx_http_gitpod_breaker_finalize;
        return NGX_OK;
    }

    ctx->refused = 1;
    ctx->judged = 1;

    u->peer.get = ngx_http_gitpod_breaker_decline;
    u->peer.data = ctx;

    return NGX_OK;
}


/* gitpod_route has seen to it that there is an address. */

static void
ngx_http_gitpod_breaker_route(ngx_http_request_t *r,
    ngx_gitpod_breaker_use_t *use)
{
    ngx_http_gitpod_ctx_t  *gctx;

    gctx = ngx_http_gitpod_ctx_get(r);

    ngx_gitpod_breaker_key(use, gctx->instance_id.data, gctx->instance_id.len,
                           ngx_inet_get_port(&gctx->sockaddr.sockaddr));
}


/*
 * Declined, nginx goes to the next server without a word in the log; there is
 * none.  The error page is for our own answer, not for its 502.
 */

static ngx_int_t
ngx_http_gitpod_breaker_decline(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_gitpod_breaker_ctx_t  *ctx = data;

    ngx_http_request_t  *r;

    r = ctx->request;

    pc->cached = 0;
    pc->connection = NULL;
    pc->name = &ctx->conf->host;
    pc->tries = 0;

    ctx->error_page = r->error_page;

    if (r == r->main) {
        r->error_page = 1;
    }

    return NGX_DECLINED;
}


static void
ngx_http_gitpod_breaker_finalize(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_http_gitpod_breaker_ctx_t  *ctx;

    ctx = ngx_http_gitpod_breaker_ctx(r);

    ngx_http_gitpod_breaker_judge(r, ctx);

    ctx->finalize(r, rc);
}


static void
ngx_http_gitpod_breaker_judge(ngx_http_request_t *r,
    ngx_http_gitpod_breaker_ctx_t *ctx)
{
    ngx_int_t  reason;

    if (ctx->judged) {
        return;
    }

    ctx->judged = 1;

    reason = ngx_http_gitpod_breaker_outcome(r->upstream);

    if (reason == NGX_DECLINED) {
        ngx_gitpod_breaker_abandon(&ctx->use);
        return;
    }

    if (!(ctx->conf->on & (ngx_uint_t) 1 << reason)) {
        reason = GP_BREAKER_NONE;
    }

    ngx_gitpod_breaker_judge(&ctx->use, (ngx_uint_t) reason);
    ngx_http_gitpod_breaker_log(ctx->conf, &ctx->use, r->connection->log);
}


/*
 * An enum gp_breaker_reason, or NGX_DECLINED when it cannot be told: the
 * client went away first.
 */

static ngx_int_t
ngx_http_gitpod_breaker_outcome(ngx_http_upstream_t *u)
{
    ngx_uint_t                  status, header;
    ngx_http_upstream_state_t  *state;

    state = u->state;

    if (state == NULL) {
        return NGX_DECLINED;
    }

    header = (state->header_time != (ngx_msec_t) -1);
    status = header ? u->headers_in.status_n : state->status;

    if (header) {

        switch (status) {

        case NGX_HTTP_INTERNAL_SERVER_ERROR:
            return GP_BREAKER_HTTP_500;

        case NGX_HTTP_BAD_GATEWAY:
            return GP_BREAKER_HTTP_502;

        case NGX_HTTP_SERVICE_UNAVAILABLE:
            return GP_BREAKER_HTTP_503;

        case NGX_HTTP_GATEWAY_TIME_OUT:
            return GP_BREAKER_HTTP_504;

        default:
            return GP_BREAKER_NONE;
        }
    }

    /* what nginx makes of an attempt that brought no header */

    if (status == NGX_HTTP_GATEWAY_TIME_OUT) {
        return GP_BREAKER_TIMEOUT;
    }

    if (status != NGX_HTTP_BAD_GATEWAY) {
        return NGX_DECLINED;
    }

    if (u->request_sent) {
        return GP_BREAKER_ERROR;
    }

    return (ngx_current_msec - u->start_time < NGX_HTTP_GITPOD_BREAKER_SLOW_MS)
           ? GP_BREAKER_CONNECT : GP_BREAKER_TIMEOUT;
}


/* The mark by which it is found again, and the last to give a probe back. */

static void
ngx_http_gitpod_breaker_cleanup(void *data)
{
    ngx_http_gitpod_breaker_ctx_t  *ctx = data;

    if (!ctx->judged) {
        ctx->judged = 1;
        ngx_gitpod_breaker_abandon(&ctx->use);
    }
}


/* Internal redirects and named locations clear r->ctx. */

static ngx_http_gitpod_breaker_ctx_t *
ngx_http_gitpod_breaker_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t             *cln;
    ngx_http_gitpod_breaker_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gitpod_breaker_module);

    if (ctx) {
        return ctx;
    }

    for (cln = r->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler == ngx_http_gitpod_breaker_cleanup) {
            ctx = cln->data;

            if (ctx->request == r) {
                return ctx;
            }
        }
    }

    return NULL;
}


static ngx_int_t
ngx_http_gitpod_breaker_header_filter(ngx_http_request_t *r)
{
    ngx_http_gitpod_breaker_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gitpod_breaker_module);

    if (ctx == NULL) {
        return ngx_http_next_header_filter(r);
    }

    if (ctx->refused && !ctx->diverted && r == r->main) {
        r->error_page = ctx->error_page;

        /* else it is something stale out of a cache: very well */

        if (r->err_status == NGX_HTTP_BAD_GATEWAY) {
            return ngx_http_gitpod_breaker_divert(r, ctx);
        }
    }

    if (!ctx->judged && r->upstream->state
        && r->upstream->state->header_time != (ngx_msec_t) -1)
    {
        ngx_http_gitpod_breaker_judge(r, ctx);
    }

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_gitpod_breaker_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    const char                     *name;
    ngx_http_gitpod_breaker_ctx_t  *ctx;

    ctx = ngx_http_gitpod_breaker_ctx(r);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    name = data ? gp_breaker_reason_name((enum gp_breaker_reason) ctx->reason)
                : gp_breaker_phase_name((enum gp_breaker_phase) ctx->phase);

    v->data = (u_char *) (uintptr_t) name;
    v->len = ngx_strlen(name);
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_breaker_add_variables(ngx_conf_t *cf)
{
    return ngx_http_gitpod_add_variables(cf,
                                         ngx_http_gitpod_breaker_variables);
}


static ngx_int_t
ngx_http_gitpod_breaker_init(ngx_conf_t *cf)
{
    ngx_uint_t                             i;
    ngx_http_gitpod_main_conf_t           *mcf;
    ngx_http_gitpod_breaker_srv_conf_t   **bscf;
    ngx_http_gitpod_breaker_main_conf_t   *bmcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gitpod_module);
    bmcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_gitpod_breaker_module);

    bscf = bmcf->breakers.elts;

    for (i = 0; i < bmcf->breakers.nelts; i++) {

        if (mcf->shm_zone == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"gitpod_breaker\" of upstream \"%V\" needs "
                          "\"gitpod_zone\" in http", &bscf[i]->host);
            return NGX_ERROR;
        }

        if (bscf[i]->init_peer == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"gitpod_breaker\" of upstream \"%V\" must come "
                          "after the load-balancing method",
                          &bscf[i]->host);
            return NGX_ERROR;
        }
    }

    if (bmcf->breakers.nelts) {
        ngx_http_next_header_filter = ngx_http_top_header_filter;
        ngx_http_top_header_filter = ngx_http_gitpod_breaker_header_filter;
    }

    return NGX_OK;
}


/* Of the master, before there are workers: where each breaker is kept. */

static ngx_int_t
ngx_http_gitpod_breaker_init_module(ngx_cycle_t *cycle)
{
    ngx_uint_t                             i;
    ngx_http_gitpod_main_conf_t           *mcf;
    ngx_http_gitpod_breaker_srv_conf_t   **bscf;
    ngx_http_gitpod_breaker_main_conf_t   *bmcf;

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_gitpod_module);
    bmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_gitpod_breaker_module);

    if (mcf == NULL || mcf->zone == NULL || bmcf == NULL) {
        return NGX_OK;
    }

    ngx_gitpod_breaker_begin(mcf->zone);

    bscf = bmcf->breakers.elts;

    for (i = 0; i < bmcf->breakers.nelts; i++) {
        bscf[i]->zone = mcf->zone;
        bscf[i]->breaker = ngx_gitpod_breaker_enter(mcf->zone, &bscf[i]->name,
                                                    bscf[i]->routes);
    }

    return NGX_OK;
}


static void *
ngx_http_gitpod_breaker_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_gitpod_breaker_main_conf_t  *bmcf;

    bmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_breaker_main_conf_t));
    if (bmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&bmcf->breakers, cf->pool, 8,
                       sizeof(ngx_http_gitpod_breaker_srv_conf_t *))
        != NGX_OK)
    {
        return NULL;
    }

    return bmcf;
}


static void *
ngx_http_gitpod_breaker_create_srv_conf(ngx_conf_t *cf)
{
    gp_breaker_policy_t                 *policy;
    ngx_http_gitpod_breaker_srv_conf_t  *bscf;

    bscf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_breaker_srv_conf_t));
    if (bscf == NULL) {
        return NULL;
    }

    policy = &bscf->policy;

    policy->failures = 5;
    policy->ratio = 50;
    policy->min = 20;
    policy->window_ms = 10000;
    policy->base_ms = 1000;
    policy->half_open = 1;
    policy->probe_ms = 10000;

    bscf->on = 1 << GP_BREAKER_CONNECT | 1 << GP_BREAKER_ERROR
               | 1 << GP_BREAKER_TIMEOUT | 1 << GP_BREAKER_HTTP_502
               | 1 << GP_BREAKER_HTTP_503 | 1 << GP_BREAKER_HTTP_504;

    return bscf;
}

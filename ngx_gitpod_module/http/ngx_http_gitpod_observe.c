
/*
 * gitpod_observe: requests by class, with their status and how long they
 * took.  The class is that of the location that a request came to first: the
 * page of an error belongs to what failed.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_gitpod_request.h"
#include "ngx_http_gitpod_observe.h"
#include "ngx_gitpod_zone.h"


#define NGX_HTTP_GITPOD_OBSERVE_LINE  224   /* bytes of one sample */


typedef struct {
    ngx_uint_t             n;
    ngx_str_t              names[NGX_GITPOD_CLASSES_MAX];
    ngx_flag_t             exemplars;
} ngx_http_gitpod_observe_main_conf_t;


/* numbers of names, plus 1; 0: not observed */

typedef struct {
    ngx_uint_t             class;
    ngx_uint_t             ports;           /* of port hosts */
} ngx_http_gitpod_observe_loc_conf_t;


static ngx_int_t ngx_http_gitpod_observe_preaccess(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_observe_log(ngx_http_request_t *r);
static ngx_uint_t ngx_http_gitpod_observe_class(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static uint64_t ngx_http_gitpod_observe_took(ngx_http_request_t *r);
static u_char *ngx_http_gitpod_observe_requests(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone);
static u_char *ngx_http_gitpod_observe_histogram(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone, size_t offset, const char *name,
    const char *help, ngx_uint_t exemplars);
static u_char *ngx_http_gitpod_observe_exemplar(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone, ngx_uint_t class, ngx_uint_t bucket);
static u_char *ngx_http_gitpod_observe_seconds(u_char *p, u_char *last,
    uint64_t ms);
static char *ngx_http_gitpod_observe(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_uint_t ngx_http_gitpod_observe_name(ngx_conf_t *cf,
    ngx_str_t *name);
static void *ngx_http_gitpod_observe_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_gitpod_observe_init_main_conf(ngx_conf_t *cf,
    void *conf);
static void *ngx_http_gitpod_observe_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_gitpod_observe_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static ngx_int_t ngx_http_gitpod_observe_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_gitpod_observe_init_process(ngx_cycle_t *cycle);


static ngx_command_t  ngx_http_gitpod_observe_commands[] = {

    { ngx_string("gitpod_observe"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_gitpod_observe,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gitpod_exemplars"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_gitpod_observe_main_conf_t, exemplars),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gitpod_observe_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_gitpod_observe_init,          /* postconfiguration */

    ngx_http_gitpod_observe_create_main_conf, /* create main configuration */
    ngx_http_gitpod_observe_init_main_conf, /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_gitpod_observe_create_loc_conf, /* create location conf */
    ngx_http_gitpod_observe_merge_loc_conf /* merge location configuration */
};


ngx_module_t  ngx_http_gitpod_observe_module = {
    NGX_MODULE_V1,
    &ngx_http_gitpod_observe_module_ctx,   /* module context */
    ngx_http_gitpod_observe_commands,      /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_gitpod_observe_init_process,  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* of this worker: where in the zone the classes of the configuration stand */

static ngx_uint_t  ngx_http_gitpod_observe_classes[NGX_GITPOD_CLASSES_MAX];


/* Notes the class before an error page, or whatever, moves the request on. */

static ngx_int_t
ngx_http_gitpod_observe_preaccess(ngx_http_request_t *r)
{
    ngx_http_gitpod_ctx_t  *ctx;

    if (r == r->main) {
        ctx = ngx_http_gitpod_ctx_get(r);

        if (ctx && ctx->observed == 0) {
            ctx->observed = ngx_http_gitpod_observe_class(r, NULL);
        }
    }

    return NGX_DECLINED;
}


static ngx_uint_t
ngx_http_gitpod_observe_class(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    ngx_http_gitpod_observe_loc_conf_t  *olcf;

    olcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_observe_module);

    if (ctx && ctx->observed) {

        /* ports are known once the host was taken apart */

        return (ctx->port && olcf->ports) ? olcf->ports : ctx->observed;
    }

    return (ctx && ctx->port && olcf->ports) ? olcf->ports : olcf->class;
}


static ngx_int_t
ngx_http_gitpod_observe_log(ngx_http_request_t *r)
{
    uint64_t                              took;
    ngx_uint_t                            n, class, status;
    ngx_gitpod_zone_t                    *zone;
    ngx_gitpod_class_t                   *shard;
    ngx_http_gitpod_ctx_t                *ctx;
    ngx_http_upstream_state_t            *state;
    ngx_http_gitpod_observe_main_conf_t  *omcf;

    zone = ngx_http_gitpod_zone(r);

    if (zone == NULL || r != r->main) {
        return NGX_OK;
    }

    ctx = ngx_http_gitpod_ctx_get(r);
    n = ngx_http_gitpod_observe_class(r, ctx);

    if (n == 0) {
        return NGX_OK;
    }

    class = ngx_http_gitpod_observe_classes[n - 1];

    if (class == NGX_GITPOD_NO_CLASS) {
        return NGX_OK;
    }

    shard = ngx_gitpod_class(zone, class);

    status = r->err_status ? r->err_status : r->headers_out.status;
    n = ngx_min(ngx_max(status / 100, 1), 5) - 1;
    (void) ngx_atomic_fetch_add(&shard->status[n], 1);

    /* how long a person kept an editor open says nothing about us */

    if (status == NGX_HTTP_SWITCHING_PROTOCOLS) {
        return NGX_OK;
    }

    took = ngx_http_gitpod_observe_took(r);
    ngx_gitpod_histogram_add(&shard->request, took);

    omcf = ngx_http_get_module_main_conf(r, ngx_http_gitpod_observe_module);

    if (omcf->exemplars && ctx && ctx->traced) {
        ngx_gitpod_exemplar_note(zone, class, took,
                                 ctx->traceparent.data + 3);
    }

    if (r->upstream_states && r->upstream_states->nelts) {
        state = r->upstream_states->elts;
        state += r->upstream_states->nelts - 1;

        if (state->peer && state->header_time != (ngx_msec_t) -1) {
            ngx_gitpod_histogram_add(&shard->upstream, state->header_time);
        }
    }

    return NGX_OK;
}


static uint64_t
ngx_http_gitpod_observe_took(ngx_http_request_t *r)
{
    ngx_msec_int_t        ms;
    volatile ngx_time_t  *tp;

    tp = ngx_cached_time;

    ms = (ngx_msec_int_t)
             ((tp->sec - r->start_sec) * 1000 + (tp->msec - r->start_msec));

    return ngx_max(ms, 0);
}


/* Metrics: see ngx_http_gitpod_metrics.c. */

size_t
ngx_http_gitpod_observe_metrics_size(void)
{
    return NGX_HTTP_GITPOD_OBSERVE_LINE * NGX_GITPOD_CLASSES_MAX
           * (5 + 2 * (NGX_GITPOD_BUCKETS_N + 2) + 1);
}


ngx_uint_t
ngx_http_gitpod_observe_exemplars(ngx_http_request_t *r)
{
    ngx_http_gitpod_observe_main_conf_t  *omcf;

    omcf = ngx_http_get_module_main_conf(r, ngx_http_gitpod_observe_module);

    return omcf->exemplars;
}


u_char *
ngx_http_gitpod_observe_metrics(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone, ngx_uint_t exemplars)
{
    if (zone->observe.names[0][0] == '\0') {
        return p;
    }

    p = ngx_http_gitpod_observe_requests(p, last, zone);

    p = ngx_http_gitpod_observe_histogram(p, last, zone,
            offsetof(ngx_gitpod_class_t, request),
            "gitpod_http_request_duration_seconds",
            "From the first byte of a request to the last of its answer, "
            "upgraded connections left out.", exemplars);

    return ngx_http_gitpod_observe_histogram(p, last, zone,
            offsetof(ngx_gitpod_class_t, upstream),
            "gitpod_http_upstream_seconds",
            "From the connection to the first byte of the answer of what "
            "stands behind the gateway.", 0);
}


static u_char *
ngx_http_gitpod_observe_requests(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone)
{
    uint64_t    sum;
    ngx_uint_t  class, shard, i;

    p = ngx_slprintf(p, last,
                     "# HELP gitpod_http_requests_total Requests by class and "
                     "status.\n# TYPE gitpod_http_requests_total counter\n");

    for (class = 0; class < NGX_GITPOD_CLASSES_MAX; class++) {

        if (zone->observe.names[class][0] == '\0') {
            break;
        }

        for (i = 0; i < 5; i++) {
            sum = 0;

            for (shard = 0; shard < NGX_GITPOD_SHARDS_N; shard++) {
                sum += zone->observe.shards[shard][class].status[i];
            }

            p = ngx_slprintf(p, last,
                             "gitpod_http_requests_total{class=\"%s\","
                             "status=\"%uixx\"} %uL\n",
                             zone->observe.names[class], i + 1, sum);
        }
    }

    return p;
}


static u_char *
ngx_http_gitpod_observe_histogram(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone, size_t offset, const char *name,
    const char *help, ngx_uint_t exemplars)
{
    char                    *label;
    uint64_t                 n, sum;
    ngx_uint_t               class, shard, i;
    ngx_gitpod_histogram_t  *h[NGX_GITPOD_SHARDS_N];

    p = ngx_slprintf(p, last, "# HELP %s %s\n# TYPE %s histogram\n", name,
                     help, name);

    for (class = 0; class < NGX_GITPOD_CLASSES_MAX; class++) {
        label = zone->observe.names[class];

        if (label[0] == '\0') {
            break;
        }

        sum = 0;

        for (shard = 0; shard < NGX_GITPOD_SHARDS_N; shard++) {
            h[shard] = (ngx_gitpod_histogram_t *) (void *)
                 ((u_char *) &zone->observe.shards[shard][class] + offset);
            sum += h[shard]->sum_ms;
        }

        n = 0;

        for (i = 0; i < NGX_GITPOD_BUCKETS_N; i++) {

            for (shard = 0; shard < NGX_GITPOD_SHARDS_N; shard++) {
                n += h[shard]->buckets[i];
            }

            p = ngx_slprintf(p, last, "%s_bucket{class=\"%s\",le=\"", name,
                             label);

            if (i == NGX_GITPOD_BUCKETS_N - 1) {
                p = ngx_slprintf(p, last, "+Inf");

            } else {
                p = ngx_http_gitpod_observe_seconds(p, last,
                                                    ngx_gitpod_bounds_ms[i]);
            }

            p = ngx_slprintf(p, last, "\"} %uL", n);

            if (exemplars) {
                p = ngx_http_gitpod_observe_exemplar(p, last, zone, class, i);
            }

            p = ngx_slprintf(p, last, "\n");
        }

        p = ngx_slprintf(p, last, "%s_sum{class=\"%s\"} ", name, label);
        p = ngx_http_gitpod_observe_seconds(p, last, sum);
        p = ngx_slprintf(p, last, "\n%s_count{class=\"%s\"} %uL\n", name,
                         label, n);
    }

    return p;
}


static u_char *
ngx_http_gitpod_observe_exemplar(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone, ngx_uint_t class, ngx_uint_t bucket)
{
    ngx_gitpod_exemplar_t  e;

    ngx_gitpod_exemplar_read(zone, class, bucket, &e);

    if (e.epoch_ms == 0) {
        return p;
    }

    p = ngx_slprintf(p, last, " # {trace_id=\"%*s\"} ",
                     (size_t) NGX_GITPOD_TRACE_LEN, e.trace);
    p = ngx_http_gitpod_observe_seconds(p, last, e.took_ms);
    p = ngx_slprintf(p, last, " ");

    return ngx_http_gitpod_observe_seconds(p, last, e.epoch_ms);
}


static u_char *
ngx_http_gitpod_observe_seconds(u_char *p, u_char *last, uint64_t ms)
{
    return ngx_slprintf(p, last, "%uL.%03uL", ms / 1000, ms % 1000);
}


static char *
ngx_http_gitpod_observe(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_observe_loc_conf_t *olcf = conf;

    ngx_str_t   *value, name;

    if (olcf->class != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;
    olcf->ports = 0;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        olcf->class = 0;
        return (cf->args->nelts == 2) ? NGX_CONF_OK
                                      : "takes nothing after \"off\"";
    }

    olcf->class = ngx_http_gitpod_observe_name(cf, &value[1]);

    if (olcf->class == 0) {
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 3) {

        if (ngx_strncmp(value[2].data, "ports=", 6) != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\": it takes a class "
                               "and \"ports=class\"", &value[2]);
            return NGX_CONF_ERROR;
        }

        name.data = value[2].data + 6;
        name.len = value[2].len - 6;
        olcf->ports = ngx_http_gitpod_observe_name(cf, &name);

        if (olcf->ports == 0) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* The number of a name, plus 1; 0 and a message when it cannot be. */

static ngx_uint_t
ngx_http_gitpod_observe_name(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_uint_t                            i;
    ngx_http_gitpod_observe_main_conf_t  *omcf;

    omcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_gitpod_observe_module);

    for (i = 0; i < name->len; i++) {
        if ((name->data[i] < 'a' || name->data[i] > 'z')
            && name->data[i] != '_')
        {
            break;
        }
    }

    if (i < name->len || i == 0 || i >= NGX_GITPOD_CLASS_NAME_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "class \"%V\" must be 1 to %d characters a-z or _",
                           name, NGX_GITPOD_CLASS_NAME_MAX - 1);
        return 0;
    }

    for (i = 0; i < omcf->n; i++) {
        if (omcf->names[i].len == name->len
            && ngx_strncmp(omcf->names[i].data, name->data, name->len) == 0)
        {
            return i + 1;
        }
    }

    if (omcf->n == NGX_GITPOD_CLASSES_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "class \"%V\" is one too many: at most %d",
                           name, NGX_GITPOD_CLASSES_MAX);
        return 0;
    }

    omcf->names[omcf->n++] = *name;

    return omcf->n;
}


static void *
ngx_http_gitpod_observe_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_gitpod_observe_main_conf_t  *omcf;

    omcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_observe_main_conf_t));
    if (omcf == NULL) {
        return NULL;
    }

    omcf->exemplars = NGX_CONF_UNSET;

    return omcf;
}


static char *
ngx_http_gitpod_observe_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_gitpod_observe_main_conf_t *omcf = conf;

    ngx_conf_init_value(omcf->exemplars, 0);

    return NGX_CONF_OK;
}


static void *
ngx_http_gitpod_observe_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_gitpod_observe_loc_conf_t  *olcf;

    olcf = ngx_palloc(cf->pool, sizeof(ngx_http_gitpod_observe_loc_conf_t));
    if (olcf == NULL) {
        return NULL;
    }

    olcf->class = NGX_CONF_UNSET_UINT;
    olcf->ports = NGX_CONF_UNSET_UINT;

    return olcf;
}


static char *
ngx_http_gitpod_observe_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_gitpod_observe_loc_conf_t *prev = parent;
    ngx_http_gitpod_observe_loc_conf_t *conf = child;

    ngx_conf_merge_uint_value(conf->class, prev->class, 0);
    ngx_conf_merge_uint_value(conf->ports, prev->ports, 0);

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_gitpod_observe_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt                  *h;
    ngx_http_core_main_conf_t            *cmcf;
    ngx_http_gitpod_main_conf_t          *mcf;
    ngx_http_gitpod_observe_main_conf_t  *omcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gitpod_module);
    omcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_gitpod_observe_module);

    if (omcf->n == 0) {
        return NGX_OK;
    }

    if (mcf->shm_zone == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"gitpod_observe\" needs \"gitpod_zone\"");
        return NGX_ERROR;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PREACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_gitpod_observe_preaccess;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_LOG_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_gitpod_observe_log;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_observe_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                            i, class;
    ngx_http_gitpod_main_conf_t          *mcf;
    ngx_http_gitpod_observe_main_conf_t  *omcf;

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_gitpod_module);
    omcf = ngx_http_cycle_get_module_main_conf(cycle,
                                              ngx_http_gitpod_observe_module);

    if (mcf == NULL || mcf->zone == NULL || omcf == NULL) {
        return NGX_OK;
    }

    for (i = 0; i < omcf->n; i++) {
        class = ngx_gitpod_class_enter(mcf->zone, &omcf->names[i]);

        if (class == NGX_GITPOD_NO_CLASS) {
            ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                          "gitpod_observe \"%V\" is not counted: earlier "
                          "configurations used up all %d classes, which "
                          "only a restart frees", &omcf->names[i],
                          NGX_GITPOD_CLASSES_MAX);
        }

        ngx_http_gitpod_observe_classes[i] = class;
    }

    return NGX_OK;
}

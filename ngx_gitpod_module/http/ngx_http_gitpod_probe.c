
/*
 * gitpod_probe: /live, /startup, /ready and /metrics.  Nothing is asked when
 * a probe comes in, so none can hang.
 */


#include "ngx_http_gitpod_probe.h"


#define NGX_HTTP_GITPOD_PROBE_LINE  768     /* bytes of one check, escaped */
#define NGX_HTTP_GITPOD_PROBE_HEAD  64      /* bytes before the checks */


static void *ngx_http_gitpod_probe_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_gitpod_probe_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_gitpod_probe_conf(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gitpod_probe_lag_conf(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_gitpod_probe_init_main_conf(ngx_conf_t *cf, void *conf);
static ngx_int_t ngx_http_gitpod_probe_postconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_gitpod_probe_init_process(ngx_cycle_t *cycle);
static void ngx_http_gitpod_probe_exit_process(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_gitpod_probe_handler(ngx_http_request_t *r);
static u_char *ngx_http_gitpod_probe_live(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone, ngx_http_gitpod_probe_main_conf_t *pmcf,
    ngx_uint_t verbose, ngx_uint_t *ok);
static u_char *ngx_http_gitpod_probe_startup(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone, ngx_http_gitpod_probe_main_conf_t *pmcf,
    ngx_uint_t *ok);
static u_char *ngx_http_gitpod_probe_ready(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone, ngx_http_gitpod_probe_main_conf_t *pmcf,
    ngx_uint_t verbose, ngx_uint_t *ok);
static u_char *ngx_http_gitpod_probe_check(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone, ngx_http_gitpod_check_t *check,
    ngx_uint_t *passed);
static ngx_uint_t ngx_http_gitpod_probe_verbose(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_probe_send(ngx_http_request_t *r,
    ngx_uint_t status, ngx_str_t *type, ngx_buf_t *b);


static ngx_conf_enum_t  ngx_http_gitpod_probes[] = {
    { ngx_string("live"), NGX_HTTP_GITPOD_PROBE_LIVE },
    { ngx_string("startup"), NGX_HTTP_GITPOD_PROBE_STARTUP },
    { ngx_string("ready"), NGX_HTTP_GITPOD_PROBE_READY },
    { ngx_string("metrics"), NGX_HTTP_GITPOD_PROBE_METRICS },
    { ngx_null_string, 0 }
};


/* off: /ready answers as /live does */

static ngx_str_t  ngx_http_gitpod_probe_flag =
    ngx_string("server_readiness_probe");


static ngx_command_t  ngx_http_gitpod_probe_commands[] = {

    { ngx_string("gitpod_check"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_2MORE,
      ngx_http_gitpod_check_conf,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gitpod_live_lag"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_gitpod_probe_lag_conf,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gitpod_probe"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gitpod_probe_conf,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gitpod_probe_loc_conf_t, probe),
      ngx_http_gitpod_probes },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gitpod_probe_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_gitpod_probe_postconfiguration, /* postconfiguration */

    ngx_http_gitpod_probe_create_main_conf, /* create main configuration */
    ngx_http_gitpod_probe_init_main_conf,  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_gitpod_probe_create_loc_conf, /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_gitpod_probe_module = {
    NGX_MODULE_V1,
    &ngx_http_gitpod_probe_module_ctx,     /* module context */
    ngx_http_gitpod_probe_commands,        /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_gitpod_probe_init_process,    /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_gitpod_probe_exit_process,    /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static void *
ngx_http_gitpod_probe_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_gitpod_probe_main_conf_t  *pmcf;

    pmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_probe_main_conf_t));
    if (pmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&pmcf->checks, cf->pool, 8,
                       sizeof(ngx_http_gitpod_check_t))
        != NGX_OK)
    {
        return NULL;
    }

    return pmcf;
}


static char *
ngx_http_gitpod_probe_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_gitpod_probe_main_conf_t *pmcf = conf;

    if (pmcf->lag == 0) {
        pmcf->lag = NGX_HTTP_GITPOD_LAG;
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_gitpod_probe_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_gitpod_probe_loc_conf_t  *plcf;

    plcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_probe_loc_conf_t));
    if (plcf == NULL) {
        return NULL;
    }

    plcf->probe = NGX_CONF_UNSET_UINT;

    return plcf;
}


static char *
ngx_http_gitpod_probe_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char                         *rv;
    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_gitpod_main_conf_t  *mcf;

    rv = ngx_conf_set_enum_slot(cf, cmd, conf);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gitpod_module);

    if (mcf->shm_zone == NULL) {
        return "needs \"gitpod_zone\" before it";
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_gitpod_probe_handler;

    return NGX_CONF_OK;
}


static char *
ngx_http_gitpod_probe_lag_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_probe_main_conf_t *pmcf = conf;

    ngx_int_t   lag;
    ngx_str_t  *value;

    if (pmcf->lag) {
        return "is duplicate";
    }

    value = cf->args->elts;
    lag = ngx_parse_time(&value[1], 0);

    if (lag == NGX_ERROR || lag < 1000 || lag > 3600000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is not a time of 1s to 1h", &value[1]);
        return NGX_CONF_ERROR;
    }

    pmcf->lag = (ngx_msec_t) lag;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_gitpod_probe_postconfiguration(ngx_conf_t *cf)
{
    ngx_http_gitpod_main_conf_t        *mcf;
    ngx_http_gitpod_probe_main_conf_t  *pmcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gitpod_module);
    pmcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_gitpod_probe_module);

    if (pmcf->checks.nelts && mcf->shm_zone == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"gitpod_check\" needs \"gitpod_zone\"");
        return NGX_ERROR;
    }

    pmcf->feed = (mcf->redis.sockaddr || mcf->route_file.len);

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_probe_init_process(ngx_cycle_t *cycle)
{
    ngx_http_gitpod_main_conf_t        *mcf;
    ngx_http_gitpod_probe_main_conf_t  *pmcf;

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_gitpod_module);
    pmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_gitpod_probe_module);

    if (mcf == NULL || mcf->zone == NULL || pmcf == NULL) {
        return NGX_OK;
    }

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    return ngx_http_gitpod_check_init(cycle, pmcf, mcf->zone);
}


static void
ngx_http_gitpod_probe_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_gitpod_probe_main_conf_t  *pmcf;

    pmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_gitpod_probe_module);

    if (pmcf) {
        ngx_http_gitpod_check_exit(pmcf);
    }
}


static ngx_int_t
ngx_http_gitpod_probe_handler(ngx_http_request_t *r)
{
    u_char                             *p, *last;
    size_t                              size;
    ngx_buf_t                          *b;
    ngx_int_t                           rc;
    ngx_str_t                           type;
    ngx_uint_t                          ok, verbose, draining;
    ngx_gitpod_zone_t                  *zone;
    ngx_http_gitpod_probe_loc_conf_t   *plcf;
    ngx_http_gitpod_probe_main_conf_t  *pmcf;

    u_char                              head[NGX_HTTP_GITPOD_PROBE_HEAD];

    static ngx_str_t  json = ngx_string("application/json");
    static ngx_str_t  nobody = ngx_null_string;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    zone = ngx_http_gitpod_zone(r);
    plcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_probe_module);
    pmcf = ngx_http_get_module_main_conf(r, ngx_http_gitpod_probe_module);

    if (zone == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (plcf->probe == NGX_HTTP_GITPOD_PROBE_METRICS) {
        b = ngx_http_gitpod_metrics(r, zone, pmcf, &type);

        return ngx_http_gitpod_probe_send(r, NGX_HTTP_OK, &type, b);
    }

    size = 128 + NGX_HTTP_GITPOD_PROBE_LINE * (pmcf->checks.nelts + 2)
           + 128 * NGX_GITPOD_WORKERS_MAX;

    b = ngx_create_temp_buf(r->pool, size);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ok = 1;
    draining = 0;
    verbose = ngx_http_gitpod_probe_verbose(r);

    /* the members first: they decide about the status before them */

    p = b->last + NGX_HTTP_GITPOD_PROBE_HEAD;
    last = b->end - 4;

    switch (plcf->probe) {

    case NGX_HTTP_GITPOD_PROBE_LIVE:
        last = ngx_http_gitpod_probe_live(p, last, zone, pmcf, verbose, &ok);
        break;

    case NGX_HTTP_GITPOD_PROBE_STARTUP:
        last = ngx_http_gitpod_probe_startup(p, last, zone, pmcf, &ok);
        break;

    default:
        draining = (ngx_gitpod_drain_since(zone) != 0);

        if (ngx_http_gitpod_flag_on(r, &ngx_http_gitpod_probe_flag, &nobody,
                                    1))
        {
            last = ngx_http_gitpod_probe_ready(p, last, zone, pmcf, verbose,
                                               &ok);
        } else {
            last = ngx_http_gitpod_probe_live(p, last, zone, pmcf, verbose,
                                              &ok);
        }

        break;
    }

    size = ngx_snprintf(head, NGX_HTTP_GITPOD_PROBE_HEAD,
                        "{\"status\":\"%s\",\"checks\":{",
                        draining ? "draining" : ok ? "ok" : "unavailable")
           - head;

    ok = ok && !draining;

    b->pos = p - size;
    ngx_memcpy(b->pos, head, size);
    b->last = ngx_cpymem(last, "}}\n", 3);

    return ngx_http_gitpod_probe_send(r, ok ? NGX_HTTP_OK
                                            : NGX_HTTP_SERVICE_UNAVAILABLE,
                                      &json, b);
}


/* Every worker stamps its slot; one that is stuck does not. */

static u_char *
ngx_http_gitpod_probe_live(u_char *p, u_char *last, ngx_gitpod_zone_t *zone,
    ngx_http_gitpod_probe_main_conf_t *pmcf, ngx_uint_t verbose,
    ngx_uint_t *ok)
{
    u_char               *start;
    uint64_t              now, age;
    ngx_pid_t             pid;
    ngx_uint_t            i;
    ngx_gitpod_worker_t  *worker;

    now = ngx_gitpod_now_ms();
    start = p;

    for (i = 0; i < NGX_GITPOD_WORKERS_MAX; i++) {
        worker = &zone->workers[i];
        pid = (ngx_pid_t) worker->pid;

        if (pid == 0 || !ngx_gitpod_process_alive(pid)) {
            continue;
        }

        age = now - ngx_min(worker->heartbeat_ms, now);

        if (age > pmcf->lag) {
            *ok = 0;
        }

        if (verbose) {
            p = ngx_slprintf(p, last,
                             "%s\"worker_%P\":{\"status\":\"%s\","
                             "\"age_ms\":%uL,\"lag_ms\":%uL,"
                             "\"lease\":%s}",
                             (p == start) ? "" : ",", pid,
                             (age > pmcf->lag) ? "unavailable" : "ok",
                             age, worker->lag_ms,
                             ((ngx_pid_t) zone->lease.pid == pid) ? "true"
                                                                  : "false");
        }
    }

    if (!verbose) {
        p = ngx_slprintf(p, last, "\"event_loop\":\"%s\"",
                         *ok ? "ok" : "unavailable");
    }

    return p;
}


static u_char *
ngx_http_gitpod_probe_startup(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone, ngx_http_gitpod_probe_main_conf_t *pmcf,
    ngx_uint_t *ok)
{
    ngx_uint_t  routes, revocations;

    routes = !pmcf->feed || ngx_gitpod_routes_synced(zone);
    revocations = !pmcf->feed || ngx_gitpod_revocations_synced(zone);

    *ok = routes && revocations;

    return ngx_slprintf(p, last, "\"routes\":\"%s\",\"revocations\":\"%s\"",
                        routes ? "ok" : "unavailable",
                        revocations ? "ok" : "unavailable");
}


static u_char *
ngx_http_gitpod_probe_ready(u_char *p, u_char *last, ngx_gitpod_zone_t *zone,
    ngx_http_gitpod_probe_main_conf_t *pmcf, ngx_uint_t verbose,
    ngx_uint_t *ok)
{
    u_char                    *line;
    ngx_uint_t                 i, passed;
    const char                *why;
    ngx_gitpod_check_state_t   state;
    ngx_http_gitpod_check_t   *check;

    check = pmcf->checks.elts;

    for (i = 0; i < pmcf->checks.nelts; i++) {

        if (i) {
            *p++ = ',';
        }

        line = p;

        if (verbose) {
            p = ngx_http_gitpod_probe_check(p, last, zone, &check[i],
                                            &passed);
        } else {
            passed = ngx_http_gitpod_check_passed(&check[i], zone, &state,
                                                  &why);
            p = ngx_slprintf(line, last, "\"%V\":\"%s\"", &check[i].name,
                             passed ? "ok" : "unavailable");
        }

        if (!passed && check[i].required) {
            *ok = 0;
        }
    }

    return p;
}


ngx_uint_t
ngx_http_gitpod_probe_is_ready(ngx_http_request_t *r)
{
    ngx_uint_t                          i, ok;
    const char                         *why;
    ngx_gitpod_zone_t                  *zone;
    ngx_http_gitpod_check_t            *check;
    ngx_gitpod_check_state_t            state;
    ngx_http_gitpod_probe_main_conf_t  *pmcf;
    u_char                              unused[NGX_HTTP_GITPOD_PROBE_HEAD];

    static ngx_str_t  nobody = ngx_null_string;

    zone = ngx_http_gitpod_zone(r);
    pmcf = ngx_http_get_module_main_conf(r, ngx_http_gitpod_probe_module);
    check = pmcf->checks.elts;

    if (zone == NULL || ngx_gitpod_drain_since(zone)) {
        return 0;
    }

    if (!ngx_http_gitpod_flag_on(r, &ngx_http_gitpod_probe_flag, &nobody, 1))
    {
        ok = 1;
        (void) ngx_http_gitpod_probe_live(unused, unused + sizeof(unused),
                                          zone, pmcf, 0, &ok);
        return ok;
    }

    for (i = 0; i < pmcf->checks.nelts; i++) {

        if (check[i].required
            && !ngx_http_gitpod_check_passed(&check[i], zone, &state, &why))
        {
            return 0;
        }
    }

    return 1;
}


static u_char *
ngx_http_gitpod_probe_check(u_char *p, u_char *last, ngx_gitpod_zone_t *zone,
    ngx_http_gitpod_check_t *check, ngx_uint_t *passed)
{
    u_char                    *text;
    uint64_t                   now;
    const char                *why;
    ngx_gitpod_check_state_t   state;
    u_char                     escaped[NGX_GITPOD_CHECK_TEXT_MAX * 6];

    *passed = ngx_http_gitpod_check_passed(check, zone, &state, &why);
    now = ngx_gitpod_now_ms();

    text = (u_char *) ngx_escape_json(escaped, (u_char *) (uintptr_t) why,
                                      ngx_strlen(why));

    p = ngx_slprintf(p, last,
                     "\"%V\":{\"status\":\"%s\",\"required\":%s,",
                     &check->name, *passed ? "ok" : "unavailable",
                     check->required ? "true" : "false");

    if (state.known) {
        p = ngx_slprintf(p, last,
                         "\"age_ms\":%uL,\"since_ms\":%uL,\"took_ms\":%uL,",
                         now - state.ran_ms, now - state.changed_ms,
                         state.took_ms);
    }

    if (check->type == NGX_HTTP_GITPOD_CHECK_ROUTES && zone->feed.synced_ms) {
        p = ngx_slprintf(p, last, "\"routes\":%uD,\"synced_ms\":%uL,",
                         zone->routes.live, now - zone->feed.synced_ms);
    }

    if (check->type == NGX_HTTP_GITPOD_CHECK_ROUTES
        || check->type == NGX_HTTP_GITPOD_CHECK_KEYS)
    {
        p = ngx_slprintf(p, last, "\"confirmed_ms\":%uL,",
                         now - ngx_min(zone->feed.current_ms, now));
    }

    return ngx_slprintf(p, last, "\"text\":\"%*s\"}",
                        (size_t) (text - escaped), escaped);
}


static ngx_uint_t
ngx_http_gitpod_probe_verbose(ngx_http_request_t *r)
{
    ngx_str_t  value;

    return (r->args.len == 7 && ngx_strncmp(r->args.data, "verbose", 7) == 0)
           || ngx_http_arg(r, (u_char *) "verbose", 7, &value) == NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_probe_send(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type, ngx_buf_t *b)
{
    ngx_int_t         rc;
    ngx_chain_t       out;
    ngx_table_elt_t  *h;

    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    ngx_str_set(&h->key, "Cache-Control");
    ngx_str_set(&h->value, "no-store");

    r->headers_out.status = status;
    r->headers_out.content_type = *type;
    r->headers_out.content_type_len = type->len;
    r->headers_out.content_length_n = b->last - b->pos;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b->last_buf = (r == r->main);
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}

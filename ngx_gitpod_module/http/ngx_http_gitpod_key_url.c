
#include "core/hash.h"

#include "ngx_gitpod_zone.h"
#include "ngx_http_gitpod_key_url.h"


#define NGX_HTTP_GITPOD_KEY_URL_TIMEOUT   5000  /* ms, of one fetch */
#define NGX_HTTP_GITPOD_KEY_URL_TICK      100   /* ms */
#define NGX_HTTP_GITPOD_KEY_URL_BACK_OFF  1000  /* ms, doubled each time */
#define NGX_HTTP_GITPOD_KEY_URL_BACK_MAX  6     /* times */

#define NGX_HTTP_GITPOD_KEY_URL_SALT      3

#define NGX_HTTP_GITPOD_KEY_URL_TRUSTED   "/etc/ssl/certs/ca-certificates.crt"


static void *ngx_http_gitpod_key_url_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_gitpod_key_url_conf(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gitpod_key_url_option(ngx_conf_t *cf, ngx_str_t *value,
    ngx_http_gitpod_key_url_conf_t *kcf);
static ngx_int_t ngx_http_gitpod_key_url_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_gitpod_key_url_init_process(ngx_cycle_t *cycle);
static void ngx_http_gitpod_key_url_exit_process(ngx_cycle_t *cycle);
static void ngx_http_gitpod_key_url_forget(ngx_gitpod_zone_t *zone,
    uint64_t source);
static void ngx_http_gitpod_key_url_tick(ngx_event_t *ev);
static void ngx_http_gitpod_key_url_begin(ngx_log_t *log);
static void ngx_http_gitpod_key_url_end(void *data, ngx_str_t *body,
    char *why);
static ngx_int_t ngx_http_gitpod_key_url_take(ngx_str_t *body,
    ngx_log_t *log);
static void ngx_http_gitpod_key_url_failed(char *why, ngx_log_t *log);
static void ngx_http_gitpod_key_url_age(ngx_log_t *log);


static ngx_command_t  ngx_http_gitpod_key_url_commands[] = {

    { ngx_string("gitpod_key_set_url"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_gitpod_key_url_conf,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gitpod_key_url_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    ngx_http_gitpod_key_url_create_main_conf, /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_gitpod_key_url_module = {
    NGX_MODULE_V1,
    &ngx_http_gitpod_key_url_module_ctx,   /* module context */
    ngx_http_gitpod_key_url_commands,      /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_gitpod_key_url_init_module,   /* init module */
    ngx_http_gitpod_key_url_init_process,  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_gitpod_key_url_exit_process,  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* of this worker */

static ngx_event_t                      ngx_http_gitpod_key_url_ticker;
static ngx_gitpod_zone_t               *ngx_http_gitpod_key_url_zone;
static ngx_http_gitpod_key_url_conf_t  *ngx_http_gitpod_key_url_kcf;
static ngx_http_gitpod_fetch_t         *ngx_http_gitpod_key_url_fetch;


static void *
ngx_http_gitpod_key_url_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_gitpod_key_url_conf_t  *kcf;

    kcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_key_url_conf_t));
    if (kcf == NULL) {
        return NULL;
    }

    ngx_str_set(&kcf->certificate, NGX_HTTP_GITPOD_KEY_URL_TRUSTED);
    kcf->interval = 300000;
    kcf->again = 10000;
    kcf->grace = 600;
    kcf->stale = 86400;

    return kcf;
}


static char *
ngx_http_gitpod_key_url_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_key_url_conf_t *kcf = conf;

    char        *rv;
    ngx_str_t   *value;
    ngx_uint_t   i;

    if (kcf->from.url.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    kcf->source = gp_hash64(value[1].data, value[1].len,
                            NGX_HTTP_GITPOD_KEY_URL_SALT);

    for (i = 2; i < cf->args->nelts; i++) {
        rv = ngx_http_gitpod_key_url_option(cf, &value[i], kcf);

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return ngx_http_gitpod_fetch_url(cf, &value[1], &kcf->certificate,
                                     &kcf->from);
}


static char *
ngx_http_gitpod_key_url_option(ngx_conf_t *cf, ngx_str_t *value,
    ngx_http_gitpod_key_url_conf_t *kcf)
{
    ngx_int_t   n;
    ngx_str_t   text;

    text.data = (u_char *) ngx_strchr(value->data, '=');

    if (text.data == NULL) {
        goto invalid;
    }

    text.data++;
    text.len = value->data + value->len - text.data;

    if (ngx_strncmp(value->data, "trusted_certificate=", 20) == 0) {
        kcf->certificate = text;
        return text.len ? NGX_CONF_OK : "has no trusted_certificate";
    }

    if (ngx_strncmp(value->data, "snapshot=", 9) == 0) {
        return ngx_http_gitpod_key_file_conf(cf, &text, kcf);
    }

    n = ngx_parse_time(&text, 0);

    if (ngx_strncmp(value->data, "interval=", 9) == 0
        && n >= 1000 && n <= 86400000)
    {
        kcf->interval = (ngx_msec_t) n;
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value->data, "again=", 6) == 0
        && n >= 500 && n <= 3600000)
    {
        kcf->again = (ngx_msec_t) n;
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value->data, "grace=", 6) == 0
        && n >= 0 && n <= 604800000)
    {
        kcf->grace = n / 1000;
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value->data, "stale=", 6) == 0
        && n >= 1000 && n <= 604800000)
    {
        kcf->stale = n / 1000;
        return NGX_CONF_OK;
    }

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\": it is interval= of 1s to "
                       "1d, again= of 500ms to 1h, grace= of 0 to 7d, stale= "
                       "of 1s to 7d, trusted_certificate= or snapshot=",
                       value);

    return NGX_CONF_ERROR;
}


/* In the master: a start, or a zone that did not know of a URL until now. */

static ngx_int_t
ngx_http_gitpod_key_url_init_module(ngx_cycle_t *cycle)
{
    ngx_gitpod_key_url_t            *url;
    ngx_http_gitpod_main_conf_t     *mcf;
    ngx_http_gitpod_key_url_conf_t  *kcf;

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_gitpod_module);
    kcf = ngx_http_cycle_get_module_main_conf(cycle,
                                              ngx_http_gitpod_key_url_module);

    if (mcf == NULL || mcf->zone == NULL || kcf->file.len == 0) {
        return NGX_OK;
    }

    url = ngx_gitpod_key_url(mcf->zone);

    if (url->source == 0 && url->fetched == 0) {
        ngx_gitpod_snapshot_keys(mcf->zone, &kcf->file, kcf->source,
                                 kcf->stale, cycle->log);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_key_url_init_process(ngx_cycle_t *cycle)
{
    ngx_http_gitpod_main_conf_t     *mcf;
    ngx_http_gitpod_key_url_conf_t  *kcf;

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_gitpod_module);
    kcf = ngx_http_cycle_get_module_main_conf(cycle,
                                              ngx_http_gitpod_key_url_module);

    if (mcf == NULL || mcf->zone == NULL
        || (ngx_process != NGX_PROCESS_WORKER
            && ngx_process != NGX_PROCESS_SINGLE))
    {
        return NGX_OK;
    }

    if (kcf->from.url.len == 0) {
        ngx_http_gitpod_key_url_forget(mcf->zone, 0);
        return NGX_OK;
    }

    ngx_http_gitpod_key_url_zone = mcf->zone;
    ngx_http_gitpod_key_url_kcf = kcf;

    ngx_http_gitpod_timer_start(&ngx_http_gitpod_key_url_ticker,
                                ngx_http_gitpod_key_url_tick,
                                NGX_HTTP_GITPOD_KEY_URL_TICK);

    return NGX_OK;
}


gp_jose_keys_t *
ngx_http_gitpod_key_url_keys(ngx_http_request_t *r, ngx_gitpod_zone_t *zone)
{
    ngx_http_gitpod_key_url_conf_t  *kcf;

    kcf = ngx_http_get_module_main_conf(r, ngx_http_gitpod_key_url_module);

    if (kcf->from.url.len == 0
        || ngx_gitpod_key_url(zone)->source != kcf->source)
    {
        return NULL;
    }

    return ngx_gitpod_keys(zone, NGX_GITPOD_KEYS_FETCHED, r->connection->log);
}


/* The configuration before this one had another URL: its keys are nobody's. */

static void
ngx_http_gitpod_key_url_forget(ngx_gitpod_zone_t *zone, uint64_t source)
{
    ngx_gitpod_key_url_t  *url;

    url = ngx_gitpod_key_url(zone);

    if (url->source == source) {
        return;
    }

    ngx_gitpod_keys_drop(zone, NGX_GITPOD_KEYS_FETCHED);

    url->fetched = 0;
    url->fails = 0;
    url->lost = 0;
    url->next_ms = 0;
    url->source = source;
}


static void
ngx_http_gitpod_key_url_exit_process(ngx_cycle_t *cycle)
{
    if (ngx_http_gitpod_key_url_fetch) {
        ngx_http_gitpod_fetch_cancel(ngx_http_gitpod_key_url_fetch);
        ngx_http_gitpod_key_url_fetch = NULL;
    }
}


static void
ngx_http_gitpod_key_url_tick(ngx_event_t *ev)
{
    uint64_t               now;
    ngx_gitpod_key_url_t  *url;

    now = ngx_gitpod_now_ms();
    url = ngx_gitpod_key_url(ngx_http_gitpod_key_url_zone);

    ngx_add_timer(ev, NGX_HTTP_GITPOD_KEY_URL_TICK);

    if (!ngx_gitpod_lease_held(ngx_http_gitpod_key_url_zone)) {
        ngx_http_gitpod_key_url_exit_process(NULL);
        return;
    }

    if (ngx_http_gitpod_key_url_fetch) {
        return;
    }

    /* who fetched before may have been killed at it */

    url->ended = url->begun;

    ngx_http_gitpod_key_url_forget(ngx_http_gitpod_key_url_zone,
                                   ngx_http_gitpod_key_url_kcf->source);
    ngx_http_gitpod_key_url_age(ev->log);

    /*
     * The interval may be a shorter one than it was at the last fetch.  When
     * the keys of Redis moved, what else there is may have moved with them: a
     * key that was withdrawn there shall not live on here.
     */

    if (url->wanted || now >= url->next_ms
        || url->fed != ngx_http_gitpod_key_url_zone->
                                          keys[NGX_GITPOD_KEYS_FED].seq
        || now - url->begun_ms >= ngx_http_gitpod_key_url_kcf->interval)
    {
        ngx_http_gitpod_key_url_begin(ev->log);
    }
}


static void
ngx_http_gitpod_key_url_begin(ngx_log_t *log)
{
    ngx_gitpod_key_url_t  *url;

    url = ngx_gitpod_key_url(ngx_http_gitpod_key_url_zone);

    url->begun_ms = ngx_gitpod_now_ms();
    url->begun++;
    url->wanted = 0;
    url->fed = ngx_http_gitpod_key_url_zone->keys[NGX_GITPOD_KEYS_FED].seq;

    ngx_http_gitpod_key_url_fetch =
        ngx_http_gitpod_fetch(&ngx_http_gitpod_key_url_kcf->from,
                              NGX_HTTP_GITPOD_KEY_URL_TIMEOUT, log,
                              ngx_http_gitpod_key_url_end, log);

    if (ngx_http_gitpod_key_url_fetch == NULL) {
        ngx_http_gitpod_key_url_end(log, NULL, "no memory");
    }
}


static void
ngx_http_gitpod_key_url_end(void *data, ngx_str_t *body, char *why)
{
    ngx_log_t *log = data;

    ngx_gitpod_key_url_t            *url;
    ngx_http_gitpod_key_url_conf_t  *kcf;

    kcf = ngx_http_gitpod_key_url_kcf;
    url = ngx_gitpod_key_url(ngx_http_gitpod_key_url_zone);

    ngx_http_gitpod_key_url_fetch = NULL;

    if (body && ngx_http_gitpod_key_url_take(body, log) != NGX_OK) {
        body = NULL;
        why = "it has no usable key, or more than there is room for";
    }

    if (body == NULL) {
        ngx_http_gitpod_key_url_failed(why, log);
        url->ended = url->begun;
        return;
    }

    if (url->fails || url->lost) {
        ngx_log_error(NGX_LOG_NOTICE, log, 0,
                      "gitpod: the key set of \"%V\" is there again",
                      &kcf->from.url);
    }

    ngx_gitpod_count(ngx_http_gitpod_key_url_zone, NGX_GITPOD_N_KEY_FETCH_OK);

    url->fails = 0;
    url->lost = 0;
    url->fetched = ngx_time();

    /* gateways that began together do not go on together */

    url->next_ms = ngx_gitpod_now_ms() + kcf->interval
                   - (ngx_msec_t) ngx_random() % (kcf->interval / 10 + 1);

    url->good = url->begun;
    url->ended = url->begun;
}


static ngx_int_t
ngx_http_gitpod_key_url_take(ngx_str_t *body, ngx_log_t *log)
{
    char                   *merged;
    ngx_int_t               rc;
    ngx_str_t               text;
    gp_jose_keys_t         *keys;
    ngx_gitpod_key_text_t  *old;

    old = &ngx_http_gitpod_key_url_zone->keys[NGX_GITPOD_KEYS_FETCHED];

    /* a set without any good key never replaces one that has some */

    if (gp_jose_keys_parse((char *) body->data, body->len, &keys) != 0) {
        return NGX_DECLINED;
    }

    gp_jose_keys_free(keys);

    if (gp_jose_keys_merge((char *) old->text[old->seq & 1],
                           old->len[old->seq & 1], (char *) body->data,
                           body->len, ngx_time(),
                           ngx_http_gitpod_key_url_kcf->grace, &merged)
        != 0)
    {
        return NGX_DECLINED;
    }

    text.data = (u_char *) merged;
    text.len = ngx_strlen(merged);

    rc = ngx_gitpod_keys_feed(ngx_http_gitpod_key_url_zone,
                              NGX_GITPOD_KEYS_FETCHED, &text, log);

    free(merged);

    return rc;
}


static void
ngx_http_gitpod_key_url_failed(char *why, ngx_log_t *log)
{
    ngx_msec_t                       wait;
    ngx_gitpod_key_url_t            *url;
    ngx_http_gitpod_key_url_conf_t  *kcf;

    kcf = ngx_http_gitpod_key_url_kcf;
    url = ngx_gitpod_key_url(ngx_http_gitpod_key_url_zone);

    if (url->fails == 0) {
        ngx_log_error(NGX_LOG_WARN, log, 0,
                      "gitpod: the key set of \"%V\" cannot be fetched: %s; "
                      "what it was counts for %T s more at most",
                      &kcf->from.url, why,
                      url->fetched
                      ? ngx_max(url->fetched + kcf->stale - ngx_time(), 0)
                      : 0);
    }

    ngx_gitpod_count(ngx_http_gitpod_key_url_zone,
                     NGX_GITPOD_N_KEY_FETCH_FAILED);

    wait = NGX_HTTP_GITPOD_KEY_URL_BACK_OFF
           << ngx_min(url->fails, NGX_HTTP_GITPOD_KEY_URL_BACK_MAX);

    url->fails++;
    url->next_ms = ngx_gitpod_now_ms() + ngx_min(wait, kcf->interval);
}


/* What nobody has confirmed for so long is not believed any more. */

static void
ngx_http_gitpod_key_url_age(ngx_log_t *log)
{
    ngx_gitpod_key_url_t            *url;
    ngx_http_gitpod_key_url_conf_t  *kcf;

    kcf = ngx_http_gitpod_key_url_kcf;
    url = ngx_gitpod_key_url(ngx_http_gitpod_key_url_zone);

    if (url->lost || url->fetched == 0
        || ngx_time() - url->fetched <= kcf->stale)
    {
        return;
    }

    url->lost = 1;

    ngx_log_error(NGX_LOG_ERR, log, 0,
                  "gitpod: the key set of \"%V\" was fetched %T s ago and "
                  "is dropped; its tokens are refused with 503 until it can "
                  "be fetched again", &kcf->from.url,
                  ngx_time() - url->fetched);

    ngx_gitpod_keys_drop(ngx_http_gitpod_key_url_zone,
                         NGX_GITPOD_KEYS_FETCHED);
}

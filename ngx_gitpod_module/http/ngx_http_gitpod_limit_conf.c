
/*
 * gitpod_limit, gitpod_limit_use and what goes with them.
 */


#include "core/hash.h"

#include "ngx_http_gitpod_limit.h"


static void *ngx_http_gitpod_limit_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_gitpod_limit_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_gitpod_limit_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static ngx_int_t ngx_http_gitpod_limit_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_gitpod_limit_init_process(ngx_cycle_t *cycle);
static ngx_uint_t ngx_http_gitpod_limit_used(void *data, char *name);
static char *ngx_http_gitpod_limit(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_uint_t ngx_http_gitpod_limit_name(ngx_str_t *name);
static ngx_http_gitpod_limit_t *ngx_http_gitpod_limit_find(
    ngx_http_gitpod_limit_main_conf_t *lmcf, ngx_str_t *name);
static char *ngx_http_gitpod_limit_text(ngx_conf_t *cf,
    ngx_http_gitpod_limit_t *limit);
static char *ngx_http_gitpod_limit_use(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_command_t  ngx_http_gitpod_limit_commands[] = {

    { ngx_string("gitpod_limit"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_2MORE,
      ngx_http_gitpod_limit,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gitpod_limit_use"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_gitpod_limit_use,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gitpod_limit_dry_run"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gitpod_limit_loc_conf_t, dry_run),
      NULL },

    { ngx_string("gitpod_limit_headers"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gitpod_limit_loc_conf_t, headers),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gitpod_limit_module_ctx = {
    NULL,                                    /* preconfiguration */
    ngx_http_gitpod_limit_init,              /* postconfiguration */

    ngx_http_gitpod_limit_create_main_conf,  /* create main configuration */
    NULL,                                    /* init main configuration */

    NULL,                                    /* create server configuration */
    NULL,                                    /* merge server configuration */

    ngx_http_gitpod_limit_create_loc_conf,   /* create location conf */
    ngx_http_gitpod_limit_merge_loc_conf     /* merge location conf */
};


ngx_module_t  ngx_http_gitpod_limit_module = {
    NGX_MODULE_V1,
    &ngx_http_gitpod_limit_module_ctx,       /* module context */
    ngx_http_gitpod_limit_commands,          /* module directives */
    NGX_HTTP_MODULE,                         /* module type */
    NULL,                                    /* init master */
    NULL,                                    /* init module */
    ngx_http_gitpod_limit_init_process,      /* init process */
    NULL,                                    /* init thread */
    NULL,                                    /* exit thread */
    NULL,                                    /* exit process */
    NULL,                                    /* exit master */
    NGX_MODULE_V1_PADDING
};


static void *
ngx_http_gitpod_limit_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_gitpod_limit_main_conf_t  *lmcf;

    lmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_limit_main_conf_t));
    if (lmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&lmcf->limits, cf->pool, 8,
                       sizeof(ngx_http_gitpod_limit_t *))
        != NGX_OK)
    {
        return NULL;
    }

    return lmcf;
}


static void *
ngx_http_gitpod_limit_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_gitpod_limit_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_limit_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->uses = NGX_CONF_UNSET_PTR;
    conf->dry_run = NGX_CONF_UNSET;
    conf->headers = NGX_CONF_UNSET;

    return conf;
}


static char *
ngx_http_gitpod_limit_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_gitpod_limit_loc_conf_t *prev = parent;
    ngx_http_gitpod_limit_loc_conf_t *conf = child;

    ngx_conf_merge_ptr_value(conf->uses, prev->uses, NULL);
    ngx_conf_merge_value(conf->dry_run, prev->dry_run, 0);
    ngx_conf_merge_value(conf->headers, prev->headers, 0);

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_gitpod_limit_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt                *h;
    ngx_http_core_main_conf_t          *cmcf;
    ngx_http_gitpod_main_conf_t        *mcf;
    ngx_http_gitpod_limit_main_conf_t  *lmcf;

    lmcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_gitpod_limit_module);
    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gitpod_module);

    if (lmcf->limits.nelts == 0) {
        return NGX_OK;
    }

    if (mcf->shm_zone == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"gitpod_limit\" needs \"gitpod_zone\"");
        return NGX_ERROR;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PREACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_gitpod_limit_handler;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_limit_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                          i;
    ngx_http_gitpod_limit_t           **limit;
    ngx_http_gitpod_main_conf_t        *mcf;
    ngx_http_gitpod_limit_main_conf_t  *lmcf;

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_gitpod_module);
    lmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_gitpod_limit_module);

    if (mcf == NULL || mcf->zone == NULL || lmcf == NULL) {
        return NGX_OK;
    }

    limit = lmcf->limits.elts;

    ngx_gitpod_zone_lock(mcf->zone);

    for (i = 0; i < lmcf->limits.nelts; i++) {
        limit[i]->slot = ngx_gitpod_limit_enter(&mcf->zone->limits,
                                                &limit[i]->name,
                                                ngx_http_gitpod_limit_used,
                                                lmcf);

        limit[i]->slot->shared.interval = limit[i]->rate.interval;
        limit[i]->slot->shared.burst = limit[i]->shared
                                       ? limit[i]->rate.burst : 0;
    }

    ngx_gitpod_zone_unlock(mcf->zone);

    return NGX_OK;
}


static ngx_uint_t
ngx_http_gitpod_limit_used(void *data, char *name)
{
    ngx_str_t  text;

    text.data = (u_char *) name;
    text.len = ngx_strlen(name);

    return ngx_http_gitpod_limit_find(data, &text) != NULL;
}


static ngx_http_gitpod_limit_t *
ngx_http_gitpod_limit_find(ngx_http_gitpod_limit_main_conf_t *lmcf,
    ngx_str_t *name)
{
    ngx_uint_t                 i;
    ngx_http_gitpod_limit_t  **limit;

    limit = lmcf->limits.elts;

    for (i = 0; i < lmcf->limits.nelts; i++) {

        if (limit[i]->name.len == name->len
            && ngx_memcmp(limit[i]->name.data, name->data, name->len) == 0)
        {
            return limit[i];
        }
    }

    return NULL;
}


static ngx_uint_t
ngx_http_gitpod_limit_name(ngx_str_t *name)
{
    size_t  i;
    u_char  ch;

    if (name->len == 0 || name->len >= NGX_GITPOD_LIMIT_NAME_MAX) {
        return 0;
    }

    for (i = 0; i < name->len; i++) {
        ch = name->data[i];

        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9')
              || ch == '_'))
        {
            return 0;
        }
    }

    /* "off" is for gitpod_limit_use */

    return name->len != 3 || ngx_strncmp(name->data, "off", 3) != 0;
}


static char *
ngx_http_gitpod_limit(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_limit_main_conf_t *lmcf = conf;

    char                      *why;
    ngx_str_t                 *value;
    ngx_uint_t                 i;
    ngx_http_gitpod_limit_t   *limit, **place;

    value = cf->args->elts;

    if (!ngx_http_gitpod_limit_name(&value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the name of a limit is 1 to %d characters a-z, "
                           "0-9, _ and not \"off\", not \"%V\"",
                           NGX_GITPOD_LIMIT_NAME_MAX - 1, &value[1]);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_gitpod_limit_find(lmcf, &value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "limit \"%V\" has the name of another one",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    if (lmcf->limits.nelts == NGX_GITPOD_LIMITS_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%d limits are allowed",
                           NGX_GITPOD_LIMITS_MAX);
        return NGX_CONF_ERROR;
    }

    limit = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_limit_t));
    place = ngx_array_push(&lmcf->limits);

    if (limit == NULL || place == NULL) {
        return NGX_CONF_ERROR;
    }

    *place = limit;
    limit->name = value[1];
    limit->salt = gp_hash64(limit->name.data, limit->name.len, 0);

    for (i = 2; i < cf->args->nelts; i++) {

        why = ngx_http_gitpod_limit_parameter(cf, limit, &value[i]);

        if (why != NGX_CONF_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "limit \"%V\": \"%V\" %s", &value[1],
                               &value[i], why);
            return NGX_CONF_ERROR;
        }
    }

    why = ngx_http_gitpod_limit_fits(limit);

    if (why != NGX_CONF_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "limit \"%V\" %s",
                           &value[1], why);
        return NGX_CONF_ERROR;
    }

    return ngx_http_gitpod_limit_text(cf, limit);
}


static char *
ngx_http_gitpod_limit_text(ngx_conf_t *cf, ngx_http_gitpod_limit_t *limit)
{
    size_t  len;

    if (limit->rate.interval) {
        return NGX_CONF_OK;
    }

    len = NGX_INT64_LEN + sizeof(" at a time");

    limit->text.data = ngx_pnalloc(cf->pool, len);
    if (limit->text.data == NULL) {
        return NGX_CONF_ERROR;
    }

    limit->text.len = ngx_snprintf(limit->text.data, len, "%uL at a time",
                                   limit->concurrent)
                      - limit->text.data;

    return NGX_CONF_OK;
}


static char *
ngx_http_gitpod_limit_use(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_limit_loc_conf_t *llcf = conf;

    ngx_str_t                           *value;
    ngx_uint_t                           i, concurrent;
    ngx_http_gitpod_limit_t            **use, *limit;
    ngx_http_gitpod_limit_main_conf_t   *lmcf;

    if (llcf->uses != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;
    concurrent = 0;

    if (cf->args->nelts == 2 && value[1].len == 3
        && ngx_strncmp(value[1].data, "off", 3) == 0)
    {
        llcf->uses = NULL;
        return NGX_CONF_OK;
    }

    lmcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_gitpod_limit_module);

    llcf->uses = ngx_array_create(cf->pool, cf->args->nelts,
                                  sizeof(ngx_http_gitpod_limit_t *));
    if (llcf->uses == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        limit = ngx_http_gitpod_limit_find(lmcf, &value[i]);

        if (limit == NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "there is no limit \"%V\" before this line: "
                               "define it with \"gitpod_limit\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        concurrent += (limit->concurrent != 0);

        use = ngx_array_push(llcf->uses);
        if (use == NULL) {
            return NGX_CONF_ERROR;
        }

        *use = limit;
    }

    if (concurrent > NGX_HTTP_GITPOD_HELD_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "%d concurrent limits are allowed in one place",
                           NGX_HTTP_GITPOD_HELD_MAX);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}

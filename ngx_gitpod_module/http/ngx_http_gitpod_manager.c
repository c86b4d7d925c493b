
/*
 * gitpod_manager, and what is done by way of it.
 */


#include "core/contract.h"

#include "ngx_http_gitpod_manager.h"


static void *ngx_http_gitpod_manager_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_gitpod_manager_init_main_conf(ngx_conf_t *cf,
    void *conf);
static void *ngx_http_gitpod_manager_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_gitpod_manager_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static char *ngx_http_gitpod_manager(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gitpod_activity(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gitpod_wake_conf(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_gitpod_manager_init_process(ngx_cycle_t *cycle);
static void ngx_http_gitpod_manager_exit_process(ngx_cycle_t *cycle);


static ngx_command_t  ngx_http_gitpod_manager_commands[] = {

    { ngx_string("gitpod_manager"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE123,
      ngx_http_gitpod_manager,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gitpod_activity"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_gitpod_activity,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gitpod_wake"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF
                        |NGX_CONF_TAKE123,
      ngx_http_gitpod_wake_conf,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gitpod_manager_module_ctx = {
    NULL,                                      /* preconfiguration */
    NULL,                                      /* postconfiguration */

    ngx_http_gitpod_manager_create_main_conf,  /* create main configuration */
    ngx_http_gitpod_manager_init_main_conf,    /* init main configuration */

    NULL,                                      /* create server conf */
    NULL,                                      /* merge server conf */

    ngx_http_gitpod_manager_create_loc_conf,   /* create location conf */
    ngx_http_gitpod_manager_merge_loc_conf     /* merge location conf */
};


ngx_module_t  ngx_http_gitpod_manager_module = {
    NGX_MODULE_V1,
    &ngx_http_gitpod_manager_module_ctx,       /* module context */
    ngx_http_gitpod_manager_commands,          /* module directives */
    NGX_HTTP_MODULE,                           /* module type */
    NULL,                                      /* init master */
    NULL,                                      /* init module */
    ngx_http_gitpod_manager_init_process,      /* init process */
    NULL,                                      /* init thread */
    NULL,                                      /* exit thread */
    ngx_http_gitpod_manager_exit_process,      /* exit process */
    NULL,                                      /* exit master */
    NGX_MODULE_V1_PADDING
};


static void *
ngx_http_gitpod_manager_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_gitpod_manager_main_conf_t  *mmcf;

    /*
     * set by ngx_pcalloc():
     *
     *     mmcf->addr.sockaddr = NULL;
     *     mmcf->activity = 0;
     *     mmcf->start = 0;
     */

    mmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_manager_main_conf_t));
    if (mmcf == NULL) {
        return NULL;
    }

    mmcf->interval = 5000;
    mmcf->timeout = 5000;

    return mmcf;
}


static char *
ngx_http_gitpod_manager_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_gitpod_manager_main_conf_t *mmcf = conf;

    ngx_http_gitpod_main_conf_t  *mcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gitpod_module);

    if (mmcf->addr.sockaddr && mcf->shm_zone == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"gitpod_manager\" needs \"gitpod_zone\"");
        return NGX_CONF_ERROR;
    }

    if ((mmcf->activity || mmcf->start) && mmcf->addr.sockaddr == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"%s\" needs \"gitpod_manager\"",
                      mmcf->activity ? "gitpod_activity"
                                     : "gitpod_wake ... start");
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_gitpod_manager_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_gitpod_manager_loc_conf_t  *mlcf;

    mlcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_manager_loc_conf_t));
    if (mlcf == NULL) {
        return NULL;
    }

    mlcf->activity = NGX_CONF_UNSET;
    mlcf->ports = NGX_CONF_UNSET_UINT;
    mlcf->wake = NGX_CONF_UNSET_MSEC;
    mlcf->waiters = NGX_CONF_UNSET_UINT;
    mlcf->start = NGX_CONF_UNSET_UINT;

    return mlcf;
}


static char *
ngx_http_gitpod_manager_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_gitpod_manager_loc_conf_t *prev = parent;
    ngx_http_gitpod_manager_loc_conf_t *conf = child;

    ngx_conf_merge_value(conf->activity, prev->activity, 0);
    ngx_conf_merge_uint_value(conf->ports, prev->ports,
                              NGX_HTTP_GITPOD_ACTIVITY_PORTS_OWNER);

    /* the three belong together: whoever sets one has set all */

    ngx_conf_merge_msec_value(conf->wake, prev->wake, 0);
    ngx_conf_merge_uint_value(conf->waiters, prev->waiters, 0);
    ngx_conf_merge_uint_value(conf->start, prev->start, 0);

    return NGX_CONF_OK;
}


static char *
ngx_http_gitpod_manager(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_manager_main_conf_t *mmcf = conf;

    ngx_str_t   *value, text;
    ngx_int_t    ms;
    ngx_uint_t   i;

    if (mmcf->addr.sockaddr) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_http_gitpod_conf_socket(cf, &value[1], &mmcf->addr)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "interval=", 9) == 0) {
            text.data = value[i].data + 9;
            text.len = value[i].len - 9;
            ms = ngx_parse_time(&text, 0);

            if (ms >= 100 && ms <= GP_ACTIVITY_REPORT_MAX_S * 1000) {
                mmcf->interval = (ngx_msec_t) ms;
                continue;
            }

        } else if (ngx_strncmp(value[i].data, "timeout=", 8) == 0) {
            text.data = value[i].data + 8;
            text.len = value[i].len - 8;
            ms = ngx_parse_time(&text, 0);

            if (ms >= 100 && ms <= 60000) {
                mmcf->timeout = (ngx_msec_t) ms;
                continue;
            }
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\": interval= takes 100ms "
                           "to %ds, timeout= 100ms to 1m", &value[i],
                           GP_ACTIVITY_REPORT_MAX_S);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_gitpod_activity(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_manager_loc_conf_t *mlcf = conf;

    ngx_str_t                            *value;
    ngx_uint_t                            i;
    ngx_http_gitpod_manager_main_conf_t  *mmcf;

    static ngx_str_t                      ports[] = {
        ngx_string("ports=none"),
        ngx_string("ports=owner"),
        ngx_string("ports=all")
    };

    if (mlcf->activity != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0 && cf->args->nelts == 2) {
        mlcf->activity = 0;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value[1].data, "on") != 0) {
        return "takes \"off\", or \"on\" and ports=";
    }

    mmcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_gitpod_manager_module);
    mmcf->activity = 1;
    mlcf->activity = 1;

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    for (i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {

        if (value[2].len == ports[i].len
            && ngx_strncmp(value[2].data, ports[i].data, ports[i].len) == 0)
        {
            mlcf->ports = i;
            return NGX_CONF_OK;
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\": ports= takes none, owner "
                       "or all", &value[2]);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_gitpod_wake_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_manager_loc_conf_t *mlcf = conf;

    ngx_int_t                             n;
    ngx_str_t                            *value, text;
    ngx_uint_t                            i;
    ngx_http_gitpod_manager_main_conf_t  *mmcf;

    if (mlcf->wake != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    value = cf->args->elts;

    mlcf->wake = 0;
    mlcf->waiters = 64;
    mlcf->start = 0;

    if (ngx_strcmp(value[1].data, "off") == 0 && cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "start") == 0) {
            mmcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_gitpod_manager_module);
            mmcf->start = 1;
            mlcf->start = 1;
            continue;
        }

        if (ngx_strncmp(value[i].data, "wait=", 5) == 0) {
            text.data = value[i].data + 5;
            text.len = value[i].len - 5;
            n = ngx_parse_time(&text, 0);

            if (n >= 1000 && n <= 300000) {
                mlcf->wake = (ngx_msec_t) n;
                continue;
            }

        } else if (ngx_strncmp(value[i].data, "waiters=", 8) == 0) {
            n = ngx_atoi(value[i].data + 8, value[i].len - 8);

            if (n >= 1 && n <= 1024) {
                mlcf->waiters = (ngx_uint_t) n;
                continue;
            }
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\": it is \"off\", or "
                           "wait= of 1s to 5m, waiters= of 1 to 1024, start",
                           &value[i]);
        return NGX_CONF_ERROR;
    }

    if (mlcf->wake == 0) {
        return "needs \"wait=\"";
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_gitpod_manager_init_process(ngx_cycle_t *cycle)
{
    ngx_http_gitpod_main_conf_t          *mcf;
    ngx_http_gitpod_manager_main_conf_t  *mmcf;

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    mmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                              ngx_http_gitpod_manager_module);

    if (mmcf == NULL || mmcf->addr.sockaddr == NULL) {
        return NGX_OK;
    }

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_gitpod_module);

    if (mmcf->activity) {
        ngx_http_gitpod_activity_init(mmcf, mcf->zone);
    }

    return NGX_OK;
}


static void
ngx_http_gitpod_manager_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_gitpod_activity_exit();
    ngx_http_gitpod_wake_exit();
}


/*
 * Feature flags for the configuration and for plugins: gitpod_flag names them
 * and says what counts while nobody has set them.
 */


#include "ngx_http_gitpod_request.h"


typedef struct {
    ngx_str_t     name;
    ngx_uint_t    on;
} ngx_http_gitpod_flag_t;


typedef struct {
    ngx_array_t   flags;            /* of ngx_http_gitpod_flag_t */
    size_t        names_len;        /* of all, each with a space */
} ngx_http_gitpod_flag_main_conf_t;


static void *ngx_http_gitpod_flag_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_gitpod_flag_conf(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_gitpod_flag_add_variables(ngx_conf_t *cf);
static ngx_http_gitpod_flag_t *ngx_http_gitpod_flag_find(ngx_array_t *flags,
    ngx_str_t *name);
static ngx_uint_t ngx_http_gitpod_flag_judge(ngx_gitpod_zone_t *zone,
    ngx_str_t *name, ngx_str_t *user, ngx_uint_t fallback);
static ngx_int_t ngx_http_gitpod_flag_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gitpod_flags_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_str_t *ngx_http_gitpod_flag_user(ngx_http_request_t *r);


static ngx_command_t  ngx_http_gitpod_flag_commands[] = {

    { ngx_string("gitpod_flag"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE2,
      ngx_http_gitpod_flag_conf,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gitpod_flag_module_ctx = {
    ngx_http_gitpod_flag_add_variables,    /* preconfiguration */
    NULL,                                  /* postconfiguration */

    ngx_http_gitpod_flag_create_main_conf, /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_gitpod_flag_module = {
    NGX_MODULE_V1,
    &ngx_http_gitpod_flag_module_ctx,      /* module context */
    ngx_http_gitpod_flag_commands,         /* module directives */
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


static ngx_str_t  ngx_http_gitpod_flag_prefix = ngx_string("gitpod_flag_");


static ngx_http_variable_t  ngx_http_gitpod_flag_variables[] = {

    { ngx_string("gitpod_flag_"), NULL, ngx_http_gitpod_flag_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE|NGX_HTTP_VAR_PREFIX, 0 },

    { ngx_string("gitpod_flags"), NULL, ngx_http_gitpod_flags_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


static void *
ngx_http_gitpod_flag_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_gitpod_flag_main_conf_t  *fmcf;

    fmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_flag_main_conf_t));
    if (fmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&fmcf->flags, cf->pool, 8,
                       sizeof(ngx_http_gitpod_flag_t))
        != NGX_OK)
    {
        return NULL;
    }

    return fmcf;
}


static char *
ngx_http_gitpod_flag_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_flag_main_conf_t *fmcf = conf;

    ngx_str_t               *value;
    ngx_uint_t               on;
    ngx_http_gitpod_flag_t  *flag;

    value = cf->args->elts;

    if (!gp_flag_name_valid((char *) value[1].data, value[1].len)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" cannot be the name of a flag: that is 1 "
                           "to %d of a-z, 0-9, _, the first a letter",
                           &value[1], GP_FLAG_NAME_MAX);
        return NGX_CONF_ERROR;
    }

    on = (ngx_strcmp(value[2].data, "on") == 0);

    if (!on && ngx_strcmp(value[2].data, "off") != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the default of flag \"%V\" is \"on\" or \"off\", "
                           "not \"%V\"", &value[1], &value[2]);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_gitpod_flag_find(&fmcf->flags, &value[1])) {
        return "names a flag for the second time";
    }

    if (fmcf->flags.nelts == GP_FLAGS_MAX) {
        return "comes once too often: 128 flags are allowed";
    }

    flag = ngx_array_push(&fmcf->flags);
    if (flag == NULL) {
        return NGX_CONF_ERROR;
    }

    flag->name = value[1];
    flag->on = on;

    fmcf->names_len += flag->name.len + 1;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_gitpod_flag_add_variables(ngx_conf_t *cf)
{
    return ngx_http_gitpod_add_variables(cf, ngx_http_gitpod_flag_variables);
}


static ngx_http_gitpod_flag_t *
ngx_http_gitpod_flag_find(ngx_array_t *flags, ngx_str_t *name)
{
    ngx_uint_t               i;
    ngx_http_gitpod_flag_t  *flag;

    flag = flags->elts;

    for (i = 0; i < flags->nelts; i++) {

        if (flag[i].name.len == name->len
            && ngx_strncmp(flag[i].name.data, name->data, name->len) == 0)
        {
            return &flag[i];
        }
    }

    return NULL;
}


ngx_uint_t
ngx_http_gitpod_flag_on(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *user, ngx_uint_t fallback)
{
    ngx_http_gitpod_flag_t            *flag;
    ngx_http_gitpod_flag_main_conf_t  *fmcf;

    fmcf = ngx_http_get_module_main_conf(r, ngx_http_gitpod_flag_module);
    flag = ngx_http_gitpod_flag_find(&fmcf->flags, name);

    return ngx_http_gitpod_flag_judge(ngx_http_gitpod_zone(r), name, user,
                                      flag ? flag->on : fallback);
}


static ngx_uint_t
ngx_http_gitpod_flag_judge(ngx_gitpod_zone_t *zone, ngx_str_t *name,
    ngx_str_t *user, ngx_uint_t fallback)
{
    gp_flag_t  record;

    if (zone && ngx_gitpod_flag_get(zone, name, &record) == NGX_OK) {
        return gp_flag_on(&record, (char *) user->data, user->len);
    }

    return fallback;
}


/* who asks; nobody before it was found out, and on locations without auth */

static ngx_str_t *
ngx_http_gitpod_flag_user(ngx_http_request_t *r)
{
    ngx_http_gitpod_ctx_t  *ctx;

    static ngx_str_t        nobody = ngx_null_string;

    ctx = ngx_http_gitpod_ctx_get(r);

    return ctx ? &ctx->user : &nobody;
}


static ngx_int_t
ngx_http_gitpod_flag_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t  *variable = (ngx_str_t *) data;

    ngx_str_t   name;
    ngx_uint_t  on;

    name.data = variable->data + ngx_http_gitpod_flag_prefix.len;
    name.len = variable->len - ngx_http_gitpod_flag_prefix.len;

    on = ngx_http_gitpod_flag_on(r, &name, ngx_http_gitpod_flag_user(r), 0);

    v->len = 1;
    v->data = (u_char *) (on ? "1" : "0");
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


/* Of those that the configuration names: what plugins may ask for. */

static ngx_int_t
ngx_http_gitpod_flags_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                            *p;
    ngx_str_t                         *user;
    ngx_uint_t                         i;
    ngx_gitpod_zone_t                 *zone;
    ngx_http_gitpod_flag_t            *flag;
    ngx_http_gitpod_flag_main_conf_t  *fmcf;

    zone = ngx_http_gitpod_zone(r);
    fmcf = ngx_http_get_module_main_conf(r, ngx_http_gitpod_flag_module);

    p = ngx_pnalloc(r->pool, fmcf->names_len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->data = p;
    user = ngx_http_gitpod_flag_user(r);
    flag = fmcf->flags.elts;

    for (i = 0; i < fmcf->flags.nelts; i++) {

        if (!ngx_http_gitpod_flag_judge(zone, &flag[i].name, user,
                                        flag[i].on))
        {
            continue;
        }

        if (p != v->data) {
            *p++ = ' ';
        }

        p = ngx_cpymem(p, flag[i].name.data, flag[i].name.len);
    }

    v->len = p - v->data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}

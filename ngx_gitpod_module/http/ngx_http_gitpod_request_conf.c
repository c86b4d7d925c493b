
/*
 * Directives of the request path.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_gitpod_request.h"


static void *ngx_http_gitpod_request_create_srv_conf(ngx_conf_t *cf);
static char *ngx_http_gitpod_request_merge_srv_conf(ngx_conf_t *cf,
    void *parent, void *child);
static void *ngx_http_gitpod_request_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_gitpod_request_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static char *ngx_http_gitpod_domain(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gitpod_external_url(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_gitpod_mode_check(ngx_conf_t *cf,
    ngx_http_gitpod_request_srv_conf_t *conf);
static ngx_int_t ngx_http_gitpod_cookie_names(ngx_conf_t *cf,
    ngx_http_gitpod_request_srv_conf_t *conf);
static ngx_int_t ngx_http_gitpod_request_add_variables(ngx_conf_t *cf);
static ngx_int_t ngx_http_gitpod_request_init(ngx_conf_t *cf);


static ngx_conf_enum_t  ngx_http_gitpod_auth_values[] = {
    { ngx_string("off"), NGX_HTTP_GITPOD_AUTH_OFF },
    { ngx_string("on"), NGX_HTTP_GITPOD_AUTH_ON },
    { ngx_string("optional"), NGX_HTTP_GITPOD_AUTH_OPTIONAL },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_http_gitpod_mode_values[] = {
    { ngx_string("host"), NGX_HTTP_GITPOD_MODE_HOST },
    { ngx_string("port"), NGX_HTTP_GITPOD_MODE_PORT },
    { ngx_null_string, 0 }
};


static ngx_command_t  ngx_http_gitpod_request_commands[] = {

    { ngx_string("gitpod_domain"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_CONF_TAKE1,
      ngx_http_gitpod_domain,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_gitpod_request_srv_conf_t, domain),
      NULL },

    { ngx_string("gitpod_workspace_domain"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_CONF_TAKE1,
      ngx_http_gitpod_domain,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_gitpod_request_srv_conf_t, workspace_domain),
      NULL },

    { ngx_string("gitpod_mode"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_gitpod_request_srv_conf_t, mode),
      &ngx_http_gitpod_mode_values },

    { ngx_string("gitpod_external_url"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_CONF_TAKE1,
      ngx_http_gitpod_external_url,
      NGX_HTTP_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gitpod_issuer"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_gitpod_request_srv_conf_t, issuer),
      NULL },

    { ngx_string("gitpod_auth"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gitpod_request_loc_conf_t, auth),
      &ngx_http_gitpod_auth_values },

    { ngx_string("gitpod_introspect"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gitpod_request_loc_conf_t, introspect),
      NULL },

    { ngx_string("gitpod_token_fresh"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_gitpod_request_srv_conf_t, token_fresh),
      NULL },

    { ngx_string("gitpod_token_stale"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_gitpod_request_srv_conf_t, token_stale),
      NULL },

    { ngx_string("gitpod_workspace"),
      NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gitpod_request_loc_conf_t, workspace),
      NULL },

    { ngx_string("gitpod_preflight"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gitpod_request_loc_conf_t, preflight),
      NULL },

    { ngx_string("gitpod_protocol"),
      NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_http_gitpod_protocol,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gitpod_redeem"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gitpod_request_loc_conf_t, redeem),
      NULL },

    { ngx_string("gitpod_handoff"),
      NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gitpod_request_loc_conf_t, handoff),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gitpod_request_module_ctx = {
    ngx_http_gitpod_request_add_variables,    /* preconfiguration */
    ngx_http_gitpod_request_init,             /* postconfiguration */

    NULL,                                     /* create main configuration */
    NULL,                                     /* init main configuration */

    ngx_http_gitpod_request_create_srv_conf,  /* create server conf */
    ngx_http_gitpod_request_merge_srv_conf,   /* merge server conf */

    ngx_http_gitpod_request_create_loc_conf,  /* create location conf */
    ngx_http_gitpod_request_merge_loc_conf    /* merge location conf */
};


ngx_module_t  ngx_http_gitpod_request_module = {
    NGX_MODULE_V1,
    &ngx_http_gitpod_request_module_ctx,      /* module context */
    ngx_http_gitpod_request_commands,         /* module directives */
    NGX_HTTP_MODULE,                          /* module type */
    NULL,                                     /* init master */
    NULL,                                     /* init module */
    NULL,                                     /* init process */
    NULL,                                     /* init thread */
    NULL,                                     /* exit thread */
    NULL,                                     /* exit process */
    NULL,                                     /* exit master */
    NGX_MODULE_V1_PADDING
};


/*
 * Internal redirects and named locations clear r->ctx; the clean-up of the
 * main request's pool is where the context is found again, as realip does.
 */

static void *
ngx_http_gitpod_request_create_srv_conf(ngx_conf_t *cf)
{
    ngx_http_gitpod_request_srv_conf_t  *conf;

    /*
     * set by ngx_pcalloc():
     *
     *     all strings = { 0, NULL }, conf->tls = 0
     */

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_request_srv_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->mode = NGX_CONF_UNSET_UINT;
    conf->token_fresh = NGX_CONF_UNSET;
    conf->token_stale = NGX_CONF_UNSET;

    return conf;
}


static char *
ngx_http_gitpod_request_merge_srv_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_gitpod_request_srv_conf_t *prev = parent;
    ngx_http_gitpod_request_srv_conf_t *conf = child;

    ngx_http_core_srv_conf_t  *cscf;

    ngx_conf_merge_str_value(conf->domain, prev->domain, "");
    ngx_conf_merge_str_value(conf->workspace_domain, prev->workspace_domain,
                             "");
    ngx_conf_merge_str_value(conf->issuer, prev->issuer, "");
    ngx_conf_merge_uint_value(conf->mode, prev->mode,
                              NGX_HTTP_GITPOD_MODE_HOST);
    ngx_conf_merge_sec_value(conf->token_fresh, prev->token_fresh,
                             NGX_HTTP_GITPOD_TOKEN_FRESH);
    ngx_conf_merge_sec_value(conf->token_stale, prev->token_stale,
                             NGX_HTTP_GITPOD_TOKEN_STALE);

    if (conf->token_fresh < 1 || conf->token_fresh > 3600
        || conf->token_stale < 0
        || conf->token_stale > NGX_HTTP_GITPOD_TOKEN_STALE_MAX)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"gitpod_token_fresh\" must be 1s to 1h, "
                           "\"gitpod_token_stale\" 0 to 1d");
        return NGX_CONF_ERROR;
    }

    if (conf->external_url.data == NULL) {
        conf->external_url = prev->external_url;
        conf->scheme = prev->scheme;
        conf->port = prev->port;
        conf->tls = prev->tls;
    }

    if (conf->domain.len == 0) {
        return NGX_CONF_OK;
    }

    /* plugins fold '-' and '_': a header must not come in two spellings */

    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    if (cscf->underscores_in_headers || !cscf->ignore_invalid_headers) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"gitpod_domain\" needs "
                           "\"underscores_in_headers off\" and "
                           "\"ignore_invalid_headers on\"");
        return NGX_CONF_ERROR;
    }

    if (conf->workspace_domain.len == 0 || conf->external_url.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"gitpod_domain\" needs "
                           "\"gitpod_workspace_domain\" and "
                           "\"gitpod_external_url\" beside it");
        return NGX_CONF_ERROR;
    }

    if (conf->mode == NGX_HTTP_GITPOD_MODE_PORT
        && ngx_http_gitpod_mode_check(cf, conf) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (conf->issuer.len == 0) {
        conf->issuer = conf->domain;
    }

    if (ngx_http_gitpod_cookie_names(cf, conf) != NGX_OK
        || ngx_http_gitpod_owner_names(cf, conf) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* Cookies ignore ports: what workspaces share must not be the session's. */

static ngx_int_t
ngx_http_gitpod_mode_check(ngx_conf_t *cf,
    ngx_http_gitpod_request_srv_conf_t *conf)
{
    if (conf->workspace_domain.len == conf->domain.len
        && ngx_memcmp(conf->workspace_domain.data, conf->domain.data,
                      conf->domain.len)
           == 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"gitpod_mode port\" needs a "
                           "\"gitpod_workspace_domain\" that is not \"%V\": "
                           "cookies ignore ports, so name another host or "
                           "an address of this machine", &conf->domain);
        return NGX_ERROR;
    }

    if (conf->workspace_domain.len + sizeof(":65535") - 1 > GP_HOST_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "in \"gitpod_mode port\" the "
                           "\"gitpod_workspace_domain\" has at most %d bytes",
                           GP_HOST_MAX - (int) sizeof(":65535") + 1);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void *
ngx_http_gitpod_request_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_gitpod_request_loc_conf_t  *conf;

    /*
     * set by ngx_pcalloc():
     *
     *     conf->introspect = { 0, NULL };
     *     conf->redeem = { 0, NULL };
     */

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_request_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->auth = NGX_CONF_UNSET_UINT;
    conf->workspace = NGX_CONF_UNSET;
    conf->handoff = NGX_CONF_UNSET;
    conf->preflight = NGX_CONF_UNSET;

    return conf;
}


static char *
ngx_http_gitpod_request_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_gitpod_request_loc_conf_t *prev = parent;
    ngx_http_gitpod_request_loc_conf_t *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    ngx_conf_merge_uint_value(conf->auth, prev->auth,
                              NGX_HTTP_GITPOD_AUTH_OFF);
    ngx_conf_merge_value(conf->workspace, prev->workspace, 0);
    ngx_conf_merge_value(conf->handoff, prev->handoff, 0);
    ngx_conf_merge_value(conf->preflight, prev->preflight, 0);
    ngx_conf_merge_str_value(conf->introspect, prev->introspect, "");
    ngx_conf_merge_str_value(conf->redeem, prev->redeem, "");
    ngx_http_gitpod_protocol_merge(conf, prev);

    if (conf->handoff && conf->auth != NGX_HTTP_GITPOD_AUTH_ON) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"gitpod_handoff\" needs \"gitpod_auth on\" in "
                           "the same location");
        return NGX_CONF_ERROR;
    }

    /* who is let in otherwise would have no address to go to */

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (conf->workspace && clcf->satisfy == NGX_HTTP_SATISFY_ANY) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"gitpod_workspace\" needs \"satisfy all\"");
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_gitpod_domain(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t  *field = (ngx_str_t *) ((u_char *) conf + cmd->offset);

    ngx_str_t  *value;

    if (field->data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0 || value[1].len > GP_HOST_MAX
        || value[1].data[0] == '.'
        || value[1].data[value[1].len - 1] == '.'
        || ngx_strlchr(value[1].data, value[1].data + value[1].len, ':'))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" must be a host name without port and "
                           "without a dot at either end, not \"%V\"",
                           &cmd->name, &value[1]);
        return NGX_CONF_ERROR;
    }

    ngx_strlow(value[1].data, value[1].data, value[1].len);
    *field = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_http_gitpod_external_url(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_request_srv_conf_t *gscf = conf;

    u_char     *p, *last;
    ngx_str_t  *value;

    if (gscf->external_url.data) {
        return "is duplicate";
    }

    value = cf->args->elts;
    last = value[1].data + value[1].len;

    if (value[1].len > 7 && ngx_strncmp(value[1].data, "http://", 7) == 0) {
        ngx_str_set(&gscf->scheme, "http");
        p = value[1].data + 7;

    } else if (value[1].len > 8
               && ngx_strncmp(value[1].data, "https://", 8) == 0)
    {
        ngx_str_set(&gscf->scheme, "https");
        gscf->tls = 1;
        p = value[1].data + 8;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"gitpod_external_url\" must be "
                           "http://host[:port] or https://host[:port], "
                           "not \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (ngx_strlchr(p, last, '/')) {
        return "must end after the port, without a slash";
    }

    p = ngx_strlchr(p, last, ':');

    gscf->port.data = p ? p : last;
    gscf->port.len = last - gscf->port.data;

    gscf->external_url = value[1];

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_gitpod_cookie_names(ngx_conf_t *cf,
    ngx_http_gitpod_request_srv_conf_t *conf)
{
    u_char            *p;
    ngx_str_t         *name;
    ngx_uint_t         i;

    static ngx_str_t  names[NGX_HTTP_GITPOD_COOKIES_N] = {
        ngx_string(GP_COOKIE_SESSION),
        ngx_string(GP_COOKIE_WORKSPACE),
        ngx_string(GP_COOKIE_NONCE),
        ngx_string(GP_COOKIE_ORIGIN)
    };

    for (i = 0; i < NGX_HTTP_GITPOD_COOKIES_N; i++) {

        name = &conf->cookies[i];
        *name = names[i];

        /* __Host- demands Path=/, and the nonce has Path=/_gitpod */

        if (!conf->tls || i == NGX_HTTP_GITPOD_COOKIE_NONCE) {
            continue;
        }

        name->len += sizeof(GP_COOKIE_HOST_PREFIX) - 1;
        name->data = ngx_pnalloc(cf->pool, name->len);
        if (name->data == NULL) {
            return NGX_ERROR;
        }

        p = ngx_cpymem(name->data, GP_COOKIE_HOST_PREFIX,
                       sizeof(GP_COOKIE_HOST_PREFIX) - 1);
        ngx_memcpy(p, names[i].data, names[i].len);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_request_add_variables(ngx_conf_t *cf)
{
    return ngx_http_gitpod_variables_add(cf);
}


static ngx_int_t
ngx_http_gitpod_request_init(ngx_conf_t *cf)
{
    ngx_http_header_t          *header;
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    static ngx_str_t            authorization = ngx_string("authorization");

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_POST_READ_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_gitpod_ctx_init;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_gitpod_auth_handler;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_gitpod_workspace_handler;

    header = ngx_hash_find(&cmcf->headers_in_hash,
                           ngx_hash_key(authorization.data,
                                        authorization.len),
                           authorization.data, authorization.len);
    if (header == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "this nginx does not know \"Authorization\"");
        return NGX_ERROR;
    }

    header->handler = ngx_http_gitpod_authorization;

    return NGX_OK;
}

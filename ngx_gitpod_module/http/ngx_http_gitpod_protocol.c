
/*
 * gitpod_protocol: ports that speak something else than plain HTTP.  The route
 * tells what, after location was found, so the request goes on in a named
 * location with the directives of that protocol; it was judged before, and the
 * address is chosen.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_gitpod_request.h"


/* in the order of ngx_gitpod_protocol_e */

static const char  *ngx_http_gitpod_protocols[] = {
    "http", "https", "h2c", "grpc"
};


char *
ngx_http_gitpod_protocol(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_request_loc_conf_t *glcf = conf;

    ngx_str_t   *value;
    ngx_uint_t   i;

    value = cf->args->elts;

    if (value[2].len < 2 || value[2].data[0] != '@') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is no named location: \"@name\"",
                           &value[2]);
        return NGX_CONF_ERROR;
    }

    /* http is what this location itself speaks */

    for (i = NGX_GITPOD_PROTOCOL_HTTPS; i <= NGX_GITPOD_PROTOCOL_GRPC; i++) {

        if (ngx_strcmp(value[1].data, ngx_http_gitpod_protocols[i]) != 0) {
            continue;
        }

        if (glcf->protocols[i].len) {
            return "is duplicate";
        }

        glcf->protocols[i] = value[2];

        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown protocol \"%V\": https, h2c or grpc",
                       &value[1]);

    return NGX_CONF_ERROR;
}


void
ngx_http_gitpod_protocol_merge(ngx_http_gitpod_request_loc_conf_t *conf,
    ngx_http_gitpod_request_loc_conf_t *prev)
{
    ngx_uint_t  i;

    for (i = NGX_GITPOD_PROTOCOL_HTTPS; i <= NGX_GITPOD_PROTOCOL_GRPC; i++) {
        ngx_conf_merge_str_value(conf->protocols[i], prev->protocols[i], "");
    }
}


ngx_int_t
ngx_http_gitpod_protocol_handler(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx)
{
    ngx_str_t                           *name;
    ngx_http_gitpod_request_loc_conf_t  *glcf;

    if (ctx->protocol == NGX_GITPOD_PROTOCOL_HTTP) {
        return NGX_OK;
    }

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_request_module);

    name = &glcf->protocols[ctx->protocol];

    if (name->len == 0) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "port %ui of workspace \"%V\" speaks %s, and this "
                      "location has no \"gitpod_protocol %s\"",
                      ctx->port, &ctx->workspace_id,
                      ngx_http_gitpod_protocols[ctx->protocol],
                      ngx_http_gitpod_protocols[ctx->protocol]);
        return NGX_HTTP_BAD_GATEWAY;
    }

    (void) ngx_http_named_location(r, name);
    ngx_http_finalize_request(r, NGX_DONE);

    return NGX_DONE;
}

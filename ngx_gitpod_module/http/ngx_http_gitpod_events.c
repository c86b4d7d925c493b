
/*
 * gitpod_events: what happens to the caller's workspaces, as server-sent
 * events (WHATWG HTML, 9.2).  This file judges the request and sends the
 * header; the rest is ngx_http_gitpod_subscriber.c.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/event.h"
#include "core/scope.h"

#include "ngx_http_gitpod_request.h"
#include "ngx_http_gitpod_subscriber.h"


#define NGX_HTTP_GITPOD_EVENTS_HEARTBEAT  15000 /* ms */
#define NGX_HTTP_GITPOD_EVENTS_PER_USER   32    /* in one worker */
#define NGX_HTTP_GITPOD_EVENTS_MAX        1000000


typedef struct {
    ngx_flag_t   enable;
    ngx_msec_t   heartbeat;
    ngx_uint_t   per_user;
    ngx_uint_t   per_worker;               /* 0: half of its connections */
} ngx_http_gitpod_events_loc_conf_t;


static ngx_int_t ngx_http_gitpod_events_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_events_refuse(ngx_http_request_t *r,
    ngx_uint_t status, char *message);
static ngx_int_t ngx_http_gitpod_events_judge(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx);
static ngx_int_t ngx_http_gitpod_events_start(ngx_http_request_t *r,
    ngx_http_gitpod_subscribe_t *options);
static ngx_int_t ngx_http_gitpod_events_header(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_events_preface(ngx_http_request_t *r);
static void *ngx_http_gitpod_events_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_gitpod_events_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static char *ngx_http_gitpod_events(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_gitpod_events_parameter(ngx_str_t *value,
    ngx_http_gitpod_events_loc_conf_t *glcf);


static ngx_command_t  ngx_http_gitpod_events_commands[] = {

    { ngx_string("gitpod_events"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1234,
      ngx_http_gitpod_events,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gitpod_events_module_ctx = {
    NULL,                                    /* preconfiguration */
    NULL,                                    /* postconfiguration */

    NULL,                                    /* create main configuration */
    NULL,                                    /* init main configuration */

    NULL,                                    /* create server configuration */
    NULL,                                    /* merge server configuration */

    ngx_http_gitpod_events_create_loc_conf,  /* create location conf */
    ngx_http_gitpod_events_merge_loc_conf    /* merge location conf */
};


ngx_module_t  ngx_http_gitpod_events_module = {
    NGX_MODULE_V1,
    &ngx_http_gitpod_events_module_ctx,      /* module context */
    ngx_http_gitpod_events_commands,         /* module directives */
    NGX_HTTP_MODULE,                         /* module type */
    NULL,                                    /* init master */
    NULL,                                    /* init module */
    NULL,                                    /* init process */
    NULL,                                    /* init thread */
    NULL,                                    /* exit thread */
    NULL,                                    /* exit process */
    NULL,                                    /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_http_gitpod_events_handler(ngx_http_request_t *r)
{
    ngx_int_t                           rc;
    ngx_http_gitpod_ctx_t              *ctx;
    ngx_http_gitpod_subscribe_t         options;
    ngx_http_gitpod_events_loc_conf_t  *glcf;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_events_module);
    ctx = ngx_http_gitpod_ctx_get(r);

    if (r != r->main || ctx == NULL
        || ctx->credential == NGX_HTTP_GITPOD_NONE)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_gitpod_events_judge(r, ctx);

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_memzero(&options, sizeof(ngx_http_gitpod_subscribe_t));

    options.heartbeat = glcf->heartbeat;
    options.per_user = glcf->per_user;
    options.per_worker = glcf->per_worker ? glcf->per_worker
                                          : ngx_cycle->connection_n / 2;

    if (ngx_http_gitpod_events_start(r, &options) != NGX_OK) {
        return ngx_http_gitpod_events_refuse(r, NGX_HTTP_BAD_REQUEST,
                   "Last-Event-ID must be an id of this stream: "
                   "two numbers with \\\"-\\\" between");
    }

    if (ngx_http_gitpod_subscriber_room(ctx, &options) != NGX_OK) {
        ngx_gitpod_count(ctx->zone, NGX_GITPOD_N_SUBSCRIBE_REFUSED);

        return ngx_http_gitpod_events_refuse(r, NGX_HTTP_TOO_MANY_REQUESTS,
                   "There are enough streams of events already. "
                   "Close one, or try again later");
    }

    rc = ngx_http_gitpod_events_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    if (ngx_http_gitpod_events_preface(r) == NGX_ERROR
        || ngx_http_gitpod_subscriber_add(r, ctx, &options) != NGX_OK)
    {
        return NGX_ERROR;
    }

    r->main->count++;

    return NGX_DONE;
}


/* The answer finalizes the request, and so does who called the handler. */

static ngx_int_t
ngx_http_gitpod_events_refuse(ngx_http_request_t *r, ngx_uint_t status,
    char *message)
{
    ngx_int_t  rc;

    r->main->count++;

    rc = ngx_http_gitpod_reply_error(r, status, message);

    if (rc != NGX_DONE) {
        r->main->count--;
    }

    return rc;
}


/* NGX_OK, or what the handler returns. */

static ngx_int_t
ngx_http_gitpod_events_judge(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx)
{
    gp_span_t  scopes;

    scopes.ptr = (char *) ctx->scopes.data;
    scopes.len = ctx->scopes.len;

    if (!gp_scope_all(scopes)) {
        return ngx_http_gitpod_events_refuse(r, NGX_HTTP_FORBIDDEN,
                   "The token lacks the scope \\\"" GP_SCOPE_ALL "\\\", which "
                   "events need; make one with full access");
    }

    /* a body would come while nobody reads */

    if (r->headers_in.content_length_n > 0 || r->headers_in.chunked) {
        return ngx_http_gitpod_events_refuse(r, NGX_HTTP_BAD_REQUEST,
                   "A request for events has no body");
    }

    return NGX_OK;
}


/* Where to begin: Last-Event-ID, or ?lastEventId=; NGX_ERROR: it is none. */

static ngx_int_t
ngx_http_gitpod_events_start(ngx_http_request_t *r,
    ngx_http_gitpod_subscribe_t *options)
{
    gp_span_t         text;
    ngx_str_t         value;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    static ngx_str_t  name = ngx_string("last-event-id");

    ngx_str_null(&value);

    (void) ngx_http_arg(r, (u_char *) "lastEventId", 11, &value);

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].hash && h[i].key.len == name.len
            && ngx_strncasecmp(h[i].key.data, name.data, name.len) == 0)
        {
            value = h[i].value;
            break;
        }
    }

    if (value.len == 0) {
        return NGX_OK;
    }

    text.ptr = (char *) value.data;
    text.len = value.len;

    options->resume = 1;

    return gp_event_id_parse(text, &options->last) ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_http_gitpod_events_header(ngx_http_request_t *r)
{
    ngx_int_t  rc;

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    /* proxies before us shall neither keep nor gather it */

    if (ngx_http_gitpod_reply_header(r, "Cache-Control", "no-store")
        != NGX_OK
        || ngx_http_gitpod_reply_header(r, "X-Accel-Buffering", "no")
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* the end of the stream is the end of the connection */

    r->keepalive = 0;

    r->headers_out.status = NGX_HTTP_OK;
    ngx_str_set(&r->headers_out.content_type, "text/event-stream");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    ngx_http_clear_content_length(r);
    ngx_http_clear_accept_ranges(r);

    return ngx_http_send_header(r);
}


/*
 * What the client gets at once, with the header.  The time to wait before it
 * comes back differs, so that not all come at the same moment.
 */

static ngx_int_t
ngx_http_gitpod_events_preface(ngx_http_request_t *r)
{
    ngx_buf_t    *b;
    ngx_chain_t   out;

    b = ngx_create_temp_buf(r->pool, sizeof("retry: 65536\n\n"));
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->last = ngx_sprintf(b->last, "retry: %l\n\n",
                          1000 + ngx_random() % 2000);
    b->flush = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


static void *
ngx_http_gitpod_events_create_loc_conf(ngx_conf_t *cf)
{
    /*
     * set by ngx_pcalloc():
     *
     *     conf->enable = 0, and the rest with it
     */

    return ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_events_loc_conf_t));
}


static char *
ngx_http_gitpod_events_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_gitpod_events_loc_conf_t *conf = child;

    ngx_http_gitpod_request_loc_conf_t  *rlcf;

    rlcf = ngx_http_conf_get_module_loc_conf(cf,
                                             ngx_http_gitpod_request_module);

    if (conf->enable && rlcf->auth != NGX_HTTP_GITPOD_AUTH_ON) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"gitpod_events\" needs \"gitpod_auth on\" in the same "
                      "location");
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_gitpod_events(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_events_loc_conf_t *glcf = conf;

    ngx_str_t                 *value;
    ngx_uint_t                 i;
    ngx_http_core_loc_conf_t  *clcf;

    if (glcf->enable) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "on") != 0) {
        return "has one value: on";
    }

    glcf->enable = 1;
    glcf->heartbeat = NGX_HTTP_GITPOD_EVENTS_HEARTBEAT;
    glcf->per_user = NGX_HTTP_GITPOD_EVENTS_PER_USER;

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_http_gitpod_events_parameter(&value[i], glcf) != NGX_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\": there are "
                               "heartbeat= (1s to 5m), per_user= and "
                               "per_worker= (1 to %d)", &value[i],
                               NGX_HTTP_GITPOD_EVENTS_MAX);
            return NGX_CONF_ERROR;
        }
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_gitpod_events_handler;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_gitpod_events_parameter(ngx_str_t *value,
    ngx_http_gitpod_events_loc_conf_t *glcf)
{
    u_char     *equal;
    ngx_int_t   n;
    ngx_str_t   name, text;

    equal = ngx_strlchr(value->data, value->data + value->len, '=');

    if (equal == NULL) {
        return NGX_ERROR;
    }

    name.data = value->data;
    name.len = equal - value->data;
    text.data = equal + 1;
    text.len = value->len - name.len - 1;

    if (name.len == 9 && ngx_strncmp(name.data, "heartbeat", 9) == 0) {
        n = ngx_parse_time(&text, 0);

        if (n < 1000 || n > 300000) {
            return NGX_ERROR;
        }

        glcf->heartbeat = (ngx_msec_t) n;
        return NGX_OK;
    }

    n = ngx_atoi(text.data, text.len);

    if (n < 1 || n > NGX_HTTP_GITPOD_EVENTS_MAX) {
        return NGX_ERROR;
    }

    if (name.len == 8 && ngx_strncmp(name.data, "per_user", 8) == 0) {
        glcf->per_user = (ngx_uint_t) n;
        return NGX_OK;
    }

    if (name.len == 10 && ngx_strncmp(name.data, "per_worker", 10) == 0) {
        glcf->per_worker = (ngx_uint_t) n;
        return NGX_OK;
    }

    return NGX_ERROR;
}


/*
 * gitpod_status: what the gateway knows, for an operator's eyes (HTML) and
 * for programs (JSON).  Read from memory; it changes nothing.
 */


#include "ngx_http_gitpod_status.h"


#define NGX_HTTP_GITPOD_STATUS_SIZE  (256 * 1024)
#define NGX_HTTP_GITPOD_STATUS_ROW   4096       /* bytes that a row may take */
#define NGX_HTTP_GITPOD_STATUS_TEXT  256        /* bytes of a text shown */


typedef void (*ngx_http_gitpod_status_pt)(ngx_http_gitpod_status_t *s);


static char *ngx_http_gitpod_status(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_gitpod_status_handler(ngx_http_request_t *r);
static ngx_uint_t ngx_http_gitpod_status_format(ngx_http_request_t *r);
static ngx_uint_t ngx_http_gitpod_status_page(ngx_http_request_t *r);
static ngx_int_t ngx_http_gitpod_status_body(ngx_http_request_t *r,
    ngx_str_t *body, ngx_uint_t html);
static ngx_int_t ngx_http_gitpod_status_send(ngx_http_request_t *r,
    ngx_str_t *type, ngx_str_t *body);
static ngx_int_t ngx_http_gitpod_status_header(ngx_http_request_t *r,
    char *name, char *value);
static void ngx_http_gitpod_status_cell(ngx_http_gitpod_status_t *s);


#define NGX_HTTP_GITPOD_STATUS_JSON  0
#define NGX_HTTP_GITPOD_STATUS_HTML  1
#define NGX_HTTP_GITPOD_STATUS_CSS   2
#define NGX_HTTP_GITPOD_STATUS_NONE  3


/* who has something to show, in this order */

static ngx_http_gitpod_status_pt  ngx_http_gitpod_status_sections[] = {
    ngx_http_gitpod_status_checks,
    ngx_http_gitpod_breaker_status,
    ngx_http_gitpod_status_flags,
    ngx_http_gitpod_status_redis,
    ngx_http_gitpod_status_tables,
    ngx_http_gitpod_limit_status,
    ngx_http_gitpod_status_workers,
    NULL
};


static ngx_str_t  ngx_http_gitpod_status_css = ngx_string(
    ":root{color-scheme:light dark}"
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;"
    "max-width:60rem;padding:0 1rem}"
    "h1{font-size:1.4rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}"
    "div{overflow-x:auto}"
    "table{border-collapse:collapse;width:100%}"
    "th,td{text-align:left;padding:.3rem .8rem .3rem 0;"
    "border-bottom:1px solid #8884;white-space:nowrap}"
    "th{font-weight:600;color:GrayText}"
    "td{font-variant-numeric:tabular-nums}"
    ".no,.open,.unavailable{color:#c62828;font-weight:600}"
    "@media (prefers-color-scheme:dark){.no,.open,.unavailable"
    "{color:#ff8a80}}"
    "p{color:GrayText}\n");


static ngx_command_t  ngx_http_gitpod_status_commands[] = {

    { ngx_string("gitpod_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_gitpod_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gitpod_status_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_gitpod_status_module = {
    NGX_MODULE_V1,
    &ngx_http_gitpod_status_module_ctx,    /* module context */
    ngx_http_gitpod_status_commands,       /* module directives */
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


static char *
ngx_http_gitpod_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_gitpod_main_conf_t  *mcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gitpod_module);

    if (mcf->shm_zone == NULL) {
        return "needs \"gitpod_zone\" before it";
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_gitpod_status_handler;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_gitpod_status_handler(ngx_http_request_t *r)
{
    ngx_int_t   rc;
    ngx_str_t   body;
    ngx_uint_t  format;

    static ngx_str_t  css = ngx_string("text/css");
    static ngx_str_t  json = ngx_string("application/json");
    static ngx_str_t  html = ngx_string("text/html; charset=utf-8");

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_gitpod_zone(r) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    format = ngx_http_gitpod_status_format(r);

    if (format == NGX_HTTP_GITPOD_STATUS_NONE) {
        return NGX_HTTP_NOT_FOUND;
    }

    if (format == NGX_HTTP_GITPOD_STATUS_CSS) {
        return ngx_http_gitpod_status_send(r, &css,
                                           &ngx_http_gitpod_status_css);
    }

    rc = ngx_http_gitpod_status_body(r, &body,
                                     format == NGX_HTTP_GITPOD_STATUS_HTML);

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_gitpod_status_send(r,
               (format == NGX_HTTP_GITPOD_STATUS_HTML) ? &html : &json,
               &body);
}


static ngx_uint_t
ngx_http_gitpod_status_format(ngx_http_request_t *r)
{
    ngx_str_t  value;

    if (ngx_http_arg(r, (u_char *) "format", 6, &value) != NGX_OK) {
        return ngx_http_gitpod_status_page(r) ? NGX_HTTP_GITPOD_STATUS_HTML
                                              : NGX_HTTP_GITPOD_STATUS_JSON;
    }

    if (value.len == 4 && ngx_strncmp(value.data, "html", 4) == 0) {
        return NGX_HTTP_GITPOD_STATUS_HTML;
    }

    if (value.len == 4 && ngx_strncmp(value.data, "json", 4) == 0) {
        return NGX_HTTP_GITPOD_STATUS_JSON;
    }

    if (value.len == 3 && ngx_strncmp(value.data, "css", 3) == 0) {
        return NGX_HTTP_GITPOD_STATUS_CSS;
    }

    return NGX_HTTP_GITPOD_STATUS_NONE;
}


/* A browser says that it wants HTML. */

static ngx_uint_t
ngx_http_gitpod_status_page(ngx_http_request_t *r)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].key.len == sizeof("Accept") - 1
                && ngx_strncasecmp(h[i].key.data, (u_char *) "Accept",
                                   sizeof("Accept") - 1)
                   == 0)
            {
                return ngx_strnstr(h[i].value.data, "text/html",
                                   h[i].value.len)
                       != NULL;
            }
        }
    }

    return 0;
}


static ngx_int_t
ngx_http_gitpod_status_body(ngx_http_request_t *r, ngx_str_t *body,
    ngx_uint_t html)
{
    ngx_uint_t                i;
    ngx_http_gitpod_status_t  s;

    ngx_memzero(&s, sizeof(ngx_http_gitpod_status_t));

    body->data = ngx_palloc(r->pool, NGX_HTTP_GITPOD_STATUS_SIZE);
    if (body->data == NULL) {
        return NGX_ERROR;
    }

    s.p = body->data;
    s.last = body->data + NGX_HTTP_GITPOD_STATUS_SIZE;
    s.request = r;
    s.zone = ngx_http_gitpod_zone(r);
    s.html = html;

    s.p = html ? ngx_slprintf(s.p, s.last,
                   "<!doctype html>\n<html lang=\"en\">\n<head>"
                   "<meta charset=\"utf-8\"><title>Gateway</title>"
                   "<meta name=\"viewport\" content=\"width=device-width\">"
                   "<meta http-equiv=\"refresh\" content=\"5\">"
                   "<link rel=\"stylesheet\" href=\"?format=css\"></head>\n"
                   "<body>\n<h1>Gateway</h1>\n<p>As of %V, made anew every "
                   "5 seconds. For programs: <a href=\"?format=json\">JSON"
                   "</a>.</p>\n", &ngx_cached_http_time)
               : ngx_slprintf(s.p, s.last, "{\"time\":\"%V\"",
                              &ngx_cached_http_log_iso8601);

    for (i = 0; ngx_http_gitpod_status_sections[i]; i++) {
        ngx_http_gitpod_status_sections[i](&s);
    }

    if (html) {
        s.p = ngx_slprintf(s.p, s.last, "%s</body>\n</html>\n",
                           s.full ? "<p>There is more than this page "
                                    "holds.</p>\n"
                                  : "");

    } else {
        s.p = ngx_slprintf(s.p, s.last, ",\"complete\":%s}\n",
                           s.full ? "false" : "true");
    }

    body->len = s.p - body->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_status_send(ngx_http_request_t *r, ngx_str_t *type,
    ngx_str_t *body)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    if (ngx_http_gitpod_status_header(r, "Cache-Control", "no-store")
            != NGX_OK
        || ngx_http_gitpod_status_header(r, "X-Content-Type-Options",
                                         "nosniff")
               != NGX_OK
        || ngx_http_gitpod_status_header(r, "Content-Security-Policy",
               "default-src 'none'; style-src 'self'; base-uri 'none'; "
               "frame-ancestors 'none'")
               != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_type = *type;
    r->headers_out.content_type_len = type->len;
    r->headers_out.content_length_n = body->len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = body->data;
    b->last = body->data + body->len;
    b->memory = 1;
    b->last_buf = (r == r->main);
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


static ngx_int_t
ngx_http_gitpod_status_header(ngx_http_request_t *r, char *name, char *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value.data = (u_char *) value;
    h->value.len = ngx_strlen(value);

    return NGX_OK;
}


/* writing */

void
ngx_http_gitpod_status_section(ngx_http_gitpod_status_t *s,
    const char *title, const char **columns)
{
    s->rows = 0;
    s->columns = columns;
    s->sections++;

    if (!s->html) {
        s->p = ngx_slprintf(s->p, s->last, ",\"%s\":[", title);
        return;
    }

    s->p = ngx_slprintf(s->p, s->last,
                        "<h2>%c%s</h2>\n<div><table>\n<tr>",
                        ngx_toupper(title[0]), title + 1);

    for ( ; *columns; columns++) {
        s->p = ngx_slprintf(s->p, s->last, "<th>%s</th>", *columns);
    }

    s->p = ngx_slprintf(s->p, s->last, "</tr>\n");
}


void
ngx_http_gitpod_status_end(ngx_http_gitpod_status_t *s)
{
    if (s->rows) {
        s->p = ngx_slprintf(s->p, s->last, s->html ? "</tr>\n" : "}");
    }

    s->p = ngx_slprintf(s->p, s->last, s->html ? "</table></div>\n" : "]");
}


ngx_int_t
ngx_http_gitpod_status_row(ngx_http_gitpod_status_t *s)
{
    if (s->last - s->p < 2 * NGX_HTTP_GITPOD_STATUS_ROW) {
        s->full = 1;
        return NGX_DECLINED;
    }

    if (s->html) {
        s->p = ngx_slprintf(s->p, s->last, s->rows ? "</tr>\n<tr>" : "<tr>");

    } else {
        s->p = ngx_slprintf(s->p, s->last, s->rows ? "},{" : "{");
    }

    s->rows++;
    s->column = s->columns;

    return NGX_OK;
}


static void
ngx_http_gitpod_status_cell(ngx_http_gitpod_status_t *s)
{
    if (!s->html) {
        s->p = ngx_slprintf(s->p, s->last, "%s\"%s\":",
                            (s->column == s->columns) ? "" : ",",
                            *s->column);
    }

    s->column++;
}


void
ngx_http_gitpod_status_text(ngx_http_gitpod_status_t *s, const char *text)
{
    ngx_str_t  str;

    str.data = (u_char *) (uintptr_t) text;
    str.len = ngx_strlen(text);

    ngx_http_gitpod_status_str(s, &str);
}


void
ngx_http_gitpod_status_str(ngx_http_gitpod_status_t *s, ngx_str_t *text)
{
    size_t  len;

    len = ngx_min(text->len, NGX_HTTP_GITPOD_STATUS_TEXT);

    ngx_http_gitpod_status_cell(s);

    if (s->html) {
        s->p = ngx_slprintf(s->p, s->last,
                            (len == 4 && ngx_strncmp(text->data, "open", 4)
                                         == 0)
                            ? "<td class=\"open\">" : "<td>");
        s->p = (u_char *) ngx_escape_html(s->p, text->data, len);
        s->p = ngx_slprintf(s->p, s->last, "</td>");
        return;
    }

    *s->p++ = '"';
    s->p = (u_char *) ngx_escape_json(s->p, text->data, len);
    *s->p++ = '"';
}


void
ngx_http_gitpod_status_number(ngx_http_gitpod_status_t *s, uint64_t number)
{
    ngx_http_gitpod_status_cell(s);

    s->p = ngx_slprintf(s->p, s->last, s->html ? "<td>%uL</td>" : "%uL",
                        number);
}


void
ngx_http_gitpod_status_truth(ngx_http_gitpod_status_t *s, ngx_uint_t truth)
{
    ngx_http_gitpod_status_cell(s);

    if (s->html) {
        s->p = ngx_slprintf(s->p, s->last,
                            truth ? "<td>yes</td>"
                                  : "<td class=\"no\">no</td>");
        return;
    }

    s->p = ngx_slprintf(s->p, s->last, truth ? "true" : "false");
}

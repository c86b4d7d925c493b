
/*
 * FastCGI 1.0, section 3, as far as one request on one connection needs it.
 */


#include "core/contract.h"

#include "ngx_http_gitpod_fastcgi.h"


#define NGX_HTTP_GITPOD_FASTCGI_BEGIN   1
#define NGX_HTTP_GITPOD_FASTCGI_END     3
#define NGX_HTTP_GITPOD_FASTCGI_PARAMS  4
#define NGX_HTTP_GITPOD_FASTCGI_STDIN   5
#define NGX_HTTP_GITPOD_FASTCGI_STDOUT  6

#define NGX_HTTP_GITPOD_FASTCGI_HEAD    8       /* bytes of a header */
#define NGX_HTTP_GITPOD_FASTCGI_FRAME   1024    /* all but path and body */
#define NGX_HTTP_GITPOD_FASTCGI_CHUNK   4096

#define NGX_HTTP_GITPOD_CALLER          "gateway"


struct ngx_http_gitpod_fastcgi_s {
    ngx_peer_connection_t        peer;
    ngx_log_t                    log;
    ngx_http_gitpod_fastcgi_pt   handler;
    void                        *data;

    u_char                      *pos;       /* of the request, not yet sent */
    u_char                      *last;

    size_t                       received;
    size_t                       content;   /* of the record under way */
    size_t                       padding;
    size_t                       head_len;
    u_char                       head[NGX_HTTP_GITPOD_FASTCGI_HEAD];

    size_t                       out_len;
    u_char                       out[NGX_HTTP_GITPOD_FASTCGI_ANSWER_MAX + 1];

    u_char                       request[1];
};


static u_char *ngx_http_gitpod_fastcgi_record(u_char *p, ngx_uint_t type,
    size_t len);
static u_char *ngx_http_gitpod_fastcgi_param(u_char *p, char *name,
    ngx_str_t *value);
static u_char *ngx_http_gitpod_fastcgi_request(u_char *p, ngx_str_t *path,
    ngx_str_t *body);
static void ngx_http_gitpod_fastcgi_write(ngx_event_t *wev);
static void ngx_http_gitpod_fastcgi_read(ngx_event_t *rev);
static ngx_int_t ngx_http_gitpod_fastcgi_parse(ngx_http_gitpod_fastcgi_t *f,
    u_char *p, u_char *last);
static void ngx_http_gitpod_fastcgi_answer(ngx_http_gitpod_fastcgi_t *f);
static void ngx_http_gitpod_fastcgi_fail(ngx_http_gitpod_fastcgi_t *f,
    char *why);


ngx_http_gitpod_fastcgi_t *
ngx_http_gitpod_fastcgi_call(ngx_addr_t *addr, ngx_str_t *path,
    ngx_str_t *body, ngx_msec_t timeout, ngx_log_t *log,
    ngx_http_gitpod_fastcgi_pt handler, void *data)
{
    ngx_int_t                   rc;
    ngx_connection_t           *c;
    ngx_http_gitpod_fastcgi_t  *f;

    if (path->len > NGX_HTTP_GITPOD_FASTCGI_PATH_MAX
        || body->len > NGX_HTTP_GITPOD_FASTCGI_BODY_MAX)
    {
        return NULL;
    }

    f = ngx_alloc(sizeof(ngx_http_gitpod_fastcgi_t)
                  + NGX_HTTP_GITPOD_FASTCGI_FRAME + 2 * path->len + body->len,
                  log);
    if (f == NULL) {
        return NULL;
    }

    ngx_memzero(f, sizeof(ngx_http_gitpod_fastcgi_t));

    f->handler = handler;
    f->data = data;
    f->pos = f->request;
    f->last = ngx_http_gitpod_fastcgi_request(f->request, path, body);

    /* a plugin that is away is what the handler is told, no line each time */

    f->log = *log;
    f->log.log_level = ngx_min(log->log_level, NGX_LOG_ALERT);

    f->peer.sockaddr = addr->sockaddr;
    f->peer.socklen = addr->socklen;
    f->peer.name = &addr->name;
    f->peer.get = ngx_event_get_peer;
    f->peer.log = &f->log;
    f->peer.log_error = NGX_ERROR_INFO;

    rc = ngx_event_connect_peer(&f->peer);

    if (rc != NGX_OK && rc != NGX_AGAIN) {
        ngx_http_gitpod_fastcgi_cancel(f);
        return NULL;
    }

    c = f->peer.connection;
    c->data = f;
    c->idle = 1;
    c->read->handler = ngx_http_gitpod_fastcgi_read;
    c->write->handler = ngx_http_gitpod_fastcgi_write;
    c->read->cancelable = 1;

    ngx_add_timer(c->read, timeout);

    if (rc == NGX_OK) {
        ngx_post_event(c->write, &ngx_posted_events);
    }

    return f;
}


void
ngx_http_gitpod_fastcgi_cancel(ngx_http_gitpod_fastcgi_t *f)
{
    if (f->peer.connection) {
        ngx_close_connection(f->peer.connection);
    }

    ngx_free(f);
}


static u_char *
ngx_http_gitpod_fastcgi_record(u_char *p, ngx_uint_t type, size_t len)
{
    *p++ = 1;                           /* version */
    *p++ = (u_char) type;
    *p++ = 0;
    *p++ = 1;                           /* request id */
    *p++ = (u_char) (len >> 8);
    *p++ = (u_char) len;
    *p++ = 0;                           /* padding */
    *p++ = 0;

    return p;
}


/* Names and values are shorter than 128 bytes: one byte says how long. */

static u_char *
ngx_http_gitpod_fastcgi_param(u_char *p, char *name, ngx_str_t *value)
{
    size_t  len;

    len = ngx_strlen(name);

    *p++ = (u_char) len;
    *p++ = (u_char) value->len;
    p = ngx_cpymem(p, name, len);

    return ngx_cpymem(p, value->data, value->len);
}


static u_char *
ngx_http_gitpod_fastcgi_request(u_char *p, ngx_str_t *path, ngx_str_t *body)
{
    u_char            *params, text[NGX_SIZE_T_LEN];
    ngx_str_t          length;

    static ngx_str_t   get = ngx_string("GET");
    static ngx_str_t   post = ngx_string("POST");
    static ngx_str_t   http = ngx_string("HTTP/1.1");
    static ngx_str_t   json = ngx_string("application/json");
    static ngx_str_t   caller = ngx_string(NGX_HTTP_GITPOD_CALLER);
    static ngx_str_t   none = ngx_string("");

    p = ngx_http_gitpod_fastcgi_record(p, NGX_HTTP_GITPOD_FASTCGI_BEGIN, 8);
    ngx_memzero(p, 8);
    p[1] = 1;                           /* responder; closes after it */
    p += 8;

    params = p;
    p += NGX_HTTP_GITPOD_FASTCGI_HEAD;

    p = ngx_http_gitpod_fastcgi_param(p, "REQUEST_METHOD",
                                      body->len ? &post : &get);
    p = ngx_http_gitpod_fastcgi_param(p, GP_PARAM_PATH, path);
    p = ngx_http_gitpod_fastcgi_param(p, "REQUEST_URI", path);
    p = ngx_http_gitpod_fastcgi_param(p, "SERVER_PROTOCOL", &http);
    p = ngx_http_gitpod_fastcgi_param(p, "QUERY_STRING", &none);
    p = ngx_http_gitpod_fastcgi_param(p, GP_PARAM_CALLER, &caller);

    if (body->len) {
        length.data = text;
        length.len = ngx_sprintf(text, "%uz", body->len) - text;

        p = ngx_http_gitpod_fastcgi_param(p, "CONTENT_LENGTH", &length);
        p = ngx_http_gitpod_fastcgi_param(p, "CONTENT_TYPE", &json);
    }

    (void) ngx_http_gitpod_fastcgi_record(params,
                               NGX_HTTP_GITPOD_FASTCGI_PARAMS,
                               p - params - NGX_HTTP_GITPOD_FASTCGI_HEAD);

    p = ngx_http_gitpod_fastcgi_record(p, NGX_HTTP_GITPOD_FASTCGI_PARAMS, 0);

    if (body->len) {
        p = ngx_http_gitpod_fastcgi_record(p, NGX_HTTP_GITPOD_FASTCGI_STDIN,
                                           body->len);
        p = ngx_cpymem(p, body->data, body->len);
    }

    return ngx_http_gitpod_fastcgi_record(p, NGX_HTTP_GITPOD_FASTCGI_STDIN,
                                          0);
}


static void
ngx_http_gitpod_fastcgi_write(ngx_event_t *wev)
{
    ssize_t                     n;
    ngx_connection_t           *c;
    ngx_http_gitpod_fastcgi_t  *f;

    c = wev->data;
    f = c->data;

    while (f->pos < f->last) {
        n = c->send(c, f->pos, f->last - f->pos);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == NGX_ERROR) {
            ngx_http_gitpod_fastcgi_fail(f, "cannot connect");
            return;
        }

        f->pos += n;
    }

    if (ngx_handle_write_event(wev, 0) != NGX_OK) {
        ngx_http_gitpod_fastcgi_fail(f, "event failed");
    }
}


static void
ngx_http_gitpod_fastcgi_read(ngx_event_t *rev)
{
    u_char                      chunk[NGX_HTTP_GITPOD_FASTCGI_CHUNK];
    ssize_t                     n;
    ngx_connection_t           *c;
    ngx_http_gitpod_fastcgi_t  *f;

    c = rev->data;
    f = c->data;

    if (c->close) {
        ngx_http_gitpod_fastcgi_fail(f, "nginx ends");
        return;
    }

    if (rev->timedout) {
        ngx_http_gitpod_fastcgi_fail(f, "no answer in time");
        return;
    }

    for ( ;; ) {
        n = c->recv(c, chunk, NGX_HTTP_GITPOD_FASTCGI_CHUNK);

        if (n == NGX_AGAIN) {
            if (ngx_handle_read_event(rev, 0) != NGX_OK) {
                ngx_http_gitpod_fastcgi_fail(f, "event failed");
            }

            return;
        }

        if (n == NGX_ERROR || n == 0) {
            ngx_http_gitpod_fastcgi_fail(f, "closed before it answered");
            return;
        }

        f->received += n;

        switch (ngx_http_gitpod_fastcgi_parse(f, chunk, chunk + n)) {

        case NGX_OK:
            ngx_http_gitpod_fastcgi_answer(f);
            return;

        case NGX_AGAIN:
            break;

        default:
            ngx_http_gitpod_fastcgi_fail(f, "its answer is broken");
            return;
        }

        if (f->received > NGX_HTTP_GITPOD_FASTCGI_READ_MAX) {
            ngx_http_gitpod_fastcgi_fail(f, "its answer is too long");
            return;
        }
    }
}


/* Keeps the beginning of STDOUT.  NGX_OK: the request has ended. */

static ngx_int_t
ngx_http_gitpod_fastcgi_parse(ngx_http_gitpod_fastcgi_t *f, u_char *p,
    u_char *last)
{
    size_t  n, keep;

    while (p < last) {

        if (f->head_len < NGX_HTTP_GITPOD_FASTCGI_HEAD) {
            f->head[f->head_len++] = *p++;

            if (f->head_len < NGX_HTTP_GITPOD_FASTCGI_HEAD) {
                continue;
            }

            if (f->head[0] != 1) {
                return NGX_ERROR;
            }

            f->content = ((size_t) f->head[4] << 8) | f->head[5];
            f->padding = f->head[6];
        }

        n = ngx_min(f->content, (size_t) (last - p));

        if (f->head[1] == NGX_HTTP_GITPOD_FASTCGI_STDOUT) {
            keep = ngx_min(n, NGX_HTTP_GITPOD_FASTCGI_ANSWER_MAX
                              - f->out_len);
            ngx_memcpy(f->out + f->out_len, p, keep);
            f->out_len += keep;
        }

        f->content -= n;
        p += n;

        n = ngx_min(f->padding, (size_t) (last - p));
        f->padding -= n;
        p += n;

        if (f->content || f->padding) {
            continue;
        }

        if (f->head[1] == NGX_HTTP_GITPOD_FASTCGI_END) {
            return NGX_OK;
        }

        f->head_len = 0;
    }

    return NGX_AGAIN;
}


static void
ngx_http_gitpod_fastcgi_answer(ngx_http_gitpod_fastcgi_t *f)
{
    u_char     *p;
    ngx_int_t   status;
    ngx_str_t   body;

    f->out[f->out_len] = '\0';

    if (f->out_len == 0) {
        ngx_http_gitpod_fastcgi_fail(f, "its answer has no status");
        return;
    }

    /* CGI: without a status line it is 200 */

    status = 200;
    p = f->out;

    if (ngx_strncasecmp(p, (u_char *) "Status:", 7) == 0
        || (p = (u_char *) ngx_strstr(p, "\nStatus:")) != NULL)
    {
        p = (u_char *) ngx_strchr(p, ':') + 1;

        while (*p == ' ') {
            p++;
        }

        status = (p + 3 <= f->out + f->out_len) ? ngx_atoi(p, 3) : NGX_ERROR;
    }

    if (status == NGX_ERROR) {
        ngx_http_gitpod_fastcgi_fail(f, "its answer has no status");
        return;
    }

    p = (u_char *) ngx_strstr(f->out, "\r\n\r\n");

    body.data = p ? p + 4 : f->out + f->out_len;
    body.len = f->out + f->out_len - body.data;

    f->handler(f->data, status, &body);

    ngx_http_gitpod_fastcgi_cancel(f);
}


static void
ngx_http_gitpod_fastcgi_fail(ngx_http_gitpod_fastcgi_t *f, char *why)
{
    ngx_str_t  text;

    text.data = (u_char *) why;
    text.len = ngx_strlen(why);

    f->handler(f->data, NGX_ERROR, &text);

    ngx_http_gitpod_fastcgi_cancel(f);
}

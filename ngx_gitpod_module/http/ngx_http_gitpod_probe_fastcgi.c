
/*
 * Asks a plugin for its health over its own socket: one FastCGI request of
 * our own making (FastCGI 1.0, section 3), since no client request is there
 * to carry it.  The answer is bounded in size and time.
 */


#include <ngx_event_connect.h>

#include "ngx_http_gitpod_probe.h"


#define NGX_HTTP_GITPOD_FASTCGI_END     3
#define NGX_HTTP_GITPOD_FASTCGI_STDOUT  6


struct ngx_http_gitpod_fastcgi_s {
    ngx_peer_connection_t     peer;
    ngx_http_gitpod_check_t  *check;
    ngx_log_t                 log;
    size_t                    sent;
    size_t                    received;
    size_t                    in_len;
    size_t                    out_len;
    u_char                    in[NGX_HTTP_GITPOD_ANSWER_MAX];
    u_char                    out[NGX_HTTP_GITPOD_ANSWER_MAX + 1];
};


static void ngx_http_gitpod_fastcgi_write(ngx_event_t *wev);
static void ngx_http_gitpod_fastcgi_read(ngx_event_t *rev);
static ngx_int_t ngx_http_gitpod_fastcgi_parse(ngx_http_gitpod_fastcgi_t *f);
static void ngx_http_gitpod_fastcgi_judge(ngx_http_gitpod_fastcgi_t *f);
static void ngx_http_gitpod_fastcgi_finish(ngx_http_gitpod_fastcgi_t *f,
    ngx_uint_t ok, const char *text);


/* BEGIN_REQUEST (responder, close after), PARAMS, end of PARAMS and STDIN */

#define NGX_HTTP_GITPOD_FASTCGI_PARAMS                                        \
    "\016\003" "REQUEST_METHOD" "GET"                                         \
    "\013\007" "GITPOD_PATH" GP_PATH_HEALTH                                   \
    "\013\007" "REQUEST_URI" GP_PATH_HEALTH                                   \
    "\017\010" "SERVER_PROTOCOL" "HTTP/1.1"                                   \
    "\014\000" "QUERY_STRING"


static const u_char  ngx_http_gitpod_fastcgi_request[] =
    "\001\001\000\001\000\010\000\000" "\000\001\000\000\000\000\000\000"
    "\001\004\000\001\000\142\000\000" NGX_HTTP_GITPOD_FASTCGI_PARAMS
    "\001\004\000\001\000\000\000\000"
    "\001\005\000\001\000\000\000\000";


_Static_assert(sizeof(NGX_HTTP_GITPOD_FASTCGI_PARAMS) - 1 == 0142,
               "the length in the header of PARAMS, in octal");


void
ngx_http_gitpod_probe_fastcgi(ngx_http_gitpod_check_t *check, ngx_log_t *log)
{
    ngx_int_t                   rc;
    ngx_connection_t           *c;
    ngx_http_gitpod_fastcgi_t  *f;

    f = ngx_calloc(sizeof(ngx_http_gitpod_fastcgi_t), log);
    if (f == NULL) {
        ngx_http_gitpod_check_done(check, 0, "out of memory");
        return;
    }

    /* a plugin that is away is the check's result, no line per attempt */

    f->log = *log;
    f->log.log_level = ngx_min(log->log_level, NGX_LOG_ALERT);

    f->check = check;
    check->fastcgi = f;

    f->peer.sockaddr = check->addr.sockaddr;
    f->peer.socklen = check->addr.socklen;
    f->peer.name = &check->addr.name;
    f->peer.get = ngx_event_get_peer;
    f->peer.log = &f->log;
    f->peer.log_error = NGX_ERROR_INFO;

    rc = ngx_event_connect_peer(&f->peer);

    if (rc == NGX_ERROR || rc == NGX_BUSY || rc == NGX_DECLINED) {
        ngx_http_gitpod_fastcgi_finish(f, 0, "cannot connect");
        return;
    }

    c = f->peer.connection;
    c->data = f;
    c->idle = 1;
    c->read->handler = ngx_http_gitpod_fastcgi_read;
    c->write->handler = ngx_http_gitpod_fastcgi_write;
    c->read->cancelable = 1;

    ngx_add_timer(c->read, check->timeout);

    if (rc == NGX_OK) {
        ngx_http_gitpod_fastcgi_write(c->write);
    }
}


void
ngx_http_gitpod_probe_fastcgi_cancel(ngx_http_gitpod_check_t *check)
{
    ngx_http_gitpod_fastcgi_t  *f;

    f = check->fastcgi;

    if (f == NULL) {
        return;
    }

    if (f->peer.connection) {
        ngx_close_connection(f->peer.connection);
    }

    check->fastcgi = NULL;
    ngx_free(f);
}


static void
ngx_http_gitpod_fastcgi_finish(ngx_http_gitpod_fastcgi_t *f, ngx_uint_t ok,
    const char *text)
{
    ngx_http_gitpod_check_t  *check;

    check = f->check;

    ngx_http_gitpod_check_done(check, ok, text);
    ngx_http_gitpod_probe_fastcgi_cancel(check);
}


static void
ngx_http_gitpod_fastcgi_write(ngx_event_t *wev)
{
    size_t                      size;
    ssize_t                     n;
    u_char                      request[sizeof(
                                         ngx_http_gitpod_fastcgi_request)];
    ngx_connection_t           *c;
    ngx_http_gitpod_fastcgi_t  *f;

    c = wev->data;
    f = c->data;

    size = sizeof(ngx_http_gitpod_fastcgi_request) - 1;
    ngx_memcpy(request, ngx_http_gitpod_fastcgi_request, size);

    while (f->sent < size) {
        n = c->send(c, request + f->sent, size - f->sent);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == NGX_ERROR) {
            ngx_http_gitpod_fastcgi_finish(f, 0, "cannot connect");
            return;
        }

        f->sent += n;
    }

    if (ngx_handle_write_event(wev, 0) != NGX_OK) {
        ngx_http_gitpod_fastcgi_finish(f, 0, "event failed");
    }
}


static void
ngx_http_gitpod_fastcgi_read(ngx_event_t *rev)
{
    ssize_t                     n;
    ngx_connection_t           *c;
    ngx_http_gitpod_fastcgi_t  *f;

    c = rev->data;
    f = c->data;

    if (c->close) {
        ngx_http_gitpod_probe_fastcgi_cancel(f->check);
        return;
    }

    if (rev->timedout) {
        ngx_http_gitpod_fastcgi_finish(f, 0, "no answer in time");
        return;
    }

    for ( ;; ) {
        if (f->received > NGX_HTTP_GITPOD_ANSWER_MAX) {
            ngx_http_gitpod_fastcgi_finish(f, 0, "its answer is too long");
            return;
        }

        n = c->recv(c, f->in + f->in_len,
                    NGX_HTTP_GITPOD_ANSWER_MAX - f->in_len);

        if (n == NGX_AGAIN) {
            if (ngx_handle_read_event(rev, 0) != NGX_OK) {
                ngx_http_gitpod_fastcgi_finish(f, 0, "event failed");
            }

            return;
        }

        if (n == NGX_ERROR || n == 0) {
            ngx_http_gitpod_fastcgi_finish(f, 0,
                                           "closed before it answered");
            return;
        }

        f->in_len += n;
        f->received += n;

        switch (ngx_http_gitpod_fastcgi_parse(f)) {

        case NGX_OK:
            ngx_http_gitpod_fastcgi_judge(f);
            return;

        case NGX_AGAIN:
            break;

        default:
            ngx_http_gitpod_fastcgi_finish(f, 0, "its answer is broken");
            return;
        }
    }
}


/* Takes whole records off the front; NGX_OK: the request has ended. */

static ngx_int_t
ngx_http_gitpod_fastcgi_parse(ngx_http_gitpod_fastcgi_t *f)
{
    size_t   at, len, size;
    u_char  *p;

    at = 0;

    while (f->in_len - at >= 8) {
        p = f->in + at;

        if (p[0] != 1) {
            return NGX_ERROR;
        }

        len = ((size_t) p[4] << 8) | p[5];
        size = 8 + len + p[6];

        if (size > NGX_HTTP_GITPOD_ANSWER_MAX) {
            return NGX_ERROR;
        }

        if (f->in_len - at < size) {
            break;
        }

        if (p[1] == NGX_HTTP_GITPOD_FASTCGI_END) {
            return NGX_OK;
        }

        if (p[1] == NGX_HTTP_GITPOD_FASTCGI_STDOUT) {
            len = ngx_min(len, NGX_HTTP_GITPOD_ANSWER_MAX - f->out_len);
            ngx_memcpy(f->out + f->out_len, p + 8, len);
            f->out_len += len;
        }

        at += size;
    }

    ngx_memmove(f->in, f->in + at, f->in_len - at);
    f->in_len -= at;

    return NGX_AGAIN;
}


static void
ngx_http_gitpod_fastcgi_judge(ngx_http_gitpod_fastcgi_t *f)
{
    u_char     *p, *body, text[NGX_GITPOD_CHECK_TEXT_MAX];
    ngx_int_t   status;

    f->out[f->out_len] = '\0';

    /* CGI: without a status line it is 200 */

    status = 200;
    p = f->out;

    if (f->out_len == 0) {
        status = NGX_ERROR;

    } else if (ngx_strncasecmp(p, (u_char *) "Status:", 7) == 0
               || (p = (u_char *) ngx_strstr(p, "\nStatus:")) != NULL)
    {
        p = (u_char *) ngx_strchr(p, ':') + 1;

        while (*p == ' ') {
            p++;
        }

        status = (p + 3 <= f->out + f->out_len) ? ngx_atoi(p, 3) : NGX_ERROR;
    }

    if (status == 200) {
        ngx_http_gitpod_fastcgi_finish(f, 1, "answers");
        return;
    }

    if (status == NGX_ERROR) {
        ngx_http_gitpod_fastcgi_finish(f, 0, "its answer has no status");
        return;
    }

    body = (u_char *) ngx_strstr(f->out, "\r\n\r\n");
    body = body ? body + 4 : f->out + f->out_len;

    (void) ngx_snprintf(text, NGX_GITPOD_CHECK_TEXT_MAX, "status %i: %s%Z",
                        status, body);
    text[NGX_GITPOD_CHECK_TEXT_MAX - 1] = '\0';

    ngx_http_gitpod_fastcgi_finish(f, 0, (char *) text);
}

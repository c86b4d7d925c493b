
#include "core/http_answer.h"

#include "ngx_http_gitpod_fetch.h"


#define NGX_HTTP_GITPOD_FETCH_DEPTH   4     /* certificates of a chain */
#define NGX_HTTP_GITPOD_FETCH_POOL    512   /* bytes */
#define NGX_HTTP_GITPOD_FETCH_FRAME   256   /* of a request, but host, path */


struct ngx_http_gitpod_fetch_s {
    ngx_http_gitpod_fetch_conf_t  *conf;
    ngx_http_gitpod_fetch_pt       handler;
    void                          *data;

    ngx_msec_t                     timeout;
    ngx_event_t                    timer;   /* the beginning, the deadline */
    ngx_connection_t               dummy;   /* of the timer */
    ngx_log_t                      log;
    ngx_resolver_ctx_t            *resolve;
    ngx_peer_connection_t          peer;
    ngx_sockaddr_t                 sockaddr;

    u_char                        *pos;     /* of the request, not yet sent */
    u_char                        *last;
    size_t                         len;
    u_char                         request[NGX_HTTP_GITPOD_FETCH_FRAME
                                           + NGX_HTTP_GITPOD_FETCH_URL_MAX];
    u_char                         answer[NGX_HTTP_GITPOD_FETCH_HEAD_MAX
                                          + NGX_HTTP_GITPOD_FETCH_BODY_MAX];
};


static char *ngx_http_gitpod_fetch_ssl(ngx_conf_t *cf, ngx_str_t *certificate,
    ngx_http_gitpod_fetch_conf_t *conf);
static ngx_uint_t ngx_http_gitpod_fetch_local(ngx_addr_t *addr);
static void ngx_http_gitpod_fetch_begin(ngx_event_t *ev);
static void ngx_http_gitpod_fetch_late(ngx_event_t *ev);
static void ngx_http_gitpod_fetch_resolve(ngx_http_gitpod_fetch_t *f);
static void ngx_http_gitpod_fetch_resolved(ngx_resolver_ctx_t *ctx);
static void ngx_http_gitpod_fetch_connect(ngx_http_gitpod_fetch_t *f,
    struct sockaddr *sockaddr, socklen_t socklen);
static void ngx_http_gitpod_fetch_connected(ngx_event_t *ev);
static void ngx_http_gitpod_fetch_handshake(ngx_connection_t *c);
static void ngx_http_gitpod_fetch_write(ngx_event_t *wev);
static void ngx_http_gitpod_fetch_read(ngx_event_t *rev);
static void ngx_http_gitpod_fetch_answer(ngx_http_gitpod_fetch_t *f);
static void ngx_http_gitpod_fetch_fail(ngx_http_gitpod_fetch_t *f, char *why);


char *
ngx_http_gitpod_fetch_url(ngx_conf_t *cf, ngx_str_t *url,
    ngx_str_t *certificate, ngx_http_gitpod_fetch_conf_t *conf)
{
    size_t     scheme;
    ngx_url_t  u;

    if (url->len > 7 && ngx_strncmp(url->data, "http://", 7) == 0) {
        scheme = 7;

    } else if (url->len > 8 && ngx_strncmp(url->data, "https://", 8) == 0) {
        scheme = 8;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is neither http:// nor https://", url);
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url.data = url->data + scheme;
    u.url.len = url->len - scheme;
    u.default_port = (scheme == 7) ? 80 : 443;
    u.uri_part = 1;
    u.no_resolve = 1;

    if (url->len > NGX_HTTP_GITPOD_FETCH_URL_MAX
        || ngx_strlchr(url->data, url->data + url->len, '#')
        || ngx_strlchr(url->data, url->data + url->len, '@')
        || ngx_parse_url(cf->pool, &u) != NGX_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s in \"%V\"",
                           u.err ? u.err : "more than a host and a path",
                           url);
        return NGX_CONF_ERROR;
    }

    conf->url = *url;
    conf->name = u.host;
    conf->port = u.port;
    conf->addr = u.naddrs ? &u.addrs[0] : NULL;
    conf->clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    conf->authority.data = u.url.data;
    conf->authority.len = u.url.len - u.uri.len;

    if (u.family == AF_UNIX) {
        ngx_str_set(&conf->authority, "localhost");
    }

    conf->uri = u.uri;

    if (conf->uri.len == 0) {
        ngx_str_set(&conf->uri, "/");
    }

    if (scheme == 8) {
        return ngx_http_gitpod_fetch_ssl(cf, certificate, conf);
    }

    if (conf->addr == NULL || !ngx_http_gitpod_fetch_local(conf->addr)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" must be https: http is for a unix socket "
                           "or a loopback address", url);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_uint_t
ngx_http_gitpod_fetch_local(ngx_addr_t *addr)
{
    struct sockaddr_in   *sin;
#if (NGX_HAVE_INET6)
    struct sockaddr_in6  *sin6;
#endif

    switch (addr->sockaddr->sa_family) {

    case AF_UNIX:
        return 1;

#if (NGX_HAVE_INET6)
    case AF_INET6:
        sin6 = (struct sockaddr_in6 *) addr->sockaddr;
        return IN6_IS_ADDR_LOOPBACK(&sin6->sin6_addr);
#endif

    default: /* AF_INET */
        sin = (struct sockaddr_in *) addr->sockaddr;
        return (ntohl(sin->sin_addr.s_addr) >> 24) == 127;
    }
}


static char *
ngx_http_gitpod_fetch_ssl(ngx_conf_t *cf, ngx_str_t *certificate,
    ngx_http_gitpod_fetch_conf_t *conf)
{
    ngx_ssl_t           *ssl;
    ngx_pool_cleanup_t  *cln;

    if (conf->addr) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" must have a name: an address or a unix "
                           "socket has no certificate", &conf->url);
        return NGX_CONF_ERROR;
    }

    ssl = ngx_pcalloc(cf->pool, sizeof(ngx_ssl_t));
    if (ssl == NULL) {
        return NGX_CONF_ERROR;
    }

    ssl->log = cf->log;

    if (ngx_ssl_create(ssl, NGX_SSL_TLSv1_2|NGX_SSL_TLSv1_3, NULL)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        ngx_ssl_cleanup_ctx(ssl);
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_ssl_cleanup_ctx;
    cln->data = ssl;

    if (ngx_ssl_trusted_certificate(cf, ssl, certificate,
                                    NGX_HTTP_GITPOD_FETCH_DEPTH)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    conf->ssl = ssl;

    return NGX_CONF_OK;
}


ngx_http_gitpod_fetch_t *
ngx_http_gitpod_fetch(ngx_http_gitpod_fetch_conf_t *conf, ngx_msec_t timeout,
    ngx_log_t *log, ngx_http_gitpod_fetch_pt handler, void *data)
{
    ngx_http_gitpod_fetch_t  *f;

    f = ngx_calloc(sizeof(ngx_http_gitpod_fetch_t), log);
    if (f == NULL) {
        return NULL;
    }

    f->conf = conf;
    f->handler = handler;
    f->data = data;
    f->timeout = timeout;

    f->pos = f->request;
    f->last = ngx_slprintf(f->request, f->request + sizeof(f->request),
                           "GET %V HTTP/1.0" CRLF "Host: %V" CRLF
                           "Accept: application/json" CRLF
                           "User-Agent: gitpod-gateway" CRLF
                           "Connection: close" CRLF CRLF,
                           &conf->uri, &conf->authority);

    /* a server that is away is what the handler is told */

    f->log = *log;
    f->log.log_level = ngx_min(log->log_level, NGX_LOG_ALERT);

    f->dummy.fd = (ngx_socket_t) -1;
    f->timer.data = &f->dummy;
    f->timer.log = log;
    f->timer.handler = ngx_http_gitpod_fetch_begin;
    f->timer.cancelable = 1;
    f->dummy.data = f;

    ngx_add_timer(&f->timer, 1);

    return f;
}


void
ngx_http_gitpod_fetch_cancel(ngx_http_gitpod_fetch_t *f)
{
    ngx_connection_t  *c;

    if (f->timer.timer_set) {
        ngx_del_timer(&f->timer);
    }

    if (f->resolve) {
        ngx_resolve_name_done(f->resolve);
    }

    c = f->peer.connection;

    if (c) {

        if (c->ssl) {
            c->ssl->no_wait_shutdown = 1;
            c->ssl->no_send_shutdown = 1;
            (void) ngx_ssl_shutdown(c);
        }

        if (c->pool) {
            ngx_destroy_pool(c->pool);
        }

        ngx_close_connection(c);
    }

    ngx_free(f);
}


static void
ngx_http_gitpod_fetch_begin(ngx_event_t *ev)
{
    ngx_addr_t               *addr;
    ngx_connection_t         *dummy;
    ngx_http_gitpod_fetch_t  *f;

    dummy = ev->data;
    f = dummy->data;
    addr = f->conf->addr;

    ev->handler = ngx_http_gitpod_fetch_late;
    ngx_add_timer(ev, f->timeout);

    if (addr) {
        ngx_http_gitpod_fetch_connect(f, addr->sockaddr, addr->socklen);

    } else {
        ngx_http_gitpod_fetch_resolve(f);
    }
}


static void
ngx_http_gitpod_fetch_late(ngx_event_t *ev)
{
    ngx_connection_t  *dummy;

    dummy = ev->data;

    ngx_http_gitpod_fetch_fail(dummy->data, "no answer in time");
}


static void
ngx_http_gitpod_fetch_resolve(ngx_http_gitpod_fetch_t *f)
{
    ngx_resolver_ctx_t  *ctx;

    if (f->conf->clcf->resolver == NULL) {
        ngx_http_gitpod_fetch_fail(f, "no \"resolver\" is configured");
        return;
    }

    ctx = ngx_resolve_start(f->conf->clcf->resolver, NULL);

    if (ctx == NULL || ctx == NGX_NO_RESOLVER) {
        ngx_http_gitpod_fetch_fail(f, "no \"resolver\" is configured");
        return;
    }

    ctx->name = f->conf->name;
    ctx->handler = ngx_http_gitpod_fetch_resolved;
    ctx->data = f;
    ctx->timeout = f->timeout;

    f->resolve = ctx;

    if (ngx_resolve_name(ctx) != NGX_OK) {
        f->resolve = NULL;
        ngx_http_gitpod_fetch_fail(f, "its name cannot be resolved");
    }
}


static void
ngx_http_gitpod_fetch_resolved(ngx_resolver_ctx_t *ctx)
{
    socklen_t                 socklen;
    ngx_uint_t                i;
    ngx_http_gitpod_fetch_t  *f;

    f = ctx->data;
    f->resolve = NULL;

    if (ctx->state || ctx->naddrs == 0) {
        ngx_resolve_name_done(ctx);
        ngx_http_gitpod_fetch_fail(f, "its name cannot be resolved");
        return;
    }

    i = (ngx_uint_t) ngx_random() % ctx->naddrs;

    socklen = ctx->addrs[i].socklen;
    ngx_memcpy(&f->sockaddr, ctx->addrs[i].sockaddr, socklen);
    ngx_inet_set_port(&f->sockaddr.sockaddr, f->conf->port);

    ngx_resolve_name_done(ctx);

    ngx_http_gitpod_fetch_connect(f, &f->sockaddr.sockaddr, socklen);
}


static void
ngx_http_gitpod_fetch_connect(ngx_http_gitpod_fetch_t *f,
    struct sockaddr *sockaddr, socklen_t socklen)
{
    ngx_int_t          rc;
    ngx_connection_t  *c;

    f->peer.sockaddr = sockaddr;
    f->peer.socklen = socklen;
    f->peer.name = &f->conf->authority;
    f->peer.get = ngx_event_get_peer;
    f->peer.log = &f->log;
    f->peer.log_error = NGX_ERROR_INFO;

    rc = ngx_event_connect_peer(&f->peer);

    if (rc != NGX_OK && rc != NGX_AGAIN) {
        ngx_http_gitpod_fetch_fail(f, "cannot connect");
        return;
    }

    c = f->peer.connection;
    c->data = f;
    c->idle = 1;
    c->read->handler = ngx_http_gitpod_fetch_connected;
    c->write->handler = ngx_http_gitpod_fetch_connected;

    c->pool = ngx_create_pool(NGX_HTTP_GITPOD_FETCH_POOL, &f->log);
    if (c->pool == NULL) {
        ngx_http_gitpod_fetch_fail(f, "no memory");
        return;
    }

    if (rc == NGX_OK) {
        ngx_post_event(c->write, &ngx_posted_events);
    }
}


static void
ngx_http_gitpod_fetch_connected(ngx_event_t *ev)
{
    ngx_connection_t         *c;
    ngx_http_gitpod_fetch_t  *f;

    c = ev->data;
    f = c->data;

    if (f->conf->ssl == NULL) {
        c->read->handler = ngx_http_gitpod_fetch_read;
        c->write->handler = ngx_http_gitpod_fetch_write;
        ngx_http_gitpod_fetch_write(c->write);
        return;
    }

    if (ngx_ssl_create_connection(f->conf->ssl, c,
                                  NGX_SSL_BUFFER|NGX_SSL_CLIENT)
        != NGX_OK)
    {
        ngx_http_gitpod_fetch_fail(f, "TLS cannot be begun");
        return;
    }

    c->sendfile = 0;

    /* a copy: names of nginx have no end */

    ngx_memcpy(f->answer, f->conf->name.data, f->conf->name.len);
    f->answer[f->conf->name.len] = '\0';

    if (SSL_set_tlsext_host_name(c->ssl->connection, (char *) f->answer)
        == 0)
    {
        ngx_http_gitpod_fetch_fail(f, "TLS cannot be begun");
        return;
    }

    if (ngx_ssl_handshake(c) == NGX_AGAIN) {
        c->ssl->handler = ngx_http_gitpod_fetch_handshake;
        return;
    }

    ngx_http_gitpod_fetch_handshake(c);
}


static void
ngx_http_gitpod_fetch_handshake(ngx_connection_t *c)
{
    ngx_http_gitpod_fetch_t  *f;

    f = c->data;

    if (!c->ssl->handshaked) {
        ngx_http_gitpod_fetch_fail(f, "TLS failed");
        return;
    }

    if (SSL_get_verify_result(c->ssl->connection) != X509_V_OK) {
        ngx_http_gitpod_fetch_fail(f, "its certificate is not trusted");
        return;
    }

    if (ngx_ssl_check_host(c, &f->conf->name) != NGX_OK) {
        ngx_http_gitpod_fetch_fail(f, "its certificate is for another name");
        return;
    }

    c->read->handler = ngx_http_gitpod_fetch_read;
    c->write->handler = ngx_http_gitpod_fetch_write;

    ngx_http_gitpod_fetch_write(c->write);
}


static void
ngx_http_gitpod_fetch_write(ngx_event_t *wev)
{
    ssize_t                   n;
    ngx_connection_t         *c;
    ngx_http_gitpod_fetch_t  *f;

    c = wev->data;
    f = c->data;

    while (f->pos < f->last) {
        n = c->send(c, f->pos, f->last - f->pos);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n <= 0) {
            ngx_http_gitpod_fetch_fail(f, "cannot connect");
            return;
        }

        f->pos += n;
    }

    if (ngx_handle_write_event(wev, 0) != NGX_OK) {
        ngx_http_gitpod_fetch_fail(f, "event failed");
        return;
    }

    /* TLS may have read ahead */

    if (f->pos == f->last && c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_events);
    }
}


static void
ngx_http_gitpod_fetch_read(ngx_event_t *rev)
{
    ssize_t                   n;
    ngx_connection_t         *c;
    ngx_http_gitpod_fetch_t  *f;

    c = rev->data;
    f = c->data;

    if (c->close) {
        ngx_http_gitpod_fetch_fail(f, "nginx ends");
        return;
    }

    for ( ;; ) {

        if (f->len == sizeof(f->answer)) {
            ngx_http_gitpod_fetch_fail(f, "its answer is too long");
            return;
        }

        n = c->recv(c, f->answer + f->len, sizeof(f->answer) - f->len);

        if (n == NGX_AGAIN) {

            if (ngx_handle_read_event(rev, 0) != NGX_OK) {
                ngx_http_gitpod_fetch_fail(f, "event failed");
            }

            return;
        }

        if (n == NGX_ERROR) {
            ngx_http_gitpod_fetch_fail(f, "the connection was lost");
            return;
        }

        if (n == 0) {
            ngx_http_gitpod_fetch_answer(f);
            return;
        }

        f->len += n;
    }
}


static void
ngx_http_gitpod_fetch_answer(ngx_http_gitpod_fetch_t *f)
{
    u_char            why[64];
    ngx_str_t         body;
    gp_http_answer_t  answer;

    if (f->len == 0) {
        ngx_http_gitpod_fetch_fail(f, "closed before it answered");
        return;
    }

    if (gp_http_answer_parse((char *) f->answer, f->len, &answer) != 0) {
        ngx_http_gitpod_fetch_fail(f, "its answer is broken");
        return;
    }

    if (answer.status != NGX_HTTP_OK) {
        ngx_sprintf(why, "it answers %d%Z", answer.status);
        ngx_http_gitpod_fetch_fail(f, (char *) why);
        return;
    }

    if (answer.body.len > NGX_HTTP_GITPOD_FETCH_BODY_MAX) {
        ngx_http_gitpod_fetch_fail(f, "its answer is too long");
        return;
    }

    body.len = answer.body.len;
    body.data = f->answer + f->len - body.len;

    f->handler(f->data, &body, NULL);

    ngx_http_gitpod_fetch_cancel(f);
}


static void
ngx_http_gitpod_fetch_fail(ngx_http_gitpod_fetch_t *f, char *why)
{
    f->handler(f->data, NULL, why);

    ngx_http_gitpod_fetch_cancel(f);
}

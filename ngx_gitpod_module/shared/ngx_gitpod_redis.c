
#include "ngx_gitpod_redis.h"
#include "ngx_gitpod_zone.h"


static void ngx_gitpod_redis_write_handler(ngx_event_t *wev);
static void ngx_gitpod_redis_read_handler(ngx_event_t *rev);
static ngx_int_t ngx_gitpod_redis_flush(ngx_gitpod_redis_t *redis);
static ngx_int_t ngx_gitpod_redis_replies(ngx_gitpod_redis_t *redis,
    uint64_t until_us);
static ngx_int_t ngx_gitpod_redis_fail(ngx_gitpod_redis_t *redis,
    const char *why);
static ngx_int_t ngx_gitpod_redis_test(ngx_connection_t *c);
static ngx_int_t ngx_gitpod_redis_reader(ngx_gitpod_redis_t *redis);
static void *ngx_gitpod_redis_array(const redisReadTask *task, int elements);


/* those of hiredis, but for the bound of arrays, which it has none */

static redisReplyObjectFunctions  ngx_gitpod_redis_functions;
static void                      *(*ngx_gitpod_redis_create_array)(
                                       const redisReadTask *, int);


ngx_int_t
ngx_gitpod_redis_connect(ngx_gitpod_redis_t *redis, ngx_addr_t *addr)
{
    ngx_int_t          rc;
    ngx_connection_t  *c;

    ngx_memzero(&redis->peer, sizeof(ngx_peer_connection_t));

    redis->fed = 0;
    redis->out_len = 0;
    redis->out_sent = 0;
    redis->connected = 0;
    redis->paused = 0;
    redis->name = addr->name;

    redis->quiet = *redis->log;
    redis->quiet.log_level = ngx_min(redis->log->log_level, NGX_LOG_ALERT);

    if (ngx_gitpod_redis_reader(redis) != NGX_OK) {
        return ngx_gitpod_redis_fail(redis, "out of memory");
    }

    redis->peer.sockaddr = addr->sockaddr;
    redis->peer.socklen = addr->socklen;
    redis->peer.name = &redis->name;
    redis->peer.get = ngx_event_get_peer;
    redis->peer.log = &redis->quiet;
    redis->peer.log_error = NGX_ERROR_INFO;

    rc = ngx_event_connect_peer(&redis->peer);

    if (rc == NGX_ERROR || rc == NGX_BUSY || rc == NGX_DECLINED) {
        return ngx_gitpod_redis_fail(redis, "cannot connect");
    }

    c = redis->peer.connection;
    c->data = redis;
    c->read->handler = ngx_gitpod_redis_read_handler;
    c->write->handler = ngx_gitpod_redis_write_handler;

    if (rc == NGX_OK) {
        redis->connected = 1;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gitpod_redis_reader(ngx_gitpod_redis_t *redis)
{
    redis->reader = redisReaderCreate();

    if (redis->reader == NULL) {
        return NGX_ERROR;
    }

    if (ngx_gitpod_redis_create_array == NULL) {
        ngx_gitpod_redis_functions = *redis->reader->fn;
        ngx_gitpod_redis_create_array = redis->reader->fn->createArray;
        ngx_gitpod_redis_functions.createArray = ngx_gitpod_redis_array;
    }

    redis->reader->fn = &ngx_gitpod_redis_functions;

    return NGX_OK;
}


/* It allocates what a length claims, before any element has come. */

static void *
ngx_gitpod_redis_array(const redisReadTask *task, int elements)
{
    if (elements > NGX_GITPOD_REDIS_ARRAY_MAX) {
        return NULL;
    }

    return ngx_gitpod_redis_create_array(task, elements);
}


void
ngx_gitpod_redis_close(ngx_gitpod_redis_t *redis)
{
    if (redis->peer.connection) {
        ngx_close_connection(redis->peer.connection);
        redis->peer.connection = NULL;
    }

    if (redis->reader) {
        redisReaderFree(redis->reader);
        redis->reader = NULL;
    }
}


static ngx_int_t
ngx_gitpod_redis_fail(ngx_gitpod_redis_t *redis, const char *why)
{
    ngx_gitpod_redis_close(redis);

    redis->lost(redis, why);

    return NGX_ERROR;
}


ngx_int_t
ngx_gitpod_redis_send(ngx_gitpod_redis_t *redis, int argc, const char **argv,
    const size_t *lens)
{
    int        len;
    char      *text;
    ngx_int_t  rc;

    text = NULL;
    len = redisFormatCommandArgv(&text, argc, argv, lens);

    if (len < 0) {
        return ngx_gitpod_redis_fail(redis, "out of memory");
    }

    rc = NGX_ERROR;

    if (redis->out_len + (size_t) len <= NGX_GITPOD_REDIS_OUT_MAX) {
        ngx_memcpy(redis->out + redis->out_len, text, len);
        redis->out_len += len;
        rc = NGX_OK;
    }

    /* it may have been the password */

    ngx_explicit_memzero(text, len);
    redisFreeCommand(text);

    if (rc != NGX_OK) {
        return ngx_gitpod_redis_fail(redis, "it does not read commands");
    }

    return redis->connected ? ngx_gitpod_redis_flush(redis) : NGX_OK;
}


static ngx_int_t
ngx_gitpod_redis_flush(ngx_gitpod_redis_t *redis)
{
    ssize_t            n;
    ngx_connection_t  *c;

    c = redis->peer.connection;

    while (redis->out_sent < redis->out_len) {

        n = c->send(c, redis->out + redis->out_sent,
                    redis->out_len - redis->out_sent);

        if (n == NGX_AGAIN) {
            if (ngx_handle_write_event(c->write, 0) != NGX_OK) {
                return ngx_gitpod_redis_fail(redis, "event failed");
            }

            return NGX_OK;
        }

        if (n == NGX_ERROR) {
            return ngx_gitpod_redis_fail(redis, "write failed");
        }

        redis->out_sent += n;
    }

    ngx_explicit_memzero(redis->out, redis->out_len);
    redis->out_len = 0;
    redis->out_sent = 0;

    return NGX_OK;
}


static void
ngx_gitpod_redis_write_handler(ngx_event_t *wev)
{
    ngx_connection_t    *c;
    ngx_gitpod_redis_t  *redis;

    c = wev->data;
    redis = c->data;

    if (!redis->connected) {

        if (ngx_gitpod_redis_test(c) != NGX_OK) {
            (void) ngx_gitpod_redis_fail(redis, "cannot connect");
            return;
        }

        redis->connected = 1;
    }

    (void) ngx_gitpod_redis_flush(redis);
}


static ngx_int_t
ngx_gitpod_redis_test(ngx_connection_t *c)
{
    int        err;
    socklen_t  len;

    err = 0;
    len = sizeof(int);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len) == -1) {
        err = ngx_socket_errno;
    }

    return err ? NGX_ERROR : NGX_OK;
}


static void
ngx_gitpod_redis_read_handler(ngx_event_t *rev)
{
    u_char               buf[16384];
    ssize_t              n;
    uint64_t             until;
    ngx_connection_t    *c;
    ngx_gitpod_redis_t  *redis;

    c = rev->data;
    redis = c->data;

    if (redis->paused) {
        return;
    }

    until = ngx_gitpod_now_us() + NGX_GITPOD_REDIS_SLICE_US;

    for ( ;; ) {

        /* what is in the reader already, when the last turn was cut short */

        switch (ngx_gitpod_redis_replies(redis, until)) {

        case NGX_OK:
            break;

        case NGX_BUSY:
            ngx_post_event(rev, &ngx_posted_next_events);
            return;

        default:
            return;
        }

        n = c->recv(c, buf, sizeof(buf));

        if (n == NGX_AGAIN) {
            if (ngx_handle_read_event(rev, 0) != NGX_OK) {
                (void) ngx_gitpod_redis_fail(redis, "event failed");
            }

            return;
        }

        if (n == 0) {
            (void) ngx_gitpod_redis_fail(redis, "it closed the connection");
            return;
        }

        if (n == NGX_ERROR) {
            (void) ngx_gitpod_redis_fail(redis, "read failed");
            return;
        }

        redis->fed += n;

        if (redis->fed > NGX_GITPOD_REDIS_REPLY_MAX) {
            (void) ngx_gitpod_redis_fail(redis, "its reply is too long");
            return;
        }

        if (redisReaderFeed(redis->reader, (char *) buf, n) != REDIS_OK) {
            (void) ngx_gitpod_redis_fail(redis, "its reply is broken");
            return;
        }
    }
}


/*
 * NGX_OK: it wants more bytes; NGX_BUSY: the time is up; NGX_AGAIN: paused;
 * NGX_ERROR: closed.
 */

static ngx_int_t
ngx_gitpod_redis_replies(ngx_gitpod_redis_t *redis, uint64_t until_us)
{
    void       *reply;
    ngx_int_t   rc;

    for ( ;; ) {
        reply = NULL;

        if (redisReaderGetReply(redis->reader, &reply) != REDIS_OK) {
            return ngx_gitpod_redis_fail(redis, "its reply is broken");
        }

        if (reply == NULL) {
            return NGX_OK;
        }

        redis->fed = 0;

        rc = redis->reply(redis, reply);

        if (rc == NGX_AGAIN) {
            redis->paused = 1;
            return NGX_AGAIN;
        }

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }

        if (ngx_gitpod_now_us() >= until_us) {
            return NGX_BUSY;
        }
    }
}


void
ngx_gitpod_redis_resume(ngx_gitpod_redis_t *redis)
{
    if (redis->paused) {
        redis->paused = 0;
        ngx_post_event(redis->peer.connection->read, &ngx_posted_next_events);
    }
}

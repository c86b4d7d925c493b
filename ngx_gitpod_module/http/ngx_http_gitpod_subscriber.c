
/*
 * One subscriber: from its request to its place in the ring.  See
 * ngx_http_gitpod_subscriber.h.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_gitpod_subscriber.h"


static void ngx_http_gitpod_subscriber_link(ngx_http_gitpod_subscriber_t *s);
static void ngx_http_gitpod_subscriber_begin(ngx_event_t *ev);
static ngx_uint_t ngx_http_gitpod_subscriber_detachable(
    ngx_http_request_t *r);
static ngx_http_gitpod_subscriber_t *ngx_http_gitpod_subscriber_detach(
    ngx_http_gitpod_subscriber_t *s);
static void ngx_http_gitpod_subscriber_connection(ngx_connection_t *c,
    ngx_http_connection_t *hc);
static void ngx_http_gitpod_subscriber_wait(ngx_http_gitpod_subscriber_t *s);
static void ngx_http_gitpod_subscriber_reset(ngx_http_gitpod_subscriber_t *s,
    const char *reason);
static void ngx_http_gitpod_subscriber_slow(ngx_http_gitpod_subscriber_t *s);


ngx_int_t
ngx_http_gitpod_subscriber_room(ngx_http_gitpod_ctx_t *ctx,
    ngx_http_gitpod_subscribe_t *options)
{
    ngx_http_gitpod_subscribed_t  *user;

    ngx_http_gitpod_fan_out_init(ctx->zone);

    user = ngx_http_gitpod_subscribed_find(ctx->user.data, ctx->user.len);

    if (ngx_http_gitpod_fan_out.subscribers_n >= options->per_worker
        || (user && user->subscribers_n >= options->per_user))
    {
        return NGX_BUSY;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_gitpod_subscriber_add(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_http_gitpod_subscribe_t *options)
{
    ngx_pool_cleanup_t            *cln;
    ngx_http_gitpod_subscriber_t  *s;

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_gitpod_subscriber_t)
                                        + ctx->credential_id.len);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    s = cln->data;
    ngx_memzero(s, sizeof(ngx_http_gitpod_subscriber_t));

    s->user = ngx_http_gitpod_subscribed_get(&ctx->user);
    if (s->user == NULL) {
        return NGX_ERROR;
    }

    s->request = r;
    s->connection = r->connection;
    s->chunked = r->chunked;
    s->last = options->last;
    s->resume = options->resume ? 1 : 0;
    s->heartbeat = options->heartbeat;
    s->issued = ctx->issued;
    s->expires = ctx->expires;
    s->credential = ctx->credential;
    s->credential_id_len = (u_char) ctx->credential_id.len;
    ngx_memcpy(s->credential_id, ctx->credential_id.data,
               ctx->credential_id.len);

    ngx_http_gitpod_subscriber_link(s);
    cln->handler = ngx_http_gitpod_subscriber_unlink;

    ngx_http_set_ctx(r, s, ngx_http_gitpod_events_module);

    /* this module sees to the right to it from here on */

    ngx_http_gitpod_live_remove(ctx);

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_gitpod_subscriber_writer;

    /* not from within the request, which shall go */

    s->beat.handler = ngx_http_gitpod_subscriber_begin;
    ngx_post_event(&s->beat, &ngx_posted_events);

    return NGX_OK;
}


static void
ngx_http_gitpod_subscriber_link(ngx_http_gitpod_subscriber_t *s)
{
    ngx_queue_insert_tail(&s->user->subscribers, &s->of_user);
    ngx_queue_insert_tail(&ngx_http_gitpod_fan_out.subscribers, &s->of_worker);
    ngx_queue_init(&s->waiting);

    ngx_memzero(&s->beat, sizeof(ngx_event_t));
    s->beat.data = s->connection;
    s->beat.log = ngx_cycle->log;
    s->beat.cancelable = 1;

    ngx_gitpod_worker_subscribers(++ngx_http_gitpod_fan_out.subscribers_n);

    ngx_http_gitpod_fan_out_start();
}


void
ngx_http_gitpod_subscriber_unlink(void *data)
{
    ngx_http_gitpod_subscriber_t *s = data;

    ngx_queue_remove(&s->of_user);
    ngx_queue_remove(&s->of_worker);
    ngx_queue_remove(&s->waiting);

    if (s->beat.posted) {
        ngx_delete_posted_event(&s->beat);
    }

    if (s->beat.timer_set) {
        ngx_del_timer(&s->beat);
    }

    if (s->pending) {
        ngx_http_gitpod_event_release(s->pending);
    }

    ngx_http_gitpod_subscribed_release(s->user);
    ngx_gitpod_worker_subscribers(--ngx_http_gitpod_fan_out.subscribers_n);
}


static void
ngx_http_gitpod_subscriber_begin(ngx_event_t *ev)
{
    ngx_http_gitpod_subscriber_t  *s;

    s = ngx_http_gitpod_subscriber_of(ev);

    if (ngx_http_gitpod_subscriber_detachable(s->request)) {
        s = ngx_http_gitpod_subscriber_detach(s);

        if (s == NULL) {
            return;
        }
    }

    s->begun = 1;
    s->beat.handler = ngx_http_gitpod_subscriber_beat;
    ngx_http_gitpod_subscriber_arm(s);

    ngx_http_gitpod_subscriber_resolve(s);
}


/* Nothing is under way for it, and its body goes to the client as it is. */

static ngx_uint_t
ngx_http_gitpod_subscriber_detachable(ngx_http_request_t *r)
{
    ngx_connection_t  *c;

    c = r->connection;

    return r->http_version <= NGX_HTTP_VERSION_11
           && r == c->data
           && r->count == 1
           && r->blocked == 0
           && r->posted_requests == NULL
           && r->postponed == NULL
           && r->out == NULL
           && !r->buffered && !c->buffered
           && !r->filter_need_in_memory
           && !r->main_filter_need_in_memory
           && r->headers_out.content_encoding == NULL
           && r->limit_rate == 0
           && !c->write->timer_set;
}


/*
 * Takes the connection and frees the request.  The new structure is allocated
 * after that, so that it lies beside the pool of the connection, and not
 * behind a hole as large as a request.
 */

static ngx_http_gitpod_subscriber_t *
ngx_http_gitpod_subscriber_detach(ngx_http_gitpod_subscriber_t *s)
{
    size_t                         size;
    ngx_connection_t              *c;
    ngx_http_connection_t         *hc;
    ngx_http_gitpod_subscribed_t  *user;
    ngx_http_gitpod_subscriber_t  *detached;
    union {
        ngx_http_gitpod_subscriber_t  s;
        u_char                        bytes[
                                  sizeof(ngx_http_gitpod_subscriber_t)
                                  + NGX_GITPOD_ID_MAX];
    }                              kept;

    size = sizeof(ngx_http_gitpod_subscriber_t) + s->credential_id_len;
    ngx_memcpy(kept.bytes, s, size);

    c = s->connection;
    hc = s->request->http_connection;

    user = s->user;
    user->subscribers_n++;

    ngx_http_free_request(s->request, 0);

    ngx_http_gitpod_subscriber_connection(c, hc);

    detached = NULL;

    if (ngx_tcp_nodelay(c) == NGX_OK
        && ngx_handle_read_event(c->read, 0) == NGX_OK)
    {
        detached = ngx_alloc(size, c->log);
    }

    if (detached == NULL) {
        ngx_http_gitpod_subscribed_release(user);
        ngx_http_close_connection(c);
        return NULL;
    }

    ngx_memcpy(detached, kept.bytes, size);

    detached->request = NULL;
    c->data = detached;

    ngx_http_gitpod_subscriber_link(detached);

    if (c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_events);
    }

    return detached;
}


/* What a connection without a request does not need. */

static void
ngx_http_gitpod_subscriber_connection(ngx_connection_t *c,
    ngx_http_connection_t *hc)
{
    ngx_chain_t  *cl;

    if (c->buffer && c->buffer->start
        && ngx_pfree(c->pool, c->buffer->start) == NGX_OK)
    {
        c->buffer->start = NULL;
        c->buffer->pos = NULL;
        c->buffer->last = NULL;
    }

    for (cl = hc->free; cl; cl = cl->next) {
        (void) ngx_pfree(c->pool, cl->buf->start);
    }

    for (cl = hc->busy; cl; cl = cl->next) {
        (void) ngx_pfree(c->pool, cl->buf->start);
    }

    hc->free = NULL;
    hc->busy = NULL;
    hc->nbusy = 0;

#if (NGX_HTTP_SSL)
    if (c->ssl) {
        ngx_ssl_free_buffer(c);
    }
#endif

    c->read->handler = ngx_http_gitpod_subscriber_read_handler;
    c->write->handler = ngx_http_gitpod_subscriber_write_handler;
    c->destroyed = 0;
    c->log->action = "sending events";
}


/* From where does it get events? */

void
ngx_http_gitpod_subscriber_resolve(ngx_http_gitpod_subscriber_t *s)
{
    ngx_gitpod_events_t           *events;
    ngx_http_gitpod_event_text_t  *text;

    events = &ngx_http_gitpod_fan_out.zone->events;

    ngx_queue_remove(&s->waiting);
    ngx_queue_init(&s->waiting);

    if (!__atomic_load_n(&events->synced, __ATOMIC_ACQUIRE)) {
        ngx_http_gitpod_subscriber_wait(s);
        return;
    }

    s->unsure = 0;

    if (!s->resume) {
        ngx_gitpod_count(ngx_http_gitpod_fan_out.zone,
                         NGX_GITPOD_N_SUBSCRIBE_NEW);
        s->live = 1;

        /* its id, so that a client that comes back misses nothing */

        text = ngx_http_gitpod_event_beat();

        if (text) {
            (void) ngx_http_gitpod_subscriber_send(s, text);
        }

        return;
    }

    if (ngx_gitpod_events_find(events, s->last, &s->position) != NGX_OK) {
        ngx_gitpod_count(ngx_http_gitpod_fan_out.zone,
                         NGX_GITPOD_N_SUBSCRIBE_RESET);
        ngx_http_gitpod_subscriber_reset(s, "gone");
        return;
    }

    ngx_gitpod_count(ngx_http_gitpod_fan_out.zone,
                     NGX_GITPOD_N_SUBSCRIBE_RESUMED);
    ngx_http_gitpod_subscriber_catch_up(s);
}


static void
ngx_http_gitpod_subscriber_wait(ngx_http_gitpod_subscriber_t *s)
{
    s->live = 0;
    s->unsure = 1;

    ngx_queue_insert_tail(&ngx_http_gitpod_fan_out.waiting, &s->waiting);
}


/* From its place in the ring to where this worker is. */

void
ngx_http_gitpod_subscriber_catch_up(ngx_http_gitpod_subscriber_t *s)
{
    uint64_t                       at;
    ngx_int_t                      rc;
    ngx_gitpod_event_t             event;
    ngx_gitpod_events_t           *events;
    ngx_http_gitpod_event_text_t  *text;

    events = &ngx_http_gitpod_fan_out.zone->events;

    while (s->position < ngx_http_gitpod_fan_out.position) {

        at = s->position;

        rc = ngx_gitpod_events_read(events, &s->position, &event, NULL);

        if (rc == NGX_OK
            && event.id > s->last
            && event.user_len == s->user->node.str.len
            && ngx_memcmp(event.user, s->user->id, event.user_len) == 0)
        {
            rc = ngx_gitpod_events_read(events, &at, &event,
                                        ngx_http_gitpod_fan_out.data);
        } else if (rc == NGX_OK) {
            continue;
        }

        if (rc != NGX_OK) {
            ngx_http_gitpod_subscriber_slow(s);
            return;
        }

        text = ngx_http_gitpod_event_render(&event,
                                             ngx_http_gitpod_fan_out.data);
        if (text == NULL) {
            ngx_http_gitpod_subscriber_close(s);
            return;
        }

        rc = ngx_http_gitpod_subscriber_send(s, text);
        ngx_http_gitpod_event_release(text);

        if (rc != NGX_OK) {
            return;
        }

        ngx_gitpod_count(ngx_http_gitpod_fan_out.zone,
                         NGX_GITPOD_N_EVENT_SENT);
    }

    s->live = 1;
}


/* It must read its lists anew; what follows counts again. */

static void
ngx_http_gitpod_subscriber_reset(ngx_http_gitpod_subscriber_t *s,
    const char *reason)
{
    u_char                         buf[128], id[GP_EVENT_ID_TEXT_MAX];
    ngx_str_t                      body;
    ngx_gitpod_events_state_t      state;
    ngx_http_gitpod_event_text_t  *text;

    ngx_gitpod_events_state(&ngx_http_gitpod_fan_out.zone->events, &state);

    (void) gp_event_id_format(state.last, (char *) id);

    body.data = buf;
    body.len = ngx_snprintf(buf, sizeof(buf),
                            "id: %s\nevent: " GP_EVENT_RESET "\n"
                            "data: {\"reason\":\"%s\"}\n\n", id, reason)
               - buf;

    text = ngx_http_gitpod_event_text(&body);
    if (text == NULL) {
        ngx_http_gitpod_subscriber_close(s);
        return;
    }

    s->live = 1;
    s->last = state.last;

    (void) ngx_http_gitpod_subscriber_send(s, text);

    ngx_http_gitpod_event_release(text);
}


/* The worker itself has lost its place. */

void
ngx_http_gitpod_subscriber_lost(ngx_http_gitpod_subscriber_t *s)
{
    if (!s->live) {

        /* it finds out when it goes on */

        return;
    }

    if (__atomic_load_n(&ngx_http_gitpod_fan_out.zone->events.synced,
                        __ATOMIC_ACQUIRE))
    {
        ngx_http_gitpod_subscriber_reset(s, "lost");
        return;
    }

    /* an id that no ring has: it is told once the ring is filled */

    s->resume = 1;
    s->last = (uint64_t) -1;

    ngx_http_gitpod_subscriber_wait(s);
}


/* A marker, and the end when it has gone out. */

static void
ngx_http_gitpod_subscriber_slow(ngx_http_gitpod_subscriber_t *s)
{
    ngx_gitpod_count(ngx_http_gitpod_fan_out.zone,
                     NGX_GITPOD_N_SUBSCRIBER_SLOW);

    ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                  "gitpod: a subscriber of events is dropped: it is too slow");

    s->closing = 1;
    ngx_http_gitpod_subscriber_reset(s, "slow");
}

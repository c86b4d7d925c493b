
/*
 * From the ring to the subscribers of this worker.  While it has any it looks
 * at the ring 50 times a second; what is new goes to whom it is for, as far as
 * the kernel takes it at once.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_gitpod_subscriber.h"


#define NGX_HTTP_GITPOD_FAN_OUT_MS        20
#define NGX_HTTP_GITPOD_FAN_OUT_SLICE_US  5000  /* a turn takes no longer */
#define NGX_HTTP_GITPOD_FAN_OUT_CHUNK     10    /* bytes before a chunk */


static void ngx_http_gitpod_fan_out_look(ngx_event_t *ev);
static ngx_int_t ngx_http_gitpod_fan_out_read(void);
static void ngx_http_gitpod_fan_out_lost(void);
static ngx_int_t ngx_http_gitpod_fan_out_event(ngx_gitpod_event_t *event,
    uint64_t at);
static void ngx_http_gitpod_fan_out_deliver(
    ngx_http_gitpod_subscribed_t *user, ngx_http_gitpod_event_text_t *text,
    uint64_t id);
static void ngx_http_gitpod_fan_out_each(
    void (*act)(ngx_http_gitpod_subscriber_t *s));
static void ngx_http_gitpod_fan_out_filled(void);


ngx_http_gitpod_fan_out_t  ngx_http_gitpod_fan_out;


void
ngx_http_gitpod_fan_out_init(ngx_gitpod_zone_t *zone)
{
    ngx_http_gitpod_fan_out_t  *f;

    f = &ngx_http_gitpod_fan_out;

    if (f->zone) {
        return;
    }

    f->zone = zone;

    ngx_queue_init(&f->subscribers);
    ngx_queue_init(&f->waiting);
    ngx_rbtree_init(&f->users, &f->sentinel, ngx_str_rbtree_insert_value);

    f->dummy.fd = (ngx_socket_t) -1;

    /* not cancelable: before a worker ends, its subscribers hear of it */

    f->timer.handler = ngx_http_gitpod_fan_out_look;
    f->timer.data = &f->dummy;
    f->timer.log = ngx_cycle->log;
}


/* There is a subscriber now. */

void
ngx_http_gitpod_fan_out_start(void)
{
    ngx_gitpod_events_state_t   state;
    ngx_http_gitpod_fan_out_t  *f;

    f = &ngx_http_gitpod_fan_out;

    if (f->timer.timer_set) {
        return;
    }

    ngx_gitpod_events_state(&f->zone->events, &state);

    f->position = state.head;
    f->last = state.last;

    /* the first look judges in any case: something may move this moment */

    f->revocations = (uint64_t) -1;

    ngx_add_timer(&f->timer, NGX_HTTP_GITPOD_FAN_OUT_MS);
}


static void
ngx_http_gitpod_fan_out_look(ngx_event_t *ev)
{
    uint64_t                    revocations;
    ngx_int_t                   rc;
    ngx_http_gitpod_fan_out_t  *f;

    f = &ngx_http_gitpod_fan_out;

    if (ngx_exiting || ngx_terminate) {
        ngx_http_gitpod_fan_out_each(ngx_http_gitpod_subscriber_end);
        return;
    }

    revocations = ngx_gitpod_revocation_sequence(f->zone);

    if (revocations != f->revocations) {
        f->revocations = revocations;
        ngx_http_gitpod_fan_out_each(ngx_http_gitpod_subscriber_judge);
    }

    rc = ngx_http_gitpod_fan_out_read();

    if (!ngx_queue_empty(&f->waiting)
        && __atomic_load_n(&f->zone->events.synced, __ATOMIC_ACQUIRE))
    {
        ngx_http_gitpod_fan_out_filled();
    }

    if (f->subscribers_n) {
        ngx_add_timer(ev, rc == NGX_AGAIN ? 1 : NGX_HTTP_GITPOD_FAN_OUT_MS);
    }
}


/* NGX_AGAIN: there is more, for another turn. */

static ngx_int_t
ngx_http_gitpod_fan_out_read(void)
{
    uint64_t                    at, until;
    ngx_int_t                   rc;
    ngx_gitpod_event_t          event;
    ngx_http_gitpod_fan_out_t  *f;

    f = &ngx_http_gitpod_fan_out;

    until = 0;

    for ( ;; ) {
        at = f->position;

        rc = ngx_gitpod_events_read(&f->zone->events, &f->position, &event,
                                    NULL);

        if (rc == NGX_DONE) {
            return NGX_OK;
        }

        if (rc == NGX_OK) {
            rc = ngx_http_gitpod_fan_out_event(&event, at);
        }

        if (rc == NGX_DECLINED) {
            ngx_http_gitpod_fan_out_lost();
        }

        if (until == 0) {
            until = ngx_gitpod_now_us() + NGX_HTTP_GITPOD_FAN_OUT_SLICE_US;

        } else if (ngx_gitpod_now_us() >= until) {
            return NGX_AGAIN;
        }
    }
}


/* The ring went on faster than this worker, or began anew. */

static void
ngx_http_gitpod_fan_out_lost(void)
{
    ngx_gitpod_events_state_t   state;
    ngx_http_gitpod_fan_out_t  *f;

    f = &ngx_http_gitpod_fan_out;

    ngx_gitpod_events_state(&f->zone->events, &state);

    f->position = state.head;
    f->last = state.last;

    ngx_http_gitpod_fan_out_each(ngx_http_gitpod_subscriber_lost);
}


/* NGX_DECLINED: it is gone already. */

static ngx_int_t
ngx_http_gitpod_fan_out_event(ngx_gitpod_event_t *event, uint64_t at)
{
    ngx_int_t                      rc;
    ngx_http_gitpod_fan_out_t     *f;
    ngx_http_gitpod_subscribed_t  *user;
    ngx_http_gitpod_event_text_t  *text;

    f = &ngx_http_gitpod_fan_out;

    f->last = event->id;

    user = ngx_http_gitpod_subscribed_find(event->user, event->user_len);

    if (user == NULL) {
        return NGX_OK;
    }

    rc = ngx_gitpod_events_read(&f->zone->events, &at, event, f->data);

    if (rc != NGX_OK) {
        return NGX_DECLINED;
    }

    text = ngx_http_gitpod_event_render(event, f->data);

    if (text == NULL) {
        return NGX_DECLINED;
    }

    ngx_http_gitpod_fan_out_deliver(user, text, event->id);
    ngx_http_gitpod_event_release(text);

    return NGX_OK;
}


/*
 * A subscriber may end when it is written to, and others with it when they
 * share a connection: the place in the list is kept by an element of our own.
 */

static void
ngx_http_gitpod_fan_out_deliver(ngx_http_gitpod_subscribed_t *user,
    ngx_http_gitpod_event_text_t *text, uint64_t id)
{
    ngx_queue_t                   *q, mark;
    ngx_http_gitpod_subscriber_t  *s;

    user->subscribers_n++;

    q = ngx_queue_head(&user->subscribers);

    while (q != ngx_queue_sentinel(&user->subscribers)) {

        ngx_queue_insert_after(q, &mark);

        s = ngx_queue_data(q, ngx_http_gitpod_subscriber_t, of_user);

        if (s->live && id > s->last
            && ngx_http_gitpod_subscriber_send(s, text) != NGX_ERROR)
        {
            ngx_gitpod_count(ngx_http_gitpod_fan_out.zone,
                             NGX_GITPOD_N_EVENT_SENT);
        }

        q = ngx_queue_next(&mark);
        ngx_queue_remove(&mark);
    }

    ngx_http_gitpod_subscribed_release(user);
}


static void
ngx_http_gitpod_fan_out_each(void (*act)(ngx_http_gitpod_subscriber_t *s))
{
    ngx_queue_t  *q, *all, mark;

    all = &ngx_http_gitpod_fan_out.subscribers;

    q = ngx_queue_head(all);

    while (q != ngx_queue_sentinel(all)) {

        ngx_queue_insert_after(q, &mark);

        act(ngx_queue_data(q, ngx_http_gitpod_subscriber_t, of_worker));

        q = ngx_queue_next(&mark);
        ngx_queue_remove(&mark);
    }
}


/* The ring was filled: who waited for it can begin. */

static void
ngx_http_gitpod_fan_out_filled(void)
{
    ngx_queue_t                *q;
    ngx_http_gitpod_fan_out_t  *f;

    f = &ngx_http_gitpod_fan_out;

    while (!ngx_queue_empty(&f->waiting)
           && __atomic_load_n(&f->zone->events.synced, __ATOMIC_ACQUIRE))
    {
        q = ngx_queue_head(&f->waiting);

        ngx_http_gitpod_subscriber_resolve(
                   ngx_queue_data(q, ngx_http_gitpod_subscriber_t, waiting));
    }
}


/* users */

ngx_http_gitpod_subscribed_t *
ngx_http_gitpod_subscribed_find(u_char *id, size_t len)
{
    ngx_str_t  name;

    name.data = id;
    name.len = len;

    return (ngx_http_gitpod_subscribed_t *)
               ngx_str_rbtree_lookup(&ngx_http_gitpod_fan_out.users, &name,
                                     ngx_murmur_hash2(id, len));
}


ngx_http_gitpod_subscribed_t *
ngx_http_gitpod_subscribed_get(ngx_str_t *id)
{
    ngx_http_gitpod_subscribed_t  *user;

    user = ngx_http_gitpod_subscribed_find(id->data, id->len);

    if (user == NULL) {
        user = ngx_alloc(sizeof(ngx_http_gitpod_subscribed_t) + id->len,
                         ngx_cycle->log);
        if (user == NULL) {
            return NULL;
        }

        ngx_memcpy(user->id, id->data, id->len);
        ngx_queue_init(&user->subscribers);

        user->subscribers_n = 0;
        user->node.str.data = user->id;
        user->node.str.len = id->len;
        user->node.node.key = ngx_murmur_hash2(id->data, id->len);

        ngx_rbtree_insert(&ngx_http_gitpod_fan_out.users, &user->node.node);
    }

    user->subscribers_n++;

    return user;
}


void
ngx_http_gitpod_subscribed_release(ngx_http_gitpod_subscribed_t *user)
{
    if (--user->subscribers_n == 0) {
        ngx_rbtree_delete(&ngx_http_gitpod_fan_out.users, &user->node.node);
        ngx_free(user);
    }
}


/* texts */

ngx_http_gitpod_event_text_t *
ngx_http_gitpod_event_render(ngx_gitpod_event_t *event, u_char *data)
{
    u_char     *p, id[GP_EVENT_ID_TEXT_MAX];
    u_char      buf[GP_EVENT_RECORD_MAX + GP_EVENT_KIND_MAX + 64];
    ngx_str_t   body;

    (void) gp_event_id_format(event->id, (char *) id);

    p = ngx_sprintf(buf, "id: %s\nevent: ", id);
    p = ngx_cpymem(p, event->kind, event->kind_len);
    p = ngx_cpymem(p, "\ndata: ", 7);
    p = ngx_cpymem(p, data, event->data_len);
    p = ngx_cpymem(p, "\n\n", 2);

    body.data = buf;
    body.len = p - buf;

    return ngx_http_gitpod_event_text(&body);
}


ngx_http_gitpod_event_text_t *
ngx_http_gitpod_event_text(ngx_str_t *body)
{
    size_t                         n;
    u_char                        *p, head[NGX_HTTP_GITPOD_FAN_OUT_CHUNK];
    ngx_http_gitpod_event_text_t  *text;

    n = ngx_sprintf(head, "%xz" CRLF, body->len) - head;

    text = ngx_alloc(sizeof(ngx_http_gitpod_event_text_t) + n + body->len + 2,
                     ngx_cycle->log);
    if (text == NULL) {
        return NULL;
    }

    text->refs = 1;

    text->chunk.data = (u_char *) text + sizeof(ngx_http_gitpod_event_text_t);
    text->chunk.len = n + body->len + 2;

    p = ngx_cpymem(text->chunk.data, head, n);

    text->text.data = p;
    text->text.len = body->len;

    p = ngx_cpymem(p, body->data, body->len);
    ngx_memcpy(p, CRLF, 2);

    return text;
}


void
ngx_http_gitpod_event_release(ngx_http_gitpod_event_text_t *text)
{
    if (--text->refs == 0) {
        ngx_free(text);
    }
}


/*
 * A comment, and the id of the last event of anybody: without it a client
 * that got none for long would ask for what the ring does not have any more.
 */

ngx_http_gitpod_event_text_t *
ngx_http_gitpod_event_beat(void)
{
    u_char                      buf[64], id[GP_EVENT_ID_TEXT_MAX];
    ngx_str_t                   body;
    ngx_http_gitpod_fan_out_t  *f;

    f = &ngx_http_gitpod_fan_out;

    if (f->beat && f->beat_id == f->last) {
        return f->beat;
    }

    if (f->beat) {
        ngx_http_gitpod_event_release(f->beat);
    }

    (void) gp_event_id_format(f->last, (char *) id);

    body.data = buf;
    body.len = ngx_sprintf(buf, ":\nid: %s\n\n", id) - buf;

    f->beat = ngx_http_gitpod_event_text(&body);
    f->beat_id = f->last;

    return f->beat;
}


/*
 * Subscribers of events.  One costs no request and no upstream: over HTTP/1
 * its connection is taken from the request, which is then freed, so what stays
 * is the connection and this structure.  Over HTTP/2, and behind filters that
 * change the body, the request stays.
 *
 * An event is rendered once and shared by all who get it.  There is no queue:
 * who cannot be written to at the moment remembers its place in the ring, and
 * goes on from there.  Who has not read until the ring came round is dropped.
 */


#ifndef _NGX_HTTP_GITPOD_SUBSCRIBER_H_INCLUDED_
#define _NGX_HTTP_GITPOD_SUBSCRIBER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_gitpod_zone.h"
#include "ngx_http_gitpod_request.h"


typedef struct ngx_http_gitpod_subscriber_s  ngx_http_gitpod_subscriber_t;


/* An event as bytes, and the same in a chunk of HTTP/1.1. */

typedef struct {
    ngx_uint_t                     refs;
    ngx_str_t                      text;
    ngx_str_t                      chunk;
} ngx_http_gitpod_event_text_t;


/* One user's subscribers in this worker. */

typedef struct {
    ngx_str_node_t                 node;
    ngx_queue_t                    subscribers;
    ngx_uint_t                     subscribers_n;
    u_char                         id[1];
} ngx_http_gitpod_subscribed_t;


struct ngx_http_gitpod_subscriber_s {
    ngx_queue_t                    of_user;
    ngx_queue_t                    of_worker;
    ngx_queue_t                    waiting;     /* for the ring to be filled */

    ngx_http_gitpod_subscribed_t  *user;
    ngx_connection_t              *connection;
    ngx_http_request_t            *request;     /* NULL: it was freed */

    uint64_t                       position;    /* while it is behind */
    uint64_t                       last;        /* older events it has */

    ngx_http_gitpod_event_text_t  *pending;     /* being written */
    size_t                         written;
    ngx_buf_t                     *buf;         /* of a request that stays */

    ngx_event_t                    beat;
    ngx_msec_t                     heartbeat;

    time_t                         issued;
    time_t                         expires;
    ngx_http_gitpod_credential_e   credential;

    unsigned                       begun:1;
    unsigned                       chunked:1;
    unsigned                       live:1;      /* has all of the worker's */
    unsigned                       resume:1;    /* wants what followed last */
    unsigned                       unsure:1;    /* the ring was not filled */
    unsigned                       progress:1;  /* since the last beat */
    unsigned                       closing:1;   /* when pending is written */

    u_char                         credential_id_len;
    u_char                         credential_id[1];
};


typedef struct {
    ngx_uint_t                     per_user;
    ngx_uint_t                     per_worker;
    ngx_msec_t                     heartbeat;
    uint64_t                       last;        /* 0: from now on */
    ngx_uint_t                     resume;
} ngx_http_gitpod_subscribe_t;


/* What this worker has of it all. */

typedef struct {
    ngx_gitpod_zone_t             *zone;
    ngx_queue_t                    subscribers;
    ngx_queue_t                    waiting;
    ngx_uint_t                     subscribers_n;
    ngx_rbtree_t                   users;
    ngx_rbtree_node_t              sentinel;

    ngx_event_t                    timer;
    ngx_connection_t               dummy;

    uint64_t                       position;    /* in the ring */
    uint64_t                       last;        /* event before it */
    uint64_t                       revocations; /* that were judged */

    ngx_http_gitpod_event_text_t  *beat;
    uint64_t                       beat_id;

    u_char                         data[GP_EVENT_RECORD_MAX];
} ngx_http_gitpod_fan_out_t;


#define ngx_http_gitpod_subscriber_of(ev)                                     \
    ((ngx_http_gitpod_subscriber_t *)                                         \
     (void *) ((u_char *) (ev)                                                \
               - offsetof(ngx_http_gitpod_subscriber_t, beat)))


/* NGX_OK, or NGX_BUSY: there are enough. */
ngx_int_t ngx_http_gitpod_subscriber_room(ngx_http_gitpod_ctx_t *ctx,
    ngx_http_gitpod_subscribe_t *options);

/* The header was sent.  NGX_OK, NGX_ERROR. */
ngx_int_t ngx_http_gitpod_subscriber_add(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_http_gitpod_subscribe_t *options);

/*
 * NGX_OK: written; NGX_AGAIN: the rest is pending; NGX_ERROR: the subscriber
 * is gone.
 */
ngx_int_t ngx_http_gitpod_subscriber_send(ngx_http_gitpod_subscriber_t *s,
    ngx_http_gitpod_event_text_t *text);

/* Each of these may be the end of it. */
void ngx_http_gitpod_subscriber_resolve(ngx_http_gitpod_subscriber_t *s);
void ngx_http_gitpod_subscriber_catch_up(ngx_http_gitpod_subscriber_t *s);
void ngx_http_gitpod_subscriber_lost(ngx_http_gitpod_subscriber_t *s);
void ngx_http_gitpod_subscriber_judge(ngx_http_gitpod_subscriber_t *s);
void ngx_http_gitpod_subscriber_end(ngx_http_gitpod_subscriber_t *s);
void ngx_http_gitpod_subscriber_close(ngx_http_gitpod_subscriber_t *s);

/* Out of all lists; data is the subscriber. */
void ngx_http_gitpod_subscriber_unlink(void *data);

/* The timer of the next heartbeat. */
void ngx_http_gitpod_subscriber_arm(ngx_http_gitpod_subscriber_t *s);

void ngx_http_gitpod_subscriber_beat(ngx_event_t *ev);
void ngx_http_gitpod_subscriber_read_handler(ngx_event_t *rev);
void ngx_http_gitpod_subscriber_write_handler(ngx_event_t *wev);
void ngx_http_gitpod_subscriber_writer(ngx_http_request_t *r);


/* fan-out */

void ngx_http_gitpod_fan_out_init(ngx_gitpod_zone_t *zone);
void ngx_http_gitpod_fan_out_start(void);

ngx_http_gitpod_subscribed_t *ngx_http_gitpod_subscribed_find(u_char *id,
    size_t len);
ngx_http_gitpod_subscribed_t *ngx_http_gitpod_subscribed_get(ngx_str_t *id);
void ngx_http_gitpod_subscribed_release(ngx_http_gitpod_subscribed_t *user);

/* NULL: out of memory; else to be released. */
ngx_http_gitpod_event_text_t *ngx_http_gitpod_event_render(
    ngx_gitpod_event_t *event, u_char *data);
ngx_http_gitpod_event_text_t *ngx_http_gitpod_event_text(ngx_str_t *text);
void ngx_http_gitpod_event_release(ngx_http_gitpod_event_text_t *text);

/* A heartbeat, which also says how far this worker is; not to be released. */
ngx_http_gitpod_event_text_t *ngx_http_gitpod_event_beat(void);


extern ngx_module_t               ngx_http_gitpod_events_module;
extern ngx_http_gitpod_fan_out_t  ngx_http_gitpod_fan_out;


#endif /* _NGX_HTTP_GITPOD_SUBSCRIBER_H_INCLUDED_ */


/*
 * Reading the stream of events.  It is read on from the newest entry that the
 * ring has, that one included: when Redis does not have it any more, what
 * came between is lost, or it is another Redis, and the ring begins anew.
 *
 * Messages count only when everything before them was read.  One that comes
 * earlier is in the stream already: it is read there, so that the order holds.
 */


#include "ngx_gitpod_feed.h"


static ngx_int_t ngx_gitpod_stream_step(ngx_gitpod_feed_t *feed);
static ngx_int_t ngx_gitpod_stream_check(ngx_gitpod_feed_t *feed,
    redisReply *reply);
static uint64_t ngx_gitpod_stream_id(redisReply *entry);
static void ngx_gitpod_stream_entry(ngx_gitpod_feed_t *feed,
    redisReply *entry);
static void ngx_gitpod_stream_push(ngx_gitpod_feed_t *feed,
    gp_event_t *event);
static void ngx_gitpod_stream_refuse(ngx_gitpod_feed_t *feed,
    const char *where);


ngx_int_t
ngx_gitpod_stream_begin(ngx_gitpod_feed_t *feed)
{
    ngx_gitpod_events_state_t  state;

    ngx_gitpod_events_state(&feed->zone->events, &state);

    feed->stream_at = state.last;

    return ngx_gitpod_stream_step(feed);
}


static ngx_int_t
ngx_gitpod_stream_step(ngx_gitpod_feed_t *feed)
{
    char         from[GP_EVENT_ID_TEXT_MAX];
    const char  *argv[6];

    (void) gp_event_id_format(feed->stream_at, from);

    argv[0] = "XRANGE";
    argv[1] = feed->source->key;
    argv[2] = feed->stream_at ? from : "-";
    argv[3] = "+";
    argv[4] = "COUNT";
    argv[5] = NGX_GITPOD_FEED_STREAM_COUNT;

    return ngx_gitpod_feed_ask(feed, 6, argv);
}


/* Takes the reply; as ngx_gitpod_redis_reply_pt. */

ngx_int_t
ngx_gitpod_stream_reply(ngx_gitpod_feed_t *feed, redisReply *reply)
{
    size_t      i;
    uint64_t    at;
    ngx_int_t   rc;
    ngx_uint_t  full;

    at = feed->stream_at;
    full = 0;

    rc = ngx_gitpod_stream_check(feed, reply);

    if (rc == NGX_OK) {
        for (i = 0; i < reply->elements; i++) {
            ngx_gitpod_stream_entry(feed, reply->element[i]);
        }

        full = (reply->elements == NGX_GITPOD_FEED_STREAM_COUNT_N);
    }

    freeReplyObject(reply);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc == NGX_DECLINED
        || (full && feed->stream_at != at)
        || feed->stream_missed > feed->stream_at)
    {
        return ngx_gitpod_stream_step(feed);
    }

    feed->stream_live = 1;

    return ngx_gitpod_sync_next(feed);
}


/* NGX_DECLINED: it does not go on from where the reading was. */

static ngx_int_t
ngx_gitpod_stream_check(ngx_gitpod_feed_t *feed, redisReply *reply)
{
    uint64_t  id;

    if (reply->type != REDIS_REPLY_ARRAY) {
        ngx_gitpod_feed_fail(feed, "its answer to XRANGE is none");
        return NGX_ERROR;
    }

    id = reply->elements ? ngx_gitpod_stream_id(reply->element[0]) : 0;

    if (feed->stream_at == 0) {
        ngx_gitpod_events_restart(feed->zone, id);
        return NGX_OK;
    }

    if (id == feed->stream_at) {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_WARN, feed->log, 0,
                  "gitpod: Redis does not have the last known event any more; "
                  "subscribers are told to read anew");

    feed->stream_at = 0;
    feed->stream_missed = 0;

    return NGX_DECLINED;
}


/* 0: it has none that is ours. */

static uint64_t
ngx_gitpod_stream_id(redisReply *entry)
{
    uint64_t   id;
    gp_span_t  text;

    if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2
        || entry->element[0]->type != REDIS_REPLY_STRING)
    {
        return 0;
    }

    text.ptr = entry->element[0]->str;
    text.len = entry->element[0]->len;

    return gp_event_id_parse(text, &id) ? id : 0;
}


/* [id, [field, value]] */

static void
ngx_gitpod_stream_entry(ngx_gitpod_feed_t *feed, redisReply *entry)
{
    uint64_t      id;
    gp_span_t     text;
    gp_event_t    event;
    redisReply   *fields, **field;

    id = ngx_gitpod_stream_id(entry);

    if (id == 0) {
        ngx_gitpod_stream_refuse(feed, "an entry of " GP_REDIS_EVENTS);
        return;
    }

    feed->stream_at = id;

    fields = entry->element[1];
    field = fields->element;

    if (fields->type != REDIS_REPLY_ARRAY || fields->elements != 2
        || field[0]->type != REDIS_REPLY_STRING
        || field[1]->type != REDIS_REPLY_STRING
        || ngx_strcmp(field[0]->str, GP_REDIS_EVENTS_FIELD) != 0)
    {
        ngx_gitpod_stream_refuse(feed, "an entry of " GP_REDIS_EVENTS);
        return;
    }

    text.ptr = field[1]->str;
    text.len = field[1]->len;

    if (!gp_event_record_parse(text, &event)) {
        ngx_gitpod_stream_refuse(feed, "an entry of " GP_REDIS_EVENTS);
        return;
    }

    event.id = id;
    ngx_gitpod_stream_push(feed, &event);
}


void
ngx_gitpod_stream_message(ngx_gitpod_feed_t *feed, ngx_str_t *message)
{
    gp_span_t   text;
    gp_event_t  event;

    text.ptr = (char *) message->data;
    text.len = message->len;

    if (!gp_event_message_parse(text, &event)) {
        ngx_gitpod_stream_refuse(feed, "a message of "
                                       GP_REDIS_EVENTS_CHANNEL);
        return;
    }

    if (!feed->stream_live) {
        feed->stream_missed = ngx_max(feed->stream_missed, event.id);
        return;
    }

    ngx_gitpod_stream_push(feed, &event);
}


static void
ngx_gitpod_stream_push(ngx_gitpod_feed_t *feed, gp_event_t *event)
{
    ngx_int_t  rc;

    rc = ngx_gitpod_events_push(feed->zone, event);

    ngx_gitpod_count(feed->zone, rc == NGX_OK ? NGX_GITPOD_N_EVENT_TAKEN
                                              : NGX_GITPOD_N_EVENT_OLD);
}


static void
ngx_gitpod_stream_refuse(ngx_gitpod_feed_t *feed, const char *where)
{
    ngx_gitpod_count(feed->zone, NGX_GITPOD_N_EVENT_REFUSED);

    ngx_log_error(NGX_LOG_ERR, feed->log, 0,
                  "gitpod: %s is not \"<kind> <user id> <object>\" of at most "
                  "%d bytes, in field \"" GP_REDIS_EVENTS_FIELD "\"",
                  where, GP_EVENT_RECORD_MAX);
}

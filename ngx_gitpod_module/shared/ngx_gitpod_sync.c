
/*
 * Reading everything: source after source, a hash in steps of HSCAN, each
 * reply applied in slices of time, then what the steps did not touch, and no
 * message since the begin, is gone.
 */


#include "ngx_gitpod_feed.h"


static ngx_int_t ngx_gitpod_sync_begin(ngx_gitpod_feed_t *feed);
static ngx_int_t ngx_gitpod_sync_step(ngx_gitpod_feed_t *feed,
    const char *cursor);
static ngx_int_t ngx_gitpod_sync_string(ngx_gitpod_feed_t *feed,
    redisReply *reply);
static ngx_int_t ngx_gitpod_sync_scan(ngx_gitpod_feed_t *feed);
static ngx_int_t ngx_gitpod_sync_sweep(ngx_gitpod_feed_t *feed);
static void ngx_gitpod_sync_done(ngx_gitpod_feed_t *feed);


void
ngx_gitpod_sync_start(ngx_gitpod_feed_t *feed)
{
    feed->source = ngx_gitpod_sources;
    feed->sync_started_ms = ngx_gitpod_now_ms();
    feed->swept = 0;

    (void) ngx_gitpod_sync_begin(feed);
}


void
ngx_gitpod_sync_stop(ngx_gitpod_feed_t *feed)
{
    if (feed->scan) {
        freeReplyObject(feed->scan);
        feed->scan = NULL;
    }

    if (feed->slice.posted) {
        ngx_delete_posted_event(&feed->slice);
    }

    feed->source = NULL;
}


ngx_int_t
ngx_gitpod_sync_reply(ngx_gitpod_feed_t *feed, redisReply *reply)
{
    if (feed->source->type == NGX_GITPOD_SOURCE_STRING) {
        return ngx_gitpod_sync_string(feed, reply);
    }

    if (feed->source->type == NGX_GITPOD_SOURCE_STREAM) {
        return ngx_gitpod_stream_reply(feed, reply);
    }

    feed->scan = reply;
    feed->scan_at = 0;

    return ngx_gitpod_sync_scan(feed);
}


void
ngx_gitpod_sync_slice(ngx_event_t *ev)
{
    ngx_int_t           rc;
    ngx_gitpod_feed_t  *feed;

    feed = ev->data;

    rc = feed->scan ? ngx_gitpod_sync_scan(feed) : ngx_gitpod_sync_sweep(feed);

    if (rc == NGX_OK) {
        ngx_gitpod_redis_resume(&feed->reads);
    }
}


/* Reads the source at hand, or is done; NGX_ERROR: closed. */

static ngx_int_t
ngx_gitpod_sync_begin(ngx_gitpod_feed_t *feed)
{
    while (feed->source->channel
           && feed->source->type == NGX_GITPOD_SOURCE_MESSAGES)
    {
        feed->source++;
    }

    if (feed->source->channel == NULL) {
        ngx_gitpod_sync_done(feed);
        return NGX_OK;
    }

    if (feed->source->type == NGX_GITPOD_SOURCE_HASH) {
        feed->generation = ngx_gitpod_sweep_begin(feed->zone,
                                          ngx_gitpod_source_table(feed));
    }

    if (feed->source->type == NGX_GITPOD_SOURCE_STREAM) {
        return ngx_gitpod_stream_begin(feed);
    }

    return ngx_gitpod_sync_step(feed, "0");
}


ngx_int_t
ngx_gitpod_sync_next(ngx_gitpod_feed_t *feed)
{
    uint32_t  *synced;

    if (feed->source->synced) {
        synced = (uint32_t *) (void *) ((u_char *) feed->zone
                                        + feed->source->synced);
        __atomic_store_n(synced, 1, __ATOMIC_RELEASE);
    }

    feed->source++;

    return ngx_gitpod_sync_begin(feed);
}


static ngx_int_t
ngx_gitpod_sync_step(ngx_gitpod_feed_t *feed, const char *cursor)
{
    const char  *argv[5];

    if (feed->source->type == NGX_GITPOD_SOURCE_STRING) {
        argv[0] = "GET";
        argv[1] = feed->source->key;

        return ngx_gitpod_feed_ask(feed, 2, argv);
    }

    argv[0] = "HSCAN";
    argv[1] = feed->source->key;
    argv[2] = cursor;
    argv[3] = "COUNT";
    argv[4] = NGX_GITPOD_FEED_SCAN_COUNT;

    return ngx_gitpod_feed_ask(feed, 5, argv);
}


static ngx_int_t
ngx_gitpod_sync_string(ngx_gitpod_feed_t *feed, redisReply *reply)
{
    ngx_str_t  text;

    /* none there: what is known stays */

    if (reply->type == REDIS_REPLY_STRING) {
        text.data = (u_char *) reply->str;
        text.len = (size_t) reply->len;

        feed->source->apply(feed, NULL, &text);
    }

    freeReplyObject(reply);

    return ngx_gitpod_sync_next(feed);
}


/* Applies the reply at hand for at most a slice of time. */

static ngx_int_t
ngx_gitpod_sync_scan(ngx_gitpod_feed_t *feed)
{
    uint64_t      until;
    ngx_str_t     field, value;
    ngx_int_t     rc;
    redisReply   *reply, *list, **element;

    reply = feed->scan;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
        || reply->element[0]->type != REDIS_REPLY_STRING
        || reply->element[1]->type != REDIS_REPLY_ARRAY
        || reply->element[1]->elements % 2)
    {
        ngx_gitpod_feed_fail(feed, "its answer to HSCAN is none");
        return NGX_ERROR;
    }

    list = reply->element[1];
    until = ngx_gitpod_now_us() + NGX_GITPOD_REDIS_SLICE_US;

    while (feed->scan_at + 1 < list->elements) {
        element = &list->element[feed->scan_at];
        feed->scan_at += 2;

        if (element[0]->type != REDIS_REPLY_STRING
            || element[1]->type != REDIS_REPLY_STRING)
        {
            ngx_gitpod_feed_fail(feed, "its answer to HSCAN is none");
            return NGX_ERROR;
        }

        field.data = (u_char *) element[0]->str;
        field.len = (size_t) element[0]->len;
        value.data = (u_char *) element[1]->str;
        value.len = (size_t) element[1]->len;

        feed->source->apply(feed, &field, &value);

        if (ngx_gitpod_now_us() >= until) {
            ngx_post_event(&feed->slice, &ngx_posted_next_events);
            return NGX_AGAIN;
        }
    }

    feed->scan = NULL;

    if (ngx_strcmp(reply->element[0]->str, "0") == 0) {
        feed->sweep_at = 0;
        rc = ngx_gitpod_sync_sweep(feed);

    } else {
        rc = ngx_gitpod_sync_step(feed, reply->element[0]->str);
    }

    freeReplyObject(reply);

    return rc;
}


static ngx_int_t
ngx_gitpod_sync_sweep(ngx_gitpod_feed_t *feed)
{
    uint64_t   until;
    ngx_int_t  rc;

    until = ngx_gitpod_now_us() + NGX_GITPOD_REDIS_SLICE_US;

    rc = ngx_gitpod_sweep(feed->zone, ngx_gitpod_source_table(feed),
                          feed->generation, feed->source->expired,
                          &feed->sweep_at, until, &feed->swept);

    if (rc == NGX_DECLINED) {
        ngx_gitpod_feed_fail(feed, "another worker took over");
        return NGX_ERROR;
    }

    if (rc == NGX_AGAIN) {
        ngx_post_event(&feed->slice, &ngx_posted_next_events);
        return NGX_AGAIN;
    }

    return ngx_gitpod_sync_next(feed);
}


static void
ngx_gitpod_sync_done(ngx_gitpod_feed_t *feed)
{
    uint64_t  now;

    now = ngx_gitpod_now_ms();

    feed->source = NULL;
    feed->synced = 1;
    feed->failures = 0;

    feed->zone->feed.synced_ms = now;
    feed->zone->feed.current_ms = now;

    ngx_gitpod_count(feed->zone, NGX_GITPOD_N_RESYNC);

    ngx_log_error(NGX_LOG_NOTICE, feed->log, 0,
                  "gitpod: synced with Redis in %uL ms: %uD routes, "
                  "%uD revocations; %ui dropped",
                  now - feed->sync_started_ms, feed->zone->routes.live,
                  feed->zone->revocations.live, feed->swept);
}


/*
 * connect both; log in; subscribe; and only then read everything, so that no
 * change falls between (ngx_gitpod_sync.c).  Any failure drops both
 * connections and starts again: a message may have been lost, so everything
 * is read again.
 */


#include "ngx_gitpod_feed.h"


static void ngx_gitpod_feed_open(ngx_gitpod_feed_t *feed);
static void ngx_gitpod_feed_close(ngx_gitpod_feed_t *feed);
static void ngx_gitpod_feed_lost(ngx_gitpod_redis_t *redis, const char *why);
static void ngx_gitpod_feed_retry(ngx_event_t *ev);
static ngx_int_t ngx_gitpod_feed_login(ngx_gitpod_feed_t *feed,
    ngx_gitpod_redis_t *redis);
static ngx_int_t ngx_gitpod_feed_subscribe(ngx_gitpod_feed_t *feed);
static ngx_int_t ngx_gitpod_feed_message(ngx_gitpod_redis_t *redis,
    redisReply *reply);
static ngx_int_t ngx_gitpod_feed_push(ngx_gitpod_feed_t *feed,
    redisReply *reply);
static void ngx_gitpod_feed_apply(ngx_gitpod_feed_t *feed, ngx_str_t *channel,
    ngx_str_t *text);
static void ngx_gitpod_feed_share(ngx_gitpod_feed_t *feed);
static ngx_int_t ngx_gitpod_feed_shared(ngx_gitpod_feed_t *feed,
    redisReply *reply);
static ngx_int_t ngx_gitpod_feed_refused(ngx_gitpod_feed_t *feed,
    redisReply *reply);
static ngx_int_t ngx_gitpod_feed_reply(ngx_gitpod_redis_t *redis,
    redisReply *reply);


static const char  *ngx_gitpod_feed_ping[] = { "PING" };


void
ngx_gitpod_feed_init(ngx_gitpod_feed_t *feed)
{
    feed->messages.data = feed;
    feed->messages.log = feed->log;
    feed->messages.reply = ngx_gitpod_feed_message;
    feed->messages.lost = ngx_gitpod_feed_lost;

    feed->reads.data = feed;
    feed->reads.log = feed->log;
    feed->reads.reply = ngx_gitpod_feed_reply;
    feed->reads.lost = ngx_gitpod_feed_lost;

    feed->retry.handler = ngx_gitpod_feed_retry;
    feed->retry.data = feed;
    feed->retry.log = feed->log;
    feed->retry.cancelable = 1;

    feed->slice.handler = ngx_gitpod_sync_slice;
    feed->slice.data = feed;
    feed->slice.log = feed->log;
}


void
ngx_gitpod_feed_start(ngx_gitpod_feed_t *feed)
{
    feed->active = 1;
    feed->failures = 0;

    /* as the last holder left it */
    feed->zone->feed.subscribed = 0;
    feed->zone->feed.changed_ms = ngx_gitpod_now_ms();

    ngx_gitpod_feed_open(feed);
}


void
ngx_gitpod_feed_stop(ngx_gitpod_feed_t *feed)
{
    if (!feed->active) {
        return;
    }

    feed->active = 0;
    ngx_gitpod_feed_close(feed);
}


static void
ngx_gitpod_feed_open(ngx_gitpod_feed_t *feed)
{
    feed->open = 1;
    feed->unconfirmed = 0;
    feed->subscribed = 0;
    feed->stream_live = 0;
    feed->stream_missed = 0;
    feed->synced = 0;
    feed->reads_ready = 0;
    feed->asked = 0;
    feed->pinged = 0;
    feed->sharing = 0;
    feed->mute = 0;
    feed->source = NULL;
    feed->messages_heard_ms = ngx_gitpod_now_ms();

    ngx_gitpod_count(feed->zone, NGX_GITPOD_N_REDIS_CONNECT);

    if (ngx_gitpod_redis_connect(&feed->messages, &feed->addr) != NGX_OK
        || ngx_gitpod_redis_connect(&feed->reads, &feed->addr) != NGX_OK
        || ngx_gitpod_feed_login(feed, &feed->messages) != NGX_OK
        || ngx_gitpod_feed_subscribe(feed) != NGX_OK
        || ngx_gitpod_feed_login(feed, &feed->reads) != NGX_OK)
    {
        return;
    }

    /* its answer shows that this connection works */

    (void) ngx_gitpod_feed_ask(feed, 1, ngx_gitpod_feed_ping);
}


static void
ngx_gitpod_feed_close(ngx_gitpod_feed_t *feed)
{
    ngx_gitpod_redis_close(&feed->messages);
    ngx_gitpod_redis_close(&feed->reads);

    ngx_gitpod_sync_stop(feed);

    if (feed->retry.timer_set) {
        ngx_del_timer(&feed->retry);
    }

    /* unless another worker has the lease by now, and its own view */

    if (feed->zone->feed.subscribed && ngx_gitpod_lease_held(feed->zone)) {
        feed->zone->feed.changed_ms = ngx_gitpod_now_ms();
        feed->zone->feed.subscribed = 0;
    }

    feed->open = 0;
}


void
ngx_gitpod_feed_fail(ngx_gitpod_feed_t *feed, const char *why)
{
    ngx_msec_t  delay;
    ngx_uint_t  level;

    if (!feed->open) {
        return;
    }

    ngx_gitpod_feed_close(feed);

    if (!feed->active || ngx_terminate) {
        return;
    }

    ngx_gitpod_count(feed->zone, NGX_GITPOD_N_REDIS_FAIL);

    /* once aloud, then quietly until it is back */

    level = feed->failures ? NGX_LOG_INFO : NGX_LOG_ERR;

    ngx_log_error(level, feed->log, 0,
                  "gitpod: Redis at %V is away: %s; what is known goes on, "
                  "trying again", &feed->addr.name, why);

    delay = NGX_GITPOD_FEED_BACKOFF_MS << ngx_min(feed->failures, 5);
    delay = ngx_min(delay, NGX_GITPOD_FEED_BACKOFF_MAX);
    delay = delay * 3 / 4 + (ngx_msec_t) ngx_random() % (delay / 2);

    feed->failures++;

    ngx_add_timer(&feed->retry, delay);
}


static void
ngx_gitpod_feed_lost(ngx_gitpod_redis_t *redis, const char *why)
{
    ngx_gitpod_feed_fail(redis->data, why);
}


static void
ngx_gitpod_feed_retry(ngx_event_t *ev)
{
    ngx_gitpod_feed_t  *feed;

    feed = ev->data;

    if (feed->active && !feed->open) {
        ngx_gitpod_feed_open(feed);
    }
}


static ngx_int_t
ngx_gitpod_feed_login(ngx_gitpod_feed_t *feed, ngx_gitpod_redis_t *redis)
{
    int          argc;
    size_t       lens[3];
    const char  *argv[3];

    if (feed->password.len == 0) {
        return NGX_OK;
    }

    argc = 0;
    argv[argc] = "AUTH";
    lens[argc++] = 4;

    if (feed->user.len) {
        argv[argc] = (const char *) feed->user.data;
        lens[argc++] = feed->user.len;
    }

    argv[argc] = (const char *) feed->password.data;
    lens[argc++] = feed->password.len;

    return ngx_gitpod_redis_send(redis, argc, argv, lens);
}


static ngx_int_t
ngx_gitpod_feed_subscribe(ngx_gitpod_feed_t *feed)
{
    const char           *argv[2];
    ngx_gitpod_source_t  *source;

    argv[0] = "SUBSCRIBE";

    for (source = ngx_gitpod_sources; source->channel; source++) {
        argv[1] = source->channel;

        if (ngx_gitpod_redis_send(&feed->messages, 2, argv, NULL) != NGX_OK) {
            return NGX_ERROR;
        }

        feed->unconfirmed++;
    }

    return NGX_OK;
}


/* Every tick of the worker that holds the lease. */

void
ngx_gitpod_feed_tick(ngx_gitpod_feed_t *feed)
{
    uint64_t  now;

    if (!feed->active || !feed->open) {
        return;
    }

    now = ngx_gitpod_now_ms();

    if (now - feed->messages_heard_ms > NGX_GITPOD_FEED_COMMAND_MS
        || (feed->asked
            && now - feed->reads_asked_ms > NGX_GITPOD_FEED_COMMAND_MS))
    {
        ngx_gitpod_feed_fail(feed, "no answer in time");
        return;
    }

    /* a cursor that never comes back to 0 */

    if (feed->source
        && now - feed->sync_started_ms > NGX_GITPOD_FEED_SYNC_MS)
    {
        ngx_gitpod_feed_fail(feed, "reading everything takes too long");
        return;
    }

    if (feed->subscribed
        && !feed->pinged
        && now - feed->messages_heard_ms >= NGX_GITPOD_FEED_PING_MS)
    {
        feed->pinged = 1;

        if (ngx_gitpod_redis_send(&feed->messages, 1, ngx_gitpod_feed_ping,
                                  NULL)
            != NGX_OK)
        {
            return;
        }
    }

    if (feed->source || !feed->reads_ready || feed->asked
        || !feed->subscribed)
    {
        return;
    }

    if (now - feed->sync_started_ms >= NGX_GITPOD_FEED_RESYNC_MS) {
        ngx_gitpod_sync_start(feed);
        return;
    }

    if (now - feed->shared_ms >= NGX_GITPOD_FEED_SHARE_MS && !feed->mute) {
        feed->shared_ms = now;
        feed->share_at = 0;
        ngx_gitpod_feed_share(feed);
    }

    if (!feed->asked && now - feed->reads_asked_ms >= NGX_GITPOD_FEED_PING_MS)
    {
        (void) ngx_gitpod_feed_ask(feed, 1, ngx_gitpod_feed_ping);
    }
}


/* One message to the other gateways; its answer asks for the next one. */

static void
ngx_gitpod_feed_share(ngx_gitpod_feed_t *feed)
{
    u_char       text[GP_LIMITS_MESSAGE_MAX];
    const char  *argv[3];

    feed->sharing = 0;

    if (ngx_gitpod_share_next(&feed->zone->limits, &feed->share_at, text)
        != NGX_OK)
    {
        return;
    }

    feed->sharing = 1;
    (void) ngx_atomic_fetch_add(&feed->zone->limits.told, 1);

    argv[0] = "PUBLISH";
    argv[1] = GP_REDIS_LIMITS_CHANNEL;
    argv[2] = (char *) text;

    (void) ngx_gitpod_feed_ask(feed, 3, argv);
}


/* Where we may only read, limits are not shared, and that is all. */

static ngx_int_t
ngx_gitpod_feed_shared(ngx_gitpod_feed_t *feed, redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_log_error(NGX_LOG_ERR, feed->log, 0,
                      "gitpod: limits are not shared: Redis refuses: \"%s\"",
                      reply->str);
        feed->sharing = 0;
        feed->mute = 1;

    } else {
        ngx_gitpod_feed_share(feed);
    }

    freeReplyObject(reply);

    return feed->open ? NGX_OK : NGX_ERROR;
}


/* the subscribed connection */

static ngx_int_t
ngx_gitpod_feed_message(ngx_gitpod_redis_t *redis, redisReply *reply)
{
    ngx_int_t           rc;
    ngx_gitpod_feed_t  *feed;

    feed = redis->data;

    feed->messages_heard_ms = ngx_gitpod_now_ms();
    ngx_gitpod_feed_heard(feed);

    switch (reply->type) {

    case REDIS_REPLY_ARRAY:
        rc = ngx_gitpod_feed_push(feed, reply);
        break;

    case REDIS_REPLY_ERROR:
        rc = ngx_gitpod_feed_refused(feed, reply);
        break;

    default:
        /* the OK of AUTH */
        rc = NGX_OK;
        break;
    }

    freeReplyObject(reply);

    return rc;
}


static ngx_int_t
ngx_gitpod_feed_push(ngx_gitpod_feed_t *feed, redisReply *reply)
{
    ngx_str_t     channel, text;
    redisReply  **element;

    element = reply->element;

    if (reply->elements < 2 || element[0]->type != REDIS_REPLY_STRING) {
        return NGX_OK;
    }

    if (ngx_strcmp(element[0]->str, "pong") == 0) {
        feed->pinged = 0;
        return NGX_OK;
    }

    if (ngx_strcmp(element[0]->str, "subscribe") == 0) {
        if (feed->unconfirmed && --feed->unconfirmed == 0) {
            feed->subscribed = 1;
            feed->zone->feed.subscribed = 1;
            feed->zone->feed.changed_ms = ngx_gitpod_now_ms();

            if (feed->reads_ready) {
                ngx_gitpod_sync_start(feed);
            }
        }

        return feed->open ? NGX_OK : NGX_ERROR;
    }

    if (reply->elements == 3
        && ngx_strcmp(element[0]->str, "message") == 0
        && element[1]->type == REDIS_REPLY_STRING
        && element[2]->type == REDIS_REPLY_STRING)
    {
        channel.data = (u_char *) element[1]->str;
        channel.len = (size_t) element[1]->len;
        text.data = (u_char *) element[2]->str;
        text.len = (size_t) element[2]->len;

        ngx_gitpod_count(feed->zone, NGX_GITPOD_N_REDIS_MESSAGE);
        ngx_gitpod_feed_apply(feed, &channel, &text);
    }

    return NGX_OK;
}


static void
ngx_gitpod_feed_apply(ngx_gitpod_feed_t *feed, ngx_str_t *channel,
    ngx_str_t *text)
{
    ngx_gitpod_source_t  *source;

    for (source = ngx_gitpod_sources; source->channel; source++) {

        if (ngx_strcmp(channel->data, source->channel) == 0) {
            source->apply(feed, NULL, text);
            return;
        }
    }
}


static ngx_int_t
ngx_gitpod_feed_refused(ngx_gitpod_feed_t *feed, redisReply *reply)
{
    /* LOADING is no fault of anybody; NOAUTH, NOPERM, WRONGTYPE are */

    if (ngx_strncmp(reply->str, "LOADING", 7) != 0 && feed->failures == 0) {
        ngx_log_error(NGX_LOG_ERR, feed->log, 0,
                      "gitpod: Redis refuses: \"%s\"; see gitpod_redis",
                      reply->str);
    }

    ngx_gitpod_feed_fail(feed, "it refuses");

    return NGX_ERROR;
}


/* Once all was read, a subscription that lives misses nothing. */

void
ngx_gitpod_feed_heard(ngx_gitpod_feed_t *feed)
{
    feed->zone->feed.heard_ms = ngx_gitpod_now_ms();

    if (feed->synced) {
        feed->zone->feed.current_ms = feed->zone->feed.heard_ms;
    }
}


/* the reading connection: one command at a time */

ngx_int_t
ngx_gitpod_feed_ask(ngx_gitpod_feed_t *feed, int argc, const char **argv)
{
    feed->asked = 1;
    feed->reads_asked_ms = ngx_gitpod_now_ms();

    return ngx_gitpod_redis_send(&feed->reads, argc, argv, NULL);
}


static ngx_int_t
ngx_gitpod_feed_reply(ngx_gitpod_redis_t *redis, redisReply *reply)
{
    ngx_int_t           rc;
    ngx_gitpod_feed_t  *feed;

    feed = redis->data;

    ngx_gitpod_feed_heard(feed);

    if (feed->sharing) {
        feed->asked = 0;
        return ngx_gitpod_feed_shared(feed, reply);
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        rc = ngx_gitpod_feed_refused(feed, reply);
        freeReplyObject(reply);
        return rc;
    }

    if (reply->type == REDIS_REPLY_STATUS
        && ngx_strcmp(reply->str, "PONG") != 0)
    {
        /* the OK of AUTH */
        freeReplyObject(reply);
        return NGX_OK;
    }

    feed->asked = 0;

    if (feed->source) {
        return ngx_gitpod_sync_reply(feed, reply);
    }

    freeReplyObject(reply);

    if (!feed->reads_ready) {
        feed->reads_ready = 1;

        if (feed->subscribed) {
            ngx_gitpod_sync_start(feed);
        }
    }

    return feed->open ? NGX_OK : NGX_ERROR;
}

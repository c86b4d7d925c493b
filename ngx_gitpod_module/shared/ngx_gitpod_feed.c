
/*
 * connect both; log in; subscribe; and only then read everything, so that no
 * change falls between.  What the reading did not touch, and no message since
 * its begin, is gone.  Any failure drops both connections and starts again:
 * a message may have been lost, so everything is read again.
 */


#include "ngx_gitpod_feed.h"


#define NGX_GITPOD_FEED_CHANNELS  3


static void ngx_gitpod_feed_open(ngx_gitpod_feed_t *feed);
static void ngx_gitpod_feed_close(ngx_gitpod_feed_t *feed);
static void ngx_gitpod_feed_fail(ngx_gitpod_feed_t *feed, const char *why);
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
static ngx_int_t ngx_gitpod_feed_refused(ngx_gitpod_feed_t *feed,
    redisReply *reply);
static ngx_int_t ngx_gitpod_feed_reply(ngx_gitpod_redis_t *redis,
    redisReply *reply);
static ngx_int_t ngx_gitpod_feed_ask(ngx_gitpod_feed_t *feed, int argc,
    const char **argv);
static void ngx_gitpod_feed_resync(ngx_gitpod_feed_t *feed);
static ngx_int_t ngx_gitpod_feed_step(ngx_gitpod_feed_t *feed,
    const char *cursor);
static ngx_int_t ngx_gitpod_feed_scan(ngx_gitpod_feed_t *feed);
static void ngx_gitpod_feed_slice(ngx_event_t *ev);
static ngx_int_t ngx_gitpod_feed_sweep(ngx_gitpod_feed_t *feed);
static ngx_int_t ngx_gitpod_feed_keys(ngx_gitpod_feed_t *feed,
    redisReply *reply);
static void ngx_gitpod_feed_synced(ngx_gitpod_feed_t *feed);


static const char  *ngx_gitpod_feed_subscriptions[] = {
    "SUBSCRIBE", GP_REDIS_ROUTES_CHANNEL, GP_REDIS_REVOCATIONS_CHANNEL,
    GP_REDIS_KEY_SET_CHANNEL
};


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

    feed->slice.handler = ngx_gitpod_feed_slice;
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
    feed->channels = 0;
    feed->reads_ready = 0;
    feed->asked = 0;
    feed->pinged = 0;
    feed->sync = NGX_GITPOD_SYNC_IDLE;
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

    if (feed->scan) {
        freeReplyObject(feed->scan);
        feed->scan = NULL;
    }

    if (feed->slice.posted) {
        ngx_delete_posted_event(&feed->slice);
    }

    if (feed->retry.timer_set) {
        ngx_del_timer(&feed->retry);
    }

    /* unless another worker has the lease by now, and its own view */

    if (feed->zone->feed.subscribed && ngx_gitpod_lease_held(feed->zone)) {
        feed->zone->feed.changed_ms = ngx_gitpod_now_ms();
        feed->zone->feed.subscribed = 0;
    }

    feed->open = 0;
    feed->sync = NGX_GITPOD_SYNC_IDLE;
}


static void
ngx_gitpod_feed_fail(ngx_gitpod_feed_t *feed, const char *why)
{
    ngx_msec_t  delay;
    ngx_uint_t  level;

    if (!feed->open) {
        return;
    }

    ngx_gitpod_feed_close(feed);

    if (!feed->active || ngx_exiting || ngx_terminate || ngx_quit) {
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
    return ngx_gitpod_redis_send(&feed->messages,
                                 NGX_GITPOD_FEED_CHANNELS + 1,
                                 ngx_gitpod_feed_subscriptions, NULL);
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

    if (feed->sync != NGX_GITPOD_SYNC_IDLE
        && now - feed->sync_started_ms > NGX_GITPOD_FEED_SYNC_MS)
    {
        ngx_gitpod_feed_fail(feed, "reading everything takes too long");
        return;
    }

    if (feed->channels == NGX_GITPOD_FEED_CHANNELS
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

    if (feed->sync != NGX_GITPOD_SYNC_IDLE || !feed->reads_ready
        || feed->asked || feed->channels != NGX_GITPOD_FEED_CHANNELS)
    {
        return;
    }

    if (now - feed->sync_started_ms >= NGX_GITPOD_FEED_RESYNC_MS) {
        ngx_gitpod_feed_resync(feed);
        return;
    }

    if (now - feed->reads_asked_ms >= NGX_GITPOD_FEED_PING_MS) {
        (void) ngx_gitpod_feed_ask(feed, 1, ngx_gitpod_feed_ping);
    }
}


/* the subscribed connection */

static ngx_int_t
ngx_gitpod_feed_message(ngx_gitpod_redis_t *redis, redisReply *reply)
{
    ngx_int_t           rc;
    ngx_gitpod_feed_t  *feed;

    feed = redis->data;

    feed->messages_heard_ms = ngx_gitpod_now_ms();
    feed->zone->feed.heard_ms = feed->messages_heard_ms;

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
        feed->channels++;

        if (feed->channels == NGX_GITPOD_FEED_CHANNELS) {
            feed->zone->feed.subscribed = 1;
            feed->zone->feed.changed_ms = ngx_gitpod_now_ms();

            if (feed->reads_ready) {
                ngx_gitpod_feed_resync(feed);
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
    if (ngx_strcmp(channel->data, GP_REDIS_ROUTES_CHANNEL) == 0) {
        ngx_gitpod_route_feed(feed->zone, NULL, text, feed->cidrs, feed->log);

    } else if (ngx_strcmp(channel->data, GP_REDIS_REVOCATIONS_CHANNEL) == 0) {
        ngx_gitpod_revocation_message(feed->zone, text, feed->log);

    } else if (ngx_strcmp(channel->data, GP_REDIS_KEY_SET_CHANNEL) == 0) {
        (void) ngx_gitpod_keys_feed(feed->zone, text, feed->log);
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


/* the reading connection: one command at a time */

static ngx_int_t
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

    feed->zone->feed.heard_ms = ngx_gitpod_now_ms();

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

    if (feed->sync == NGX_GITPOD_SYNC_KEYS) {
        rc = ngx_gitpod_feed_keys(feed, reply);
        freeReplyObject(reply);
        return rc;
    }

    if (feed->sync == NGX_GITPOD_SYNC_REVOCATIONS
        || feed->sync == NGX_GITPOD_SYNC_ROUTES)
    {
        feed->scan = reply;
        feed->scan_at = 0;

        return ngx_gitpod_feed_scan(feed);
    }

    freeReplyObject(reply);

    if (!feed->reads_ready) {
        feed->reads_ready = 1;

        if (feed->channels == NGX_GITPOD_FEED_CHANNELS) {
            ngx_gitpod_feed_resync(feed);
        }
    }

    return feed->open ? NGX_OK : NGX_ERROR;
}


static void
ngx_gitpod_feed_resync(ngx_gitpod_feed_t *feed)
{
    feed->sync = NGX_GITPOD_SYNC_REVOCATIONS;
    feed->sync_started_ms = ngx_gitpod_now_ms();
    feed->swept = 0;

    feed->revocations_generation =
                ngx_gitpod_sweep_begin(feed->zone, &feed->zone->revocations);
    feed->routes_generation =
                ngx_gitpod_sweep_begin(feed->zone, &feed->zone->routes);

    (void) ngx_gitpod_feed_step(feed, "0");
}


/* Asks for what the state wants; NGX_ERROR: closed. */

static ngx_int_t
ngx_gitpod_feed_step(ngx_gitpod_feed_t *feed, const char *cursor)
{
    const char  *argv[5];

    if (feed->sync == NGX_GITPOD_SYNC_KEYS) {
        argv[0] = "GET";
        argv[1] = GP_REDIS_KEY_SET;

        return ngx_gitpod_feed_ask(feed, 2, argv);
    }

    argv[0] = "HSCAN";
    argv[1] = (feed->sync == NGX_GITPOD_SYNC_ROUTES) ? GP_REDIS_ROUTES
                                                     : GP_REDIS_REVOCATIONS;
    argv[2] = cursor;
    argv[3] = "COUNT";
    argv[4] = NGX_GITPOD_FEED_SCAN_COUNT;

    return ngx_gitpod_feed_ask(feed, 5, argv);
}


/* Applies the reply at hand for at most a slice of time. */

static ngx_int_t
ngx_gitpod_feed_scan(ngx_gitpod_feed_t *feed)
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

        if (feed->sync == NGX_GITPOD_SYNC_ROUTES) {
            ngx_gitpod_route_feed(feed->zone, &field, &value, feed->cidrs,
                                  feed->log);
        } else {
            ngx_gitpod_revocation_feed(feed->zone, &field, &value, feed->log);
        }

        if (ngx_gitpod_now_us() >= until) {
            ngx_post_event(&feed->slice, &ngx_posted_next_events);
            return NGX_AGAIN;
        }
    }

    feed->scan = NULL;

    if (ngx_strcmp(reply->element[0]->str, "0") == 0) {
        feed->sync++;
        feed->sweep_at = 0;
        rc = ngx_gitpod_feed_sweep(feed);

    } else {
        rc = ngx_gitpod_feed_step(feed, reply->element[0]->str);
    }

    freeReplyObject(reply);

    return rc;
}


static ngx_int_t
ngx_gitpod_feed_sweep(ngx_gitpod_feed_t *feed)
{
    uint32_t             generation;
    uint64_t             until;
    ngx_int_t            rc;
    ngx_gitpod_table_t  *table;

    if (feed->sync == NGX_GITPOD_SYNC_ROUTES_SWEEP) {
        table = &feed->zone->routes;
        generation = feed->routes_generation;

    } else {
        table = &feed->zone->revocations;
        generation = feed->revocations_generation;
    }

    until = ngx_gitpod_now_us() + NGX_GITPOD_REDIS_SLICE_US;

    rc = ngx_gitpod_sweep(feed->zone, table, generation, &feed->sweep_at,
                          until, &feed->swept);

    if (rc == NGX_DECLINED) {
        ngx_gitpod_feed_fail(feed, "another worker took over");
        return NGX_ERROR;
    }

    if (rc == NGX_AGAIN) {
        ngx_post_event(&feed->slice, &ngx_posted_next_events);
        return NGX_AGAIN;
    }

    if (feed->sync == NGX_GITPOD_SYNC_ROUTES_SWEEP) {
        ngx_gitpod_feed_synced(feed);
        return NGX_OK;
    }

    __atomic_store_n(&feed->zone->feed.revocations_synced, 1,
                     __ATOMIC_RELEASE);

    feed->sync = NGX_GITPOD_SYNC_KEYS;

    return ngx_gitpod_feed_step(feed, NULL);
}


static void
ngx_gitpod_feed_slice(ngx_event_t *ev)
{
    ngx_int_t           rc;
    ngx_gitpod_feed_t  *feed;

    feed = ev->data;

    rc = feed->scan ? ngx_gitpod_feed_scan(feed) : ngx_gitpod_feed_sweep(feed);

    if (rc == NGX_OK) {
        ngx_gitpod_redis_resume(&feed->reads);
    }
}


static ngx_int_t
ngx_gitpod_feed_keys(ngx_gitpod_feed_t *feed, redisReply *reply)
{
    ngx_str_t  text;

    /* none there: those of the file stay */

    if (reply->type == REDIS_REPLY_STRING) {
        text.data = (u_char *) reply->str;
        text.len = (size_t) reply->len;

        (void) ngx_gitpod_keys_feed(feed->zone, &text, feed->log);
    }

    feed->sync = NGX_GITPOD_SYNC_ROUTES;

    return ngx_gitpod_feed_step(feed, "0");
}


static void
ngx_gitpod_feed_synced(ngx_gitpod_feed_t *feed)
{
    uint64_t  now;

    now = ngx_gitpod_now_ms();

    feed->sync = NGX_GITPOD_SYNC_IDLE;
    feed->failures = 0;

    feed->zone->feed.synced_ms = now;
    __atomic_store_n(&feed->zone->feed.routes_synced, 1, __ATOMIC_RELEASE);

    ngx_gitpod_count(feed->zone, NGX_GITPOD_N_RESYNC);

    ngx_log_error(NGX_LOG_NOTICE, feed->log, 0,
                  "gitpod: synced with Redis in %uL ms: %uD routes, "
                  "%uD revocations; %ui dropped",
                  now - feed->sync_started_ms, feed->zone->routes.live,
                  feed->zone->revocations.live, feed->swept);
}

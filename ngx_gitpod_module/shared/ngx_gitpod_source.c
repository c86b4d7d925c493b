
/*
 * What the feed subscribes to and reads, in this order.  A new one is a row.
 */


#include "ngx_gitpod_feed.h"


static void ngx_gitpod_source_revocation(ngx_gitpod_feed_t *feed,
    ngx_str_t *field, ngx_str_t *text);
static void ngx_gitpod_source_key_set(ngx_gitpod_feed_t *feed,
    ngx_str_t *field, ngx_str_t *text);
static void ngx_gitpod_source_flag(ngx_gitpod_feed_t *feed,
    ngx_str_t *field, ngx_str_t *text);
static void ngx_gitpod_source_event(ngx_gitpod_feed_t *feed,
    ngx_str_t *field, ngx_str_t *text);
static void ngx_gitpod_source_limit(ngx_gitpod_feed_t *feed,
    ngx_str_t *field, ngx_str_t *text);
static void ngx_gitpod_source_route(ngx_gitpod_feed_t *feed,
    ngx_str_t *field, ngx_str_t *text);


ngx_gitpod_source_t  ngx_gitpod_sources[] = {

    /* first: before it no session is accepted */

    { GP_REDIS_REVOCATIONS_CHANNEL,
      GP_REDIS_REVOCATIONS,
      NGX_GITPOD_SOURCE_HASH,
      ngx_gitpod_source_revocation,
      offsetof(ngx_gitpod_zone_t, revocations),
      ngx_gitpod_revocation_expired,
      offsetof(ngx_gitpod_zone_t, feed.revocations_synced) },

    { GP_REDIS_KEY_SET_CHANNEL,
      GP_REDIS_KEY_SET,
      NGX_GITPOD_SOURCE_STRING,
      ngx_gitpod_source_key_set,
      0,
      NULL,
      0 },

    { GP_REDIS_FLAGS_CHANNEL,
      GP_REDIS_FLAGS,
      NGX_GITPOD_SOURCE_HASH,
      ngx_gitpod_source_flag,
      offsetof(ngx_gitpod_zone_t, flags),
      ngx_gitpod_flag_expired,
      0 },

    { GP_REDIS_EVENTS_CHANNEL,
      GP_REDIS_EVENTS,
      NGX_GITPOD_SOURCE_STREAM,
      ngx_gitpod_source_event,
      0,
      NULL,
      offsetof(ngx_gitpod_zone_t, events.synced) },

    { GP_REDIS_ROUTES_CHANNEL,
      GP_REDIS_ROUTES,
      NGX_GITPOD_SOURCE_HASH,
      ngx_gitpod_source_route,
      offsetof(ngx_gitpod_zone_t, routes),
      NULL,
      offsetof(ngx_gitpod_zone_t, feed.routes_synced) },

    { GP_REDIS_LIMITS_CHANNEL,
      NULL,
      NGX_GITPOD_SOURCE_MESSAGES,
      ngx_gitpod_source_limit,
      0,
      NULL,
      0 },

    { NULL, NULL, NGX_GITPOD_SOURCE_MESSAGES, NULL, 0, NULL, 0 }
};


static void
ngx_gitpod_source_revocation(ngx_gitpod_feed_t *feed, ngx_str_t *field,
    ngx_str_t *text)
{
    if (field) {
        ngx_gitpod_revocation_feed(feed->zone, field, text, feed->log);

    } else {
        ngx_gitpod_revocation_message(feed->zone, text, feed->log);
    }
}


static void
ngx_gitpod_source_key_set(ngx_gitpod_feed_t *feed, ngx_str_t *field,
    ngx_str_t *text)
{
    (void) ngx_gitpod_keys_feed(feed->zone, NGX_GITPOD_KEYS_FED, text,
                                feed->log);
}


static void
ngx_gitpod_source_flag(ngx_gitpod_feed_t *feed, ngx_str_t *field,
    ngx_str_t *text)
{
    ngx_gitpod_flag_feed(feed->zone, field, text, feed->log);
}


static void
ngx_gitpod_source_event(ngx_gitpod_feed_t *feed, ngx_str_t *field,
    ngx_str_t *text)
{
    ngx_gitpod_stream_message(feed, text);
}


static void
ngx_gitpod_source_limit(ngx_gitpod_feed_t *feed, ngx_str_t *field,
    ngx_str_t *text)
{
    ngx_gitpod_share_take(&feed->zone->limits, text, feed->log);
}


static void
ngx_gitpod_source_route(ngx_gitpod_feed_t *feed, ngx_str_t *field,
    ngx_str_t *text)
{
    ngx_gitpod_route_feed(feed->zone, field, text, feed->cidrs, feed->log);
}

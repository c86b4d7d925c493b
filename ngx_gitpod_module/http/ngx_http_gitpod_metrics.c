
/*
 * Prometheus text: the counters of all workers summed at scrape, the state of
 * feed and checks.  No label has values that a user could make.
 */


#include "ngx_http_gitpod_breaker.h"
#include "ngx_http_gitpod_probe.h"
#include "ngx_http_gitpod_observe.h"
#include "ngx_http_gitpod_request.h"


typedef struct {
    const char             *family;
    const char             *labels;
    ngx_gitpod_counter_e    counter;
    const char             *help;           /* of the first of a family */
} ngx_http_gitpod_metric_t;


static ngx_uint_t ngx_http_gitpod_metrics_open(ngx_http_request_t *r);
static void ngx_http_gitpod_metrics_rename(ngx_buf_t *b);
static u_char *ngx_http_gitpod_metrics_counters(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone);
static u_char *ngx_http_gitpod_metrics_gauges(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone);
static u_char *ngx_http_gitpod_metrics_gauge(u_char *p, u_char *last,
    const char *name, uint64_t value, const char *help);
static u_char *ngx_http_gitpod_metrics_seconds(u_char *p, u_char *last,
    const char *name, uint64_t ms, const char *help);
static u_char *ngx_http_gitpod_metrics_workers(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone);
static u_char *ngx_http_gitpod_metrics_checks(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone, ngx_http_gitpod_probe_main_conf_t *pmcf);


static ngx_http_gitpod_metric_t  ngx_http_gitpod_counters[] = {

    { "gitpod_requests_total", "{outcome=\"ok\"}",
      NGX_GITPOD_N_REQUEST_OK,
      "Requests by what the gateway decided." },
    { "gitpod_requests_total", "{outcome=\"handoff\"}",
      NGX_GITPOD_N_REQUEST_HANDOFF, NULL },
    { "gitpod_requests_total", "{outcome=\"bad\"}",
      NGX_GITPOD_N_REQUEST_BAD, NULL },
    { "gitpod_requests_total", "{outcome=\"unauthenticated\"}",
      NGX_GITPOD_N_REQUEST_UNAUTHENTICATED, NULL },
    { "gitpod_requests_total", "{outcome=\"forbidden\"}",
      NGX_GITPOD_N_REQUEST_FORBIDDEN, NULL },
    { "gitpod_requests_total", "{outcome=\"not_found\"}",
      NGX_GITPOD_N_REQUEST_NOT_FOUND, NULL },
    { "gitpod_requests_total", "{outcome=\"error\"}",
      NGX_GITPOD_N_REQUEST_ERROR, NULL },
    { "gitpod_requests_total", "{outcome=\"limited\"}",
      NGX_GITPOD_N_REQUEST_LIMITED, NULL },
    { "gitpod_requests_total", "{outcome=\"unavailable\"}",
      NGX_GITPOD_N_REQUEST_UNAVAILABLE, NULL },

    { "gitpod_credentials_total", "{kind=\"session\",outcome=\"ok\"}",
      NGX_GITPOD_N_SESSION_OK,
      "Credentials that were judged." },
    { "gitpod_credentials_total", "{kind=\"session\",outcome=\"refused\"}",
      NGX_GITPOD_N_SESSION_REFUSED, NULL },
    { "gitpod_credentials_total", "{kind=\"token\",outcome=\"ok\"}",
      NGX_GITPOD_N_TOKEN_OK, NULL },
    { "gitpod_credentials_total", "{kind=\"token\",outcome=\"refused\"}",
      NGX_GITPOD_N_TOKEN_REFUSED, NULL },
    { "gitpod_credentials_total", "{kind=\"workspace\",outcome=\"ok\"}",
      NGX_GITPOD_N_WORKSPACE_OK, NULL },
    { "gitpod_credentials_total", "{kind=\"workspace\",outcome=\"refused\"}",
      NGX_GITPOD_N_WORKSPACE_REFUSED, NULL },
    { "gitpod_credentials_total", "{kind=\"owner_token\",outcome=\"ok\"}",
      NGX_GITPOD_N_OWNER_TOKEN_OK, NULL },
    { "gitpod_credentials_total",
      "{kind=\"owner_token\",outcome=\"refused\"}",
      NGX_GITPOD_N_OWNER_TOKEN_REFUSED, NULL },
    { "gitpod_credentials_total", "{kind=\"owner_cookie\",outcome=\"ok\"}",
      NGX_GITPOD_N_OWNER_COOKIE_OK, NULL },
    { "gitpod_credentials_total",
      "{kind=\"owner_cookie\",outcome=\"refused\"}",
      NGX_GITPOD_N_OWNER_COOKIE_REFUSED, NULL },

    { "gitpod_introspections_total", "{outcome=\"ok\"}",
      NGX_GITPOD_N_ASK_OK,
      "Questions about a token to the auth plugin." },
    { "gitpod_introspections_total", "{outcome=\"refused\"}",
      NGX_GITPOD_N_ASK_REFUSED, NULL },
    { "gitpod_introspections_total", "{outcome=\"failed\"}",
      NGX_GITPOD_N_ASK_FAILED, NULL },

    { "gitpod_credential_cache_total", "{outcome=\"hit\"}",
      NGX_GITPOD_N_CACHE_HIT,
      "Look-ups in the cache of tokens." },
    { "gitpod_credential_cache_total", "{outcome=\"stale\"}",
      NGX_GITPOD_N_CACHE_STALE, NULL },
    { "gitpod_credential_cache_total", "{outcome=\"refresh\"}",
      NGX_GITPOD_N_CACHE_REFRESH, NULL },
    { "gitpod_credential_cache_total", "{outcome=\"miss\"}",
      NGX_GITPOD_N_CACHE_MISS, NULL },

    { "gitpod_handoffs_total", "{outcome=\"ok\"}",
      NGX_GITPOD_N_HANDOFF_OK,
      "Hand-off codes that were redeemed." },
    { "gitpod_handoffs_total", "{outcome=\"refused\"}",
      NGX_GITPOD_N_HANDOFF_REFUSED, NULL },

    { "gitpod_origins_refused_total", "",
      NGX_GITPOD_N_ORIGIN_REFUSED,
      "Requests refused because of their Origin." },

    { "gitpod_activity_noted_total", "",
      NGX_GITPOD_N_ACTIVITY_NOTED,
      "Uses of workspaces, at most one a second for each." },
    { "gitpod_activity_dropped_total", "",
      NGX_GITPOD_N_ACTIVITY_DROPPED,
      "Uses that were forgotten before they were reported." },
    { "gitpod_activity_reports_total", "{outcome=\"ok\"}",
      NGX_GITPOD_N_REPORT_OK,
      "Reports of activity to ws_manager." },
    { "gitpod_activity_reports_total", "{outcome=\"failed\"}",
      NGX_GITPOD_N_REPORT_FAILED, NULL },

    { "gitpod_subscriptions_total", "{outcome=\"new\"}",
      NGX_GITPOD_N_SUBSCRIBE_NEW,
      "Requests for events by how they began." },
    { "gitpod_subscriptions_total", "{outcome=\"resumed\"}",
      NGX_GITPOD_N_SUBSCRIBE_RESUMED, NULL },
    { "gitpod_subscriptions_total", "{outcome=\"reset\"}",
      NGX_GITPOD_N_SUBSCRIBE_RESET, NULL },
    { "gitpod_subscriptions_total", "{outcome=\"refused\"}",
      NGX_GITPOD_N_SUBSCRIBE_REFUSED, NULL },
    { "gitpod_subscribers_slow_total", "",
      NGX_GITPOD_N_SUBSCRIBER_SLOW,
      "Subscribers dropped because they did not read." },
    { "gitpod_events_sent_total", "",
      NGX_GITPOD_N_EVENT_SENT,
      "Events sent to subscribers." },

    { "gitpod_event_records_total", "{outcome=\"taken\"}",
      NGX_GITPOD_N_EVENT_TAKEN,
      "Event records from Redis." },
    { "gitpod_event_records_total", "{outcome=\"old\"}",
      NGX_GITPOD_N_EVENT_OLD, NULL },
    { "gitpod_event_records_total", "{outcome=\"refused\"}",
      NGX_GITPOD_N_EVENT_REFUSED, NULL },

    { "gitpod_wakes_total", "{outcome=\"running\"}",
      NGX_GITPOD_N_WAKE_RUNNING,
      "Requests that waited for their workspace, by how it ended." },
    { "gitpod_wakes_total", "{outcome=\"late\"}",
      NGX_GITPOD_N_WAKE_LATE, NULL },
    { "gitpod_wakes_total", "{outcome=\"failed\"}",
      NGX_GITPOD_N_WAKE_FAILED, NULL },
    { "gitpod_wakes_total", "{outcome=\"full\"}",
      NGX_GITPOD_N_WAKE_FULL, NULL },
    { "gitpod_wakes_total", "{outcome=\"gone\"}",
      NGX_GITPOD_N_WAKE_GONE, NULL },
    { "gitpod_wake_starts_total", "{outcome=\"ok\"}",
      NGX_GITPOD_N_START_OK,
      "Starts of workspaces for a request." },
    { "gitpod_wake_starts_total", "{outcome=\"refused\"}",
      NGX_GITPOD_N_START_REFUSED, NULL },

    { "gitpod_route_records_total", "{outcome=\"updated\"}",
      NGX_GITPOD_N_ROUTE_UPDATED,
      "Route records from Redis." },
    { "gitpod_route_records_total", "{outcome=\"old\"}",
      NGX_GITPOD_N_ROUTE_OLD, NULL },
    { "gitpod_route_records_total", "{outcome=\"refused\"}",
      NGX_GITPOD_N_ROUTE_REFUSED, NULL },
    { "gitpod_route_records_total", "{outcome=\"full\"}",
      NGX_GITPOD_N_ROUTE_FULL, NULL },

    { "gitpod_revocations_total", "",
      NGX_GITPOD_N_REVOKED,
      "Revocations from Redis." },
    { "gitpod_flag_records_total", "{outcome=\"updated\"}",
      NGX_GITPOD_N_FLAG_UPDATED,
      "Records of feature flags from Redis." },
    { "gitpod_flag_records_total", "{outcome=\"old\"}",
      NGX_GITPOD_N_FLAG_OLD, NULL },
    { "gitpod_flag_records_total", "{outcome=\"refused\"}",
      NGX_GITPOD_N_FLAG_REFUSED, NULL },
    { "gitpod_flag_records_total", "{outcome=\"full\"}",
      NGX_GITPOD_N_FLAG_FULL, NULL },
    { "gitpod_key_sets_total", "",
      NGX_GITPOD_N_KEY_SET,
      "Key sets that replaced another." },
    { "gitpod_key_fetches_total", "{outcome=\"ok\"}",
      NGX_GITPOD_N_KEY_FETCH_OK,
      "Fetches of gitpod_key_set_url." },
    { "gitpod_key_fetches_total", "{outcome=\"failed\"}",
      NGX_GITPOD_N_KEY_FETCH_FAILED, NULL },
    { "gitpod_key_waits_total", "{outcome=\"found\"}",
      NGX_GITPOD_N_KEY_WAIT_FOUND,
      "Requests whose token names a key that was not known." },
    { "gitpod_key_waits_total", "{outcome=\"missing\"}",
      NGX_GITPOD_N_KEY_WAIT_MISSING, NULL },
    { "gitpod_key_waits_total", "{outcome=\"late\"}",
      NGX_GITPOD_N_KEY_WAIT_LATE, NULL },
    { "gitpod_key_waits_total", "{outcome=\"full\"}",
      NGX_GITPOD_N_KEY_WAIT_FULL, NULL },
    { "gitpod_key_waits_total", "{outcome=\"known\"}",
      NGX_GITPOD_N_KEY_MISSING, NULL },

    { "gitpod_redis_connects_total", "",
      NGX_GITPOD_N_REDIS_CONNECT,
      "Attempts to connect to Redis." },
    { "gitpod_redis_failures_total", "",
      NGX_GITPOD_N_REDIS_FAIL,
      "Connections to Redis that failed." },
    { "gitpod_redis_messages_total", "",
      NGX_GITPOD_N_REDIS_MESSAGE,
      "Messages of the subscription." },
    { "gitpod_redis_resyncs_total", "",
      NGX_GITPOD_N_RESYNC,
      "Complete readings of Redis." },
    { "gitpod_leases_total", "",
      NGX_GITPOD_N_LEASE,
      "Times that a worker took over the feed." },

    { NULL, NULL, NGX_GITPOD_COUNTERS_N, NULL }
};


ngx_buf_t *
ngx_http_gitpod_metrics(ngx_http_request_t *r, ngx_gitpod_zone_t *zone,
    ngx_http_gitpod_probe_main_conf_t *pmcf, ngx_str_t *type)
{
    size_t       size;
    ngx_buf_t   *b;
    ngx_uint_t   open;

    open = ngx_http_gitpod_metrics_open(r);

    size = 256 * (NGX_GITPOD_COUNTERS_N + 32)
           + 128 * NGX_GITPOD_WORKERS_MAX
           + 512 * (pmcf->checks.nelts + 1)
           + 320 * (NGX_GITPOD_LIMITS_MAX + 4)
           + ngx_http_gitpod_breaker_metrics_size()
           + ngx_http_gitpod_observe_metrics_size();

    b = ngx_create_temp_buf(r->pool, size);
    if (b == NULL) {
        return NULL;
    }

    b->last = ngx_http_gitpod_metrics_counters(b->last, b->end, zone);
    b->last = ngx_http_gitpod_metrics_gauges(b->last, b->end, zone);
    b->last = ngx_http_gitpod_metrics_workers(b->last, b->end, zone);
    b->last = ngx_http_gitpod_metrics_checks(b->last, b->end, zone, pmcf);
    b->last = ngx_http_gitpod_limit_metrics(r, b->last, b->end, zone);
    b->last = ngx_http_gitpod_breaker_metrics(b->last, b->end, zone);
    b->last = ngx_http_gitpod_observe_metrics(b->last, b->end, zone, open);

    if (open) {
        ngx_http_gitpod_metrics_rename(b);
        b->last = ngx_slprintf(b->last, b->end, "# EOF\n");
        ngx_str_set(type, "application/openmetrics-text; version=1.0.0; "
                          "charset=utf-8");

    } else {
        ngx_str_set(type, "text/plain; version=0.0.4");
    }

    return b;
}


/* OpenMetrics only where it adds something: with exemplars, when asked for. */

static ngx_uint_t
ngx_http_gitpod_metrics_open(ngx_http_request_t *r)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    static char       open[] = "application/openmetrics-text";

    if (!ngx_http_gitpod_observe_exemplars(r)) {
        return 0;
    }

    part = &r->headers_in.headers.part;

    for ( ; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].key.len == sizeof("Accept") - 1
                && ngx_strncasecmp(h[i].key.data, (u_char *) "Accept",
                                   sizeof("Accept") - 1)
                   == 0
                && ngx_strnstr(h[i].value.data, open, h[i].value.len))
            {
                return 1;
            }
        }
    }

    return 0;
}


/*
 * There a counter is called "x" where it is described and "x_total" where its
 * value stands.
 */

static void
ngx_http_gitpod_metrics_rename(ngx_buf_t *b)
{
    u_char  *p, *to, *end, *name;

    to = b->pos;

    for (p = b->pos; p < b->last; p = end) {

        end = ngx_strlchr(p, b->last, LF);
        end = end ? end + 1 : b->last;

        if (*p == '#') {

            /* "# HELP " and "# TYPE " are 7 bytes */

            name = ngx_strlchr(p + 7, end, ' ');

            if (name && ngx_strncmp(name - 6, "_total", 6) == 0) {
                to = ngx_movemem(to, p, name - 6 - p);
                p = name;
            }
        }

        to = ngx_movemem(to, p, end - p);
    }

    b->last = to;
}


static u_char *
ngx_http_gitpod_metrics_counters(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone)
{
    uint64_t                   sum;
    ngx_uint_t                 i;
    ngx_http_gitpod_metric_t  *m;

    for (m = ngx_http_gitpod_counters; m->family; m++) {

        if (m->help) {
            p = ngx_slprintf(p, last, "# HELP %s %s\n# TYPE %s counter\n",
                             m->family, m->help, m->family);
        }

        sum = 0;

        for (i = 0; i < NGX_GITPOD_WORKERS_MAX; i++) {
            sum += zone->workers[i].counters[m->counter];
        }

        p = ngx_slprintf(p, last, "%s%s %uL\n", m->family, m->labels, sum);
    }

    return p;
}


static u_char *
ngx_http_gitpod_metrics_gauges(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone)
{
    time_t    fetched;
    uint64_t  now;

    now = ngx_gitpod_now_ms();

    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_routes",
                      zone->routes.live, "Routes in the table.");
    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_routes_max",
                      zone->routes.records_max, "Routes it has room for.");
    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_listeners",
                      zone->listeners.live,
                      "Listeners of mode port in the table.");
    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_revocations",
                      zone->revocations.live, "Revocations in the table.");
    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_revocations_max",
                      zone->revocations.records_max,
                      "Revocations it has room for.");
    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_credential_cache",
                      zone->credentials.live, "Tokens in the cache.");
    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_credential_cache_max",
                      zone->credentials.records_max,
                      "Tokens it has room for.");

    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_flags",
                      zone->flags.live,
                      "Feature flags in the table, deleted ones for a while.");
    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_flags_max",
                      zone->flags.records_max,
                      "Feature flags it has room for.");

    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_keys",
                      ngx_gitpod_keys_count(zone, ngx_cycle->log),
                      "Keys that verify tokens.");

    fetched = ngx_gitpod_key_url(zone)->fetched;

    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_key_set_age_seconds",
                      fetched ? ngx_max(ngx_time() - fetched, 0) : 0,
                      "Since gitpod_key_set_url was fetched; 0: never.");

    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_events_synced",
                      zone->events.synced,
                      "1 after the events of Redis were read once.");
    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_redis_subscribed",
                      zone->feed.subscribed,
                      "1 while a worker is subscribed.");
    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_routes_synced",
                      zone->feed.routes_synced,
                      "1 after the first complete reading.");
    p = ngx_http_gitpod_metrics_seconds(p, last,
                      "gitpod_redis_heard_age_seconds",
                      zone->feed.heard_ms ? now - zone->feed.heard_ms : 0,
                      "Since Redis said anything.");
    p = ngx_http_gitpod_metrics_seconds(p, last,
                      "gitpod_redis_resync_age_seconds",
                      zone->feed.synced_ms ? now - zone->feed.synced_ms : 0,
                      "Since the last complete reading.");
    p = ngx_http_gitpod_metrics_seconds(p, last,
                      "gitpod_tables_age_seconds",
                      now - ngx_min(zone->feed.current_ms, now),
                      "Since all tables were known to be up to date.");
    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_draining",
                      ngx_gitpod_drain_since(zone) != 0,
                      "1 while /ready is 503 because a stop is near.");

    return p;
}


static u_char *
ngx_http_gitpod_metrics_gauge(u_char *p, u_char *last, const char *name,
    uint64_t value, const char *help)
{
    return ngx_slprintf(p, last, "# HELP %s %s\n# TYPE %s gauge\n%s %uL\n",
                        name, help, name, name, value);
}


static u_char *
ngx_http_gitpod_metrics_seconds(u_char *p, u_char *last, const char *name,
    uint64_t ms, const char *help)
{
    return ngx_slprintf(p, last,
                        "# HELP %s %s\n# TYPE %s gauge\n%s %uL.%03uL\n",
                        name, help, name, name, ms / 1000, ms % 1000);
}


static u_char *
ngx_http_gitpod_metrics_workers(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone)
{
    ngx_pid_t             pid;
    uint64_t              now, lag, worst, subscribers, connections,
                          websockets;
    ngx_uint_t            i, n;
    ngx_gitpod_worker_t  *worker;

    n = 0;
    worst = 0;
    subscribers = 0;
    connections = 0;
    websockets = 0;
    now = ngx_gitpod_now_ms();

    for (i = 0; i < NGX_GITPOD_WORKERS_MAX; i++) {
        worker = &zone->workers[i];
        pid = (ngx_pid_t) worker->pid;

        if (pid == 0 || !ngx_gitpod_process_alive(pid)) {
            continue;
        }

        n++;
        subscribers += worker->subscribers;
        connections += worker->connections;
        websockets += worker->websockets;
        lag = now - ngx_min(worker->heartbeat_ms, now);
        lag = (lag > NGX_GITPOD_TICK_MS) ? lag - NGX_GITPOD_TICK_MS : 0;
        worst = ngx_max(worst, ngx_max(lag, worker->lag_ms));
    }

    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_workers", n,
                      "Workers that run.");
    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_subscribers",
                      subscribers, "Subscribers of events.");
    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_connections",
                      connections,
                      "Connections that workers have, of any kind.");
    p = ngx_http_gitpod_metrics_gauge(p, last, "gitpod_websockets",
                      websockets, "WebSockets of workspaces.");

    return ngx_http_gitpod_metrics_seconds(p, last,
                      "gitpod_worker_lag_seconds", worst,
                      "What the latest event loop was late by.");
}


static u_char *
ngx_http_gitpod_metrics_checks(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone, ngx_http_gitpod_probe_main_conf_t *pmcf)
{
    ngx_uint_t                 i, passed;
    const char                *why;
    ngx_gitpod_check_state_t   state;
    ngx_http_gitpod_check_t   *check;

    if (pmcf->checks.nelts == 0) {
        return p;
    }

    p = ngx_slprintf(p, last,
                     "# HELP gitpod_check 1 when the check passes.\n"
                     "# TYPE gitpod_check gauge\n");

    check = pmcf->checks.elts;

    for (i = 0; i < pmcf->checks.nelts; i++) {
        passed = ngx_http_gitpod_check_passed(&check[i], zone, &state, &why);

        p = ngx_slprintf(p, last, "gitpod_check{name=\"%V\"} %ui\n",
                         &check[i].name, passed);
    }

    return p;
}


/*
 * gitpod_check: what it may say, when it runs, what its result counts for.
 */


#include "ngx_http_gitpod_breaker.h"
#include "ngx_http_gitpod_probe.h"


#define NGX_HTTP_GITPOD_CHECK_IDLE_MS   250     /* another worker runs them */
#define NGX_HTTP_GITPOD_CHECK_AGAIN_MS  250     /* while it does not pass */
#define NGX_HTTP_GITPOD_CHECK_HEARD_MS  3000    /* Redis was silent for this */


static char *ngx_http_gitpod_check_option(ngx_conf_t *cf,
    ngx_http_gitpod_check_t *check, ngx_str_t *value);
static char *ngx_http_gitpod_check_validate(ngx_conf_t *cf,
    ngx_http_gitpod_check_t *check, ngx_http_gitpod_probe_main_conf_t *pmcf);
static void ngx_http_gitpod_check_run(ngx_event_t *ev);
static void ngx_http_gitpod_check_redis(ngx_http_gitpod_check_t *check);
static void ngx_http_gitpod_check_routes(ngx_http_gitpod_check_t *check);
static void ngx_http_gitpod_check_fresh(ngx_http_gitpod_check_t *check,
    const char *text);
static void ngx_http_gitpod_check_keys(ngx_http_gitpod_check_t *check,
    ngx_log_t *log);
static void ngx_http_gitpod_check_fastcgi(ngx_http_gitpod_check_t *check,
    ngx_log_t *log);
static void ngx_http_gitpod_check_answered(void *data, ngx_int_t status,
    ngx_str_t *text);
static void ngx_http_gitpod_check_cancel(ngx_http_gitpod_check_t *check);


static ngx_str_t  ngx_http_gitpod_check_types[] = {
    ngx_string("redis"),
    ngx_string("routes"),
    ngx_string("keys"),
    ngx_string("fastcgi"),
    ngx_null_string
};


char *
ngx_http_gitpod_check_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_probe_main_conf_t *pmcf = conf;

    char                     *rv;
    ngx_str_t                *value, *type;
    ngx_uint_t                i;
    ngx_http_gitpod_check_t  *check;

    value = cf->args->elts;

    for (i = 0; ngx_http_gitpod_check_types[i].len; i++) {
        type = &ngx_http_gitpod_check_types[i];

        if (value[2].len == type->len
            && ngx_strncmp(value[2].data, type->data, type->len) == 0)
        {
            break;
        }
    }

    if (ngx_http_gitpod_check_types[i].len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "unknown kind of check \"%V\": it is redis, "
                           "routes, keys or fastcgi", &value[2]);
        return NGX_CONF_ERROR;
    }

    check = ngx_array_push(&pmcf->checks);
    if (check == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(check, sizeof(ngx_http_gitpod_check_t));

    check->name = value[1];
    check->type = (ngx_http_gitpod_check_e) i;
    check->interval = 2000;
    check->timeout = 1000;
    check->rise = 1;
    check->fall = 2;
    check->required = 1;

    for (i = 3; i < cf->args->nelts; i++) {
        rv = ngx_http_gitpod_check_option(cf, check, &value[i]);

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return ngx_http_gitpod_check_validate(cf, check, pmcf);
}


static char *
ngx_http_gitpod_check_option(ngx_conf_t *cf, ngx_http_gitpod_check_t *check,
    ngx_str_t *value)
{
    ngx_int_t   n;
    ngx_str_t   text;
    ngx_url_t   u;

    if (value->len > 5 && ngx_strncmp(value->data, "unix:", 5) == 0) {
        ngx_memzero(&u, sizeof(ngx_url_t));
        u.url = *value;

        if (ngx_parse_url(cf->pool, &u) != NGX_OK) {
            goto invalid;
        }

        check->addr = u.addrs[0];

        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value->data, "required") == 0) {
        check->required = 1;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value->data, "optional") == 0) {
        check->required = 0;
        return NGX_CONF_OK;
    }

    text.data = (u_char *) ngx_strchr(value->data, '=');

    if (text.data == NULL) {
        goto invalid;
    }

    text.data++;
    text.len = value->data + value->len - text.data;

    if (ngx_strncmp(value->data, "interval=", 9) == 0
        || ngx_strncmp(value->data, "timeout=", 8) == 0)
    {
        n = ngx_parse_time(&text, 0);

        if (n == NGX_ERROR || n < 50 || n > 3600000) {
            goto invalid;
        }

        if (value->data[0] == 'i') {
            check->interval = (ngx_msec_t) n;
        } else {
            check->timeout = (ngx_msec_t) n;
        }

        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value->data, "age=", 4) == 0) {
        n = ngx_parse_time(&text, 0);

        if (n == NGX_ERROR || n < 5000 || n > 86400000) {
            goto invalid;
        }

        check->age = (ngx_msec_t) n;

        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value->data, "rise=", 5) == 0
        || ngx_strncmp(value->data, "fall=", 5) == 0)
    {
        n = ngx_atoi(text.data, text.len);

        if (n == NGX_ERROR || n < 1 || n > 100) {
            goto invalid;
        }

        if (value->data[0] == 'r') {
            check->rise = (ngx_uint_t) n;
        } else {
            check->fall = (ngx_uint_t) n;
        }

        return NGX_CONF_OK;
    }

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\"", value);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_gitpod_check_validate(ngx_conf_t *cf, ngx_http_gitpod_check_t *check,
    ngx_http_gitpod_probe_main_conf_t *pmcf)
{
    u_char                    c;
    ngx_uint_t                i;
    ngx_http_gitpod_check_t  *checks;

    /* it becomes a JSON member and a label */

    for (i = 0; i < check->name.len; i++) {
        c = check->name.data[i];

        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_') {
            break;
        }
    }

    if (i < check->name.len || i == 0 || i >= NGX_GITPOD_CHECK_NAME_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the name of a check is 1 to %d of a-z, 0-9, _",
                           NGX_GITPOD_CHECK_NAME_MAX - 1);
        return NGX_CONF_ERROR;
    }

    if ((check->type == NGX_HTTP_GITPOD_CHECK_FASTCGI)
        != (check->addr.sockaddr != NULL))
    {
        return "of kind fastcgi has a socket (unix:/path), others have none";
    }

    if (check->age && check->type != NGX_HTTP_GITPOD_CHECK_ROUTES
        && check->type != NGX_HTTP_GITPOD_CHECK_KEYS)
    {
        return "has an age only when it is of kind routes or keys";
    }

    checks = pmcf->checks.elts;

    for (i = 0; i + 1 < pmcf->checks.nelts; i++) {
        if (checks[i].name.len == check->name.len
            && ngx_strncmp(checks[i].name.data, check->name.data,
                           check->name.len)
               == 0)
        {
            return "has the name of another one";
        }
    }

    if (pmcf->checks.nelts > NGX_GITPOD_CHECKS_MAX) {
        return "comes once too often: 32 checks are allowed";
    }

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_gitpod_check_init(ngx_cycle_t *cycle,
    ngx_http_gitpod_probe_main_conf_t *pmcf, ngx_gitpod_zone_t *zone)
{
    ngx_uint_t                i;
    ngx_http_gitpod_check_t  *check;

    check = pmcf->checks.elts;

    for (i = 0; i < pmcf->checks.nelts; i++) {
        check[i].zone = zone;
        check[i].record = ngx_gitpod_check_enter(zone, &check[i].name);
        check[i].timer.data = &check[i];
        check[i].timer.handler = ngx_http_gitpod_check_run;
        check[i].timer.log = cycle->log;
        check[i].timer.cancelable = 1;

        ngx_add_timer(&check[i].timer, 10);
    }

    return NGX_OK;
}


void
ngx_http_gitpod_check_exit(ngx_http_gitpod_probe_main_conf_t *pmcf)
{
    ngx_uint_t                i;
    ngx_http_gitpod_check_t  *check;

    check = pmcf->checks.elts;

    for (i = 0; i < pmcf->checks.nelts; i++) {
        ngx_http_gitpod_check_cancel(&check[i]);
    }
}


/* What does not pass is looked at often, so that /ready is told soon. */

static void
ngx_http_gitpod_check_run(ngx_event_t *ev)
{
    ngx_msec_t                interval;
    ngx_http_gitpod_check_t  *check;
    ngx_gitpod_check_state_t  state;

    check = ev->data;

    if (!ngx_gitpod_lease_held(check->zone)) {
        ngx_http_gitpod_check_cancel(check);

        ngx_add_timer(ev, ngx_min(check->interval,
                                  NGX_HTTP_GITPOD_CHECK_IDLE_MS));
        return;
    }

    ngx_gitpod_check_read(check->record, &state);
    interval = check->interval;

    if (!state.known || !state.ok) {
        interval = ngx_min(interval, NGX_HTTP_GITPOD_CHECK_AGAIN_MS);
    }

    ngx_add_timer(ev, interval);

    if (check->fastcgi) {
        return;
    }

    check->started_ms = ngx_gitpod_now_ms();

    switch (check->type) {

    case NGX_HTTP_GITPOD_CHECK_REDIS:
        ngx_http_gitpod_check_redis(check);
        break;

    case NGX_HTTP_GITPOD_CHECK_ROUTES:
        ngx_http_gitpod_check_routes(check);
        break;

    case NGX_HTTP_GITPOD_CHECK_KEYS:
        ngx_http_gitpod_check_keys(check, ev->log);
        break;

    case NGX_HTTP_GITPOD_CHECK_FASTCGI:
        ngx_http_gitpod_check_fastcgi(check, ev->log);
        break;
    }
}


static void
ngx_http_gitpod_check_redis(ngx_http_gitpod_check_t *check)
{
    uint64_t                  now;
    ngx_gitpod_feed_state_t  *feed;

    feed = &check->zone->feed;
    now = ngx_gitpod_now_ms();

    if (!feed->subscribed) {
        ngx_http_gitpod_check_done(check, 0, "not subscribed");

    } else if (now - feed->heard_ms > NGX_HTTP_GITPOD_CHECK_HEARD_MS) {
        ngx_http_gitpod_check_done(check, 0, "does not answer pings");

    } else {
        ngx_http_gitpod_check_done(check, 1, "subscribed");
    }
}


static void
ngx_http_gitpod_check_routes(ngx_http_gitpod_check_t *check)
{
    if (ngx_gitpod_routes_synced(check->zone)) {
        ngx_http_gitpod_check_fresh(check, "synced");

    } else {
        ngx_http_gitpod_check_done(check, 0, "never synced with Redis");
    }
}


/* What is there passes unless it may be out of date for too long. */

static void
ngx_http_gitpod_check_fresh(ngx_http_gitpod_check_t *check, const char *text)
{
    u_char    why[NGX_GITPOD_CHECK_TEXT_MAX];
    uint64_t  age;

    age = ngx_gitpod_now_ms() - check->zone->feed.current_ms;

    if (check->age == 0 || age <= check->age) {
        ngx_http_gitpod_check_done(check, 1, text);
        return;
    }

    (void) ngx_snprintf(why, NGX_GITPOD_CHECK_TEXT_MAX,
                        "not confirmed by Redis for %uL s, allowed is %M s%Z",
                        age / 1000, check->age / 1000);

    ngx_http_gitpod_check_done(check, 0, (char *) why);
}


static void
ngx_http_gitpod_check_keys(ngx_http_gitpod_check_t *check, ngx_log_t *log)
{
    if (ngx_gitpod_key_url(check->zone)->lost) {
        ngx_http_gitpod_check_done(check, 0,
                                   "the key set of the URL was too old and "
                                   "is dropped");

    } else if (ngx_gitpod_keys_count(check->zone, log)) {
        ngx_http_gitpod_check_fresh(check, "present");

    } else {
        ngx_http_gitpod_check_done(check, 0,
                                   "no key in the file, none in Redis and "
                                   "none of a URL");
    }
}


static void
ngx_http_gitpod_check_fastcgi(ngx_http_gitpod_check_t *check, ngx_log_t *log)
{
    static ngx_str_t  path = ngx_string(GP_PATH_HEALTH);
    static ngx_str_t  body = ngx_null_string;

    check->fastcgi = ngx_http_gitpod_fastcgi_call(&check->addr, &path, &body,
                                            check->timeout, log,
                                            ngx_http_gitpod_check_answered,
                                            check);
    if (check->fastcgi == NULL) {
        ngx_http_gitpod_check_done(check, 0, "cannot connect");
    }
}


static void
ngx_http_gitpod_check_answered(void *data, ngx_int_t status, ngx_str_t *text)
{
    ngx_http_gitpod_check_t *check = data;

    u_char  why[NGX_GITPOD_CHECK_TEXT_MAX];

    check->fastcgi = NULL;

    if (status == NGX_HTTP_OK) {
        ngx_http_gitpod_check_done(check, 1, "answers");

    } else if (status == NGX_ERROR) {
        ngx_http_gitpod_check_done(check, 0, (char *) text->data);

    } else {
        (void) ngx_snprintf(why, NGX_GITPOD_CHECK_TEXT_MAX, "status %i: %V%Z",
                            status, text);
        why[NGX_GITPOD_CHECK_TEXT_MAX - 1] = '\0';

        ngx_http_gitpod_check_done(check, 0, (char *) why);
    }
}


static void
ngx_http_gitpod_check_cancel(ngx_http_gitpod_check_t *check)
{
    if (check->fastcgi) {
        ngx_http_gitpod_fastcgi_cancel(check->fastcgi);
        check->fastcgi = NULL;
    }
}


void
ngx_http_gitpod_check_done(ngx_http_gitpod_check_t *check, ngx_uint_t ok,
    const char *text)
{
    ngx_uint_t                was, level;
    ngx_gitpod_check_state_t  state;

    ngx_gitpod_check_read(check->record, &state);

    was = state.ok;

    if (ok) {
        state.passes = ngx_min(state.passes, 1000) + 1;
        state.fails = 0;

        if (!state.known || state.passes >= check->rise) {
            state.ok = 1;
        }

    } else {
        state.fails = ngx_min(state.fails, 1000) + 1;
        state.passes = 0;

        if (!state.known || state.fails >= check->fall) {
            state.ok = 0;
        }
    }

    state.ran_ms = ngx_gitpod_now_ms();
    state.took_ms = state.ran_ms - check->started_ms;

    if (!state.known || state.ok != was) {
        state.changed_ms = state.ran_ms;

        level = state.ok ? NGX_LOG_NOTICE : NGX_LOG_WARN;

        ngx_log_error(level, check->timer.log, 0,
                      "gitpod: check \"%V\" %s: %s", &check->name,
                      state.ok ? "passes" : "fails", text);

        if (state.known) {
            ngx_http_gitpod_breaker_check(&check->name, state.ok,
                                          check->timer.log);
        }
    }

    state.known = 1;

    ngx_memzero(state.text, NGX_GITPOD_CHECK_TEXT_MAX);
    (void) ngx_snprintf((u_char *) state.text, NGX_GITPOD_CHECK_TEXT_MAX - 1,
                        "%s", text);

    ngx_gitpod_check_write(check->record, &state);
}


ngx_uint_t
ngx_http_gitpod_check_passed(ngx_http_gitpod_check_t *check,
    ngx_gitpod_zone_t *zone, ngx_gitpod_check_state_t *state,
    const char **why)
{
    uint64_t  age;

    ngx_gitpod_check_read(check->record, state);

    age = ngx_gitpod_now_ms() - state->ran_ms;
    *why = state->text;

    if (!state->known) {
        *why = "did not run yet";
        return 0;
    }

    if (age > 2 * check->interval + check->timeout
              + NGX_HTTP_GITPOD_CHECK_GRACE)
    {
        *why = "did not run lately";
        return 0;
    }

    return state->ok;
}

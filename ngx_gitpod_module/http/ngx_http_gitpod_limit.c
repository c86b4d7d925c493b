
/*
 * Limits on the way of a request.
 */


#include "core/contract.h"
#include "core/glob.h"
#include "core/hash.h"

#include "ngx_http_gitpod_limit.h"


#define NGX_HTTP_GITPOD_LIMIT_TICK_MS  250  /* until a dead worker's go */
#define NGX_HTTP_GITPOD_LIMIT_HELD_S   5    /* Retry-After of concurrency */
#define NGX_HTTP_GITPOD_LIMIT_TEXT     256  /* bytes of a message */
#define NGX_HTTP_GITPOD_LIMIT_KNOWN    1    /* salt: credentials */


static ngx_int_t ngx_http_gitpod_limit_stage(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_uint_t user);
static ngx_uint_t ngx_http_gitpod_limit_of_stage(ngx_http_gitpod_ctx_t *ctx,
    ngx_http_gitpod_limit_t *limit, ngx_uint_t user);
static ngx_int_t ngx_http_gitpod_limit_take(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_http_gitpod_limit_loc_conf_t *llcf,
    ngx_http_gitpod_limit_t *limit);
static void ngx_http_gitpod_limit_give(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_http_gitpod_limit_t *limit);
static ngx_int_t ngx_http_gitpod_limit_hold(ngx_http_gitpod_ctx_t *ctx,
    ngx_http_gitpod_limit_t *limit, uint64_t key);
static ngx_int_t ngx_http_gitpod_limit_key(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_http_gitpod_limit_t *limit,
    uint64_t *key);
static ngx_int_t ngx_http_gitpod_limit_address(ngx_http_request_t *r,
    uint64_t *key);
static void ngx_http_gitpod_limit_method(ngx_http_request_t *r,
    ngx_str_t *method);
static ngx_uint_t ngx_http_gitpod_limit_matches(ngx_http_request_t *r,
    ngx_http_gitpod_limit_t *limit);
static void ngx_http_gitpod_limit_say(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_http_gitpod_limit_t *limit,
    uint64_t left, uint64_t wait);
static void ngx_http_gitpod_limit_tick(ngx_event_t *ev);


/* of this worker: requests that count as under way */

static ngx_queue_t  ngx_http_gitpod_holders;
static ngx_event_t  ngx_http_gitpod_holder_timer;


#define ngx_http_gitpod_limit_uses(llcf, use, i)                              \
    (i = 0, use = (llcf)->uses ? (llcf)->uses->elts : NULL;                   \
     (llcf)->uses && i < (llcf)->uses->nelts;                                 \
     i++)


ngx_int_t
ngx_http_gitpod_limit_handler(ngx_http_request_t *r)
{
    ngx_http_gitpod_ctx_t  *ctx;

    if (r != r->main) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_gitpod_ctx_get(r);

    if (ctx == NULL || ctx->limited) {
        return NGX_DECLINED;
    }

    ctx->limited = 1;

    return ngx_http_gitpod_limit_stage(r, ctx, 0);
}


ngx_int_t
ngx_http_gitpod_limit_user(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (ctx->limited_user) {
        return NGX_OK;
    }

    ctx->limited_user = 1;

    rc = ngx_http_gitpod_limit_stage(r, ctx, 1);

    return (rc == NGX_DECLINED) ? NGX_OK : rc;
}


/*
 * All limits of this place that can be judged by now; NGX_DECLINED, or the
 * answer.  A request that one of them refuses costs nothing of the others.
 */

static ngx_int_t
ngx_http_gitpod_limit_stage(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_uint_t user)
{
    ngx_uint_t                          i;
    ngx_http_gitpod_limit_t           **use;
    ngx_http_gitpod_limit_loc_conf_t   *llcf;

    llcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_limit_module);

    for ngx_http_gitpod_limit_uses(llcf, use, i) {

        if (!ngx_http_gitpod_limit_of_stage(ctx, use[i], user)
            || ngx_http_gitpod_limit_take(r, ctx, llcf, use[i]) == NGX_OK)
        {
            continue;
        }

        while (i-- > 0) {

            if (ngx_http_gitpod_limit_of_stage(ctx, use[i], user)) {
                ngx_http_gitpod_limit_give(r, ctx, use[i]);
            }
        }

        return ngx_http_gitpod_limit_refuse(r, ctx);
    }

    return NGX_DECLINED;
}


static ngx_uint_t
ngx_http_gitpod_limit_of_stage(ngx_http_gitpod_ctx_t *ctx,
    ngx_http_gitpod_limit_t *limit, ngx_uint_t user)
{
    ngx_uint_t  needs;

    if (limit->count != NGX_HTTP_GITPOD_COUNT_REQUESTS
        && (limit->count != NGX_HTTP_GITPOD_COUNT_UPGRADES || !ctx->upgrade))
    {
        return 0;
    }

    needs = (limit->keys & (NGX_HTTP_GITPOD_LIMIT_USER
                            |NGX_HTTP_GITPOD_LIMIT_TOKEN))
            != 0;

    return needs == user;
}


ngx_int_t
ngx_http_gitpod_limit_spend(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_http_gitpod_limit_count_e count)
{
    ngx_uint_t                          i;
    ngx_http_gitpod_limit_t           **use;
    ngx_http_gitpod_limit_loc_conf_t   *llcf;

    llcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_limit_module);

    for ngx_http_gitpod_limit_uses(llcf, use, i) {

        if (use[i]->count == count
            && ngx_http_gitpod_limit_take(r, ctx, llcf, use[i]) != NGX_OK)
        {
            return NGX_BUSY;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_gitpod_limit_look(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_http_gitpod_limit_count_e count)
{
    uint64_t                            key, wait;
    ngx_uint_t                          i;
    ngx_http_gitpod_limit_t           **use;
    ngx_http_gitpod_limit_loc_conf_t   *llcf;

    llcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_limit_module);

    for ngx_http_gitpod_limit_uses(llcf, use, i) {

        if (use[i]->count != count || llcf->dry_run
            || ngx_http_gitpod_limit_key(r, ctx, use[i], &key) != NGX_OK
            || ngx_gitpod_rate_look(&ctx->zone->limits, &use[i]->rate, key,
                                    &wait)
               == NGX_OK)
        {
            continue;
        }

        ctx->limit = use[i];
        ctx->limit_wait = wait;
        (void) ngx_atomic_fetch_add(&use[i]->slot->refused, 1);

        return NGX_BUSY;
    }

    return NGX_OK;
}


void
ngx_http_gitpod_limit_return(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_http_gitpod_limit_count_e count)
{
    ngx_uint_t                          i;
    ngx_http_gitpod_limit_t           **use;
    ngx_http_gitpod_limit_loc_conf_t   *llcf;

    llcf = ngx_http_get_module_loc_conf(r, ngx_http_gitpod_limit_module);

    for ngx_http_gitpod_limit_uses(llcf, use, i) {

        if (use[i]->count == count) {
            ngx_http_gitpod_limit_give(r, ctx, use[i]);
        }
    }
}


/*
 * A credential that was good once, in whatever worker, or that was issued
 * through here: it is judged even where strangers at the same address have
 * spent what failures are allowed.
 */

ngx_uint_t
ngx_http_gitpod_limit_known(ngx_http_gitpod_ctx_t *ctx, ngx_str_t *credential)
{
    return ngx_gitpod_known(&ctx->zone->limits,
                            gp_hash64(credential->data, credential->len,
                                      NGX_HTTP_GITPOD_LIMIT_KNOWN));
}


void
ngx_http_gitpod_limit_know(ngx_http_gitpod_ctx_t *ctx, ngx_str_t *credential,
    ngx_uint_t good)
{
    uint64_t  key;

    key = gp_hash64(credential->data, credential->len,
                    NGX_HTTP_GITPOD_LIMIT_KNOWN);

    if (good) {
        ngx_gitpod_known_add(&ctx->zone->limits, key);

    } else {
        ngx_gitpod_known_remove(&ctx->zone->limits, key);
    }
}


/* NGX_OK: it may go on, in a dry run whatever the limit says; NGX_BUSY. */

static ngx_int_t
ngx_http_gitpod_limit_take(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_http_gitpod_limit_loc_conf_t *llcf, ngx_http_gitpod_limit_t *limit)
{
    uint64_t    key, left, wait;
    ngx_int_t   rc;

    if (!ngx_http_gitpod_limit_matches(r, limit)
        || ngx_http_gitpod_limit_key(r, ctx, limit, &key) != NGX_OK)
    {
        return NGX_OK;
    }

    if (limit->rate.interval) {
        rc = ngx_gitpod_rate_take(&ctx->zone->limits, &limit->rate, key,
                                  &left, &wait);

        if (llcf->headers) {
            ngx_http_gitpod_limit_say(r, ctx, limit, left, wait);
        }

    } else {
        rc = ngx_http_gitpod_limit_hold(ctx, limit, key);
        wait = (uint64_t) NGX_HTTP_GITPOD_LIMIT_HELD_S * 1000000000;
    }

    if (rc == NGX_OK) {

        if (limit->shared) {
            ngx_gitpod_share(&ctx->zone->limits, limit->slot, key);
        }

        return NGX_OK;
    }

    ctx->limit = limit;
    ctx->limit_wait = wait;

    if (llcf->dry_run) {
        ctx->limit_dry = 1;
        (void) ngx_atomic_fetch_add(&limit->slot->dry, 1);
        return NGX_OK;
    }

    ctx->limit_dry = 0;
    (void) ngx_atomic_fetch_add(&limit->slot->refused, 1);

    return NGX_BUSY;
}


/* A unit that was taken. */

static void
ngx_http_gitpod_limit_give(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_http_gitpod_limit_t *limit)
{
    uint64_t  key;

    if (limit->rate.interval == 0
        || !ngx_http_gitpod_limit_matches(r, limit)
        || ngx_http_gitpod_limit_key(r, ctx, limit, &key) != NGX_OK)
    {
        return;
    }

    ngx_gitpod_rate_return(&ctx->zone->limits, &limit->rate, key);

    if (limit->shared) {
        ngx_gitpod_share_back(&ctx->zone->limits, key);
    }
}


static ngx_int_t
ngx_http_gitpod_limit_hold(ngx_http_gitpod_ctx_t *ctx,
    ngx_http_gitpod_limit_t *limit, uint64_t key)
{
    ngx_int_t           rc;
    ngx_gitpod_held_t  *held;

    if (ctx->held_n == NGX_HTTP_GITPOD_HELD_MAX) {
        return NGX_OK;
    }

    held = &ctx->held[ctx->held_n];

    rc = ngx_gitpod_held_take(&ctx->zone->limits, key, limit->concurrent,
                              held);

    if (rc == NGX_BUSY) {
        return NGX_BUSY;
    }

    if (rc == NGX_DECLINED) {
        (void) ngx_atomic_fetch_add(&limit->slot->untold, 1);
        return NGX_OK;
    }

    if (ngx_http_gitpod_holders.next == NULL) {
        ngx_queue_init(&ngx_http_gitpod_holders);
    }

    if (ctx->held_n++ == 0) {
        ngx_queue_insert_tail(&ngx_http_gitpod_holders, &ctx->holding);
    }

    if (!ngx_http_gitpod_holder_timer.timer_set) {
        ngx_http_gitpod_timer_start(&ngx_http_gitpod_holder_timer,
                                    ngx_http_gitpod_limit_tick,
                                    NGX_HTTP_GITPOD_LIMIT_TICK_MS);
    }

    return NGX_OK;
}


/* When another worker was killed, all counts begin again from what is held. */

static void
ngx_http_gitpod_limit_tick(ngx_event_t *ev)
{
    ngx_uint_t              i;
    ngx_queue_t            *q;
    ngx_gitpod_limits_t    *limits;
    ngx_http_gitpod_ctx_t  *ctx;

    if (ngx_queue_empty(&ngx_http_gitpod_holders)) {

        /* the next one starts the timer again */

        return;
    }

    for (q = ngx_queue_head(&ngx_http_gitpod_holders);
         q != ngx_queue_sentinel(&ngx_http_gitpod_holders);
         q = ngx_queue_next(q))
    {
        ctx = ngx_queue_data(q, ngx_http_gitpod_ctx_t, holding);
        limits = &ctx->zone->limits;

        for (i = 0; i < ctx->held_n; i++) {

            if (ctx->held[i].generation == limits->generation) {
                break;
            }

            (void) ngx_gitpod_held_take(limits, ctx->held[i].key,
                                        NGX_MAX_UINT32_VALUE, &ctx->held[i]);
        }

        if (i < ctx->held_n) {

            /* so are those that follow */

            break;
        }
    }

    ngx_add_timer(ev, NGX_HTTP_GITPOD_LIMIT_TICK_MS);
}


void
ngx_http_gitpod_limit_release(ngx_http_gitpod_ctx_t *ctx)
{
    if (ctx->held_n == 0) {
        return;
    }

    ngx_queue_remove(&ctx->holding);

    while (ctx->held_n) {
        ngx_gitpod_held_return(&ctx->zone->limits, &ctx->held[--ctx->held_n]);
    }
}


/* NGX_DECLINED: the limit does not concern this request. */

static ngx_int_t
ngx_http_gitpod_limit_key(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_http_gitpod_limit_t *limit, uint64_t *key)
{
    ngx_str_t  method;

    *key = limit->salt;

    if ((limit->keys & NGX_HTTP_GITPOD_LIMIT_ADDRESS)
        && ngx_http_gitpod_limit_address(r, key) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    if (limit->keys & NGX_HTTP_GITPOD_LIMIT_USER) {

        if (ctx->user.len == 0) {
            return NGX_DECLINED;
        }

        *key = gp_hash64(ctx->user.data, ctx->user.len, *key);
    }

    if (limit->keys & NGX_HTTP_GITPOD_LIMIT_TOKEN) {

        if (ctx->credential_id.len == 0) {
            return NGX_DECLINED;
        }

        *key = gp_hash64(ctx->credential_id.data, ctx->credential_id.len,
                         *key);
    }

    if (limit->keys & NGX_HTTP_GITPOD_LIMIT_METHOD) {
        ngx_http_gitpod_limit_method(r, &method);
        *key = gp_hash64(method.data, method.len, *key);
    }

    return NGX_OK;
}


/*
 * An IPv6 host has a whole /64 to choose from, so that is what counts.  On a
 * unix socket everybody is this machine, and no limit of addresses holds.
 */

static ngx_int_t
ngx_http_gitpod_limit_address(ngx_http_request_t *r, uint64_t *key)
{
    u_char               *p;
    struct sockaddr_in   *sin;
#if (NGX_HAVE_INET6)
    struct sockaddr_in6  *sin6;
#endif

    switch (r->connection->sockaddr->sa_family) {

    case AF_INET:
        sin = (struct sockaddr_in *) (void *) r->connection->sockaddr;
        *key = gp_hash64(&sin->sin_addr, sizeof(sin->sin_addr), *key);
        return NGX_OK;

#if (NGX_HAVE_INET6)
    case AF_INET6:
        sin6 = (struct sockaddr_in6 *) (void *) r->connection->sockaddr;
        p = sin6->sin6_addr.s6_addr;

        if (IN6_IS_ADDR_V4MAPPED(&sin6->sin6_addr)) {
            *key = gp_hash64(p + 12, 4, *key);
        } else {
            *key = gp_hash64(p, 8, *key);
        }

        return NGX_OK;
#endif

    default:
        return NGX_DECLINED;
    }
}


/* "package.Service/Method", or empty. */

static void
ngx_http_gitpod_limit_method(ngx_http_request_t *r, ngx_str_t *method)
{
    u_char  *p, *last, *slash;

    ngx_str_null(method);

    p = r->uri.data + 1;
    last = r->uri.data + r->uri.len;

    if (r->uri.len > sizeof(GP_PATH_PUBLIC_API) - 1
        && ngx_memcmp(r->uri.data, GP_PATH_PUBLIC_API,
                      sizeof(GP_PATH_PUBLIC_API) - 1)
           == 0)
    {
        p = r->uri.data + sizeof(GP_PATH_PUBLIC_API) - 1;
    }

    if (p >= last) {
        return;
    }

    slash = ngx_strlchr(p, last, '/');

    if (slash == NULL || slash == p || slash + 1 == last
        || ngx_strlchr(slash + 1, last, '/'))
    {
        return;
    }

    method->data = p;
    method->len = last - p;
}


static ngx_uint_t
ngx_http_gitpod_limit_matches(ngx_http_request_t *r,
    ngx_http_gitpod_limit_t *limit)
{
    ngx_str_t   method, *pattern;
    ngx_uint_t  i;

    if (limit->methods == NULL) {
        return 1;
    }

    ngx_http_gitpod_limit_method(r, &method);

    pattern = limit->methods->elts;

    for (i = 0; i < limit->methods->nelts; i++) {

        if (gp_glob_match((char *) pattern[i].data, pattern[i].len,
                          (char *) method.data, method.len))
        {
            return 1;
        }
    }

    return 0;
}


/* Of several limits the headers tell about the one with the least left. */

static void
ngx_http_gitpod_limit_say(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx,
    ngx_http_gitpod_limit_t *limit, uint64_t left, uint64_t wait)
{
    u_char           *p;
    uint64_t          values[3];
    ngx_uint_t        i;
    ngx_table_elt_t  *h;

    static char      *names[] = {
        "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"
    };

    if (ctx->limit_headers[2] && left >= ctx->limit_left) {
        return;
    }

    /* the whole bucket, what is left of it, s until it is full again */

    values[0] = limit->rate.burst;
    values[1] = left;
    values[2] = ((limit->rate.burst - left) * limit->rate.interval + wait
                 + 999999999)
                / 1000000000;

    for (i = 0; i < 3; i++) {
        h = ctx->limit_headers[i];

        if (h == NULL) {
            h = ngx_list_push(&r->headers_out.headers);
            if (h == NULL) {
                return;
            }

            h->key.data = (u_char *) names[i];
            h->key.len = ngx_strlen(names[i]);
            h->lowcase_key = h->key.data;
#if (nginx_version >= 1023000)
            h->next = NULL;
#endif
            h->hash = 0;
            ctx->limit_headers[i] = h;
        }

        p = ngx_pnalloc(r->pool, NGX_INT64_LEN);
        if (p == NULL) {
            return;
        }

        h->value.data = p;
        h->value.len = ngx_sprintf(p, "%uL", values[i]) - p;
        h->hash = 1;
    }

    ctx->limit_left = left;
}


ngx_int_t
ngx_http_gitpod_limit_refuse(ngx_http_request_t *r, ngx_http_gitpod_ctx_t *ctx)
{
    u_char    *p, *last;
    uint64_t   seconds;

    seconds = (ctx->limit_wait + 999999999) / 1000000000;
    seconds = ngx_max(seconds, 1);

    p = ngx_pnalloc(r->pool, NGX_HTTP_GITPOD_LIMIT_TEXT);
    if (p == NULL) {
        return NGX_ERROR;
    }

    last = p + NGX_HTTP_GITPOD_LIMIT_TEXT;

    ctx->reason.data = p;
    p = ngx_slprintf(p, last, "limit %V", &ctx->limit->name);
    ctx->reason.len = p - ctx->reason.data;

    *ngx_slprintf(p, last - 1,
                  "Too many requests: the limit %V allows %V. "
                  "Try again in %uL s",
                  &ctx->limit->name, &ctx->limit->text, seconds)
        = '\0';

    return ngx_http_gitpod_reply_again(r, NGX_HTTP_TOO_MANY_REQUESTS,
                                       (ngx_uint_t) seconds, (char *) p);
}

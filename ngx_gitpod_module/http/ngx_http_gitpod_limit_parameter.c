
/*
 * Parameters of gitpod_limit, and which go together.
 */


#include "ngx_http_gitpod_limit.h"


#define NGX_HTTP_GITPOD_LIMIT_N_MAX      1000000
#define NGX_HTTP_GITPOD_LIMIT_PERIOD     86400      /* s, at most */
#define NGX_HTTP_GITPOD_LIMIT_FULL       604800     /* s, at most, to refill */
#define NGX_HTTP_GITPOD_LIMIT_METHOD_MAX 200        /* bytes of a pattern */
#define NGX_HTTP_GITPOD_LIMIT_SECOND     1000000000 /* ns */


typedef struct {
    ngx_str_t   name;
    ngx_uint_t  value;
} ngx_http_gitpod_limit_word_t;


static char *ngx_http_gitpod_limit_keys(ngx_conf_t *cf,
    ngx_http_gitpod_limit_t *limit, ngx_str_t *value);
static char *ngx_http_gitpod_limit_count(ngx_http_gitpod_limit_t *limit,
    ngx_str_t *value);
static char *ngx_http_gitpod_limit_rate(ngx_http_gitpod_limit_t *limit,
    ngx_str_t *value);
static char *ngx_http_gitpod_limit_number(ngx_str_t *value, uint64_t *n);
static char *ngx_http_gitpod_limit_methods(ngx_conf_t *cf,
    ngx_http_gitpod_limit_t *limit, ngx_str_t *value);
static ngx_uint_t ngx_http_gitpod_limit_next(ngx_str_t *rest,
    ngx_str_t *word);


static ngx_http_gitpod_limit_word_t  ngx_http_gitpod_limit_key_words[] = {
    { ngx_string("address"), NGX_HTTP_GITPOD_LIMIT_ADDRESS },
    { ngx_string("user"), NGX_HTTP_GITPOD_LIMIT_USER },
    { ngx_string("token"), NGX_HTTP_GITPOD_LIMIT_TOKEN },
    { ngx_string("method"), NGX_HTTP_GITPOD_LIMIT_METHOD },
    { ngx_null_string, 0 }
};


static ngx_http_gitpod_limit_word_t  ngx_http_gitpod_limit_count_words[] = {
    { ngx_string("requests"), NGX_HTTP_GITPOD_COUNT_REQUESTS },
    { ngx_string("upgrades"), NGX_HTTP_GITPOD_COUNT_UPGRADES },
    { ngx_string("failures"), NGX_HTTP_GITPOD_COUNT_FAILURES },
    { ngx_string("unknown"), NGX_HTTP_GITPOD_COUNT_UNKNOWN },
    { ngx_string("open"), NGX_HTTP_GITPOD_COUNT_OPEN },
    { ngx_null_string, 0 }
};


char *
ngx_http_gitpod_limit_parameter(ngx_conf_t *cf,
    ngx_http_gitpod_limit_t *limit, ngx_str_t *value)
{
    ngx_str_t  text;

    text.data = ngx_strlchr(value->data, value->data + value->len, '=');

    if (text.data == NULL) {

        if (value->len == 6 && ngx_strncmp(value->data, "shared", 6) == 0) {
            limit->shared = 1;
            return NGX_CONF_OK;
        }

        return "is not a parameter of limits";
    }

    text.data++;
    text.len = value->data + value->len - text.data;

    if (ngx_strncmp(value->data, "key=", 4) == 0) {
        return ngx_http_gitpod_limit_keys(cf, limit, &text);
    }

    if (ngx_strncmp(value->data, "count=", 6) == 0) {
        return ngx_http_gitpod_limit_count(limit, &text);
    }

    if (ngx_strncmp(value->data, "rate=", 5) == 0) {
        return ngx_http_gitpod_limit_rate(limit, &text);
    }

    if (ngx_strncmp(value->data, "burst=", 6) == 0) {
        return ngx_http_gitpod_limit_number(&text, &limit->rate.burst);
    }

    if (ngx_strncmp(value->data, "concurrent=", 11) == 0) {
        return ngx_http_gitpod_limit_number(&text, &limit->concurrent);
    }

    if (ngx_strncmp(value->data, "method=", 7) == 0) {
        return ngx_http_gitpod_limit_methods(cf, limit, &text);
    }

    return "is not a parameter of limits";
}


static char *
ngx_http_gitpod_limit_keys(ngx_conf_t *cf, ngx_http_gitpod_limit_t *limit,
    ngx_str_t *value)
{
    ngx_str_t                      word;
    ngx_http_gitpod_limit_word_t  *w;

    while (ngx_http_gitpod_limit_next(value, &word)) {

        for (w = ngx_http_gitpod_limit_key_words; w->name.len; w++) {

            if (word.len == w->name.len
                && ngx_memcmp(word.data, w->name.data, word.len) == 0)
            {
                limit->keys |= w->value;
                break;
            }
        }

        if (w->name.len == 0) {
            return "is not a list of address, user, token, method";
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_gitpod_limit_count(ngx_http_gitpod_limit_t *limit, ngx_str_t *value)
{
    ngx_http_gitpod_limit_word_t  *w;

    for (w = ngx_http_gitpod_limit_count_words; w->name.len; w++) {

        if (value->len == w->name.len
            && ngx_memcmp(value->data, w->name.data, value->len) == 0)
        {
            limit->count = (ngx_http_gitpod_limit_count_e) w->value;
            return NGX_CONF_OK;
        }
    }

    return "is none of requests, upgrades, failures, unknown, open";
}


/* "200/60s", "10r/s", "600r/m" */

static char *
ngx_http_gitpod_limit_rate(ngx_http_gitpod_limit_t *limit, ngx_str_t *value)
{
    u_char     *slash;
    uint64_t    n;
    ngx_int_t   period;
    ngx_str_t   count, time;

    slash = ngx_strlchr(value->data, value->data + value->len, '/');

    if (slash == NULL) {
        return "is not a number, a slash and a time: 200/60s, 10r/s";
    }

    count.data = value->data;
    count.len = slash - value->data;

    if (count.len && count.data[count.len - 1] == 'r') {
        count.len--;
    }

    time.data = slash + 1;
    time.len = value->data + value->len - time.data;

    if (time.len == 1) {
        period = (time.data[0] == 's') ? 1
                 : (time.data[0] == 'm') ? 60
                 : (time.data[0] == 'h') ? 3600 : NGX_ERROR;

    } else {
        period = ngx_parse_time(&time, 1);
    }

    if (period == NGX_ERROR || period < 1
        || period > NGX_HTTP_GITPOD_LIMIT_PERIOD)
    {
        return "has no time between 1s and 1d";
    }

    if (ngx_http_gitpod_limit_number(&count, &n) != NGX_CONF_OK) {
        return "does not begin with a number between 1 and 1000000";
    }

    limit->rate.interval = (uint64_t) period * NGX_HTTP_GITPOD_LIMIT_SECOND
                           / n;

    if (limit->rate.burst == 0) {
        limit->rate.burst = n;
    }

    limit->text = *value;

    return NGX_CONF_OK;
}


static char *
ngx_http_gitpod_limit_number(ngx_str_t *value, uint64_t *n)
{
    ngx_int_t  number;

    number = ngx_atoi(value->data, value->len);

    if (number == NGX_ERROR || number < 1
        || number > NGX_HTTP_GITPOD_LIMIT_N_MAX)
    {
        return "is not a number between 1 and 1000000";
    }

    *n = (uint64_t) number;

    return NGX_CONF_OK;
}


static char *
ngx_http_gitpod_limit_methods(ngx_conf_t *cf, ngx_http_gitpod_limit_t *limit,
    ngx_str_t *value)
{
    ngx_str_t   word, *method;

    if (limit->methods == NULL) {
        limit->methods = ngx_array_create(cf->pool, 4, sizeof(ngx_str_t));
        if (limit->methods == NULL) {
            return "needs memory that there is not";
        }
    }

    while (ngx_http_gitpod_limit_next(value, &word)) {

        if (word.len == 0 || word.len > NGX_HTTP_GITPOD_LIMIT_METHOD_MAX) {
            return "is not a list of patterns of 1 to 200 bytes";
        }

        method = ngx_array_push(limit->methods);
        if (method == NULL) {
            return "needs memory that there is not";
        }

        *method = word;
    }

    return NGX_CONF_OK;
}


/* Words between commas; an empty list has one, which is empty. */

static ngx_uint_t
ngx_http_gitpod_limit_next(ngx_str_t *rest, ngx_str_t *word)
{
    u_char  *end, *last;

    if (rest->data == NULL) {
        return 0;
    }

    last = rest->data + rest->len;
    end = ngx_strlchr(rest->data, last, ',');

    word->data = rest->data;
    word->len = (end ? end : last) - rest->data;

    rest->data = end ? end + 1 : NULL;
    rest->len = end ? (size_t) (last - end - 1) : 0;

    return 1;
}


char *
ngx_http_gitpod_limit_fits(ngx_http_gitpod_limit_t *limit)
{
    if (limit->keys == 0 || limit->keys == NGX_HTTP_GITPOD_LIMIT_METHOD) {
        return "needs a key: address, user or token";
    }

    if (!limit->rate.interval == !limit->concurrent) {
        return "needs either a rate or a number of concurrent requests";
    }

    if (limit->concurrent && limit->shared) {
        return "cannot be shared: what is under way is counted here";
    }

    if (limit->concurrent && limit->rate.burst) {
        return "has a burst, which goes with a rate";
    }

    if (limit->rate.interval
        && limit->rate.burst > (uint64_t) NGX_HTTP_GITPOD_LIMIT_FULL
                               * NGX_HTTP_GITPOD_LIMIT_SECOND
                               / limit->rate.interval)
    {
        return "would take more than 7 days to refill: make the burst smaller";
    }

    if (limit->count >= NGX_HTTP_GITPOD_COUNT_FAILURES
        && limit->keys != NGX_HTTP_GITPOD_LIMIT_ADDRESS)
    {
        return "counts what has no user yet: its key is address";
    }

    if (limit->concurrent
        && (limit->count == NGX_HTTP_GITPOD_COUNT_FAILURES
            || limit->count == NGX_HTTP_GITPOD_COUNT_UNKNOWN))
    {
        return "counts what does not last: it needs a rate";
    }

    if (limit->methods && limit->count != NGX_HTTP_GITPOD_COUNT_REQUESTS) {
        return "has methods, which go with count=requests";
    }

    return NGX_CONF_OK;
}


/*
 * gitpod_limit, gitpod_limit_use and what goes with them.
 */


#include "core/hash.h"

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


static void *ngx_http_gitpod_limit_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_gitpod_limit_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_gitpod_limit_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static ngx_int_t ngx_http_gitpod_limit_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_gitpod_limit_init_process(ngx_cycle_t *cycle);
static ngx_uint_t ngx_http_gitpod_limit_used(void *data, char *name);
static char *ngx_http_gitpod_limit(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_uint_t ngx_http_gitpod_limit_name(ngx_str_t *name);
static ngx_http_gitpod_limit_t *ngx_http_gitpod_limit_find(
    ngx_http_gitpod_limit_main_conf_t *lmcf, ngx_str_t *name);
static char *ngx_http_gitpod_limit_parameter(ngx_conf_t *cf,
    ngx_http_gitpod_limit_t *limit, ngx_str_t *value);
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
static char *ngx_http_gitpod_limit_fits(ngx_http_gitpod_limit_t *limit);
static char *ngx_http_gitpod_limit_text(ngx_conf_t *cf,
    ngx_http_gitpod_limit_t *limit);
static char *ngx_http_gitpod_limit_use(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


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


static ngx_command_t  ngx_http_gitpod_limit_commands[] = {

    { ngx_string("gitpod_limit"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_2MORE,
      ngx_http_gitpod_limit,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gitpod_limit_use"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_gitpod_limit_use,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gitpod_limit_dry_run"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gitpod_limit_loc_conf_t, dry_run),
      NULL },

    { ngx_string("gitpod_limit_headers"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gitpod_limit_loc_conf_t, headers),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gitpod_limit_module_ctx = {
    NULL,                                    /* preconfiguration */
    ngx_http_gitpod_limit_init,              /* postconfiguration */

    ngx_http_gitpod_limit_create_main_conf,  /* create main configuration */
    NULL,                                    /* init main configuration */

    NULL,                                    /* create server configuration */
    NULL,                                    /* merge server configuration */

    ngx_http_gitpod_limit_create_loc_conf,   /* create location conf */
    ngx_http_gitpod_limit_merge_loc_conf     /* merge location conf */
};


ngx_module_t  ngx_http_gitpod_limit_module = {
    NGX_MODULE_V1,
    &ngx_http_gitpod_limit_module_ctx,       /* module context */
    ngx_http_gitpod_limit_commands,          /* module directives */
    NGX_HTTP_MODULE,                         /* module type */
    NULL,                                    /* init master */
    NULL,                                    /* init module */
    ngx_http_gitpod_limit_init_process,      /* init process */
    NULL,                                    /* init thread */
    NULL,                                    /* exit thread */
    NULL,                                    /* exit process */
    NULL,                                    /* exit master */
    NGX_MODULE_V1_PADDING
};


static void *
ngx_http_gitpod_limit_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_gitpod_limit_main_conf_t  *lmcf;

    lmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_limit_main_conf_t));
    if (lmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&lmcf->limits, cf->pool, 8,
                       sizeof(ngx_http_gitpod_limit_t *))
        != NGX_OK)
    {
        return NULL;
    }

    return lmcf;
}


static void *
ngx_http_gitpod_limit_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_gitpod_limit_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_limit_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->uses = NGX_CONF_UNSET_PTR;
    conf->dry_run = NGX_CONF_UNSET;
    conf->headers = NGX_CONF_UNSET;

    return conf;
}


static char *
ngx_http_gitpod_limit_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_gitpod_limit_loc_conf_t *prev = parent;
    ngx_http_gitpod_limit_loc_conf_t *conf = child;

    ngx_conf_merge_ptr_value(conf->uses, prev->uses, NULL);
    ngx_conf_merge_value(conf->dry_run, prev->dry_run, 0);
    ngx_conf_merge_value(conf->headers, prev->headers, 0);

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_gitpod_limit_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt                *h;
    ngx_http_core_main_conf_t          *cmcf;
    ngx_http_gitpod_main_conf_t        *mcf;
    ngx_http_gitpod_limit_main_conf_t  *lmcf;

    lmcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_gitpod_limit_module);
    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gitpod_module);

    if (lmcf->limits.nelts == 0) {
        return NGX_OK;
    }

    if (mcf->shm_zone == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"gitpod_limit\" needs \"gitpod_zone\"");
        return NGX_ERROR;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PREACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_gitpod_limit_handler;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_limit_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                          i;
    ngx_http_gitpod_limit_t           **limit;
    ngx_http_gitpod_main_conf_t        *mcf;
    ngx_http_gitpod_limit_main_conf_t  *lmcf;

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_gitpod_module);
    lmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_gitpod_limit_module);

    if (mcf == NULL || mcf->zone == NULL || lmcf == NULL) {
        return NGX_OK;
    }

    limit = lmcf->limits.elts;

    ngx_gitpod_zone_lock(mcf->zone);

    for (i = 0; i < lmcf->limits.nelts; i++) {
        limit[i]->slot = ngx_gitpod_limit_enter(&mcf->zone->limits,
                                                &limit[i]->name,
                                                ngx_http_gitpod_limit_used,
                                                lmcf);

        limit[i]->slot->shared.interval = limit[i]->rate.interval;
        limit[i]->slot->shared.burst = limit[i]->shared
                                       ? limit[i]->rate.burst : 0;
    }

    ngx_gitpod_zone_unlock(mcf->zone);

    return NGX_OK;
}


static ngx_uint_t
ngx_http_gitpod_limit_used(void *data, char *name)
{
    ngx_str_t  text;

    text.data = (u_char *) name;
    text.len = ngx_strlen(name);

    return ngx_http_gitpod_limit_find(data, &text) != NULL;
}


static ngx_http_gitpod_limit_t *
ngx_http_gitpod_limit_find(ngx_http_gitpod_limit_main_conf_t *lmcf,
    ngx_str_t *name)
{
    ngx_uint_t                 i;
    ngx_http_gitpod_limit_t  **limit;

    limit = lmcf->limits.elts;

    for (i = 0; i < lmcf->limits.nelts; i++) {

        if (limit[i]->name.len == name->len
            && ngx_memcmp(limit[i]->name.data, name->data, name->len) == 0)
        {
            return limit[i];
        }
    }

    return NULL;
}


static ngx_uint_t
ngx_http_gitpod_limit_name(ngx_str_t *name)
{
    size_t  i;
    u_char  ch;

    if (name->len == 0 || name->len >= NGX_GITPOD_LIMIT_NAME_MAX) {
        return 0;
    }

    for (i = 0; i < name->len; i++) {
        ch = name->data[i];

        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9')
              || ch == '_'))
        {
            return 0;
        }
    }

    /* "off" is for gitpod_limit_use */

    return name->len != 3 || ngx_strncmp(name->data, "off", 3) != 0;
}


static char *
ngx_http_gitpod_limit(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_limit_main_conf_t *lmcf = conf;

    char                      *why;
    ngx_str_t                 *value;
    ngx_uint_t                 i;
    ngx_http_gitpod_limit_t   *limit, **place;

    value = cf->args->elts;

    if (!ngx_http_gitpod_limit_name(&value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the name of a limit is 1 to %d characters a-z, "
                           "0-9, _ and not \"off\", not \"%V\"",
                           NGX_GITPOD_LIMIT_NAME_MAX - 1, &value[1]);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_gitpod_limit_find(lmcf, &value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "limit \"%V\" has the name of another one",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    if (lmcf->limits.nelts == NGX_GITPOD_LIMITS_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%d limits are allowed",
                           NGX_GITPOD_LIMITS_MAX);
        return NGX_CONF_ERROR;
    }

    limit = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_limit_t));
    place = ngx_array_push(&lmcf->limits);

    if (limit == NULL || place == NULL) {
        return NGX_CONF_ERROR;
    }

    *place = limit;
    limit->name = value[1];
    limit->salt = gp_hash64(limit->name.data, limit->name.len, 0);

    for (i = 2; i < cf->args->nelts; i++) {

        why = ngx_http_gitpod_limit_parameter(cf, limit, &value[i]);

        if (why != NGX_CONF_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "limit \"%V\": \"%V\" %s", &value[1],
                               &value[i], why);
            return NGX_CONF_ERROR;
        }
    }

    why = ngx_http_gitpod_limit_fits(limit);

    if (why != NGX_CONF_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "limit \"%V\" %s",
                           &value[1], why);
        return NGX_CONF_ERROR;
    }

    return ngx_http_gitpod_limit_text(cf, limit);
}


static char *
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


static char *
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


static char *
ngx_http_gitpod_limit_text(ngx_conf_t *cf, ngx_http_gitpod_limit_t *limit)
{
    size_t  len;

    if (limit->rate.interval) {
        return NGX_CONF_OK;
    }

    len = NGX_INT64_LEN + sizeof(" at a time");

    limit->text.data = ngx_pnalloc(cf->pool, len);
    if (limit->text.data == NULL) {
        return NGX_CONF_ERROR;
    }

    limit->text.len = ngx_snprintf(limit->text.data, len, "%uL at a time",
                                   limit->concurrent)
                      - limit->text.data;

    return NGX_CONF_OK;
}


static char *
ngx_http_gitpod_limit_use(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_limit_loc_conf_t *llcf = conf;

    ngx_str_t                           *value;
    ngx_uint_t                           i, concurrent;
    ngx_http_gitpod_limit_t            **use, *limit;
    ngx_http_gitpod_limit_main_conf_t   *lmcf;

    if (llcf->uses != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;
    concurrent = 0;

    if (cf->args->nelts == 2 && value[1].len == 3
        && ngx_strncmp(value[1].data, "off", 3) == 0)
    {
        llcf->uses = NULL;
        return NGX_CONF_OK;
    }

    lmcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_gitpod_limit_module);

    llcf->uses = ngx_array_create(cf->pool, cf->args->nelts,
                                  sizeof(ngx_http_gitpod_limit_t *));
    if (llcf->uses == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        limit = ngx_http_gitpod_limit_find(lmcf, &value[i]);

        if (limit == NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "there is no limit \"%V\" before this line: "
                               "define it with \"gitpod_limit\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        concurrent += (limit->concurrent != 0);

        use = ngx_array_push(llcf->uses);
        if (use == NULL) {
            return NGX_CONF_ERROR;
        }

        *use = limit;
    }

    if (concurrent > NGX_HTTP_GITPOD_HELD_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "%d concurrent limits are allowed in one place",
                           NGX_HTTP_GITPOD_HELD_MAX);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}

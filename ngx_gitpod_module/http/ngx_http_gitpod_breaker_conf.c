
/*
 * gitpod_breaker: what it may say.
 */


#include "ngx_http_gitpod_request.h"
#include "ngx_http_gitpod_breaker.h"


#define NGX_HTTP_GITPOD_BREAKER_HOUR  3600000   /* ms */

#define ngx_http_gitpod_breaker_policy(field)                                 \
    offsetof(ngx_http_gitpod_breaker_srv_conf_t, policy)                      \
    + offsetof(gp_breaker_policy_t, field)


typedef struct {
    ngx_str_t             name;             /* with the = */
    size_t                offset;           /* of an uint32_t */
    ngx_uint_t            time;             /* or a number */
    ngx_int_t             min;
    ngx_int_t             max;
    const char           *what;
} ngx_http_gitpod_breaker_option_t;


static ngx_int_t ngx_http_gitpod_breaker_option(ngx_conf_t *cf,
    ngx_http_gitpod_breaker_srv_conf_t *bscf, ngx_str_t *value);
static ngx_int_t ngx_http_gitpod_breaker_number(ngx_conf_t *cf,
    ngx_http_gitpod_breaker_srv_conf_t *bscf, ngx_str_t *value,
    ngx_http_gitpod_breaker_option_t *option);
static ngx_int_t ngx_http_gitpod_breaker_on(ngx_conf_t *cf,
    ngx_http_gitpod_breaker_srv_conf_t *bscf, ngx_str_t *list);
static ngx_int_t ngx_http_gitpod_breaker_validate(ngx_conf_t *cf,
    ngx_http_gitpod_breaker_srv_conf_t *bscf);
static ngx_uint_t ngx_http_gitpod_breaker_named(ngx_str_t *name);


static ngx_http_gitpod_breaker_option_t  ngx_http_gitpod_breaker_options[] = {

    { ngx_string("failures="), ngx_http_gitpod_breaker_policy(failures), 0,
      0, 1000, "a number of 0 to 1000" },

    { ngx_string("ratio="), ngx_http_gitpod_breaker_policy(ratio), 0,
      0, 100, "per cent, 0 to 100" },

    { ngx_string("min="), ngx_http_gitpod_breaker_policy(min), 0,
      1, 100000, "a number of 1 to 100000" },

    { ngx_string("window="), ngx_http_gitpod_breaker_policy(window_ms), 1,
      100, NGX_HTTP_GITPOD_BREAKER_HOUR, "a time of 100ms to 1h" },

    { ngx_string("base="), ngx_http_gitpod_breaker_policy(base_ms), 1,
      10, NGX_HTTP_GITPOD_BREAKER_HOUR, "a time of 10ms to 1h" },

    { ngx_string("cap="), ngx_http_gitpod_breaker_policy(cap_ms), 1,
      10, NGX_HTTP_GITPOD_BREAKER_HOUR, "a time of 10ms to 1h" },

    { ngx_string("half_open="), ngx_http_gitpod_breaker_policy(half_open), 0,
      1, GP_BREAKER_PROBES_MAX, "a number of 1 to 8" },

    { ngx_string("probe="), ngx_http_gitpod_breaker_policy(probe_ms), 1,
      10, NGX_HTTP_GITPOD_BREAKER_HOUR, "a time of 10ms to 1h" },

    { ngx_string("ramp="), ngx_http_gitpod_breaker_policy(ramp_ms), 1,
      0, NGX_HTTP_GITPOD_BREAKER_HOUR, "a time of 0 to 1h" },

    { ngx_null_string, 0, 0, 0, 0, NULL }
};


char *
ngx_http_gitpod_breaker_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_breaker_srv_conf_t *bscf = conf;

    ngx_str_t                             *value;
    ngx_uint_t                             i;
    ngx_http_upstream_srv_conf_t          *uscf;
    ngx_http_gitpod_breaker_srv_conf_t   **slot;
    ngx_http_gitpod_breaker_main_conf_t   *bmcf;

    if (bscf->init_upstream) {
        return "is duplicate";
    }

    uscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);

    bscf->host = uscf->host;
    bscf->name = uscf->host;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {
        if (ngx_http_gitpod_breaker_option(cf, bscf, &value[i]) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_http_gitpod_breaker_validate(cf, bscf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    bmcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_gitpod_breaker_module);

    slot = ngx_array_push(&bmcf->breakers);
    if (slot == NULL) {
        return NGX_CONF_ERROR;
    }

    *slot = bscf;

    bscf->init_upstream = uscf->peer.init_upstream
                          ? uscf->peer.init_upstream
                          : ngx_http_upstream_init_round_robin;

    uscf->peer.init_upstream = ngx_http_gitpod_breaker_init_upstream;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_gitpod_breaker_option(ngx_conf_t *cf,
    ngx_http_gitpod_breaker_srv_conf_t *bscf, ngx_str_t *value)
{
    ngx_str_t                          text;
    ngx_http_gitpod_breaker_option_t  *option;

    for (option = ngx_http_gitpod_breaker_options; option->name.len;
         option++)
    {
        if (value->len > option->name.len
            && ngx_strncmp(value->data, option->name.data, option->name.len)
               == 0)
        {
            return ngx_http_gitpod_breaker_number(cf, bscf, value, option);
        }
    }

    if (value->len > 5 && ngx_strncmp(value->data, "name=", 5) == 0) {
        bscf->name.data = value->data + 5;
        bscf->name.len = value->len - 5;
        return NGX_OK;
    }

    if (value->len > 3 && ngx_strncmp(value->data, "on=", 3) == 0) {
        text.data = value->data + 3;
        text.len = value->len - 3;
        return ngx_http_gitpod_breaker_on(cf, bscf, &text);
    }

    if (value->len > 10 && ngx_strncmp(value->data, "fallback=", 9) == 0
        && (value->data[9] == '@' || value->data[9] == '/'))
    {
        bscf->fallback.data = value->data + 9;
        bscf->fallback.len = value->len - 9;
        return NGX_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "\"gitpod_breaker\" does not know \"%V\": it takes "
                       "name=, failures=, ratio=, min=, window=, base=, "
                       "cap=, half_open=, probe=, ramp=, on= and "
                       "fallback=@name or fallback=/uri", value);
    return NGX_ERROR;
}


static ngx_int_t
ngx_http_gitpod_breaker_number(ngx_conf_t *cf,
    ngx_http_gitpod_breaker_srv_conf_t *bscf, ngx_str_t *value,
    ngx_http_gitpod_breaker_option_t *option)
{
    uint32_t   *field;
    ngx_int_t   n;
    ngx_str_t   text;

    text.data = value->data + option->name.len;
    text.len = value->len - option->name.len;

    n = option->time ? ngx_parse_time(&text, 0)
                     : ngx_atoi(text.data, text.len);

    if (n == NGX_ERROR || n < option->min || n > option->max) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" of \"gitpod_breaker\" must be %s", value,
                           option->what);
        return NGX_ERROR;
    }

    field = (uint32_t *) (void *) ((u_char *) bscf + option->offset);
    *field = (uint32_t) n;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_breaker_on(ngx_conf_t *cf,
    ngx_http_gitpod_breaker_srv_conf_t *bscf, ngx_str_t *list)
{
    u_char      *p, *last, *end;
    ngx_uint_t   reason;
    const char  *name;

    bscf->on = 0;
    last = list->data + list->len;

    for (p = list->data; p <= last; p = end + 1) {
        end = ngx_strlchr(p, last, ',');
        end = end ? end : last;

        for (reason = GP_BREAKER_NONE + 1; reason < GP_BREAKER_REASONS_N;
             reason++)
        {
            name = gp_breaker_reason_name((enum gp_breaker_reason) reason);

            if ((size_t) (end - p) == ngx_strlen(name)
                && ngx_strncmp(p, name, end - p) == 0)
            {
                break;
            }
        }

        if (reason == GP_BREAKER_REASONS_N) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"on=%V\" of \"gitpod_breaker\" must be a "
                               "list, with commas, of connect, error, "
                               "timeout, http_500, http_502, http_503, "
                               "http_504 and check", list);
            return NGX_ERROR;
        }

        bscf->on |= (ngx_uint_t) 1 << reason;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gitpod_breaker_validate(ngx_conf_t *cf,
    ngx_http_gitpod_breaker_srv_conf_t *bscf)
{
    ngx_uint_t                             i;
    gp_breaker_policy_t                   *policy;
    ngx_http_gitpod_breaker_srv_conf_t   **others;
    ngx_http_gitpod_breaker_main_conf_t   *bmcf;

    policy = &bscf->policy;

    if (!ngx_http_gitpod_breaker_named(&bscf->name)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" cannot be the name of a breaker: give it "
                           "one with name=, 1 to %d of a-z, A-Z, 0-9, _, -, .",
                           &bscf->name, NGX_GITPOD_BREAKER_NAME_MAX);
        return NGX_ERROR;
    }

    if (policy->failures == 0 && policy->ratio == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"gitpod_breaker\" with failures=0 and ratio=0 "
                           "would never open: set one of them");
        return NGX_ERROR;
    }

    if (policy->cap_ms == 0) {
        policy->cap_ms = ngx_max(policy->base_ms, 30000);
    }

    if (policy->cap_ms < policy->base_ms) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"cap\" of \"gitpod_breaker\" is %uDms, below "
                           "\"base\", %uDms: raise it", policy->cap_ms,
                           policy->base_ms);
        return NGX_ERROR;
    }

    bmcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_gitpod_breaker_module);
    others = bmcf->breakers.elts;

    for (i = 0; i < bmcf->breakers.nelts; i++) {

        if (others[i]->name.len == bscf->name.len
            && ngx_strncmp(others[i]->name.data, bscf->name.data,
                           bscf->name.len)
               == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "there is another \"gitpod_breaker\" of the "
                               "name \"%V\": set name=", &bscf->name);
            return NGX_ERROR;
        }
    }

    if (bmcf->breakers.nelts == NGX_GITPOD_BREAKERS_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"gitpod_breaker\" comes once too often: %d are "
                           "allowed", NGX_GITPOD_BREAKERS_MAX);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* It becomes a label, a word of a header and of JSON. */

static ngx_uint_t
ngx_http_gitpod_breaker_named(ngx_str_t *name)
{
    u_char      c;
    ngx_uint_t  i;

    for (i = 0; i < name->len; i++) {
        c = name->data[i];

        if ((c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
            && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.')
        {
            return 0;
        }
    }

    return name->len && name->len <= NGX_GITPOD_BREAKER_NAME_MAX;
}


void
ngx_http_gitpod_breaker_log(ngx_http_gitpod_breaker_srv_conf_t *bscf,
    ngx_gitpod_breaker_use_t *use, ngx_log_t *log)
{
    in_port_t    port;
    ngx_uint_t   level;
    const char  *phase, *reason;

    if (!use->changed) {
        return;
    }

    phase = gp_breaker_phase_name((enum gp_breaker_phase) use->phase);
    reason = gp_breaker_reason_name((enum gp_breaker_reason) use->reason);

    if (use->key_len) {

        /* what runs in a workspace is its owner's affair */

        port = (in_port_t) (use->key[1] << 8 | use->key[2]);

        ngx_log_error(NGX_LOG_INFO, log, 0,
                      "gitpod: breaker \"%V\" of instance %*s, port %ud, is "
                      "%s: %s, next try in %uL ms", &bscf->name,
                      use->key_len - 3, use->key + 3, (ngx_uint_t) port,
                      phase, reason, use->retry_ms);
        return;
    }

    level = (use->phase == GP_BREAKER_OPEN) ? NGX_LOG_WARN : NGX_LOG_NOTICE;

    ngx_log_error(level, log, 0,
                  "gitpod: breaker \"%V\" is %s: %s, next try in %uL ms",
                  &bscf->name, phase, reason, use->retry_ms);
}


void
ngx_http_gitpod_breaker_check(ngx_str_t *name, ngx_uint_t passes,
    ngx_log_t *log)
{
    ngx_uint_t                             i;
    ngx_gitpod_breaker_use_t               use;
    ngx_http_gitpod_breaker_srv_conf_t   **bscf;
    ngx_http_gitpod_breaker_main_conf_t   *bmcf;

    bmcf = ngx_http_cycle_get_module_main_conf(ngx_cycle,
                                               ngx_http_gitpod_breaker_module);
    if (bmcf == NULL) {
        return;
    }

    bscf = bmcf->breakers.elts;

    for (i = 0; i < bmcf->breakers.nelts; i++) {

        if (bscf[i]->routes || bscf[i]->name.len != name->len
            || ngx_strncmp(bscf[i]->name.data, name->data, name->len) != 0)
        {
            continue;
        }

        if (!passes && !(bscf[i]->on & 1 << GP_BREAKER_CHECK)) {
            return;
        }

        use.zone = bscf[i]->zone;
        use.breaker = bscf[i]->breaker;
        use.policy = &bscf[i]->policy;
        use.key_len = 0;

        ngx_gitpod_breaker_check(&use, passes);
        ngx_http_gitpod_breaker_log(bscf[i], &use, log);

        return;
    }
}

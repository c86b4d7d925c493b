
/*
 * Revocations: kind and id to an epoch.  The table is bounded.  When it is
 * full the oldest sixteenth goes, and from then on every token issued at or
 * before the youngest of those is refused: too much, never too little.
 */


#include "ngx_gitpod_zone.h"
#include "ngx_gitpod_json.h"


#define NGX_GITPOD_REVOCATION_STEPS  256


static const char  *ngx_gitpod_revocation_kinds[] = {
    "user", "session", "token", "workspace"
};


static size_t ngx_gitpod_revocation_key(u_char *key,
    ngx_gitpod_revoked_e kind, ngx_str_t *id);
static ngx_int_t ngx_gitpod_revocation_kind(ngx_str_t *text,
    ngx_gitpod_revoked_e *kind);
static ngx_int_t ngx_gitpod_revocation_apply(ngx_gitpod_zone_t *zone,
    ngx_gitpod_revoked_e kind, ngx_str_t *id, uint64_t epoch, ngx_log_t *log);
static void ngx_gitpod_revocation_shrink(ngx_gitpod_zone_t *zone,
    ngx_log_t *log);
static uint64_t ngx_gitpod_revocation_oldest(ngx_gitpod_zone_t *zone);


ngx_uint_t
ngx_gitpod_revoked(ngx_gitpod_zone_t *zone, ngx_gitpod_revoked_e kind,
    ngx_str_t *id, time_t iat)
{
    size_t    len;
    u_char    key[NGX_GITPOD_ID_MAX + 1];
    uint64_t  epoch;

    /* a token's own issue time is known to auth only */

    if (kind != NGX_GITPOD_REVOKED_TOKEN
        && zone->revoked_floor
        && iat <= (time_t) zone->revoked_floor)
    {
        return 1;
    }

    len = ngx_gitpod_revocation_key(key, kind, id);

    if (len == 0) {

        /* an id that cannot be looked up cannot be trusted */

        return id->len > NGX_GITPOD_ID_MAX;
    }

    if (ngx_gitpod_table_get(&zone->revocations, key, len, &epoch) != NGX_OK)
    {
        return 0;
    }

    if (kind == NGX_GITPOD_REVOKED_SESSION || kind == NGX_GITPOD_REVOKED_TOKEN)
    {
        return 1;
    }

    return iat <= (time_t) epoch;
}


ngx_uint_t
ngx_gitpod_revocations_synced(ngx_gitpod_zone_t *zone)
{
    return __atomic_load_n(&zone->feed.revocations_synced, __ATOMIC_ACQUIRE);
}


uint64_t
ngx_gitpod_revocation_sequence(ngx_gitpod_zone_t *zone)
{
    return __atomic_load_n(&zone->revocations.sequence, __ATOMIC_ACQUIRE);
}


static size_t
ngx_gitpod_revocation_key(u_char *key, ngx_gitpod_revoked_e kind,
    ngx_str_t *id)
{
    if (id->len == 0 || id->len > NGX_GITPOD_ID_MAX) {
        return 0;
    }

    key[0] = (u_char) kind;
    ngx_memcpy(key + 1, id->data, id->len);

    return id->len + 1;
}


static ngx_int_t
ngx_gitpod_revocation_kind(ngx_str_t *text, ngx_gitpod_revoked_e *kind)
{
    ngx_uint_t  i;

    for (i = 0; i <= NGX_GITPOD_REVOKED_WORKSPACE; i++) {
        if (ngx_strlen(ngx_gitpod_revocation_kinds[i]) == text->len
            && ngx_strncmp(ngx_gitpod_revocation_kinds[i], text->data,
                           text->len)
               == 0)
        {
            *kind = (ngx_gitpod_revoked_e) i;
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


void
ngx_gitpod_revocation_feed(ngx_gitpod_zone_t *zone, ngx_str_t *field,
    ngx_str_t *value, ngx_log_t *log)
{
    u_char                *colon;
    time_t                 epoch;
    ngx_str_t              id, name;
    ngx_gitpod_revoked_e   kind;

    colon = ngx_strlchr(field->data, field->data + field->len, ':');
    epoch = ngx_atotm(value->data, value->len);

    name.data = field->data;
    name.len = colon ? (size_t) (colon - field->data) : 0;

    if (colon == NULL
        || epoch == (time_t) NGX_ERROR
        || ngx_gitpod_revocation_kind(&name, &kind) != NGX_OK)
    {
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "gitpod: revocation \"%V\" is not understood: a field "
                      "is <kind>:<id>, a value epoch seconds", field);
        return;
    }

    id.data = colon + 1;
    id.len = field->data + field->len - id.data;

    (void) ngx_gitpod_revocation_apply(zone, kind, &id, (uint64_t) epoch, log);
}


ngx_int_t
ngx_gitpod_revocation_message(ngx_gitpod_zone_t *zone, ngx_str_t *text,
    ngx_log_t *log)
{
    json_t                *json, *epoch;
    ngx_int_t              rc;
    ngx_str_t              kind, id;
    json_error_t           error;
    ngx_gitpod_revoked_e   revoked;

    rc = NGX_DECLINED;
    json = NULL;

    if (text->len <= GP_ROUTE_RECORD_MAX) {
        json = json_loadb((char *) text->data, text->len,
                          JSON_REJECT_DUPLICATES, &error);
    }

    kind = ngx_gitpod_json_text(json_object_get(json, "kind"));
    id = ngx_gitpod_json_text(json_object_get(json, "id"));
    epoch = json_object_get(json, "epoch");

    if (kind.data == NULL || id.data == NULL
        || !json_is_integer(epoch) || json_integer_value(epoch) < 0
        || ngx_gitpod_revocation_kind(&kind, &revoked) != NGX_OK)
    {
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "gitpod: a message of " GP_REDIS_REVOCATIONS_CHANNEL
                      " is not {\"kind\",\"id\",\"epoch\"}");

    } else {
        rc = ngx_gitpod_revocation_apply(zone, revoked, &id,
                                         (uint64_t) json_integer_value(epoch),
                                         log);
    }

    json_decref(json);

    return rc;
}


/* A Redis that lost its data must not make revoked tokens good again. */

ngx_uint_t
ngx_gitpod_revocation_expired(void *epoch)
{
    return (time_t) *(uint64_t *) epoch
           < ngx_time() - GP_SESSION_TTL_S - GP_JOSE_LEEWAY_S;
}


static ngx_int_t
ngx_gitpod_revocation_apply(ngx_gitpod_zone_t *zone, ngx_gitpod_revoked_e kind,
    ngx_str_t *id, uint64_t epoch, ngx_log_t *log)
{
    size_t     len;
    u_char     key[NGX_GITPOD_ID_MAX + 1];
    uint64_t  *old;

    len = ngx_gitpod_revocation_key(key, kind, id);

    if (len == 0) {
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "gitpod: an id of %uz bytes cannot be revoked: "
                      "1 to %d are allowed", id->len, NGX_GITPOD_ID_MAX);
        return NGX_DECLINED;
    }

    ngx_gitpod_zone_lock(zone);

    old = ngx_gitpod_table_find(&zone->revocations, key, len);

    if (old && *old >= epoch) {
        ngx_gitpod_table_touch(&zone->revocations, key, len);
        ngx_gitpod_zone_unlock(zone);
        return NGX_OK;
    }

    (void) ngx_gitpod_revocation_set(zone, key, len, epoch, log);

    ngx_gitpod_credential_forget(zone, kind, id);

    ngx_gitpod_zone_unlock(zone);

    ngx_gitpod_count(zone, NGX_GITPOD_N_REVOKED);

    return NGX_OK;
}


/* Under the lock. */

ngx_int_t
ngx_gitpod_revocation_set(ngx_gitpod_zone_t *zone, u_char *key, size_t len,
    uint64_t epoch, ngx_log_t *log)
{
    ngx_int_t  rc;

    rc = ngx_gitpod_table_set(&zone->revocations, key, len, &epoch);

    if (rc == NGX_BUSY) {
        ngx_gitpod_revocation_shrink(zone, log);

        rc = ngx_gitpod_table_set(&zone->revocations, key, len, &epoch);
    }

    return rc;
}


static void
ngx_gitpod_revocation_shrink(ngx_gitpod_zone_t *zone, ngx_log_t *log)
{
    uint32_t    n;
    uint64_t    bound, dead, *epoch;
    ngx_str_t   key;

    bound = ngx_gitpod_revocation_oldest(zone);

    /* what they refuse has expired anyway */

    dead = (uint64_t) ngx_time() - GP_SESSION_TTL_S - GP_JOSE_LEEWAY_S;

    if (bound > dead && bound > zone->revoked_floor) {
        zone->revoked_floor = (ngx_atomic_uint_t) bound;

        ngx_log_error(NGX_LOG_ALERT, log, 0,
                      "gitpod: the zone has room for %uD revocations and is "
                      "full; sessions from before %T are refused: "
                      "raise gitpod_zone",
                      zone->revocations.records_max, (time_t) bound);
    }

    for (n = 0;
         (epoch = ngx_gitpod_table_walk(&zone->revocations, &n, &key)) != NULL;
         n++)
    {
        if (*epoch <= bound || *epoch <= dead) {
            ngx_gitpod_table_drop(&zone->revocations, n);
        }
    }
}


/* The epoch that a sixteenth of all entries does not exceed, about. */

static uint64_t
ngx_gitpod_revocation_oldest(ngx_gitpod_zone_t *zone)
{
    uint32_t    n, counts[NGX_GITPOD_REVOCATION_STEPS];
    uint64_t    min, max, step, sum, *epoch;
    ngx_str_t   key;
    ngx_uint_t  i;

    min = (uint64_t) -1;
    max = 0;

    for (n = 0;
         (epoch = ngx_gitpod_table_walk(&zone->revocations, &n, &key)) != NULL;
         n++)
    {
        min = ngx_min(min, *epoch);
        max = ngx_max(max, *epoch);
    }

    if (min > max) {
        return 0;
    }

    ngx_memzero(counts, sizeof(counts));
    step = (max - min) / NGX_GITPOD_REVOCATION_STEPS + 1;

    for (n = 0;
         (epoch = ngx_gitpod_table_walk(&zone->revocations, &n, &key)) != NULL;
         n++)
    {
        counts[(*epoch - min) / step]++;
    }

    sum = 0;

    for (i = 0; i < NGX_GITPOD_REVOCATION_STEPS; i++) {
        sum += counts[i];

        if (sum >= zone->revocations.live / 16 + 1) {
            break;
        }
    }

    return min + (i + 1) * step - 1;
}


/*
 * Limits that gateways share: each keeps its own buckets, and tells the
 * others what it let through, through Redis, about once a second.  No
 * request waits for that, and when Redis is away each gateway limits alone.
 */


#include "ngx_gitpod_limit.h"
#include "ngx_gitpod_json.h"


#define NGX_GITPOD_SHARE_SLOT   48          /* bits of units below the slot */
#define NGX_GITPOD_SHARE_UNITS  0xffffffff  /* of a bucket in a message */
#define NGX_GITPOD_SHARE_ENTRY  96          /* bytes in a message, at most */


static ngx_gitpod_limit_slot_t *ngx_gitpod_share_slot(
    ngx_gitpod_limits_t *limits, ngx_str_t *name);
static ngx_int_t ngx_gitpod_share_entry(ngx_gitpod_limits_t *limits,
    json_t *entry);
static ngx_int_t ngx_gitpod_share_number(ngx_str_t *hex, uint64_t *number);


void
ngx_gitpod_share(ngx_gitpod_limits_t *limits, ngx_gitpod_limit_slot_t *slot,
    uint64_t key)
{
    uint64_t            seen, first;
    ngx_gitpod_pair_t  *pair;

    pair = ngx_gitpod_pairs_claim(&limits->spent, key, 0, 0);

    if (pair == NULL) {

        /* more buckets within a second than there is room for */

        (void) ngx_atomic_fetch_add(&slot->untold, 1);
        return;
    }

    first = (uint64_t) (slot - limits->slots) << NGX_GITPOD_SHARE_SLOT;
    seen = ngx_gitpod_pair_value(pair);

    while (!ngx_gitpod_pair_swap(pair, &seen, (seen ? seen : first) + 1)) {
        /* void */
    }
}


void
ngx_gitpod_share_back(ngx_gitpod_limits_t *limits, uint64_t key)
{
    uint64_t            seen;
    ngx_gitpod_pair_t  *pair;

    pair = ngx_gitpod_pairs_find(&limits->spent, key);

    if (pair == NULL) {
        return;
    }

    seen = ngx_gitpod_pair_value(pair);

    while ((seen & NGX_GITPOD_SHARE_UNITS) > 1
           && !ngx_gitpod_pair_swap(pair, &seen, seen - 1))
    {
        /* void */
    }

    if ((seen & NGX_GITPOD_SHARE_UNITS) == 1) {
        (void) ngx_gitpod_pair_swap(pair, &seen, 0);
    }
}


ngx_int_t
ngx_gitpod_share_next(ngx_gitpod_limits_t *limits, ngx_uint_t *at,
    u_char text[GP_LIMITS_MESSAGE_MAX])
{
    u_char                   *p, *last;
    uint64_t                  key, value;
    ngx_uint_t                n, max;
    ngx_gitpod_pair_t        *pair;
    ngx_gitpod_limit_slot_t  *slot;

    n = 0;
    max = ngx_gitpod_pairs_max(&limits->spent);
    last = text + GP_LIMITS_MESSAGE_MAX - NGX_GITPOD_SHARE_ENTRY;

    p = ngx_sprintf(text, "{\"gateway\":\"%016xL\",\"spent\":[",
                    limits->gateway);

    for ( /* void */ ; *at < max && n < GP_LIMITS_MESSAGE_N && p < last;
          (*at)++)
    {
        pair = &limits->spent.pairs[*at];

        if (ngx_gitpod_pair_value(pair) == 0) {
            continue;
        }

        /* the key first: from the moment of the exchange it may change */

        key = __atomic_load_n(&pair->key, __ATOMIC_ACQUIRE);
        value = __atomic_exchange_n(&pair->value, 0, __ATOMIC_ACQ_REL);

        slot = &limits->slots[(value >> NGX_GITPOD_SHARE_SLOT)
                              % NGX_GITPOD_LIMITS_MAX];

        p = ngx_sprintf(p, "%s[\"%s\",\"%016xL\",%uL]", n++ ? "," : "",
                        slot->name, key, value & NGX_GITPOD_SHARE_UNITS);
    }

    *ngx_cpymem(p, "]}", 2) = '\0';

    return n ? NGX_OK : NGX_DONE;
}


void
ngx_gitpod_share_take(ngx_gitpod_limits_t *limits, ngx_str_t *text,
    ngx_log_t *log)
{
    json_t        *json, *list;
    size_t         i;
    uint64_t       gateway;
    ngx_str_t      hex;
    ngx_int_t      rc;
    json_error_t   error;

    json = NULL;

    if (text->len < GP_LIMITS_MESSAGE_MAX) {
        json = json_loadb((char *) text->data, text->len,
                          JSON_REJECT_DUPLICATES, &error);
    }

    hex = ngx_gitpod_json_text(json_object_get(json, "gateway"));
    list = json_object_get(json, "spent");

    rc = json_is_array(list) ? ngx_gitpod_share_number(&hex, &gateway)
                             : NGX_DECLINED;

    if (rc == NGX_OK && gateway != limits->gateway) {

        for (i = 0; i < json_array_size(list) && rc == NGX_OK; i++) {
            rc = ngx_gitpod_share_entry(limits, json_array_get(list, i));
        }

        (void) ngx_atomic_fetch_add(&limits->heard, 1);
    }

    if (rc != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "gitpod: a message of " GP_REDIS_LIMITS_CHANNEL
                      " is not {\"gateway\",\"spent\":[[limit,bucket,n]]}");
    }

    json_decref(json);
}


/* A limit that is not shared here, or not known, is none of our business. */

static ngx_int_t
ngx_gitpod_share_entry(ngx_gitpod_limits_t *limits, json_t *entry)
{
    json_t                   *units;
    uint64_t                  key;
    ngx_str_t                 name, hex;
    ngx_gitpod_limit_slot_t  *slot;

    name = ngx_gitpod_json_text(json_array_get(entry, 0));
    hex = ngx_gitpod_json_text(json_array_get(entry, 1));
    units = json_array_get(entry, 2);

    if (name.data == NULL || !json_is_integer(units)
        || json_integer_value(units) < 1
        || ngx_gitpod_share_number(&hex, &key) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    slot = ngx_gitpod_share_slot(limits, &name);

    if (slot) {
        ngx_gitpod_rate_charge(limits, &slot->shared, key,
                               (uint64_t) json_integer_value(units));
    }

    return NGX_OK;
}


static ngx_gitpod_limit_slot_t *
ngx_gitpod_share_slot(ngx_gitpod_limits_t *limits, ngx_str_t *name)
{
    ngx_uint_t                i;
    ngx_gitpod_limit_slot_t  *slot;

    for (i = 0; i < NGX_GITPOD_LIMITS_MAX; i++) {
        slot = &limits->slots[i];

        if (slot->shared.burst
            && ngx_strlen(slot->name) == name->len
            && ngx_strncmp(slot->name, name->data, name->len) == 0)
        {
            return slot;
        }
    }

    return NULL;
}


/* 16 digits. */

static ngx_int_t
ngx_gitpod_share_number(ngx_str_t *hex, uint64_t *number)
{
    ngx_int_t  high, low;

    if (hex->data == NULL || hex->len != 16) {
        return NGX_DECLINED;
    }

    high = ngx_hextoi(hex->data, 8);
    low = ngx_hextoi(hex->data + 8, 8);

    if (high == NGX_ERROR || low == NGX_ERROR) {
        return NGX_DECLINED;
    }

    *number = (uint64_t) high << 32 | (uint64_t) low;

    return NGX_OK;
}

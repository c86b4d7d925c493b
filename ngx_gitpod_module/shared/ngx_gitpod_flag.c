
/*
 * Feature flags: name to record.  What is known stays known: a record that is
 * not understood, or missing in a Redis that lost its data, changes nothing.
 * Flags go by tombstones.
 */


#include "ngx_gitpod_zone.h"


#define NGX_GITPOD_FLAG_TELL_S  60      /* between alerts of a full table */


static void ngx_gitpod_flag_apply(ngx_gitpod_zone_t *zone, gp_flag_t *flag,
    ngx_log_t *log);


ngx_int_t
ngx_gitpod_flag_get(ngx_gitpod_zone_t *zone, ngx_str_t *name, gp_flag_t *copy)
{
    if (ngx_gitpod_table_get(&zone->flags, name->data, name->len, copy)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    return copy->deleted ? NGX_DECLINED : NGX_OK;
}


void
ngx_gitpod_flag_feed(ngx_gitpod_zone_t *zone, ngx_str_t *name, ngx_str_t *text,
    ngx_log_t *log)
{
    gp_flag_t    flag;
    const char  *why;

    if (gp_flag_parse((char *) text->data, text->len, &flag, &why) != 0) {
        goto refused;
    }

    if (name
        && (name->len != flag.name_len
            || ngx_memcmp(name->data, flag.name, name->len) != 0))
    {
        why = "\"name\" is not that of its field";
        goto refused;
    }

    ngx_gitpod_flag_apply(zone, &flag, log);

    return;

refused:

    ngx_gitpod_count(zone, NGX_GITPOD_N_FLAG_REFUSED);

    ngx_log_error(NGX_LOG_ERR, log, 0,
                  "gitpod: record of flag \"%*s\" refused, what was known of "
                  "it stays: %s", (size_t) flag.name_len, flag.name, why);
}


/* A tombstone has done its work once Redis forgets it. */

ngx_uint_t
ngx_gitpod_flag_expired(void *value)
{
    return ((gp_flag_t *) value)->deleted;
}


static void
ngx_gitpod_flag_apply(ngx_gitpod_zone_t *zone, gp_flag_t *flag, ngx_log_t *log)
{
    u_char                *key;
    ngx_int_t              rc;
    gp_flag_t             *old;
    ngx_gitpod_counter_e   counter;

    static time_t          told;

    key = (u_char *) flag->name;
    rc = NGX_OK;

    ngx_gitpod_zone_lock(zone);

    old = ngx_gitpod_table_find(&zone->flags, key, flag->name_len);

    if (old && old->version >= flag->version) {
        ngx_gitpod_table_touch(&zone->flags, key, flag->name_len);
        counter = NGX_GITPOD_N_FLAG_OLD;

    } else {
        rc = ngx_gitpod_table_set(&zone->flags, key, flag->name_len, flag);
        counter = (rc == NGX_OK) ? NGX_GITPOD_N_FLAG_UPDATED
                                 : NGX_GITPOD_N_FLAG_FULL;
    }

    ngx_gitpod_zone_unlock(zone);

    ngx_gitpod_count(zone, counter);

    if (rc != NGX_OK && ngx_time() - told >= NGX_GITPOD_FLAG_TELL_S) {
        told = ngx_time();

        ngx_log_error(NGX_LOG_ALERT, log, 0,
                      "gitpod: the zone has room for %uD flags and is full; "
                      "\"%*s\" was dropped: raise gitpod_zone",
                      zone->flags.records_max, (size_t) flag->name_len,
                      flag->name);
    }
}

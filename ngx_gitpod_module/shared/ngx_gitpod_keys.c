
/*
 * The texts of the key sets live in the zone, their parsed form (OpenSSL
 * handles cannot be shared) in each worker, parsed again when a text moved.
 */


#include "ngx_gitpod_zone.h"


static gp_jose_keys_t  *ngx_gitpod_keys_parsed[NGX_GITPOD_KEY_SETS];
static uint64_t         ngx_gitpod_keys_seq[NGX_GITPOD_KEY_SETS];


static void ngx_gitpod_keys_write(ngx_gitpod_zone_t *zone,
    ngx_gitpod_key_text_t *set, ngx_str_t *text);


gp_jose_keys_t *
ngx_gitpod_keys(ngx_gitpod_zone_t *zone, ngx_gitpod_key_set_e which,
    ngx_log_t *log)
{
    size_t                  len;
    u_char                 *text;
    uint64_t                seq;
    gp_jose_keys_t         *keys;
    ngx_gitpod_key_text_t  *set;

    set = &zone->keys[which];
    seq = __atomic_load_n(&set->seq, __ATOMIC_ACQUIRE);

    if (seq == ngx_gitpod_keys_seq[which]) {
        return ngx_gitpod_keys_parsed[which];
    }

    text = ngx_alloc(set->max, log);
    if (text == NULL) {
        return ngx_gitpod_keys_parsed[which];
    }

    if (ngx_gitpod_keys_copy(set, text, &len, &seq) == NGX_OK) {

        keys = NULL;

        if (len == 0 || gp_jose_keys_parse((char *) text, len, &keys) == 0) {
            gp_jose_keys_free(ngx_gitpod_keys_parsed[which]);
            ngx_gitpod_keys_parsed[which] = keys;
            ngx_gitpod_keys_seq[which] = seq;

        } else {
            ngx_log_error(NGX_LOG_ALERT, log, 0,
                          "gitpod: out of memory for the key set, "
                          "the old one stays");
        }
    }

    ngx_free(text);

    return ngx_gitpod_keys_parsed[which];
}


ngx_uint_t
ngx_gitpod_keys_count(ngx_gitpod_zone_t *zone, ngx_log_t *log)
{
    gp_jose_keys_t  *fed;

    fed = ngx_gitpod_keys(zone, NGX_GITPOD_KEYS_FED, log);

    return gp_jose_keys_count(fed)
           + gp_jose_keys_beside(ngx_gitpod_keys(zone,
                                                 NGX_GITPOD_KEYS_FETCHED, log),
                                 fed);
}


ngx_uint_t
ngx_gitpod_keys_generation(ngx_gitpod_zone_t *zone)
{
    ngx_uint_t  i, generation;

    /* none of them goes back, so the sum never comes again */

    generation = 1;

    for (i = 0; i < NGX_GITPOD_KEY_SETS; i++) {
        generation += __atomic_load_n(&zone->keys[i].seq, __ATOMIC_ACQUIRE);
    }

    return generation;
}


ngx_int_t
ngx_gitpod_keys_copy(ngx_gitpod_key_text_t *set, u_char *text, size_t *len,
    uint64_t *seq)
{
    uint64_t    now;
    ngx_uint_t  tries;

    for (tries = 0; tries < 1000; tries++) {
        now = __atomic_load_n(&set->seq, __ATOMIC_ACQUIRE);

        *len = ngx_min(set->len[now & 1], set->max);
        ngx_memcpy(text, set->text[now & 1], *len);

        __atomic_thread_fence(__ATOMIC_ACQUIRE);

        if (__atomic_load_n(&set->seq, __ATOMIC_RELAXED) == now) {
            *seq = now;
            return NGX_OK;
        }
    }

    return NGX_AGAIN;
}


ngx_int_t
ngx_gitpod_keys_feed(ngx_gitpod_zone_t *zone, ngx_gitpod_key_set_e which,
    ngx_str_t *text, ngx_log_t *log)
{
    int                     rc;
    uint64_t                seq;
    gp_jose_keys_t         *keys;
    ngx_gitpod_key_text_t  *set;

    set = &zone->keys[which];
    seq = set->seq;

    if (set->len[seq & 1] == text->len && text->len
        && ngx_memcmp(set->text[seq & 1], text->data, text->len) == 0)
    {
        return NGX_OK;
    }

    if (text->len == 0 || text->len > set->max) {
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "gitpod: a key set of %uz bytes was not taken: "
                      "1 to %uD are allowed", text->len, set->max);
        return NGX_DECLINED;
    }

    /* a broken set never replaces a good one */

    rc = gp_jose_keys_parse((char *) text->data, text->len, &keys);

    if (rc != 0) {
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "gitpod: a key set of %uz bytes was not taken: "
                      "no usable key in it (%d)", text->len, rc);
        return NGX_DECLINED;
    }

    gp_jose_keys_free(keys);

    ngx_gitpod_keys_write(zone, set, text);
    ngx_gitpod_count(zone, NGX_GITPOD_N_KEY_SET);

    return NGX_OK;
}


void
ngx_gitpod_keys_drop(ngx_gitpod_zone_t *zone, ngx_gitpod_key_set_e which)
{
    ngx_str_t  none;

    ngx_str_null(&none);
    ngx_gitpod_keys_write(zone, &zone->keys[which], &none);
}


static void
ngx_gitpod_keys_write(ngx_gitpod_zone_t *zone, ngx_gitpod_key_text_t *set,
    ngx_str_t *text)
{
    uint64_t  seq;

    ngx_gitpod_zone_lock(zone);

    seq = set->seq + 1;

    __atomic_thread_fence(__ATOMIC_SEQ_CST);

    if (text->len) {
        ngx_memcpy(set->text[seq & 1], text->data, text->len);
    }

    set->len[seq & 1] = (uint32_t) text->len;

    __atomic_store_n(&set->seq, seq, __ATOMIC_RELEASE);

    ngx_gitpod_zone_unlock(zone);
}


void
ngx_gitpod_keys_done(void)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_GITPOD_KEY_SETS; i++) {
        ngx_gitpod_keys_parsed[i] =
                                gp_jose_keys_free(ngx_gitpod_keys_parsed[i]);
        ngx_gitpod_keys_seq[i] = 0;
    }
}

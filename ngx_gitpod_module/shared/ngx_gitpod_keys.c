
/*
 * The text of the key set lives in the zone, its parsed form (OpenSSL handles
 * cannot be shared) in each worker, parsed again when the text moved.
 */


#include "ngx_gitpod_zone.h"


static gp_jose_keys_t  *ngx_gitpod_keys_parsed;
static uint64_t         ngx_gitpod_keys_seq;


static ngx_int_t ngx_gitpod_keys_copy(ngx_gitpod_zone_t *zone, u_char *text,
    size_t *len, uint64_t *seq);


gp_jose_keys_t *
ngx_gitpod_keys(ngx_gitpod_zone_t *zone, ngx_log_t *log)
{
    size_t           len;
    u_char          *text;
    uint64_t         seq;
    gp_jose_keys_t  *keys;

    seq = __atomic_load_n(&zone->keys_seq, __ATOMIC_ACQUIRE);

    if (seq == ngx_gitpod_keys_seq) {
        return ngx_gitpod_keys_parsed;
    }

    text = ngx_alloc(GP_JOSE_KEY_SET_MAX, log);
    if (text == NULL) {
        return ngx_gitpod_keys_parsed;
    }

    if (ngx_gitpod_keys_copy(zone, text, &len, &seq) == NGX_OK) {

        if (gp_jose_keys_parse((char *) text, len, &keys) == 0) {
            gp_jose_keys_free(ngx_gitpod_keys_parsed);
            ngx_gitpod_keys_parsed = keys;
            ngx_gitpod_keys_seq = seq;

        } else {
            ngx_log_error(NGX_LOG_ALERT, log, 0,
                          "gitpod: out of memory for the key set, "
                          "the old one stays");
        }
    }

    ngx_free(text);

    return ngx_gitpod_keys_parsed;
}


static ngx_int_t
ngx_gitpod_keys_copy(ngx_gitpod_zone_t *zone, u_char *text, size_t *len,
    uint64_t *seq)
{
    uint64_t    now;
    ngx_uint_t  tries;

    for (tries = 0; tries < 1000; tries++) {
        now = __atomic_load_n(&zone->keys_seq, __ATOMIC_ACQUIRE);

        *len = ngx_min(zone->keys_len[now & 1], GP_JOSE_KEY_SET_MAX);
        ngx_memcpy(text, zone->keys_text[now & 1], *len);

        __atomic_thread_fence(__ATOMIC_ACQUIRE);

        if (__atomic_load_n(&zone->keys_seq, __ATOMIC_RELAXED) == now) {
            *seq = now;
            return NGX_OK;
        }
    }

    return NGX_AGAIN;
}


ngx_int_t
ngx_gitpod_keys_feed(ngx_gitpod_zone_t *zone, ngx_str_t *text, ngx_log_t *log)
{
    int              rc;
    uint64_t         seq;
    gp_jose_keys_t  *keys;

    seq = zone->keys_seq;

    if (zone->keys_len[seq & 1] == text->len && text->len
        && ngx_memcmp(zone->keys_text[seq & 1], text->data, text->len) == 0)
    {
        return NGX_OK;
    }

    if (text->len == 0 || text->len > GP_JOSE_KEY_SET_MAX) {
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "gitpod: a key set of %uz bytes was not taken: "
                      "1 to %d are allowed", text->len, GP_JOSE_KEY_SET_MAX);
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

    ngx_gitpod_zone_lock(zone);

    seq = zone->keys_seq + 1;

    __atomic_thread_fence(__ATOMIC_SEQ_CST);

    ngx_memcpy(zone->keys_text[seq & 1], text->data, text->len);
    zone->keys_len[seq & 1] = (uint32_t) text->len;

    __atomic_store_n(&zone->keys_seq, seq, __ATOMIC_RELEASE);

    ngx_gitpod_zone_unlock(zone);

    ngx_gitpod_count(zone, NGX_GITPOD_N_KEY_SET);

    return NGX_OK;
}


void
ngx_gitpod_keys_done(void)
{
    ngx_gitpod_keys_parsed = gp_jose_keys_free(ngx_gitpod_keys_parsed);
    ngx_gitpod_keys_seq = 0;
}

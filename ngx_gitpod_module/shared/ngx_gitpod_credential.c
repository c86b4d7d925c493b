
/*
 * What the auth plugin said about opaque credentials, by SHA-256 of their
 * text.  Any worker writes; the clock evicts what was not read lately.
 */


#include "ngx_gitpod_zone.h"


ngx_int_t
ngx_gitpod_credential_get(ngx_gitpod_zone_t *zone,
    u_char digest[NGX_GITPOD_DIGEST_LEN], ngx_gitpod_credential_t *copy)
{
    ngx_str_t  user, credential;

    if (ngx_gitpod_table_get(&zone->credentials, digest,
                             NGX_GITPOD_DIGEST_LEN, copy)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    if (copy->expires && copy->expires <= ngx_time()) {
        return NGX_DECLINED;
    }

    /* an answer that was under way when the revocation arrived */

    user.data = copy->user;
    user.len = copy->user_len;
    credential.data = copy->credential;
    credential.len = copy->credential_len;

    if (ngx_gitpod_revoked(zone, NGX_GITPOD_REVOKED_TOKEN, &credential, 0)
        || (user.len
            && ngx_gitpod_revoked(zone, NGX_GITPOD_REVOKED_USER, &user,
                                  copy->fetched)))
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


void
ngx_gitpod_credential_put(ngx_gitpod_zone_t *zone,
    u_char digest[NGX_GITPOD_DIGEST_LEN], ngx_gitpod_credential_t *credential)
{
    ngx_gitpod_zone_lock(zone);

    if (ngx_gitpod_table_set(&zone->credentials, digest,
                             NGX_GITPOD_DIGEST_LEN, credential)
        == NGX_BUSY)
    {
        ngx_gitpod_table_evict(&zone->credentials);

        (void) ngx_gitpod_table_set(&zone->credentials, digest,
                                    NGX_GITPOD_DIGEST_LEN, credential);
    }

    ngx_gitpod_zone_unlock(zone);
}


void
ngx_gitpod_credential_remove(ngx_gitpod_zone_t *zone,
    u_char digest[NGX_GITPOD_DIGEST_LEN])
{
    ngx_gitpod_zone_lock(zone);

    ngx_gitpod_table_remove(&zone->credentials, digest,
                            NGX_GITPOD_DIGEST_LEN);

    ngx_gitpod_zone_unlock(zone);
}


/* Under the lock. */

void
ngx_gitpod_credential_forget(ngx_gitpod_zone_t *zone,
    ngx_gitpod_revoked_e kind, ngx_str_t *id)
{
    uint32_t                  n;
    ngx_str_t                 key;
    ngx_gitpod_credential_t  *credential;

    if (kind != NGX_GITPOD_REVOKED_USER && kind != NGX_GITPOD_REVOKED_TOKEN) {
        return;
    }

    for (n = 0;
         (credential = ngx_gitpod_table_walk(&zone->credentials, &n, &key))
         != NULL;
         n++)
    {
        if ((kind == NGX_GITPOD_REVOKED_USER
             && credential->user_len == id->len
             && ngx_memcmp(credential->user, id->data, id->len) == 0)
            || (kind == NGX_GITPOD_REVOKED_TOKEN
                && credential->credential_len == id->len
                && ngx_memcmp(credential->credential, id->data, id->len)
                   == 0))
        {
            ngx_gitpod_table_drop(&zone->credentials, n);
        }
    }
}

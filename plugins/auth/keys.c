#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include "jose/jws.h"
#include "auth.h"

/*
 * Signing keys. The table is the truth; memory holds the parsed private keys
 * and the text of the public set, made anew after each change.
 *
 * Invariants: a key is in the published set AUTH_KEY_DELAY_S before it signs,
 * and stays there until the last token it signed has expired.
 */
#define AUTH_KEY_GRACE_S 60 /* beyond the longest token: clocks differ */

typedef struct {
    gp_jose_key_t *key;
    int64_t active_from_epoch_s;
} auth_signer_t;

struct auth_keys {
    pthread_mutex_t lock;
    auth_signer_t signers[GP_JOSE_KEYS_MAX];
    size_t n;
    char *set; /* JWKS text */
    char *set_path; /* jwks.json */
    int64_t newest_epoch_s;
};

/* What one load collects, before it replaces what there was. */
typedef struct {
    auth_t *auth;
    gp_arena_t *arena;
    auth_signer_t signers[GP_JOSE_KEYS_MAX];
    size_t n;
    const char *jwks[GP_JOSE_KEYS_MAX];
    size_t n_jwks;
    int64_t newest_epoch_s;
    int64_t due; /* keys that may sign now */
} auth_load_t;

/* What one rotation writes. */
typedef struct {
    gp_arena_t *arena;
    const char *kid;
    const char *jwk;
    const void *sealed;
    size_t sealed_len;
    int64_t active_from_epoch_s;
    int64_t n;
    int64_t oldest_epoch_s;
} auth_rotation_t;


static const char *auth_key_context(gp_arena_t *arena, const char *kid)
{
    return gp_arena_printf(arena, "signing-key:%s", kid);
}


static void auth_signers_free(auth_signer_t *signers, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        signers[i].key = gp_jose_key_free(signers[i].key);
    }
}


/* A key that does not open any more still verifies: only its public half is needed for that. */
static int auth_load_row(const gp_row_t *row, void *data, gp_err_t *err)
{
    auth_load_t *load = data;
    gp_jose_key_t *key = NULL;
    const char *kid = gp_row_text(row, 0);
    const void *sealed;
    size_t sealed_len, pem_len = 0;
    char *pem = NULL;
    int rc;

    load->jwks[load->n_jwks++] = gp_arena_strdup(load->arena, gp_row_text(row, 1));
    sealed = gp_row_blob(row, 2, &sealed_len);
    rc = auth_vault_unseal(load->auth->vault, auth_key_context(load->arena, kid), sealed, sealed_len, load->arena, &pem, &pem_len, err);
    if (rc == 0) {
        rc = gp_jose_key_from_pem(pem, pem_len, &key);
    }
    if (rc < 0) {
        gp_log(GP_LOG_ERROR, "a signing key does not open; it verifies tokens still, and another one signs", "key", kid, NULL);
        return 0;
    }

    load->signers[load->n].key = key;
    load->signers[load->n].active_from_epoch_s = gp_row_int(row, 3);
    load->due += gp_row_int(row, 3) <= gp_clock_epoch_s() ? 1 : 0;
    load->newest_epoch_s = gp_row_int(row, 3);
    load->n++;

    return 0;
}


/* jwks.json, by rename: a reader sees the old set or the new one. */
static int auth_set_write(const char *path, const char *text, gp_err_t *err)
{
    gp_auto_free char *tmp = NULL;
    gp_auto_fd int fd = -1;
    size_t len = strlen(text);

    if (asprintf(&tmp, "%s.new", path) < 0) {
        tmp = NULL;
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory");
    }
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, len) != (ssize_t) len || fchmod(fd, 0644) != 0 || fsync(fd) != 0 || rename(tmp, path) != 0) {
        return gp_err_errno(err, errno, "key set %s", path);
    }

    return 0;
}


static void auth_keys_replace(auth_keys_t *keys, auth_load_t *load, char *set)
{
    (void) pthread_mutex_lock(&keys->lock);
    auth_signers_free(keys->signers, keys->n);
    memcpy(keys->signers, load->signers, load->n * sizeof(auth_signer_t));
    keys->n = load->n;
    keys->newest_epoch_s = load->newest_epoch_s;
    free(keys->set);
    keys->set = set;
    (void) pthread_mutex_unlock(&keys->lock);
}


/* Reads the table; *ret_due: keys that may sign now. */
static int auth_keys_load(auth_t *auth, auth_keys_t *keys, int64_t *ret_due, gp_err_t *err)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(1048576);
    auth_load_t load = {.auth = auth, .arena = arena};
    char *set = NULL;
    int rc;

    rc = gp_db_query(auth->db, auth_load_row, &load, GP_JOSE_KEYS_MAX, err,
                     "SELECT kid, jwk, sealed, active_from FROM signing_key ORDER BY active_from, kid", "");
    if (rc == 0 && load.n_jwks > 0) {
        rc = gp_jose_jwks_format(load.jwks, load.n_jwks, &set);
        if (rc < 0) {
            (void) gp_err(err, -rc, "the key set cannot be written");
        }
    }
    if (rc == 0 && set != NULL) {
        rc = auth_set_write(keys->set_path, set, err);
    }
    if (rc < 0) {
        auth_signers_free(load.signers, load.n);
        free(set);
        return rc;
    }
    auth_keys_replace(keys, &load, set);
    *ret_due = load.due;

    return 0;
}


static int auth_rotation_count(const gp_row_t *row, void *data, gp_err_t *err)
{
    auth_rotation_t *rotation = data;

    rotation->n = gp_row_int(row, 0);
    rotation->oldest_epoch_s = gp_row_int(row, 1);

    return 0;
}


static int auth_rotation_write(gp_db_t *db, void *data, gp_err_t *err)
{
    auth_rotation_t *rotation = data;
    int64_t last = rotation->active_from_epoch_s + GP_SESSION_TTL_S + AUTH_KEY_GRACE_S;
    int rc;

    rc = gp_db_query(db, auth_rotation_count, rotation, 1, err, "SELECT count(*), min(not_after) FROM signing_key WHERE not_after > 0", "");
    if (rc < 0) {
        return rc;
    }
    if (rotation->n >= GP_JOSE_KEYS_MAX - 1) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "%d keys are in the set, more do not fit; the oldest leaves it in %lld s",
                      GP_JOSE_KEYS_MAX, (long long) (rotation->oldest_epoch_s - gp_clock_epoch_s()));
    }
    rc = gp_db_exec(db, NULL, err, "UPDATE signing_key SET not_after = ? WHERE not_after = 0", "i", last);
    if (rc < 0) {
        return rc;
    }

    return gp_db_exec(db, NULL, err, "INSERT INTO signing_key (kid, jwk, sealed, created, active_from) VALUES (?, ?, ?, ?, ?)", "ssbii",
                      rotation->kid, rotation->jwk, rotation->sealed, rotation->sealed_len, gp_clock_epoch_s(),
                      rotation->active_from_epoch_s);
}


static void auth_jose_key_free_ptr(gp_jose_key_t **key)
{
    *key = gp_jose_key_free(*key);
}


/* A key that signs from that time on. */
static int auth_keys_add(auth_t *auth, int64_t active_from_epoch_s, gp_arena_t *arena, char **ret_kid, gp_err_t *err)
{
    auth_rotation_t rotation = {.arena = arena, .active_from_epoch_s = active_from_epoch_s};
    gp_cleanup(auth_jose_key_free_ptr) gp_jose_key_t *key = NULL;
    gp_auto_free char *jwk = NULL;
    size_t pem_len = 0;
    void *sealed = NULL;
    char *pem = NULL, *kid;
    int rc;

    if (gp_jose_key_generate(&key) < 0 || gp_jose_key_to_pem(key, &pem, &pem_len) < 0 || gp_jose_key_to_jwk(key, &jwk) < 0) {
        gp_jose_secret_free(pem, pem_len);
        return gp_err(err, GP_INTERNAL, "a signing key cannot be made: OpenSSL failed");
    }
    kid = gp_arena_strdup(arena, gp_jose_key_id(key));
    rc = auth_vault_seal(auth->vault, auth_key_context(arena, kid), pem, pem_len, arena, &sealed, &rotation.sealed_len, err);
    gp_jose_secret_free(pem, pem_len);
    if (rc < 0) {
        return rc;
    }

    rotation.kid = kid;
    rotation.jwk = jwk;
    rotation.sealed = sealed;
    rc = gp_db_transaction(auth->db, auth_rotation_write, &rotation, err);
    if (rc == 0) {
        gp_log(GP_LOG_INFO, "new signing key", "key", kid, NULL);
        *ret_kid = kid;
    }

    return rc;
}


int auth_keys_rotate(auth_t *auth, gp_arena_t *arena, char **ret_kid, gp_err_t *err)
{
    int64_t due;
    char *kid = NULL;
    int rc;

    rc = auth_keys_add(auth, gp_clock_epoch_s() + AUTH_KEY_DELAY_S, arena, &kid, err);
    if (rc == 0) {
        rc = auth_keys_load(auth, auth->keys, &due, err);
    }
    if (rc == 0) {
        auth_feed_wake(auth->feed);
        if (ret_kid != NULL) {
            *ret_kid = kid;
        }
    }

    return rc;
}


int auth_keys_maintain(auth_t *auth, gp_err_t *err)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(1048576);
    int64_t dropped = 0, due, newest;
    int rc;

    rc = gp_db_exec(auth->db, &dropped, err, "DELETE FROM signing_key WHERE not_after > 0 AND not_after < ?", "i", gp_clock_epoch_s());
    if (rc < 0) {
        return rc;
    }

    (void) pthread_mutex_lock(&auth->keys->lock);
    newest = auth->keys->newest_epoch_s;
    (void) pthread_mutex_unlock(&auth->keys->lock);
    if (newest + auth->conf->key_lifetime_s <= gp_clock_epoch_s()) {
        return auth_keys_rotate(auth, arena, NULL, err);
    }
    if (dropped > 0) {
        rc = auth_keys_load(auth, auth->keys, &due, err);
        auth_feed_wake(auth->feed);
    }

    return rc;
}


int auth_keys_open(auth_t *auth, auth_keys_t **ret_keys, gp_err_t *err)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(1048576);
    auth_keys_t *keys = calloc(1, sizeof(*keys));
    char *kid = NULL;
    int64_t due = 0;
    int rc;

    gp_assert(keys != NULL);
    (void) pthread_mutex_init(&keys->lock, NULL);
    if (asprintf(&keys->set_path, "%s/keys/jwks.json", auth->conf->service.state_dir) < 0) {
        gp_die("out of memory");
    }
    rc = auth_keys_load(auth, keys, &due, err);
    if (rc == 0 && due == 0) {
        rc = auth_keys_add(auth, gp_clock_epoch_s(), arena, &kid, err);
        if (rc == 0) {
            rc = auth_keys_load(auth, keys, &due, err);
        }
    }
    if (rc < 0) {
        (void) auth_keys_close(keys);
        return rc;
    }
    *ret_keys = keys;

    return 0;
}


auth_keys_t *auth_keys_close(auth_keys_t *keys)
{
    if (keys != NULL) {
        auth_signers_free(keys->signers, keys->n);
        (void) pthread_mutex_destroy(&keys->lock);
        free(keys->set);
        free(keys->set_path);
        free(keys);
    }

    return NULL;
}


int auth_keys_issue(auth_t *auth, const gp_jose_issue_t *claims, gp_arena_t *arena, char **ret_token, gp_err_t *err)
{
    auth_keys_t *keys = auth->keys;
    int64_t now = gp_clock_epoch_s();
    gp_auto_free char *token = NULL;
    gp_jose_key_t *key = NULL;
    int rc = -GP_INTERNAL;
    size_t i;

    (void) pthread_mutex_lock(&keys->lock);
    for (i = 0; i < keys->n; i++) {
        if (keys->signers[i].active_from_epoch_s <= now || key == NULL) {
            key = keys->signers[i].key;
        }
    }
    if (key != NULL) {
        rc = gp_jose_issue(key, claims, &token);
    }
    (void) pthread_mutex_unlock(&keys->lock);
    if (rc < 0) {
        return gp_err(err, -rc, "a token cannot be signed");
    }
    *ret_token = gp_arena_strdup(arena, token);

    return 0;
}


char *auth_keys_set(auth_keys_t *keys, gp_arena_t *arena)
{
    char *text;

    (void) pthread_mutex_lock(&keys->lock);
    text = gp_arena_strdup(arena, keys->set);
    (void) pthread_mutex_unlock(&keys->lock);

    return text;
}

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/cleanup.h"
#include "base/die.h"
#include "base/random.h"
#include "auth.h"

/*
 * Sealed form: one byte of version, 12 of nonce, the cipher text, 16 of tag.
 * Nonces are random: with one key, 2^32 seals stay far below the bound of
 * NIST SP 800-38D 8.3, and this service seals thousands at most.
 */
#define AUTH_VAULT_VERSION 1
#define AUTH_VAULT_NONCE 12
#define AUTH_VAULT_TAG 16
#define AUTH_VAULT_HEAD (1 + AUTH_VAULT_NONCE)
#define AUTH_VAULT_TEXT_MAX 65536 /* bytes of one text */

struct auth_vault {
    uint8_t key[AUTH_KEY_LEN];
};

static void auth_cipher_free(EVP_CIPHER_CTX **ctx)
{
    EVP_CIPHER_CTX_free(*ctx);
}


int auth_vault_open(const char *path, auth_vault_t **ret_vault, gp_err_t *err)
{
    auth_vault_t *vault = calloc(1, sizeof(*vault));
    int rc;

    gp_assert(vault != NULL);
    rc = auth_key_file(path, vault->key, err);
    if (rc < 0) {
        (void) auth_vault_close(vault);
        return rc;
    }
    *ret_vault = vault;

    return 0;
}


auth_vault_t *auth_vault_close(auth_vault_t *vault)
{
    if (vault != NULL) {
        OPENSSL_cleanse(vault, sizeof(*vault));
        free(vault);
    }

    return NULL;
}


int auth_vault_seal(const auth_vault_t *vault, const char *context, const void *text, size_t len, gp_arena_t *arena, void **ret_sealed,
                    size_t *ret_len, gp_err_t *err)
{
    gp_cleanup(auth_cipher_free) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t *sealed;
    int n = 0, rest = 0;

    if (len > AUTH_VAULT_TEXT_MAX) {
        return gp_err(err, GP_INVALID_ARGUMENT, "a secret of %zu bytes is longer than %d", len, AUTH_VAULT_TEXT_MAX);
    }

    sealed = gp_arena_alloc(arena, AUTH_VAULT_HEAD + len + AUTH_VAULT_TAG);
    sealed[0] = AUTH_VAULT_VERSION;
    gp_random_bytes(sealed + 1, AUTH_VAULT_NONCE);
    if (ctx == NULL || EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, vault->key, sealed + 1) != 1 ||
        EVP_EncryptUpdate(ctx, NULL, &n, (const unsigned char *) context, (int) strlen(context)) != 1 ||
        EVP_EncryptUpdate(ctx, sealed + AUTH_VAULT_HEAD, &n, text, (int) len) != 1 || n != (int) len ||
        EVP_EncryptFinal_ex(ctx, sealed + AUTH_VAULT_HEAD + len, &rest) != 1 || rest != 0 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, AUTH_VAULT_TAG, sealed + AUTH_VAULT_HEAD + len) != 1) {
        return gp_err(err, GP_INTERNAL, "AES-256-GCM failed in OpenSSL");
    }
    *ret_sealed = sealed;
    *ret_len = AUTH_VAULT_HEAD + len + AUTH_VAULT_TAG;

    return 0;
}


static void auth_wipe(void *text)
{
    OPENSSL_cleanse(text, strlen(text));
}


int auth_vault_unseal(const auth_vault_t *vault, const char *context, const void *sealed, size_t len, gp_arena_t *arena, char **ret_text,
                      size_t *ret_len, gp_err_t *err)
{
    gp_cleanup(auth_cipher_free) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    const uint8_t *in = sealed;
    uint8_t tag[AUTH_VAULT_TAG];
    size_t text_len;
    int n = 0, rest = 0;
    char *text;

    if (len < AUTH_VAULT_HEAD + AUTH_VAULT_TAG || len > AUTH_VAULT_HEAD + AUTH_VAULT_TEXT_MAX + AUTH_VAULT_TAG ||
        in[0] != AUTH_VAULT_VERSION) {
        return gp_err(err, GP_DATA_LOSS, "a sealed secret is damaged");
    }

    text_len = len - AUTH_VAULT_HEAD - AUTH_VAULT_TAG;
    memcpy(tag, in + len - AUTH_VAULT_TAG, AUTH_VAULT_TAG);
    text = gp_arena_alloc(arena, text_len + 1);
    if (ctx == NULL || EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, vault->key, in + 1) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, AUTH_VAULT_TAG, tag) != 1 ||
        EVP_DecryptUpdate(ctx, NULL, &n, (const unsigned char *) context, (int) strlen(context)) != 1 ||
        EVP_DecryptUpdate(ctx, (unsigned char *) text, &n, in + AUTH_VAULT_HEAD, (int) text_len) != 1) {
        return gp_err(err, GP_INTERNAL, "AES-256-GCM failed in OpenSSL");
    }
    if (EVP_DecryptFinal_ex(ctx, (unsigned char *) text + text_len, &rest) != 1) {
        OPENSSL_cleanse(text, text_len);
        return gp_err(err, GP_DATA_LOSS,
                      "a stored secret does not open with the key file: the file or the database was exchanged or damaged");
    }
    gp_arena_cleanup(arena, auth_wipe, text);
    *ret_text = text;
    *ret_len = text_len;

    return 0;
}

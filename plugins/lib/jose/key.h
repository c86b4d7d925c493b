#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/span.h"

/*
 * Private P-256 keys: generated, kept as PKCS #8 PEM, sign ES256 tokens. The
 * key id is the RFC 7638 thumbprint. One thread at a time per handle.
 */
typedef struct gp_jose_key gp_jose_key_t;

#define GP_JOSE_THUMBPRINT_LEN 43 /* characters: base64url of SHA-256 */

/* 0; -GP_INTERNAL when OpenSSL fails. */
int gp_jose_key_generate(gp_jose_key_t **ret_key) __attribute__((warn_unused_result));

/* Text form. 0; -GP_INVALID_ARGUMENT: not an unencrypted P-256 private key in PEM. */
int gp_jose_key_from_pem(const char *pem, size_t len, gp_jose_key_t **ret_key) __attribute__((warn_unused_result));

/* *ret_pem is malloc'd and NUL-terminated: gp_jose_secret_free() wipes and frees it. */
int gp_jose_key_to_pem(const gp_jose_key_t *key, char **ret_pem, size_t *ret_len) __attribute__((warn_unused_result));

/*
 * Files of mode 0600, written by rename beside the target and fsync'd.
 * 0; -GP_NOT_FOUND: no such file; -GP_INVALID_ARGUMENT: not a key, or readable
 * by group or others; -GP_INTERNAL: errno says why.
 */
int gp_jose_key_load(const char *path, gp_jose_key_t **ret_key) __attribute__((warn_unused_result));
int gp_jose_key_store(const gp_jose_key_t *key, const char *path) __attribute__((warn_unused_result));

gp_jose_key_t *gp_jose_key_free(gp_jose_key_t *key); /* NULL is fine; returns NULL */

/* The kid, NUL-terminated, as long as the key lives. */
const char *gp_jose_key_id(const gp_jose_key_t *key);

/*
 * The public half as one JWK: {"kty":"EC","crv":"P-256","x":...,"y":...,
 * "kid":...,"use":"sig","alg":"ES256"}. malloc'd, NUL-terminated; free().
 */
int gp_jose_key_to_jwk(const gp_jose_key_t *key, char **ret_jwk) __attribute__((warn_unused_result));

/* {"keys":[...]} of JWK texts (n at most GP_JOSE_KEYS_MAX). malloc'd, NUL-terminated; free(). */
int gp_jose_jwks_format(const char *const *jwks, size_t n, char **ret_json) __attribute__((warn_unused_result));

/*
 * gp_jose_sign() - an ES256 compact token over a JSON object
 *
 * The header is {"alg":"ES256","typ":"JWT","kid":...}. The token is malloc'd and
 * NUL-terminated; free(). -GP_OUT_OF_RANGE: it would be longer than
 * GP_CREDENTIAL_MAX.
 */
int gp_jose_sign(gp_jose_key_t *key, const char *payload, size_t len, char **ret_token) __attribute__((warn_unused_result));

/* The claims of docs/contracts/tokens.md; NULL and 0 are left out of the token. */
typedef struct {
    const char *iss;
    const char *aud;
    const char *sub;
    const char *sid;
    const char *ws;
    int64_t iat_epoch_s;
    int64_t exp_epoch_s;
} gp_jose_issue_t;

/* gp_jose_sign() over these claims. */
int gp_jose_issue(gp_jose_key_t *key, const gp_jose_issue_t *claims, char **ret_token) __attribute__((warn_unused_result));

/* Wipes and frees; NULL is fine. */
void gp_jose_secret_free(char *secret, size_t len);

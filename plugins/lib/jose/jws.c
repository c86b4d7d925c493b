#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include "core/base64url.h"
#include "core/code.h"
#include "core/contract.h"
#include "core/jwt_split.h"
#include "jose/claims.h"
#include "jose/digest.h"
#include "jose/jws.h"

/*
 * The key set and verification. Each key keeps its parsed EVP_PKEY and knows
 * the one algorithm it verifies; a token's "alg" must equal it, it never
 * selects anything. What costs as much as a tenth of a verification is kept
 * too: the context of OpenSSL, and the header that named the key last, since
 * tokens of one issuer and key have the same.
 */
#define GP_ES256_COORDINATE 32 /* bytes of r, s, x, y on P-256 */
#define GP_RSA_MIN_BITS 2048
#define GP_RSA_MAX_BITS 4096
#define GP_HEADER_KEPT_MAX 256 /* bytes: ours has 115 */
#define GP_RSA_EXPONENT_MAX 8 /* bytes: a large one is a way to burn our time */

typedef struct {
    char kid[GP_JOSE_KID_MAX + 1];
    unsigned alg; /* GP_JOSE_ES256 or GP_JOSE_RS256 */
    EVP_PKEY *pkey;
    EVP_PKEY_CTX *verify;
    size_t header_len; /* 0: none yet */
    char header[GP_HEADER_KEPT_MAX]; /* base64url */
} gp_jose_public_t;

struct gp_jose_keys {
    size_t n;
    EVP_MD_CTX *ctx;
    EVP_MD *sha256;
    gp_jose_public_t key[GP_JOSE_KEYS_MAX];
};


gp_jose_keys_t *gp_jose_keys_free(gp_jose_keys_t *keys)
{
    size_t i;

    if (keys != NULL) {
        for (i = 0; i < keys->n; i++) {
            EVP_PKEY_CTX_free(keys->key[i].verify);
            EVP_PKEY_free(keys->key[i].pkey);
        }
        EVP_MD_free(keys->sha256);
        EVP_MD_CTX_free(keys->ctx);
        free(keys);
    }

    return NULL;
}


size_t gp_jose_keys_count(const gp_jose_keys_t *keys)
{
    return keys != NULL ? keys->n : 0;
}


/* A base64url member to bytes, big-endian without sign. */
static bool gp_jwk_bytes(const json_t *jwk, const char *name, uint8_t *dst, size_t max, size_t *ret_len)
{
    const json_t *value = json_object_get(jwk, name);
    size_t len = json_string_length(value);

    return json_is_string(value) && len > 0 && GP_BASE64URL_DECODED_MAX(len) <= max &&
           gp_base64url_decode(json_string_value(value), len, dst, ret_len) == 0;
}


static EVP_PKEY *gp_pkey_from(const char *type, OSSL_PARAM_BLD *bld)
{
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *pkey = NULL;

    if (params == NULL || ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1) {
        pkey = NULL;
    }
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);

    return pkey;
}


/* The point must lie on the curve; OpenSSL checks that in fromdata, EVP_PKEY_public_check() says it again. */
static EVP_PKEY *gp_jwk_ec(const json_t *jwk)
{
    uint8_t point[1 + 2 * GP_ES256_COORDINATE];
    const char *crv = json_string_value(json_object_get(jwk, "crv"));
    OSSL_PARAM_BLD *bld;
    EVP_PKEY_CTX *check;
    EVP_PKEY *pkey = NULL;
    size_t x_len, y_len;

    point[0] = 0x04; /* uncompressed */
    if (crv == NULL || strcmp(crv, "P-256") != 0 || !gp_jwk_bytes(jwk, "x", point + 1, GP_ES256_COORDINATE, &x_len) ||
        !gp_jwk_bytes(jwk, "y", point + 1 + GP_ES256_COORDINATE, GP_ES256_COORDINATE, &y_len) || x_len != GP_ES256_COORDINATE ||
        y_len != GP_ES256_COORDINATE) {
        return NULL;
    }

    bld = OSSL_PARAM_BLD_new();
    if (bld != NULL && OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)) == 1) {
        pkey = gp_pkey_from("EC", bld);
    }
    OSSL_PARAM_BLD_free(bld);
    if (pkey == NULL) {
        return NULL;
    }

    check = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    if (check == NULL || EVP_PKEY_public_check(check) != 1) {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
    EVP_PKEY_CTX_free(check);

    return pkey;
}


static EVP_PKEY *gp_jwk_rsa(const json_t *jwk)
{
    uint8_t n[GP_RSA_MAX_BITS / 8 + 1], e[GP_RSA_EXPONENT_MAX];
    OSSL_PARAM_BLD *bld = NULL;
    EVP_PKEY *pkey = NULL;
    BIGNUM *bn_n, *bn_e;
    size_t n_len, e_len;

    if (!gp_jwk_bytes(jwk, "n", n, sizeof(n), &n_len) || !gp_jwk_bytes(jwk, "e", e, sizeof(e), &e_len)) {
        return NULL;
    }

    bn_n = BN_bin2bn(n, (int) n_len, NULL);
    bn_e = BN_bin2bn(e, (int) e_len, NULL);
    if (bn_n != NULL && bn_e != NULL && BN_num_bits(bn_n) >= GP_RSA_MIN_BITS && BN_num_bits(bn_n) <= GP_RSA_MAX_BITS && BN_is_odd(bn_n) &&
        BN_is_odd(bn_e) && BN_num_bits(bn_e) > 1) {
        bld = OSSL_PARAM_BLD_new();
    }
    if (bld != NULL && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn_n) == 1 &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, bn_e) == 1) {
        pkey = gp_pkey_from("RSA", bld);
    }
    OSSL_PARAM_BLD_free(bld);
    BN_free(bn_n);
    BN_free(bn_e);

    return pkey;
}


static bool gp_jwk_member_is(const json_t *jwk, const char *name, const char *want)
{
    const json_t *value = json_object_get(jwk, name);

    return value == NULL || (json_is_string(value) && strcmp(json_string_value(value), want) == 0);
}


static EVP_PKEY_CTX *gp_verify_context(EVP_PKEY *pkey, const EVP_MD *md, bool ec)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);

    if (ctx != NULL && EVP_PKEY_verify_init(ctx) == 1 && EVP_PKEY_CTX_set_signature_md(ctx, md) == 1 &&
        (ec || EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1)) {
        return ctx;
    }
    EVP_PKEY_CTX_free(ctx);

    return NULL;
}


/* Adds the key, or passes over what is not for us. */
static int gp_jose_keys_add(gp_jose_keys_t *keys, const json_t *jwk)
{
    const char *kid = json_string_value(json_object_get(jwk, "kid")), *kty = json_string_value(json_object_get(jwk, "kty"));
    gp_jose_public_t *key;
    bool ec;
    size_t i;

    if (kid == NULL || kty == NULL || kid[0] == '\0' || strlen(kid) > GP_JOSE_KID_MAX || !gp_jwk_member_is(jwk, "use", "sig")) {
        return 0;
    }
    ec = strcmp(kty, "EC") == 0;
    if ((!ec && strcmp(kty, "RSA") != 0) || !gp_jwk_member_is(jwk, "alg", ec ? "ES256" : "RS256")) {
        return 0;
    }
    for (i = 0; i < keys->n; i++) {
        if (strcmp(keys->key[i].kid, kid) == 0) {
            return -GP_INVALID_ARGUMENT;
        }
    }
    if (keys->n == GP_JOSE_KEYS_MAX) {
        return -GP_INVALID_ARGUMENT;
    }

    key = &keys->key[keys->n];
    key->pkey = ec ? gp_jwk_ec(jwk) : gp_jwk_rsa(jwk);
    if (key->pkey != NULL) {
        key->verify = gp_verify_context(key->pkey, keys->sha256, ec);
        if (key->verify == NULL) {
            EVP_PKEY_free(key->pkey);
            key->pkey = NULL;
            return -GP_RESOURCE_EXHAUSTED;
        }
        key->alg = ec ? GP_JOSE_ES256 : GP_JOSE_RS256;
        memcpy(key->kid, kid, strlen(kid) + 1);
        keys->n++;
    }

    return 0;
}


int gp_jose_keys_parse(const char *json, size_t len, gp_jose_keys_t **ret_keys)
{
    gp_jose_keys_t *keys;
    json_t *doc, *list;
    size_t i;
    int rc = 0;

    if (len > GP_JOSE_KEY_SET_MAX) {
        return -GP_INVALID_ARGUMENT;
    }
    keys = calloc(1, sizeof(gp_jose_keys_t));
    if (keys == NULL) {
        return -GP_RESOURCE_EXHAUSTED;
    }
    keys->ctx = EVP_MD_CTX_new();
    keys->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (keys->ctx == NULL || keys->sha256 == NULL) {
        (void) gp_jose_keys_free(keys); /* NULL, always */
        return -GP_RESOURCE_EXHAUSTED;
    }

    doc = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
    list = json_object_get(doc, "keys");
    (void) ERR_set_mark();
    for (i = 0; rc == 0 && i < json_array_size(list); i++) {
        rc = gp_jose_keys_add(keys, json_array_get(list, i));
    }
    (void) ERR_pop_to_mark();
    json_decref(doc);

    if (rc == 0 && keys->n == 0) {
        rc = -GP_INVALID_ARGUMENT;
    }
    if (rc < 0) {
        (void) gp_jose_keys_free(keys);
        return rc;
    }
    *ret_keys = keys;

    return 0;
}


/* r and s of 32 bytes (RFC 7518 3.4) to the DER form OpenSSL verifies; der has room for 72. */
static void gp_es256_to_der(const uint8_t *raw, uint8_t *der, size_t *ret_len)
{
    uint8_t *p = der;
    size_t i, body;
    int part;

    p += 2;
    for (part = 0; part < 2; part++, raw += GP_ES256_COORDINATE) {
        i = 0;
        while (i < GP_ES256_COORDINATE - 1 && raw[i] == 0) {
            i++;
        }
        *p++ = 0x02;
        *p++ = (uint8_t) (GP_ES256_COORDINATE - i + (raw[i] >> 7));
        if (raw[i] >> 7) {
            *p++ = 0;
        }
        memcpy(p, raw + i, GP_ES256_COORDINATE - i);
        p += GP_ES256_COORDINATE - i;
    }
    body = (size_t) (p - der) - 2;
    der[0] = 0x30;
    der[1] = (uint8_t) body; /* 70 at most: short form */
    *ret_len = body + 2;
}


static int gp_jose_check_signature(gp_jose_keys_t *keys, const gp_jose_public_t *key, const gp_jwt_parts_t *parts)
{
    uint8_t raw[GP_BASE64URL_DECODED_MAX(GP_CREDENTIAL_MAX)], der[2 * GP_ES256_COORDINATE + 8], digest[GP_SHA256_LEN];
    const uint8_t *sig = raw;
    size_t len = 0;
    int rc;

    if (gp_base64url_decode(parts->signature.ptr, parts->signature.len, raw, &len) != 0) {
        return GP_JOSE_NO;
    }
    if (key->alg == GP_JOSE_ES256) {
        if (len != 2 * GP_ES256_COORDINATE) {
            return GP_JOSE_NO;
        }
        gp_es256_to_der(raw, der, &len);
        sig = der;
    }

    /* nothing may stay in the thread's error queue: nginx would blame its next TLS connection */
    (void) ERR_set_mark();
    if (EVP_DigestInit_ex2(keys->ctx, keys->sha256, NULL) == 1 &&
        EVP_DigestUpdate(keys->ctx, parts->signed_part.ptr, parts->signed_part.len) == 1 &&
        EVP_DigestFinal_ex(keys->ctx, digest, NULL) == 1) {
        rc = EVP_PKEY_verify(key->verify, sig, len, digest, sizeof(digest)) == 1 ? 0 : GP_JOSE_NO;
    } else {
        rc = -GP_INTERNAL;
    }
    (void) ERR_pop_to_mark();

    return rc;
}


/* The key a header names, when header and key agree on the algorithm. */
static gp_jose_public_t *gp_jose_pick(gp_jose_keys_t *keys, const json_t *header)
{
    const char *kid = json_string_value(json_object_get(header, "kid")), *alg = json_string_value(json_object_get(header, "alg"));
    gp_jose_public_t *key;
    size_t i;

    if (kid == NULL && json_object_get(header, "kid") == NULL && keys->n == 1) {
        kid = keys->key[0].kid;
    }
    if (kid == NULL || alg == NULL || json_object_get(header, "crit") != NULL || !gp_jwk_member_is(header, "typ", "JWT")) {
        return NULL;
    }

    for (i = 0; i < keys->n; i++) {
        key = &keys->key[i];
        if (strcmp(key->kid, kid) == 0) {
            return strcmp(alg, key->alg == GP_JOSE_ES256 ? "ES256" : "RS256") == 0 ? key : NULL;
        }
    }

    return NULL;
}


/* The key for a header as it came. Of a set, a header always names the same. */
static const gp_jose_public_t *gp_jose_key_for(gp_jose_keys_t *keys, gp_span_t part)
{
    gp_jose_public_t *key;
    json_t *header;
    size_t i;

    for (i = 0; i < keys->n; i++) {
        key = &keys->key[i];
        if (key->header_len == part.len && memcmp(key->header, part.ptr, part.len) == 0) {
            return key;
        }
    }

    header = gp_jose_decode_object(part, GP_JOSE_HEADER_MAX);
    if (header == NULL) {
        return NULL;
    }
    key = gp_jose_pick(keys, header);
    json_decref(header);
    if (key != NULL && part.len <= sizeof(key->header)) {
        memcpy(key->header, part.ptr, part.len);
        key->header_len = part.len;
    }

    return key;
}


bool gp_jose_kid(const char *token, size_t len, char ret_kid[GP_JOSE_KID_MAX + 1])
{
    const char *kid, *alg;
    gp_jwt_parts_t parts;
    json_t *header;
    size_t n, i;

    if (gp_jwt_split(token, len, &parts) != 0) {
        return false;
    }
    header = gp_jose_decode_object(parts.header, GP_JOSE_HEADER_MAX);
    kid = json_string_value(json_object_get(header, "kid"));
    alg = json_string_value(json_object_get(header, "alg"));
    n = kid != NULL && alg != NULL && (strcmp(alg, "ES256") == 0 || strcmp(alg, "RS256") == 0) ? strlen(kid) : 0;
    for (i = 0; i < n && kid[i] >= ' ' && kid[i] <= '~'; i++) {
    }
    if (n == 0 || n > GP_JOSE_KID_MAX || i < n) {
        json_decref(header);
        return false;
    }
    memcpy(ret_kid, kid, n + 1);
    json_decref(header);

    return true;
}


bool gp_jose_keys_has(const gp_jose_keys_t *keys, const char *kid)
{
    size_t i;

    for (i = 0; i < gp_jose_keys_count(keys); i++) {
        if (strcmp(keys->key[i].kid, kid) == 0) {
            return true;
        }
    }

    return false;
}


size_t gp_jose_keys_beside(const gp_jose_keys_t *keys, const gp_jose_keys_t *others)
{
    size_t i, n = 0;

    for (i = 0; i < gp_jose_keys_count(keys); i++) {
        n += gp_jose_keys_has(others, keys->key[i].kid) ? 0 : 1;
    }

    return n;
}


int gp_jose_verify(gp_jose_keys_t *keys, unsigned algorithms, const char *token, size_t len, gp_jose_claims_t *ret_claims)
{
    const gp_jose_public_t *key;
    gp_jwt_parts_t parts;
    int rc;

    if (gp_jwt_split(token, len, &parts) != 0) {
        return GP_JOSE_NO;
    }
    key = gp_jose_key_for(keys, parts.header);
    if (key == NULL || (key->alg & algorithms) == 0) {
        return GP_JOSE_NO;
    }

    rc = gp_jose_check_signature(keys, key, &parts);
    if (rc != 0) {
        return rc;
    }

    rc = gp_jose_claims_read(parts.payload, ret_claims);
    if (rc == 0) {
        ret_claims->kid.ptr = key->kid;
        ret_claims->kid.len = strlen(key->kid);
    }

    return rc;
}

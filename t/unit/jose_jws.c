#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <jwt.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "core/base64url.h"
#include "core/code.h"
#include "core/contract.h"
#include "jose/claims.h"
#include "jose/digest.h"
#include "jose/jws.h"
#include "jose/key.h"
#include "tap.h"

/* Verification: vectors of RFC 7515, tokens of another library, and what attackers try. */

#define NOW 1700000000

#define RFC_PAYLOAD "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

/* RFC 7515 A.3 */
static const char ec_set[] = "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
                             "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\",\"kid\":\"a3\"}]}";
static const char ec_token[] =
    "eyJhbGciOiJFUzI1NiJ9." RFC_PAYLOAD ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

/* RFC 7515 A.2 */
static const char rsa_set[] =
    "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"a2\",\"e\":\"AQAB\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-"
    "Vaw-4qPCJrcS2mJ"
    "PMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTB"
    "EMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\"}]"
    "}";
static const char rsa_token[] =
    "eyJhbGciOiJSUzI1NiJ9." RFC_PAYLOAD
    ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4"
    "BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1p"
    "hCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";


static gp_jose_keys_t *parse(const char *set)
{
    gp_jose_keys_t *keys = NULL;

    return gp_jose_keys_parse(set, strlen(set), &keys) == 0 ? keys : NULL;
}


static int verify(gp_jose_keys_t *keys, unsigned algorithms, const char *token)
{
    gp_jose_claims_t claims = {0};
    int rc = gp_jose_verify(keys, algorithms, token, strlen(token), &claims);

    gp_jose_claims_clear(&claims);

    return rc;
}


static int span_is(gp_span_t span, const char *want)
{
    return span.ptr != NULL && span.len == strlen(want) && memcmp(span.ptr, want, span.len) == 0;
}


static void test_vectors(void)
{
    gp_jose_keys_t *ec = parse(ec_set), *rsa = parse(rsa_set);
    gp_jose_claims_t claims = {0};
    char spoilt[sizeof(rsa_token)];

    if (!ok(ec != NULL && rsa != NULL, "the keys of RFC 7515 A.2 and A.3 are read")) {
        return;
    }
    is_int(gp_jose_verify(ec, GP_JOSE_ES256, ec_token, strlen(ec_token), &claims), 0, "RFC 7515 A.3 (ES256) verifies");
    ok(span_is(claims.iss, "joe") && claims.exp_epoch_s == 1300819380 && claims.sub.ptr == NULL && span_is(claims.kid, "a3"),
       "its claims are read");
    gp_jose_claims_clear(&claims);
    ok(claims.opaque == NULL && claims.iss.ptr == NULL, "cleared claims are empty");
    is_int(verify(rsa, GP_JOSE_RS256, rsa_token), 0, "RFC 7515 A.2 (RS256) verifies");

    is_int(verify(ec, GP_JOSE_RS256, ec_token), GP_JOSE_NO, "an algorithm that is not in the allow-list is refused");
    is_int(verify(ec, GP_JOSE_ES256 | GP_JOSE_RS256, rsa_token), GP_JOSE_NO, "RS256 against an EC key is refused");
    is_int(verify(rsa, GP_JOSE_ES256 | GP_JOSE_RS256, ec_token), GP_JOSE_NO, "ES256 against an RSA key is refused");

    memcpy(spoilt, ec_token, sizeof(ec_token));
    spoilt[strlen(ec_token) - 10] ^= 1;
    is_int(verify(ec, GP_JOSE_ES256, spoilt), GP_JOSE_NO, "a bit of the ES256 signature counts");
    memcpy(spoilt, rsa_token, sizeof(rsa_token));
    spoilt[strlen(rsa_token) - 10] ^= 1;
    is_int(verify(rsa, GP_JOSE_RS256, spoilt), GP_JOSE_NO, "a bit of the RS256 signature counts");
    memcpy(spoilt, ec_token, sizeof(ec_token));
    spoilt[30] = spoilt[30] == 'x' ? 'y' : 'x';
    is_int(verify(ec, GP_JOSE_ES256, spoilt), GP_JOSE_NO, "a character of the payload counts");

    ok(gp_jose_keys_free(ec) == NULL && gp_jose_keys_free(rsa) == NULL && gp_jose_keys_free(NULL) == NULL, "key sets are freed");
}


/* A compact token of any header and payload, signed by nobody: base64url parts and a signature as given. */
static char *compose(const char *header, const char *payload, const char *signature)
{
    size_t h = strlen(header), p = strlen(payload), used;
    char *token = calloc(1, GP_BASE64URL_LEN(h) + GP_BASE64URL_LEN(p) + strlen(signature) + 3);

    used = gp_base64url_encode((const uint8_t *) header, h, token);
    token[used++] = '.';
    used += gp_base64url_encode((const uint8_t *) payload, p, token + used);
    token[used++] = '.';
    memcpy(token + used, signature, strlen(signature));

    return token;
}


/* Ours, with any header: signs what gp_jose_sign() never would. */
static char *sign_with_header(gp_jose_key_t *key, const char *header, const char *payload)
{
    char *pem = NULL, *unsigned_token, *token;
    uint8_t der[80], raw[64];
    const uint8_t *p = der;
    size_t pem_len = 0, der_len = sizeof(der), used;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY *pkey;
    ECDSA_SIG *sig;
    BIO *bio;

    if (gp_jose_key_to_pem(key, &pem, &pem_len) != 0) {
        abort();
    }
    bio = BIO_new_mem_buf(pem, (int) pem_len);
    pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    unsigned_token = compose(header, payload, "");
    used = strlen(unsigned_token);
    if (EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, pkey) != 1 ||
        EVP_DigestSign(ctx, der, &der_len, (const uint8_t *) unsigned_token, used - 1) != 1) {
        abort();
    }
    sig = d2i_ECDSA_SIG(NULL, &p, (long) der_len);
    if (BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32) != 32 || BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32) != 32) {
        abort();
    }

    token = calloc(1, used + GP_BASE64URL_LEN(sizeof(raw)) + 1);
    memcpy(token, unsigned_token, used);
    (void) gp_base64url_encode(raw, sizeof(raw), token + used);
    ECDSA_SIG_free(sig);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    BIO_free(bio);
    free(unsigned_token);
    gp_jose_secret_free(pem, pem_len);

    return token;
}


static gp_jose_keys_t *set_of(const gp_jose_key_t *const *key, size_t n)
{
    char *jwk[GP_JOSE_KEYS_MAX], *set = NULL;
    const char *texts[GP_JOSE_KEYS_MAX];
    gp_jose_keys_t *keys = NULL;
    size_t i;

    for (i = 0; i < n; i++) {
        if (gp_jose_key_to_jwk(key[i], &jwk[i]) != 0) {
            abort();
        }
        texts[i] = jwk[i];
    }
    if (gp_jose_jwks_format(texts, n, &set) != 0 || gp_jose_keys_parse(set, strlen(set), &keys) != 0) {
        abort();
    }
    for (i = 0; i < n; i++) {
        free(jwk[i]);
    }
    free(set);

    return keys;
}


static void is_verified(gp_jose_keys_t *keys, gp_jose_key_t *key, const char *header, const char *payload, int want, const char *text)
{
    char *token = sign_with_header(key, header, payload);

    is_int(verify(keys, GP_JOSE_ES256, token), want, text);
    free(token);
}


#define PAYLOAD "{\"iss\":\"d\",\"aud\":\"a\",\"sub\":\"u\",\"iat\":1700000000,\"exp\":1700000100}"


static void test_headers(gp_jose_keys_t *keys, gp_jose_key_t *key)
{
    const char *kid = gp_jose_key_id(key);
    char header[256];

#define HEADER(fmt) ((void) snprintf(header, sizeof(header), (fmt), kid), header)

    is_verified(keys, key, HEADER("{\"alg\":\"ES256\",\"kid\":\"%s\"}"), PAYLOAD, 0, "a plain header verifies");
    is_verified(keys, key, HEADER("{\"typ\":\"JWT\",\"kid\":\"%s\",\"alg\":\"ES256\"}"), PAYLOAD, 0, "typ JWT verifies, in any order");
    is_verified(keys, key, HEADER("{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"at+jwt\"}"), PAYLOAD, GP_JOSE_NO, "another typ is refused");
    is_verified(keys, key, HEADER("{\"alg\":\"ES256\",\"kid\":\"%s\",\"crit\":[\"exp\"],\"exp\":1}"), PAYLOAD, GP_JOSE_NO,
                "crit is refused");
    is_verified(keys, key, HEADER("{\"alg\":\"none\",\"kid\":\"%s\"}"), PAYLOAD, GP_JOSE_NO, "alg none with a good signature is refused");
    is_verified(keys, key, HEADER("{\"alg\":\"es256\",\"kid\":\"%s\"}"), PAYLOAD, GP_JOSE_NO, "alg in lower case is refused");
    is_verified(keys, key, HEADER("{\"alg\":\"ES384\",\"kid\":\"%s\"}"), PAYLOAD, GP_JOSE_NO, "ES384 is refused");
    is_verified(keys, key, HEADER("{\"alg\":\"none\",\"alg\":\"ES256\",\"kid\":\"%s\"}"), PAYLOAD, GP_JOSE_NO,
                "alg given twice is refused");
    is_verified(keys, key, HEADER("{\"alg\":[\"ES256\"],\"kid\":\"%s\"}"), PAYLOAD, GP_JOSE_NO, "alg as a list is refused");
    is_verified(keys, key, HEADER("[\"ES256\",\"%s\"]"), PAYLOAD, GP_JOSE_NO, "a header that is a list is refused");
    is_verified(keys, key, "{\"alg\":\"ES256\"}", PAYLOAD, GP_JOSE_NO, "no kid is refused while there are two keys");
    is_verified(keys, key, "{\"alg\":\"ES256\",\"kid\":\"\"}", PAYLOAD, GP_JOSE_NO, "an empty kid is refused");
    is_verified(keys, key, "{\"alg\":\"ES256\",\"kid\":\"nobody\"}", PAYLOAD, GP_JOSE_NO, "an unknown kid is refused");
    is_verified(keys, key, "{\"alg\":\"ES256\",\"kid\":7}", PAYLOAD, GP_JOSE_NO, "a kid that is a number is refused");
}


static void test_payloads(gp_jose_keys_t *keys, gp_jose_key_t *key)
{
    const char *kid = gp_jose_key_id(key);
    gp_jose_claims_t claims = {0};
    char header[256], *token;

    HEADER("{\"alg\":\"ES256\",\"kid\":\"%s\"}");
    is_verified(keys, key, header, "{}", 0, "no claims at all still verify (claims_check() refuses them)");
    is_verified(keys, key, header, "[]", GP_JOSE_NO, "a payload that is a list is refused");
    is_verified(keys, key, header, "{\"sub\":\"a\",\"sub\":\"b\"}", GP_JOSE_NO, "a claim given twice is refused");
    is_verified(keys, key, header, "{\"sub\":5}", GP_JOSE_NO, "a sub that is a number is refused");
    is_verified(keys, key, header, "{\"exp\":\"1700000000\"}", GP_JOSE_NO, "an exp that is a string is refused");
    is_verified(keys, key, header, "{\"exp\":1.5}", GP_JOSE_NO, "an exp with a fraction is refused");
    is_verified(keys, key, header, "{\"exp\":-1}", GP_JOSE_NO, "an exp before the epoch is refused");
    is_verified(keys, key, header, "{\"exp\":99999999999999999999}", GP_JOSE_NO, "an exp beyond 64 bits is refused");
    is_verified(keys, key, header, "{\"aud\":[\"a\",\"b\"]}", GP_JOSE_NO, "two audiences are refused");
    is_verified(keys, key, header, "{\"sub\":\"a\\u0000b\"}", GP_JOSE_NO, "a NUL in a claim is refused");

    token = sign_with_header(key, header, "{\"aud\":[\"only\"],\"sid\":\"s\",\"ws\":\"w\",\"nbf\":7}");
    ok(gp_jose_verify(keys, GP_JOSE_ES256, token, strlen(token), &claims) == 0 && span_is(claims.aud, "only") && span_is(claims.sid, "s") &&
           span_is(claims.ws, "w") && claims.nbf_epoch_s == 7,
       "aud may be a list of one; sid, ws and nbf are read");
    gp_jose_claims_clear(&claims);
    is_int(gp_jose_verify(keys, GP_JOSE_ES256, token, strlen(token) - 1, &claims), GP_JOSE_NO, "a token cut by one character is refused");
    free(token);
}


/* What is read without a parser is what a parser reads. */
static void is_flat(const char *payload, bool want, const char *text)
{
    gp_jose_claims_t flat = {0}, tree = {0};
    json_t *json = json_loads(payload, JSON_REJECT_DUPLICATES, NULL);
    bool same, done = gp_jose_claims_flat(payload, strlen(payload), &flat);

    same = !done || (gp_jose_claims_tree(json, &tree) && flat.sub.len == tree.sub.len && flat.exp_epoch_s == tree.exp_epoch_s &&
                     flat.iat_epoch_s == tree.iat_epoch_s &&
                     memcmp(flat.sub.ptr ? flat.sub.ptr : "", tree.sub.ptr ? tree.sub.ptr : "", tree.sub.len) == 0);
    ok(done == want && same, "%s", text);
    json_decref(json);
}


static void test_flat(gp_jose_keys_t *keys, gp_jose_key_t *key)
{
    char header[256], other[256], *token;
    const char *kid = gp_jose_key_id(key);

    is_flat("{\"iss\":\"d\",\"sub\":\"u\",\"iat\":1700000000,\"exp\":1700000100}", true, "what we issue is read without a parser");
    is_flat("{\"sub\":\"\"}", true, "an empty claim too");
    is_flat("{}", false, "no claims are for the parser");
    is_flat("{\"sub\":\"u\"", false, "a text that ends early");
    is_flat("{\"sub\":\"u\"},", false, "one that goes on");
    is_flat("{\"sub\":\"u\",}", false, "one comma too many");
    is_flat("{\"sub\":\"u\",\"sub\":\"v\"}", false, "a claim given twice");
    is_flat("{\"sub\":\"u\",\"x\":\"v\"}", false, "a claim of no known name");
    is_flat("{\"sub\":\"\\u0061\"}", false, "an escape");
    is_flat("{\"sub\":\"\xc3\xa4\"}", false, "what is not ASCII");
    is_flat("{\"sub\": \"u\"}", false, "a blank");
    is_flat("{\"exp\":0}", false, "a time that is 0");
    is_flat("{\"exp\":017}", false, "a time that begins with 0");
    is_flat("{\"exp\":-1}", false, "a time before the epoch");
    is_flat("{\"exp\":1e3}", false, "a time that is no whole number");
    is_flat("{\"exp\":9999999999999999}", false, "a time of 16 digits");
    is_flat("{\"exp\":}", false, "no time");
    is_flat("{\"exp\":\"1\"}", false, "a time that is a text, with quotes");
    is_flat("{\"sub\":7}", false, "a text that is a number");

    /* the header that was good last is kept: it must not stand in for others */
    (void) snprintf(header, sizeof(header), "{\"alg\":\"ES256\",\"kid\":\"%s\"}", kid);
    (void) snprintf(other, sizeof(other), "{\"alg\":\"RS256\",\"kid\":\"%s\"}", kid);
    is_verified(keys, key, header, PAYLOAD, 0, "a header");
    is_verified(keys, key, header, PAYLOAD, 0, "again");
    is_verified(keys, key, other, PAYLOAD, GP_JOSE_NO, "one of another alg and the same length after it");
    token = sign_with_header(key, header, PAYLOAD);
    is_int(verify(keys, GP_JOSE_RS256, token), GP_JOSE_NO, "a kept header does not widen what the caller allows");
    token[strlen(token) - 8] ^= 1;
    is_int(verify(keys, GP_JOSE_ES256, token), GP_JOSE_NO, "nor does it verify anything");
    free(token);
}


static void test_signatures(gp_jose_keys_t *keys, gp_jose_key_t *key)
{
    static const char zero[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const char *kid = gp_jose_key_id(key);
    char header[256], *token, *jwk = NULL, mac_text[GP_BASE64URL_LEN(GP_SHA256_LEN) + 1];
    uint8_t mac[GP_SHA256_LEN];

    HEADER("{\"alg\":\"ES256\",\"kid\":\"%s\"}");
    token = compose(header, PAYLOAD, zero);
    is_int(verify(keys, GP_JOSE_ES256, token), GP_JOSE_NO, "r = s = 0 is refused");
    free(token);
    token = compose(header, PAYLOAD, "MEUCIQ");
    is_int(verify(keys, GP_JOSE_ES256, token), GP_JOSE_NO, "a signature of another length is refused");
    free(token);
    token = compose(header, PAYLOAD, "");
    is_int(verify(keys, GP_JOSE_ES256, token), GP_JOSE_NO, "an empty signature is refused");
    free(token);

    /* the classic: the public key as the secret of an HMAC */
    HEADER("{\"alg\":\"HS256\",\"kid\":\"%s\"}");
    token = compose(header, PAYLOAD, "");
    if (gp_jose_key_to_jwk(key, &jwk) == 0 && gp_hmac_sha256(jwk, strlen(jwk), token, strlen(token) - 1, mac) == 0) {
        mac_text[gp_base64url_encode(mac, sizeof(mac), mac_text)] = '\0';
        free(token);
        token = compose(header, PAYLOAD, mac_text);
    }
    is_int(verify(keys, ~0u, token), GP_JOSE_NO, "HS256 with the public key as secret is refused");
    free(token);
    free(jwk);
    is_int(verify(keys, ~0u, ""), GP_JOSE_NO, "an empty token is refused");
    is_int(verify(keys, ~0u, ".."), GP_JOSE_NO, "two dots are refused");
}


static void is_checked(const gp_jose_issue_t *issue, gp_jose_key_t *key, gp_jose_keys_t *keys, int64_t now, int want, const char *text)
{
    gp_span_t issuer = {"gitpod.localhost", 16}, audience = {GP_TOKEN_AUD_SESSION, sizeof(GP_TOKEN_AUD_SESSION) - 1};
    gp_jose_claims_t claims = {0};
    char *token = NULL;

    if (gp_jose_issue(key, issue, &token) != 0 || gp_jose_verify(keys, GP_JOSE_ES256, token, strlen(token), &claims) != 0) {
        ok(0, "%s (issue and verify)", text);
    } else {
        is_int(gp_jose_claims_check(&claims, &issuer, &audience, now), want, text);
    }
    gp_jose_claims_clear(&claims);
    free(token);
}


static void test_claims(gp_jose_keys_t *keys, gp_jose_key_t *key)
{
    gp_jose_issue_t good = {"gitpod.localhost", GP_TOKEN_AUD_SESSION, "user", "sid", NULL, NOW, NOW + 100}, bad;

    is_checked(&good, key, keys, NOW, 0, "a session token of ours is good");
    is_checked(&good, key, keys, NOW + 100 + GP_JOSE_LEEWAY_S - 1, 0, "until the leeway after exp");
    is_checked(&good, key, keys, NOW + 100 + GP_JOSE_LEEWAY_S, GP_JOSE_NO, "then it has expired");
    is_checked(&good, key, keys, NOW - GP_JOSE_LEEWAY_S, 0, "one from a clock 5 s ahead is good");
    is_checked(&good, key, keys, NOW - GP_JOSE_LEEWAY_S - 1, GP_JOSE_NO, "from one 6 s ahead is not");
    bad = good;
    bad.iss = "gitpod.localhost.evil";
    is_checked(&bad, key, keys, NOW, GP_JOSE_NO, "another issuer, ours as its prefix, is refused");
    bad = good;
    bad.aud = "gitpod-sessio";
    is_checked(&bad, key, keys, NOW, GP_JOSE_NO, "another audience is refused");
    bad.aud = NULL;
    is_checked(&bad, key, keys, NOW, GP_JOSE_NO, "no audience is refused");
    bad = good;
    bad.exp_epoch_s = 0;
    is_checked(&bad, key, keys, NOW, GP_JOSE_NO, "no exp is refused");
    bad = good;
    bad.iat_epoch_s = 0;
    is_checked(&bad, key, keys, NOW, GP_JOSE_NO, "no iat is refused");
    bad = good;
    bad.sub = NULL;
    is_checked(&bad, key, keys, NOW, GP_JOSE_NO, "no sub is refused");
    bad = good;
    bad.exp_epoch_s = INT64_MAX;
    is_checked(&bad, key, keys, NOW, 0, "an exp of 2^63 - 1 does not overflow");
}


static EVP_PKEY *rsa_new(unsigned bits, const char *kid, char **ret_set)
{
    EVP_PKEY *pkey = EVP_RSA_gen(bits);
    uint8_t n_bytes[512];
    char n_text[GP_BASE64URL_LEN(sizeof(n_bytes)) + 1];
    BIGNUM *n = NULL;
    int len;

    if (pkey == NULL || EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &n) != 1) {
        abort();
    }
    len = BN_bn2bin(n, n_bytes);
    n_text[gp_base64url_encode(n_bytes, (size_t) len, n_text)] = '\0';
    BN_free(n);
    if (asprintf(ret_set, "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"%s\",\"n\":\"%s\",\"e\":\"AQAB\",\"alg\":\"RS256\",\"use\":\"sig\"}]}",
                 kid, n_text) < 0) {
        abort();
    }

    return pkey;
}


static char *pem_of(EVP_PKEY *pkey, int public_half)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data, *text;
    long len;

    if ((public_half ? PEM_write_bio_PUBKEY(bio, pkey) : PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL)) != 1) {
        abort();
    }
    len = BIO_get_mem_data(bio, &data);
    text = strndup(data, (size_t) len);
    BIO_free(bio);

    return text;
}


/* A token that libjwt mints. */
static char *libjwt_mint(const char *pem, jwt_alg_t alg, const char *kid)
{
    jwt_t *jwt = NULL;
    char *token;

    if (jwt_new(&jwt) != 0 || jwt_add_header(jwt, "kid", kid) != 0 || jwt_add_grant(jwt, "sub", "someone") != 0 ||
        jwt_add_grant_int(jwt, "exp", NOW) != 0 || jwt_set_alg(jwt, alg, (const unsigned char *) pem, (int) strlen(pem)) != 0) {
        abort();
    }
    token = jwt_encode_str(jwt);
    jwt_free(jwt);

    return token;
}


static void is_minted(EVP_PKEY *pkey, gp_jose_keys_t *keys, jwt_alg_t alg, unsigned algorithm, const char *kid, const char *text)
{
    gp_jose_claims_t claims = {0};
    char *pem = pem_of(pkey, 0), *token = libjwt_mint(pem, alg, kid);

    ok(token != NULL && gp_jose_verify(keys, algorithm, token, strlen(token), &claims) == 0 && span_is(claims.sub, "someone") &&
           claims.exp_epoch_s == NOW,
       "%s", text);
    gp_jose_claims_clear(&claims);
    free(token);
    free(pem);
}


/* libjwt mints, we verify; we mint, libjwt verifies. 50 each, so that short r and s occur. */
static void test_libjwt(gp_jose_keys_t *keys, gp_jose_key_t *key)
{
    gp_jose_issue_t issue = {"d", "a", "user", NULL, "some-ws", NOW, NOW + 1};
    char *pem = NULL, *public_pem, *token = NULL, *set = NULL;
    int i, good = 0;
    size_t len = 0;
    EVP_PKEY *pkey;
    BIO *bio;
    jwt_t *jwt = NULL;
    gp_jose_keys_t *rsa_keys;

    if (gp_jose_key_to_pem(key, &pem, &len) != 0) {
        abort();
    }
    bio = BIO_new_mem_buf(pem, (int) len);
    pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    is_minted(pkey, keys, JWT_ALG_ES256, GP_JOSE_ES256, gp_jose_key_id(key), "ES256 tokens of libjwt verify");
    public_pem = pem_of(pkey, 1);
    for (i = 0; i < 50; i++) {
        issue.exp_epoch_s++;
        if (gp_jose_issue(key, &issue, &token) == 0 && verify(keys, GP_JOSE_ES256, token) == 0 &&
            jwt_decode(&jwt, token, (const unsigned char *) public_pem, (int) strlen(public_pem)) == 0) {
            good += jwt_get_alg(jwt) == JWT_ALG_ES256 && strcmp(jwt_get_grant(jwt, "ws"), "some-ws") == 0 &&
                    jwt_get_grant_int(jwt, "exp") == issue.exp_epoch_s;
            jwt_free(jwt);
        }
        free(token);
        token = NULL;
    }
    is_int(good, 50, "50 tokens of ours verify with libjwt and with us");
    free(public_pem);
    EVP_PKEY_free(pkey);
    BIO_free(bio);
    gp_jose_secret_free(pem, len);

    pkey = rsa_new(2048, "r", &set);
    rsa_keys = parse(set);
    if (ok(rsa_keys != NULL, "an RSA key set of 2048 bits is read")) {
        is_minted(pkey, rsa_keys, JWT_ALG_RS256, GP_JOSE_RS256, "r", "RS256 tokens of libjwt verify");
        (void) gp_jose_keys_free(rsa_keys);
    }
    EVP_PKEY_free(pkey);
    free(set);
}


static void test_sets(void)
{
    static const char point[] =
        "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"";
    char set[4096], *rsa = NULL;
    gp_jose_keys_t *keys;
    EVP_PKEY *pkey;
    int i, n;

    ok(parse("") == NULL && parse("{}") == NULL && parse("[]") == NULL && parse("{\"keys\":[]}") == NULL && parse("{\"keys\":7}") == NULL,
       "what is no key set, or an empty one, is refused");
    (void) snprintf(set, sizeof(set),
                    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"a\",%s},{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"a\",%s}]}",
                    point, point);
    ok(parse(set) == NULL, "two keys of one kid are refused");
    (void) snprintf(set, sizeof(set), "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"a\",\"x\":\"%s\",\"y\":\"%s\"}]}",
                    "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a1");
    ok(parse(set) == NULL, "a point that is not on the curve is no key");
    (void) snprintf(
        set, sizeof(set),
        "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"o\",\"k\":\"AAAA\"},{\"kty\":\"EC\",\"crv\":\"P-384\",\"kid\":\"b\",%s},"
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"c\",\"use\":\"enc\",%s},{\"kty\":\"EC\",\"crv\":\"P-256\",%s},"
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"d\",\"alg\":\"ES384\",%s},{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"e\",%s}]}",
        point, point, point, point, point);
    keys = parse(set);
    ok(keys != NULL && gp_jose_keys_count(keys) == 1, "keys that are not for us are passed over, the good one is kept");
    (void) gp_jose_keys_free(keys);

    n = snprintf(set, sizeof(set), "{\"keys\":[");
    for (i = 0; i <= GP_JOSE_KEYS_MAX; i++) {
        n += snprintf(set + n, sizeof(set) - (size_t) n, "%s{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"k%d\",%s}", i ? "," : "", i, point);
    }
    (void) snprintf(set + n, sizeof(set) - (size_t) n, "]}");
    ok(parse(set) == NULL, "more than %d keys are refused", GP_JOSE_KEYS_MAX);

    pkey = rsa_new(1024, "r", &rsa);
    ok(parse(rsa) == NULL, "an RSA key of 1024 bits is no key");
    EVP_PKEY_free(pkey);
    free(rsa);
}


/* merged to texts, so that the order of members does not matter */
static void is_merged(const char *old, const char *fresh, int64_t now, const char *kids, const char *text)
{
    char *merged = NULL, got[256] = "";
    json_t *doc, *key;
    size_t i;

    if (gp_jose_keys_merge(old, strlen(old), fresh, strlen(fresh), now, 60, &merged) == 0) {
        doc = json_loads(merged, 0, NULL);
        json_array_foreach(json_object_get(doc, "keys"), i, key)
        {
            (void) snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s%s ", json_string_value(json_object_get(key, "kid")),
                            json_object_get(key, "gitpod_retired") ? "-" : "", json_object_get(key, "x5c") ? "!" : "");
        }
        json_decref(doc);
        free(merged);
    }
    is_str(got, kids, text);
}


#define JWK(kid) "{\"kty\":\"EC\",\"kid\":\"" kid "\",\"crv\":\"P-256\",\"x\":\"x\",\"y\":\"y\",\"x5c\":[\"z\"]}"
#define GONE(kid, since) "{\"kty\":\"EC\",\"kid\":\"" kid "\",\"gitpod_retired\":" since "}"
#define SET(keys) "{\"keys\":[" keys "]}"

static void test_merge(void)
{
    char kid[GP_JOSE_KID_MAX + 1];

    is_merged("", SET(JWK("a") "," JWK("b")), 1000, "a b ", "a first set, without certificates");
    is_merged(SET(JWK("a") "," JWK("b")), SET(JWK("b")), 1000, "b a- ", "a key that is not listed any more stays");
    is_merged(SET(JWK("b") "," GONE("a", "1000")), SET(JWK("b")), 1059, "b a- ", "for a while");
    is_merged(SET(JWK("b") "," GONE("a", "1000")), SET(JWK("b")), 1060, "b ", "and then goes");
    is_merged(SET(GONE("a", "1000")), SET(JWK("a")), 1001, "a ", "one that is listed again is a key as any");
    is_merged("broken", SET(JWK("a")), 1000, "a ", "an old set that is broken is none");
    is_merged(SET(JWK("a")), "broken", 1000, "", "a new one that is broken is refused");
    is_merged(SET(JWK("a")), SET(""), 1000, "", "and one without keys");
    is_merged("", SET("{\"kty\":\"oct\",\"kid\":\"a\",\"k\":\"x\"}"), 1000, "", "and one of secrets");
    is_merged("",
              SET(JWK("1") "," JWK("2") "," JWK("3") "," JWK("4") "," JWK("5") "," JWK("6") "," JWK("7") "," JWK("8") "," JWK("9") "," JWK(
                  "10") "," JWK("11") "," JWK("12") "," JWK("13") "," JWK("14") "," JWK("15") "," JWK("16") "," JWK("17")),
              1000, "", "and one of 17");

    ok(gp_jose_kid(ec_token, strlen(ec_token), kid) == false, "a token without a kid names no key");
    ok(gp_jose_kid("eyJhbGciOiJFUzI1NiIsImtpZCI6ImEifQ.e30.AA", 41, kid) && strcmp(kid, "a") == 0, "one with a kid does");
    ok(!gp_jose_kid("eyJhbGciOiJub25lIiwia2lkIjoiYSJ9.e30.AA", 39, kid), "not with alg none");
    ok(!gp_jose_keys_has(NULL, "a"), "no set has no key");
}


int main(void)
{
    gp_jose_key_t *key[2] = {NULL, NULL};
    gp_jose_keys_t *keys;

    if (gp_jose_key_generate(&key[0]) != 0 || gp_jose_key_generate(&key[1]) != 0) {
        abort();
    }
    keys = set_of((const gp_jose_key_t *const *) key, 2);

    test_vectors();
    test_headers(keys, key[0]);
    test_payloads(keys, key[1]);
    test_flat(keys, key[1]);
    test_signatures(keys, key[0]);
    test_claims(keys, key[1]);
    test_sets();
    test_merge();
    ok(ERR_peek_error() == 0, "nothing of this stays in OpenSSL's error queue");
    test_libjwt(keys, key[0]);

    (void) gp_jose_keys_free(keys);
    (void) gp_jose_key_free(key[0]);
    (void) gp_jose_key_free(key[1]);

    return tap_done();
}

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "core/base64url.h"
#include "core/code.h"
#include "core/contract.h"
#include "jose/digest.h"
#include "jose/jws.h"
#include "jose/key.h"

/*
 * Private keys: P-256, made here, kept in files that only their owner reads,
 * never in any other form than PEM and OpenSSL's own.
 */
#define GP_ES256_COORDINATE 32
#define GP_COORDINATE_TEXT GP_BASE64URL_LEN(GP_ES256_COORDINATE)
#define GP_PEM_MAX 4096 /* bytes of a key file */
#define GP_PATH_TEXT_MAX 4096

struct gp_jose_key {
    EVP_PKEY *pkey;
    char x[GP_COORDINATE_TEXT + 1];
    char y[GP_COORDINATE_TEXT + 1];
    char kid[GP_JOSE_THUMBPRINT_LEN + 1];
};


gp_jose_key_t *gp_jose_key_free(gp_jose_key_t *key)
{
    if (key != NULL) {
        EVP_PKEY_free(key->pkey);
        free(key);
    }

    return NULL;
}


void gp_jose_secret_free(char *secret, size_t len)
{
    if (secret != NULL) {
        OPENSSL_cleanse(secret, len);
        free(secret);
    }
}


const char *gp_jose_key_id(const gp_jose_key_t *key)
{
    return key->kid;
}


static bool gp_key_coordinate(const EVP_PKEY *pkey, const char *name, char ret_text[GP_COORDINATE_TEXT + 1])
{
    uint8_t bytes[GP_ES256_COORDINATE];
    BIGNUM *bn = NULL;
    bool done;

    done = EVP_PKEY_get_bn_param(pkey, name, &bn) == 1 && BN_bn2binpad(bn, bytes, sizeof(bytes)) == (int) sizeof(bytes);
    BN_free(bn);
    if (done) {
        ret_text[gp_base64url_encode(bytes, sizeof(bytes), ret_text)] = '\0';
    }

    return done;
}


/* RFC 7638: the required members, sorted, no blanks. */
static int gp_key_thumbprint(gp_jose_key_t *key)
{
    char text[160];
    uint8_t digest[GP_SHA256_LEN];
    int n;

    n = snprintf(text, sizeof(text), "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}", key->x, key->y);
    if (n < 0 || (size_t) n >= sizeof(text) || gp_sha256(text, (size_t) n, digest) < 0) {
        return -GP_INTERNAL;
    }
    key->kid[gp_base64url_encode(digest, sizeof(digest), key->kid)] = '\0';

    return 0;
}


/* Takes pkey, always. -GP_INVALID_ARGUMENT unless it is a P-256 key. */
static int gp_key_wrap(EVP_PKEY *take_pkey, gp_jose_key_t **ret_key)
{
    gp_jose_key_t *key = calloc(1, sizeof(gp_jose_key_t));
    char group[32] = "";
    int rc = 0;

    if (key == NULL) {
        EVP_PKEY_free(take_pkey);
        return -GP_RESOURCE_EXHAUSTED;
    }
    key->pkey = take_pkey;

    if (EVP_PKEY_is_a(take_pkey, "EC") != 1 || EVP_PKEY_get_group_name(take_pkey, group, sizeof(group), NULL) != 1 ||
        strcmp(group, "prime256v1") != 0 || !gp_key_coordinate(take_pkey, OSSL_PKEY_PARAM_EC_PUB_X, key->x) ||
        !gp_key_coordinate(take_pkey, OSSL_PKEY_PARAM_EC_PUB_Y, key->y)) {
        rc = -GP_INVALID_ARGUMENT;
    }
    if (rc == 0) {
        rc = gp_key_thumbprint(key);
    }
    if (rc < 0) {
        (void) gp_jose_key_free(key); /* NULL, always */
        return rc;
    }
    *ret_key = key;

    return 0;
}


int gp_jose_key_generate(gp_jose_key_t **ret_key)
{
    EVP_PKEY *pkey = EVP_EC_gen("P-256");

    return pkey ? gp_key_wrap(pkey, ret_key) : -GP_INTERNAL;
}


/* Never ask a terminal for the password of an encrypted key. */
static int gp_key_no_password(char *buf, int size, int rwflag, void *data)
{
    return -1;
}


int gp_jose_key_from_pem(const char *pem, size_t len, gp_jose_key_t **ret_key)
{
    BIO *bio;
    EVP_PKEY *pkey;

    if (len > GP_PEM_MAX) {
        return -GP_INVALID_ARGUMENT;
    }
    bio = BIO_new_mem_buf(pem, (int) len);
    if (bio == NULL) {
        return -GP_RESOURCE_EXHAUSTED;
    }

    (void) ERR_set_mark();
    pkey = PEM_read_bio_PrivateKey(bio, NULL, gp_key_no_password, NULL);
    (void) ERR_pop_to_mark();
    BIO_free(bio);

    return pkey ? gp_key_wrap(pkey, ret_key) : -GP_INVALID_ARGUMENT;
}


int gp_jose_key_to_pem(const gp_jose_key_t *key, char **ret_pem, size_t *ret_len)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *data, *pem;
    long len;
    int rc = -GP_INTERNAL;

    if (bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL) != 1) {
        BIO_free(bio);
        return rc;
    }

    len = BIO_get_mem_data(bio, &data);
    pem = len > 0 ? malloc((size_t) len + 1) : NULL;
    if (pem != NULL) {
        memcpy(pem, data, (size_t) len);
        pem[len] = '\0';
        *ret_pem = pem;
        *ret_len = (size_t) len;
        rc = 0;
    }
    BIO_free(bio);

    return rc;
}


int gp_jose_key_load(const char *path, gp_jose_key_t **ret_key)
{
    char pem[GP_PEM_MAX + 1];
    struct stat st;
    ssize_t n;
    int fd, rc;

    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return errno == ENOENT ? -GP_NOT_FOUND : -GP_INTERNAL;
    }

    if (fstat(fd, &st) < 0 || (n = read(fd, pem, sizeof(pem))) < 0) {
        rc = -GP_INTERNAL;
    } else if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0) {
        rc = -GP_INVALID_ARGUMENT;
    } else {
        rc = gp_jose_key_from_pem(pem, (size_t) n, ret_key);
    }
    (void) close(fd); /* read only */
    OPENSSL_cleanse(pem, sizeof(pem));

    return rc;
}


static int gp_key_write_file(const char *path, const char *pem, size_t len)
{
    int fd, rc;

    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return -GP_INTERNAL;
    }
    rc = fchmod(fd, 0600) == 0 && write(fd, pem, len) == (ssize_t) len && fsync(fd) == 0 ? 0 : -GP_INTERNAL;
    if (close(fd) < 0) {
        rc = -GP_INTERNAL;
    }

    return rc;
}


/* The rename itself must survive a power cut. */
static int gp_key_sync_directory(char *path)
{
    char *slash = strrchr(path, '/');
    int fd, rc;

    if (slash != NULL) {
        slash[slash == path] = '\0';
    }
    fd = open(slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -GP_INTERNAL;
    }
    rc = fsync(fd) == 0 ? 0 : -GP_INTERNAL;
    (void) close(fd); /* read only */

    return rc;
}


int gp_jose_key_store(const gp_jose_key_t *key, const char *path)
{
    char temporary[GP_PATH_TEXT_MAX];
    char *pem = NULL;
    size_t len = 0;
    int n, rc;

    n = snprintf(temporary, sizeof(temporary), "%s.new", path);
    if (n < 0 || (size_t) n >= sizeof(temporary)) {
        errno = ENAMETOOLONG;
        return -GP_INTERNAL;
    }
    rc = gp_jose_key_to_pem(key, &pem, &len);
    if (rc < 0) {
        return rc;
    }

    rc = gp_key_write_file(temporary, pem, len);
    if (rc == 0 && rename(temporary, path) < 0) {
        rc = -GP_INTERNAL;
    }
    if (rc < 0) {
        n = errno;
        (void) unlink(temporary); /* may not be there */
        errno = n;
    }
    gp_jose_secret_free(pem, len);

    return rc == 0 ? gp_key_sync_directory(temporary) : rc;
}


static int gp_json_text(json_t *take_json, char **ret_text)
{
    char *text = json_dumps(take_json, JSON_COMPACT);

    json_decref(take_json);
    if (text == NULL) {
        return -GP_RESOURCE_EXHAUSTED;
    }
    *ret_text = text;

    return 0;
}


int gp_jose_key_to_jwk(const gp_jose_key_t *key, char **ret_jwk)
{
    return gp_json_text(json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "kty", "EC", "crv", "P-256", "x", key->x, "y", key->y, "kid", key->kid,
                                  "use", "sig", "alg", GP_TOKEN_ALG),
                        ret_jwk);
}


int gp_jose_jwks_format(const char *const *jwks, size_t n, char **ret_json)
{
    json_t *list = json_array(), *jwk;
    size_t i;

    if (n > GP_JOSE_KEYS_MAX) {
        json_decref(list);
        return -GP_INVALID_ARGUMENT;
    }
    for (i = 0; i < n; i++) {
        jwk = json_loads(jwks[i], JSON_REJECT_DUPLICATES, NULL);
        if (!json_is_object(jwk)) {
            json_decref(jwk);
            json_decref(list);
            return -GP_INVALID_ARGUMENT;
        }
        if (json_array_append_new(list, jwk) < 0) {
            json_decref(list);
            return -GP_RESOURCE_EXHAUSTED;
        }
    }

    return gp_json_text(json_pack("{s:o}", "keys", list), ret_json);
}


/* DER to r and s of 32 bytes each (RFC 7518 3.4). */
static bool gp_es256_from_der(const uint8_t *der, size_t len, uint8_t raw[2 * GP_ES256_COORDINATE])
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long) len);
    bool done;

    done = sig != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, GP_ES256_COORDINATE) == GP_ES256_COORDINATE &&
           BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + GP_ES256_COORDINATE, GP_ES256_COORDINATE) == GP_ES256_COORDINATE;
    ECDSA_SIG_free(sig);

    return done;
}


static bool gp_key_sign_bytes(gp_jose_key_t *key, const char *data, size_t len, uint8_t raw[2 * GP_ES256_COORDINATE])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t der[2 * GP_ES256_COORDINATE + 8];
    size_t der_len = sizeof(der);
    bool done;

    done = ctx != NULL && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key->pkey) == 1 &&
           EVP_DigestSign(ctx, der, &der_len, (const uint8_t *) data, len) == 1 && gp_es256_from_der(der, der_len, raw);
    EVP_MD_CTX_free(ctx);

    return done;
}


int gp_jose_sign(gp_jose_key_t *key, const char *payload, size_t len, char **ret_token)
{
    uint8_t raw[2 * GP_ES256_COORDINATE];
    char header[128], *token;
    size_t used;
    int n;

    n = snprintf(header, sizeof(header), "{\"alg\":\"" GP_TOKEN_ALG "\",\"typ\":\"JWT\",\"kid\":\"%s\"}", key->kid);
    if (n < 0 || (size_t) n >= sizeof(header)) {
        return -GP_INTERNAL;
    }
    if (len > GP_CREDENTIAL_MAX ||
        GP_BASE64URL_LEN((size_t) n) + GP_BASE64URL_LEN(len) + GP_BASE64URL_LEN(sizeof(raw)) + 2 > GP_CREDENTIAL_MAX) {
        return -GP_OUT_OF_RANGE;
    }

    token = calloc(1, GP_CREDENTIAL_MAX + 1);
    if (token == NULL) {
        return -GP_RESOURCE_EXHAUSTED;
    }
    used = gp_base64url_encode((const uint8_t *) header, (size_t) n, token);
    token[used++] = '.';
    used += gp_base64url_encode((const uint8_t *) payload, len, token + used);
    if (!gp_key_sign_bytes(key, token, used, raw)) {
        free(token);
        return -GP_INTERNAL;
    }
    token[used++] = '.';
    (void) gp_base64url_encode(raw, sizeof(raw), token + used); /* calloc'd: the NUL is there */
    *ret_token = token;

    return 0;
}


static int gp_claim_put(json_t *payload, const char *name, const char *text)
{
    return text ? json_object_set_new(payload, name, json_string(text)) : 0;
}


int gp_jose_issue(gp_jose_key_t *key, const gp_jose_issue_t *claims, char **ret_token)
{
    json_t *payload = json_object();
    char *text = NULL;
    int rc;

    if (gp_claim_put(payload, "iss", claims->iss) < 0 || gp_claim_put(payload, "aud", claims->aud) < 0 ||
        gp_claim_put(payload, "sub", claims->sub) < 0 || gp_claim_put(payload, GP_CLAIM_SESSION, claims->sid) < 0 ||
        gp_claim_put(payload, GP_CLAIM_WORKSPACE, claims->ws) < 0 ||
        (claims->iat_epoch_s && json_object_set_new(payload, "iat", json_integer(claims->iat_epoch_s)) < 0) ||
        (claims->exp_epoch_s && json_object_set_new(payload, "exp", json_integer(claims->exp_epoch_s)) < 0)) {
        json_decref(payload);
        return -GP_INVALID_ARGUMENT; /* not UTF-8, or no memory */
    }

    rc = gp_json_text(payload, &text);
    if (rc < 0) {
        return rc;
    }
    rc = gp_jose_sign(key, text, strlen(text), ret_token);
    free(text);

    return rc;
}

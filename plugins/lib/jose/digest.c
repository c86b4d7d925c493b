#include <limits.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "core/code.h"
#include "core/hex.h"
#include "jose/digest.h"

/* OpenSSL's digests, HMAC and random numbers under names and results of our own. */


int gp_sha256(const void *data, size_t len, uint8_t ret_digest[GP_SHA256_LEN])
{
    return EVP_Digest(data, len, ret_digest, NULL, EVP_sha256(), NULL) == 1 ? 0 : -GP_INTERNAL;
}


int gp_sha256_hex(const void *data, size_t len, char ret_hex[GP_SHA256_HEX_LEN + 1])
{
    uint8_t digest[GP_SHA256_LEN];
    int rc;

    rc = gp_sha256(data, len, digest);
    if (rc < 0) {
        return rc;
    }
    gp_hex_encode(digest, sizeof(digest), ret_hex);
    ret_hex[GP_SHA256_HEX_LEN] = '\0';

    return 0;
}


int gp_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len, uint8_t ret_mac[GP_SHA256_LEN])
{
    unsigned int mac_len = GP_SHA256_LEN;

    if (key_len > INT_MAX) {
        return -GP_INTERNAL;
    }

    return HMAC(EVP_sha256(), key, (int) key_len, data, len, ret_mac, &mac_len) != NULL ? 0 : -GP_INTERNAL;
}


bool gp_equal_constant_time(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}


bool gp_equal_secret(const void *a, size_t a_len, const void *b, size_t b_len)
{
    return a_len == b_len && CRYPTO_memcmp(a, b, a_len) == 0;
}


int gp_jose_random_bytes(void *buf, size_t len)
{
    return len <= INT_MAX && RAND_bytes(buf, (int) len) == 1 ? 0 : -GP_INTERNAL;
}


int gp_jose_random_alnum(char *buf, size_t n)
{
    static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint8_t random[64];
    size_t used = sizeof(random), i = 0;

    while (i < n) {
        if (used == sizeof(random)) {
            if (gp_jose_random_bytes(random, sizeof(random)) < 0) {
                return -GP_INTERNAL;
            }
            used = 0;
        }
        if (random[used] < 248) { /* 4 * 62: above it the remainders would not be even */
            buf[i++] = alphabet[random[used] % 62];
        }
        used++;
    }
    buf[n] = '\0';
    OPENSSL_cleanse(random, sizeof(random));

    return 0;
}

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>

#include "core/code.h"
#include "core/contract.h"
#include "core/hex.h"
#include "jose/digest.h"
#include "jose/jws.h"
#include "jose/key.h"
#include "tap.h"

/* Private keys in files, thumbprints, digests. */

/* The key of RFC 7515 A.3 as PKCS #8; its thumbprint was computed with another implementation (Python's hashlib over RFC 7638's text). */
static const char rfc_pem[] = "-----BEGIN PRIVATE KEY-----\n"
                              "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjpsQnnGQmL+YBIff\n"
                              "H1136cspYG6+0iY7X1fCE9+E9LKhRANCAAR/zc4ncPbEXUGDy+5v20t7WAczNXvp\n"
                              "7xO6z248e9FURcfxRM0bvZt+hyzf7bnuufSzaV1uqQskrYpGIyiFiOWt\n"
                              "-----END PRIVATE KEY-----\n";


static void test_files(const char *dir)
{
    char path[4096], again[4096];
    gp_jose_key_t *key = NULL, *copy = NULL;
    struct stat st;

    (void) snprintf(path, sizeof(path), "%s/key.pem", dir);
    (void) snprintf(again, sizeof(again), "%s/key.pem.new", dir);
    is_int(gp_jose_key_load(path, &key), -GP_NOT_FOUND, "a file that is not there is NOT_FOUND");
    if (!ok(gp_jose_key_generate(&key) == 0 && gp_jose_key_store(key, path) == 0, "a key is made and stored")) {
        return;
    }
    ok(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600, "its file is 0600");
    ok(access(again, F_OK) != 0, "nothing is left beside it");
    ok(gp_jose_key_load(path, &copy) == 0 && strcmp(gp_jose_key_id(key), gp_jose_key_id(copy)) == 0, "it reads back with the same id");
    (void) gp_jose_key_free(copy);
    copy = NULL;
    ok(chmod(path, 0640) == 0, "make it readable for the group");
    is_int(gp_jose_key_load(path, &copy), -GP_INVALID_ARGUMENT, "then it is refused");
    is_int(gp_jose_key_store(key, "/nonexistent/key.pem"), -GP_INTERNAL, "a directory that is not there is a fault");
    is_int(errno, ENOENT, "and errno says why");
    (void) gp_jose_key_free(key);
    (void) unlink(path);
}


static void test_pem(void)
{
    static const char encrypted[] =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAg=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    gp_jose_key_t *key = NULL;
    char *pem = NULL, *jwk = NULL;
    size_t len = 0;

    if (!ok(gp_jose_key_from_pem(rfc_pem, strlen(rfc_pem), &key) == 0, "the key of RFC 7515 A.3 is read")) {
        return;
    }
    is_str(gp_jose_key_id(key), "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U", "its id is the RFC 7638 thumbprint");
    ok(gp_jose_key_to_jwk(key, &jwk) == 0 && strstr(jwk, "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\"") != NULL &&
           strstr(jwk, "\"d\"") == NULL,
       "its JWK has the public half only");
    free(jwk);
    ok(gp_jose_key_to_pem(key, &pem, &len) == 0 && strcmp(pem, rfc_pem) == 0 && strlen(pem) == len, "its PEM is the one it came from");
    gp_jose_secret_free(pem, len);
    (void) gp_jose_key_free(key);

    is_int(gp_jose_key_from_pem("", 0, &key), -GP_INVALID_ARGUMENT, "nothing is no key");
    is_int(gp_jose_key_from_pem(encrypted, strlen(encrypted), &key), -GP_INVALID_ARGUMENT, "an encrypted key is refused without a prompt");
    ok(ERR_peek_error() == 0, "nothing of this stays in OpenSSL's error queue");
}


static void test_sign(void)
{
    gp_jose_key_t *key = NULL;
    char payload[GP_CREDENTIAL_MAX], *token = NULL;

    memset(payload, ' ', sizeof(payload));
    memcpy(payload, "{}", 2);
    if (gp_jose_key_generate(&key) != 0) {
        abort();
    }
    is_int(gp_jose_sign(key, payload, sizeof(payload), &token), -GP_OUT_OF_RANGE, "a token longer than GP_CREDENTIAL_MAX is refused");
    ok(gp_jose_sign(key, payload, 2800, &token) == 0 && strlen(token) <= GP_CREDENTIAL_MAX, "2,800 bytes still fit");
    free(token);
    (void) gp_jose_key_free(key);
}


static void test_digests(void)
{
    char hex[GP_SHA256_HEX_LEN + 1] = "", text[41], other[41];
    uint8_t mac[GP_SHA256_LEN];

    ok(gp_sha256_hex("abc", 3, hex) == 0, "SHA-256 runs");
    is_str(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "SHA-256 of \"abc\" (FIPS 180-2)");
    ok(gp_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, mac) == 0, "HMAC runs");
    gp_hex_encode(mac, sizeof(mac), hex);
    is_str(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", "HMAC-SHA256 of RFC 4231, case 2");
    ok(gp_equal_constant_time("abc", "abc", 3) && !gp_equal_constant_time("abc", "abd", 3) && gp_equal_secret("a", 1, "a", 1) &&
           !gp_equal_secret("a", 1, "ab", 2) && gp_equal_secret("", 0, "", 0),
       "comparison in constant time compares");
    ok(gp_jose_random_alnum(text, 40) == 0 && gp_jose_random_alnum(other, 40) == 0 && strlen(text) == 40 && strcmp(text, other) != 0 &&
           strspn(text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == 40,
       "random texts have 40 characters and differ");
}


int main(void)
{
    char dir[] = "/tmp/gp-jose-XXXXXX";

    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    test_files(dir);
    test_pem();
    test_sign();
    test_digests();
    ok(rmdir(dir) == 0, "the directory is empty again");

    return tap_done();
}

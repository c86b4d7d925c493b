/*
 * For bench/hop-miss.sh.
 *   tokens make ISSUER HOST WORKSPACE USER N   a key set, then N workspace tokens, one a line
 *   tokens verify N                            microseconds of CPU of one ES256 verification by OpenSSL
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/ec.h>
#include <openssl/evp.h>

#include "jose/jws.h"
#include "jose/key.h"

#define SIGNED "the part of a token that is signed has about three hundred bytes "


static int make(char **argv)
{
    gp_jose_key_t *key = NULL;
    gp_jose_issue_t claims = {.iss = argv[0], .aud = argv[1], .ws = argv[2], .sub = argv[3]};
    char *jwk = NULL, *set = NULL, *token, sid[37];
    long i, n = atol(argv[4]);

    if (gp_jose_key_generate(&key) != 0 || gp_jose_key_to_jwk(key, &jwk) != 0 ||
        gp_jose_jwks_format((const char *const *) &jwk, 1, &set) != 0) {
        return 1;
    }
    puts(set);
    claims.iat_epoch_s = time(NULL);
    claims.exp_epoch_s = claims.iat_epoch_s + 3600;
    claims.sid = sid;
    for (i = 0; i < n; i++) {
        (void) snprintf(sid, sizeof(sid), "%08lx-0000-4000-8000-000000000000", i);
        if (gp_jose_issue(key, &claims, &token) != 0) {
            return 1;
        }
        puts(token);
        free(token);
    }
    free(set);
    free(jwk);
    key = gp_jose_key_free(key);

    return fflush(stdout) == 0 ? 0 : 1;
}


static double cpu_s(void)
{
    struct timespec ts;

    (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


static int verify(long n)
{
    static const char text[] = SIGNED SIGNED SIGNED SIGNED SIGNED;
    unsigned char sig[128];
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t len = sizeof(sig);
    double from;
    long i;

    if (pkey == NULL || ctx == NULL || EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, pkey) != 1 ||
        EVP_DigestSign(ctx, sig, &len, (const unsigned char *) text, sizeof(text) - 1) != 1) {
        return 1;
    }
    from = cpu_s();
    for (i = 0; i < n; i++) {
        (void) EVP_MD_CTX_reset(ctx);
        if (EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, pkey) != 1 ||
            EVP_DigestVerify(ctx, sig, len, (const unsigned char *) text, sizeof(text) - 1) != 1) {
            return 1;
        }
    }
    printf("%.3f\n", (cpu_s() - from) * 1e6 / (double) n);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);

    return 0;
}


int main(int argc, char **argv)
{
    if (argc == 7 && strcmp(argv[1], "make") == 0) {
        return make(argv + 2);
    }
    if (argc == 3 && strcmp(argv[1], "verify") == 0) {
        return verify(atol(argv[2]));
    }
    (void) fprintf(stderr, "usage: tokens make ISSUER HOST WORKSPACE USER N | tokens verify N\n");

    return 2;
}

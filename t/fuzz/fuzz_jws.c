#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "jose/claims.h"
#include "jose/jws.h"
#include "jose/key.h"

/*
 * Any bytes as a token, as claims and as a key set. No input verifies: nobody
 * but us has the private key. What is read of claims without a parser is what
 * a parser reads. The second half of the input is the key set, after a NUL.
 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static gp_jose_keys_t *keys;


static void make_keys(void)
{
    gp_jose_key_t *key = NULL;
    char *jwk = NULL, *set = NULL;

    if (gp_jose_key_generate(&key) != 0 || gp_jose_key_to_jwk(key, &jwk) != 0 ||
        gp_jose_jwks_format((const char *const *) &jwk, 1, &set) != 0 || gp_jose_keys_parse(set, strlen(set), &keys) != 0) {
        abort();
    }
    free(jwk);
    free(set);
    key = gp_jose_key_free(key);
}


static bool same_span(gp_span_t a, gp_span_t b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}


static void check_claims(const char *text, size_t len)
{
    gp_jose_claims_t flat = {0}, tree = {0};
    json_t *json;

    if (!gp_jose_claims_flat(text, len, &flat)) {
        return;
    }
    json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (json == NULL || !gp_jose_claims_tree(json, &tree) || !same_span(flat.iss, tree.iss) || !same_span(flat.aud, tree.aud) ||
        !same_span(flat.sub, tree.sub) || !same_span(flat.sid, tree.sid) || !same_span(flat.ws, tree.ws) ||
        flat.iat_epoch_s != tree.iat_epoch_s || flat.nbf_epoch_s != tree.nbf_epoch_s || flat.exp_epoch_s != tree.exp_epoch_s) {
        abort();
    }
    json_decref(json);
}


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = memchr(data, '\0', size);
    size_t token_len = nul ? (size_t) (nul - data) : size;
    gp_jose_keys_t *other = NULL;
    gp_jose_claims_t claims = {0};
    char kid[GP_JOSE_KID_MAX + 1], *text;

    if (keys == NULL) {
        make_keys();
    }
    check_claims((const char *) data, token_len);
    if (gp_jose_verify(keys, GP_JOSE_ES256 | GP_JOSE_RS256, (const char *) data, token_len, &claims) == 0) {
        abort();
    }
    (void) gp_jose_kid((const char *) data, token_len, kid);
    if (nul != NULL &&
        gp_jose_keys_merge((const char *) data, token_len, (const char *) nul + 1, size - token_len - 1, 1700000000, 60, &text) == 0) {
        free(text);
    }
    if (nul != NULL && gp_jose_keys_parse((const char *) nul + 1, size - token_len - 1, &other) == 0) {
        if (gp_jose_verify(other, GP_JOSE_ES256 | GP_JOSE_RS256, (const char *) data, token_len, &claims) == 0) {
            (void) gp_jose_claims_check(&claims, NULL, NULL, 1700000000);
            gp_jose_claims_clear(&claims);
        }
        other = gp_jose_keys_free(other);
    }

    return 0;
}

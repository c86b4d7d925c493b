#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/span.h"

/*
 * Verification of compact JWS tokens (RFC 7515) against a key set that was
 * parsed once. The algorithm is bound to the type of the key, never taken from
 * the token alone: P-256 keys verify ES256, RSA keys (2048 to 4096 bits) RS256,
 * and only algorithms of the caller's allow-list count.
 *
 * Fit for nginx workers: handles are malloc'd, nothing aborts, no thread, no
 * file, no clock. A key set is not locked: one thread at a time.
 */
typedef struct gp_jose_keys gp_jose_keys_t;

#define GP_JOSE_ES256 0x1u
#define GP_JOSE_RS256 0x2u

#define GP_JOSE_NO 1 /* positive outcome: not valid, and that is all to tell */

#define GP_JOSE_KEYS_MAX 16 /* keys in one set */
#define GP_JOSE_KID_MAX 128 /* bytes of a key id */
#define GP_JOSE_KEY_SET_MAX 65536 /* bytes of JWKS text */
#define GP_JOSE_LEEWAY_S 5 /* clocks differ */
#define GP_JOSE_HEADER_MAX 1024 /* bytes of a decoded token header */

/*
 * gp_jose_keys_parse() - JWKS text (RFC 7517 5) to parsed keys
 *
 * Keys of unknown type, curve, algorithm or use and those without a kid are
 * passed over, as the RFC wants. A set without any usable key
 * is an error, so that a broken file never replaces a good set.
 *
 * 0 and *ret_keys (release with gp_jose_keys_free()); -GP_INVALID_ARGUMENT: not
 * a key set, too large, two keys of one kid, or nothing usable in it;
 * -GP_RESOURCE_EXHAUSTED: out of memory.
 */
int gp_jose_keys_parse(const char *json, size_t len, gp_jose_keys_t **ret_keys) __attribute__((warn_unused_result));
gp_jose_keys_t *gp_jose_keys_free(gp_jose_keys_t *keys); /* NULL is fine; returns NULL */
size_t gp_jose_keys_count(const gp_jose_keys_t *keys); /* NULL: 0 */

/*
 * gp_jose_keys_merge() - a fetched key set to the one that is kept
 *
 * Of each key only what verifies is kept. Keys of old (a set that this made,
 * or empty) that fresh does not list stay for grace_s since then, as far as
 * there is room for GP_JOSE_KEYS_MAX.
 *
 * 0 and *ret_text (free() it); -GP_INVALID_ARGUMENT: fresh has no key or too
 * many; -GP_RESOURCE_EXHAUSTED. Whether the keys are good gp_jose_keys_parse() tells.
 */
int gp_jose_keys_merge(const char *old, size_t old_len, const char *fresh, size_t fresh_len, int64_t now_epoch_s, int64_t grace_s,
                       char **ret_text) __attribute__((warn_unused_result));

/*
 * gp_jose_kid() - the key that a token wants, whether or not it is known
 *
 * Of a token that could be one of those a caller allows: its header has an
 * alg of ours and a kid of printable ASCII. Nothing is verified.
 */
bool gp_jose_kid(const char *token, size_t len, char ret_kid[GP_JOSE_KID_MAX + 1]) __attribute__((warn_unused_result));
bool gp_jose_keys_has(const gp_jose_keys_t *keys, const char *kid); /* NULL: false */
size_t gp_jose_keys_beside(const gp_jose_keys_t *keys, const gp_jose_keys_t *others); /* how many others does not have */

/*
 * What a token says. Spans live until gp_jose_claims_clear() (kid: as long as
 * the key set) and are { NULL, 0 } when the claim is absent; times are 0 then.
 */
typedef struct {
    gp_span_t iss;
    gp_span_t aud; /* a string, or the only member of an array; more than one audience: GP_JOSE_NO */
    gp_span_t sub;
    gp_span_t sid;
    gp_span_t ws;
    gp_span_t kid; /* the key that verified it */
    int64_t iat_epoch_s;
    int64_t nbf_epoch_s;
    int64_t exp_epoch_s;
    void *opaque; /* owners of the bytes; gp_jose_claims_clear() frees them */
    void *text;
} gp_jose_claims_t;

/*
 * gp_jose_verify() - check the signature of a compact token and read its claims
 *
 * The header must have a kid of the set (or none, when the set has one key)
 * and the alg of that key; "crit" is refused, "typ" must be absent or JWT. Times, issuer and audience are not
 * looked at: gp_jose_claims_check().
 *
 * 0: signature good, *ret_claims filled (clear it); GP_JOSE_NO: not a token of
 * ours, for whatever reason; -GP_RESOURCE_EXHAUSTED, -GP_INTERNAL: faults here.
 * *ret_claims is written only on 0.
 */
int gp_jose_verify(gp_jose_keys_t *keys, unsigned algorithms, const char *token, size_t len, gp_jose_claims_t *ret_claims)
    __attribute__((warn_unused_result));
void gp_jose_claims_clear(gp_jose_claims_t *claims); /* zeroed is fine; leaves it zeroed */

/*
 * gp_jose_claims_check() - issuer, audience and times
 *
 * sub, exp and iat must be there; now < exp + leeway, iat <= now + leeway,
 * nbf <= now + leeway. issuer or audience NULL: not compared. 0, or GP_JOSE_NO.
 */
int gp_jose_claims_check(const gp_jose_claims_t *claims, const gp_span_t *issuer, const gp_span_t *audience, int64_t now_epoch_s)
    __attribute__((warn_unused_result));

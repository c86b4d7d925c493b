#include <stdlib.h>
#include <string.h>

#include "core/base64url.h"
#include "core/code.h"
#include "core/contract.h"
#include "jose/claims.h"

/*
 * The claims of a token. Ours are written one way, which is read without a
 * tree: jansson takes a tenth of the time of a verification for that.
 */
#define GP_CLAIM_DIGITS_MAX 15 /* of a time: no overflow, and far beyond any */

typedef struct {
    const char *name;
    size_t len;
    size_t offset;
    bool time;
} gp_claim_t;

#define GP_CLAIM(name, field, time)                                                                                                        \
    {                                                                                                                                      \
        name, sizeof(name) - 1, offsetof(gp_jose_claims_t, field), time                                                                    \
    }

static const gp_claim_t gp_claims[] = {
    GP_CLAIM("iss", iss, false),
    GP_CLAIM("aud", aud, false),
    GP_CLAIM("sub", sub, false),
    GP_CLAIM(GP_CLAIM_SESSION, sid, false),
    GP_CLAIM(GP_CLAIM_WORKSPACE, ws, false),
    GP_CLAIM("iat", iat_epoch_s, true),
    GP_CLAIM("nbf", nbf_epoch_s, true),
    GP_CLAIM("exp", exp_epoch_s, true),
};

#define GP_CLAIMS_N (sizeof(gp_claims) / sizeof(gp_claims[0]))


/* Behind the string that begins at p, or NULL. */
static const char *gp_flat_string(const char *p, const char *end, gp_span_t *ret_span)
{
    if (p == end || *p++ != '"') {
        return NULL;
    }
    ret_span->ptr = p;
    while (p < end && *p != '"') {
        if (*p < ' ' || *p > '~' || *p == '\\') {
            return NULL;
        }
        p++;
    }
    ret_span->len = (size_t) (p - ret_span->ptr);

    return p < end ? p + 1 : NULL;
}


static const char *gp_flat_time(const char *p, const char *end, int64_t *ret_epoch_s)
{
    int64_t number = 0;
    int digits;

    if (p == end || *p == '0') {
        return NULL;
    }
    for (digits = 0; p < end && *p >= '0' && *p <= '9' && digits < GP_CLAIM_DIGITS_MAX; digits++) {
        number = number * 10 + (*p++ - '0');
    }
    *ret_epoch_s = number;

    return digits > 0 ? p : NULL;
}


/* Behind "name":value, or NULL; *seen has a bit for each claim that was there. */
static const char *gp_flat_member(const char *p, const char *end, unsigned *seen, gp_jose_claims_t *claims)
{
    gp_span_t name;
    void *field;
    size_t i;

    p = gp_flat_string(p, end, &name);
    if (p == NULL || p == end || *p++ != ':') {
        return NULL;
    }
    for (i = 0; i < GP_CLAIMS_N; i++) {
        if (name.len == gp_claims[i].len && memcmp(name.ptr, gp_claims[i].name, name.len) == 0) {
            break;
        }
    }
    if (i == GP_CLAIMS_N || (*seen & 1u << i) != 0) {
        return NULL;
    }
    *seen |= 1u << i;
    field = (char *) claims + gp_claims[i].offset;

    return gp_claims[i].time ? gp_flat_time(p, end, field) : gp_flat_string(p, end, field);
}


bool gp_jose_claims_flat(const char *text, size_t len, gp_jose_claims_t *ret_claims)
{
    const char *p = text, *end = text + len;
    gp_jose_claims_t claims = {0};
    unsigned seen = 0;

    if (len < 2 || *p++ != '{') {
        return false;
    }
    do {
        p = gp_flat_member(p, end, &seen, &claims);
    } while (p != NULL && p < end && *p++ == ',');

    if (p != end || end[-1] != '}') {
        return false;
    }
    *ret_claims = claims;

    return true;
}


/* A string claim; absent is fine, another type is not. */
static bool gp_tree_text(const json_t *value, bool listed, gp_span_t *ret_span)
{
    if (value == NULL) {
        return true;
    }
    if (listed && json_is_array(value) && json_array_size(value) == 1) {
        value = json_array_get(value, 0);
    }
    if (!json_is_string(value)) {
        return false;
    }
    ret_span->ptr = json_string_value(value);
    ret_span->len = json_string_length(value);

    return true;
}


static bool gp_tree_time(const json_t *value, int64_t *ret_epoch_s)
{
    if (value == NULL) {
        return true;
    }
    if (!json_is_integer(value) || json_integer_value(value) <= 0) {
        return false;
    }
    *ret_epoch_s = json_integer_value(value);

    return true;
}


bool gp_jose_claims_tree(const json_t *payload, gp_jose_claims_t *ret_claims)
{
    gp_jose_claims_t claims = {0};
    const json_t *value;
    void *field;
    size_t i;

    for (i = 0; i < GP_CLAIMS_N; i++) {
        value = json_object_get(payload, gp_claims[i].name);
        field = (char *) &claims + gp_claims[i].offset;
        if (!(gp_claims[i].time ? gp_tree_time(value, field) : gp_tree_text(value, strcmp(gp_claims[i].name, "aud") == 0, field))) {
            return false;
        }
    }
    *ret_claims = claims;

    return true;
}


json_t *gp_jose_decode_object(gp_span_t part, size_t max)
{
    uint8_t text[GP_BASE64URL_DECODED_MAX(GP_CREDENTIAL_MAX)];
    json_t *json;
    size_t len = 0;

    if (GP_BASE64URL_DECODED_MAX(part.len) > max || gp_base64url_decode(part.ptr, part.len, text, &len) != 0) {
        return NULL;
    }
    json = json_loadb((const char *) text, len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(json)) {
        json_decref(json);
        return NULL;
    }

    return json;
}


int gp_jose_claims_read(gp_span_t part, gp_jose_claims_t *ret_claims)
{
    gp_jose_claims_t claims;
    uint8_t *text;
    json_t *payload;
    size_t len = 0;

    if (part.len > GP_CREDENTIAL_MAX) {
        return GP_JOSE_NO;
    }
    text = malloc(GP_BASE64URL_DECODED_MAX(part.len) + 1);
    if (text == NULL) {
        return -GP_RESOURCE_EXHAUSTED;
    }
    if (gp_base64url_decode(part.ptr, part.len, text, &len) == 0 && gp_jose_claims_flat((const char *) text, len, &claims)) {
        claims.text = text;
        *ret_claims = claims;
        return 0;
    }
    free(text);

    payload = gp_jose_decode_object(part, GP_CREDENTIAL_MAX);
    if (payload == NULL || !gp_jose_claims_tree(payload, &claims)) {
        json_decref(payload);
        return GP_JOSE_NO;
    }
    claims.opaque = payload;
    *ret_claims = claims;

    return 0;
}


void gp_jose_claims_clear(gp_jose_claims_t *claims)
{
    json_decref((json_t *) claims->opaque);
    free(claims->text);
    memset(claims, 0, sizeof(*claims));
}


static bool gp_span_same(const gp_span_t *a, const gp_span_t *b)
{
    return a->len == b->len && a->len > 0 && memcmp(a->ptr, b->ptr, a->len) == 0;
}


int gp_jose_claims_check(const gp_jose_claims_t *claims, const gp_span_t *issuer, const gp_span_t *audience, int64_t now_epoch_s)
{
    if (claims->sub.len == 0 || claims->exp_epoch_s == 0 || claims->iat_epoch_s == 0 ||
        (issuer != NULL && !gp_span_same(&claims->iss, issuer)) || (audience != NULL && !gp_span_same(&claims->aud, audience))) {
        return GP_JOSE_NO;
    }
    /* subtractions on our own clock: claims can be as large as int64_t */
    if (claims->exp_epoch_s <= now_epoch_s - GP_JOSE_LEEWAY_S || claims->iat_epoch_s > now_epoch_s + GP_JOSE_LEEWAY_S ||
        claims->nbf_epoch_s > now_epoch_s + GP_JOSE_LEEWAY_S) {
        return GP_JOSE_NO;
    }

    return 0;
}

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "core/code.h"
#include "jose/jws.h"

/*
 * A key set of somebody else's, as it is kept: what verifies and nothing
 * else of each key, and for a while the keys that are not listed any more.
 */
#define GP_RETIRED "gitpod_retired" /* epoch seconds: since then it is not listed */


static json_t *gp_set_list(const char *text, size_t len, json_t **ret_doc)
{
    *ret_doc = len > 0 ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : NULL;

    return json_object_get(*ret_doc, "keys");
}


static bool gp_set_has(const json_t *list, const char *kid)
{
    const char *other;
    size_t i;

    for (i = 0; i < json_array_size(list); i++) {
        other = json_string_value(json_object_get(json_array_get(list, i), "kid"));
        if (other != NULL && strcmp(other, kid) == 0) {
            return true;
        }
    }

    return false;
}


/* What of a key is kept; NULL: it is none that could verify. */
static json_t *gp_set_key(const json_t *jwk)
{
    static const char *const names[] = {"kty", "kid", "alg", "use", "crv", "x", "y", "n", "e"};
    const char *kid = json_string_value(json_object_get(jwk, "kid")), *kty = json_string_value(json_object_get(jwk, "kty"));
    json_t *key, *value;
    size_t i;

    if (kid == NULL || kid[0] == '\0' || strlen(kid) > GP_JOSE_KID_MAX || kty == NULL ||
        (strcmp(kty, "EC") != 0 && strcmp(kty, "RSA") != 0)) {
        return NULL;
    }
    key = json_object();
    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        value = json_object_get(jwk, names[i]);
        if (value != NULL && (!json_is_string(value) || json_object_set(key, names[i], value) < 0)) {
            json_decref(key);
            return NULL;
        }
    }

    return key;
}


/* The keys of the old set that the new one does not list, until their time is over. */
static int gp_set_retire(json_t *into, const json_t *old, const json_t *fresh, int64_t now_epoch_s, int64_t grace_s)
{
    const char *kid;
    json_t *jwk, *key;
    int64_t since;
    size_t i;

    for (i = 0; i < json_array_size(old) && json_array_size(into) < GP_JOSE_KEYS_MAX; i++) {
        jwk = json_array_get(old, i);
        kid = json_string_value(json_object_get(jwk, "kid"));
        since = json_integer_value(json_object_get(jwk, GP_RETIRED));
        since = since > 0 ? since : now_epoch_s;
        if (kid == NULL || gp_set_has(fresh, kid) || now_epoch_s - since >= grace_s) {
            continue;
        }
        key = gp_set_key(jwk);
        if (key == NULL || json_object_set_new(key, GP_RETIRED, json_integer(since)) < 0 || json_array_append_new(into, key) < 0) {
            return -GP_RESOURCE_EXHAUSTED;
        }
    }

    return 0;
}


int gp_jose_keys_merge(const char *old, size_t old_len, const char *fresh, size_t fresh_len, int64_t now_epoch_s, int64_t grace_s,
                       char **ret_text)
{
    json_t *old_doc, *fresh_doc, *old_list, *fresh_list, *into = json_array(), *key, *set;
    size_t i;
    int rc = 0;

    old_list = gp_set_list(old, old_len, &old_doc);
    fresh_list = gp_set_list(fresh, fresh_len, &fresh_doc);

    for (i = 0; rc == 0 && i < json_array_size(fresh_list); i++) {
        key = gp_set_key(json_array_get(fresh_list, i));
        if (key != NULL && json_array_append_new(into, key) < 0) {
            rc = -GP_RESOURCE_EXHAUSTED;
        }
    }
    if (json_array_size(into) == 0 || json_array_size(into) > GP_JOSE_KEYS_MAX) {
        rc = -GP_INVALID_ARGUMENT;
    }
    if (rc == 0) {
        rc = gp_set_retire(into, old_list, fresh_list, now_epoch_s, grace_s);
    }
    json_decref(old_doc);
    json_decref(fresh_doc);

    set = json_pack("{s:o}", "keys", into); /* takes into, always */
    *ret_text = rc == 0 && set != NULL ? json_dumps(set, JSON_COMPACT) : NULL;
    json_decref(set);

    return rc == 0 && *ret_text == NULL ? -GP_RESOURCE_EXHAUSTED : rc;
}

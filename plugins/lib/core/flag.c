#include <string.h>

#include <jansson.h>

#include "core/code.h"
#include "core/flag.h"
#include "core/hex.h"
#include "core/id.h"

#define GP_FLAG_FNV_BASIS 0xcbf29ce484222325ULL
#define GP_FLAG_FNV_PRIME 0x100000001b3ULL


bool gp_flag_name_valid(const char *name, size_t len)
{
    size_t i;

    if (len == 0 || len > GP_FLAG_NAME_MAX || name[0] < 'a' || name[0] > 'z') {
        return false;
    }

    for (i = 1; i < len; i++) {
        if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') || name[i] == '_')) {
            return false;
        }
    }

    return true;
}


/* The 16 bytes of a UUID's text. */
static bool gp_flag_user_bytes(const char *user, size_t len, uint8_t ret_bytes[GP_FLAG_USER_LEN])
{
    size_t i, n;

    if (!gp_id_uuid_valid(user, len)) {
        return false;
    }

    n = 0;
    for (i = 0; i < len; i += 2) {
        if (user[i] == '-') {
            i++;
        }
        if (gp_hex_decode(user + i, 2, &ret_bytes[n++]) != 0) {
            return false;
        }
    }

    return true;
}


static int gp_flag_parse_head(json_t *json, gp_flag_t *flag, const char **ret_why)
{
    json_t *value;

    value = json_object_get(json, "name");
    if (!json_is_string(value) || !gp_flag_name_valid(json_string_value(value), json_string_length(value))) {
        *ret_why = "\"name\" is not 1 to 64 of a-z, 0-9 and _, the first a letter";
        return -GP_INVALID_ARGUMENT;
    }
    flag->name_len = (uint8_t) json_string_length(value);
    memcpy(flag->name, json_string_value(value), flag->name_len);

    value = json_object_get(json, "version");
    if (!json_is_integer(value) || json_integer_value(value) <= 0) {
        *ret_why = "\"version\" is not a positive integer";
        return -GP_INVALID_ARGUMENT;
    }
    flag->version = (uint64_t) json_integer_value(value);

    value = json_object_get(json, "deleted");
    if (value != NULL && !json_is_boolean(value)) {
        *ret_why = "\"deleted\" is not true or false";
        return -GP_INVALID_ARGUMENT;
    }
    flag->deleted = json_is_true(value);

    return 0;
}


static int gp_flag_parse_users(json_t *users, gp_flag_t *flag, const char **ret_why)
{
    json_t *user;
    size_t i;

    if (users == NULL) {
        return 0;
    }
    if (!json_is_array(users) || json_array_size(users) > GP_FLAG_USERS_MAX) {
        *ret_why = "\"users\" is not a list of at most 32";
        return -GP_INVALID_ARGUMENT;
    }

    for (i = 0; i < json_array_size(users); i++) {
        user = json_array_get(users, i);
        if (!json_is_string(user) || !gp_flag_user_bytes(json_string_value(user), json_string_length(user), flag->users[i])) {
            *ret_why = "a member of \"users\" is not a user id (a UUID in lower case)";
            return -GP_INVALID_ARGUMENT;
        }
    }
    flag->users_n = (uint8_t) json_array_size(users);

    return 0;
}


static int gp_flag_parse_rule(json_t *json, gp_flag_t *flag, const char **ret_why)
{
    json_t *value;

    value = json_object_get(json, "on");
    if (!json_is_boolean(value)) {
        *ret_why = "\"on\" is not true or false";
        return -GP_INVALID_ARGUMENT;
    }
    flag->on = json_is_true(value);

    if (gp_flag_parse_users(json_object_get(json, "users"), flag, ret_why) != 0) {
        return -GP_INVALID_ARGUMENT;
    }

    /* a list alone means: for these only */
    value = json_object_get(json, "percent");
    if (value == NULL) {
        flag->percent = flag->users_n > 0 ? 0 : 100;
        return 0;
    }
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > 100) {
        *ret_why = "\"percent\" is not an integer from 0 to 100";
        return -GP_INVALID_ARGUMENT;
    }
    flag->percent = (uint8_t) json_integer_value(value);

    return 0;
}


int gp_flag_parse(const char *text, size_t len, gp_flag_t *ret_flag, const char **ret_why)
{
    json_error_t error;
    json_t *json;
    int rc;

    memset(ret_flag, 0, sizeof(*ret_flag));
    if (len > GP_FLAG_RECORD_MAX) {
        *ret_why = "it is longer than a record may be";
        return -GP_INVALID_ARGUMENT;
    }

    json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(json)) {
        json_decref(json);
        *ret_why = "it is not a JSON object";
        return -GP_INVALID_ARGUMENT;
    }

    rc = gp_flag_parse_head(json, ret_flag, ret_why);
    if (rc == 0 && !ret_flag->deleted) {
        rc = gp_flag_parse_rule(json, ret_flag, ret_why);
    }
    json_decref(json);

    return rc;
}


static uint64_t gp_flag_fnv1a(uint64_t hash, const char *bytes, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        hash = (hash ^ (uint8_t) bytes[i]) * GP_FLAG_FNV_PRIME;
    }

    return hash;
}


unsigned gp_flag_bucket(const char *name, size_t name_len, const char *user, size_t user_len)
{
    uint64_t hash;

    hash = gp_flag_fnv1a(GP_FLAG_FNV_BASIS, name, name_len);
    hash = gp_flag_fnv1a(hash, ":", 1);
    hash = gp_flag_fnv1a(hash, user, user_len);
    hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdULL;
    hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53ULL;
    hash ^= hash >> 33;

    return (unsigned) (hash % 100);
}


bool gp_flag_on(const gp_flag_t *flag, const char *user, size_t user_len)
{
    uint8_t bytes[GP_FLAG_USER_LEN];
    size_t i;

    if (!flag->on || flag->deleted) {
        return false;
    }
    if (flag->percent == 100) {
        return true;
    }
    if (!gp_flag_user_bytes(user, user_len, bytes)) {
        return false; /* nobody is signed in */
    }

    for (i = 0; i < flag->users_n; i++) {
        if (memcmp(flag->users[i], bytes, sizeof(bytes)) == 0) {
            return true;
        }
    }

    return gp_flag_bucket(flag->name, flag->name_len, user, user_len) < flag->percent;
}

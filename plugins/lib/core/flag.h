#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/contract.h"

/*
 * Feature flags: what a record says, and for whom the flag is on. The gateway
 * and the services ask the same functions, so they never differ.
 */
#define GP_FLAG_USER_LEN 16 /* bytes of a user id as a record keeps it */

typedef struct {
    uint64_t version;
    bool deleted; /* a tombstone: the configuration's default counts */
    bool on; /* off: for nobody */
    uint8_t percent; /* of the users, 0 to 100 */
    uint8_t name_len;
    uint8_t users_n; /* for these it is on in any case */
    char name[GP_FLAG_NAME_MAX]; /* not terminated */
    uint8_t users[GP_FLAG_USERS_MAX][GP_FLAG_USER_LEN];
} gp_flag_t;

/* 1 to GP_FLAG_NAME_MAX bytes of [a-z0-9_] that begin with a letter. */
bool gp_flag_name_valid(const char *name, size_t len);

/*
 * A record of docs/contracts/redis.md. 0, or -GP_INVALID_ARGUMENT and *ret_why
 * (a constant) with what is wrong; of *ret_flag the name alone may be used, if it got that far.
 */
int gp_flag_parse(const char *text, size_t len, gp_flag_t *ret_flag, const char **ret_why);

/* Is it on for that user? user: id as text, empty when nobody is signed in; then it is on only when it is for everybody. */
bool gp_flag_on(const gp_flag_t *flag, const char *user, size_t user_len);

/*
 * 0 to 99: a user has the flag when this is less than its percentage. FNV-1a,
 * 64 bit, over name, ':' and user id, stirred by the finaliser of MurmurHash3
 * (an id's last digits would hardly reach the upper bits), modulo 100.
 */
unsigned gp_flag_bucket(const char *name, size_t name_len, const char *user, size_t user_len);

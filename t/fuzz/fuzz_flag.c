#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/flag.h"

/*
 * Any bytes as a record of a feature flag, and, after a NUL, as a user. What
 * is taken is within its bounds, a bucket is one of 100, and nobody has a flag
 * that is off.
 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = memchr(data, '\0', size);
    size_t len = nul ? (size_t) (nul - data) : size;
    const char *user = nul ? (const char *) nul + 1 : "";
    size_t user_len = nul ? size - len - 1 : 0;
    const char *why = NULL;
    gp_flag_t flag;

    if (gp_flag_parse((const char *) data, len, &flag, &why) != 0) {
        if (why == NULL || flag.name_len > GP_FLAG_NAME_MAX) {
            abort();
        }
        return 0;
    }
    if (!gp_flag_name_valid(flag.name, flag.name_len) || flag.version == 0 || flag.percent > 100 || flag.users_n > GP_FLAG_USERS_MAX) {
        abort();
    }
    if (gp_flag_bucket(flag.name, flag.name_len, user, user_len) > 99) {
        abort();
    }
    if (gp_flag_on(&flag, user, user_len) && (!flag.on || flag.deleted || (flag.percent == 0 && flag.users_n == 0))) {
        abort();
    }

    return 0;
}

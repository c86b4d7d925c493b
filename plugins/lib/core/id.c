#include <string.h>

#include "core/id.h"
#include "core/hex.h"


static bool gp_id_has_prefix(const char *id, size_t len)
{
    size_t i;

    i = 0;
    while (i < len && id[i] >= '0' && id[i] <= '9') {
        i++;
    }

    if (i > 0 && i < len && id[i] == '-') {
        return true;
    }

    i = sizeof(GP_HOST_DEBUG_PREFIX) - 1;

    return len >= i && memcmp(id, GP_HOST_DEBUG_PREFIX, i) == 0;
}


bool gp_id_workspace_valid(const char *id, size_t len)
{
    size_t i;
    char ch;

    if (len == 0 || len > GP_WORKSPACE_ID_MAX || id[0] == '-' || id[len - 1] == '-') {
        return false;
    }

    for (i = 0; i < len; i++) {
        ch = id[i];
        if (!((ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || ch == '-')) {
            return false;
        }
    }

    return !gp_id_has_prefix(id, len);
}


bool gp_id_uuid_valid(const char *id, size_t len)
{
    size_t i;
    char ch;

    if (len != GP_INSTANCE_ID_LEN) {
        return false;
    }

    for (i = 0; i < len; i++) {
        ch = id[i];
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (ch != '-') {
                return false;
            }

        } else if (!((ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'f'))) {
            return false;
        }
    }

    return true;
}


void gp_id_uuid_format(const uint8_t random[16], char ret_text[GP_INSTANCE_ID_LEN + 1])
{
    uint8_t bytes[16];
    char *p;
    size_t i;

    memcpy(bytes, random, sizeof(bytes));
    bytes[6] = (uint8_t) ((bytes[6] & 0x0f) | 0x40); /* version 4, RFC 9562 5.4 */
    bytes[8] = (uint8_t) ((bytes[8] & 0x3f) | 0x80); /* variant 10 */

    p = ret_text;
    for (i = 0; i < sizeof(bytes); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *p++ = '-';
        }
        gp_hex_encode(&bytes[i], 1, p);
        p += 2;
    }
    *p = '\0';
}

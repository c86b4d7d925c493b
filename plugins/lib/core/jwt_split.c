#include "core/jwt_split.h"
#include "core/code.h"
#include "core/contract.h"


static int gp_jwt_char(char ch)
{
    return (ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '-' || ch == '_';
}


int gp_jwt_split(const char *token, size_t len, gp_jwt_parts_t *ret_parts)
{
    gp_span_t part[3];
    size_t i, start, n;

    if (len > GP_CREDENTIAL_MAX) {
        return -GP_INVALID_ARGUMENT;
    }

    n = 0;
    start = 0;
    for (i = 0; i <= len; i++) {
        if (i < len && token[i] != '.') {
            if (!gp_jwt_char(token[i])) {
                return -GP_INVALID_ARGUMENT;
            }
            continue;
        }

        if (n == 3 || i == start) {
            return -GP_INVALID_ARGUMENT;
        }

        part[n].ptr = token + start;
        part[n].len = i - start;
        n++;
        start = i + 1;
    }

    if (n != 3) {
        return -GP_INVALID_ARGUMENT;
    }

    ret_parts->header = part[0];
    ret_parts->payload = part[1];
    ret_parts->signature = part[2];
    ret_parts->signed_part.ptr = token;
    ret_parts->signed_part.len = part[0].len + 1 + part[1].len;

    return 0;
}

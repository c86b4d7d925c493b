#include <stddef.h>
#include <string.h>

#include "core/code.h"


/* Names and statuses of connect-go 1.10, in the order of enum gp_code. */
static const struct {
    const char *name;
    int status;
} gp_codes[] = {
    {"ok", 200},        {"canceled", 408},        {"unknown", 500},           {"invalid_argument", 400},   {"deadline_exceeded", 408},
    {"not_found", 404}, {"already_exists", 409},  {"permission_denied", 403}, {"resource_exhausted", 429}, {"failed_precondition", 412},
    {"aborted", 409},   {"out_of_range", 400},    {"unimplemented", 404},     {"internal", 500},           {"unavailable", 503},
    {"data_loss", 500}, {"unauthenticated", 401},
};

#define GP_CODES_N ((int) (sizeof(gp_codes) / sizeof(gp_codes[0])))


const char *gp_code_name(int code)
{
    if (code < 0 || code >= GP_CODES_N) {
        code = GP_UNKNOWN;
    }

    return gp_codes[code].name;
}


int gp_code_from_name(const char *name, unsigned long len)
{
    int code;

    for (code = GP_CANCELED; code < GP_CODES_N; code++) {
        if (strlen(gp_codes[code].name) == len && memcmp(gp_codes[code].name, name, len) == 0) {
            return code;
        }
    }

    return GP_UNKNOWN;
}


int gp_code_http_status(int code)
{
    if (code < 0 || code >= GP_CODES_N) {
        code = GP_UNKNOWN;
    }

    return gp_codes[code].status;
}

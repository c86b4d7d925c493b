#include <string.h>

#include "core/contract.h"
#include "core/scope.h"


static bool gp_scope_is(gp_span_t scope, const char *name)
{
    return scope.len == strlen(name) && memcmp(scope.ptr, name, scope.len) == 0;
}


bool gp_scope_all(gp_span_t scopes)
{
    gp_span_t scope = {scopes.ptr, 0};
    size_t i;

    for (i = 0; i <= scopes.len; i++) {
        if (i < scopes.len && scopes.ptr[i] != ' ') {
            scope.len++;
            continue;
        }
        if (gp_scope_is(scope, GP_SCOPE_ALL) || gp_scope_is(scope, "*")) {
            return true;
        }
        scope.ptr = scopes.ptr + i + 1;
        scope.len = 0;
    }

    return false;
}

#include <string.h>

#include "core/id.h"
#include "core/scope.h"
#include "jose/digest.h"
#include "public_api.h"

int pub_require_user(const gp_call_t *call, gp_err_t *err)
{
    if (call->user[0] == '\0') {
        return gp_err(err, GP_UNAUTHENTICATED, "sign in, or send an access token: \"Authorization: Bearer gitpod_pat_...\"");
    }
    if (strcmp(call->credential, "token") == 0 && !gp_scope_all((gp_span_t){call->scopes, strlen(call->scopes)})) {
        return gp_err(err, GP_PERMISSION_DENIED,
                      "this access token lacks the scope \"%s\", which gitpod.v1 needs; make one with full access", GP_SCOPE_ALL);
    }

    return 0;
}


int pub_require_starts(const gp_call_t *call, gp_err_t *err)
{
    if (gp_call_flag(call, "maintenance")) {
        return gp_err(err, GP_UNAVAILABLE,
                      "the administrator has switched off starting workspaces for a while (feature flag \"maintenance\"); "
                      "workspaces that run go on. Try again later");
    }

    return 0;
}


int pub_check_workspace_id(const char *id, gp_err_t *err)
{
    if (id[0] == '\0') {
        return gp_err(err, GP_INVALID_ARGUMENT, "workspace_id: missing");
    }
    if (!gp_id_workspace_valid(id, strlen(id))) {
        return gp_err(err, GP_INVALID_ARGUMENT, "workspace_id: \"%.64s\" is not a workspace id (small letters, digits and \"-\")", id);
    }

    return 0;
}


char *pub_organization_id(gp_arena_t *arena, const char *user_id)
{
    char *id = gp_arena_alloc(arena, GP_USER_ID_LEN + 1);
    const char *text = gp_arena_printf(arena, "organization:%s", user_id);
    uint8_t digest[GP_SHA256_LEN];

    if (gp_sha256(text, strlen(text), digest) < 0) {
        return gp_arena_strdup(arena, "00000000-0000-4000-8000-000000000000");
    }
    gp_id_uuid_format(digest, id);

    return id;
}


int pub_check_organization(const gp_call_t *call, const char *id, gp_err_t *err)
{
    if (id[0] == '\0') {
        return 0;
    }
    if (!gp_id_uuid_valid(id, strlen(id))) {
        return gp_err(err, GP_INVALID_ARGUMENT, "organization_id: \"%.64s\" is not an organization id (a UUID)", id);
    }
    if (strcmp(id, pub_organization_id(call->arena, call->user)) != 0) {
        return gp_err(err, GP_NOT_FOUND, "organization_id: there is no organization %s that you belong to", id);
    }

    return 0;
}


int pub_call(gp_call_t *call, const ProtobufCServiceDescriptor *service, const char *method, const ProtobufCMessage *req,
             ProtobufCMessage **ret_res, gp_err_t *err)
{
    return gp_rpc_unary(call->service, service, method, req, call->arena, ret_res, PUB_CALL_MS, err);
}

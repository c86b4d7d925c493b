#include "public_api.h"


static void pub_roles(gp_arena_t *arena, bool administrator, Gitpod__V1__User *user)
{
    user->roles_or_permissions = gp_arena_alloc(arena, sizeof(*user->roles_or_permissions));
    user->roles_or_permissions[0] = administrator ? GITPOD__V1__ROLE_OR_PERMISSION__ROLE_OR_PERMISSION_ADMIN
                                                  : GITPOD__V1__ROLE_OR_PERMISSION__ROLE_OR_PERMISSION_DEVELOPER;
    user->n_roles_or_permissions = 1;
}


int pub_get_authenticated_user(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    Gitpod__V1__GetAuthenticatedUserResponse *out = (Gitpod__V1__GetAuthenticatedUserResponse *) res;
    Gitpod__Internal__V1__GetUserRequest get;
    const Gitpod__Internal__V1__User *user;
    ProtobufCMessage *done = NULL;
    int rc;

    gitpod__internal__v1__get_user_request__init(&get);
    get.user_id = gp_arena_strdup(call->arena, call->user);
    rc = pub_require_user(call, err);
    if (rc == 0) {
        rc = pub_call_auth(call, "GetUser", &get.base, &done, err);
    }
    if (rc < 0) {
        return rc;
    }

    user = ((const Gitpod__Internal__V1__GetUserResponse *) done)->user;
    if (user == NULL) {
        return gp_err(err, GP_INTERNAL, "GetUser: the answer has no user");
    }
    out->user = GP_MESSAGE_NEW(call->arena, Gitpod__V1__User, gitpod__v1__user__init);
    out->user->id = user->id;
    out->user->organization_id = pub_organization_id(call->arena, user->id);
    out->user->name = user->name;
    out->user->avatar_url = user->avatar_url;
    out->user->created_at = user->creation_time;
    out->user->blocked = user->blocked;
    pub_roles(call->arena, user->administrator, out->user);

    return 0;
}

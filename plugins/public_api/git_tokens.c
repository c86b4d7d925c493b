#include "public_api.h"

/* gitpod.extension.v1.GitTokenService: auth keeps them. */


static Gitpod__Extension__V1__GitToken *pub_git_token(gp_arena_t *arena, const Gitpod__Internal__V1__GitToken *token)
{
    Gitpod__Extension__V1__GitToken *out = GP_MESSAGE_NEW(arena, Gitpod__Extension__V1__GitToken, gitpod__extension__v1__git_token__init);

    if (token != NULL) {
        out->host = token->host;
        out->username = token->username;
        out->update_time = token->update_time;
    }

    return out;
}


int pub_set_git_token(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__Extension__V1__SetGitTokenRequest *in = (const Gitpod__Extension__V1__SetGitTokenRequest *) req;
    Gitpod__Extension__V1__SetGitTokenResponse *out = (Gitpod__Extension__V1__SetGitTokenResponse *) res;
    Gitpod__Internal__V1__SetGitTokenRequest set;
    ProtobufCMessage *done = NULL;
    int rc;

    gitpod__internal__v1__set_git_token_request__init(&set);
    set.user_id = gp_arena_strdup(call->arena, call->user);
    set.host = in->host;
    set.username = in->username;
    set.value = in->value;
    rc = pub_require_user(call, err);
    if (rc == 0) {
        rc = pub_call_auth(call, "SetGitToken", &set.base, &done, err);
    }
    if (rc == 0) {
        out->token = pub_git_token(call->arena, ((const Gitpod__Internal__V1__SetGitTokenResponse *) done)->token);
    }

    return rc;
}


int pub_list_git_tokens(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    Gitpod__Extension__V1__ListGitTokensResponse *out = (Gitpod__Extension__V1__ListGitTokensResponse *) res;
    const Gitpod__Internal__V1__ListGitTokensResponse *found;
    Gitpod__Internal__V1__ListGitTokensRequest list;
    ProtobufCMessage *done = NULL;
    size_t i;
    int rc;

    gitpod__internal__v1__list_git_tokens_request__init(&list);
    list.user_id = gp_arena_strdup(call->arena, call->user);
    rc = pub_require_user(call, err);
    if (rc == 0) {
        rc = pub_call_auth(call, "ListGitTokens", &list.base, &done, err);
    }
    if (rc < 0) {
        return rc;
    }

    found = (const Gitpod__Internal__V1__ListGitTokensResponse *) done;
    out->tokens = gp_arena_alloc(call->arena, (found->n_tokens + 1) * sizeof(*out->tokens));
    for (i = 0; i < found->n_tokens; i++) {
        out->tokens[i] = pub_git_token(call->arena, found->tokens[i]);
    }
    out->n_tokens = found->n_tokens;

    return 0;
}


int pub_delete_git_token(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__Extension__V1__DeleteGitTokenRequest *in = (const Gitpod__Extension__V1__DeleteGitTokenRequest *) req;
    Gitpod__Internal__V1__DeleteGitTokenRequest del;
    ProtobufCMessage *done = NULL;
    int rc;

    gitpod__internal__v1__delete_git_token_request__init(&del);
    del.user_id = gp_arena_strdup(call->arena, call->user);
    del.host = in->host;
    rc = pub_require_user(call, err);

    return rc < 0 ? rc : pub_call_auth(call, "DeleteGitToken", &del.base, &done, err);
}

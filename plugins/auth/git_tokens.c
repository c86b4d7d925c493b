#include <ctype.h>
#include <string.h>

#include "base/clock.h"
#include "core/host.h"
#include "auth.h"

/* One access token per user and Git host, sealed; its clear text goes to content's credential helper only. */

#define AUTH_GIT_USER_DEFAULT "oauth2" /* GitHub, GitLab, Bitbucket and Gitea take a token with any user name */

typedef struct {
    gp_arena_t *arena;
    char *username;
    void *sealed;
    size_t sealed_len;
    bool found;
} auth_git_read_t;

typedef struct {
    gp_arena_t *arena;
    Gitpod__Internal__V1__GitToken **tokens;
    size_t n;
} auth_git_list_t;


/* host[:port], lower case. */
static int auth_git_host(gp_arena_t *arena, const char *text, char **ret_host, gp_err_t *err)
{
    size_t len = strlen(text), name_len = 0, i;
    char *host;

    if (len == 0 || gp_host_strip_port(text, len, &name_len) < 0 || name_len > GP_HOST_MAX ||
        strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_[]:") != len) {
        return gp_err(err, GP_INVALID_ARGUMENT,
                      "host: \"%.*s\" is not a host name; write github.com or git.example.com:8443, without https:// and path", GP_HOST_MAX,
                      text);
    }
    host = gp_arena_strdup(arena, text);
    for (i = 0; i < len; i++) {
        host[i] = (char) tolower((unsigned char) host[i]);
    }
    *ret_host = host;

    return 0;
}


static const char *auth_git_context(gp_arena_t *arena, const char *user_id, const char *host)
{
    return gp_arena_printf(arena, "git-token:%s:%s", user_id, host);
}


static int auth_git_count(const gp_row_t *row, void *data, gp_err_t *err)
{
    int64_t *n = data;

    *n = gp_row_int(row, 0);

    return 0;
}


static int auth_git_store(gp_call_t *call, const char *user_id, const char *host, const char *username, const char *value, gp_err_t *err)
{
    auth_t *auth = call->data;
    size_t sealed_len = 0;
    void *sealed = NULL;
    int64_t n = 0;
    int rc;

    rc = gp_db_query(auth->db, auth_git_count, &n, 1, err, "SELECT count(*) FROM git_token WHERE user_id = ? AND host <> ?", "ss", user_id,
                     host);
    if (rc < 0) {
        return rc;
    }
    if (n >= AUTH_GIT_TOKENS_MAX) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "there are %d git tokens, the most there can be; delete one first", AUTH_GIT_TOKENS_MAX);
    }
    rc = auth_vault_seal(auth->vault, auth_git_context(call->arena, user_id, host), value, strlen(value), call->arena, &sealed, &sealed_len,
                         err);
    if (rc < 0) {
        return rc;
    }

    return gp_db_exec(
        auth->db, NULL, err,
        "INSERT INTO git_token (user_id, host, username, sealed, updated) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (user_id, host) DO UPDATE SET username = excluded.username, sealed = excluded.sealed, updated = excluded.updated",
        "sssbi", user_id, host, username, sealed, sealed_len, gp_clock_epoch_s());
}


int auth_set_git_token(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__Internal__V1__SetGitTokenRequest *in = (const Gitpod__Internal__V1__SetGitTokenRequest *) req;
    Gitpod__Internal__V1__SetGitTokenResponse *out = (Gitpod__Internal__V1__SetGitTokenResponse *) res;
    char *username = in->username[0] == '\0' ? gp_arena_strdup(call->arena, AUTH_GIT_USER_DEFAULT) : in->username;
    auth_user_t user;
    char *host = NULL;
    int rc;

    rc = auth_git_host(call->arena, in->host, &host, err);
    if (rc < 0) {
        return rc;
    }
    /* git's credential protocol is lines: a line break would forge one. */
    if (!auth_text_valid(username, AUTH_NAME_MAX)) {
        return gp_err(err, GP_INVALID_ARGUMENT, "username: must be at most %d characters, none of them a control character", AUTH_NAME_MAX);
    }
    if (in->value[0] == '\0' || !auth_text_valid(in->value, AUTH_GIT_VALUE_MAX)) {
        return gp_err(err, GP_INVALID_ARGUMENT, "value: must be 1 to %d characters, none of them a control character", AUTH_GIT_VALUE_MAX);
    }
    rc = auth_user_of_request(call, in->user_id, &user, err);
    if (rc == 0) {
        rc = auth_git_store(call, user.id, host, username, in->value, err);
    }
    if (rc < 0) {
        return rc;
    }

    out->token = GP_MESSAGE_NEW(call->arena, Gitpod__Internal__V1__GitToken, gitpod__internal__v1__git_token__init);
    out->token->host = host;
    out->token->username = username;
    out->token->update_time = auth_timestamp(call->arena, gp_clock_epoch_s());

    return 0;
}


static int auth_git_list_row(const gp_row_t *row, void *data, gp_err_t *err)
{
    auth_git_list_t *list = data;
    Gitpod__Internal__V1__GitToken *token =
        GP_MESSAGE_NEW(list->arena, Gitpod__Internal__V1__GitToken, gitpod__internal__v1__git_token__init);

    token->host = gp_arena_strdup(list->arena, gp_row_text(row, 0));
    token->username = gp_arena_strdup(list->arena, gp_row_text(row, 1));
    token->update_time = auth_timestamp(list->arena, gp_row_int(row, 2));
    list->tokens[list->n++] = token;

    return 0;
}


int auth_list_git_tokens(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__Internal__V1__ListGitTokensRequest *in = (const Gitpod__Internal__V1__ListGitTokensRequest *) req;
    Gitpod__Internal__V1__ListGitTokensResponse *out = (Gitpod__Internal__V1__ListGitTokensResponse *) res;
    auth_git_list_t list = {.arena = call->arena, .tokens = gp_arena_alloc(call->arena, AUTH_GIT_TOKENS_MAX * sizeof(*list.tokens))};
    auth_t *auth = call->data;
    auth_user_t user;
    int rc;

    rc = auth_user_of_request(call, in->user_id, &user, err);
    if (rc == 0) {
        rc = gp_db_query(auth->db, auth_git_list_row, &list, AUTH_GIT_TOKENS_MAX, err,
                         "SELECT host, username, updated FROM git_token WHERE user_id = ? ORDER BY host", "s", user.id);
    }
    if (rc == 0) {
        out->tokens = list.tokens;
        out->n_tokens = list.n;
    }

    return rc;
}


int auth_delete_git_token(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__Internal__V1__DeleteGitTokenRequest *in = (const Gitpod__Internal__V1__DeleteGitTokenRequest *) req;
    auth_t *auth = call->data;
    int64_t changes = 0;
    auth_user_t user;
    char *host = NULL;
    int rc;

    rc = auth_git_host(call->arena, in->host, &host, err);
    if (rc == 0) {
        rc = auth_user_of_request(call, in->user_id, &user, err);
    }
    if (rc == 0) {
        rc = gp_db_exec(auth->db, &changes, err, "DELETE FROM git_token WHERE user_id = ? AND host = ?", "ss", user.id, host);
    }
    if (rc == 0 && changes == 0) {
        return gp_err(err, GP_NOT_FOUND, "host: there is no git token for %s", host);
    }

    return rc;
}


static int auth_git_row(const gp_row_t *row, void *data, gp_err_t *err)
{
    auth_git_read_t *read = data;
    const void *sealed = gp_row_blob(row, 1, &read->sealed_len);

    read->username = gp_arena_strdup(read->arena, gp_row_text(row, 0));
    read->sealed = gp_arena_alloc(read->arena, read->sealed_len + 1);
    if (read->sealed_len > 0) {
        memcpy(read->sealed, sealed, read->sealed_len);
    }
    read->found = true;

    return 0;
}


int auth_get_git_token(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__Internal__V1__GetGitTokenRequest *in = (const Gitpod__Internal__V1__GetGitTokenRequest *) req;
    Gitpod__Internal__V1__GetGitTokenResponse *out = (Gitpod__Internal__V1__GetGitTokenResponse *) res;
    auth_git_read_t read = {.arena = call->arena};
    auth_t *auth = call->data;
    char *host = NULL, *value = NULL;
    size_t value_len = 0;
    auth_user_t user;
    int rc;

    rc = auth_git_host(call->arena, in->host, &host, err);
    if (rc == 0) {
        rc = auth_user_of_request(call, in->user_id, &user, err);
    }
    if (rc == 0) {
        rc = gp_db_query(auth->db, auth_git_row, &read, 1, err, "SELECT username, sealed FROM git_token WHERE user_id = ? AND host = ?",
                         "ss", user.id, host);
    }
    if (rc < 0) {
        return rc;
    }
    if (!read.found) {
        return gp_err(err, GP_NOT_FOUND, "there is no git token for %s", host);
    }
    rc = auth_vault_unseal(auth->vault, auth_git_context(call->arena, user.id, host), read.sealed, read.sealed_len, call->arena, &value,
                           &value_len, err);
    if (rc < 0) {
        return gp_err_prefix(err, "git token for %s (enter it again)", host);
    }
    out->username = read.username;
    out->value = value;

    return 0;
}

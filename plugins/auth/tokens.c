#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/random.h"
#include "core/base64url.h"
#include "core/id.h"
#include "jose/digest.h"
#include "auth.h"

/*
 * Personal access tokens: `gitpod_pat_<sig>.<value>`. The signature is checked
 * before the database is asked, so that guesses cost one HMAC.
 */
#define AUTH_PAT_TEXT_LEN (sizeof(GP_PAT_PREFIX) - 1 + AUTH_PAT_SIG_LEN + 1 + AUTH_PAT_VALUE_LEN)
#define AUTH_LAST_USED_S 60 /* last_used is written at most this often */

typedef struct {
    gp_arena_t *arena;
    char *id;
    char *user_id;
    char *scopes;
    int64_t last_used;
    bool found;
} auth_token_read_t;

typedef struct {
    gp_arena_t *arena;
    Gitpod__Internal__V1__Token **tokens;
    size_t n;
} auth_token_list_t;


static int auth_pat_sign(const auth_t *auth, const char *value, char ret_sig[AUTH_PAT_SIG_LEN + 1], gp_err_t *err)
{
    uint8_t mac[GP_SHA256_LEN];

    if (gp_hmac_sha256(auth->pat_key, sizeof(auth->pat_key), value, strlen(value), mac) < 0) {
        return gp_err(err, GP_INTERNAL, "HMAC failed in OpenSSL");
    }
    ret_sig[gp_base64url_encode(mac, sizeof(mac), ret_sig)] = '\0';

    return 0;
}


/* The value of a token with a signature of ours, else NULL. */
static const char *auth_pat_value(const auth_t *auth, const char *token)
{
    const char *sig, *value;
    char want[AUTH_PAT_SIG_LEN + 1];

    if (strlen(token) != AUTH_PAT_TEXT_LEN || strncmp(token, GP_PAT_PREFIX, sizeof(GP_PAT_PREFIX) - 1) != 0) {
        return NULL;
    }
    sig = token + sizeof(GP_PAT_PREFIX) - 1;
    value = sig + AUTH_PAT_SIG_LEN + 1;
    if (value[-1] != '.' || strspn(value, GP_ALPHABET_ALNUM) != AUTH_PAT_VALUE_LEN) {
        return NULL;
    }
    if (auth_pat_sign(auth, value, want, NULL) < 0 || !gp_equal_secret(sig, AUTH_PAT_SIG_LEN, want, AUTH_PAT_SIG_LEN)) {
        return NULL;
    }

    return value;
}


static int auth_token_row(const gp_row_t *row, void *data, gp_err_t *err)
{
    auth_token_read_t *read = data;

    read->id = gp_arena_strdup(read->arena, gp_row_text(row, 0));
    read->user_id = gp_arena_strdup(read->arena, gp_row_text(row, 1));
    read->scopes = gp_arena_strdup(read->arena, gp_row_text(row, 2));
    read->last_used = gp_row_int(row, 3);
    read->found = true;

    return 0;
}


static int auth_token_find(auth_t *auth, const char *value, auth_token_read_t *read, gp_err_t *err)
{
    int64_t now = gp_clock_epoch_s();
    char *digest = NULL;
    int rc;

    rc = auth_digest(read->arena, value, &digest, err);
    if (rc == 0) {
        rc = gp_db_query(auth->db, auth_token_row, read, 1, err,
                         "SELECT t.id, t.user_id, t.scopes, t.last_used FROM token t JOIN user u ON u.id = t.user_id"
                         " WHERE t.digest = ? AND (t.expires = 0 OR t.expires > ?) AND u.blocked = 0",
                         "si", digest, now);
    }
    if (rc == 0 && read->found && now - read->last_used >= AUTH_LAST_USED_S) {
        rc = gp_db_exec(auth->db, NULL, err, "UPDATE token SET last_used = ? WHERE id = ?", "is", now, read->id);
    }

    return rc;
}


int auth_introspect(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err)
{
    auth_t *auth = call->data;
    const char *token = gp_call_param(call, "GITPOD_TOKEN");
    const char *value = token == NULL ? NULL : auth_pat_value(auth, token);
    auth_token_read_t read = {.arena = call->arena};
    int rc;

    if (value != NULL) {
        rc = auth_token_find(auth, value, &read, err);
        if (rc < 0) {
            return rc;
        }
    }
    auth_reply_private(call, reply);
    if (!read.found) {
        gp_metric_add(auth->tokens_refused, 1);
        reply->status = 401;
        return 0;
    }
    gp_http_reply_header(call, reply, GP_AUTH_HEADER_USER, read.user_id);
    gp_http_reply_header(call, reply, GP_AUTH_HEADER_TOKEN_ID, read.id);
    gp_http_reply_header(call, reply, GP_AUTH_HEADER_SCOPES, read.scopes);

    return 0;
}


/* Scopes as one text, space separated; none means all. */
static int auth_scopes_join(gp_arena_t *arena, char *const *scopes, size_t n, const char **ret_text, gp_err_t *err)
{
    const char *text = "";
    size_t i;

    if (n == 0) {
        *ret_text = AUTH_SCOPES_ALL;
        return 0;
    }
    if (n > AUTH_SCOPES_MAX) {
        return gp_err(err, GP_INVALID_ARGUMENT, "scopes: more than %d", AUTH_SCOPES_MAX);
    }
    for (i = 0; i < n; i++) {
        if (scopes[i][0] == '\0' || strchr(scopes[i], ' ') != NULL || !auth_text_valid(scopes[i], AUTH_SCOPE_LEN_MAX)) {
            return gp_err(err, GP_INVALID_ARGUMENT, "scopes[%zu]: must be 1 to %d characters without spaces", i, AUTH_SCOPE_LEN_MAX);
        }
        text = gp_arena_printf(arena, "%s%s%s", text, i == 0 ? "" : " ", scopes[i]);
    }
    *ret_text = text;

    return 0;
}


/* The other way round, into a message. */
static void auth_scopes_split(gp_arena_t *arena, const char *text, Gitpod__Internal__V1__Token *token)
{
    size_t len;

    token->scopes = gp_arena_alloc(arena, AUTH_SCOPES_MAX * sizeof(char *));
    while (*text != '\0' && token->n_scopes < AUTH_SCOPES_MAX) {
        len = strcspn(text, " ");
        token->scopes[token->n_scopes++] = gp_arena_strndup(arena, text, len);
        text += len + (text[len] == ' ' ? 1 : 0);
    }
}


static int auth_token_expiry(const Google__Protobuf__Timestamp *time, int64_t *ret_epoch_s, gp_err_t *err)
{
    *ret_epoch_s = 0;
    if (time == NULL) {
        return 0;
    }
    if (time->seconds <= gp_clock_epoch_s()) {
        return gp_err(err, GP_INVALID_ARGUMENT, "expiry_time: lies in the past");
    }
    *ret_epoch_s = time->seconds;

    return 0;
}


static int auth_token_count(const gp_row_t *row, void *data, gp_err_t *err)
{
    int64_t *n = data;

    *n = gp_row_int(row, 0);

    return 0;
}


static int auth_token_store(auth_t *auth, const auth_user_t *user, const Gitpod__Internal__V1__Token *token, const char *scopes,
                            const char *digest, gp_err_t *err)
{
    int64_t n = 0;
    int rc;

    rc =
        gp_db_query(auth->db, auth_token_count, &n, 1, err, "SELECT count(*) FROM token WHERE user_id = ? AND kind = 'pat'", "s", user->id);
    if (rc < 0) {
        return rc;
    }
    if (n >= AUTH_TOKENS_MAX) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "%s has %d access tokens, the most there can be; revoke one first", user->name,
                      AUTH_TOKENS_MAX);
    }

    return gp_db_exec(auth->db, NULL, err,
                      "INSERT INTO token (id, user_id, kind, name, scopes, digest, created, expires) VALUES (?, ?, 'pat', ?, ?, ?, ?, ?)",
                      "sssssii", token->id, user->id, token->name, scopes, digest, token->creation_time->seconds,
                      token->expiry_time == NULL ? (int64_t) 0 : token->expiry_time->seconds);
}


static int auth_token_value(gp_call_t *call, char **ret_text, char **ret_digest, gp_err_t *err)
{
    char value[AUTH_PAT_VALUE_LEN + 1], sig[AUTH_PAT_SIG_LEN + 1];
    int rc;

    gp_random_text(GP_ALPHABET_ALNUM, value, AUTH_PAT_VALUE_LEN);
    rc = auth_pat_sign(call->data, value, sig, err);
    if (rc == 0) {
        rc = auth_digest(call->arena, value, ret_digest, err);
    }
    if (rc == 0) {
        *ret_text = gp_arena_printf(call->arena, GP_PAT_PREFIX "%s.%s", sig, value);
    }

    return rc;
}


int auth_create_token(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__Internal__V1__CreateTokenRequest *in = (const Gitpod__Internal__V1__CreateTokenRequest *) req;
    Gitpod__Internal__V1__CreateTokenResponse *out = (Gitpod__Internal__V1__CreateTokenResponse *) res;
    Gitpod__Internal__V1__Token *token = GP_MESSAGE_NEW(call->arena, Gitpod__Internal__V1__Token, gitpod__internal__v1__token__init);
    char id[GP_INSTANCE_ID_LEN + 1], *text = NULL, *digest = NULL;
    const char *scopes = NULL;
    auth_user_t user;
    int64_t expiry = 0;
    int rc;

    if (in->name[0] == '\0' || !auth_text_valid(in->name, AUTH_NAME_MAX)) {
        return gp_err(err, GP_INVALID_ARGUMENT, "name: must be 1 to %d characters, none of them a control character", AUTH_NAME_MAX);
    }
    if ((rc = auth_user_of_request(call, in->user_id, &user, err)) < 0 ||
        (rc = auth_scopes_join(call->arena, in->scopes, in->n_scopes, &scopes, err)) < 0 ||
        (rc = auth_token_expiry(in->expiry_time, &expiry, err)) < 0 || (rc = auth_token_value(call, &text, &digest, err)) < 0) {
        return rc;
    }

    gp_random_uuid(id);
    token->id = gp_arena_strdup(call->arena, id);
    token->name = in->name;
    token->creation_time = auth_timestamp(call->arena, gp_clock_epoch_s());
    token->expiry_time = expiry == 0 ? NULL : auth_timestamp(call->arena, expiry);
    auth_scopes_split(call->arena, scopes, token);
    rc = auth_token_store(call->data, &user, token, scopes, digest, err);
    if (rc < 0) {
        return rc;
    }
    out->token = token;
    out->value = text;

    return 0;
}


static int auth_token_list_row(const gp_row_t *row, void *data, gp_err_t *err)
{
    auth_token_list_t *list = data;
    Gitpod__Internal__V1__Token *token = GP_MESSAGE_NEW(list->arena, Gitpod__Internal__V1__Token, gitpod__internal__v1__token__init);

    token->id = gp_arena_strdup(list->arena, gp_row_text(row, 0));
    token->name = gp_arena_strdup(list->arena, gp_row_text(row, 1));
    auth_scopes_split(list->arena, gp_row_text(row, 2), token);
    token->creation_time = auth_timestamp(list->arena, gp_row_int(row, 3));
    token->expiry_time = gp_row_int(row, 4) == 0 ? NULL : auth_timestamp(list->arena, gp_row_int(row, 4));
    list->tokens[list->n++] = token;

    return 0;
}


int auth_list_tokens(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__Internal__V1__ListTokensRequest *in = (const Gitpod__Internal__V1__ListTokensRequest *) req;
    Gitpod__Internal__V1__ListTokensResponse *out = (Gitpod__Internal__V1__ListTokensResponse *) res;
    auth_token_list_t list = {.arena = call->arena, .tokens = gp_arena_alloc(call->arena, AUTH_TOKENS_MAX * sizeof(*list.tokens))};
    auth_t *auth = call->data;
    auth_user_t user;
    int rc;

    rc = auth_user_of_request(call, in->user_id, &user, err);
    if (rc == 0) {
        rc = gp_db_query(auth->db, auth_token_list_row, &list, AUTH_TOKENS_MAX, err,
                         "SELECT id, name, scopes, created, expires FROM token WHERE user_id = ? AND kind = 'pat' ORDER BY created, id",
                         "s", user.id);
    }
    if (rc == 0) {
        out->tokens = list.tokens;
        out->n_tokens = list.n;
    }

    return rc;
}


int auth_revoke_token(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__Internal__V1__RevokeTokenRequest *in = (const Gitpod__Internal__V1__RevokeTokenRequest *) req;
    auth_t *auth = call->data;
    int64_t changes = 0;
    auth_user_t user;
    int rc;

    rc = auth_user_of_request(call, in->user_id, &user, err);
    if (rc == 0) {
        rc = gp_db_exec(auth->db, &changes, err, "DELETE FROM token WHERE id = ? AND user_id = ?", "ss", in->token_id, user.id);
    }
    if (rc < 0) {
        return rc;
    }
    if (changes == 0) {
        return gp_err(err, GP_NOT_FOUND, "token_id: %s has no access token \"%.64s\"", user.name, in->token_id);
    }

    return auth_revoke(auth, "token", in->token_id, err);
}

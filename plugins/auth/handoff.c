#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/host.h"
#include "core/id.h"
#include "jose/digest.h"
#include "auth.h"

/*
 * Hand-off of a session to a workspace host (docs/contracts/tokens.md): a code
 * for one host and one nonce, GP_HANDOFF_CODE_TTL_S long, good once. That the
 * user may enter the workspace is the gateway's to decide; it knows the route.
 */
typedef struct {
    const char *digest;
    gp_arena_t *arena;
    char *session_id;
    char *host;
    char *workspace_id;
    char *nonce_digest;
    char *path;
    int64_t expires_epoch_s;
    bool spent_now;
} auth_code_t;


/* Mode port: "W:listener". Whose the listener is the gateway knows, and says. */
static int auth_handoff_listener(const gp_call_t *call, const char *text, char **ret_name, const char **ret_id, gp_err_t *err)
{
    const auth_t *auth = call->data;
    const gp_service_conf_t *conf = &auth->conf->service;
    size_t len = strlen(conf->workspace_domain);
    const char *id = gp_call_param(call, GP_PARAM_WORKSPACE);
    char *end = NULL;
    long number = 0;

    if (strncmp(text, conf->workspace_domain, len) == 0 && text[len] == ':' && text[len + 1] >= '1' && text[len + 1] <= '9') {
        number = strtol(text + len + 1, &end, 10);
    }
    if (end == NULL || *end != '\0' || number < conf->listener_first || number > conf->listener_last) {
        return gp_err(err, GP_INVALID_ARGUMENT, "host: \"%.*s\" is not %s with a port from %lld to %lld", GP_HOST_MAX, text,
                      conf->workspace_domain, (long long) conf->listener_first, (long long) conf->listener_last);
    }
    if (id == NULL || !gp_id_workspace_valid(id, strlen(id))) {
        return gp_err(err, GP_INTERNAL, "the gateway does not say whose host that is: " GP_PARAM_WORKSPACE " of /api/handoff");
    }
    *ret_name = gp_arena_strdup(call->arena, text);
    *ret_id = id;

    return 0;
}


/* Whom a code is for: the host in lower case, in mode host without its port, and the workspace. */
static int auth_handoff_host(const gp_call_t *call, const char *text, char **ret_name, const char **ret_id, gp_err_t *err)
{
    const auth_t *auth = call->data;
    const char *domain = auth->conf->service.workspace_domain;
    size_t len = strlen(text), name_len = 0, i;
    gp_host_t host;
    char *name;

    if (auth->conf->service.listener_first != 0) {
        return auth_handoff_listener(call, text, ret_name, ret_id, err);
    }
    if (gp_host_parse(text, len, domain, strlen(domain), &host) < 0 || gp_host_strip_port(text, len, &name_len) < 0) {
        return gp_err(err, GP_INVALID_ARGUMENT, "host: \"%.*s\" is not a workspace host below %s", GP_HOST_MAX, text, domain);
    }
    name = gp_arena_strndup(call->arena, text, name_len);
    for (i = 0; i < name_len; i++) {
        name[i] = (char) tolower((unsigned char) name[i]);
    }
    *ret_name = name;
    *ret_id = gp_arena_strdup(call->arena, host.id);

    return 0;
}


/* Where people find that host. */
static const char *auth_handoff_origin(const gp_call_t *call, const char *name)
{
    const auth_t *auth = call->data;

    return auth->conf->service.listener_first != 0 ? gp_arena_printf(call->arena, "%s://%s", auth->conf->service.external_scheme, name)
                                                   : auth_origin(auth, call->arena, name);
}


static bool auth_hex_digest_valid(const char *text)
{
    return strlen(text) == GP_SHA256_HEX_LEN && strspn(text, "0123456789abcdef") == GP_SHA256_HEX_LEN;
}


static int auth_handoff_count(const gp_row_t *row, void *data, gp_err_t *err)
{
    int64_t *n = data;

    *n = gp_row_int(row, 0);

    return 0;
}


static int auth_handoff_store(auth_t *auth, const auth_code_t *code, gp_err_t *err)
{
    int64_t n = 0, now = gp_clock_epoch_s();
    int rc;

    rc = gp_db_query(auth->db, auth_handoff_count, &n, 1, err, "SELECT count(*) FROM handoff_code WHERE session_id = ? AND expires > ?",
                     "si", code->session_id, now);
    if (rc < 0) {
        return rc;
    }
    if (n >= AUTH_CODES_MAX) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "%d workspaces were opened within %d s; wait a moment and reload", AUTH_CODES_MAX,
                      GP_HANDOFF_CODE_TTL_S);
    }

    return gp_db_exec(
        auth->db, NULL, err,
        "INSERT INTO handoff_code (digest, session_id, host, workspace_id, nonce_digest, path, expires) VALUES (?, ?, ?, ?, ?, ?, ?)",
        "ssssssi", code->digest, code->session_id, code->host, code->workspace_id, code->nonce_digest, code->path, code->expires_epoch_s);
}


int auth_handoff(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err)
{
    auth_t *auth = call->data;
    const char *host = gp_call_query(call, "host");
    char *nonce = gp_call_query(call, "nonce");
    char *path = gp_call_query(call, "path");
    char *secret = NULL, *digest = NULL, *name = NULL;
    const char *workspace_id = NULL;
    auth_session_t session;
    auth_code_t code;
    int rc;

    if (strcmp(call->credential, "session") != 0) {
        return gp_err(err, GP_UNAUTHENTICATED, "this needs a session: sign in");
    }
    if (nonce == NULL || !auth_hex_digest_valid(nonce)) {
        return gp_err(err, GP_INVALID_ARGUMENT, "nonce: must be the SHA-256 of the nonce in hexadecimal digits");
    }
    rc = auth_handoff_host(call, host == NULL ? "" : host, &name, &workspace_id, err);
    if (rc == 0) {
        rc = auth_session_get(auth, call->credential_id, &session, err);
    }
    if (rc == 0) {
        rc = auth_secret_new(call->arena, &secret, &digest, err);
    }
    if (rc < 0) {
        return rc;
    }

    code = (auth_code_t){
        .digest = digest,
        .session_id = session.id,
        .host = name,
        .workspace_id = gp_arena_strdup(call->arena, workspace_id),
        .nonce_digest = nonce,
        .path = gp_arena_strdup(call->arena, path != NULL && auth_path_valid(path) ? path : "/"),
        .expires_epoch_s = gp_clock_epoch_s() + GP_HANDOFF_CODE_TTL_S,
    };
    rc = auth_handoff_store(auth, &code, err);
    if (rc < 0) {
        return rc;
    }

    return auth_reply_redirect(call, reply,
                               gp_arena_printf(call->arena, "%s" GP_PATH_HANDOFF "?code=%s", auth_handoff_origin(call, name), secret));
}


static int auth_code_row(const gp_row_t *row, void *data, gp_err_t *err)
{
    auth_code_t *code = data;

    code->session_id = gp_arena_strdup(code->arena, gp_row_text(row, 0));
    code->host = gp_arena_strdup(code->arena, gp_row_text(row, 1));
    code->workspace_id = gp_arena_strdup(code->arena, gp_row_text(row, 2));
    code->nonce_digest = gp_arena_strdup(code->arena, gp_row_text(row, 3));
    code->path = gp_arena_strdup(code->arena, gp_row_text(row, 4));
    code->expires_epoch_s = gp_row_int(row, 5);
    code->spent_now = true;

    return 0;
}


/* Whoever shows a code spends it, with the right host and nonce or not. */
static int auth_code_spend(gp_db_t *db, void *data, gp_err_t *err)
{
    auth_code_t *code = data;
    int64_t changes = 0;
    int rc;

    rc = gp_db_exec(db, &changes, err, "UPDATE handoff_code SET spent = 1 WHERE digest = ? AND spent = 0", "s", code->digest);
    if (rc < 0 || changes == 0) {
        return rc;
    }

    return gp_db_query(db, auth_code_row, code, 1, err,
                       "SELECT session_id, host, workspace_id, nonce_digest, path, expires FROM handoff_code WHERE digest = ?", "s",
                       code->digest);
}


/* Every "no" looks the same to the one who asks; the log tells them apart. */
static int auth_redeem_refuse(gp_call_t *call, gp_http_reply_t *reply, const char *why)
{
    auth_t *auth = call->data;

    gp_log(GP_LOG_INFO, "a hand-off code was refused", "why", why, NULL);
    gp_metric_add(auth->tokens_refused, 1);
    reply->status = 403;
    auth_reply_private(call, reply);

    return 0;
}


static int auth_redeem_issue(gp_call_t *call, const auth_code_t *code, const auth_session_t *session, gp_http_reply_t *reply, gp_err_t *err)
{
    auth_t *auth = call->data;
    int64_t now = gp_clock_epoch_s();
    gp_jose_issue_t claims = {
        .iss = auth->conf->service.domain,
        .aud = code->host,
        .sub = session->user_id,
        .sid = session->id,
        .ws = code->workspace_id,
        .iat_epoch_s = now,
        .exp_epoch_s = now + GP_WORKSPACE_TOKEN_TTL_S,
    };
    char *token = NULL;
    int rc;

    rc = auth_keys_issue(auth, &claims, call->arena, &token, err);
    if (rc < 0) {
        return rc;
    }
    gp_http_reply_header(call, reply, GP_AUTH_HEADER_WORKSPACE_TOKEN, token);
    gp_http_reply_header(call, reply, GP_AUTH_HEADER_LOCATION, code->path);
    gp_http_reply_header(call, reply, GP_AUTH_HEADER_USER, session->user_id);
    auth_reply_private(call, reply);

    return 0;
}


int auth_redeem(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err)
{
    auth_t *auth = call->data;
    const char *secret = gp_call_param(call, "GITPOD_CODE");
    const char *host = gp_call_param(call, "GITPOD_HOST");
    const char *nonce = gp_call_param(call, "GITPOD_NONCE");
    auth_code_t code = {.arena = call->arena};
    char *digest = NULL, *nonce_digest = NULL;
    auth_session_t session;
    int rc;

    if (secret == NULL || host == NULL || nonce == NULL || strlen(secret) != AUTH_SECRET_LEN) {
        return auth_redeem_refuse(call, reply, "code, host or nonce missing");
    }
    rc = auth_digest(call->arena, secret, &digest, err);
    if (rc == 0) {
        rc = auth_digest(call->arena, nonce, &nonce_digest, err);
    }
    if (rc == 0) {
        code.digest = digest;
        rc = gp_db_transaction(auth->db, auth_code_spend, &code, err);
    }
    if (rc < 0) {
        return rc;
    }

    if (!code.spent_now || code.expires_epoch_s <= gp_clock_epoch_s()) {
        return auth_redeem_refuse(call, reply, "unknown, spent or expired");
    }
    if (strcasecmp(code.host, host) != 0 ||
        !gp_equal_secret(code.nonce_digest, strlen(code.nonce_digest), nonce_digest, strlen(nonce_digest))) {
        return auth_redeem_refuse(call, reply, "another host or browser");
    }
    rc = auth_session_get(auth, code.session_id, &session, err);
    if (rc == -GP_UNAUTHENTICATED) {
        return auth_redeem_refuse(call, reply, "the session has ended");
    }

    return rc < 0 ? rc : auth_redeem_issue(call, &code, &session, reply, err);
}

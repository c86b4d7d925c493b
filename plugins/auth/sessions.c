#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "core/id.h"
#include "auth.h"

/*
 * Sessions: a row here and an ES256 token in a cookie. The gateway believes
 * the token alone; the row is what is renewed and revoked.
 */
typedef struct {
    auth_session_t *session;
    bool found;
} auth_session_read_t;

typedef struct {
    auth_t *auth;
    const char *user_id;
    const char *id;
} auth_session_revoke_t;


static bool auth_secure(const auth_t *auth)
{
    return strcmp(auth->conf->service.external_scheme, "https") == 0;
}


char *auth_origin(const auth_t *auth, gp_arena_t *arena, const char *host)
{
    const gp_service_conf_t *conf = &auth->conf->service;

    if (conf->port == (auth_secure(auth) ? 443 : 80)) {
        return gp_arena_printf(arena, "%s://%s", conf->external_scheme, host);
    }

    return gp_arena_printf(arena, "%s://%s:%lld", conf->external_scheme, host, (long long) conf->port);
}


void auth_reply_private(gp_call_t *call, gp_http_reply_t *reply)
{
    gp_http_reply_header(call, reply, "Cache-Control", "no-store");
    gp_http_reply_header(call, reply, "Referrer-Policy", "no-referrer");
}


int auth_reply_redirect(gp_call_t *call, gp_http_reply_t *reply, const char *location)
{
    reply->status = 303;
    gp_http_reply_header(call, reply, "Location", location);
    auth_reply_private(call, reply);

    return 0;
}


/* token NULL: the cookie expires. */
static void auth_session_cookie(gp_call_t *call, const auth_t *auth, const char *token, gp_http_reply_t *reply)
{
    bool secure = auth_secure(auth);

    gp_http_reply_header(call, reply, "Set-Cookie",
                         gp_arena_printf(call->arena, "%s" GP_COOKIE_SESSION "=%s; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax%s",
                                         secure ? GP_COOKIE_HOST_PREFIX : "", token == NULL ? "" : token,
                                         token == NULL ? 0 : GP_SESSION_TTL_S, secure ? "; Secure" : ""));
}


static int auth_session_issue(gp_call_t *call, const auth_session_t *session, int64_t now, gp_http_reply_t *reply, gp_err_t *err)
{
    auth_t *auth = call->data;
    gp_jose_issue_t claims = {
        .iss = auth->conf->service.domain,
        .aud = GP_TOKEN_AUD_SESSION,
        .sub = session->user_id,
        .sid = session->id,
        .iat_epoch_s = now,
        .exp_epoch_s = session->expires_epoch_s,
    };
    char *token = NULL;
    int rc;

    rc = auth_keys_issue(auth, &claims, call->arena, &token, err);
    if (rc == 0) {
        auth_session_cookie(call, auth, token, reply);
    }

    return rc;
}


static int auth_session_new(gp_call_t *call, const char *user_id, gp_http_reply_t *reply, gp_err_t *err)
{
    auth_t *auth = call->data;
    int64_t now = gp_clock_epoch_s();
    auth_session_t session = {.expires_epoch_s = now + GP_SESSION_TTL_S};
    int rc;

    gp_random_uuid(session.id);
    memcpy(session.user_id, user_id, sizeof(session.user_id));
    rc = gp_db_exec(auth->db, NULL, err, "INSERT INTO session (id, user_id, created, renewed, expires) VALUES (?, ?, ?, ?, ?)", "ssiii",
                    session.id, user_id, now, now, session.expires_epoch_s);
    if (rc == 0) {
        rc = auth_session_issue(call, &session, now, reply, err);
    }

    return rc;
}


/* The same session for the whole time again, with a new token. */
static int auth_session_extend(gp_call_t *call, auth_session_t *session, int64_t now, gp_http_reply_t *reply, gp_err_t *err)
{
    auth_t *auth = call->data;
    int rc;

    session->expires_epoch_s = now + GP_SESSION_TTL_S;
    rc = gp_db_exec(auth->db, NULL, err, "UPDATE session SET renewed = ?, expires = ? WHERE id = ? AND revoked = 0", "iis", now,
                    session->expires_epoch_s, session->id);

    return rc == 0 ? auth_session_issue(call, session, now, reply, err) : rc;
}


int auth_session_start(gp_call_t *call, const char *user_id, gp_http_reply_t *reply, gp_err_t *err)
{
    auth_t *auth = call->data;
    auth_session_t session;
    int rc = -GP_UNAUTHENTICATED;

    if (strcmp(call->credential, "session") == 0) {
        rc = auth_session_get(auth, call->credential_id, &session, err);
    }
    if (rc == 0 && strcmp(session.user_id, user_id) == 0) {
        return auth_session_extend(call, &session, gp_clock_epoch_s(), reply, err);
    }
    if (rc == 0) {
        rc = auth_session_revoke(auth, session.user_id, session.id, err);
    }

    return rc == 0 || rc == -GP_UNAUTHENTICATED ? auth_session_new(call, user_id, reply, err) : rc;
}


static int auth_session_row(const gp_row_t *row, void *data, gp_err_t *err)
{
    auth_session_read_t *read = data;
    const char *user_id = gp_row_text(row, 0);

    if (!gp_id_uuid_valid(user_id, strlen(user_id))) {
        return gp_err(err, GP_DATA_LOSS, "the session table holds a user id that is none");
    }
    memcpy(read->session->user_id, user_id, sizeof(read->session->user_id));
    read->session->expires_epoch_s = gp_row_int(row, 1);
    read->found = true;

    return 0;
}


int auth_session_get(auth_t *auth, const char *id, auth_session_t *ret_session, gp_err_t *err)
{
    auth_session_t session = {.expires_epoch_s = 0};
    auth_session_read_t read = {.session = &session};
    int rc;

    if (!gp_id_uuid_valid(id, strlen(id))) {
        return gp_err(err, GP_UNAUTHENTICATED, "this needs a session: sign in");
    }
    rc = gp_db_query(auth->db, auth_session_row, &read, 1, err,
                     "SELECT s.user_id, s.expires FROM session s JOIN user u ON u.id = s.user_id"
                     " WHERE s.id = ? AND s.revoked = 0 AND s.expires > ? AND u.blocked = 0",
                     "si", id, gp_clock_epoch_s());
    if (rc < 0) {
        return rc;
    }
    if (!read.found) {
        return gp_err(err, GP_UNAUTHENTICATED, "the session has ended: sign in again");
    }
    memcpy(session.id, id, sizeof(session.id));
    *ret_session = session;

    return 0;
}


static int auth_session_revoke_both(gp_db_t *db, void *data, gp_err_t *err)
{
    auth_session_revoke_t *r = data;
    int64_t changes = 0;
    int rc;

    rc = gp_db_exec(db, &changes, err, "UPDATE session SET revoked = ? WHERE id = ? AND user_id = ?", "iss", gp_clock_epoch_s(), r->id,
                    r->user_id);
    if (rc == 0 && changes == 0) {
        return gp_err(err, GP_NOT_FOUND, "there is no session %.64s of that user", r->id);
    }

    return rc;
}


int auth_session_revoke(auth_t *auth, const char *user_id, const char *id, gp_err_t *err)
{
    auth_session_revoke_t r = {.auth = auth, .user_id = user_id, .id = id};
    int rc;

    /* The revocation comes second: when it fails, the caller tries again and finds the row. */
    rc = gp_db_transaction(auth->db, auth_session_revoke_both, &r, err);

    return rc == 0 ? auth_revoke(auth, "session", id, err) : rc;
}


/* Signing out twice is no fault. */
int auth_logout(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err)
{
    auth_t *auth = call->data;
    int rc = 0;

    if (strcmp(call->credential, "session") == 0) {
        rc = auth_session_revoke(auth, call->user, call->credential_id, err);
        if (rc < 0 && rc != -GP_NOT_FOUND) {
            return rc;
        }
    }
    reply->status = 204;
    auth_session_cookie(call, auth, NULL, reply);
    auth_reply_private(call, reply);

    return 0;
}


/* Less than half left: the same session, a new token. */
int auth_renew(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err)
{
    auth_t *auth = call->data;
    int64_t now = gp_clock_epoch_s();
    auth_session_t session;
    bool renew;
    int rc;

    if (strcmp(call->credential, "session") != 0) {
        return gp_err(err, GP_UNAUTHENTICATED, "this needs a session: sign in");
    }
    rc = auth_session_get(auth, call->credential_id, &session, err);
    if (rc < 0) {
        return rc;
    }

    renew = session.expires_epoch_s - now < GP_SESSION_TTL_S / 2;
    if (renew) {
        rc = auth_session_extend(call, &session, now, reply, err);
        if (rc < 0) {
            return rc;
        }
    }
    reply->content_type = "application/json";
    reply->body = gp_arena_printf(call->arena, "{\"renewed\":%s,\"expiresEpochS\":%lld}", renew ? "true" : "false",
                                  (long long) session.expires_epoch_s);
    reply->body_len = strlen(reply->body);
    auth_reply_private(call, reply);

    return 0;
}


int auth_revoke_session(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__Internal__V1__RevokeSessionRequest *in = (const Gitpod__Internal__V1__RevokeSessionRequest *) req;
    auth_user_t user;
    int rc;

    rc = auth_user_of_request(call, in->user_id, &user, err);
    if (rc < 0) {
        return rc;
    }

    return auth_session_revoke(call->data, user.id, in->session_id, err);
}

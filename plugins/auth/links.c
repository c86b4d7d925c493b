#include <string.h>

#include "base/clock.h"
#include "core/id.h"
#include "auth.h"

/* One-time log-in links: single use, GP_LOGIN_LINK_TTL_S, stored as digests. */

#define AUTH_LOGIN_FAILED "/login?error=link"
#define AUTH_LOGIN_DONE "/workspaces"

typedef struct {
    const char *digest;
    char user_id[GP_USER_ID_LEN + 1];
    bool good;
} auth_link_t;


static int auth_link_row(const gp_row_t *row, void *data, gp_err_t *err)
{
    auth_link_t *link = data;
    const char *id = gp_row_text(row, 0);

    if (gp_row_int(row, 1) == 0 && gp_id_uuid_valid(id, strlen(id))) {
        memcpy(link->user_id, id, sizeof(link->user_id));
        link->good = true;
    }

    return 0;
}


/* One UPDATE decides who wins; everybody else finds it spent. */
static int auth_link_spend(gp_db_t *db, void *data, gp_err_t *err)
{
    auth_link_t *link = data;
    int64_t changes = 0, now = gp_clock_epoch_s();
    int rc;

    rc = gp_db_exec(db, &changes, err, "UPDATE login_link SET spent = ? WHERE digest = ? AND spent = 0 AND expires > ?", "isi", now,
                    link->digest, now);
    if (rc < 0 || changes == 0) {
        return rc;
    }

    return gp_db_query(db, auth_link_row, link, 1, err,
                       "SELECT u.id, u.blocked FROM login_link l JOIN user u ON u.id = l.user_id WHERE l.digest = ?", "s", link->digest);
}


/* Link checkers of mail and chat programs ask with HEAD, browsers fetch ahead of people: neither spends a link. */
static bool auth_link_only_looked_at(const gp_call_t *call)
{
    const char *purpose = gp_call_param(call, "HTTP_SEC_PURPOSE");

    if (purpose == NULL) {
        purpose = gp_call_param(call, "HTTP_PURPOSE");
    }

    return strcmp(call->http_method, "GET") != 0 || (purpose != NULL && strstr(purpose, "prefetch") != NULL);
}


int auth_login_link(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err)
{
    auth_t *auth = call->data;
    const char *token = gp_call_query(call, "token");
    const char *to = gp_call_query(call, "return");
    auth_link_t link = {.good = false};
    char *digest = NULL;
    int rc;

    if (auth_link_only_looked_at(call)) {
        reply->status = 204;
        auth_reply_private(call, reply);
        return 0;
    }
    if (token != NULL && strlen(token) == AUTH_SECRET_LEN) {
        rc = auth_digest(call->arena, token, &digest, err);
        if (rc == 0) {
            link.digest = digest;
            rc = gp_db_transaction(auth->db, auth_link_spend, &link, err);
        }
        if (rc < 0) {
            return rc;
        }
    }
    if (!link.good) {
        gp_metric_add(auth->logins_refused, 1);
        return auth_reply_redirect(call, reply, AUTH_LOGIN_FAILED);
    }

    rc = auth_session_start(call, link.user_id, reply, err);
    if (rc < 0) {
        return rc;
    }
    gp_metric_add(auth->logins, 1);

    return auth_reply_redirect(call, reply, to != NULL && auth_path_valid(to) ? to : AUTH_LOGIN_DONE);
}


static int auth_link_count(const gp_row_t *row, void *data, gp_err_t *err)
{
    int64_t *n = data;

    *n = gp_row_int(row, 0);

    return 0;
}


int auth_create_login_link(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__Internal__V1__CreateLoginLinkRequest *in = (const Gitpod__Internal__V1__CreateLoginLinkRequest *) req;
    Gitpod__Internal__V1__CreateLoginLinkResponse *out = (Gitpod__Internal__V1__CreateLoginLinkResponse *) res;
    auth_t *auth = call->data;
    int64_t now = gp_clock_epoch_s(), n = 0;
    char *secret = NULL, *digest = NULL;
    auth_user_t user;
    int rc;

    rc = auth_user_of_request(call, in->user_id, &user, err);
    if (rc == 0) {
        rc = gp_db_query(auth->db, auth_link_count, &n, 1, err,
                         "SELECT count(*) FROM login_link WHERE user_id = ? AND spent = 0 AND expires > ?", "si", user.id, now);
    }
    if (rc == 0 && n >= AUTH_LINKS_MAX) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "%d log-in links of %s are unused; use one, or wait until they expire (1 hour)",
                      AUTH_LINKS_MAX, user.name);
    }
    if (rc == 0) {
        rc = auth_secret_new(call->arena, &secret, &digest, err);
    }
    if (rc == 0) {
        rc = gp_db_exec(auth->db, NULL, err, "INSERT INTO login_link (digest, user_id, created, expires) VALUES (?, ?, ?, ?)", "ssii",
                        digest, user.id, now, now + GP_LOGIN_LINK_TTL_S);
    }
    if (rc < 0) {
        return rc;
    }
    out->url =
        gp_arena_printf(call->arena, "%s/api/login/link?token=%s", auth_origin(auth, call->arena, auth->conf->service.domain), secret);
    out->expiry_time = auth_timestamp(call->arena, now + GP_LOGIN_LINK_TTL_S);

    return 0;
}

/* The auth service: options, methods, paths, start and stop. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/die.h"
#include "auth.h"

#define AUTH_PATH_MAX 4096 /* bytes of a file's path */

static const gp_option_t auth_options[] = {
    {"key-lifetime", GP_OPT_SECONDS, offsetof(auth_conf_t, key_lifetime_s), "s", "30d", 3600, 31536000,
     "age at which the signing key is replaced; the old one verifies until its last token has expired"},
};


static int auth_rotate_keys(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    Gitpod__Internal__V1__RotateKeysResponse *out = (Gitpod__Internal__V1__RotateKeysResponse *) res;

    return auth_keys_rotate(call->data, call->arena, &out->key_id, err);
}


static int auth_check_row(const gp_row_t *row, void *data, gp_err_t *err)
{
    return 0;
}


static int auth_check_database(void *data, gp_err_t *err)
{
    auth_t *auth = data;

    return gp_db_query(auth->db, auth_check_row, NULL, 1, err, "SELECT id FROM user LIMIT 1", "");
}


static const char *auth_file(const auth_t *auth, char path[AUTH_PATH_MAX], const char *name)
{
    int n = snprintf(path, AUTH_PATH_MAX, "%s/%s", auth->conf->service.state_dir, name);

    gp_assert(n > 0 && n < AUTH_PATH_MAX);

    return path;
}


static void auth_stop(void *data)
{
    auth_t *auth = data;

    auth->feed = auth_feed_close(auth->feed);
    auth->snapshot = gp_snapshot_stop(auth->snapshot);
    auth->keys = auth_keys_close(auth->keys);
    auth->redis = gp_redis_free(auth->redis);
    auth->vault = auth_vault_close(auth->vault);
    auth->db = gp_db_close(auth->db);
    OPENSSL_cleanse(auth->pat_key, sizeof(auth->pat_key));
    free(auth);
}


static int auth_open(auth_t *auth, gp_err_t *err)
{
    char path[AUTH_PATH_MAX], socket[AUTH_PATH_MAX], snapshot[AUTH_PATH_MAX];
    int n, rc;

    n = snprintf(socket, sizeof(socket), GP_SOCKET_REDIS_FMT, auth->conf->service.run_dir);
    gp_assert(n > 0 && n < AUTH_PATH_MAX);
    auth->redis = gp_redis_new(socket, "auth", auth_file(auth, path, "secrets/redis-auth"));
    if ((rc = auth_key_file(auth_file(auth, path, "auth/pat.key"), auth->pat_key, err)) < 0 ||
        (rc = auth_vault_open(auth_file(auth, path, "auth/vault.key"), &auth->vault, err)) < 0 ||
        (rc = gp_db_open(auth_file(auth, path, "auth/auth.db"), auth_migrations, auth_n_migrations, &auth->db, err)) < 0 ||
        (rc = auth_users_open(auth, err)) < 0 || (rc = auth_keys_open(auth, &auth->keys, err)) < 0) {
        return rc;
    }
    n = snprintf(snapshot, sizeof(snapshot), GP_FILE_REVOCATIONS_FMT, auth->conf->service.state_dir);
    gp_assert(n > 0 && n < AUTH_PATH_MAX);
    rc = gp_snapshot_start(snapshot, "revocations", AUTH_SNAPSHOT_REFRESH_S, auth_feed_snapshot, auth, &auth->snapshot, err);
    if (rc < 0) {
        return rc;
    }

    return auth_feed_open(auth, &auth->feed, err);
}


static int auth_start(gp_service_t *service, const void *conf, void **ret_data, gp_err_t *err)
{
    auth_t *auth = calloc(1, sizeof(*auth));
    int rc;

    gp_assert(auth != NULL);
    auth->service = service;
    auth->conf = conf;
    auth->logins = gp_metric_counter(service, "gitpod_auth_logins_total", "result=\"ok\"", "Log-ins by link");
    auth->logins_refused = gp_metric_counter(service, "gitpod_auth_logins_total", "result=\"refused\"", "Log-ins by link");
    auth->tokens_refused =
        gp_metric_counter(service, "gitpod_auth_refused_total", "", "Access tokens and hand-off codes that were refused");
    rc = auth_open(auth, err);
    if (rc < 0) {
        auth_stop(auth);
        return rc;
    }
    *ret_data = auth;

    return 0;
}


#define AUTH_METHOD(name, fn)                                                                                                              \
    {                                                                                                                                      \
        &gitpod__internal__v1__auth_service__descriptor, name, fn, NULL                                                                    \
    }

static const gp_method_t auth_methods[] = {
    AUTH_METHOD("CreateLoginLink", auth_create_login_link),
    AUTH_METHOD("CreateToken", auth_create_token),
    AUTH_METHOD("ListTokens", auth_list_tokens),
    AUTH_METHOD("RevokeToken", auth_revoke_token),
    AUTH_METHOD("RevokeSession", auth_revoke_session),
    AUTH_METHOD("GetUser", auth_get_user),
    AUTH_METHOD("SetGitToken", auth_set_git_token),
    AUTH_METHOD("ListGitTokens", auth_list_git_tokens),
    AUTH_METHOD("DeleteGitToken", auth_delete_git_token),
    AUTH_METHOD("GetGitToken", auth_get_git_token),
    AUTH_METHOD("RotateKeys", auth_rotate_keys),
    {&gitpod__internal__v1__flag_service__descriptor, "ListFlags", auth_list_flags, NULL},
    {&gitpod__internal__v1__flag_service__descriptor, "SetFlag", auth_set_flag, NULL},
    {&gitpod__internal__v1__flag_service__descriptor, "DeleteFlag", auth_delete_flag, NULL},
};

/* clang-format off */
static const gp_http_route_t auth_routes[] = {
    {"GET", "/api/login/link", auth_login_link},
    {"POST", "/api/logout", auth_logout},
    {"POST", "/api/session/renew", auth_renew},
    {"GET", "/api/handoff", auth_handoff},
    {"GET", "/_internal/introspect", auth_introspect},
    {"POST", "/_internal/introspect", auth_introspect}, /* $request_method of a subrequest is the main request's */
    {"GET", "/_internal/redeem", auth_redeem},
    {"GET", "/_internal/administrator", auth_administrator},
};
/* clang-format on */

static const gp_check_t auth_checks[] = {
    {"database", auth_check_database},
};

static const gp_service_def_t auth_service = {
    .name = "auth",
    .text = "users, sessions, tokens, git tokens, signing keys",
    .options = auth_options,
    .n_options = sizeof(auth_options) / sizeof(auth_options[0]),
    .conf_size = sizeof(auth_conf_t),
    .methods = auth_methods,
    .n_methods = sizeof(auth_methods) / sizeof(auth_methods[0]),
    .routes = auth_routes,
    .n_routes = sizeof(auth_routes) / sizeof(auth_routes[0]),
    .checks = auth_checks,
    .n_checks = sizeof(auth_checks) / sizeof(auth_checks[0]),
    .start = auth_start,
    .stop = auth_stop,
};


int main(int argc, char **argv)
{
    return gp_service_main(&auth_service, argc, argv);
}

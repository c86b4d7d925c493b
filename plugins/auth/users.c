#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "core/id.h"
#include "auth.h"

/* Users. There is one now, the administrator; more come with sign-in providers. */

#define AUTH_USER_COLUMNS "id, name, email, avatar_url, created, administrator, blocked"

typedef struct {
    gp_arena_t *arena;
    auth_user_t *user;
    bool found;
} auth_user_read_t;


static int auth_user_row(const gp_row_t *row, void *data, gp_err_t *err)
{
    auth_user_read_t *read = data;
    auth_user_t *user = read->user;
    const char *id = gp_row_text(row, 0);

    if (!gp_id_uuid_valid(id, strlen(id))) {
        return gp_err(err, GP_DATA_LOSS, "the user table holds an id that is none");
    }
    memcpy(user->id, id, sizeof(user->id));
    user->name = gp_arena_strdup(read->arena, gp_row_text(row, 1));
    user->email = gp_arena_strdup(read->arena, gp_row_text(row, 2));
    user->avatar_url = gp_arena_strdup(read->arena, gp_row_text(row, 3));
    user->created_epoch_s = gp_row_int(row, 4);
    user->administrator = gp_row_int(row, 5) != 0;
    user->blocked = gp_row_int(row, 6) != 0;
    read->found = true;

    return 0;
}


int auth_user_get(auth_t *auth, const char *id, gp_arena_t *arena, auth_user_t *ret_user, gp_err_t *err)
{
    auth_user_t user = {.created_epoch_s = 0};
    auth_user_read_t read = {.arena = arena, .user = &user};
    int rc;

    if (!gp_id_uuid_valid(id, strlen(id))) {
        return gp_err(err, GP_INVALID_ARGUMENT, "user_id: \"%.64s\" is not a user id (a UUID)", id);
    }
    rc = gp_db_query(auth->db, auth_user_row, &read, 1, err, "SELECT " AUTH_USER_COLUMNS " FROM user WHERE id = ?", "s", id);
    if (rc < 0) {
        return rc;
    }
    if (!read.found) {
        return gp_err(err, GP_NOT_FOUND, "there is no user %s", id);
    }
    *ret_user = user;

    return 0;
}


int auth_user_of_request(gp_call_t *call, const char *id, auth_user_t *ret_user, gp_err_t *err)
{
    auth_t *auth = call->data;
    int rc;

    if (id[0] == '\0') {
        if (strcmp(call->caller, "admin") != 0) {
            return gp_err(err, GP_INVALID_ARGUMENT, "user_id: missing");
        }
        id = auth->admin_id;
    }
    rc = auth_user_get(auth, id, call->arena, ret_user, err);
    if (rc == 0 && ret_user->blocked) {
        return gp_err(err, GP_PERMISSION_DENIED, "the user %s is blocked; an administrator can lift that", ret_user->name);
    }

    return rc;
}


/* In one transaction, so that two first starts at once make one administrator. */
static int auth_users_first(gp_db_t *db, void *data, gp_err_t *err)
{
    auth_user_read_t *read = data;
    char id[GP_USER_ID_LEN + 1];
    int rc;

    rc = gp_db_query(db, auth_user_row, read, 1, err,
                     "SELECT " AUTH_USER_COLUMNS " FROM user WHERE administrator = 1 ORDER BY created, id LIMIT 1", "");
    if (rc < 0 || read->found) {
        return rc;
    }

    gp_random_uuid(id);
    rc = gp_db_exec(db, NULL, err, "INSERT INTO user (id, name, administrator, created) VALUES (?, 'admin', 1, ?)", "si", id,
                    gp_clock_epoch_s());
    if (rc == 0) {
        memcpy(read->user->id, id, sizeof(id));
        gp_log(GP_LOG_INFO, "the administrator was made", "user", id, NULL);
    }

    return rc;
}


int auth_users_open(auth_t *auth, gp_err_t *err)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(65536);
    auth_user_t user = {.created_epoch_s = 0};
    auth_user_read_t read = {.arena = arena, .user = &user};
    int rc;

    rc = gp_db_transaction(auth->db, auth_users_first, &read, err);
    if (rc == 0) {
        memcpy(auth->admin_id, user.id, sizeof(auth->admin_id));
    }

    return rc;
}


Google__Protobuf__Timestamp *auth_timestamp(gp_arena_t *arena, int64_t epoch_s)
{
    Google__Protobuf__Timestamp *ts = GP_MESSAGE_NEW(arena, Google__Protobuf__Timestamp, google__protobuf__timestamp__init);

    ts->seconds = epoch_s;

    return ts;
}


/* Whether one of the scopes, separated by spaces, lets a credential do all that its user may. */
static bool auth_scopes_unlimited(const char *scopes)
{
    size_t len;

    for (; *scopes != '\0'; scopes += len + (scopes[len] == ' ')) {
        len = strcspn(scopes, " ");
        if ((len == 1 && scopes[0] == '*') || (len == strlen(AUTH_SCOPE_FUNCTIONS) && memcmp(scopes, AUTH_SCOPE_FUNCTIONS, len) == 0)) {
            return true;
        }
    }

    return false;
}


int auth_administrator(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err)
{
    auth_user_t user = {.created_epoch_s = 0};
    int rc;

    auth_reply_private(call, reply);
    reply->status = 403;
    if (call->user[0] == '\0' || !auth_scopes_unlimited(call->scopes)) {
        return 0;
    }

    rc = auth_user_get(call->data, call->user, call->arena, &user, err);
    if (rc == -GP_NOT_FOUND) {
        return 0;
    }
    if (rc == 0 && user.administrator && !user.blocked) {
        reply->status = 204;
    }

    return rc;
}


int auth_get_user(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__Internal__V1__GetUserRequest *in = (const Gitpod__Internal__V1__GetUserRequest *) req;
    Gitpod__Internal__V1__GetUserResponse *out = (Gitpod__Internal__V1__GetUserResponse *) res;
    auth_t *auth = call->data;
    auth_user_t user;
    int rc;

    rc = auth_user_get(auth, in->user_id[0] == '\0' && strcmp(call->caller, "admin") == 0 ? auth->admin_id : in->user_id, call->arena,
                       &user, err);
    if (rc < 0) {
        return rc;
    }

    out->user = GP_MESSAGE_NEW(call->arena, Gitpod__Internal__V1__User, gitpod__internal__v1__user__init);
    out->user->id = gp_arena_strdup(call->arena, user.id);
    out->user->name = user.name;
    out->user->email = user.email;
    out->user->avatar_url = user.avatar_url;
    out->user->creation_time = auth_timestamp(call->arena, user.created_epoch_s);
    out->user->administrator = user.administrator;
    out->user->blocked = user.blocked;

    return 0;
}

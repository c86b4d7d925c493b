#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "core/contract.h"
#include "jose/key.h"
#include "rpc/message.h"
#include "rpc/service.h"
#include "store/db.h"
#include "store/redis.h"
#include "store/snapshot.h"

#include "gitpod/internal/v1/auth.pb-c.h"
#include "gitpod/internal/v1/flag.pb-c.h"

/*
 * The auth service: users, sessions, tokens, git tokens, signing keys.
 *
 * Its database is the truth. Redis and jwks.json are copies that the gateway
 * reads; feed.c brings them up to date and keeps them so. Secrets are stored
 * as digests, or sealed by vault.c where the clear text is needed again.
 */
#define AUTH_SECRET_LEN 43 /* characters: base64url of 32 random bytes (links, codes) */
#define AUTH_KEY_LEN 32 /* bytes of a key file */
#define AUTH_PAT_VALUE_LEN 40 /* characters [0-9A-Za-z] */
#define AUTH_PAT_SIG_LEN 43 /* characters: base64url of HMAC-SHA256 */
#define AUTH_TOKENS_MAX 100 /* PATs of one user */
#define AUTH_GIT_TOKENS_MAX 100 /* git tokens of one user */
#define AUTH_LINKS_MAX 100 /* one-time links of one user that are still good */
#define AUTH_CODES_MAX 64 /* hand-off codes of one session that are still good */
#define AUTH_SCOPES_MAX 32 /* scopes of one token */
#define AUTH_SCOPE_LEN_MAX 255 /* bytes of a scope */
#define AUTH_NAME_MAX 255 /* bytes of a name people give */
#define AUTH_GIT_VALUE_MAX 4096 /* bytes of a git token */
#define AUTH_REVOCATIONS_MAX 100000 /* revocations kept: 7 days of them */
#define AUTH_SNAPSHOT_REFRESH_S 300 /* gitpod_snapshot_max_age judges the age */
#define AUTH_KEY_DELAY_S 10 /* a new key signs this much later, so that everybody has it */
#define AUTH_SCOPE_FUNCTIONS "function:*"
#define AUTH_SCOPES_ALL AUTH_SCOPE_FUNCTIONS " resource:default"

typedef struct {
    gp_service_conf_t service;
    int64_t key_lifetime_s;
} auth_conf_t;

typedef struct auth_vault auth_vault_t;
typedef struct auth_keys auth_keys_t;
typedef struct auth_feed auth_feed_t;

typedef struct {
    gp_service_t *service;
    const auth_conf_t *conf;
    gp_db_t *db;
    gp_redis_t *redis;
    auth_vault_t *vault;
    auth_keys_t *keys;
    auth_feed_t *feed;
    gp_snapshot_t *snapshot; /* revocations, for a gateway that starts without Redis */
    uint8_t pat_key[AUTH_KEY_LEN];
    char admin_id[GP_USER_ID_LEN + 1];
    gp_metric_t *logins;
    gp_metric_t *logins_refused;
    gp_metric_t *tokens_refused;
} auth_t;

/* ---- schema.c ---- */

extern const char *const auth_migrations[];
extern const int auth_n_migrations;

/* ---- secret.c: random texts and their digests ---- */

/* A fresh secret of AUTH_SECRET_LEN characters in arena, and the digest that is stored. */
int auth_secret_new(gp_arena_t *arena, char **ret_secret, char **ret_digest, gp_err_t *err) __attribute__((warn_unused_result));
/* Lower-case hex of SHA-256. */
int auth_digest(gp_arena_t *arena, const char *secret, char **ret_digest, gp_err_t *err) __attribute__((warn_unused_result));
/* Reads the key file, or makes it: AUTH_KEY_LEN random bytes, mode 0600, complete or not there at all. */
int auth_key_file(const char *path, uint8_t ret_key[AUTH_KEY_LEN], gp_err_t *err) __attribute__((warn_unused_result));
/* Printable, no control characters. */
bool auth_text_valid(const char *text, size_t max);
/* A path on D or a workspace host to go to: one leading '/', at most GP_PATH_MAX, nothing a browser would read as another host. */
bool auth_path_valid(const char *path);

/* ---- vault.c: AES-256-GCM ---- */

int auth_vault_open(const char *path, auth_vault_t **ret_vault, gp_err_t *err) __attribute__((warn_unused_result));
auth_vault_t *auth_vault_close(auth_vault_t *vault);
/* context is bound to the text: what was sealed for one row does not open as another. */
int auth_vault_seal(const auth_vault_t *vault, const char *context, const void *text, size_t len, gp_arena_t *arena, void **ret_sealed,
                    size_t *ret_len, gp_err_t *err) __attribute__((warn_unused_result));
/* DATA_LOSS: another key, another context or changed bytes. The text is NUL-terminated. */
int auth_vault_unseal(const auth_vault_t *vault, const char *context, const void *sealed, size_t len, gp_arena_t *arena, char **ret_text,
                      size_t *ret_len, gp_err_t *err) __attribute__((warn_unused_result));

/* ---- keys.c: what tokens are signed with ---- */

int auth_keys_open(auth_t *auth, auth_keys_t **ret_keys, gp_err_t *err) __attribute__((warn_unused_result));
auth_keys_t *auth_keys_close(auth_keys_t *keys);
/* Signs with the newest key that is due; the token is in arena. */
int auth_keys_issue(auth_t *auth, const gp_jose_issue_t *claims, gp_arena_t *arena, char **ret_token, gp_err_t *err)
    __attribute__((warn_unused_result));
/* A new key; the old ones stay in the set until no token of theirs is good any more. ret_kid (may be NULL) is in arena. */
int auth_keys_rotate(auth_t *auth, gp_arena_t *arena, char **ret_kid, gp_err_t *err) __attribute__((warn_unused_result));
/* Rotates when the newest key is older than its lifetime, drops what has expired. */
int auth_keys_maintain(auth_t *auth, gp_err_t *err) __attribute__((warn_unused_result));
/* The key set as it is now, in arena. */
char *auth_keys_set(auth_keys_t *keys, gp_arena_t *arena);

/* ---- feed.c: what the gateway reads ---- */

int auth_feed_open(auth_t *auth, auth_feed_t **ret_feed, gp_err_t *err) __attribute__((warn_unused_result));
auth_feed_t *auth_feed_close(auth_feed_t *feed);
/* Everything is published again soon; any thread. */
void auth_feed_wake(auth_feed_t *feed);
int auth_feed_snapshot(gp_snapshot_file_t *file, void *data, gp_err_t *err) __attribute__((warn_unused_result));
/* Into the database, then to Redis and the snapshot; when Redis is away the feed brings it later. */
int auth_revoke(auth_t *auth, const char *kind, const char *id, gp_err_t *err) __attribute__((warn_unused_result));

/* ---- users.c ---- */

typedef struct {
    char id[GP_USER_ID_LEN + 1];
    char *name;
    char *email;
    char *avatar_url;
    int64_t created_epoch_s;
    bool administrator;
    bool blocked;
} auth_user_t;

/* The administrator, made at the first start. */
int auth_users_open(auth_t *auth, gp_err_t *err) __attribute__((warn_unused_result));
/* NOT_FOUND when there is none. */
int auth_user_get(auth_t *auth, const char *id, gp_arena_t *arena, auth_user_t *ret_user, gp_err_t *err)
    __attribute__((warn_unused_result));
/* The user a request names; empty is the administrator when the caller is one. Blocked users are PERMISSION_DENIED. */
int auth_user_of_request(gp_call_t *call, const char *id, auth_user_t *ret_user, gp_err_t *err) __attribute__((warn_unused_result));
Google__Protobuf__Timestamp *auth_timestamp(gp_arena_t *arena, int64_t epoch_s);
/* GET /_internal/administrator: 204 when GITPOD_USER is one and GITPOD_SCOPES let it call everything, else 403. */
int auth_administrator(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err);
int auth_get_user(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);

/* ---- sessions.c ---- */

typedef struct {
    char id[GP_INSTANCE_ID_LEN + 1];
    char user_id[GP_USER_ID_LEN + 1];
    int64_t expires_epoch_s;
} auth_session_t;

/* "http://host:port" as people see it; the port is left out when it is the scheme's own. */
char *auth_origin(const auth_t *auth, gp_arena_t *arena, const char *host);
/* 0, or UNAUTHENTICATED: unknown, expired, revoked, or of a blocked user. */
int auth_session_get(auth_t *auth, const char *id, auth_session_t *ret_session, gp_err_t *err) __attribute__((warn_unused_result));
/*
 * The session of who has just signed in, its cookie on the reply. One that the
 * browser brings goes on when it is the same person's, else it ends: a log-out
 * knows of one only, and has to end whatever this browser opened.
 */
int auth_session_start(gp_call_t *call, const char *user_id, gp_http_reply_t *reply, gp_err_t *err) __attribute__((warn_unused_result));
int auth_session_revoke(auth_t *auth, const char *user_id, const char *id, gp_err_t *err) __attribute__((warn_unused_result));
/* An answer that no cache keeps and that leaks no address. */
void auth_reply_private(gp_call_t *call, gp_http_reply_t *reply);
int auth_reply_redirect(gp_call_t *call, gp_http_reply_t *reply, const char *location);
int auth_logout(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err);
int auth_renew(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err);
int auth_revoke_session(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);

/* ---- links.c ---- */

int auth_login_link(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err);
int auth_create_login_link(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);

/* ---- handoff.c ---- */

int auth_handoff(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err);
int auth_redeem(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err);

/* ---- tokens.c ---- */

int auth_introspect(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err);
int auth_create_token(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int auth_list_tokens(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int auth_revoke_token(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);

/* ---- flags.c ---- */

/* All of them to Redis, which takes what it does not have. */
int auth_flags_feed(auth_t *auth, gp_err_t *err) __attribute__((warn_unused_result));
/* Drops tombstones that have done their work. */
int auth_flags_clean(auth_t *auth, gp_err_t *err) __attribute__((warn_unused_result));
int auth_list_flags(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int auth_set_flag(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int auth_delete_flag(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);

/* ---- git_tokens.c ---- */

int auth_set_git_token(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int auth_list_git_tokens(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int auth_delete_git_token(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int auth_get_git_token(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);

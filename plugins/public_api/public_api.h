#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "core/contract.h"
#include "rpc/message.h"
#include "rpc/service.h"
#include "rpc/workspace_status.h"

#include "gitpod/extension/v1/git_token.pb-c.h"
#include "gitpod/internal/v1/auth.pb-c.h"
#include "gitpod/internal/v1/ws_manager.pb-c.h"
#include "gitpod/v1/user.pb-c.h"
#include "gitpod/v1/workspace.pb-c.h"

#include "context_url.h"

/*
 * The public API: checks who calls, translates gitpod.v1 into calls of
 * ws_manager and auth, and fans their one stream of changes out to everybody
 * who watches. It keeps nothing.
 */
#define PUB_CALL_MS 30000 /* a call to another service */
#define PUB_PAGE_DEFAULT 50 /* workspaces of a page */
#define PUB_PAGE_MAX 400 /* most of a page */
#define PUB_OFFSET_MAX 1000000 /* where a page can begin */
#define PUB_REQUEST_KEY_MAX 255 /* bytes of an idempotency key */
#define PUB_WATCHERS_MAX 1024 /* streams of this process */
#define PUB_USER_WATCHERS_MAX 64 /* streams of one user */

typedef Gitpod__Internal__V1__ManagedWorkspace pub_managed_t;

typedef struct {
    gp_service_conf_t service;
    bool allow_file_urls;
} pub_conf_t;

typedef struct pub_watch pub_watch_t;

typedef struct {
    gp_service_t *service;
    const pub_conf_t *conf;
    pub_watch_t *watch;
} pub_t;

/* ---- access.c ---- */

/* UNAUTHENTICATED without a user; PERMISSION_DENIED for a token that does not carry all scopes. */
int pub_require_user(const gp_call_t *call, gp_err_t *err) __attribute__((warn_unused_result));
/* UNAVAILABLE while the flag "maintenance" is on for the caller. */
int pub_require_starts(const gp_call_t *call, gp_err_t *err) __attribute__((warn_unused_result));
int pub_check_workspace_id(const char *id, gp_err_t *err) __attribute__((warn_unused_result));
/* The organisation a user has until there are others: an id that follows from the user's. */
char *pub_organization_id(gp_arena_t *arena, const char *user_id);
/* An organisation a request names must be the caller's own; empty is fine. */
int pub_check_organization(const gp_call_t *call, const char *id, gp_err_t *err) __attribute__((warn_unused_result));
/* Calls ws_manager or auth. */
int pub_call(gp_call_t *call, const ProtobufCServiceDescriptor *service, const char *method, const ProtobufCMessage *req,
             ProtobufCMessage **ret_res, gp_err_t *err) __attribute__((warn_unused_result));
#define pub_call_workspaces(call, method, req, ret_res, err)                                                                               \
    pub_call((call), &gitpod__internal__v1__workspace_manager_service__descriptor, (method), (req), (ret_res), (err))
#define pub_call_auth(call, method, req, ret_res, err)                                                                                     \
    pub_call((call), &gitpod__internal__v1__auth_service__descriptor, (method), (req), (ret_res), (err))

/* A method of ws_manager that answers a workspace, as ours; *ret_workspace in the call's arena. Blocking. Errors: ws_manager's. */
int pub_workspace_call(gp_call_t *call, const char *method, const ProtobufCMessage *req, Gitpod__V1__Workspace **ret_workspace,
                       gp_err_t *err);

/* ---- convert.c ---- */

Gitpod__V1__Workspace *pub_workspace(gp_arena_t *arena, const pub_managed_t *managed);
Gitpod__V1__WorkspaceInitializer *pub_initializer(gp_arena_t *arena, const Gitpod__Internal__V1__GitSource *git);
Gitpod__Internal__V1__GitSource *pub_git_source(gp_arena_t *arena, const pub_context_t *context);
char *pub_default_name(gp_arena_t *arena, const pub_context_t *context);

/* ---- pagination.c ---- */

/* INVALID_ARGUMENT for a token that is not ours. */
int pub_page_read(const Gitpod__V1__PaginationRequest *req, int32_t *ret_offset, int32_t *ret_limit, gp_err_t *err)
    __attribute__((warn_unused_result));
Gitpod__V1__PaginationResponse *pub_page_next(gp_arena_t *arena, int32_t offset, int32_t n, int32_t total);

/* ---- watch.c ---- */

int pub_watch_open(pub_t *pub, pub_watch_t **ret_watch, gp_err_t *err) __attribute__((warn_unused_result));
pub_watch_t *pub_watch_close(pub_watch_t *watch);
int pub_watch_status(gp_call_t *call, const ProtobufCMessage *req, gp_stream_t *stream, gp_err_t *err);

/* ---- create.c, workspaces.c, users.c, git_tokens.c: the methods ---- */

int pub_create_workspace(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int pub_parse_context_url(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int pub_get_workspace(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int pub_list_workspaces(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int pub_start_workspace(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int pub_stop_workspace(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int pub_delete_workspace(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int pub_update_workspace(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
/* "http", "https" or "grpc"; NULL: unknown. */
const char *pub_port_protocol_name(Gitpod__V1__WorkspacePort__Protocol protocol);
int pub_update_workspace_port(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int pub_list_classes(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int pub_send_heartbeat(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int pub_get_owner_token(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int pub_get_authenticated_user(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int pub_set_git_token(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int pub_list_git_tokens(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int pub_delete_git_token(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
/* Every method of the API that this version does not have. */
int pub_unimplemented(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);

#include <string.h>

#include "public_api.h"

/* Methods that are one call of ws_manager each. */

#define PUB_SEARCH_MAX 255 /* bytes of a search term */


/* User and workspace id are good; *ret_user is a copy for a message. */
static int pub_request_begin(gp_call_t *call, const char *workspace_id, char **ret_user, gp_err_t *err)
{
    int rc = pub_require_user(call, err);

    if (rc == 0) {
        rc = pub_check_workspace_id(workspace_id, err);
    }
    if (rc == 0) {
        *ret_user = gp_arena_strdup(call->arena, call->user);
    }

    return rc;
}


int pub_workspace_call(gp_call_t *call, const char *method, const ProtobufCMessage *req, Gitpod__V1__Workspace **ret_workspace,
                       gp_err_t *err)
{
    ProtobufCMessage *res = NULL;
    int rc;

    rc = pub_call_workspaces(call, method, req, &res, err);
    if (rc < 0) {
        return rc;
    }
    if (((const Gitpod__Internal__V1__WorkspaceResponse *) res)->workspace == NULL) {
        return gp_err(err, GP_INTERNAL, "%s: the answer has no workspace", method);
    }
    *ret_workspace = pub_workspace(call->arena, ((const Gitpod__Internal__V1__WorkspaceResponse *) res)->workspace);

    return 0;
}


int pub_get_workspace(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__V1__GetWorkspaceRequest *in = (const Gitpod__V1__GetWorkspaceRequest *) req;
    Gitpod__V1__GetWorkspaceResponse *out = (Gitpod__V1__GetWorkspaceResponse *) res;
    Gitpod__Internal__V1__GetWorkspaceRequest get;
    int rc;

    gitpod__internal__v1__get_workspace_request__init(&get);
    get.workspace_id = in->workspace_id;
    rc = pub_request_begin(call, in->workspace_id, &get.user_id, err);

    return rc < 0 ? rc : pub_workspace_call(call, "GetWorkspace", &get.base, &out->workspace, err);
}


int pub_start_workspace(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__V1__StartWorkspaceRequest *in = (const Gitpod__V1__StartWorkspaceRequest *) req;
    Gitpod__V1__StartWorkspaceResponse *out = (Gitpod__V1__StartWorkspaceResponse *) res;
    Gitpod__Internal__V1__StartWorkspaceRequest start;
    int rc;

    gitpod__internal__v1__start_workspace_request__init(&start);
    start.workspace_id = in->workspace_id;
    rc = pub_request_begin(call, in->workspace_id, &start.user_id, err);
    if (rc == 0) {
        rc = pub_require_starts(call, err);
    }

    return rc < 0 ? rc : pub_workspace_call(call, "StartWorkspace", &start.base, &out->workspace, err);
}


int pub_stop_workspace(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__V1__StopWorkspaceRequest *in = (const Gitpod__V1__StopWorkspaceRequest *) req;
    Gitpod__Internal__V1__StopWorkspaceRequest stop;
    ProtobufCMessage *done = NULL;
    int rc;

    gitpod__internal__v1__stop_workspace_request__init(&stop);
    stop.workspace_id = in->workspace_id;
    rc = pub_request_begin(call, in->workspace_id, &stop.user_id, err);

    return rc < 0 ? rc : pub_call_workspaces(call, "StopWorkspace", &stop.base, &done, err);
}


int pub_delete_workspace(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__V1__DeleteWorkspaceRequest *in = (const Gitpod__V1__DeleteWorkspaceRequest *) req;
    Gitpod__Internal__V1__DeleteWorkspaceRequest del;
    ProtobufCMessage *done = NULL;
    int rc;

    gitpod__internal__v1__delete_workspace_request__init(&del);
    del.workspace_id = in->workspace_id;
    rc = pub_request_begin(call, in->workspace_id, &del.user_id, err);

    return rc < 0 ? rc : pub_call_workspaces(call, "DeleteWorkspace", &del.base, &done, err);
}


static int pub_update_name(const char *name, gp_err_t *err)
{
    size_t i;

    for (i = 0; name[i] != '\0'; i++) {
        if ((unsigned char) name[i] < 0x20 || name[i] == 0x7f) {
            return gp_err(err, GP_INVALID_ARGUMENT, "metadata.name: has a control character");
        }
    }
    if (i == 0 || i > GP_WORKSPACE_NAME_MAX || strspn(name, " ") == i) {
        return gp_err(err, GP_INVALID_ARGUMENT, "metadata.name: must be 1 to %d bytes, not only spaces", GP_WORKSPACE_NAME_MAX);
    }

    return 0;
}


int pub_update_workspace(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__V1__UpdateWorkspaceRequest *in = (const Gitpod__V1__UpdateWorkspaceRequest *) req;
    Gitpod__V1__UpdateWorkspaceResponse *out = (Gitpod__V1__UpdateWorkspaceResponse *) res;
    const Gitpod__V1__UpdateWorkspaceRequest__UpdateWorkspaceMetadata *metadata = in->metadata;
    Gitpod__Internal__V1__UpdateWorkspaceRequest update;
    int rc;

    gitpod__internal__v1__update_workspace_request__init(&update);
    update.workspace_id = in->workspace_id;
    rc = pub_request_begin(call, in->workspace_id, &update.user_id, err);
    if (rc == 0 && in->spec != NULL) {
        return gp_err(err, GP_UNIMPLEMENTED, "spec: only metadata.name and metadata.pinned can be changed in this version");
    }
    if (rc == 0 && metadata != NULL && metadata->_name_case != 0) {
        rc = pub_update_name(metadata->name, err);
        update._name_case = GITPOD__INTERNAL__V1__UPDATE_WORKSPACE_REQUEST___NAME_NAME;
        update.name = metadata->name;
    }
    if (rc < 0) {
        return rc;
    }
    if (metadata != NULL && metadata->_pinned_case != 0) {
        update._pinned_case = GITPOD__INTERNAL__V1__UPDATE_WORKSPACE_REQUEST___PINNED_PINNED;
        update.pinned = metadata->pinned;
    }

    return pub_workspace_call(call, "UpdateWorkspace", &update.base, &out->workspace, err);
}


int pub_update_workspace_port(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__V1__UpdateWorkspacePortRequest *in = (const Gitpod__V1__UpdateWorkspacePortRequest *) req;
    Gitpod__Internal__V1__UpdatePortRequest update;
    Gitpod__V1__Workspace *workspace = NULL;
    int rc;

    gitpod__internal__v1__update_port_request__init(&update);
    update.workspace_id = in->workspace_id;
    rc = pub_request_begin(call, in->workspace_id, &update.user_id, err);
    if (rc == 0 && (in->port < 1 || in->port > 65535)) {
        rc = gp_err(err, GP_INVALID_ARGUMENT, "port: must be 1 to 65535");
    }
    if (rc == 0 && in->admission == 0 && in->protocol == 0) {
        rc = gp_err(err, GP_INVALID_ARGUMENT, "admission, protocol: one of them must be set");
    }
    if (rc == 0 && in->admission != 0) {
        update._visible_case = GITPOD__INTERNAL__V1__UPDATE_PORT_REQUEST___VISIBLE_VISIBLE;
        update.visible = in->admission == GITPOD__V1__ADMISSION_LEVEL__ADMISSION_LEVEL_EVERYONE;
        if (!update.visible && in->admission != GITPOD__V1__ADMISSION_LEVEL__ADMISSION_LEVEL_OWNER_ONLY) {
            rc = gp_err(err, GP_INVALID_ARGUMENT, "admission: must be ADMISSION_LEVEL_OWNER_ONLY or ADMISSION_LEVEL_EVERYONE");
        }
    }
    if (rc == 0 && in->protocol != 0) {
        const char *protocol = pub_port_protocol_name(in->protocol);

        if (protocol == NULL) {
            rc = gp_err(err, GP_INVALID_ARGUMENT, "protocol: must be PROTOCOL_HTTP, PROTOCOL_HTTPS or PROTOCOL_GRPC");
        } else {
            update.protocol = gp_arena_strdup(call->arena, protocol);
        }
    }
    if (rc < 0) {
        return rc;
    }
    update.port = (uint32_t) in->port;

    return pub_workspace_call(call, "UpdatePort", &update.base, &workspace, err);
}


int pub_list_workspaces(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__V1__ListWorkspacesRequest *in = (const Gitpod__V1__ListWorkspacesRequest *) req;
    Gitpod__V1__ListWorkspacesResponse *out = (Gitpod__V1__ListWorkspacesResponse *) res;
    const Gitpod__Internal__V1__ListWorkspacesResponse *found;
    Gitpod__Internal__V1__ListWorkspacesRequest list;
    ProtobufCMessage *answer = NULL;
    size_t i;
    int rc;

    gitpod__internal__v1__list_workspaces_request__init(&list);
    rc = pub_require_user(call, err);
    if (rc == 0) {
        rc = pub_check_organization(call, in->organization_id, err);
    }
    if (rc == 0 && strlen(in->search_term) > PUB_SEARCH_MAX) {
        return gp_err(err, GP_INVALID_ARGUMENT, "search_term: longer than %d bytes", PUB_SEARCH_MAX);
    }
    if (rc == 0) {
        rc = pub_page_read(in->pagination, &list.offset, &list.limit, err);
    }
    if (rc == 0) {
        list.user_id = gp_arena_strdup(call->arena, call->user);
        list.pinned = in->pinned;
        list.search_term = in->search_term;
        rc = pub_call_workspaces(call, "ListWorkspaces", &list.base, &answer, err);
    }
    if (rc < 0) {
        return rc;
    }

    found = (const Gitpod__Internal__V1__ListWorkspacesResponse *) answer;
    out->workspaces = gp_arena_alloc(call->arena, (found->n_workspaces + 1) * sizeof(*out->workspaces));
    for (i = 0; i < found->n_workspaces; i++) {
        out->workspaces[i] = pub_workspace(call->arena, found->workspaces[i]);
    }
    out->n_workspaces = found->n_workspaces;
    out->pagination = pub_page_next(call->arena, list.offset, (int32_t) found->n_workspaces, found->total);

    return 0;
}


int pub_list_classes(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    Gitpod__V1__ListWorkspaceClassesResponse *out = (Gitpod__V1__ListWorkspaceClassesResponse *) res;
    const Gitpod__Internal__V1__ListWorkspaceClassesResponse *found;
    Gitpod__Internal__V1__ListWorkspaceClassesRequest list;
    ProtobufCMessage *answer = NULL;
    size_t i;
    int rc;

    gitpod__internal__v1__list_workspace_classes_request__init(&list);
    rc = pub_require_user(call, err);
    if (rc == 0) {
        rc = pub_call_workspaces(call, "ListWorkspaceClasses", &list.base, &answer, err);
    }
    if (rc < 0) {
        return rc;
    }

    found = (const Gitpod__Internal__V1__ListWorkspaceClassesResponse *) answer;
    out->workspace_classes = gp_arena_alloc(call->arena, (found->n_classes + 1) * sizeof(*out->workspace_classes));
    for (i = 0; i < found->n_classes; i++) {
        out->workspace_classes[i] = GP_MESSAGE_NEW(call->arena, Gitpod__V1__WorkspaceClass, gitpod__v1__workspace_class__init);
        out->workspace_classes[i]->id = found->classes[i]->id;
        out->workspace_classes[i]->display_name = found->classes[i]->display_name;
        out->workspace_classes[i]->description = found->classes[i]->description;
        out->workspace_classes[i]->is_default = found->classes[i]->is_default;
    }
    out->n_workspace_classes = found->n_classes;
    out->pagination = pub_page_next(call->arena, 0, (int32_t) found->n_classes, (int32_t) found->n_classes);

    return 0;
}


int pub_send_heartbeat(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__V1__SendHeartBeatRequest *in = (const Gitpod__V1__SendHeartBeatRequest *) req;
    Gitpod__Internal__V1__MarkActiveRequest mark;
    ProtobufCMessage *done = NULL;
    int rc;

    gitpod__internal__v1__mark_active_request__init(&mark);
    mark.workspace_id = in->workspace_id;
    mark.closed = in->disconnected;
    rc = pub_request_begin(call, in->workspace_id, &mark.user_id, err);

    return rc < 0 ? rc : pub_call_workspaces(call, "MarkActive", &mark.base, &done, err);
}


int pub_get_owner_token(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__V1__GetWorkspaceOwnerTokenRequest *in = (const Gitpod__V1__GetWorkspaceOwnerTokenRequest *) req;
    Gitpod__V1__GetWorkspaceOwnerTokenResponse *out = (Gitpod__V1__GetWorkspaceOwnerTokenResponse *) res;
    Gitpod__Internal__V1__GetOwnerTokenRequest get;
    ProtobufCMessage *done = NULL;
    int rc;

    gitpod__internal__v1__get_owner_token_request__init(&get);
    get.workspace_id = in->workspace_id;
    rc = pub_request_begin(call, in->workspace_id, &get.user_id, err);
    if (rc == 0) {
        rc = pub_call_workspaces(call, "GetOwnerToken", &get.base, &done, err);
    }
    if (rc == 0) {
        out->owner_token = ((const Gitpod__Internal__V1__GetOwnerTokenResponse *) done)->owner_token;
    }

    return rc;
}


int pub_unimplemented(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    int rc = pub_require_user(call, err);

    return rc < 0 ? rc : gp_err(err, GP_UNIMPLEMENTED, "%s is not in this version", call->method);
}

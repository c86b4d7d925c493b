#include <string.h>

#include "base/random.h"
#include "public_api.h"

/* From a context URL to a workspace. */

#define PUB_KEY_ANNOTATION "idempotency-key"


static int pub_context_of(gp_call_t *call, const char *url, pub_context_t *ret_context, gp_err_t *err)
{
    const pub_t *pub = call->data;

    return pub_context_parse(url, strlen(url), pub->conf->allow_file_urls, call->arena, ret_context, err);
}


int pub_parse_context_url(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__V1__ParseContextURLRequest *in = (const Gitpod__V1__ParseContextURLRequest *) req;
    Gitpod__V1__ParseContextURLResponse *out = (Gitpod__V1__ParseContextURLResponse *) res;
    pub_context_t context;
    int rc;

    rc = pub_require_user(call, err);
    if (rc == 0) {
        rc = pub_context_of(call, in->context_url, &context, err);
    }
    if (rc < 0) {
        return rc;
    }

    out->metadata = GP_MESSAGE_NEW(call->arena, Gitpod__V1__WorkspaceMetadata, gitpod__v1__workspace_metadata__init);
    out->metadata->owner_id = gp_arena_strdup(call->arena, call->user);
    out->metadata->organization_id = pub_organization_id(call->arena, call->user);
    out->metadata->name = pub_default_name(call->arena, &context);
    out->metadata->original_context_url = context.url;
    out->spec = GP_MESSAGE_NEW(call->arena, Gitpod__V1__WorkspaceSpec, gitpod__v1__workspace_spec__init);
    out->spec->type = GITPOD__V1__WORKSPACE_SPEC__WORKSPACE_TYPE__WORKSPACE_TYPE_REGULAR;
    out->spec->initializer = pub_initializer(call->arena, pub_git_source(call->arena, &context));

    return 0;
}


/* The annotation, the header, or a fresh one. */
static int pub_request_key(gp_call_t *call, const Gitpod__V1__WorkspaceMetadata *metadata, char **ret_key, gp_err_t *err)
{
    const char *key = gp_call_param(call, "HTTP_IDEMPOTENCY_KEY");
    char fresh[GP_INSTANCE_ID_LEN + 1];
    size_t i;

    for (i = 0; metadata != NULL && i < metadata->n_annotations; i++) {
        if (strcmp(metadata->annotations[i]->key, PUB_KEY_ANNOTATION) == 0) {
            key = metadata->annotations[i]->value;
        }
    }
    if (key == NULL || key[0] == '\0') {
        gp_random_uuid(fresh);
        key = fresh;
    }
    if (strlen(key) > PUB_REQUEST_KEY_MAX) {
        return gp_err(err, GP_INVALID_ARGUMENT, "idempotency key: longer than %d bytes", PUB_REQUEST_KEY_MAX);
    }
    *ret_key = gp_arena_strdup(call->arena, key);

    return 0;
}


static int pub_check_name(const char *name, gp_err_t *err)
{
    size_t i;

    for (i = 0; name[i] != '\0'; i++) {
        if ((unsigned char) name[i] < 0x20 || name[i] == 0x7f) {
            return gp_err(err, GP_INVALID_ARGUMENT, "metadata.name: has a control character");
        }
    }
    if (i > GP_WORKSPACE_NAME_MAX) {
        return gp_err(err, GP_INVALID_ARGUMENT, "metadata.name: longer than %d bytes", GP_WORKSPACE_NAME_MAX);
    }

    return 0;
}


/* Name and mail address for git in the workspace. */
static int pub_git_person(gp_call_t *call, Gitpod__Internal__V1__CreateWorkspaceRequest *create, gp_err_t *err)
{
    Gitpod__Internal__V1__GetUserRequest get;
    ProtobufCMessage *res = NULL;
    const Gitpod__Internal__V1__User *user;
    int rc;

    gitpod__internal__v1__get_user_request__init(&get);
    get.user_id = create->owner_id;
    rc = pub_call_auth(call, "GetUser", &get.base, &res, err);
    if (rc < 0) {
        return rc;
    }
    user = ((const Gitpod__Internal__V1__GetUserResponse *) res)->user;
    if (user != NULL) {
        create->git_user_name = user->name;
        create->git_user_email = user->email;
    }

    return 0;
}


static int pub_create_request(gp_call_t *call, const Gitpod__V1__CreateAndStartWorkspaceRequest *in,
                              Gitpod__Internal__V1__CreateWorkspaceRequest *create, gp_err_t *err)
{
    const Gitpod__V1__CreateAndStartWorkspaceRequest__ContextURL *source = in->context_url;
    const Gitpod__V1__WorkspaceMetadata *metadata = in->metadata;
    pub_context_t context;
    int rc;

    if (in->source_case != GITPOD__V1__CREATE_AND_START_WORKSPACE_REQUEST__SOURCE_CONTEXT_URL || source == NULL) {
        return in->source_case == GITPOD__V1__CREATE_AND_START_WORKSPACE_REQUEST__SOURCE_SPEC
                   ? gp_err(err, GP_UNIMPLEMENTED, "spec: workspaces are made from a context_url; give its url")
                   : gp_err(err, GP_INVALID_ARGUMENT, "context_url: missing; give the url of a Git repository");
    }
    if ((rc = pub_context_of(call, source->url, &context, err)) < 0 ||
        (rc = pub_request_key(call, metadata, &create->request_key, err)) < 0 ||
        (metadata != NULL &&
         ((rc = pub_check_organization(call, metadata->organization_id, err)) < 0 || (rc = pub_check_name(metadata->name, err)) < 0))) {
        return rc;
    }

    create->owner_id = gp_arena_strdup(call->arena, call->user);
    create->name = metadata != NULL && metadata->name[0] != '\0' ? metadata->name : pub_default_name(call->arena, &context);
    create->context_url = context.url;
    create->git = pub_git_source(call->arena, &context);
    create->id_hint_owner = context.owner;
    create->id_hint_repository = context.repository;
    create->class_id = source->workspace_class;
    if (source->editor != NULL) {
        create->editor = source->editor->name;
        create->editor_version = source->editor->version;
    }

    return pub_git_person(call, create, err);
}


int pub_create_workspace(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    Gitpod__V1__CreateAndStartWorkspaceResponse *out = (Gitpod__V1__CreateAndStartWorkspaceResponse *) res;
    Gitpod__Internal__V1__CreateWorkspaceRequest create;
    Gitpod__Internal__V1__StartWorkspaceRequest start;
    ProtobufCMessage *made = NULL;
    int rc;

    gitpod__internal__v1__create_workspace_request__init(&create);
    rc = pub_require_user(call, err);
    if (rc == 0) {
        rc = pub_require_starts(call, err);
    }
    if (rc == 0) {
        rc = pub_create_request(call, (const Gitpod__V1__CreateAndStartWorkspaceRequest *) req, &create, err);
    }
    if (rc == 0) {
        rc = pub_call_workspaces(call, "CreateWorkspace", &create.base, &made, err);
    }
    if (rc < 0) {
        return rc;
    }
    /* A no-op when the same request key found a workspace that is on its way. */
    gitpod__internal__v1__start_workspace_request__init(&start);
    start.user_id = create.owner_id;
    start.workspace_id = ((const Gitpod__Internal__V1__WorkspaceResponse *) made)->workspace->id;

    return pub_workspace_call(call, "StartWorkspace", &start.base, &out->workspace, err);
}

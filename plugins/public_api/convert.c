#include <string.h>

#include "public_api.h"

/* Internal messages to those of gitpod.v1. Sub-messages that clients look into are always there. */

#define NEW(arena, type, fn) GP_MESSAGE_NEW((arena), Gitpod__V1__##type, gitpod__v1__##fn##__init)


char *pub_default_name(gp_arena_t *arena, const pub_context_t *context)
{
    if (context->owner[0] == '\0') {
        return gp_arena_printf(arena, "%.*s", GP_WORKSPACE_NAME_MAX, context->repository);
    }

    return gp_arena_printf(arena, "%.*s/%.*s", GP_WORKSPACE_NAME_MAX / 2 - 1, context->owner, GP_WORKSPACE_NAME_MAX / 2 - 1,
                           context->repository);
}


Gitpod__Internal__V1__GitSource *pub_git_source(gp_arena_t *arena, const pub_context_t *context)
{
    static const Gitpod__Internal__V1__GitSource__TargetMode modes[] = {
        [PUB_TARGET_HEAD] = GITPOD__INTERNAL__V1__GIT_SOURCE__TARGET_MODE__TARGET_MODE_REMOTE_HEAD,
        [PUB_TARGET_COMMIT] = GITPOD__INTERNAL__V1__GIT_SOURCE__TARGET_MODE__TARGET_MODE_REMOTE_COMMIT,
        [PUB_TARGET_BRANCH] = GITPOD__INTERNAL__V1__GIT_SOURCE__TARGET_MODE__TARGET_MODE_REMOTE_BRANCH,
        [PUB_TARGET_REF] = GITPOD__INTERNAL__V1__GIT_SOURCE__TARGET_MODE__TARGET_MODE_REMOTE_REF,
    };
    Gitpod__Internal__V1__GitSource *git = GP_MESSAGE_NEW(arena, Gitpod__Internal__V1__GitSource, gitpod__internal__v1__git_source__init);

    git->remote_uri = context->remote_uri;
    git->target_mode = modes[context->target_mode];
    git->clone_target = context->target;
    git->checkout_location = context->checkout;

    return git;
}


Gitpod__V1__WorkspaceInitializer *pub_initializer(gp_arena_t *arena, const Gitpod__Internal__V1__GitSource *git)
{
    Gitpod__V1__WorkspaceInitializer *init = NEW(arena, WorkspaceInitializer, workspace_initializer);
    Gitpod__V1__WorkspaceInitializer__Spec *spec = NEW(arena, WorkspaceInitializer__Spec, workspace_initializer__spec);
    Gitpod__V1__GitInitializer *out = NEW(arena, GitInitializer, git_initializer);

    if (git != NULL) {
        out->remote_uri = git->remote_uri;
        out->clone_target = git->clone_target;
        out->checkout_location = git->checkout_location;
        /* The public API knows no "ref or path": such a target is shown as the branch it most likely is. */
        out->target_mode = git->target_mode == GITPOD__INTERNAL__V1__GIT_SOURCE__TARGET_MODE__TARGET_MODE_REMOTE_REF
                               ? GITPOD__V1__GIT_INITIALIZER__CLONE_TARGET_MODE__CLONE_TARGET_MODE_REMOTE_BRANCH
                               : (Gitpod__V1__GitInitializer__CloneTargetMode) git->target_mode;
    }
    spec->spec_case = GITPOD__V1__WORKSPACE_INITIALIZER__SPEC__SPEC_GIT;
    spec->git = out;
    init->n_specs = 1;
    init->specs = gp_arena_alloc(arena, sizeof(*init->specs));
    init->specs[0] = spec;

    return init;
}


static Gitpod__V1__WorkspaceMetadata *pub_metadata(gp_arena_t *arena, const pub_managed_t *managed)
{
    Gitpod__V1__WorkspaceMetadata *metadata = NEW(arena, WorkspaceMetadata, workspace_metadata);

    metadata->owner_id = managed->owner_id;
    metadata->organization_id = pub_organization_id(arena, managed->owner_id);
    metadata->name = managed->name;
    metadata->pinned = managed->pinned;
    metadata->original_context_url = managed->context_url;
    metadata->n_warnings = managed->n_warnings;
    metadata->warnings = managed->warnings;

    return metadata;
}


static const struct {
    Gitpod__V1__WorkspacePort__Protocol protocol;
    const char *name;
} pub_protocols[] = {
    {GITPOD__V1__WORKSPACE_PORT__PROTOCOL__PROTOCOL_HTTP, "http"},
    {GITPOD__V1__WORKSPACE_PORT__PROTOCOL__PROTOCOL_HTTPS, "https"},
    {GITPOD__V1__WORKSPACE_PORT__PROTOCOL__PROTOCOL_GRPC, "grpc"},
    {GITPOD__V1__WORKSPACE_PORT__PROTOCOL__PROTOCOL_GRPC, "h2c"},
};


const char *pub_port_protocol_name(Gitpod__V1__WorkspacePort__Protocol protocol)
{
    size_t i;

    for (i = 0; i < sizeof(pub_protocols) / sizeof(pub_protocols[0]); i++) {
        if (pub_protocols[i].protocol == protocol) {
            return pub_protocols[i].name;
        }
    }

    return NULL;
}


static Gitpod__V1__WorkspacePort *pub_port(gp_arena_t *arena, const Gitpod__Internal__V1__ManagedPort *port)
{
    Gitpod__V1__WorkspacePort *out = NEW(arena, WorkspacePort, workspace_port);
    size_t i;

    out->port = port->port;
    out->admission =
        port->visible ? GITPOD__V1__ADMISSION_LEVEL__ADMISSION_LEVEL_EVERYONE : GITPOD__V1__ADMISSION_LEVEL__ADMISSION_LEVEL_OWNER_ONLY;
    for (i = 0; i < sizeof(pub_protocols) / sizeof(pub_protocols[0]); i++) {
        if (strcmp(pub_protocols[i].name, port->protocol) == 0) {
            out->protocol = pub_protocols[i].protocol;
        }
    }
    out->url = port->url;

    return out;
}


static Gitpod__V1__WorkspaceSpec *pub_spec(gp_arena_t *arena, const pub_managed_t *managed)
{
    Gitpod__V1__WorkspaceSpec *spec = NEW(arena, WorkspaceSpec, workspace_spec);
    size_t i;

    spec->initializer = pub_initializer(arena, managed->git);
    spec->type = GITPOD__V1__WORKSPACE_SPEC__WORKSPACE_TYPE__WORKSPACE_TYPE_REGULAR;
    spec->admission = GITPOD__V1__ADMISSION_LEVEL__ADMISSION_LEVEL_OWNER_ONLY;
    spec->class_ = managed->class_id;
    spec->n_ports = managed->n_ports;
    spec->ports = gp_arena_alloc(arena, (managed->n_ports + 1) * sizeof(*spec->ports));
    for (i = 0; i < managed->n_ports; i++) {
        spec->ports[i] = pub_port(arena, managed->ports[i]);
    }
    spec->editor = NEW(arena, EditorReference, editor_reference);
    if (managed->instance != NULL) {
        spec->editor->name = managed->instance->editor;
        spec->last_user_activity = managed->instance->last_activity;
    }

    return spec;
}


Gitpod__V1__Workspace *pub_workspace(gp_arena_t *arena, const pub_managed_t *managed)
{
    Gitpod__V1__Workspace *workspace = NEW(arena, Workspace, workspace);

    workspace->id = managed->id;
    workspace->metadata = pub_metadata(arena, managed);
    workspace->spec = pub_spec(arena, managed);
    workspace->status = gp_workspace_status(arena, managed);

    return workspace;
}

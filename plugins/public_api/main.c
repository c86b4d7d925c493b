/* The public_api service: the table of its methods. */
#include <stdlib.h>

#include "base/die.h"
#include "public_api.h"

static const gp_option_t pub_options[] = {
    {"allow-file-urls", GP_OPT_BOOL, offsetof(pub_conf_t, allow_file_urls), "", "off", 0, 0,
     "whether workspaces can be made from file:// repositories of this machine, with the rights of the content service"},
};

/* clang-format off */
#define PUB_WORKSPACE(name, fn) {&gitpod__v1__workspace_service__descriptor, name, fn, NULL}
#define PUB_USER(name, fn) {&gitpod__v1__user_service__descriptor, name, fn, NULL}
#define PUB_GIT_TOKEN(name, fn) {&gitpod__extension__v1__git_token_service__descriptor, name, fn, NULL}

static const gp_method_t pub_methods[] = {
    PUB_WORKSPACE("GetWorkspace", pub_get_workspace),
    {&gitpod__v1__workspace_service__descriptor, "WatchWorkspaceStatus", NULL, pub_watch_status},
    PUB_WORKSPACE("ListWorkspaces", pub_list_workspaces),
    PUB_WORKSPACE("ListWorkspaceSessions", pub_unimplemented),
    PUB_WORKSPACE("CreateAndStartWorkspace", pub_create_workspace),
    PUB_WORKSPACE("StartWorkspace", pub_start_workspace),
    PUB_WORKSPACE("UpdateWorkspace", pub_update_workspace),
    PUB_WORKSPACE("StopWorkspace", pub_stop_workspace),
    PUB_WORKSPACE("DeleteWorkspace", pub_delete_workspace),
    PUB_WORKSPACE("ListWorkspaceClasses", pub_list_classes),
    PUB_WORKSPACE("ParseContextURL", pub_parse_context_url),
    PUB_WORKSPACE("GetWorkspaceDefaultImage", pub_unimplemented),
    PUB_WORKSPACE("SendHeartBeat", pub_send_heartbeat),
    PUB_WORKSPACE("GetWorkspaceOwnerToken", pub_get_owner_token),
    PUB_WORKSPACE("GetWorkspaceEditorCredentials", pub_unimplemented),
    PUB_WORKSPACE("CreateWorkspaceSnapshot", pub_unimplemented),
    PUB_WORKSPACE("WaitForWorkspaceSnapshot", pub_unimplemented),
    PUB_WORKSPACE("UpdateWorkspacePort", pub_update_workspace_port),
    PUB_USER("GetAuthenticatedUser", pub_get_authenticated_user),
    PUB_USER("UpdateUser", pub_unimplemented),
    PUB_USER("SetWorkspaceAutoStartOptions", pub_unimplemented),
    PUB_USER("DeleteUser", pub_unimplemented),
    PUB_USER("VerifyUser", pub_unimplemented),
    PUB_USER("BlockUser", pub_unimplemented),
    PUB_USER("ListUsers", pub_unimplemented),
    PUB_USER("GetUser", pub_unimplemented),
    PUB_USER("SetRolesOrPermissions", pub_unimplemented),
    PUB_GIT_TOKEN("SetGitToken", pub_set_git_token),
    PUB_GIT_TOKEN("ListGitTokens", pub_list_git_tokens),
    PUB_GIT_TOKEN("DeleteGitToken", pub_delete_git_token),
};
/* clang-format on */


static int pub_start(gp_service_t *service, const void *conf, void **ret_data, gp_err_t *err)
{
    pub_t *pub = calloc(1, sizeof(*pub));
    int rc;

    gp_assert(pub != NULL);
    pub->service = service;
    pub->conf = conf;
    rc = pub_watch_open(pub, &pub->watch, err);
    if (rc < 0) {
        free(pub);
        return rc;
    }
    *ret_data = pub;

    return 0;
}


static void pub_stop(void *data)
{
    pub_t *pub = data;

    pub->watch = pub_watch_close(pub->watch);
    free(pub);
}


static const gp_service_def_t pub_service = {
    .name = "public_api",
    .text = "the public API, gitpod.v1",
    .options = pub_options,
    .n_options = sizeof(pub_options) / sizeof(pub_options[0]),
    .conf_size = sizeof(pub_conf_t),
    .methods = pub_methods,
    .n_methods = sizeof(pub_methods) / sizeof(pub_methods[0]),
    .start = pub_start,
    .stop = pub_stop,
};


int main(int argc, char **argv)
{
    return gp_service_main(&pub_service, argc, argv);
}

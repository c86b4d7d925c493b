#include "rpc/message.h"
#include "rpc/workspace_status.h"

/* Fields that gitpod.v1 calls deprecated are there for clients that still use them. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#define NEW(arena, type, fn) GP_MESSAGE_NEW((arena), Gitpod__V1__##type, gitpod__v1__##fn##__init)


static Gitpod__V1__WorkspaceProgress *status_progress(gp_arena_t *arena, const Gitpod__Internal__V1__WorkspaceInstance *instance)
{
    Gitpod__V1__WorkspaceProgress *progress = NEW(arena, WorkspaceProgress, workspace_progress);

    progress->step = instance->step;
    progress->detail = instance->step_detail;
    progress->percent = instance->step_percent;
    progress->since = instance->phase_time;

    return progress;
}


static Gitpod__V1__WorkspaceGitStatus *status_git(gp_arena_t *arena, const Gitpod__Internal__V1__ManagedWorkspace *managed)
{
    Gitpod__V1__WorkspaceGitStatus *git = NEW(arena, WorkspaceGitStatus, workspace_git_status);

    if (managed->git != NULL) {
        git->clone_url = managed->git->remote_uri;
    }
    git->branch = managed->branch;
    git->latest_commit = managed->commit;

    return git;
}


Gitpod__V1__WorkspaceStatus *gp_workspace_status(gp_arena_t *arena, const Gitpod__Internal__V1__ManagedWorkspace *managed)
{
    Gitpod__V1__WorkspaceStatus *status = NEW(arena, WorkspaceStatus, workspace_status);
    const Gitpod__Internal__V1__WorkspaceInstance *instance = managed->instance;

    status->phase = NEW(arena, WorkspacePhase, workspace_phase);
    status->conditions = NEW(arena, WorkspaceStatus__WorkspaceConditions, workspace_status__workspace_conditions);
    status->git_status = status_git(arena, managed);
    status->workspace_url = managed->url;
    status->phase->name = GITPOD__V1__WORKSPACE_PHASE__PHASE__PHASE_PREPARING; /* without an instance: it was made this moment */
    if (instance == NULL) {
        return status;
    }

    status->status_version = instance->version;
    status->instance_id = instance->id;
    status->phase->name = (Gitpod__V1__WorkspacePhase__Phase) instance->phase; /* the same numbers */
    status->phase->last_transition_time = instance->phase_time;
    status->conditions->failed = instance->failed;
    status->conditions->failed_reason = (Gitpod__V1__WorkspaceStatus__WorkspaceConditions__FailedReason) instance->failed_reason;
    status->conditions->timeout = instance->timeout;
    if (instance->step[0] != '\0') {
        status->progress = status_progress(arena, instance);
    }

    return status;
}

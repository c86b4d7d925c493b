#pragma once

#include "base/arena.h"
#include "gitpod/internal/v1/ws_manager.pb-c.h"
#include "gitpod/v1/workspace.pb-c.h"

/*
 * A workspace as ws_manager knows it, to the status that people see: in answers
 * and streams of public_api, and in events. Texts stay where they are.
 */
Gitpod__V1__WorkspaceStatus *gp_workspace_status(gp_arena_t *arena, const Gitpod__Internal__V1__ManagedWorkspace *managed);

#include <string.h>

#include <gitpod/internal/v1/content.pb-c.h>

#include "base/log.h"
#include "content.h"
#include "core/id.h"
#include "job.h"
#include "trash.h"

#define CNT_DELETE_WAIT_MS 15000 /* for a clone that was told to end */


int cnt_delete(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const char *id = ((const Gitpod__Internal__V1__DeleteWorkspaceContentRequest *) req)->workspace_id;
    const cnt_t *content = call->data;
    cnt_job_t *job = NULL;
    int rc;

    if (!gp_id_workspace_valid(id, strlen(id))) {
        return gp_err(err, GP_INVALID_ARGUMENT, "workspace_id: '%.60s' is not a workspace id", id);
    }
    rc = cnt_job_begin(id, true, CNT_DELETE_WAIT_MS, &job, err);
    if (rc < 0) {
        return rc;
    }
    rc = cnt_trash_put(content->root, id, err);
    cnt_job_end(job);
    cnt_trash_wake();
    gp_log(GP_LOG_INFO, "content is deleted", "workspace", id, NULL);

    return rc;
}

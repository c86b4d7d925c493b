#include <stdlib.h>
#include <string.h>

#include "rpc/message.h"
#include "tap.h"
#include "wsm.h"

/* A workspace as callers and watchers get it: whatever its texts hold, it can be sent. */

static wsm_run_t run;

wsm_run_t *wsm_run_get(wsm_t *m, const char *id)
{
    (void) m;
    (void) id;
    return &run;
}

bool wsm_is_starting(int phase)
{
    return phase == WSM_PHASE_PREPARING;
}

int main(void)
{
    gp_arena_t *arena = gp_arena_new(1u << 20);
    char scheme[] = "http";
    wsm_conf_t conf = {.service = {.external_scheme = scheme}};
    wsm_t m = {.conf = &conf};
    gp_err_t err = GP_ERR_INIT;
    void *data = NULL;
    size_t len = 0;
    wsm_workspace_t ws = {.id = "a-b-c",
                          .owner = "",
                          .name = "",
                          .context_url = "",
                          .git_uri = "",
                          .git_target = "",
                          .git_location = "",
                          .class_id = "",
                          .editor = "",
                          .editor_version = "",
                          .warnings = "[]",
                          .commit = "",
                          .branch = "",
                          .ports = "{}",
                          .instance = "i",
                          .container = "",
                          .address = "",
                          .instance_editor = "",
                          .timeout = "",
                          .phase = WSM_PHASE_PREPARING};

    (void) pthread_mutex_init(&m.runs_lock, NULL);
    ws.failed = "Its last words: \xa9t\xc3\xa9 \xff"; /* a log cut in the middle of a letter */
    run.detail[0] = (char) 0xc3; /* a detail cut to its room */
    is_int(gp_message_to_binary(&wsm_message(&m, &ws, arena)->base, arena, &data, &len, &err), 0,
           "texts that are not UTF-8 do not keep a workspace from being told");
    ok(strstr(wsm_message(&m, &ws, arena)->instance->failed, "t\xc3\xa9") != NULL, "and what is legible of them stays");
    (void) gp_arena_free(arena);
    return tap_done();
}

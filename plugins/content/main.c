/* The content service: puts a workspace's files in place, keeps them, removes them. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gitpod/internal/v1/content.pb-c.h>

#include "base/cleanup.h"
#include "content.h"
#include "credential.h"
#include "job.h"
#include "place.h"
#include "trash.h"

static const gp_option_t cnt_options[] = {
    {"allow-file-urls", GP_OPT_BOOL, offsetof(cnt_conf_t, allow_file_urls), "", "off", 0, 0,
     "allow repositories of this machine (file://) to everybody who may start a workspace"},
    {"clones", GP_OPT_INT, offsetof(cnt_conf_t, clones), "", "8", 1, 64, "clones at a time; others wait"},
    {"clone-timeout", GP_OPT_SECONDS, offsetof(cnt_conf_t, clone_timeout), "s", "3600", 1, 86400, "longest time a clone may take"},
    {"answer-timeout", GP_OPT_SECONDS, offsetof(cnt_conf_t, answer_timeout), "s", "30", 1, 3600,
     "a Git server that has not answered by then is given up"},
    {"quiet-timeout", GP_OPT_SECONDS, offsetof(cnt_conf_t, quiet_timeout), "s", "100", 1, 3600,
     "a Git server that falls silent for so long is given up"},
};


static int cnt_check_root(void *data, gp_err_t *err)
{
    const cnt_t *content = data;

    if (faccessat(content->root, CNT_TRASH_DIR, F_OK, 0) < 0) {
        return gp_err(err, GP_UNAVAILABLE, "%s is not as it was at start: is the disk still mounted?", content->root_path);
    }

    return 0;
}


static int cnt_paths(cnt_t *content, gp_err_t *err)
{
    gp_auto_free char *path = NULL;

    if (asprintf(&path, "%s/content", content->conf->service.state_dir) < 0) {
        path = NULL;
    }
    content->root_path = path ? realpath(path, NULL) : NULL;
    content->helper = realpath("/proc/self/exe", NULL);
    if (!content->root_path || !content->helper) {
        return gp_err(err, GP_INTERNAL, "finding the absolute path of %s/content", content->conf->service.state_dir);
    }

    return 0;
}


static int cnt_start(gp_service_t *service, const void *conf, void **ret_data, gp_err_t *err)
{
    static cnt_t content;
    int rc;

    content.conf = conf;
    content.service = service;
    rc = cnt_place_root(content.conf->service.state_dir, &content.root, err);
    if (rc == 0) {
        rc = cnt_paths(&content, err);
    }
    if (rc == 0) {
        rc = cnt_trash_start(content.root, err);
    }
    if (rc < 0) {
        return rc;
    }
    cnt_slot_init((unsigned) content.conf->clones);
    content.clones_ok = gp_metric_counter(service, "gitpod_content_clones_total", "result=\"ok\"", "Clones that ended, by result.");
    content.clones_failed = gp_metric_counter(service, "gitpod_content_clones_total", "result=\"failed\"", "Clones that ended, by result.");
    content.clones_running = gp_metric_gauge(service, "gitpod_content_clones_running", "", "Clones that run now.");
    *ret_data = &content;

    return 0;
}


static void cnt_stop(void *data)
{
    (void) data;
    cnt_trash_stop();
}


static const gp_method_t cnt_methods[] = {
    {&gitpod__internal__v1__content_service__descriptor, "InitializeWorkspace", NULL, cnt_initialize},
    {&gitpod__internal__v1__content_service__descriptor, "GetGitStatus", cnt_git_status, NULL},
    {&gitpod__internal__v1__content_service__descriptor, "DeleteWorkspace", cnt_delete, NULL},
};

static const gp_check_t cnt_checks[] = {
    {"disk", cnt_check_root},
};

static const gp_service_def_t cnt_service = {
    .name = "content",
    .text = "puts the files of workspaces in place, keeps them, removes them",
    .options = cnt_options,
    .n_options = sizeof(cnt_options) / sizeof(cnt_options[0]),
    .conf_size = sizeof(cnt_conf_t),
    .methods = cnt_methods,
    .n_methods = sizeof(cnt_methods) / sizeof(cnt_methods[0]),
    .checks = cnt_checks,
    .n_checks = sizeof(cnt_checks) / sizeof(cnt_checks[0]),
    .start = cnt_start,
    .stop = cnt_stop,
};


int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--credential-helper") == 0) {
        return cnt_credential_main(argc, argv);
    }

    return gp_service_main(&cnt_service, argc, argv);
}

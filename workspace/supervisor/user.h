#pragma once

#include <sys/types.h>

#include "base/err.h"

#define SUP_USER_NAME "gitpod"
#define SUP_USER_GROUPS_MAX 32 /* supplementary groups we honour */
#define SUP_USER_PATH_MAX 256 /* bytes of home and shell */

/* The workspace user: gitpod, 33333. Parsed from the image's files, because getpwnam() needs shared libraries of the image. */
typedef struct {
    uid_t uid;
    gid_t gid;
    char home[SUP_USER_PATH_MAX];
    char shell[SUP_USER_PATH_MAX];
    gid_t groups[SUP_USER_GROUPS_MAX];
    size_t n_groups;
} sup_user_t;

/*
 * Finds the user, or adds user, group, home and sudo rule when the image has none.
 * Errors: FAILED_PRECONDITION when the name or the id is taken by somebody else.
 */
int sup_user_ensure(gp_err_t *err) __attribute__((warn_unused_result));
const sup_user_t *sup_user(void);

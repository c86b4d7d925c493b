#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core/contract.h"
#include "user.h"

#define SUP_LINE_MAX 4096 /* bytes of a line of passwd or group that we look at */
#define SUP_FIELDS_MAX 7

static sup_user_t sup_user_v = {.uid = GP_WORKSPACE_UID, .gid = GP_WORKSPACE_UID, .home = "/home/" SUP_USER_NAME, .shell = "/bin/sh"};


const sup_user_t *sup_user(void)
{
    return &sup_user_v;
}


/* Cuts at ':' in place; absent fields are "". */
static void sup_user_split(char *line, char *fields[SUP_FIELDS_MAX])
{
    char *end = line + strcspn(line, "\n");
    int i;

    *end = '\0';
    for (i = 0; i < SUP_FIELDS_MAX; i++) {
        fields[i] = line;
        line += strcspn(line, ":");
        if (*line) {
            *line++ = '\0';
        }
    }
}


static long sup_user_number(const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);

    return *text && !*end && n >= 0 ? n : -1;
}


/* 1 found, 0 absent, or a fault. */
static int sup_user_find(gp_err_t *err)
{
    gp_auto_file FILE *file = fopen("/etc/passwd", "re");
    char line[SUP_LINE_MAX], *f[SUP_FIELDS_MAX];
    int name, id;

    while (file && fgets(line, sizeof(line), file)) {
        sup_user_split(line, f);
        name = strcmp(f[0], SUP_USER_NAME) == 0;
        id = sup_user_number(f[2]) == GP_WORKSPACE_UID;
        if (!name && !id) {
            continue;
        }
        if (name != id) {
            return gp_err(err, GP_FAILED_PRECONDITION,
                          "the image's /etc/passwd has user '%s' with uid %s; the workspace user is '%s' with uid %d: give it another %s",
                          f[0], f[2], SUP_USER_NAME, GP_WORKSPACE_UID, name ? "name" : "uid");
        }
        sup_user_v.gid = (gid_t) (sup_user_number(f[3]) < 0 ? GP_WORKSPACE_UID : sup_user_number(f[3]));
        (void) snprintf(sup_user_v.home, sizeof(sup_user_v.home), "%s", *f[5] ? f[5] : "/");
        (void) snprintf(sup_user_v.shell, sizeof(sup_user_v.shell), "%s", *f[6] ? f[6] : "/bin/sh");
        return 1;
    }

    return 0;
}


static int sup_user_listed(const char *members)
{
    size_t n, want = strlen(SUP_USER_NAME);

    while (*members) {
        n = strcspn(members, ",");
        if (n == want && memcmp(members, SUP_USER_NAME, n) == 0) {
            return 1;
        }
        members += n + (members[n] == ',');
    }

    return 0;
}


/* Reads supplementary groups. 1: group gitpod exists with its number, 0: absent. */
static int sup_user_groups(gp_err_t *err)
{
    gp_auto_file FILE *file = fopen("/etc/group", "re");
    char line[SUP_LINE_MAX], *f[SUP_FIELDS_MAX];
    int name, id, found = 0;

    sup_user_v.n_groups = 0;
    while (file && fgets(line, sizeof(line), file)) {
        sup_user_split(line, f);
        name = strcmp(f[0], SUP_USER_NAME) == 0;
        id = sup_user_number(f[2]) == GP_WORKSPACE_UID;
        if (name != id) {
            return gp_err(err, GP_FAILED_PRECONDITION,
                          "the image's /etc/group has group '%s' with id %s; the workspace group is '%s' with id %d: give it another %s",
                          f[0], f[2], SUP_USER_NAME, GP_WORKSPACE_UID, name ? "name" : "id");
        }
        found |= name;
        if (sup_user_listed(f[3]) && sup_user_number(f[2]) >= 0 && sup_user_v.n_groups < SUP_USER_GROUPS_MAX) {
            sup_user_v.groups[sup_user_v.n_groups++] = (gid_t) sup_user_number(f[2]);
        }
    }

    return found;
}


static int sup_user_append(const char *path, const char *text, int flags, mode_t mode, gp_err_t *err)
{
    gp_auto_fd int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | flags, mode);

    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t) strlen(text)) {
        return gp_err_errno(err, errno, "adding the user '%s' to %s of the image", SUP_USER_NAME, path);
    }

    return 0;
}


static int sup_user_add(int have_group, gp_err_t *err)
{
    char line[SUP_LINE_MAX];
    int rc = 0;

    (void) snprintf(sup_user_v.shell, sizeof(sup_user_v.shell), "%s", access("/bin/bash", X_OK) == 0 ? "/bin/bash" : "/bin/sh");
    if (!have_group) {
        (void) snprintf(line, sizeof(line), SUP_USER_NAME ":x:%d:\n", GP_WORKSPACE_UID);
        rc = sup_user_append("/etc/group", line, O_CREAT, 0644, err);
    }
    (void) snprintf(line, sizeof(line), SUP_USER_NAME ":x:%d:%d::%s:%s\n", GP_WORKSPACE_UID, GP_WORKSPACE_UID, sup_user_v.home,
                    sup_user_v.shell);
    if (rc == 0) {
        rc = sup_user_append("/etc/passwd", line, O_CREAT, 0644, err);
    }
    if (rc == 0 && access("/etc/sudoers.d", F_OK) == 0 && access("/etc/sudoers.d/" SUP_USER_NAME, F_OK) < 0) {
        rc = sup_user_append("/etc/sudoers.d/" SUP_USER_NAME, SUP_USER_NAME " ALL=(ALL) NOPASSWD:ALL\n", O_CREAT | O_EXCL, 0440, err);
    }

    return rc;
}


static int sup_user_home(gp_err_t *err)
{
    struct stat st;

    if (mkdir("/home", 0755) < 0 && errno != EEXIST) {
        return gp_err_errno(err, errno, "making /home");
    }
    if (mkdir(sup_user_v.home, 0755) < 0) {
        if (errno == EEXIST && stat(sup_user_v.home, &st) == 0 && S_ISDIR(st.st_mode)) {
            return st.st_uid == sup_user_v.uid
                       ? 0
                       : gp_err(err, GP_FAILED_PRECONDITION, "the image's %s belongs to uid %u, not to '%s': change its owner to %d",
                                sup_user_v.home, (unsigned) st.st_uid, SUP_USER_NAME, GP_WORKSPACE_UID);
        }
        return gp_err_errno(err, errno, "making the home directory %s", sup_user_v.home);
    }
    if (chown(sup_user_v.home, sup_user_v.uid, sup_user_v.gid) < 0) {
        return gp_err_errno(err, errno, "giving %s to '%s'", sup_user_v.home, SUP_USER_NAME);
    }

    return 0;
}


int sup_user_ensure(gp_err_t *err)
{
    int found, group;

    found = sup_user_find(err);
    if (found < 0) {
        return found;
    }
    group = sup_user_groups(err);
    if (group < 0) {
        return group;
    }
    if (!found && sup_user_add(group, err) < 0) {
        return -err->code;
    }

    return sup_user_home(err);
}

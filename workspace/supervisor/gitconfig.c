#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "gitconfig.h"

#define SUP_GITCONFIG "/etc/gitconfig"
#define SUP_GITCONFIG_MARK "# Defaults of the workspace; ~/.gitconfig wins.\n"
#define SUP_GITCONFIG_MAX 65536 /* bytes of the image's file that we look through for our mark */


/* A quoted value: '"' and '\' escaped, control characters dropped. */
static int sup_gitconfig_value(gp_buf_t *buf, const char *key, const char *value)
{
    int rc = gp_buf_printf(buf, "\t%s = \"", key);

    for (; rc == 0 && *value; value++) {
        if ((unsigned char) *value < ' ' || *value == 0x7f) {
            continue;
        }
        if (*value == '"' || *value == '\\') {
            rc = gp_buf_append(buf, "\\", 1);
        }
        if (rc == 0) {
            rc = gp_buf_append(buf, value, 1);
        }
    }

    return rc < 0 ? rc : gp_buf_printf(buf, "\"\n");
}


int sup_gitconfig_format(const char *name, const char *email, gp_buf_t *buf)
{
    int rc;

    rc = gp_buf_printf(buf, SUP_GITCONFIG_MARK "[push]\n\tdefault = simple\n[safe]\n\tdirectory = *\n");
    if (rc == 0 && ((name && *name) || (email && *email))) {
        rc = gp_buf_printf(buf, "[user]\n");
    }
    if (rc == 0 && name && *name) {
        rc = sup_gitconfig_value(buf, "name", name);
    }
    if (rc == 0 && email && *email) {
        rc = sup_gitconfig_value(buf, "email", email);
    }

    return rc;
}


int sup_gitconfig_write(gp_err_t *err)
{
    gp_auto_buf gp_buf_t buf, old;
    gp_auto_fd int fd = -1;
    char *room;
    ssize_t n;

    gp_buf_init(&buf, SUP_GITCONFIG_MAX);
    gp_buf_init(&old, SUP_GITCONFIG_MAX + 1);
    fd = open(SUP_GITCONFIG, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) {
        return gp_err_errno(err, errno, "writing " SUP_GITCONFIG);
    }
    if (gp_buf_reserve(&old, SUP_GITCONFIG_MAX, &room) < 0 ||
        sup_gitconfig_format(getenv("GITPOD_GIT_USER_NAME"), getenv("GITPOD_GIT_USER_EMAIL"), &buf) < 0) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "writing " SUP_GITCONFIG ": out of memory");
    }
    n = read(fd, room, SUP_GITCONFIG_MAX - 1);
    if (n > 0 && memmem(room, (size_t) n, SUP_GITCONFIG_MARK, strlen(SUP_GITCONFIG_MARK))) {
        return 0; /* this container was started before */
    }
    if (n > 0 && room[n - 1] != '\n' && write(fd, "\n", 1) != 1) {
        return gp_err_errno(err, errno, "writing " SUP_GITCONFIG);
    }
    if (write(fd, buf.data, buf.len) != (ssize_t) buf.len) {
        return gp_err_errno(err, errno, "writing " SUP_GITCONFIG);
    }

    return 0;
}

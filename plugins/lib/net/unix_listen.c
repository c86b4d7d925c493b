#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/unix_listen.h"

#define GP_LISTEN_FDS_START 3 /* sd_listen_fds(3) */
#define GP_LISTEN_BACKLOG SOMAXCONN /* a full backlog is a 502 for nginx */


static int gp_unix_address(const char *path, struct sockaddr_un *ret_address, gp_err_t *err)
{
    size_t len;

    len = strlen(path);
    memset(ret_address, 0, sizeof(*ret_address));
    ret_address->sun_family = AF_UNIX;

    if (len >= sizeof(ret_address->sun_path)) {
        return gp_err(err, GP_INVALID_ARGUMENT, "socket path %s is %zu bytes long, a unix socket takes %zu: choose a shorter run directory",
                      path, len, sizeof(ret_address->sun_path) - 1);
    }
    memcpy(ret_address->sun_path, path, len);

    return 0;
}


int gp_unix_connect(const char *path, int *ret_fd, gp_err_t *err)
{
    gp_auto_fd int fd = -1;
    struct sockaddr_un address;
    int rc;

    rc = gp_unix_address(path, &address, err);
    if (rc != 0) {
        return rc;
    }

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return gp_err_errno(err, errno, "socket");
    }

    if (connect(fd, (struct sockaddr *) &address, sizeof(address)) != 0) {
        return gp_err_errno(err, errno, "connect to %s", path);
    }

    *ret_fd = gp_steal_fd(&fd);

    return 0;
}


/* Whether the way is free: nothing there, or a socket file that was left behind and is now removed. */
static int gp_unix_remove_stale(const char *path, gp_err_t *err)
{
    gp_auto_fd int fd = -1;
    struct stat st;

    if (lstat(path, &st) != 0) {
        return errno == ENOENT ? 0 : gp_err_errno(err, errno, "socket %s", path);
    }

    if (!S_ISSOCK(st.st_mode)) {
        return gp_err(err, GP_ALREADY_EXISTS, "%s exists and is no socket: remove it or choose another --listen", path);
    }

    if (gp_unix_connect(path, &fd, NULL) == 0) {
        return gp_err(err, GP_ALREADY_EXISTS, "another process serves %s: stop it first", path);
    }

    if (unlink(path) != 0 && errno != ENOENT) {
        return gp_err_errno(err, errno, "remove the old socket %s", path);
    }

    return 0;
}


int gp_unix_listen(const char *path, int *ret_fd, gp_err_t *err)
{
    gp_auto_fd int fd = -1;
    struct sockaddr_un address;
    mode_t mask;
    int rc;

    rc = gp_unix_address(path, &address, err);
    if (rc == 0) {
        rc = gp_unix_remove_stale(path, err);
    }
    if (rc != 0) {
        return rc;
    }

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return gp_err_errno(err, errno, "socket");
    }

    /* bind() takes the mode from the umask; a chmod() after it would leave a moment with another one */
    mask = umask(0117);
    rc = bind(fd, (struct sockaddr *) &address, sizeof(address));
    (void) umask(mask);
    if (rc != 0) {
        return gp_err_errno(err, errno, "bind %s", path);
    }

    if (listen(fd, GP_LISTEN_BACKLOG) != 0) {
        return gp_err_errno(err, errno, "listen on %s", path);
    }

    *ret_fd = gp_steal_fd(&fd);

    return 0;
}


int gp_unix_listen_inherited(void)
{
    const char *pid, *fds;
    char own[24];
    int flags;

    pid = getenv("LISTEN_PID");
    fds = getenv("LISTEN_FDS");
    if (pid == NULL || fds == NULL) {
        return -1;
    }

    (void) snprintf(own, sizeof(own), "%ld", (long) getpid());
    if (strcmp(pid, own) != 0 || strcmp(fds, "1") != 0) {
        return -1;
    }

    flags = fcntl(GP_LISTEN_FDS_START, F_GETFD);
    if (flags < 0 || fcntl(GP_LISTEN_FDS_START, F_SETFD, flags | FD_CLOEXEC) != 0) {
        return -1;
    }

    return GP_LISTEN_FDS_START;
}

#pragma once

#include "base/err.h"

/*
 * gp_unix_listen() - a listening unix socket at path
 *
 * Mode 0660; the group is the directory's when that is setgid. A socket file
 * nobody answers on is replaced; one somebody answers on is not.
 *
 * Errors: ALREADY_EXISTS another process serves it, INVALID_ARGUMENT path too
 * long, NOT_FOUND no such directory, PERMISSION_DENIED.
 */
int gp_unix_listen(const char *path, int *ret_fd, gp_err_t *err) __attribute__((warn_unused_result));

/* The one socket passed by systemd (LISTEN_PID, LISTEN_FDS), made close-on-exec; -1 when there is none. */
int gp_unix_listen_inherited(void);

/* A connected socket. Errors as connect(2)'s. */
int gp_unix_connect(const char *path, int *ret_fd, gp_err_t *err) __attribute__((warn_unused_result));

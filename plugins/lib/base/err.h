#pragma once

#include "core/code.h"

/*
 * An error is a plain struct in the caller's frame: no allocation on the error
 * path, text written once where the facts are: it names the thing, the cause
 * and the way out.
 */
#define GP_ERR_TEXT_MAX 512

typedef struct {
    int code; /* enum gp_code, positive */
    int errnum; /* errno, 0 when none */
    char text[GP_ERR_TEXT_MAX];
} gp_err_t;

#define GP_ERR_INIT                                                                                                                        \
    {                                                                                                                                      \
        0, 0, ""                                                                                                                           \
    }

/* Writes the error and returns -code, so that `return gp_err(err, GP_NOT_FOUND, "...", ...)` reads well. err may be NULL. */
int gp_err(gp_err_t *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As gp_err() with errno's text appended: "...: No space left on device". ENOSPC, EDQUOT, ENOMEM, EMFILE and ENFILE become
 * GP_RESOURCE_EXHAUSTED, ENOENT NOT_FOUND, EACCES and EPERM PERMISSION_DENIED, ETIMEDOUT DEADLINE_EXCEEDED, ECONNREFUSED, ECONNRESET
 * and EPIPE UNAVAILABLE, all else INTERNAL. */
int gp_err_errno(gp_err_t *err, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the text; returns -err->code. */
int gp_err_prefix(gp_err_t *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

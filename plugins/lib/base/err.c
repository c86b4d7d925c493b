#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"


static int gp_err_valid(int code)
{
    return code >= GP_CANCELED && code <= GP_UNAUTHENTICATED ? code : GP_UNKNOWN;
}


int gp_err(gp_err_t *err, int code, const char *fmt, ...)
{
    va_list ap;
    char text[GP_ERR_TEXT_MAX];

    code = gp_err_valid(code);
    if (err == NULL) {
        return -code;
    }

    /* through a copy: the arguments may point into err->text */
    va_start(ap, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);

    err->code = code;
    err->errnum = 0;
    memcpy(err->text, text, sizeof(text));

    return -code;
}


int gp_err_errno(gp_err_t *err, int errnum, const char *fmt, ...)
{
    va_list ap;
    char text[GP_ERR_TEXT_MAX], reason[128];
    int code, n;

    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        code = GP_RESOURCE_EXHAUSTED;
        break;
    case ENOENT:
        code = GP_NOT_FOUND;
        break;
    case EACCES:
    case EPERM:
        code = GP_PERMISSION_DENIED;
        break;
    case ETIMEDOUT:
        code = GP_DEADLINE_EXCEEDED;
        break;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
        code = GP_UNAVAILABLE;
        break;
    default:
        code = GP_INTERNAL;
    }

    if (err == NULL) {
        return -code;
    }

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);

    if (n < 0) {
        n = 0;
    }
    if ((size_t) n < sizeof(text)) {
        (void) snprintf(text + n, sizeof(text) - (size_t) n, ": %s", strerror_r(errnum, reason, sizeof(reason)));
    }

    err->code = code;
    err->errnum = errnum;
    memcpy(err->text, text, sizeof(text));

    return -code;
}


int gp_err_prefix(gp_err_t *err, const char *fmt, ...)
{
    va_list ap;
    char text[GP_ERR_TEXT_MAX];
    size_t have, room;
    int n;

    if (err == NULL) {
        return -GP_UNKNOWN;
    }

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof(text) - 2, fmt, ap);
    va_end(ap);

    have = n < 0 ? 0 : strlen(text);
    memcpy(text + have, ": ", 3);
    have += 2;

    /* what does not fit is cut at the end */
    room = sizeof(text) - 1 - have;
    n = (int) strnlen(err->text, room);
    memcpy(text + have, err->text, (size_t) n);
    text[have + (size_t) n] = '\0';
    memcpy(err->text, text, sizeof(text));

    return -gp_err_valid(err->code);
}

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/die.h"
#include "core/code.h"

#define GP_BUF_FIRST 256 /* bytes of the first allocation */


void gp_buf_init(gp_buf_t *buf, size_t limit_bytes)
{
    *buf = (gp_buf_t){.limit = limit_bytes};
}


void gp_buf_done(gp_buf_t *buf)
{
    free(buf->data);
    *buf = (gp_buf_t){.limit = buf->limit};
}


void gp_buf_clear(gp_buf_t *buf)
{
    buf->len = 0;
}


int gp_buf_reserve(gp_buf_t *buf, size_t len, char **ret_room)
{
    size_t need, size;
    char *data;

    if (__builtin_add_overflow(buf->len, len, &need) || need > buf->limit) {
        return -GP_RESOURCE_EXHAUSTED;
    }

    if (need + 1 > buf->size) {
        size = buf->size ? buf->size : GP_BUF_FIRST;
        while (size < need + 1) {
            size *= 2;
        }

        data = realloc(buf->data, size);
        if (data == NULL) {
            return -GP_RESOURCE_EXHAUSTED;
        }
        buf->data = data;
        buf->size = size;
    }

    *ret_room = buf->data + buf->len;

    return 0;
}


void gp_buf_commit(gp_buf_t *buf, size_t len)
{
    gp_assert(buf->len + len < buf->size);
    buf->len += len;
    buf->data[buf->len] = '\0';
}


int gp_buf_append(gp_buf_t *buf, const void *data, size_t len)
{
    char *room;
    int rc;

    rc = gp_buf_reserve(buf, len, &room);
    if (rc != 0) {
        return rc;
    }

    if (len > 0) {
        memcpy(room, data, len);
    }
    gp_buf_commit(buf, len);

    return 0;
}


int gp_buf_printf(gp_buf_t *buf, const char *fmt, ...)
{
    va_list ap, copy;
    char *room;
    int n, rc;

    va_start(ap, fmt);
    va_copy(copy, ap);
    n = vsnprintf(NULL, 0, fmt, copy);
    va_end(copy);

    rc = n < 0 ? -GP_INTERNAL : gp_buf_reserve(buf, (size_t) n, &room);
    if (rc == 0) {
        (void) vsnprintf(room, (size_t) n + 1, fmt, ap); /* measured above */
        gp_buf_commit(buf, (size_t) n);
    }
    va_end(ap);

    return rc;
}


void gp_buf_consume(gp_buf_t *buf, size_t len)
{
    gp_assert(len <= buf->len);
    buf->len -= len;
    if (buf->len > 0 && len > 0) {
        memmove(buf->data, buf->data + len, buf->len);
    }
}

#pragma once

#include <stdarg.h>
#include <stddef.h>

/*
 * Growable bytes with a ceiling. Memory is the heap's; out of memory and over
 * the ceiling are both -GP_RESOURCE_EXHAUSTED and leave the content as it was.
 * There is always a NUL after the last byte once something was appended.
 */
typedef struct {
    char *data;
    size_t len;
    size_t size;
    size_t limit;
} gp_buf_t;

void gp_buf_init(gp_buf_t *buf, size_t limit_bytes);
void gp_buf_done(gp_buf_t *buf);
void gp_buf_clear(gp_buf_t *buf); /* keeps the memory */
int gp_buf_append(gp_buf_t *buf, const void *data, size_t len) __attribute__((warn_unused_result));
int gp_buf_printf(gp_buf_t *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3), warn_unused_result));
/* Room for len more bytes at *ret_room; gp_buf_commit() says how many were used. */
int gp_buf_reserve(gp_buf_t *buf, size_t len, char **ret_room) __attribute__((warn_unused_result));
void gp_buf_commit(gp_buf_t *buf, size_t len);
/* Drops the first len bytes. */
void gp_buf_consume(gp_buf_t *buf, size_t len);

#define gp_auto_buf __attribute__((cleanup(gp_buf_done)))

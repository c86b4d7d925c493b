#pragma once

#include <stddef.h>
#include <stdarg.h>

/*
 * Memory that lives as long as one request (or one job): one arena, hard cap,
 * freed as a whole. Out of memory or over the cap: the process aborts through
 * gp_die() (a service; the supervisor does not use arenas).
 */
typedef struct gp_arena gp_arena_t;

gp_arena_t *gp_arena_new(size_t limit_bytes);
gp_arena_t *gp_arena_free(gp_arena_t *arena); /* NULL is fine; returns NULL */
void *gp_arena_alloc(gp_arena_t *arena, size_t size); /* zeroed, aligned to 16 */
char *gp_arena_strdup(gp_arena_t *arena, const char *s); /* NULL gives NULL */
char *gp_arena_strndup(gp_arena_t *arena, const char *s, size_t len);
char *gp_arena_printf(gp_arena_t *arena, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *gp_arena_vprintf(gp_arena_t *arena, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0), nonnull(2)));
void gp_arena_cleanup(gp_arena_t *arena, void (*fn)(void *), void *data); /* run at free, last first */
/* Bytes until the cap: code that allocates by the size of its input asks first and refuses the input instead of dying. */
size_t gp_arena_left(const gp_arena_t *arena);

static inline void gp_arena_free_ptr(gp_arena_t **arena)
{
    *arena = gp_arena_free(*arena);
}

#define gp_auto_arena __attribute__((cleanup(gp_arena_free_ptr)))

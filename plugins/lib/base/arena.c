#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/die.h"

/*
 * A list of blocks, newest first. Small requests share a block; one that is
 * larger than a quarter of a block gets its own, behind the current one, so
 * that the rest of the current one is not lost. Each arena starts with a small
 * block of its own: an idle stream costs little.
 */
#define GP_ARENA_ALIGN 16
#define GP_ARENA_FIRST 1008 /* bytes; with header and malloc's own below 1 KiB + 64 */
#define GP_ARENA_BLOCK 16320 /* bytes of every later block */

typedef struct gp_arena_block gp_arena_block_t;

struct gp_arena_block {
    gp_arena_block_t *next;
    size_t size;
    size_t used;
    size_t unused_align;
    char data[];
};

typedef struct gp_arena_hook gp_arena_hook_t;

struct gp_arena_hook {
    gp_arena_hook_t *next;
    void (*fn)(void *);
    void *data;
};

struct gp_arena {
    gp_arena_block_t *blocks;
    gp_arena_hook_t *hooks;
    size_t limit;
    size_t used; /* bytes of all blocks */
};


static gp_arena_block_t *gp_arena_block_new(gp_arena_t *arena, size_t size)
{
    gp_arena_block_t *block;

    if (size > arena->limit - arena->used) {
        gp_die("arena over its limit of %zu bytes (%zu used, %zu asked)", arena->limit, arena->used, size);
    }

    block = calloc(1, sizeof(gp_arena_block_t) + size);
    if (block == NULL) {
        gp_die("out of memory: %zu bytes", size);
    }

    block->size = size;
    arena->used += size;

    return block;
}


gp_arena_t *gp_arena_new(size_t limit_bytes)
{
    gp_arena_t *arena;

    arena = calloc(1, sizeof(gp_arena_t));
    if (arena == NULL) {
        gp_die("out of memory: an arena");
    }
    arena->limit = limit_bytes;

    return arena;
}


gp_arena_t *gp_arena_free(gp_arena_t *arena)
{
    gp_arena_block_t *block, *next;
    gp_arena_hook_t *hook;

    if (arena == NULL) {
        return NULL;
    }

    while (arena->hooks != NULL) {
        hook = arena->hooks;
        arena->hooks = hook->next;
        hook->fn(hook->data);
    }

    for (block = arena->blocks; block != NULL; block = next) {
        next = block->next;
        free(block);
    }
    free(arena);

    return NULL;
}


size_t gp_arena_left(const gp_arena_t *arena)
{
    return arena->limit - arena->used;
}


void *gp_arena_alloc(gp_arena_t *arena, size_t size)
{
    gp_arena_block_t *block;
    size_t want, room;

    if (size > SIZE_MAX - GP_ARENA_ALIGN) {
        gp_die("arena: %zu bytes asked", size);
    }
    size = size ? (size + GP_ARENA_ALIGN - 1) & ~(size_t) (GP_ARENA_ALIGN - 1) : GP_ARENA_ALIGN;

    block = arena->blocks;
    if (block == NULL || block->size - block->used < size) {
        want = block == NULL ? GP_ARENA_FIRST : GP_ARENA_BLOCK;
        room = arena->limit - arena->used;

        if (block != NULL && size > GP_ARENA_BLOCK / 4) {
            block = gp_arena_block_new(arena, size);
            block->next = arena->blocks->next;
            arena->blocks->next = block;

        } else {
            if (want > room && size <= room) {
                want = room & ~(size_t) (GP_ARENA_ALIGN - 1);
            }
            block = gp_arena_block_new(arena, size > want ? size : want);
            block->next = arena->blocks;
            arena->blocks = block;
        }
    }

    block->used += size;

    return block->data + block->used - size;
}


char *gp_arena_strndup(gp_arena_t *arena, const char *s, size_t len)
{
    char *copy;

    copy = gp_arena_alloc(arena, len + 1);
    if (len > 0) {
        memcpy(copy, s, len);
    }

    return copy;
}


char *gp_arena_strdup(gp_arena_t *arena, const char *s)
{
    return s ? gp_arena_strndup(arena, s, strlen(s)) : NULL;
}


char *gp_arena_vprintf(gp_arena_t *arena, const char *fmt, va_list ap)
{
    va_list copy;
    char *text;
    int n;

    va_copy(copy, ap);
    n = vsnprintf(NULL, 0, fmt, copy);
    va_end(copy);
    gp_assert(n >= 0);

    text = gp_arena_alloc(arena, (size_t) n + 1);
    (void) vsnprintf(text, (size_t) n + 1, fmt, ap); /* measured above */

    return text;
}


char *gp_arena_printf(gp_arena_t *arena, const char *fmt, ...)
{
    va_list ap;
    char *text;

    va_start(ap, fmt);
    text = gp_arena_vprintf(arena, fmt, ap);
    va_end(ap);

    return text;
}


void gp_arena_cleanup(gp_arena_t *arena, void (*fn)(void *), void *data)
{
    gp_arena_hook_t *hook;

    hook = gp_arena_alloc(arena, sizeof(gp_arena_hook_t));
    hook->fn = fn;
    hook->data = data;
    hook->next = arena->hooks;
    arena->hooks = hook;
}

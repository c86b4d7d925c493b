#pragma once

#include "context_url.h"

/* The path of a context URL and the pages of Git hosts it may be. Private to the parser. */

#define PUB_SEGMENTS_MAX 64 /* parts of a path */

typedef struct {
    gp_arena_t *arena;
    const char *base; /* "https://host[:port]" */
    const char *query; /* "" or "at=...": without '?' */
    char *segments[PUB_SEGMENTS_MAX]; /* as written */
    char *decoded[PUB_SEGMENTS_MAX]; /* percent-decoded */
    size_t n;
} pub_path_t;

/* Splits and decodes; "." and "..", control characters and bad escapes are errors. Empty parts are dropped. */
int pub_path_split(const char *path, size_t len, gp_arena_t *arena, pub_path_t *ret_path, gp_err_t *err)
    __attribute__((warn_unused_result));

/* Fills remote_uri, target, owner, repository and checkout from path and context->host. */
int pub_shape_parse(const pub_path_t *path, pub_context_t *context, gp_err_t *err) __attribute__((warn_unused_result));

/* owner, repository and checkout from the first n parts, which are the repository. */
void pub_shape_names(const pub_path_t *path, size_t n, pub_context_t *context);

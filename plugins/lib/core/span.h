#pragma once

#include <stddef.h>

/* Bytes of somebody else, not NUL-terminated. */
typedef struct {
    const char *ptr;
    size_t len;
} gp_span_t;

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* What is known when git failed. */
typedef struct {
    const char *url;
    const char *host; /* "" for file */
    const char *target; /* branch, tag or commit; "" none */
    bool had_token; /* a token of the person was at hand */
    int64_t free_bytes; /* of the disk; -1: unknown */
} cnt_fault_context_t;

/* Pure: what git (LC_ALL=C) wrote becomes code and text: what, why, what to do. Returns -code. */
int cnt_fault(const char *output, const cnt_fault_context_t *context, gp_err_t *err);
/* Pure: the server cannot send a part of the history; a full clone may work. */
bool cnt_fault_wants_full(const char *output);

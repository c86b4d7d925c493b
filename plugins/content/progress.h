#pragma once

#include <stddef.h>

#define CNT_DETAIL_MAX 160 /* bytes of a line for people */

/* What a line of git's --progress says. Pure. */
typedef struct {
    int step; /* InitializeWorkspaceResponse.Step */
    int percent; /* -1: not said */
    char detail[CNT_DETAIL_MAX];
} cnt_progress_t;

/* line without its \r or \n. 1: progress, 0: something else (a message, an error). */
int cnt_progress_parse(const char *line, size_t len, cnt_progress_t *ret_progress);

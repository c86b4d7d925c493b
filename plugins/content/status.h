#pragma once

#include <stddef.h>

#define CNT_STATUS_FILES_MAX 100 /* names in an answer; the totals count all */

/* What `git status --porcelain=v1 -z` says. */
typedef struct {
    const char *uncommitted[CNT_STATUS_FILES_MAX]; /* borrowed from the text */
    size_t n_uncommitted, total_uncommitted;
    const char *untracked[CNT_STATUS_FILES_MAX];
    size_t n_untracked, total_untracked;
} cnt_status_t;

/* Pure. text is NUL-terminated entries, len bytes. */
void cnt_status_parse(const char *text, size_t len, cnt_status_t *ret_status);

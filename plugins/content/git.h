#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * git as a child: the workspace's uid, no capabilities, no_new_privs, a clean
 * environment, a session of its own. What it writes is bounded; it is killed
 * with everything it started on cancel and at the deadline.
 */
#define CNT_GIT_ARGS_MAX 24
#define CNT_GIT_OUTPUT_MAX 8388608 /* bytes of stdout that are kept (ls-remote) */
#define CNT_GIT_ERRORS_MAX 16384 /* last bytes of stderr without progress */

typedef struct {
    uid_t uid; /* host uid of the workspace user */
    int cwd; /* directory */
    const char *const *args; /* after "git", ended by NULL */
    char *const *env;
    int secret; /* becomes descriptor 3 for the credential helper; -1: none */
    uint64_t deadline_ms; /* CLOCK_MONOTONIC; 0: none */
    bool (*cancelled)(void *data);
    void (*on_line)(const char *line, size_t len, void *data); /* stderr lines; may be NULL */
    void *data;
} cnt_git_t;

/*
 * Runs git to its end.
 *
 * @out     stdout, NUL-terminated; initialised by the caller with a limit; NULL: discarded
 * @errors  stderr, NUL-terminated; initialised by the caller
 *
 * 0: exit status 0; 1: another one, errors says why.
 * Faults: CANCELED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED (too much output, no process), UNAVAILABLE (no git).
 */
int cnt_git_run(const cnt_git_t *git, gp_buf_t *out, gp_buf_t *errors, gp_err_t *err) __attribute__((warn_unused_result));

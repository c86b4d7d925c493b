#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <gitpod/internal/v1/content.pb-c.h>

#include "base/arena.h"
#include "base/err.h"
#include "place.h"
#include "progress.h"
#include "url.h"

#define CNT_WARNINGS_MAX 40

/* One clone: what is wanted, who is told, what came of it. */
typedef struct {
    const Gitpod__Internal__V1__GitSource *source;
    cnt_url_t url;
    const cnt_place_t *place;
    const char *home; /* absolute path of the place's clone directory's parent: HOME of git */
    const char *helper; /* path of this program, git's credential helper */
    int secret; /* of cnt_credential_new(), or -1 */
    int64_t free_bytes;
    bool allow_file;
    uint64_t deadline_ms;
    uint64_t answer_ms; /* the server's first sign must come within */
    uint64_t quiet_ms; /* and each further one */
    gp_arena_t *arena; /* of the call */
    bool (*cancelled)(void *data);
    void (*progress)(const cnt_progress_t *progress, void *data);
    void *data;
    /* results, in the arena */
    const char *commit;
    const char *branch;
    char *warnings[CNT_WARNINGS_MAX];
    size_t n_warnings;
} cnt_clone_t;

/* Fills place's clone directory. The caller publishes it, or drops it on a fault. Errors: cnt_fault(), CANCELED, DEADLINE_EXCEEDED. */
int cnt_clone_run(cnt_clone_t *clone, gp_err_t *err) __attribute__((warn_unused_result));
void cnt_clone_warn(cnt_clone_t *clone, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Pure checks of a request's source. Errors: INVALID_ARGUMENT naming the field. */
int cnt_clone_check(const Gitpod__Internal__V1__GitSource *source, bool allow_file, cnt_url_t *ret_url, gp_err_t *err)
    __attribute__((warn_unused_result));

#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"
#include "core/contract.h"

/*
 * At most one piece of work per workspace at a time, at most so many clones in
 * the whole, the rest wait. A deletion cancels what runs and comes after it.
 */
#define CNT_JOBS_MAX 64 /* workspaces that are worked on or wait */

typedef struct {
    char id[GP_WORKSPACE_ID_MAX + 1];
    bool used;
    atomic_bool cancelled;
} cnt_job_t;

/*
 * Takes the workspace; waits up to wait_ms for who has it.
 *
 * @cancel_other  whoever has it is told to end
 * Errors: ABORTED when it is still taken, RESOURCE_EXHAUSTED over CNT_JOBS_MAX
 */
int cnt_job_begin(const char *id, bool cancel_other, unsigned wait_ms, cnt_job_t **ret_job, gp_err_t *err)
    __attribute__((warn_unused_result));
void cnt_job_end(cnt_job_t *job);

/* One of the slots for clones; cancelled is polled. Errors: CANCELED. */
void cnt_slot_init(unsigned n);
int cnt_slot_take(bool (*cancelled)(void *data), void *data, gp_err_t *err) __attribute__((warn_unused_result));
void cnt_slot_give(void);

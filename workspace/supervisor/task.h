#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/gitpod_yml.h"
#include "base/json.h"
#include "env.h"

/*
 * Tasks of .gitpod.yml: one terminal each, the commands typed into the
 * person's shell. The last 256 KiB of output are kept and replayed to whoever
 * attaches.
 */

/* Opens all terminals. Faults of one task are logged, the others start. The configuration is borrowed for ever. */
void sup_task_start(const gp_yml_t *yml, const sup_env_t *env, const char *location, int from_backup);
/* The answer of status/tasks, or NULL without memory. */
json_t *sup_task_status(void);
/* Takes the connection: backlog, then terminal and connection are joined. It is closed when the shell has ended and all is said. */
int sup_task_attach(const char *id, unsigned rows, unsigned columns, int take_fd, gp_err_t *err) __attribute__((warn_unused_result));
/* The window that shows a task has another size now. One that ended takes it too. -GP_NOT_FOUND: no such task. */
int sup_task_resize(const char *id, unsigned rows, unsigned columns, gp_err_t *err) __attribute__((warn_unused_result));
int64_t sup_task_input_epoch_s(void); /* last typing into a task's terminal; 0: never */
void sup_task_stop(void); /* hangs up all terminals */
int sup_task_running(void);
/* Pure: the text to type. Empty: nothing to run. */
int sup_task_compose(const gp_yml_task_t *task, int from_backup, gp_buf_t *buf) __attribute__((warn_unused_result));

#pragma once

#include <stdint.h>

#include "env.h"

/*
 * The editor: started at the go signal, probed until it answers, restarted
 * after it ends. Five ends in a minute are a crash loop: the status says so
 * with the last lines of its output, and it is tried again every 30 s.
 */

/* Starts it. on_change runs when sup_ide_ready() or sup_ide_error() changed. Errors: INVALID_ARGUMENT in GITPOD_IDE_COMMAND or _PROBE. */
int sup_ide_start(const sup_env_t *env, const char *location, void (*on_change)(void), gp_err_t *err) __attribute__((warn_unused_result));
int sup_ide_ready(void);
const char *sup_ide_error(void); /* NULL: none */
unsigned sup_ide_restarts(void);
/* Wall clock of what the person last did in the editor, as far as it has told; 0: not known. Asks it again in the background. */
int64_t sup_ide_heartbeat_epoch_s(void);
/* TERM now, KILL after 15 s; no restart. */
void sup_ide_stop(void);
int sup_ide_running(void);

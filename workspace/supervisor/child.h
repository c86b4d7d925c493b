#pragma once

#include <sys/types.h>

#include "base/err.h"

/*
 * Children of PID 1: those we started (with a callback at their end) and
 * orphans that came to us, which are only reaped.
 */
typedef struct sup_child sup_child_t;

struct sup_child {
    pid_t pid; /* 0: not running */
    void (*on_exit)(sup_child_t *child, int status);
    void *data;
    sup_child_t *next;
};

typedef struct {
    char *const *argv;
    char *const *env;
    const char *cwd; /* NULL or unusable: the home directory, else / */
    int terminal; /* slave of a PTY that becomes the controlling terminal; -1: none */
    int output; /* stdout and stderr; -1: inherited. Ignored with a terminal */
} sup_spawn_t;

/* Starts argv as the workspace user in a session of its own. Errors: NOT_FOUND and others of execve, naming argv[0]. */
int sup_child_spawn(sup_child_t *child, const sup_spawn_t *spec, void (*on_exit)(sup_child_t *, int), void *data, gp_err_t *err)
    __attribute__((warn_unused_result));
/* To the child's process group; fine when it is gone. */
void sup_child_kill(const sup_child_t *child, int signal);
/* waitpid() for all that ended; runs callbacks. Returns 1 when there are no children left at all. */
int sup_child_reap(void);

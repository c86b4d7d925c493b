#pragma once

#include "base/err.h"

#define CNT_TRASH_DIR ".trash"

/* Removes parent/name and all below it, whatever the person left there; never through a symbolic link. 0 also when it is not there. */
int cnt_trash_remove_tree(int parent, const char *name, gp_err_t *err) __attribute__((warn_unused_result));
/* Moves root/id aside; at once. 0 also when it is not there. */
int cnt_trash_put(int root, const char *id, gp_err_t *err) __attribute__((warn_unused_result));
/* The thread that empties .trash: what lies there from before, and after each cnt_trash_wake(). root is borrowed. */
int cnt_trash_start(int root, gp_err_t *err) __attribute__((warn_unused_result));
void cnt_trash_wake(void);
void cnt_trash_stop(void);

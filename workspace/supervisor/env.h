#pragma once

#include "base/err.h"

#define SUP_ENV_MAX 1024 /* variables of a child */

/*
 * The environment of children: that of PID 1 without what only we need, plus
 * what the workspace user expects. Built once, at the go signal.
 */
typedef struct {
    char **vars; /* "NAME=value", ended by NULL */
    size_t n;
} sup_env_t;

/* @location: the checkout, becomes GITPOD_REPO_ROOT */
int sup_env_build(const char *location, sup_env_t *ret_env, gp_err_t *err) __attribute__((warn_unused_result));
/* Sets or replaces one variable. */
int sup_env_set(sup_env_t *env, const char *name, const char *value, gp_err_t *err) __attribute__((warn_unused_result));
int sup_env_copy(const sup_env_t *env, sup_env_t *ret_env, gp_err_t *err) __attribute__((warn_unused_result));
void sup_env_done(sup_env_t *env);

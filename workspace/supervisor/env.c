#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/contract.h"
#include "env.h"
#include "user.h"

/* Names that only the supervisor needs, or that would tell of the platform around it. A trailing '*' is a prefix. */
static const char *const sup_env_private[] = {"GITPOD_IDE_COMMAND",  "GITPOD_IDE_PROBE", "THEIA_SUPERVISOR_*", "GITPOD_TOKENS*",
                                              "KUBERNETES_SERVICE*", "KUBERNETES_PORT*", "NOTIFY_SOCKET",      NULL};


static int sup_env_is_private(const char *var)
{
    const char *const *p;
    size_t n;

    for (p = sup_env_private; *p; p++) {
        n = strlen(*p);
        if ((*p)[n - 1] == '*' ? strncmp(var, *p, n - 1) == 0 : strncmp(var, *p, n) == 0 && var[n] == '=') {
            return 1;
        }
    }

    return 0;
}


int sup_env_set(sup_env_t *env, const char *name, const char *value, gp_err_t *err)
{
    size_t n = strlen(name), i;
    char *var;

    if (asprintf(&var, "%s=%s", name, value) < 0) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory for the environment");
    }
    for (i = 0; i < env->n; i++) {
        if (strncmp(env->vars[i], var, n + 1) == 0) {
            free(env->vars[i]);
            env->vars[i] = var;
            return 0;
        }
    }
    if (env->n == SUP_ENV_MAX) {
        free(var);
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "more than %d environment variables", SUP_ENV_MAX);
    }
    env->vars[env->n++] = var;

    return 0;
}


/* Room for SUP_ENV_MAX and the NULL; "NAME=value" strings of from that are not private. */
static int sup_env_fill(char *const *from, sup_env_t *env, gp_err_t *err)
{
    env->n = 0;
    env->vars = calloc(SUP_ENV_MAX + 1, sizeof(*env->vars));
    for (; env->vars && *from && env->n < SUP_ENV_MAX; from++) {
        if (sup_env_is_private(*from)) {
            continue;
        }
        env->vars[env->n] = strdup(*from);
        if (!env->vars[env->n]) {
            break;
        }
        env->n++;
    }
    if (!env->vars || (*from && env->n < SUP_ENV_MAX)) {
        sup_env_done(env);
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory for the environment");
    }

    return 0;
}


static int sup_env_default(sup_env_t *env, const char *name, const char *value, gp_err_t *err)
{
    return getenv(name) ? 0 : sup_env_set(env, name, value, err);
}


int sup_env_build(const char *location, sup_env_t *ret_env, gp_err_t *err)
{
    const sup_user_t *user = sup_user();
    sup_env_t env;
    int rc;

    rc = sup_env_fill(environ, &env, err);
    if (rc < 0) {
        return rc;
    }
    if ((rc = sup_env_set(&env, "HOME", user->home, err)) < 0 || (rc = sup_env_set(&env, "USER", SUP_USER_NAME, err)) < 0 ||
        (rc = sup_env_set(&env, "LOGNAME", SUP_USER_NAME, err)) < 0 || (rc = sup_env_set(&env, "SHELL", user->shell, err)) < 0 ||
        (rc = sup_env_set(&env, "GITPOD_REPO_ROOT", location, err)) < 0 ||
        (rc = sup_env_set(&env, "GITPOD_REPO_ROOTS", location, err)) < 0 ||
        (rc = sup_env_set(&env, "THEIA_WORKSPACE_ROOT", location, err)) < 0 ||
        (rc = sup_env_set(&env, "SUPERVISOR_ADDR", "localhost:22999", err)) < 0 ||
        (rc = sup_env_default(&env, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", err)) < 0 ||
        (rc = sup_env_default(&env, "HISTFILE", GP_DIR_WORKSPACE "/.gitpod/.shell_history", err)) < 0 ||
        (rc = sup_env_default(&env, "PROMPT_COMMAND", "history -a", err)) < 0 ||
        (rc = sup_env_default(&env, "GITPOD_IDE_ALIAS", "code", err)) < 0) {
        sup_env_done(&env);
        return rc;
    }
    *ret_env = env;

    return 0;
}


int sup_env_copy(const sup_env_t *env, sup_env_t *ret_env, gp_err_t *err)
{
    return sup_env_fill(env->vars, ret_env, err);
}


void sup_env_done(sup_env_t *env)
{
    size_t i;

    for (i = 0; i < env->n; i++) {
        free(env->vars[i]);
    }
    free(env->vars);
    env->vars = NULL;
    env->n = 0;
}

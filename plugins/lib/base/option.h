#pragma once

#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * One table is the parser, --help, the man page and the docs. Sources, later
 * wins: default, environment (name upper-cased, '-' to '_', prefix GITPOD_),
 * `--config FILE` ("name = value" lines, '#' comments), `--name value` or
 * `--name=value`.
 */
enum gp_option_type { GP_OPT_STRING, GP_OPT_INT, GP_OPT_BOOL, GP_OPT_SECONDS, GP_OPT_BYTES };

typedef struct {
    const char *name; /* "idle-timeout" */
    enum gp_option_type type;
    size_t offset; /* of char *, int64_t or bool in the service's struct */
    const char *unit; /* "s", "bytes", "" */
    const char *value; /* default as text; NULL: required */
    int64_t min, max; /* GP_OPT_INT, SECONDS, BYTES */
    const char *text; /* one sentence */
} gp_option_t;

/*
 * Fills conf from all sources. Strings are allocated and live as long as the
 * process. --help prints and exits 0, --version too.
 * Errors: INVALID_ARGUMENT naming option, source line and bounds.
 */
int gp_options_parse(const gp_option_t *table, size_t n, void *conf, const char *service, int argc, char **argv, gp_err_t *err);

/* What --help prints after "<service> - <text>": one line per option with type, default, bounds and environment name. */
void gp_options_help(const gp_option_t *table, size_t n, const char *service, const char *text);

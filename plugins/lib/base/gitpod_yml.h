#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * .gitpod.yml: what the workspace honours today (tasks, ports), and warnings
 * for the rest, each naming key and line. One parser for the supervisor, which
 * acts on it, and content, which tells the person before the start.
 *
 * The text is hostile: size, depth, nodes, items and warnings are bounded, and
 * out of memory is an error, never an abort.
 */
#define GP_YML_NAME ".gitpod.yml"
#define GP_YML_SIZE_MAX 65536 /* bytes of the file */
#define GP_YML_DEPTH_MAX 16 /* nesting */
#define GP_YML_NODES_MAX 8192 /* YAML events of the file */
#define GP_YML_TASKS_MAX 16 /* one terminal each */
#define GP_YML_PORTS_MAX 64
#define GP_YML_ENV_MAX 64 /* variables of one task */
#define GP_YML_WARNINGS_MAX 32
#define GP_YML_WARNING_MAX 256 /* bytes of one warning */

enum gp_yml_on_open {
    GP_YML_NOTIFY,
    GP_YML_NOTIFY_PRIVATE,
    GP_YML_IGNORE,
    GP_YML_IGNORE_COMPLETELY,
    GP_YML_OPEN_BROWSER,
    GP_YML_OPEN_PREVIEW
};

/* What a program speaks on a port; h2c and grpc are ours, not Gitpod's. */
enum gp_yml_protocol { GP_YML_HTTP, GP_YML_HTTPS, GP_YML_H2C, GP_YML_GRPC };

/* "http" and so on, as the route record says it. */
const char *gp_yml_protocol_name(enum gp_yml_protocol protocol);

/* "open_browser" and so on, as the supervisor's API says it. */
const char *gp_yml_on_open_name(enum gp_yml_on_open on_open);

typedef struct {
    char *name;
    char *value;
} gp_yml_env_t;

/* Absent texts are NULL. */
typedef struct {
    char *name;
    char *before;
    char *init;
    char *command;
    gp_yml_env_t env[GP_YML_ENV_MAX];
    size_t n_env;
} gp_yml_task_t;

typedef struct {
    uint16_t first;
    uint16_t last; /* = first unless a range */
    char *name;
    char *description;
    enum gp_yml_on_open on_open;
    bool visible; /* to everybody; never with a range */
    enum gp_yml_protocol protocol; /* http with a range */
} gp_yml_port_t;

typedef struct {
    gp_yml_task_t *tasks;
    size_t n_tasks;
    gp_yml_port_t *ports;
    size_t n_ports;
    char *warnings[GP_YML_WARNINGS_MAX];
    size_t n_warnings;
} gp_yml_t;

/*
 * gp_yml_parse() - read the text of a .gitpod.yml
 *
 * An empty text is an empty configuration. An entry of a wrong type is left out with a warning.
 *
 * @ret_yml  given to the caller, release with gp_yml_free()
 *
 * Errors: INVALID_ARGUMENT naming the line (not YAML, not a mapping, too deep, too many nodes),
 *         RESOURCE_EXHAUSTED over GP_YML_SIZE_MAX or out of memory
 */
int gp_yml_parse(const char *text, size_t len, gp_yml_t **ret_yml, gp_err_t *err) __attribute__((warn_unused_result));
gp_yml_t *gp_yml_free(gp_yml_t *yml); /* NULL is fine; returns NULL */

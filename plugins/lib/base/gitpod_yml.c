#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "base/cleanup.h"
#include "base/gitpod_yml.h"

/*
 * Two passes: the first walks libyaml's events and refuses what is too deep or
 * too much before any tree exists; the second loads the tree, whose aliases are
 * references that the fixed schema never follows in a circle.
 */
#define GP_YML_PATH_MAX 64 /* bytes of "tasks[15].command" */

typedef struct {
    yaml_document_t *doc;
    gp_yml_t *yml;
    bool no_memory;
} gp_yml_reader_t;

static const char *const gp_yml_on_open_names[] = {"notify",       "notify_private", "ignore", "ignore_completely",
                                                   "open_browser", "open_preview"};
static const char *const gp_yml_later_top[] = {"image",
                                               "checkoutLocation",
                                               "workspaceLocation",
                                               "gitConfig",
                                               "additionalRepositories",
                                               "mainConfiguration",
                                               "env",
                                               "vscode",
                                               "jetbrains",
                                               "coreDump",
                                               "github",
                                               "experimentalNetwork",
                                               NULL};
static const char *const gp_yml_later_task[] = {"prebuild", "openIn", "openMode", NULL};
static const char *const gp_yml_later_port[] = {NULL};
static const char *const gp_yml_protocols[] = {"http", "https", "h2c", "grpc"};


const char *gp_yml_on_open_name(enum gp_yml_on_open on_open)
{
    return gp_yml_on_open_names[on_open];
}


const char *gp_yml_protocol_name(enum gp_yml_protocol protocol)
{
    return gp_yml_protocols[protocol];
}


__attribute__((format(printf, 2, 3))) static void gp_yml_warn(gp_yml_reader_t *r, const char *fmt, ...)
{
    char text[GP_YML_WARNING_MAX];
    unsigned char *p;
    va_list ap;

    if (r->yml->n_warnings == GP_YML_WARNINGS_MAX) {
        return;
    }
    va_start(ap, fmt);
    if (r->yml->n_warnings == GP_YML_WARNINGS_MAX - 1) {
        (void) snprintf(text, sizeof(text), "More warnings about " GP_YML_NAME " are not shown");
    } else {
        (void) vsnprintf(text, sizeof(text), fmt, ap);
    }
    va_end(ap);
    for (p = (unsigned char *) text; *p; p++) {
        if (*p < ' ' || *p == 0x7f) {
            *p = ' '; /* a warning is one line */
        }
    }
    r->yml->warnings[r->yml->n_warnings] = strdup(text);
    if (!r->yml->warnings[r->yml->n_warnings]) {
        r->no_memory = true;
        return;
    }
    r->yml->n_warnings++;
}


static int gp_yml_line(const yaml_node_t *node)
{
    return (int) node->start_mark.line + 1;
}


static const char *gp_yml_scalar(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE || strlen((const char *) node->data.scalar.value) != node->data.scalar.length) {
        return NULL;
    }

    return (const char *) node->data.scalar.value;
}


/* "key" or "key: value" for a warning. */
static void gp_yml_show(const char *key, const yaml_node_t *value, char *dst, size_t size)
{
    const char *scalar = gp_yml_scalar(value);

    if (scalar && *scalar && strlen(scalar) <= 64) {
        (void) snprintf(dst, size, "%s: %s", key, scalar);
    } else {
        (void) snprintf(dst, size, "%.64s", key);
    }
}


/* A key we know but do not act on, or one nobody knows. */
static void gp_yml_other_key(gp_yml_reader_t *r, const char *path, const char *key, const yaml_node_t *key_node, const yaml_node_t *value,
                             const char *const *later)
{
    char shown[160];

    gp_yml_show(key, value, shown, sizeof(shown));
    for (; *later; later++) {
        if (strcmp(key, *later) == 0) {
            gp_yml_warn(r, GP_YML_NAME " line %d: `%s%s` is not supported yet and has no effect", gp_yml_line(key_node), path, shown);
            return;
        }
    }
    gp_yml_warn(r, GP_YML_NAME " line %d: `%s%.64s` is not a known key; check its spelling", gp_yml_line(key_node), path, key);
}


/* Text into *ret; anything but a scalar is a warning. */
static void gp_yml_text(gp_yml_reader_t *r, const char *path, const char *key, const yaml_node_t *value, char **ret)
{
    const char *scalar = gp_yml_scalar(value);

    if (!scalar) {
        gp_yml_warn(r, GP_YML_NAME " line %d: `%s%s` must be text; it is ignored", gp_yml_line(value), path, key);
        return;
    }
    free(*ret); /* a key given twice: the last one counts */
    *ret = strdup(scalar);
    r->no_memory |= !*ret;
}


static bool gp_yml_env_name(const char *name)
{
    return name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")] == '\0' && *name &&
           !(*name >= '0' && *name <= '9');
}


static void gp_yml_env(gp_yml_reader_t *r, const char *path, const yaml_node_t *map, gp_yml_task_t *task)
{
    yaml_node_pair_t *pair;
    const yaml_node_t *key, *value;
    const char *name, *text;
    gp_yml_env_t *env;

    if (map->type != YAML_MAPPING_NODE) {
        gp_yml_warn(r, GP_YML_NAME " line %d: `%senv` must be a mapping of names to values; it is ignored", gp_yml_line(map), path);
        return;
    }
    for (pair = map->data.mapping.pairs.start; pair < map->data.mapping.pairs.top; pair++) {
        key = yaml_document_get_node(r->doc, pair->key);
        value = yaml_document_get_node(r->doc, pair->value);
        name = gp_yml_scalar(key);
        text = gp_yml_scalar(value);
        if (!name || !text || !gp_yml_env_name(name)) {
            gp_yml_warn(r, GP_YML_NAME " line %d: `%senv.%.64s` must be a variable name with one value; it is ignored", gp_yml_line(key),
                        path, name ? name : "?");
            continue;
        }
        if (task->n_env == GP_YML_ENV_MAX) {
            gp_yml_warn(r, GP_YML_NAME " line %d: `%senv` has more than %d variables; the rest is ignored", gp_yml_line(key), path,
                        GP_YML_ENV_MAX);
            return;
        }
        env = &task->env[task->n_env++];
        env->name = strdup(name);
        env->value = strdup(text);
        r->no_memory |= !env->name || !env->value;
    }
}


static void gp_yml_task(gp_yml_reader_t *r, const yaml_node_t *map, size_t n, gp_yml_task_t *task)
{
    const struct {
        const char *key;
        char **ret;
    } texts[] = {{"name", &task->name}, {"before", &task->before}, {"init", &task->init}, {"command", &task->command}};
    char path[GP_YML_PATH_MAX];
    const yaml_node_t *key_node, *value;
    yaml_node_pair_t *pair;
    const char *key;
    size_t i;

    (void) snprintf(path, sizeof(path), "tasks[%zu].", n);
    for (pair = map->data.mapping.pairs.start; pair < map->data.mapping.pairs.top; pair++) {
        key_node = yaml_document_get_node(r->doc, pair->key);
        value = yaml_document_get_node(r->doc, pair->value);
        key = gp_yml_scalar(key_node);
        key = key ? key : "?";
        for (i = 0; i < sizeof(texts) / sizeof(texts[0]) && strcmp(key, texts[i].key) != 0; i++) {
        }
        if (i < sizeof(texts) / sizeof(texts[0])) {
            gp_yml_text(r, path, key, value, texts[i].ret);
        } else if (strcmp(key, "env") == 0) {
            gp_yml_env(r, path, value, task);
        } else {
            gp_yml_other_key(r, path, key, key_node, value, gp_yml_later_task);
        }
    }
}


/* "3000", "3000-3010" or "3000:3010". */
static bool gp_yml_range(const char *text, gp_yml_port_t *port)
{
    unsigned long first, last;
    char *end;

    if (*text < '0' || *text > '9') {
        return false;
    }
    first = strtoul(text, &end, 10);
    last = first;
    if ((*end == '-' || *end == ':') && end[1] >= '0' && end[1] <= '9') {
        last = strtoul(end + 1, &end, 10);
    }
    if (*end || first < 1 || last > 65535 || first > last) {
        return false;
    }
    port->first = (uint16_t) first;
    port->last = (uint16_t) last;

    return true;
}


static void gp_yml_on_open(gp_yml_reader_t *r, const char *path, const yaml_node_t *value, gp_yml_port_t *port)
{
    static const char *const names[] = {"notify", "notify-private", "ignore", "ignore-completely", "open-browser", "open-preview"};
    const char *text = gp_yml_scalar(value);
    size_t i;

    for (i = 0; text && i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            port->on_open = (enum gp_yml_on_open) i;
            return;
        }
    }
    gp_yml_warn(
        r, GP_YML_NAME " line %d: `%sonOpen` must be one of open-browser, open-preview, notify, ignore, ignore-completely; notify is used",
        gp_yml_line(value), path);
}


static void gp_yml_visibility(gp_yml_reader_t *r, const char *path, const yaml_node_t *value, gp_yml_port_t *port)
{
    const char *text = gp_yml_scalar(value);

    port->visible = text && strcmp(text, "public") == 0;
    if (!port->visible && (!text || strcmp(text, "private") != 0)) {
        gp_yml_warn(r, GP_YML_NAME " line %d: `%svisibility` must be private or public; private is used", gp_yml_line(value), path);
    }
}


static void gp_yml_protocol(gp_yml_reader_t *r, const char *path, const yaml_node_t *value, gp_yml_port_t *port)
{
    const char *text = gp_yml_scalar(value);
    size_t i;

    for (i = 0; text && i < sizeof(gp_yml_protocols) / sizeof(gp_yml_protocols[0]); i++) {
        if (strcmp(text, gp_yml_protocols[i]) == 0) {
            port->protocol = (enum gp_yml_protocol) i;
            return;
        }
    }
    port->protocol = GP_YML_HTTP;
    gp_yml_warn(r, GP_YML_NAME " line %d: `%sprotocol` must be http, https, h2c or grpc; http is used", gp_yml_line(value), path);
}


/* A range says how to tell people of ports; nobody opens thousands of them in one line. */
static void gp_yml_range_plain(gp_yml_reader_t *r, const char *path, const yaml_node_t *map, gp_yml_port_t *port)
{
    if (port->first != port->last && (port->visible || port->protocol != GP_YML_HTTP)) {
        port->visible = false;
        port->protocol = GP_YML_HTTP;
        gp_yml_warn(r, GP_YML_NAME " line %d: `%svisibility` and `protocol` have no effect on a range; list the ports one by one",
                    gp_yml_line(map), path);
    }
}


static void gp_yml_port(gp_yml_reader_t *r, const yaml_node_t *map, size_t n, gp_yml_port_t *port)
{
    char path[GP_YML_PATH_MAX];
    const yaml_node_t *key_node, *value;
    yaml_node_pair_t *pair;
    const char *key, *text;

    (void) snprintf(path, sizeof(path), "ports[%zu].", n);
    for (pair = map->data.mapping.pairs.start; pair < map->data.mapping.pairs.top; pair++) {
        key_node = yaml_document_get_node(r->doc, pair->key);
        value = yaml_document_get_node(r->doc, pair->value);
        key = gp_yml_scalar(key_node);
        key = key ? key : "?";
        if (strcmp(key, "port") == 0) {
            text = gp_yml_scalar(value);
            if (!text || !gp_yml_range(text, port)) {
                port->first = 0;
            }
        } else if (strcmp(key, "name") == 0) {
            gp_yml_text(r, path, key, value, &port->name);
        } else if (strcmp(key, "description") == 0) {
            gp_yml_text(r, path, key, value, &port->description);
        } else if (strcmp(key, "onOpen") == 0) {
            gp_yml_on_open(r, path, value, port);
        } else if (strcmp(key, "visibility") == 0) {
            gp_yml_visibility(r, path, value, port);
        } else if (strcmp(key, "protocol") == 0) {
            gp_yml_protocol(r, path, value, port);
        } else {
            gp_yml_other_key(r, path, key, key_node, value, gp_yml_later_port);
        }
    }
    gp_yml_range_plain(r, path, map, port);
    if (port->first == 0) {
        gp_yml_warn(r, GP_YML_NAME " line %d: `%sport` must be a number from 1 to 65535 or a range like 3000-3010; the entry is ignored",
                    gp_yml_line(map), path);
    }
}


static void gp_yml_port_done(gp_yml_port_t *port)
{
    free(port->name);
    free(port->description);
    memset(port, 0, sizeof(*port));
}


/* The mappings of the list under key, at most max; others are warned about. Calls fn for each. */
static void gp_yml_list(gp_yml_reader_t *r, const char *key, const yaml_node_t *list, size_t max,
                        void (*fn)(gp_yml_reader_t *r, const yaml_node_t *map, size_t n))
{
    const yaml_node_t *item;
    yaml_node_item_t *p;
    size_t n = 0;

    if (list->type != YAML_SEQUENCE_NODE) {
        gp_yml_warn(r, GP_YML_NAME " line %d: `%s` must be a list (lines that start with `- `); it is ignored", gp_yml_line(list), key);
        return;
    }
    for (p = list->data.sequence.items.start; p < list->data.sequence.items.top; p++, n++) {
        item = yaml_document_get_node(r->doc, *p);
        if (n == max) {
            gp_yml_warn(r, GP_YML_NAME " line %d: `%s` has more than %zu entries; the rest is ignored", gp_yml_line(item), key, max);
            return;
        }
        if (item->type != YAML_MAPPING_NODE) {
            gp_yml_warn(r, GP_YML_NAME " line %d: `%s[%zu]` must be a mapping; it is ignored", gp_yml_line(item), key, n);
            continue;
        }
        fn(r, item, n);
    }
}


static void gp_yml_add_task(gp_yml_reader_t *r, const yaml_node_t *map, size_t n)
{
    gp_yml_t *yml = r->yml;

    if (!yml->tasks) {
        yml->tasks = calloc(GP_YML_TASKS_MAX, sizeof(*yml->tasks));
    }
    if (!yml->tasks) {
        r->no_memory = true;
    } else if (yml->n_tasks < GP_YML_TASKS_MAX) {
        gp_yml_task(r, map, n, &yml->tasks[yml->n_tasks++]);
    }
}


static void gp_yml_add_port(gp_yml_reader_t *r, const yaml_node_t *map, size_t n)
{
    gp_yml_t *yml = r->yml;

    if (!yml->ports) {
        yml->ports = calloc(GP_YML_PORTS_MAX, sizeof(*yml->ports));
    }
    if (!yml->ports) {
        r->no_memory = true;
        return;
    }
    if (yml->n_ports == GP_YML_PORTS_MAX) {
        return;
    }
    gp_yml_port(r, map, n, &yml->ports[yml->n_ports]);
    if (yml->ports[yml->n_ports].first) {
        yml->n_ports++;
    } else {
        gp_yml_port_done(&yml->ports[yml->n_ports]);
    }
}


static void gp_yml_top(gp_yml_reader_t *r, const yaml_node_t *root)
{
    const yaml_node_t *key_node, *value;
    yaml_node_pair_t *pair;
    const char *key;

    for (pair = root->data.mapping.pairs.start; pair < root->data.mapping.pairs.top; pair++) {
        key_node = yaml_document_get_node(r->doc, pair->key);
        value = yaml_document_get_node(r->doc, pair->value);
        key = gp_yml_scalar(key_node);
        key = key ? key : "?";
        if (strcmp(key, "tasks") == 0) {
            gp_yml_list(r, key, value, GP_YML_TASKS_MAX, gp_yml_add_task);
        } else if (strcmp(key, "ports") == 0) {
            gp_yml_list(r, key, value, GP_YML_PORTS_MAX, gp_yml_add_port);
        } else {
            gp_yml_other_key(r, "", key, key_node, value, gp_yml_later_top);
        }
    }
}


static int gp_yml_fault(const yaml_parser_t *parser, gp_err_t *err)
{
    if (parser->error == YAML_MEMORY_ERROR) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory while reading " GP_YML_NAME);
    }

    return gp_err(err, GP_INVALID_ARGUMENT, GP_YML_NAME " line %zu: not valid YAML: %s", parser->problem_mark.line + 1,
                  parser->problem ? parser->problem : "unreadable");
}


static int gp_yml_depth(yaml_event_type_t type)
{
    if (type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT) {
        return 1;
    }

    return type == YAML_SEQUENCE_END_EVENT || type == YAML_MAPPING_END_EVENT ? -1 : 0;
}


static int gp_yml_check(const char *text, size_t len, gp_err_t *err)
{
    gp_cleanup(yaml_parser_delete) yaml_parser_t parser;
    yaml_event_t event;
    yaml_event_type_t type = YAML_NO_EVENT;
    size_t n, line;
    int depth = 0;

    if (!yaml_parser_initialize(&parser)) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory while reading " GP_YML_NAME);
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *) text, len);
    for (n = 0; type != YAML_STREAM_END_EVENT; n++) {
        if (!yaml_parser_parse(&parser, &event)) {
            return gp_yml_fault(&parser, err);
        }
        type = event.type;
        line = event.start_mark.line + 1;
        yaml_event_delete(&event);
        depth += gp_yml_depth(type);
        if (depth > GP_YML_DEPTH_MAX || n >= GP_YML_NODES_MAX) {
            return gp_err(err, GP_INVALID_ARGUMENT, GP_YML_NAME " line %zu: more than %d %s", line,
                          depth > GP_YML_DEPTH_MAX ? GP_YML_DEPTH_MAX : GP_YML_NODES_MAX,
                          depth > GP_YML_DEPTH_MAX ? "levels of nesting" : "entries");
        }
    }

    return 0;
}


static int gp_yml_read(gp_yml_reader_t *r, gp_err_t *err)
{
    const yaml_node_t *root = yaml_document_get_root_node(r->doc);
    const char *scalar;

    if (!root) {
        return 0;
    }
    scalar = gp_yml_scalar(root);
    if (scalar && (!*scalar || strcmp(scalar, "~") == 0 || strcmp(scalar, "null") == 0)) {
        return 0;
    }
    if (root->type != YAML_MAPPING_NODE) {
        return gp_err(err, GP_INVALID_ARGUMENT, GP_YML_NAME " line %d: expected `key: value` lines at the top", gp_yml_line(root));
    }
    gp_yml_top(r, root);
    if (r->no_memory) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory while reading " GP_YML_NAME);
    }

    return 0;
}


static void gp_yml_free_ptr(gp_yml_t **yml)
{
    *yml = gp_yml_free(*yml);
}


int gp_yml_parse(const char *text, size_t len, gp_yml_t **ret_yml, gp_err_t *err)
{
    gp_cleanup(yaml_document_delete) yaml_document_t doc = {0};
    gp_cleanup(yaml_parser_delete) yaml_parser_t parser = {0};
    gp_cleanup(gp_yml_free_ptr) gp_yml_t *yml = NULL;
    gp_yml_reader_t reader = {.doc = &doc};
    int rc;

    if (len > GP_YML_SIZE_MAX) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, GP_YML_NAME " has %zu bytes; at most %d are read", len, GP_YML_SIZE_MAX);
    }
    rc = gp_yml_check(text, len, err);
    if (rc < 0) {
        return rc;
    }
    if (!yaml_parser_initialize(&parser)) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory while reading " GP_YML_NAME);
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *) text, len);
    if (!yaml_parser_load(&parser, &doc)) {
        return gp_yml_fault(&parser, err);
    }
    yml = calloc(1, sizeof(*yml));
    if (!yml) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory while reading " GP_YML_NAME);
    }
    reader.yml = yml;
    rc = gp_yml_read(&reader, err);
    if (rc < 0) {
        return rc;
    }
    *ret_yml = gp_steal(&yml);

    return 0;
}


gp_yml_t *gp_yml_free(gp_yml_t *yml)
{
    size_t i, k;

    if (!yml) {
        return NULL;
    }
    for (i = 0; i < yml->n_tasks; i++) {
        free(yml->tasks[i].name);
        free(yml->tasks[i].before);
        free(yml->tasks[i].init);
        free(yml->tasks[i].command);
        for (k = 0; k < yml->tasks[i].n_env; k++) {
            free(yml->tasks[i].env[k].name);
            free(yml->tasks[i].env[k].value);
        }
    }
    for (i = 0; i < yml->n_ports; i++) {
        gp_yml_port_done(&yml->ports[i]);
    }
    for (i = 0; i < yml->n_warnings; i++) {
        free(yml->warnings[i]);
    }
    free(yml->tasks);
    free(yml->ports);
    free(yml);

    return NULL;
}

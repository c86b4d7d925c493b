#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/die.h"
#include "base/option.h"

#define GP_OPTION_NAME_MAX 64 /* bytes */
#define GP_OPTION_LINE_MAX 4096 /* bytes of a line of a configuration file */
#define GP_OPTION_LINES_MAX 4096 /* lines of a configuration file */

typedef struct {
    const gp_option_t *table;
    size_t n;
    char *conf;
    bool *given; /* per option: some source other than the default named it */
} gp_option_set_t;


static const gp_option_t *gp_option_find(const gp_option_set_t *set, const char *name, size_t len)
{
    size_t i;

    for (i = 0; i < set->n; i++) {
        if (strlen(set->table[i].name) == len && memcmp(set->table[i].name, name, len) == 0) {
            return &set->table[i];
        }
    }

    return NULL;
}


/* A whole number with one of the suffixes; factors[i] belongs to suffixes[i]. */
static int gp_option_number(const char *value, const char *suffixes, const int64_t *factors, int64_t *ret_number)
{
    const char *unit;
    char *end;
    long long number;

    errno = 0;
    number = strtoll(value, &end, 10);
    if (end == value || errno != 0 || isspace((unsigned char) value[0])) {
        return -GP_INVALID_ARGUMENT;
    }

    if (*end != '\0') {
        unit = strchr(suffixes, tolower((unsigned char) *end));
        if (unit == NULL || *unit == '\0' || end[1] != '\0') {
            return -GP_INVALID_ARGUMENT;
        }
        if (__builtin_mul_overflow(number, factors[unit - suffixes], &number)) {
            return -GP_INVALID_ARGUMENT;
        }
    }

    *ret_number = number;

    return 0;
}


static int gp_option_parse_number(const gp_option_t *opt, const char *value, const char *where, int64_t *ret_number, gp_err_t *err)
{
    static const int64_t seconds[] = {1, 60, 3600, 86400};
    static const int64_t bytes[] = {1024, 1048576, 1073741824};

    const char *form;
    int rc;

    if (opt->type == GP_OPT_SECONDS) {
        form = "a number of seconds, or one with s, m, h or d";
        rc = gp_option_number(value, "smhd", seconds, ret_number);
    } else if (opt->type == GP_OPT_BYTES) {
        form = "a number of bytes, or one with k, m or g";
        rc = gp_option_number(value, "kmg", bytes, ret_number);
    } else {
        form = "a whole number";
        rc = gp_option_number(value, "", NULL, ret_number);
    }

    if (rc != 0) {
        return gp_err(err, GP_INVALID_ARGUMENT, "%s: option %s: \"%s\" is not %s", where, opt->name, value, form);
    }

    if (*ret_number < opt->min || *ret_number > opt->max) {
        return gp_err(err, GP_INVALID_ARGUMENT, "%s: option %s: %s is outside %" PRId64 " to %" PRId64 "%s%s", where, opt->name, value,
                      opt->min, opt->max, opt->unit && opt->unit[0] ? " " : "", opt->unit ? opt->unit : "");
    }

    return 0;
}


static int gp_option_parse_bool(const gp_option_t *opt, const char *value, const char *where, bool *ret_bool, gp_err_t *err)
{
    static const char *const names[] = {"on", "true", "yes", "1", "off", "false", "no", "0"};

    size_t i;

    for (i = 0; i < 8; i++) {
        if (strcmp(value, names[i]) == 0) {
            *ret_bool = i < 4;
            return 0;
        }
    }

    return gp_err(err, GP_INVALID_ARGUMENT, "%s: option %s: \"%s\" is neither on nor off", where, opt->name, value);
}


static int gp_option_set(gp_option_set_t *set, const gp_option_t *opt, const char *value, const char *where, gp_err_t *err)
{
    void *slot;
    char *copy;

    slot = set->conf + opt->offset;

    switch (opt->type) {
    case GP_OPT_STRING:
        copy = strdup(value);
        if (copy == NULL) {
            gp_die("out of memory: option %s", opt->name);
        }
        free(*(char **) slot);
        *(char **) slot = copy;
        return 0;
    case GP_OPT_BOOL:
        return gp_option_parse_bool(opt, value, where, slot, err);
    case GP_OPT_INT:
    case GP_OPT_SECONDS:
    case GP_OPT_BYTES:
        return gp_option_parse_number(opt, value, where, slot, err);
    }

    return gp_err(err, GP_INTERNAL, "option %s has no type", opt->name);
}


static int gp_option_give(gp_option_set_t *set, const char *name, size_t name_len, const char *value, const char *where, gp_err_t *err)
{
    const gp_option_t *opt;

    opt = gp_option_find(set, name, name_len);
    if (opt == NULL) {
        return gp_err(err, GP_INVALID_ARGUMENT, "%s: there is no option \"%.*s\"; --help lists them", where, (int) name_len, name);
    }

    set->given[opt - set->table] = true;

    return gp_option_set(set, opt, value, where, err);
}


static void gp_option_env_name(const gp_option_t *opt, char ret_name[GP_OPTION_NAME_MAX])
{
    char *p;

    (void) snprintf(ret_name, GP_OPTION_NAME_MAX, "GITPOD_%s", opt->name);
    for (p = ret_name; *p != '\0'; p++) {
        *p = *p == '-' ? '_' : (char) toupper((unsigned char) *p);
    }
}


static int gp_option_defaults_and_env(gp_option_set_t *set, gp_err_t *err)
{
    char name[GP_OPTION_NAME_MAX];
    const char *value;
    size_t i;
    int rc;

    for (i = 0; i < set->n; i++) {
        if (set->table[i].value != NULL) {
            rc = gp_option_set(set, &set->table[i], set->table[i].value, "default", err);
            if (rc != 0) {
                return rc;
            }
        }

        gp_option_env_name(&set->table[i], name);
        value = getenv(name);
        if (value == NULL) {
            continue;
        }

        set->given[i] = true;
        rc = gp_option_set(set, &set->table[i], value, name, err);
        if (rc != 0) {
            return rc;
        }
    }

    return 0;
}


static char *gp_option_trim(char *text)
{
    char *end;

    while (isspace((unsigned char) *text)) {
        text++;
    }

    end = text + strlen(text);
    while (end > text && isspace((unsigned char) end[-1])) {
        end--;
    }
    *end = '\0';

    return text;
}


static int gp_option_file(gp_option_set_t *set, const char *path, gp_err_t *err)
{
    gp_auto_file FILE *file = NULL;
    char line[GP_OPTION_LINE_MAX], where[GP_ERR_TEXT_MAX / 2];
    char *name, *value, *equal;
    int number, rc;

    file = fopen(path, "re");
    if (file == NULL) {
        return gp_err_errno(err, errno, "configuration file %s", path);
    }

    for (number = 1; fgets(line, sizeof(line), file) != NULL; number++) {
        (void) snprintf(where, sizeof(where), "%s:%d", path, number);
        if (strlen(line) == sizeof(line) - 1 || number > GP_OPTION_LINES_MAX) {
            return gp_err(err, GP_INVALID_ARGUMENT, "%s: longer than %d bytes or %d lines", where, GP_OPTION_LINE_MAX, GP_OPTION_LINES_MAX);
        }

        name = gp_option_trim(line);
        if (name[0] == '\0' || name[0] == '#') {
            continue;
        }

        equal = strchr(name, '=');
        if (equal == NULL) {
            return gp_err(err, GP_INVALID_ARGUMENT, "%s: expected \"name = value\"", where);
        }
        *equal = '\0';
        value = gp_option_trim(equal + 1);
        name = gp_option_trim(name);

        rc = gp_option_give(set, name, strlen(name), value, where, err);
        if (rc != 0) {
            return rc;
        }
    }

    return 0;
}


/*
 * One argument at *i. fn_config: only --config is acted on, else everything but it.
 * The command line is read twice, because it wins over the file it names.
 */
static int gp_option_argument(gp_option_set_t *set, int argc, char **argv, int *i, bool config_pass, gp_err_t *err)
{
    const char *name, *equal, *value;
    size_t len;
    bool is_config;

    name = argv[*i];
    if (strncmp(name, "--", 2) != 0 || name[2] == '\0') {
        return gp_err(err, GP_INVALID_ARGUMENT, "argument \"%s\": expected --name value; --help lists the options", name);
    }

    name += 2;
    equal = strchr(name, '=');
    len = equal ? (size_t) (equal - name) : strlen(name);

    if (equal != NULL) {
        value = equal + 1;
    } else if (*i + 1 < argc) {
        value = argv[++*i];
    } else {
        return gp_err(err, GP_INVALID_ARGUMENT, "argument --%s: the value is missing", name);
    }

    is_config = len == 6 && memcmp(name, "config", 6) == 0;
    if (is_config != config_pass) {
        return 0;
    }

    return is_config ? gp_option_file(set, value, err) : gp_option_give(set, name, len, value, "argument", err);
}


static int gp_option_required(const gp_option_set_t *set, gp_err_t *err)
{
    char name[GP_OPTION_NAME_MAX];
    size_t i;

    for (i = 0; i < set->n; i++) {
        if (set->table[i].value == NULL && !set->given[i]) {
            gp_option_env_name(&set->table[i], name);
            return gp_err(err, GP_INVALID_ARGUMENT, "option %s is required: give --%s or set %s", set->table[i].name, set->table[i].name,
                          name);
        }
    }

    return 0;
}


int gp_options_parse(const gp_option_t *table, size_t n, void *conf, const char *service, int argc, char **argv, gp_err_t *err)
{
    gp_auto_free bool *given = NULL;
    gp_option_set_t set;
    int i, pass, rc;

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            gp_options_help(table, n, service, "");
            exit(0);
        }
        if (strcmp(argv[i], "--version") == 0) {
            printf("%s %s\n", service, GP_VERSION);
            exit(0);
        }
    }

    given = calloc(n ? n : 1, sizeof(bool));
    if (given == NULL) {
        gp_die("out of memory: options");
    }
    set = (gp_option_set_t){.table = table, .n = n, .conf = conf, .given = given};

    rc = gp_option_defaults_and_env(&set, err);
    for (pass = 0; rc == 0 && pass < 2; pass++) {
        for (i = 1; rc == 0 && i < argc; i++) {
            rc = gp_option_argument(&set, argc, argv, &i, pass == 0, err);
        }
    }

    return rc == 0 ? gp_option_required(&set, err) : rc;
}


static const char *gp_option_type_name(enum gp_option_type type)
{
    switch (type) {
    case GP_OPT_STRING:
        return "text";
    case GP_OPT_INT:
        return "number";
    case GP_OPT_BOOL:
        return "on|off";
    case GP_OPT_SECONDS:
        return "seconds";
    case GP_OPT_BYTES:
        return "bytes";
    }

    return "";
}


void gp_options_help(const gp_option_t *table, size_t n, const char *service, const char *text)
{
    char name[GP_OPTION_NAME_MAX];
    const gp_option_t *opt;
    size_t i;

    printf("%s%s%s\n\nUsage: %s [--config FILE] [--name value | --name=value]...\n\nOptions:\n", service, text[0] ? " - " : "", text,
           service);

    for (i = 0; i < n; i++) {
        opt = &table[i];
        gp_option_env_name(opt, name);
        printf("  --%s <%s>\n      %s\n      ", opt->name, gp_option_type_name(opt->type), opt->text);
        if (opt->value == NULL) {
            printf("required");
        } else {
            printf("default: %s%s%s", opt->value[0] ? opt->value : "(empty)", opt->unit && opt->unit[0] ? " " : "",
                   opt->unit ? opt->unit : "");
        }
        if (opt->type != GP_OPT_STRING && opt->type != GP_OPT_BOOL) {
            printf("; %" PRId64 " to %" PRId64, opt->min, opt->max);
        }
        printf("; environment: %s\n", name);
    }

    printf("  --config <file>\n      \"name = value\" lines; '#' begins a comment line\n  --help, --version\n");
}

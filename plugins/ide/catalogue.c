#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "catalogue.h"

#define IDE_NAMES_MAX 256 /* bytes of the list of names in an error */


static int ide_read_file(const char *path, gp_arena_t *arena, char **ret_text, size_t *ret_len, gp_err_t *err)
{
    gp_auto_fd int fd = -1;
    struct stat st;
    size_t len = 0;
    char *text;
    ssize_t n;

    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        return gp_err_errno(err, errno, "catalogue of editors %s", path);
    }
    if (st.st_size > IDE_CATALOGUE_MAX) {
        return gp_err(err, GP_FAILED_PRECONDITION, "catalogue of editors %s: longer than %d bytes", path, IDE_CATALOGUE_MAX);
    }

    text = gp_arena_alloc(arena, (size_t) st.st_size + 1);
    while (len < (size_t) st.st_size) {
        n = read(fd, text + len, (size_t) st.st_size - len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return gp_err_errno(err, errno, "catalogue of editors %s", path);
        }
        if (n == 0) {
            break;
        }
        len += (size_t) n;
    }

    *ret_text = text;
    *ret_len = len;

    return 0;
}


/* A member that must be a text; may be empty unless required. */
static int ide_text(const json_t *entry, const char *where, const char *name, bool required, gp_arena_t *arena, char **ret_text,
                    gp_err_t *err)
{
    const json_t *value = json_object_get(entry, name);

    if (value == NULL && !required) {
        return 0;
    }
    if (!json_is_string(value) || (required && json_string_length(value) == 0)) {
        return gp_err(err, GP_FAILED_PRECONDITION, "%s: \"%s\" must be a text%s", where, name, required ? " and not empty" : "");
    }
    *ret_text = gp_arena_strdup(arena, json_string_value(value));

    return 0;
}


static int ide_command(const json_t *entry, const char *where, gp_arena_t *arena, ide_editor_t *editor, gp_err_t *err)
{
    const json_t *list = json_object_get(entry, "command");
    const json_t *item;
    size_t i, n = json_array_size(list);

    if (n == 0 || n > IDE_COMMAND_MAX) {
        return gp_err(err, GP_FAILED_PRECONDITION, "%s: \"command\" must be a list of 1 to %d texts", where, IDE_COMMAND_MAX);
    }

    editor->command = gp_arena_alloc(arena, n * sizeof(char *));
    for (i = 0; i < n; i++) {
        item = json_array_get(list, i);
        if (!json_is_string(item)) {
            return gp_err(err, GP_FAILED_PRECONDITION, "%s: \"command\" must be a list of texts", where);
        }
        editor->command[i] = gp_arena_strdup(arena, json_string_value(item));
    }
    editor->n_command = n;
    if (editor->command[0][0] != '/') {
        return gp_err(err, GP_FAILED_PRECONDITION, "%s: \"command\" must begin with an absolute path inside the workspace", where);
    }

    return 0;
}


static int ide_entry(const json_t *entry, const char *where, gp_arena_t *arena, ide_editor_t *editor, gp_err_t *err)
{
    int rc;

    if (!json_is_object(entry)) {
        return gp_err(err, GP_FAILED_PRECONDITION, "%s: must be an object", where);
    }
    if ((rc = ide_text(entry, where, "id", true, arena, &editor->id, err)) < 0 ||
        (rc = ide_text(entry, where, "title", true, arena, &editor->title, err)) < 0 ||
        (rc = ide_text(entry, where, "version", false, arena, &editor->version, err)) < 0 ||
        (rc = ide_text(entry, where, "mount", true, arena, &editor->mount_source, err)) < 0 ||
        (rc = ide_text(entry, where, "probe", true, arena, &editor->probe_url, err)) < 0 ||
        (rc = ide_command(entry, where, arena, editor, err)) < 0) {
        return rc;
    }
    if (editor->mount_source[0] != '/') {
        return gp_err(err, GP_FAILED_PRECONDITION, "%s: \"mount\" must be an absolute path", where);
    }
    editor->is_default = json_is_true(json_object_get(entry, "default"));

    return 0;
}


static int ide_entries(const json_t *list, const char *path, gp_arena_t *arena, ide_catalogue_t *catalogue, gp_err_t *err)
{
    size_t i, n = json_array_size(list), n_default = 0;
    const char *where;
    int rc;

    if (n == 0 || n > IDE_EDITORS_MAX) {
        return gp_err(err, GP_FAILED_PRECONDITION, "catalogue of editors %s: \"editors\" must be a list of 1 to %d entries", path,
                      IDE_EDITORS_MAX);
    }

    catalogue->editors = gp_arena_alloc(arena, n * sizeof(ide_editor_t *));
    catalogue->n = n;
    for (i = 0; i < n; i++) {
        catalogue->editors[i] = gp_arena_alloc(arena, sizeof(ide_editor_t));
        gitpod__internal__v1__editor__init(catalogue->editors[i]);
        where = gp_arena_printf(arena, "catalogue of editors %s: entry %zu", path, i);
        rc = ide_entry(json_array_get(list, i), where, arena, catalogue->editors[i], err);
        if (rc < 0) {
            return rc;
        }
        n_default += catalogue->editors[i]->is_default ? 1 : 0;
    }
    if (n_default != 1) {
        return gp_err(err, GP_FAILED_PRECONDITION, "catalogue of editors %s: %zu entries are the default, must be one", path, n_default);
    }

    return 0;
}


int ide_catalogue_load(const char *path, gp_arena_t *arena, ide_catalogue_t *ret_catalogue, gp_err_t *err)
{
    gp_auto_json json_t *doc = NULL;
    ide_catalogue_t catalogue = {0};
    json_error_t where;
    size_t len = 0;
    char *text = NULL;
    int rc;

    rc = ide_read_file(path, arena, &text, &len, err);
    if (rc < 0) {
        return rc;
    }

    doc = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
    if (doc == NULL) {
        return gp_err(err, GP_FAILED_PRECONDITION, "catalogue of editors %s, line %d: %s", path, where.line, where.text);
    }

    rc = ide_entries(json_object_get(doc, "editors"), path, arena, &catalogue, err);
    if (rc < 0) {
        return rc;
    }
    *ret_catalogue = catalogue;

    return 0;
}


/* "code 4.100.3, theia 1.74.1", as much as fits. */
static void ide_names(const ide_catalogue_t *catalogue, char names[IDE_NAMES_MAX])
{
    size_t i, at = 0;
    int n;

    names[0] = '\0';
    for (i = 0; i < catalogue->n; i++) {
        n = snprintf(names + at, IDE_NAMES_MAX - at, "%s%s %s", i == 0 ? "" : ", ", catalogue->editors[i]->id,
                     catalogue->editors[i]->version);
        if (n < 0 || (size_t) n >= IDE_NAMES_MAX - at) {
            names[at] = '\0';
            return;
        }
        at += (size_t) n;
    }
}


int ide_catalogue_find(const ide_catalogue_t *catalogue, const char *id, const char *version, ide_editor_t **ret_editor, gp_err_t *err)
{
    bool any = version[0] == '\0' || strcmp(version, "latest") == 0 || strcmp(version, "stable") == 0;
    char names[IDE_NAMES_MAX];
    ide_editor_t *editor;
    size_t i;

    for (i = 0; i < catalogue->n; i++) {
        editor = catalogue->editors[i];
        if (id[0] == '\0' ? !editor->is_default : strcmp(editor->id, id) != 0) {
            continue;
        }
        if (any || strcmp(editor->version, version) == 0) {
            *ret_editor = editor;
            return 0;
        }
    }

    ide_names(catalogue, names);

    return gp_err(err, GP_NOT_FOUND, "there is no editor \"%.64s\"%s%.32s; there are: %s", id, any ? "" : " in version ",
                  any ? "" : version, names);
}

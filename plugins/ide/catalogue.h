#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "gitpod/internal/v1/ide.pb-c.h"

#define IDE_EDITORS_MAX 64 /* entries of a catalogue */
#define IDE_COMMAND_MAX 64 /* arguments of an editor's command */
#define IDE_CATALOGUE_MAX 1048576 /* bytes of the file */

/*
 * The editors a workspace can get, from a JSON file:
 *
 *     {"editors": [{"id", "title", "version", "default", "mount", "command", "probe"}]}
 *
 * One id may have several versions; exactly one entry is the default. The file
 * is small and read at each call, so that a change counts at once.
 */
typedef Gitpod__Internal__V1__Editor ide_editor_t;

typedef struct {
    ide_editor_t **editors;
    size_t n;
} ide_catalogue_t;

/*
 * ide_catalogue_load() - read and check the file; everything lives in arena
 *
 * Errors: NOT_FOUND and so on of the file, FAILED_PRECONDITION naming the entry
 * and the member that is wrong.
 */
int ide_catalogue_load(const char *path, gp_arena_t *arena, ide_catalogue_t *ret_catalogue, gp_err_t *err)
    __attribute__((warn_unused_result));

/*
 * ide_catalogue_find() - the editor of an id and version
 *
 * An empty id is the default editor; an empty version, "latest" and "stable" are the
 * first entry of the id. NOT_FOUND names those there are.
 */
int ide_catalogue_find(const ide_catalogue_t *catalogue, const char *id, const char *version, ide_editor_t **ret_editor, gp_err_t *err)
    __attribute__((warn_unused_result));

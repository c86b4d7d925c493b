#pragma once

#include <stddef.h>

#include "base/arena.h"

/*
 * gp_form_find() - the field of that name in "a=b&c=d", a query or a form's body
 *
 * Pure, but for the arena. Names are compared as they are written; the first
 * of one name counts. A value is decoded: '+' is a space (URL standard, 5.1).
 *
 * @text  may hold any byte, is not terminated
 *
 * The value, in the arena; NULL: no such field, a bad escape in it, or a NUL.
 */
char *gp_form_find(gp_arena_t *arena, const char *text, size_t len, const char *name);

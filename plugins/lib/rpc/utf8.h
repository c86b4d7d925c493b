#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

/* Well-formed UTF-8 (Unicode 15, table 3-7): no surrogates, no overlong forms. NUL is a character like any other. */
bool gp_utf8_valid(const char *s, size_t len);

/*
 * What comes from a file system, git or an engine need not be UTF-8, but every
 * string of a message is: the same text with U+FFFD for each byte that is not.
 * The argument itself when nothing is wrong with it.
 */
const char *gp_utf8_repair(gp_arena_t *arena, const char *s);

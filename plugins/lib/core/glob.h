#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * gp_glob_match() - does the whole text fit the pattern
 *
 * `*` stands for any run of characters, the empty one too; everything else for
 * itself. Time is at most pattern_len x len, and linear for one star.
 */
bool gp_glob_match(const char *pattern, size_t pattern_len, const char *text, size_t len);

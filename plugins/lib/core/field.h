#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * gp_field_tokens() - is the value one token of HTTP (RFC 9110, 5.6.2), or,
 * with list, a list of them with commas and spaces between
 *
 * At most max bytes; an empty value is none.
 */
bool gp_field_tokens(const char *value, size_t len, size_t max, bool list);

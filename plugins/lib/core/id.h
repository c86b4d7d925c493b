#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/contract.h"

/*
 * Workspace ids: 1 to GP_WORKSPACE_ID_MAX bytes of [0-9a-z-], no '-' at either
 * end, and nothing the host grammar would read as a prefix: an id that starts
 * with digits and '-' or with "debug-" could not be told from a port host.
 */
bool gp_id_workspace_valid(const char *id, size_t len);

/* UUID text, lower case, 8-4-4-4-12: instance and user ids. */
bool gp_id_uuid_valid(const char *id, size_t len);

/* Writes the text of a version 4 UUID from 16 random bytes, NUL-terminated. */
void gp_id_uuid_format(const uint8_t random[16], char ret_text[GP_INSTANCE_ID_LEN + 1]);

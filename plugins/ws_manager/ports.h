#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"

/*
 * Which ports of a workspace are not as others are (private, http), as JSON text
 * of the database: {"user":[...],"file":[...]}, entries as in the route record.
 * "file" is what .gitpod.yml says, read anew at each start; "user" is what the
 * owner chose, which counts before it and outlives starts. Pure functions.
 */
#define WSM_PORTS_NONE "{}"

typedef struct {
    int port;
    const bool *visible; /* NULL: as it was */
    const char *protocol; /* "": as it was */
} wsm_port_change_t;

/* 0, or -GP_INVALID_ARGUMENT: no number of a port, or one that is no program's. */
int wsm_ports_check(int port, gp_err_t *err);

/*
 * wsm_ports_change() - the text with the owner's choice for one port
 *
 * Returns 1 when nothing changes: ret_text is not set then.
 *
 * @ret_text  in arena
 *
 * Errors: INVALID_ARGUMENT (no user's port, unknown protocol), RESOURCE_EXHAUSTED (GP_ROUTE_PORTS_MAX of them), INTERNAL (text is no JSON)
 */
int wsm_ports_change(const char *text, const wsm_port_change_t *change, gp_arena_t *arena, const char **ret_text, gp_err_t *err)
    __attribute__((warn_unused_result));

/*
 * wsm_ports_configure() - the text with what .gitpod.yml says now
 *
 * @file           JSON array of entries; those the route record has no room for, or that are no user's port, are left out
 * @ret_left_out   how many
 *
 * Errors: INTERNAL (text or file is no JSON), RESOURCE_EXHAUSTED out of memory
 */
int wsm_ports_configure(const char *text, const char *file, gp_arena_t *arena, const char **ret_text, size_t *ret_left_out, gp_err_t *err)
    __attribute__((warn_unused_result));

/* The "ports" of the route record: an array for the caller to release; NULL: text is no JSON, or out of memory. */
json_t *wsm_ports_effective(const char *text);

#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/contract.h"

/*
 * Cookies of applications in mode port, where all workspaces share one host
 * and so one set of cookies: the name carries the workspace's id. Pure, no
 * allocation; lengths are the caller's, texts are not terminated.
 *
 *     sid=1         <->  gp.<id>.sid=1
 *     __Host-sid=1  <->  __Host-gp.<id>.sid=1
 */

/* What a name may grow by. */
#define GP_COOKIE_GROWTH (sizeof(GP_COOKIE_APPLICATION) + GP_WORKSPACE_ID_MAX)

/*
 * gp_cookie_ours() - whether a name is one of the gateway's own
 *
 * With or without __Host-, with or without the number of a listener: none of
 * these forms is anybody else's. Letters are compared lower-cased.
 */
bool gp_cookie_ours(const char *name, size_t len);

/*
 * gp_cookie_out() - a Set-Cookie of a workspace as the browser may have it
 *
 * @dst  room for len + GP_COOKIE_GROWTH bytes
 *
 * The length of what it wrote, without a Domain; 0: the browser must not see
 * it, since it has no name or one of ours.
 */
size_t gp_cookie_out(const char *line, size_t len, const char *id, size_t id_len, char *dst);

/*
 * gp_cookie_in() - one "name=value" of a Cookie header as the workspace set it
 *
 * @dst  room for len bytes
 *
 * The length of what it wrote; 0: the workspace did not set it.
 */
size_t gp_cookie_in(const char *pair, size_t len, const char *id, size_t id_len, char *dst);

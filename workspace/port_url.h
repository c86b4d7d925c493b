#pragma once

#include <stddef.h>

/* Where people find ports of this workspace: for the supervisor and gp. */

/*
 * gp_port_url_join() - mode host: the URL of a port, from that of the workspace
 *
 * 0, or -GP_INVALID_ARGUMENT: it is no URL, or there is no room
 */
int gp_port_url_join(const char *url, unsigned port, char *dst, size_t size);

/*
 * gp_port_url() - the same in either mode, by the environment of the container
 *
 * Mode port: what the file that GITPOD_PORT_URLS names says; while it says nothing
 * of the port, the address of the gateway that gives it one and leads there.
 *
 * 0, or -GP_INVALID_ARGUMENT: the environment is not that of a workspace, or there is no room
 */
int gp_port_url(unsigned port, char *dst, size_t size);

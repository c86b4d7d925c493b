#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/contract.h"

/*
 * Host names of workspaces: `[<port>-][debug-]<workspace id>.<W>`. Pure, no
 * allocation; the gateway calls it on every request.
 */
typedef struct {
    char id[GP_WORKSPACE_ID_MAX + 1]; /* lower case, NUL-terminated */
    uint8_t id_len;
    bool debug;
    uint16_t port; /* 0: none, the editor */
} gp_host_t;

/*
 * gp_host_parse() - take a Host header apart
 *
 * Both ends are anchored and letters are compared lower-cased. The header may
 * end in ":port" (1 to 65535), which is not looked at further. A leading run of
 * digits before '-' is always the port: 1 to 65535, no leading zero.
 *
 * @domain  W, without dots at either end
 *
 * 0; -GP_NOT_FOUND: not a name below W (W itself included);
 * -GP_INVALID_ARGUMENT: below W, or hopeless (empty, longer than a host name,
 * bad ":port", trailing dot), but not of the grammar.
 */
int gp_host_parse(const char *host, size_t len, const char *domain, size_t domain_len, gp_host_t *ret_host);

/*
 * gp_host_strip_port() - length of the name in "name[:port]"
 *
 * 0 and *ret_len, or -GP_INVALID_ARGUMENT for an empty or wrong port.
 */
int gp_host_strip_port(const char *host, size_t len, size_t *ret_len);

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/host.h"
#include "core/id.h"

/* A Host header: what is read of it, written again, is the name that came, in lower case. */
#define W "ws-gitpod.localhost"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void again(const gp_host_t *host, const char *name, size_t len)
{
    char text[GP_HOST_MAX + 1], port[sizeof("65535-")] = "";
    size_t i;

    if (strlen(host->id) != host->id_len || !gp_id_workspace_valid(host->id, host->id_len)) {
        abort();
    }
    if (host->port != 0) {
        (void) snprintf(port, sizeof(port), "%u-", host->port);
    }
    if ((size_t) snprintf(text, sizeof(text), "%s%s%s." W, port, host->debug ? "debug-" : "", host->id) != len) {
        abort();
    }
    for (i = 0; i < len; i++) {
        if (text[i] != (name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i])) {
            abort();
        }
    }
}


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *name = (const char *) data;
    gp_host_t host;
    size_t len;

    if (gp_host_strip_port(name, size, &len) == 0 && (len > size || (len < size && name[len] != ':'))) {
        abort();
    }
    if (gp_host_parse(name, size, W, sizeof(W) - 1, &host) == 0) {
        if (gp_host_strip_port(name, size, &len) != 0) {
            abort();
        }
        again(&host, name, len);
    }

    return 0;
}

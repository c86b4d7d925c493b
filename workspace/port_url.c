#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "core/code.h"
#include "core/contract.h"
#include "port_url.h"

int gp_port_url_join(const char *url, unsigned port, char *dst, size_t size)
{
    const char *host = strstr(url, "://");
    int n;

    if (!host || host == url) {
        return -GP_INVALID_ARGUMENT;
    }
    host += 3;
    n = snprintf(dst, size, "%.*s%u-%s", (int) (host - url), url, port, host);

    return n < 0 || (size_t) n >= size ? -GP_INVALID_ARGUMENT : 0;
}


static int gp_port_url_told(const char *path, unsigned port, char *dst, size_t size)
{
    gp_auto_json json_t *doc = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    char key[16];
    const char *url;

    (void) snprintf(key, sizeof(key), "%u", port);
    url = json_string_value(json_object_get(doc, key));
    if (!url || strlen(url) >= size) {
        return -GP_NOT_FOUND;
    }
    (void) snprintf(dst, size, "%s", url);

    return 0;
}


static int gp_port_url_giving(unsigned port, char *dst, size_t size)
{
    const char *host = getenv("GITPOD_HOST"), *id = getenv("GITPOD_WORKSPACE_ID");
    int n = host && *host && id && *id ? snprintf(dst, size, "%s" GP_PATH_PORTS "%s/%u/", host, id, port) : -1;

    return n < 0 || (size_t) n >= size ? -GP_INVALID_ARGUMENT : 0;
}


int gp_port_url(unsigned port, char *dst, size_t size)
{
    const char *told = getenv("GITPOD_PORT_URLS"), *url = getenv("GITPOD_WORKSPACE_URL");

    if (told && *told) {
        return gp_port_url_told(told, port, dst, size) == 0 ? 0 : gp_port_url_giving(port, dst, size);
    }

    return url ? gp_port_url_join(url, port, dst, size) : -GP_INVALID_ARGUMENT;
}

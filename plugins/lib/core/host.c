#include <string.h>

#include "core/host.h"
#include "core/code.h"
#include "core/id.h"

#define GP_HOST_PORT_DIGITS 5 /* 65535 */
#define GP_HOST_PORT_MAX 65535 /* 16 bit */


static char gp_host_lower(char ch)
{
    return (char) ((ch >= 'A' && ch <= 'Z') ? ch | 0x20 : ch);
}


/* A port number that is the whole span. */
static int gp_host_port(const char *text, size_t len, uint16_t *ret_port)
{
    uint32_t port;
    size_t i;

    if (len == 0 || len > GP_HOST_PORT_DIGITS || text[0] == '0') {
        return -GP_INVALID_ARGUMENT;
    }

    port = 0;
    for (i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -GP_INVALID_ARGUMENT;
        }
        port = port * 10 + (uint32_t) (text[i] - '0');
    }

    if (port > GP_HOST_PORT_MAX) {
        return -GP_INVALID_ARGUMENT;
    }

    *ret_port = (uint16_t) port;

    return 0;
}


int gp_host_strip_port(const char *host, size_t len, size_t *ret_len)
{
    const char *colon;
    uint16_t port;

    colon = len ? memchr(host, ':', len) : NULL;
    if (colon == NULL) {
        *ret_len = len;
        return 0;
    }

    if (gp_host_port(colon + 1, len - (size_t) (colon + 1 - host), &port) != 0) {
        return -GP_INVALID_ARGUMENT;
    }

    *ret_len = (size_t) (colon - host);

    return 0;
}


/* Whether the name ends in ".<domain>"; *ret_label is the length of what comes before. */
static bool gp_host_below(const char *host, size_t len, const char *domain, size_t domain_len, size_t *ret_label)
{
    const char *tail;
    size_t i;

    if (domain_len == 0 || len < domain_len + 1) {
        return false;
    }

    tail = host + len - domain_len;
    if (tail[-1] != '.') {
        return false;
    }

    for (i = 0; i < domain_len; i++) {
        if (gp_host_lower(tail[i]) != gp_host_lower(domain[i])) {
            return false;
        }
    }

    *ret_label = len - domain_len - 1;

    return true;
}


/* `[<port>-][debug-]<workspace id>`, already lower case. */
static int gp_host_label(const char *label, size_t len, gp_host_t *ret_host)
{
    size_t i;

    i = 0;
    while (i < len && label[i] >= '0' && label[i] <= '9') {
        i++;
    }

    if (i > 0 && i < len && label[i] == '-') {
        if (gp_host_port(label, i, &ret_host->port) != 0) {
            return -GP_INVALID_ARGUMENT;
        }
        label += i + 1;
        len -= i + 1;
    }

    i = sizeof(GP_HOST_DEBUG_PREFIX) - 1;
    if (len > i && memcmp(label, GP_HOST_DEBUG_PREFIX, i) == 0) {
        ret_host->debug = true;
        label += i;
        len -= i;
    }

    if (!gp_id_workspace_valid(label, len)) {
        return -GP_INVALID_ARGUMENT;
    }

    memcpy(ret_host->id, label, len);
    ret_host->id[len] = '\0';
    ret_host->id_len = (uint8_t) len;

    return 0;
}


int gp_host_parse(const char *host, size_t len, const char *domain, size_t domain_len, gp_host_t *ret_host)
{
    char label[sizeof("65535-" GP_HOST_DEBUG_PREFIX) - 1 + GP_WORKSPACE_ID_MAX];
    size_t i, label_len;

    memset(ret_host, 0, sizeof(gp_host_t));

    if (gp_host_strip_port(host, len, &len) != 0 || len == 0 || len > GP_HOST_MAX || host[len - 1] == '.') {
        return -GP_INVALID_ARGUMENT;
    }

    if (!gp_host_below(host, len, domain, domain_len, &label_len)) {
        return -GP_NOT_FOUND;
    }

    if (label_len == 0 || label_len > sizeof(label)) {
        return -GP_INVALID_ARGUMENT;
    }

    for (i = 0; i < label_len; i++) {
        label[i] = gp_host_lower(host[i]);
    }

    return gp_host_label(label, label_len, ret_host);
}

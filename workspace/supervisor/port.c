#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "core/contract.h"
#include "forward.h"
#include "loop.h"
#include "port.h"
#include "../port_url.h"

#define SUP_PORT_SCAN_MS 2000
#define SUP_PORT_LINES_MAX 16384 /* sockets of a container that are looked at */
#define SUP_PORT_URL_MAX 512
#define SUP_PORT_FILE GP_DIR_INSTANCE "/" GP_FILE_EXPOSED_NAME
#define SUP_PORT_FILE_MAX 4096

static const gp_yml_t *sup_port_yml;
static sup_timer_t sup_port_timer;
static sup_listener_t sup_ports[SUP_PORTS_MAX]; /* by number, each once, where is the union */
static size_t sup_ports_n;


static uint8_t sup_port_where6(const char *address)
{
    static const char any[] = "00000000000000000000000000000000";
    static const char loopback[] = "00000000000000000000000001000000";
    static const char mapped_loopback[] = "0000000000000000FFFF00000100007F";

    if (memcmp(address, any, 32) == 0) {
        return SUP_PORT_ANY;
    }
    if (memcmp(address, loopback, 32) == 0) {
        return SUP_PORT_LOOPBACK6;
    }

    return memcmp(address, mapped_loopback, 32) == 0 ? SUP_PORT_LOOPBACK4 : SUP_PORT_ADDRESS;
}


/* "  0: 0100007F:0BB8 00000000:0000 0A ..." */
int sup_port_parse_line(const char *line, int v6, sup_listener_t *ret_listener)
{
    const size_t digits = v6 ? 32 : 8;
    const char *p = strchr(line, ':');
    const char *address;
    unsigned long port;
    char *end;

    if (!p || p[1] != ' ') {
        return 0;
    }
    address = p + 2;
    if (strspn(address, "0123456789ABCDEF") != digits || address[digits] != ':') {
        return 0;
    }
    port = strtoul(address + digits + 1, &end, 16);
    p = end;
    if (*p != ' ' || port < 1 || port > 65535) {
        return 0;
    }
    p++;
    p += strspn(p, "0123456789ABCDEF:");
    if (strncmp(p, " 0A ", 4) != 0) {
        return 0;
    }
    memset(ret_listener, 0, sizeof(*ret_listener));
    ret_listener->port = (uint16_t) port;
    if (v6) {
        ret_listener->where = sup_port_where6(address);
    } else {
        ret_listener->address = (uint32_t) strtoul(
            (const char[]){address[0], address[1], address[2], address[3], address[4], address[5], address[6], address[7], '\0'}, NULL, 16);
        ret_listener->where = ret_listener->address == 0                    ? SUP_PORT_ANY
                              : (ntohl(ret_listener->address) >> 24) == 127 ? SUP_PORT_LOOPBACK4
                                                                            : SUP_PORT_ADDRESS;
    }

    return 1;
}


static int sup_port_internal(uint16_t port)
{
    return port == GP_PORT_SUPERVISOR || port == GP_PORT_IDE || port == GP_PORT_SSH;
}


static void sup_port_found(const sup_listener_t *listener)
{
    size_t i;

    if (sup_port_internal(listener->port) ||
        (listener->where == SUP_PORT_ADDRESS && sup_forward_is_ours(listener->port, listener->address))) {
        return;
    }
    for (i = 0; i < sup_ports_n && sup_ports[i].port < listener->port; i++) {
    }
    if (i < sup_ports_n && sup_ports[i].port == listener->port) {
        sup_ports[i].where |= listener->where;
    } else if (sup_ports_n < SUP_PORTS_MAX) {
        memmove(&sup_ports[i + 1], &sup_ports[i], (sup_ports_n - i) * sizeof(*sup_ports));
        sup_ports[i] = *listener;
        sup_ports_n++;
    }
}


static void sup_port_read(const char *path, int v6)
{
    gp_auto_file FILE *file = fopen(path, "re");
    sup_listener_t listener;
    char line[512];
    int n;

    for (n = 0; file && n < SUP_PORT_LINES_MAX && fgets(line, sizeof(line), file); n++) {
        if (sup_port_parse_line(line, v6, &listener)) {
            sup_port_found(&listener);
        }
    }
}


static const sup_listener_t *sup_port_served(unsigned port)
{
    size_t i;

    for (i = 0; i < sup_ports_n; i++) {
        if (sup_ports[i].port == port) {
            return &sup_ports[i];
        }
    }

    return NULL;
}


static int sup_port_wants_forward(uint16_t port)
{
    const sup_listener_t *listener = sup_port_served(port);

    return listener && !(listener->where & (SUP_PORT_ANY | SUP_PORT_ADDRESS));
}


static void sup_port_scan(sup_timer_t *timer)
{
    size_t i;

    sup_ports_n = 0;
    sup_port_read("/proc/net/tcp", 0);
    sup_port_read("/proc/net/tcp6", 1);
    sup_forward_keep(sup_port_wants_forward);
    for (i = 0; i < sup_ports_n; i++) {
        if (sup_port_wants_forward(sup_ports[i].port)) {
            sup_forward_open(sup_ports[i].port, !(sup_ports[i].where & SUP_PORT_LOOPBACK4));
        }
    }
    sup_timer_set(timer, SUP_PORT_SCAN_MS, sup_port_scan, NULL);
}


void sup_port_start(const gp_yml_t *yml)
{
    sup_port_yml = yml;
    sup_port_scan(&sup_port_timer);
}


/* The first entry of .gitpod.yml that names the port, and its place; NULL: none. */
static const gp_yml_port_t *sup_port_config(unsigned port)
{
    size_t i;

    for (i = 0; sup_port_yml && i < sup_port_yml->n_ports; i++) {
        if (port >= sup_port_yml->ports[i].first && port <= sup_port_yml->ports[i].last) {
            return &sup_port_yml->ports[i];
        }
    }

    return NULL;
}


/* What ws_manager says is so, entries as in the route record; NULL: nothing, every port is private and http. */
static json_t *sup_port_so(void)
{
    gp_auto_fd int fd = open(SUP_PORT_FILE, O_RDONLY | O_CLOEXEC);
    char text[SUP_PORT_FILE_MAX];
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

    return n <= 0 ? NULL : json_loadb(text, (size_t) n, 0, NULL);
}


static const json_t *sup_port_entry(const json_t *so, unsigned port)
{
    const json_t *entry;
    size_t i;

    json_array_foreach(so, i, entry)
    {
        if (json_integer_value(json_object_get(entry, "port")) == (json_int_t) port) {
            return entry;
        }
    }

    return NULL;
}


static const char *sup_port_said(const json_t *entry, const char *member, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(entry, member));

    return text ? text : otherwise;
}


static void sup_port_describe(json_t *list, const json_t *so, unsigned port)
{
    const gp_yml_port_t *config = sup_port_config(port);
    enum gp_yml_on_open on_open = config ? config->on_open : port <= 10000 ? GP_YML_NOTIFY_PRIVATE : GP_YML_IGNORE;
    const json_t *entry = sup_port_entry(so, port);
    char url[SUP_PORT_URL_MAX] = "";

    if (on_open == GP_YML_IGNORE_COMPLETELY && !entry) {
        return; /* one that is public is never hidden */
    }
    (void) gp_port_url(port, url, sizeof(url)); /* somebody may have broken the environment */
    (void) json_array_append_new(
        list, json_pack("{s:i, s:b, s:s, s:s, s:s, s:{s:s, s:s, s:s, s:s}}", "localPort", (int) port, "served",
                        sup_port_served(port) != NULL, "name", config && config->name ? config->name : "", "description",
                        config && config->description ? config->description : "", "onOpen", gp_yml_on_open_name(on_open), "exposed",
                        "visibility", sup_port_said(entry, "visibility", "private"), "protocol", sup_port_said(entry, "protocol", "http"),
                        "url", url, "onExposed", gp_yml_on_open_name(on_open)));
}


/* A port that is set to something and neither served nor a single one of .gitpod.yml. */
static int sup_port_only_set(unsigned port)
{
    const gp_yml_port_t *config = sup_port_config(port);

    return port >= 1 && port <= 65535 && !sup_port_served(port) && (!config || config->first != config->last);
}


/* Order: as configured, single ports even when not served, ranges only where served; then the rest by number; then what is only set. */
json_t *sup_port_status(void)
{
    gp_auto_json json_t *so = sup_port_so();
    json_t *list = json_array(), *entry;
    const gp_yml_port_t *config;
    unsigned port;
    size_t i;

    for (i = 0; sup_port_yml && i < sup_port_yml->n_ports; i++) {
        config = &sup_port_yml->ports[i];
        for (port = config->first; port <= config->last; port++) {
            if (sup_port_config(port) == config && !sup_port_internal((uint16_t) port) &&
                (config->first == config->last || sup_port_served(port))) {
                sup_port_describe(list, so, port);
            }
        }
    }
    for (i = 0; i < sup_ports_n; i++) {
        if (!sup_port_config(sup_ports[i].port)) {
            sup_port_describe(list, so, sup_ports[i].port);
        }
    }

    json_array_foreach(so, i, entry)
    {
        port = (unsigned) json_integer_value(json_object_get(entry, "port"));
        if (sup_port_only_set(port)) {
            sup_port_describe(list, so, port);
        }
    }

    return json_pack("{s:o}", "ports", list);
}

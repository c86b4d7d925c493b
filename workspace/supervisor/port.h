#pragma once

#include <stdint.h>

#include "base/gitpod_yml.h"
#include "base/json.h"

/*
 * Ports that programs of the workspace listen on: looked at every 2 s. Those
 * on loopback only are forwarded from the container's address, so that the
 * gateway reaches them.
 */
#define SUP_PORTS_MAX 256 /* served ports that are told apart */

enum { SUP_PORT_ANY = 1, SUP_PORT_LOOPBACK4 = 2, SUP_PORT_LOOPBACK6 = 4, SUP_PORT_ADDRESS = 8 };

typedef struct {
    uint16_t port;
    uint8_t where; /* SUP_PORT_ bits */
    uint32_t address; /* of SUP_PORT_ADDRESS, network order */
} sup_listener_t;

/* yml may be NULL; borrowed for ever. */
void sup_port_start(const gp_yml_t *yml);
json_t *sup_port_status(void);
/* Pure: one line of /proc/net/tcp or tcp6. 1: a listener, 0: something else. */
int sup_port_parse_line(const char *line, int v6, sup_listener_t *ret_listener);

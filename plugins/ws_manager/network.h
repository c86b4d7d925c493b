#pragma once

#include <pthread.h>
#include <stdint.h>

#include "base/err.h"

/*
 * What keeps workspaces from each other and from the host: every port of our
 * bridge is isolated (ports talk to the bridge only), and a table of ours drops
 * what comes from the bridge to the host, to metadata addresses, and out of the
 * wrong subnet. Holds before the supervisor gets its go signal.
 */
typedef struct {
    const char *table; /* "gitpod_<installation>" */
    const char *bridge;
    const char *subnet;
    char gateway[46]; /* first address of the subnet */
    int port; /* the public one */
    char listeners[sizeof(", 10000-65535")]; /* and those of mode port, set before the rules are */
    uint32_t address; /* gateway as a number, network byte order */
    int prefix;
    uint8_t mac[6]; /* of the bridge, from its name */
    pthread_mutex_t lock;
    uint64_t digest; /* of the rules we applied */
    int n_rules; /* 0: not applied yet */
} wsm_network_t;

/* Errors: INVALID_ARGUMENT for a subnet that is no IPv4 CIDR of /16 to /24. */
int wsm_network_init(wsm_network_t *net, const char *table, const char *bridge, const char *subnet, int port, gp_err_t *err);

/* Applies the rules unless they stand as we left them. Costs two system calls when they do. */
int wsm_network_secure(wsm_network_t *net, gp_err_t *err);

/*
 * The bridge with a MAC address of its own. Without one it takes the lowest of
 * its ports, which changes with each container: those that know the old one
 * then lose the host for 15 s. Netavark makes the bridge (without) when it is
 * missing and removes it after the last container: called before and after.
 */
int wsm_network_bridge(wsm_network_t *net, gp_err_t *err);

/* Isolates every port of the bridge that is not; *ret_n (may be NULL) ports there are. */
int wsm_network_isolate(wsm_network_t *net, int *ret_n, gp_err_t *err);

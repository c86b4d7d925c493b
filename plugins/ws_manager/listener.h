#pragma once

#include "core/contract.h"

/*
 * Mode port: which listeners of the gateway are a workspace's, as the database
 * has them. They stay with it while it is kept, stopped or not, and go to
 * another one when none is free: the longest stopped gives first, ports before
 * its editor.
 */
#define WSM_LISTENERS_MAX (GP_ROUTE_PORTS_MAX + 1) /* of one workspace: ports and the editor */

typedef struct {
    int port; /* 0: the editor */
    int number;
} wsm_listener_t;

typedef struct {
    wsm_listener_t items[WSM_LISTENERS_MAX];
    int n;
} wsm_listeners_t;

/* The listener of a port, 0: it has none. */
int wsm_listeners_find(const wsm_listeners_t *listeners, int port);
/* Takes it out; nothing happens when there is none. */
void wsm_listeners_remove(wsm_listeners_t *listeners, int port);

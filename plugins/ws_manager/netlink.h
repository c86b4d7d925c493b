#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * The two things we ask the kernel directly, because a shell-out costs 10 ms on
 * the path of a start: isolating a bridge port, and what rules our table holds.
 */
int wsm_netlink_isolate_port(const char *port, gp_err_t *err);

/* A digest of all rules of table inet `table`; *ret_n how many. 0 rules when there is no such table. */
int wsm_netlink_rules(const char *table, uint64_t *ret_digest, int *ret_n, gp_err_t *err);

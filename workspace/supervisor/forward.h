#pragma once

#include <stdint.h>

/*
 * TCP forwards from the container's address to programs that listen on
 * loopback only. Bounded in listeners, connections and buffers.
 */
void sup_forward_open(uint16_t port, int v6); /* nothing to do when it is open already */
void sup_forward_keep(int (*wanted)(uint16_t port)); /* closes the listeners that are not wanted; connections live on */
int sup_forward_is_ours(uint16_t port, uint32_t address); /* network order, as /proc/net/tcp has it */

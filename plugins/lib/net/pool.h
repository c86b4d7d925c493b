#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Threads that run blocking handlers, with a bounded queue in front: what does
 * not fit is refused at once instead of waiting behind a jam.
 */
#define GP_POOL_QUEUE_MAX 1024 /* jobs that wait; at 1 ms each that is a second */
#define GP_POOL_THREADS_MAX 256
#define GP_POOL_STACK 1048576 /* bytes, of a thread that runs handlers; only touched pages count */

typedef struct gp_pool gp_pool_t;

gp_pool_t *gp_pool_new(unsigned threads, void (*fn)(void *job));
/* 0, or -GP_RESOURCE_EXHAUSTED: the queue is full. */
int gp_pool_submit(gp_pool_t *pool, void *job) __attribute__((warn_unused_result));
/* The caller's thread becomes one of those that run a job; false: it has to submit it. gp_pool_leave() afterwards. */
bool gp_pool_enter(gp_pool_t *pool) __attribute__((warn_unused_result));
void gp_pool_leave(gp_pool_t *pool);
/* Jobs that wait or run. */
unsigned gp_pool_busy(gp_pool_t *pool);
/* Runs what is queued and joins the threads; false: some still ran at the deadline (CLOCK_MONOTONIC ms), the pool stays. */
bool gp_pool_drain(gp_pool_t *pool, uint64_t deadline_ms);

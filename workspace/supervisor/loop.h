#pragma once

#include <stdint.h>
#include <sys/epoll.h>

#include "base/err.h"

/*
 * One thread, one epoll set, a list of timers. Watches and timers are embedded
 * in what owns them; one event is taken per turn, so a callback may end any
 * other watch without leaving a stale event behind.
 */
typedef struct sup_watch sup_watch_t;
typedef struct sup_timer sup_timer_t;

struct sup_watch {
    int fd; /* -1: not watched */
    void (*fn)(sup_watch_t *watch, uint32_t events);
    void *data;
};

struct sup_timer {
    uint64_t at_ms; /* CLOCK_MONOTONIC */
    void (*fn)(sup_timer_t *timer);
    void *data;
    sup_timer_t *next;
    int armed;
};

int sup_loop_init(gp_err_t *err) __attribute__((warn_unused_result));
/* Adds, or changes the events of, a watch. */
int sup_watch_set(sup_watch_t *watch, int fd, uint32_t events, void (*fn)(sup_watch_t *, uint32_t), void *data, gp_err_t *err)
    __attribute__((warn_unused_result));
/* Stops watching; the descriptor stays open. Fine on one that is not watched. */
void sup_watch_clear(sup_watch_t *watch);
/* Once, after delay_ms; a set timer is moved. */
void sup_timer_set(sup_timer_t *timer, uint64_t delay_ms, void (*fn)(sup_timer_t *), void *data);
void sup_timer_clear(sup_timer_t *timer);
/* Until sup_loop_end(). */
void sup_loop_run(void);
void sup_loop_end(void);

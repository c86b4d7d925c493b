#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "base/clock.h"
#include "loop.h"

static int sup_loop_epoll = -1;
static int sup_loop_ended;
static sup_timer_t *sup_loop_timers; /* by time, earliest first */


int sup_loop_init(gp_err_t *err)
{
    sup_loop_epoll = epoll_create1(EPOLL_CLOEXEC);
    if (sup_loop_epoll < 0) {
        return gp_err_errno(err, errno, "event loop");
    }

    return 0;
}


int sup_watch_set(sup_watch_t *watch, int fd, uint32_t events, void (*fn)(sup_watch_t *, uint32_t), void *data, gp_err_t *err)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    int op = watch->fd >= 0 ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    if (epoll_ctl(sup_loop_epoll, op, fd, &event) < 0) {
        return gp_err_errno(err, errno, "watching a descriptor");
    }
    watch->fd = fd;
    watch->fn = fn;
    watch->data = data;

    return 0;
}


void sup_watch_clear(sup_watch_t *watch)
{
    if (watch->fd >= 0) {
        (void) epoll_ctl(sup_loop_epoll, EPOLL_CTL_DEL, watch->fd, NULL); /* closed already: nothing to remove */
        watch->fd = -1;
    }
}


void sup_timer_clear(sup_timer_t *timer)
{
    sup_timer_t **p;

    if (!timer->armed) {
        return;
    }
    for (p = &sup_loop_timers; *p; p = &(*p)->next) {
        if (*p == timer) {
            *p = timer->next;
            break;
        }
    }
    timer->armed = 0;
}


void sup_timer_set(sup_timer_t *timer, uint64_t delay_ms, void (*fn)(sup_timer_t *), void *data)
{
    sup_timer_t **p;

    sup_timer_clear(timer);
    timer->at_ms = gp_clock_ms() + delay_ms;
    timer->fn = fn;
    timer->data = data;
    for (p = &sup_loop_timers; *p && (*p)->at_ms <= timer->at_ms; p = &(*p)->next) {
    }
    timer->next = *p;
    *p = timer;
    timer->armed = 1;
}


static int sup_loop_timeout(void)
{
    uint64_t now;

    if (!sup_loop_timers) {
        return -1;
    }
    now = gp_clock_ms();
    if (sup_loop_timers->at_ms <= now) {
        return 0;
    }

    return sup_loop_timers->at_ms - now > INT_MAX ? INT_MAX : (int) (sup_loop_timers->at_ms - now);
}


static void sup_loop_expire(void)
{
    uint64_t now = gp_clock_ms();
    sup_timer_t *timer;

    while (sup_loop_timers && sup_loop_timers->at_ms <= now && !sup_loop_ended) {
        timer = sup_loop_timers;
        sup_timer_clear(timer);
        timer->fn(timer);
    }
}


void sup_loop_run(void)
{
    struct epoll_event event;
    sup_watch_t *watch;
    int n;

    while (!sup_loop_ended) {
        n = epoll_wait(sup_loop_epoll, &event, 1, sup_loop_timeout());
        if (n == 1) {
            watch = event.data.ptr;
            watch->fn(watch, event.events);
        }
        sup_loop_expire();
    }
}


void sup_loop_end(void)
{
    sup_loop_ended = 1;
}

#pragma once

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC in ms: deadlines, intervals. */
static inline uint64_t gp_clock_ms(void)
{
    struct timespec ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail with a valid clock */
    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

/* Wall clock, ms since 1970: what is stored and shown. */
static inline int64_t gp_clock_epoch_ms(void)
{
    struct timespec ts;

    (void) clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t) ts.tv_sec * 1000 + (int64_t) ts.tv_nsec / 1000000;
}

static inline int64_t gp_clock_epoch_s(void)
{
    return gp_clock_epoch_ms() / 1000;
}

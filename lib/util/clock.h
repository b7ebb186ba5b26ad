/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h - time as a parameter.
 *
 * Code that decides by time takes a `const struct clock *`, so that a test can hold the hands.
 * The real clock is `clock_real()`. A fake one is a struct clock of the test's own.
 * Safe from any thread.
 */
#ifndef UTIL_CLOCK_H
#define UTIL_CLOCK_H

#include <stdint.h>
#include <time.h>

struct clock {
    /* Milliseconds that never go back, from an arbitrary start (CLOCK_MONOTONIC). */
    uint64_t (*monotonic_ms)(const struct clock *clock);
    /* Nanoseconds since 1970-01-01 UTC (CLOCK_REALTIME). */
    int64_t (*realtime_ns)(const struct clock *clock);
};

const struct clock *clock_real(void);

static inline uint64_t clock_monotonic_ms(const struct clock *clock)
{
    return clock->monotonic_ms(clock);
}

static inline int64_t clock_realtime_ns(const struct clock *clock)
{
    return clock->realtime_ns(clock);
}

#endif

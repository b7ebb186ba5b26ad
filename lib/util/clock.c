/* SPDX-License-Identifier: Apache-2.0 */
#include "util/clock.h"

static uint64_t real_monotonic_ms(const struct clock *clock)
{
    struct timespec now;

    (void)clock;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000U + (uint64_t)now.tv_nsec / 1000000U;
}

static int64_t real_realtime_ns(const struct clock *clock)
{
    struct timespec now;

    (void)clock;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

const struct clock *clock_real(void)
{
    static const struct clock real = {
        .monotonic_ms = real_monotonic_ms,
        .realtime_ns = real_realtime_ns,
    };

    return &real;
}

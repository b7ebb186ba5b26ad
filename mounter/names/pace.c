/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/pace.h"

enum {
    FIRST_MS = 100, /* with the first of many nobody waits for longer, where others look */
    OLDEST_MS = 700,
    MANY = 32,             /* as many in OLDEST_MS: it pays to wait for more, but not */
    MANY_OLDEST_MS = 5000, /* for longer than this */
    END_MS = 600,          /* no removal for so long: they have come to an end */
    LEVELS = 4,
};

/* So long after the last removal no more are expected. */
static const uint64_t idle_ms[LEVELS] = {20, 150, 300, 500};

void pace_init(struct pace *pace, bool shared)
{
    *pace = (struct pace){.level = shared ? 0 : 1, .shared = shared};
}

void pace_removed(struct pace *pace, uint64_t now_ms)
{
    if (now_ms - pace->last_ms >= END_MS) {
        pace_init(pace, pace->shared);
    }
    pace->last_ms = now_ms;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

uint64_t pace_due_ms(const struct pace *pace, const struct pace_waiting *waiting)
{
    uint64_t oldest = pace->level == 0         ? FIRST_MS
                      : waiting->count >= MANY ? MANY_OLDEST_MS
                                               : OLDEST_MS;
    uint64_t latest = waiting->first_ms + oldest;
    uint64_t due = pace->last_ms + idle_ms[pace->level];

    if (waiting->under_way) { /* its end is a good moment: what has come meanwhile goes together */
        due = later(due, waiting->first_ms + OLDEST_MS);
        latest = later(latest, waiting->first_ms + OLDEST_MS);
    }
    return due < latest ? due : latest;
}

void pace_sent(struct pace *pace)
{
    pace->level += pace->level < LEVELS - 1 ? 1 : 0;
}

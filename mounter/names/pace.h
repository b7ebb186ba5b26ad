/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pace.h - when the objects of names that were taken away are deleted, so that many go at once.
 *
 * A removal by itself is sent after a moment. While more keep coming, the next request waits for
 * them: each that went out too early, since the removals only faltered, makes the patience longer.
 * So a tree costs as few requests where removing it takes seconds (a slow or busy machine) as where
 * it takes milliseconds; and when the removals have come to an end, the rest still goes soon.
 *
 * Pure: the times are the caller's, in ms of one clock that does not go back. Without locks.
 */
#ifndef MOUNTER_PACE_H
#define MOUNTER_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pace {
    uint64_t last_ms; /* of the last removal */
    unsigned level;   /* requests since the removals last came to an end, and one if not shared */
    bool shared;      /* others see the store's names: be quick */
};

/* What waits: how many, since when the first of them, and whether others are being deleted. */
struct pace_waiting {
    size_t count;
    uint64_t first_ms;
    bool under_way;
};

void pace_init(struct pace *pace, bool shared);
/* One more. */
void pace_removed(struct pace *pace, uint64_t now_ms);
/* When what waits is to be sent if nothing else is removed meanwhile; may have passed. */
uint64_t pace_due_ms(const struct pace *pace, const struct pace_waiting *waiting);
/* It is sent because it was due. */
void pace_sent(struct pace *pace);

#endif

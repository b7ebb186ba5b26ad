/* SPDX-License-Identifier: Apache-2.0 */
/*
 * delay.h - things that become due, on one thread.
 *
 *     r = delay_new(run, &delay);
 *     if (!delay_add(delay, &thing->entry, due_ms)) ...    it is being ended: the caller still has
 * it delay_free(delay);
 *
 * Each added entry is run once, without a lock held: when it is due, or at once and `early` after
 * delay_cancel() or delay_free(). Its memory is the caller's and must stay until then. run() may
 * add and cancel, also the same entry again. Safe from any thread; delay_end() and delay_free()
 * not from run(). Times are clock_monotonic_ms().
 */
#ifndef UTIL_DELAY_H
#define UTIL_DELAY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct delay;

struct delay_entry {
    TAILQ_ENTRY(delay_entry) link;
    uint64_t due_ms;
    bool waiting;
};

int delay_new(void (*run)(struct delay_entry *entry, bool early), struct delay **ret)
    __attribute__((warn_unused_result));

bool delay_add(struct delay *delay, struct delay_entry *entry, uint64_t due_ms)
    __attribute__((warn_unused_result));

/* True if it was waiting: it is run early, on the thread. Entries start as all zero. */
bool delay_cancel(struct delay *delay, struct delay_entry *entry);

/* Take nothing more, run early what waits, and end the thread. The calls above may go on. */
void delay_end(struct delay *delay);
/* Ends it, too. NULL is allowed. */
void delay_free(struct delay *delay);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget.h - how a mount's memory is divided.
 *
 * `memory=` is a promise about the whole process, and the limit of its cgroup: what is kept (dirty
 * bytes, request slots, tables) must leave room for what a mounter needs only to begin, or the
 * successor of one that was killed for lack of memory would be killed as well. So the fixed costs
 * are taken off first, and bytes that are read, which can be read again, get what is left.
 *
 *     budget_of(&(struct budget_wish){.memory_bytes = 64 << 20, .threads = 4}, &budget);
 */
#ifndef MOUNTER_BUDGET_H
#define MOUNTER_BUDGET_H

#include <stdint.h>

struct budget_wish {
    uint64_t memory_bytes;
    uint32_t threads;     /* that read requests */
    uint32_t connections; /* asked for by name; 0: as memory allows */
};

struct budget {
    uint64_t dirty_bytes;  /* a third, and at least 16 MiB */
    uint64_t reader_bytes; /* at most 9/20, and at least 2 MiB */
    uint64_t fixed_bytes;  /* all else that is reckoned with */
    uint32_t connections;  /* to the store: 64, or one for each 4 MiB, but at least 8 */
    int arenas;            /* of malloc(3): each keeps what its threads have used once */
};

/* Below 64 MiB the least of everything is more than there is. */
void budget_of(const struct budget_wish *wish, struct budget *ret);

#endif

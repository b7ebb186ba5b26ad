/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/budget.h"

enum {
    MIB = 1 << 20,
    CONNECTIONS_MOST = 64,
    CONNECTIONS_LEAST = 8,
    CONNECTION_SHARE = 4 * MIB,    /* of memory */
    CONNECTION_BYTES = 256 * 1024, /* its buffers, to and from the store */
    SLOTS_EACH = 4,                /* large request slots of a thread, of 1 MiB */
    BASE = 10 * MIB,               /* measured: private memory of an idle mount */
    TABLES = 4 * MIB,              /* kept tables of a few 10,000 inodes */
    MERGED = 4 * MIB,              /* a part that is put together from old and new bytes */
    KNOWN_SHARE = 32,              /* see fs.c */
    READER_LEAST = 2 * MIB,
    DIRTY_LEAST = 16 * MIB,
    ARENA_SHARE = 128 * MIB,
    ARENAS_MOST = 8,
};

static uint64_t at_least(uint64_t value, uint64_t least)
{
    return value > least ? value : least;
}

static uint64_t at_most(uint64_t value, uint64_t most)
{
    return value < most ? value : most;
}

void budget_of(const struct budget_wish *wish, struct budget *ret)
{
    uint64_t memory = wish->memory_bytes;
    uint64_t left;

    ret->connections = wish->connections;
    if (ret->connections == 0) {
        ret->connections = (uint32_t)at_most(at_least(memory / CONNECTION_SHARE, CONNECTIONS_LEAST),
                                             CONNECTIONS_MOST);
    }
    ret->arenas = (int)at_most(1 + memory / ARENA_SHARE, ARENAS_MOST);
    ret->dirty_bytes = at_least(memory / 3, DIRTY_LEAST);
    ret->fixed_bytes = BASE + TABLES + MERGED + memory / KNOWN_SHARE +
                       (uint64_t)wish->threads * SLOTS_EACH * MIB +
                       (uint64_t)ret->connections * CONNECTION_BYTES;
    left = ret->dirty_bytes + ret->fixed_bytes;
    left = memory > left ? memory - left : 0;
    ret->reader_bytes = at_least(at_most(left, memory / 20 * 9), READER_LEAST);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/fifo.h"

#include <errno.h>
#include <stdlib.h>

enum { NOWHERE, SMALL, MAIN, USES_MAX = 3, GHOSTS_MIN = 256 };

TAILQ_HEAD(fifo_queue, fifo_entry);

struct fifo {
    struct fifo_queue small, main;
    uint64_t small_bytes, main_bytes;
    size_t small_count, main_count;
    size_t ghost_mask;
    uint32_t ghosts[]; /* by the low bits of the hash, the high bits; 0: none */
};

int fifo_new(size_t expected, struct fifo **ret)
{
    size_t ghosts = GHOSTS_MIN;
    struct fifo *fifo;

    while (ghosts < expected) {
        ghosts *= 2;
    }
    fifo = calloc(1, sizeof(*fifo) + ghosts * sizeof(fifo->ghosts[0]));
    if (fifo == NULL) {
        return -ENOMEM;
    }
    TAILQ_INIT(&fifo->small);
    TAILQ_INIT(&fifo->main);
    fifo->ghost_mask = ghosts - 1;
    *ret = fifo;
    return 0;
}

void fifo_free(struct fifo *fifo)
{
    free(fifo);
}

static uint32_t fingerprint(uint64_t hash)
{
    return (uint32_t)(hash >> 32) | 1U;
}

static void put(struct fifo *fifo, struct fifo_entry *entry, uint8_t where)
{
    entry->where = where;
    if (where == SMALL) {
        TAILQ_INSERT_TAIL(&fifo->small, entry, link);
        fifo->small_bytes += entry->size;
        fifo->small_count++;
    } else {
        TAILQ_INSERT_TAIL(&fifo->main, entry, link);
        fifo->main_bytes += entry->size;
        fifo->main_count++;
    }
}

void fifo_remove(struct fifo *fifo, struct fifo_entry *entry)
{
    if (entry->where == SMALL) {
        TAILQ_REMOVE(&fifo->small, entry, link);
        fifo->small_bytes -= entry->size;
        fifo->small_count--;
    } else if (entry->where == MAIN) {
        TAILQ_REMOVE(&fifo->main, entry, link);
        fifo->main_bytes -= entry->size;
        fifo->main_count--;
    }
    entry->where = NOWHERE;
}

void fifo_add(struct fifo *fifo, struct fifo_entry *entry, uint64_t hash, uint32_t size)
{
    uint32_t *ghost = &fifo->ghosts[hash & fifo->ghost_mask];

    entry->hash = hash;
    entry->size = size;
    entry->uses = 0;
    if (*ghost == fingerprint(hash)) {
        *ghost = 0;
        put(fifo, entry, MAIN);
    } else {
        put(fifo, entry, SMALL);
    }
}

void fifo_used(struct fifo_entry *entry)
{
    if (entry->uses < USES_MAX) {
        entry->uses++;
    }
}

void fifo_resize(struct fifo *fifo, struct fifo_entry *entry, uint32_t size)
{
    if (entry->where == SMALL) {
        fifo->small_bytes += (uint64_t)size - entry->size;
    } else if (entry->where == MAIN) {
        fifo->main_bytes += (uint64_t)size - entry->size;
    }
    entry->size = size;
}

/* Look at each entry of the small queue at most once: it goes, moves on, or is passed over. */
static struct fifo_entry *from_small(struct fifo *fifo, fifo_may_go_fn *may_go, void *arg)
{
    for (size_t left = fifo->small_count; left > 0; left--) {
        struct fifo_entry *entry = TAILQ_FIRST(&fifo->small);

        fifo_remove(fifo, entry);
        if (may_go != NULL && !may_go(entry, arg)) {
            put(fifo, entry, SMALL);
        } else if (entry->uses > 1) {
            entry->uses = 0;
            put(fifo, entry, MAIN);
        } else {
            fifo->ghosts[entry->hash & fifo->ghost_mask] = fingerprint(entry->hash);
            return entry;
        }
    }
    return NULL;
}

static struct fifo_entry *from_main(struct fifo *fifo, fifo_may_go_fn *may_go, void *arg)
{
    for (size_t left = (USES_MAX + 1) * fifo->main_count; left > 0; left--) {
        struct fifo_entry *entry = TAILQ_FIRST(&fifo->main);

        fifo_remove(fifo, entry);
        if ((may_go == NULL || may_go(entry, arg)) && entry->uses == 0) {
            return entry;
        }
        entry->uses = entry->uses > 0 ? (uint8_t)(entry->uses - 1) : 0;
        put(fifo, entry, MAIN);
    }
    return NULL;
}

struct fifo_entry *fifo_victim(struct fifo *fifo, fifo_may_go_fn *may_go, void *arg)
{
    struct fifo_entry *entry = NULL;
    bool small_first = fifo->small_bytes * 10 >= fifo_bytes(fifo);

    if (small_first) {
        entry = from_small(fifo, may_go, arg);
    }
    entry = entry == NULL ? from_main(fifo, may_go, arg) : entry;
    if (entry == NULL && !small_first) {
        entry = from_small(fifo, may_go, arg);
    }
    return entry;
}

uint64_t fifo_bytes(const struct fifo *fifo)
{
    return fifo->small_bytes + fifo->main_bytes;
}

size_t fifo_count(const struct fifo *fifo)
{
    return fifo->small_count + fifo->main_count;
}

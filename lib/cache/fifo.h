/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fifo.h - which cached thing goes next: S3-FIFO.
 *
 * What is new enters a small queue, a tenth of all bytes. What is used again there moves to the
 * main queue, the rest leaves soon; so one long scan does not push out what is used often. A table
 * of fingerprints remembers who left the small queue: who comes back enters the main queue at
 * once. In the main queue whoever was used since is given another round.
 *
 * Entries are embedded in the caller's things, which stay the caller's. Not thread-safe: the
 * caller's lock covers the queue and its entries.
 */
#ifndef CACHE_FIFO_H
#define CACHE_FIFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "util/cleanup.h"

struct fifo_entry {
    TAILQ_ENTRY(fifo_entry) link;
    uint64_t hash; /* names the thing */
    uint32_t size; /* in bytes */
    uint8_t uses;  /* since it was looked at last; at most 3 */
    uint8_t where; /* 0: in no queue; else the fifo's */
};

struct fifo;

/* `expected`: about how many entries there will be; the table of who left has as many. -ENOMEM. */
int fifo_new(size_t expected, struct fifo **ret) __attribute__((warn_unused_result));
void fifo_free(struct fifo *fifo); /* entries are not touched; NULL is allowed */
DEFINE_CLEANUP(struct fifo *, fifo_free);

/* The entry must be in no queue. */
void fifo_add(struct fifo *fifo, struct fifo_entry *entry, uint64_t hash, uint32_t size);
/* It has been used. */
void fifo_used(struct fifo_entry *entry);
/* Take it out, to be forgotten. An entry in no queue is left alone. */
void fifo_remove(struct fifo *fifo, struct fifo_entry *entry);
/* Its size has changed. */
void fifo_resize(struct fifo *fifo, struct fifo_entry *entry, uint32_t size);

/*
 * Take out the entry that has to go next, and remember that it was here. `may_go` (or NULL: all)
 * says which may; NULL is returned when none may.
 */
typedef bool fifo_may_go_fn(struct fifo_entry *entry, void *arg);
struct fifo_entry *fifo_victim(struct fifo *fifo, fifo_may_go_fn *may_go, void *arg);

uint64_t fifo_bytes(const struct fifo *fifo); /* of all entries in it */
size_t fifo_count(const struct fifo *fifo);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.h - what one mount has done and how it is, in memory that its mounter shares.
 *
 * The mounter counts in a kept region (its name is MOUNT_STATS_NAME): the numbers go on where a
 * predecessor stopped, and holder, node plugin and skyvolctl read them from a duplicate of the
 * descriptor, without asking a mounter that may be busy or dead.
 *
 *     struct mount_stats_of one = {.volume = "v1", .stats = mapped};
 *     mount_stats_write(&one, 1, &text);
 *
 * All counting is one relaxed atomic addition: any thread, no lock. A reader sees each number whole
 * but not all of one instant. Rows carry their names, so that a reader need not know the
 * operations.
 */
#ifndef MOUNT_STATS_H
#define MOUNT_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"

#define MOUNT_STATS_NAME "stats"

enum { MOUNT_STATS_FUSE = 64, MOUNT_STATS_STORE = 32, MOUNT_STATS_BUCKETS = 9 };

struct mount_stats_row {
    char name[24];                              /* "" for one that is not used */
    atomic_ullong count;                        /* answered */
    atomic_ullong errors;                       /* of these, with an error */
    atomic_ullong sum_us;                       /* of the time until the answer */
    atomic_ullong bytes;                        /* that were moved, by requests to the store */
    atomic_ullong buckets[MOUNT_STATS_BUCKETS]; /* up to 100 us, 400 us, ... times four */
};

enum mount_stats_number {
    STATS_STARTS, /* mounters that have begun */
    STATS_RETRIES,
    STATS_HEDGES,
    STATS_PUBLICATIONS,
    STATS_PUBLICATION_ERRORS,
    STATS_CONFLICTS,
    STATS_LOST_FILES,
    STATS_READ_HITS,
    STATS_READ_MISSES,
    STATS_DEADLINES,
    STATS_DIRTY_BYTES, /* from here on gauges */
    STATS_DIRTY_LIMIT,
    STATS_INODES,
    STATS_CACHE_BYTES,
    STATS_CACHE_LIMIT,
    STATS_IN_FLIGHT,
    STATS_OLDEST_MS,
    STATS_STORE_FAILING_SINCE_MS, /* time of day; 0: its last answer was one */
    STATS_STORE_ERROR,            /* errno value of that failure */
    STATS_KEYS_EXPIRE_MS,         /* time of day; 0: the store's keys do not, or nobody knows */
    STATS_NUMBERS
};

struct mount_stats {
    atomic_ullong magic;
    uint32_t version, size;
    atomic_ullong numbers[STATS_NUMBERS];
    struct mount_stats_row fuse[MOUNT_STATS_FUSE];   /* by opcode */
    struct mount_stats_row store[MOUNT_STATS_STORE]; /* by operation */
};

/* Lay out; what a predecessor of the same layout counted stays, gauges do not. */
void mount_stats_init(struct mount_stats *stats);

/* Memory of at least that size is one. */
bool mount_stats_valid(const struct mount_stats *stats, size_t size);

void mount_stats_count(struct mount_stats_row *row, uint64_t us, bool failed);

static inline void mount_stats_add(struct mount_stats *stats, enum mount_stats_number which,
                                   uint64_t value)
{
    if (stats != NULL) { /* NULL: nobody wants to know */
        (void)atomic_fetch_add_explicit(&stats->numbers[which], value, memory_order_relaxed);
    }
}

static inline void mount_stats_set(struct mount_stats *stats, enum mount_stats_number which,
                                   uint64_t value)
{
    atomic_store_explicit(&stats->numbers[which], value, memory_order_relaxed);
}

static inline uint64_t mount_stats_get(const struct mount_stats *stats,
                                       enum mount_stats_number which)
{
    return atomic_load_explicit(&stats->numbers[which], memory_order_relaxed);
}

struct mount_stats_of {
    const char *volume; /* these two are labels */
    const char *mount;  /* or NULL */
    const struct mount_stats *stats;
};

/* Append the text exposition format (version 0.0.4): skyvol_mount_* with a label `volume`. */
void mount_stats_write(const struct mount_stats_of *mounts, size_t count, struct buf *out);

/* Its labels: volume="...",mount="..." */
void mount_stats_labels(const struct mount_stats_of *one, struct buf *out);

/* Map a descriptor of kept memory to read; -EBADMSG: it holds no statistics. */
int mount_stats_map(int fd, struct mount_stats **ret) __attribute__((warn_unused_result));
void mount_stats_unmap(struct mount_stats *stats); /* NULL is allowed */

#endif

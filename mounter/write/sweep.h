/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sweep.h - objects of open files without a name, below .skyvol/open/, whose mount is gone.
 *
 * Their keys are "ID-RANDOM", by the mount's id, which outlives its mounter. A mount that has such
 * files writes "ID.alive" every few minutes. A later mount removes what is of an id that has shown
 * no sign of life for SWEEP_DEAD times as long, by the store's own clock; and of its own id what no
 * inode of it has any more. What has another form of name stays.
 */
#ifndef MOUNTER_SWEEP_H
#define MOUNTER_SWEEP_H

#include "mounter/fs.h"

enum { SWEEP_DEAD = 36, SWEEP_KEY = 96 };

/* A fresh key for the bytes of a file without a name. */
void sweep_key(struct fs *fs, char ret[SWEEP_KEY]) REQUIRES(&fs->lock);
/* Once a second. */
void sweep_tick(struct fs *fs);
/* All is in the store: unless such a file is open, no sign of life stays behind. Waits. */
void sweep_end(struct fs *fs);

struct sweep_entry {
    char key[SWEEP_KEY]; /* a longer one is not ours, and left out */
    int64_t mtime_ns;
    bool dead; /* it is to go */
};
/* The id that such a key belongs to; 0: it has none. */
uint64_t sweep_owner(const char *key);
/*
 * Marks what is dead among all that is there, ascending by key, when the store's clock was `now`.
 * Of `own` each single object, of others all or nothing. Pure.
 */
void sweep_judge(struct sweep_entry *entries, size_t count, uint64_t own, int64_t oldest_ns);

#endif

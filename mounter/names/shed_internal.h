/* SPDX-License-Identifier: Apache-2.0 */
/* shed_internal.h - of shed.c and its test: whom the kernel is asked to forget. */
#ifndef MOUNTER_SHED_INTERNAL_H
#define MOUNTER_SHED_INTERNAL_H

#include "mounter/names/shed.h"

enum { SHED_BATCH = 256 }; /* inodes of one notification */

struct shed {
    pthread_t thread;
    bool started;
    bool ending; /* these under fs->lock */
    bool prunes; /* as far as known */
    struct cond wake;
    uint32_t max;
    uint32_t hand;
    uint32_t next;    /* nodes at which to look again */
    uint64_t waiting; /* asked back and not gone yet */
    uint64_t round;   /* of the hand; 1 is the first */
    uint64_t asked, told;
};

struct shed_victim {
    uint32_t ino, parent;
    char *name; /* only where the kernel cannot prune; of whoever empties the batch */
};

struct shed_batch {
    struct shed_victim victims[SHED_BATCH];
    unsigned count;
};

/* Fills the batch with what is too much now; `young_too`: also what was looked at within
 * attr_timeout. False: nothing was found in a whole round of the table. */
bool shed_choose(struct fs *fs, struct shed_batch *batch, bool young_too) REQUIRES(&fs->lock);

#endif

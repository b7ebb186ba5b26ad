/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shed.h - the memory of what is known of inodes stays within its share.
 *
 * The kernel remembers every inode that a program has looked at, as long as it has memory, and we
 * have to know what it remembers. Beyond a quarter of memory= it is asked to forget: inodes that
 * nobody uses, the longest unlooked-at ones first. It answers by FORGETs. Where it can
 * (FUSE_NOTIFY_PRUNE, Linux 6.18) it keeps what a program still uses in any way; before, the
 * names of files that are not open are invalidated, and directories are left alone, as one of them
 * might be a program's working directory.
 *
 * What inodes and listings take beyond their first sixteenth of memory=, the bytes that are read
 * ahead and cached give up.
 *
 * A thread does this, without fs->lock while the kernel is told: the kernel may wait for an answer
 * of ours meanwhile. Start and stop by the file system's life; the others under fs->lock.
 */
#ifndef MOUNTER_SHED_H
#define MOUNTER_SHED_H

#include <stdbool.h>
#include <stdint.h>

#include "mounter/fs.h"

struct shed;

/* About what one inode costs in bytes: its node, its record, their names and places in tables. */
enum {
    SHED_NODE_BYTES = (int)(sizeof(struct node) + sizeof(struct inode_rec)) + 160,
};

/* After fs->state and the nodes are there. */
int shed_new(struct fs *fs, struct shed **ret) __attribute__((warn_unused_result));
/* Ends the thread, before the session is freed. False: it waits for the kernel, and must be left.
 */
bool shed_stop(struct fs *fs) __attribute__((warn_unused_result));
void shed_free(struct shed *shed); /* NULL is allowed */

/* A node has come or goes. */
void shed_added(struct fs *fs) REQUIRES(&fs->lock);
void shed_gone(struct fs *fs, const struct node *node) REQUIRES(&fs->lock);

struct shed_stats {
    uint64_t inodes;     /* known now */
    uint64_t inodes_max; /* from here on the kernel is asked to forget */
    uint64_t asked;      /* to forget, so far */
    uint64_t told;       /* notifications, so far */
    bool prunes;         /* by FUSE_NOTIFY_PRUNE */
};
void shed_get_stats(struct fs *fs, struct shed_stats *ret);

#endif

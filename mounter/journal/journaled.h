/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journaled.h - a file system with a journal on the host's disk (mount/journal.h, export.h).
 *
 * One thread does all that touches the disk: it makes files durable for those who wait, many at a
 * time (sync=async), writes all that is dirty when a mount must end before the store has it, and
 * removes the files of what has been published. Requests to it lie under fs->lock; the disk is
 * waited for without it.
 *
 * Crashes: a file is removed only after its inode is published or gone, and an inode that has a
 * file is not forgotten before the file is removed.
 */
#ifndef MOUNTER_JOURNALED_H
#define MOUNTER_JOURNALED_H

#include "mount/journal.h"
#include "mounter/fs.h"

/* import.c, for journaled_start(). May wait for the store. */
int import_journal(struct fs *fs, struct import_result *ret) __attribute__((warn_unused_result));

/* Before requests are served, with fs->journal set: what an earlier mount could not publish is
 * taken in and sent at once, and the thread begins. */
int journaled_start(struct fs *fs) __attribute__((warn_unused_result));
/* Removes what is to be removed, then ends the thread. Without journaled_start() nothing. */
void journaled_stop(struct fs *fs);
/* The same, and gives the journal back, whose directory goes if it is empty. */
void journaled_end(struct fs *fs);

/*
 * Returns when what the inode is now is in the journal on disk, or in the store. -EIO: it has lost
 * bytes; -ENOSPC, -EAGAIN and what the disk says: it is not, wait for the store instead;
 * -ETIMEDOUT: the disk does not answer.
 */
int journaled_sync(struct fs *fs, uint32_t ino) __attribute__((warn_unused_result));

/* This file of the journal says what is to be deleted: it goes when nothing is any more. -ENOMEM.
 */
int journaled_graves_file(struct fs *fs, uint32_t number) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));

/* FLUSH and FSYNC with sync=async: the journal, or the store when the journal cannot. */
void journaled_op(struct op *op);

/* The inode has a file in the journal that is (perhaps) not needed any more. */
void journaled_obsolete(struct fs *fs, struct node *node) REQUIRES(&fs->lock);

/* Files that are not in the store, and objects that are still to be deleted. */
size_t journaled_left(struct fs *fs);

/* Somebody has lost patience: a drain, now or later, does not wait for the store. Any thread. */
void journaled_give_up(struct fs *fs);
bool journaled_given_up(struct fs *fs);

/*
 * Publish what is dirty for at most drain_ms, all at once; then write what is left to the journal.
 * 0: *ret_files of it are there (0: all is in the store). Without a journal: -ETIMEDOUT. What is
 * left is logged while it takes long.
 */
int journaled_drain(struct fs *fs, uint64_t drain_ms, bool keep, uint32_t *ret_files,
                    struct error *err) __attribute__((warn_unused_result));

#endif

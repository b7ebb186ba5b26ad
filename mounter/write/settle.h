/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settle.h - requests whose end nobody has seen: we were killed, or the store did not answer.
 *
 * A publication carries a token in the object's metadata: what is found in the store with it is
 * ours, and the inode is based on it from then on.
 *
 * What was sent may also arrive after what a successor does. PUTs, and COPYs where the store can,
 * are conditional on what they replace, so a late one is refused. Two things remain, for which the
 * store is given GRAVES_LATE_MS (graves.h): an object that is taken away may come back
 * (publish_is_late()), and a store whose COPYs are blind may undo what was written since
 * (publish_wait_copy(), publish_wait_blind()).
 *
 * Called with fs->lock unless it says that it waits.
 */
#ifndef MOUNTER_SETTLE_H
#define MOUNTER_SETTLE_H

#include "mounter/fs.h"

/* Before a COPY onto the inode's object: its metadata get the token. -ENOMEM. */
struct copy_what;
int publish_mark(struct fs *fs, struct node *node, const struct copy_what *what,
                 struct arena *arena, struct objstore_meta *meta) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));
/* The same in two steps, of any other publication. -ENOMEM. */
int publish_add_token(struct fs *fs, struct inode_rec *rec, struct arena *arena,
                      struct objstore_meta *meta) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));
void publish_mark_attempt(struct fs *fs, struct inode_rec *rec, uint64_t size) REQUIRES(&fs->lock);
/* The token itself, in an object's metadata; 0: there is none. Without the lock. */
int publish_add_mark(uint64_t mark, struct arena *arena, struct objstore_meta *meta)
    __attribute__((warn_unused_result));
uint64_t publish_mark_of(const struct objstore_meta *meta);

/*
 * Look whether what was sent has arrived. Waits; 0 also if nothing was unsettled. _now(): for
 * whoever has claimed the node; -EAGAIN: it was ours, the inode has a new base.
 */
int publish_settle(struct fs *fs, uint32_t ino) __attribute__((warn_unused_result));
int publish_settle_now(struct fs *fs, struct node *node, const char *key)
    __attribute__((warn_unused_result));
/* In a transaction of the caller's: it has been settled. */
void publish_settled(struct fs *fs, struct inode_rec *rec) REQUIRES(&fs->lock);

/* In a transaction of the caller's: something was sent of it that may still arrive. */
void publish_set_late(struct fs *fs, struct inode_rec *rec) REQUIRES(&fs->lock);
/* If its object is taken away now, it may come back. */
bool publish_is_late(const struct inode_rec *rec);
/* Until a blind COPY onto it of unknown end has arrived, or never will. Waits, at most 2 s. */
void publish_wait_copy(struct fs *fs, const struct node *node);
/* The same of all that predecessors have sent. Who sends such a thing: state_note_blind(). */
void publish_wait_blind(struct fs *fs);

#endif

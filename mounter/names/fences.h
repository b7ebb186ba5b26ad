/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fences.h - names at which a deletion may still arrive: nothing new is put there until then.
 *
 * A mounter that is killed may have sent a DELETE that the store carries out late: after the
 * successor has deleted the same key again and has been answered. An object that a program had made
 * there meanwhile would be gone. So where the end of a deletion has not been seen, a grave
 * (graves.h) that was filled in becomes a fence until GRAVES_LATE_MS after that deletion. The key
 * counts as absent here, as before, but there is nothing left to delete: a successor does not, nor
 * does a directory stay for it, and only who puts a new object there waits (fences_wait(),
 * graves_block()). It ends by itself, on a whole second of the monotonic clock, which is in its
 * kept record: no later mounter prolongs it.
 *
 * A fence does not go to the journal: a drain waits for them, 3 s at most and not beyond its own
 * time, as the next mount may be on another node, where nobody would know of them.
 *
 * All with fs->lock, but for what waits.
 */
#ifndef MOUNTER_FENCES_H
#define MOUNTER_FENCES_H

#include "mounter/fs.h"

struct fences;

int fences_new(struct fences **ret) __attribute__((warn_unused_result));
void fences_free(struct fences *fences); /* NULL is allowed; kept records stay */

/* The record is, or is about to be, a fence's. There is none of this key yet. -ENOMEM. */
int fences_add(struct fs *fs, const char *key, uint32_t index, const struct grave_rec *rec)
    REQUIRES(&fs->lock) __attribute__((warn_unused_result));
/* If there is one of this key it lasts as long as `rec` says, or longer. In no transaction. */
bool fences_renew(struct fs *fs, const char *key, const struct grave_rec *rec) REQUIRES(&fs->lock);
/* Ends those whose time is over. In how many ms it is the next one's, at most `max_ms`. */
uint64_t fences_expire(struct fs *fs, uint64_t max_ms) REQUIRES(&fs->lock);

size_t fences_count(const struct fs *fs) REQUIRES(&fs->lock);
/* Of this key itself. */
bool fences_has(const struct fs *fs, const char *key) REQUIRES(&fs->lock);
/* A new object of this inode has to wait. */
bool fences_block(struct fs *fs, const struct node *node) REQUIRES(&fs->lock);

/*
 * Wait until a new object may be put at this key, or at all keys below it ("": anywhere): until
 * there is no grave of them, as graves_wait(), and no fence. -ETIMEDOUT.
 */
int fences_wait(struct fs *fs, const char *key, bool below, uint64_t deadline_ms)
    __attribute__((warn_unused_result));

#endif

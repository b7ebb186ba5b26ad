/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graves.h - names that were taken away here and whose objects are still to be deleted.
 *
 * An unlink or rmdir is answered when its grave is in kept memory; the objects are deleted soon,
 * up to 1000 by one request (pace.h). Until then the key counts as absent here: lookups, listings
 * and the count of used bytes leave it out, and who puts a new object there waits (claim_blocked(),
 * graves_wait()).
 *
 * A deletion that fails is tried again, more and more seldom, and then only if the object still has
 * the ETag of what was removed: by then somebody else may have made another. Where others may work
 * with the same names (sync=close), the first try has this condition, too, if the store knows it
 * (caps.conditional_delete, conditional_batch): what another mount has put there after the removal
 * stays. Elsewhere who makes an object of the same name in the same second may lose it to a removal
 * here, as on any store where "remove" and "make" cross. What the store refuses to delete shows
 * again, and for a while removals wait for its answer.
 *
 * Where a publication whose end nobody has seen may still arrive, the deletion waits for it, so
 * that it brings nothing back. A directory's grave outlives those of what was below it: each of
 * these objects would show the directory again. Where a deletion whose end nobody has seen may
 * still arrive, of a predecessor or of a try that failed, the grave becomes a fence when it is
 * filled in (fences.h), so that it takes nothing new away.
 *
 * All with fs->lock, but for those that wait.
 */
#ifndef MOUNTER_GRAVES_H
#define MOUNTER_GRAVES_H

#include "mounter/fs.h"

struct graves;

/* What was sent by one who was killed, or by us without an answer, is in the store by then. */
enum { GRAVES_LATE_MS = 2000 };

/* The first whole second that is after this time, as kept records have it. */
static inline uint32_t graves_seconds(uint64_t ms)
{
    return (uint32_t)(ms / 1000) + 1;
}

/* Takes over what a predecessor left. */
int graves_new(struct fs *fs, struct graves **ret) __attribute__((warn_unused_result));
/* Ends the thread, before the tasks; what is not deleted stays in kept memory. */
void graves_stop(struct fs *fs);
/* After the tasks. NULL is allowed. */
void graves_free(struct graves *graves);

/* In a transaction of the caller's. `etag`: of what is removed, or ""; NULL: not known, and a
 * publication of it may still arrive. `beside`: of a file that may have a directory of the same
 * name beside it. 0 also if there is one. -ENOSPC, -ENOMEM: the caller deletes by himself. After
 * the commit: graves_dug(). */
int graves_dig(struct fs *fs, const char *key, const char *etag, bool beside) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));
void graves_dug(struct fs *fs) REQUIRES(&fs->lock);
/* From the journal: as a predecessor's, with the hash of its ETag. In no transaction. -ENOSPC. */
int graves_inherit(struct fs *fs, const char *key, uint64_t etag) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));
/* Of a request that comes again, with fs->lock not held: a predecessor may have sent a deletion of
 * this key. Puts a fence there; without room for one, waits until nothing can arrive any more, 2 s
 * at most. Before the answer is recorded. */
void graves_fence(struct fs *fs, const char *key);
/* Removals may be answered before the store has. */
bool graves_trusted(struct fs *fs) REQUIRES(&fs->lock);

/* Objects that are still to be deleted. */
size_t graves_count(const struct fs *fs) REQUIRES(&fs->lock);
/* It counts as absent: there is a grave of this key, or a fence. */
bool graves_has(const struct fs *fs, const char *key) REQUIRES(&fs->lock);
/* An object that is still to be deleted has this key, or one that begins with it. */
bool graves_has_below(const struct fs *fs, const char *key) REQUIRES(&fs->lock);
/* What has this name; as a file it has no other beside it. */
bool graves_has_name(struct fs *fs, uint32_t parent, const char *name) REQUIRES(&fs->lock);
/* The object of this name that is a file's, or a directory's. */
bool graves_has_as(struct fs *fs, uint32_t parent, const char *name, bool is_dir)
    REQUIRES(&fs->lock);
/* A new object of this inode has to wait, also for a fence; asks for haste. */
bool graves_block(struct fs *fs, const struct node *node) REQUIRES(&fs->lock);

/* Wait until the store has deleted this key, or all keys that begin with it. -ETIMEDOUT. Who puts
 * something there: fences_wait(). */
int graves_wait(struct fs *fs, const char *key, bool below, uint64_t deadline_ms)
    __attribute__((warn_unused_result));

#endif

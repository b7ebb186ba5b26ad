/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collapse.h - a file with hard links (hard.h) of which one name is left becomes a plain object.
 *
 * link(2) and unlink(2) of the old name is how many programs give a file its name; without this a
 * pointer would stay at the key for good. The order of the changes, L the object behind the
 * pointers, K the key of the last name:
 *
 *   1. kept memory: INODE_COLLAPSE, with K and its number. From here on the inode is claimed, and
 *      nothing is published to L.
 *   2. the store copies L to K, with the attributes as they are now (so the unlink's ctime needs no
 *      publication of its own), if K is still the pointer that was read and L the version that we
 *      know. The copy is marked with the name's number.
 *   3. kept memory: the inode is the one of K, the flag goes, all in one transaction. Handles and
 *      st_ino stay.
 *   4. the metaserver forgets the name. If the file has got another one, L stays: no byte is lost.
 *   5. L is deleted, if it is still that version; if not, what somebody has written there goes
 *      beside K as a conflict copy first.
 *   6. the metaserver forgets the file.
 *
 * Killed after 1: who takes over claims the inode anew, looks what is at K, and goes on; lookups of
 * K get the inode meanwhile. The same after an answer that was lost, once a second. Killed after 3:
 * the sweep finds the name, sees by its mark that K is the copy, and does the rest. If K was
 * written anew until then the mark is gone, and L stays in the bucket without a name.
 *
 * Another node may have the file open under L, and nobody knows: opening asks no metaserver. Its
 * next write would become a conflict copy, its reads ESTALE, though no program has done anything
 * wrong. So it is done only while the metaserver says that no other session has the volume;
 * otherwise the file stays linked, which is right, too, until a sweep finds us alone. A node that
 * has lost its session and writes on all the same is what the conditions of 2 and 5 are for; a
 * store without conditional PUTs keeps the links. A file that is locked, being written, that lost
 * bytes or is in the journal waits for the sweep as well. Names in a directory that was moved are
 * not found by the sweep: their key is where they were put first.
 *
 * Who changes names holds the claim of the inode, as rename(2), or a bar. Nobody who has either
 * waits for a collapse that he could hinder: a collapse that finds a bar gives up.
 */
#ifndef MOUNTER_COLLAPSE_H
#define MOUNTER_COLLAPSE_H

#include "mounter/fs.h"

/* `file` has one name, at `key`. 0: done, or under way for good; else it stays linked, and its
 * ctime is the caller's to publish. Waits. Not by who has a claim. */
int collapse(struct fs *fs, const char *file, const char *key) __attribute__((warn_unused_result));
/* From time to time: what stayed linked, or was left half done. In a task. */
void collapse_sweep(struct fs *fs);

/* From the one to the other no collapse begins at the key, or of the file; either may be NULL. The
 * bar is on the caller's stack. */
struct collapse_bar {
    LIST_ENTRY(collapse_bar) link;
    const char *key, *file;
};
void collapse_bar(struct fs *fs, struct collapse_bar *bar) REQUIRES(&fs->lock);
/* The same when none is under way at the key. Waits. -ETIMEDOUT. */
int collapse_bar_key(struct fs *fs, struct collapse_bar *bar) __attribute__((warn_unused_result));
void collapse_unbar(struct fs *fs, struct collapse_bar *bar);

/* The inode of this name, if it is becoming that just now; or NULL. */
struct node *collapse_at(struct fs *fs, uint32_t parent, const char *name) REQUIRES(&fs->lock);
/* One is under way at a key below this directory. */
bool collapse_below(struct fs *fs, uint32_t dir) REQUIRES(&fs->lock);

/* At a takeover, when the nodes are there. -ENOMEM. */
int collapse_adopt(struct fs *fs) REQUIRES(&fs->lock) __attribute__((warn_unused_result));
/* Once a second: go on with what has no known end. */
void collapse_tick(struct fs *fs);
/* When no task runs any more. */
void collapse_free(struct fs *fs);

#endif

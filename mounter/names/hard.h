/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hard.h - files with several names, on managed volumes.
 *
 * The bytes and attributes of such a file are an object of its own, ".skyvol/links/FILE". Each name
 * is a small object at its key, a *pointer*, whose metadata say FILE and the number of the name;
 * the metaserver knows which numbers a file has (mounter/managed/links.h). So names are listed,
 * renamed and removed as other objects are, whatever node does it.
 *
 * Here the file is one inode with INODE_LINKED: a child of the root with its object's key as name,
 * which no lookup finds. Its names are not inodes: a lookup of one reads the pointer and answers
 * with the file's inode. FILE begins with the inode's number (st_ino), so all mounts show one.
 *
 * With one name left a file becomes a plain one again: collapse.h.
 *
 * The order of all changes: the metaserver learns of a name before its pointer is put, and forgets
 * it when the pointer is gone. A crash in between leaves a count that is too high, never one that
 * is too low: an object may be left behind, no byte that has a name is lost.
 *
 * All of it waits, and is called without fs->lock, but where REQUIRES says so.
 */
#ifndef MOUNTER_HARD_H
#define MOUNTER_HARD_H

#include "mounter/fs.h"

/* The object behind a pointer that was found: into remote->file. 0 also if there is none. */
int hard_follow(struct fs *fs, struct remote *remote) __attribute__((warn_unused_result));
/* Of a linked file's object: how many names it has, into remote->links. */
void hard_count(struct fs *fs, const char *key, struct remote *remote);
/* As remote_merge(), of a pointer: *ret is the file's. */
int hard_merge(struct fs *fs, uint32_t parent, const char *name, const struct remote *remote,
               struct node **ret) REQUIRES(&fs->lock) __attribute__((warn_unused_result));

/* link(2): op->ino2 gets the name op->name in op->ino. Leaves the answer in op->reply. */
int hard_link(struct op *op) __attribute__((warn_unused_result));
/* unlink(2) of a pointer. */
int hard_unlink(struct op *op) __attribute__((warn_unused_result));
/* The name was a pointer when we last looked: hard_unlink() will do, unless it says -ESTALE or
 * -ENOENT. */
bool hard_is_known(struct op *op);
/* The request has begun to take away a pointer before we were killed. */
bool hard_unlinks(struct op *op);

/*
 * rename(2) of a name: the pointer at `from` goes, one at `to` takes its place. `again`: it may be
 * half done. When nothing is claimed any more, both numbers are to be forgotten: of the name that
 * was moved, and of the one that was at `to`, or 0.
 */
struct hard_move {
    const char *from, *to;
    bool again;
    uint64_t moved, replaced;
};
int hard_rename(struct fs *fs, struct hard_move *what) __attribute__((warn_unused_result));
/* Number of the name at this key; 0: it is no pointer. */
int hard_number(struct fs *fs, const char *key, uint64_t *ret) __attribute__((warn_unused_result));
/* A pointer has gone from the store: so does its name, and with the last one the file. Not by who
 * has a claim. 0: nothing. */
void hard_forget(struct fs *fs, uint64_t number);

/* What a directory's listings say is too old: a name has come or gone that has no inode. */
void hard_changed(struct fs *fs, uint32_t dir) REQUIRES(&fs->lock);
/* From time to time: objects of files whose last name went while a node died. */
void hard_sweep(struct fs *fs);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seen.h - which attributes have ever been written to the volume: whether listings are enough.
 *
 * Notes are empty objects below .skyvol/attrs/, each put before the first object that needs it:
 *   complete               the volume was empty when noting began, so nothing else was written by
 * us file-MODE-UID-GID      files with this mode (octal) and owner; dir-... of directories special
 * links, devices, FIFOs, sockets other                  user attributes, times that a program has
 * set, or too many of the above They are never taken back. Where all files have one mode and owner,
 * and the mount was told no other, that is also what objects without attributes are shown with, and
 * no file has to be asked. What others write by S3 with attributes of their own is not noted: -o
 * attrs=full sees it.
 */
#ifndef MOUNTER_SEEN_H
#define MOUNTER_SEEN_H

#include "mounter/fs.h"

struct seen;

/* Reads the notes; of an empty volume, begins them (unless `adopted`). Waits. */
int seen_new(struct fs *fs, bool adopted, struct seen **ret) __attribute__((warn_unused_result));
void seen_free(struct seen *seen); /* NULL is allowed */
/* Reads the notes again if what is known of them is too old. Waits. */
void seen_refresh(struct fs *fs);

/* A listing tells all of a file, or of a directory's marker. */
bool seen_enough(struct fs *fs, bool is_dir) REQUIRES(&fs->lock);
/* Every object that is no directory's is a file. */
bool seen_only_files(struct fs *fs) REQUIRES(&fs->lock);
/* Of objects without attributes. */
void seen_defaults(struct fs *fs, bool is_dir, struct attr *ret);

/* To be noted before the object is written. Waits; the lock must not be held. */
int seen_note(struct fs *fs, const struct attr *attr) __attribute__((warn_unused_result));
/* It is noted already. */
bool seen_noted(struct fs *fs, const struct inode_rec *rec) REQUIRES(&fs->lock);

#endif

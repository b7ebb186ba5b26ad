/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walk.h - the files below a directory in the order of their st_ino, as cp -r and others visit
 * them.
 *
 * A walk stands at a file; walk_next() moves it to the next one, into directories and out of them,
 * as far as the keys are known (known.h). Under fs->lock.
 */
#ifndef MOUNTER_WALK_H
#define MOUNTER_WALK_H

#include "mounter/fs.h"
#include "mounter/names/known.h"

struct walk;

int walk_new(struct walk **ret) __attribute__((warn_unused_result));
void walk_free(struct walk *walk); /* NULL is allowed */

/* Stand at this file. False: what lies beside it is not known. */
bool walk_seek(struct fs *fs, struct walk *walk, const struct node *node) REQUIRES(&fs->lock);
/* Stand where the other does. */
bool walk_copy(struct walk *walk, const struct walk *from);
/*
 * Move to the next file; *ret is valid until the next call. False: there is none, or not all keys
 * of the next directory are known: the walk stays, and *ret_unknown says which (a directory).
 */
bool walk_next(struct fs *fs, struct walk *walk, struct known_entry *ret, const char **ret_unknown)
    REQUIRES(&fs->lock);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heads.h - attributes of objects that a listing has told of, asked for ahead of who walks a tree.
 *
 * What a HEAD has said counts for as long as listings show the same ETag and time, so a walk that
 * comes again asks for nothing. Who misses one key gets those asked for that follow, too, in the
 * order of the listing and across directories: 32 at first, up to 256 as the walk goes on. It waits
 * for its own only; as it uses the others, more are asked for. Bounded; under fs->lock but for
 * heads_fetch().
 */
#ifndef MOUNTER_HEADS_H
#define MOUNTER_HEADS_H

#include "mounter/fs.h"
#include "mounter/names/known.h"

struct heads;

int heads_new(struct heads **ret) __attribute__((warn_unused_result));
/* Before fs->facts goes: nothing of it is used any more. */
void heads_stop(struct fs *fs);
/* When no request is under way any more. NULL is allowed. */
void heads_free(struct heads *heads);

/* Where a walk is: `key` (of a directory with '/') of `name` in the directory. */
struct heads_place {
    uint32_t dir;
    const char *name, *key;
};
/* Ask for it and for those that follow. Waits for it. */
void heads_fetch(struct fs *fs, const struct heads_place *place);

/* With attributes, if they are known of this version of the key; remote_done() it. */
bool heads_remote(struct fs *fs, const char *key, const struct remote *listed, struct remote *ret)
    REQUIRES(&fs->lock);

#endif

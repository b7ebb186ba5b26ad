/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doubts.h - listings that lag behind what was done here.
 *
 * On some stores a listing shows for a while what has been deleted, lacks what has been made, or
 * has an older version of it, though HEAD and GET are right. So where a listing contradicts what
 * was done here in the last minute, the object itself is asked. On stores whose listings are
 * always right that is only where somebody else has changed the same name just after us.
 *
 * What was done is remembered by this process: by the nodes that it changed, and by the hashes of
 * names that went (fresh.c), of which the oldest are forgotten beyond some ten thousands.
 */
#ifndef MOUNTER_DOUBTS_H
#define MOUNTER_DOUBTS_H

#include "mounter/fs.h"
#include "mounter/names/listing.h"

/* A name in a directory of which the store is asked. */
struct doubt {
    char *key;
    char *name;   /* of a node that the listing lacks; or NULL */
    size_t entry; /* of the listing, which may have gone */
    bool is_dir;
    bool exists; /* the answer; what cannot be asked is as the listing says */
};
struct doubts {
    struct doubt *items;
    size_t count;
};
void doubts_done(struct doubts *doubts);
/* Waits. What the listing says and should not, and what it lacks. */
int doubts_ask(struct fs *fs, uint32_t dir, const struct listing *listing, struct doubts *ret)
    __attribute__((warn_unused_result));

/* Is there nothing in the directory of this key but its marker? -ENOTEMPTY; waits. */
int doubts_check_empty(struct fs *fs, uint32_t dir, const char *key)
    __attribute__((warn_unused_result));

/* No listing shows a directory of this key ("d/") : but is it one that was made here? Then `remote`
 * is what the store says of its marker. Waits. */
int doubts_find_dir(struct fs *fs, const struct op *op, const char *key, struct remote *remote)
    __attribute__((warn_unused_result));

/* What a listing says of this file, or of a name without a node, is to be asked of the store. */
bool doubts_listed(struct fs *fs, uint32_t parent, const char *name, const struct remote *listed)
    REQUIRES(&fs->lock);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * theirs.h - what others have said of an object: Content-Type, Cache-Control, metadata of their
 * own.
 *
 * Whoever writes an object anew (PUT, CREATE_UPLOAD, COPY with REPLACE) says all of it, so what is
 * there has to be asked for first, unless it is known that there is nothing: of objects that we
 * have made, and of those whose HEAD or GET has said so. That is remembered by ETag, in this
 * process. Tags and ACLs are not kept.
 */
#ifndef MOUNTER_THEIRS_H
#define MOUNTER_THEIRS_H

#include "mounter/fs.h"
#include "objstore/objstore_call.h"

/* The version under the record's ETag, or a new inode, is known to say nothing but ours. */
bool theirs_none(struct fs *fs, const struct node *node) REQUIRES(&fs->lock);
/* The version under this ETag does so, or may not. */
void theirs_note(struct node *node, const char *etag, bool none);

/* In: the object's key and the ETag that it is expected to have. Out: the rest. */
struct theirs {
    const char *key, *etag;
    bool none;     /* nothing was there to be kept */
    uint64_t size; /* the object's; 0: none of this ETag */
    struct objstore_answer answer;
};
void theirs_done(struct theirs *theirs);
/*
 * Ask the store, and add to `meta` what is there; it points into *theirs then. Waits. An object
 * that has gone or is another one adds nothing: the write's own condition finds that.
 */
int theirs_keep(struct fs *fs, struct theirs *theirs, struct arena *arena,
                struct objstore_meta *meta) __attribute__((warn_unused_result));

#endif

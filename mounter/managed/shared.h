/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared.h - how many bytes the mounts of a managed volume add to it, told to each other through
 * the metaserver. Waits, for the call's deadline; called without fs->lock, by one thread.
 */
#ifndef MOUNTER_SHARED_H
#define MOUNTER_SHARED_H

#include <stdbool.h>
#include <stdint.h>

#include "mounter/managed/managed.h"

struct fs;

struct shared {
    char session[MANAGED_ID_SIZE]; /* of the last report */
    int64_t grown_before;          /* when that session began */
    uint64_t instance;             /* ours; 0: none yet */
};
struct shared_bytes {
    int64_t grown, unpublished;
};
/* `own`: what this mount has added since it began. *ret: the others, ever. *ret_new: the session is
 * another than before, and what the last one has added counts among the others' now. -ENOTSUP:
 * nobody else can have the volume; -ENOLCK: no session; those of managed_call(). */
int shared_report(struct fs *fs, struct shared *shared, const struct shared_bytes *own,
                  struct shared_bytes *ret, bool *ret_new) __attribute__((warn_unused_result));

#endif

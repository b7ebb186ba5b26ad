/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep.h - memory that outlives this process.
 *
 * A kept region is a named memfd, mapped shared. Under a holder it is registered there, and
 * acknowledged, before keep_region() returns: from then on what is stored in it survives the
 * death of this process, and the successor that asks for the same name gets the same bytes with
 * `fresh` false. Without a holder (a person's own `skyvol-mount`) it is a plain memfd and always
 * fresh, so the file system above needs one code path only.
 *
 *     struct keep_region journal;
 *
 *     r = keep_region(keep, "journal", 1 << 20, &journal, err);
 *     if (r == 0 && journal.fresh) {
 *         ... lay it out, all bytes are zero ...
 *     }
 *
 * Ask for every region when starting: registering waits for the holder, a handler must not.
 * Regions are sparse: a large one costs only what is touched; keep_punch() gives pages back.
 * The keep owns descriptors and mappings; they stay valid until keep_free(). Every function may be
 * called from any thread. Nothing in a region may be a pointer.
 */
#ifndef MOUNTER_KEEP_H
#define MOUNTER_KEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/cleanup.h"
#include "util/error.h"
#include "util/slice.h"

struct keep;

enum {
    KEEP_NAME_MAX = 32,   /* bytes of a region's name, with NUL: [a-z0-9._-] */
    KEEP_REGIONS_MAX = 24 /* regions and blobs of one mount */
};

struct keep_region {
    int fd;      /* borrowed */
    void *data;  /* mapped read-write and shared, page-aligned; borrowed */
    size_t size; /* as asked, or as the predecessor had it if that was larger */
    bool fresh;  /* true: all zero, nobody has used it; false: the predecessor's content */
};

/* Standalone: memory that lives as long as this process. */
int keep_new(struct keep **ret) __attribute__((warn_unused_result));

/* NULL is allowed. Unmaps and closes; what the holder keeps, it keeps. */
void keep_free(struct keep *keep);
DEFINE_CLEANUP(struct keep *, keep_free);

/*
 * Under a holder: what it hands to a starting mounter is adopted (takes the descriptor, also on
 * failure), what is made later is registered by `hold`, which returns once it is safe; the region
 * is not used before. `hold` is called by one thread at a time and has its own deadline.
 * keep_each() shows every region and blob, for a holder that has lost them; it stops at the first
 * negative result and returns it.
 */
typedef int keep_hold_fn(void *context, const char *name, int fd, struct error *err);
void keep_set_hold(struct keep *keep, keep_hold_fn *hold, void *context);
int keep_adopt(struct keep *keep, const char *name, int fd) __attribute__((warn_unused_result));
int keep_each(struct keep *keep, keep_hold_fn *visit, void *context, struct error *err)
    __attribute__((warn_unused_result));

/*
 * The region called `name`, made if it does not exist. Asking twice gives the same region.
 * Errors: -EINVAL (name, size 0), -ENOSPC (too many), -ENOMEM, -ETIMEDOUT (the holder has not
 * acknowledged within 10 s). `err` may be NULL.
 */
int keep_region(struct keep *keep, const char *name, size_t size, struct keep_region *ret,
                struct error *err) __attribute__((warn_unused_result));

/*
 * A small sealed text (configuration, credentials): the memfd is read-only for ever after.
 * keep_blob_get: -ENOENT if there is none. Credentials named "credentials" are replaced by the
 * holder when they are rotated; the next keep_blob_get sees the new ones. *ret belongs to the
 * caller, is NUL-terminated and may hold a secret: free it with keep_secret_free().
 */
int keep_blob_get(struct keep *keep, const char *name, char **ret, size_t *ret_len)
    __attribute__((warn_unused_result));
void keep_secret_free(char *secret, size_t len);

/* Give the pages of [offset, offset + len) back; they read as zero afterwards. */
int keep_punch(const struct keep_region *region, size_t offset, size_t len)
    __attribute__((warn_unused_result));

/*
 * From `offset` on, where there may be anything but zeros; the region's size: nowhere. Looking at a
 * page that holds nothing would make it one that takes memory.
 */
size_t keep_next_data(const struct keep_region *region, size_t offset);

#endif

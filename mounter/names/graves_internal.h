/* SPDX-License-Identifier: Apache-2.0 */
/* graves_internal.h - what graves.c (which, when) and graves_delete.c (how) share. */
#ifndef MOUNTER_GRAVES_INTERNAL_H
#define MOUNTER_GRAVES_INTERNAL_H

#include <uthash.h>

#include "mounter/names/graves.h"

enum { GRAVES_BATCH = OBJSTORE_BATCH_MAX };

struct grave {
    UT_hash_handle hh;
    TAILQ_ENTRY(grave) link; /* in `waiting` or `covers` */
    uint32_t index;          /* of its record */
    uint32_t tries;
    uint64_t dug_ms, retry_ms;
    uint64_t late_ms; /* until then a deletion whose end we have not seen may arrive; 0: none */
    uint64_t etag;    /* hash of it, 0: not known */
    char *etag_text;  /* itself, for the first try's condition; NULL: there is none */
    bool sending;
    bool beside; /* there may be a directory of the same name */
    char key[];
};

/* Of one kind: all tried before, or none. */
struct graves_batch {
    struct fs *fs;
    struct grave *graves[GRAVES_BATCH];
    int errors[GRAVES_BATCH]; /* -ENOENT: nothing is left to do */
    size_t count;
};

/* 0: of none. */
uint64_t graves_hash_etag(const char *etag);
/* Sets batch->errors. Waits; without fs->lock, which the graves of a batch need not: nobody else
 * changes them meanwhile. */
void graves_delete(struct graves_batch *batch);

#endif

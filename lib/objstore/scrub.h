/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scrub.h - reads all that a store holds and compares it with the checksums kept beside it.
 *
 * Disks return other bytes than were written, and say nothing. A checksum that is compared only
 * when somebody reads the object is found wrong when no good copy is left anywhere.
 *
 * An object is compared with its checksum, one of composite kind part by part; without one with its
 * ETag if that is an MD5; else only its size counts, and it is `unchecked`. What is overwritten or
 * deleted while it is read is no damage. In a bucket of a directory store that has versions all of
 * them are read, of other stores the current ones. Nothing is changed: what to do about a damaged
 * object is its owner's decision.
 *
 * Waits; one thread. Works on any store, but reads every byte of it.
 */
#ifndef OBJSTORE_SCRUB_H
#define OBJSTORE_SCRUB_H

#include "objstore/objstore.h"

struct scrub_totals {
    uint64_t objects, bytes; /* read so far */
    uint64_t damaged;
    uint64_t unchecked; /* had nothing to be compared with but their size */
    uint64_t changed;   /* overwritten or deleted meanwhile */
};

struct scrub {
    const char *const *buckets; /* NULL after the last; NULL: all of them */
    const char *prefix;         /* of keys; "": all */
    uint64_t bytes_per_s;       /* 0: as fast as it goes */
    /* Of a damaged object, what is wrong, for people. */
    void (*damaged)(void *arg, const char *bucket, const char *key, const char *why);
    /* After each piece of up to 4 MiB; false ends it with -ECANCELED. NULL: nobody is told. */
    bool (*progress)(void *arg, const char *bucket, const struct scrub_totals *totals);
    void *arg;
};

/* 0 also with damaged objects; else the store could not be asked: as objstore.h, with err. */
int scrub_run(struct objstore *store, const struct scrub *scrub, struct scrub_totals *ret,
              struct error *err) __attribute__((warn_unused_result));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parts.h - where the parts of an upload begin and end. Pure functions.
 *
 * A file that is sent while it is written has a schedule, fixed when its upload begins and recorded
 * with it: parts of 8 MiB at first, doubling every thousand parts, up to what the pool of dirty
 * bytes can hold several of. What lies in the object already comes before, as parts that the store
 * copies, so that a file which has outgrown its schedule is completed and goes on with another.
 *
 * A file that is changed has a plan, made for its publication: long copies between what is dirty,
 * and no part below the store's minimum but the last.
 */
#ifndef MOUNTER_PARTS_H
#define MOUNTER_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "objstore/objstore.h"

enum { PARTS_MAX = OBJSTORE_PARTS_MAX };

struct parts_schedule {
    uint64_t copied;   /* bytes from the beginning that are copied from the object; may be 0 */
    uint64_t copy_len; /* of each copied part but the last two */
    uint64_t first_len, cap_len; /* of the parts that are sent */
};

/* For a file that begins with `base` bytes of its object. `pool`: bytes that may be dirty. */
void parts_schedule_make(const struct objstore_caps *caps, uint64_t base, uint64_t pool,
                         struct parts_schedule *ret);
/* What comes from a disk may be anything. */
bool parts_schedule_is_sound(const struct parts_schedule *schedule);
uint32_t parts_copied(const struct parts_schedule *schedule);
/* Where part 1, 2, ... begins; that of PARTS_MAX + 1 is where the schedule ends. */
uint64_t parts_offset(const struct parts_schedule *schedule, uint32_t part);
/* How many parts a file of this size has; more than PARTS_MAX: it has outgrown the schedule. */
uint32_t parts_count(const struct parts_schedule *schedule, uint64_t size);

struct parts_range {
    uint64_t from, to;
};

struct parts_item {
    uint64_t offset, len;
    bool copy; /* the store copies it from the object */
};

struct parts_file {
    const struct objstore_caps *caps;
    uint64_t size;                   /* not 0 */
    uint64_t base;                   /* bytes from the beginning that may be copied; 0: none */
    const struct parts_range *dirty; /* ascending, not touching */
    size_t dirty_count;
};

/* *ret is to be freed. -EFBIG: no store holds such a file; -ENOMEM. */
int parts_plan(const struct parts_file *file, struct parts_item **ret, size_t *ret_count)
    __attribute__((warn_unused_result));

#endif

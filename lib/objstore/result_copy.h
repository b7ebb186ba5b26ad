/* SPDX-License-Identifier: Apache-2.0 */
/*
 * result_copy.h - keep a result, or the metadata of an object, beyond the callback it came in.
 */
#ifndef OBJSTORE_RESULT_COPY_H
#define OBJSTORE_RESULT_COPY_H

#include "objstore/objstore.h"
#include "util/arena.h"

/* More than 1000 entries with keys of 1024 bytes each. */
enum { OBJSTORE_RESULT_MEMORY_MAX = 16 * 1024 * 1024 };

/* Copy everything that *from points to into the arena. 0 or -ENOMEM. */
int objstore_result_copy(struct arena *arena, const struct objstore_result *from,
                         struct objstore_result *ret) __attribute__((warn_unused_result));
/* The same of an object's metadata. */
int objstore_meta_copy(struct arena *arena, const struct objstore_meta *from,
                       struct objstore_meta *ret);

#endif

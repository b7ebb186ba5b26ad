/* SPDX-License-Identifier: Apache-2.0 */
/* collapse_internal.h - the end of a collapse (collapse.h), when the last name is a plain object.
 */
#ifndef MOUNTER_COLLAPSE_INTERNAL_H
#define MOUNTER_COLLAPSE_INTERNAL_H

#include "mounter/names/pointer.h"

struct collapse_rest {
    const char *file, *key;     /* the file, and its last name */
    char etag[STATE_ETAG_SIZE]; /* of the file's object when it was copied; "": it has gone */
};
/* The number in what takes the object's place until it is deleted, where a deletion cannot have a
 * condition. */
#define COLLAPSE_GONE UINT64_MAX

/* The object goes, if it is that version; another one is kept beside the file, and then goes. */
int collapse_delete(struct fs *fs, struct collapse_rest *rest) __attribute__((warn_unused_result));
/* Steps 4 to 6. What fails is told in the log, and left to a sweep. Waits. */
void collapse_finish(struct fs *fs, struct collapse_rest *rest, uint64_t number);
/* The same where `plain` was found at the key: who made the copy was killed. The object is what is
 * left of it, unless it was written to since. */
void collapse_finish_found(struct fs *fs, const char *file, const struct links_name *last,
                           const struct pointer *plain);

#endif

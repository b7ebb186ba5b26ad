/* SPDX-License-Identifier: Apache-2.0 */
/*
 * longs.h - names for key components that are longer than a file name may be.
 *
 *     ".%long%" or, of a file beside a directory, ".%lfile%"
 *     the component's first bytes, whole characters
 *     "%" and the first 16 bytes of its SHA-256, in hex
 *
 * Such a name cannot be turned back into its component: what listings show is remembered here, and
 * what was forgotten is found by listing the directory for the bytes that the name begins with. An
 * inode's record keeps its component (inode_rec.component).
 *
 * The table has a lock of its own, held for no longer than its own work: any thread, also under
 * fs->lock.
 */
#ifndef MOUNTER_LONGS_H
#define MOUNTER_LONGS_H

#include <stdbool.h>

#include "mounter/names/names.h"
#include "util/buf.h"
#include "util/cleanup.h"

struct longs;
int longs_new(struct longs **ret) __attribute__((warn_unused_result));
void longs_free(struct longs *longs); /* NULL is allowed */

/* As names_from_key(), for every component; a long one is remembered. -EIO: no digest. */
int longs_name(struct longs *longs, struct slice component, bool beside, char ret[NAMES_MAX + 1])
    __attribute__((warn_unused_result));
/* Is it such a name? *ret_beside; the bytes it begins with in `begin`. */
bool longs_is(const char *name, bool *ret_beside, struct slice *begin);
/* As names_to_key() says of the name alone: -EINVAL, no key has it. */
int longs_beside(const char *name, bool *ret_beside) __attribute__((warn_unused_result));
/* The component of any name; -EINVAL; -ENOENT: a long one that is not remembered. */
int longs_component(struct longs *longs, const char *name, struct buf *out)
    __attribute__((warn_unused_result));
/* The component. -ENOENT: not remembered. */
int longs_find(struct longs *longs, const char *name, struct buf *out)
    __attribute__((warn_unused_result));

#endif

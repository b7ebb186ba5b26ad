/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.h - the directory that a person wants a mount on, and how it is left.
 */
#ifndef MOUNTER_PLACE_H
#define MOUNTER_PLACE_H

#include "util/error.h"

/*
 * Whether something can be mounted there: it is a directory, and no mount of ours. One whose
 * program has died (ENOTCONN) is unmounted first, and that is said. *ret: the path without links,
 * to be freed. -ENOENT, -ENOTDIR, -EBUSY, -ENOTCONN, -ENOMEM; err tells.
 */
int place_ready(const char *path, char **ret, struct error *err)
    __attribute__((warn_unused_result));

/* Whether /dev/fuse can be used. */
int place_device(struct error *err) __attribute__((warn_unused_result));

/* Our mount at `path` answers nobody any more: the name is free again, whoever still is in it. */
void place_leave(const char *path);

#endif

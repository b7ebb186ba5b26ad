/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attr.h - what a file system knows of a file and S3 does not, in an object's user metadata.
 *
 * Written in the form of s3fs: "mode" (st_mode with the type, decimal), "uid", "gid", "mtime",
 * "ctime", "atime" (a decimal number of seconds with nine digits after the point), "xattr"
 * (percent-encoded JSON object of base64 values); "rdev" is ours. Read as well: GeeseFS ("--mode",
 * "--uid", "--gid", "--mtime", "rdev"), rclone
 * ("mtime", "btime"). User attributes are kept as that JSON text ("{}" or "" for none).
 * Values out of range count as absent. Pure: any thread.
 */
#ifndef MOUNTER_ATTR_H
#define MOUNTER_ATTR_H

#include <stdbool.h>
#include <stdint.h>

#include "objstore/objstore.h"
#include "util/arena.h"
#include "util/buf.h"

#define ATTR_LINK "skyvol-link"

struct attr {
    bool has_mode, has_uid, has_gid, has_mtime, has_ctime, has_atime;
    uint32_t mode; /* with the type */
    uint32_t uid, gid, rdev;
    int64_t mtime_ns, ctime_ns, atime_ns;
    bool times_set;    /* by a program; not in the metadata */
    bool only_ours;    /* attr_read(): the object says nothing else of itself */
    const char *xattr; /* JSON text in the arena, or NULL */
    const char *link;  /* of a name of a file with hard links (hard.h), in the arena, or NULL */
};

enum {
    ATTR_XATTR_MAX = 2048,     /* bytes of JSON */
    ATTR_XATTR_ENCODED = 1750, /* as metadata: S3 takes 2 KiB of it in all */
    ATTR_USER_MAX = 2048,
};

void attr_read(const struct objstore_meta *meta, struct arena *arena, struct attr *ret);

/* All members are written. -ENOMEM. */
int attr_write(const struct attr *attr, struct arena *arena, struct objstore_meta *ret)
    __attribute__((warn_unused_result));

/*
 * Add what others have said of the object: its headers, and user metadata that is not ours, as far
 * as all of it is not more than S3 takes. 1: something did not fit; -ENOMEM. What is added points
 * into `theirs`.
 */
int attr_keep_theirs(const struct objstore_meta *theirs, struct arena *arena,
                     struct objstore_meta *ours) __attribute__((warn_unused_result));

/* One user attribute of the JSON text; `json` may be NULL. -ENODATA; *ret_len bytes in `out`. */
int attr_xattr_get(const char *json, const char *name, struct buf *out)
    __attribute__((warn_unused_result));
/* Names, NUL after each. */
int attr_xattr_list(const char *json, struct buf *out) __attribute__((warn_unused_result));
/* The text with one more, or less when value is NULL. -ENODATA, -EEXIST (flags as setxattr(2)),
 * -ENOSPC. */
struct attr_xattr_change {
    const char *name;
    const void *value;
    size_t len;
    int flags;
};
int attr_xattr_set(const char *json, const struct attr_xattr_change *change, struct buf *out)
    __attribute__((warn_unused_result));

#endif

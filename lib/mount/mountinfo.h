/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mountinfo.h - what is mounted where, from /proc/self/mountinfo alone.
 *
 * Asking the kernel's table touches no file system, so it never hangs on a stalled mount, as
 * stat(2) on the same path would.
 *
 *     struct mountinfo m;
 *
 *     if (mountinfo_find("/var/lib/.../globalmount", &m) == 0 && strcmp(m.type, "fuse.skyvol") ==
 * 0)
 *
 * Blocking only on /proc; any thread.
 */
#ifndef MOUNT_MOUNTINFO_H
#define MOUNT_MOUNTINFO_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

enum { MOUNTINFO_TYPE_MAX = 64, MOUNTINFO_SOURCE_MAX = 512 };

struct mountinfo {
    uint32_t id;
    uint32_t device_major;
    uint32_t device_minor; /* of a FUSE mount: the number of its connection in fusectl */
    bool read_only;        /* this mount, not its superblock */
    char root[PATH_MAX];   /* within the superblock: "/" unless it is a bind of a part */
    char target[PATH_MAX];
    char type[MOUNTINFO_TYPE_MAX];
    char source[MOUNTINFO_SOURCE_MAX];
};

/* Called for each mount, oldest first; a result other than 0 ends the walk. */
typedef int mountinfo_visit_fn(void *context, const struct mountinfo *m);

/* 0 or what `visit` returned; -ENOMEM, or what opening and reading the table says. */
int mountinfo_each(mountinfo_visit_fn *visit, void *context) __attribute__((warn_unused_result));

/* The topmost mount exactly at `target` (an absolute path without symlinks). -ENOENT: none. */
int mountinfo_find(const char *target, struct mountinfo *ret) __attribute__((warn_unused_result));

/* One line of the table, without its newline. -EINVAL. */
int mountinfo_parse(const char *line, struct mountinfo *ret) __attribute__((warn_unused_result));

#endif

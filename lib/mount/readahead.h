/* SPDX-License-Identifier: Apache-2.0 */
/*
 * readahead.h - how much the kernel reads ahead of who reads a mount.
 *
 * A file system in user space cannot ask for more than the 128 KiB that the kernel offers; only
 * /sys/class/bdi of its mount can be set, by root of the node. With more, READs are larger (up to
 * 1 MiB), and more of them are under way at once.
 */
#ifndef MOUNT_READAHEAD_H
#define MOUNT_READAHEAD_H

#include <stdint.h>

enum { MOUNT_READAHEAD_DEFAULT = 1 << 20 };

/*
 * Of the mount exactly at `target` (an absolute path without symlinks), in bytes, rounded up to
 * KiB. Looks at tables of the kernel only, never at the mount. 0, -ENOENT (no such mount, or no
 * sysfs), -EACCES, -EROFS: it stays as it is.
 */
int mount_readahead_set(const char *target, uint64_t bytes) __attribute__((warn_unused_result));

#endif

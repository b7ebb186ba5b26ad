/* SPDX-License-Identifier: Apache-2.0 */
/*
 * detach.h - take a mount out of the tree of names although it is in use (umount -l).
 *
 * Who has it open keeps what he has; the path is what it was before the mount. As root by
 * umount2(2), as an ordinary user by fusermount3, which lets him take away his own FUSE mounts.
 */
#ifndef MOUNT_DETACH_H
#define MOUNT_DETACH_H

#include <stdint.h>

/* The topmost mount at `target`. -EPERM: not allowed to; -ETIMEDOUT; what umount2(2) says. */
int mount_detach(const char *target, uint64_t timeout_ms) __attribute__((warn_unused_result));

#endif

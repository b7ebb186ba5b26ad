/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bounded.h - system calls that a stalled mount may hold for ever, with a deadline.
 *
 * The call runs in a thread of its own, which is left behind when the deadline passes; at most
 * BOUNDED_MAX are left behind at a time, then calls fail with -EBUSY at once. Any thread.
 */
#ifndef MOUNT_BOUNDED_H
#define MOUNT_BOUNDED_H

#include <stdint.h>
#include <sys/statvfs.h>

enum { BOUNDED_MAX = 64 };

/* umount2(2). -ETIMEDOUT, -EBUSY and what the call says. */
int bounded_umount(const char *target, int flags, uint64_t timeout_ms)
    __attribute__((warn_unused_result));
/* mount(2) as a bind, then read-only if so wished; undone when the second step fails. */
int bounded_bind(const char *source, const char *target, int read_only, uint64_t timeout_ms)
    __attribute__((warn_unused_result));
int bounded_statvfs(const char *path, uint64_t timeout_ms, struct statvfs *ret)
    __attribute__((warn_unused_result));

#endif

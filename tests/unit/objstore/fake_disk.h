/* SPDX-License-Identifier: Apache-2.0 */
/* fake_disk.h - calls in the place of the C library's, for the one test that includes it. */
#ifndef TESTS_OBJSTORE_FAKE_DISK_H
#define TESTS_OBJSTORE_FAKE_DISK_H

#include <errno.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

enum disk { DISK_WORKS, DISK_WAITS, DISK_FAILS };
static _Atomic enum disk disk;
static atomic_int flushes;
static long file_system = EXT4_SUPER_MAGIC;

int syncfs(int fd)
{
    (void)fd;
    while (atomic_load(&disk) == DISK_WAITS) {
        (void)usleep(1000);
    }
    (void)atomic_fetch_add(&flushes, 1);
    if (atomic_load(&disk) == DISK_FAILS) {
        errno = EIO;
        return -1;
    }
    return 0;
}

int fstatfs(int fd, struct statfs *ret)
{
    (void)fd;
    *ret = (struct statfs){.f_type = file_system};
    return 0;
}

static void (*before_rename)(const char *to);
static bool dies_after_rename;

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    long ret;

    if (before_rename != NULL) {
        before_rename(to);
    }
    ret = syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
    if (dies_after_rename && ret == 0) {
        _exit(0);
    }
    return (int)ret;
}

#endif

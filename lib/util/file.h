/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.h - small files as a whole: read with a limit, replaced atomically, watched for change.
 * No state: safe from any thread.
 */
#ifndef UTIL_FILE_H
#define UTIL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/buf.h"

/* Append the content to `out`, whose limit is the file's too. -EFBIG, -EISDIR (not a regular file
 * or pipe), -ENOMEM or what open(2) and read(2) say. */
int file_read(const char *path, struct buf *out) __attribute__((warn_unused_result));

/* All of them, also where the kernel takes fewer at once; not flushed. What write(2) says. */
int file_write_all(int fd, const char *bytes, size_t len) __attribute__((warn_unused_result));

/*
 * Replace the file: written beside it with `mode`, fsync, renamed, directory fsync. After a crash
 * there is the old content or the new. A symlink at `path` is replaced, not followed.
 */
int file_replace(const char *path, const void *bytes, size_t len, mode_t mode)
    __attribute__((warn_unused_result));

/* As file_replace, with the owner, group and mode of the file that is there; -ENOENT. */
int file_replace_alike(const char *path, const void *bytes, size_t len)
    __attribute__((warn_unused_result));

/* As file_replace, but -EEXIST if there is one already: nothing is ever overwritten. */
int file_create(const char *path, const void *bytes, size_t len, mode_t mode)
    __attribute__((warn_unused_result));

/* Make the directory, and those above it that are missing, with `mode` (and umask). 0 when it is
 * there; else what mkdir(2) says, -ENOTDIR, -ENAMETOOLONG. */
int file_make_dir(const char *path, mode_t mode) __attribute__((warn_unused_result));

/* The same for the directory that a file is to lie in. */
int file_make_parent(const char *path, mode_t mode) __attribute__((warn_unused_result));

/* What changes when a file is replaced or written. */
struct file_stamp {
    uint64_t device;
    uint64_t inode;
    int64_t size;
    int64_t mtime_ns;
};

int file_stamp(const char *path, struct file_stamp *ret) __attribute__((warn_unused_result));
bool file_stamp_eq(const struct file_stamp *a, const struct file_stamp *b);

/* A file, or the directory of a Secret, that is read again when it changes: look now and then. One
 * thread. */
struct file_watch {
    struct file_stamp stamp;
    uint64_t looked_ms;
};

/* As it is now: call it before the file is read. */
int file_watch_init(struct file_watch *watch, const char *path) __attribute__((warn_unused_result));
/* True when it is there and another than at the last look; at most once a second. */
bool file_watch_changed(struct file_watch *watch, const char *path);

/*
 * Make way for a unix socket: one that nobody listens on any more is removed. 0 also when there is
 * none; -EADDRINUSE: somebody listens; -EEXIST: something else lies there; -ENAMETOOLONG.
 */
int file_remove_socket(const char *path) __attribute__((warn_unused_result));

#endif

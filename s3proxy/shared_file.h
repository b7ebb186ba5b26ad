/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_file.h - memory that the launcher and all workers share: a mapped file of the run
 * directory.
 *
 * What is mapped begins with its layout, a uint64_t, so that a program of another version does not
 * take it for its own. The caller unmaps it by munmap(). Errors: negative errno; -EINVAL: another
 * size or layout.
 */
#ifndef S3PROXY_SHARED_FILE_H
#define S3PROXY_SHARED_FILE_H

#include <stddef.h>
#include <stdint.h>

/* A new one, of zeros but for the layout. One of that name is unlinked, never cut: workers of a
 * launcher that was killed may still have it mapped. */
int shared_file_create(const char *path, size_t size, uint64_t layout, void **ret)
    __attribute__((warn_unused_result));
/* *ret_fd: the open file, for locks; the caller closes it. */
int shared_file_open(const char *path, size_t size, uint64_t layout, void **ret, int *ret_fd)
    __attribute__((warn_unused_result));

#endif

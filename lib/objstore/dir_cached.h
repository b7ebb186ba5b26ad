/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dir_cached.h - Whether the bytes of a file are in the page cache, so that who must not wait may
 * read or send them. What is there can be gone a moment later: it is an answer of now.
 *
 * Offsets and lengths are in bytes, `offset` < `end` within the file. Any thread.
 */
#ifndef OBJSTORE_DIR_CACHED_H
#define OBJSTORE_DIR_CACHED_H

#include <stdbool.h>
#include <stdint.h>

/* Nothing of it must be read from the disk, as far as the kernel tells: of each page with
 * cachestat(2) (Linux 6.5), else of some. False also where it cannot tell. Does not wait. */
bool dir_cached(int fd, uint64_t offset, uint64_t end);
/* The same for who may wait: up to `most` bytes are read into memory for it. */
bool dir_cached_load(int fd, uint64_t offset, uint64_t end, uint64_t most);

#endif

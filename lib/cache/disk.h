/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.h - blocks of objects in a directory, which outlive the process.
 *
 *     r = disk_cache_new(&(struct disk_cache_config){.dir = "/var/cache/skyvol", .name = volume,
 *                                                    .size = 10 << 30}, &cache, &err);
 *     disk_cache_object(key_and_etag, len, block.object);
 *     disk_cache_put(cache, &block, data, len);
 *     if (disk_cache_get(cache, &block, data, len) == 0) ...
 *
 * A block is named by its object (key and version in one) and its number, has at most 64 KiB, and
 * carries a CRC-32C: what does not match is dropped and counts as absent. Nothing here is the only
 * copy of anything; every failure (a full disk, an I/O error) means that a block is not kept. After
 * one nothing is written for a while, and the first is logged. Blocks go by S3-FIFO when they
 * exceed `size`, or when the file system has less than `free_min` left.
 *
 * Below `dir` each name has a directory of its own, with a lock that its process holds; two files:
 * `index`, a record for each slot, checked one by one when it is opened, and `data`, sparse. A kill
 * at any moment leaves slots that are whole or not believed. In memory it takes 48 bytes for each
 * 32 KiB of `size`; the kernel is told to let the pages of what was got go.
 *
 * Thread-safe. All calls but disk_cache_has() do file I/O.
 */
#ifndef CACHE_DISK_H
#define CACHE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/cleanup.h"
#include "util/error.h"

enum { DISK_BLOCK_MAX = 64 * 1024 };

struct disk_cache;

struct disk_cache_config {
    const char *dir;   /* must exist */
    const char *name;  /* of what is cached: another name never sees its blocks */
    uint64_t size;     /* bytes; at least 1 MiB */
    uint64_t free_min; /* bytes to be left free in the file system; 0: a twentieth of it */
};

struct disk_block {
    uint64_t object[2]; /* disk_cache_object() */
    uint64_t index;
};

struct disk_cache_stats {
    uint64_t bytes, blocks; /* now */
    uint64_t hits, misses, bad, failed;
};

/* -EBUSY: another process has it. Else what the file system says; err tells. */
int disk_cache_new(const struct disk_cache_config *config, struct disk_cache **ret,
                   struct error *err) __attribute__((warn_unused_result));
void disk_cache_free(struct disk_cache *cache); /* NULL is allowed */
DEFINE_CLEANUP(struct disk_cache *, disk_cache_free);

/* A name of 128 bits (of SHA-256) for what the caller calls the object. */
void disk_cache_object(const void *name, size_t len, uint64_t ret[2]);

bool disk_cache_has(struct disk_cache *cache, const struct disk_block *block);
/* All `len` bytes, checked; else -ENOENT. */
int disk_cache_get(struct disk_cache *cache, const struct disk_block *block, void *data, size_t len)
    __attribute__((warn_unused_result));
/* If it can be had. */
void disk_cache_put(struct disk_cache *cache, const struct disk_block *block, const void *data,
                    size_t len);
void disk_cache_get_stats(struct disk_cache *cache, struct disk_cache_stats *ret);

#endif

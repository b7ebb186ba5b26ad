/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dir.h - a store in a directory, and one in memory: objects are plain files beside an index.
 *
 *     struct objstore_dir_config config = {.root = "/srv/store"};
 *     ret = objstore_dir_new(&config, &store, &err);
 *
 * What lies where: dir_files.h; docs/store-format.md for administrators. Several processes may have
 * one root open; each change is one transaction of the index, so it is seen whole or not at all,
 * and conditions hold between processes too. done() of a write reports 0 when what was written is
 * durable: in its file, of small objects first in the index (dir_pending.h). Waiting writes share
 * one transaction and one flush of the index.
 *
 * Open it after fork(): it has threads. Capabilities: everything but versions.
 * Errors: objstore.h; a full disk is -ENOSPC and leaves nothing behind.
 */
#ifndef OBJSTORE_DIR_H
#define OBJSTORE_DIR_H

#include "objstore/objstore.h"

struct objstore_dir_config {
    const char *root;  /* created if absent; must be empty or a store */
    uint32_t threads;  /* that read and write files; 0: 8, at most 64 */
    bool not_durable;  /* no flushing: for tests, where a crash of the machine may lose writes */
    uint64_t part_min; /* smallest part but the last; 0: 5 MiB, as in S3 */
    bool now; /* objstore_now() answers what is in memory; else never. Keeps some files open
               * that were read, also for a second or two after they were removed. */
};

int objstore_dir_new(const struct objstore_dir_config *config, struct objstore **ret,
                     struct error *err) __attribute__((warn_unused_result));

/*
 * A store that ends with its process: the same backend on a private directory in memory (/dev/shm,
 * else TMPDIR), removed by objstore_free().
 */
int objstore_mem_new(struct objstore **ret, struct error *err) __attribute__((warn_unused_result));

#endif

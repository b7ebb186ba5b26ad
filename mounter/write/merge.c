/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for what is put together before it is sent: a part, or a small file, of which the store
 * has some bytes and we have others. All of it together stays within a share of the mount's memory;
 * one that is larger than that goes alone.
 */
#include <errno.h>
#include <stdlib.h>

#include "mounter/write/publish_internal.h"

enum { SHARE = 8, LEAST = 8 << 20, WAIT_MS = 1000 };

/* The store takes what others send: who waits for them need not give up. */
int merge_take(struct job *job, uint64_t bytes, char **ret)
{
    struct fs *fs = job->fs;
    uint64_t limit = fs->options.memory_bytes / SHARE;
    char *buffer;

    limit = limit > LEAST ? limit : LEAST;
    mutex_lock(&fs->lock);
    while (fs->merging > 0 && fs->merging + bytes > limit) {
        uint64_t ended = fs->merged;

        cond_wait_ms(&fs->changed, &fs->lock, WAIT_MS); /* each ends by its own deadline */
        if (fs->merged != ended) {
            mutex_unlock(&fs->lock);
            job_progress(job, bytes);
            mutex_lock(&fs->lock);
        }
    }
    fs->merging += bytes;
    mutex_unlock(&fs->lock);
    buffer = malloc(bytes > 0 ? (size_t)bytes : 1);
    if (buffer == NULL) {
        merge_give(fs, NULL, bytes);
        return -ENOMEM;
    }
    *ret = buffer;
    return 0;
}

void merge_give(struct fs *fs, char *buffer, uint64_t bytes)
{
    free(buffer);
    mutex_lock(&fs->lock);
    fs->merging -= bytes;
    fs->merged++;
    cond_broadcast(&fs->changed);
    mutex_unlock(&fs->lock);
}

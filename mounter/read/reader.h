/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader.h - bytes of objects for those who read files, without a thread for each.
 *
 * Bytes are kept in grains of 64 KiB of one version of one object (key and ETag), in memory that is
 * bounded; GETs of one to many grains fill them, under If-Match. Whoever reads registers a
 * reader_wait for the grains it needs; it is answered as soon as those are there, by the thread
 * that brought the last of them, from the grains themselves.
 *
 *     mutex_lock(&fs->lock);
 *     ret = reader_begin(fs, node, &range, wait, &start);
 *     mutex_unlock(&fs->lock);
 *     reader_start(fs, &start);                       whatever ret is
 *     0:            reader_iov(); answer; reader_end()
 *     -EINPROGRESS: if (reader_arm(fs, wait)) as with 0 (look at wait->error); else
 * wait->done(wait) comes, once, from another thread; there as with 0 -ENOMEM:      memory is taken
 * by others right now; nothing is registered
 *
 * Locks: fs->lock before reader->lock. Nothing is called and no I/O done under reader->lock.
 */
#ifndef MOUNTER_READER_H
#define MOUNTER_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

#include "mounter/fs.h"
#include "util/error.h"

struct grain;
struct version;
struct fetch;

enum {
    READER_GRAIN = 64 * 1024,
    READER_LEN_MAX = 1 << 20, /* of one reader_begin() */
    READER_GRAINS_MAX = READER_LEN_MAX / READER_GRAIN + 1,
};

STAILQ_HEAD(fetch_list, fetch);

struct reader_range {
    uint64_t handle; /* who reads; 0: nobody that reads on */
    uint64_t offset;
    size_t len; /* 1 to READER_LEN_MAX, within the object */
};

struct reader_wait {
    void (*done)(struct reader_wait *wait); /* set by the caller before reader_arm() */
    void *arg;                              /* the caller's */
    int error;                              /* how it ended */
    uint64_t offset;
    size_t len;

    /* The reader's. */
    TAILQ_ENTRY(reader_wait) link;
    struct version *version;
    uint32_t count, missing;
    bool armed, over;
    struct grain *grains[READER_GRAINS_MAX];
};

int reader_new(struct fs *fs, uint64_t memory_bytes) __attribute__((warn_unused_result));
/* Every second: what is to be done now and then. */
void reader_tick(struct fs *fs);
/* Before the volume is closed. */
void reader_stop(struct fs *fs);
/* When no request is under way any more. */
void reader_free(struct fs *fs);

/* Are these bytes of the version that the node is based on in memory? */
/* eio_about() what is read, by its key, and the last of its GETs that failed. */
void reader_about(struct fs *fs, const struct node *node) REQUIRES(&fs->lock);
bool reader_has(struct fs *fs, const struct node *node, uint64_t offset, size_t len)
    REQUIRES(&fs->lock);
/* Of the version that the node is based on; fs->lock is held. */
int reader_begin(struct fs *fs, struct node *node, const struct reader_range *range,
                 struct reader_wait *wait, struct fetch_list *ret_start) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));
void reader_start(struct fs *fs, struct fetch_list *start);
bool reader_arm(struct fs *fs, struct reader_wait *wait) __attribute__((warn_unused_result));
/* Where the bytes are; returns how many pieces. Valid until reader_end(). */
int reader_iov(const struct reader_wait *wait, struct iovec iov[READER_GRAINS_MAX]);
void reader_end(struct fs *fs, struct reader_wait *wait);

/* The node goes, or has another base now (`old`: what is cached of it is of no use); fs->lock is
 * held. */
void reader_detach(struct fs *fs, struct node *node, bool old) REQUIRES(&fs->lock);
/* Nobody has the node open any more: end what was asked for ahead. fs->lock is held. */
void reader_quiet(struct fs *fs, struct node *node) REQUIRES(&fs->lock);

/* Bytes of the object version that the inode is based on. Waits. -ESTALE: it is gone. */
int reader_read(struct fs *fs, uint32_t ino, uint64_t offset, char *buffer, size_t len)
    __attribute__((warn_unused_result));

/*
 * Fetch a small object whole, for who will read it soon; fs->lock is held. `arrived` comes once,
 * without a lock, with what the store has answered. -EEXIST: some of it is here already; -ENOMEM.
 */
struct objstore_result;
struct reader_file {
    const char *key, *etag;
    uint64_t size;
    void (*arrived)(void *arg, const struct objstore_result *result);
    void *arg;
};
int reader_prefetch(struct fs *fs, const struct reader_file *file, struct fetch_list *start)
    REQUIRES(&fs->lock) __attribute__((warn_unused_result));
/*
 * The bytes of an object that was put just now, from memory: who reads it next needs no GET. As far
 * as there is room; these go before what has been read twice. `image` is read from its beginning.
 */
struct data_image;
void reader_keep(struct fs *fs, const char *key, const char *etag, struct data_image *image);
uint64_t reader_limit(const struct fs *fs); /* bytes of memory */
/* So many bytes of its memory are needed elsewhere; it keeps a quarter in any case. */
void reader_give_way(struct fs *fs, uint64_t bytes);

struct reader_stats {
    uint64_t bytes;   /* in memory */
    uint64_t limit;   /* of them */
    uint64_t fetches; /* under way */
};
void reader_get_stats(struct fs *fs, struct reader_stats *ret);

#endif

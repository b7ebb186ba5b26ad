/* SPDX-License-Identifier: Apache-2.0 */
/* publish_internal.h - one publication, for the files that carry it out: publish.c, put.c. */
#ifndef MOUNTER_PUBLISH_INTERNAL_H
#define MOUNTER_PUBLISH_INTERNAL_H

#include "mounter/attr/theirs.h"
#include "mounter/fs.h"

enum { PUBLISH_TIMEOUT_MS = 300000 };
extern const uint64_t publish_whole_max; /* bytes of a file that is sent by one PUT */

/* One publication under way: what was true when it began. */
struct job {
    struct fs *fs;
    struct node *node;
    struct pending *waiter; /* who must have the answer; or NULL */
    uint32_t ino;
    char *key;
    char *base_key; /* of the object it is based on: the same but for a conflict copy */
    uint64_t size, base_valid;
    char etag[STATE_ETAG_SIZE]; /* of the object it is based on; "" when new */
    bool is_new;
    uint32_t upload; /* index + 1, or 0 */
    bool streamed;   /* parts of it have been sent ahead: their bytes are nowhere else */
    bool baseless;   /* the object it is based on has gone: zeros where nothing is dirty */
    bool left;       /* another mount's file has the name, and nothing was written here */
    struct attr attr;
    struct objstore_meta meta;
    bool plain;           /* nothing but ours is in it */
    struct theirs theirs; /* what `meta` points into */
    char *target;
    struct arena arena;
    struct data_seqs seqs;
    char result_etag[STATE_ETAG_SIZE];
    int64_t result_ns; /* the store's time of it, nearly; 0: not known */
};

/* What is true now. The node is claimed by the caller. job_done() also after a failure. */
int job_begin(struct fs *fs, struct job *job) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));
void job_done(struct job *job);
/* The object is there, under job->result_etag. */
void job_published(struct fs *fs, struct job *job) REQUIRES(&fs->lock);
/*
 * The store has taken something of this file: who waits for its publication may wait on, and longer
 * if the next step is a large one.
 */
void job_progress(struct job *job, uint64_t next_bytes);
/* Conditions where the store has them; where not, it looks just before: the next best. */
int job_conditions(struct job *job, struct objstore_request *request, bool complete)
    __attribute__((warn_unused_result));

/* ---- merge.c ---- */
/* Memory to put `bytes` together in, once there is room. Waits. Given back with the same number. */
int merge_take(struct job *job, uint64_t bytes, char **ret) __attribute__((warn_unused_result));
void merge_give(struct fs *fs, char *buffer, uint64_t bytes);

/* ---- background.c ---- */
/* Of a dirty file. */
struct publish_age {
    bool is_open;
    int64_t dirty_ns;  /* for so long */
    bool is_streamed;  /* it has an unfinished upload, */
    uint32_t sending;  /* so many parts of which are on their way, */
    uint64_t quiet_ms; /* and this is how long ago the store took the last one */
};
/*
 * Is it to be published though nobody asks? What is closed, and what has been dirty for long; but
 * an upload that moves on is not ended, to begin another one.
 */
bool publish_is_due(const struct publish_age *age);

/* ---- upload.c ---- */
/* Publish by parts: end the upload that was begun while it was written, or make one. Waits. */
int upload_run(struct job *job) __attribute__((warn_unused_result));
/* Abort the file's upload, if there is one, and forget it. */
int upload_drop(struct job *job) __attribute__((warn_unused_result));

/* ---- put.c ---- */
struct put;
/* Begin a publication by one PUT, which answers `op` (or NULL) in the end. NULL: not this way. */
struct put *put_begin(struct fs *fs, struct node *node, struct op *op) REQUIRES(&fs->lock);
void put_submit(struct put *put); /* without the lock */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dir_internal.h - the directory backend's jobs.
 *
 * A request becomes a job. Worker threads run its step(); what that returns says how it goes on:
 *
 *     JOB_DONE     the result is filled: call done()
 *     JOB_PARK     the caller's source or sink said -EAGAIN: run step() again after a resume
 *     JOB_COMMIT   the committer runs change() in a transaction that other jobs share, then a
 *                  worker runs step() again with `committed` set and commit_status told
 *
 * A job belongs to whoever runs it; while it is queued or parked, `place` and the flags are under
 * the store's lock. Strings of the result lie in the job's arena.
 */
#ifndef OBJSTORE_DIR_INTERNAL_H
#define OBJSTORE_DIR_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "objstore/dir_changes.h"
#include "objstore/dir_files.h"
#include "objstore/dir_index.h"
#include "objstore/dir_pending.h"
#include "objstore/objstore_backend.h"
#include "s3/checksum.h"
#include "s3/error.h"
#include "s3/md5_team.h"
#include "util/mutex.h"

enum job_next { JOB_DONE, JOB_PARK, JOB_COMMIT };
enum job_place { JOB_QUEUED, JOB_RUNNING, JOB_PARKED, JOB_COMMITTING };

struct dir_store;
struct dir_worker;

struct job {
    TAILQ_ENTRY(job) link;
    struct dir_store *store;
    struct objstore_request *request;
    enum job_place place;
    bool resumed;   /* objstore_resume() came while the job ran */
    bool cancelled; /* objstore_cancel(), or the deadline */
    bool timed_out;
    uint64_t deadline_ms;

    enum job_next (*step)(struct dir_worker *worker, struct job *job);
    int (*change)(struct dir_index *index, struct job *job);
    bool owned; /* the owners of its buckets were looked at */
    bool ready; /* made so by who submitted it; the committer ends it, too */
    bool committed;
    int commit_status;
    bool bucket_gone;                   /* change() found no such bucket */
    bool upload_gone;                   /* change() found no upload any more */
    const struct objstore_part *joined; /* what a completion joined */
    size_t joined_count;
    bool chosen;         /* for the transaction that the committer makes */
    bool commit_unknown; /* the commit failed: nobody knows whether it is on the disk */

    struct arena arena;
    struct objstore_result result;

    /* Data under way */
    struct dir_bucket bucket;
    struct dir_object object;             /* what is written or read */
    int fd;                               /* of the object's file; -1: none */
    char generation[DIR_GENERATION_SIZE]; /* "" when no file is being written */
    char file[DIR_FILE_NAME_MAX];
    bool published;
    bool pending;      /* its bytes go into the index, and its file is made later */
    char *kept;        /* those bytes, where the request's source does not hold them */
    const char *held;  /* an object's bytes, found in the index; NULL: they are in a file */
    bool unflushed;    /* its name's folder is to be flushed before the commit */
    int folder_status; /* how that went */
    bool started;
    uint64_t done_bytes, end; /* GET: offset and end; PUT: bytes so far */
    struct s3_md5 md5;
    struct s3_md5_seat md5_seat;      /* not joined: nothing large came yet */
    size_t lent;                      /* bytes of the source that were not released */
    struct s3_checksum sum, also;     /* also: of a part whose upload has no kind */
    bool sum_given;                   /* `sum` is the source's */
    enum objstore_checksum_kind kind; /* of `sum` */
    enum dir_versioning versioning;   /* asked for */
    bool plain_upload;                /* its parts are kept with the default kind */
};

struct dir_worker {
    struct dir_store *store;
    struct dir_index *index;
    char *buffer;
    pthread_t thread; /* none of the one for dir_now() */
    bool now;         /* never waits: a file that would have to be waited for is -EAGAIN */
    struct arena arena;
    struct dir_opened *opened;
    struct dir_opened *borrowed; /* the file under way is this one of those; NULL: none */
};

enum { DIR_BUFFER_SIZE = 256 * 1024, DIR_WORKERS_MAX = 64 };

TAILQ_HEAD(job_list, job);

struct dir_store {
    struct objstore base;
    struct dir_files *files;
    struct dir_pending *pending;
    atomic_uint_least64_t *changes; /* NULL: cannot be told */
    char *private_root;             /* of a memory store: removed at the end */
    uint64_t part_min;
    struct objstore_caps caps;
    struct s3_md5_team md5_team; /* of the workers */

    atomic_uint calling; /* who may signal yet, from outside: the store waits for them to go */

    struct mutex lock; /* of everything below */
    struct cond work;  /* something in `queue`, or ending */
    struct cond idle;  /* `jobs` became 0 */
    struct cond commit_work;
    struct job_list queue, parked, commits;
    size_t jobs;
    unsigned waiting; /* workers that have nothing to do */
    bool called;      /* one of them was signalled and has not come yet */
    bool ending;

    struct dir_worker workers[DIR_WORKERS_MAX];
    unsigned worker_count;
    struct dir_index *commit_index; /* the committer's */
    pthread_t committer;
    bool has_committer;

    struct dir_worker now; /* of whoever has set `now_busy`; its index is NULL: nobody is to */
    atomic_flag now_busy;
    atomic_bool now_useless; /* this file system cannot tell what is in memory */
    uint64_t now_closes_ms;  /* the committer's: when to close files again */

    atomic_uint_least64_t full_told_ms; /* 0: never */
    atomic_uint_least64_t full_refused; /* since */
};

/* Fill the job's result with an error; returns JOB_DONE. `code` may be S3_OK: by errno. */
enum job_next job_fail(struct job *job, int status, enum s3_code code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Fail with -EIO that no repetition can help, and tell the administrator which file of data/ it is.
 */
enum job_next dir_damaged(struct job *job, const char *file, const char *why);
/* False: it was cut. */
bool dir_file_whole(int fd, uint64_t size);

/* Of a job that found no room: tell the administrator, once a minute at most. */
void dir_full_tell(struct job *job);

/* JOB_DONE with the status of the commit told, if that was an error. */
enum job_next job_fail_commit(struct job *job);

/*
 * A small object whose bytes are there is made ready for its commit by who submits it: no worker
 * has to begin with it or to end it. Its bucket, and whose that is, are looked at in the
 * transaction, as of any other. False: the job is to go the long way from its start, where the
 * words for what is wrong are found.
 */
bool dir_put_prepare(struct job *job);

/* The first step of each operation. */
enum job_next dir_step_put(struct dir_worker *worker, struct job *job);  /* PUT, UPLOAD_PART */
enum job_next dir_step_get(struct dir_worker *worker, struct job *job);  /* GET, HEAD */
enum job_next dir_step_copy(struct dir_worker *worker, struct job *job); /* COPY, PART_COPY */
enum job_next dir_step_complete(struct dir_worker *worker, struct job *job);
enum job_next dir_step_bucket(struct dir_worker *worker, struct job *job);
enum job_next dir_step_delete(struct dir_worker *worker, struct job *job); /* one and batch */
enum job_next dir_step_list(struct dir_worker *worker, struct job *job);   /* and versions */
enum job_next dir_step_upload(struct dir_worker *worker,
                              struct job *job); /* create, abort, lists */

enum job_next dir_step_tags(struct dir_worker *worker, struct job *job);
enum job_next dir_step_doc(struct dir_worker *worker, struct job *job); /* of a bucket */

/* What a GET or HEAD is about: object, file and range, or with *ok false the job's failure. */
enum job_next dir_get_find(struct dir_worker *worker, struct job *job, bool *ok);
/* Then: tells the receiver of a GET what will come. 0, or the job's failure. */
int dir_get_tell(struct job *job);
/* The bytes of a range that are not given as a file. */
enum { DIR_GIVE_MIN = 64 * 1024 };

/* objstore_now(). What it needs comes and goes with the store. */
bool dir_now(struct objstore *base, struct objstore_request *request);
int dir_now_open(struct dir_store *store, const char *index, struct error *err)
    __attribute__((warn_unused_result));
void dir_now_close(struct dir_store *store);
/* The committer: once in a while. May wait for the disk. */
void dir_now_close_files(struct dir_store *store);
/* An object's file, opened just so or still. -ENOENT: ask again; -EAGAIN: not without waiting, or
 * it is damaged. */
int dir_now_read(struct dir_worker *worker, const struct dir_object *object, int *ret_fd)
    __attribute__((warn_unused_result));
/* Of any worker. */
void dir_now_close_file(struct dir_worker *worker, int fd);

/* Before the first step of a job; false: it has failed. */
bool dir_owner_enter(struct dir_worker *worker, struct job *job);
/* Whether the request's buckets are whose it says: -EACCES. Fills result.owner. */
int dir_owner_check(struct dir_index *index, struct job *job) __attribute__((warn_unused_result));
/* After dir_index_bucket_create() said `created`: sets the owner. -EACCES: it is another's. */
int dir_owner_create(struct dir_index *index, struct job *job, int created)
    __attribute__((warn_unused_result));

/* The same after an errno value of reading or writing bytes. */
enum job_next dir_fail_io(struct job *job, int ret);

/* Shared by the steps that write: dir_bytes.c. `kind`: what to compute beside the ETag. */
int dir_write_start(struct job *job, enum objstore_checksum_kind kind);
/* `stay`: the bytes are there as long as dir_write_left() counts them, or until dir_write_end() or
 * dir_write_drop(). */
int dir_write_bytes(struct job *job, const void *bytes, size_t len, bool stay);
/* How many bytes, the last that came, are not in the sum yet: at most `most`, for which it hashes.
 */
size_t dir_write_left(struct job *job, size_t most);
/* Makes the bytes durable, checks digests, fills object.info, publishes the file. */
enum job_next dir_write_end(struct job *job);
/* Undo what is not committed; close. Allowed for any job, twice too. */
void dir_write_drop(struct job *job);

/* Which object is meant; `version` NULL: the current one. */
struct dir_name {
    const char *bucket, *key, *version;
};

/* What the index says of an object. Fails the job itself. */
int dir_find_object(struct dir_worker *worker, struct job *job, const struct dir_name *name,
                    struct dir_object *ret);
/* Look an object up and open its file (fd -1 for an empty one), or have its bytes in job->held.
 * Fails the job itself; of a delete marker the result tells. */
int dir_open_object(struct dir_worker *worker, struct job *job, const struct dir_name *name,
                    struct dir_object *ret, int *ret_fd);

#endif

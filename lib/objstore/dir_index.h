/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dir_index.h - the index of a directory store: which keys there are, and in which file.
 *
 * An SQLite database (WAL) beside the data files. Internal to the directory backend.
 *
 * One struct dir_index is one connection and belongs to one thread at a time; every thread opens
 * its own. Changes are made between dir_index_begin() and dir_index_commit(), which hold the
 * database's write lock (other processes wait, up to 30 s, then -EBUSY). Inside, each change is
 * wrapped in a savepoint by its caller, so that one that fails undoes only itself.
 *
 * A file that a change makes superfluous is entered in the table `garbage` by the same
 * transaction: it is removed after the commit, by whoever comes first.
 */
#ifndef OBJSTORE_DIR_INDEX_H
#define OBJSTORE_DIR_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "objstore/objstore.h"
#include "util/arena.h"
#include "util/cleanup.h"

struct dir_index;

enum {
    DIR_INDEX_VERSION = 6,  /* of the schema */
    DIR_FILE_NAME_MAX = 320 /* "bucket id/ab/generation.name", NUL included */
};

/* Opens or creates; brings an older schema up to date. -EUCLEAN: not ours, or of a newer version.
 */
int dir_index_open(const char *path, bool durable, struct dir_index **ret, struct error *err)
    __attribute__((warn_unused_result));
/* One that is there, to be asked between dir_hurry_begin() and _end(). -ENOTSUP: this SQLite
 * cannot.
 */
int dir_index_open_hurried(const char *path, struct dir_index **ret, struct error *err)
    __attribute__((warn_unused_result));
void dir_index_close(struct dir_index *index); /* NULL is allowed */
DEFINE_CLEANUP(struct dir_index *, dir_index_close);

/*
 * What is read of buckets (whose they are, whether they keep versions) is remembered from now on,
 * and counts as long as this is called with the same number, a second at most: objstore_changes().
 */
void dir_index_trust(struct dir_index *index, uint64_t changes, uint64_t now_ms);
/* The same for who changes the index: what is read is remembered until the next call, which comes
 * at the start of each transaction, and after what may have changed a bucket. */
void dir_index_remember(struct dir_index *index);

/*
 * Changes of this connection are made in turns with those of others that say the same, see
 * dir_turn.h; and it leaves it to its owner to move the log into the database: after a commit
 * dir_index_log_pages() tells how long the log is.
 */
int dir_index_take_turns(struct dir_index *index, const char *path)
    __attribute__((warn_unused_result));
uint64_t dir_index_log_pages(const struct dir_index *index);
/*
 * Moves the log into the database. Who writes is kept waiting only for what came to the log
 * meanwhile; `try` keeps nobody. What readers or another process stand in the way of is left to the
 * next call.
 */
int dir_index_move_log(struct dir_index *index, bool try);

int dir_index_begin(struct dir_index *index) __attribute__((warn_unused_result));
/* What is read until the rollback is of one moment. */
int dir_index_look(struct dir_index *index) __attribute__((warn_unused_result));
int dir_index_commit(struct dir_index *index) __attribute__((warn_unused_result));
void dir_index_rollback(struct dir_index *index);
int dir_index_savepoint(struct dir_index *index) __attribute__((warn_unused_result));
void dir_index_release(struct dir_index *index);
void dir_index_undo(struct dir_index *index); /* back to the savepoint, and release it */

/* As S3 has it: a bucket that once kept versions is never again one that has none. */
enum dir_versioning { DIR_UNVERSIONED, DIR_VERSIONED, DIR_SUSPENDED };

/* Ask for it in the transaction that changes something there: it may be another one by then. */
struct dir_bucket {
    int64_t id; /* 0: not looked up */
    enum dir_versioning versioning;
};

/* Buckets. -ENOENT, -EEXIST, -ENOTEMPTY. Open uploads go with their bucket. */
int dir_index_bucket(struct dir_index *index, const char *name, struct dir_bucket *ret)
    __attribute__((warn_unused_result));
/* DIR_VERSIONED or DIR_SUSPENDED */
int dir_index_bucket_versioning(struct dir_index *index, int64_t bucket,
                                enum dir_versioning versioning) __attribute__((warn_unused_result));
int dir_index_bucket_create(struct dir_index *index, const char *name, int64_t now_ns)
    __attribute__((warn_unused_result));
int dir_index_bucket_delete(struct dir_index *index, const char *name)
    __attribute__((warn_unused_result));
/* owner: only the buckets of this one; NULL: all. */
int dir_index_bucket_list(struct dir_index *index, const char *owner, struct arena *arena,
                          struct objstore_bucket_entry **ret, size_t *ret_len)
    __attribute__((warn_unused_result));

/* Whose a bucket is; "" where nobody was named. It is kept beside the bucket's documents. */
int dir_index_owner(struct dir_index *index, const char *bucket, struct arena *arena,
                    const char **ret) __attribute__((warn_unused_result));
/* Once, of a new bucket. */
int dir_index_owner_put(struct dir_index *index, const char *bucket, const char *owner)
    __attribute__((warn_unused_result));

/* Documents of a bucket, by name: -ENODATA when there is none. They go with their bucket. */
int dir_index_doc_get(struct dir_index *index, int64_t bucket, const char *name,
                      struct arena *arena, const char **ret) __attribute__((warn_unused_result));
int dir_index_doc_put(struct dir_index *index, int64_t bucket, const char *name, const char *text)
    __attribute__((warn_unused_result));
int dir_index_doc_delete(struct dir_index *index, int64_t bucket, const char *name)
    __attribute__((warn_unused_result));

/* An object, or a part of an upload, as the index knows it. Strings are in the arena given. */
struct dir_object {
    struct objstore_info info;
    const char *file; /* relative to the data folder; NULL: no bytes */
    const char *tags; /* as in struct objstore_request; NULL: none */
    bool marker;      /* a deletion that is kept as a version */
};

/* The current version; -ENOENT also when a delete marker stands in its place. info.version_id is
 * "" where the bucket has no versions, "null" of what was made while it kept none. */
int dir_index_get(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                  struct arena *arena, struct dir_object *ret) __attribute__((warn_unused_result));

/*
 * Versions. An id is 32 hex digits that begin with the version's place in time, or "null" for the
 * one that was made while its bucket kept none. -EINVAL: this can be no id; -ENOENT.
 */
int dir_index_get_version(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                          const char *version, struct arena *arena, struct dir_object *ret)
    __attribute__((warn_unused_result));
/* The delete marker that stands in the place of a current version; -ENOENT: none does. */
int dir_index_get_marker(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                         struct objstore_info *ret) __attribute__((warn_unused_result));

struct dir_conditions {
    const char *if_match;
    const char *if_none_match;
    const struct objstore_match *match; /* NULL: none; its etag is if_match */
};

/*
 * Make the key lead to this object; the file it led to becomes garbage, or a version that is not
 * current. Fills info.version_id.
 * -ESTALE, -EEXIST: a condition failed; -ENOENT: if_match and there is no object.
 */
int dir_index_put(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                  struct dir_object *object, const struct dir_conditions *conditions)
    __attribute__((warn_unused_result));

struct dir_deletion {
    const char *version; /* NULL: the current one, which a delete marker replaces if versions are */
    int64_t now_ns;      /* kept */
    struct dir_conditions conditions; /* of the version that goes */
    /* Told: */
    bool marker;                           /* one was made or removed */
    char version_id[OBJSTORE_VERSION_MAX]; /* of what was made or removed; "": no versions */
};

/* 0 also when it does not exist (but -ENOENT with if_match). -EINVAL: no version id. */
int dir_index_delete(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                     struct dir_deletion *deletion) __attribute__((warn_unused_result));

/* Other tags (NULL: none) for an object that is there, else -ENOENT. `version`: NULL: current. */
int dir_index_tags_put(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                       const char *version, const char *tags) __attribute__((warn_unused_result));

struct dir_list {
    const char *prefix;
    const char *delimiter;
    const char *after; /* only keys that sort after it; NULL: from the start */
    bool after_prefix; /* `after` is a common prefix: skip all below it */
    uint32_t max;
    bool versions;             /* all versions and delete markers, the newest of a key first */
    const char *after_version; /* of the key `after`: only its older ones; NULL: none of it */
};

struct dir_listing {
    struct objstore_entry *entries;
    size_t count;
    bool truncated;
    const char *last; /* what to pass as `after` */
    bool last_prefix;
};

/* One page, in byte order. Common prefixes are stepped over by seeking, whatever lies below. */
int dir_index_list(struct dir_index *index, const struct dir_bucket *bucket,
                   const struct dir_list *list, struct arena *arena, struct dir_listing *ret)
    __attribute__((warn_unused_result));

/* Uploads. All answer -ENOENT for an upload that does not exist under that key. */
struct dir_upload {
    struct objstore_meta meta;
    struct objstore_checksum checksum;
    const char *tags;
    int64_t started_ns;
};
int dir_index_upload_create(struct dir_index *index, int64_t bucket, const char *key,
                            const char *id, const struct dir_upload *upload)
    __attribute__((warn_unused_result));
int dir_index_upload_get(struct dir_index *index, int64_t bucket, const char *key, const char *id,
                         struct arena *arena, struct dir_upload *ret)
    __attribute__((warn_unused_result));
/* Replaces a part of the same number; its file becomes garbage. */
int dir_index_part_put(struct dir_index *index, const char *id, uint32_t number,
                       const struct dir_object *part) __attribute__((warn_unused_result));

/* A page of parts: fill the first two, get the rest. */
struct dir_part_page {
    uint32_t after; /* number; 0: from the start */
    uint32_t max;
    struct objstore_part *parts;
    const char **files; /* NULL entries: parts without bytes */
    size_t count;
};
int dir_index_part_list(struct dir_index *index, const char *id, struct arena *arena,
                        struct dir_part_page *page) __attribute__((warn_unused_result));

/* Remove the upload and its parts; their files become garbage. */
int dir_index_upload_end(struct dir_index *index, int64_t bucket, const char *key, const char *id)
    __attribute__((warn_unused_result));

/*
 * Which parts a file was joined of, for as long as it is an object's: number, size and checksum.
 * -ENOENT: the file is nobody's any more, or was not joined.
 */
int dir_index_joined_put(struct dir_index *index, const char *file,
                         const struct objstore_part *parts, size_t count)
    __attribute__((warn_unused_result));
int dir_index_joined_get(struct dir_index *index, const char *file, struct arena *arena,
                         struct objstore_part **ret, size_t *ret_len)
    __attribute__((warn_unused_result));

/* What completing an upload answered, for who asks again; kept for a day. */
int dir_index_completed_put(struct dir_index *index, int64_t bucket, const char *key,
                            const char *id, const struct objstore_info *info)
    __attribute__((warn_unused_result));
int dir_index_completed_get(struct dir_index *index, int64_t bucket, const char *key,
                            const char *id, struct objstore_info *ret)
    __attribute__((warn_unused_result));

struct dir_upload_page {
    const char *prefix;
    const char *delimiter;            /* NULL: none */
    const char *after_key, *after_id; /* NULL: from the start */
    uint32_t max;
    struct objstore_upload_entry *uploads;
    size_t count;
};
int dir_index_upload_list(struct dir_index *index, int64_t bucket, struct arena *arena,
                          struct dir_upload_page *page) __attribute__((warn_unused_result));

/* Up to `max` garbage files, and forgetting one that has been removed. */
int dir_index_garbage(struct dir_index *index, uint32_t max, struct arena *arena, const char ***ret,
                      size_t *ret_len) __attribute__((warn_unused_result));
int dir_index_garbage_forget(struct dir_index *index, const char *file)
    __attribute__((warn_unused_result));

/* True if any object, version, part or garbage entry has this file. */
int dir_index_has_file(struct dir_index *index, const char *file, bool *ret)
    __attribute__((warn_unused_result));

/*
 * Bytes of files that are not known to be on the disk yet (see dir_pending.h). A row comes with the
 * change that names its file, and goes with the one that makes the file garbage. A file of a row
 * above the last _begin() was never made, and is no garbage either. Ids only grow, but those above
 * the last _begin() may come again.
 */
int dir_index_pending_put(struct dir_index *index, const char *file, const void *bytes, size_t len)
    __attribute__((warn_unused_result));
/* The highest id and how many rows there are about; both 0: none. */
int dir_index_pending_span(struct dir_index *index, int64_t *ret_last, uint64_t *ret_count)
    __attribute__((warn_unused_result));
/* In a transaction of its own: files of rows up to this one may be made from now on. */
int dir_index_pending_begin(struct dir_index *index, int64_t last)
    __attribute__((warn_unused_result));
struct dir_pending_row {
    int64_t id;
    const char *file;
    const void *bytes;
    size_t len;
};
/* The first row behind `after`, up to `last`. -ENOENT: there is none. */
int dir_index_pending_next(struct dir_index *index, int64_t after, int64_t last,
                           struct arena *arena, struct dir_pending_row *ret)
    __attribute__((warn_unused_result));
/* The bytes of a file; -ENOENT: it has no row, and was made before the question. */
int dir_index_pending_get(struct dir_index *index, const char *file, struct arena *arena,
                          struct dir_pending_row *ret) __attribute__((warn_unused_result));
/* All rows up to this one, in a transaction. */
int dir_index_pending_forget(struct dir_index *index, int64_t last)
    __attribute__((warn_unused_result));
/* This connection's commits may be lost with the power; it leaves the log to others. */
int dir_index_relax(struct dir_index *index) __attribute__((warn_unused_result));

/* SQLite's last words, for an error text. */
const char *dir_index_error(const struct dir_index *index);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* dir_index_internal.h - what the parts of the index (objects, versions, uploads) share. */
#ifndef OBJSTORE_DIR_INDEX_INTERNAL_H
#define OBJSTORE_DIR_INDEX_INTERNAL_H

#include <sqlite3.h>

#include "objstore/dir_index.h"
#include "objstore/dir_rows.h"
#include "objstore/dir_turn.h"

enum dir_sql {
    SQL_BEGIN,
    SQL_LOOK,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_SAVEPOINT,
    SQL_RELEASE,
    SQL_UNDO,
    SQL_BUCKET_GET,
    SQL_BUCKET_CREATE,
    SQL_BUCKET_USED,
    SQL_BUCKET_PARTS,
    SQL_BUCKET_UPLOADS,
    SQL_BUCKET_DELETE,
    SQL_BUCKET_LIST,
    SQL_OWNER_GET,
    SQL_OWNER_PUT,
    SQL_OBJECT_GET,
    SQL_OBJECT_ETAG,
    SQL_OBJECT_PUT,
    SQL_OBJECT_DELETE,
    SQL_OBJECT_FROM,
    SQL_OBJECT_AFTER,
    SQL_UPLOAD_CREATE,
    SQL_UPLOAD_GET,
    SQL_UPLOAD_DELETE,
    SQL_UPLOAD_LIST,
    SQL_UPLOAD_LIST_FROM,
    SQL_PART_PUT,
    SQL_PART_LIST,
    SQL_PART_DELETE,
    SQL_JOINED_PUT,
    SQL_JOINED_GET,
    SQL_COMPLETED_PUT,
    SQL_COMPLETED_GET,
    SQL_COMPLETED_FORGET,
    SQL_GARBAGE_LIST,
    SQL_GARBAGE_FORGET,
    SQL_HAS_FILE,
    SQL_DOC_GET,
    SQL_DOC_PUT,
    SQL_DOC_DELETE,
    SQL_TAGS_PUT,
    SQL_BUCKET_VERSIONING,
    SQL_VERSION_GET,
    SQL_VERSION_NULL,
    SQL_VERSION_TOP,
    SQL_VERSION_LAST,
    SQL_VERSION_KEEP,
    SQL_VERSION_MARK,
    SQL_VERSION_PROMOTE,
    SQL_VERSION_DELETE,
    SQL_VERSION_DELETE_NULL,
    SQL_VERSION_TAGS,
    SQL_VERSIONS_FROM,
    SQL_VERSIONS_OF,
    SQL_VERSIONS_BEFORE,
    SQL_COMPLETED_VERSION,
    SQL_PENDING_PUT,
    SQL_PENDING_SPAN,
    SQL_PENDING_BEGIN,
    SQL_PENDING_NEXT,
    SQL_PENDING_GET,
    SQL_PENDING_FORGET,
    SQL_COUNT
};

enum { DIR_BUCKETS_REMEMBERED = 16, DIR_OWNER_MAX = 255 };

struct dir_remembered {
    char name[OBJSTORE_BUCKET_MAX + 1]; /* "": nothing */
    struct dir_bucket bucket;           /* id 0: not known */
    char owner[DIR_OWNER_MAX + 1];      /* with owner_known */
    bool owner_known;
};

struct dir_index {
    struct dir_remembered *remembered; /* NULL: nothing is to be, see dir_index_trust() */
    uint64_t changes, since_ms;        /* what they count for */
    sqlite3 *db;
    struct dir_turn turn;
    struct dir_rows *rows;               /* NULL: none are remembered */
    uint64_t busy_since_ms;              /* the index was found locked */
    uint32_t patience_ms;                /* how long that may last */
    uint64_t log_pages;                  /* after the last commit */
    sqlite3_stmt *statements[SQL_COUNT]; /* prepared when first used */
};

/* What is remembered of a bucket, or the place for it; NULL: nothing is to be. */
struct dir_remembered *dir_index_remembered(struct dir_index *index, const char *bucket);

/* The statement, reset and without bindings; NULL when it cannot be prepared. */
sqlite3_stmt *dir_index_statement(struct dir_index *index, enum dir_sql which);

/* Step to the end; errno value of SQLite's answer. Resets the statement. */
int dir_index_run(struct dir_index *index, enum dir_sql which);

void dir_bind_text(sqlite3_stmt *statement, int column, const char *text);
/* Keys are blobs, so that their order is that of bytes. */
void dir_bind_key(sqlite3_stmt *statement, int column, const char *key, size_t len);
char *dir_column_text(sqlite3_stmt *statement, int column, struct arena *arena);
void dir_copy_fixed(char *to, size_t size, sqlite3_stmt *statement, int column);

/* The first key that sorts after all that begin with `text`; its length, 0 if there is none. */
size_t dir_next_after_prefix(const char *text, size_t len, char *ret);

/* The columns of an object, the first of them at `first`; `arena` NULL: those of fixed size only.
 * A version id that is NULL in the row becomes "". */
int dir_read_object(sqlite3_stmt *statement, int first, struct arena *arena, struct dir_object *ret)
    __attribute__((warn_unused_result));
enum { DIR_OBJECT_COLUMNS = 11 };

void dir_bind_object_key(sqlite3_stmt *statement, int64_t bucket, const char *key);

/* `etag` "" and `exists` false: there is none. */
int dir_check_conditions(const struct dir_conditions *conditions, bool exists,
                         const struct objstore_info *info) __attribute__((warn_unused_result));

/* Into the row of the current version; `version` NULL and seq 0: the bucket keeps none. */
int dir_index_object_put(struct dir_index *index, int64_t bucket, const char *key,
                         const struct dir_object *object, const char *version, int64_t seq)
    __attribute__((warn_unused_result));
int dir_index_object_delete(struct dir_index *index, int64_t bucket, const char *key)
    __attribute__((warn_unused_result));

/* The halves of dir_index_put() and _delete() for a bucket that keeps versions, or kept some, or
 * for a deletion that names one. */
int dir_version_put(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                    struct dir_object *object) __attribute__((warn_unused_result));
int dir_version_delete(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                       struct dir_deletion *deletion) __attribute__((warn_unused_result));

/* A version's place in time, from its id. -EINVAL: it is none; "null" has none and is -ENOENT. */
int dir_version_seq(const char *version, int64_t *ret) __attribute__((warn_unused_result));
/* The same by asking, for "null". -ENOENT. */
int dir_version_null_seq(struct dir_index *index, int64_t bucket, const char *key, int64_t *ret)
    __attribute__((warn_unused_result));

/* Metadata as JSON text and back. NULL text means none. *ret is malloc'ed or NULL. */
int dir_meta_pack(const struct objstore_meta *meta, char **ret) __attribute__((warn_unused_result));
int dir_meta_unpack(const char *text, struct arena *arena, struct objstore_meta *ret)
    __attribute__((warn_unused_result));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The index's documents of buckets: policy, CORS rules and the like; and whose a bucket is. */
#include <errno.h>
#include <string.h>

#include "objstore/dir_index_internal.h"
#include "util/sql.h"

static sqlite3_stmt *doc_statement(struct dir_index *index, enum dir_sql which, int64_t bucket,
                                   const char *name)
{
    sqlite3_stmt *s = dir_index_statement(index, which);

    if (s != NULL) {
        (void)sqlite3_bind_int64(s, 1, bucket);
        dir_bind_text(s, 2, name);
    }
    return s;
}

int dir_index_doc_get(struct dir_index *index, int64_t bucket, const char *name,
                      struct arena *arena, const char **ret)
{
    sqlite3_stmt *s = doc_statement(index, SQL_DOC_GET, bucket, name);
    int code;
    int r;

    if (s == NULL) {
        return -EIO;
    }
    code = sqlite3_step(s);
    r = code == SQLITE_DONE ? -ENODATA : sql_errno(code);
    if (code == SQLITE_ROW) {
        const char *text = dir_column_text(s, 0, arena);

        r = text != NULL ? 0 : -ENOMEM;
        *ret = text != NULL ? text : *ret;
    }
    (void)sqlite3_reset(s);
    return r;
}

int dir_index_doc_put(struct dir_index *index, int64_t bucket, const char *name, const char *text)
{
    sqlite3_stmt *s = doc_statement(index, SQL_DOC_PUT, bucket, name);

    if (s == NULL) {
        return -EIO;
    }
    dir_bind_text(s, 3, text);
    return dir_index_run(index, SQL_DOC_PUT);
}

int dir_index_doc_delete(struct dir_index *index, int64_t bucket, const char *name)
{
    return doc_statement(index, SQL_DOC_DELETE, bucket, name) != NULL
               ? dir_index_run(index, SQL_DOC_DELETE)
               : -EIO;
}

int dir_index_owner(struct dir_index *index, const char *bucket, struct arena *arena,
                    const char **ret)
{
    struct dir_remembered *known = dir_index_remembered(index, bucket);
    sqlite3_stmt *s;
    int code, r;

    if (known != NULL && known->owner_known) {
        *ret = arena_strdup(arena, known->owner);
        return *ret != NULL ? 0 : -ENOMEM;
    }
    s = dir_index_statement(index, SQL_OWNER_GET);
    if (s == NULL) {
        return -EIO;
    }
    dir_bind_text(s, 1, bucket);
    code = sqlite3_step(s);
    r = code == SQLITE_DONE ? -ENOENT : sql_errno(code);
    if (code == SQLITE_ROW) {
        *ret = dir_column_text(s, 0, arena);
        r = *ret != NULL ? 0 : -ENOMEM;
        if (r == 0 && known != NULL && strlen(*ret) <= DIR_OWNER_MAX) {
            dir_copy_fixed(known->owner, sizeof(known->owner), s, 0);
            known->owner_known = true;
        }
    }
    (void)sqlite3_reset(s);
    return r;
}

int dir_index_owner_put(struct dir_index *index, const char *bucket, const char *owner)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_OWNER_PUT);

    if (s == NULL) {
        return -EIO;
    }
    dir_bind_text(s, 1, bucket);
    dir_bind_text(s, 2, owner);
    return dir_index_run(index, SQL_OWNER_PUT);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The index's rows of bytes that are not known to be on the disk as files yet. */
#include <errno.h>
#include <string.h>

#include "objstore/dir_index_internal.h"
#include "util/sql.h"

int dir_index_pending_put(struct dir_index *index, const char *file, const void *bytes, size_t len)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_PENDING_PUT);

    if (s == NULL) {
        return -EIO;
    }
    dir_bind_text(s, 1, file);
    (void)sqlite3_bind_blob64(s, 2, bytes, len, SQLITE_STATIC);
    return dir_index_run(index, SQL_PENDING_PUT);
}

int dir_index_pending_span(struct dir_index *index, int64_t *ret_last, uint64_t *ret_count)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_PENDING_SPAN);
    int code;

    *ret_last = 0;
    *ret_count = 0;
    if (s == NULL) {
        return -EIO;
    }
    code = sqlite3_step(s);
    if (code == SQLITE_ROW && sqlite3_column_type(s, 0) != SQLITE_NULL) {
        *ret_last = sqlite3_column_int64(s, 0);
        *ret_count = (uint64_t)(*ret_last - sqlite3_column_int64(s, 1)) + 1;
    }
    (void)sqlite3_reset(s);
    return sql_errno(code);
}

static int read_row(sqlite3_stmt *s, struct arena *arena, struct dir_pending_row *ret)
{
    const void *bytes = sqlite3_column_blob(s, 2);
    char *copy;

    ret->id = sqlite3_column_int64(s, 0);
    ret->file = dir_column_text(s, 1, arena);
    ret->len = (size_t)sqlite3_column_bytes(s, 2);
    copy = arena_alloc(arena, ret->len + 1);
    if (ret->file == NULL || copy == NULL) {
        return -ENOMEM;
    }
    if (ret->len > 0) {
        memcpy(copy, bytes, ret->len);
    }
    ret->bytes = copy;
    return 0;
}

static int step_row(sqlite3_stmt *s, struct arena *arena, struct dir_pending_row *ret)
{
    int code = sqlite3_step(s);
    int r = code == SQLITE_ROW    ? read_row(s, arena, ret)
            : code == SQLITE_DONE ? -ENOENT
                                  : sql_errno(code);

    (void)sqlite3_reset(s);
    return r;
}

int dir_index_pending_next(struct dir_index *index, int64_t after, int64_t last,
                           struct arena *arena, struct dir_pending_row *ret)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_PENDING_NEXT);

    if (s == NULL) {
        return -EIO;
    }
    (void)sqlite3_bind_int64(s, 1, after);
    (void)sqlite3_bind_int64(s, 2, last);
    return step_row(s, arena, ret);
}

int dir_index_pending_get(struct dir_index *index, const char *file, struct arena *arena,
                          struct dir_pending_row *ret)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_PENDING_GET);

    if (s == NULL) {
        return -EIO;
    }
    dir_bind_text(s, 1, file);
    return step_row(s, arena, ret);
}

/* A statement about all rows up to one. */
static int run_up_to(struct dir_index *index, enum dir_sql which, int64_t last)
{
    sqlite3_stmt *s = dir_index_statement(index, which);

    if (s == NULL) {
        return -EIO;
    }
    (void)sqlite3_bind_int64(s, 1, last);
    return dir_index_run(index, which);
}

int dir_index_pending_begin(struct dir_index *index, int64_t last)
{
    return run_up_to(index, SQL_PENDING_BEGIN, last);
}

int dir_index_pending_forget(struct dir_index *index, int64_t last)
{
    return run_up_to(index, SQL_PENDING_FORGET, last);
}

int dir_index_relax(struct dir_index *index)
{
    /* Where SQLite is built to overwrite what it deletes, each byte would go to the log again. */
    return sql_execute(index->db, "PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0;"
                                  "PRAGMA secure_delete=FAST");
}

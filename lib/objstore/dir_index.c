/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/dir_index.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "objstore/dir_hurry.h"
#include "objstore/dir_index_internal.h"
#include "util/sql.h"

enum { BUSY_TIMEOUT_MS = 30000, APPLICATION_ID = 0x534b5956 /* "SKYV" */ };

static const char *const migrations[DIR_INDEX_VERSION] = {
    "CREATE TABLE bucket(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
    " created_ns INTEGER NOT NULL);"
    "CREATE TABLE object(bucket INTEGER NOT NULL, key BLOB NOT NULL, file TEXT,"
    " size INTEGER NOT NULL, etag TEXT NOT NULL, mtime_ns INTEGER NOT NULL, meta TEXT,"
    " sum_kind INTEGER NOT NULL, sum_value TEXT, sum_composite INTEGER NOT NULL,"
    " parts INTEGER NOT NULL, PRIMARY KEY(bucket, key)) WITHOUT ROWID;"
    "CREATE INDEX object_file ON object(file) WHERE file IS NOT NULL;"
    "CREATE TABLE upload(id TEXT PRIMARY KEY, bucket INTEGER NOT NULL, key BLOB NOT NULL,"
    " started_ns INTEGER NOT NULL, meta TEXT, sum_kind INTEGER NOT NULL,"
    " sum_composite INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX upload_key ON upload(bucket, key, id);"
    "CREATE TABLE part(upload TEXT NOT NULL, number INTEGER NOT NULL, file TEXT,"
    " size INTEGER NOT NULL, etag TEXT NOT NULL, mtime_ns INTEGER NOT NULL,"
    " sum_kind INTEGER NOT NULL, sum_value TEXT, PRIMARY KEY(upload, number)) WITHOUT ROWID;"
    "CREATE INDEX part_file ON part(file) WHERE file IS NOT NULL;"
    "CREATE TABLE garbage(file TEXT PRIMARY KEY) WITHOUT ROWID;"
    "CREATE TRIGGER object_gone AFTER DELETE ON object WHEN OLD.file IS NOT NULL BEGIN"
    " INSERT OR IGNORE INTO garbage VALUES(OLD.file); END;"
    "CREATE TRIGGER object_replaced AFTER UPDATE ON object WHEN OLD.file IS NOT NULL"
    " AND OLD.file IS NOT NEW.file BEGIN INSERT OR IGNORE INTO garbage VALUES(OLD.file); END;"
    "CREATE TRIGGER part_gone AFTER DELETE ON part WHEN OLD.file IS NOT NULL BEGIN"
    " INSERT OR IGNORE INTO garbage VALUES(OLD.file); END;"
    "CREATE TRIGGER part_replaced AFTER UPDATE ON part WHEN OLD.file IS NOT NULL"
    " AND OLD.file IS NOT NEW.file BEGIN INSERT OR IGNORE INTO garbage VALUES(OLD.file); END;",
    /* Which parts a file was joined of; and uploads that were completed, for who asks again. */
    "CREATE TABLE joined(file TEXT PRIMARY KEY, parts TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TRIGGER joined_gone AFTER INSERT ON garbage BEGIN"
    " DELETE FROM joined WHERE file = NEW.file; END;"
    "CREATE TABLE completed(upload TEXT PRIMARY KEY, bucket INTEGER NOT NULL, key BLOB NOT NULL,"
    " done_ns INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,"
    " sum_kind INTEGER NOT NULL, sum_value TEXT, sum_composite INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX completed_done ON completed(done_ns);",
    /* Tags of objects, documents of buckets */
    "ALTER TABLE object ADD COLUMN tags TEXT;"
    "ALTER TABLE upload ADD COLUMN tags TEXT;"
    "CREATE TABLE bucket_doc(bucket INTEGER NOT NULL, name TEXT NOT NULL, text TEXT NOT NULL,"
    " PRIMARY KEY(bucket, name)) WITHOUT ROWID;"
    "CREATE TRIGGER bucket_gone AFTER DELETE ON bucket BEGIN"
    " DELETE FROM bucket_doc WHERE bucket = OLD.id; END;",
    /*
     * Versions. The current one stays in `object`, so that a bucket without versions is what it
     * was; `version` has the others, and delete markers. Of one key `seq` grows in time; a NULL
     * `version` is S3's "null". A file that has moved from one table to the other is no garbage.
     */
    "ALTER TABLE bucket ADD COLUMN versioning INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE object ADD COLUMN version TEXT;"
    "ALTER TABLE object ADD COLUMN seq INTEGER;"
    "CREATE TABLE version(bucket INTEGER NOT NULL, key BLOB NOT NULL, seq INTEGER NOT NULL,"
    " marker INTEGER NOT NULL, file TEXT, size INTEGER NOT NULL, etag TEXT NOT NULL,"
    " mtime_ns INTEGER NOT NULL, meta TEXT, sum_kind INTEGER NOT NULL, sum_value TEXT,"
    " sum_composite INTEGER NOT NULL, parts INTEGER NOT NULL, tags TEXT, version TEXT,"
    " PRIMARY KEY(bucket, key, seq DESC)) WITHOUT ROWID;"
    "CREATE INDEX version_file ON version(file) WHERE file IS NOT NULL;"
    "CREATE UNIQUE INDEX version_null ON version(bucket, key) WHERE version IS NULL;"
    "DROP TRIGGER object_gone;"
    "CREATE TRIGGER object_gone AFTER DELETE ON object WHEN OLD.file IS NOT NULL"
    " AND NOT EXISTS(SELECT 1 FROM version WHERE file = OLD.file) BEGIN"
    " INSERT OR IGNORE INTO garbage VALUES(OLD.file); END;"
    "DROP TRIGGER object_replaced;"
    "CREATE TRIGGER object_replaced AFTER UPDATE ON object WHEN OLD.file IS NOT NULL"
    " AND OLD.file IS NOT NEW.file"
    " AND NOT EXISTS(SELECT 1 FROM version WHERE file = OLD.file) BEGIN"
    " INSERT OR IGNORE INTO garbage VALUES(OLD.file); END;"
    "CREATE TRIGGER version_gone AFTER DELETE ON version WHEN OLD.file IS NOT NULL"
    " AND NOT EXISTS(SELECT 1 FROM object WHERE file = OLD.file) BEGIN"
    " INSERT OR IGNORE INTO garbage VALUES(OLD.file); END;"
    "CREATE TABLE completed_version(upload TEXT PRIMARY KEY, version TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TRIGGER completed_gone AFTER DELETE ON completed BEGIN"
    " DELETE FROM completed_version WHERE upload = OLD.upload; END;",
    /* Bytes of small files until those are flushed. A program that does not know of it must not
     * open such a store: after a crash it would miss them. */
    "CREATE TABLE pending(id INTEGER PRIMARY KEY, file TEXT NOT NULL, bytes BLOB NOT NULL);",
    /* Their files are made by who flushes, if by then the object is there still: those of rows up
     * to `begun` may have been. A row above it goes without a trace with what its file was named
     * by. */
    "DELETE FROM pending WHERE NOT EXISTS(SELECT 1 FROM object o WHERE o.file = pending.file)"
    " AND NOT EXISTS(SELECT 1 FROM version v WHERE v.file = pending.file);"
    "CREATE UNIQUE INDEX pending_file ON pending(file);"
    "CREATE TABLE begun(id INTEGER NOT NULL);"
    "INSERT INTO begun SELECT coalesce(max(id), 0) FROM pending;"
    "CREATE TRIGGER pending_never_begun BEFORE INSERT ON garbage WHEN EXISTS(SELECT 1 FROM pending"
    " WHERE file = NEW.file AND id > (SELECT id FROM begun)) BEGIN"
    " DELETE FROM pending WHERE file = NEW.file; SELECT RAISE(IGNORE); END;"
    "CREATE TRIGGER pending_gone AFTER INSERT ON garbage BEGIN"
    " DELETE FROM pending WHERE file = NEW.file; END;",
};

static const struct sql_schema schema = {.what = "index",
                                         .application_id = APPLICATION_ID,
                                         .version = DIR_INDEX_VERSION,
                                         .migrations = migrations};

#define OBJECT_COLUMNS                                                                             \
    "file, size, etag, mtime_ns, meta, sum_kind, sum_value, sum_composite, parts, tags, "          \
    "version"
#define VERSIONS_PART(table, seq, marker, condition)                                               \
    "SELECT key, " OBJECT_COLUMNS ", " seq " AS s, " marker " AS m FROM " table                    \
    " WHERE bucket = ?1 AND " condition

static const char *const sql_text[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_LOOK] = "BEGIN",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_SAVEPOINT] = "SAVEPOINT change",
    [SQL_RELEASE] = "RELEASE change",
    [SQL_UNDO] = "ROLLBACK TO change",
    [SQL_BUCKET_GET] = "SELECT id, versioning FROM bucket WHERE name = ?1",
    [SQL_BUCKET_CREATE] = "INSERT INTO bucket(name, created_ns) VALUES(?1, ?2)",
    [SQL_BUCKET_USED] = "SELECT EXISTS(SELECT 1 FROM object WHERE bucket = ?1)"
                        " OR EXISTS(SELECT 1 FROM version WHERE bucket = ?1)",
    [SQL_BUCKET_PARTS] =
        "DELETE FROM part WHERE upload IN (SELECT id FROM upload WHERE bucket = ?1)",
    [SQL_BUCKET_UPLOADS] = "DELETE FROM upload WHERE bucket = ?1",
    [SQL_BUCKET_DELETE] = "DELETE FROM bucket WHERE id = ?1",
    [SQL_BUCKET_LIST] = "SELECT name, created_ns FROM bucket WHERE ?1 IS NULL OR ?1 = coalesce("
                        "(SELECT text FROM bucket_doc d WHERE d.bucket = bucket.id"
                        " AND d.name = 'owner'), '') ORDER BY name LIMIT 100000",
    [SQL_OWNER_GET] = "SELECT coalesce((SELECT text FROM bucket_doc d WHERE d.bucket = bucket.id"
                      " AND d.name = 'owner'), '') FROM bucket WHERE name = ?1",
    [SQL_OWNER_PUT] = "INSERT INTO bucket_doc SELECT id, 'owner', ?2 FROM bucket WHERE name = ?1",
    [SQL_OBJECT_GET] = "SELECT " OBJECT_COLUMNS " FROM object WHERE bucket = ?1 AND key = ?2",
    [SQL_OBJECT_ETAG] = "SELECT etag, size, mtime_ns FROM object WHERE bucket = ?1 AND key = ?2",
    [SQL_OBJECT_PUT] =
        "INSERT INTO object(bucket, key, " OBJECT_COLUMNS ", seq)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
        " ON CONFLICT(bucket, key) DO UPDATE SET file = ?3, size = ?4, etag = ?5, mtime_ns = ?6, "
        "meta = ?7, sum_kind = ?8,"
        " sum_value = ?9, sum_composite = ?10, parts = ?11, tags = ?12, version = ?13, seq = ?14",
    [SQL_OBJECT_DELETE] = "DELETE FROM object WHERE bucket = ?1 AND key = ?2",
    [SQL_OBJECT_FROM] = "SELECT key, " OBJECT_COLUMNS " FROM object WHERE bucket = ?1 AND"
                        " key >= ?2 ORDER BY key",
    [SQL_OBJECT_AFTER] = "SELECT key, " OBJECT_COLUMNS " FROM object WHERE bucket = ?1 AND"
                         " key > ?2 ORDER BY key",
    [SQL_UPLOAD_CREATE] = "INSERT INTO upload(id, bucket, key, started_ns, meta, sum_kind,"
                          " sum_composite, tags) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [SQL_UPLOAD_GET] =
        "SELECT started_ns, meta, sum_kind, sum_composite, tags FROM upload WHERE id = ?1"
        " AND bucket = ?2 AND key = ?3",
    [SQL_UPLOAD_DELETE] = "DELETE FROM upload WHERE id = ?1 AND bucket = ?2 AND key = ?3",
    [SQL_UPLOAD_LIST] = "SELECT key, id, started_ns, sum_kind, sum_composite FROM upload"
                        " WHERE bucket = ?1 AND (key, id) > (?2, ?3) ORDER BY key, id",
    [SQL_UPLOAD_LIST_FROM] = "SELECT key, id, started_ns, sum_kind, sum_composite FROM upload"
                             " WHERE bucket = ?1 AND key >= ?2 ORDER BY key, id",
    [SQL_PART_PUT] = "INSERT INTO part VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
                     " ON CONFLICT(upload, number) DO UPDATE SET file = ?3, size = ?4, etag = ?5,"
                     " mtime_ns = ?6, sum_kind = ?7, sum_value = ?8",
    [SQL_PART_LIST] = "SELECT number, file, size, etag, mtime_ns, sum_kind, sum_value FROM part"
                      " WHERE upload = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
    [SQL_PART_DELETE] = "DELETE FROM part WHERE upload = ?1",
    [SQL_JOINED_PUT] = "INSERT INTO joined VALUES(?1, ?2)",
    [SQL_JOINED_GET] = "SELECT parts FROM joined WHERE file = ?1",
    [SQL_COMPLETED_PUT] =
        "INSERT OR REPLACE INTO completed VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [SQL_COMPLETED_GET] =
        "SELECT done_ns, size, etag, sum_kind, sum_value, sum_composite,"
        " (SELECT version FROM completed_version v WHERE v.upload = ?1) FROM completed"
        " WHERE upload = ?1 AND bucket = ?2 AND key = ?3",
    [SQL_COMPLETED_FORGET] = "DELETE FROM completed WHERE done_ns < ?1",
    [SQL_GARBAGE_LIST] = "SELECT file FROM garbage LIMIT ?1",
    [SQL_GARBAGE_FORGET] = "DELETE FROM garbage WHERE file = ?1",
    [SQL_HAS_FILE] = "SELECT EXISTS(SELECT 1 FROM object WHERE file = ?1) OR"
                     " EXISTS(SELECT 1 FROM part WHERE file = ?1) OR"
                     " EXISTS(SELECT 1 FROM version WHERE file = ?1) OR"
                     " EXISTS(SELECT 1 FROM garbage WHERE file = ?1)",
    [SQL_DOC_GET] = "SELECT text FROM bucket_doc WHERE bucket = ?1 AND name = ?2",
    [SQL_DOC_PUT] = "INSERT OR REPLACE INTO bucket_doc VALUES(?1, ?2, ?3)",
    [SQL_TAGS_PUT] = "UPDATE object SET tags = ?3 WHERE bucket = ?1 AND key = ?2",
    [SQL_DOC_DELETE] = "DELETE FROM bucket_doc WHERE bucket = ?1 AND name = ?2",
    [SQL_BUCKET_VERSIONING] = "UPDATE bucket SET versioning = ?2 WHERE id = ?1",
    [SQL_VERSION_GET] = "SELECT " OBJECT_COLUMNS ", seq, 0, 1 FROM object WHERE bucket = ?1"
                        " AND key = ?2 AND version = ?3 UNION ALL"
                        " SELECT " OBJECT_COLUMNS ", seq, marker, 0 FROM version WHERE bucket = ?1"
                        " AND key = ?2 AND seq = ?4 AND version = ?3",
    [SQL_VERSION_NULL] = "SELECT " OBJECT_COLUMNS ", coalesce(seq, mtime_ns), 0, 1 FROM object"
                         " WHERE bucket = ?1 AND key = ?2 AND version IS NULL UNION ALL"
                         " SELECT " OBJECT_COLUMNS ", seq, marker, 0 FROM version WHERE bucket = ?1"
                         " AND key = ?2 AND version IS NULL",
    [SQL_VERSION_TOP] = "SELECT " OBJECT_COLUMNS ", seq, marker FROM version WHERE bucket = ?1"
                        " AND key = ?2 AND NOT EXISTS(SELECT 1 FROM object WHERE bucket = ?1"
                        " AND key = ?2) ORDER BY seq DESC LIMIT 1",
    [SQL_VERSION_LAST] = "SELECT max(coalesce((SELECT coalesce(seq, mtime_ns) FROM object WHERE"
                         " bucket = ?1 AND key = ?2), 0), coalesce((SELECT seq FROM version WHERE"
                         " bucket = ?1 AND key = ?2 ORDER BY seq DESC LIMIT 1), 0))",
    [SQL_VERSION_KEEP] = "INSERT INTO version(bucket, key, seq, marker, " OBJECT_COLUMNS ")"
                         " SELECT bucket, key, coalesce(seq, mtime_ns), 0, " OBJECT_COLUMNS
                         " FROM object WHERE bucket = ?1 AND key = ?2"
                         " AND (?3 OR version IS NOT NULL)",
    [SQL_VERSION_MARK] = "INSERT INTO version(bucket, key, seq, marker, size, etag, mtime_ns,"
                         " sum_kind, sum_composite, parts, version)"
                         " VALUES(?1, ?2, ?3, 1, 0, '', ?4, 0, 0, 0, ?5)",
    [SQL_VERSION_PROMOTE] = "INSERT INTO object(bucket, key, " OBJECT_COLUMNS ", seq)"
                            " SELECT bucket, key, " OBJECT_COLUMNS ", seq FROM version"
                            " WHERE bucket = ?1 AND key = ?2 AND seq = ?3",
    [SQL_VERSION_DELETE] = "DELETE FROM version WHERE bucket = ?1 AND key = ?2 AND seq = ?3",
    [SQL_VERSION_DELETE_NULL] =
        "DELETE FROM version WHERE bucket = ?1 AND key = ?2 AND version IS NULL",
    [SQL_VERSION_TAGS] = "UPDATE version SET tags = ?4 WHERE bucket = ?1 AND key = ?2 AND seq = ?3"
                         " AND NOT marker",
    [SQL_VERSIONS_FROM] =
        VERSIONS_PART("object", "coalesce(seq, mtime_ns)", "0",
                      "key >= ?2") " UNION ALL " VERSIONS_PART("version", "seq", "marker",
                                                               "key >= ?2") " ORDER BY key, s DESC",
    [SQL_VERSIONS_OF] = VERSIONS_PART(
        "object", "coalesce(seq, mtime_ns)", "0",
        "key = ?2 AND coalesce(seq, mtime_ns) < ?3") " UNION ALL " VERSIONS_PART("version", "seq",
                                                                                 "marker",
                                                                                 "key = ?2 AND seq "
                                                                                 "< ?3") " ORDER "
                                                                                         "BY key, "
                                                                                         "s DESC",
    [SQL_VERSIONS_BEFORE] = "SELECT EXISTS(SELECT 1 FROM version WHERE bucket = ?1 AND key = ?2"
                            " AND seq >= ?3) OR EXISTS(SELECT 1 FROM object WHERE bucket = ?1"
                            " AND key = ?2 AND coalesce(seq, mtime_ns) >= ?3)",
    [SQL_COMPLETED_VERSION] = "INSERT OR REPLACE INTO completed_version VALUES(?1, ?2)",
    [SQL_PENDING_PUT] = "INSERT INTO pending VALUES(1 + max((SELECT id FROM begun),"
                        " coalesce((SELECT max(id) FROM pending), 0)), ?1, ?2)",
    [SQL_PENDING_SPAN] = "SELECT (SELECT max(id) FROM pending), (SELECT min(id) FROM pending)",
    [SQL_PENDING_BEGIN] = "UPDATE begun SET id = ?1",
    [SQL_PENDING_GET] = "SELECT id, file, bytes FROM pending WHERE file = ?1",
    [SQL_PENDING_NEXT] = "SELECT id, file, bytes FROM pending WHERE id > ?1 AND id <= ?2"
                         " ORDER BY id LIMIT 1",
    [SQL_PENDING_FORGET] = "DELETE FROM pending WHERE id <= ?1",
};

sqlite3_stmt *dir_index_statement(struct dir_index *index, enum dir_sql which)
{
    sqlite3_stmt **slot = &index->statements[which];

    if (*slot == NULL && sqlite3_prepare_v3(index->db, sql_text[which], -1,
                                            SQLITE_PREPARE_PERSISTENT, slot, NULL) != SQLITE_OK) {
        return NULL;
    }
    (void)sqlite3_reset(*slot);
    (void)sqlite3_clear_bindings(*slot);
    return *slot;
}

int dir_index_run(struct dir_index *index, enum dir_sql which)
{
    sqlite3_stmt *statement = index->statements[which];
    int code = sqlite3_step(statement);

    (void)sqlite3_reset(statement);
    return sql_errno(code);
}

static int run_plain(struct dir_index *index, enum dir_sql which)
{
    return dir_index_statement(index, which) != NULL ? dir_index_run(index, which) : -EIO;
}

void dir_bind_text(sqlite3_stmt *statement, int column, const char *text)
{
    (void)sqlite3_bind_text(statement, column, text, -1, SQLITE_STATIC);
}

void dir_bind_key(sqlite3_stmt *statement, int column, const char *key, size_t len)
{
    (void)sqlite3_bind_blob(statement, column, key, (int)len, SQLITE_STATIC);
}

char *dir_column_text(sqlite3_stmt *statement, int column, struct arena *arena)
{
    const void *text = sqlite3_column_blob(statement, column);
    int len = sqlite3_column_bytes(statement, column);

    return text != NULL || sqlite3_column_type(statement, column) != SQLITE_NULL
               ? arena_strndup(arena, text, (size_t)len)
               : NULL;
}

void dir_copy_fixed(char *to, size_t size, sqlite3_stmt *statement, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    size_t len = text != NULL ? strnlen(text, size - 1) : 0;

    if (len > 0) {
        memcpy(to, text, len);
    }
    to[len] = '\0';
}

const char *dir_index_error(const struct dir_index *index)
{
    return sqlite3_errmsg(index->db);
}

int dir_index_open(const char *path, bool durable, struct dir_index **ret, struct error *err)
{
    CLEANUP(dir_index_close_p) struct dir_index *index = calloc(1, sizeof(*index));
    int r;

    if (index == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    r = sql_errno(sqlite3_open_v2(
        path, &index->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL));
    if (r != 0) {
        return error_set(err, r, "cannot open the index %s: %s", path, sqlite3_errmsg(index->db));
    }
    (void)sqlite3_busy_timeout(index->db, BUSY_TIMEOUT_MS);
    r = sql_use_wal(index->db, BUSY_TIMEOUT_MS);
    r = r == 0 ? sql_execute(index->db, "PRAGMA cache_size=-8192; PRAGMA trusted_schema=OFF;"
                                        "PRAGMA journal_size_limit=67108864")
               : r;
    r = r == 0
            ? sql_execute(index->db, durable ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=OFF")
            : r;
    if (r != 0) {
        return error_set(err, r, "cannot use the index %s: %s", path, sqlite3_errmsg(index->db));
    }
    r = sql_migrate(index->db, &schema, err);
    if (r == 0) {
        *ret = TAKE(index);
    }
    return r;
}

int dir_index_open_hurried(const char *path, struct dir_index **ret, struct error *err)
{
    CLEANUP(dir_index_close_p) struct dir_index *index = calloc(1, sizeof(*index));
    const char *vfs = dir_hurry_vfs();
    int r;

    if (index == NULL || vfs == NULL) {
        return index == NULL ? error_set(err, -ENOMEM, "out of memory")
                             : error_set(err, -ENOTSUP, "SQLite has other system calls");
    }
    dir_hurry_begin(DIR_HURRY_OPEN);
    r = sql_errno(
        sqlite3_open_v2(path, &index->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, vfs));
    (void)sqlite3_busy_timeout(index->db, BUSY_TIMEOUT_MS);
    /* The last of these opens the log. */
    r = r == 0 ? sql_execute(index->db, "PRAGMA cache_size=-2048; PRAGMA trusted_schema=OFF;"
                                        "SELECT 1 FROM bucket LIMIT 1")
               : r;
    (void)sqlite3_busy_timeout(index->db, 0);
    (void)dir_hurry_end();
    if (r != 0) {
        return error_set(err, r, "cannot read the index %s: %s", path, sqlite3_errmsg(index->db));
    }
    index->rows = dir_rows_new(index->db);
    *ret = TAKE(index);
    return 0;
}

void dir_index_close(struct dir_index *index)
{
    if (index == NULL) {
        return;
    }
    dir_rows_free(index->rows);
    for (int i = 0; i < SQL_COUNT; i++) {
        (void)sqlite3_finalize(index->statements[i]);
    }
    (void)sqlite3_close(index->db);
    dir_turn_close(&index->turn);
    free(index->remembered);
    free(index);
}

void dir_index_trust(struct dir_index *index, uint64_t changes, uint64_t now_ms)
{
    enum { TRUSTED_MS = 1000 };

    if (index->remembered == NULL) {
        index->remembered = calloc(DIR_BUCKETS_REMEMBERED, sizeof(*index->remembered));
    } else if (index->changes == changes && now_ms - index->since_ms < TRUSTED_MS) {
        return;
    } else {
        for (size_t i = 0; i < DIR_BUCKETS_REMEMBERED; i++) {
            index->remembered[i].name[0] = '\0';
        }
    }
    index->changes = changes;
    index->since_ms = now_ms;
}

void dir_index_remember(struct dir_index *index)
{
    dir_index_trust(index, index->changes + 1, 0);
}

struct dir_remembered *dir_index_remembered(struct dir_index *index, const char *bucket)
{
    struct dir_remembered *place;
    size_t len = strlen(bucket), hash = len;

    if (index->remembered == NULL || len == 0 || len > OBJSTORE_BUCKET_MAX) {
        return NULL;
    }
    for (size_t i = 0; i < len; i++) {
        hash = hash * 31 + (unsigned char)bucket[i];
    }
    place = &index->remembered[hash % DIR_BUCKETS_REMEMBERED];
    if (strcmp(place->name, bucket) != 0) {
        *place = (struct dir_remembered){0};
        memcpy(place->name, bucket, len + 1);
    }
    return place;
}

int dir_index_begin(struct dir_index *index)
{
    dir_turn_begin(&index->turn);
    return run_plain(index, SQL_BEGIN);
}

int dir_index_look(struct dir_index *index)
{
    return run_plain(index, SQL_LOOK);
}

int dir_index_commit(struct dir_index *index)
{
    int ret = run_plain(index, SQL_COMMIT);

    if (ret == 0) { /* or the rollback follows */
        (void)dir_turn_end(&index->turn);
    }
    return ret;
}

void dir_index_rollback(struct dir_index *index)
{
    bool wrote = sqlite3_txn_state(index->db, NULL) == SQLITE_TXN_WRITE;

    (void)run_plain(index, SQL_ROLLBACK);
    if (wrote) {
        (void)dir_turn_end(&index->turn);
    }
}

int dir_index_savepoint(struct dir_index *index)
{
    return run_plain(index, SQL_SAVEPOINT);
}

void dir_index_release(struct dir_index *index)
{
    (void)run_plain(index, SQL_RELEASE);
}

void dir_index_undo(struct dir_index *index)
{
    (void)run_plain(index, SQL_UNDO);
    (void)run_plain(index, SQL_RELEASE);
}

int dir_index_bucket(struct dir_index *index, const char *name, struct dir_bucket *ret)
{
    struct dir_remembered *known = dir_index_remembered(index, name);
    sqlite3_stmt *s;
    int code;

    if (known != NULL && known->bucket.id != 0) {
        *ret = known->bucket;
        return 0;
    }
    s = dir_index_statement(index, SQL_BUCKET_GET);
    if (s == NULL) {
        return -EIO;
    }
    dir_bind_text(s, 1, name);
    code = sqlite3_step(s);
    if (code == SQLITE_ROW) {
        ret->id = sqlite3_column_int64(s, 0);
        ret->versioning = (enum dir_versioning)sqlite3_column_int(s, 1);
        if (known != NULL) {
            known->bucket = *ret;
        }
    }
    (void)sqlite3_reset(s);
    return code == SQLITE_ROW ? 0 : code == SQLITE_DONE ? -ENOENT : sql_errno(code);
}

int dir_index_bucket_versioning(struct dir_index *index, int64_t bucket,
                                enum dir_versioning versioning)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_BUCKET_VERSIONING);

    if (s == NULL) {
        return -EIO;
    }
    (void)sqlite3_bind_int64(s, 1, bucket);
    (void)sqlite3_bind_int(s, 2, (int)versioning);
    return dir_index_run(index, SQL_BUCKET_VERSIONING);
}

int dir_index_bucket_create(struct dir_index *index, const char *name, int64_t now_ns)
{
    struct dir_bucket bucket;
    int ret = dir_index_bucket(index, name, &bucket);
    sqlite3_stmt *s = dir_index_statement(index, SQL_BUCKET_CREATE);

    if (ret != -ENOENT) {
        return ret == 0 ? -EEXIST : ret;
    }
    if (s == NULL) {
        return -EIO;
    }
    dir_bind_text(s, 1, name);
    (void)sqlite3_bind_int64(s, 2, now_ns);
    return dir_index_run(index, SQL_BUCKET_CREATE);
}

int dir_index_bucket_delete(struct dir_index *index, const char *name)
{
    static const enum dir_sql steps[] = {SQL_BUCKET_PARTS, SQL_BUCKET_UPLOADS, SQL_BUCKET_DELETE};
    struct dir_bucket bucket = {0};
    bool used = false;
    int ret = dir_index_bucket(index, name, &bucket);
    sqlite3_stmt *s = dir_index_statement(index, SQL_BUCKET_USED);

    if (ret != 0 || s == NULL) {
        return ret != 0 ? ret : -EIO;
    }
    (void)sqlite3_bind_int64(s, 1, bucket.id);
    ret = sqlite3_step(s);
    used = ret == SQLITE_ROW && sqlite3_column_int(s, 0) != 0;
    (void)sqlite3_reset(s);
    if (ret != SQLITE_ROW || used) {
        return used ? -ENOTEMPTY : sql_errno(ret);
    }
    /* Uploads that nobody has ended go with it, as in S3. */
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        s = dir_index_statement(index, steps[i]);
        if (s == NULL) {
            return -EIO;
        }
        (void)sqlite3_bind_int64(s, 1, bucket.id);
        ret = dir_index_run(index, steps[i]);
        if (ret != 0) {
            return ret;
        }
    }
    return 0;
}

int dir_index_bucket_list(struct dir_index *index, const char *owner, struct arena *arena,
                          struct objstore_bucket_entry **ret, size_t *ret_len)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_BUCKET_LIST);
    struct objstore_bucket_entry *list = NULL;
    size_t count = 0;
    size_t room = 0;
    int code = SQLITE_ERROR;

    if (s != NULL && owner != NULL) {
        dir_bind_text(s, 1, owner);
    }
    while (s != NULL && (code = sqlite3_step(s)) == SQLITE_ROW) {
        if (count == room) { /* the arena keeps the shorter ones: at most as much again */
            struct objstore_bucket_entry *more;

            room = room == 0 ? 64 : 2 * room;
            more = arena_array(arena, room, sizeof(*more));
            if (more == NULL) {
                code = SQLITE_NOMEM;
                break;
            }
            if (count > 0) {
                memcpy(more, list, count * sizeof(*more));
            }
            list = more;
        }
        list[count].name = dir_column_text(s, 0, arena);
        list[count].created_ns = sqlite3_column_int64(s, 1);
        count++;
    }
    (void)sqlite3_reset(s);
    if (code == SQLITE_DONE) {
        *ret = list;
        *ret_len = count;
    }
    return sql_errno(code);
}

int dir_index_garbage(struct dir_index *index, uint32_t max, struct arena *arena, const char ***ret,
                      size_t *ret_len)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_GARBAGE_LIST);
    const char **files = arena_array(arena, max, sizeof(*files));
    size_t count = 0;
    int code = SQLITE_ERROR;

    if (s == NULL || files == NULL) {
        return -ENOMEM;
    }
    (void)sqlite3_bind_int64(s, 1, max);
    while (count < max && (code = sqlite3_step(s)) == SQLITE_ROW) {
        files[count++] = dir_column_text(s, 0, arena);
    }
    (void)sqlite3_reset(s);
    *ret = files;
    *ret_len = count;
    return sql_errno(code);
}

int dir_index_garbage_forget(struct dir_index *index, const char *file)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_GARBAGE_FORGET);

    if (s == NULL) {
        return -EIO;
    }
    dir_bind_text(s, 1, file);
    return dir_index_run(index, SQL_GARBAGE_FORGET);
}

int dir_index_has_file(struct dir_index *index, const char *file, bool *ret)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_HAS_FILE);
    int code;

    if (s == NULL) {
        return -EIO;
    }
    dir_bind_text(s, 1, file);
    code = sqlite3_step(s);
    *ret = sqlite3_column_int(s, 0) != 0;
    (void)sqlite3_reset(s);
    return sql_errno(code);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Access keys of S3 clients. */
#include <errno.h>
#include <string.h>

#include "metaserver/db_private.h"
#include "util/sql.h"

#define COLUMNS                                                                                    \
    "id, sealed, buckets, read_only, disabled, expires_ns, comment, created_ns, requests, burst, " \
    "concurrent, upload, download"

static sqlite3_stmt *prepare(struct db *db, const char *sql, const char *first) REQUIRES(&db->lock)
{
    sqlite3_stmt *s = NULL;

    if (sqlite3_prepare_v2(db->sqlite, sql, -1, &s, NULL) != SQLITE_OK) {
        return NULL;
    }
    if (first != NULL) {
        (void)sqlite3_bind_text(s, 1, first, -1, SQLITE_STATIC);
    }
    return s;
}

/* Runs to the end. `must_change`: -ENOENT when no row did. */
static int finish(struct db *db, sqlite3_stmt *s, bool must_change) REQUIRES(&db->lock)
{
    int code = s != NULL ? sqlite3_step(s) : SQLITE_ERROR;
    int changed = sqlite3_changes(db->sqlite);

    (void)sqlite3_finalize(s);
    if (code != SQLITE_DONE) {
        return sql_errno(code);
    }
    return must_change && changed == 0 ? -ENOENT : 0;
}

static int begin(struct db *db) ACQUIRES(&db->lock)
{
    mutex_lock(&db->lock);
    return sql_execute(db->sqlite, "BEGIN IMMEDIATE");
}

/* With another revision, unless it failed. */
static int end(struct db *db, int r) RELEASES(&db->lock)
{
    char revision[RANDOM_ID_SIZE];

    random_id(revision);
    if (r == 0) {
        r = finish(db,
                   prepare(db, "INSERT OR REPLACE INTO meta VALUES('access_keys', ?1)", revision),
                   false);
    }
    if (sqlite3_get_autocommit(db->sqlite) == 0) {
        int ended = sql_execute(db->sqlite, r == 0 ? "COMMIT" : "ROLLBACK");

        r = r == 0 ? ended : r;
    }
    mutex_unlock(&db->lock);
    return r;
}

static int check_room(struct db *db) REQUIRES(&db->lock)
{
    sqlite3_stmt *s = prepare(db, "SELECT count(*) FROM access_key", NULL);
    int code = s != NULL ? sqlite3_step(s) : SQLITE_ERROR;
    int r = code != SQLITE_ROW                          ? sql_errno(code)
            : sqlite3_column_int64(s, 0) >= DB_KEYS_MAX ? -ENOSPC
                                                        : 0;

    (void)sqlite3_finalize(s);
    return r;
}

int db_key_add(struct db *db, const struct db_key *key)
{
    int r = begin(db);
    sqlite3_stmt *s = NULL;

    r = r == 0 ? check_room(db) : r;
    if (r == 0) {
        s = prepare(db,
                    "INSERT INTO access_key(" COLUMNS ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
                    " ?10, ?11, ?12, ?13)",
                    key->id);
        r = s == NULL ? -EIO : 0;
    }
    if (r == 0) {
        (void)sqlite3_bind_blob(s, 2, key->sealed, (int)key->sealed_len, SQLITE_STATIC);
        (void)sqlite3_bind_text(s, 3, key->buckets, -1, SQLITE_STATIC);
        (void)sqlite3_bind_int(s, 4, key->read_only);
        (void)sqlite3_bind_int(s, 5, key->disabled);
        (void)sqlite3_bind_int64(s, 6, key->expires_ns);
        (void)sqlite3_bind_text(s, 7, key->comment, -1, SQLITE_STATIC);
        (void)sqlite3_bind_int64(s, 8, key->created_ns);
        for (int i = 0; i < DB_KEY_LIMITS; i++) {
            (void)sqlite3_bind_int64(s, 9 + i, key->limits[i]);
        }
        r = finish(db, s, false);
    }
    return end(db, r);
}

static int read_key(sqlite3_stmt *s, struct arena *arena, struct db_key *ret)
{
    const char *sealed = sqlite3_column_blob(s, 1);
    size_t len = (size_t)sqlite3_column_bytes(s, 1);

    *ret = (struct db_key){
        .id = arena_strdup(arena, (const char *)sqlite3_column_text(s, 0)),
        .sealed = arena_strndup(arena, sealed != NULL ? sealed : "", len),
        .sealed_len = len,
        .buckets = arena_strdup(arena, (const char *)sqlite3_column_text(s, 2)),
        .read_only = sqlite3_column_int(s, 3) != 0,
        .disabled = sqlite3_column_int(s, 4) != 0,
        .expires_ns = sqlite3_column_int64(s, 5),
        .comment = arena_strdup(arena, (const char *)sqlite3_column_text(s, 6)),
        .created_ns = sqlite3_column_int64(s, 7),
    };
    for (int i = 0; i < DB_KEY_LIMITS; i++) {
        ret->limits[i] = sqlite3_column_int64(s, 8 + i);
    }
    return ret->id == NULL || ret->sealed == NULL || ret->buckets == NULL || ret->comment == NULL
               ? -ENOMEM
               : 0;
}

int db_key_get(struct db *db, const char *id, struct arena *arena, struct db_key *ret)
{
    sqlite3_stmt *s;
    int code, r;

    mutex_lock(&db->lock);
    s = prepare(db, "SELECT " COLUMNS " FROM access_key WHERE id = ?1", id);
    code = s != NULL ? sqlite3_step(s) : SQLITE_ERROR;
    r = code == SQLITE_ROW    ? read_key(s, arena, ret)
        : code == SQLITE_DONE ? -ENOENT
                              : sql_errno(code);
    (void)sqlite3_finalize(s);
    mutex_unlock(&db->lock);
    return r;
}

int db_key_list(struct db *db, const char *after, uint32_t max, struct arena *arena,
                struct db_key **ret, size_t *ret_count)
{
    struct db_key *keys = arena_array(arena, (size_t)max + 1, sizeof(*keys));
    sqlite3_stmt *s;
    size_t count = 0;
    int code = SQLITE_DONE, r = keys == NULL ? -ENOMEM : 0;

    mutex_lock(&db->lock);
    s = prepare(db, "SELECT " COLUMNS " FROM access_key WHERE id > ?1 ORDER BY id", after);
    if (s == NULL) {
        r = r == 0 ? -EIO : r;
    }
    while (r == 0 && count < max && (code = sqlite3_step(s)) == SQLITE_ROW) {
        r = read_key(s, arena, &keys[count++]);
    }
    (void)sqlite3_finalize(s);
    mutex_unlock(&db->lock);
    *ret = keys;
    *ret_count = count;
    return r != 0 ? r : sql_errno(code);
}

int db_key_disable(struct db *db, const char *id, bool disabled)
{
    int r = begin(db);
    sqlite3_stmt *s;

    if (r == 0) {
        s = prepare(db, "UPDATE access_key SET disabled = ?2 WHERE id = ?1", id);
        if (s != NULL) {
            (void)sqlite3_bind_int(s, 2, disabled);
        }
        r = finish(db, s, true);
    }
    return end(db, r);
}

int db_key_delete(struct db *db, const char *id)
{
    int r = begin(db);

    r = r == 0 ? finish(db, prepare(db, "DELETE FROM access_key WHERE id = ?1", id), true) : r;
    return end(db, r);
}

int db_key_seal(struct db *db, const char *id, const void *sealed, size_t len)
{
    sqlite3_stmt *s;
    int r;

    mutex_lock(&db->lock);
    s = prepare(db, "UPDATE access_key SET sealed = ?2 WHERE id = ?1", id);
    if (s != NULL) {
        (void)sqlite3_bind_blob(s, 2, sealed, (int)len, SQLITE_STATIC);
    }
    r = finish(db, s, true);
    mutex_unlock(&db->lock);
    return r;
}

int db_key_revision(struct db *db, struct arena *arena, const char **ret)
{
    sqlite3_stmt *s;
    int code;

    mutex_lock(&db->lock);
    s = prepare(db, "SELECT value FROM meta WHERE name = 'access_keys'", NULL);
    code = s != NULL ? sqlite3_step(s) : SQLITE_ERROR;
    *ret = arena_strdup(arena, code == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : "0");
    (void)sqlite3_finalize(s);
    mutex_unlock(&db->lock);
    return *ret == NULL ? -ENOMEM : sql_errno(code);
}

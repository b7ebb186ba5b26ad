/* SPDX-License-Identifier: Apache-2.0 */
/* Hard links. Unlike attributes they are facts that nobody else knows: flushed, and backed up. */
#include <errno.h>
#include <string.h>

#include "metaserver/db_private.h"
#include "util/clock.h"
#include "util/sql.h"

/* With a volume and, if not NULL, a file. */
static sqlite3_stmt *prepare(struct db *db, const char *sql, const char *volume, const char *file)
    REQUIRES(&db->lock)
{
    sqlite3_stmt *s = NULL;

    if (sqlite3_prepare_v2(db->sqlite, sql, -1, &s, NULL) != SQLITE_OK) {
        return NULL;
    }
    (void)sqlite3_bind_text(s, 1, volume, -1, SQLITE_STATIC);
    if (file != NULL) {
        (void)sqlite3_bind_text(s, 2, file, -1, SQLITE_STATIC);
    }
    return s;
}

static int finish(sqlite3_stmt *s)
{
    int code = s != NULL ? sqlite3_step(s) : SQLITE_ERROR;

    (void)sqlite3_finalize(s);
    return code == SQLITE_DONE ? 0 : sql_errno(code);
}

static int begin(struct db *db) ACQUIRES(&db->lock)
{
    mutex_lock(&db->lock);
    return sql_execute(db->sqlite, "BEGIN IMMEDIATE");
}

static int end(struct db *db, int r) RELEASES(&db->lock)
{
    if (sqlite3_get_autocommit(db->sqlite) == 0) {
        int ended = sql_execute(db->sqlite, r == 0 ? "COMMIT" : "ROLLBACK");

        r = r == 0 ? ended : r;
    }
    mutex_unlock(&db->lock);
    return r;
}

/* -ENOENT: no such file. */
static int count_names(struct db *db, const char *volume, const char *file, uint32_t *ret)
    REQUIRES(&db->lock)
{
    sqlite3_stmt *s = prepare(db,
                              "SELECT (SELECT count(*) FROM link_name n WHERE n.volume = f.volume"
                              " AND n.file = f.file) FROM link_file f WHERE volume = ?1 AND"
                              " file = ?2",
                              volume, file);
    int code = s != NULL ? sqlite3_step(s) : SQLITE_ERROR;

    *ret = code == SQLITE_ROW ? (uint32_t)sqlite3_column_int(s, 0) : 0;
    (void)sqlite3_finalize(s);
    return code == SQLITE_ROW ? 0 : code == SQLITE_DONE ? -ENOENT : sql_errno(code);
}

int db_link_count(struct db *db, const char *volume, const char *file, uint32_t *ret_names)
{
    int r;

    mutex_lock(&db->lock);
    r = count_names(db, volume, file, ret_names);
    mutex_unlock(&db->lock);
    return r;
}

/* The file of a name. -ENOENT. */
static int find_name(struct db *db, const char *volume, uint64_t number, struct arena *arena,
                     const char **ret_file) REQUIRES(&db->lock)
{
    sqlite3_stmt *s =
        prepare(db, "SELECT file FROM link_name WHERE volume = ?1 AND number = ?2", volume, NULL);
    int code = SQLITE_ERROR;
    int r;

    if (s != NULL) {
        (void)sqlite3_bind_int64(s, 2, (sqlite3_int64)number);
        code = sqlite3_step(s);
    }
    r = code == SQLITE_ROW ? 0 : code == SQLITE_DONE ? -ENOENT : sql_errno(code);
    if (r == 0) {
        *ret_file = arena_strdup(arena, (const char *)sqlite3_column_text(s, 0));
        r = *ret_file == NULL ? -ENOMEM : 0;
    }
    (void)sqlite3_finalize(s);
    return r;
}

/* 0 also if the file has it already. */
static int add_name(struct db *db, const struct db_link_add *what, const struct db_link_name *name)
    REQUIRES(&db->lock)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(4096);
    const char *file = NULL;
    sqlite3_stmt *s;
    int r = find_name(db, what->volume, name->number, &arena, &file);

    if (r != -ENOENT) {
        return r == 0 && strcmp(file, what->file) != 0 ? -EEXIST : r;
    }
    s = prepare(db, "INSERT INTO link_name(volume, file, number, key) VALUES(?1, ?2, ?3, ?4)",
                what->volume, what->file);
    if (s != NULL) {
        (void)sqlite3_bind_int64(s, 3, (sqlite3_int64)name->number);
        (void)sqlite3_bind_text(s, 4, name->key, -1, SQLITE_STATIC);
    }
    return finish(s);
}

int db_link_add(struct db *db, const struct db_link_add *what, uint32_t *ret_names)
{
    uint32_t names = 0;
    int r = begin(db);

    r = r == 0 ? count_names(db, what->volume, what->file, &names) : r;
    if (r == -ENOENT && what->make) {
        r = finish(prepare(db, "INSERT INTO link_file(volume, file) VALUES(?1, ?2)", what->volume,
                           what->file));
    } else if (r == 0 && names == 0) {
        r = -ENOENT; /* its object is about to be deleted */
    }
    for (size_t i = 0; r == 0 && i < what->count; i++) {
        r = add_name(db, what, &what->names[i]);
    }
    r = r == 0 ? count_names(db, what->volume, what->file, ret_names) : r;
    return end(db, r);
}

/* Of the only name that a file has. */
static int last_key(struct db *db, const char *volume, struct arena *arena, struct db_link *ret)
    REQUIRES(&db->lock)
{
    sqlite3_stmt *s =
        prepare(db, "SELECT key FROM link_name WHERE volume = ?1 AND file = ?2", volume, ret->file);
    int code = s != NULL ? sqlite3_step(s) : SQLITE_ERROR;

    if (code == SQLITE_ROW) {
        ret->last_key = arena_strdup(arena, (const char *)sqlite3_column_text(s, 0));
    }
    (void)sqlite3_finalize(s);
    return code == SQLITE_ROW ? (ret->last_key != NULL ? 0 : -ENOMEM) : sql_errno(code);
}

int db_link_remove(struct db *db, const char *volume, uint64_t number, struct arena *arena,
                   struct db_link *ret)
{
    int r = begin(db);

    *ret = (struct db_link){0};
    r = r == 0 ? find_name(db, volume, number, arena, &ret->file) : r;
    if (r == 0) {
        sqlite3_stmt *s =
            prepare(db, "DELETE FROM link_name WHERE volume = ?1 AND number = ?2", volume, NULL);

        if (s != NULL) {
            (void)sqlite3_bind_int64(s, 2, (sqlite3_int64)number);
        }
        r = finish(s);
    }
    r = r == 0 ? count_names(db, volume, ret->file, &ret->names) : r;
    r = r == 0 && ret->names == 1 ? last_key(db, volume, arena, ret) : r;
    if (r == 0 && ret->names == 0) {
        sqlite3_stmt *s =
            prepare(db, "UPDATE link_file SET unlinked_ns = ?3 WHERE volume = ?1 AND file = ?2",
                    volume, ret->file);

        if (s != NULL) {
            (void)sqlite3_bind_int64(s, 3, clock_realtime_ns(clock_real()));
        }
        r = finish(s);
    }
    return end(db, r);
}

int db_link_unlinked(struct db *db, const struct db_link_unlinked *what, struct arena *arena,
                     const char **ret, size_t *ret_count)
{
    sqlite3_stmt *s;
    int code = SQLITE_ERROR;
    int r = 0;

    *ret_count = 0;
    mutex_lock(&db->lock);
    s = prepare(db,
                "SELECT file FROM link_file f WHERE volume = ?1 AND unlinked_ns <= ?2 AND NOT"
                " EXISTS (SELECT 1 FROM link_name n WHERE n.volume = f.volume AND n.file = f.file)",
                what->volume, NULL);
    if (s != NULL) {
        (void)sqlite3_bind_int64(s, 2, what->before_ns);
    }
    while (s != NULL && r == 0 && *ret_count < what->max &&
           (code = sqlite3_step(s)) == SQLITE_ROW) {
        ret[*ret_count] = arena_strdup(arena, (const char *)sqlite3_column_text(s, 0));
        r = ret[*ret_count] != NULL ? 0 : -ENOMEM;
        *ret_count += r == 0;
    }
    (void)sqlite3_finalize(s);
    mutex_unlock(&db->lock);
    return r != 0 ? r : code == SQLITE_ROW || code == SQLITE_DONE ? 0 : sql_errno(code);
}

int db_link_singles(struct db *db, const struct db_link_unlinked *what, struct arena *arena,
                    struct db_link_single *ret, size_t *ret_count)
{
    sqlite3_stmt *s;
    int code = SQLITE_ERROR;
    int r = 0;

    *ret_count = 0;
    mutex_lock(&db->lock);
    s = prepare(db,
                "SELECT file, number, key FROM link_name WHERE volume = ?1 GROUP BY file HAVING"
                " count(*) = 1",
                what->volume, NULL);
    while (s != NULL && r == 0 && *ret_count < what->max &&
           (code = sqlite3_step(s)) == SQLITE_ROW) {
        struct db_link_single *one = &ret[*ret_count];

        one->file = arena_strdup(arena, (const char *)sqlite3_column_text(s, 0));
        one->number = (uint64_t)sqlite3_column_int64(s, 1);
        one->key = arena_strdup(arena, (const char *)sqlite3_column_text(s, 2));
        r = one->file != NULL && one->key != NULL ? 0 : -ENOMEM;
        *ret_count += r == 0;
    }
    (void)sqlite3_finalize(s);
    mutex_unlock(&db->lock);
    return r != 0 ? r : code == SQLITE_ROW || code == SQLITE_DONE ? 0 : sql_errno(code);
}

int db_link_drop(struct db *db, const char *volume, const char *file)
{
    int r;

    mutex_lock(&db->lock);
    r = finish(prepare(db,
                       "DELETE FROM link_file WHERE volume = ?1 AND file = ?2 AND NOT EXISTS"
                       " (SELECT 1 FROM link_name n WHERE n.volume = ?1 AND n.file = ?2)",
                       volume, file));
    mutex_unlock(&db->lock);
    return r;
}

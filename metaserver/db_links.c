/* SPDX-License-Identifier: Apache-2.0 */
/* Hard links. Unlike attributes they are facts that nobody else knows: flushed, and backed up. */
#include <errno.h>
#include <string.h>

#include "metaserver/db_private.h"
#include "util/sql.h"

/* Up to four texts. */
static sqlite3_stmt *prepare(struct db *db, const char *sql, const char *const texts[4])
    REQUIRES(&db->lock)
{
    sqlite3_stmt *s = NULL;

    if (sqlite3_prepare_v2(db->sqlite, sql, -1, &s, NULL) != SQLITE_OK) {
        return NULL;
    }
    for (int i = 0; i < 4 && texts[i] != NULL; i++) {
        (void)sqlite3_bind_text(s, i + 1, texts[i], -1, SQLITE_STATIC);
    }
    return s;
}

static int run(struct db *db, const char *sql, const char *const texts[4]) REQUIRES(&db->lock)
{
    sqlite3_stmt *s = prepare(db, sql, texts);
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

static int find(struct db *db, const char *volume, const char *key, struct arena *arena,
                struct db_link *ret) REQUIRES(&db->lock)
{
    const char *const texts[4] = {volume, key};
    sqlite3_stmt *s = prepare(
        db,
        "SELECT l.file, (SELECT key FROM link h WHERE h.volume = l.volume AND h.file = l.file AND"
        " h.home), (SELECT count(*) FROM link n WHERE n.volume = l.volume AND n.file = l.file)"
        " FROM link l WHERE l.volume = ?1 AND l.key = ?2",
        texts);
    int code = s != NULL ? sqlite3_step(s) : SQLITE_ERROR;
    int r = code == SQLITE_ROW ? 0 : code == SQLITE_DONE ? -ENOENT : sql_errno(code);

    if (r == 0) {
        ret->file = arena_strdup(arena, (const char *)sqlite3_column_text(s, 0));
        ret->home = arena_strdup(arena, (const char *)sqlite3_column_text(s, 1));
        ret->names = (uint32_t)sqlite3_column_int(s, 2);
        r = ret->file == NULL || ret->home == NULL ? -ENOMEM : 0;
    }
    (void)sqlite3_finalize(s);
    return r;
}

int db_link_get(struct db *db, const char *volume, const char *key, struct arena *arena,
                struct db_link *ret)
{
    int r;

    mutex_lock(&db->lock);
    r = find(db, volume, key, arena, ret);
    mutex_unlock(&db->lock);
    return r;
}

int db_link_add(struct db *db, const char *volume, const char *key, const char *name,
                struct arena *arena, struct db_link *ret)
{
    char id[RANDOM_ID_SIZE];
    int r = begin(db);

    r = r == 0 ? find(db, volume, name, arena, ret) : r;
    r = r == 0 ? -EEXIST : r == -ENOENT ? find(db, volume, key, arena, ret) : r;
    if (r == -ENOENT) {
        const char *const first[4] = {volume, key, id};

        random_id(id);
        r = run(db, "INSERT INTO link VALUES(?1, ?2, ?3, 1)", first);
        r = r == 0 ? find(db, volume, key, arena, ret) : r;
    }
    if (r == 0) {
        const char *const more[4] = {volume, name, ret->file};

        r = run(db, "INSERT INTO link VALUES(?1, ?2, ?3, 0)", more);
        ret->names++;
    }
    return end(db, r);
}

int db_link_remove(struct db *db, const char *volume, const char *key, struct arena *arena,
                   struct db_link *ret)
{
    const char *const one[4] = {volume, key};
    int r = begin(db);

    r = r == 0 ? find(db, volume, key, arena, ret) : r;
    r = r == 0 ? run(db, "DELETE FROM link WHERE volume = ?1 AND key = ?2", one) : r;
    if (r == 0) {
        const char *const file[4] = {volume, ret->file};
        sqlite3_stmt *s = prepare(
            db, "SELECT key FROM link WHERE volume = ?1 AND file = ?2 ORDER BY home DESC, key",
            file);

        ret->names--;
        if (s != NULL && sqlite3_step(s) == SQLITE_ROW) {
            ret->home = arena_strdup(arena, (const char *)sqlite3_column_text(s, 0));
        }
        (void)sqlite3_finalize(s);
        r = s == NULL ? -EIO : ret->home == NULL ? -ENOMEM : 0;
        if (r == 0 && ret->names == 1) { /* an ordinary file again */
            r = run(db, "DELETE FROM link WHERE volume = ?1 AND file = ?2", file);
        } else if (r == 0) {
            const char *const home[4] = {volume, ret->home};

            r = run(db, "UPDATE link SET home = 1 WHERE volume = ?1 AND key = ?2", home);
        }
    }
    return end(db, r);
}

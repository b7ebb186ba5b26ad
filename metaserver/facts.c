/* SPDX-License-Identifier: Apache-2.0 */
#include "metaserver/facts.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/hash.h"
#include "util/log.h"
#include "util/mutex.h"
#include "util/sql.h"

enum { BUSY_TIMEOUT_MS = 10000, APPLICATION_ID = 0x534b5946 /* "SKYF" */, SWEEP_ROWS = 2000 };

struct facts {
    struct mutex lock;
    sqlite3 *sqlite;
    sqlite3_stmt *set, *get, *drop;
};

static const char *const migrations[1] = {
    "CREATE TABLE volume(number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);"
    "CREATE TABLE fact(volume INTEGER NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL,"
    " day INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY(volume, key)) WITHOUT ROWID;",
};

static const struct sql_schema schema = {.what = "file of attributes",
                                         .application_id = APPLICATION_ID,
                                         .version = 1,
                                         .migrations = migrations};

int64_t facts_today(void)
{
    return clock_realtime_ns(clock_real()) / (INT64_C(86400) * 1000000000);
}

static int64_t version_of(const char *etag)
{
    return (int64_t)hash_bytes(etag, strlen(etag));
}

static sqlite3_stmt *prepare(struct facts *f, const char *sql)
{
    sqlite3_stmt *s = NULL;

    return sqlite3_prepare_v3(f->sqlite, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL) == SQLITE_OK
               ? s
               : NULL;
}

static void close_sqlite(struct facts *f)
{
    (void)sqlite3_finalize(f->set);
    (void)sqlite3_finalize(f->get);
    (void)sqlite3_finalize(f->drop);
    (void)sqlite3_close(f->sqlite);
    f->set = f->get = f->drop = NULL;
    f->sqlite = NULL;
}

static int open_sqlite(struct facts *f, const char *path, struct error *err)
{
    int r = sql_errno(sqlite3_open_v2(
        path, &f->sqlite, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL));

    if (r == 0) {
        (void)sqlite3_busy_timeout(f->sqlite, BUSY_TIMEOUT_MS);
        (void)chmod(path, 0600);
        r = sql_use_wal(f->sqlite, BUSY_TIMEOUT_MS);
        r = r == 0 ? sql_execute(f->sqlite, "PRAGMA synchronous=OFF; PRAGMA trusted_schema=OFF")
                   : r;
    }
    r = r == 0 ? sql_migrate(f->sqlite, &schema, err) : r;
    if (r == 0) {
        f->set = prepare(f, "INSERT OR REPLACE INTO fact VALUES(?1, ?2, ?3, ?4, ?5)");
        f->get =
            prepare(f, "SELECT data FROM fact WHERE volume = ?1 AND key = ?2 AND version = ?3");
        f->drop = prepare(f, "DELETE FROM fact WHERE volume = ?1 AND key = ?2");
        r = f->set == NULL || f->get == NULL || f->drop == NULL ? -EIO : 0;
    }
    return r;
}

static void remove_files(const char *path)
{
    static const char *const ends[] = {"", "-wal", "-shm"};

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        AUTOFREE char *name = NULL;

        if (asprintf(&name, "%s%s", path, ends[i]) < 0) {
            name = NULL;
        } else {
            (void)unlink(name);
        }
    }
}

int facts_open(const char *path, struct facts **ret, struct error *err)
{
    CLEANUP(facts_close_p) struct facts *f = calloc(1, sizeof(*f));
    int r;

    if (f == NULL) {
        return -ENOMEM;
    }
    mutex_init(&f->lock);
    r = open_sqlite(f, path, err);
    if (r == -EUCLEAN || r == -EIO) {
        log_warn("attributes are forgotten: their file cannot be used", "file", path, NULL);
        close_sqlite(f);
        remove_files(path);
        r = open_sqlite(f, path, err);
    }
    if (r != 0) {
        return error_set(err, r, "cannot open %s: %s", path,
                         f->sqlite != NULL ? sqlite3_errmsg(f->sqlite) : strerrordesc_np(-r));
    }
    *ret = TAKE(f);
    return 0;
}

void facts_close(struct facts *f)
{
    if (f != NULL) {
        close_sqlite(f);
        mutex_done(&f->lock);
        free(f);
    }
}

/* The volume's number; with `make`, a new one if need be. 0: none. */
static int64_t number_of(struct facts *f, const char *volume, bool make) REQUIRES(&f->lock)
{
    sqlite3_stmt *s = make ? prepare(f, "INSERT OR IGNORE INTO volume(id) VALUES(?1)") : NULL;
    int64_t number = 0;

    if (s != NULL) {
        (void)sqlite3_bind_text(s, 1, volume, -1, SQLITE_STATIC);
        (void)sqlite3_step(s);
        (void)sqlite3_finalize(s);
    }
    s = prepare(f, "SELECT number FROM volume WHERE id = ?1");
    if (s != NULL) {
        (void)sqlite3_bind_text(s, 1, volume, -1, SQLITE_STATIC);
        number = sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    }
    (void)sqlite3_finalize(s);
    return number;
}

static int set_one(struct facts *f, int64_t volume, const struct fact *fact) REQUIRES(&f->lock)
{
    sqlite3_stmt *s = fact->etag[0] == '\0' ? f->drop : f->set;
    int code;

    (void)sqlite3_bind_int64(s, 1, volume);
    (void)sqlite3_bind_text(s, 2, fact->key, -1, SQLITE_STATIC);
    if (s == f->set) {
        (void)sqlite3_bind_int64(s, 3, version_of(fact->etag));
        (void)sqlite3_bind_int64(s, 4, facts_today());
        (void)sqlite3_bind_blob(s, 5, fact->data, (int)fact->len, SQLITE_STATIC);
    }
    code = sqlite3_step(s);
    (void)sqlite3_reset(s);
    (void)sqlite3_clear_bindings(s);
    return code == SQLITE_DONE ? 0 : sql_errno(code);
}

int facts_set(struct facts *f, const char *volume, const struct fact *all, size_t count)
{
    int64_t number;
    int r;

    mutex_lock(&f->lock);
    r = sql_execute(f->sqlite, "BEGIN IMMEDIATE");
    number = r == 0 ? number_of(f, volume, true) : 0;
    r = r == 0 && number == 0 ? -EIO : r;
    for (size_t i = 0; r == 0 && i < count; i++) {
        r = set_one(f, number, &all[i]);
    }
    if (sqlite3_get_autocommit(f->sqlite) == 0) {
        int ended = sql_execute(f->sqlite, r == 0 ? "COMMIT" : "ROLLBACK");

        r = r == 0 ? ended : r;
    }
    mutex_unlock(&f->lock);
    return r;
}

static int get_one(struct facts *f, int64_t volume, struct fact *fact, struct arena *arena)
    REQUIRES(&f->lock)
{
    int code;
    int r = 0;

    (void)sqlite3_bind_int64(f->get, 1, volume);
    (void)sqlite3_bind_text(f->get, 2, fact->key, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(f->get, 3, version_of(fact->etag));
    code = sqlite3_step(f->get);
    if (code == SQLITE_ROW) {
        fact->len = (size_t)sqlite3_column_bytes(f->get, 0);
        fact->data = arena_strndup(arena, sqlite3_column_blob(f->get, 0), fact->len);
        r = fact->data == NULL ? -ENOMEM : 0;
    } else if (code != SQLITE_DONE) {
        r = sql_errno(code);
    }
    (void)sqlite3_reset(f->get);
    (void)sqlite3_clear_bindings(f->get);
    return r;
}

int facts_get(struct facts *f, const char *volume, struct fact *all, size_t count,
              struct arena *arena)
{
    int64_t number;
    int r;

    mutex_lock(&f->lock);
    r = sql_execute(f->sqlite, "BEGIN");
    number = r == 0 ? number_of(f, volume, false) : 0;
    for (size_t i = 0; i < count; i++) {
        all[i].len = 0;
        r = r == 0 && number != 0 ? get_one(f, number, &all[i], arena) : r;
    }
    if (sqlite3_get_autocommit(f->sqlite) == 0) {
        (void)!sql_execute(f->sqlite, "COMMIT");
    }
    mutex_unlock(&f->lock);
    return r;
}

/* One statement with up to two numbers. Returns how many rows. */
static int run(struct facts *f, const char *sql, int64_t one, int64_t two) REQUIRES(&f->lock)
{
    sqlite3_stmt *s = prepare(f, sql);
    int code = SQLITE_ERROR;

    if (s != NULL) {
        (void)sqlite3_bind_int64(s, 1, one);
        if (sqlite3_bind_parameter_count(s) >= 2) {
            (void)sqlite3_bind_int64(s, 2, two);
        }
        code = sqlite3_step(s);
    }
    (void)sqlite3_finalize(s);
    return code == SQLITE_DONE ? sqlite3_changes(f->sqlite) : sql_errno(code);
}

int facts_drop(struct facts *f, const char *volume)
{
    int64_t number;
    int r = 0;

    mutex_lock(&f->lock);
    number = number_of(f, volume, false);
    if (number != 0) {
        r = run(f, "DELETE FROM fact WHERE volume = ?1", number, 0);
        r = r < 0 ? r : run(f, "DELETE FROM volume WHERE number = ?1", number, 0);
    }
    mutex_unlock(&f->lock);
    return r < 0 ? r : 0;
}

int facts_sweep(struct facts *f, int64_t before_day)
{
    int r;

    mutex_lock(&f->lock);
    r = run(f,
            "DELETE FROM fact WHERE (volume, key) IN (SELECT volume, key FROM fact WHERE day < ?1"
            " LIMIT ?2)",
            before_day, SWEEP_ROWS);
    mutex_unlock(&f->lock);
    return r;
}

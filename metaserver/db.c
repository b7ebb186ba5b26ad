/* SPDX-License-Identifier: Apache-2.0 */
#include "metaserver/db.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "metaserver/db_private.h"
#include "util/clock.h"
#include "util/file.h"
#include "util/mutex.h"
#include "util/random.h"
#include "util/sql.h"

enum {
    BUSY_TIMEOUT_MS = 10000,
    APPLICATION_ID = 0x534b594d /* "SKYM" */,
    BACKUP_PAGES = 1024,
    TOKENS_KEPT = 32
};

static const char *const migrations[DB_VERSION] = {
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE store(name TEXT PRIMARY KEY, location TEXT NOT NULL, endpoint TEXT NOT NULL,"
    " s3_region TEXT NOT NULL, region TEXT NOT NULL, virtual_host INTEGER NOT NULL,"
    " sealed BLOB, created_ns INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE volume(id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, store TEXT NOT NULL,"
    " bucket TEXT NOT NULL, prefix TEXT NOT NULL, size_bytes INTEGER NOT NULL,"
    " state INTEGER NOT NULL, adopted INTEGER NOT NULL, own_bucket INTEGER NOT NULL,"
    " adopt_asked INTEGER NOT NULL, parameters TEXT NOT NULL, created_ns INTEGER NOT NULL,"
    " deleted INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '') WITHOUT ROWID;"
    "CREATE INDEX volume_store ON volume(store);"
    "CREATE INDEX volume_state ON volume(state, id);",
    "ALTER TABLE volume ADD COLUMN verified INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE volume ADD COLUMN error INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE volume ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE volume ADD COLUMN retry_ns INTEGER NOT NULL DEFAULT 0;",
    "CREATE TABLE volume_token(hash TEXT PRIMARY KEY, volume TEXT NOT NULL, node TEXT NOT NULL,"
    " created_ns INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX volume_token_of ON volume_token(volume, node, created_ns);",
    "CREATE TABLE link(volume TEXT NOT NULL, key TEXT NOT NULL, file TEXT NOT NULL,"
    " home INTEGER NOT NULL, PRIMARY KEY(volume, key)) WITHOUT ROWID;"
    "CREATE INDEX link_file ON link(volume, file);",
    "DROP TABLE link;" /* no mount has ever asked for it */
    "CREATE TABLE link_file(volume TEXT NOT NULL, file TEXT NOT NULL, unlinked_ns INTEGER NOT NULL"
    " DEFAULT 0, PRIMARY KEY(volume, file)) WITHOUT ROWID;"
    "CREATE TABLE link_name(volume TEXT NOT NULL, number INTEGER NOT NULL, file TEXT NOT NULL,"
    " key TEXT NOT NULL, PRIMARY KEY(volume, number)) WITHOUT ROWID;"
    "CREATE INDEX link_name_file ON link_name(volume, file);",
    "CREATE TABLE access_key(id TEXT PRIMARY KEY, sealed BLOB NOT NULL, buckets TEXT NOT NULL,"
    " read_only INTEGER NOT NULL, disabled INTEGER NOT NULL, expires_ns INTEGER NOT NULL,"
    " comment TEXT NOT NULL, created_ns INTEGER NOT NULL) WITHOUT ROWID;",
    "ALTER TABLE access_key ADD COLUMN requests INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE access_key ADD COLUMN burst INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE access_key ADD COLUMN concurrent INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE access_key ADD COLUMN upload INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE access_key ADD COLUMN download INTEGER NOT NULL DEFAULT 0;",
    /* what a controller had made of Secrets */
    ("ALTER TABLE store ADD COLUMN public_only INTEGER NOT NULL DEFAULT 0;"
     "UPDATE store SET public_only = 1 WHERE name GLOB 'secret-*';"),
    "ALTER TABLE store ADD COLUMN sts_endpoint TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE store ADD COLUMN role_arn TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE store ADD COLUMN sts_duration_s INTEGER NOT NULL DEFAULT 0;",
};

static const struct sql_schema schema = {.what = "database",
                                         .application_id = APPLICATION_ID,
                                         .version = DB_VERSION,
                                         .migrations = migrations};

static sqlite3_stmt *prepare(struct db *db, const char *sql)
{
    sqlite3_stmt *s = NULL;

    return sqlite3_prepare_v2(db->sqlite, sql, -1, &s, NULL) == SQLITE_OK ? s : NULL;
}

static void text(sqlite3_stmt *s, int column, const char *value)
{
    (void)sqlite3_bind_text(s, column, value != NULL ? value : "", -1, SQLITE_STATIC);
}

/* Run to the end and release. `must_change`: -ENOENT when no row did. */
static int finish(struct db *db, sqlite3_stmt *s, bool must_change)
{
    int code = sqlite3_step(s);
    int changed = sqlite3_changes(db->sqlite);

    (void)sqlite3_finalize(s);
    if (code == SQLITE_DONE) {
        return must_change && changed == 0 ? -ENOENT : 0;
    }
    return sql_errno(code);
}

static const char *column(sqlite3_stmt *s, int index, struct arena *arena)
{
    const char *value = (const char *)sqlite3_column_text(s, index);

    return arena_strdup(arena, value != NULL ? value : "");
}

static int read_incarnation(struct db *db)
{
    sqlite3_stmt *s;
    int code;

    random_id(db->incarnation);
    s = prepare(db, "INSERT OR IGNORE INTO meta VALUES('incarnation', ?1)");
    if (s == NULL) {
        return -EIO;
    }
    text(s, 1, db->incarnation);
    code = finish(db, s, false);
    s = code == 0 ? prepare(db, "SELECT value FROM meta WHERE name = 'incarnation'") : NULL;
    if (s == NULL || sqlite3_step(s) != SQLITE_ROW) {
        (void)sqlite3_finalize(s);
        return -EIO;
    }
    (void)snprintf(db->incarnation, sizeof(db->incarnation), "%s",
                   (const char *)sqlite3_column_text(s, 0));
    (void)sqlite3_finalize(s);
    return 0;
}

int db_open(const char *path, struct db **ret, struct error *err)
{
    CLEANUP(db_close_p) struct db *db = calloc(1, sizeof(*db));
    int r;

    if (db == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    mutex_init(&db->lock);
    r = file_make_parent(path, 0700);
    if (r != 0) {
        return error_set(err, r, "cannot make the directory of %s: %s", path, strerrordesc_np(-r));
    }
    r = sql_errno(sqlite3_open_v2(
        path, &db->sqlite, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL));
    if (r == 0) {
        (void)sqlite3_busy_timeout(db->sqlite, BUSY_TIMEOUT_MS);
        (void)chmod(path, 0600);
        r = sql_use_wal(db->sqlite, BUSY_TIMEOUT_MS);
        r = r == 0 ? sql_execute(db->sqlite, "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
                                             "PRAGMA trusted_schema=OFF")
                   : r;
    }
    if (r != 0) {
        return error_set(err, r, "cannot open the database %s: %s", path,
                         sqlite3_errmsg(db->sqlite));
    }
    r = sql_migrate(db->sqlite, &schema, err);
    if (r == 0) {
        r = read_incarnation(db);
    }
    if (r == 0) {
        *ret = TAKE(db);
    }
    return r;
}

void db_close(struct db *db)
{
    if (db != NULL) {
        (void)sqlite3_close(db->sqlite);
        mutex_done(&db->lock);
        free(db);
    }
}

const char *db_incarnation(const struct db *db)
{
    return db->incarnation;
}

/* ---- stores ---- */

int db_store_add(struct db *db, const struct db_store *store)
{
    sqlite3_stmt *s;
    int ret = -EIO;

    mutex_lock(&db->lock);
    s = prepare(db, "INSERT INTO store VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)");
    if (s != NULL) {
        text(s, 1, store->name);
        text(s, 2, store->location);
        text(s, 3, store->endpoint);
        text(s, 4, store->s3_region);
        text(s, 5, store->region);
        (void)sqlite3_bind_int(s, 6, store->virtual_host_style);
        if (store->sealed != NULL) {
            (void)sqlite3_bind_blob(s, 7, store->sealed, (int)store->sealed_len, SQLITE_STATIC);
        }
        (void)sqlite3_bind_int64(s, 8, store->created_ns);
        (void)sqlite3_bind_int(s, 9, store->public_only);
        text(s, 10, store->sts_endpoint);
        text(s, 11, store->role_arn);
        (void)sqlite3_bind_int64(s, 12, store->sts_duration_s);
        ret = finish(db, s, false);
    }
    mutex_unlock(&db->lock);
    return ret;
}

#define STORE_COLUMNS                                                                              \
    "name, location, endpoint, s3_region, region, virtual_host, sealed, created_ns, public_only,"  \
    " sts_endpoint, role_arn, sts_duration_s"

static int read_store(sqlite3_stmt *s, struct arena *arena, struct db_store *ret)
{
    const void *sealed = sqlite3_column_blob(s, 6);

    *ret = (struct db_store){
        .name = column(s, 0, arena),
        .location = column(s, 1, arena),
        .endpoint = column(s, 2, arena),
        .s3_region = column(s, 3, arena),
        .region = column(s, 4, arena),
        .virtual_host_style = sqlite3_column_int(s, 5) != 0,
        .sealed_len = (size_t)sqlite3_column_bytes(s, 6),
        .created_ns = sqlite3_column_int64(s, 7),
        .public_only = sqlite3_column_int(s, 8) != 0,
        .sts_endpoint = column(s, 9, arena),
        .role_arn = column(s, 10, arena),
        .sts_duration_s = (uint32_t)sqlite3_column_int64(s, 11),
    };
    if (sealed != NULL) {
        ret->sealed = arena_strndup(arena, sealed, ret->sealed_len);
    }
    return ret->name == NULL || ret->region == NULL || ret->sts_endpoint == NULL ||
                   ret->role_arn == NULL || (sealed != NULL && ret->sealed == NULL)
               ? -ENOMEM
               : 0;
}

int db_store_get(struct db *db, const char *name, struct arena *arena, struct db_store *ret)
{
    sqlite3_stmt *s;
    int r = -EIO;

    mutex_lock(&db->lock);
    s = prepare(db, "SELECT " STORE_COLUMNS " FROM store WHERE name = ?1");
    if (s != NULL) {
        int code;

        text(s, 1, name);
        code = sqlite3_step(s);
        r = code == SQLITE_ROW    ? read_store(s, arena, ret)
            : code == SQLITE_DONE ? -ENOENT
                                  : sql_errno(code);
        (void)sqlite3_finalize(s);
    }
    mutex_unlock(&db->lock);
    return r;
}

int db_store_list(struct db *db, struct arena *arena, struct db_store **ret, size_t *ret_len)
{
    struct db_store *stores = arena_array(arena, DB_LIST_MAX, sizeof(*stores));
    sqlite3_stmt *s;
    size_t count = 0;
    int code = SQLITE_ERROR;
    int r = stores == NULL ? -ENOMEM : 0;

    mutex_lock(&db->lock);
    s = prepare(db, "SELECT " STORE_COLUMNS " FROM store ORDER BY name");
    while (r == 0 && s != NULL && count < DB_LIST_MAX && (code = sqlite3_step(s)) == SQLITE_ROW) {
        r = read_store(s, arena, &stores[count++]);
    }
    (void)sqlite3_finalize(s);
    mutex_unlock(&db->lock);
    *ret = stores;
    *ret_len = count;
    return r != 0 ? r : sql_errno(code);
}

int db_store_seal(struct db *db, const char *name, const void *sealed, size_t len)
{
    sqlite3_stmt *s;
    int ret = -EIO;

    mutex_lock(&db->lock);
    s = prepare(db, "UPDATE store SET sealed = ?2 WHERE name = ?1");
    if (s != NULL) {
        text(s, 1, name);
        (void)sqlite3_bind_blob(s, 2, sealed, (int)len, SQLITE_STATIC);
        ret = finish(db, s, true);
    }
    mutex_unlock(&db->lock);
    return ret;
}

int db_store_restrict(struct db *db, const char *name, bool public_only)
{
    sqlite3_stmt *s;
    int ret = -EIO;

    mutex_lock(&db->lock);
    s = prepare(db, "UPDATE store SET public_only = ?2 WHERE name = ?1");
    if (s != NULL) {
        text(s, 1, name);
        (void)sqlite3_bind_int(s, 2, public_only);
        ret = finish(db, s, true);
    }
    mutex_unlock(&db->lock);
    return ret;
}

int db_store_set_sts(struct db *db, const struct db_store *store)
{
    sqlite3_stmt *s;
    int ret = -EIO;

    mutex_lock(&db->lock);
    s = prepare(db, "UPDATE store SET sts_endpoint = ?2, role_arn = ?3, sts_duration_s = ?4"
                    " WHERE name = ?1");
    if (s != NULL) {
        text(s, 1, store->name);
        text(s, 2, store->sts_endpoint);
        text(s, 3, store->role_arn);
        (void)sqlite3_bind_int64(s, 4, store->sts_duration_s);
        ret = finish(db, s, true);
    }
    mutex_unlock(&db->lock);
    return ret;
}

int db_store_delete(struct db *db, const char *name)
{
    sqlite3_stmt *s;
    int ret = -EIO;

    mutex_lock(&db->lock);
    s = prepare(db, "SELECT EXISTS(SELECT 1 FROM volume WHERE store = ?1)");
    if (s != NULL) {
        text(s, 1, name);
        ret = sqlite3_step(s) == SQLITE_ROW && sqlite3_column_int(s, 0) == 0 ? 0 : -EBUSY;
        (void)sqlite3_finalize(s);
    }
    s = ret == 0 ? prepare(db, "DELETE FROM store WHERE name = ?1") : NULL;
    if (s != NULL) {
        text(s, 1, name);
        ret = finish(db, s, true);
    }
    mutex_unlock(&db->lock);
    return ret;
}

/* ---- volumes ---- */

#define VOLUME_COLUMNS                                                                             \
    "id, name, store, bucket, prefix, size_bytes, state, adopted, own_bucket, adopt_asked,"        \
    " parameters, created_ns, deleted, message, verified, error, attempts, retry_ns"

static int read_volume(sqlite3_stmt *s, struct arena *arena, struct db_volume *ret)
{
    *ret = (struct db_volume){
        .id = column(s, 0, arena),
        .name = column(s, 1, arena),
        .store = column(s, 2, arena),
        .bucket = column(s, 3, arena),
        .prefix = column(s, 4, arena),
        .size_bytes = (uint64_t)sqlite3_column_int64(s, 5),
        .state = (enum db_state)sqlite3_column_int(s, 6),
        .adopted = sqlite3_column_int(s, 7) != 0,
        .own_bucket = sqlite3_column_int(s, 8) != 0,
        .adopt_asked = sqlite3_column_int(s, 9) != 0,
        .parameters = column(s, 10, arena),
        .created_ns = sqlite3_column_int64(s, 11),
        .deleted = (uint64_t)sqlite3_column_int64(s, 12),
        .message = column(s, 13, arena),
        .verified = sqlite3_column_int(s, 14) != 0,
        .error = sqlite3_column_int(s, 15),
        .attempts = (uint32_t)sqlite3_column_int64(s, 16),
        .retry_ns = sqlite3_column_int64(s, 17),
    };
    return ret->id == NULL || ret->parameters == NULL || ret->message == NULL ? -ENOMEM : 0;
}

int db_volume_add(struct db *db, const struct db_volume *v)
{
    sqlite3_stmt *s;
    int ret = -EIO;

    mutex_lock(&db->lock);
    s = prepare(db, "INSERT INTO volume(" VOLUME_COLUMNS ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,"
                    " ?9, ?10, ?11, ?12, 0, '', 0, 0, 0, 0)");
    if (s != NULL) {
        text(s, 1, v->id);
        text(s, 2, v->name);
        text(s, 3, v->store);
        text(s, 4, v->bucket);
        text(s, 5, v->prefix);
        (void)sqlite3_bind_int64(s, 6, (int64_t)v->size_bytes);
        (void)sqlite3_bind_int(s, 7, (int)v->state);
        (void)sqlite3_bind_int(s, 8, v->adopted);
        (void)sqlite3_bind_int(s, 9, v->own_bucket);
        (void)sqlite3_bind_int(s, 10, v->adopt_asked);
        text(s, 11, v->parameters);
        (void)sqlite3_bind_int64(s, 12, v->created_ns);
        ret = finish(db, s, false);
    }
    mutex_unlock(&db->lock);
    return ret;
}

static int get_volume(struct db *db, const char *sql, const char *key, struct arena *arena,
                      struct db_volume *ret)
{
    sqlite3_stmt *s;
    int r = -EIO;

    mutex_lock(&db->lock);
    s = prepare(db, sql);
    if (s != NULL) {
        int code;

        text(s, 1, key);
        code = sqlite3_step(s);
        r = code == SQLITE_ROW    ? read_volume(s, arena, ret)
            : code == SQLITE_DONE ? -ENOENT
                                  : sql_errno(code);
        (void)sqlite3_finalize(s);
    }
    mutex_unlock(&db->lock);
    return r;
}

int db_volume_get(struct db *db, const char *id, struct arena *arena, struct db_volume *ret)
{
    return get_volume(db, "SELECT " VOLUME_COLUMNS " FROM volume WHERE id = ?1", id, arena, ret);
}

int db_volume_by_name(struct db *db, const char *name, struct arena *arena, struct db_volume *ret)
{
    return get_volume(db, "SELECT " VOLUME_COLUMNS " FROM volume WHERE name = ?1", name, arena,
                      ret);
}

static int update(struct db *db, const char *sql, const char *id, int64_t number)
{
    sqlite3_stmt *s;
    int ret = -EIO;

    mutex_lock(&db->lock);
    s = prepare(db, sql);
    if (s != NULL) {
        text(s, 1, id);
        if (sqlite3_bind_parameter_count(s) >= 2) {
            (void)sqlite3_bind_int64(s, 2, number);
        }
        ret = finish(db, s, true);
    }
    mutex_unlock(&db->lock);
    return ret;
}

int db_volume_ready(struct db *db, const char *id, bool adopted)
{
    return update(db, "UPDATE volume SET state = 2, adopted = ?2 WHERE id = ?1 AND state = 1", id,
                  adopted);
}

int db_volume_tombstone(struct db *db, const char *id)
{
    return update(db, "UPDATE volume SET state = 3, retry_ns = 0, error = 0 WHERE id = ?1", id, 0);
}

int db_volume_verified(struct db *db, const char *id)
{
    return update(db, "UPDATE volume SET verified = 1 WHERE id = ?1", id, 0);
}

int db_volume_progress(struct db *db, const char *id, uint64_t deleted)
{
    return update(db,
                  "UPDATE volume SET deleted = ?2, message = '', error = 0, attempts = 0"
                  " WHERE id = ?1",
                  id, (int64_t)deleted);
}

int db_volume_failed(struct db *db, const char *id, int error, int64_t retry_ns,
                     const char *message)
{
    sqlite3_stmt *s;
    int ret = -EIO;

    mutex_lock(&db->lock);
    s = prepare(db, "UPDATE volume SET error = ?2, retry_ns = ?3, message = ?4,"
                    " attempts = attempts + 1 WHERE id = ?1");
    if (s != NULL) {
        text(s, 1, id);
        (void)sqlite3_bind_int(s, 2, error);
        (void)sqlite3_bind_int64(s, 3, retry_ns);
        text(s, 4, message);
        ret = finish(db, s, true);
    }
    mutex_unlock(&db->lock);
    return ret;
}

int db_volume_resize(struct db *db, const char *id, uint64_t size_bytes)
{
    return update(db, "UPDATE volume SET size_bytes = ?2 WHERE id = ?1 AND state = 2", id,
                  (int64_t)size_bytes);
}

int db_volume_remove(struct db *db, const char *id)
{
    static const char *const of_volume[] = {"DELETE FROM volume_token WHERE volume = ?1",
                                            "DELETE FROM link_name WHERE volume = ?1",
                                            "DELETE FROM link_file WHERE volume = ?1"};
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < sizeof(of_volume) / sizeof(of_volume[0]); i++) {
        ret = update(db, of_volume[i], id, 0);
        ret = ret == -ENOENT ? 0 : ret;
    }
    return ret != 0 ? ret : update(db, "DELETE FROM volume WHERE id = ?1", id, 0);
}

/* ---- tokens ---- */

int db_token_add(struct db *db, const char *hash, const char *volume, const char *node)
{
    sqlite3_stmt *s;
    int ret = -EIO;

    mutex_lock(&db->lock);
    s = prepare(db, "INSERT INTO volume_token VALUES(?1, ?2, ?3, ?4)");
    if (s != NULL) {
        text(s, 1, hash);
        text(s, 2, volume);
        text(s, 3, node);
        (void)sqlite3_bind_int64(s, 4, clock_realtime_ns(clock_real()));
        ret = finish(db, s, false);
    }
    s = ret == 0 ? prepare(db, "DELETE FROM volume_token WHERE hash IN (SELECT hash FROM"
                               " volume_token WHERE volume = ?1 AND node = ?2"
                               " ORDER BY created_ns DESC LIMIT -1 OFFSET ?3)")
                 : NULL;
    if (s != NULL) {
        text(s, 1, volume);
        text(s, 2, node);
        (void)sqlite3_bind_int(s, 3, TOKENS_KEPT);
        ret = finish(db, s, false);
    }
    mutex_unlock(&db->lock);
    return ret;
}

int db_token_check(struct db *db, const char *hash, const char *volume, const char *node)
{
    sqlite3_stmt *s;
    int ret = -EIO;

    mutex_lock(&db->lock);
    s = prepare(db, "SELECT 1 FROM volume_token WHERE hash = ?1 AND volume = ?2 AND node = ?3");
    if (s != NULL) {
        int code;

        text(s, 1, hash);
        text(s, 2, volume);
        text(s, 3, node);
        code = sqlite3_step(s);
        ret = code == SQLITE_ROW ? 0 : code == SQLITE_DONE ? -ENOENT : sql_errno(code);
        (void)sqlite3_finalize(s);
    }
    mutex_unlock(&db->lock);
    return ret;
}

int db_volume_list(struct db *db, struct arena *arena, struct db_page *page)
{
    sqlite3_stmt *s;
    int code = SQLITE_ERROR;
    int r = 0;

    page->count = 0;
    page->more = false;
    page->volumes = arena_array(arena, page->max, sizeof(*page->volumes));
    if (page->volumes == NULL) {
        return -ENOMEM;
    }
    mutex_lock(&db->lock);
    s = prepare(db, "SELECT " VOLUME_COLUMNS " FROM volume WHERE id > ?1 AND"
                    " CASE ?2 WHEN 0 THEN state != 1 ELSE state = ?2 END AND"
                    " (?3 = 0 OR retry_ns <= ?3) AND (?4 = 0 OR created_ns < ?4) ORDER BY id");
    if (s != NULL) {
        text(s, 1, page->after);
        (void)sqlite3_bind_int(s, 2, (int)page->state);
        (void)sqlite3_bind_int64(s, 3, page->due_ns);
        (void)sqlite3_bind_int64(s, 4, page->before_ns);
    }
    while (r == 0 && s != NULL && (code = sqlite3_step(s)) == SQLITE_ROW) {
        if (page->count == page->max) {
            page->more = true;
            break;
        }
        r = read_volume(s, arena, &page->volumes[page->count++]);
    }
    (void)sqlite3_finalize(s);
    mutex_unlock(&db->lock);
    return r != 0 ? r : sql_errno(code);
}

int db_backup(struct db *db, const char *file, uint64_t *ret_bytes)
{
    sqlite3 *target = NULL;
    sqlite3_backup *backup;
    struct stat st;
    int code;

    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0) {
        return -errno; /* which SQLite would not tell */
    }
    (void)close(fd);
    code = sqlite3_open_v2(file, &target, SQLITE_OPEN_READWRITE, NULL);
    if (code == SQLITE_OK) {
        mutex_lock(&db->lock);
        backup = sqlite3_backup_init(target, "main", db->sqlite, "main");
        do {
            code = backup != NULL ? sqlite3_backup_step(backup, BACKUP_PAGES) : SQLITE_ERROR;
        } while (code == SQLITE_OK);
        code = backup != NULL ? sqlite3_backup_finish(backup) : code;
        mutex_unlock(&db->lock);
    }
    (void)sqlite3_close(target);
    if (code != SQLITE_OK || stat(file, &st) != 0) {
        (void)unlink(file);
        return code != SQLITE_OK ? sql_errno(code) : -errno;
    }
    *ret_bytes = (uint64_t)st.st_size;
    return 0;
}

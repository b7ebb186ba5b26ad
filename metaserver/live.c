/* SPDX-License-Identifier: Apache-2.0 */
#include "metaserver/live.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "metaserver/live_private.h"
#include "util/buf.h"
#include "util/clock.h"
#include "util/random.h"
#include "util/sql.h"

enum {
    BUSY_TIMEOUT_MS = 10000,
    APPLICATION_ID = 0x534b594c /* "SKYL" */,
    LIST_MAX = 1000,
    FENCED_MS = 3600 * 1000, /* so long it is told that it was fenced */
    NAMED_MAX = 8,
};
static const int64_t ns_per_ms = 1000000;

/* A fenced session holds nothing and is in nobody's way. */
static const char *const migrations[2] = {
    "CREATE TABLE session(id TEXT PRIMARY KEY, volume TEXT NOT NULL, node TEXT NOT NULL,"
    " mount TEXT NOT NULL, read_only INTEGER NOT NULL, exclusive INTEGER NOT NULL,"
    " epoch INTEGER NOT NULL, opened_ns INTEGER NOT NULL, until_ms INTEGER NOT NULL,"
    " fenced INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"
    "CREATE INDEX session_volume ON session(volume);"
    "CREATE INDEX session_until ON session(until_ms);"
    "CREATE TABLE epoch(volume TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE lock(id INTEGER PRIMARY KEY AUTOINCREMENT, volume TEXT NOT NULL,"
    " key TEXT NOT NULL, family INTEGER NOT NULL, exclusive INTEGER NOT NULL,"
    " start INTEGER NOT NULL, last INTEGER NOT NULL, session TEXT NOT NULL,"
    " owner INTEGER NOT NULL, pid INTEGER NOT NULL);"
    "CREATE INDEX lock_key ON lock(volume, key, family);"
    "CREATE INDEX lock_session ON lock(session);"
    "CREATE TABLE waiting(session TEXT NOT NULL, owner INTEGER NOT NULL, volume TEXT NOT NULL,"
    " key TEXT NOT NULL, family INTEGER NOT NULL, exclusive INTEGER NOT NULL,"
    " start INTEGER NOT NULL, last INTEGER NOT NULL, until_ms INTEGER NOT NULL,"
    " PRIMARY KEY(session, owner, family)) WITHOUT ROWID;",
    /* What a session has added stays when it ends. */
    "CREATE TABLE usage(session TEXT PRIMARY KEY, volume TEXT NOT NULL, grown INTEGER NOT NULL,"
    " unpublished INTEGER NOT NULL, instance INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX usage_volume ON usage(volume);"
    "CREATE TABLE usage_past(volume TEXT PRIMARY KEY, grown INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TRIGGER session_gone AFTER DELETE ON session BEGIN"
    " INSERT INTO usage_past SELECT volume, grown FROM usage WHERE session = OLD.id"
    " ON CONFLICT(volume) DO UPDATE SET grown = grown + excluded.grown;"
    " DELETE FROM usage WHERE session = OLD.id; END;",
};

static const struct sql_schema schema = {.what = "file of sessions",
                                         .application_id = APPLICATION_ID,
                                         .version = 2,
                                         .migrations = migrations};

int64_t live_now_ms(void)
{
    return (int64_t)clock_monotonic_ms(clock_real());
}

/* ---- statements ---- */

int live_begin(struct live *live)
{
    mutex_lock(&live->lock);
    return sql_execute(live->sqlite, "BEGIN IMMEDIATE");
}

int live_end(struct live *live, int r)
{
    int done = sqlite3_get_autocommit(live->sqlite) != 0
                   ? 0
                   : sql_execute(live->sqlite, r >= 0 ? "COMMIT" : "ROLLBACK");

    if (done != 0 && r >= 0) {
        (void)!sql_execute(live->sqlite, "ROLLBACK");
    }
    mutex_unlock(&live->lock);
    return r >= 0 && done != 0 ? done : r;
}

static sqlite3_stmt *prepare(struct live *live, const char *sql, const char *types, va_list list)
{
    sqlite3_stmt *s = NULL;

    if (sqlite3_prepare_v2(live->sqlite, sql, -1, &s, NULL) != SQLITE_OK) {
        return NULL;
    }
    for (int i = 0; types[i] != '\0'; i++) {
        if (types[i] == 's') {
            (void)sqlite3_bind_text(s, i + 1, va_arg(list, const char *), -1, SQLITE_STATIC);
        } else {
            (void)sqlite3_bind_int64(s, i + 1, va_arg(list, int64_t));
        }
    }
    return s;
}

sqlite3_stmt *live_prepare(struct live *live, const char *sql, const char *types, ...)
{
    sqlite3_stmt *s;
    va_list list;

    va_start(list, types);
    s = prepare(live, sql, types, list);
    va_end(list);
    return s;
}

/* One row at most; its first column, if there is one and it is asked for. */
static int run(struct live *live, int64_t *ret, const char *sql, const char *types, va_list list)
{
    sqlite3_stmt *s = prepare(live, sql, types, list);
    int code;

    if (s == NULL) {
        return SQLITE_IOERR;
    }
    code = sqlite3_step(s);
    if (code == SQLITE_ROW && ret != NULL) {
        *ret = sqlite3_column_int64(s, 0);
    }
    (void)sqlite3_finalize(s);
    return code;
}

int live_run(struct live *live, const char *sql, const char *types, ...)
{
    va_list list;
    int code;

    va_start(list, types);
    code = run(live, NULL, sql, types, list);
    va_end(list);
    return code == SQLITE_DONE ? sqlite3_changes(live->sqlite) : sql_errno(code);
}

int live_number(struct live *live, int64_t *ret, const char *sql, const char *types, ...)
{
    va_list list;
    int code;

    va_start(list, types);
    code = run(live, ret, sql, types, list);
    va_end(list);
    return code == SQLITE_ROW ? 0 : code == SQLITE_DONE ? -ENOENT : sql_errno(code);
}

const char *live_text(sqlite3_stmt *s, int column, struct arena *arena)
{
    const char *value = (const char *)sqlite3_column_text(s, column);

    return arena_strdup(arena, value != NULL ? value : "");
}

/* ---- open, close ---- */

LOCK_UNCHECKED
static int start(struct live *live, const char *path, struct error *err)
{
    int r = sql_errno(
        sqlite3_open_v2(path, &live->sqlite,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL));

    if (r == 0) {
        (void)sqlite3_busy_timeout(live->sqlite, BUSY_TIMEOUT_MS);
        (void)chmod(path, 0600);
        r = sql_use_wal(live->sqlite, BUSY_TIMEOUT_MS);
        r = r == 0
                ? sql_execute(live->sqlite, "PRAGMA synchronous=NORMAL; PRAGMA trusted_schema=OFF")
                : r;
    }
    if (r != 0) {
        return error_set(err, r, "cannot open %s: %s", path, sqlite3_errmsg(live->sqlite));
    }
    r = sql_migrate(live->sqlite, &schema, err);
    if (r == 0) {
        r = live_run(live, "UPDATE session SET until_ms = ?1 WHERE fenced = 0", "i",
                     live_now_ms() + (int64_t)live->lease_ms);
    }
    if (r >= 0) {
        r = live_run(live, "DELETE FROM waiting", "");
    }
    return r < 0 ? r : 0;
}

int live_open(const char *path, uint64_t lease_ms, struct live **ret, struct error *err)
{
    CLEANUP(live_close_p) struct live *live = calloc(1, sizeof(*live));
    int r;

    if (live == NULL) {
        return -ENOMEM;
    }
    mutex_init(&live->lock);
    cond_init(&live->changed);
    live->lease_ms = lease_ms;
    /* No position of an earlier process is waited for in vain. */
    random_bytes(&live->position, sizeof(live->position));
    live->position >>= 2;
    r = start(live, path, err);
    if (r == 0) {
        *ret = TAKE(live);
    }
    return r;
}

void live_close(struct live *live)
{
    if (live != NULL) {
        (void)sqlite3_close(live->sqlite);
        cond_done(&live->changed);
        mutex_done(&live->lock);
        free(live);
    }
}

uint64_t live_lease_ms(const struct live *live)
{
    return live->lease_ms;
}

void live_given_up(struct live *live)
{
    live->position++;
    cond_broadcast(&live->changed);
}

uint64_t live_position(struct live *live)
{
    uint64_t position;

    mutex_lock(&live->lock);
    position = live->position;
    mutex_unlock(&live->lock);
    return position;
}

uint64_t live_wait(struct live *live, uint64_t position, uint64_t timeout_ms)
{
    int64_t until = live_now_ms() + (int64_t)timeout_ms;
    uint64_t now;

    mutex_lock(&live->lock);
    while (live->position == position && live_now_ms() < until) {
        cond_wait_ms(&live->changed, &live->lock, (uint64_t)(until - live_now_ms()) + 1);
    }
    now = live->position;
    mutex_unlock(&live->lock);
    return now;
}

/* ---- sessions ---- */

int live_drop(struct live *live, const char *session)
{
    int r = live_run(live, "DELETE FROM lock WHERE session = ?1", "s", session);

    if (r > 0) {
        live_given_up(live);
    }
    r = r < 0 ? r : live_run(live, "DELETE FROM waiting WHERE session = ?1", "s", session);
    return r < 0 ? r : live_run(live, "DELETE FROM session WHERE id = ?1", "s", session);
}

/* What has lapsed, of all volumes. Returns how many. */
static int sweep(struct live *live) REQUIRES(&live->lock)
{
    int64_t now = live_now_ms();
    int r = live_run(live,
                     "DELETE FROM lock WHERE session IN"
                     " (SELECT id FROM session WHERE until_ms <= ?1)",
                     "i", now);

    if (r > 0) {
        live_given_up(live);
    }
    r = r < 0 ? r : live_run(live, "DELETE FROM waiting WHERE until_ms <= ?1", "i", now);
    return r < 0 ? r : live_run(live, "DELETE FROM session WHERE until_ms <= ?1", "i", now);
}

int live_sweep(struct live *live)
{
    return live_end(live, live_begin(live) == 0 ? sweep(live) : -EIO);
}

static void format_time(int64_t ns, char ret[32])
{
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm tm;

    if (gmtime_r(&seconds, &tm) == NULL || strftime(ret, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) {
        ret[0] = '\0';
    }
}

/* Another node's session that cannot be together with ours. */
static int check_alone(struct live *live, const struct live_session *s, struct error *err)
    REQUIRES(&live->lock)
{
    sqlite3_stmt *found =
        live_prepare(live,
                     "SELECT node, until_ms, exclusive FROM session WHERE volume = ?1 AND"
                     " node != ?2 AND fenced = 0 AND (exclusive OR ?3) LIMIT 1",
                     "ssi", s->volume, s->node, (int64_t)s->exclusive);
    char when[32] = "";
    int r = 0;

    if (found == NULL) {
        return -EIO;
    }
    if (sqlite3_step(found) == SQLITE_ROW) {
        int64_t left = sqlite3_column_int64(found, 1) - live_now_ms();

        format_time(clock_realtime_ns(clock_real()) + left * ns_per_ms, when);
        r = error_set(err, -EBUSY,
                      "volume %s is mounted on node %s%s: its lease ends at %s unless renewed",
                      s->volume, (const char *)sqlite3_column_text(found, 0),
                      sqlite3_column_int(found, 2) != 0 ? ", for that node alone" : "", when);
    }
    (void)sqlite3_finalize(found);
    return r;
}

/* What this mount had before holds nothing from now on, and is told so for a while. */
static int fence(struct live *live, const struct live_session *s) REQUIRES(&live->lock)
{
    int r = live_run(live,
                     "DELETE FROM lock WHERE session IN (SELECT id FROM session WHERE volume = ?1"
                     " AND node = ?2 AND mount = ?3)",
                     "sss", s->volume, s->node, s->mount);

    if (r > 0) {
        live_given_up(live);
    }
    return r < 0 ? r
                 : live_run(live,
                            "UPDATE session SET fenced = 1, until_ms = ?4 WHERE volume = ?1 AND"
                            " node = ?2 AND mount = ?3",
                            "sssi", s->volume, s->node, s->mount, live_now_ms() + FENCED_MS);
}

static int insert(struct live *live, struct live_session *s) REQUIRES(&live->lock)
{
    int64_t epoch = 0;
    int r = live_run(live,
                     "INSERT INTO epoch VALUES(?1, 1) ON CONFLICT(volume) DO"
                     " UPDATE SET last = last + 1",
                     "s", s->volume);

    r = r < 0
            ? r
            : live_number(live, &epoch, "SELECT last FROM epoch WHERE volume = ?1", "s", s->volume);
    s->epoch = (uint64_t)epoch;
    return r < 0
               ? r
               : live_run(live, "INSERT INTO session VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0)",
                          "ssssiiiii", s->id, s->volume, s->node, s->mount, (int64_t)s->read_only,
                          (int64_t)s->exclusive, epoch, s->opened_ns,
                          live_now_ms() + (int64_t)live->lease_ms);
}

int live_session_add(struct live *live, struct live_session *s, struct arena *arena,
                     struct error *err)
{
    char id[RANDOM_ID_SIZE];
    int r;

    random_id(id);
    s->id = arena_strdup(arena, id);
    s->opened_ns = clock_realtime_ns(clock_real());
    s->left_ms = live->lease_ms;
    if (s->id == NULL) {
        return -ENOMEM;
    }
    r = live_begin(live);
    r = r < 0 ? r : sweep(live);
    r = r < 0 ? r : check_alone(live, s, err);
    r = r < 0 ? r : fence(live, s);
    r = r < 0 ? r : insert(live, s);
    r = live_end(live, r);
    return r < 0 ? r : 0;
}

int live_check_alone(struct live *live, const struct live_session *s, struct error *err)
{
    int r = live_begin(live);

    r = r < 0 ? r : sweep(live);
    r = r < 0 ? r : check_alone(live, s, err);
    return live_end(live, r);
}

int live_session_alone(struct live *live, const struct live_session *s, bool *ret)
{
    int64_t others = 0;
    int r = live_begin(live);

    r = r < 0 ? r
              : live_number(live, &others,
                            "SELECT count(*) FROM session WHERE volume = ?1 AND id <> ?2 AND"
                            " fenced = 0 AND until_ms > ?3",
                            "ssi", s->volume, s->id, live_now_ms());
    r = live_end(live, r < 0 ? r : 0);
    *ret = r == 0 && others == 0;
    return r;
}

int live_check(struct live *live, const char *id, uint64_t epoch)
{
    int64_t ok = 0;
    int r = live_number(live, &ok,
                        "SELECT fenced = 0 AND epoch = ?2 FROM session WHERE id = ?1 AND"
                        " until_ms > ?3",
                        "sii", id, (int64_t)epoch, live_now_ms());

    return r < 0 ? r : ok != 0 ? 0 : -ESTALE;
}

#define COLUMNS                                                                                    \
    "id, volume, node, mount, read_only, exclusive, epoch, opened_ns, until_ms,"                   \
    " (SELECT count(*) FROM lock WHERE lock.session = session.id)"

static int read_session(sqlite3_stmt *s, struct arena *arena, struct live_session *ret)
{
    int64_t left = sqlite3_column_int64(s, 8) - live_now_ms();

    *ret = (struct live_session){
        .id = live_text(s, 0, arena),
        .volume = live_text(s, 1, arena),
        .node = live_text(s, 2, arena),
        .mount = live_text(s, 3, arena),
        .read_only = sqlite3_column_int(s, 4) != 0,
        .exclusive = sqlite3_column_int(s, 5) != 0,
        .epoch = (uint64_t)sqlite3_column_int64(s, 6),
        .opened_ns = sqlite3_column_int64(s, 7),
        .left_ms = left > 0 ? (uint64_t)left : 0,
        .locks = (uint32_t)sqlite3_column_int64(s, 9),
    };
    return ret->id == NULL || ret->volume == NULL || ret->mount == NULL ? -ENOMEM : 0;
}

int live_session_get(struct live *live, const char *id, uint64_t epoch, struct arena *arena,
                     struct live_session *ret)
{
    sqlite3_stmt *s = NULL;
    int r = live_begin(live);

    r = r < 0 ? r : live_check(live, id, epoch);
    if (r == 0) {
        s = live_prepare(live, "SELECT " COLUMNS " FROM session WHERE id = ?1", "s", id);
        r = s != NULL && sqlite3_step(s) == SQLITE_ROW ? read_session(s, arena, ret) : -EIO;
        (void)sqlite3_finalize(s);
    }
    return live_end(live, r);
}

int live_session_renew(struct live *live, const char *id, uint64_t epoch)
{
    int r = live_begin(live);

    r = r < 0 ? r : live_check(live, id, epoch);
    r = r < 0 ? r
              : live_run(live, "UPDATE session SET until_ms = ?2 WHERE id = ?1", "si", id,
                         live_now_ms() + (int64_t)live->lease_ms);
    r = live_end(live, r);
    return r < 0 ? r : 0;
}

int live_session_remove(struct live *live, const char *id, uint64_t epoch)
{
    int r = live_begin(live);

    r = r < 0 ? r : live_check(live, id, epoch);
    r = r < 0 ? r : live_drop(live, id);
    r = live_end(live, r);
    return r == -ENOENT || r > 0 ? 0 : r;
}

int live_session_list(struct live *live, const char *volume, struct arena *arena,
                      struct live_session **ret, size_t *ret_count)
{
    struct live_session *sessions = arena_array(arena, LIST_MAX, sizeof(*sessions));
    sqlite3_stmt *s;
    size_t count = 0;
    int r = live_begin(live);

    r = r == 0 && sessions == NULL ? -ENOMEM : r;
    s = live_prepare(live,
                     "SELECT " COLUMNS " FROM session WHERE (volume = ?1 OR ?1 = '') AND"
                     " fenced = 0 AND until_ms > ?2 ORDER BY volume, opened_ns",
                     "si", volume, live_now_ms());
    while (r == 0 && s != NULL && count < LIST_MAX && sqlite3_step(s) == SQLITE_ROW) {
        r = read_session(s, arena, &sessions[count++]);
    }
    (void)sqlite3_finalize(s);
    *ret = sessions;
    *ret_count = count;
    return live_end(live, r < 0 ? r : s == NULL ? -EIO : 0);
}

int live_check_unused(struct live *live, const char *volume, struct error *err)
{
    CLEANUP(buf_done) struct buf nodes = BUF_INIT(4096);
    sqlite3_stmt *s;
    int count = 0;
    int r = live_begin(live);

    s = live_prepare(live,
                     "SELECT DISTINCT node FROM session WHERE volume = ?1 AND fenced = 0 AND"
                     " until_ms > ?2 ORDER BY node",
                     "si", volume, live_now_ms());
    while (r == 0 && s != NULL && sqlite3_step(s) == SQLITE_ROW) {
        if (count++ < NAMED_MAX) {
            buf_addf(&nodes, "%s%.100s", count > 1 ? ", " : "",
                     (const char *)sqlite3_column_text(s, 0));
        }
    }
    (void)sqlite3_finalize(s);
    r = live_end(live, r < 0 ? r : s == NULL ? -EIO : 0);
    if (r == 0 && count > 0) {
        r = error_set(err, -EBUSY, "volume %s is mounted on %s%s%s: unmount it first", volume,
                      count > 1 ? "nodes " : "node ", buf_str(&nodes),
                      count > NAMED_MAX ? " and others" : "");
    }
    return r;
}

int live_count(struct live *live, struct live_counts *ret)
{
    int64_t sessions = 0;
    int64_t locks = 0;
    int r = live_begin(live);

    r = r < 0 ? r
              : live_number(live, &sessions,
                            "SELECT count(*) FROM session WHERE fenced = 0 AND until_ms > ?1", "i",
                            live_now_ms());
    r = r < 0 ? r : live_number(live, &locks, "SELECT count(*) FROM lock", "");
    *ret = (struct live_counts){(uint64_t)sessions, (uint64_t)locks};
    return live_end(live, r);
}

/* ---- bytes ---- */

int live_usage(struct live *live, const struct live_session *session, const struct live_usage *own,
               struct live_usage *ret)
{
    int r = live_begin(live);

    *ret = (struct live_usage){0};
    r = r == 0 ? live_run(live,
                          "INSERT INTO usage_past SELECT volume, grown FROM usage WHERE"
                          " session = ?1 AND instance <> ?2"
                          " ON CONFLICT(volume) DO UPDATE SET grown = grown + excluded.grown",
                          "si", session->id, (int64_t)own->instance)
               : r;
    r = r >= 0 ? live_run(live, "INSERT OR REPLACE INTO usage VALUES(?1, ?2, ?3, ?4, ?5)", "ssiii",
                          session->id, session->volume, own->grown, own->unpublished,
                          (int64_t)own->instance)
               : r;
    r = r >= 0 ? live_number(live, &ret->grown,
                             "SELECT coalesce((SELECT sum(grown) FROM usage WHERE volume = ?1 AND"
                             " session <> ?2), 0) + coalesce((SELECT grown FROM usage_past WHERE"
                             " volume = ?1), 0)",
                             "ss", session->volume, session->id)
               : r;
    r = r >= 0 ? live_number(live, &ret->unpublished,
                             "SELECT coalesce(sum(unpublished), 0) FROM usage WHERE volume = ?1"
                             " AND session <> ?2",
                             "ss", session->volume, session->id)
               : r;
    return live_end(live, r < 0 ? r : 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What commits write to the log, seen by a VFS below that counts and fails. */
#include "objstore/dir_gather.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "index_place.h"
#include "objstore/dir_index_internal.h"
#include "util/file.h"

enum { OWN = 64, HEAD = 24, PAGE = 4096, LOG_HEAD = 32 };

/* Of all files that are logs. Nothing is flushed: no test takes a disk away. */
static struct {
    sqlite3_vfs vfs, *system;
    int writes, syncs, most; /* `most` bytes by one write */
    int fail_in, fail_code;  /* that many calls go well; below 0: all do */
    bool torn;               /* of the one that fails a part is written */
} spy;

struct spied {
    sqlite3_file file;
};

static sqlite3_file *below(sqlite3_file *file)
{
    return (sqlite3_file *)(void *)((char *)file + OWN);
}

static bool fails(void)
{
    return spy.fail_in >= 0 && spy.fail_in-- == 0;
}

static int spy_close(sqlite3_file *file)
{
    return below(file)->pMethods->xClose(below(file));
}

static int spy_read(sqlite3_file *file, void *bytes, int len, sqlite3_int64 at)
{
    return below(file)->pMethods->xRead(below(file), bytes, len, at);
}

static int spy_write(sqlite3_file *file, const void *bytes, int len, sqlite3_int64 at)
{
    spy.writes++;
    spy.most = len > spy.most ? len : spy.most;
    assert_true(len < 1 << 17); /* what SQLite's own takes */
    if (fails()) {
        if (spy.torn) {
            (void)below(file)->pMethods->xWrite(below(file), bytes, len / 2, at);
        }
        return spy.fail_code;
    }
    return below(file)->pMethods->xWrite(below(file), bytes, len, at);
}

static int spy_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return below(file)->pMethods->xTruncate(below(file), size);
}

static int spy_sync(sqlite3_file *file, int flags)
{
    (void)file;
    (void)flags;
    spy.syncs++;
    return fails() ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

static int spy_size(sqlite3_file *file, sqlite3_int64 *ret)
{
    return below(file)->pMethods->xFileSize(below(file), ret);
}

static int spy_lock(sqlite3_file *file, int kind)
{
    (void)file;
    (void)kind;
    return SQLITE_OK;
}

static int spy_reserved(sqlite3_file *file, int *ret)
{
    (void)file;
    *ret = 0;
    return SQLITE_OK;
}

static int spy_control(sqlite3_file *file, int command, void *argument)
{
    return below(file)->pMethods->xFileControl(below(file), command, argument);
}

static int spy_sector(sqlite3_file *file)
{
    return below(file)->pMethods->xSectorSize(below(file));
}

static int spy_device(sqlite3_file *file)
{
    return below(file)->pMethods->xDeviceCharacteristics(below(file));
}

static const sqlite3_io_methods spy_methods = {
    .iVersion = 1,
    .xClose = spy_close,
    .xRead = spy_read,
    .xWrite = spy_write,
    .xTruncate = spy_truncate,
    .xSync = spy_sync,
    .xFileSize = spy_size,
    .xLock = spy_lock,
    .xUnlock = spy_lock,
    .xCheckReservedLock = spy_reserved,
    .xFileControl = spy_control,
    .xSectorSize = spy_sector,
    .xDeviceCharacteristics = spy_device,
};

static int spy_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret)
{
    int code;

    (void)vfs;
    if ((flags & SQLITE_OPEN_WAL) == 0) {
        return spy.system->xOpen(spy.system, name, file, flags, ret);
    }
    below(file)->pMethods = NULL;
    code = spy.system->xOpen(spy.system, name, below(file), flags, ret);
    file->pMethods = below(file)->pMethods != NULL ? &spy_methods : NULL;
    return code;
}

static int spy_set_up(void **state)
{
    (void)state;
    _Static_assert(sizeof(struct spied) <= OWN, "");
    spy.system = sqlite3_vfs_find(NULL);
    assert_non_null(spy.system);
    spy.vfs = *spy.system;
    spy.vfs.pNext = NULL;
    spy.vfs.zName = "spy";
    spy.vfs.szOsFile += OWN;
    spy.vfs.xOpen = spy_open;
    spy.fail_in = -1;
    assert_int_equal(sqlite3_vfs_register(&spy.vfs, 1), SQLITE_OK);
    assert_non_null(dir_gather_vfs());
    return 0;
}

static void forget_calls(void)
{
    spy.writes = spy.syncs = spy.most = 0;
}

static int run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static void must(sqlite3 *db, const char *sql)
{
    if (run(db, sql) != SQLITE_OK) {
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    }
}

static sqlite3 *open_at(const char *path)
{
    sqlite3 *db = NULL;

    assert_int_equal(
        sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, dir_gather_vfs()),
        SQLITE_OK);
    must(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;"
             "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, n INTEGER, x BLOB)");
    return db;
}

static int commit(sqlite3 *db)
{
    struct dir_gather gather;
    int code;

    dir_gather_begin(db, &gather);
    assert_non_null(gather.log);
    code = run(db, "COMMIT");
    dir_gather_end(&gather);
    return code;
}

static int64_t number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *s = NULL;
    int64_t ret;

    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    ret = sqlite3_column_int64(s, 0);
    (void)sqlite3_finalize(s);
    return ret;
}

static int64_t sum(sqlite3 *db)
{
    return number(db,
                  "SELECT coalesce(sum(id * 1000003 + n * 7 + length(x)), 0) + count(*) FROM t");
}

static void copy(const char *from, const char *to)
{
    static char bytes[1 << 16];
    FILE *in = fopen(from, "rb");
    FILE *out = fopen(to, "wb");
    size_t n;

    assert_non_null(in);
    assert_non_null(out);
    while ((n = fread(bytes, 1, sizeof(bytes), in)) > 0) {
        assert_int_equal(fwrite(bytes, 1, n, out), n);
    }
    assert_int_equal(fclose(out), 0);
    assert_int_equal(fclose(in), 0);
}

/* The sum() of what is found when the power goes now: SQLite goes by the checks in the log. */
static int64_t after_power(const struct place *place)
{
    char from[128], path[128], log[140];
    sqlite3 *db = NULL;
    int64_t ret;

    (void)snprintf(from, sizeof(from), "%s-wal", place->path);
    (void)snprintf(path, sizeof(path), "%s/copy", place->directory);
    (void)snprintf(log, sizeof(log), "%s-wal", path);
    copy(place->path, path);
    copy(from, log);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, spy.system->zName),
                     SQLITE_OK);
    must(db, "PRAGMA synchronous=OFF");
    assert_int_equal(number(db, "SELECT count(*) FROM pragma_integrity_check WHERE "
                                "integrity_check IS NOT 'ok'"),
                     0);
    ret = sum(db);
    (void)sqlite3_close(db); /* removes its log */
    assert_int_equal(unlink(path), 0);
    return ret;
}

static void a_commit_is_one_write_and_one_flush(void **state)
{
    struct place *place = *state;
    sqlite3 *db = open_at(place->path), *other = open_at(place->path);

    must(db, "BEGIN IMMEDIATE; INSERT INTO t VALUES(1, 1, zeroblob(40000))");
    forget_calls();
    assert_int_equal(commit(db), SQLITE_OK);
    assert_int_equal(spy.writes, 1);
    assert_int_equal(spy.syncs, 1);
    assert_int_equal(spy.most % (HEAD + PAGE), 0);
    assert_true(spy.most > 10 * PAGE);
    assert_int_equal(sum(other), sum(db));
    assert_int_equal(after_power(place), sum(db));

    /* Without begin and end as ever: the next is written by two for each page. */
    forget_calls();
    must(db, "BEGIN IMMEDIATE; INSERT INTO t VALUES(2, 1, zeroblob(40000)); COMMIT");
    assert_true(spy.writes > 20);
    assert_int_equal(spy.most, PAGE);
    assert_int_equal(sum(other), sum(db));

    /* A log that begins again has a head, which SQLite flushes. */
    must(db, "PRAGMA wal_checkpoint(RESTART)");
    must(db, "BEGIN IMMEDIATE; INSERT INTO t VALUES(3, 1, zeroblob(40000))");
    forget_calls();
    assert_int_equal(commit(db), SQLITE_OK);
    assert_int_equal(spy.writes, 2);
    assert_int_equal(spy.syncs, 2);
    assert_int_equal(after_power(place), sum(other));
    (void)sqlite3_close(other);
    (void)sqlite3_close(db);
}

static void more_than_there_is_room_for_is_written_in_parts(void **state)
{
    struct place *place = *state;
    sqlite3 *db = open_at(place->path), *other = open_at(place->path);
    sqlite3_stmt *s = NULL;

    for (int pages = 28; pages < 36; pages++) {
        must(db, "BEGIN IMMEDIATE");
        assert_int_equal(
            sqlite3_prepare_v2(db, "INSERT INTO t(n, x) VALUES(?1, zeroblob(?1))", -1, &s, NULL),
            SQLITE_OK);
        (void)sqlite3_bind_int(s, 1, pages * PAGE);
        assert_int_equal(sqlite3_step(s), SQLITE_DONE);
        (void)sqlite3_finalize(s);
        forget_calls();
        assert_int_equal(commit(db), SQLITE_OK);
        assert_in_range(spy.writes, 1, 2);
        assert_int_equal(spy.syncs, 1);
        assert_int_equal(sum(other), sum(db));
        assert_int_equal(after_power(place), sum(db));
    }
    assert_int_equal(spy.writes, 2);
    (void)sqlite3_close(other);
    (void)sqlite3_close(db);
}

/* Whatever fails, and wherever: nobody sees it, and the next transaction is none the worse. */
static void a_commit_that_fails_leaves_what_was(void **state)
{
    static const struct {
        int fail_in, code, want;
        bool torn;
    } cases[] = {
        {0, SQLITE_FULL, SQLITE_FULL, false},
        {0, SQLITE_FULL, SQLITE_FULL, true},
        {0, SQLITE_IOERR_WRITE, SQLITE_IOERR_WRITE, true},
        {1, 0, SQLITE_IOERR_FSYNC, false},
    };
    struct place *place = *state;
    sqlite3 *db = open_at(place->path), *other = open_at(place->path);

    (void)sqlite3_extended_result_codes(db, 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t before = sum(other);

        must(db, "BEGIN IMMEDIATE; INSERT INTO t(n, x) VALUES(1, zeroblob(30000))");
        spy.fail_in = cases[i].fail_in;
        spy.fail_code = cases[i].code;
        spy.torn = cases[i].torn;
        assert_int_equal(commit(db), cases[i].want);
        assert_true(spy.fail_in < 0);
        assert_int_equal(sqlite3_get_autocommit(db), 1); /* SQLite has undone it */
        assert_int_equal(sum(other), before);
        assert_int_equal(sum(db), before);
        if (cases[i].want != SQLITE_IOERR_FSYNC) { /* else it is there, but nobody was told so */
            assert_int_equal(after_power(place), before);
        }
        must(other, "BEGIN IMMEDIATE; INSERT INTO t(n, x) VALUES(2, zeroblob(9000))");
        assert_int_equal(commit(other), SQLITE_OK);
        must(db, "BEGIN IMMEDIATE; INSERT INTO t(n, x) VALUES(3, zeroblob(9000))");
        assert_int_equal(commit(db), SQLITE_OK);
        assert_int_equal(sum(other), sum(db));
        assert_int_equal(after_power(place), sum(db));
    }
    assert_int_equal(number(db, "SELECT count(*) FROM t WHERE n = 1"), 0);
    (void)sqlite3_close(other);
    (void)sqlite3_close(db);
}

/* The process dies in the write: of a part of it nothing is believed. */
static void a_part_of_a_commit_is_nothing(void **state)
{
    struct place *place = *state;
    sqlite3 *db = open_at(place->path);
    char log[128];
    int64_t before, size;
    int len;

    must(db, "INSERT INTO t VALUES(1, 1, zeroblob(100))");
    before = sum(db);
    must(db, "BEGIN IMMEDIATE; INSERT INTO t VALUES(2, 1, zeroblob(20000))");
    forget_calls();
    assert_int_equal(commit(db), SQLITE_OK);
    len = spy.most;
    assert_int_equal(after_power(place), sum(db));
    (void)snprintf(log, sizeof(log), "%s-wal", place->path);
    size = 0;
    for (int less = 1; less < len; less += 1021) {
        FILE *file = fopen(log, "rb");

        assert_non_null(file);
        assert_int_equal(fseek(file, 0, SEEK_END), 0);
        size = size == 0 ? ftell(file) : size;
        assert_int_equal(fclose(file), 0);
        assert_int_equal(truncate(log, size - less), 0);
        assert_int_equal(after_power(place), before);
    }
    (void)sqlite3_close(db);
}

/* A place among pages that were written before their transaction's end, and are written again. */
static void what_is_written_again_has_its_checks(void **state)
{
    struct place *place = *state;
    sqlite3 *db = open_at(place->path), *other = open_at(place->path);

    must(db, "PRAGMA cache_size=4; BEGIN IMMEDIATE");
    for (int i = 0; i < 40; i++) {
        must(db, "INSERT INTO t(n, x) VALUES(1, zeroblob(3000)); UPDATE t SET n = n + 1");
    }
    assert_int_equal(commit(db), SQLITE_OK);
    assert_int_equal(sum(other), sum(db));
    assert_int_equal(after_power(place), sum(db));
    (void)sqlite3_close(other);
    (void)sqlite3_close(db);
}

static uint32_t chance(uint32_t *state, uint32_t below_this)
{
    *state = *state * 1664525 + 1013904223;
    return (*state >> 8) % below_this;
}

static void change(sqlite3 *db, uint32_t *seed)
{
    static const char *const changes[] = {
        "INSERT INTO t(n, x) VALUES(?1, zeroblob(?2))",
        "UPDATE t SET n = n + ?1, x = zeroblob(?2) WHERE id % 5 = 1",
        "UPDATE t SET n = n + ?1 WHERE id % 3 = ?2 % 3",
        "DELETE FROM t WHERE id % 7 = ?1 % 7 AND ?2 > 0",
    };

    for (uint32_t left = 1 + chance(seed, 12); left > 0; left--) {
        bool undone = chance(seed, 5) == 0;
        sqlite3_stmt *s = NULL;

        must(db, undone ? "SAVEPOINT s" : "");
        assert_int_equal(sqlite3_prepare_v2(db, changes[chance(seed, 4)], -1, &s, NULL), SQLITE_OK);
        (void)sqlite3_bind_int64(s, 1, chance(seed, 100));
        (void)sqlite3_bind_int64(s, 2, 1 + chance(seed, chance(seed, 4) == 0 ? 30000 : 3000));
        assert_int_equal(sqlite3_step(s), SQLITE_DONE);
        (void)sqlite3_finalize(s);
        must(db, undone ? "ROLLBACK TO s; RELEASE s" : "");
    }
}

static void move_log(sqlite3 *db, uint32_t *seed)
{
    static const int kinds[] = {SQLITE_CHECKPOINT_PASSIVE, SQLITE_CHECKPOINT_FULL,
                                SQLITE_CHECKPOINT_RESTART, SQLITE_CHECKPOINT_TRUNCATE};

    assert_int_equal(sqlite3_wal_checkpoint_v2(db, NULL, kinds[chance(seed, 4)], NULL, NULL),
                     SQLITE_OK);
}

/* Connections in any order, of which one is another program's; rollbacks, failures, moves. */
static void nobody_sees_but_what_was_committed(void **state)
{
    enum { CONNECTIONS = 3, ROUNDS = 400 };
    struct place *place = *state;
    sqlite3 *dbs[CONNECTIONS];
    uint32_t seed = 20261122, committed = 0, failed = 0;
    int64_t acknowledged = 0;
    bool certain = true;

    for (int i = 0; i < CONNECTIONS; i++) {
        dbs[i] = open_at(place->path);
        must(dbs[i], i == 0 ? "PRAGMA cache_size=4" : "PRAGMA cache_size=100");
    }
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t who = chance(&seed, CONNECTIONS);
        sqlite3 *db = dbs[who];
        int64_t now;
        int code;

        must(db, "BEGIN IMMEDIATE");
        change(db, &seed);
        now = sum(db);
        if (chance(&seed, 4) == 0) {
            must(db, "ROLLBACK");
        } else {
            spy.fail_in = chance(&seed, 4) == 0 ? (int)chance(&seed, 4) : -1;
            spy.fail_code = chance(&seed, 2) == 0 ? SQLITE_FULL : SQLITE_IOERR_WRITE;
            spy.torn = chance(&seed, 2) == 0;
            code = who == CONNECTIONS - 1 ? run(db, "COMMIT") : commit(db);
            spy.fail_in = -1;
            assert_int_equal(sqlite3_get_autocommit(db), 1);
            acknowledged = code == SQLITE_OK ? now : acknowledged;
            certain = code == SQLITE_OK; /* a flush may have failed, after all was written */
            committed += code == SQLITE_OK;
            failed += code != SQLITE_OK;
        }
        for (int k = 0; k < CONNECTIONS; k++) {
            assert_int_equal(sum(dbs[k]), acknowledged);
        }
        if (certain && i % 4 == 0) {
            assert_int_equal(after_power(place), acknowledged);
        }
        if (chance(&seed, 20) == 0) {
            move_log(dbs[chance(&seed, CONNECTIONS)], &seed);
        }
    }
    assert_true(committed > ROUNDS / 3 && failed > ROUNDS / 20);
    for (int i = 0; i < CONNECTIONS; i++) {
        (void)sqlite3_close(dbs[i]);
    }
}

static int put(struct dir_index *index, const struct dir_bucket *bucket, const char *file)
{
    static const struct dir_conditions always;
    static const char bytes[PAGE];
    struct dir_object object = {.file = file};
    int ret = dir_index_put(index, bucket, "key", &object, &always);

    return ret != 0 ? ret : dir_index_pending_put(index, file, bytes, sizeof(bytes));
}

/* A connection of the store: while its commits are flushed. */
static void the_index_gathers_what_it_flushes(void **state)
{
    struct place *place = *state;
    struct error err = ERROR_INIT;
    struct dir_bucket bucket;

    for (int durable = 0; durable < 3; durable++) { /* the third is the flusher's */
        struct dir_index *index = NULL;
        char file[16];

        assert_int_equal(dir_index_open(place->path, durable > 0, &index, &err), 0);
        assert_int_equal(durable == 2 ? dir_index_relax(index) : 0, 0);
        assert_int_equal(dir_index_begin(index), 0);
        if (durable == 0) {
            assert_int_equal(dir_index_bucket_create(index, "bucket", 1), 0);
        }
        (void)snprintf(file, sizeof(file), "file%d", durable);
        assert_int_equal(dir_index_bucket(index, "bucket", &bucket), 0);
        assert_int_equal(put(index, &bucket, file), 0);
        forget_calls();
        assert_int_equal(dir_index_commit(index), 0);
        assert_true(durable == 1 ? spy.writes <= 2 : spy.writes > 10);
        assert_true(durable == 0 ? spy.syncs == 0 : durable == 2 || spy.syncs > 0);
        if (durable == 1) { /* a disk that is full is told as such */
            assert_int_equal(dir_index_begin(index), 0);
            assert_int_equal(put(index, &bucket, "full"), 0);
            spy.fail_in = 0;
            spy.fail_code = SQLITE_FULL;
            assert_int_equal(dir_index_commit(index), -ENOSPC);
            dir_index_rollback(index);
            assert_int_equal(dir_index_begin(index), 0);
            assert_int_equal(put(index, &bucket, "room"), 0);
            assert_int_equal(dir_index_commit(index), 0);
        }
        dir_index_close(index);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_commit_is_one_write_and_one_flush, set_up, tear_down),
        cmocka_unit_test_setup_teardown(more_than_there_is_room_for_is_written_in_parts, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_commit_that_fails_leaves_what_was, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_part_of_a_commit_is_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_written_again_has_its_checks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_sees_but_what_was_committed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_index_gathers_what_it_flushes, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, spy_set_up, NULL);
}

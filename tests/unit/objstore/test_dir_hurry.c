/* SPDX-License-Identifier: Apache-2.0 */
/* A database is asked by a thread in a hurry, with and without its pages in memory. */
#include "objstore/dir_hurry.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "test.h"

struct files {
    char root[64], path[96], log[96];
    sqlite3 *writer, *reader;
};

static void run(sqlite3 *db, const char *sql)
{
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
}

static int set_up(void **state)
{
    struct files *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    (void)snprintf(f->root, sizeof(f->root), "/tmp/skyvol-hurry.XXXXXX");
    assert_non_null(mkdtemp(f->root));
    (void)snprintf(f->path, sizeof(f->path), "%s/db", f->root);
    (void)snprintf(f->log, sizeof(f->log), "%s/db-wal", f->root);
    assert_int_equal(sqlite3_open(f->path, &f->writer), SQLITE_OK);
    run(f->writer, "PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES(1)");
    assert_non_null(dir_hurry_vfs());
    dir_hurry_begin(DIR_HURRY_OPEN);
    assert_int_equal(sqlite3_open_v2(f->path, &f->reader, SQLITE_OPEN_READONLY, dir_hurry_vfs()),
                     SQLITE_OK);
    run(f->reader, "SELECT * FROM t");
    assert_int_equal(dir_hurry_end(), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct files *f = *state;

    (void)sqlite3_close(f->reader);
    (void)sqlite3_close(f->writer);
    (void)unlink(f->path);
    assert_int_equal(rmdir(f->root), 0);
    free(f);
    return 0;
}

/* What dir_hurry_end() said of one question. */
static int ask(struct files *f, int *ret_code)
{
    dir_hurry_begin(DIR_HURRY_READ);
    *ret_code = sqlite3_exec(f->reader, "SELECT count(*) FROM t", NULL, NULL, NULL);
    return dir_hurry_end();
}

/* True when the file's first page is not in memory any more; some file systems are nothing but
 * memory. */
static bool forget(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    unsigned char there = 0;
    void *map;

    assert_true(fd >= 0);
    assert_int_equal(fsync(fd), 0);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(mincore(map, 4096, &there), 0); /* to read would bring it back */
    (void)munmap(map, 4096);
    (void)close(fd);
    return (there & 1) == 0;
}

static void what_is_in_memory_is_read(void **state)
{
    struct files *f = *state;
    int code;

    for (int i = 0; i < 3; i++) {
        run(f->writer, "INSERT INTO t VALUES(2)");
        assert_int_equal(ask(f, &code), 0);
        assert_int_equal(code, SQLITE_OK);
    }
}

static void what_is_on_the_disk_is_not_waited_for(void **state)
{
    struct files *f = *state;
    int code;

    run(f->writer, "INSERT INTO t VALUES(3)"); /* so that the reader remembers nothing */
    if (!forget(f->log)) {
        skip();
    }
    assert_int_equal(ask(f, &code), -EAGAIN);
    assert_int_equal(code, SQLITE_IOERR);
    run(f->reader, "SELECT count(*) FROM t"); /* who has the time reads it, */
    run(f->writer, "INSERT INTO t VALUES(4)");
    assert_int_equal(ask(f, &code), 0); /* and then it is there for all */
    assert_int_equal(code, SQLITE_OK);
}

/* A log that nobody has put in order yet: that takes as long as the log is. */
static void a_log_is_not_repaired(void **state)
{
    struct files *f = *state;
    char map[128];
    int code, fd;

    (void)snprintf(map, sizeof(map), "%s-shm", f->path);
    fd = open(map, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "\0\0\0\0\0\0\0\0\0\0\0\0", 12, 0), 12);
    assert_int_equal(ask(f, &code), -EAGAIN);
    assert_int_not_equal(code, SQLITE_OK);
    run(f->writer, "SELECT count(*) FROM t"); /* repairs it */
    assert_int_equal(ask(f, &code), 0);
    assert_int_equal(code, SQLITE_OK);
    /* Closing it would give up the locks of the others: they go first. */
    (void)sqlite3_close(f->reader);
    (void)sqlite3_close(f->writer);
    f->reader = f->writer = NULL;
    (void)close(fd);
}

static void who_writes_is_not_waited_for(void **state)
{
    struct files *f = *state;
    int code;

    run(f->writer, "BEGIN IMMEDIATE; INSERT INTO t VALUES(5)");
    assert_int_equal(ask(f, &code), 0); /* what was before */
    assert_int_equal(code, SQLITE_OK);
    run(f->writer, "COMMIT; PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t VALUES(6)");
    assert_int_equal(ask(f, &code), 0); /* of a log that has begun again */
    assert_int_equal(code, SQLITE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_in_memory_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_on_the_disk_is_not_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_log_is_not_repaired, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_writes_is_not_waited_for, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

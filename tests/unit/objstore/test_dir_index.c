/* SPDX-License-Identifier: Apache-2.0 */
/* The directory store's index by itself: what older versions of it left. */
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "index_place.h"
#include "objstore/dir_index.h"

static struct dir_index *open_index(const struct place *place)
{
    struct error err = ERROR_INIT;
    struct dir_index *index = NULL;

    assert_int_equal(dir_index_open(place->path, false, &index, &err), 0);
    return index;
}

static void execute(const struct place *place, const char *sql)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(place->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void put(struct dir_index *index, const char *key, const char *file)
{
    const struct dir_conditions none = {0};
    struct dir_object object = {.info = {.size = 3, .etag = "e"}, .file = file};
    struct dir_bucket bucket;

    assert_int_equal(dir_index_begin(index), 0);
    assert_int_equal(dir_index_bucket(index, "bucket", &bucket), 0);
    assert_int_equal(dir_index_put(index, &bucket, key, &object, &none), 0);
    assert_int_equal(dir_index_commit(index), 0);
}

/* Back to what the program before versions left. */
static void to_schema_3(const struct place *place)
{
    execute(place,
            "DROP TRIGGER object_gone; DROP TRIGGER object_replaced; DROP TRIGGER version_gone;"
            "DROP TRIGGER completed_gone; DROP TABLE version; DROP TABLE completed_version;"
            "DROP TRIGGER pending_never_begun; DROP TRIGGER pending_gone; DROP TABLE begun;"
            "DROP TABLE pending;"
            "ALTER TABLE object DROP COLUMN version; ALTER TABLE object DROP COLUMN seq;"
            "ALTER TABLE bucket DROP COLUMN versioning;"
            "CREATE TRIGGER object_gone AFTER DELETE ON object WHEN OLD.file IS NOT NULL BEGIN"
            " INSERT OR IGNORE INTO garbage VALUES(OLD.file); END;"
            "CREATE TRIGGER object_replaced AFTER UPDATE ON object WHEN OLD.file IS NOT NULL"
            " AND OLD.file IS NOT NEW.file BEGIN INSERT OR IGNORE INTO garbage VALUES(OLD.file);"
            " END; PRAGMA user_version = 3");
}

static void an_index_of_schema_1_keeps_its_objects_and_takes_new_ones(void **state)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 16);
    const struct place *place = *state;
    struct dir_index *index = open_index(place);
    struct dir_object object;
    struct dir_bucket bucket;

    assert_int_equal(dir_index_begin(index), 0);
    assert_int_equal(dir_index_bucket_create(index, "bucket", 1), 0);
    assert_int_equal(dir_index_commit(index), 0);
    put(index, "old", "1/aa/old");
    dir_index_close(index);
    to_schema_3(place);
    /* as the first version left it */
    execute(place, "DROP TRIGGER joined_gone; DROP TABLE joined; DROP TABLE completed;"
                   "DROP TRIGGER bucket_gone; DROP TABLE bucket_doc;"
                   "ALTER TABLE object DROP COLUMN tags; ALTER TABLE upload DROP COLUMN tags;"
                   "PRAGMA user_version = 1");

    index = open_index(place);
    assert_int_equal(dir_index_bucket(index, "bucket", &bucket), 0);
    assert_int_equal(dir_index_get(index, &bucket, "old", &arena, &object), 0);
    assert_string_equal(object.file, "1/aa/old");
    put(index, "old", "1/aa/new");
    put(index, "other", NULL);
    assert_int_equal(dir_index_get(index, &bucket, "old", &arena, &object), 0);
    assert_string_equal(object.file, "1/aa/new");
    assert_int_equal(dir_index_pending_put(index, "1/aa/new", "new", 3), 0);
    dir_index_close(index);
}

/* There were rows of files that are garbage already. */
static void rows_of_schema_5_that_nothing_names_go(void **state)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 16);
    const struct place *place = *state;
    struct dir_index *index = open_index(place);
    struct dir_pending_row row;

    assert_int_equal(dir_index_bucket_create(index, "bucket", 1), 0);
    put(index, "k", "1/aa/new");
    dir_index_close(index);
    execute(place, "DROP TRIGGER pending_never_begun; DROP TRIGGER pending_gone; DROP TABLE begun;"
                   "DROP INDEX pending_file; INSERT INTO garbage VALUES('1/aa/old');"
                   "INSERT INTO pending VALUES(1, '1/aa/old', 'old'), (2, '1/aa/new', 'new');"
                   "PRAGMA user_version = 5");
    index = open_index(place);
    assert_int_equal(dir_index_pending_get(index, "1/aa/old", &arena, &row), -ENOENT);
    assert_int_equal(dir_index_pending_get(index, "1/aa/new", &arena, &row), 0);
    put(index, "k", "1/aa/newer"); /* whose file that program had made */
    assert_int_equal(dir_index_pending_get(index, "1/aa/new", &arena, &row), -ENOENT);
    dir_index_close(index);
    execute(place, "DELETE FROM garbage WHERE file IN ('1/aa/old', '1/aa/new');"
                   "INSERT INTO pending SELECT 9, 'x', 'y' WHERE changes() = 2");
    index = open_index(place);
    assert_int_equal(dir_index_pending_get(index, "x", &arena, &row), 0);
    dir_index_close(index);
}

static void open_and_close(const char *path)
{
    struct dir_index *index = NULL;

    if (dir_index_open(path, true, &index, NULL) != 0) {
        _exit(1);
    }
    dir_index_close(index);
    _exit(0);
}

/* A child brings the index up to date and is killed somewhere on the way; at last one is not. */
static void an_upgrade_that_is_killed_is_made_by_the_next(void **state)
{
    enum { KILLS = 25, STEP_US = 400 };
    const struct place *place = *state;
    struct dir_index *index = open_index(place);
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 20);
    struct dir_object object;
    struct dir_bucket bucket;
    int killed = 0;

    assert_int_equal(dir_index_begin(index), 0);
    assert_int_equal(dir_index_bucket_create(index, "bucket", 1), 0);
    assert_int_equal(dir_index_commit(index), 0);
    put(index, "old", "1/aa/old");
    dir_index_close(index);
    for (int i = 0; i < KILLS; i++) {
        pid_t child;
        int status = 0;

        to_schema_3(place);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            open_and_close(place->path);
        }
        (void)usleep((useconds_t)(i * STEP_US));
        (void)kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
        killed += WIFSIGNALED(status) ? 1 : 0;
        index = open_index(place);
        assert_int_equal(dir_index_bucket(index, "bucket", &bucket), 0);
        assert_int_equal(bucket.versioning, DIR_UNVERSIONED);
        assert_int_equal(dir_index_get(index, &bucket, "old", &arena, &object), 0);
        assert_string_equal(object.file, "1/aa/old");
        assert_string_equal(object.info.version_id, "");
        dir_index_close(index);
    }
    assert_true(killed > 0);
}

static void an_index_of_a_later_schema_is_refused(void **state)
{
    const struct place *place = *state;
    struct error err = ERROR_INIT;
    struct dir_index *index = open_index(place);

    dir_index_close(index);
    execute(place, "PRAGMA user_version = 1000");
    index = NULL;
    assert_int_equal(dir_index_open(place->path, false, &index, &err), -EUCLEAN);
    assert_non_null(strstr(err.text, "use the newer program"));
    assert_null(index);
}

static void bytes_wait_for_their_files_in_order(void **state)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 16);
    struct dir_index *index = open_index(*state);
    struct dir_pending_row row;
    uint64_t count = 1;
    int64_t last = 1;

    assert_int_equal(dir_index_relax(index), 0);
    assert_int_equal(dir_index_pending_span(index, &last, &count), 0);
    assert_int_equal(last, 0);
    assert_int_equal(count, 0);
    assert_int_equal(dir_index_pending_put(index, "1/aa/f", "one", 3), 0);
    assert_int_equal(dir_index_pending_put(index, "1/aa/g", "\0two", 4), 0);
    assert_int_equal(dir_index_pending_span(index, &last, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(dir_index_pending_put(index, "1/aa/h", "later", 5), 0);
    assert_int_equal(dir_index_pending_next(index, 0, last, &arena, &row), 0);
    assert_string_equal(row.file, "1/aa/f");
    assert_int_equal(dir_index_pending_next(index, row.id, last, &arena, &row), 0);
    assert_string_equal(row.file, "1/aa/g");
    assert_int_equal(row.len, 4);
    assert_memory_equal(row.bytes, "\0two", 4);
    assert_int_equal(dir_index_pending_next(index, row.id, last, &arena, &row), -ENOENT);
    assert_int_equal(dir_index_pending_forget(index, last), 0);
    assert_int_equal(dir_index_pending_span(index, &last, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(dir_index_pending_next(index, 0, last, &arena, &row), 0);
    assert_string_equal(row.file, "1/aa/h");
    assert_int_equal(dir_index_pending_get(index, "1/aa/h", &arena, &row), 0);
    assert_memory_equal(row.bytes, "later", 5);
    assert_int_equal(dir_index_pending_get(index, "1/aa/f", &arena, &row), -ENOENT);
    dir_index_close(index);
}

static int64_t id_of(struct dir_index *index, const char *file)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 16);
    struct dir_pending_row row = {.id = 0};
    int ret = dir_index_pending_get(index, file, &arena, &row);

    assert_true(ret == 0 || ret == -ENOENT);
    return row.id;
}

static void put_pending(struct dir_index *index, const char *key, const char *file)
{
    put(index, key, file);
    assert_int_equal(dir_index_pending_put(index, file, "abc", 3), 0);
}

static size_t garbage_count(struct dir_index *index)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 16);
    const char **files;
    size_t count;

    assert_int_equal(dir_index_garbage(index, 10, &arena, &files, &count), 0);
    return count;
}

static void only_files_that_were_begun_become_garbage(void **state)
{
    struct dir_index *index = open_index(*state);

    assert_int_equal(dir_index_bucket_create(index, "bucket", 1), 0);
    put_pending(index, "a", "1/aa/a");
    put_pending(index, "b", "1/aa/b");
    assert_int_equal(dir_index_pending_begin(index, id_of(index, "1/aa/a")), 0);
    put(index, "b", "1/aa/b2");
    assert_int_equal(id_of(index, "1/aa/b"), 0);
    assert_int_equal(garbage_count(index), 0);
    put(index, "a", "1/aa/a2");
    assert_int_equal(id_of(index, "1/aa/a"), 0);
    assert_int_equal(garbage_count(index), 1);
    /* A row that comes while those that were begun are forgotten is none of them. */
    put_pending(index, "a", "1/aa/a3");
    assert_int_equal(garbage_count(index), 2); /* of a file that had no row */
    assert_true(id_of(index, "1/aa/a3") > 1);
    assert_int_equal(dir_index_pending_forget(index, 1), 0);
    assert_true(id_of(index, "1/aa/a3") > 1);
    dir_index_close(index);
}

static void the_parts_of_a_file_are_kept_as_long_as_an_object_has_it(void **state)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 16);
    const struct objstore_part parts[] = {
        {.number = 2, .size = 5242880, .checksum = {OBJSTORE_CHECKSUM_CRC32, "rZjlRQ==", false}},
        {.number = 10000, .size = 0}};
    struct dir_index *index = open_index(*state);
    struct objstore_part *back = NULL;
    size_t count = 0;

    assert_int_equal(dir_index_begin(index), 0);
    assert_int_equal(dir_index_bucket_create(index, "bucket", 1), 0);
    assert_int_equal(dir_index_joined_put(index, "1/aa/f", parts, 2), 0);
    assert_int_equal(dir_index_commit(index), 0);
    put(index, "k", "1/aa/f");
    assert_int_equal(dir_index_joined_get(index, "1/aa/f", &arena, &back, &count), 0);
    assert_int_equal(count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(back[i].number, parts[i].number);
        assert_int_equal(back[i].size, parts[i].size);
        assert_int_equal(back[i].checksum.kind, parts[i].checksum.kind);
        assert_string_equal(back[i].checksum.value, parts[i].checksum.value);
    }
    put(index, "k", "1/aa/g");
    assert_int_equal(dir_index_joined_get(index, "1/aa/f", &arena, &back, &count), -ENOENT);
    dir_index_close(index);
}

static void a_completion_is_remembered_for_a_day(void **state)
{
    const int64_t day = 86400LL * 1000000000;
    struct objstore_info info = {.size = 7, .mtime_ns = day, .etag = "e-1"}, back;
    struct dir_index *index = open_index(*state);

    assert_int_equal(dir_index_begin(index), 0);
    assert_int_equal(dir_index_completed_put(index, 1, "k", "first", &info), 0);
    info.mtime_ns = day + 5;
    assert_int_equal(dir_index_completed_put(index, 1, "k", "second", &info), 0);
    assert_int_equal(dir_index_completed_get(index, 1, "k", "first", &back), 0);
    assert_int_equal(back.size, 7);
    assert_string_equal(back.etag, "e-1");
    assert_int_equal(dir_index_completed_get(index, 1, "other", "first", &back), -ENOENT);
    assert_int_equal(dir_index_completed_get(index, 2, "k", "first", &back), -ENOENT);
    info.mtime_ns = 2 * day + 1;
    assert_int_equal(dir_index_completed_put(index, 1, "k", "third", &info), 0);
    assert_int_equal(dir_index_completed_get(index, 1, "k", "first", &back), -ENOENT);
    assert_int_equal(dir_index_completed_get(index, 1, "k", "second", &back), 0);
    assert_int_equal(dir_index_commit(index), 0);
    dir_index_close(index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_index_of_schema_1_keeps_its_objects_and_takes_new_ones,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_upgrade_that_is_killed_is_made_by_the_next, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_index_of_a_later_schema_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_parts_of_a_file_are_kept_as_long_as_an_object_has_it,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_of_schema_5_that_nothing_names_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_files_that_were_begun_become_garbage, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(bytes_wait_for_their_files_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_completion_is_remembered_for_a_day, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

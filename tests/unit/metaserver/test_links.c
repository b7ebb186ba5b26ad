/* SPDX-License-Identifier: Apache-2.0 */
/* Hard links in the database: names come, go and come twice; a file without a name is forgotten. */
#include "file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "metaserver/db.h"

struct fixture {
    struct file_fixture file;
    struct db *db;
};

static void reopen(struct fixture *f)
{
    struct error err = ERROR_INIT;

    db_close(f->db);
    assert_int_equal(db_open(f->file.path, &f->db, &err), 0);
}

static int setup(void **state)
{
    struct fixture *f = file_fixture_new(sizeof(*f));

    reopen(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    db_close(f->db);
    file_fixture_free(&f->file);
    return 0;
}

/* The file's names, or a negative errno value. */
static int add(struct fixture *f, const char *volume, const char *file, bool make, uint64_t number)
{
    const struct db_link_name name = {.number = number, .key = number == 1 ? "a" : "d/b"};
    const struct db_link_add what = {
        .volume = volume, .file = file, .names = &name, .count = 1, .make = make};
    uint32_t names = 0;
    int r = db_link_add(f->db, &what, &names);

    return r < 0 ? r : (int)names;
}

static int count(struct fixture *f, const char *volume, const char *file)
{
    uint32_t names = 0;
    int r = db_link_count(f->db, volume, file, &names);

    return r < 0 ? r : (int)names;
}

/* What is left, or a negative errno value. */
static int take(struct fixture *f, const char *volume, uint64_t number, struct db_link *ret)
{
    int r = db_link_remove(f->db, volume, number, &f->file.arena, ret);

    return r < 0 ? r : (int)ret->names;
}

static size_t unlinked(struct fixture *f, const char *volume, int64_t before_ns, size_t max)
{
    const struct db_link_unlinked what = {.volume = volume, .before_ns = before_ns, .max = max};
    const char *files[8] = {0};
    size_t found = 0;

    assert_true(max <= 8);
    assert_int_equal(db_link_unlinked(f->db, &what, &f->file.arena, files, &found), 0);
    return found;
}

static void a_name_that_comes_twice_counts_once(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(add(f, "v", "file", true, 1), 1);
    assert_int_equal(add(f, "v", "file", true, 1), 1);
    assert_int_equal(add(f, "v", "file", false, 2), 2);
    reopen(f);
    assert_int_equal(count(f, "v", "file"), 2);
}

static void two_names_of_one_request_come_together_or_not_at_all(void **state)
{
    struct fixture *f = *state;
    const struct db_link_name names[] = {{.number = 5, .key = "x"}, {.number = 1, .key = "y"}};
    const struct db_link_add what = {
        .volume = "v", .file = "other", .names = names, .count = 2, .make = true};
    uint32_t left = 0;

    assert_int_equal(add(f, "v", "file", true, 1), 1);
    assert_int_equal(db_link_add(f->db, &what, &left), -EEXIST); /* 1 is a name of "file" */
    assert_int_equal(count(f, "v", "other"), -ENOENT);
    assert_int_equal(add(f, "v", "file", false, 5), 2);
}

static void a_name_goes_once_and_the_last_but_one_tells_the_key_that_is_left(void **state)
{
    struct fixture *f = *state;
    struct db_link link;

    assert_int_equal(add(f, "v", "file", true, 1), 1);
    assert_int_equal(add(f, "v", "file", false, 2), 2);
    assert_int_equal(add(f, "v", "file", false, 3), 3);
    assert_int_equal(take(f, "v", 3, &link), 2);
    assert_null(link.last_key);
    assert_int_equal(take(f, "v", 1, &link), 1);
    assert_string_equal(link.file, "file");
    assert_string_equal(link.last_key, "d/b");
    assert_int_equal(take(f, "v", 1, &link), -ENOENT);
    assert_int_equal(count(f, "v", "file"), 1);
}

static void a_file_without_a_name_gets_none_and_is_told_and_dropped(void **state)
{
    struct fixture *f = *state;
    struct db_link link;

    for (uint64_t number = 1; number <= 3; number++) {
        const char *const file[] = {"", "one", "two", "kept"};

        assert_int_equal(add(f, "v", file[number], true, number), 1);
        if (number < 3) {
            assert_int_equal(take(f, "v", number, &link), 0);
        }
    }
    assert_int_equal(add(f, "v", "one", false, 9), -ENOENT);
    assert_int_equal(add(f, "v", "one", true, 9), -ENOENT); /* its object is about to go */
    assert_int_equal(unlinked(f, "v", 0, 8), 0);            /* long before they lost it */
    assert_int_equal(unlinked(f, "v", INT64_MAX, 8), 2);
    assert_int_equal(unlinked(f, "v", INT64_MAX, 1), 1);
    assert_int_equal(db_link_drop(f->db, "v", "one"), 0);
    assert_int_equal(db_link_drop(f->db, "v", "kept"), 0); /* it has a name, and stays */
    assert_int_equal(count(f, "v", "one"), -ENOENT);
    assert_int_equal(count(f, "v", "kept"), 1);
    assert_int_equal(unlinked(f, "v", INT64_MAX, 8), 1);
    assert_int_equal(add(f, "v", "one", true, 9), 1); /* as a new file */
}

static void volumes_do_not_see_each_others(void **state)
{
    struct fixture *f = *state;
    struct db_link link;

    assert_int_equal(add(f, "v", "file", true, 1), 1);
    assert_int_equal(add(f, "w", "file", false, 1), -ENOENT);
    assert_int_equal(add(f, "w", "file", true, 1), 1);
    assert_int_equal(take(f, "w", 1, &link), 0);
    assert_int_equal(unlinked(f, "v", INT64_MAX, 8), 0);
    assert_int_equal(count(f, "v", "file"), 1);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_name_that_comes_twice_counts_once),
        T(two_names_of_one_request_come_together_or_not_at_all),
        T(a_name_goes_once_and_the_last_but_one_tells_the_key_that_is_left),
        T(a_file_without_a_name_gets_none_and_is_told_and_dropped),
        T(volumes_do_not_see_each_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

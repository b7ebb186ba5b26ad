/* SPDX-License-Identifier: Apache-2.0 */
/* Access keys in the database: pages, revisions, and what a new seal leaves alone. */
#include "file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "metaserver/db.h"

struct fixture {
    struct file_fixture file;
    struct db *db;
    struct arena arena;
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

    f->arena = (struct arena)ARENA_INIT(1 << 20);
    reopen(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    db_close(f->db);
    arena_done(&f->arena);
    file_fixture_free(&f->file);
    return 0;
}

static int add(struct fixture *f, const char *id)
{
    const struct db_key key = {.id = id,
                               .sealed = "s\0x",
                               .sealed_len = 3,
                               .buckets = "one\ntwo\n",
                               .read_only = true,
                               .expires_ns = 7,
                               .comment = "ann",
                               .created_ns = 5};

    return db_key_add(f->db, &key);
}

static const char *revision(struct fixture *f)
{
    const char *ret = NULL;

    assert_int_equal(db_key_revision(f->db, &f->arena, &ret), 0);
    return ret;
}

static void a_key_comes_back_as_it_was_added(void **state)
{
    struct fixture *f = *state;
    struct db_key key;

    assert_int_equal(add(f, "a"), 0);
    assert_int_equal(add(f, "a"), -EEXIST);
    reopen(f);
    assert_int_equal(db_key_get(f->db, "a", &f->arena, &key), 0);
    assert_int_equal(key.sealed_len, 3);
    assert_memory_equal(key.sealed, "s\0x", 3);
    assert_string_equal(key.buckets, "one\ntwo\n");
    assert_string_equal(key.comment, "ann");
    assert_true(key.read_only && !key.disabled);
    assert_int_equal(key.expires_ns, 7);
    assert_int_equal(db_key_get(f->db, "b", &f->arena, &key), -ENOENT);
}

static void pages_go_on_behind_the_last_one(void **state)
{
    struct fixture *f = *state;
    struct db_key *keys;
    size_t count;

    assert_int_equal(add(f, "b") + add(f, "c") + add(f, "a"), 0);
    assert_int_equal(db_key_list(f->db, "", 2, &f->arena, &keys, &count), 0);
    assert_int_equal(count, 2);
    assert_string_equal(keys[1].id, "b");
    assert_int_equal(db_key_list(f->db, "b", 2, &f->arena, &keys, &count), 0);
    assert_int_equal(count, 1);
    assert_string_equal(keys[0].id, "c");
}

/* skyvol-s3 reads all keys again only when this differs. */
static void every_change_is_another_revision_and_a_failure_is_none(void **state)
{
    struct fixture *f = *state;
    const char *seen[5];

    seen[0] = revision(f);
    assert_int_equal(add(f, "a"), 0);
    seen[1] = revision(f);
    assert_int_equal(add(f, "a"), -EEXIST);
    assert_int_equal(db_key_disable(f->db, "b", true), -ENOENT);
    assert_int_equal(db_key_delete(f->db, "b"), -ENOENT);
    assert_string_equal(revision(f), seen[1]);
    assert_int_equal(db_key_disable(f->db, "a", true), 0);
    seen[2] = revision(f);
    assert_int_equal(db_key_seal(f->db, "a", "new", 3), 0);
    assert_string_equal(revision(f), seen[2]);
    assert_int_equal(db_key_disable(f->db, "a", false), 0);
    seen[3] = revision(f);
    assert_int_equal(db_key_delete(f->db, "a"), 0);
    seen[4] = revision(f);
    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < i; k++) {
            assert_string_not_equal(seen[i], seen[k]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_key_comes_back_as_it_was_added, setup, teardown),
        cmocka_unit_test_setup_teardown(pages_go_on_behind_the_last_one, setup, teardown),
        cmocka_unit_test_setup_teardown(every_change_is_another_revision_and_a_failure_is_none,
                                        setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

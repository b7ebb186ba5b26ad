/* SPDX-License-Identifier: Apache-2.0 */
/* Two handles on one directory, as two processes have them. */
#include "objstore/dir_changes.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#include "objstore/dir.h"
#include "objstore/objstore_call.h"
#include "test.h"

struct pair {
    char root[64];
    struct objstore *one, *other;
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int open_pair(void **state)
{
    struct pair *pair = calloc(1, sizeof(*pair));
    struct error err = ERROR_INIT;
    struct objstore_dir_config config = {.threads = 1, .not_durable = true};

    assert_non_null(pair);
    (void)snprintf(pair->root, sizeof(pair->root), "/tmp/skyvol-changes.XXXXXX");
    assert_non_null(mkdtemp(pair->root));
    config.root = pair->root;
    assert_int_equal(objstore_dir_new(&config, &pair->one, &err), 0);
    assert_int_equal(objstore_dir_new(&config, &pair->other, &err), 0);
    *state = pair;
    return 0;
}

static int close_pair(void **state)
{
    struct pair *pair = *state;

    objstore_free(pair->one);
    objstore_free(pair->other);
    assert_int_equal(nftw(pair->root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(pair);
    return 0;
}

static uint64_t number(const struct objstore *store)
{
    uint64_t ret = 0;

    assert_true(objstore_changes(store, &ret));
    return ret;
}

static void call(struct objstore *store, struct objstore_request request)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;

    assert_int_equal(objstore_call(store, &request, &answer), 0);
}

static void the_number_is_another_after_each_change_in_either_handle(void **state)
{
    static const struct objstore_request changes[] = {
        {.op = OBJSTORE_BUCKET_CREATE, .bucket = "bucket"},
        {.op = OBJSTORE_BUCKET_DOC_PUT,
         .bucket = "bucket",
         .doc = OBJSTORE_DOC_POLICY,
         .document = "{}"},
        {.op = OBJSTORE_BUCKET_DOC_DELETE, .bucket = "bucket", .doc = OBJSTORE_DOC_POLICY},
        {.op = OBJSTORE_BUCKET_DELETE, .bucket = "bucket"},
    };
    struct pair *pair = *state;

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        uint64_t before = number(pair->one);

        assert_int_equal(number(pair->other), before);
        call(i % 2 == 0 ? pair->one : pair->other, changes[i]);
        assert_int_not_equal(number(pair->one), before);
        assert_int_equal(number(pair->other), number(pair->one));
    }
}

static void objects_change_it_not(void **state)
{
    static const struct objstore_meta meta = {0};
    struct pair *pair = *state;
    uint64_t before;

    call(pair->one, (struct objstore_request){.op = OBJSTORE_BUCKET_CREATE, .bucket = "bucket"});
    before = number(pair->one);
    call(pair->one, (struct objstore_request){.op = OBJSTORE_PUT,
                                              .bucket = "bucket",
                                              .key = "k",
                                              .meta = &meta,
                                              .source = {.data = "abc", .size = 3}});
    call(pair->other,
         (struct objstore_request){.op = OBJSTORE_DELETE, .bucket = "bucket", .key = "k"});
    assert_int_equal(number(pair->one), before);
}

/* A process may die between its commit and the count: the next one counts. */
static void opening_the_store_changes_it(void **state)
{
    struct pair *pair = *state;
    uint64_t before = number(pair->one);
    atomic_uint_least64_t *third = dir_changes_open(pair->root);

    assert_non_null(third);
    assert_int_not_equal(number(pair->one), before);
    dir_changes_close(third);
    assert_null(dir_changes_open("/nonexistent"));
    dir_changes_count(NULL);
    dir_changes_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_number_is_another_after_each_change_in_either_handle,
                                        open_pair, close_pair),
        cmocka_unit_test_setup_teardown(objects_change_it_not, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(opening_the_store_changes_it, open_pair, close_pair),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

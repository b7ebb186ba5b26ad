/* SPDX-License-Identifier: Apache-2.0 */
/* Whose the buckets of a directory store are. */
#include <errno.h>
#include <string.h>

#include "objstore/dir.h"
#include "objstore/objstore_call.h"
#include "s3/error.h"
#include "test.h"

#define ANSWER CLEANUP(objstore_answer_done) struct objstore_answer

static int set_up(void **state)
{
    struct objstore *store = NULL;
    struct error err = ERROR_INIT;

    assert_int_equal(objstore_mem_new(&store, &err), 0);
    *state = store;
    return 0;
}

static int tear_down(void **state)
{
    objstore_free(*state);
    return 0;
}

static int bucket(struct objstore *store, enum objstore_op op, const char *name,
                  const char *account, struct objstore_answer *a)
{
    struct objstore_request r = {.op = op, .bucket = name, .account = account};

    return objstore_call(store, &r, a);
}

static int put(struct objstore *store, const char *name, const char *account)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = OBJSTORE_PUT,
                                 .bucket = name,
                                 .key = "k",
                                 .account = account,
                                 .source = {.data = "x", .size = 1}};

    return objstore_call(store, &r, &a);
}

static void a_bucket_is_whose_it_was_made_for(void **state)
{
    struct objstore *store = *state;
    ANSWER a = OBJSTORE_ANSWER_INIT;

    assert_int_equal(bucket(store, OBJSTORE_BUCKET_CREATE, "anns", "ann", &a), 0);
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_CREATE, "nobodys", NULL, &a), 0);
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_HEAD, "anns", NULL, &a), 0);
    assert_string_equal(a.result.owner, "ann");
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_HEAD, "nobodys", "", &a), 0);
    assert_string_equal(a.result.owner, "");
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_HEAD, "nobodys", "ann", &a), -EACCES);
    assert_int_equal(a.result.s3_code, S3_ACCESS_DENIED);
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_HEAD, "none", "ann", &a), -ENOENT);
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_CREATE, "anns", "ann", &a), -EEXIST);
    assert_int_equal(a.result.s3_code, S3_BUCKET_ALREADY_OWNED_BY_YOU);
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_CREATE, "anns", "bob", &a), -EEXIST);
    assert_int_equal(a.result.s3_code, S3_BUCKET_ALREADY_EXISTS);
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_CREATE, "nobodys", "bob", &a), -EEXIST);
    assert_int_equal(a.result.s3_code, S3_BUCKET_ALREADY_EXISTS);
}

static void only_who_may_has_to_do_with_it(void **state)
{
    struct objstore *store = *state;
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request copy = {.op = OBJSTORE_COPY,
                                    .bucket = "bobs",
                                    .key = "to",
                                    .source_bucket = "anns",
                                    .source_key = "k",
                                    .account = "bob",
                                    .source_account = "bob"};

    assert_int_equal(bucket(store, OBJSTORE_BUCKET_CREATE, "anns", "ann", &a), 0);
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_CREATE, "bobs", "bob", &a), 0);
    assert_int_equal(put(store, "anns", "bob"), -EACCES);
    assert_int_equal(put(store, "anns", ""), -EACCES);
    assert_int_equal(put(store, "anns", "ann"), 0);
    assert_int_equal(put(store, "anns", NULL), 0);
    assert_int_equal(objstore_call(store, &copy, &a), -EACCES);
    copy.source_account = "ann";
    assert_int_equal(objstore_call(store, &copy, &a), 0);
    copy.account = "ann";
    assert_int_equal(objstore_call(store, &copy, &a), -EACCES);
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_DELETE, "anns", "bob", &a), -EACCES);
}

static void lists_are_of_one_account_or_of_all(void **state)
{
    struct objstore *store = *state;
    ANSWER a = OBJSTORE_ANSWER_INIT;

    assert_int_equal(bucket(store, OBJSTORE_BUCKET_CREATE, "anns", "ann", &a), 0);
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_CREATE, "bobs", "bob", &a), 0);
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_CREATE, "nobodys", "", &a), 0);
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_LIST, NULL, NULL, &a), 0);
    assert_int_equal(a.result.count, 3);
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_LIST, NULL, "bob", &a), 0);
    assert_int_equal(a.result.count, 1);
    assert_string_equal(a.result.buckets[0].name, "bobs");
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_LIST, NULL, "", &a), 0);
    assert_int_equal(a.result.count, 1);
    assert_string_equal(a.result.buckets[0].name, "nobodys");
}

static void a_new_bucket_of_an_old_name_has_a_new_owner(void **state)
{
    struct objstore *store = *state;
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request doc = {
        .op = OBJSTORE_BUCKET_DOC_GET, .bucket = "theirs", .doc = OBJSTORE_DOC_POLICY};

    assert_int_equal(bucket(store, OBJSTORE_BUCKET_CREATE, "theirs", "ann", &a), 0);
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_DELETE, "theirs", "ann", &a), 0);
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_CREATE, "theirs", NULL, &a), 0);
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_HEAD, "theirs", "ann", &a), -EACCES);
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_DELETE, "theirs", NULL, &a), 0);
    assert_int_equal(bucket(store, OBJSTORE_BUCKET_CREATE, "theirs", "bob", &a), 0);
    /* Who looks for a document learns the owner, whether there is one or not. */
    assert_int_equal(objstore_call(store, &doc, &a), -ENODATA);
    assert_string_equal(a.result.owner, "bob");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_bucket_is_whose_it_was_made_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_who_may_has_to_do_with_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_are_of_one_account_or_of_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_bucket_of_an_old_name_has_a_new_owner, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

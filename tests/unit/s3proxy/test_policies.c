/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/policies.h"

#include <errno.h>

#include "test.h"

static const char open_to_all[] =
    "{\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\","
    "\"Resource\":\"arn:aws:s3:::*\"}]}";

static struct bucket_rules *rules_of(const char *bucket, const char *policy, const char *block)
{
    struct bucket_rules *rules = NULL;

    assert_int_equal(bucket_rules_new(bucket, policy, block, &rules), 0);
    assert_string_equal(rules->bucket, bucket);
    return rules;
}

static void what_is_kept_is_found_until_something_changes_or_a_second_is_over(void **state)
{
    struct policies *policies = NULL;
    struct bucket_rules *rules = rules_of("bucket", open_to_all, NULL), *found;

    (void)state;
    assert_int_equal(policies_new(1, &policies), 0);
    assert_null(policies_find(policies, "bucket", 7, 1000));
    policies_keep(policies, rules, 7, 1000);
    bucket_rules_unref(rules);
    found = policies_find(policies, "bucket", 7, 1999);
    assert_ptr_equal(found, rules);
    assert_non_null(found->policy);
    assert_false(found->broken);
    bucket_rules_unref(found);
    assert_null(policies_find(policies, "bucket", 8, 1000));
    assert_null(policies_find(policies, "bucket", 7, 2000));
    assert_null(policies_find(policies, "another", 7, 1000));
    policies_free(policies);
}

static void another_bucket_takes_the_place_and_who_holds_rules_keeps_them(void **state)
{
    struct policies *policies = NULL;
    struct bucket_rules *first = rules_of("first", open_to_all, NULL);
    struct bucket_rules *second = rules_of("second", NULL, NULL);

    (void)state;
    assert_int_equal(policies_new(1, &policies), 0);
    policies_keep(policies, first, 1, 0);
    policies_keep(policies, first, 2, 0);
    policies_keep(policies, second, 2, 0);
    assert_null(policies_find(policies, "first", 2, 0));
    policies_free(policies);
    assert_non_null(first->policy);
    assert_null(second->policy);
    bucket_rules_unref(first);
    bucket_rules_unref(second);
    bucket_rules_unref(NULL);
    assert_int_equal(policies_new(0, &policies), -EINVAL);
}

static void what_cannot_be_read_closes_the_bucket(void **state)
{
    struct bucket_rules *rules = rules_of("bucket", "{\"Statement\":1}", "<none/>");

    (void)state;
    assert_true(rules->broken);
    assert_null(rules->policy);
    assert_true(rules->block.restrict_buckets && rules->block.block_policy);
    bucket_rules_unref(rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_kept_is_found_until_something_changes_or_a_second_is_over),
        cmocka_unit_test(another_bucket_takes_the_place_and_who_holds_rules_keeps_them),
        cmocka_unit_test(what_cannot_be_read_closes_the_bucket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

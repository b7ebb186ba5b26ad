/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/public_access.h"

#include "test.h"
#include "util/cleanup.h"

#define DOC(inner)                                                                                 \
    "<PublicAccessBlockConfiguration xmlns='x'>" inner "</PublicAccessBlockConfiguration>"

static enum s3_code parsed(const char *text, struct s3_public_access *ret)
{
    struct s3_fault fault = S3_FAULT_INIT;
    int error = s3_public_access_parse(text, strlen(text), ret, &fault);

    assert_true((error == 0) == (fault.code == S3_OK));
    return fault.code;
}

static void switches_are_off_unless_they_are_on(void **state)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(1024);
    struct s3_public_access block = {true, true, true, true}, again;

    (void)state;
    assert_int_equal(parsed(DOC(""), &block), S3_OK);
    assert_false(block.block_acls || block.ignore_acls || block.block_policy);
    assert_int_equal(parsed(DOC("<BlockPublicPolicy>true</BlockPublicPolicy>"
                                "<RestrictPublicBuckets>TRUE</RestrictPublicBuckets>"
                                "<IgnorePublicAcls>false</IgnorePublicAcls>"),
                            &block),
                     S3_OK);
    assert_true(block.block_policy && block.restrict_buckets);
    assert_false(block.block_acls || block.ignore_acls);
    s3_public_access_write(&text, &block);
    assert_int_equal(parsed(buf_str(&text), &again), S3_OK);
    assert_memory_equal(&block, &again, sizeof(block));
}

static void what_is_no_switch_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "<Other/>",
        DOC("<Other>true</Other>"),
        DOC("<BlockPublicAcls>1</BlockPublicAcls>"),
        DOC("<BlockPublicAcls/>"),
        DOC("<BlockPublicAcls>true</BlockPublicAcls><BlockPublicAcls>false</BlockPublicAcls>"),
        DOC("<BlockPublicAcls>true<x/></BlockPublicAcls>"),
        DOC("<a><BlockPublicAcls>true</BlockPublicAcls></a>")};
    struct s3_public_access block;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (parsed(texts[i], &block) != S3_MALFORMED_XML) {
            fail_msg("%s", texts[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(switches_are_off_unless_they_are_on),
        cmocka_unit_test(what_is_no_switch_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

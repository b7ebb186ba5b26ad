/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/acl.h"

#include <errno.h>

#include "s3/xml_walk.h"
#include "test.h"
#include "util/cleanup.h"

static void its_own_list_reads_back_as_the_owners(void **state)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
    struct s3_fault fault = S3_FAULT_INIT;
    enum s3_acl acl = S3_ACL_NONE;

    (void)state;
    s3_acl_write(&out, "me", "me");
    assert_int_equal(s3_acl_body(buf_str(&out), buf_len(&out), "me", &acl, &fault), 0);
    assert_int_equal(acl, S3_ACL_OWNER);
    assert_int_equal(s3_acl_body(buf_str(&out), buf_len(&out), "you", &acl, &fault), 0);
    assert_int_equal(acl, S3_ACL_OTHER);
}

static void what_is_no_list_is_malformed(void **state)
{
    static const char *const bad[] = {
        "",
        "<Other/>",
        "<AccessControlPolicy/>",
        "<AccessControlPolicy><Owner><ID></ID></Owner></AccessControlPolicy>",
        "<AccessControlPolicy><Owner><ID>a</ID><ID>b</ID></Owner></AccessControlPolicy>",
        ("<AccessControlPolicy><Owner><ID>a</ID></Owner><AccessControlList><Grant/>"
         "</AccessControlList></AccessControlPolicy>"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct s3_fault fault = S3_FAULT_INIT;
        enum s3_acl acl;

        assert_true(s3_acl_body(bad[i], strlen(bad[i]), "me", &acl, &fault) < 0);
        assert_int_equal(fault.code, S3_MALFORMED_ACL);
    }
}

static void more_than_a_hundred_grants_are_too_many(void **state)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(64 * 1024);
    struct s3_fault fault = S3_FAULT_INIT;
    enum s3_acl acl;

    (void)state;
    for (int round = 0; round < 2; round++) {
        buf_reset(&text);
        buf_addstr(&text, "<AccessControlPolicy xmlns:xsi='x'><Owner><ID>me</ID></Owner>"
                          "<AccessControlList>");
        for (int i = 0; i < 100 + round; i++) {
            buf_addstr(&text, "<Grant><Grantee xsi:type='CanonicalUser'><ID>me</ID></Grantee>"
                              "<Permission>READ</Permission></Grant>");
        }
        buf_addstr(&text, "</AccessControlList></AccessControlPolicy>");
        assert_int_equal(s3_acl_body(buf_str(&text), buf_len(&text), "me", &acl, &fault),
                         round == 0 ? 0 : -EINVAL);
    }
}

static enum s3_acl headers(const char *name, const char *value, const char *name2,
                           const char *value2, struct s3_fault *fault)
{
    const struct s3_header both[] = {{slice_of(name), slice_of(value)},
                                     {slice_of(name2), slice_of(value2)}};
    const struct s3_message message = {.headers = both, .header_count = 2};
    enum s3_acl acl = S3_ACL_NONE;

    *fault = (struct s3_fault)S3_FAULT_INIT;
    if (s3_acl_headers(&message, "me", &acl, fault) != 0) {
        assert_int_not_equal(fault->code, S3_OK);
    }
    return acl;
}

static void headers_are_told_apart(void **state)
{
    struct s3_fault fault;

    (void)state;
    assert_int_equal(headers("X-Amz-Acl", "private", "a", "b", &fault), S3_ACL_OWNER);
    assert_int_equal(headers("x-amz-acl", "public-read", "a", "b", &fault), S3_ACL_OTHER);
    assert_int_equal(headers("a", "b", "c", "d", &fault), S3_ACL_NONE);
    assert_int_equal(headers("X-AMZ-Grant-Full-Control", "id=\"me\"", "a", "b", &fault),
                     S3_ACL_OWNER);
    assert_int_equal(headers("x-amz-grant-full-control", "id=me , id=you", "a", "b", &fault),
                     S3_ACL_OTHER);
    assert_int_equal(
        headers("x-amz-grant-full-control", "id=me", "x-amz-grant-read", "id=me", &fault),
        S3_ACL_OTHER);
    assert_int_equal(fault.code, S3_OK);
    (void)headers("x-amz-grant-read", "id=me,", "a", "b", &fault);
    assert_int_equal(fault.code, S3_INVALID_ARGUMENT);
    (void)headers("x-amz-grant-read", "", "a", "b", &fault);
    assert_int_equal(fault.code, S3_INVALID_ARGUMENT);
    (void)headers("x-amz-acl", "Private", "a", "b", &fault);
    assert_int_equal(fault.code, S3_INVALID_ARGUMENT);
}

static int count(void *arg, const char *path, struct slice text)
{
    size_t *texts = arg;

    (void)path;
    *texts += text.len;
    return 0;
}

static void a_walk_refuses_document_types_depth_and_long_texts(void **state)
{
    static const char *const bad[] = {
        "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        ("<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a></a></a>"
         "</a></a></a></a></a></a></a>"),
        "<a><b></a></b>",
        "<a/><b/>",
    };
    size_t texts = 0;
    const struct s3_xml_walker walker = {.text = count, .arg = &texts};
    struct s3_fault fault = S3_FAULT_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(s3_xml_walk(bad[i], strlen(bad[i]), &walker, &fault), -EINVAL);
        assert_int_equal(fault.code, S3_MALFORMED_XML);
    }
    assert_int_equal(s3_xml_walk("<a><b>12</b>345</a>", 19, &walker, &fault), 0);
    assert_int_equal(texts, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_own_list_reads_back_as_the_owners),
        cmocka_unit_test(what_is_no_list_is_malformed),
        cmocka_unit_test(more_than_a_hundred_grants_are_too_many),
        cmocka_unit_test(headers_are_told_apart),
        cmocka_unit_test(a_walk_refuses_document_types_depth_and_long_texts),
    };

    return cmocka_run_group_tests_name("s3/acl", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "s3/tags.h"
#include "test.h"
#include "util/cleanup.h"

static enum s3_code query_code(const char *text)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 20);
    struct s3_fault fault = S3_FAULT_INIT;
    struct s3_tags tags;
    int ret = s3_tags_from_query(slice_of(text), &arena, &tags, &fault);

    ret = ret == 0 ? s3_tags_check(&tags, S3_TAGS_OF_OBJECT, &fault) : ret;
    assert_true((ret == 0) == (fault.code == S3_OK));
    return fault.code;
}

static enum s3_code xml_code(const char *text)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 20);
    struct s3_fault fault = S3_FAULT_INIT;
    struct s3_tags tags;
    int ret = s3_tags_from_xml(text, strlen(text), &arena, &tags, &fault);

    ret = ret == 0 ? s3_tags_check(&tags, S3_TAGS_OF_OBJECT, &fault) : ret;
    assert_true((ret == 0) == (fault.code == S3_OK));
    return fault.code;
}

static void the_header_is_a_query_without_repetitions(void **state UNUSED)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 20);
    CLEANUP(buf_done) struct buf again = BUF_INIT(1024);
    struct s3_tags tags;

    assert_int_equal(s3_tags_from_query(slice_of("a=1&b%20c=%C3%A4+%2B&d=&e"), &arena, &tags, NULL),
                     0);
    assert_int_equal(tags.count, 4);
    assert_string_equal(tags.tags[1].name, "b c");
    assert_string_equal(tags.tags[1].value, "\xc3\xa4 +");
    assert_string_equal(tags.tags[3].value, "");
    s3_tags_to_query(&again, &tags);
    assert_string_equal(buf_str(&again), "a=1&b%20c=%C3%A4%20%2B&d=&e=");
    assert_int_equal(s3_tags_count(buf_str(&again)), 4);
    assert_int_equal(s3_tags_count(""), 0);
    assert_int_equal(s3_tags_count(NULL), 0);
    assert_int_equal(query_code("a=1&a=2"), S3_INVALID_ARGUMENT);
    assert_int_equal(query_code("a=%zz"), S3_INVALID_ARGUMENT);
    assert_int_equal(query_code("a=%ff"), S3_INVALID_ARGUMENT);
    assert_int_equal(query_code("a=%00"), S3_INVALID_ARGUMENT);
}

static void limits_are_those_of_s3(void **state UNUSED)
{
    char text[1024];

    (void)snprintf(text, sizeof(text), "%0128d=%0256d", 0, 0);
    assert_int_equal(query_code(text), S3_OK);
    (void)snprintf(text, sizeof(text), "%0129d=1", 0);
    assert_int_equal(query_code(text), S3_INVALID_TAG);
    (void)snprintf(text, sizeof(text), "a=%0257d", 0);
    assert_int_equal(query_code(text), S3_INVALID_TAG);
    assert_int_equal(query_code("0&1&2&3&4&5&6&7&8&9"), S3_OK);
    assert_int_equal(query_code("0&1&2&3&4&5&6&7&8&9&10"), S3_INVALID_TAG);
    assert_int_equal(query_code("=value"), S3_INVALID_ARGUMENT);
    assert_int_equal(query_code("="), S3_INVALID_ARGUMENT);
    assert_int_equal(query_code("&a=1&&"), S3_OK);
    assert_int_equal(query_code("AWS:own=1"), S3_INVALID_TAG);
    assert_int_equal(query_code("a=+-%3D._:/@"), S3_OK);
    assert_int_equal(query_code("a=b%3Bc"), S3_INVALID_TAG);
    assert_int_equal(query_code("a%0A=c"), S3_INVALID_TAG);
}

static void characters_are_counted_and_not_bytes(void **state UNUSED)
{
    char text[4096] = "a=";

    for (int i = 0; i < 256; i++) {
        (void)snprintf(text + 2 + 6 * i, 7, "%%C3%%A4");
    }
    assert_int_equal(query_code(text), S3_OK);
    (void)snprintf(text + 2 + 6 * 256, 2, "a");
    assert_int_equal(query_code(text), S3_INVALID_TAG);
}

static void the_document_is_read_and_written(void **state UNUSED)
{
    static const char text[] = "<Tagging><TagSet><Tag><Key>k &amp; l</Key><Value>v</Value></Tag>"
                               "<Tag><Key>m</Key><Value/></Tag></TagSet></Tagging>";
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 20);
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
    struct s3_tags tags, again;

    assert_int_equal(s3_tags_from_xml(text, strlen(text), &arena, &tags, NULL), 0);
    assert_int_equal(tags.count, 2);
    assert_string_equal(tags.tags[0].name, "k & l");
    assert_string_equal(tags.tags[1].value, "");
    s3_tags_to_xml(&out, &tags);
    assert_int_equal(s3_tags_from_xml(buf_str(&out), buf_len(&out), &arena, &again, NULL), 0);
    assert_int_equal(again.count, 2);
    assert_string_equal(again.tags[0].name, "k & l");
    assert_int_equal(xml_code("<Tagging><TagSet/></Tagging>"), S3_OK);
    assert_int_equal(xml_code("<Tagging/>"), S3_MALFORMED_XML);
    assert_int_equal(xml_code("<Delete><TagSet/></Delete>"), S3_MALFORMED_XML);
    assert_int_equal(xml_code("<Tagging><TagSet>"), S3_MALFORMED_XML);
    assert_int_equal(xml_code("<Tagging><TagSet><Tag><Key>a</Key></Tag><Tag><Key>a</Key></Tag>"
                              "</TagSet></Tagging>"),
                     S3_INVALID_TAG);
    assert_int_equal(xml_code("<Tagging><TagSet><Tag><Value>a</Value></Tag></TagSet></Tagging>"),
                     S3_INVALID_TAG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_header_is_a_query_without_repetitions),
        cmocka_unit_test(limits_are_those_of_s3),
        cmocka_unit_test(characters_are_counted_and_not_bytes),
        cmocka_unit_test(the_document_is_read_and_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

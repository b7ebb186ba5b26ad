/* SPDX-License-Identifier: Apache-2.0 */
/* The form in which the metaserver keeps a file's attributes, and of which version they count. */
#include "test.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/managed/facts.h"

static const int64_t second = 1000000000;

static struct attr full(void)
{
    return (struct attr){.mode = S_IFLNK | 0777,
                         .uid = 7,
                         .gid = UINT32_MAX,
                         .rdev = 9,
                         .mtime_ns = -5,
                         .ctime_ns = INT64_MAX,
                         .atime_ns = 1,
                         .xattr = "{\"user.a\":\"Yg==\"}"};
}

static void what_is_packed_comes_out_again(UNUSED void **state)
{
    unsigned char bytes[FACTS_PACKED_MAX];
    char copy[FACTS_PACKED_MAX + 2];
    struct attr attr = full();
    struct facts_told told = {.attr = &attr, .target = "../x", .modified_ns = 3 * second};
    struct facts_packed out;
    size_t len = facts_pack(&told, bytes);

    assert_true(len > 0 && len < 100);
    assert_true(facts_unpack(bytes, len, copy, &out));
    assert_true(out.attr.has_mode && out.attr.has_uid && out.attr.has_atime && !out.exact);
    assert_int_equal(out.attr.mode, attr.mode);
    assert_int_equal(out.attr.gid, attr.gid);
    assert_true(out.attr.mtime_ns == -5 && out.attr.ctime_ns == INT64_MAX);
    assert_string_equal(out.attr.xattr, attr.xattr);
    assert_string_equal(out.target, "../x");
    assert_true(out.modified_ns == 3 * second);
}

static void what_an_object_does_not_say_stays_unsaid(UNUSED void **state)
{
    unsigned char bytes[FACTS_PACKED_MAX];
    char copy[FACTS_PACKED_MAX + 2];
    struct attr attr = {.has_gid = true, .gid = 3, .mode = S_IFREG | 0666};
    struct facts_told told = {.attr = &attr, .partly = true, .modified_ns = 1, .exact = true};
    struct facts_packed out;
    size_t len = facts_pack(&told, bytes);

    assert_true(facts_unpack(bytes, len, copy, &out));
    assert_true(out.attr.has_gid && !out.attr.has_mode && !out.attr.has_mtime && out.exact);
    assert_null(out.attr.xattr);
    assert_null(out.target);
}

static void what_does_not_fit_or_is_damaged_is_refused(UNUSED void **state)
{
    static char large[FACTS_PACKED_MAX];
    unsigned char bytes[FACTS_PACKED_MAX];
    char copy[FACTS_PACKED_MAX + 2];
    struct attr attr = full();
    struct facts_told told = {.attr = &attr, .target = "t", .modified_ns = 1};
    struct facts_packed out;
    size_t len = facts_pack(&told, bytes);
    uint64_t seed = 1;

    for (size_t i = 0; i < len; i++) {
        assert_false(facts_unpack(bytes, i, copy, &out));
    }
    assert_false(facts_unpack(bytes, len + 1, copy, &out));
    bytes[0] = 2; /* a later version's */
    assert_false(facts_unpack(bytes, len, copy, &out));
    bytes[0] = 1;
    bytes[len - 1] = '\0'; /* a NUL in a text */
    assert_false(facts_unpack(bytes, len, copy, &out));
    bytes[2] = bytes[3] = bytes[4] = bytes[5] = 0xff;
    assert_false(facts_unpack(bytes, len, copy, &out));
    for (int round = 0; round < 20000; round++) { /* nothing reads beyond */
        unsigned char *noise = malloc(100);

        for (int i = 0; i < 100; i++) {
            noise[i] = (unsigned char)(seed >> 33);
            seed = seed * UINT64_C(6364136223846793005) + 1;
        }
        noise[0] = 1;
        noise[3] = noise[5] = 0;
        (void)facts_unpack(noise, 100, copy, &out);
        free(noise);
    }
    memset(large, 'x', sizeof(large) - 1);
    attr.xattr = large;
    assert_int_equal(facts_pack(&told, bytes), 0);
}

static void an_etag_alone_is_not_a_version(UNUSED void **state)
{
    struct facts_packed put = {.modified_ns = 100 * second};
    struct facts_packed head = {.modified_ns = 100 * second, .exact = true};

    assert_true(facts_match(&head, 100 * second + 5));
    assert_false(facts_match(&head, 101 * second));
    assert_false(facts_match(&head, 99 * second));
    assert_true(facts_match(&put, 98 * second));
    assert_true(facts_match(&put, 101 * second));
    assert_false(facts_match(&put, 97 * second));
    assert_false(facts_match(&put, 102 * second));
    assert_false(facts_match(&put, INT64_MIN));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_comes_out_again),
        cmocka_unit_test(what_an_object_does_not_say_stays_unsaid),
        cmocka_unit_test(what_does_not_fit_or_is_damaged_is_refused),
        cmocka_unit_test(an_etag_alone_is_not_a_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

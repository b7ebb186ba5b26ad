/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/stat.h>

#include "mounter/attr/attr.h"
#include "test.h"
#include "util/cleanup.h"

static const char *value_of(const struct objstore_meta *meta, const char *name)
{
    for (size_t i = 0; i < meta->user_count; i++) {
        if (strcmp(meta->user[i].name, name) == 0) {
            return meta->user[i].value;
        }
    }
    return NULL;
}

static void a_time_comes_back_as_it_went_also_before_1970(UNUSED void **state)
{
    static const struct {
        int64_t ns;
        const char *text;
    } cases[] = {
        {0, "0.000000000"},
        {1, "0.000000001"},
        {-1, "-0.000000001"},
        {-999999999, "-0.999999999"},
        {-1000000000, "-1.000000000"},
        {-1500000000, "-1.500000000"},
        {1700000000123456789, "1700000000.123456789"},
        {-9000000000000000001, "-9000000000.000000001"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
        const struct attr attr = {.mode = S_IFREG | 0644, .mtime_ns = cases[i].ns};
        struct objstore_meta meta;
        struct attr back;

        assert_int_equal(attr_write(&attr, &arena, &meta), 0);
        assert_string_equal(value_of(&meta, "mtime"), cases[i].text);
        attr_read(&meta, &arena, &back);
        assert_true(back.has_mtime);
        assert_true(back.mtime_ns == cases[i].ns);
    }
}

static void what_is_no_time_counts_as_absent(UNUSED void **state)
{
    static const char *const texts[] = {"", "-", "x", "1.5x", "99999999999999999999"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
        struct objstore_pair pair = {"mtime", texts[i]};
        const struct objstore_meta meta = {.user = &pair, .user_count = 1};
        struct attr back;

        attr_read(&meta, &arena, &back);
        assert_false(back.has_mtime);
    }
}

static void what_others_said_is_kept_beside_ours(UNUSED void **state)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    const struct attr attr = {.mode = S_IFREG | 0644};
    struct objstore_pair pairs[] = {{"Author", "somebody"}, {"--mode", "0"}, {"Mode", "7"}};
    const struct objstore_meta theirs = {.content_type = "text/plain",
                                         .cache_control = "no-store",
                                         .storage_class = "STANDARD_IA",
                                         .user = pairs,
                                         .user_count = 3};
    struct objstore_meta ours;
    struct attr back;

    attr_read(&theirs, &arena, &back);
    assert_false(back.only_ours);
    assert_int_equal(attr_write(&attr, &arena, &ours), 0);
    assert_int_equal(attr_keep_theirs(&theirs, &arena, &ours), 0);
    assert_string_equal(value_of(&ours, "Author"), "somebody");
    assert_null(value_of(&ours, "--mode"));
    assert_null(value_of(&ours, "Mode"));
    assert_string_equal(value_of(&ours, "mode"), "33188");
    assert_string_equal(ours.content_type, "text/plain");
    assert_string_equal(ours.cache_control, "no-store");
    assert_string_equal(ours.storage_class, "STANDARD_IA");
}

static void what_does_not_fit_is_left_out_and_said(UNUSED void **state)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    const struct attr attr = {.mode = S_IFREG | 0644};
    char large[2020];
    struct objstore_pair pairs[] = {{"large", large}, {"small", "x"}};
    const struct objstore_meta theirs = {.user = pairs, .user_count = 2};
    struct objstore_meta ours;

    memset(large, 'l', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    assert_int_equal(attr_write(&attr, &arena, &ours), 0);
    assert_int_equal(attr_keep_theirs(&theirs, &arena, &ours), 1);
    assert_null(value_of(&ours, "large"));
    assert_string_equal(value_of(&ours, "small"), "x");
}

static void our_own_objects_are_known_as_such(UNUSED void **state)
{
    static const char *const types[] = {NULL, "binary/octet-stream", "application/octet-stream"};

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
        const struct attr attr = {.mode = S_IFREG | 0644, .xattr = "{\"user.a\":\"eA==\"}"};
        struct objstore_meta ours;
        struct attr back;

        assert_int_equal(attr_write(&attr, &arena, &ours), 0);
        ours.content_type = types[i];
        attr_read(&ours, &arena, &back);
        assert_true(back.only_ours);
        ours.content_encoding = "gzip";
        attr_read(&ours, &arena, &back);
        assert_false(back.only_ours);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_comes_back_as_it_went_also_before_1970),
        cmocka_unit_test(what_is_no_time_counts_as_absent),
        cmocka_unit_test(what_others_said_is_kept_beside_ours),
        cmocka_unit_test(what_does_not_fit_is_left_out_and_said),
        cmocka_unit_test(our_own_objects_are_known_as_such),
    };

    return cmocka_run_group_tests_name("attr", tests, NULL, NULL);
}

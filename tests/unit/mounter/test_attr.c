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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_comes_back_as_it_went_also_before_1970),
        cmocka_unit_test(what_is_no_time_counts_as_absent),
    };

    return cmocka_run_group_tests_name("attr", tests, NULL, NULL);
}

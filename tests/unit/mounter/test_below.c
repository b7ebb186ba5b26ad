/* SPDX-License-Identifier: Apache-2.0 */
/* Keys below directories, counted as they come and go. */
#include "mounter/names/below.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

static void a_key_counts_for_each_directory_above_it(UNUSED void **state)
{
    struct below below = {0};

    below_add(&below, "a/b/c");
    below_add(&below, "a/b/");
    below_add(&below, "a/");
    below_add(&below, "top");
    assert_int_equal(below_count(&below, "a/"), 2);
    assert_int_equal(below_count(&below, "a/b/"), 1);
    assert_int_equal(below_count(&below, "a/b/c/"), 0);
    assert_int_equal(below_count(&below, "to/"), 0);
    below_remove(&below, "a/b/");
    assert_int_equal(below_count(&below, "a/"), 1);
    assert_int_equal(below_count(&below, "a/b/"), 1);
    below_remove(&below, "a/b/c");
    assert_int_equal(below_count(&below, "a/"), 0);
    assert_int_equal(below_count(&below, "a/b/"), 0);
    assert_true(below_known(&below));
    below_done(&below);
}

static void empty_parts_are_directories_too(UNUSED void **state)
{
    struct below below = {0};

    below_add(&below, "/a//b/");
    assert_int_equal(below_count(&below, "/"), 1);
    assert_int_equal(below_count(&below, "/a/"), 1);
    assert_int_equal(below_count(&below, "/a//"), 1);
    assert_int_equal(below_count(&below, "/a//b/"), 0);
    below_remove(&below, "/a//b/");
    assert_null(below.dirs);
}

/* The same numbers each time. */
static uint32_t draw(uint32_t below)
{
    static uint32_t seed = 1;

    seed = seed * 1664525U + 1013904223U;
    return (seed >> 16) % below;
}

static uint32_t counted(char keys[][16], const bool *in, int count, const char *dir)
{
    uint32_t n = 0;

    for (int i = 0; i < count; i++) {
        n += in[i] && strlen(keys[i]) > strlen(dir) && strncmp(keys[i], dir, strlen(dir)) == 0;
    }
    return n;
}

static void it_agrees_with_a_look_at_all_of_them(UNUSED void **state)
{
    enum { KEYS = 200, STEPS = 5000 };
    static char keys[KEYS][16];
    static const char *const dirs[] = {"a/", "b/", "a/a/", "a/b/", "b/b/", "a/a/b/"};
    struct below below = {0};
    bool in[KEYS] = {false};

    for (int i = 0; i < KEYS; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "%c/%c/%c/%d%s", 'a' + (int)draw(2),
                       'a' + (int)draw(2), 'a' + (int)draw(2), i, draw(2) == 0 ? "/" : "");
    }
    for (int step = 0; step < STEPS; step++) {
        uint32_t i = draw(KEYS);

        (in[i] ? below_remove : below_add)(&below, keys[i]);
        in[i] = !in[i];
        for (size_t d = 0; d < sizeof(dirs) / sizeof(dirs[0]); d++) {
            assert_int_equal(below_count(&below, dirs[d]), counted(keys, in, KEYS, dirs[d]));
        }
    }
    below_done(&below);
}

static void what_was_not_counted_is_known_until_there_is_nothing(UNUSED void **state)
{
    struct below below = {.lost = true}; /* as without memory */

    below_add(&below, "a/b");
    assert_false(below_known(&below));
    below_remove(&below, "a/b");
    assert_true(below_known(&below));
    below_add(&below, "a/b");
    assert_int_equal(below_count(&below, "a/"), 1);
    below_done(&below);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_counts_for_each_directory_above_it),
        cmocka_unit_test(empty_parts_are_directories_too),
        cmocka_unit_test(it_agrees_with_a_look_at_all_of_them),
        cmocka_unit_test(what_was_not_counted_is_known_until_there_is_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

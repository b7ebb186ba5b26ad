/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mounter/names/known.h"
#include "test.h"

static void add(struct known *known, const char *from, const char *to, const char *const *keys,
                uint64_t asked)
{
    struct objstore_entry entries[8] = {0};
    struct known_range range = {
        .from = from, .to = to, .asked = asked, .made_ms = 100 + asked, .entries = entries};

    for (; keys[range.count] != NULL; range.count++) {
        entries[range.count].key = keys[range.count];
        entries[range.count].info.size = range.count + 1;
    }
    assert_true(known_ordered(&range));
    assert_int_equal(known_add(known, &range), 0);
}

static const struct known_oldest any = {0, 0};

static void a_page_tells_what_is_and_what_is_not(UNUSED void **state)
{
    CLEANUP(known_free_p) struct known *known = NULL;
    struct known_position pos;
    struct known_entry entry;

    assert_int_equal(known_new(1 << 20, &known), 0);
    add(known, "a", "c/z", (const char *const[]){"a", "b", "c/", "c/z", NULL}, 1);
    assert_true(known_seek(known, "b", &any, &pos));
    assert_true(known_next(&pos, &entry));
    assert_string_equal(entry.key, "b");
    assert_int_equal(entry.size, 2);
    assert_true(known_seek(known, "bb", &any, &pos));
    assert_true(known_next(&pos, &entry));
    assert_string_equal(entry.key, "c/");
    assert_true(known_seek(known, "c/z", &any, &pos));
    assert_true(known_next(&pos, &entry));
    assert_false(known_next(&pos, &entry));
    assert_false(known_seek(known, "c/z\x01", &any, &pos));
    assert_false(known_seek(known, "Z", &any, &pos));
}

static void an_old_page_is_not_believed(UNUSED void **state)
{
    CLEANUP(known_free_p) struct known *known = NULL;
    struct known_position pos;

    assert_int_equal(known_new(1 << 20, &known), 0);
    add(known, "a", "z", (const char *const[]){"a", NULL}, 5);
    assert_true(known_seek(known, "a", &(const struct known_oldest){5, 105}, &pos));
    assert_false(known_seek(known, "a", &(const struct known_oldest){6, 0}, &pos));
    assert_false(known_seek(known, "a", &(const struct known_oldest){0, 106}, &pos));
}

static bool is_there(const struct known *known, const char *key, uint64_t asked)
{
    struct known_position pos;
    struct known_entry entry;

    return known_seek(known, key, &any, &pos) && pos.asked == asked && known_next(&pos, &entry) &&
           strcmp(entry.key, key) == 0;
}

static void older_pages_keep_what_a_newer_one_says_nothing_of(UNUSED void **state)
{
    CLEANUP(known_free_p) struct known *known = NULL;
    struct known_position pos;
    struct known_entry entry;

    assert_int_equal(known_new(1 << 20, &known), 0);
    add(known, "a", "c", (const char *const[]){"a", "ab", "c", NULL}, 1);
    add(known, "d", "f", (const char *const[]){"d", "f", NULL}, 2);
    add(known, "x", "z", (const char *const[]){"y", NULL}, 3);
    add(known, "b", "e", (const char *const[]){"bb", NULL}, 4);
    assert_true(is_there(known, "a", 1));
    assert_true(is_there(known, "bb", 4));
    assert_true(is_there(known, "f", 2));
    assert_true(is_there(known, "y", 3));
    assert_false(is_there(known, "c", 1)); /* it has gone since */
    assert_false(is_there(known, "d", 2));
    assert_true(known_seek(known, "ab\x01", &any, &pos));
    assert_false(known_next(&pos, &entry));
    assert_string_equal(pos.end, "b"); /* where the newer one begins: nothing lies between */
    assert_true(known_seek(known, pos.end, &any, &pos));
    assert_int_equal(pos.asked, 4);
}

static void a_newer_page_within_an_older_one_parts_it(UNUSED void **state)
{
    CLEANUP(known_free_p) struct known *known = NULL;
    struct known_position pos;

    assert_int_equal(known_new(1 << 20, &known), 0);
    add(known, "a", "z", (const char *const[]){"b", "m", "y", NULL}, 1);
    add(known, "l", "n", (const char *const[]){"ma", NULL}, 2);
    assert_true(is_there(known, "b", 1));
    assert_true(is_there(known, "ma", 2));
    assert_true(is_there(known, "y", 1));
    assert_false(is_there(known, "m", 1));
    assert_true(known_seek(known, "z", &any, &pos));
    assert_false(known_seek(known, "z\x01", &any, &pos));
    add(known, "", "zz", (const char *const[]){"q", NULL}, 3);
    assert_true(is_there(known, "q", 3));
    assert_false(is_there(known, "b", 1));
    assert_true(known_seek(known, "b", &any, &pos));
    assert_int_equal(pos.asked, 3);
}

static void a_page_ends_all_that_begins_alike(UNUSED void **state)
{
    CLEANUP(known_free_p) struct known *known = NULL;
    struct known_position pos;

    assert_int_equal(known_new(1 << 20, &known), 0);
    add(known, "d/", "d/" KNOWN_LAST, (const char *const[]){"d/a", "d/e/x", NULL}, 1);
    assert_true(known_seek(known, "d/", &any, &pos));
    assert_true(known_ends(&pos, "d/"));
    assert_true(known_ends(&pos, "d/e/"));
    add(known, "d/e/", "d/e/m", (const char *const[]){"d/e/m", NULL}, 2);
    assert_true(known_seek(known, "d/", &any, &pos));
    assert_false(known_ends(&pos, "d/"));
    assert_true(known_ends(&pos, "d/a/"));
    assert_true(known_seek(known, "d/e/", &any, &pos));
    assert_false(known_ends(&pos, "d/e/"));
    assert_true(known_seek(known, pos.end, &any, &pos));
    assert_true(known_ends(&pos, "d/e/"));
}

static void memory_has_a_limit_and_the_oldest_pages_go(UNUSED void **state)
{
    CLEANUP(known_free_p) struct known *known = NULL;
    struct known_position pos;

    assert_int_equal(known_new(2000, &known), 0);
    for (unsigned i = 0; i < 26; i++) {
        const char from[] = {(char)('a' + i), '\0'};
        const char to[] = {(char)('a' + i), 'z', '\0'};

        add(known, from, to, (const char *const[]){from, to, NULL}, i);
        assert_true(known_bytes(known) <= 2000);
    }
    assert_false(known_seek(known, "a", &any, &pos));
    assert_true(known_seek(known, "z", &any, &pos));
}

static void where_it_ends_before_a_key_is_told(UNUSED void **state)
{
    CLEANUP(known_free_p) struct known *known = NULL;
    const struct known_oldest young = {2, 0};

    assert_int_equal(known_new(1 << 20, &known), 0);
    assert_null(known_end_before(known, "b", &any));
    add(known, "a", "c", (const char *const[]){"a", "c", NULL}, 1);
    add(known, "m", "p", (const char *const[]){"m", NULL}, 2);
    assert_null(known_end_before(known, "A", &any));
    assert_null(known_end_before(known, "b", &any));
    assert_string_equal(known_end_before(known, "d", &any), "c\x01");
    assert_null(known_end_before(known, "d", &young));
    assert_string_equal(known_end_before(known, "z", &young), "p\x01");
}

static void keys_out_of_order_are_noticed(UNUSED void **state)
{
    struct objstore_entry entries[2] = {{.key = "a/x"}, {.key = "a-b"}};
    struct known_range range = {.from = "", .to = "z", .entries = entries, .count = 2};

    assert_false(known_ordered(&range));
    range.count = 1;
    assert_true(known_ordered(&range));
    range.from = "b";
    assert_false(known_ordered(&range));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_tells_what_is_and_what_is_not),
        cmocka_unit_test(an_old_page_is_not_believed),
        cmocka_unit_test(older_pages_keep_what_a_newer_one_says_nothing_of),
        cmocka_unit_test(a_newer_page_within_an_older_one_parts_it),
        cmocka_unit_test(a_page_ends_all_that_begins_alike),
        cmocka_unit_test(memory_has_a_limit_and_the_oldest_pages_go),
        cmocka_unit_test(where_it_ends_before_a_key_is_told),
        cmocka_unit_test(keys_out_of_order_are_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

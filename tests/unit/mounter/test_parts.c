/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "mounter/write/parts.h"
#include "test.h"

static const uint64_t mib = 1 << 20;
static const uint64_t gib = 1 << 30;
static const uint64_t tib = UINT64_C(1) << 40;

static const struct objstore_caps aws = {.unequal_parts = true,
                                         .part_copy = true,
                                         .part_min = 5 << 20,
                                         .part_max = UINT64_C(5) << 30,
                                         .object_max = 10000 * (UINT64_C(5) << 30),
                                         .copy_max = UINT64_C(5) << 30};

static void a_schedule_grows_to_5_tib_and_its_parts_follow_each_other(UNUSED void **state)
{
    struct parts_schedule s;

    parts_schedule_make(&aws, 0, 64 * gib, &s);
    assert_int_equal(parts_offset(&s, 1), 0);
    assert_int_equal(parts_offset(&s, 2), 8 * mib);
    assert_int_equal(parts_offset(&s, 1001), 8000 * mib);
    assert_int_equal(parts_offset(&s, 1002), 8016 * mib);
    assert_true(parts_offset(&s, PARTS_MAX + 1) > 5 * tib);
    for (uint32_t part = 1; part <= PARTS_MAX; part++) {
        uint64_t len = parts_offset(&s, part + 1) - parts_offset(&s, part);

        assert_true(len >= aws.part_min && len <= aws.part_max);
    }
}

static void a_schedule_fits_its_pool_several_times(UNUSED void **state)
{
    static const uint64_t pools[] = {16 << 20, 85 << 20, 341 << 20};
    struct parts_schedule s;

    for (size_t i = 0; i < 3; i++) {
        parts_schedule_make(&aws, 0, pools[i], &s);
        assert_true(s.cap_len == 8 * mib || s.cap_len <= pools[i] / 4);
        assert_int_equal(parts_offset(&s, PARTS_MAX + 1) - parts_offset(&s, PARTS_MAX), s.cap_len);
    }
}

/* What outgrew its schedule is completed, and goes on with copies. */
static void completed_files_go_on_until_40_tib(UNUSED void **state)
{
    struct parts_schedule s;
    uint64_t size = 0;
    int rounds = 0;

    while (size < 40 * tib) {
        parts_schedule_make(&aws, size, 4 * gib, &s);
        assert_int_equal(s.copied, size);
        assert_true(parts_offset(&s, PARTS_MAX + 1) > size);
        for (uint32_t part = 1; part <= PARTS_MAX; part++) {
            uint64_t len = parts_offset(&s, part + 1) - parts_offset(&s, part);

            assert_true(len >= aws.part_min && len <= aws.part_max);
        }
        size = parts_offset(&s, PARTS_MAX + 1) - 12345;
        rounds++;
    }
    assert_true(rounds < 30);
}

static void parts_after_copies_begin_where_blocks_do(UNUSED void **state)
{
    struct parts_schedule s;

    parts_schedule_make(&aws, 10 * gib + 12345, 341 << 20, &s);
    assert_int_equal(parts_copied(&s), 41);
    assert_int_equal(parts_offset(&s, 42), 10 * gib + 12345);
    for (uint32_t part = 43; part < 2000; part++) {
        assert_int_equal(parts_offset(&s, part) % mib, 0);
    }
}

static void the_count_of_parts_is_exact_at_their_ends(UNUSED void **state)
{
    struct parts_schedule s;

    parts_schedule_make(&aws, 0, 341 << 20, &s);
    assert_int_equal(parts_count(&s, 1), 1);
    assert_int_equal(parts_count(&s, 8 * mib), 1);
    assert_int_equal(parts_count(&s, 8 * mib + 1), 2);
    assert_int_equal(parts_count(&s, 8000 * mib), 1000);
    assert_int_equal(parts_count(&s, 8000 * mib + 1), 1001);
    assert_true(parts_count(&s, 100 * tib) > PARTS_MAX);
}

static void stores_of_equal_parts_get_equal_parts(UNUSED void **state)
{
    struct objstore_caps equal = aws;
    struct parts_schedule s;
    const struct parts_range dirty = {5 * gib, 5 * gib + 1};
    const struct parts_file file = {&equal, 10 * gib, 10 * gib, &dirty, 1};
    struct parts_item *items;
    size_t count;

    equal.unequal_parts = false;
    parts_schedule_make(&equal, 0, 85 << 20, &s);
    assert_int_equal(parts_offset(&s, 9001), 9000 * s.first_len);
    assert_int_equal(parts_plan(&file, &items, &count), 0);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(items[i].len, items[0].len);
        assert_int_equal(items[i].copy,
                         items[i].offset + items[i].len <= 5 * gib || items[i].offset > 5 * gib);
    }
    free(items);
}

/* In order, without gaps, none too small or too large; what is dirty is not copied. */
static void check_plan(const struct parts_file *file, const struct parts_item *items, size_t count)
{
    uint64_t at = 0;

    for (size_t i = 0; i < count; i++) {
        assert_int_equal(items[i].offset, at);
        assert_true(items[i].len > 0 && items[i].len <= file->caps->part_max);
        assert_true(i == count - 1 || items[i].len >= file->caps->part_min);
        at += items[i].len;
        if (items[i].copy) {
            assert_true(at <= file->base);
            for (size_t j = 0; j < file->dirty_count; j++) {
                assert_true(file->dirty[j].to <= items[i].offset || file->dirty[j].from >= at);
            }
        } else if (i + 1 < count && !items[i + 1].copy) {
            assert_int_equal(at % (128 << 10), 0); /* no block of dirty bytes is in two parts */
        }
    }
    assert_int_equal(at, file->size);
    assert_true(count <= PARTS_MAX);
}

static void one_byte_of_10_gb_costs_one_small_part_and_long_copies(UNUSED void **state)
{
    static const uint64_t places[] = {0, 1, 5 << 20, 5000000000, 9999999998, 9999999999};

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        const struct parts_range dirty = {places[i], places[i] + 1};
        const struct parts_file file = {&aws, 10000000000, 10000000000, &dirty, 1};
        struct parts_item *items;
        size_t count;
        uint64_t sent = 0;

        assert_int_equal(parts_plan(&file, &items, &count), 0);
        check_plan(&file, items, count);
        for (size_t j = 0; j < count; j++) {
            sent += items[j].copy ? 0 : items[j].len;
        }
        assert_true(sent <= 10 * mib);
        assert_true(count <= 1 + 10000000000 / (256 * mib) + 1);
        free(items);
    }
}

static void any_dirty_ranges_make_a_plan_that_stores_accept(UNUSED void **state)
{
    struct parts_range dirty[300];

    srandom(7);
    for (int round = 0; round < 500; round++) {
        uint64_t size = 1 + (uint64_t)random() * (uint64_t)(random() % 1000 + 1) % (200 * gib);
        uint64_t at = 0;
        struct parts_file file = {&aws, size, (uint64_t)random() * 64 % (size + 1), dirty, 0};
        struct parts_item *items;
        size_t count;

        while (file.dirty_count < 300 && at < size) {
            uint64_t from = at + (uint64_t)random() % (size / 50 + 2);
            uint64_t to = from + 1 + (uint64_t)random() % (round % 2 == 0 ? 4096 : 20 * mib);

            if (to > size) {
                break;
            }
            dirty[file.dirty_count++] = (struct parts_range){from, to};
            at = to + 1;
        }
        assert_int_equal(parts_plan(&file, &items, &count), 0);
        check_plan(&file, items, count);
        free(items);
    }
}

static void a_plan_of_a_huge_new_file_keeps_to_ten_thousand_parts(UNUSED void **state)
{
    const struct parts_file file = {&aws, 40 * tib, 0, NULL, 0};
    struct parts_item *items;
    size_t count;

    assert_int_equal(parts_plan(&file, &items, &count), 0);
    check_plan(&file, items, count);
    free(items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_schedule_grows_to_5_tib_and_its_parts_follow_each_other),
        cmocka_unit_test(a_schedule_fits_its_pool_several_times),
        cmocka_unit_test(completed_files_go_on_until_40_tib),
        cmocka_unit_test(parts_after_copies_begin_where_blocks_do),
        cmocka_unit_test(the_count_of_parts_is_exact_at_their_ends),
        cmocka_unit_test(stores_of_equal_parts_get_equal_parts),
        cmocka_unit_test(one_byte_of_10_gb_costs_one_small_part_and_long_copies),
        cmocka_unit_test(any_dirty_ranges_make_a_plan_that_stores_accept),
        cmocka_unit_test(a_plan_of_a_huge_new_file_keeps_to_ten_thousand_parts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

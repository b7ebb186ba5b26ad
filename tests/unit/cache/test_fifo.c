/* SPDX-License-Identifier: Apache-2.0 */
/* Which cached thing goes next. */
#include <stdlib.h>
#include <string.h>

#include "cache/fifo.h"
#include "test.h"

enum { CAPACITY = 1000, ITEMS = 100000 };

static struct fifo_entry entries[ITEMS];

static uint64_t hash_of(size_t i)
{
    uint64_t hash = (i + 1) * UINT64_C(0x9E3779B97F4A7C15);

    return hash ^ (hash >> 31);
}

/* Use an item as a cache of CAPACITY bytes would; true: it was there. */
static bool use(struct fifo *fifo, size_t i)
{
    if (entries[i].where != 0) {
        fifo_used(&entries[i]);
        return true;
    }
    while (fifo_bytes(fifo) + 1 > CAPACITY) {
        assert_non_null(fifo_victim(fifo, NULL, NULL));
    }
    fifo_add(fifo, &entries[i], hash_of(i), 1);
    return false;
}

static struct fifo *begin(void)
{
    struct fifo *fifo;

    memset(entries, 0, sizeof(entries));
    assert_int_equal(fifo_new(CAPACITY, &fifo), 0);
    return fifo;
}

static void a_scan_leaves_what_is_used_often(UNUSED void **state)
{
    CLEANUP(fifo_free_p) struct fifo *fifo = begin();
    size_t kept = 0;

    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < 500; i++) {
            (void)use(fifo, i);
        }
    }
    for (size_t i = 500; i < ITEMS; i++) { /* a hundred times what fits, once */
        (void)use(fifo, i);
        if (i % 50 == 0) {
            (void)use(fifo, i / 50 % 500); /* meanwhile the others go on being used, now and then */
        }
    }
    for (size_t i = 0; i < 500; i++) {
        kept += entries[i].where != 0;
    }
    assert_true(kept > 450);
    assert_true(fifo_bytes(fifo) <= CAPACITY);
}

static void what_was_used_once_goes_in_the_order_it_came(UNUSED void **state)
{
    CLEANUP(fifo_free_p) struct fifo *fifo = begin();

    for (size_t i = 0; i < 10; i++) {
        fifo_add(fifo, &entries[i], hash_of(i), 1);
    }
    for (size_t i = 0; i < 10; i++) {
        assert_ptr_equal(fifo_victim(fifo, NULL, NULL), &entries[i]);
    }
    assert_null(fifo_victim(fifo, NULL, NULL));
    assert_int_equal(fifo_count(fifo), 0);
}

static void who_comes_back_soon_stays_longer(UNUSED void **state)
{
    CLEANUP(fifo_free_p) struct fifo *fifo = begin();

    fifo_add(fifo, &entries[0], hash_of(0), 1);
    assert_ptr_equal(fifo_victim(fifo, NULL, NULL), &entries[0]);
    fifo_add(fifo, &entries[0], hash_of(0), 1); /* again: it is remembered */
    for (size_t i = 1; i < 20; i++) {
        fifo_add(fifo, &entries[i], hash_of(i), 1);
    }
    assert_ptr_equal(fifo_victim(fifo, NULL, NULL), &entries[1]);
    assert_int_not_equal(entries[0].where, 0);
}

static bool is_even(struct fifo_entry *entry, UNUSED void *arg)
{
    return (entry - entries) % 2 == 0;
}

static void who_may_not_go_is_passed_over_and_stays(UNUSED void **state)
{
    CLEANUP(fifo_free_p) struct fifo *fifo = begin();

    for (size_t i = 0; i < 10; i++) {
        fifo_add(fifo, &entries[i], hash_of(i), 3);
    }
    for (size_t i = 0; i < 5; i++) {
        assert_true(is_even(fifo_victim(fifo, is_even, NULL), NULL));
    }
    assert_null(fifo_victim(fifo, is_even, NULL));
    assert_int_equal(fifo_count(fifo), 5);
    assert_int_equal(fifo_bytes(fifo), 15);
    fifo_resize(fifo, &entries[1], 7);
    assert_int_equal(fifo_bytes(fifo), 19);
    fifo_remove(fifo, &entries[1]);
    fifo_remove(fifo, &entries[1]); /* in no queue: left alone */
    assert_int_equal(fifo_bytes(fifo), 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scan_leaves_what_is_used_often),
        cmocka_unit_test(what_was_used_once_goes_in_the_order_it_came),
        cmocka_unit_test(who_comes_back_soon_stays_longer),
        cmocka_unit_test(who_may_not_go_is_passed_over_and_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

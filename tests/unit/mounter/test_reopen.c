/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/write/reopen.h"

#include "test.h"

static struct reopen table[REOPENS];
static uint64_t since;

static int empty(void **state)
{
    (void)state;
    for (int i = 0; i < REOPENS; i++) {
        table[i] = (struct reopen){0};
    }
    return 0;
}

static void test_who_was_sent_back_is_known_once(void **state)
{
    (void)state;
    assert_false(reopen_take(table, 7, 100, &since));
    assert_true(reopen_send(table, 42, 7, 100));
    assert_false(reopen_take(table, 8, 100, &since));
    assert_int_equal(reopen_out(table, 7, 101), 42);
    assert_int_equal(reopen_out(table, 8, 101), 0);
    assert_true(reopen_take(table, 7, 101, &since));
    assert_int_equal(since, 42);
    assert_int_equal(reopen_out(table, 7, 102), 0);
    assert_false(reopen_take(table, 7, 102, &since));
}

static void test_threads_that_share_a_place_do_not_take_it_from_each_other(void **state)
{
    (void)state;
    assert_true(reopen_send(table, 42, 7, 100));
    assert_false(reopen_send(table, 42, 7 + REOPENS, 101));
    assert_false(reopen_take(table, 7 + REOPENS, 101, &since));
    assert_true(reopen_take(table, 7, 102, &since));
    assert_true(reopen_send(table, 43, 7 + REOPENS, 103));
    assert_true(reopen_take(table, 7 + REOPENS, 104, &since));
    assert_int_equal(since, 43);
}

static void test_a_thread_may_go_elsewhere_and_be_sent_back_there(void **state)
{
    (void)state;
    assert_true(reopen_send(table, 42, 7, 100));
    assert_true(reopen_send(table, 43, 7, 101));
    assert_true(reopen_take(table, 7, 102, &since));
    assert_int_equal(since, 43);
}

static void test_who_does_not_come_back_is_forgotten(void **state)
{
    (void)state;
    assert_true(reopen_send(table, 42, 7, 100));
    assert_false(reopen_take(table, 7, 10000, &since));
    assert_true(reopen_send(table, 44, 7 + REOPENS, 10000));
}

static void test_of_threads_without_a_number_one_is_out_at_a_time(void **state)
{
    (void)state;
    assert_true(reopen_send(table, 42, 0, 100));
    assert_false(reopen_send(table, 42, 0, 101));
    assert_true(reopen_take(table, 0, 102, &since));
    assert_true(reopen_send(table, 42, 0, 103));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_who_was_sent_back_is_known_once, empty),
        cmocka_unit_test_setup(test_threads_that_share_a_place_do_not_take_it_from_each_other,
                               empty),
        cmocka_unit_test_setup(test_a_thread_may_go_elsewhere_and_be_sent_back_there, empty),
        cmocka_unit_test_setup(test_who_does_not_come_back_is_forgotten, empty),
        cmocka_unit_test_setup(test_of_threads_without_a_number_one_is_out_at_a_time, empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

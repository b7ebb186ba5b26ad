/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/write/sweep.h"

#include "test.h"

#define A ".skyvol/open/a000000000000001"
#define B ".skyvol/open/b000000000000002"

static void a_key_tells_whose_it_is(void **state)
{
    (void)state;
    assert_true(sweep_owner(A "-x1") == 0xa000000000000001);
    assert_true(sweep_owner(A ".alive") == 0xa000000000000001);
    assert_int_equal(sweep_owner(A), 0);
    assert_int_equal(sweep_owner(A ".other"), 0);
    assert_int_equal(sweep_owner(A "0-x1"), 0);
    assert_int_equal(sweep_owner(".skyvol/open/of-an-older-form"), 0);
    assert_int_equal(sweep_owner("name"), 0);
}

static void what_one_sign_of_life_covers_stays(void **state)
{
    struct sweep_entry entries[] = {{A "-x1", 10, false},     {A "-x2", 99, false},
                                    {A ".alive", 100, false}, {B "-x1", 10, false},
                                    {B "-x2", 98, false},     {B ".alive", 20, false}};

    (void)state;
    sweep_judge(entries, 6, 7, 99);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(entries[i].dead, i >= 3);
    }
}

static void of_our_own_each_is_judged_by_its_age(void **state)
{
    struct sweep_entry entries[] = {
        {A "-x1", 10, false}, {A "-x2", 99, false}, {A ".alive", 100, false}};

    (void)state;
    sweep_judge(entries, 3, 0xa000000000000001, 50);
    assert_true(entries[0].dead);
    assert_false(entries[1].dead);
    assert_false(entries[2].dead);
}

static void names_of_another_form_stay(void **state)
{
    struct sweep_entry entries[] = {{".skyvol/open/x", 1, false}, {".skyvol/open/y", 1, false}};

    (void)state;
    sweep_judge(entries, 2, 0, 50);
    assert_false(entries[0].dead);
    assert_false(entries[1].dead);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_tells_whose_it_is),
        cmocka_unit_test(what_one_sign_of_life_covers_stays),
        cmocka_unit_test(of_our_own_each_is_judged_by_its_age),
        cmocka_unit_test(names_of_another_form_stay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

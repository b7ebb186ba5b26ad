/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/budget.h"

#include "test.h"

enum { MIB = 1 << 20, THREADS = 4 };

static struct budget of(uint64_t mib, uint32_t connections)
{
    struct budget budget;

    budget_of(&(struct budget_wish){mib * MIB, THREADS, connections}, &budget);
    return budget;
}

static void all_parts_together_fit_into_the_memory(void **state)
{
    (void)state;
    for (uint64_t mib = 64; mib <= 8192; mib++) {
        struct budget b = of(mib, 0);

        assert_true(b.dirty_bytes + b.reader_bytes + b.fixed_bytes <= mib * MIB);
        assert_true(b.dirty_bytes <= mib * MIB / 2); /* a successor has room beside it */
    }
}

static void more_memory_never_gives_less_of_anything(void **state)
{
    struct budget before = of(1, 0);

    (void)state;
    for (uint64_t mib = 2; mib <= 1024; mib++) {
        struct budget b = of(mib, 0);

        assert_true(b.dirty_bytes >= before.dirty_bytes);
        assert_true(b.connections >= before.connections);
        assert_true(b.arenas >= before.arenas);
        before = b;
    }
}

static void the_default_leaves_nearly_half_to_what_is_read(void **state)
{
    struct budget b = of(256, 0);

    (void)state;
    assert_true(b.reader_bytes >= UINT64_C(110) * MIB);
    assert_int_equal(b.connections, 64);
}

static void connections_asked_for_by_name_are_given(void **state)
{
    (void)state;
    assert_int_equal(of(64, 200).connections, 200);
    assert_int_equal(of(64, 0).connections, 16);
    assert_int_equal(of(1, 0).connections, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_parts_together_fit_into_the_memory),
        cmocka_unit_test(more_memory_never_gives_less_of_anything),
        cmocka_unit_test(the_default_leaves_nearly_half_to_what_is_read),
        cmocka_unit_test(connections_asked_for_by_name_are_given),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

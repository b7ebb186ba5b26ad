/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <stdatomic.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/container.h"
#include "util/delay.h"

struct thing {
    struct delay_entry entry;
    atomic_int ran; /* 0: not yet; then its place, negative if early */
};

static atomic_int runs;

static void run(struct delay_entry *entry, bool early)
{
    struct thing *thing = container_of(entry, struct thing, entry);
    int place = atomic_fetch_add(&runs, 1) + 1;

    atomic_store(&thing->ran, early ? -place : place);
}

static uint64_t in(uint64_t ms)
{
    return clock_monotonic_ms(clock_real()) + ms;
}

static int wait_for(const struct thing *thing)
{
    for (int i = 0; i < 5000 && atomic_load(&thing->ran) == 0; i++) {
        (void)usleep(1000);
    }
    return atomic_load(&thing->ran);
}

static void what_is_due_first_runs_first(void **state UNUSED)
{
    struct thing late = {0};
    struct thing soon = {0};
    struct delay *delay;
    uint64_t start = in(0);

    atomic_store(&runs, 0);
    assert_int_equal(delay_new(run, &delay), 0);
    assert_true(delay_add(delay, &late.entry, start + 60));
    assert_true(delay_add(delay, &soon.entry, start + 20));
    assert_int_equal(wait_for(&late), 2);
    assert_int_equal(atomic_load(&soon.ran), 1);
    assert_true(in(0) >= start + 60);
    assert_false(delay_cancel(delay, &late.entry));
    delay_free(delay);
}

static void what_is_cancelled_runs_early_and_once(void **state UNUSED)
{
    struct thing one = {0};
    struct thing other = {0};
    struct delay *delay;

    atomic_store(&runs, 0);
    assert_int_equal(delay_new(run, &delay), 0);
    assert_true(delay_add(delay, &one.entry, in(600000)));
    assert_true(delay_add(delay, &other.entry, in(600000)));
    assert_true(delay_cancel(delay, &other.entry));
    assert_int_equal(wait_for(&other), -1);
    assert_int_equal(atomic_load(&one.ran), 0);
    delay_free(delay);
    assert_int_equal(atomic_load(&one.ran), -2);
    assert_int_equal(atomic_load(&runs), 2);
}

static void nothing_is_taken_once_it_ends(void **state UNUSED)
{
    struct thing thing = {0};
    struct delay *delay;

    assert_int_equal(delay_new(run, &delay), 0);
    delay_end(delay);
    assert_false(delay_add(delay, &thing.entry, in(1)));
    delay_free(delay);
    assert_int_equal(atomic_load(&thing.ran), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_due_first_runs_first),
        cmocka_unit_test(what_is_cancelled_runs_early_and_once),
        cmocka_unit_test(nothing_is_taken_once_it_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

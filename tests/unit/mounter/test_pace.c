/* SPDX-License-Identifier: Apache-2.0 */
/* When removed names go to the store: one by itself at once, many together however slowly they
 * come. */
#include "mounter/names/pace.h"
#include "test.h"

enum { BATCH = 1000 };

/* What a removal of many costs if one comes every `every_us`, and each `falter`th `stall_ms` late.
 */
struct removal {
    unsigned names, every_us, falter, stall_ms;
    uint64_t takes_ms; /* a request */
};

struct cost {
    unsigned requests;
    uint64_t after_ms; /* from the last removal to the last request */
};

static uint64_t comes_ms(const struct removal *r, unsigned n)
{
    uint64_t stalls = r->falter > 0 ? n / r->falter : 0;

    return 1000 + (uint64_t)n * r->every_us / 1000 + stalls * r->stall_ms;
}

static struct cost play(const struct removal *r, bool shared)
{
    struct pace pace;
    struct pace_waiting waiting = {0};
    struct cost cost = {0};
    uint64_t now = 0;
    uint64_t busy_until = 0;
    unsigned next = 0;

    pace_init(&pace, shared);
    while (next < r->names || waiting.count > 0) {
        for (; next < r->names && comes_ms(r, next) <= now; next++) {
            waiting.first_ms = waiting.count == 0 ? now : waiting.first_ms;
            waiting.count++;
            pace_removed(&pace, now);
        }
        waiting.under_way = now < busy_until;
        if (waiting.count >= BATCH || (waiting.count > 0 && now >= pace_due_ms(&pace, &waiting))) {
            if (waiting.count < BATCH) {
                pace_sent(&pace);
            }
            waiting.count = 0;
            cost.requests++;
            busy_until = now + r->takes_ms;
        }
        now++;
    }
    cost.after_ms = now - 1 - comes_ms(r, r->names - 1);
    return cost;
}

static void one_by_itself_goes_at_once(UNUSED void **state)
{
    const struct removal one = {.names = 1};

    assert_int_equal(play(&one, true).after_ms, 20);
    assert_int_equal(play(&one, false).after_ms, 150);
}

static void each_of_some_far_apart_goes_at_once(UNUSED void **state)
{
    const struct removal some = {.names = 10, .every_us = 1000000};
    struct cost cost = play(&some, true);

    assert_int_equal(cost.requests, 10);
    assert_int_equal(cost.after_ms, 20);
}

static void a_tree_costs_few_requests_however_slow_the_machine_is(UNUSED void **state)
{
    static const unsigned every_us[] = {100, 700, 3000, 10000};

    for (int shared = 0; shared < 2; shared++) {
        for (size_t i = 0; i < sizeof(every_us) / sizeof(every_us[0]); i++) {
            struct removal tree = {.names = 905, .every_us = every_us[i], .takes_ms = 30};

            assert_in_range(play(&tree, shared).requests, 1, 4);
            tree.falter = 100; /* somebody else has the processor */
            tree.stall_ms = 60;
            assert_in_range(play(&tree, shared).requests, 1, 4);
            assert_in_range(play(&tree, shared).after_ms, 0, 600);
        }
    }
}

static void what_comes_meanwhile_waits_for_the_request_under_way(UNUSED void **state)
{
    const struct removal slow_store = {.names = 60, .every_us = 10000, .takes_ms = 5000};
    struct cost cost = play(&slow_store, true);

    assert_int_equal(cost.requests, 2);
    assert_in_range(cost.after_ms, 0, 700); /* but not for long */
}

static void few_that_keep_coming_are_sent_within_a_second(UNUSED void **state)
{
    const struct removal cleaner = {.names = 100, .every_us = 100000};

    assert_in_range(play(&cleaner, true).requests, 10, 20);
    assert_in_range(play(&cleaner, false).requests, 10, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_by_itself_goes_at_once),
        cmocka_unit_test(each_of_some_far_apart_goes_at_once),
        cmocka_unit_test(a_tree_costs_few_requests_however_slow_the_machine_is),
        cmocka_unit_test(what_comes_meanwhile_waits_for_the_request_under_way),
        cmocka_unit_test(few_that_keep_coming_are_sent_within_a_second),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

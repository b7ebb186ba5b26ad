/* SPDX-License-Identifier: Apache-2.0 */
/* Which dirty files are published though nobody asks. */
#include "mounter/write/publish_internal.h"
#include "test.h"

static const int64_t second = 1000000000;

static void what_is_closed_is_due(void **state)
{
    (void)state;
    assert_true(publish_is_due(&(struct publish_age){.dirty_ns = 1}));
    assert_true(publish_is_due(
        &(struct publish_age){.dirty_ns = 1, .is_streamed = true, .sending = 3, .quiet_ms = 1}));
}

static void what_is_open_is_due_after_half_a_minute(void **state)
{
    (void)state;
    assert_false(publish_is_due(&(struct publish_age){.is_open = true, .dirty_ns = 29 * second}));
    assert_true(publish_is_due(&(struct publish_age){.is_open = true, .dirty_ns = 31 * second}));
}

static void an_upload_that_moves_on_is_not_ended(void **state)
{
    struct publish_age age = {.is_open = true, .dirty_ns = 3600 * second, .is_streamed = true};

    (void)state;
    age.quiet_ms = 29000;
    assert_false(publish_is_due(&age));
    age.quiet_ms = 31000;
    age.sending = 1; /* one part may take longer than that */
    assert_false(publish_is_due(&age));
    age.sending = 0;
    assert_true(publish_is_due(&age));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_closed_is_due),
        cmocka_unit_test(what_is_open_is_due_after_half_a_minute),
        cmocka_unit_test(an_upload_that_moves_on_is_not_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What is said at the end of a mount that the store did not let begin. */
#include "mounter/trying.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "test.h"

static struct trying begin(void)
{
    return (struct trying){.store = "http://h:1", .deadline_ms = 60000};
}

static void the_last_word_is_what_the_store_failed_with_not_that_time_was_over(UNUSED void **state)
{
    struct trying t = begin();
    struct error err = ERROR_INIT;

    trying_begin(&t);
    trying_tried(-ECONNREFUSED, "Failed to connect to h port 1", 2);
    trying_tried(-ETIMEDOUT, "no complete answer in time", 1);
    assert_int_equal(trying_end(&t, -ETIMEDOUT, &err), -ECONNREFUSED);
    assert_non_null(strstr(err.text, "Failed to connect to h port 1"));
    assert_null(strstr(err.text, "in time"));
}

static void a_store_that_is_silent_for_long_is_said_to_be(UNUSED void **state)
{
    struct trying t = begin();
    struct error err = ERROR_INIT;

    trying_begin(&t);
    trying_tried(-ECONNREFUSED, "Failed to connect to h port 1", 2);
    trying_tried(-ETIMEDOUT, "no complete answer in time", 40000);
    assert_int_equal(trying_end(&t, -ETIMEDOUT, &err), -ETIMEDOUT);
    assert_non_null(strstr(err.text, "no complete answer in time"));
}

static void nothing_is_changed_that_is_no_matter_of_reaching_it(UNUSED void **state)
{
    struct trying t = begin();
    struct error err = ERROR_INIT;

    trying_tried(-ECONNREFUSED, "before it began", 2);
    trying_begin(&t);
    trying_tried(-ECONNREFUSED, "Failed to connect to h port 1", 2);
    assert_int_equal(trying_end(&t, error_set(&err, -EACCES, "AccessDenied"), &err), -EACCES);
    assert_string_equal(err.text, "AccessDenied");
    t = begin();
    trying_begin(&t);
    trying_tried(-ECONNREFUSED, "Failed to connect to h port 1", 2);
    trying_tried(0, "", 2);
    assert_int_equal(trying_end(&t, 0, &err), 0);
}

struct heard {
    atomic_int count;
    atomic_int code;
};

static void hear(void *context, struct error *why)
{
    struct heard *heard = context;

    atomic_store(&heard->code, why->code);
    atomic_fetch_add(&heard->count, 1);
}

static void wait_for(struct heard *heard, int count)
{
    for (int i = 0; i < 2000 && atomic_load(&heard->count) < count; i++) {
        (void)usleep(5000);
    }
    assert_int_equal(atomic_load(&heard->count), count);
}

static void who_starts_us_hears_of_each_kind_of_failure_once(UNUSED void **state)
{
    struct trying t = begin();
    struct heard heard = {0};
    struct error err = ERROR_INIT;

    t.told = hear;
    t.context = &heard;
    trying_begin(&t);
    trying_tried(-ECONNREFUSED, "Failed to connect to h port 1 after 1 ms", 2);
    wait_for(&heard, 1);
    assert_int_equal(atomic_load(&heard.code), -ECONNREFUSED);
    trying_tried(-ECONNREFUSED, "Failed to connect to h port 1 after 3 ms", 2);
    trying_tried(-EHOSTUNREACH, "Could not resolve host: h", 2);
    wait_for(&heard, 2);
    assert_int_equal(atomic_load(&heard.code), -EHOSTUNREACH);
    assert_int_equal(trying_end(&t, 0, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_word_is_what_the_store_failed_with_not_that_time_was_over),
        cmocka_unit_test(a_store_that_is_silent_for_long_is_said_to_be),
        cmocka_unit_test(who_starts_us_hears_of_each_kind_of_failure_once),
        cmocka_unit_test(nothing_is_changed_that_is_no_matter_of_reaching_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"
#include "util/buf.h"
#include "util/cleanup.h"

static void appends_build_one_string(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(100);

    assert_string_equal(buf_str(&b), "");
    buf_addstr(&b, "key=");
    buf_addf(&b, "%d/%s", 42, "x");
    assert_int_equal(buf_error(&b), 0);
    assert_string_equal(buf_str(&b), "key=42/x");
    assert_int_equal(buf_len(&b), 8);
}

static void content_may_hold_nul_bytes(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(100);

    buf_add(&b, "a\0b", 3);
    buf_add(&b, NULL, 0);
    assert_int_equal(buf_len(&b), 3);
    assert_memory_equal(buf_str(&b), "a\0b", 4);
}

static void limit_is_exact_and_error_is_sticky(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(4);

    buf_addstr(&b, "1234");
    assert_int_equal(buf_error(&b), 0);
    buf_addstr(&b, "5");
    assert_int_equal(buf_error(&b), -EFBIG);
    buf_addf(&b, "%s", "");
    assert_int_equal(buf_error(&b), -EFBIG);
    assert_string_equal(buf_str(&b), "1234");

    buf_reset(&b);
    assert_int_equal(buf_error(&b), 0);
    assert_string_equal(buf_str(&b), "");
}

static void growth_keeps_the_content(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(10000);

    for (int i = 0; i < 10000; i++) {
        buf_add(&b, &"ab"[i % 2], 1);
    }
    assert_int_equal(buf_error(&b), 0);
    assert_int_equal(buf_len(&b), 10000);
    assert_int_equal(buf_str(&b)[9999], 'b');
}

static void detach_moves_the_content_out(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(10);
    AUTOFREE char *first = NULL;
    AUTOFREE char *empty = NULL;
    size_t len = 0;

    buf_addstr(&b, "hello");
    assert_int_equal(buf_detach(&b, &first, &len), 0);
    assert_string_equal(first, "hello");
    assert_int_equal(len, 5);
    assert_int_equal(buf_detach(&b, &empty, NULL), 0);
    assert_string_equal(empty, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_build_one_string),
        cmocka_unit_test(content_may_hold_nul_bytes),
        cmocka_unit_test(limit_is_exact_and_error_is_sticky),
        cmocka_unit_test(growth_keeps_the_content),
        cmocka_unit_test(detach_moves_the_content_out),
    };

    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/pipe.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "test.h"

enum { TOTAL = 16 * PIPE_SIZE + 12345 };

static void nothing_is_there_at_first(void **state UNUSED)
{
    struct pipe pipe;
    char byte;

    pipe_init(&pipe);
    assert_int_equal(pipe_read(&pipe, &byte, 1, false), -EAGAIN);
    assert_true(pipe_wake_reader(&pipe));
    assert_false(pipe_wake_reader(&pipe)); /* once */
    pipe_end(&pipe, 0);
    assert_int_equal(pipe_read(&pipe, &byte, 1, false), 0);
    pipe_done(&pipe);
}

static void the_last_byte_waits_for_the_end(void **state UNUSED)
{
    struct pipe pipe;
    char out[8];

    pipe_init(&pipe);
    assert_int_equal(pipe_write(&pipe, "abc", 3), 3);
    assert_int_equal(pipe_read(&pipe, out, sizeof(out), true), 2);
    assert_memory_equal(out, "ab", 2);
    assert_int_equal(pipe_read(&pipe, out, sizeof(out), true), -EAGAIN);
    pipe_end(&pipe, 0);
    assert_int_equal(pipe_read(&pipe, out, sizeof(out), true), 1);
    assert_int_equal(out[0], 'c');
    assert_int_equal(pipe_read(&pipe, out, sizeof(out), true), 0);
    pipe_done(&pipe);
}

static void after_a_bad_end_no_byte_comes_out(void **state UNUSED)
{
    struct pipe pipe;
    char out[8];

    pipe_init(&pipe);
    assert_int_equal(pipe_write(&pipe, "abc", 3), 3);
    pipe_end(&pipe, -EBADMSG);
    pipe_end(&pipe, 0); /* too late: the first counts */
    assert_int_equal(pipe_read(&pipe, out, sizeof(out), true), -EBADMSG);
    pipe_done(&pipe);
}

static void a_full_pipe_takes_what_fits_or_nothing(void **state UNUSED)
{
    static char bytes[PIPE_SIZE + 1];
    struct pipe pipe;

    pipe_init(&pipe);
    assert_int_equal(pipe_write_all(&pipe, bytes, PIPE_SIZE + 1), -EAGAIN);
    assert_true(pipe_wake_writer(&pipe));
    assert_int_equal(pipe_write(&pipe, bytes, 10), 10);
    assert_int_equal(pipe_write_all(&pipe, bytes, PIPE_SIZE - 9), -EAGAIN);
    assert_int_equal(pipe_write(&pipe, bytes, PIPE_SIZE + 1), PIPE_SIZE - 10);
    assert_int_equal(pipe_write(&pipe, bytes, 1), 0);
    assert_true(pipe_wake_writer(&pipe));
    assert_int_equal(pipe_read(&pipe, bytes, 5, false), 5);
    assert_int_equal(pipe_write_all(&pipe, bytes, 5), 0);
    pipe_done(&pipe);
}

static char pattern(size_t at)
{
    return (char)(at * 7 + at / 251);
}

/* As call.c does: the writer goes on when it was refused and woken, the reader likewise. */
static void *write_side(void *arg)
{
    struct pipe *pipe = arg;
    char chunk[3000];

    for (size_t at = 0; at < TOTAL;) {
        size_t len = TOTAL - at < sizeof(chunk) ? TOTAL - at : sizeof(chunk);
        ssize_t n;

        for (size_t i = 0; i < len; i++) {
            chunk[i] = pattern(at + i);
        }
        n = pipe_write(pipe, chunk, len);
        if (n == 0) {
            (void)sched_yield();
        }
        at += n > 0 ? (size_t)n : 0;
        (void)pipe_wake_reader(pipe);
    }
    pipe_end(pipe, 0);
    return NULL;
}

static void two_threads_pass_every_byte_in_order(void **state UNUSED)
{
    static char chunk[70000];
    struct pipe pipe;
    pthread_t writer;
    size_t at = 0;
    ssize_t n;

    pipe_init(&pipe);
    assert_int_equal(pthread_create(&writer, NULL, write_side, &pipe), 0);
    while ((n = pipe_read(&pipe, chunk, sizeof(chunk), true)) != 0) {
        for (ssize_t i = 0; i < n; i++) {
            assert_int_equal(chunk[i], pattern(at + (size_t)i));
        }
        at += n > 0 ? (size_t)n : 0;
        assert_true(n > 0 || n == -EAGAIN);
        if (n < 0) {
            (void)sched_yield();
        }
        (void)pipe_wake_writer(&pipe);
    }
    assert_int_equal(at, TOTAL);
    assert_int_equal(pthread_join(writer, NULL), 0);
    pipe_done(&pipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_there_at_first),
        cmocka_unit_test(the_last_byte_waits_for_the_end),
        cmocka_unit_test(after_a_bad_end_no_byte_comes_out),
        cmocka_unit_test(a_full_pipe_takes_what_fits_or_nothing),
        cmocka_unit_test(two_threads_pass_every_byte_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/pipe.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test.h"

enum { TOTAL = 16 * PIPE_SIZE + 12345 };

static struct spaces spaces;

static int begin(UNUSED void **state)
{
    spaces_init(&spaces, 2 * PIPE_SIZE);
    return 0;
}

static int end(UNUSED void **state)
{
    spaces_done(&spaces);
    return 0;
}

static void nothing_is_there_at_first(void **state UNUSED)
{
    struct pipe pipe;
    char byte;

    pipe_init(&pipe, &spaces);
    assert_int_equal(pipe_read(&pipe, &byte, 1, false), -EAGAIN);
    assert_true(pipe_wake_reader(&pipe, 1));
    assert_false(pipe_wake_reader(&pipe, 1)); /* once */
    pipe_end(&pipe, 0);
    assert_int_equal(pipe_read(&pipe, &byte, 1, false), 0);
    pipe_done(&pipe);
}

static void the_last_byte_waits_for_the_end(void **state UNUSED)
{
    struct pipe pipe;
    char out[8];

    pipe_init(&pipe, &spaces);
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

    pipe_init(&pipe, &spaces);
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

    pipe_init(&pipe, &spaces);
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

/* Whoever comes first has all; the others go on with little. */
static void pipes_grow_while_there_is_memory_left(void **state UNUSED)
{
    static char bytes[2 * PIPE_SIZE];
    static const size_t grown[] = {PIPE_SIZE, PIPE_SIZE / 4, PIPE_FIRST, PIPE_FIRST};
    struct pipe pipes[4];

    spaces.max = PIPE_SIZE + PIPE_SIZE / 2;
    for (size_t i = 0; i < 4; i++) {
        pipe_init(&pipes[i], &spaces);
        spaces.max = i == 2 ? spaces.used : spaces.max;
        assert_int_equal(pipe_write(&pipes[i], bytes, sizeof(bytes)), grown[i]);
        assert_int_equal(pipe_write(&pipes[i], bytes, 1), 0);
    }
    assert_true(spaces.used <= PIPE_SIZE + PIPE_SIZE / 2);
    pipe_done(&pipes[0]);
    assert_int_equal(pipe_write(&pipes[3], bytes, sizeof(bytes)), PIPE_SIZE - PIPE_FIRST);
    for (size_t i = 1; i < 4; i++) {
        pipe_done(&pipes[i]);
    }
}

static void a_pipe_that_is_kept_half_empty_does_not_grow(void **state UNUSED)
{
    static char bytes[PIPE_FIRST];
    struct pipe pipe;

    pipe_init(&pipe, &spaces);
    for (int i = 0; i < 100; i++) {
        assert_true(pipe_room(&pipe, 0) >= PIPE_FIRST / 2);
        assert_int_equal(pipe_write(&pipe, bytes, PIPE_FIRST / 2), PIPE_FIRST / 2);
        assert_int_equal(pipe_read(&pipe, bytes, sizeof(bytes), false), PIPE_FIRST / 2);
    }
    assert_int_equal(spaces.used, 0);
    assert_int_equal(pipe_write(&pipe, bytes, PIPE_FIRST), PIPE_FIRST);
    assert_true(pipe_room(&pipe, 0) > PIPE_FIRST);
    assert_int_not_equal(spaces.used, 0);
    pipe_done(&pipe);
}

static void a_piece_fits_an_empty_pipe_without_memory_left(void **state UNUSED)
{
    static char bytes[PIPE_SIZE];
    struct pipe pipe;

    spaces.max = 0;
    pipe_init(&pipe, &spaces);
    assert_int_equal(pipe_write(&pipe, bytes, 1), 1);
    assert_int_equal(pipe_write_all(&pipe, bytes, PIPE_SIZE), -EAGAIN);
    assert_true(pipe_wake_writer(&pipe));
    assert_int_equal(pipe_read(&pipe, bytes, 1, false), 1);
    assert_int_equal(pipe_write_all(&pipe, bytes, PIPE_SIZE), 0);
    pipe_done(&pipe);
}

static void a_reader_is_not_called_for_a_few_bytes(void **state UNUSED)
{
    static char bytes[PIPE_FIRST];
    struct pipe pipe;

    spaces.max = 0;
    pipe_init(&pipe, &spaces);
    assert_int_equal(pipe_read(&pipe, bytes, 1, false), -EAGAIN);
    assert_int_equal(pipe_write(&pipe, bytes, 100), 100);
    assert_false(pipe_wake_reader(&pipe, PIPE_SIZE / 4));
    assert_int_equal(pipe_write(&pipe, bytes, PIPE_FIRST / 2), PIPE_FIRST / 2);
    assert_true(pipe_wake_reader(&pipe, PIPE_SIZE / 4)); /* half of what there is room for */
    pipe_done(&pipe);
}

static void what_is_given_back_is_taken_again(void **state UNUSED)
{
    size_t size = SPACES_SMALL + 1;
    void *first = spaces_take(&spaces, &size), *other;

    assert_non_null(first);
    assert_true(size > SPACES_SMALL && size < SPACES_LARGEST);
    spaces_give(&spaces, first, size);
    size = 2 * SPACES_SMALL;
    other = spaces_take(&spaces, &size);
    assert_ptr_equal(first, other);
    spaces_give(&spaces, other, size);
    spaces.max = SPACES_LARGEST; /* no room for both: the kept one goes */
    size = SPACES_LARGEST;
    first = spaces_take(&spaces, &size);
    assert_non_null(first);
    assert_int_equal(spaces.used, SPACES_LARGEST);
    size = SPACES_SMALL + 1;
    assert_null(spaces_take(&spaces, &size));
    spaces_give(&spaces, first, SPACES_LARGEST);
}

static void small_ones_are_always_there_and_few_are_kept(void **state UNUSED)
{
    enum { COUNT = 100 };
    char *small[COUNT];

    spaces.max = 0;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            size_t size = i + 1;

            small[i] = spaces_take(&spaces, &size);
            assert_non_null(small[i]);
            assert_int_equal(size, SPACES_SMALL);
            memset(small[i], (int)i, size);
        }
        for (size_t i = 0; i < COUNT; i++) {
            assert_int_equal(small[i][SPACES_SMALL - 1], i);
            spaces_give(&spaces, small[i], SPACES_SMALL);
        }
        assert_true(spaces.kept_count[0] > 0 && spaces.kept_count[0] < COUNT);
    }
    assert_int_equal(spaces.used, 0);
}

/* A reader that borrows keeps them where they are, and the pipe from moving. */
static void bytes_are_lent_and_put_in_place(void **state UNUSED)
{
    struct pipe pipe;
    const void *lent = NULL;
    size_t window, room;
    char *place, *next;

    pipe_init(&pipe, &spaces);
    assert_int_equal(pipe_lend(&pipe, &lent, &window), -EAGAIN);
    place = pipe_place(&pipe, &room);
    assert_non_null(place);
    assert_int_equal(room, PIPE_FIRST);
    memset(place, 'a', 5000);
    assert_int_equal(pipe_write(&pipe, place, 5000), 5000);
    assert_true(pipe_wake_reader(&pipe, 4000));
    assert_int_equal(pipe_lend(&pipe, &lent, &window), 4096); /* whole pages */
    assert_ptr_equal(lent, place);
    assert_int_equal(window, PIPE_FIRST);
    assert_int_equal(pipe_lend(&pipe, &lent, &window), -EAGAIN);
    next = pipe_place(&pipe, &room);
    assert_ptr_equal(next, place + 5000); /* it would grow, but cannot */
    memset(next, 'b', room);
    assert_int_equal(pipe_write(&pipe, next, room), PIPE_FIRST - 5000);
    assert_null(pipe_place(&pipe, &room));
    assert_int_equal(pipe_lend(&pipe, &lent, &window), PIPE_FIRST - 2 * 4096);
    pipe_release(&pipe, 4096);
    assert_true(pipe_wake_writer(&pipe));
    next = pipe_place(&pipe, &room);
    assert_ptr_equal(next, place); /* around */
    assert_int_equal(room, 4096);
    pipe_release(&pipe, PIPE_FIRST - 2 * 4096);
    next = pipe_place(&pipe, &room); /* now it grows, with what it has */
    assert_true(room > PIPE_FIRST);
    assert_int_equal(pipe_write(&pipe, "c", 1), 1);
    pipe_end(&pipe, 0);
    assert_int_equal(pipe_lend(&pipe, &lent, &window), 4097);
    assert_true(window > PIPE_FIRST);
    assert_memory_equal((const char *)lent + 4094, "bbc", 3);
    assert_ptr_equal(next, (const char *)lent + 4096);
    assert_int_equal(pipe_lend(&pipe, &lent, &window), 0);
    pipe_release(&pipe, 4097);
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
        (void)pipe_wake_reader(pipe, PIPE_SIZE / 4);
    }
    pipe_end(pipe, 0);
    return NULL;
}

/* As the module and a store do that neither copy. */
static void *place_side(void *arg)
{
    struct pipe *pipe = arg;

    for (size_t at = 0; at < TOTAL;) {
        size_t room = 0;
        char *place = pipe_place(pipe, &room);

        room = room < TOTAL - at ? room : TOTAL - at;
        room = room < 50000 + at % 7777 ? room : 50000 + at % 7777;
        for (size_t i = 0; place != NULL && i < room; i++) {
            place[i] = pattern(at + i);
        }
        if (place == NULL) {
            (void)sched_yield();
            continue;
        }
        assert_int_equal(pipe_write(pipe, place, room), room);
        at += room;
        (void)pipe_wake_reader(pipe, PIPE_SIZE / 4);
    }
    pipe_end(pipe, 0);
    return NULL;
}

static void two_threads_pass_every_byte_without_a_copy(void **state UNUSED)
{
    struct pipe pipe;
    pthread_t writer;
    size_t at = 0, out = 0, window;
    const void *lent = NULL;
    ssize_t n;

    pipe_init(&pipe, &spaces);
    assert_int_equal(pthread_create(&writer, NULL, place_side, &pipe), 0);
    while ((n = pipe_lend(&pipe, &lent, &window)) != 0) {
        const char *bytes = lent;

        for (ssize_t i = 0; i < n; i++) {
            assert_int_equal(bytes[i], pattern(at + (size_t)i));
        }
        at += n > 0 ? (size_t)n : 0;
        out += n > 0 ? (size_t)n : 0;
        if (n < 0 || out > window / 2) {
            pipe_release(&pipe, out);
            out = 0;
            (void)sched_yield();
        }
        assert_true(n > 0 || n == -EAGAIN);
        (void)pipe_wake_writer(&pipe);
    }
    assert_int_equal(at, TOTAL);
    assert_int_equal(window, PIPE_SIZE); /* it grew on the way */
    assert_int_equal(pthread_join(writer, NULL), 0);
    pipe_done(&pipe);
}

static void two_threads_pass_every_byte_in_order(void **state UNUSED)
{
    static char chunk[70000];
    struct pipe pipe;
    pthread_t writer;
    size_t at = 0;
    ssize_t n;

    pipe_init(&pipe, &spaces);
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

static void bodies_that_are_whole_are_counted(UNUSED void **state)
{
    enum { MOST = SPACES_GATHERED * 1024 * 1024 };
    struct spaces counted;
    size_t first = 0, second = 0, small = 0;

    spaces_init(&counted, 1024 * 1024);
    assert_true(spaces_gather(&counted, 2 * MOST, &first)); /* by itself */
    assert_true(spaces_gather(&counted, SPACES_SMALL, &small));
    assert_int_equal(small, 0);
    assert_false(spaces_gather(&counted, SPACES_SMALL + 1, &second));
    assert_int_equal(second, 0);
    assert_true(spaces_gather(&counted, MOST, &first)); /* less of it */
    assert_true(spaces_gather(&counted, 2 * SPACES_SMALL, &second));
    assert_false(spaces_gather(&counted, 2 * SPACES_SMALL + 1, &second));
    assert_int_equal(second, SPACES_SMALL);
    assert_true(spaces_gather(&counted, 0, &first));
    assert_true(spaces_gather(&counted, 2 * MOST, &second));
    assert_true(spaces_gather(&counted, 0, &second));
    assert_int_equal(counted.gathered, 0);
    spaces_done(&counted);
}

static void *take_large(struct spaces *from)
{
    size_t size = SPACES_LARGEST;

    return spaces_take(from, &size);
}

static void a_small_pipe_may_wait_for_what_others_give_back(UNUSED void **state)
{
    void *first, *second;
    const void *lent;
    size_t window, room;
    struct pipe pipe;

    assert_int_equal(spaces_chance(&spaces), SPACES_THERE);
    first = take_large(&spaces);
    second = take_large(&spaces);
    assert_int_equal(spaces_chance(&spaces), SPACES_LATE);
    pipe_init(&pipe, &spaces);
    assert_false(pipe_wants_large(&pipe)); /* it may be that nothing more comes */
    assert_int_equal(pipe_room(&pipe, 0), PIPE_FIRST);
    assert_false(pipe_wants_large(&pipe));
    assert_int_equal(pipe_write(&pipe, first, PIPE_FIRST), PIPE_FIRST);
    assert_true(pipe_wants_large(&pipe));
    assert_int_equal(pipe_room(&pipe, 0), 0);
    assert_true(pipe_lend(&pipe, &lent, &window) > 0);
    assert_false(pipe_wants_large(&pipe)); /* what is lent must not move */
    pipe_release(&pipe, PIPE_FIRST - 4096);
    assert_true(pipe_wants_large(&pipe));
    spaces_give(&spaces, first, SPACES_LARGEST);
    assert_int_equal(spaces_chance(&spaces), SPACES_THERE);
    room = pipe_room(&pipe, 0); /* all of it at once */
    assert_int_equal(room, PIPE_SIZE - 4096);
    assert_false(pipe_wants_large(&pipe));
    assert_true(spaces_chance(&spaces) != SPACES_THERE);
    spaces_give(&spaces, second, SPACES_LARGEST);
    pipe_done(&pipe);
    pipe_init(&pipe, &spaces);
    pipe_expect(&pipe, PIPE_FIRST);
    assert_int_equal(pipe_write(&pipe, second, PIPE_FIRST), PIPE_FIRST);
    assert_false(pipe_wants_large(&pipe)); /* it has all it will ever need */
    pipe_done(&pipe);
}

static void what_one_worker_does_not_need_another_has(UNUSED void **state)
{
    enum { PART = 4 }; /* large ones; each is sure of one */
    char path[] = "/tmp/skyvol-spaces-XXXXXX";
    struct limits *limits[2], *made = NULL;
    struct spaces of[2];
    void *taken[2 * PART - 1], *other;
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(limits_create(path, &made), 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(limits_open(path, &limits[i]), 0);
        spaces_init(&of[i], (size_t)PART * SPACES_LARGEST);
        spaces_share(&of[i], limits[i], 2);
    }
    for (size_t i = 0; i < 2 * PART - 1; i++) {
        taken[i] = take_large(&of[0]);
        assert_non_null(taken[i]);
    }
    assert_null(take_large(&of[0]));
    other = take_large(&of[1]);
    assert_non_null(other);
    assert_null(take_large(&of[1]));
    spaces_give(&of[0], taken[0], SPACES_LARGEST);
    assert_true(spaces_trim(&of[0])); /* it was in use since the last time */
    assert_null(take_large(&of[1]));
    assert_true(spaces_trim(&of[0]));
    spaces_give(&of[1], other, SPACES_LARGEST);
    other = take_large(&of[1]);
    taken[0] = take_large(&of[1]);
    assert_non_null(taken[0]);
    spaces_give(&of[1], taken[0], SPACES_LARGEST);
    spaces_give(&of[1], other, SPACES_LARGEST);
    for (size_t i = 1; i < 2 * PART - 1; i++) {
        spaces_give(&of[0], taken[i], SPACES_LARGEST);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_true(spaces_trim(&of[i]));
        assert_false(spaces_trim(&of[i]));
        assert_int_equal(of[i].used, 0);
        spaces_done(&of[i]);
        limits_close(limits[i]);
    }
    limits_close(made);
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_there_at_first, begin, end),
        cmocka_unit_test_setup_teardown(the_last_byte_waits_for_the_end, begin, end),
        cmocka_unit_test_setup_teardown(after_a_bad_end_no_byte_comes_out, begin, end),
        cmocka_unit_test_setup_teardown(a_full_pipe_takes_what_fits_or_nothing, begin, end),
        cmocka_unit_test_setup_teardown(pipes_grow_while_there_is_memory_left, begin, end),
        cmocka_unit_test_setup_teardown(a_pipe_that_is_kept_half_empty_does_not_grow, begin, end),
        cmocka_unit_test_setup_teardown(a_piece_fits_an_empty_pipe_without_memory_left, begin, end),
        cmocka_unit_test_setup_teardown(a_reader_is_not_called_for_a_few_bytes, begin, end),
        cmocka_unit_test_setup_teardown(what_is_given_back_is_taken_again, begin, end),
        cmocka_unit_test_setup_teardown(small_ones_are_always_there_and_few_are_kept, begin, end),
        cmocka_unit_test_setup_teardown(bytes_are_lent_and_put_in_place, begin, end),
        cmocka_unit_test_setup_teardown(two_threads_pass_every_byte_in_order, begin, end),
        cmocka_unit_test_setup_teardown(two_threads_pass_every_byte_without_a_copy, begin, end),
        cmocka_unit_test(bodies_that_are_whole_are_counted),
        cmocka_unit_test_setup_teardown(a_small_pipe_may_wait_for_what_others_give_back, begin,
                                        end),
        cmocka_unit_test(what_one_worker_does_not_need_another_has),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

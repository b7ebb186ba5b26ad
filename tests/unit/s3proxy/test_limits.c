/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/limits.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#define SECOND UINT64_C(1000000000)

static char path[] = "/tmp/skyvol-limits-XXXXXX";
static struct limits *limits;

static int setup(void **state)
{
    struct limits *made = NULL;
    int fd;

    (void)state;
    (void)snprintf(path, sizeof(path), "/tmp/skyvol-limits-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(limits_create(path, &made), 0);
    limits_close(made);
    assert_int_equal(limits_open(path, &limits), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    limits_close(limits);
    return unlink(path);
}

static enum limits_reason ask(const char *name, const struct limits_bounds *bounds, uint64_t now,
                              struct limits_ticket *ticket)
{
    return limits_enter(limits, name, bounds, now, ticket);
}

/* How many of 1000 requests at once are let in. */
static int burst(const char *name, const struct limits_bounds *bounds, uint64_t now)
{
    struct limits_ticket ticket;
    int in = 0;

    for (int i = 0; i < 1000; i++) {
        in += ask(name, bounds, now, &ticket) == LIMITS_NONE;
        limits_leave(limits, &ticket);
    }
    return in;
}

/* A second worker's is told apart from ours, and gone when it has died and a third one comes. */
static void test_memory_is_counted_over_all_workers(void **state)
{
    struct limits *third = NULL;
    int fds[2];
    pid_t child;
    char byte;

    (void)state;
    limits_hold(limits, 5);
    assert_int_equal(limits_held(limits), 5);
    assert_int_equal(pipe(fds), 0);
    child = fork();
    if (child == 0) {
        struct limits *other = NULL;

        if (limits_open(path, &other) == 0) {
            limits_hold(other, 70);
            (void)!write(fds[1], "x", 1);
        }
        _exit(0);
    }
    assert_int_equal(read(fds[0], &byte, 1), 1);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(limits_held(limits), 75);
    limits_hold(limits, 3);
    assert_int_equal(limits_open(path, &third), 0);
    assert_int_equal(limits_held(limits), 3);
    assert_int_equal(limits_held(third), 3);
    limits_hold(NULL, 1);
    assert_int_equal(limits_held(NULL), 0);
    limits_close(third);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void test_a_burst_passes_and_then_the_rate(void **state)
{
    const struct limits_bounds bounds = {.key = {.requests = 10, .burst = 25}};
    struct limits_ticket ticket;
    uint64_t now = 1000 * SECOND;

    (void)state;
    assert_int_equal(burst("a", &bounds, now), 25);
    assert_int_equal(ask("a", &bounds, now, &ticket), LIMITS_RATE);
    assert_int_equal(ticket.wait_ns, SECOND / 10);
    assert_int_equal(burst("b", &bounds, now), 25); /* another key has its own */
    assert_int_equal(burst("a", &bounds, now + SECOND / 10 - 1), 0);
    assert_int_equal(burst("a", &bounds, now + SECOND / 10), 1);
    assert_int_equal(burst("a", &bounds, now + SECOND), 9);
    assert_int_equal(burst("a", &bounds, now + 100 * SECOND), 25);
}

static void test_without_a_burst_it_is_one_seconds(void **state)
{
    const struct limits_bounds bounds = {.key = {.requests = 7}};

    (void)state;
    assert_int_equal(burst("a", &bounds, SECOND), 7);
}

static void test_a_clock_that_goes_back_locks_nobody_out(void **state)
{
    const struct limits_bounds bounds = {.key = {.requests = 10, .burst = 10, .upload = 1000}};
    struct limits_ticket ticket;
    uint64_t now = 1000000 * SECOND;

    (void)state;
    assert_int_equal(burst("a", &bounds, now), 10);
    assert_int_equal(burst("a", &bounds, SECOND), 0); /* what it owes is cut to one burst */
    assert_int_equal(burst("a", &bounds, 2 * SECOND), 10);
    assert_int_equal(ask("b", &bounds, now, &ticket), LIMITS_NONE);
    (void)limits_charge(limits, &ticket, LIMITS_UP, 1000000, now);
    assert_true(limits_charge(limits, &ticket, LIMITS_UP, 1, SECOND) <= SECOND);
    limits_leave(limits, &ticket);
}

static void test_a_lower_limit_counts_at_once(void **state)
{
    const struct limits_bounds many = {.key = {.requests = 1000, .burst = 1000}};
    const struct limits_bounds few = {.key = {.requests = 1, .burst = 2}};

    (void)state;
    assert_int_equal(burst("a", &many, SECOND), 1000);
    assert_int_equal(burst("a", &few, SECOND), 1); /* a second of what it owes, of two */
    assert_int_equal(burst("a", &few, 3 * SECOND), 2);
}

static void test_bytes_are_shaped_to_their_rate(void **state)
{
    const struct limits_bounds bounds = {.key = {.upload = 1000000, .download = 2000000}};
    struct limits_ticket ticket;
    uint64_t now = 5 * SECOND, wait;

    (void)state;
    assert_int_equal(ask("a", &bounds, now, &ticket), LIMITS_NONE);
    assert_int_equal(limits_charge(limits, &ticket, LIMITS_UP, 0, now), 0);
    assert_int_equal(limits_charge(limits, &ticket, LIMITS_UP, 250000, now), 0);
    wait = limits_charge(limits, &ticket, LIMITS_UP, 500000, now);
    assert_int_equal(wait, SECOND / 2);
    assert_int_equal(limits_charge(limits, &ticket, LIMITS_UP, 0, now + wait - 1), 1);
    assert_int_equal(limits_charge(limits, &ticket, LIMITS_UP, 0, now + wait), 0);
    assert_int_equal(limits_charge(limits, &ticket, LIMITS_DOWN, 500000, now), 0);
    assert_int_equal(limits_charge(limits, &ticket, LIMITS_DOWN, 2000000, now), SECOND);
    limits_leave(limits, &ticket);
}

static void test_so_many_at_a_time_and_the_next_when_one_has_left(void **state)
{
    const struct limits_bounds bounds = {.key = {.concurrent = 3}};
    struct limits_ticket tickets[4];

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask("a", &bounds, SECOND, &tickets[i]), LIMITS_NONE);
    }
    assert_int_equal(ask("a", &bounds, SECOND, &tickets[3]), LIMITS_CONCURRENT);
    limits_leave(limits, &tickets[3]); /* was refused: no one leaves */
    assert_int_equal(ask("a", &bounds, SECOND, &tickets[3]), LIMITS_CONCURRENT);
    limits_leave(limits, &tickets[0]);
    limits_leave(limits, &tickets[0]);
    assert_int_equal(ask("a", &bounds, SECOND, &tickets[0]), LIMITS_NONE);
    assert_int_equal(ask("a", &bounds, SECOND, &tickets[3]), LIMITS_CONCURRENT);
}

/* How many of a thousand get in, and stay. */
static int fill(const char *name, const struct limits_bounds *bounds, enum limits_reason *why)
{
    struct limits_ticket ticket;
    int in = 0;

    for (int i = 0; i < 1000; i++) {
        enum limits_reason reason = ask(name, bounds, SECOND, &ticket);

        in += reason == LIMITS_NONE;
        *why = reason != LIMITS_NONE ? reason : *why;
    }
    return in;
}

static void test_one_key_leaves_room_for_others(void **state)
{
    const struct limits_bounds bounds = {.max = 90};
    enum limits_reason why = LIMITS_NONE;
    int all = 0;

    (void)state;
    assert_int_equal(fill("greedy", &bounds, &why), 60);
    assert_int_equal(why, LIMITS_SHARE);
    all = 60 + fill("second", &bounds, &why);
    assert_int_equal(all, 80);
    assert_int_equal(limits_inside(limits), 80);
    for (int i = 0; i < 20; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "new %d", i);
        all += fill(name, &bounds, &why);
    }
    assert_int_equal(all, 90);
    assert_int_equal(why, LIMITS_FULL);
}

static void test_of_one_at_a_time_one_gets_in(void **state)
{
    const struct limits_bounds bounds = {.max = 1};
    enum limits_reason why = LIMITS_NONE;

    (void)state;
    assert_int_equal(fill("a", &bounds, &why), 1);
    assert_int_equal(fill("b", &bounds, &why), 0);
    assert_int_equal(why, LIMITS_FULL);
}

static void test_more_names_than_slots_are_all_let_in_when_idle(void **state)
{
    const struct limits_bounds bounds = {.key = {.requests = 5, .concurrent = 1}};
    struct limits_ticket ticket;
    uint64_t now = SECOND;

    (void)state;
    for (int i = 0; i < 5 * LIMITS_SLOTS; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "key-%d", i);
        now += SECOND; /* what the one before owed is paid */
        assert_int_equal(ask(name, &bounds, now, &ticket), LIMITS_NONE);
        limits_leave(limits, &ticket);
    }
}

static void test_addresses_take_no_slot_of_a_key(void **state)
{
    const struct limits_bounds address = {.key = {.concurrent = 1}, .address = true};
    const struct limits_bounds key = {.key = {.concurrent = 1}};
    struct limits_ticket ticket;

    (void)state;
    for (int i = 0; i < 10 * LIMITS_SLOTS; i++) { /* far more than can be told apart */
        char name[32];

        (void)snprintf(name, sizeof(name), "10.0.%d.%d", i / 256, i % 256);
        (void)ask(name, &address, SECOND, &ticket);
    }
    for (int i = 0; i < 100; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "key-%d", i);
        assert_int_equal(ask(name, &key, SECOND, &ticket), LIMITS_NONE);
    }
    assert_int_equal(ask("key-7", &key, SECOND, &ticket), LIMITS_CONCURRENT);
}

static void test_what_a_killed_worker_had_entered_is_taken_back(void **state)
{
    const struct limits_bounds bounds = {.key = {.concurrent = 4}, .max = 100};
    struct limits_ticket ticket;
    struct limits *next = NULL;
    int status;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        struct limits *mine = NULL;
        int bad = limits_open(path, &mine) != 0;

        for (int i = 0; i < 4; i++) {
            bad += limits_enter(mine, "a", &bounds, SECOND, &ticket) != LIMITS_NONE;
        }
        _exit(bad); /* as if killed: nobody leaves */
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(ask("a", &bounds, SECOND, &ticket), LIMITS_CONCURRENT);
    assert_int_equal(limits_inside(limits), 4);
    assert_int_equal(limits_open(path, &next), 0);
    assert_int_equal(limits_inside(limits), 0);
    assert_int_equal(ask("a", &bounds, SECOND, &ticket), LIMITS_NONE);
    limits_leave(limits, &ticket);
    limits_close(next);
}

static void test_who_lives_keeps_what_it_entered(void **state)
{
    const struct limits_bounds bounds = {.key = {.concurrent = 1}};
    struct limits_ticket ticket, other;
    struct limits *next = NULL;

    (void)state;
    assert_int_equal(ask("a", &bounds, SECOND, &ticket), LIMITS_NONE);
    assert_int_equal(limits_open(path, &next), 0); /* a reload */
    assert_int_equal(limits_enter(next, "a", &bounds, SECOND, &other), LIMITS_CONCURRENT);
    limits_leave(limits, &ticket);
    assert_int_equal(limits_enter(next, "a", &bounds, SECOND, &other), LIMITS_NONE);
    limits_leave(next, &other);
    limits_close(next);
}

enum { THREADS = 4, TURNS = 5000 };

static void *crowd(void *arg)
{
    const struct limits_bounds bounds = {.key = {.requests = 1000, .burst = 1000, .concurrent = 2},
                                         .max = 50};
    struct limits_ticket ticket;
    size_t *in = arg;

    for (int i = 0; i < TURNS; i++) {
        if (limits_enter(limits, "a", &bounds, SECOND, &ticket) == LIMITS_NONE) {
            *in += 1;
            limits_leave(limits, &ticket);
        }
    }
    return NULL;
}

static void test_many_at_once_take_no_more_than_there_is(void **state)
{
    pthread_t threads[THREADS];
    size_t in[THREADS] = {0}, all = 0;

    (void)state;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, crowd, &in[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
        all += in[i];
    }
    assert_int_equal(all, 1000);
    assert_int_equal(limits_inside(limits), 0);
}

static void test_a_keys_own_limits_stand_before_those_of_all(void **state)
{
    const struct key_limits fallback = {10, 20, 30, 40000, 50000};
    struct key_limits own = {KEY_LIMITS_UNTOLD, KEY_LIMITS_UNTOLD, 0, KEY_LIMITS_UNTOLD, 9000};
    struct key_limits rate = {5, KEY_LIMITS_UNTOLD, 1, 0, 0};

    (void)state;
    key_limits_complete(&own, &fallback);
    assert_int_equal(own.requests, 10);
    assert_int_equal(own.burst, 20);
    assert_int_equal(own.concurrent, 0);
    assert_int_equal(own.upload, 40000);
    assert_int_equal(own.download, 9000);
    key_limits_complete(&rate, &fallback);
    assert_int_equal(rate.requests, 5);
    assert_int_equal(rate.burst, 0); /* that of another rate says nothing */
}

static void test_nothing_is_limited_without_a_file(void **state)
{
    const struct limits_bounds bounds = {.key = {.requests = 1, .upload = 1024}, .max = 1};
    struct limits_ticket ticket;

    (void)state;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(limits_enter(NULL, "a", &bounds, SECOND, &ticket), LIMITS_NONE);
        assert_int_equal(limits_charge(NULL, &ticket, LIMITS_UP, 100000, SECOND), 0);
    }
    limits_leave(NULL, &ticket);
    limits_count(NULL, LIMITS_SLOW);
    assert_int_equal(limits_counted(NULL, LIMITS_SLOW), 0);
}

int main(void)
{
#define LIMIT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        LIMIT_TEST(test_a_burst_passes_and_then_the_rate),
        LIMIT_TEST(test_without_a_burst_it_is_one_seconds),
        LIMIT_TEST(test_a_clock_that_goes_back_locks_nobody_out),
        LIMIT_TEST(test_a_lower_limit_counts_at_once),
        LIMIT_TEST(test_bytes_are_shaped_to_their_rate),
        LIMIT_TEST(test_so_many_at_a_time_and_the_next_when_one_has_left),
        LIMIT_TEST(test_one_key_leaves_room_for_others),
        LIMIT_TEST(test_of_one_at_a_time_one_gets_in),
        LIMIT_TEST(test_more_names_than_slots_are_all_let_in_when_idle),
        LIMIT_TEST(test_addresses_take_no_slot_of_a_key),
        LIMIT_TEST(test_what_a_killed_worker_had_entered_is_taken_back),
        LIMIT_TEST(test_memory_is_counted_over_all_workers),
        LIMIT_TEST(test_who_lives_keeps_what_it_entered),
        LIMIT_TEST(test_many_at_once_take_no_more_than_there_is),
        LIMIT_TEST(test_a_keys_own_limits_stand_before_those_of_all),
        cmocka_unit_test(test_nothing_is_limited_without_a_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

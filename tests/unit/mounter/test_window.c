/* SPDX-License-Identifier: Apache-2.0 */
/* How far is read ahead, for whom. */
#include <string.h>

#include "mounter/read/window.h"
#include "test.h"

enum { GRAIN = 64 * 1024, STEP = 128 * 1024, HANDLE = 7 };
static const uint64_t huge = UINT64_C(1) << 40;
static const uint64_t limit = UINT64_C(64) << 20;

static struct windows windows;

static int clear(UNUSED void **state)
{
    memset(&windows, 0, sizeof(windows));
    return 0;
}

static struct window_stream *read_at(uint64_t handle, uint64_t offset, uint64_t len)
{
    static uint64_t now = 0;
    uint64_t before;
    struct window_stream *s = window_read(&windows, handle, offset, len, ++now, &before);

    window_bound(s, limit, 1);
    return s;
}

/* All that is asked for ahead now; checks that it follows what was asked for before. */
static uint64_t ask(struct window_stream *s, uint64_t end, unsigned *ret_gets)
{
    uint64_t offset;
    uint64_t len;
    uint64_t sum = 0;

    *ret_gets = 0;
    while (window_next(s, end, GRAIN, &offset, &len)) {
        assert_true(len > 0 && offset % GRAIN == 0 && offset + len <= end);
        assert_true((offset + len) % GRAIN == 0 || offset + len == end);
        sum += len;
        (*ret_gets)++;
        assert_true(*ret_gets < 1000);
    }
    return sum;
}

static void a_random_reader_gets_nothing_ahead(UNUSED void **state)
{
    unsigned gets;

    for (uint64_t i = 1; i < 1000; i++) {
        uint64_t offset = i * UINT64_C(7919) % 10007 * (4 << 20);

        assert_int_equal(ask(read_at(HANDLE, offset + 4096, 4096), huge, &gets), 0);
    }
}

static void a_sequential_reader_gets_more_when_it_had_to_wait(UNUSED void **state)
{
    uint64_t asked = STEP; /* what it reads first is not asked for ahead */
    uint64_t most = 0;
    unsigned all = 0;

    for (uint64_t at = 0; at < UINT64_C(1) << 30; at += STEP) {
        struct window_stream *s = read_at(HANDLE, at, STEP);
        unsigned gets;

        if (at + STEP > asked) {
            window_starved(s, limit);
        }
        asked += ask(s, UINT64_C(1) << 30, &gets);
        all += gets;
        most = asked - at > most ? asked - at : most;
    }
    assert_int_equal(asked, UINT64_C(1) << 30);
    assert_true(most >= 8 << 20 && most <= limit + STEP + GRAIN);
    assert_true(all <= 2100); /* and not a GET for each read */
}

static void what_starves_on_and_on_grows_to_the_limit_and_not_beyond(UNUSED void **state)
{
    struct window_stream *s = NULL;
    unsigned gets;

    for (uint64_t at = 0; at < UINT64_C(256) << 20; at += STEP) {
        s = read_at(HANDLE, at, STEP);
        window_starved(s, limit);
        (void)ask(s, huge, &gets);
        assert_true(s->size <= limit);
        assert_true(s->asked <= s->next + limit + GRAIN);
    }
    assert_int_equal(s->size, limit);
    window_bound(s, limit / 4, 4); /* others read, too */
    assert_int_equal(ask(s, huge, &gets), 0);
}

static void each_handle_and_each_place_is_a_stream_of_its_own(UNUSED void **state)
{
    static const uint64_t places[] = {0, 100 << 20, 200 << 20, 300 << 20};

    for (uint64_t step = 0; step < 64; step++) {
        for (uint64_t i = 0; i < 4; i++) {
            struct window_stream *s = read_at(i / 2, places[i] + step * STEP, STEP);

            if (step > 0) {
                assert_true(s->size > 0);
            }
            assert_int_equal(s->next, places[i] + (step + 1) * STEP);
        }
    }
}

static void reads_in_disorder_are_one_stream(UNUSED void **state)
{
    static const uint64_t order[] = {0, 2, 1, 3, 5, 4, 7, 6};
    struct window_stream *first = read_at(HANDLE, 0, STEP);

    for (uint64_t turn = 1; turn < 50; turn++) {
        for (int i = 0; i < 8; i++) {
            assert_ptr_equal(read_at(HANDLE, (turn * 8 + order[i]) * STEP, STEP), first);
        }
    }
}

static void at_the_end_there_is_nothing_more_to_ask_for(UNUSED void **state)
{
    static const uint64_t ends[] = {1, 4096, STEP, STEP + 1, 3 * GRAIN, (1 << 20) + 5};
    unsigned gets;

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        memset(&windows, 0, sizeof(windows));
        for (uint64_t at = 0; at < ends[i]; at += STEP) {
            uint64_t len = ends[i] - at < STEP ? ends[i] - at : STEP;
            struct window_stream *s = read_at(HANDLE, at, len);

            (void)ask(s, ends[i], &gets);
            assert_true(gets < 50);
            assert_int_equal(ask(s, ends[i], &gets), 0);
        }
    }
}

/* ---- a store that is 20 ms away and sends 90 MB/s over each connection, ms by ms ---- */

enum { ROUND_TRIP_MS = 20, RATE = 90000, GETS_MAX = 4096 };

struct far_get {
    uint64_t offset, len, asked_ms;
};

struct far {
    struct far_get gets[GETS_MAX];
    unsigned count, busiest;
};

static uint64_t arrived(const struct far_get *get, uint64_t now_ms)
{
    uint64_t ms = now_ms - get->asked_ms;
    uint64_t bytes = ms > ROUND_TRIP_MS ? (ms - ROUND_TRIP_MS) * RATE : 0;

    return bytes < get->len ? bytes : get->len;
}

static bool is_there(const struct far *far, uint64_t at, uint64_t now_ms)
{
    for (unsigned i = far->count; i-- > 0;) {
        const struct far_get *get = &far->gets[i];

        if (at >= get->offset && at < get->offset + get->len) {
            return at + STEP <= get->offset + arrived(get, now_ms) ||
                   arrived(get, now_ms) == get->len;
        }
    }
    return false;
}

/* Ask for what the window has room for; `at`: what is needed now, if anything. */
static void far_ask(struct far *far, struct window_stream *s, uint64_t end, uint64_t now_ms)
{
    struct far_get get = {.asked_ms = now_ms};
    unsigned busy = 0;

    while (window_next(s, end, GRAIN, &get.offset, &get.len)) {
        assert_true(far->count < GETS_MAX);
        far->gets[far->count++] = get;
    }
    for (unsigned i = 0; i < far->count; i++) {
        busy += arrived(&far->gets[i], now_ms) < far->gets[i].len;
    }
    far->busiest = busy > far->busiest ? busy : far->busiest;
}

/* How many ms it takes to read so many bytes, of `streams` that share `memory`. */
static uint64_t read_far(struct far *far, uint64_t bytes, uint64_t memory, uint32_t streams)
{
    uint64_t now = 1;
    uint64_t before;

    memset(&windows, 0, sizeof(windows));
    *far = (struct far){.count = 0};
    for (uint64_t at = 0; at < bytes; at += STEP) {
        struct window_stream *s = window_read(&windows, HANDLE, at, STEP, now, &before);

        window_bound(s, memory / streams, streams);
        if (!is_there(far, at, now)) {
            window_starved(s, memory / streams);
        }
        if (at == 0) {
            far->gets[far->count++] = (struct far_get){0, STEP, now};
            s->asked = STEP;
        }
        far_ask(far, s, bytes, now);
        while (!is_there(far, at, now)) {
            now++;
            assert_true(now < 100000);
        }
    }
    return now;
}

static void a_far_store_is_read_about_as_fast_as_its_connections_allow(UNUSED void **state)
{
    static struct far far;
    const uint64_t gib = UINT64_C(1) << 30;
    uint64_t ms = read_far(&far, gib, UINT64_C(86) << 20, 1);

    print_message("%llu ms, %u GETs, at most %u at once\n", (unsigned long long)ms, far.count,
                  far.busiest);
    assert_true(ms <= 950);         /* 1.1 GB/s */
    assert_true(far.count <= 280);  /* each takes the store some work */
    assert_true(far.busiest <= 32); /* and a connection */
}

static void the_beginning_takes_few_round_trips(UNUSED void **state)
{
    static struct far far;
    uint64_t ms = read_far(&far, UINT64_C(64) << 20, UINT64_C(86) << 20, 1);

    print_message("%llu ms, %u GETs\n", (unsigned long long)ms, far.count);
    assert_true(ms <= 8 * ROUND_TRIP_MS + 100);
}

static void of_four_streams_each_asks_seldom_and_for_much(UNUSED void **state)
{
    static struct far far;
    const uint64_t half = UINT64_C(512) << 20;
    uint64_t ms = read_far(&far, half, UINT64_C(86) << 20, 4);

    print_message("%llu ms, %u GETs, at most %u at once\n", (unsigned long long)ms, far.count,
                  far.busiest);
    assert_true(ms <= 1600); /* 1.3 GB/s of all four */
    assert_true(far.count <= 210);
    assert_true(far.busiest <= 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_random_reader_gets_nothing_ahead, clear),
        cmocka_unit_test_setup(a_sequential_reader_gets_more_when_it_had_to_wait, clear),
        cmocka_unit_test_setup(what_starves_on_and_on_grows_to_the_limit_and_not_beyond, clear),
        cmocka_unit_test_setup(each_handle_and_each_place_is_a_stream_of_its_own, clear),
        cmocka_unit_test_setup(reads_in_disorder_are_one_stream, clear),
        cmocka_unit_test_setup(at_the_end_there_is_nothing_more_to_ask_for, clear),
        cmocka_unit_test_setup(a_far_store_is_read_about_as_fast_as_its_connections_allow, clear),
        cmocka_unit_test_setup(the_beginning_takes_few_round_trips, clear),
        cmocka_unit_test_setup(of_four_streams_each_asks_seldom_and_for_much, clear),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

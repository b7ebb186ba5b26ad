/* SPDX-License-Identifier: Apache-2.0 */
/* A second GET when the answer to the first is late: whose bytes count, and how many are sent. */
#include <stdatomic.h>

#include "reader_rig.h"
#include "util/clock.h"

enum { MIB = 1 << 20, MEMORY = 128 * MIB };
static const uint64_t size = UINT64_C(1) << 40;

static uint64_t now_ms(void)
{
    return clock_monotonic_ms(clock_real());
}

/* A place that nobody has read yet and that continues nothing. */
static uint64_t somewhere(void)
{
    static uint64_t next = 1000;

    next += 101;
    return next * MIB;
}

/* Reads that are answered at once: how long answers take gets known. */
static void teach(unsigned reads)
{
    for (unsigned i = 0; i < reads; i++) {
        struct reading one;

        assert_false(begin(&one, 0, somewhere(), 4096));
        answer(get_count() - 1, "a", size);
        assert_true(is_right(&one, "a"));
        end(&one);
    }
}

static bool wait_for_gets(unsigned count, uint64_t ms)
{
    uint64_t until = now_ms() + ms;
    bool reached;

    mutex_lock(&rig->lock);
    while (rig->count < count && now_ms() < until) {
        cond_wait_ms(&rig->changed, &rig->lock, 100);
    }
    reached = rig->count >= count;
    mutex_unlock(&rig->lock);
    return reached;
}

static bool wait_for_cancel(unsigned i)
{
    uint64_t until = now_ms() + WAIT_MS;

    mutex_lock(&rig->lock);
    while (!rig->gets[i].cancelled && now_ms() < until) {
        cond_wait_ms(&rig->changed, &rig->lock, 100);
    }
    mutex_unlock(&rig->lock);
    return is_cancelled(i);
}

static int set_up(UNUSED void **state)
{
    rig_new(MEMORY, "a", size);
    teach(150);
    return 0;
}

/* A read whose first GET is left unanswered until a second has come; returns the first's number. */
static unsigned begin_late(struct reading *one)
{
    unsigned first = get_count();

    assert_false(begin(one, 0, somewhere(), 4096));
    assert_int_equal(get_count(), first + 1);
    assert_true(wait_for_gets(first + 2, WAIT_MS));
    assert_int_equal(rig->gets[first + 1].offset, rig->gets[first].offset);
    assert_int_equal(rig->gets[first + 1].len, rig->gets[first].len);
    assert_string_equal(request_of(first + 1)->if_match, "a");
    return first;
}

static void the_second_answer_counts_when_it_begins_first(UNUSED void **state)
{
    struct reading one;
    unsigned first = begin_late(&one);

    answer(first + 1, "a", size);
    assert_true(one.told && is_right(&one, "a"));
    assert_true(wait_for_cancel(first));
    assert_int_equal(answer_begin(first, "a", size), -ECANCELED); /* its bytes are not wanted */
    answer_end(first, -ECANCELED);
    end(&one);
    assert_int_equal(stats_now().fetches, 0);
}

static void the_first_answer_counts_when_it_begins_after_all(UNUSED void **state)
{
    struct reading one;
    unsigned first = begin_late(&one);

    assert_int_equal(answer_begin(first, "a", size), 0);
    assert_true(wait_for_cancel(first + 1));
    assert_int_equal(answer_begin(first + 1, "a", size), -ECANCELED);
    answer_end(first + 1, -ECANCELED);
    assert_false(one.told);
    assert_int_equal(answer_bytes(first, "a", 0, GRAIN), 0);
    answer_end(first, 0);
    assert_true(one.told && is_right(&one, "a"));
    end(&one);
}

static atomic_int overtaken = 1;

static void begin_first(unsigned i)
{
    overtaken = answer_begin(i - 1, "a", size);
}

/* The first one's answer begins before the submission of the second has returned. */
static void a_second_that_is_overtaken_on_its_way_is_cancelled(UNUSED void **state)
{
    struct reading one;
    unsigned first = get_count();

    assert_false(begin(&one, 0, somewhere(), 4096));
    mutex_lock(&rig->lock);
    rig->submitted = begin_first;
    mutex_unlock(&rig->lock);
    assert_true(wait_for_gets(first + 2, WAIT_MS));
    assert_true(wait_for_cancel(first + 1));
    assert_int_equal(overtaken, 0);
    answer_end(first + 1, -ECANCELED);
    assert_int_equal(answer_bytes(first, "a", 0, GRAIN), 0);
    answer_end(first, 0);
    assert_true(one.told && is_right(&one, "a"));
    end(&one);
}

static void one_that_fails_leaves_it_to_the_other(UNUSED void **state)
{
    for (unsigned fails = 0; fails < 2; fails++) {
        struct reading one;
        unsigned first = begin_late(&one);

        answer_end(first + fails, -ECONNRESET);
        assert_false(one.told);
        answer(first + 1 - fails, "a", size);
        assert_true(one.told && is_right(&one, "a"));
        assert_int_equal(one.wait.error, 0);
        end(&one);
    }
    assert_int_equal(stats_now().fetches, 0);
}

static void when_both_fail_the_reader_is_told_once(UNUSED void **state)
{
    struct reading one;
    unsigned first = begin_late(&one);

    answer_end(first + 1, -ECONNRESET);
    answer_end(first, -ETIMEDOUT);
    assert_true(one.told);
    assert_int_equal(one.wait.error, -ETIMEDOUT);
    end(&one);
}

static void a_winner_that_breaks_off_is_an_error_and_not_mixed_with_the_other(UNUSED void **state)
{
    struct reading one;
    unsigned first = begin_late(&one);

    assert_int_equal(answer_begin(first + 1, "a", size), 0);
    assert_int_equal(answer_bytes(first + 1, "a", 0, GRAIN / 2), 0);
    answer_end(first + 1, -ECONNRESET);
    assert_true(one.told);
    assert_int_equal(one.wait.error, -ECONNRESET);
    assert_int_equal(answer_begin(first, "a", size), -ECANCELED);
    answer_end(first, -ECANCELED);
    end(&one);
    assert_int_equal(stats_now().fetches, 0);
}

static void the_second_ones_bytes_are_of_the_same_version(UNUSED void **state)
{
    struct reading one;
    unsigned first = begin_late(&one);

    assert_int_equal(answer_begin(first + 1, "b", size), -ESTALE);
    answer_end(first + 1, -ESTALE);
    assert_true(one.told);
    assert_int_equal(one.wait.error, -ESTALE);
    answer_end(first, -ECANCELED);
    end(&one);
}

static void what_nobody_waits_for_gets_no_second(UNUSED void **state)
{
    struct reading one;
    unsigned count;

    assert_false(begin(&one, 1, 0, 4096));
    answer(get_count() - 1, "a", size);
    end(&one);
    assert_true(begin(&one, 1, 4096, 4096) || one.begun == -EINPROGRESS);
    end(&one); /* nobody's any more; what was asked for ahead is under way */
    count = get_count();
    assert_true(count > 152);
    assert_false(wait_for_gets(count + 1, 300));
}

/* Of a store that is slow altogether not much more is asked. */
static void in_a_storm_second_ones_are_few(UNUSED void **state)
{
    enum { READS = 200 };
    static struct reading reads[READS];
    unsigned before = get_count();

    for (unsigned i = 0; i < READS; i++) {
        assert_false(begin(&reads[i], 0, somewhere(), 4096));
    }
    (void)wait_for_gets(before + READS + 1, WAIT_MS);
    (void)wait_for_gets(before + 2 * READS, 500); /* time for all that it would send */
    assert_in_range(get_count() - before - READS, 1, 16);
    assert_int_equal(hedge_count(rig->fs.reader), get_count() - before - READS);
    for (unsigned i = before; i < get_count(); i++) {
        answer_end(i, -EBUSY); /* 503, to the last try */
    }
    for (unsigned i = 0; i < READS; i++) {
        assert_true(reads[i].told);
        assert_int_equal(reads[i].wait.error, -EBUSY);
        end(&reads[i]);
    }
    assert_int_equal(stats_now().fetches, 0);
}

static void before_anything_is_known_there_is_no_second(UNUSED void **state)
{
    struct reading one;

    assert_false(begin(&one, 0, somewhere(), 4096));
    assert_false(wait_for_gets(2, 300));
    answer(0, "a", size);
    end(&one);
}

static int set_up_ignorant(UNUSED void **state)
{
    rig_new(MEMORY, "a", size);
    return 0;
}

/* The end comes while both are under way: nothing is sent any more, nothing leaks. */
static void the_end_may_come_between_the_two(UNUSED void **state)
{
    struct reading one;
    unsigned first = begin_late(&one);

    reader_stop(&rig->fs);
    answer_end(first, -ECANCELED);
    assert_false(one.told);
    answer_end(first + 1, -ECANCELED);
    assert_true(one.told);
    end(&one);
}

int main(void)
{
#define WITH_READER(test) cmocka_unit_test_setup_teardown(test, set_up, rig_end)
    const struct CMUnitTest tests[] = {
        WITH_READER(the_second_answer_counts_when_it_begins_first),
        WITH_READER(the_first_answer_counts_when_it_begins_after_all),
        WITH_READER(a_second_that_is_overtaken_on_its_way_is_cancelled),
        WITH_READER(one_that_fails_leaves_it_to_the_other),
        WITH_READER(when_both_fail_the_reader_is_told_once),
        WITH_READER(a_winner_that_breaks_off_is_an_error_and_not_mixed_with_the_other),
        WITH_READER(the_second_ones_bytes_are_of_the_same_version),
        WITH_READER(what_nobody_waits_for_gets_no_second),
        WITH_READER(in_a_storm_second_ones_are_few),
        cmocka_unit_test_setup_teardown(before_anything_is_known_there_is_no_second,
                                        set_up_ignorant, rig_end),
        WITH_READER(the_end_may_come_between_the_two),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of objects: who waits for which, and what an answer that is not as it should be leaves. */
#include "reader_rig.h"

enum { MIB = 1 << 20, MEMORY = 64 * MIB };
static const uint64_t size = 40 * MIB + 12345;

static int set_up(UNUSED void **state)
{
    rig_new(MEMORY, "a", size);
    return 0;
}

/* A place that continues nothing, hence one GET of its grain alone. */
static const uint64_t there = 7 * MIB;

static void two_that_want_the_same_bytes_share_one_get(UNUSED void **state)
{
    struct reading one;
    struct reading two;

    assert_false(begin(&one, 1, there, 4096));
    assert_false(begin(&two, 2, there + 8192, 4096));
    assert_int_equal(get_count(), 1);
    answer(0, "a", size);
    assert_true(one.told && two.told);
    assert_int_equal(one.wait.error, 0);
    assert_true(is_right(&one, "a") && is_right(&two, "a"));
    end(&one);
    end(&two);
    assert_true(begin(&one, 1, there, 4096)); /* and it is remembered */
    assert_int_equal(get_count(), 1);
    end(&one);
}

static void a_reader_has_its_bytes_before_the_get_has_ended(UNUSED void **state)
{
    struct reading one;
    struct reading two;

    assert_false(begin(&one, 0, there, 4096));
    assert_false(begin(&two, 0, there, 3 * GRAIN));
    assert_int_equal(get_count(), 2); /* the second is of what the first has not */
    assert_int_equal(rig->gets[1].offset, there + GRAIN);
    assert_int_equal(rig->gets[1].len, 2 * GRAIN);
    assert_int_equal(answer_begin(1, "a", size), 0);
    assert_int_equal(answer_bytes(1, "a", 0, GRAIN), 0);
    assert_false(one.told);
    assert_int_equal(answer_begin(0, "a", size), 0);
    assert_int_equal(answer_bytes(0, "a", 0, GRAIN), 0);
    assert_true(one.told && !two.told);
    assert_true(is_right(&one, "a"));
    answer_end(0, 0);
    assert_int_equal(answer_bytes(1, "a", GRAIN, 2 * GRAIN), 0);
    assert_true(two.told);
    answer_end(1, 0);
    assert_true(is_right(&two, "a"));
    end(&one);
    end(&two);
}

static void of_a_get_that_breaks_off_the_rest_is_asked_for_again(UNUSED void **state)
{
    struct reading one;

    assert_false(begin(&one, 0, there, 8 * GRAIN));
    assert_int_equal(answer_begin(0, "a", size), 0);
    assert_int_equal(answer_bytes(0, "a", 0, 3 * GRAIN + 100), 0);
    answer_end(0, -ECONNRESET);
    assert_true(one.told);
    assert_int_equal(one.wait.error, -ECONNRESET);
    end(&one);
    assert_false(begin(&one, 0, there, 8 * GRAIN));
    assert_int_equal(get_count(), 2);
    assert_int_equal(rig->gets[1].offset, there + 3 * GRAIN);
    assert_int_equal(rig->gets[1].len, 5 * GRAIN);
    answer(1, "a", size);
    assert_int_equal(one.wait.error, 0);
    assert_true(is_right(&one, "a"));
    end(&one);
}

static void a_short_body_that_claims_to_be_whole_is_an_error(UNUSED void **state)
{
    struct reading one;

    assert_false(begin(&one, 0, there, 2 * GRAIN));
    assert_int_equal(answer_begin(0, "a", size), 0);
    assert_int_equal(answer_bytes(0, "a", 0, GRAIN + GRAIN / 2), 0);
    answer_end(0, 0);
    assert_int_equal(one.wait.error, -EIO);
    end(&one);
    assert_false(begin(&one, 0, there + GRAIN, GRAIN)); /* half a grain is no grain */
    assert_int_equal(get_count(), 2);
    answer(1, "a", size);
    assert_true(is_right(&one, "a"));
    end(&one);
}

static void more_bytes_than_asked_for_are_refused(UNUSED void **state)
{
    struct reading one;

    assert_false(begin(&one, 0, there, GRAIN));
    assert_int_equal(answer_begin(0, "a", size), 0);
    assert_int_equal(answer_bytes(0, "a", 0, GRAIN - 10), 0);
    assert_int_equal(answer_bytes(0, "a", GRAIN - 10, GRAIN + 10), -EBADMSG);
    answer_end(0, -EBADMSG);
    assert_int_equal(one.wait.error, -EBADMSG);
    end(&one);
}

static void bytes_of_another_version_are_never_taken(UNUSED void **state)
{
    static const struct {
        const char *etag;
        uint64_t size;
    } others[] = {{"b", 40 * MIB + 12345}, {"a", 40 * MIB}, {"b", 50 * MIB}};
    struct reading one;

    for (unsigned i = 0; i < 3; i++) {
        assert_false(begin(&one, 0, there, GRAIN));
        assert_string_equal(request_of(i)->if_match, "a");
        /* A store without If-Match sends what it has now. */
        assert_int_equal(answer_begin(i, others[i].etag, others[i].size), -ESTALE);
        answer_end(i, -ESTALE);
        assert_int_equal(one.wait.error, -ESTALE);
        end(&one);
    }
}

static void a_range_that_was_not_asked_for_is_refused(UNUSED void **state)
{
    struct reading one;
    struct objstore_info info = {.size = size, .etag = "a"};
    struct objstore_request *request;

    assert_false(begin(&one, 0, there, GRAIN));
    request = request_of(0);
    assert_int_equal(
        request->sink.info(request, &info, (struct objstore_range){there + GRAIN, GRAIN}),
        -EBADMSG);
    answer_end(0, -EBADMSG);
    assert_int_equal(one.wait.error, -EBADMSG);
    end(&one);
}

static void a_412_a_404_and_a_416_midway_leave_the_old_bytes_and_an_error(UNUSED void **state)
{
    static const int status[] = {-ESTALE, -ENOENT, -ERANGE};

    struct reading one;
    struct reading two;

    assert_false(begin(&one, 0, there, GRAIN));
    answer(0, "a", size);
    for (unsigned i = 0; i < 3; i++) {
        assert_false(begin(&two, 0, there, 2 * GRAIN));
        answer_end(1 + i, status[i]);
        assert_true(two.told);
        assert_int_equal(two.wait.error, -ESTALE); /* it is another object, or none */
        end(&two);
    }
    assert_true(is_right(&one, "a")); /* who has them keeps them */
    end(&one);
}

static void a_new_version_shares_no_byte_with_the_old_one(UNUSED void **state)
{
    struct reading old;
    struct reading fresh;

    assert_false(begin(&old, 0, there, 2 * GRAIN));
    assert_int_equal(answer_begin(0, "a", size), 0);
    assert_int_equal(answer_bytes(0, "a", 0, GRAIN), 0);
    set_object("b", size + 5);
    assert_false(begin(&fresh, 0, there, 2 * GRAIN));
    assert_int_equal(get_count(), 2);
    assert_string_equal(request_of(1)->if_match, "b");
    assert_int_equal(rig->gets[1].len, 2 * GRAIN); /* nothing of what "a" has brought */
    assert_false(is_cancelled(0));                 /* somebody waits for it still */
    answer(1, "b", size + 5);
    assert_true(is_right(&fresh, "b"));
    assert_int_equal(answer_bytes(0, "a", GRAIN, 2 * GRAIN), 0);
    answer_end(0, 0);
    assert_int_equal(old.wait.error, 0);
    assert_true(is_right(&old, "a"));
    end(&old);
    end(&fresh);
}

static void what_is_cached_of_a_replaced_version_is_let_go(UNUSED void **state)
{
    struct reading one;
    uint64_t before;

    assert_false(begin(&one, 0, there, 16 * GRAIN));
    answer(0, "a", size);
    end(&one);
    before = stats_now().bytes;
    assert_true(before >= 16 * GRAIN);
    mutex_lock(&rig->fs.lock);
    reader_detach(&rig->fs, &rig->node, true);
    mutex_unlock(&rig->fs.lock);
    assert_int_equal(stats_now().bytes, 0);
}

static void who_reads_no_more_ends_what_was_asked_for_ahead_and_nothing_else(UNUSED void **state)
{
    struct reading first;
    struct reading next;
    unsigned count;
    unsigned cancelled = 0;

    assert_false(begin(&first, 1, 0, 128 << 10));
    answer(0, "a", size);
    end(&first);
    assert_true(begin(&next, 1, 128 << 10, 128 << 10)); /* goes on: a window is asked for */
    end(&next);
    count = get_count();
    assert_true(count > 4);
    assert_false(begin(&next, 0, 30 * MIB, GRAIN)); /* another one waits */
    mutex_lock(&rig->fs.lock);
    reader_quiet(&rig->fs, &rig->node);
    mutex_unlock(&rig->fs.lock);
    for (unsigned i = 1; i < count; i++) {
        cancelled += is_cancelled(i);
    }
    assert_int_equal(cancelled, count - 1);
    assert_false(is_cancelled(count));
    for (unsigned i = 1; i < count; i++) {
        answer_end(i, -ECANCELED);
    }
    answer(count, "a", size);
    assert_true(is_right(&next, "a"));
    end(&next);
    assert_int_equal(stats_now().fetches, 0);
}

enum { READ_AT = 1300 << 10 }; /* in the second GET */

static void *read_patiently(void *arg)
{
    _Atomic int *ret = arg;
    unsigned char bytes[100];
    int r = reader_read(&rig->fs, rig->node.ino, READ_AT, (char *)bytes, sizeof(bytes));

    for (size_t i = 0; r == 0 && i < sizeof(bytes); i++) {
        r = bytes[i] == byte_at("a", READ_AT + i) ? 0 : -EBADMSG;
    }
    *ret = r;
    return NULL;
}

static bool somebody_waits(void)
{
    bool waits;

    mutex_lock(&rig->fs.reader->lock);
    waits = !TAILQ_EMPTY(&rig->node.version->waits);
    mutex_unlock(&rig->fs.reader->lock);
    return waits;
}

static void who_comes_upon_a_get_that_was_given_up_makes_his_own(UNUSED void **state)
{
    struct reading first;
    struct reading next;
    pthread_t thread;
    unsigned count;
    struct node *nodes[16] = {NULL};
    _Atomic int ret = -EINPROGRESS;

    assert_true(rig->node.ino < 16);
    nodes[rig->node.ino] = &rig->node;
    mutex_lock(&rig->fs.lock);
    rig->fs.nodes = nodes;
    rig->fs.nodes_len = 16;
    mutex_unlock(&rig->fs.lock);
    assert_false(begin(&first, 1, 0, 128 << 10));
    answer(0, "a", size);
    end(&first);
    assert_true(begin(&next, 1, 128 << 10, 128 << 10));
    end(&next);
    count = get_count();
    mutex_lock(&rig->fs.lock);
    reader_quiet(&rig->fs, &rig->node);
    mutex_unlock(&rig->fs.lock);
    assert_true(is_cancelled(1));
    assert_int_equal(pthread_create(&thread, NULL, read_patiently, &ret), 0);
    while (!somebody_waits() && ret == -EINPROGRESS) {
        (void)usleep(1000);
    }
    assert_int_equal(get_count(), count); /* he waits for the one that is ending */
    for (unsigned i = 1; i < count; i++) {
        answer_end(i, -ECANCELED);
    }
    while (get_count() == count && ret == -EINPROGRESS) {
        (void)usleep(1000);
    }
    assert_int_equal(ret, -EINPROGRESS);
    answer(count, "a", size);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(ret, 0);
    assert_int_equal(stats_now().fetches, 0);
}

/* A small object is one GET whose checksum counts: nothing of it is given out before its end. */
static void a_small_object_counts_only_as_a_whole(UNUSED void **state)
{
    struct reading one;

    set_object("c", 200000);
    assert_false(begin(&one, 0, 100000, 4096));
    assert_int_equal(rig->gets[0].len, 0);
    assert_int_equal(answer_begin(0, "c", 200000), 0);
    assert_int_equal(answer_bytes(0, "c", 0, 200000), 0);
    assert_false(one.told);
    answer_end(0, -EBADMSG); /* the checksum is another */
    assert_true(one.told);
    assert_int_equal(one.wait.error, -EBADMSG);
    end(&one);
    assert_false(begin(&one, 0, 100000, 4096));
    answer(1, "c", 200000);
    assert_int_equal(one.wait.error, 0);
    assert_true(is_right(&one, "c"));
    end(&one);
}

static void memory_is_bounded_whatever_is_read(UNUSED void **state)
{
    struct reading one;
    unsigned next = 0;
    uint64_t at = 3;

    for (unsigned i = 0; i < 600; i++) {
        at = (at * 7919 + 13) % (size / GRAIN - 16);
        if (!begin(&one, i % 5, at * GRAIN, (i % 8 + 1) * 100000)) {
            for (; next < get_count(); next++) {
                answer(next, "a", size);
            }
        }
        assert_int_equal(one.wait.error, 0);
        assert_true(is_right(&one, "a"));
        end(&one);
        assert_true(stats_now().bytes <= stats_now().limit);
    }
}

static void who_finds_no_memory_is_told_and_finds_it_later(UNUSED void **state)
{
    static struct reading held[80];
    struct reading one;
    unsigned count = 0;

    while (count < 80 &&
           (begin(&held[count], 0, count * MIB / 2, MIB / 2), held[count].begun == -EINPROGRESS)) {
        count++;
    }
    assert_in_range(count, 4, 30); /* of 16 MiB, each has half a MiB */
    assert_int_equal(held[count].begun, -ENOMEM);
    assert_true(stats_now().bytes <= stats_now().limit);
    for (unsigned i = 0; i < get_count(); i++) {
        answer(i, "a", size);
    }
    for (unsigned i = 0; i < count; i++) {
        assert_true(held[i].told && is_right(&held[i], "a"));
        end(&held[i]);
    }
    assert_false(begin(&one, 0, 30 * MIB, MIB));
    answer(get_count() - 1, "a", size);
    assert_true(is_right(&one, "a"));
    end(&one);
}

static int set_up_little(UNUSED void **state)
{
    rig_new(12 * MIB, "a", size);
    return 0;
}

int main(void)
{
#define WITH_READER(test) cmocka_unit_test_setup_teardown(test, set_up, rig_end)
    const struct CMUnitTest tests[] = {
        WITH_READER(two_that_want_the_same_bytes_share_one_get),
        WITH_READER(a_reader_has_its_bytes_before_the_get_has_ended),
        WITH_READER(of_a_get_that_breaks_off_the_rest_is_asked_for_again),
        WITH_READER(a_short_body_that_claims_to_be_whole_is_an_error),
        WITH_READER(more_bytes_than_asked_for_are_refused),
        WITH_READER(bytes_of_another_version_are_never_taken),
        WITH_READER(a_range_that_was_not_asked_for_is_refused),
        WITH_READER(a_412_a_404_and_a_416_midway_leave_the_old_bytes_and_an_error),
        WITH_READER(a_new_version_shares_no_byte_with_the_old_one),
        WITH_READER(what_is_cached_of_a_replaced_version_is_let_go),
        WITH_READER(who_reads_no_more_ends_what_was_asked_for_ahead_and_nothing_else),
        WITH_READER(who_comes_upon_a_get_that_was_given_up_makes_his_own),
        WITH_READER(a_small_object_counts_only_as_a_whole),
        cmocka_unit_test_setup_teardown(memory_is_bounded_whatever_is_read, set_up_little, rig_end),
        cmocka_unit_test_setup_teardown(who_finds_no_memory_is_told_and_finds_it_later,
                                        set_up_little, rig_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

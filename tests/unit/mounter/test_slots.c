/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mounter/kept/keep.h"
#include "mounter/session/slots.h"
#include "test.h"

enum { SMALL = 2, LARGE = 10 };

/* What the kernel would write. */
static void occupy(struct slots *slots, int index, uint64_t unique, uint32_t len)
{
    struct fuse_in_header *in = slots_data(slots, index);

    in->unique = unique;
    in->opcode = FUSE_LOOKUP;
    in->len = len;
}

/* The region as a successor gets it. */
static struct keep *successor_of(struct keep *keep)
{
    struct keep_region region;
    struct keep *next;

    assert_int_equal(keep_region(keep, "slots", 1, &region, NULL), 0);
    assert_int_equal(keep_new(&next), 0);
    assert_int_equal(keep_adopt(next, "slots", fcntl(region.fd, F_DUPFD_CLOEXEC, 3)), 0);
    return next;
}

static void regions_are_fresh_once_and_keep_their_bytes(UNUSED void **state)
{
    CLEANUP(keep_free_p) struct keep *keep = NULL;
    CLEANUP(keep_free_p) struct keep *next = NULL;
    struct keep_region a;
    struct keep_region b;

    assert_int_equal(keep_new(&keep), 0);
    assert_int_equal(keep_region(keep, "slots", 100, &a, NULL), 0);
    assert_true(a.fresh);
    memcpy(a.data, "bytes", 6);
    assert_int_equal(keep_region(keep, "slots", 100, &b, NULL), 0);
    assert_ptr_equal(a.data, b.data);
    next = successor_of(keep);
    assert_int_equal(keep_region(next, "slots", 8192, &b, NULL), 0);
    assert_false(b.fresh);
    assert_int_equal(b.size, 8192);
    assert_string_equal(b.data, "bytes");
    assert_int_equal(keep_punch(&b, 0, 4096), 0);
    assert_int_equal(*(char *)b.data, 0);
    assert_int_equal(keep_punch(&b, 4096, 8192), -EINVAL);
    assert_int_equal(keep_region(keep, "Not a name", 1, &b, NULL), -EINVAL);
    assert_int_equal(keep_region(keep, "empty", 0, &b, NULL), -EINVAL);
}

static int refuse_to_hold(UNUSED void *context, UNUSED const char *name, UNUSED int fd,
                          struct error *err)
{
    return error_set(err, -ETIMEDOUT, "nobody there");
}

static void a_region_that_nobody_holds_is_not_used(UNUSED void **state)
{
    CLEANUP(keep_free_p) struct keep *keep = NULL;
    struct keep_region region;

    assert_int_equal(keep_new(&keep), 0);
    keep_set_hold(keep, refuse_to_hold, NULL);
    assert_int_equal(keep_region(keep, "x", 100, &region, NULL), -ETIMEDOUT);
    keep_set_hold(keep, NULL, NULL);
    assert_int_equal(keep_region(keep, "x", 100, &region, NULL), 0);
    assert_true(region.fresh);
}

static void there_are_only_so_many_regions(UNUSED void **state)
{
    CLEANUP(keep_free_p) struct keep *keep = NULL;
    struct keep_region region;
    char name[] = "a";

    assert_int_equal(keep_new(&keep), 0);
    for (int i = 0; i < KEEP_REGIONS_MAX; i++) {
        name[0] = (char)('a' + i);
        assert_int_equal(keep_region(keep, name, 1, &region, NULL), 0);
    }
    assert_int_equal(keep_region(keep, "one-more", 1, &region, NULL), -ENOSPC);
}

static void blobs_are_read_and_replaced(UNUSED void **state)
{
    CLEANUP(keep_free_p) struct keep *keep = NULL;
    char *text = NULL;
    size_t len = 0;
    int fd = memfd_create("x", MFD_CLOEXEC);

    assert_int_equal(keep_new(&keep), 0);
    assert_int_equal(keep_blob_get(keep, "credentials", &text, &len), -ENOENT);
    assert_int_equal(write(fd, "old", 3), 3);
    assert_int_equal(keep_adopt(keep, "credentials", fd), 0);
    fd = memfd_create("x", MFD_CLOEXEC);
    assert_int_equal(write(fd, "newer", 5), 5);
    assert_int_equal(keep_adopt(keep, "credentials", fd), 0);
    assert_int_equal(keep_blob_get(keep, "credentials", &text, &len), 0);
    assert_string_equal(text, "newer");
    assert_int_equal(len, 5);
    keep_secret_free(text, len);
}

static void a_small_request_moves_to_a_small_slot(UNUSED void **state)
{
    CLEANUP(keep_free_p) struct keep *keep = NULL;
    CLEANUP(slots_free_p) struct slots *slots = NULL;
    int large;
    int at;

    assert_int_equal(keep_new(&keep), 0);
    assert_int_equal(slots_new(keep, SMALL, LARGE, &slots, NULL), 0);
    assert_int_equal(slots_take(slots, 0, &large), 0);
    assert_true(large >= SMALL);
    occupy(slots, large, 10, 100);
    ((char *)slots_data(slots, large))[99] = 'z';
    at = slots_settle(slots, large);
    assert_true(at < SMALL);
    assert_int_equal(((char *)slots_data(slots, at))[99], 'z');
    assert_int_equal(((struct fuse_in_header *)slots_data(slots, at))->unique, 10);
    assert_int_equal(*(uint32_t *)slots_data(slots, large), 0);
}

static void a_request_stays_where_it_is_when_it_must(UNUSED void **state)
{
    CLEANUP(keep_free_p) struct keep *keep = NULL;
    CLEANUP(slots_free_p) struct slots *slots = NULL;
    int index;

    assert_int_equal(keep_new(&keep), 0);
    assert_int_equal(slots_new(keep, SMALL, LARGE, &slots, NULL), 0);
    assert_int_equal(slots_take(slots, 0, &index), 0);
    occupy(slots, index, 2, SLOT_SMALL_SIZE + 1);
    assert_int_equal(slots_settle(slots, index), index);
    for (uint64_t i = 0; i < SMALL; i++) {
        assert_int_equal(slots_take(slots, 0, &index), 0);
        occupy(slots, index, 4 + 2 * i, 100);
        assert_int_not_equal(slots_settle(slots, index), index);
    }
    assert_int_equal(slots_take(slots, 0, &index), 0);
    occupy(slots, index, 20, 100); /* no small slot is left */
    assert_int_equal(slots_settle(slots, index), index);
}

static void taking_waits_and_gives_up(UNUSED void **state)
{
    CLEANUP(keep_free_p) struct keep *keep = NULL;
    CLEANUP(slots_free_p) struct slots *slots = NULL;
    int index = SLOT_NONE;

    assert_int_equal(keep_new(&keep), 0);
    assert_int_equal(slots_new(keep, SMALL, LARGE, &slots, NULL), 0);
    for (int i = 0; i < LARGE; i++) {
        assert_int_equal(slots_take(slots, 0, &index), 0);
    }
    assert_int_equal(slots_take(slots, 10, &index), -ETIMEDOUT);
    slots_release(slots, index);
    assert_int_equal(slots_take(slots, 10, &index), 0);
}

static void a_successor_finds_each_request_once_and_in_order(UNUSED void **state)
{
    CLEANUP(keep_free_p) struct keep *keep = NULL;
    CLEANUP(keep_free_p) struct keep *next_keep = NULL;
    CLEANUP(slots_free_p) struct slots *slots = NULL;
    CLEANUP(slots_free_p) struct slots *next = NULL;
    int found[SMALL + LARGE];

    assert_int_equal(keep_new(&keep), 0);
    assert_int_equal(slots_new(keep, SMALL, LARGE, &slots, NULL), 0);
    occupy(slots, SMALL + 0, 8, 5000);
    occupy(slots, SMALL + 1, 4, 100); /* killed while moving it: twice */
    occupy(slots, 0, 4, 100);
    occupy(slots, SMALL + 2, 6 | 1ULL << 63, 100); /* resent, and as it came first */
    occupy(slots, SMALL + 3, 6, 100);
    occupy(slots, SMALL + 4, 10, 7); /* shorter than its header: no request */
    next_keep = successor_of(keep);
    assert_int_equal(slots_new(next_keep, 1, 1, &next, NULL), 0);
    assert_int_equal(slots_count(next), SMALL + LARGE); /* the region's own numbers win */
    assert_int_equal(slots_occupied(next, found), 3);
    assert_int_equal(found[0], 0);
    assert_int_equal(found[1], SMALL + 2);
    assert_int_equal(found[2], SMALL + 0);
    for (int i = 0; i < LARGE - 2; i++) {
        int index;

        assert_int_equal(slots_take(next, 0, &index), 0);
        assert_int_not_equal(index, SMALL + 0);
        assert_int_not_equal(index, SMALL + 2);
    }
}

static void a_region_of_another_layout_is_refused(UNUSED void **state)
{
    CLEANUP(keep_free_p) struct keep *keep = NULL;
    struct slots *slots = NULL;
    struct keep_region region;

    assert_int_equal(keep_new(&keep), 0);
    assert_int_equal(slots_new(keep, 0, 1, &slots, NULL), -EINVAL);
    assert_int_equal(keep_region(keep, "slots", 100, &region, NULL), 0);
    memset(region.data, 'x', 100);
    assert_int_equal(slots_new(keep, 1, 1, &slots, NULL), -EUCLEAN);
}

static void only_a_few_large_slots_hold_memory(UNUSED void **state)
{
    CLEANUP(keep_free_p) struct keep *keep = NULL;
    CLEANUP(slots_free_p) struct slots *slots = NULL;
    struct keep_region region;
    int taken[LARGE];
    struct stat st;

    assert_int_equal(keep_new(&keep), 0);
    assert_int_equal(slots_new(keep, SMALL, LARGE, &slots, NULL), 0);
    for (int i = 0; i < LARGE; i++) {
        assert_int_equal(slots_take(slots, 0, &taken[i]), 0);
    }
    for (int i = 0; i < LARGE; i++) {
        slots_release(slots, taken[i]);
    }
    assert_int_equal(keep_region(keep, "slots", 1, &region, NULL), 0);
    assert_int_equal(fstat(region.fd, &st), 0);
    assert_true(st.st_blocks * 512 < 9 * (off_t)SLOT_LARGE_SIZE);
    assert_true(st.st_blocks * 512 >= 8 * (off_t)SLOT_LARGE_SIZE);
}

static off_t memory_of(struct keep *keep)
{
    struct keep_region region;
    struct stat st;

    assert_int_equal(keep_region(keep, "slots", 1, &region, NULL), 0);
    assert_int_equal(fstat(region.fd, &st), 0);
    return (off_t)st.st_blocks * 512;
}

static void free_slots_give_their_memory_back_and_the_others_keep_theirs(UNUSED void **state)
{
    CLEANUP(keep_free_p) struct keep *keep = NULL;
    CLEANUP(slots_free_p) struct slots *slots = NULL;
    struct fuse_in_header *in;
    int taken[3];
    int again;

    assert_int_equal(keep_new(&keep), 0);
    assert_int_equal(slots_new(keep, SMALL, LARGE, &slots, NULL), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(slots_take(slots, 0, &taken[i]), 0);
        occupy(slots, taken[i], 2 * (uint64_t)(i + 1), 100);
    }
    taken[0] = slots_settle(slots, taken[0]); /* one small, two large */
    taken[1] = slots_settle(slots, taken[1]);
    slots_release(slots, taken[1]);
    assert_int_equal(slots_cool(slots), 0);
    assert_true(memory_of(keep) <= SLOT_LARGE_SIZE + 2 * SLOT_SMALL_SIZE);
    in = slots_data(slots, taken[0]);
    assert_int_equal(in->unique, 2);
    in = slots_data(slots, taken[2]);
    assert_int_equal(in->unique, 6);
    for (int i = 0; i < LARGE - 1; i++) { /* all are there again */
        assert_int_equal(slots_take(slots, 0, &again), 0);
        assert_int_equal(*(uint32_t *)slots_data(slots, again), 0);
    }
    assert_int_equal(slots_take(slots, 0, &again), -ETIMEDOUT);
}

static void looking_for_requests_takes_no_memory(UNUSED void **state)
{
    CLEANUP(keep_free_p) struct keep *keep = NULL;
    CLEANUP(keep_free_p) struct keep *next = NULL;
    CLEANUP(slots_free_p) struct slots *slots = NULL;
    CLEANUP(slots_free_p) struct slots *after = NULL;
    int occupied[SMALL + LARGE];
    int index;
    off_t before;

    assert_int_equal(keep_new(&keep), 0);
    assert_int_equal(slots_new(keep, SMALL, LARGE, &slots, NULL), 0);
    assert_true(memory_of(keep) <= 4096);
    assert_int_equal(slots_take(slots, 0, &index), 0);
    occupy(slots, index, 4, 80);
    assert_true(slots_settle(slots, index) < SMALL);
    before = memory_of(keep);
    next = successor_of(keep);
    assert_int_equal(slots_new(next, SMALL, LARGE, &after, NULL), 0);
    assert_int_equal(slots_occupied(after, occupied), 1);
    assert_int_equal(memory_of(next), before);
}

static void half_a_request_is_seen(UNUSED void **state)
{
    enum { LEN = 3 * 4096 + 80 };
    CLEANUP(keep_free_p) struct keep *keep = NULL;
    CLEANUP(slots_free_p) struct slots *slots = NULL;
    int index;

    assert_int_equal(keep_new(&keep), 0);
    assert_int_equal(slots_new(keep, SMALL, LARGE, &slots, NULL), 0);
    for (int round = 0; round < 2; round++) { /* also when the slot is used again */
        assert_int_equal(slots_take(slots, 0, &index), 0);
        memset((char *)slots_data(slots, index) + 4096, 'x', 2 * 4096);
        occupy(slots, index, 2, LEN);
        assert_true(slots_torn(slots, index)); /* its last page never came */
        memset((char *)slots_data(slots, index) + 3 * 4096, 'x', 80);
        assert_false(slots_torn(slots, index));
        slots_release(slots, index);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regions_are_fresh_once_and_keep_their_bytes),
        cmocka_unit_test(a_region_that_nobody_holds_is_not_used),
        cmocka_unit_test(there_are_only_so_many_regions),
        cmocka_unit_test(blobs_are_read_and_replaced),
        cmocka_unit_test(a_small_request_moves_to_a_small_slot),
        cmocka_unit_test(a_request_stays_where_it_is_when_it_must),
        cmocka_unit_test(taking_waits_and_gives_up),
        cmocka_unit_test(a_successor_finds_each_request_once_and_in_order),
        cmocka_unit_test(a_region_of_another_layout_is_refused),
        cmocka_unit_test(only_a_few_large_slots_hold_memory),
        cmocka_unit_test(free_slots_give_their_memory_back_and_the_others_keep_theirs),
        cmocka_unit_test(looking_for_requests_takes_no_memory),
        cmocka_unit_test(half_a_request_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a successor makes of kept memory, whole, damaged or incomplete. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/kept/keep.h"
#include "mounter/kept/state.h"
#include "test.h"

enum { POOL = 4 << 20, INODES = 64, WRITTEN = 3 * 4096 + 100, OFFSET = 5000 };

struct hand_over {
    struct keep *to;
    const char *but; /* this region is lost; or NULL */
};

static int hand_over(void *context, const char *name, int fd, UNUSED struct error *err)
{
    const struct hand_over *h = context;

    return h->but != NULL && strcmp(h->but, name) == 0
               ? 0
               : keep_adopt(h->to, name, fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

static int open_pool(struct keep *keep, uint64_t bytes, struct state **ret, struct error *err)
{
    const struct state_config config = {.keep = keep, .pool_bytes = bytes, .inodes = INODES};

    return state_new(&config, ret, err);
}

static int open_state(struct keep *keep, struct state **ret, struct error *err)
{
    return open_pool(keep, POOL, ret, err);
}

static uint32_t make_inode(struct state *state, uint32_t flags, uint32_t upload)
{
    struct inode_rec rec = {.flags = INODE_USED | flags,
                            .parent = STATE_ROOT,
                            .mode = S_IFREG | 0644,
                            .opens = 1,
                            .upload = upload};
    uint32_t ino;

    state_begin(state);
    ino = state_inode_alloc(state);
    assert_int_equal(state_text_new(state, "name", 4, &rec.name), 0);
    state_inode_fill(state, ino, &rec);
    state_commit(state);
    return ino;
}

static uint32_t make_block(struct state *state, uint32_t ino)
{
    struct block_rec rec = {.inode = ino, .count = 1, .extents = {{OFFSET, OFFSET + WRITTEN}}};
    char bytes[WRITTEN];
    uint32_t block;

    memset(bytes, 'x', sizeof(bytes));
    state_begin(state);
    block = state_block_take(state, WRITTEN);
    state_block_write(state, block, OFFSET, bytes, sizeof(bytes));
    state_set(state, state_block(state, block), &rec, sizeof(rec));
    state_commit(state);
    return block;
}

/* Two inodes with dirty bytes, one with an upload, one clean; as the predecessor leaves them. */
struct left {
    struct keep *keep, *next;
    struct state *before, *after;
    uint32_t dirty, other, uploading, clean;
    uint32_t block, other_block;
};

static void leave(struct left *left)
{
    memset(left, 0, sizeof(*left));
    assert_int_equal(keep_new(&left->keep), 0);
    assert_int_equal(open_state(left->keep, &left->before, NULL), 0);
    assert_false(state_adopted(left->before));
    left->dirty = make_inode(left->before, INODE_DIRTY, 0);
    left->other = make_inode(left->before, INODE_DIRTY, 0);
    left->uploading = make_inode(left->before, INODE_DIRTY, 1);
    left->clean = make_inode(left->before, 0, 0);
    left->block = make_block(left->before, left->dirty);
    left->other_block = make_block(left->before, left->other);
}

static int adopt(struct left *left, const char *but, struct error *err)
{
    struct hand_over h = {.but = but};

    assert_int_equal(keep_new(&left->next), 0);
    h.to = left->next;
    assert_int_equal(keep_each(left->keep, hand_over, &h, NULL), 0);
    return open_state(left->next, &left->after, err);
}

static void done(struct left *left)
{
    state_free(left->before);
    state_free(left->after);
    keep_free(left->keep);
    keep_free(left->next);
}

static bool lost(const struct left *left, uint32_t ino)
{
    return (state_inode(left->after, ino)->flags & INODE_LOST) != 0;
}

static char *pool_of(const struct left *left, uint32_t block)
{
    struct keep_region region;

    assert_int_equal(keep_region(left->keep, "pool", 1, &region, NULL), 0);
    return (char *)region.data + (size_t)block * STATE_BLOCK_SIZE;
}

static void what_was_sent_blindly_is_late_for_who_comes_after_the_sender(UNUSED void **state)
{
    struct left left;
    struct left third;

    leave(&left);
    assert_int_equal(adopt(&left, NULL, NULL), 0);
    assert_int_equal(state_blind_until(left.after, 1000), 0); /* nothing was */
    state_note_blind(left.after);
    third = (struct left){.keep = left.next};
    assert_int_equal(adopt(&third, NULL, NULL), 0);
    assert_int_equal(state_blind_until(third.after, 2000), 2000);
    state_free(third.after);
    keep_free(third.next);
    assert_int_equal(adopt(&third, NULL, NULL), 0);
    assert_int_equal(state_blind_until(third.after, 3000), 2000); /* the second has sent nothing */
    state_free(third.after);
    keep_free(third.next);
    done(&left);
}

static void a_successor_finds_every_byte(UNUSED void **state)
{
    struct left left;

    leave(&left);
    assert_int_equal(adopt(&left, NULL, NULL), 0);
    assert_true(state_adopted(left.after));
    assert_false(lost(&left, left.dirty) || lost(&left, left.other) || lost(&left, left.clean) ||
                 lost(&left, left.uploading));
    assert_int_equal(state_block_data(left.after, left.block)[OFFSET + WRITTEN - 1], 'x');
    assert_int_equal(state_block_used(left.after), 2);
    done(&left);
}

/* A predecessor that took more than its cgroup has leaves a pool that is too large. */
static void a_successor_fills_no_more_of_the_pool_than_it_is_told(UNUSED void **state)
{
    struct left left;
    struct hand_over h = {0};

    leave(&left);
    assert_int_equal(state_pool_size(left.before), POOL);
    assert_int_equal(keep_new(&left.next), 0);
    h.to = left.next;
    assert_int_equal(keep_each(left.keep, hand_over, &h, NULL), 0);
    assert_int_equal(open_pool(left.next, POOL / 2, &left.after, NULL), 0);
    assert_int_equal(state_pool_size(left.after), POOL / 2);
    assert_int_equal(state_block_data(left.after, left.block)[OFFSET + WRITTEN - 1], 'x');
    state_free(left.after);
    assert_int_equal(open_pool(left.next, POOL * 2, &left.after, NULL), 0);
    assert_int_equal(state_pool_size(left.after), POOL); /* there is no more of it */
    done(&left);
}

static void a_damaged_byte_loses_its_inode_and_no_other(UNUSED void **state)
{
    static const uint32_t where[] = {OFFSET, OFFSET + 4096, OFFSET + WRITTEN - 1};

    for (size_t i = 0; i < sizeof(where) / sizeof(where[0]); i++) {
        struct left left;

        leave(&left);
        pool_of(&left, left.block)[where[i]] ^= 1;
        assert_int_equal(adopt(&left, NULL, NULL), 0);
        assert_true(lost(&left, left.dirty));
        assert_false(lost(&left, left.other) || lost(&left, left.clean));
        assert_int_equal(state_block_used(left.after), 1);
        done(&left);
    }
}

static void damage_to_bytes_that_do_not_count_loses_nothing(UNUSED void **state)
{
    struct left left;

    leave(&left);
    pool_of(&left, left.block)[STATE_BLOCK_SIZE - 1] ^= 1;
    assert_int_equal(adopt(&left, NULL, NULL), 0);
    assert_false(lost(&left, left.dirty));
    done(&left);
}

static void a_record_that_makes_no_sense_loses_its_inode(UNUSED void **state)
{
    struct left left;

    leave(&left);
    state_block(left.before, left.block)->count = STATE_EXTENTS + 1;
    state_block(left.before, left.other_block)->extents[0].to = STATE_BLOCK_SIZE + 1;
    assert_int_equal(adopt(&left, NULL, NULL), 0);
    assert_true(lost(&left, left.dirty) && lost(&left, left.other));
    assert_int_equal(state_block_used(left.after), 0);
    done(&left);
}

static void missing_bytes_lose_who_had_some(UNUSED void **state)
{
    static const char *const missing[] = {"pool", "sums"};

    for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++) {
        struct left left;

        leave(&left);
        assert_int_equal(adopt(&left, missing[i], NULL), 0);
        assert_true(lost(&left, left.dirty) && lost(&left, left.other));
        assert_false(lost(&left, left.clean) || lost(&left, left.uploading));
        done(&left);
    }
}

static void a_missing_table_of_blocks_loses_all_that_is_dirty(UNUSED void **state)
{
    struct left left;

    leave(&left);
    assert_int_equal(adopt(&left, "blocks", NULL), 0);
    assert_true(lost(&left, left.dirty) && lost(&left, left.other) && lost(&left, left.uploading));
    assert_false(lost(&left, left.clean));
    done(&left);
}

static void missing_uploads_lose_who_had_sent_parts(UNUSED void **state)
{
    struct left left;

    leave(&left);
    assert_int_equal(adopt(&left, "uploads", NULL), 0);
    assert_true(lost(&left, left.uploading));
    assert_false(lost(&left, left.dirty) || lost(&left, left.clean));
    done(&left);
}

static void without_its_inodes_or_names_nothing_goes_on(UNUSED void **state)
{
    static const char *const missing[] = {"inodes", "texts"};

    for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++) {
        struct error err = ERROR_INIT;
        struct left left;

        leave(&left);
        assert_int_equal(adopt(&left, missing[i], &err), -EUCLEAN);
        assert_non_null(strstr(err.text, missing[i]));
        done(&left);
    }
}

/* As after a kill in the middle of state_block_write(): the request will come again. */
static void a_write_that_was_cut_off_is_no_damage(UNUSED void **state)
{
    struct keep_region region;
    struct left left;
    uint32_t writing[3];

    leave(&left);
    pool_of(&left, left.block)[OFFSET + 10] = 'y';
    assert_int_equal(keep_region(left.keep, "state", 1, &region, NULL), 0);
    writing[0] = left.block + 1;
    writing[1] = OFFSET;
    writing[2] = OFFSET + 4096;
    memcpy((char *)region.data + 36, writing, sizeof(writing)); /* after the three high marks */
    assert_int_equal(adopt(&left, NULL, NULL), 0);
    assert_false(lost(&left, left.dirty));
    done(&left);
}

static void intents_are_found_again(UNUSED void **state)
{
    const struct state_intent wanted = {.unique = 42, .inos = {7, 9}};
    struct state_intent found;
    struct left left;
    uint32_t at = 0;

    leave(&left);
    state_begin(left.before);
    assert_int_equal(state_intend(left.before, &wanted), 0);
    assert_int_equal(state_applied(left.before, 44, "answer", 6), 0);
    state_commit(left.before);
    assert_int_equal(adopt(&left, NULL, NULL), 0);
    assert_true(state_next_intent(left.after, &at, &found));
    assert_int_equal(found.unique, 42);
    assert_int_equal(found.inos[0], 7);
    assert_int_equal(found.inos[1], 9);
    assert_false(state_next_intent(left.after, &at, &found));
    done(&left);
}

static void graves_are_found_wherever_they_are(UNUSED void **state)
{
    static const uint32_t where[] = {0, 1, 255, 256, 257, 5000, STATE_GRAVES - 1};
    enum { COUNT = sizeof(where) / sizeof(where[0]) };
    struct left left;
    uint32_t at = 0;
    uint32_t grave;

    leave(&left);
    for (size_t i = 0; i < COUNT; i++) {
        const struct grave_rec rec = {.key = 7};

        state_begin(left.before);
        state_set(left.before, state_grave(left.before, where[i]), &rec, sizeof(rec));
        state_commit(left.before);
    }
    assert_int_equal(adopt(&left, NULL, NULL), 0);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(state_next_grave(left.after, &at, &grave));
        assert_int_equal(grave, where[i]);
    }
    assert_false(state_next_grave(left.after, &at, &grave));
    done(&left);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_sent_blindly_is_late_for_who_comes_after_the_sender),
        cmocka_unit_test(a_successor_finds_every_byte),
        cmocka_unit_test(a_successor_fills_no_more_of_the_pool_than_it_is_told),
        cmocka_unit_test(a_damaged_byte_loses_its_inode_and_no_other),
        cmocka_unit_test(damage_to_bytes_that_do_not_count_loses_nothing),
        cmocka_unit_test(a_record_that_makes_no_sense_loses_its_inode),
        cmocka_unit_test(missing_bytes_lose_who_had_some),
        cmocka_unit_test(a_missing_table_of_blocks_loses_all_that_is_dirty),
        cmocka_unit_test(missing_uploads_lose_who_had_sent_parts),
        cmocka_unit_test(without_its_inodes_or_names_nothing_goes_on),
        cmocka_unit_test(a_write_that_was_cut_off_is_no_damage),
        cmocka_unit_test(intents_are_found_again),
        cmocka_unit_test(graves_are_found_wherever_they_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

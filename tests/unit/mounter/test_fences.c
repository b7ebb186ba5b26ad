/* SPDX-License-Identifier: Apache-2.0 */
/* Where a deletion may still arrive nothing new is put, and nobody else waits for that. */
#include "mounter/names/fences.h"

#include "fs_rig.h"
#include "mounter/names/graves.h"

enum { LONG_MS = 20000, SHORT_MS = 30, LONGEST_MS = GRAVES_LATE_MS + 1000 };

static const struct fs_options options = {
    .attrs = ATTRS_LIST, .attr_timeout_ms = 60000, .sync = SYNC_FSYNC};

static struct rig *with(const char *const *keys)
{
    struct rig *rig = rig_store_new(&options);

    for (; *keys != NULL; keys++) {
        rig_put(rig, *keys, "content");
    }
    rig_start(rig);
    rig_forget_counts(rig);
    return rig;
}

static void fail_deletions(struct rig *rig, int error)
{
    rig_fail(rig, OBJSTORE_DELETE, error);
    rig_fail(rig, OBJSTORE_DELETE_BATCH, error);
}

static unsigned deletions(struct rig *rig)
{
    return rig_count(rig, OBJSTORE_DELETE) + rig_count(rig, OBJSTORE_DELETE_BATCH);
}

static void dig(struct rig *rig, const char *key)
{
    struct fs *fs = rig->fs;

    mutex_lock(&fs->lock);
    state_begin(fs->state);
    assert_int_equal(graves_dig(fs, key, "", false), 0);
    state_commit(fs->state);
    graves_dug(fs);
    mutex_unlock(&fs->lock);
}

/* The store does not answer, once at least. */
static void dig_in_vain(struct rig *rig, const char *const *keys)
{
    fail_deletions(rig, -EIO);
    for (; *keys != NULL; keys++) {
        dig(rig, *keys);
    }
    for (int i = 0; i < 2000 && deletions(rig) == 0; i++) {
        rig_sleep_ms(5);
    }
    assert_true(deletions(rig) > 0);
}

/* The successor has deleted all that. */
static void succeed_and_delete(struct rig *rig)
{
    rig_succeed(rig);
    fail_deletions(rig, 0);
    assert_int_equal(graves_wait(rig->fs, "", true, fs_now_ms() + LONG_MS), 0);
}

static int wait_ms(struct rig *rig, const char *key, bool below, uint64_t ms)
{
    return fences_wait(rig->fs, key, below, fs_now_ms() + ms);
}

static bool is_fenced(struct rig *rig, const char *key)
{
    struct fs *fs = rig->fs;
    bool is;

    mutex_lock(&fs->lock);
    is = fences_has(fs, key);
    assert_true(!is || graves_has(fs, key)); /* absent */
    assert_true(!is || fs_key_hidden(fs, key, fs->clock));
    assert_int_equal(graves_count(fs), 0);
    assert_false(graves_has_below(fs, ""));
    mutex_unlock(&fs->lock);
    return is;
}

/* When the one there is ends, by its record. */
static uint64_t end_ms(struct rig *rig)
{
    uint64_t end;
    uint32_t at = 0;
    uint32_t index;

    mutex_lock(&rig->fs->lock);
    assert_true(state_next_grave(rig->fs->state, &at, &index));
    assert_int_equal(state_grave(rig->fs->state, index)->etag, GRAVE_FENCE);
    end = (uint64_t)state_grave(rig->fs->state, index)->not_before_s * 1000;
    assert_false(state_next_grave(rig->fs->state, &at, &index));
    mutex_unlock(&rig->fs->lock);
    return end;
}

static size_t records(struct rig *rig)
{
    size_t count = 0;
    uint32_t at = 0;
    uint32_t index;

    mutex_lock(&rig->fs->lock);
    while (state_next_grave(rig->fs->state, &at, &index)) {
        count++;
    }
    assert_int_equal(fences_count(rig->fs), count);
    mutex_unlock(&rig->fs->lock);
    return count;
}

static void what_was_deleted_at_the_first_try_has_no_fence(UNUSED void **state)
{
    struct rig *rig = with((const char *const[]){"d/a", NULL});

    dig(rig, "d/a");
    assert_int_equal(graves_wait(rig->fs, "d/a", false, fs_now_ms() + LONG_MS), 0);
    assert_false(is_fenced(rig, "d/a"));
    graves_fence(rig->fs, "d/b"); /* nobody was before us */
    assert_int_equal(records(rig), 0);
    rig_free(rig);
}

static void what_a_predecessor_may_have_deleted_is_kept_free_for_a_while(UNUSED void **state)
{
    struct rig *rig = with((const char *const[]){"d/a", "d/b", NULL});
    uint64_t before_ms;

    dig_in_vain(rig, (const char *const[]){"d/a", NULL});
    before_ms = fs_now_ms();
    rig_succeed(rig);
    fail_deletions(rig, 0);
    assert_int_equal(graves_wait(rig->fs, "d/a", false, fs_now_ms() + LONG_MS), 0);
    assert_false(rig_has(rig, "d/a"));                    /* it is deleted at once */
    if (fs_now_ms() < before_ms + GRAVES_LATE_MS - 500) { /* the machine is not that slow */
        assert_true(is_fenced(rig, "d/a"));
        assert_int_equal(wait_ms(rig, "d/a", false, SHORT_MS), -ETIMEDOUT);
        assert_int_equal(wait_ms(rig, "d/", true, SHORT_MS), -ETIMEDOUT);
        assert_in_range(end_ms(rig), before_ms + GRAVES_LATE_MS, fs_now_ms() + LONGEST_MS);
    }
    assert_int_equal(wait_ms(rig, "d/b", false, SHORT_MS), 0);
    assert_int_equal(wait_ms(rig, "d/aa", true, SHORT_MS), 0);
    assert_int_equal(wait_ms(rig, "d/a", false, LONG_MS), 0);
    assert_true(fs_now_ms() >= before_ms + GRAVES_LATE_MS);
    assert_int_equal(records(rig), 0);
    mutex_lock(&rig->fs->lock);
    assert_false(graves_has(rig->fs, "d/a"));
    mutex_unlock(&rig->fs->lock);
    rig_free(rig);
}

static void a_deletion_that_failed_and_then_did_not_leaves_a_fence(UNUSED void **state)
{
    struct rig *rig = with((const char *const[]){"d/a", NULL});
    struct fs *fs = rig->fs;
    uint32_t ino = rig_lookup(rig, "d/a");
    struct inode_rec *rec = state_inode(fs->state, ino);

    dig_in_vain(rig, (const char *const[]){"d/a", NULL});
    fail_deletions(rig, 0);
    assert_int_equal(graves_wait(fs, "d/a", false, fs_now_ms() + LONG_MS), 0);
    assert_false(rig_has(rig, "d/a"));
    assert_true(is_fenced(rig, "d/a"));
    mutex_lock(&fs->lock);
    assert_false(graves_block(fs, fs_node(fs, ino)));
    state_begin(fs->state);
    STATE_SET(fs->state, rec->flags, rec->flags | INODE_NEW);
    state_commit(fs->state);
    assert_true(graves_block(fs, fs_node(fs, ino))); /* a publication waits */
    mutex_unlock(&fs->lock);
    rig_free(rig);
}

static void a_third_mounter_neither_deletes_again_nor_keeps_it_free_for_longer(UNUSED void **state)
{
    struct rig *rig = with((const char *const[]){"d/a", NULL});
    uint64_t end;

    dig_in_vain(rig, (const char *const[]){"d/a", NULL});
    succeed_and_delete(rig);
    assert_true(is_fenced(rig, "d/a"));
    end = end_ms(rig);
    rig_put(rig, "d/a", "somebody else's");
    rig_forget_counts(rig);
    for (int i = 0; i < 3; i++) {
        rig_sleep_ms(50);
        rig_succeed(rig);
        if (records(rig) > 0) {
            assert_true(is_fenced(rig, "d/a"));
            assert_int_equal(end_ms(rig), end);
        }
    }
    assert_int_equal(wait_ms(rig, "d/a", false, LONG_MS), 0);
    assert_int_equal(records(rig), 0);
    assert_int_equal(deletions(rig), 0);
    assert_true(rig_has(rig, "d/a"));
    rig_free(rig);
}

static void no_directory_stays_for_a_fence_below_it(UNUSED void **state)
{
    struct rig *rig = with((const char *const[]){"d/", "d/e/", "d/e/a", NULL});

    dig_in_vain(rig, (const char *const[]){"d/e/a", "d/e/", "d/", NULL});
    succeed_and_delete(rig);
    assert_false(rig_has(rig, "d/e/a") || rig_has(rig, "d/e/") || rig_has(rig, "d/"));
    assert_true(is_fenced(rig, "d/e/a"));
    assert_true(is_fenced(rig, "d/e/"));
    assert_true(is_fenced(rig, "d/"));
    assert_int_equal(wait_ms(rig, "d/e/b", false, SHORT_MS), 0); /* never had a deletion */
    rig_free(rig);
}

static void a_request_that_comes_again_puts_one_there_and_a_removal_its_grave(UNUSED void **state)
{
    struct rig *rig = with((const char *const[]){"a", NULL});
    struct fs *fs;

    rig_succeed(rig);
    fs = rig->fs;
    graves_fence(fs, "a");
    graves_fence(fs, "a"); /* and again */
    assert_int_equal(records(rig), 1);
    assert_true(is_fenced(rig, "a"));
    dig(rig, "a"); /* there is something all the same */
    mutex_lock(&fs->lock);
    assert_int_equal(graves_count(fs), 1);
    mutex_unlock(&fs->lock);
    assert_int_equal(graves_wait(fs, "a", false, fs_now_ms() + LONG_MS), 0);
    assert_false(rig_has(rig, "a"));
    assert_true(is_fenced(rig, "a"));
    assert_int_equal(records(rig), 1);
    assert_int_equal(wait_ms(rig, "", true, LONG_MS), 0);
    assert_int_equal(records(rig), 0);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_deleted_at_the_first_try_has_no_fence),
        cmocka_unit_test(what_a_predecessor_may_have_deleted_is_kept_free_for_a_while),
        cmocka_unit_test(a_deletion_that_failed_and_then_did_not_leaves_a_fence),
        cmocka_unit_test(a_third_mounter_neither_deletes_again_nor_keeps_it_free_for_longer),
        cmocka_unit_test(no_directory_stays_for_a_fence_below_it),
        cmocka_unit_test(a_request_that_comes_again_puts_one_there_and_a_removal_its_grave),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

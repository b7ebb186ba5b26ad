/* SPDX-License-Identifier: Apache-2.0 */
/* Names that were taken away here: absent at once, deleted soon, and nobody else's. */
#include "mounter/names/graves.h"

#include "fs_rig.h"
#include "mounter/write/copy.h"

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

static void dig_locked(struct fs *fs, const char *key, const char *etag, bool beside)
    REQUIRES(&fs->lock)
{
    state_begin(fs->state);
    assert_int_equal(graves_dig(fs, key, etag, beside), 0);
    state_commit(fs->state);
    graves_dug(fs);
}

static void dig(struct fs *fs, const char *key)
{
    mutex_lock(&fs->lock);
    dig_locked(fs, key, "", false);
    assert_true(graves_has(fs, key)); /* absent at once */
    assert_true(fs_key_hidden(fs, key, fs->clock));
    mutex_unlock(&fs->lock);
}

static void wait_for(struct rig *rig, const char *key, bool below)
{
    assert_int_equal(graves_wait(rig->fs, key, below, fs_now_ms() + 20000), 0);
}

static size_t open_graves(struct rig *rig)
{
    size_t count;

    mutex_lock(&rig->fs->lock);
    count = graves_count(rig->fs);
    mutex_unlock(&rig->fs->lock);
    return count;
}

static void what_is_taken_away_is_absent_at_once_and_deleted_soon(UNUSED void **state)
{
    struct rig *rig = with((const char *const[]){"d/a", "d/b", NULL});
    struct fs *fs = rig->fs;
    uint64_t asked = fs_asked(fs);

    dig(fs, "d/a");
    wait_for(rig, "d/a", false);
    assert_false(rig_has(rig, "d/a"));
    assert_true(rig_has(rig, "d/b"));
    assert_int_equal(open_graves(rig), 0);
    mutex_lock(&fs->lock);
    assert_true(fs_key_hidden(fs, "d/a", asked)); /* to a listing that is older */
    assert_false(fs_key_hidden(fs, "d/a", fs->clock));
    assert_false(fs_key_hidden(fs, "d/b", asked));
    mutex_unlock(&fs->lock);
    rig_free(rig);
}

static void many_are_deleted_by_one_request(UNUSED void **state)
{
    struct rig *rig = with((const char *const[]){NULL});
    char key[32];

    for (int i = 0; i < 200; i++) {
        (void)snprintf(key, sizeof(key), "d/f%d", i);
        rig_put(rig, key, "content");
    }
    for (int i = 0; i < 200; i++) {
        (void)snprintf(key, sizeof(key), "d/f%d", i);
        dig(rig->fs, key);
    }
    wait_for(rig, "d/", true);
    assert_false(rig_has(rig, "d/f199"));
    assert_in_range(rig_count(rig, OBJSTORE_DELETE_BATCH), 1, 3);
    assert_in_range(rig_count(rig, OBJSTORE_DELETE), 0, 1);
    rig_free(rig);
}

static void a_file_and_a_directory_of_one_name_have_a_grave_each(UNUSED void **state)
{
    struct rig *rig = with((const char *const[]){"a", "a/", "b", "c/", NULL});
    struct fs *fs = rig->fs;

    rig_hold(rig, OBJSTORE_DELETE);
    rig_hold(rig, OBJSTORE_DELETE_BATCH);
    mutex_lock(&fs->lock);
    dig_locked(fs, "a", "", true);
    dig_locked(fs, "b", "", false);
    dig_locked(fs, "c/", "", false);
    assert_true(graves_has_name(fs, STATE_ROOT, ".%file%a"));
    assert_false(graves_has_name(fs, STATE_ROOT, "a")); /* the directory is another */
    assert_true(graves_has_as(fs, STATE_ROOT, "a", false));
    assert_false(graves_has_as(fs, STATE_ROOT, "a", true));
    assert_true(graves_has_name(fs, STATE_ROOT, "b"));
    assert_true(graves_has_name(fs, STATE_ROOT, "c"));
    assert_false(graves_has_as(fs, STATE_ROOT, "c", false));
    assert_true(fs_name_hidden(fs, STATE_ROOT, ".%file%a", false, fs->clock));
    assert_false(fs_name_hidden(fs, STATE_ROOT, "a", true, fs->clock));
    mutex_unlock(&fs->lock);
    rig_release(rig);
    wait_for(rig, "", true);
    assert_true(rig_has(rig, "a/") && !rig_has(rig, "a") && !rig_has(rig, "c/"));
    mutex_lock(&fs->lock);
    assert_true(fs_name_hidden(fs, STATE_ROOT, ".%file%a", false, 0));
    assert_false(fs_name_hidden(fs, STATE_ROOT, "a", true, 0));
    assert_true(fs_name_outdated(fs, STATE_ROOT, "a", 0)); /* "absent" of then says nothing now */
    mutex_unlock(&fs->lock);
    rig_free(rig);
}

static void what_the_store_refuses_to_delete_shows_again_and_is_remembered(UNUSED void **state)
{
    struct rig *rig = with((const char *const[]){"d/a", NULL});
    bool trusted;

    rig_fail(rig, OBJSTORE_DELETE, -EACCES);
    dig(rig->fs, "d/a");
    wait_for(rig, "d/a", false);
    assert_true(rig_has(rig, "d/a"));
    mutex_lock(&rig->fs->lock);
    trusted = graves_trusted(rig->fs);
    mutex_unlock(&rig->fs->lock);
    assert_false(trusted); /* the next removal waits for the store */
    rig_free(rig);
}

static void a_second_try_spares_what_others_made(UNUSED void **state)
{
    struct rig *rig = with((const char *const[]){"d/a", "d/b", NULL});
    struct fs *fs = rig->fs;
    uint32_t ino = rig_lookup(rig, "d/a");
    uint32_t other = rig_lookup(rig, "d/b");

    rig_fail(rig, OBJSTORE_DELETE, -EIO);
    rig_fail(rig, OBJSTORE_DELETE_BATCH, -EIO);
    mutex_lock(&fs->lock);
    dig_locked(fs, "d/a", state_inode(fs->state, ino)->etag, false);
    dig_locked(fs, "d/b", state_inode(fs->state, other)->etag, false);
    mutex_unlock(&fs->lock);
    for (int i = 0; i < 2000 && rig_count(rig, OBJSTORE_DELETE_BATCH) == 0; i++) {
        rig_sleep_ms(5);
    }
    rig_put(rig, "d/a", "somebody else's");
    rig_fail(rig, OBJSTORE_DELETE, 0);
    rig_fail(rig, OBJSTORE_DELETE_BATCH, 0);
    wait_for(rig, "d/", true);
    assert_true(rig_has(rig, "d/a"));
    assert_false(rig_has(rig, "d/b"));
    rig_free(rig);
}

static void waiting_has_an_end(UNUSED void **state)
{
    struct rig *rig = with((const char *const[]){"d/a", NULL});

    rig_hold(rig, OBJSTORE_DELETE);
    dig(rig->fs, "d/a");
    assert_int_equal(graves_wait(rig->fs, "d/a", false, fs_now_ms() + 50), -ETIMEDOUT);
    assert_int_equal(graves_wait(rig->fs, "d/", true, fs_now_ms() + 50), -ETIMEDOUT);
    assert_int_equal(graves_wait(rig->fs, "e/", true, fs_now_ms() + 50), 0);
    rig_free(rig);
}

static void what_may_still_arrive_is_waited_for(UNUSED void **state)
{
    struct rig *rig = with((const char *const[]){"d/b", NULL});
    struct fs *fs = rig->fs;

    mutex_lock(&fs->lock);
    dig_locked(fs, "d/a", NULL, false);
    dig_locked(fs, "d/b", "", false);
    mutex_unlock(&fs->lock);
    wait_for(rig, "d/b", false); /* this one does not wait for the other */
    assert_int_equal(open_graves(rig), 1);
    rig_put(rig, "d/a", "sent before it was removed");
    mutex_lock(&fs->lock);
    assert_true(fs_key_hidden(fs, "d/a", fs->clock));
    mutex_unlock(&fs->lock);
    wait_for(rig, "d/", true);
    assert_false(rig_has(rig, "d/a"));
    rig_free(rig);
}

static void a_directory_stays_away_until_all_that_was_below_it_has_gone(UNUSED void **state)
{
    struct rig *rig = with((const char *const[]){"d/", "d/e/", "d/e/a", NULL});
    struct fs *fs = rig->fs;

    mutex_lock(&fs->lock);
    dig_locked(fs, "d/e/a", NULL, false); /* not before two seconds are over */
    dig_locked(fs, "d/e/", "", false);
    dig_locked(fs, "d/", "", false);
    mutex_unlock(&fs->lock);
    for (int i = 0; i < 2000 && (rig_has(rig, "d/") || rig_has(rig, "d/e/")); i++) {
        rig_sleep_ms(5);
    }
    assert_true(rig_has(rig, "d/e/a")); /* it shows both of them in a listing */
    rig_sleep_ms(50);
    mutex_lock(&fs->lock);
    assert_true(fs_name_hidden(fs, STATE_ROOT, "d", true, fs->clock));
    assert_true(graves_has(fs, "d/e/"));
    mutex_unlock(&fs->lock);
    wait_for(rig, "", true);
    assert_false(rig_has(rig, "d/e/a"));
    assert_int_equal(open_graves(rig), 0);
    rig_free(rig);
}

static void wait_held(struct rig *rig)
{
    size_t held = 0;

    while (held == 0) {
        usleep(1000);
        mutex_lock(&rig->lock);
        held = rig->held_count;
        mutex_unlock(&rig->lock);
    }
}

/* Where others work with the names, too: one by itself, and two by one request. */
static void what_another_mount_puts_there_meanwhile_stays(UNUSED void **state)
{
    static const struct fs_options shared = {
        .attrs = ATTRS_LIST, .attr_timeout_ms = 60000, .sync = SYNC_CLOSE};

    for (int count = 1; count <= 2; count++) {
        struct rig *rig = rig_store_new(&shared);
        enum objstore_op op = count == 1 ? OBJSTORE_DELETE : OBJSTORE_DELETE_BATCH;
        char etag[STATE_ETAG_SIZE] = "";

        rig_put(rig, "a", "content");
        rig_put(rig, "b", "content");
        rig_put(rig, "old", "changed by another before");
        rig_start(rig);
        rig->fs->caps.conditional_delete = true;
        rig->fs->caps.conditional_batch = true;
        assert_int_equal(remote_etag(rig->fs, "a", etag), 0);
        rig->hold[op] = true;
        mutex_lock(&rig->fs->lock);
        dig_locked(rig->fs, "a", etag, false);
        if (count == 2) {
            dig_locked(rig->fs, "b", etag, false);
        }
        mutex_unlock(&rig->fs->lock);
        wait_held(rig);
        rig_put(rig, "a", "another's");
        rig_release(rig);
        wait_for(rig, "a", false);
        wait_for(rig, "b", false);
        assert_true(rig_has(rig, "a"));
        assert_int_equal(rig_has(rig, "b"), count == 1);

        usleep(1100000); /* then it is older than the removal */
        mutex_lock(&rig->fs->lock);
        dig_locked(rig->fs, "old", etag, false);
        mutex_unlock(&rig->fs->lock);
        wait_for(rig, "old", false);
        assert_false(rig_has(rig, "old"));
        rig_free(rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_taken_away_is_absent_at_once_and_deleted_soon),
        cmocka_unit_test(many_are_deleted_by_one_request),
        cmocka_unit_test(a_file_and_a_directory_of_one_name_have_a_grave_each),
        cmocka_unit_test(what_the_store_refuses_to_delete_shows_again_and_is_remembered),
        cmocka_unit_test(a_second_try_spares_what_others_made),
        cmocka_unit_test(waiting_has_an_end),
        cmocka_unit_test(what_may_still_arrive_is_waited_for),
        cmocka_unit_test(a_directory_stays_away_until_all_that_was_below_it_has_gone),
        cmocka_unit_test(what_another_mount_puts_there_meanwhile_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes asked for ahead of who walks: which, how many, and who waits for what. */
#include "mounter/names/heads.h"

#include "fs_rig.h"

static const struct fs_options options = {.attrs = ATTRS_FULL, .attr_timeout_ms = 60000};

static struct rig *with_files(unsigned count)
{
    struct rig *rig = rig_store_new(&options);

    for (unsigned i = 0; i < count; i++) {
        char key[32];

        (void)snprintf(key, sizeof(key), "d%u/f%03u", i / 10, i);
        rig_put(rig, key, "content");
    }
    rig_start(rig);
    assert_int_equal(listing_flat(rig->fs, "", ""), 0);
    rig_forget_counts(rig);
    return rig;
}

/* What the listing says of the key. */
static struct remote listed_as(struct fs *fs, const char *key) REQUIRES(&fs->lock)
{
    static const struct known_oldest any = {0};
    struct known_position pos;
    struct known_entry entry;
    struct remote remote;

    assert_true(known_seek(fs->known, key, &any, &pos));
    assert_true(known_next(&pos, &entry));
    assert_string_equal(entry.key, key);
    remote_of_listing(fs, &entry, false, &remote);
    return remote;
}

static bool is_known(struct rig *rig, const char *key)
{
    struct fs *fs = rig->fs;
    struct remote listed;
    struct remote remote;
    bool known;

    mutex_lock(&fs->lock);
    listed = listed_as(fs, key);
    known = heads_remote(fs, key, &listed, &remote);
    if (known) {
        assert_true(remote.exists && !remote.listed);
        remote_done(&remote);
    }
    remote_done(&listed);
    mutex_unlock(&fs->lock);
    return known;
}

static struct heads_place place(const char *key)
{
    return (struct heads_place){.dir = STATE_ROOT, .name = "d0", .key = key};
}

static void those_that_follow_are_asked_for_too_and_across_directories(UNUSED void **state)
{
    struct rig *rig = with_files(100);
    const struct heads_place here = place("d0/f005");

    heads_fetch(rig->fs, &here);
    assert_int_equal(rig_count(rig, OBJSTORE_HEAD), 32);
    assert_true(is_known(rig, "d0/f005"));
    for (int i = 0; i < 2000 && !is_known(rig, "d3/f036"); i++) {
        rig_sleep_ms(5);
    }
    assert_true(is_known(rig, "d3/f036"));
    assert_false(is_known(rig, "d0/f004"));
    rig_free(rig);
}

static void as_they_are_used_more_are_asked_for_and_nobody_waits(UNUSED void **state)
{
    struct rig *rig = with_files(100);
    const struct heads_place here = place("d0/f000");
    unsigned asked;

    heads_fetch(rig->fs, &here);
    for (unsigned i = 0; i < 100; i++) {
        char key[32];

        (void)snprintf(key, sizeof(key), "d%u/f%03u", i / 10, i);
        for (int tries = 0; tries < 2000 && !is_known(rig, key); tries++) {
            rig_sleep_ms(5);
        }
        assert_true(is_known(rig, key)); /* without heads_fetch() */
    }
    asked = rig_count(rig, OBJSTORE_HEAD);
    assert_int_equal(asked, 100); /* each once */
    rig_free(rig);
}

static struct rig *waiting_rig;

static void *fetch_main(UNUSED void *arg)
{
    const struct heads_place here = place("d0/f001");

    heads_fetch(waiting_rig->fs, &here);
    return NULL;
}

static void who_waits_waits_for_his_own_only(UNUSED void **state)
{
    struct rig *rig = with_files(100);
    const struct heads_place here = place("d0/f002");
    pthread_t thread;

    waiting_rig = rig;
    rig_hold(rig, OBJSTORE_HEAD);
    assert_int_equal(pthread_create(&thread, NULL, fetch_main, NULL), 0);
    rig_await_count(rig, OBJSTORE_HEAD, 32);
    mutex_lock(&rig->lock);
    assert_string_equal(rig->held[0]->key, "d0/f001");
    objstore_submit(rig->inner, rig->held[0]);
    rig->held[0] = rig->held[--rig->held_count];
    mutex_unlock(&rig->lock);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(is_known(rig, "d0/f001"));
    assert_false(is_known(rig, "d0/f002"));
    assert_int_equal(rig->held_count, 31);
    rig_release(rig);
    heads_fetch(rig->fs, &here); /* nothing twice */
    for (int i = 0; i < 2000 && !is_known(rig, "d0/f002"); i++) {
        rig_sleep_ms(5);
    }
    assert_true(is_known(rig, "d0/f002"));
    rig_free(rig);
}

static void another_version_is_not_known(UNUSED void **state)
{
    struct rig *rig = with_files(1);
    const struct heads_place here = place("d0/f000");

    heads_fetch(rig->fs, &here);
    assert_true(is_known(rig, "d0/f000"));
    rig_put(rig, "d0/f000", "something else");
    assert_int_equal(listing_flat(rig->fs, "", ""), 0);
    assert_false(is_known(rig, "d0/f000"));
    heads_fetch(rig->fs, &here);
    assert_true(is_known(rig, "d0/f000"));
    rig_free(rig);
}

static void what_fails_is_not_known_and_nobody_hangs(UNUSED void **state)
{
    struct rig *rig = with_files(3);
    const struct heads_place here = place("d0/f000");

    rig_fail(rig, OBJSTORE_HEAD, -EIO);
    heads_fetch(rig->fs, &here);
    assert_false(is_known(rig, "d0/f000"));
    rig_fail(rig, OBJSTORE_HEAD, 0);
    heads_fetch(rig->fs, &here);
    assert_true(is_known(rig, "d0/f000"));
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_that_follow_are_asked_for_too_and_across_directories),
        cmocka_unit_test(as_they_are_used_more_are_asked_for_and_nobody_waits),
        cmocka_unit_test(who_waits_waits_for_his_own_only),
        cmocka_unit_test(another_version_is_not_known),
        cmocka_unit_test(what_fails_is_not_known_and_nobody_hangs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

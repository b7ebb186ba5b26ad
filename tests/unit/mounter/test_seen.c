/* SPDX-License-Identifier: Apache-2.0 */
/* The notes of which attributes were ever written: when listings are enough. */
#include "mounter/names/seen.h"

#include <sys/stat.h>

#include "fs_rig.h"

static const struct fs_options automatic = {.attrs = ATTRS_AUTO, .attr_timeout_ms = 60000};

static struct rig *start(const struct fs_options *options, const char *key)
{
    struct rig *rig = rig_store_new(options);

    if (key != NULL) {
        rig_put(rig, key, "content");
    }
    rig_start(rig);
    return rig;
}

static bool enough(struct rig *rig, bool is_dir)
{
    bool ret;

    mutex_lock(&rig->fs->lock);
    ret = seen_enough(rig->fs, is_dir);
    mutex_unlock(&rig->fs->lock);
    return ret;
}

static void note(struct rig *rig, const struct attr *attr)
{
    assert_int_equal(seen_note(rig->fs, attr), 0);
}

static void an_empty_volume_is_noted_from_its_beginning(UNUSED void **state)
{
    struct rig *rig = start(&automatic, NULL);

    assert_true(rig_has(rig, VOLUME_RESERVED "attrs/complete"));
    assert_true(enough(rig, false) && enough(rig, true));
    rig_free(rig);
}

static void of_a_volume_that_others_filled_nothing_is_known(UNUSED void **state)
{
    struct rig *rig = start(&automatic, "theirs");

    assert_false(rig_has(rig, VOLUME_RESERVED "attrs/complete"));
    assert_false(enough(rig, false) || enough(rig, true));
    rig_free(rig);
}

static void one_mode_and_owner_is_what_objects_without_attributes_have(UNUSED void **state)
{
    struct rig *rig = start(&automatic, NULL);
    struct attr ret;

    note(rig, &(const struct attr){.mode = S_IFREG | 0640, .uid = 7, .gid = 8});
    assert_true(rig_has(rig, VOLUME_RESERVED "attrs/file-640-7-8"));
    assert_true(enough(rig, false));
    mutex_lock(&rig->fs->lock);
    seen_defaults(rig->fs, false, &ret);
    assert_true((ret.mode & 07777) == 0640 && ret.uid == 7 && ret.gid == 8);
    seen_defaults(rig->fs, true, &ret); /* directories: as before */
    assert_true((ret.mode & 07777) == 0777 && ret.uid == 0);
    mutex_unlock(&rig->fs->lock);
    note(rig, &(const struct attr){.mode = S_IFREG | 0600, .uid = 7, .gid = 8});
    assert_false(enough(rig, false)); /* two: each has to be asked */
    assert_true(enough(rig, true));
    rig_free(rig);
}

static void the_same_is_noted_once(UNUSED void **state)
{
    struct rig *rig = start(&automatic, NULL);
    unsigned puts;

    note(rig, &(const struct attr){.mode = S_IFREG | 0640, .uid = 7, .gid = 8});
    puts = rig_count(rig, OBJSTORE_PUT);
    note(rig, &(const struct attr){.mode = S_IFREG | 0640, .uid = 7, .gid = 8});
    assert_int_equal(rig_count(rig, OBJSTORE_PUT), puts);
    rig_free(rig);
}

static void links_are_no_files_and_attributes_of_their_own_are_neither(UNUSED void **state)
{
    struct rig *rig = start(&automatic, NULL);

    note(rig, &(const struct attr){.mode = S_IFLNK | 0777});
    assert_true(rig_has(rig, VOLUME_RESERVED "attrs/special"));
    assert_false(enough(rig, false));
    assert_true(enough(rig, true));
    note(rig, &(const struct attr){.mode = S_IFREG | 0666, .xattr = "{\"user.a\":\"Yg==\"}"});
    assert_true(rig_has(rig, VOLUME_RESERVED "attrs/other"));
    assert_false(enough(rig, true));
    rig_free(rig);
}

static void more_than_four_owners_are_too_many_to_note(UNUSED void **state)
{
    struct rig *rig = start(&automatic, NULL);

    for (uint32_t uid = 1; uid <= 5; uid++) {
        note(rig, &(const struct attr){.mode = S_IFDIR | 0755, .uid = uid});
    }
    assert_true(rig_has(rig, VOLUME_RESERVED "attrs/dir-755-4-0"));
    assert_false(rig_has(rig, VOLUME_RESERVED "attrs/dir-755-5-0"));
    assert_true(rig_has(rig, VOLUME_RESERVED "attrs/other"));
    rig_free(rig);
}

static void what_others_note_is_seen_when_notes_are_read_again(UNUSED void **state)
{
    const struct fs_options brief = {.attrs = ATTRS_AUTO, .attr_timeout_ms = 1};
    struct rig *rig = start(&brief, NULL);

    assert_true(enough(rig, false));
    rig_put(rig, VOLUME_RESERVED "attrs/file-600-1-1", "");
    rig_put(rig, VOLUME_RESERVED "attrs/file-644-1-1", "");
    rig_put(rig, VOLUME_RESERVED "attrs/file-nonsense", "");
    rig_sleep_ms(5);
    seen_refresh(rig->fs);
    assert_false(enough(rig, false));
    rig_free(rig);
}

static void without_an_answer_every_file_is_asked_for(UNUSED void **state)
{
    struct rig *rig = rig_store_new(&automatic);

    rig_fail(rig, OBJSTORE_LIST, -EIO);
    rig_start(rig);
    assert_false(enough(rig, false) || enough(rig, true));
    rig_fail(rig, OBJSTORE_LIST, 0);
    rig_free(rig);
}

static void the_mount_may_be_told_otherwise(UNUSED void **state)
{
    const struct fs_options list = {.attrs = ATTRS_LIST, .attr_timeout_ms = 60000};
    const struct fs_options full = {.attrs = ATTRS_FULL, .attr_timeout_ms = 60000};
    const struct fs_options told = {
        .attrs = ATTRS_AUTO, .attr_timeout_ms = 60000, .owner_told = true, .uid = 3};
    struct rig *rig = start(&list, "theirs");

    assert_true(enough(rig, false));
    note(rig, &(const struct attr){.mode = S_IFREG | 0600});
    assert_false(rig_has(rig, VOLUME_RESERVED "attrs/file-600-0-0")); /* nothing is kept */
    rig_free(rig);
    rig = start(&full, NULL);
    assert_false(enough(rig, false));
    rig_free(rig);
    rig = start(&told, NULL);
    note(rig, &(const struct attr){.mode = S_IFREG | 0666, .uid = 4});
    assert_false(enough(rig, false)); /* who is told uid=3 must not see 4 */
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_volume_is_noted_from_its_beginning),
        cmocka_unit_test(of_a_volume_that_others_filled_nothing_is_known),
        cmocka_unit_test(one_mode_and_owner_is_what_objects_without_attributes_have),
        cmocka_unit_test(the_same_is_noted_once),
        cmocka_unit_test(links_are_no_files_and_attributes_of_their_own_are_neither),
        cmocka_unit_test(more_than_four_owners_are_too_many_to_note),
        cmocka_unit_test(what_others_note_is_seen_when_notes_are_read_again),
        cmocka_unit_test(without_an_answer_every_file_is_asked_for),
        cmocka_unit_test(the_mount_may_be_told_otherwise),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

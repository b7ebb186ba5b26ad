/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/collapse.h"

#include "fs_rig.h"
#include "mounter/names/collapse_internal.h"

#define FILE_ID "0a-1b"
#define OBJECT VOLUME_LINKS FILE_ID

static struct rig *rig_new_here(bool conditional_delete)
{
    const struct fs_options options = {.attr_timeout_ms = 1000, .attrs = ATTRS_FULL};
    struct rig *rig = rig_store_new(&options);

    rig_put(rig, OBJECT, "the bytes");
    rig_start(rig);
    rig->fs->caps = (struct objstore_caps){.if_match_put = true,
                                           .if_none_match_put = true,
                                           .conditional_delete = conditional_delete,
                                           .copy_max = UINT64_MAX};
    return rig;
}

static void check_delete(bool conditional_delete)
{
    struct rig *rig = rig_new_here(conditional_delete);
    struct collapse_rest rest = {.file = FILE_ID, .key = "d/last"};
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request list = {
        .op = OBJSTORE_LIST, .bucket = RIG_BUCKET, .key = "d/last.conflict-"};
    struct pointer there;

    assert_int_equal(pointer_read(rig->fs, OBJECT, &there), 0);
    memcpy(rest.etag, there.etag, sizeof(rest.etag));
    assert_int_equal(collapse_delete(rig->fs, &rest), 0);
    assert_false(rig_has(rig, OBJECT));
    assert_int_equal(collapse_delete(rig->fs, &rest), 0); /* gone already */
    rig_put(rig, OBJECT, "somebody else's");
    assert_int_equal(collapse_delete(rig->fs, &rest), 0);
    assert_false(rig_has(rig, OBJECT));
    assert_int_equal(objstore_call(rig->inner, &list, &answer), 0);
    assert_int_equal(answer.result.count, 1);
    assert_int_equal(answer.result.entries[0].info.size, strlen("somebody else's"));
    rig_free(rig);
}

static void what_is_left_is_deleted_and_what_others_wrote_there_is_kept(void **state)
{
    (void)state;
    check_delete(true);
    check_delete(false);
}

static void what_cannot_be_kept_is_not_deleted(void **state)
{
    struct rig *rig = rig_new_here(true);
    struct collapse_rest rest = {
        .file = FILE_ID, .key = "last", .etag = "00000000000000000000000000000000"};

    (void)state;
    rig_fail(rig, OBJSTORE_COPY, -EACCES);
    assert_int_equal(collapse_delete(rig->fs, &rest), -EACCES);
    assert_true(rig_has(rig, OBJECT));
    rig_free(rig);
}

static void a_bar_is_there_until_it_is_taken_away(void **state)
{
    struct rig *rig = rig_new_here(true);
    struct collapse_bar bar = {.key = "a"};

    (void)state;
    assert_int_equal(collapse_bar_key(rig->fs, &bar), 0);
    mutex_lock(&rig->fs->lock);
    assert_null(collapse_at(rig->fs, STATE_ROOT, "a"));
    assert_false(collapse_below(rig->fs, STATE_ROOT));
    assert_false(LIST_EMPTY(&rig->fs->collapse_bars));
    mutex_unlock(&rig->fs->lock);
    collapse_unbar(rig->fs, &bar);
    mutex_lock(&rig->fs->lock);
    assert_true(LIST_EMPTY(&rig->fs->collapse_bars));
    mutex_unlock(&rig->fs->lock);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left_is_deleted_and_what_others_wrote_there_is_kept),
        cmocka_unit_test(what_cannot_be_kept_is_not_deleted),
        cmocka_unit_test(a_bar_is_there_until_it_is_taken_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

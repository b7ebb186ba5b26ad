/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/pointer.h"

#include "fs_rig.h"
#include "mounter/write/settle.h"

static void only_what_is_a_pointer_is_read_as_one(void **state)
{
    static const char *const wrong[] = {"",
                                        "/",
                                        "0a",
                                        "0a/",
                                        "0a/1",
                                        "0a/000000000000000g",
                                        "0a/0000000000000000",
                                        "/00000000000000a1",
                                        "../x/00000000000000a1",
                                        "0a/00000000000000a1 ",
                                        "0A/00000000000000a1"};
    char file[LINKS_FILE_SIZE];
    char longest[LINKS_FILE_SIZE + 20];
    uint64_t number = 0;

    (void)state;
    assert_true(pointer_parse("0a-1b/00000000000000a1", file, &number));
    assert_string_equal(file, "0a-1b");
    assert_int_equal(number, 0xa1);
    assert_false(pointer_parse(NULL, file, &number));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(pointer_parse(wrong[i], file, &number));
    }
    (void)snprintf(longest, sizeof(longest), "%0*d/00000000000000a1", LINKS_FILE_SIZE - 1, 0);
    assert_true(pointer_parse(longest, file, &number));
    (void)snprintf(longest, sizeof(longest), "%0*d/00000000000000a1", LINKS_FILE_SIZE, 0);
    assert_false(pointer_parse(longest, file, &number));
}

static struct rig *rig_new_here(void)
{
    const struct fs_options options = {.attr_timeout_ms = 1000, .attrs = ATTRS_FULL};
    struct rig *rig = rig_store_new(&options);

    rig_put(rig, "from", "the bytes");
    rig_put(rig, "to", "another");
    rig_start(rig);
    rig->fs->caps = (struct objstore_caps){.if_match_put = true,
                                           .if_none_match_put = true,
                                           .conditional_complete = true,
                                           .part_copy = true,
                                           .copy_max = UINT64_MAX};
    return rig;
}

static void read_at(struct rig *rig, const char *key, struct pointer *ret)
{
    assert_int_equal(pointer_read(rig->fs, key, ret), 0);
    assert_true(ret->exists);
    assert_int_equal(ret->number, 0);
}

/* With the copy's own condition, or the PUT's. */
static void check_copy(int copy_error)
{
    struct rig *rig = rig_new_here();
    struct objstore_pair pair = {"k", "v"};
    const struct objstore_meta user = {.user = &pair, .user_count = 1};
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    struct objstore_meta meta = user;
    struct pointer from;
    struct pointer to;
    char etag[STATE_ETAG_SIZE];
    struct copy_what what = {.from = "from", .to = "to", .size = 9, .meta = &meta};

    assert_int_equal(publish_add_mark(0xabc, &arena, &meta), 0);
    read_at(rig, "from", &from);
    read_at(rig, "to", &to);
    assert_int_equal(to.mark, 0);
    rig_fail(rig, OBJSTORE_COPY, copy_error);
    what.if_match = from.etag;
    what.onto = "00000000000000000000000000000000";
    assert_int_equal(remote_copy(rig->fs, &what, etag), -ESTALE);
    what.if_match = what.onto;
    what.onto = to.etag;
    assert_int_equal(remote_copy(rig->fs, &what, etag), -ESTALE);
    read_at(rig, "to", &to);
    assert_int_equal(to.size, 7); /* nothing was done */
    what.if_match = from.etag;
    assert_int_equal(remote_copy(rig->fs, &what, etag), 0);
    read_at(rig, "to", &to);
    assert_int_equal(to.size, 9);
    assert_int_equal(to.mark, 0xabc);
    assert_string_equal(to.etag, etag);
    rig_free(rig);
}

static void a_copy_replaces_the_version_that_was_meant_and_no_other(void **state)
{
    (void)state;
    check_copy(0);
    check_copy(-ENOTSUP);
}

static void without_conditions_nothing_is_copied(void **state)
{
    struct rig *rig = rig_new_here();
    char etag[STATE_ETAG_SIZE];
    struct pointer to;
    const struct objstore_meta meta = {0};
    struct copy_what what = {.from = "from", .to = "to", .size = 9, .meta = &meta};

    (void)state;
    rig_fail(rig, OBJSTORE_COPY, -ENOTSUP);
    rig->fs->caps.if_match_put = false;
    read_at(rig, "to", &to);
    what.onto = to.etag;
    assert_int_equal(remote_copy(rig->fs, &what, etag), -ENOTSUP);
    rig->fs->caps.if_match_put = true;
    rig->fs->caps.part_copy = false;
    what.size = 9 << 20; /* more than goes through us */
    assert_int_equal(remote_copy(rig->fs, &what, etag), -ENOTSUP);
    rig_free(rig);
}

/* Parts, whose end has the condition. */
static void a_larger_one_is_copied_by_parts(void **state)
{
    struct rig *rig = rig_new_here();
    char *data = calloc(1, (2 << 20) + 1);
    const struct objstore_meta meta = {0};
    struct pointer from;
    struct pointer to;
    char etag[STATE_ETAG_SIZE];
    struct copy_what what = {.from = "from", .to = "to", .size = 2 << 20, .meta = &meta};

    (void)state;
    assert_non_null(data);
    memset(data, 'x', 2 << 20);
    rig_put(rig, "from", data);
    free(data);
    rig_fail(rig, OBJSTORE_COPY, -ENOTSUP);
    read_at(rig, "from", &from);
    read_at(rig, "to", &to);
    what.if_match = from.etag;
    what.onto = "00000000000000000000000000000000";
    assert_int_equal(remote_copy(rig->fs, &what, etag), -ESTALE);
    what.onto = to.etag;
    rig_forget_counts(rig);
    assert_int_equal(remote_copy(rig->fs, &what, etag), 0);
    assert_int_equal(rig_count(rig, OBJSTORE_GET), 0);
    assert_int_equal(rig_count(rig, OBJSTORE_HEAD), 0);
    read_at(rig, "to", &to);
    assert_int_equal(to.size, 2 << 20);
    rig_free(rig);
}

static void what_was_put_or_read_is_remembered_until_it_is_another(void **state)
{
    struct rig *rig = rig_new_here();
    const struct pointer_put put = {.key = "name", .file = "0a-1b", .number = 7, .if_match = ""};
    struct pointer there;
    struct pointer known;

    (void)state;
    assert_false(pointer_known(rig->fs, "name", &known));
    assert_int_equal(pointer_put(rig->fs, &put), 0);
    assert_true(pointer_known(rig->fs, "name", &known));
    assert_int_equal(pointer_read(rig->fs, "name", &there), 0);
    assert_int_equal(known.number, 7);
    assert_string_equal(known.file, there.file);
    assert_string_equal(known.etag, there.etag);
    assert_false(pointer_known(rig->fs, "to", &known));
    rig_put(rig, "name", "not a pointer");
    assert_int_equal(pointer_read(rig->fs, "name", &there), 0);
    assert_int_equal(there.number, 0);
    assert_false(pointer_known(rig->fs, "name", &known));
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_is_a_pointer_is_read_as_one),
        cmocka_unit_test(a_copy_replaces_the_version_that_was_meant_and_no_other),
        cmocka_unit_test(without_conditions_nothing_is_copied),
        cmocka_unit_test(a_larger_one_is_copied_by_parts),
        cmocka_unit_test(what_was_put_or_read_is_remembered_until_it_is_another),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

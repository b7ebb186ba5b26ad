/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/write/copy.h"

#include "fs_rig.h"

static struct rig *rig_new_here(bool conditional_copy)
{
    const struct fs_options options = {.attr_timeout_ms = 1000, .attrs = ATTRS_FULL};
    struct rig *rig = rig_store_new(&options);

    rig_put(rig, "from", "new");
    rig_start(rig);
    rig->fs->caps = (struct objstore_caps){.if_match_put = true,
                                           .if_none_match_put = true,
                                           .conditional_copy = conditional_copy,
                                           .copy_max = UINT64_MAX};
    return rig;
}

static int copy_over(struct rig *rig, const char *from, const char *there, bool *ret_blind)
{
    const struct copy_what what = {.from = from, .to = "to", .size = 3};
    char etag[STATE_ETAG_SIZE] = "";
    int ret = remote_copy_over(rig->fs, &what, there, etag);

    assert_true(ret != 0 || etag[0] != '\0');
    *ret_blind = remote_copy_is_blind(rig->fs, &what);
    return ret;
}

static void a_copy_takes_the_place_of_whatever_is_there(void **state)
{
    static const char *const believed[] = {"", "00000000000000000000000000000000"};

    (void)state;
    for (int i = 0; i < 8; i++) { /* believed right and wrong; something there or not; the store */
        struct rig *rig = rig_new_here((i & 4) != 0);
        bool blind;

        if ((i & 2) != 0) {
            rig_put(rig, "to", "old");
        }
        assert_int_equal(copy_over(rig, "from", believed[i & 1], &blind), 0);
        assert_int_equal(blind, (i & 4) == 0);
        assert_true(rig_has(rig, "to"));
        assert_int_equal(copy_over(rig, "nothing", believed[i & 1], &blind), -ENOENT);
        rig_free(rig);
    }
}

static void a_condition_that_does_not_hold_is_an_error(void **state)
{
    struct rig *rig = rig_new_here(true);
    struct copy_what what = {.from = "from", .to = "to", .size = 3, .only_new = true};
    char etag[STATE_ETAG_SIZE] = "";
    char first[STATE_ETAG_SIZE];

    (void)state;
    assert_int_equal(remote_copy(rig->fs, &what, etag), 0);
    memcpy(first, etag, sizeof(first));
    assert_int_equal(remote_copy(rig->fs, &what, etag), -EEXIST);
    rig_put(rig, "to", "another");
    what.only_new = false;
    what.onto = first;
    assert_int_equal(remote_copy(rig->fs, &what, etag), -ESTALE);
    rig_free(rig);
}

static void what_has_no_condition_is_blind(void **state)
{
    struct rig *rig = rig_new_here(true);
    struct copy_what what = {.size = 1000};

    (void)state;
    assert_false(remote_copy_is_blind(rig->fs, &what));
    what.partial = true;
    assert_true(remote_copy_is_blind(rig->fs, &what));
    what.partial = false;
    rig->fs->caps.copy_max = 999; /* by parts */
    assert_true(remote_copy_is_blind(rig->fs, &what));
    rig->fs->caps.conditional_complete = true;
    assert_false(remote_copy_is_blind(rig->fs, &what));
    rig_free(rig);
}

/* Back and forth: nothing that comes to a name has the ETag that was there or is known elsewhere.
 */
static void onto_the_same_bytes_another_etag_comes(void **state)
{
    static const uint64_t sizes[] = {0, 3};

    (void)state;
    for (int i = 0; i < 4; i++) { /* empty or not; the store has conditions or not */
        struct rig *rig = rig_new_here(i % 2 == 0);
        char from[STATE_ETAG_SIZE] = "";
        char to[STATE_ETAG_SIZE] = "";
        char again[STATE_ETAG_SIZE] = "";
        struct copy_what what = {
            .from = "from", .to = "to", .if_match = from, .size = sizes[i / 2]};

        rig->fs->caps.part_copy = true;
        rig->fs->caps.conditional_complete = i % 2 == 0;
        rig_put(rig, "from", i / 2 == 0 ? "" : "new");
        rig_put(rig, "to", i / 2 == 0 ? "" : "new");
        assert_int_equal(remote_etag(rig->fs, "from", from), 0);
        assert_int_equal(remote_copy_over(rig->fs, &what, from, to), 0);
        assert_string_not_equal(from, to);
        /* It keeps it where there is nothing, and goes onto its like with the other one. */
        what = (struct copy_what){.from = "to", .to = "third", .if_match = to, .size = what.size};
        assert_int_equal(remote_copy_over(rig->fs, &what, "", again), 0);
        assert_string_equal(again, to);
        assert_int_equal(remote_copy_over(rig->fs, &what, to, again), 0);
        assert_string_not_equal(again, to);
        rig_free(rig);
    }
}

static void only_the_version_that_is_meant_is_deleted(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) { /* by the store's condition, or looked at before */
        struct rig *rig = rig_new_here(true);
        char etag[STATE_ETAG_SIZE] = "";

        rig->fs->caps.conditional_delete = i == 0;
        assert_int_equal(remote_etag(rig->fs, "from", etag), 0);
        rig_put(rig, "from", "another");
        assert_int_equal(remote_delete_version(rig->fs, "from", etag), 0);
        assert_true(rig_has(rig, "from"));
        assert_int_equal(remote_etag(rig->fs, "from", etag), 0);
        assert_int_equal(remote_delete_version(rig->fs, "from", etag), 0);
        assert_false(rig_has(rig, "from"));
        assert_int_equal(remote_delete_version(rig->fs, "from", etag), 0);
        rig_free(rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_takes_the_place_of_whatever_is_there),
        cmocka_unit_test(a_condition_that_does_not_hold_is_an_error),
        cmocka_unit_test(what_has_no_condition_is_blind),
        cmocka_unit_test(onto_the_same_bytes_another_etag_comes),
        cmocka_unit_test(only_the_version_that_is_meant_is_deleted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

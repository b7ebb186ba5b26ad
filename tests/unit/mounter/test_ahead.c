/* SPDX-License-Identifier: Apache-2.0 */
/* Small files fetched in advance: which, how many, and what they save. */
#include "mounter/read/ahead.h"

#include "fs_rig.h"

static const struct fs_options options = {.attrs = ATTRS_LIST, .attr_timeout_ms = 60000};

enum { FILES = 120, PER_DIR = 3 };

static void name_of(unsigned i, char key[32])
{
    (void)snprintf(key, 32, "t/d%02u/f%u", i / PER_DIR, i % PER_DIR);
}

/* A tree whose top was read, as a walker does; every node is known. */
static struct rig *with_tree(const struct fs_options *given, uint32_t inos[FILES])
{
    struct rig *rig = rig_store_new(given);
    char key[32];

    for (unsigned i = 0; i < FILES; i++) {
        name_of(i, key);
        rig_put(rig, key, key);
    }
    rig_start(rig);
    for (unsigned i = 0; i < FILES; i++) {
        name_of(i, key);
        inos[i] = rig_lookup(rig, key);
    }
    rig_list(rig, STATE_ROOT);
    rig_list(rig, rig_lookup(rig, "t"));
    for (unsigned i = 0; i < FILES; i += PER_DIR) {
        mutex_lock(&rig->fs->lock);
        inos[i] = fs_rec(rig->fs, fs_node(rig->fs, inos[i]))->parent;
        mutex_unlock(&rig->fs->lock);
        rig_list(rig, inos[i]);
        name_of(i, key);
        inos[i] = rig_lookup(rig, key);
    }
    rig_forget_counts(rig);
    return rig;
}

static void open_file(struct rig *rig, uint32_t ino)
{
    struct fs *fs = rig->fs;
    struct ahead_start start;

    mutex_lock(&fs->lock);
    ahead_opened(fs, fs_node(fs, ino), &start);
    mutex_unlock(&fs->lock);
    ahead_start(fs, &start);
}

static void read_file(struct rig *rig, uint32_t ino, const char *expected)
{
    char buffer[64] = "";

    assert_int_equal(reader_read(rig->fs, ino, 0, buffer, strlen(expected)), 0);
    assert_string_equal(buffer, expected);
}

static void who_opens_in_the_order_of_keys_gets_the_next_across_directories(UNUSED void **state)
{
    uint32_t inos[FILES];
    struct rig *rig = with_tree(&options, inos);
    unsigned before;
    char key[32];

    for (unsigned i = 0; i < 5; i++) {
        name_of(i, key);
        open_file(rig, inos[i]);
        read_file(rig, inos[i], key);
    }
    rig_await_count(rig, OBJSTORE_GET, 5 + 4);
    before = rig_count(rig, OBJSTORE_GET);
    assert_in_range(before, 9, 40);    /* bounded */
    for (unsigned i = 5; i < 9; i++) { /* they are here: of two other directories */
        name_of(i, key);
        read_file(rig, inos[i], key);
    }
    assert_int_equal(rig_count(rig, OBJSTORE_GET), before);
    rig_free(rig);
}

static void a_whole_walk_costs_a_get_a_file_and_no_head(UNUSED void **state)
{
    uint32_t inos[FILES];
    struct rig *rig = with_tree(&options, inos);
    char key[32];

    for (unsigned i = 0; i < FILES; i++) {
        name_of(i, key);
        open_file(rig, inos[i]);
        read_file(rig, inos[i], key);
    }
    assert_int_equal(rig_count(rig, OBJSTORE_GET), FILES);
    assert_int_equal(rig_count(rig, OBJSTORE_HEAD), 0);
    rig_free(rig);
}

/* Nobody but the walker's opens tells that they were of use: the window must not stay full. */
static void the_window_goes_on_with_who_needs_no_attributes(UNUSED void **state)
{
    uint32_t inos[FILES];
    struct rig *rig = with_tree(&options, inos);

    for (unsigned i = 0; i < 60; i++) {
        open_file(rig, inos[i]);
    }
    rig_await_count(rig, OBJSTORE_GET, 60 - 4);
    rig_free(rig);
}

static int by_number(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* cp -r sorts what a directory holds by st_ino. */
static void the_order_of_numbers_is_recognized_too(UNUSED void **state)
{
    uint32_t inos[FILES];
    struct rig *rig = with_tree(&options, inos);
    uint64_t order[FILES][2];
    uint64_t dirs[FILES / PER_DIR][2];
    char key[32];

    for (unsigned d = 0; d < FILES / PER_DIR; d++) {
        (void)snprintf(key, sizeof(key), "t/d%02u/", d);
        dirs[d][0] = fs_number_first(key);
        dirs[d][1] = d;
    }
    qsort(dirs, FILES / PER_DIR, sizeof(dirs[0]), by_number);
    for (unsigned d = 0; d < FILES / PER_DIR; d++) {
        for (unsigned i = 0; i < PER_DIR; i++) {
            unsigned file = (unsigned)dirs[d][1] * PER_DIR + i;

            name_of(file, key);
            order[d * PER_DIR + i][0] = fs_number_first(key);
            order[d * PER_DIR + i][1] = file;
        }
        qsort(order[d * PER_DIR], PER_DIR, sizeof(order[0]), by_number);
    }
    for (unsigned i = 0; i < FILES; i++) {
        name_of((unsigned)order[i][1], key);
        open_file(rig, inos[order[i][1]]);
        if (i >= 8 && i < 12) { /* foreseen: it may be on its way, but not twice */
            unsigned gets = rig_count(rig, OBJSTORE_GET);

            assert_true(gets > i);
        }
        read_file(rig, inos[order[i][1]], key);
    }
    assert_int_equal(rig_count(rig, OBJSTORE_GET), FILES);
    rig_free(rig);
}

static void who_jumps_about_gets_nothing_in_advance(UNUSED void **state)
{
    uint32_t inos[FILES];
    struct rig *rig = with_tree(&options, inos);

    for (unsigned i = 0; i < 40; i++) {
        open_file(rig, inos[i * 67 % FILES]);
    }
    rig_sleep_ms(50);
    assert_int_equal(rig_count(rig, OBJSTORE_GET) + rig_count(rig, OBJSTORE_HEAD), 0);
    rig_free(rig);
}

static void without_a_time_to_believe_nothing_is_fetched(UNUSED void **state)
{
    const struct fs_options none = {.attrs = ATTRS_LIST};
    uint32_t inos[FILES];
    struct rig *rig = with_tree(&none, inos);

    for (unsigned i = 0; i < 20; i++) {
        open_file(rig, inos[i]);
    }
    rig_sleep_ms(50);
    assert_int_equal(rig_count(rig, OBJSTORE_GET) + rig_count(rig, OBJSTORE_HEAD), 0);
    rig_free(rig);
}

/* As open=revalidate asks: the answer that came with the bytes is young enough. */
static void what_came_with_the_bytes_answers_the_open(UNUSED void **state)
{
    uint32_t inos[FILES];
    struct rig *rig = with_tree(&options, inos);
    struct remote remote;
    char key[32];

    for (unsigned i = 0; i < 5; i++) {
        open_file(rig, inos[i]);
    }
    name_of(5, key);
    assert_true(ahead_find(rig->fs, key, true, &remote));
    assert_true(remote.exists && !remote.is_dir);
    assert_int_equal(remote.info.size, strlen(key));
    remote_done(&remote);
    assert_false(ahead_find(rig->fs, key, true, &remote)); /* once */
    assert_false(ahead_find(rig->fs, "t/d39/f2", true, &remote));
    assert_int_equal(rig_count(rig, OBJSTORE_HEAD), 0);
    rig_free(rig);
}

static void what_is_too_old_does_not_answer(UNUSED void **state)
{
    const struct fs_options brief = {.attrs = ATTRS_LIST, .attr_timeout_ms = 2000};
    uint32_t inos[FILES];
    struct rig *rig = with_tree(&brief, inos);
    struct remote remote;
    char key[32];

    for (unsigned i = 0; i < 5; i++) {
        open_file(rig, inos[i]);
    }
    rig_await_count(rig, OBJSTORE_GET, 4);
    rig_sleep_ms(2100);
    name_of(5, key);
    assert_false(ahead_find(rig->fs, key, true, &remote));
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_opens_in_the_order_of_keys_gets_the_next_across_directories),
        cmocka_unit_test(a_whole_walk_costs_a_get_a_file_and_no_head),
        cmocka_unit_test(the_window_goes_on_with_who_needs_no_attributes),
        cmocka_unit_test(the_order_of_numbers_is_recognized_too),
        cmocka_unit_test(who_jumps_about_gets_nothing_in_advance),
        cmocka_unit_test(without_a_time_to_believe_nothing_is_fetched),
        cmocka_unit_test(what_came_with_the_bytes_answers_the_open),
        cmocka_unit_test(what_is_too_old_does_not_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

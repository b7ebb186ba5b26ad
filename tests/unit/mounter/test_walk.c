/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a tree in the order in which cp -r visits them. */
#include "mounter/names/walk.h"

#include "fs_rig.h"

static const struct fs_options options = {.attrs = ATTRS_LIST, .attr_timeout_ms = 60000};

static const char *const tree[] = {"t/a/1", "t/a/2", "t/a/3", "t/b/c/4", "t/b/c/5",
                                   "t/b/6", "t/7",   "t/8",   "u/9"};
enum { FILES = sizeof(tree) / sizeof(tree[0]) };

static struct rig *with_tree(void)
{
    struct rig *rig = rig_store_new(&options);

    for (size_t i = 0; i < FILES; i++) {
        rig_put(rig, tree[i], "content");
    }
    rig_start(rig);
    return rig;
}

/* What `ls -U` sorted by number shows first, of all below: as the walk should. */
struct entry {
    char key[32];
    uint64_t number;
};

static int by_number(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;

    return x->number < y->number ? -1 : x->number > y->number;
}

static size_t expect_below(const char *dir, char (*out)[32], size_t count)
{
    struct entry entries[FILES];
    size_t n = 0;

    for (size_t i = 0; i < FILES; i++) {
        struct entry e = {0};
        const char *slash;

        if (strncmp(tree[i], dir, strlen(dir)) != 0) {
            continue;
        }
        slash = strchr(tree[i] + strlen(dir), '/');
        (void)snprintf(e.key, sizeof(e.key), "%.*s",
                       slash != NULL ? (int)(slash + 1 - tree[i]) : (int)strlen(tree[i]), tree[i]);
        e.number = fs_number_first(e.key);
        for (size_t k = 0; k <= n; k++) {
            if (k == n) {
                entries[n++] = e;
                break;
            }
            if (strcmp(entries[k].key, e.key) == 0) {
                break;
            }
        }
    }
    qsort(entries, n, sizeof(entries[0]), by_number);
    for (size_t i = 0; i < n; i++) {
        if (entries[i].key[strlen(entries[i].key) - 1] == '/') {
            count = expect_below(entries[i].key, out, count);
        } else {
            memcpy(out[count++], entries[i].key, sizeof(out[0]));
        }
    }
    return count;
}

/* The walk from this file on visits these, in this order. */
static void expect_walk_locked(struct rig *rig, struct walk *walk, char (*expected)[32],
                               size_t count) REQUIRES(&rig->fs->lock)
{
    struct known_entry entry;
    const char *unknown;

    for (size_t i = 0; i < count; i++) {
        assert_true(walk_next(rig->fs, walk, &entry, &unknown));
        assert_string_equal(entry.key, expected[i]);
        assert_int_equal(entry.size, strlen("content"));
    }
    assert_false(walk_next(rig->fs, walk, &entry, &unknown));
    assert_null(unknown);
}

static void each_file_is_visited_once_into_directories_and_out(UNUSED void **state)
{
    struct rig *rig = with_tree();
    char expected[FILES][32];
    size_t count = expect_below("", expected, 0);
    uint32_t first = rig_lookup(rig, expected[0]);
    struct walk *walk;

    assert_int_equal(count, FILES);
    assert_int_equal(walk_new(&walk), 0);
    assert_int_equal(listing_flat(rig->fs, "", ""), 0);
    mutex_lock(&rig->fs->lock);
    assert_true(walk_seek(rig->fs, walk, fs_node(rig->fs, first)));
    expect_walk_locked(rig, walk, expected + 1, count - 1);
    walk_free(walk);
    mutex_unlock(&rig->fs->lock);
    rig_free(rig);
}

static void a_copy_goes_its_own_way(UNUSED void **state)
{
    struct rig *rig = with_tree();
    char expected[FILES][32];
    size_t count = expect_below("t/", expected, 0);
    uint32_t first = rig_lookup(rig, expected[0]);
    struct walk *walk;
    struct walk *copy;
    struct known_entry entry;
    const char *unknown;

    assert_int_equal(walk_new(&walk), 0);
    assert_int_equal(walk_new(&copy), 0);
    assert_int_equal(listing_flat(rig->fs, "t/", ""), 0);
    mutex_lock(&rig->fs->lock);
    assert_false(walk_copy(copy, walk)); /* it stands nowhere */
    assert_true(walk_seek(rig->fs, walk, fs_node(rig->fs, first)));
    assert_true(walk_next(rig->fs, walk, &entry, &unknown));
    assert_true(walk_copy(copy, walk));
    walk_free(walk);
    expect_walk_locked(rig, copy, expected + 2, count - 2);
    walk_free(copy);
    mutex_unlock(&rig->fs->lock);
    rig_free(rig);
}

/* A directory that was read, but of whose subdirectories nothing is known yet. */
static void where_keys_are_unknown_it_says_so_and_goes_on_when_they_are_listed(UNUSED void **state)
{
    struct rig *rig = with_tree();
    struct fs *fs = rig->fs;
    char expected[FILES][32];
    size_t count = expect_below("t/", expected, 0);
    uint32_t dir = rig_lookup(rig, "t");
    uint32_t file = rig_lookup(rig, "t/7");
    struct walk *walk;
    struct known_entry entry;
    char missing[32] = "";
    const char *unknown;
    size_t at = 0;

    rig_list(rig, dir);
    assert_int_equal(walk_new(&walk), 0);
    mutex_lock(&fs->lock);
    known_clear(fs->known);
    assert_true(walk_seek(fs, walk, fs_node(fs, file)));
    while (strcmp(expected[at++], "t/7") != 0) {
    }
    while (walk_next(fs, walk, &entry, &unknown)) {
        assert_string_equal(entry.key, expected[at++]);
    }
    if (unknown != NULL) {
        (void)snprintf(missing, sizeof(missing), "%s", unknown);
    }
    mutex_unlock(&fs->lock);
    if (at < count) {
        assert_true(missing[0] != '\0' && strncmp(expected[at], missing, strlen(missing)) == 0);
        assert_int_equal(listing_flat(fs, "t/", ""), 0);
        mutex_lock(&rig->fs->lock);
        expect_walk_locked(rig, walk, expected + at, count - at);
        mutex_unlock(&rig->fs->lock);
    }
    mutex_lock(&fs->lock);
    walk_free(walk);
    mutex_unlock(&fs->lock);
    rig_free(rig);
}

/* Others make a file of a directory that has been listed. */
static void expect_no_place(const char *dir, const char *key)
{
    struct rig *rig = with_tree();
    uint32_t ino;
    struct walk *walk;

    assert_int_equal(listing_flat(rig->fs, dir, ""), 0);
    rig_put(rig, key, "content");
    ino = rig_lookup(rig, key);
    assert_int_equal(walk_new(&walk), 0);
    mutex_lock(&rig->fs->lock);
    assert_false(walk_seek(rig->fs, walk, fs_node(rig->fs, ino)));
    walk_free(walk);
    mutex_unlock(&rig->fs->lock);
    rig_free(rig);
}

static void a_file_that_no_listing_shows_has_no_place(UNUSED void **state)
{
    expect_no_place("t/", "t/new");
}

/* Nothing was there to be sorted: once a null pointer in qsort(). */
static void a_directory_that_was_empty_has_no_places(UNUSED void **state)
{
    expect_no_place("v/", "v/new");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_file_is_visited_once_into_directories_and_out),
        cmocka_unit_test(a_copy_goes_its_own_way),
        cmocka_unit_test(where_keys_are_unknown_it_says_so_and_goes_on_when_they_are_listed),
        cmocka_unit_test(a_file_that_no_listing_shows_has_no_place),
        cmocka_unit_test(a_directory_that_was_empty_has_no_places),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

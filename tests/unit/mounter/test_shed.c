/* SPDX-License-Identifier: Apache-2.0 */
/* Whom the kernel is asked to forget: what nobody uses, the longest unlooked-at first, once. */
#include "mounter/names/shed_internal.h"

#include <sys/stat.h>

#include "fs_rig.h"

enum { FILES = 24, MAX = 16, LOW = MAX / 8 * 7 };

struct fixture {
    struct rig *rig;
    uint32_t inos[FILES];
    struct shed_batch batch;
};

/* FILES files of the root that the kernel knows and nobody uses, and a limit of MAX inodes. */
static int setup(void **state)
{
    static const struct fs_options options = {
        .attrs = ATTRS_LIST, .attr_timeout_ms = 60000, .sync = SYNC_FSYNC};
    struct fixture *f = calloc(1, sizeof(*f));
    struct fs *fs;
    char key[16];

    f->rig = rig_store_new(&options);
    for (unsigned i = 0; i < FILES; i++) {
        (void)snprintf(key, sizeof(key), "f%02u", i);
        rig_put(f->rig, key, "x");
    }
    rig_start(f->rig);
    for (unsigned i = 0; i < FILES; i++) {
        (void)snprintf(key, sizeof(key), "f%02u", i);
        f->inos[i] = rig_lookup(f->rig, key);
    }
    fs = f->rig->fs;
    mutex_lock(&fs->lock);
    for (unsigned i = 0; i < FILES; i++) {
        struct node *node = fs_node(fs, f->inos[i]);
        struct inode_rec *rec = fs_rec(fs, node);

        state_begin(fs->state);
        STATE_SET(fs->state, rec->nlookup, (uint64_t)1);
        state_commit(fs->state);
        node->valid_until_ms = 0;
    }
    fs->shed->max = MAX;
    mutex_unlock(&fs->lock);
    *state = f;
    return 0;
}

static void forget_batch(struct fixture *f)
{
    for (unsigned i = 0; i < f->batch.count; i++) {
        free(f->batch.victims[i].name);
    }
    f->batch.count = 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    forget_batch(f);
    rig_free(f->rig);
    free(f);
    return 0;
}

/* Looks until somebody is found or a round is over; how many are asked for. */
static unsigned look(struct fixture *f, bool young_too, bool *ret_more)
{
    struct fs *fs = f->rig->fs;
    bool more = true;

    forget_batch(f);
    mutex_lock(&fs->lock);
    for (int i = 0; i < 64 && more && f->batch.count == 0; i++) {
        more = shed_choose(fs, &f->batch, young_too);
    }
    mutex_unlock(&fs->lock);
    if (ret_more != NULL) {
        *ret_more = more;
    }
    return f->batch.count;
}

static bool asked(const struct fixture *f, unsigned file)
{
    for (unsigned i = 0; i < f->batch.count; i++) {
        if (f->batch.victims[i].ino == f->inos[file]) {
            return true;
        }
    }
    return false;
}

static void as_many_are_asked_for_as_are_too_many(void **state)
{
    struct fixture *f = *state;
    struct shed_stats stats;
    unsigned surplus = 1 + FILES - LOW; /* the root counts */

    mutex_lock(&f->rig->fs->lock);
    shed_get_stats(f->rig->fs, &stats);
    mutex_unlock(&f->rig->fs->lock);
    assert_int_equal(stats.inodes, 1 + FILES);
    assert_int_equal(look(f, false, NULL), surplus);
    assert_int_equal(look(f, false, NULL), 0); /* those are on their way */
}

static void what_is_in_use_is_spared(void **state)
{
    struct fixture *f = *state;
    struct fs *fs = f->rig->fs;
    struct node *nodes[6];

    mutex_lock(&fs->lock);
    fs->shed->max = 8; /* all of them are too many */
    state_begin(fs->state);
    for (unsigned i = 0; i < 6; i++) {
        nodes[i] = fs_node(fs, f->inos[i]);
    }
    STATE_SET(fs->state, fs_rec(fs, nodes[0])->opens, fs_rec(fs, nodes[0])->opens + 1);
    STATE_SET(fs->state, fs_rec(fs, nodes[1])->flags, fs_rec(fs, nodes[1])->flags | INODE_LOST);
    STATE_SET(fs->state, fs_rec(fs, nodes[2])->nlookup, (uint64_t)0);
    state_commit(fs->state);
    nodes[3]->users++;
    nodes[4]->publishing = true;
    nodes[5]->streaming = 1;
    mutex_unlock(&fs->lock);
    assert_true(look(f, true, NULL) > 0);
    for (unsigned i = 0; i < 6; i++) {
        assert_false(asked(f, i));
    }
    assert_true(asked(f, 6));
    mutex_lock(&fs->lock);
    nodes[3]->users--;
    nodes[4]->publishing = false;
    nodes[5]->streaming = 0;
    mutex_unlock(&fs->lock);
}

static void what_was_looked_at_lately_goes_last(void **state)
{
    struct fixture *f = *state;
    struct fs *fs = f->rig->fs;

    mutex_lock(&fs->lock);
    for (unsigned i = 0; i < FILES; i++) {
        fs_node(fs, f->inos[i])->valid_until_ms = i == 7 ? 0 : fs_now_ms() + 60000;
    }
    mutex_unlock(&fs->lock);
    assert_int_equal(look(f, false, NULL), 1);
    assert_true(asked(f, 7));
    assert_true(look(f, true, NULL) > 1);
}

static void who_was_asked_for_and_stays_is_left_alone_for_a_round(void **state)
{
    struct fixture *f = *state;
    bool more;

    mutex_lock(&f->rig->fs->lock);
    f->rig->fs->shed->max = 0; /* all of them are too many, always */
    mutex_unlock(&f->rig->fs->lock);
    assert_int_equal(look(f, true, &more), FILES);
    assert_true(more);
    assert_int_equal(look(f, true, &more), 0); /* the kernel has given none back */
    assert_false(more);
    assert_int_equal(look(f, true, &more), FILES);
}

static void where_the_kernel_cannot_prune_files_go_by_their_names_and_directories_stay(void **state)
{
    struct fixture *f = *state;
    struct fs *fs = f->rig->fs;
    char name[16];

    mutex_lock(&fs->lock);
    fs->shed->prunes = false;
    state_begin(fs->state);
    STATE_SET(fs->state, fs_rec(fs, fs_node(fs, f->inos[0]))->mode, (uint32_t)(S_IFDIR | 0755));
    state_commit(fs->state);
    mutex_unlock(&fs->lock);
    assert_true(look(f, true, NULL) > 0);
    assert_false(asked(f, 0));
    assert_true(asked(f, 1));
    for (unsigned i = 0; i < f->batch.count; i++) {
        assert_int_equal(f->batch.victims[i].parent, STATE_ROOT);
        (void)snprintf(name, sizeof(name), "f%02u", i + 1);
        assert_string_equal(f->batch.victims[i].name, name);
    }
    mutex_lock(&fs->lock);
    state_begin(fs->state);
    STATE_SET(fs->state, fs_rec(fs, fs_node(fs, f->inos[0]))->mode, (uint32_t)(S_IFREG | 0644));
    state_commit(fs->state);
    mutex_unlock(&fs->lock);
}

static void a_share_of_memory_is_the_limit(UNUSED void **state)
{
    static const struct fs_options options = {.attrs = ATTRS_LIST};
    struct rig *rig = rig_store_new(&options);
    struct shed_stats stats;

    rig_start(rig);
    mutex_lock(&rig->fs->lock);
    shed_get_stats(rig->fs, &stats);
    mutex_unlock(&rig->fs->lock);
    assert_int_equal(stats.inodes_max, rig->options.memory_bytes / 4 / SHED_NODE_BYTES);
    assert_int_equal(stats.asked, 0);
    rig_free(rig);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(as_many_are_asked_for_as_are_too_many),
        T(what_is_in_use_is_spared),
        T(what_was_looked_at_lately_goes_last),
        T(who_was_asked_for_and_stays_is_left_alone_for_a_round),
        T(where_the_kernel_cannot_prune_files_go_by_their_names_and_directories_stay),
        cmocka_unit_test(a_share_of_memory_is_the_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

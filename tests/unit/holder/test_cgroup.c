/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/holder/cgroup.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"
#include "util/cleanup.h"
#include "util/file.h"

/* What a kernel shows below /sys/fs/cgroup, as plain files. */
static int make_top(void **state)
{
    char *top = strdup("/tmp/skyvol-cgroup-XXXXXX");

    assert_non_null(top);
    assert_non_null(mkdtemp(top));
    *state = top;
    return 0;
}

static int remove_one(const char *path, UNUSED const struct stat *st, UNUSED int type,
                      UNUSED struct FTW *walk)
{
    return remove(path);
}

static int remove_top(void **state)
{
    int r = nftw(*state, remove_one, 16, FTW_DEPTH | FTW_PHYS);

    free(*state);
    return r;
}

static const char *at(void **state, const char *path)
{
    static char full[PATH_MAX];

    (void)snprintf(full, sizeof(full), "%s/%s", (char *)*state, path);
    return full;
}

static void put(void **state, const char *path)
{
    assert_int_equal(file_make_parent(at(state, path), 0755), 0);
    assert_int_equal(file_replace(at(state, path), "", 0, 0644), 0);
}

static void assert_holds(void **state, const char *path, const char *text)
{
    CLEANUP(buf_done) struct buf content = BUF_INIT(4096);

    assert_int_equal(file_read(at(state, path), &content), 0);
    assert_string_equal(buf_str(&content), text);
}

static void begin(void **state, struct cgroups *ret, const char *path)
{
    struct error err = ERROR_INIT;

    assert_int_equal(cgroups_init(ret, at(state, path), &err), 0);
}

static void version_two_gives_memory_on(void **state)
{
    struct cgroups cgroups;
    char group[CGROUP_PATH_MAX];

    put(state, "cgroup.procs");
    put(state, "cgroup.subtree_control");
    put(state, "skyvol/cgroup.subtree_control");
    begin(state, &cgroups, "skyvol");
    assert_holds(state, "cgroup.subtree_control", "+memory");
    assert_holds(state, "skyvol/cgroup.subtree_control", "+memory");
    put(state, "skyvol/v/cgroup.procs");
    put(state, "skyvol/v/memory.max");
    assert_true(cgroups_make(&cgroups, "v", 1 << 20, group));
    assert_string_equal(group, at(state, "skyvol/v"));
    assert_holds(state, "skyvol/v/memory.max", "1048576");
    cgroups_enter(&cgroups, group);
    assert_holds(state, "skyvol/v/cgroup.procs", "0");
    assert_holds(state, "cgroup.procs", "");
    cgroups_done(&cgroups);
}

static void version_one_is_left_in_every_hierarchy(void **state)
{
    struct cgroups cgroups;
    char group[CGROUP_PATH_MAX];

    put(state, "memory/cgroup.procs");
    put(state, "pids/cgroup.procs");
    put(state, "unified/cgroup.procs");
    put(state, "other/file");
    assert_int_equal(symlink("pids", at(state, "alias")), 0);
    begin(state, &cgroups, "skyvol");
    assert_int_equal(cgroups.other_count, 2);
    put(state, "memory/skyvol/v/cgroup.procs");
    put(state, "memory/skyvol/v/memory.limit_in_bytes");
    assert_true(cgroups_make(&cgroups, "v", 1 << 20, group));
    assert_string_equal(group, at(state, "memory/skyvol/v"));
    assert_holds(state, "memory/skyvol/v/memory.limit_in_bytes", "1048576");
    cgroups_enter(&cgroups, group);
    assert_holds(state, "memory/skyvol/v/cgroup.procs", "0");
    assert_holds(state, "pids/cgroup.procs", "0");
    assert_holds(state, "unified/cgroup.procs", "0");
    assert_holds(state, "memory/cgroup.procs", "");
    cgroups_done(&cgroups);
}

static void one_hierarchy_of_version_one_will_do(void **state)
{
    struct cgroups cgroups;

    put(state, "memory/cgroup.procs");
    put(state, "pids/cgroup.procs");
    begin(state, &cgroups, "memory/skyvol");
    assert_int_equal(cgroups.other_count, 0);
    assert_string_equal(cgroups.root, at(state, "memory/skyvol"));
    assert_int_equal(access(cgroups.root, F_OK), 0);
    cgroups_done(&cgroups);
    assert_int_equal(access(at(state, "memory/skyvol"), F_OK), -1);
}

static void elsewhere_is_refused(void **state)
{
    static const char *const bad[] = {"/", "skyvol", "/skyvol/"};
    struct cgroups cgroups;
    struct error err = ERROR_INIT;

    assert_int_equal(cgroups_init(&cgroups, at(state, "skyvol"), &err), -EINVAL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(cgroups_init(&cgroups, bad[i], &err), -EINVAL);
    }
}

static void none_is_wanted(UNUSED void **state)
{
    struct cgroups cgroups;
    struct error err = ERROR_INIT;
    char group[CGROUP_PATH_MAX];

    assert_int_equal(cgroups_init(&cgroups, NULL, &err), 0);
    assert_false(cgroups_make(&cgroups, "v", 1, group));
    assert_int_equal(cgroups_oom_kills(&cgroups, "v"), 0);
    cgroups_remove(&cgroups, "v");
    cgroups_done(&cgroups);
}

static void a_group_is_made_anew_when_its_root_went(void **state)
{
    struct cgroups cgroups;
    char group[CGROUP_PATH_MAX];

    put(state, "cgroup.procs");
    begin(state, &cgroups, "skyvol");
    assert_int_equal(rmdir(at(state, "skyvol")), 0);
    assert_false(cgroups_make(&cgroups, "v", 0, group)); /* no kernel here that fills it */
    assert_int_equal(access(at(state, "skyvol/v"), F_OK), 0);
    cgroups_remove(&cgroups, "v");
    cgroups_done(&cgroups);
    assert_int_equal(access(at(state, "skyvol"), F_OK), -1);
}

static void kills_are_read_in_both_versions(void **state)
{
    static const char *const files[] = {"skyvol/a/memory.events", "skyvol/b/memory.oom_control"};
    static const char text[] = "oom 7\noom_kill 3\n";
    struct cgroups cgroups;

    put(state, "cgroup.procs");
    begin(state, &cgroups, "skyvol");
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(file_make_parent(at(state, files[i]), 0755), 0);
        assert_int_equal(file_replace(at(state, files[i]), text, strlen(text), 0644), 0);
    }
    assert_int_equal(cgroups_oom_kills(&cgroups, "a"), 3);
    assert_int_equal(cgroups_oom_kills(&cgroups, "b"), 3);
    assert_int_equal(cgroups_oom_kills(&cgroups, "c"), 0);
    cgroups_done(&cgroups);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_top, remove_top)
    const struct CMUnitTest tests[] = {
        TEST(version_two_gives_memory_on),
        TEST(version_one_is_left_in_every_hierarchy),
        TEST(one_hierarchy_of_version_one_will_do),
        TEST(elsewhere_is_refused),
        TEST(none_is_wanted),
        TEST(a_group_is_made_anew_when_its_root_went),
        TEST(kills_are_read_in_both_versions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

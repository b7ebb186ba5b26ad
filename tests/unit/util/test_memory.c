/* SPDX-License-Identifier: Apache-2.0 */
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test.h"
#include "util/file.h"
#include "util/memory.h"

static const uint64_t mib = UINT64_C(1) << 20;

/* A machine's /proc and /sys, as far as they matter. */
static int make_root(void **state)
{
    char *root = strdup("/tmp/skyvol-memory-XXXXXX");

    assert_non_null(root);
    assert_non_null(mkdtemp(root));
    *state = root;
    return 0;
}

static int remove_one(const char *path, UNUSED const struct stat *st, UNUSED int type,
                      UNUSED struct FTW *walk)
{
    return remove(path);
}

static int remove_root(void **state)
{
    int r = nftw(*state, remove_one, 16, FTW_DEPTH | FTW_PHYS);

    free(*state);
    return r;
}

static void put(void **state, const char *path, const char *text)
{
    char full[PATH_MAX];

    (void)snprintf(full, sizeof(full), "%s%s", (char *)*state, path);
    assert_int_equal(file_make_parent(full, 0755), 0);
    assert_int_equal(file_replace(full, text, strlen(text), 0644), 0);
}

static uint64_t limit(void **state)
{
    struct memory_given given;

    memory_given(*state, &given);
    return given.limit;
}

static void a_machine_without_limits_has_none(void **state)
{
    struct memory_given given;

    put(state, "/proc/meminfo", "MemFree:  7 kB\nMemTotal:       2048 kB\n");
    put(state, "/proc/self/cgroup", "0::/user.slice/x.scope\n");
    put(state, "/sys/fs/cgroup/user.slice/memory.max", "max\n");
    memory_given(*state, &given);
    assert_int_equal(given.machine, 2 * mib);
    assert_int_equal(given.limit, 0);
}

static void the_least_limit_of_all_groups_above_counts(void **state)
{
    put(state, "/proc/self/cgroup", "0::/a/b/c\n");
    put(state, "/sys/fs/cgroup/a/b/c/memory.max", "8388608\n");
    put(state, "/sys/fs/cgroup/a/b/memory.max", "max\n");
    put(state, "/sys/fs/cgroup/a/memory.max", "4194304\n");
    assert_int_equal(limit(state), 4 * mib);
    put(state, "/sys/fs/cgroup/a/b/memory.max", "1048576\n");
    assert_int_equal(limit(state), mib);
}

static void a_container_sees_its_own_group_at_the_top(void **state)
{
    put(state, "/proc/self/cgroup", "0::/\n");
    put(state, "/sys/fs/cgroup/memory.max", "536870912\n");
    assert_int_equal(limit(state), 512 * mib);
}

static void groups_of_version_1_have_another_file(void **state)
{
    put(state, "/proc/self/cgroup", "5:cpu,cpuacct:/pod\n4:memory:/pod\n");
    put(state, "/sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(limit(state), 0);
    put(state, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "2097152\n");
    assert_int_equal(limit(state), 2 * mib);
}

static void nonsense_is_no_limit(void **state)
{
    static const char *const lines[] = {"",        "\n", "0", "0:", "0::", "::::", "0::no/slash\n",
                                        "4:memory"};

    put(state, "/sys/fs/cgroup/memory.max", "-1\n");
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        put(state, "/proc/self/cgroup", lines[i]);
        assert_int_equal(limit(state), 0);
    }
}

static void a_mount_takes_its_share(UNUSED void **state)
{
    static const struct {
        struct memory_given given;
        uint64_t mib;
    } cases[] = {
        {{.machine = 0}, 256},
        {{.machine = 2048 * UINT64_C(1048576)}, 256},
        {{.machine = 8192 * UINT64_C(1048576)}, 512},
        {{.machine = 65536 * UINT64_C(1048576)}, 1024},
        {{.machine = 65536 * UINT64_C(1048576), .limit = 64 * UINT64_C(1048576)}, 64},
        {{.machine = 65536 * UINT64_C(1048576), .limit = 300 * UINT64_C(1048576)}, 150},
        {{.machine = 65536 * UINT64_C(1048576), .limit = 9000 * UINT64_C(1048576)}, 1024},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(memory_share(&cases[i].given), cases[i].mib * mib);
    }
}

static long rss_kib(void)
{
    char line[128];
    long ret = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");

    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        (void)sscanf(line, "Rss: %ld", &ret);
    }
    (void)fclose(file);
    return ret;
}

/* And all goes on: code is read again, and what was written to stays. */
static void what_a_start_needed_is_given_back(UNUSED void **state)
{
    static char written[64 * 1024] = {1};
    enum { PIECES = 4096, PIECE = 4096 };
    char **pieces = calloc(PIECES, sizeof(*pieces));
    long before, after;

    memset(written, 'w', sizeof(written));
    for (size_t i = 0; i < PIECES; i++) {
        pieces[i] = malloc(PIECE);
        memset(pieces[i], 'x', PIECE);
    }
    for (size_t i = 0; i + 1 < PIECES; i++) { /* the last keeps the heap from shrinking by itself */
        free(pieces[i]);
    }
    before = rss_kib();
    memory_give_back();
    after = rss_kib();
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* with heaps of their own */
    assert_true(after < before - 8 * 1024);
#else
    (void)before;
    (void)after;
#endif
    for (size_t i = 0; i < sizeof(written); i++) {
        assert_int_equal(written[i], 'w');
    }
    assert_int_equal(pieces[PIECES - 1][PIECE - 1], 'x');
    free(pieces[PIECES - 1]);
    free(pieces);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_machine_without_limits_has_none, make_root, remove_root),
        cmocka_unit_test_setup_teardown(the_least_limit_of_all_groups_above_counts, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(a_container_sees_its_own_group_at_the_top, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(groups_of_version_1_have_another_file, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(nonsense_is_no_limit, make_root, remove_root),
        cmocka_unit_test(a_mount_takes_its_share),
        cmocka_unit_test(what_a_start_needed_is_given_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

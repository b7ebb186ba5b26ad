/* SPDX-License-Identifier: Apache-2.0 */
/* The suite on the stores that need no server. Servers: tests/conformance/run_objstore. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "objstore/dir.h"
#include "objstore/measured.h"
#include "objstore/objstore_call.h"
#include "objstore_process.h"
#include "objstore_suite.h"
#include "test.h"

static struct objstore *open_dir_store(const char *root)
{
    struct objstore_dir_config config = {.root = root};
    struct objstore *store = NULL;
    struct error err = ERROR_INIT;

    if (objstore_dir_new(&config, &store, &err) != 0) {
        print_error("%s\n", err.text);
        exit(1);
    }
    return store;
}

static int run_memory(struct metrics *metrics)
{
    struct objstore *store;
    struct error err = ERROR_INIT;
    int failed;

    if (objstore_mem_new(&store, &err) != 0) {
        print_error("%s\n", err.text);
        return 1;
    }
    if (metrics != NULL && objstore_measured_new(store, metrics, &store) != 0) {
        return 1;
    }
    failed = objstore_suite_run(metrics != NULL ? "memory, measured" : "memory", store, store);
    objstore_free(store);
    return failed;
}

static int run_measured(void)
{
    struct metrics *metrics = NULL;
    int failed = metrics_new(&metrics) == 0 ? run_memory(metrics) : 1;

    metrics_free(metrics);
    return failed;
}

static int remove_entry(const char *path, const struct stat *st UNUSED, int type UNUSED,
                        struct FTW *ftw UNUSED)
{
    return remove(path);
}

static int run_directory(bool two_processes)
{
    char root[] = "/tmp/skyvol-test-dir.XXXXXX";
    struct objstore *first;
    struct objstore *second;
    int failed;

    if (mkdtemp(root) == NULL) {
        return 1;
    }
    second = two_processes ? objstore_process_new(open_dir_store, root) : open_dir_store(root);
    first = open_dir_store(root);
    failed = objstore_suite_run(
        two_processes ? "directory, two processes" : "directory, two handles", first, second);
    objstore_free(first);
    objstore_free(second);
    (void)nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return failed;
}

static void a_directory_with_other_things_is_refused(void **state UNUSED)
{
    struct objstore_dir_config config = {.root = "/usr"};
    struct objstore *store = NULL;
    struct error err = ERROR_INIT;

    assert_int_equal(objstore_dir_new(&config, &store, &err), -EUCLEAN);
    assert_non_null(strstr(err.text, "something else"));
}

enum { OPENERS = 8, NEW_STORES = 10 };

static void several_processes_may_open_a_new_store_at_once(void **state UNUSED)
{
    for (int i = 0; i < NEW_STORES; i++) {
        char root[] = "/tmp/skyvol-test-dir.XXXXXX";
        pid_t pids[OPENERS];

        assert_non_null(mkdtemp(root));
        for (int j = 0; j < OPENERS; j++) {
            pids[j] = fork();
            assert_true(pids[j] >= 0);
            if (pids[j] == 0) {
                objstore_free(open_dir_store(root));
                _exit(0);
            }
        }
        for (int j = 0; j < OPENERS; j++) {
            int status = -1;

            assert_int_equal(waitpid(pids[j], &status, 0), pids[j]);
            assert_int_equal(status, 0);
        }
        (void)nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_processes_may_open_a_new_store_at_once),
        cmocka_unit_test(a_directory_with_other_things_is_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    failed += run_directory(true); /* forks: first */
    failed += run_directory(false);
    failed += run_memory(NULL);
    failed += run_measured();
    return failed;
}

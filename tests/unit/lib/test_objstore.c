/* SPDX-License-Identifier: Apache-2.0 */
/* The suite on the stores that need no server. Servers: tests/conformance/run_objstore. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "objstore/dir.h"
#include "objstore/objstore_call.h"
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

static int run_memory(void)
{
    struct objstore *store;
    struct error err = ERROR_INIT;
    int failed;

    if (objstore_mem_new(&store, &err) != 0) {
        print_error("%s\n", err.text);
        return 1;
    }
    failed = objstore_suite_run("memory", store, store);
    objstore_free(store);
    return failed;
}

static int run_directory(void)
{
    char root[] = "/tmp/skyvol-test-dir.XXXXXX";
    struct objstore *first;
    struct objstore *second;
    char command[64];
    int failed;
    pid_t child;

    if (mkdtemp(root) == NULL) {
        return 1;
    }
    first = open_dir_store(root);
    second = open_dir_store(root);
    failed = objstore_suite_run("directory, two handles", first, second);
    objstore_free(first);
    objstore_free(second);
    (void)snprintf(command, sizeof(command), "%s", root);
    child = fork();
    if (child == 0) {
        (void)execlp("rm", "rm", "-rf", command, (char *)NULL);
        _exit(127);
    }
    (void)waitpid(child, NULL, 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_directory_with_other_things_is_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    failed += run_memory();
    failed += run_directory();
    return failed;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/run_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

static void one_at_a_time_has_it(void **state)
{
    char above[] = "/tmp/skyvol-run-XXXXXX", path[64], lock[80], wanted[160];
    struct error err = ERROR_INIT;
    int first = -1, second = -1;

    (void)state;
    assert_non_null(mkdtemp(above));
    (void)snprintf(path, sizeof(path), "%s/run", above);
    (void)snprintf(lock, sizeof(lock), "%s/lock", path);
    assert_int_equal(run_dir_take(path, &first, &err), 0);
    assert_int_equal(run_dir_take(path, &second, &err), -EBUSY);
    (void)snprintf(wanted, sizeof(wanted), "--run-dir %s is in use by pid %ld: give another one",
                   path, (long)getpid());
    assert_string_equal(error_text(&err, -EBUSY), wanted);
    assert_int_equal(second, -1);

    /* What lies there says nothing once the lock has gone; what is no pid is not shown as one. */
    assert_int_equal(truncate(lock, 0), 0);
    assert_int_equal(run_dir_take(path, &second, &err), -EBUSY);
    assert_non_null(strstr(error_text(&err, -EBUSY), "in use by another skyvol-s3: give"));
    (void)close(first);
    assert_int_equal(run_dir_take(path, &second, &err), 0);
    (void)close(second);

    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(run_dir_take(path, &second, &err), -EPERM);
    assert_int_equal(unlink(lock), 0);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(run_dir_take("/tmp/skyvol-no-such-directory/run", &second, &err), -ENOENT);
    assert_int_equal(rmdir(above), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_at_a_time_has_it)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

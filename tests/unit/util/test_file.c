/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"
#include "util/error.h"
#include "util/file.h"

static void missing_directories_are_made_private(UNUSED void **state)
{
    char root[] = "/tmp/skyvol-file-XXXXXX";
    char path[64];
    struct stat st;

    assert_non_null(mkdtemp(root));
    (void)snprintf(path, sizeof(path), "%s/a/b/socket", root);
    assert_int_equal(file_make_parent(path, 0700), 0);
    assert_int_equal(file_make_parent(path, 0700), 0);
    assert_int_equal(stat(path, &st), -1);
    (void)snprintf(path, sizeof(path), "%s/a/b", root);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(rmdir(path), 0);
    (void)snprintf(path, sizeof(path), "%s/a/", root);
    assert_int_equal(file_make_dir(path, 0700), 0);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(root), 0);
}

static void a_file_in_the_way_is_told(UNUSED void **state)
{
    assert_int_equal(file_make_parent("/dev/null/a/b", 0700), -ENOTDIR);
    assert_int_equal(file_make_parent("here", 0700), 0);
    assert_int_equal(file_make_parent("/here", 0700), 0);
}

static void an_error_text_may_be_put_into_itself(UNUSED void **state)
{
    struct error err = ERROR_INIT;

    (void)error_set(&err, -ENOENT, "there is no store");
    assert_int_equal(error_set(&err, -EINVAL, "%s", err.text), -EINVAL);
    assert_string_equal(err.text, "there is no store");
    assert_int_equal(error_set(&err, -EINVAL, "store %s: %s", "w", err.text), -EINVAL);
    assert_string_equal(err.text, "store w: there is no store");
    assert_int_equal(err.code, -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_directories_are_made_private),
        cmocka_unit_test(a_file_in_the_way_is_told),
        cmocka_unit_test(an_error_text_may_be_put_into_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "util/secret_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"
#include "util/file.h"

static void a_file_of_its_owner_only_is_read(void **state UNUSED)
{
    static const mode_t refused[] = {0640, 0604, 0620, 0660, 0644};
    char path[64];
    struct buf text = BUF_INIT(64);
    struct error err = ERROR_INIT;

    (void)snprintf(path, sizeof(path), "/tmp/test_secret_file.one.%d", (int)getpid());
    assert_int_equal(secret_file_read(path, &text, &err), -ENOENT);
    assert_int_equal(file_replace(path, "x", 1, 0600), 0);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_int_equal(chmod(path, refused[i]), 0);
        buf_reset(&text);
        assert_int_equal(secret_file_read(path, &text, &err), -EACCES);
        assert_non_null(strstr(err.text, "chmod 600"));
    }
    assert_int_equal(chmod(path, 0400), 0);
    buf_reset(&text);
    assert_int_equal(secret_file_read(path, &text, &err), 0);
    assert_string_equal(buf_str(&text), "x");
    buf_done(&text);
    assert_int_equal(unlink(path), 0);
}

static void a_mounted_secret_may_be_read_by_its_group(void **state UNUSED)
{
    char secret[64];
    char file[96];
    char data[96];
    struct buf text = BUF_INIT(64);
    struct error err = ERROR_INIT;

    (void)snprintf(secret, sizeof(secret), "/tmp/test_secret_file.%d", (int)getpid());
    (void)snprintf(data, sizeof(data), "%s/..data", secret);
    (void)snprintf(file, sizeof(file), "%s/credentials", secret);
    assert_int_equal(mkdir(secret, 0700), 0);
    assert_int_equal(file_replace(file, "x", 1, 0440), 0);
    assert_int_equal(secret_file_read(file, &text, &err), -EACCES);
    assert_int_equal(symlink(".", data), 0);
    assert_int_equal(secret_file_read(file, &text, &err), 0);
    assert_int_equal(chmod(file, 0444), 0);
    assert_int_equal(secret_file_read(file, &text, &err), -EACCES);
    buf_done(&text);
    (void)unlink(file);
    (void)unlink(data);
    assert_int_equal(rmdir(secret), 0);
}

/* As kubelet lays it out: default -> ..data/default, ..data -> ..2026; see meta's stores. */
static void a_member_deeper_in_a_mounted_secret_too(void **state UNUSED)
{
    char top[64];
    struct buf text = BUF_INIT(64);
    struct error err = ERROR_INIT;
    char before[1024];

    assert_non_null(getcwd(before, sizeof(before)));
    (void)snprintf(top, sizeof(top), "/tmp/test_secret_file.deep.%d", (int)getpid());
    assert_int_equal(mkdir(top, 0700), 0);
    assert_int_equal(chdir(top), 0);
    assert_int_equal(mkdir("..2026", 0700), 0);
    assert_int_equal(mkdir("..2026/default", 0700), 0);
    assert_int_equal(file_replace("..2026/default/credentials", "x", 1, 0440), 0);
    assert_int_equal(file_replace("..2026/other", "x", 1, 0440), 0);
    assert_int_equal(symlink("..data/default", "default"), 0);
    assert_int_equal(symlink("..data/other", "other"), 0);
    assert_int_equal(secret_file_read("..2026/default/credentials", &text, &err), -EACCES);
    assert_int_equal(symlink("..2026", "..data"), 0);
    assert_int_equal(secret_file_read("default/credentials", &text, &err), 0);
    assert_int_equal(secret_file_read("./default/credentials", &text, &err), 0);
    assert_int_equal(secret_file_read("other", &text, &err), 0);
    assert_int_equal(chmod("..2026/default/credentials", 0444), 0);
    assert_int_equal(secret_file_read("default/credentials", &text, &err), -EACCES);
    buf_done(&text);
    assert_int_equal(unlink("..data") + unlink("default") + unlink("other"), 0);
    assert_int_equal(unlink("..2026/default/credentials") + unlink("..2026/other"), 0);
    assert_int_equal(rmdir("..2026/default") + rmdir("..2026"), 0);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(rmdir(top), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_of_its_owner_only_is_read),
        cmocka_unit_test(a_mounted_secret_may_be_read_by_its_group),
        cmocka_unit_test(a_member_deeper_in_a_mounted_secret_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

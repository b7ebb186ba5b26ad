/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "csi/node/record.h"
#include "test.h"
#include "util/cleanup.h"
#include "util/file.h"

static char dir[64];

static int make_dir(UNUSED void **state)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/skyvol-record-XXXXXX");
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(UNUSED void **state)
{
    return rmdir(dir); /* fails when a test has left a record */
}

static void what_is_saved_is_loaded(UNUSED void **state)
{
    CLEANUP(record_done) struct record a = RECORD_INIT;
    CLEANUP(record_done) struct record b = RECORD_INIT;
    char target[] = "/pods/1", key[] = "k", wish[] = "w";
    struct record_target t = {.target = target, .key = key, .wish = wish, .read_only = true};

    assert_int_equal(record_load(dir, "v/1", &a, NULL), 0);
    assert_string_equal(a.volume, "v/1");
    a.size_bytes = 42;
    assert_int_equal(record_set_staged(&a, "/staging", "k", "w"), 0);
    assert_int_equal(record_add_mount(&a, "k", "/staging"), 0);
    assert_int_equal(record_add_target(&a, &t), 0);
    assert_int_equal(record_add_target(&a, &t), 0);
    assert_int_equal(record_save(dir, &a, NULL), 0);
    assert_int_equal(record_load(dir, "v/1", &b, NULL), 0);
    assert_string_equal(b.staging, "/staging");
    assert_string_equal(b.staged, "k");
    assert_int_equal(b.size_bytes, 42);
    assert_int_equal(b.target_count, 1);
    assert_true(record_find_target(&b, "/pods/1")->read_only);
    assert_string_equal(record_find_mount(&b, "k")->at, "/staging");
    assert_true(record_uses(&b, "k"));
    record_clear_staged(&b);
    assert_true(record_uses(&b, "k"));
    record_drop_target(&b, "/pods/1");
    assert_false(record_uses(&b, "k"));
    record_drop_mount(&b, "k");
    assert_int_equal(record_save(dir, &b, NULL), 0); /* nothing left: the file goes */
}

static void another_version_is_not_guessed_at(UNUSED void **state)
{
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "{\"version\":2,\"volume\":\"v\"}",
                                      "{\"version\":1}",
                                      "{\"version\":1,\"volume\":\"v\",\"mounts\":[{}]}"};
    char path[128];
    struct error err = ERROR_INIT;

    (void)snprintf(path, sizeof(path), "%s/x.json", dir);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CLEANUP(record_done) struct record r = RECORD_INIT;

        assert_int_equal(file_replace(path, bad[i], strlen(bad[i]), 0600), 0);
        assert_int_equal(record_load_file(dir, "x.json", &r, &err), -EBADMSG);
        assert_non_null(strstr(err.text, "x.json"));
    }
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_saved_is_loaded),
        cmocka_unit_test(another_version_is_not_guessed_at),
    };

    return cmocka_run_group_tests_name("record", tests, make_dir, remove_dir);
}

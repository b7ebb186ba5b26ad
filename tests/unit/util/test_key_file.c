/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "test.h"
#include "util/file.h"
#include "util/key_file.h"

static char directory[64], path[96];

static int set_up(void **state UNUSED)
{
    (void)snprintf(directory, sizeof(directory), "/tmp/skyvol-test-keys.XXXXXX");
    if (mkdtemp(directory) == NULL) {
        return -1;
    }
    (void)snprintf(path, sizeof(path), "%s/keys", directory);
    return 0;
}

static int tear_down(void **state UNUSED)
{
    (void)unlink(path);
    return rmdir(directory);
}

static void put(const char *text)
{
    assert_int_equal(file_replace(path, text, strlen(text), 0600), 0);
}

#define HEX "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static void a_file_is_made_once_and_only_ours(void **state UNUSED)
{
    struct error err = ERROR_INIT;
    struct key_file first = {0}, second = {0};
    struct stat st;

    assert_int_equal(key_file_make(path, &err), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(key_file_read(path, &first, &err), 0);
    assert_int_equal(key_file_make(path, &err), 0);
    assert_int_equal(key_file_read(path, &second, &err), 0);
    assert_int_equal(first.count, 1);
    assert_memory_equal(&first, &second, sizeof(first));
}

static void the_keys_are_in_the_order_of_the_file(void **state UNUSED)
{
    struct error err = ERROR_INIT;
    struct key_file keys = {0};

    put("# newest first\nb " HEX "\n\na " HEX);
    assert_int_equal(key_file_read(path, &keys, &err), 0);
    assert_int_equal(keys.count, 2);
    assert_string_equal(keys.keys[0].id, "b");
    assert_int_equal(keys.keys[0].bytes[31], 0x1f);
    assert_ptr_equal(key_file_find(&keys, "a"), &keys.keys[1]);
    assert_null(key_file_find(&keys, "c"));
}

static void what_is_no_key_leaves_the_old_ones(void **state UNUSED)
{
    static const char *const bad[] = {"",
                                      "# nothing\n",
                                      "a\n",
                                      " " HEX "\n",
                                      "a " HEX "00\n",
                                      "a 0011\n",
                                      "an-id-that-is-longer-than-thirty-two " HEX "\n"};
    struct error err = ERROR_INIT;
    struct key_file keys = {.count = 7};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        put(bad[i]);
        assert_int_equal(key_file_read(path, &keys, &err), -EINVAL);
        assert_null(strstr(err.text, "0011"));
        assert_int_equal(keys.count, 7);
    }
}

static void a_dead_socket_makes_way_and_a_live_one_does_not(void **state UNUSED)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(file_remove_socket(path), 0); /* there is none */
    memcpy(address.sun_path, path, strlen(path));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(file_remove_socket(path), -EADDRINUSE);
    assert_int_equal(access(path, F_OK), 0);
    (void)close(fd);
    assert_int_equal(file_remove_socket(path), 0);
    assert_int_equal(access(path, F_OK), -1);
    put("no socket");
    assert_int_equal(file_remove_socket(path), -EEXIST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_made_once_and_only_ours),
        cmocka_unit_test(the_keys_are_in_the_order_of_the_file),
        cmocka_unit_test(what_is_no_key_leaves_the_old_ones),
        cmocka_unit_test(a_dead_socket_makes_way_and_a_live_one_does_not),
    };
    struct CMUnitTest each[sizeof(tests) / sizeof(tests[0])];

    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        each[i] = tests[i];
        each[i].setup_func = set_up;
        each[i].teardown_func = tear_down;
    }
    return cmocka_run_group_tests(each, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount/message.h"
#include "mount/mountinfo.h"
#include "test.h"
#include "util/cleanup.h"

static int pair[2];

static int open_pair(UNUSED void **state)
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int close_pair(UNUSED void **state)
{
    (void)close(pair[0]);
    (void)close(pair[1]);
    return 0;
}

static void a_message_carries_json_and_descriptors(UNUSED void **state)
{
    CLEANUP(message_done) struct message m = MESSAGE_INIT;
    AUTOCLOSE int sealed = -1;
    AUTOCLOSE int got = -1;
    cJSON *json = message_op("test");
    char text[16] = "";

    assert_int_equal(message_seal("x", "secret", 6, &sealed), 0);
    assert_non_null(cJSON_AddNumberToObject(json, "n", 42));
    assert_non_null(cJSON_AddBoolToObject(json, "yes", true));
    assert_int_equal(message_send(pair[0], json, &sealed, 1, 100), 0);
    assert_int_equal(message_receive(pair[1], 100, &m), 0);
    assert_string_equal(message_string(&m, "op"), "test");
    assert_string_equal(message_string(&m, "absent"), "");
    assert_int_equal(message_number(&m, "n"), 42);
    assert_int_equal(message_number(&m, "op"), 0);
    assert_true(message_true(&m, "yes"));
    got = message_take_fd(&m, 0);
    assert_true(got >= 0);
    assert_int_equal(message_take_fd(&m, 0), -1);
    assert_int_equal(message_take_fd(&m, 1), -1);
    assert_int_equal(fcntl(got, F_GETFD), FD_CLOEXEC);
    assert_int_equal(pread(got, text, sizeof(text), 0), 6);
    assert_string_equal(text, "secret");
    assert_int_equal(write(got, "x", 1), -1); /* sealed */
}

static void nothing_arrives_in_time(UNUSED void **state)
{
    struct message m;

    assert_int_equal(message_receive(pair[0], 0, &m), -ETIMEDOUT);
    assert_int_equal(message_receive(pair[0], 10, &m), -ETIMEDOUT);
}

static void the_end_of_the_other_side_is_seen(UNUSED void **state)
{
    struct message m;

    (void)close(pair[1]);
    pair[1] = -1;
    assert_int_equal(message_receive(pair[0], 100, &m), -EPIPE);
    assert_int_equal(message_send(pair[0], message_op("x"), NULL, 0, 100), -EPIPE);
}

static void a_full_socket_times_out(UNUSED void **state)
{
    int r = 0;

    for (int i = 0; i < 10000 && r == 0; i++) {
        r = message_send(pair[0], message_op("filling"), NULL, 0, 10);
    }
    assert_int_equal(r, -ETIMEDOUT);
}

static void what_is_not_an_object_is_refused(UNUSED void **state)
{
    static const char *const texts[] = {"[1]", "{", "x", "\"text\"", "{\"a\":1"};
    struct message m;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_true(send(pair[0], texts[i], strlen(texts[i]), 0) > 0);
        assert_int_equal(message_receive(pair[1], 100, &m), -EBADMSG);
    }
}

static void too_much_is_not_sent(UNUSED void **state)
{
    static char text[MESSAGE_SIZE_MAX + 1];
    int fds[MESSAGE_FDS_MAX + 1] = {0};
    cJSON *json = message_op("long");

    memset(text, 'a', sizeof(text) - 1);
    assert_non_null(cJSON_AddStringToObject(json, "text", text));
    assert_int_equal(message_send(pair[0], json, NULL, 0, 100), -EMSGSIZE);
    assert_int_equal(message_send(pair[0], message_op("x"), fds, MESSAGE_FDS_MAX + 1, 100),
                     -EMSGSIZE);
    assert_int_equal(message_send(pair[0], NULL, NULL, 0, 100), -ENOMEM);
}

static void listening_replaces_a_socket_and_is_private(UNUSED void **state)
{
    char directory[] = "/tmp/message.XXXXXX";
    char path[64];
    AUTOCLOSE int first = -1;
    AUTOCLOSE int second = -1;
    AUTOCLOSE int client = -1;
    AUTOCLOSE int served = -1;
    struct stat st;
    pid_t pid = 0;

    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof(path), "%s/s", directory);
    assert_int_equal(message_connect(path, &client), -ENOENT);
    assert_int_equal(message_listen(path, &first), 0);
    assert_int_equal(message_listen(path, &second), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(message_connect(path, &client), 0);
    served = accept(second, NULL, NULL);
    assert_true(served >= 0);
    assert_int_equal(message_check_peer(served, &pid), 0);
    assert_int_equal(pid, getpid());
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0);
}

static void mountinfo_lines_are_read(UNUSED void **state)
{
    static struct mountinfo m;

    assert_int_equal(mountinfo_parse("36 35 0:98 / /mnt\\040a ro,noatime shared:1 master:2 - "
                                     "fuse.skyvol skyvol:b/p rw,user_id=0",
                                     &m),
                     0);
    assert_int_equal(m.id, 36);
    assert_int_equal(m.device_major, 0);
    assert_int_equal(m.device_minor, 98);
    assert_string_equal(m.root, "/");
    assert_string_equal(m.target, "/mnt a");
    assert_string_equal(m.type, "fuse.skyvol");
    assert_string_equal(m.source, "skyvol:b/p");
    assert_true(m.read_only);
    assert_int_equal(mountinfo_parse("36 35 0:98 / /mnt rw - tmpfs none rw", &m), 0);
    assert_false(m.read_only);
    assert_int_equal(mountinfo_parse("36 35 0:98 / /mnt rw tmpfs none rw", &m), -EINVAL);
    assert_int_equal(mountinfo_parse("36 35 0-98 / /mnt rw - tmpfs none rw", &m), -EINVAL);
    assert_int_equal(mountinfo_parse("", &m), -EINVAL);
}

static void the_root_is_mounted_and_nonsense_is_not(UNUSED void **state)
{
    static struct mountinfo m;

    assert_int_equal(mountinfo_find("/proc", &m), 0);
    assert_string_equal(m.type, "proc");
    assert_int_equal(mountinfo_find("/no/such/mount", &m), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_message_carries_json_and_descriptors, open_pair,
                                        close_pair),
        cmocka_unit_test_setup_teardown(nothing_arrives_in_time, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(the_end_of_the_other_side_is_seen, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(a_full_socket_times_out, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(what_is_not_an_object_is_refused, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(too_much_is_not_sent, open_pair, close_pair),
        cmocka_unit_test(listening_replaces_a_socket_and_is_private),
        cmocka_unit_test(mountinfo_lines_are_read),
        cmocka_unit_test(the_root_is_mounted_and_nonsense_is_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

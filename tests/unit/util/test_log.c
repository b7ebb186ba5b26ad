/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "test.h"
#include "util/log.h"

enum { ROOM = 4096, MANY = 5000 };

static void lines_go_to_syslogd_and_wait_for_nobody(UNUSED void **state)
{
    char dir[] = "/tmp/skyvol-log-XXXXXX";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char text[ROOM] = "";
    char longer[200];
    char pid[64];
    int daemon_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_non_null(mkdtemp(dir));
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/log", dir);
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(log_to_syslog(longer, "test"), -ENAMETOOLONG);
    assert_int_equal(log_to_syslog(address.sun_path, "skyvol-test"), 0);
    assert_int_equal(log_to_syslog(address.sun_path, "skyvol-test"), -EALREADY);
    log_error("nobody is there", NULL);

    assert_int_equal(bind(daemon_fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    log_warn("the store fails", "error", "a\nb", NULL);
    log_debug("not at this level", NULL);
    assert_true(recv(daemon_fd, text, sizeof(text) - 1, 0) > 0);
    assert_int_equal(strncmp(text, "<28>", 4), 0); /* daemon.warning */
    (void)snprintf(pid, sizeof(pid), " skyvol-test[%ld]: level=warn ", (long)getpid());
    assert_non_null(strstr(text, pid));
    assert_non_null(strstr(text, "msg=\"the store fails\" error=\"a\\x0ab\"\n"));
    assert_int_equal(recv(daemon_fd, text, sizeof(text) - 1, MSG_DONTWAIT), -1);

    for (int i = 0; i < MANY; i++) { /* more than its queue takes: it would wait for ever */
        log_info("again", NULL);
    }
    (void)close(daemon_fd);
    (void)unlink(address.sun_path);
    (void)rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_go_to_syslogd_and_wait_for_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "util/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "test.h"
#include "util/cleanup.h"

static void connect_to(uint16_t port)
{
    AUTOCLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(port),
                             .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
}

static void a_free_port_is_told_and_takes_connections(UNUSED void **state)
{
    AUTOCLOSE int fd = -1;
    AUTOCLOSE int other = -1;
    char taken[32];
    uint16_t port = 0;
    uint16_t none = 0;

    assert_int_equal(listen_tcp("127.0.0.1:0", 4, &fd, &port), 0);
    assert_int_not_equal(port, 0);
    connect_to(port);
    (void)snprintf(taken, sizeof(taken), "127.0.0.1:%u", port);
    assert_int_equal(listen_tcp(taken, 4, &other, &none), -EADDRINUSE);
    assert_int_equal(other, -1);
}

static void brackets_hold_an_ipv6_address(UNUSED void **state)
{
    AUTOCLOSE int fd = -1;
    uint16_t port = 0;
    int r = listen_tcp("[::1]:0", 4, &fd, &port);

    assert_true(r == 0 || r == -EADDRNOTAVAIL || r == -EAFNOSUPPORT); /* a machine without IPv6 */
    assert_int_equal(fd >= 0, r == 0);
}

static void no_host_is_all_addresses_of_both_families(UNUSED void **state)
{
    AUTOCLOSE int fd = -1;
    AUTOCLOSE int client = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    uint16_t port = 0;
    int r = -1;

    assert_int_equal(listen_tcp(":0", 4, &fd, &port), 0);
    connect_to(port);
    if (client >= 0) {
        to.sin6_port = htons(port);
        r = connect(client, (const struct sockaddr *)&to, sizeof(to));
    }
    assert_true(r == 0 || client < 0 || errno == EADDRNOTAVAIL); /* a machine without IPv6 */
}

static void what_is_no_address_is_refused(UNUSED void **state)
{
    static const char *const wrong[] = {"",           "here",           "127.0.0.1",
                                        "127.0.0.1:", "127.0.0.1:http", ":70000x"};
    int fd = -1;
    uint16_t port = 0;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(listen_tcp(wrong[i], 4, &fd, &port), -EINVAL);
    }
    assert_int_equal(fd, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_free_port_is_told_and_takes_connections),
        cmocka_unit_test(brackets_hold_an_ipv6_address),
        cmocka_unit_test(no_host_is_all_addresses_of_both_families),
        cmocka_unit_test(what_is_no_address_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

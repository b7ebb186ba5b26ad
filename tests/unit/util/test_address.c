/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"
#include "util/address.h"

static bool is_internal(const char *text)
{
    struct sockaddr_storage storage = {.ss_family = AF_UNSPEC};
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
        memcpy(&storage, &v4, sizeof(v4));
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
        memcpy(&storage, &v6, sizeof(v6));
    }
    return address_is_internal((const struct sockaddr *)&storage);
}

static void what_leads_to_the_machine_itself_is_internal(UNUSED void **state)
{
    static const char *const texts[] = {
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "100.100.100.200",
        "168.63.129.16",
        "::",
        "::1",
        "::127.0.0.1",
        "fe80::1",
        "febf::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        "::ffff:0.0.0.0",
        "64:ff9b::7f00:1",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (!is_internal(texts[i])) {
            fail_msg("%s is not internal", texts[i]);
        }
    }
}

static void stores_may_be_anywhere_else(UNUSED void **state)
{
    static const char *const texts[] = {"10.0.0.5",   "192.168.1.1",     "172.16.0.1",
                                        "100.64.0.1", "192.0.2.1",       "2001:db8::1",
                                        "fd12::1",    "::ffff:10.0.0.1", "64:ff9b::a00:1"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (is_internal(texts[i])) {
            fail_msg("%s is internal", texts[i]);
        }
    }
}

/* ---- where an endpoint of a user's may not lead ---- */

static const char *refusal(const char *text, uint16_t port)
{
    struct sockaddr_storage storage = {.ss_family = AF_UNSPEC};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
        memcpy(&storage, &v4, sizeof(v4));
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
        memcpy(&storage, &v6, sizeof(v6));
    }
    return address_refusal((const struct sockaddr *)&storage);
}

static void assert_refused(const char *text, uint16_t port, const char *why)
{
    const char *told = refusal(text, port);

    if (told == NULL || strstr(told, why) == NULL) {
        fail_msg("%s:%d: %s", text, port, told != NULL ? told : "not refused");
    }
}

static void stores_in_private_networks_are_reached(UNUSED void **state)
{
    assert_null(refusal("198.51.100.7", 443));
    assert_null(refusal("198.51.100.7", 9000));
    assert_null(refusal("10.255.254.253", 10260));
    assert_null(refusal("2001:db8::77", 80));
    assert_refused("127.0.0.1", 9000, "itself or link-local");
    assert_refused("169.254.169.254", 80, "itself or link-local");
}

/* Each address of an interface here but those that are refused anyway; as it may also be written.
 */
static void addresses_of_this_machine_are_refused(UNUSED void **state)
{
    struct ifaddrs *all = NULL;

    assert_int_equal(getifaddrs(&all), 0);
    for (const struct ifaddrs *one = all; one != NULL; one = one->ifa_next) {
        char text[INET6_ADDRSTRLEN], mapped[INET6_ADDRSTRLEN + 8];
        struct sockaddr_in v4;

        if (one->ifa_addr == NULL || one->ifa_addr->sa_family != AF_INET ||
            address_is_internal(one->ifa_addr)) {
            continue;
        }
        memcpy(&v4, one->ifa_addr, sizeof(v4));
        assert_non_null(inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text)));
        (void)snprintf(mapped, sizeof(mapped), "::ffff:%s", text);
        assert_refused(text, 9000, "an address of this machine");
        assert_refused(mapped, 443, "an address of this machine");
        assert_refused(text, 29999, "an address of this machine");
        assert_refused(text, 32768, "an address of this machine");
        assert_null(refusal(text, 30000)); /* of a NodePort Service */
        assert_null(refusal(text, 32767));
    }
    freeifaddrs(all);
}

static void the_api_server_is_refused_by_whatever_spelling(UNUSED void **state)
{
    assert_int_equal(setenv("KUBERNETES_SERVICE_HOST", "198.51.100.1", 1), 0);
    assert_refused("198.51.100.1", 443, "API server");
    assert_refused("::ffff:198.51.100.1", 443, "API server");
    assert_refused("64:ff9b::c633:6401", 30001, "API server");
    assert_null(refusal("198.51.100.2", 443));
    assert_int_equal(setenv("KUBERNETES_SERVICE_HOST", "2001:db8:0::1", 1), 0);
    assert_refused("2001:db8::1", 443, "API server");
    assert_null(refusal("198.51.100.1", 443));
    assert_int_equal(setenv("KUBERNETES_SERVICE_HOST", "api.example", 1), 0);
    assert_null(refusal("198.51.100.1", 443));
    assert_int_equal(unsetenv("KUBERNETES_SERVICE_HOST"), 0);
    assert_null(refusal("2001:db8::1", 443));
}

static void ports_of_kubernetes_are_refused_on_every_machine(UNUSED void **state)
{
    static const uint16_t ports[] = {2379, 2380, 6443, 10248, 10250, 10255, 10256, 10257, 10259};

    for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
        assert_refused("198.51.100.7", ports[i], "Kubernetes' own");
        assert_refused("2001:db8::7", ports[i], "Kubernetes' own");
    }
    assert_null(refusal("198.51.100.7", 2378));
    assert_null(refusal("198.51.100.7", 2381));
}

static void what_is_no_address_of_the_internet_is_internal(UNUSED void **state)
{
    struct sockaddr_storage storage = {.ss_family = AF_UNIX};

    assert_true(address_is_internal((const struct sockaddr *)&storage));
    assert_non_null(address_refusal((const struct sockaddr *)&storage));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_leads_to_the_machine_itself_is_internal),
        cmocka_unit_test(stores_may_be_anywhere_else),
        cmocka_unit_test(stores_in_private_networks_are_reached),
        cmocka_unit_test(addresses_of_this_machine_are_refused),
        cmocka_unit_test(the_api_server_is_refused_by_whatever_spelling),
        cmocka_unit_test(ports_of_kubernetes_are_refused_on_every_machine),
        cmocka_unit_test(what_is_no_address_of_the_internet_is_internal),
    };

    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}

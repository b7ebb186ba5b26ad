/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
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

static void what_is_no_address_of_the_internet_is_internal(UNUSED void **state)
{
    struct sockaddr_storage storage = {.ss_family = AF_UNIX};

    assert_true(address_is_internal((const struct sockaddr *)&storage));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_leads_to_the_machine_itself_is_internal),
        cmocka_unit_test(stores_may_be_anywhere_else),
        cmocka_unit_test(what_is_no_address_of_the_internet_is_internal),
    };

    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "test.h"
#include "util/crc32c.h"

/* RFC 3720, B.4 */
static void the_published_values_come_out(UNUSED void **state)
{
    unsigned char zeros[32] = {0};
    unsigned char ones[32];
    unsigned char up[32];

    memset(ones, 0xff, sizeof(ones));
    for (unsigned i = 0; i < sizeof(up); i++) {
        up[i] = (unsigned char)i;
    }
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(0, zeros, sizeof(zeros)), 0x8a9136aa);
    assert_int_equal(crc32c(0, ones, sizeof(ones)), 0x62a8ab43);
    assert_int_equal(crc32c(0, up, sizeof(up)), 0x46dd794e);
    assert_int_equal(crc32c(0, "", 0), 0);
}

static void both_ways_agree_at_every_length_and_cut(UNUSED void **state)
{
    unsigned char bytes[100];

    for (unsigned i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (unsigned char)(i * 37 + 11);
    }
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        uint32_t whole = crc32c(0, bytes, len);

        assert_int_equal(whole, crc32c_portable(0, bytes, len));
        assert_int_equal(
            whole, crc32c(crc32c_portable(0, bytes, len / 3), bytes + len / 3, len - len / 3));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_values_come_out),
        cmocka_unit_test(both_ways_agree_at_every_length_and_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

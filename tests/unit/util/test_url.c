/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "test.h"
#include "util/url.h"

static void what_may_hold_a_password_is_not_shown(UNUSED void **state)
{
    static const char *const secret[] = {
        "http://u:p@h/", "https://u@h",  "s3://AK:SE/CR+ET@bucket", "s3://AK:SECRET/bucket",
        "u:p@h",         "http://u:12x", "bucket=s3://AK:SECRET@b", "dir:///srv/a@b",
    };
    static const char *const plain[] = {
        "",
        "http://h:80",
        "https://h:443/",
        "http://[::1]:9000/x",
        "s3://bucket/a:b",
        "s3://",
        "dir:///srv/store",
        "mem://b",
        "dir:/srv",
        "bucket/prefix",
    };

    for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++) {
        assert_true(url_may_hold_secret(secret[i]));
        assert_non_null(strstr(url_shown(secret[i]), "not shown"));
    }
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        assert_false(url_may_hold_secret(plain[i]));
        assert_ptr_equal(url_shown(plain[i]), plain[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_hold_a_password_is_not_shown),
    };

    return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "mount/config.h"
#include "test.h"
#include "util/cleanup.h"

static void a_configuration_comes_back_byte_by_byte(UNUSED void **state)
{
    CLEANUP(mount_config_done) struct mount_config c = MOUNT_CONFIG_INIT;
    CLEANUP(mount_config_done) struct mount_config back = MOUNT_CONFIG_INIT;
    CLEANUP(buf_done) struct buf first = BUF_INIT(65536);
    CLEANUP(buf_done) struct buf second = BUF_INIT(65536);

    c.location = strdup("s3://bucket/pre\"fix");
    c.name = strdup("pvc-1");
    c.size_bytes = 1ULL << 40;
    c.memory_bytes = 256 << 20;
    assert_int_equal(mount_options_parse(&c.options, "ro,uid=5,endpoint=http://127.0.0.1:9000",
                                         MOUNT_OPTIONS_OPERATOR, NULL),
                     0);
    mount_config_format(&c, &first);
    assert_int_equal(buf_error(&first), 0);
    assert_int_equal(mount_config_parse(buf_str(&first), &back, NULL), 0);
    assert_string_equal(back.location, c.location);
    assert_int_equal(back.size_bytes, c.size_bytes);
    assert_string_equal(mount_options_get(&back.options, "endpoint"), "http://127.0.0.1:9000");
    mount_config_format(&back, &second);
    assert_string_equal(buf_str(&first), buf_str(&second));
}

static void what_is_not_a_configuration_is_refused(UNUSED void **state)
{
    static const char *const texts[] = {
        "",
        "[]",
        "{}",
        "{\"location\":5}",
        "{\"location\":\"mem://b\",\"size_bytes\":-1}",
        "{\"location\":\"mem://b\",\"memory_bytes\":\"1\"}",
        "{\"location\":\"mem://b\",\"options\":{\"frob\":\"1\"}}",
        "{\"location\":\"mem://b\",\"options\":{\"uid\":1}}",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        CLEANUP(mount_config_done) struct mount_config c = MOUNT_CONFIG_INIT;
        struct error err = ERROR_INIT;

        assert_int_equal(mount_config_parse(texts[i], &c, &err), -EINVAL);
        assert_true(strlen(err.text) > 0);
    }
}

static void credentials_come_back_and_stay_out_of_errors(UNUSED void **state)
{
    struct mount_credentials c = {.access_key = strdup("key"), .secret_key = strdup("s\"ecret")};
    struct mount_credentials back = {0};
    CLEANUP(buf_done) struct buf text = BUF_INIT(65536);
    struct error err = ERROR_INIT;

    mount_credentials_format(&c, &text);
    assert_int_equal(mount_credentials_parse(buf_str(&text), &back, NULL), 0);
    assert_string_equal(back.access_key, "key");
    assert_string_equal(back.secret_key, "s\"ecret");
    assert_null(back.session_token);
    mount_credentials_done(&back);
    mount_credentials_done(&c);
    assert_int_equal(mount_credentials_parse("", &back, NULL), 0);
    assert_null(back.access_key);
    assert_int_equal(mount_credentials_parse("{\"secret_key\":\"hush\"}", &back, &err), -EINVAL);
    assert_null(strstr(err.text, "hush"));
    assert_int_equal(mount_credentials_parse("hush", &back, &err), -EINVAL);
    assert_null(strstr(err.text, "hush"));
}

static void every_common_spelling_of_the_keys_is_read(UNUSED void **state)
{
    static const char *const texts[] = {
        "{\"accessKey\":\"A\",\"secretKey\":\"S\"}",
        "{\"access_key\":\"A\",\"secret_key\":\"S\"}",
        "{\"accessKeyID\":\"A\",\"secretAccessKey\":\"S\"}",
        "{\"AWS_ACCESS_KEY_ID\":\"A\",\"AWS_SECRET_ACCESS_KEY\":\"S\"}",
        "{\"access-key\":\"A\",\"secret-key\":\"S\",\"more\":true}",
        "{\"access_key\":\"S\",\"key_id\":\"A\"}",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        CLEANUP(mount_credentials_done) struct mount_credentials c = {NULL, NULL, NULL};

        assert_int_equal(mount_credentials_parse(texts[i], &c, NULL), 0);
        assert_string_equal(c.access_key, "A");
        assert_string_equal(c.secret_key, "S");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_configuration_comes_back_byte_by_byte),
        cmocka_unit_test(what_is_not_a_configuration_is_refused),
        cmocka_unit_test(credentials_come_back_and_stay_out_of_errors),
        cmocka_unit_test(every_common_spelling_of_the_keys_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

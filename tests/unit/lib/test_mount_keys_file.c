/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "mount/keys_file.h"
#include "test.h"
#include "util/cleanup.h"

static void every_form_gives_its_keys(UNUSED void **state)
{
    static const struct {
        const char *text, *access, *secret, *token;
    } all[] = {
        {"", NULL, NULL, NULL},
        {" \n", NULL, NULL, NULL},
        {"{}", NULL, NULL, NULL},
        {"{\"AWS_ACCESS_KEY_ID\":\"A\",\"secretKey\":\"S\"}", "A", "S", NULL},
        {"[default]\naws_access_key_id=A\naws_secret_access_key = S=/+ \n", "A", "S=/+", NULL},
        {"\n# mine\n[default]\r\nAWS_ACCESS_KEY_ID = A\r\naws_secret_access_key = S\r\n"
         "aws_session_token=T\r\n",
         "A", "S", "T"},
        {"[other]\naws_access_key_id=X\naws_secret_access_key=Y\n[ default ]\n"
         "aws_access_key_id=A\naws_secret_access_key=S\n[third]\naws_access_key_id=Z\n",
         "A", "S", NULL},
        {"[profile work]\nregion=x\ns3 =\n  addressing_style = path\n  aws_access_key_id = no\n"
         "aws_access_key_id=A\naws_secret_access_key=S",
         "A", "S", NULL},
        {"[default]\nregion = x\n", NULL, NULL, NULL},
        {"{\"metadata\":{\"accessId\":\"GOOG1\",\"state\":\"ACTIVE\"},\"secret\":\"S\"}", "GOOG1",
         "S", NULL},
        {"{\"accessId\":\"GOOG1\",\"secret\":\"S\"}", "GOOG1", "S", NULL},
        {"{\"accessId\":\"GOOG1\",\"metadata\":{},\"secret\":\"S\"}", "GOOG1", "S", NULL},
        {"{\"accessId\":\"GOOG1\",\"metadata\":{\"accessId\":7},\"secret\":\"S\"}", "GOOG1", "S",
         NULL},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        CLEANUP(mount_credentials_done) struct mount_credentials keys = {NULL, NULL, NULL};

        assert_int_equal(mount_keys_parse(all[i].text, &keys, NULL), 0);
        assert_int_equal(keys.access_key != NULL, all[i].access != NULL);
        if (all[i].access != NULL) {
            assert_string_equal(keys.access_key, all[i].access);
            assert_string_equal(keys.secret_key, all[i].secret);
        }
        assert_int_equal(keys.session_token != NULL, all[i].token != NULL);
        if (all[i].token != NULL) {
            assert_string_equal(keys.session_token, all[i].token);
        }
    }
}

static void what_gives_none_is_refused_with_what_to_do(UNUSED void **state)
{
    static const struct {
        const char *text, *said;
    } all[] = {
        {"aws_access_key_id=s3cr3t", "neither JSON nor"},
        {"[default\naws_access_key_id=s3cr3t", "neither JSON nor"},
        {"[default]\ns3cr3t\n", "neither JSON nor"},
        {"[default]\naws_secret_access_key=s3cr3t\n", "belong together"},
        {"[a]\naws_secret_access_key=s3cr3t\n[b]\n", "named 'default'"},
        {"[default]\nrole_arn=s3cr3t\n", "role_arn"},
        {"[default]\ncredential_process=s3cr3t\n", "credential_process"},
        {"{\"type\":\"service_account\",\"private_key\":\"s3cr3t\"}", "hmac create"},
        {"{\"accessId\":\"s3cr3t\"}", "no secret"},
        {"{\"accessKey\":\"s3cr3t\"}", "belong together"},
        {"\"s3cr3t\"", "not a JSON object"},
        {"{\"accessKey\":\"s3cr3t\"", "neither JSON nor"},
        {"{} s3cr3t", "neither JSON nor"},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        CLEANUP(mount_credentials_done) struct mount_credentials keys = {NULL, NULL, NULL};
        struct error err = ERROR_INIT;

        assert_int_equal(mount_keys_parse(all[i].text, &keys, &err), -EINVAL);
        assert_null(keys.access_key);
        assert_non_null(strstr(err.text, all[i].said));
        assert_null(strstr(err.text, "s3cr3t"));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_gives_its_keys),
        cmocka_unit_test(what_gives_none_is_refused_with_what_to_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

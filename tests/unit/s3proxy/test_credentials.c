/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/credentials.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "test.h"
#include "util/file.h"

static char directory[64], path[96];

static int set_up(void **state UNUSED)
{
    (void)snprintf(directory, sizeof(directory), "/tmp/skyvol-test-keys.XXXXXX");
    if (mkdtemp(directory) == NULL) {
        return -1;
    }
    (void)snprintf(path, sizeof(path), "%s/keys.json", directory);
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

static int open_keys(struct credentials **ret, struct error *err)
{
    return credentials_new(&(struct credentials_config){.path = path}, ret, err);
}

static void keys_are_found_with_what_they_may(void **state UNUSED)
{
    struct credentials *c = NULL;
    struct error err = ERROR_INIT;
    const struct credential *key;

    put("{\"keys\": [{\"access_key\": \"a\", \"secret_key\": \"1\"},"
        "{\"accessKey\": \"b\", \"secretAccessKey\": \"2\", \"read_only\": true},"
        "{\"access_key\": \"c\", \"secret_key\": \"3\", \"internal\": true}]}");
    assert_int_equal(open_keys(&c, &err), 0);
    key = credentials_find(c, "a");
    assert_string_equal(key->secret_key, "1");
    assert_false(key->read_only || key->internal);
    assert_null(key->account);
    assert_true(credentials_find(c, "b")->read_only);
    assert_true(credentials_find(c, "c")->internal);
    assert_null(credentials_find(c, "A"));
    assert_null(credentials_find(c, ""));
    credentials_free(c);
}

static void a_file_that_others_may_read_is_refused(void **state UNUSED)
{
    struct credentials *c = NULL;
    struct error err = ERROR_INIT;

    put("{\"keys\": []}");
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(open_keys(&c, &err), -EACCES);
    assert_non_null(strstr(err.text, "chmod 600"));
    assert_null(c);
}

static void what_is_no_list_of_keys_is_refused_without_its_text(void **state UNUSED)
{
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "{\"keys\": {}}",
        "{\"keys\": [{\"access_key\": \"a\", \"secret_key\": \"\"}]}",
        "{\"keys\": [{\"access_key\": \"topsecret\"}]}",
        "{\"access_key\": \"a\", \"secret_key\": \"topsecret\", \"account\": \"\"}",
        "{\"access_key\": \"a\", \"secret_key\": \"topsecret\", \"account\": \"a<b\"}",
        "{\"access_key\": \"a\", \"secret_key\": \"topsecret\", \"display_name\": true}",
        "{\"keys\": [{\"access_key\": \"a\", \"secret_key\": \"topsecret\"}, 5]}",
        "{\"access_key\": \"a\", \"secret_key\": \"topsecret\"} {\"read_only\": true}",
        "{\"access_key\": \"a\", \"secret_key\": \"topsecret\"",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct credentials *c = NULL;
        struct error err = ERROR_INIT;

        put(bad[i]);
        assert_int_equal(open_keys(&c, &err), -EINVAL);
        assert_null(strstr(err.text, "topsecret"));
    }
}

static void a_missing_file_says_its_name(void **state UNUSED)
{
    struct credentials *c = NULL;
    struct error err = ERROR_INIT;

    (void)unlink(path);
    assert_int_equal(open_keys(&c, &err), -ENOENT);
    assert_non_null(strstr(err.text, path));
}

/* The file is looked at once a second: as long as this polls, at most. */
static bool becomes(struct credentials *c, const char *access_key, const char *secret)
{
    for (int i = 0; i < 300; i++) {
        const struct credential *key = credentials_find(c, access_key);

        if (key != NULL && strcmp(key->secret_key, secret) == 0) {
            return true;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return false;
}

static void a_changed_file_counts_and_a_broken_one_does_not(void **state UNUSED)
{
    struct credentials *c = NULL;
    struct error err = ERROR_INIT;

    put("{\"keys\": [{\"access_key\": \"a\", \"secret_key\": \"1\"}]}");
    assert_int_equal(open_keys(&c, &err), 0);
    put("{\"keys\": [{\"access_key\": \"a\", \"secret_key\": \"22\"}]}");
    assert_true(becomes(c, "a", "22"));
    put("{\"keys\": [{\"access_key\"");
    (void)nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 100000000}, NULL);
    assert_string_equal(credentials_find(c, "a")->secret_key, "22");
    put("{\"keys\": [{\"access_key\": \"b\", \"secret_key\": \"333\"}]}");
    assert_true(becomes(c, "b", "333"));
    assert_null(credentials_find(c, "a"));
    credentials_free(c);
}

static void a_key_may_have_limits_of_its_own(void **state UNUSED)
{
    struct credentials *c = NULL;
    struct error err = ERROR_INIT;
    const struct credential *key;

    put("{\"keys\": [{\"access_key\": \"a\", \"secret_key\": \"1\"}, "
        "{\"access_key\": \"b\", \"secret_key\": \"1\", \"requests_per_second\": 5, "
        "\"request_burst\": \"7\", \"concurrent_requests\": 0, \"upload_rate\": 1048576, "
        "\"download_rate\": \"0\"}]}");
    assert_int_equal(open_keys(&c, &err), 0);
    key = credentials_find(c, "a");
    assert_true(key->limits.requests == KEY_LIMITS_UNTOLD);
    assert_true(key->limits.download == KEY_LIMITS_UNTOLD);
    key = credentials_find(c, "b");
    assert_int_equal(key->limits.requests, 5);
    assert_int_equal(key->limits.burst, 7);
    assert_int_equal(key->limits.concurrent, 0);
    assert_int_equal(key->limits.upload, 1048576);
    assert_int_equal(key->limits.download, 0);
    credentials_free(c);
}

static void a_limit_that_is_none_is_refused(void **state UNUSED)
{
    static const char *const bad[] = {
        "\"requests_per_second\": -1",   "\"requests_per_second\": 0.5",
        "\"requests_per_second\": 1e7",  "\"requests_per_second\": \"5x\"",
        "\"concurrent_requests\": true", "\"request_burst\": \"\"",
        "\"upload_rate\": 1023",         "\"download_rate\": 1e30",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct credentials *c = NULL;
        struct error err = ERROR_INIT;
        char text[200];

        (void)snprintf(text, sizeof(text),
                       "{\"keys\": [{\"access_key\": \"a\", \"secret_key\": \"1\", %s}]}", bad[i]);
        put(text);
        assert_int_equal(open_keys(&c, &err), -EINVAL);
        (void)snprintf(text, sizeof(text), "entry 1: member '%.*s' wants",
                       (int)strcspn(bad[i] + 1, "\""), bad[i] + 1);
        assert_non_null(strstr(err.text, text));
    }
}

static void a_member_counts_in_any_spelling(void **state UNUSED)
{
    static const char *const spelled[] = {"read_only", "readOnly",  "readonly",
                                          "READ-ONLY", "Read.Only", "READONLY"};

    for (size_t i = 0; i < sizeof(spelled) / sizeof(spelled[0]); i++) {
        struct credentials *c = NULL;
        struct error err = ERROR_INIT;
        char text[200];

        (void)snprintf(
            text, sizeof(text),
            "{\"Keys\": [{\"keyID\": \"a\", \"Access-Key\": \"1\", \"Buckets\": [\"one\"],"
            " \"%s\": true, \"expires-s\": \"77\", \"AWS_REGION\": \"r\"}]}",
            spelled[i]);
        put(text);
        assert_int_equal(open_keys(&c, &err), 0);
        assert_true(credentials_find(c, "a")->read_only);
        assert_string_equal(credentials_find(c, "a")->buckets[0], "one");
        assert_int_equal(credentials_find(c, "a")->expires_s, 77);
        credentials_free(c);
    }
}

static void refused_for(const char *text, const char *why)
{
    struct credentials *c = NULL;
    struct error err = ERROR_INIT;

    put(text);
    assert_int_equal(open_keys(&c, &err), -EINVAL);
    assert_non_null(strstr(err.text, why));
    assert_null(strstr(err.text, "topsecret"));
}

static void a_member_that_is_not_known_is_refused_by_its_name(void **state UNUSED)
{
    static const char *const unknown[] = {"ro",      "bucket",          "rquests_per_second",
                                          "expires", "key_upload_rate", "read only"};
    char text[200], why[64];

    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        (void)snprintf(text, sizeof(text),
                       "{\"keys\": [{\"access_key\": \"a\", \"secret_key\": \"1\"}, "
                       "{\"access_key\": \"b\", \"secret_key\": \"1\", \"%s\": \"topsecret\"}]}",
                       unknown[i]);
        (void)snprintf(why, sizeof(why), "entry 2: member '%s' is unknown; known are access_key",
                       unknown[i]);
        refused_for(text, why);
    }
    refused_for("{\"read_only\": true, \"keys\": []}", "member 'read_only' beside 'keys'");
    refused_for("{\"valid_until_s\": 1, \"keys\": []}", "member 'valid_until_s' beside 'keys'");
    refused_for("{\"access_key\": \"a\", \"secret_key\": \"1\", \"a\nb\\u00e4\": 1}", "'a?b?");
}

static void what_is_there_twice_is_refused(void **state UNUSED)
{
    refused_for("{\"keys\": [{\"access_key\": \"a\", \"secret_key\": \"1\"},"
                "{\"access_key\": \"b\", \"secret_key\": \"topsecret\"},"
                "{\"access_key\": \"a\", \"secret_key\": \"topsecret\", \"read_only\": true}]}",
                "access key 'a' is there twice");
    refused_for("{\"access_key\": \"a\", \"secret_key\": \"1\", \"read_only\": true, "
                "\"read_only\": false}",
                "'read_only' is there twice");
    refused_for("{\"access_key\": \"a\", \"secret_key\": \"1\", \"read_only\": true, "
                "\"readOnly\": false}",
                "'readOnly' is there twice");
}

static void an_error_says_what_is_wanted_and_where(void **state UNUSED)
{
    refused_for("{\"access_key\": \"a\", \"secret_key\": \"1\", \"upload_rate\": 1000}",
                "member 'upload_rate' wants bytes a second, at least 1024");
    refused_for("{\"access_key\": \"a\", \"secret_key\": \"1\", \"read_only\": \"yes\"}",
                "member 'read_only' wants true or false");
    refused_for("{\"access_key\": \"a\", \"secret_key\": \"1\", \"buckets\": []}",
                "member 'buckets' wants a JSON list");
    refused_for("{\"access_key\": \"a\", \"secret_key\": \"1\", \"expires_s\": \"1d\"}",
                "member 'expires_s' wants seconds since 1970");
    refused_for("{\"access_key\": 5, \"secret_key\": \"1\"}", "'access_key' wants a text");
    refused_for("{\n\"access_key\": \"a\",\n\"secret_key\": topsecret}",
                "not JSON: line 3, byte 3");
    refused_for("{}\n}", "not JSON: line 2, byte 4");
}

static void put_member(const char *name, const char *value)
{
    char file[128];

    (void)snprintf(file, sizeof(file), "%s/dir/%s", directory, name);
    assert_int_equal(file_replace(file, value, strlen(value), 0600), 0);
}

static void drop_member(const char *name)
{
    char file[128];

    (void)snprintf(file, sizeof(file), "%s/dir/%s", directory, name);
    assert_int_equal(unlink(file), 0);
}

static void a_directory_is_read_as_strictly(void **state UNUSED)
{
    struct credentials *c = NULL;
    struct error err = ERROR_INIT;
    char dir[96];

    (void)snprintf(dir, sizeof(dir), "%s/dir", directory);
    assert_int_equal(mkdir(dir, 0700), 0);
    put_member("access_key", "a\n");
    put_member("secret_key", "1\n");
    put_member("Read-Only", "true\n");
    put_member("endpoint", "https://s3.example\n");
    put_member("..2026_kubelet", "x");
    assert_int_equal(credentials_new(&(struct credentials_config){.path = dir}, &c, &err), 0);
    assert_true(credentials_find(c, "a")->read_only);
    credentials_free(c);
    c = NULL;
    put_member("ro", "topsecret");
    assert_int_equal(credentials_new(&(struct credentials_config){.path = dir}, &c, &err), -EINVAL);
    assert_non_null(strstr(err.text, "member 'ro' is unknown"));
    assert_null(strstr(err.text, "entry"));
    assert_null(strstr(err.text, "topsecret"));
    drop_member("access_key");
    drop_member("secret_key");
    drop_member("Read-Only");
    drop_member("endpoint");
    drop_member("..2026_kubelet");
    drop_member("ro");
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_found_with_what_they_may),
        cmocka_unit_test(a_file_that_others_may_read_is_refused),
        cmocka_unit_test(what_is_no_list_of_keys_is_refused_without_its_text),
        cmocka_unit_test(a_missing_file_says_its_name),
        cmocka_unit_test(a_changed_file_counts_and_a_broken_one_does_not),
        cmocka_unit_test(a_key_may_have_limits_of_its_own),
        cmocka_unit_test(a_limit_that_is_none_is_refused),
        cmocka_unit_test(a_member_counts_in_any_spelling),
        cmocka_unit_test(a_member_that_is_not_known_is_refused_by_its_name),
        cmocka_unit_test(what_is_there_twice_is_refused),
        cmocka_unit_test(an_error_says_what_is_wanted_and_where),
        cmocka_unit_test(a_directory_is_read_as_strictly),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

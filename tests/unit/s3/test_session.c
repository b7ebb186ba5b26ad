/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "test.h"

enum { NOW = 1700000000 };

static struct key_file two_keys(void)
{
    struct key_file keys = {.count = 2};

    (void)snprintf(keys.keys[0].id, sizeof(keys.keys[0].id), "new.key");
    (void)snprintf(keys.keys[1].id, sizeof(keys.keys[1].id), "k1");
    memset(keys.keys[0].bytes, 0x11, KEY_FILE_KEY_SIZE);
    memset(keys.keys[1].bytes, 0x22, KEY_FILE_KEY_SIZE);
    return keys;
}

static void what_was_issued_is_accepted_until_it_ends(void **state UNUSED)
{
    struct key_file keys = two_keys();
    struct s3_session made, seen;

    assert_int_equal(s3_session_issue(&keys, "a.b/c", NOW + 10, &made), 0);
    assert_int_equal(strlen(made.secret_key), S3_SESSION_SECRET_SIZE - 1);
    assert_memory_equal(made.access_key, "ASIA", 4);
    assert_null(strstr(made.token, made.secret_key));
    assert_int_equal(s3_session_check(&keys, made.access_key, made.token, NOW + 9, &seen), 0);
    assert_string_equal(seen.secret_key, made.secret_key);
    assert_string_equal(seen.parent, "a.b/c");
    assert_int_equal(seen.expires_s, NOW + 10);
    assert_int_equal(s3_session_check(&keys, made.access_key, made.token, NOW + 10, &seen),
                     -EKEYEXPIRED);
}

static void no_two_are_alike(void **state UNUSED)
{
    struct key_file keys = two_keys();
    struct s3_session a, b;

    assert_int_equal(s3_session_issue(&keys, "", NOW, &a), 0);
    assert_int_equal(s3_session_issue(&keys, "", NOW, &b), 0);
    assert_string_not_equal(a.access_key, b.access_key);
    assert_string_not_equal(a.secret_key, b.secret_key);
}

static void a_token_with_any_byte_changed_is_none(void **state UNUSED)
{
    struct key_file keys = two_keys();
    struct s3_session made, seen;
    char token[S3_SESSION_TOKEN_SIZE];

    assert_int_equal(s3_session_issue(&keys, "p", NOW + 10, &made), 0);
    for (size_t i = 0; i < strlen(made.token); i++) {
        memcpy(token, made.token, sizeof(token));
        token[i] = token[i] == '1' ? '2' : '1';
        assert_int_equal(s3_session_check(&keys, made.access_key, token, NOW, &seen), -EACCES);
        token[i] = '\0';
        assert_int_equal(s3_session_check(&keys, made.access_key, token, NOW, &seen), -EACCES);
    }
}

static void a_token_is_of_one_access_key(void **state UNUSED)
{
    struct key_file keys = two_keys();
    struct s3_session a, b, seen;

    assert_int_equal(s3_session_issue(&keys, "", NOW + 10, &a), 0);
    assert_int_equal(s3_session_issue(&keys, "", NOW + 10, &b), 0);
    assert_int_equal(s3_session_check(&keys, a.access_key, b.token, NOW, &seen), -EACCES);
}

/* One that ended long ago and was never ours must not be told from one that is no token at all. */
static void a_foreign_token_is_not_called_expired(void **state UNUSED)
{
    struct key_file keys = two_keys(), others = two_keys();
    struct s3_session made, seen;

    memset(others.keys[0].bytes, 0x33, KEY_FILE_KEY_SIZE);
    assert_int_equal(s3_session_issue(&others, "", NOW - 10, &made), 0);
    assert_int_equal(s3_session_check(&keys, made.access_key, made.token, NOW, &seen), -EACCES);
}

static void an_older_key_still_checks_and_a_removed_one_does_not(void **state UNUSED)
{
    struct key_file keys = two_keys(), old = two_keys();
    struct s3_session made, seen;

    old.keys[0] = keys.keys[1];
    old.count = 1;
    assert_int_equal(s3_session_issue(&old, "", NOW + 10, &made), 0);
    assert_int_equal(s3_session_check(&keys, made.access_key, made.token, NOW, &seen), 0);
    keys.count = 1;
    assert_int_equal(s3_session_check(&keys, made.access_key, made.token, NOW, &seen), -EACCES);
}

/* The form is documented, so that other programs can make them. */
static void the_form_of_a_token_stays(void **state UNUSED)
{
    struct key_file keys = two_keys();
    struct s3_session seen;
    const char *token = "SVT1.k1.ASIAAAAAAAAAAAAAAAAA.1700000010.61."
                        "3ca1414b292f4c79a2eeb8d0ca6b0740f790399ccb14da2e76b59b72e0348008";

    assert_int_equal(s3_session_check(&keys, "ASIAAAAAAAAAAAAAAAAA", token, NOW, &seen), 0);
    assert_string_equal(seen.parent, "a");
    assert_string_equal(seen.secret_key, "GeJmN+igg2gYFd6y4eWW5d745X1DsG0pbpUhbS17");
}

static void what_does_not_fit_is_refused(void **state UNUSED)
{
    struct key_file keys = two_keys();
    struct s3_session made, seen;
    char parent[S3_ACCESS_KEY_SIZE + 1], token[2 * S3_SESSION_TOKEN_SIZE];

    memset(parent, 'p', sizeof(parent));
    parent[S3_ACCESS_KEY_SIZE] = '\0';
    assert_int_equal(s3_session_issue(&keys, parent, NOW, &made), -EINVAL);
    parent[S3_ACCESS_KEY_SIZE - 1] = '\0';
    assert_int_equal(s3_session_issue(&keys, parent, NOW + 10, &made), 0);
    assert_int_equal(s3_session_check(&keys, made.access_key, made.token, NOW, &seen), 0);
    assert_string_equal(seen.parent, parent);
    memset(token, '.', sizeof(token));
    token[sizeof(token) - 1] = '\0';
    assert_int_equal(s3_session_check(&keys, "", token, NOW, &seen), -EACCES);
    assert_int_equal(s3_session_check(&keys, "", "", NOW, &seen), -EACCES);
    assert_int_equal(s3_session_check(&keys, "", ".", NOW, &seen), -EACCES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_issued_is_accepted_until_it_ends),
        cmocka_unit_test(no_two_are_alike),
        cmocka_unit_test(a_token_with_any_byte_changed_is_none),
        cmocka_unit_test(a_token_is_of_one_access_key),
        cmocka_unit_test(a_foreign_token_is_not_called_expired),
        cmocka_unit_test(an_older_key_still_checks_and_a_removed_one_does_not),
        cmocka_unit_test(the_form_of_a_token_stays),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

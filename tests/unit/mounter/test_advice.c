/* SPDX-License-Identifier: Apache-2.0 */
/* Texts as stores, libcurl and OpenSSL say them, and what a person reads below. */
#include "mounter/advice.h"

#include <errno.h>
#include <string.h>

#include "test.h"

static void what_users_do_wrong_gets_a_sentence_that_helps(UNUSED void **state)
{
    static const struct {
        int error;
        const char *text, *help;
    } cases[] = {
        {-ENOENT, "HTTP status 404: The specified bucket does not exist.", "Make the bucket first"},
        {-ENOENT, "no such bucket", "skyvolctl volume create"},
        {-ENOSPC, "XStorageFull: The store is full", "Make room"},
        {-EHOSTUNREACH, "nowhere.invalid: Could not resolve host: nowhere.invalid", "http_proxy"},
        {-EHOSTUNREACH, "10.0.0.1: No route to host", "firewall"},
        {-ECONNREFUSED, "127.0.0.1:1: Failed to connect to 127.0.0.1 port 1", "port in endpoint="},
        {-EPROTO, "TLS with h failed: error:0A00010B:SSL routines::wrong version number",
         "endpoint=http://"},
        {-EINVAL, "400 The plain HTTP request was sent to HTTPS port", "endpoint=https://"},
        {-ENOENT, "put 'b/k': NoSuchBucket: The specified bucket does not exist.",
         "Make the bucket"},
        {-EACCES, "RequestTimeTooSkewed: The difference is too large", "clock"},
        {-EINVAL, "AuthorizationHeaderMalformed: the region 'us-east-1' is wrong", "region="},
        {-EIO, "PermanentRedirect: must be addressed using the specified endpoint", "region="},
        {-EACCES, "AccessDenied: anonymous requests are not allowed", "AWS_ACCESS_KEY_ID"},
        {-EACCES, "put 'b/k': AccessDenied: Access Denied. (no credentials were given)",
         "AWS_ACCESS_KEY_ID"},
        {-ETIMEDOUT, "h: Connection timed out", "firewall"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *advice = advice_for(cases[i].error, cases[i].text);

        assert_non_null(advice);
        assert_non_null(strstr(advice, cases[i].help));
    }
}

static void what_says_already_what_to_do_gets_none(UNUSED void **state)
{
    assert_null(advice_for(-EINVAL, "mount option 'sinc' is unknown; did you mean 'sync'?"));
    assert_null(advice_for(-EACCES, "SignatureDoesNotMatch: ... (check the secret key)"));
}

static void an_event_begins_with_the_cause_and_ends_with_what_to_do(UNUSED void **state)
{
    static const struct {
        int error;
        const char *text, *begins, *help;
        int code;
    } cases[] = {
        {-ENOENT,
         "trying out bucket b: put 'b/.skyvol/probe/probe-1f': NoSuchBucket: It is not there",
         "NoSuchBucket: It is not there (bucket s3://b at http://h:1)", "make the bucket", -ENOENT},
        {-EACCES, "put 'b/.skyvol/probe/probe-1f': InvalidAccessKeyId: no",
         "InvalidAccessKeyId: no (b", "correct accessKeyID", -EACCES},
        {-EACCES, "head-bucket 'b': SignatureDoesNotMatch: no", "head-bucket 'b': Signature",
         "correct secretAccessKey", -EACCES},
        {-EHOSTUNREACH, "h: Could not resolve host: h", "h: Could not resolve host: h (b", "DNS",
         -EHOSTUNREACH},
        {-ECONNREFUSED, "h: Failed to connect", "h: Failed to connect (b", "nobody listens",
         -EHOSTUNREACH},
        {-ETIMEDOUT, "h: the connection stalled", "h: the connection stalled (b", "firewalls",
         -EHOSTUNREACH},
        {-EPROTO, "TLS with h failed: unable to get local issuer certificate", "TLS with h failed",
         "trust-bundle", -EPROTO},
        {-EINVAL, "mount option 'sinc' is unknown", "mount option 'sinc' is unknown", "unknown",
         -EINVAL},
    };
    static const struct advice_place place = {"s3://b", "http://h:1"};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err = ERROR_INIT;

        (void)error_set(&err, cases[i].error, "%s", cases[i].text);
        assert_int_equal(advice_for_pod(&place, cases[i].error, &err), cases[i].code);
        assert_int_equal(err.code, cases[i].code);
        assert_memory_equal(err.text, cases[i].begins, strlen(cases[i].begins));
        assert_non_null(strstr(err.text, cases[i].help));
    }
}

static void an_event_is_bounded_plain_and_holds_no_password(UNUSED void **state)
{
    char location[1024] = "s3://b/";
    const struct advice_place place = {location, "http://user:password@h"};
    struct error err = ERROR_INIT;
    char cause[1024];

    memset(location + 7, 'p', sizeof(location) - 8);
    memset(cause, 'c', sizeof(cause) - 1);
    cause[sizeof(cause) - 1] = '\0';
    memcpy(cause, "a\n\xc3\xa4 NoSuchBucket", strlen("a\n\xc3\xa4 NoSuchBucket"));
    (void)error_set(&err, -ENOENT, "%s", cause);
    assert_int_equal(advice_for_pod(&place, -ENOENT, &err), -ENOENT);
    assert_memory_equal(err.text, "a??? NoSuchBucket", 17);
    assert_null(strstr(err.text, "password@"));
    assert_non_null(strstr(err.text, "make the bucket, or correct the volume's bucket"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_users_do_wrong_gets_a_sentence_that_helps),
        cmocka_unit_test(what_says_already_what_to_do_gets_none),
        cmocka_unit_test(an_event_begins_with_the_cause_and_ends_with_what_to_do),
        cmocka_unit_test(an_event_is_bounded_plain_and_holds_no_password),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_users_do_wrong_gets_a_sentence_that_helps),
        cmocka_unit_test(what_says_already_what_to_do_gets_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* An STS, as it answers and as it does not. */
#include "objstore/sts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "scripted_server.h"
#include "test.h"

#define SECRET "very-secret-key"
#define ROOT_TOKEN "root-session-token"
#define HEAD(status, more) "HTTP/1.1 " status "\r\nContent-Length: *\r\n" more "\r\n"
#define GRANTED                                                                                    \
    "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId>"           \
    "<SecretAccessKey>temporary-secret</SecretAccessKey><SessionToken>temporary-token"             \
    "</SessionToken><Expiration>2031-01-01T01:00:00Z</Expiration></Credentials>"                   \
    "</AssumeRoleResult></AssumeRoleResponse>"
#define REFUSED(code)                                                                              \
    "<ErrorResponse><Error><Code>" code "</Code><Message>because</Message></Error></"              \
    "ErrorResponse>"

struct asked {
    int status;
    int64_t lifetime_s;
    struct s3_sts_answer answer;
    struct error err;
};

static struct asked ask(struct scripted_server *server, const char *token)
{
    char endpoint[64];
    struct asked a = {.err = ERROR_INIT};

    (void)snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%d/",
                   scripted_server_port(server));
    a.status =
        objstore_sts_assume(&(struct objstore_sts_config){.endpoint = endpoint,
                                                          .region = "eu-west-1",
                                                          .credentials = {"AK", SECRET, token},
                                                          .role_arn = "arn:aws:iam::1:role/r",
                                                          .session_name = "skyvol-v",
                                                          .scope = {.bucket = "b", .prefix = "v/"},
                                                          .duration_s = 900},
                            &a.answer, &a.lifetime_s, &a.err);
    assert_null(strstr(a.err.text, SECRET));
    assert_null(strstr(a.err.text, ROOT_TOKEN));
    return a;
}

static void the_question_is_signed_and_holds_no_secret(UNUSED void **state)
{
    static const char *const answers[] = {HEAD("200 OK", "Date: Wed, 01 Jan 2031 00:00:00 GMT\r\n")
                                              GRANTED};
    struct scripted_server *server = scripted_server_start(answers, 1);
    struct asked a = ask(server, ROOT_TOKEN);
    const char *request = scripted_server_request(server, 0);

    assert_int_equal(a.status, 0);
    assert_string_equal(a.answer.access_key, "ASIA");
    assert_string_equal(a.answer.token, "temporary-token");
    assert_int_equal(a.lifetime_s, 3600); /* by the server's clock, whatever ours says */
    assert_non_null(strstr(request, "POST / HTTP/1.1\r\n"));
    assert_non_null(strstr(request, "Credential=AK/"));
    assert_non_null(strstr(request, "/eu-west-1/sts/aws4_request"));
    assert_non_null(strstr(request, ";x-amz-security-token"));
    assert_non_null(strstr(request, "Action=AssumeRole&"));
    assert_non_null(strstr(request, "b%2Fv%2F%2A"));
    assert_null(strstr(request, SECRET));
    s3_sts_answer_done(&a.answer);
    scripted_server_stop(server);
}

static void what_is_no_grant_is_told_by_its_kind(UNUSED void **state)
{
    static const struct {
        const char *answer;
        int status;
        const char *text;
    } all[] = {
        {HEAD("403 Forbidden", "") REFUSED("AccessDenied"), -EACCES, "AccessDenied: because"},
        {HEAD("403 Forbidden", "") REFUSED("InvalidClientTokenId"), -EACCES,
         "InvalidClientTokenId"},
        {HEAD("400 Bad Request", "") REFUSED("ValidationError"), -EINVAL, "ValidationError"},
        {HEAD("400 Bad Request", "") REFUSED("MalformedPolicyDocument"), -EINVAL, "Malformed"},
        {HEAD("400 Bad Request", "") REFUSED("Throttling"), -EAGAIN, "Throttling"},
        {HEAD("500 Oops", "") REFUSED("InternalFailure"), -EAGAIN, "InternalFailure"},
        {HEAD("503 Oops", "") "busy", -EAGAIN, "503"},
        {HEAD("200 OK", "") "<html>hello</html>", -EPROTO, "not one of an STS"},
        {HEAD("404 Not Found", "") "", -EPROTO, "404"},
        {HEAD("301 Moved", "Location: http://127.0.0.1:1/\r\n") "", -EPROTO, "301"},
        {HEAD("400 Bad Request", "") GRANTED, -EPROTO, "not one of an STS"},
        {HEAD("200 OK", "Date: Wed, 01 Jan 2031 01:00:00 GMT\r\n") GRANTED, -EPROTO, "expired"},
        {SCRIPT_CLOSE, -ECONNRESET, "STS"},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct scripted_server *server = scripted_server_start(&all[i].answer, 1);
        struct asked a = ask(server, NULL);

        if (a.status != all[i].status || strstr(a.err.text, all[i].text) == NULL) {
            fail_msg("%zu: %d, %s", i, a.status, a.err.text);
        }
        assert_string_equal(a.answer.secret_key, "");
        assert_string_equal(a.answer.token, "");
        scripted_server_stop(server);
    }
}

static void an_endpoint_is_a_host(UNUSED void **state)
{
    static const struct {
        const char *endpoint;
        int status;
    } all[] = {{NULL, 0},
               {"", 0},
               {"https://sts.amazonaws.com", 0},
               {"HTTP://h:1/", 0},
               {"http://[::1]:9000", 0},
               {"sts.amazonaws.com", -EINVAL},
               {"ftp://h", -EINVAL},
               {"http://", -EINVAL},
               {"http://h/path", -EINVAL},
               {"http://h?a=b", -EINVAL},
               {"http://user:s3cr3t@h", -EINVAL},
               {"http://h\r\nx: y", -EINVAL}};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct error err = ERROR_INIT;

        assert_int_equal(objstore_sts_check(all[i].endpoint, &err), all[i].status);
        assert_null(strstr(err.text, "s3cr3t"));
    }
}

static void an_inside_address_is_not_asked_for_others(UNUSED void **state)
{
    struct s3_sts_answer answer;
    int64_t lifetime_s;
    struct error err = ERROR_INIT;

    assert_int_equal(
        objstore_sts_assume(&(struct objstore_sts_config){.endpoint = "http://127.0.0.1:9",
                                                          .public_only = true,
                                                          .credentials = {"AK", SECRET, NULL},
                                                          .session_name = "skyvol-v",
                                                          .scope = {.bucket = "b", .prefix = ""},
                                                          .duration_s = 900},
                            &answer, &lifetime_s, &err),
        -EACCES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_question_is_signed_and_holds_no_secret),
        cmocka_unit_test(what_is_no_grant_is_told_by_its_kind),
        cmocka_unit_test(an_endpoint_is_a_host),
        cmocka_unit_test(an_inside_address_is_not_asked_for_others),
    };

    return cmocka_run_group_tests_name("objstore/sts", tests, NULL, NULL);
}

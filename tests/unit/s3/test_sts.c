/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/sts.h"

#include <errno.h>
#include <string.h>

#include "test.h"
#include "util/cleanup.h"

/* ---- policies ---- */

#define OBJECTS "\"s3:GetObject\",\"s3:GetObjectVersion\",\"s3:GetObjectTagging\""
#define CHANGES                                                                                    \
    ",\"s3:PutObject\",\"s3:PutObjectTagging\",\"s3:DeleteObject\",\"s3:AbortMultipartUpload\","   \
    "\"s3:ListMultipartUploadParts\""
#define BEGIN "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":["
#define LOCATION(arn)                                                                              \
    ",{\"Effect\":\"Allow\",\"Action\":\"s3:GetBucketLocation\",\"Resource\":\"" arn "\"}"
#define LIST(arn) ",{\"Effect\":\"Allow\",\"Action\":\"s3:ListBucket\",\"Resource\":\"" arn "\""

static void a_policy_names_one_prefix(UNUSED void **state)
{
    static const struct {
        struct s3_sts_scope scope;
        const char *policy;
    } all[] = {
        {{.bucket = "b", .prefix = "v-1/"},
         BEGIN OBJECTS CHANGES "],\"Resource\":\"arn:aws:s3:::b/v-1/*\"}" LOCATION("arn:aws:s3:::b")
             LIST("arn:aws:s3:::b") ",\"Condition\":{\"StringLike\":"
                                    "{\"s3:prefix\":\"v-1/*\"}}}]}"},
        {{.bucket = "b", .prefix = "", .read_only = true, .partition = "aws-cn"},
         BEGIN OBJECTS "],\"Resource\":\"arn:aws-cn:s3:::b/*\"}" LOCATION("arn:aws-cn:s3:::b")
             LIST("arn:aws-cn:s3:::b") "}]}"},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        CLEANUP(buf_done) struct buf out = BUF_INIT(S3_STS_POLICY_MAX);

        assert_int_equal(s3_sts_policy(&all[i].scope, &out), 0);
        assert_string_equal(buf_str(&out), all[i].policy);
    }
}

static void a_policy_for_aws_names_acls_and_the_keys_of_its_objects(UNUSED void **state)
{
    struct s3_sts_scope scope = {.bucket = "b", .prefix = "p/", .aws = true};
    CLEANUP(buf_done) struct buf out = BUF_INIT(S3_STS_POLICY_MAX);

    assert_int_equal(s3_sts_policy(&scope, &out), 0);
    assert_non_null(strstr(buf_str(&out), "s3:PutObjectAcl"));
    assert_non_null(strstr(buf_str(&out), "\"kms:Decrypt\",\"kms:GenerateDataKey\""));
    assert_non_null(strstr(buf_str(&out), "[\"arn:aws:s3:::b\",\"arn:aws:s3:::b/p/*\"]"));
    buf_reset(&out);
    scope.read_only = true;
    assert_int_equal(s3_sts_policy(&scope, &out), 0);
    assert_non_null(strstr(buf_str(&out), "kms:Decrypt"));
    assert_null(strstr(buf_str(&out), "GenerateDataKey"));
    assert_null(strstr(buf_str(&out), "Put"));
    assert_null(strstr(buf_str(&out), "Delete"));
}

static void what_would_widen_a_policy_is_refused(UNUSED void **state)
{
    static const char *const prefixes[] = {"*",     "a?/",  "${aws:username}/", "a\"/", "\\/",
                                           "a\n/*", "\x7f/"};
    static const char *const buckets[] = {"", "a/b", "*", "a?"};
    char prefix[1100];

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        CLEANUP(buf_done) struct buf out = BUF_INIT(8192);

        assert_int_equal(
            s3_sts_policy(&(struct s3_sts_scope){.bucket = "b", .prefix = prefixes[i]}, &out),
            -EINVAL);
    }
    for (size_t i = 0; i < sizeof(buckets) / sizeof(buckets[0]); i++) {
        CLEANUP(buf_done) struct buf out = BUF_INIT(8192);

        assert_int_equal(
            s3_sts_policy(&(struct s3_sts_scope){.bucket = buckets[i], .prefix = ""}, &out),
            -EINVAL);
    }
    memset(prefix, 'p', sizeof(prefix) - 1);
    prefix[sizeof(prefix) - 1] = '\0';
    {
        CLEANUP(buf_done) struct buf out = BUF_INIT(8192);

        assert_int_equal(
            s3_sts_policy(&(struct s3_sts_scope){.bucket = "b", .prefix = prefix}, &out), -EFBIG);
    }
}

static void a_form_is_encoded(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(1024);

    assert_int_equal(s3_sts_form(&(struct s3_sts_wish){.role_arn = "arn:aws:iam::1:role/r",
                                                       .session_name = "skyvol-v",
                                                       .policy = "{\"a\": 1+&}",
                                                       .duration_s = 900},
                                 &out),
                     0);
    assert_string_equal(buf_str(&out),
                        "Action=AssumeRole&Version=2011-06-15&DurationSeconds=900"
                        "&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=skyvol-v"
                        "&Policy=%7B%22a%22%3A%201%2B%26%7D");
    buf_reset(&out);
    assert_int_equal(
        s3_sts_form(&(struct s3_sts_wish){.session_name = "s", .policy = "p", .duration_s = 1},
                    &out),
        0);
    assert_null(strstr(buf_str(&out), "RoleArn"));
}

/* ---- answers ---- */

#define DOC(inner)                                                                                 \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<AssumeRoleResponse xmlns=\"https://x/\">"        \
    "<AssumeRoleResult><AssumedRoleUser><Arn>a</Arn></AssumedRoleUser><Credentials>" inner         \
    "</Credentials></AssumeRoleResult><ResponseMetadata><RequestId>1</RequestId>"                  \
    "</ResponseMetadata></AssumeRoleResponse>"
#define ID "<AccessKeyId>ASIA</AccessKeyId>"
#define KEY "<SecretAccessKey> s/+= </SecretAccessKey>"
#define TOKEN "<SessionToken>t.o-k_e/n</SessionToken>"
#define END "<Expiration>2026-11-22T14:46:56Z</Expiration>"
#define REFUSAL(code, message)                                                                     \
    "<ErrorResponse><Error><Type>Sender</Type><Code>" code "</Code><Message>" message              \
    "</Message></Error></ErrorResponse>"

static int parse(const char *text, struct s3_sts_answer *ret)
{
    return s3_sts_answer_parse(text, strlen(text), ret);
}

static void an_answer_has_all_four_parts(UNUSED void **state)
{
    static const char *const none[] = {"",
                                       "<",
                                       "{}",
                                       "<html></html>",
                                       DOC(""),
                                       DOC(KEY TOKEN END),
                                       DOC(ID TOKEN END),
                                       DOC(ID KEY END),
                                       DOC(ID KEY TOKEN),
                                       DOC(ID ID KEY TOKEN END),
                                       DOC(ID KEY KEY TOKEN END),
                                       DOC(ID KEY "<SessionToken>a\nb</SessionToken>" END),
                                       DOC(ID KEY "<SessionToken>\xc3\xa4</SessionToken>" END),
                                       DOC("<AccessKeyId/>" KEY TOKEN END),
                                       DOC(ID KEY TOKEN "<Expiration>soon</Expiration>"),
                                       "<!DOCTYPE x [<!ENTITY e 'x'>]>" DOC(ID KEY TOKEN END),
                                       "<AssumeRoleResult><Credentials>" ID KEY TOKEN END
                                       "</Credentials></AssumeRoleResult>"};
    struct s3_sts_answer answer;

    assert_int_equal(parse(DOC(ID KEY TOKEN END), &answer), 0);
    assert_string_equal(answer.access_key, "ASIA");
    assert_string_equal(answer.secret_key, "s/+=");
    assert_string_equal(answer.token, "t.o-k_e/n");
    assert_int_equal(answer.expires_s, 1795358816);
    assert_string_equal(answer.code, "");
    s3_sts_answer_done(&answer);
    assert_string_equal(answer.secret_key, "");
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        if (parse(none[i], &answer) != -EINVAL) {
            fail_msg("%zu: %s", i, none[i]);
        }
        assert_string_equal(answer.secret_key, "");
        assert_string_equal(answer.token, "");
    }
}

static void a_refusal_is_told_by_its_first_line(UNUSED void **state)
{
    struct s3_sts_answer answer;

    assert_int_equal(parse(REFUSAL("AccessDenied", "User: arn:aws:iam::1:user/u may not"), &answer),
                     0);
    assert_string_equal(answer.code, "AccessDenied");
    assert_string_equal(answer.message, "User: arn:aws:iam::1:user/u may not");
    assert_int_equal(parse(REFUSAL("Signature\tDoesNotMatch",
                                   "\nwrong\tkey\n\nThe string: x-amz-security-token:"),
                           &answer),
                     0);
    assert_string_equal(answer.code, "SignatureDoesNotMatch");
    assert_null(strstr(answer.message, "token"));
    assert_int_equal(parse(REFUSAL("", "no code"), &answer), -EINVAL);
}

static void what_is_too_long_is_refused(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(1 << 20);
    struct s3_sts_answer answer;

    for (size_t len = S3_STS_TOKEN_MAX - 1; len <= S3_STS_TOKEN_MAX; len++) {
        buf_reset(&text);
        buf_addstr(&text, "<AssumeRoleResponse><AssumeRoleResult><Credentials>" ID KEY END
                          "<SessionToken>");
        for (size_t i = 0; i < len; i++) {
            buf_addstr(&text, "t");
        }
        buf_addstr(&text, "</SessionToken></Credentials></AssumeRoleResult></AssumeRoleResponse>");
        assert_int_equal(s3_sts_answer_parse(buf_str(&text), buf_len(&text), &answer),
                         len < S3_STS_TOKEN_MAX ? 0 : -EINVAL);
    }
    buf_reset(&text);
    buf_addstr(&text, DOC(ID KEY TOKEN END));
    while (buf_len(&text) <= S3_STS_BODY_MAX) {
        buf_addstr(&text, "                                                                ");
    }
    assert_int_equal(s3_sts_answer_parse(buf_str(&text), buf_len(&text), &answer), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_policy_names_one_prefix),
        cmocka_unit_test(a_policy_for_aws_names_acls_and_the_keys_of_its_objects),
        cmocka_unit_test(what_would_widen_a_policy_is_refused),
        cmocka_unit_test(a_form_is_encoded),
        cmocka_unit_test(an_answer_has_all_four_parts),
        cmocka_unit_test(a_refusal_is_told_by_its_first_line),
        cmocka_unit_test(what_is_too_long_is_refused),
    };

    return cmocka_run_group_tests_name("s3/sts", tests, NULL, NULL);
}

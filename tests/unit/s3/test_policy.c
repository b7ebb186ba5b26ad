/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/policy.h"

#include <stdio.h>

#include "s3/wildcard.h"
#include "test.h"
#include "util/buf.h"
#include "util/cleanup.h"

/* A policy of one statement: what stands between is its rest. */
#define ONE(rest) "{\"Version\":\"2012-10-17\",\"Statement\":[{" rest "}]}"
#define WHO "\"Effect\":\"Allow\",\"Principal\":\"*\","
#define GETS WHO "\"Action\":\"s3:GetObject\","
#define OBJECTS "\"Resource\":\"arn:aws:s3:::bucket/*\""
#define IF(condition) ONE(GETS OBJECTS ",\"Condition\":{" condition "}")
#define PUTS_IF(condition)                                                                         \
    ONE(WHO "\"Action\":\"s3:PutObject\"," OBJECTS ",\"Condition\":{" condition "}")
#define LISTS_IF(condition)                                                                        \
    ONE(WHO "\"Action\":\"s3:ListBucket\",\"Resource\":\"arn:aws:s3:::bucket\",\"Condition\":"     \
            "{" condition "}")

static bool known(void *arg, const char *access_key)
{
    (void)arg;
    return strcmp(access_key, "app") == 0 || strcmp(access_key, "view") == 0;
}

static struct s3_policy *read_policy(const char *text, struct s3_fault *fault)
{
    static const struct s3_policy_keys keys = {known, NULL};
    struct s3_policy *policy = NULL;
    int ret;

    *fault = (struct s3_fault)S3_FAULT_INIT;
    ret = s3_policy_parse(text, strlen(text), "bucket", &keys, &policy, fault);
    assert_true((ret == 0) == (policy != NULL));
    assert_true((ret == 0) == (fault->code == S3_OK));
    return policy;
}

static void documents_that_are_taken(void **state)
{
    static const char *const texts[] = {
        ONE(GETS OBJECTS),
        "{\"Statement\":{" GETS OBJECTS "}}",
        "{\"Version\":\"2008-10-17\",\"Id\":\"i\",\"Statement\":[{\"Sid\":\"a\"," GETS OBJECTS
        "},{\"Sid\":\"b\"," GETS OBJECTS "}]}\n",
        ONE("\"Effect\":\"Deny\",\"Principal\":{\"AWS\":\"*\"},\"NotAction\":\"s3:Get*\","
            "\"NotResource\":\"arn:aws:s3:::bucket/*\""),
        ONE("\"Effect\":\"Deny\",\"Principal\":{\"AWS\":[\"app\",\"arn:aws:iam::skyvol:user/view\","
            "\"arn:aws:iam:::user/app\"]},\"Action\":[\"S3:getobject\",\"s3:*\"],"
            "\"Resource\":[\"*\",\"arn:aws:s3:::*\",\"arn:aws:s3:::buck?t/a\"]"),
        ONE("\"Effect\":\"Allow\",\"Principal\":[\"app\"],\"Action\":\"*\"," OBJECTS),
        ONE("\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:"
            "PutObjectRetention\"," OBJECTS),
        IF("\"IpAddress\":{\"aws:SourceIp\":[\"10.0.0.0/8\",\"2001:db8::/32\",\"1.2.3.4\"]}"),
        IF("\"Bool\":{\"aws:SecureTransport\":false},\"Null\":{\"aws:Referer\":\"true\"}"),
        IF("\"StringLike\":{\"AWS:referer\":\"http://x/*\"}"),
        IF("\"ArnLike\":{\"aws:PrincipalArn\":\"arn:aws:iam::skyvol:user/*\"}"),
        IF("\"StringNotEqualsIfExists\":{\"s3:ExistingObjectTag/Colour\":[\"red\",\"blue\"]}"),
        LISTS_IF("\"NumericLessThanEquals\":{\"s3:max-keys\":10}"),
        PUTS_IF("\"StringEquals\":{\"s3:RequestObjectTag/a\":\"b\",\"s3:x-amz-acl\":\"private\"}"),
        IF(""),
        "{\"Version\":\"2008-10-17\",\"Statement\":[{" GETS
        "\"Resource\":\"arn:aws:s3:::bucket/${aws:username}\"}]}",
    };
    struct s3_fault fault;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct s3_policy *policy = read_policy(texts[i], &fault);

        if (policy == NULL) {
            fail_msg("%s: %s", texts[i], fault.text);
        }
        s3_policy_free(policy);
    }
}

static const struct refused {
    const char *text, *why;
} refused[] = {
    {"", "first byte"},
    {"[]", "first byte"},
    {" {}", "first byte"},
    {"{", "invalid Json"},
    {"{}}", "invalid Json"},
    {ONE(GETS OBJECTS) "x", "invalid Json"},
    {ONE(GETS "\"Resource\":\"arn:aws:s3:::bucket/\\u0000*\""), "invalid Json"},
    {ONE(GETS OBJECTS ",\"Sid\":\"\xff\""), "invalid Json"},
    {"{\"Statement\":[[[[[[[[[]]]]]]]]]}", "too deep"},
    {"{}", "field Statement"},
    {"{\"Statement\":[]}", "Statement is empty"},
    {"{\"Statement\":[1]}", "not an object"},
    {"{\"Statement\":\"a\"}", "not an object"},
    {"{\"Version\":\"2012-10-18\",\"Statement\":[{" GETS OBJECTS "}]}", "version"},
    {"{\"Version\":2012,\"Statement\":[{" GETS OBJECTS "}]}", "version"},
    {"{\"Version\":\"\",\"Statement\":[{" GETS OBJECTS "}]}", "version"},
    {"{\"Id\":1,\"Statement\":[{" GETS OBJECTS "}]}", "Id"},
    {"{\"version\":\"2012-10-17\",\"Statement\":[{" GETS OBJECTS "}]}", "field version"},
    {"{\"Statement\":[{" GETS OBJECTS "}],\"Statement\":[{" GETS OBJECTS "}]}", "twice"},
    {ONE(GETS OBJECTS ",\"Other\":1"), "field Other"},
    {ONE(GETS OBJECTS ",\"Effect\":\"Deny\""), "twice the field Effect"},
    {ONE(GETS OBJECTS ",\"Sid\":1"), "Sid"},
    {"{\"Statement\":[{\"Sid\":\"a\"," GETS OBJECTS "},{\"Sid\":\"a\"," GETS OBJECTS "}]}",
     "not unique"},
    {ONE("\"Principal\":\"*\",\"Action\":\"s3:GetObject\"," OBJECTS), "field Effect"},
    {ONE("\"Effect\":\"allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\"," OBJECTS),
     "Invalid effect: allow"},
    {ONE("\"Effect\":\"Allow\",\"Action\":\"s3:GetObject\"," OBJECTS), "field Principal"},
    {ONE("\"Effect\":\"Deny\",\"NotPrincipal\":\"*\",\"Action\":\"s3:GetObject\"," OBJECTS),
     "NotPrincipal"},
    {ONE(WHO OBJECTS), "field Action"},
    {ONE(GETS "\"NotAction\":\"s3:*\"," OBJECTS), "either Action or NotAction"},
    {ONE(WHO "\"Action\":\"s3:GetObject\""), "field Resource"},
    {ONE("\"Effect\":\"Allow\",\"Principal\":\"\",\"Action\":\"s3:GetObject\"," OBJECTS),
     "Invalid principal"},
    {ONE("\"Effect\":\"Allow\",\"Principal\":{},\"Action\":\"s3:GetObject\"," OBJECTS),
     "Invalid principal"},
    {ONE("\"Effect\":\"Allow\",\"Principal\":{\"AWS\":[]},\"Action\":\"s3:GetObject\"," OBJECTS),
     "Invalid principal"},
    {ONE("\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"none\"},\"Action\":\"s3:"
         "GetObject\"," OBJECTS),
     "Invalid principal"},
    {ONE("\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"ap*\"},\"Action\":\"s3:"
         "GetObject\"," OBJECTS),
     "Invalid principal"},
    {ONE("\"Effect\":\"Deny\",\"Principal\":{\"AWS\":\"arn:aws:iam::skyvol:root\"},"
         "\"Action\":\"s3:GetObject\"," OBJECTS),
     "Invalid principal"},
    {ONE("\"Effect\":\"Deny\",\"Principal\":{\"Service\":\"s3.amazonaws.com\"},"
         "\"Action\":\"s3:GetObject\"," OBJECTS),
     "Invalid principal"},
    {ONE("\"Effect\":\"Deny\",\"Principal\":{\"AWS\":\"*\",\"Service\":\"x\"},"
         "\"Action\":\"s3:GetObject\"," OBJECTS),
     "Invalid principal"},
    {ONE(WHO "\"Action\":\"s3:Get\"," OBJECTS), "invalid action"},
    {ONE(WHO "\"Action\":\"s3:\"," OBJECTS), "invalid action"},
    {ONE(WHO "\"Action\":[]," OBJECTS), "invalid action"},
    {ONE(WHO "\"Action\":\"GetObject\"," OBJECTS), "invalid action"},
    {ONE(WHO "\"Action\":\"*GetObject\"," OBJECTS), "invalid action"},
    {ONE(WHO "\"Action\":\"iam:*\"," OBJECTS), "invalid action"},
    {ONE(WHO "\"Action\":[\"s3:GetObject\",\"s3:Abort?\"]," OBJECTS), "invalid action"},
    {ONE(WHO "\"NotAction\":\"s3:Nonsense\"," OBJECTS), "invalid action"},
    {ONE(WHO "\"Action\":\"s3:ListBucket\"," OBJECTS), "does not apply"},
    {ONE(GETS "\"Resource\":\"arn:aws:s3:::bucket\""), "does not apply"},
    {ONE(GETS "\"Resource\":\"\""), "invalid resource"},
    {ONE(GETS "\"Resource\":[]"), "invalid resource"},
    {ONE(GETS "\"Resource\":\"bucket/*\""), "invalid resource"},
    {ONE(GETS "\"Resource\":\"arn:aws:s3:::other/*\""), "invalid resource"},
    {ONE(GETS "\"Resource\":\"arn:aws:s3:::bucke/*\""), "invalid resource"},
    {ONE(GETS "\"Resource\":\"arn:aws:s3:::/bucket\""), "invalid resource"},
    {ONE(GETS "\"Resource\":\"arn:*:s3:::bucket/*\""), "invalid resource"},
    {ONE(GETS "\"Resource\":\"arn:aws:s3:::bucket/${aws:username}/*\""), "variables"},
    {IF("\"StringEquals\":{\"aws:UserAgent\":\"${aws:Referer}\"}"), "variables"},
    {ONE(GETS OBJECTS ",\"Condition\":[]"), "not an object"},
    {IF("\"StringEquals\":[]"), "No condition key"},
    {IF("\"StringEquals\":{}"), "No condition key"},
    {IF("\"stringequals\":{\"aws:Referer\":\"a\"}"), "Condition type : stringequals"},
    {IF("\"NullIfExists\":{\"aws:Referer\":\"true\"}"), "Condition type : NullIfExists"},
    {IF("\"IfExists\":{\"aws:Referer\":\"true\"}"), "Condition type : IfExists"},
    {IF("\"ForAllValues:StringEquals\":{\"aws:Referer\":\"a\"}"), "Condition type : ForAll"},
    {IF("\"DateLessThan\":{\"aws:CurrentTime\":\"2030-01-01T00:00:00Z\"}"),
     "Condition type : Date"},
    {IF("\"StringEquals\":{\"aws:SourceVpc\":\"vpc-1\"}"), "invalid condition key"},
    {IF("\"StringEquals\":{\"s3:ExistingObjectTag/\":\"a\"}"), "invalid condition key"},
    {IF("\"StringEquals\":{\"aws:Referer\":[]}"), "no value for aws:Referer"},
    {IF("\"StringEquals\":{\"aws:Referer\":{}}"), "neither text"},
    {IF("\"StringEquals\":{\"aws:Referer\":\"a\"},\"StringEquals\":{\"aws:Referer\":\"b\"}"),
     "twice"},
    {IF("\"StringEquals\":{\"aws:Referer\":\"a\",\"aws:Referer\":\"b\"}"), "twice"},
    {IF("\"IpAddress\":{\"aws:SourceIp\":\"10.0.0.0/33\"}"), "Invalid IP"},
    {IF("\"IpAddress\":{\"aws:SourceIp\":\"10.0.0.0/\"}"), "Invalid IP"},
    {IF("\"IpAddress\":{\"aws:SourceIp\":\"10.0.0\"}"), "Invalid IP"},
    {IF("\"IpAddress\":{\"aws:SourceIp\":\"::ffff:10.0.0.0/104\"}"), "Invalid IP"},
    {IF("\"NotIpAddress\":{\"aws:SourceIp\":\"here\"}"), "Invalid IP"},
    {IF("\"StringEquals\":{\"aws:SourceIp\":\"10.0.0.1\"}"), "Invalid IP"},
    {IF("\"IpAddress\":{\"aws:Referer\":\"10.0.0.1\"}"), "cannot be asked of aws:Referer"},
    {IF("\"Bool\":{\"aws:SecureTransport\":\"yes\"}"), "Neither true nor false"},
    {IF("\"Bool\":{\"aws:Referer\":\"true\"}"), "cannot be asked"},
    {IF("\"StringEquals\":{\"aws:SecureTransport\":\"true\"}"), "cannot be asked"},
    {IF("\"ArnLike\":{\"aws:Referer\":\"x\"}"), "cannot be asked"},
    {LISTS_IF("\"NumericEquals\":{\"s3:max-keys\":\"ten\"}"), "whole number"},
    {LISTS_IF("\"NumericEquals\":{\"s3:max-keys\":1.5}"), "neither text, number"},
    {LISTS_IF("\"StringEquals\":{\"s3:max-keys\":\"1\"}"), "cannot be asked"},
    {IF("\"StringEquals\":{\"s3:prefix\":\"a\"}"), "do not apply"},
    {IF("\"StringEquals\":{\"s3:x-amz-acl\":\"private\"}"), "do not apply"},
    {PUTS_IF("\"StringEquals\":{\"s3:ExistingObjectTag/a\":\"b\"}"), "do not apply"},
    {PUTS_IF("\"StringEquals\":{\"s3:VersionId\":\"b\"}"), "do not apply"},
};

static void documents_that_are_refused_say_why(void **state)
{
    struct s3_fault fault;

    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct s3_policy *policy = read_policy(refused[i].text, &fault);

        if (policy != NULL || fault.code != S3_MALFORMED_POLICY ||
            strstr(fault.text, refused[i].why) == NULL) {
            fail_msg("%s: %s", refused[i].text, fault.text);
        }
    }
}

static void a_document_has_at_most_20_kib(void **state)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(64 * 1024);
    struct s3_fault fault;
    struct s3_policy *policy;

    (void)state;
    buf_addstr(&text, ONE(GETS OBJECTS));
    while (buf_len(&text) < S3_POLICY_TEXT_MAX) {
        buf_addstr(&text, " ");
    }
    policy = read_policy(buf_str(&text), &fault);
    assert_non_null(policy);
    s3_policy_free(policy);
    buf_addstr(&text, " ");
    assert_null(read_policy(buf_str(&text), &fault));
    assert_int_equal(fault.code, S3_POLICY_TOO_LARGE);
    assert_non_null(strstr(fault.text, "20480"));
}

static void a_name_that_nobody_has_is_taken_where_nobody_is_asked(void **state)
{
    static const char text[] =
        ONE("\"Effect\":\"Allow\",\"Principal\":\"gone\",\"Action\":\"s3:*\"," OBJECTS);
    struct s3_fault fault = S3_FAULT_INIT;
    struct s3_policy *policy = NULL;

    (void)state;
    assert_null(read_policy(text, &fault));
    assert_int_equal(s3_policy_parse(text, strlen(text), "bucket", NULL, &policy, &fault), 0);
    s3_policy_free(policy);
}

/* ---- decisions ---- */

struct said {
    enum s3_policy_key key;
    const char *tag, *value;
};

static struct slice say(void *arg, enum s3_policy_key key, const char *tag)
{
    const struct said *said = arg;

    for (; said != NULL && said->value != NULL; said++) {
        if (said->key == key &&
            (tag == NULL || (said->tag != NULL && strcmp(said->tag, tag) == 0))) {
            return slice_of(said->value);
        }
    }
    return (struct slice){0};
}

static enum s3_policy_decision decide(const char *text, enum s3_action action, const char *key,
                                      const char *who, const struct said *said)
{
    const struct s3_policy_request request = {
        action, "bucket", key, who, {say, (void *)(uintptr_t)said}};
    struct s3_fault fault;
    struct s3_policy *policy = read_policy(text, &fault);
    enum s3_policy_decision ret;

    if (policy == NULL) {
        fail_msg("%s: %s", text, fault.text);
    }
    ret = s3_policy_decide(policy, &request);
    s3_policy_free(policy);
    return ret;
}

#define ALLOWS(who, what, where)                                                                   \
    "{\"Effect\":\"Allow\",\"Principal\":" who ",\"Action\":" what ",\"Resource\":" where "}"
#define DENIES(who, what, where)                                                                   \
    "{\"Effect\":\"Deny\",\"Principal\":" who ",\"Action\":" what ",\"Resource\":" where "}"
#define DOC(statements) "{\"Version\":\"2012-10-17\",\"Statement\":[" statements "]}"
#define ALL "\"arn:aws:s3:::bucket/*\""
#define BUCKET "\"arn:aws:s3:::bucket\""

static const struct decided {
    const char *text;
    enum s3_action action;
    const char *key, *who;
    enum s3_policy_decision want;
} decided[] = {
    {DOC(ALLOWS("\"*\"", "\"s3:GetObject\"", ALL)), S3_ACTION_GET_OBJECT, "k", NULL,
     S3_POLICY_ALLOW},
    {DOC(ALLOWS("\"*\"", "\"s3:GetObject\"", ALL)), S3_ACTION_GET_OBJECT, "a/b", "x",
     S3_POLICY_ALLOW},
    {DOC(ALLOWS("\"*\"", "\"s3:GetObject\"", ALL)), S3_ACTION_PUT_OBJECT, "k", NULL,
     S3_POLICY_SILENT},
    {DOC(ALLOWS("\"*\"", "\"s3:GetObject\"", ALL)), S3_ACTION_GET_VERSION, "k", NULL,
     S3_POLICY_SILENT},
    {DOC(ALLOWS("\"*\"", "\"s3:*\"", ALL)), S3_ACTION_LIST_BUCKET, NULL, NULL, S3_POLICY_SILENT},
    {DOC(ALLOWS("\"*\"", "\"s3:*\"", BUCKET)), S3_ACTION_LIST_BUCKET, NULL, NULL, S3_POLICY_ALLOW},
    {DOC(ALLOWS("\"*\"", "\"s3:*\"", BUCKET)), S3_ACTION_GET_OBJECT, "k", NULL, S3_POLICY_SILENT},
    {DOC(ALLOWS("\"*\"", "\"s3:*\"", "\"arn:aws:s3:::*\"")), S3_ACTION_GET_OBJECT, "k", NULL,
     S3_POLICY_ALLOW},
    {DOC(ALLOWS("\"app\"", "\"s3:GetObject\"", ALL)), S3_ACTION_GET_OBJECT, "k", "app",
     S3_POLICY_ALLOW},
    {DOC(ALLOWS("\"app\"", "\"s3:GetObject\"", ALL)), S3_ACTION_GET_OBJECT, "k", "apple",
     S3_POLICY_SILENT},
    {DOC(ALLOWS("\"app\"", "\"s3:GetObject\"", ALL)), S3_ACTION_GET_OBJECT, "k", NULL,
     S3_POLICY_SILENT},
    {DOC(ALLOWS("{\"AWS\":[\"view\",\"arn:aws:iam::skyvol:user/app\"]}", "\"s3:Get*\"", ALL)),
     S3_ACTION_GET_OBJECT_TAGGING, "k", "app", S3_POLICY_ALLOW},
    {DOC(ALLOWS("\"*\"", "[\"s3:PutObject\",\"S3:GETOBJECT\"]", ALL)), S3_ACTION_GET_OBJECT, "k",
     NULL, S3_POLICY_ALLOW},
    {DOC(ALLOWS("\"*\"", "\"s3:*Object\"", ALL)), S3_ACTION_DELETE_OBJECT, "k", NULL,
     S3_POLICY_ALLOW},
    {DOC(ALLOWS("\"*\"", "\"s3:???Object\"", ALL)), S3_ACTION_DELETE_OBJECT, "k", NULL,
     S3_POLICY_SILENT},
    {DOC(ALLOWS("\"*\"", "\"s3:*\"", "\"arn:aws:s3:::bucket/a?c/*.txt\"")), S3_ACTION_GET_OBJECT,
     "a\xc3\xa4"
     "c/x/y.txt",
     NULL, S3_POLICY_ALLOW},
    {DOC(ALLOWS("\"*\"", "\"s3:*\"", "\"arn:aws:s3:::bucket/a?c/*.txt\"")), S3_ACTION_GET_OBJECT,
     "ac/x.txt", NULL, S3_POLICY_SILENT},
    {DOC(ALLOWS("\"*\"", "\"s3:*\"", ALL) "," DENIES("\"*\"", "\"s3:GetObject\"", ALL)),
     S3_ACTION_GET_OBJECT, "k", "app", S3_POLICY_DENY},
    {DOC(DENIES("\"app\"", "\"s3:GetObject\"", ALL) "," ALLOWS("\"*\"", "\"s3:*\"", ALL)),
     S3_ACTION_GET_OBJECT, "k", "app", S3_POLICY_DENY},
    {DOC(DENIES("\"app\"", "\"s3:GetObject\"", ALL) "," ALLOWS("\"*\"", "\"s3:*\"", ALL)),
     S3_ACTION_GET_OBJECT, "k", "view", S3_POLICY_ALLOW},
    {DOC(DENIES("\"*\"", "\"s3:GetObject\"", "\"arn:aws:s3:::bucket/secret/*\"")),
     S3_ACTION_GET_OBJECT, "secret/k", "app", S3_POLICY_DENY},
    {DOC(DENIES("\"*\"", "\"s3:GetObject\"", "\"arn:aws:s3:::bucket/secret/*\"")),
     S3_ACTION_GET_OBJECT, "secret", "app", S3_POLICY_SILENT},
    {ONE("\"Effect\":\"Allow\",\"Principal\":\"*\",\"NotAction\":\"s3:Delete*\"," OBJECTS),
     S3_ACTION_GET_OBJECT, "k", NULL, S3_POLICY_ALLOW},
    {ONE("\"Effect\":\"Allow\",\"Principal\":\"*\",\"NotAction\":\"s3:Delete*\"," OBJECTS),
     S3_ACTION_DELETE_OBJECT, "k", NULL, S3_POLICY_SILENT},
    {ONE("\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"s3:*\",\"NotResource\":"
         "[\"arn:aws:s3:::bucket/open/*\",\"arn:aws:s3:::bucket\"]"),
     S3_ACTION_GET_OBJECT, "k", "app", S3_POLICY_DENY},
    {ONE("\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"s3:*\",\"NotResource\":"
         "[\"arn:aws:s3:::bucket/open/*\",\"arn:aws:s3:::bucket\"]"),
     S3_ACTION_GET_OBJECT, "open/k", "app", S3_POLICY_SILENT},
};

static void statements_are_about_who_what_and_where(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(decided) / sizeof(decided[0]); i++) {
        const struct decided *d = &decided[i];
        enum s3_policy_decision got = decide(d->text, d->action, d->key, d->who, NULL);

        if (got != d->want) {
            fail_msg("%s, %s: %d", d->text, d->key != NULL ? d->key : "bucket", (int)got);
        }
    }
}

#define ASK(operator, key, values) "\"" operator"\":{\"" key "\":" values "}"

static const struct conditional {
    const char *condition;
    enum s3_policy_key key;
    const char *said; /* NULL: nothing */
    bool want;
} conditionals[] = {
    {ASK("StringEquals", "aws:Referer", "\"a\""), S3_KEY_REFERER, "a", true},
    {ASK("StringEquals", "aws:Referer", "\"a\""), S3_KEY_REFERER, "A", false},
    {ASK("StringEquals", "aws:Referer", "[\"b\",\"a\"]"), S3_KEY_REFERER, "a", true},
    {ASK("StringEquals", "aws:Referer", "\"\""), S3_KEY_REFERER, "", true},
    {ASK("StringEquals", "aws:Referer", "\"a\""), S3_KEY_REFERER, NULL, false},
    {ASK("StringEqualsIfExists", "aws:Referer", "\"a\""), S3_KEY_REFERER, NULL, true},
    {ASK("StringEqualsIfExists", "aws:Referer", "\"a\""), S3_KEY_REFERER, "b", false},
    {ASK("StringNotEquals", "aws:Referer", "[\"a\",\"b\"]"), S3_KEY_REFERER, "b", false},
    {ASK("StringNotEquals", "aws:Referer", "[\"a\",\"b\"]"), S3_KEY_REFERER, "c", true},
    {ASK("StringNotEquals", "aws:Referer", "\"a\""), S3_KEY_REFERER, NULL, true},
    {ASK("StringNotEqualsIfExists", "aws:Referer", "\"a\""), S3_KEY_REFERER, NULL, true},
    {ASK("StringEqualsIgnoreCase", "aws:Referer", "\"aB\""), S3_KEY_REFERER, "Ab", true},
    {ASK("StringNotEqualsIgnoreCase", "aws:Referer", "\"aB\""), S3_KEY_REFERER, "Ab", false},
    {ASK("StringLike", "aws:Referer", "\"http://a/*\""), S3_KEY_REFERER, "http://a/b", true},
    {ASK("StringLike", "aws:Referer", "\"http://a/*\""), S3_KEY_REFERER, "http://ab", false},
    {ASK("StringLike", "aws:Referer", "\"*\""), S3_KEY_REFERER, NULL, false},
    {ASK("StringNotLike", "aws:Referer", "\"http://a/*\""), S3_KEY_REFERER, "http://a/b", false},
    {ASK("StringNotLike", "aws:Referer", "\"http://a/*\""), S3_KEY_REFERER, NULL, true},
    {ASK("ArnLike", "aws:PrincipalArn", "\"arn:aws:iam::*:user/a*\""), S3_KEY_PRINCIPAL_ARN,
     "arn:aws:iam::skyvol:user/app", true},
    {ASK("ArnNotEquals", "aws:PrincipalArn", "\"arn:aws:iam::skyvol:user/app\""),
     S3_KEY_PRINCIPAL_ARN, "arn:aws:iam::skyvol:user/app", false},
    {ASK("Null", "aws:Referer", "\"true\""), S3_KEY_REFERER, NULL, true},
    {ASK("Null", "aws:Referer", "true"), S3_KEY_REFERER, "", false},
    {ASK("Null", "aws:Referer", "\"false\""), S3_KEY_REFERER, "", true},
    {ASK("Null", "aws:Referer", "false"), S3_KEY_REFERER, NULL, false},
    {ASK("Bool", "aws:SecureTransport", "\"True\""), S3_KEY_SECURE_TRANSPORT, "true", true},
    {ASK("Bool", "aws:SecureTransport", "false"), S3_KEY_SECURE_TRANSPORT, "true", false},
    {ASK("IpAddress", "aws:SourceIp", "\"10.1.0.0/16\""), S3_KEY_SOURCE_IP, "10.1.255.3", true},
    {ASK("IpAddress", "aws:SourceIp", "\"10.1.0.0/16\""), S3_KEY_SOURCE_IP, "10.2.0.1", false},
    {ASK("IpAddress", "aws:SourceIp", "\"10.1.2.8/29\""), S3_KEY_SOURCE_IP, "10.1.2.15", true},
    {ASK("IpAddress", "aws:SourceIp", "\"10.1.2.8/29\""), S3_KEY_SOURCE_IP, "10.1.2.16", false},
    {ASK("IpAddress", "aws:SourceIp", "\"10.1.2.3\""), S3_KEY_SOURCE_IP, "10.1.2.3", true},
    {ASK("IpAddress", "aws:SourceIp", "\"10.1.2.3\""), S3_KEY_SOURCE_IP, "::ffff:10.1.2.3", true},
    {ASK("IpAddress", "aws:SourceIp", "\"0.0.0.0/0\""), S3_KEY_SOURCE_IP, "2001:db8::1", false},
    {ASK("IpAddress", "aws:SourceIp", "\"2001:db8::/33\""), S3_KEY_SOURCE_IP, "2001:db8:7fff::1",
     true},
    {ASK("IpAddress", "aws:SourceIp", "\"2001:db8::/33\""), S3_KEY_SOURCE_IP, "2001:db8:8000::1",
     false},
    {ASK("IpAddress", "aws:SourceIp", "\"0.0.0.0/0\""), S3_KEY_SOURCE_IP, NULL, false},
    {ASK("NotIpAddress", "aws:SourceIp", "\"10.0.0.0/8\""), S3_KEY_SOURCE_IP, NULL, true},
    {ASK("NotIpAddress", "aws:SourceIp", "[\"10.0.0.0/8\",\"::1\"]"), S3_KEY_SOURCE_IP, "::1",
     false},
    {ASK("NotIpAddress", "aws:SourceIp", "\"10.0.0.0/8\""), S3_KEY_SOURCE_IP, "11.0.0.0", true},
};

static void conditions_hold_or_do_not(void **state)
{
    char text[1024];

    (void)state;
    for (size_t i = 0; i < sizeof(conditionals) / sizeof(conditionals[0]); i++) {
        const struct conditional *c = &conditionals[i];
        const struct said said[] = {{c->key, NULL, c->said}, {0}};
        enum s3_policy_decision got;

        (void)snprintf(text, sizeof(text), "%s%s}}]}",
                       "{\"Statement\":[{" GETS OBJECTS ",\"Condition\":{", c->condition);
        got = decide(text, S3_ACTION_GET_OBJECT, "k", NULL, said);
        if (got != (c->want ? S3_POLICY_ALLOW : S3_POLICY_SILENT)) {
            fail_msg("%s of %s", c->condition, c->said != NULL ? c->said : "nothing");
        }
    }
}

static void numbers_are_compared_as_numbers(void **state)
{
    static const struct {
        const char *operator, * said;
        bool want;
    } cases[] = {{"NumericEquals", "10", true},
                 {"NumericEquals", "010", true},
                 {"NumericNotEquals", "10", false},
                 {"NumericNotEquals", "x", true},
                 {"NumericLessThan", "9", true},
                 {"NumericLessThan", "10", false},
                 {"NumericLessThanEquals", "10", true},
                 {"NumericLessThanEquals", "11", false},
                 {"NumericGreaterThan", "100", true},
                 {"NumericGreaterThan", "10", false},
                 {"NumericGreaterThanEquals", "9", false},
                 {"NumericGreaterThanEquals", "10", true},
                 {"NumericLessThan", "", false},
                 {"NumericLessThan", "-", false},
                 {"NumericLessThan", " 9", false},
                 {"NumericLessThan", NULL, false},
                 {"NumericLessThanIfExists", NULL, true}};
    char text[1024];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct said said[] = {{S3_KEY_MAX_KEYS, NULL, cases[i].said}, {0}};

        (void)snprintf(text, sizeof(text),
                       "{\"Statement\":[{" WHO "\"Action\":\"s3:ListBucket\",\"Resource\":" BUCKET
                       ",\"Condition\":{\"%s\":{\"s3:max-keys\":\"10\"}}}]}",
                       cases[i].operator);
        assert_int_equal(decide(text, S3_ACTION_LIST_BUCKET, NULL, NULL, said),
                         cases[i].want ? S3_POLICY_ALLOW : S3_POLICY_SILENT);
    }
}

static void all_conditions_must_hold_and_tags_have_names(void **state)
{
    static const char text[] = IF("\"StringEquals\":{\"s3:ExistingObjectTag/a\":\"1\","
                                  "\"s3:ExistingObjectTag/b\":\"2\"},"
                                  "\"Bool\":{\"aws:SecureTransport\":\"true\"}");
    const struct said all[] = {{S3_KEY_EXISTING_TAG, "a", "1"},
                               {S3_KEY_EXISTING_TAG, "b", "2"},
                               {S3_KEY_SECURE_TRANSPORT, NULL, "true"},
                               {0}};
    struct said some[4];
    struct s3_fault fault;
    struct s3_policy *policy;

    (void)state;
    assert_int_equal(decide(text, S3_ACTION_GET_OBJECT, "k", NULL, all), S3_POLICY_ALLOW);
    for (size_t i = 0; i < 3; i++) {
        memcpy(some, all, sizeof(all));
        some[i].value = "other";
        assert_int_equal(decide(text, S3_ACTION_GET_OBJECT, "k", NULL, some), S3_POLICY_SILENT);
    }
    assert_int_equal(decide(text, S3_ACTION_GET_OBJECT, "k", NULL, all + 1), S3_POLICY_SILENT);
    policy = read_policy(text, &fault);
    assert_true(s3_policy_existing_tags(policy));
    s3_policy_free(policy);
    policy = read_policy(ONE(GETS OBJECTS), &fault);
    assert_false(s3_policy_existing_tags(policy));
    s3_policy_free(policy);
}

static void a_copy_source_is_meant_with_a_slash_before_it_or_without(void **state)
{
    const struct said said[] = {{S3_KEY_COPY_SOURCE, NULL, "bucket/public/x"}, {0}};

    (void)state;
    assert_int_equal(
        decide(PUTS_IF("\"StringLike\":{\"s3:x-amz-copy-source\":\"/bucket/public/*\"}"),
               S3_ACTION_PUT_OBJECT, "k", NULL, said),
        S3_POLICY_ALLOW);
    assert_int_equal(
        decide(PUTS_IF("\"StringLike\":{\"s3:x-amz-copy-source\":\"bucket/public/*\"}"),
               S3_ACTION_PUT_OBJECT, "k", NULL, said),
        S3_POLICY_ALLOW);
    assert_int_equal(decide(PUTS_IF("\"StringLike\":{\"s3:x-amz-copy-source\":\"bucket/other/*\"}"),
                            S3_ACTION_PUT_OBJECT, "k", NULL, said),
                     S3_POLICY_SILENT);
}

static void what_everybody_may_is_public(void **state)
{
    static const struct {
        const char *text;
        bool want;
    } cases[] = {
        {ONE(GETS OBJECTS), true},
        {DOC(DENIES("\"*\"", "\"s3:*\"", ALL)), false},
        {DOC(ALLOWS("\"app\"", "\"s3:*\"", ALL)), false},
        {DOC(ALLOWS("[\"app\",\"*\"]", "\"s3:*\"", ALL)), true},
        {IF("\"IpAddress\":{\"aws:SourceIp\":\"10.0.0.0/8\"}"), false},
        {IF("\"IpAddress\":{\"aws:SourceIp\":[\"10.0.0.0/8\",\"0.0.0.0/0\"]}"), true},
        {IF("\"IpAddress\":{\"aws:SourceIp\":\"2001::/31\"}"), true},
        {IF("\"NotIpAddress\":{\"aws:SourceIp\":\"10.0.0.0/8\"}"), true},
        {IF("\"IpAddressIfExists\":{\"aws:SourceIp\":\"10.0.0.0/8\"}"), true},
        {IF("\"StringEquals\":{\"aws:username\":\"app\"}"), false},
        {IF("\"StringLike\":{\"aws:username\":\"a*\"}"), true},
        {IF("\"StringEquals\":{\"aws:Referer\":\"a\"}"), true},
        {IF("\"Bool\":{\"aws:SecureTransport\":\"true\"}"), true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct s3_fault fault;
        struct s3_policy *policy = read_policy(cases[i].text, &fault);

        assert_non_null(policy);
        if (s3_policy_public(policy) != cases[i].want) {
            fail_msg("%s", cases[i].text);
        }
        s3_policy_free(policy);
    }
}

static void wildcards(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool fold, want;
    } cases[] = {{"", "", false, true},
                 {"", "a", false, false},
                 {"*", "", false, true},
                 {"*", "a/b", false, true},
                 {"?", "", false, false},
                 {"?", "\xc3\xa4", false, true},
                 {"??", "\xc3\xa4", false, false},
                 {"a*b*c", "axxbxxc", false, true},
                 {"a*b*c", "axxbxx", false, false},
                 {"*ab", "aab", false, true},
                 {"*a?b", "aaxb", false, true},
                 {"a**", "a", false, true},
                 {"Ab", "aB", false, false},
                 {"Ab", "aB", true, true},
                 {"\xc3\xa4", "\xc3\x84", true, false},
                 {"*?", "\xe2\x82\xac", false, true},
                 {"a", "*", false, false}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (s3_wildcard_match(slice_of(cases[i].pattern), slice_of(cases[i].text), cases[i].fold) !=
            cases[i].want) {
            fail_msg("%s %s", cases[i].pattern, cases[i].text);
        }
    }
}

/* Trying every way to share the text among 500 stars would outlive us all. */
static void a_pattern_of_stars_comes_to_its_end(void **state)
{
    char pattern[1001], text[1001];

    (void)state;
    for (size_t i = 0; i < 1000; i++) {
        pattern[i] = i % 2 == 0 ? '*' : 'a';
        text[i] = 'a';
    }
    pattern[999] = 'b';
    assert_false(
        s3_wildcard_match((struct slice){pattern, 1000}, (struct slice){text, 1000}, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_that_are_taken),
        cmocka_unit_test(documents_that_are_refused_say_why),
        cmocka_unit_test(a_document_has_at_most_20_kib),
        cmocka_unit_test(a_name_that_nobody_has_is_taken_where_nobody_is_asked),
        cmocka_unit_test(statements_are_about_who_what_and_where),
        cmocka_unit_test(conditions_hold_or_do_not),
        cmocka_unit_test(numbers_are_compared_as_numbers),
        cmocka_unit_test(all_conditions_must_hold_and_tags_have_names),
        cmocka_unit_test(a_copy_source_is_meant_with_a_slash_before_it_or_without),
        cmocka_unit_test(what_everybody_may_is_public),
        cmocka_unit_test(wildcards),
        cmocka_unit_test(a_pattern_of_stars_comes_to_its_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/sts.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "s3/conditions.h"
#include "s3/xml_walk.h"
#include "util/encode.h"
#include "util/slice.h"

/* ---- the policy ---- */

/* Letters that mean themselves in JSON, in an ARN's pattern and in a condition. */
static bool is_plain(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        if (*p < 0x20 || *p == 0x7f || strchr("*?$\"\\", *p) != NULL) {
            return false;
        }
    }
    return true;
}

/* Other servers refuse a policy with an action that they do not know. */
static void add_actions(const struct s3_sts_scope *scope, struct buf *out)
{
    buf_addstr(out, "[\"s3:GetObject\",\"s3:GetObjectVersion\",\"s3:GetObjectTagging\"");
    if (!scope->read_only) {
        buf_addf(out,
                 ",\"s3:PutObject\",\"s3:PutObjectTagging\",\"s3:DeleteObject\","
                 "\"s3:AbortMultipartUpload\",\"s3:ListMultipartUploadParts\"%s",
                 scope->aws ? ",\"s3:PutObjectAcl\"" : "");
    }
    buf_addstr(out, "]");
}

/* What objects are encrypted with says which objects these are; with bucket keys, which bucket. */
static void add_kms(const struct s3_sts_scope *scope, const char *partition, struct buf *out)
{
    buf_addf(out,
             ",{\"Effect\":\"Allow\",\"Action\":[\"kms:Decrypt\"%s],\"Resource\":\"*\","
             "\"Condition\":{\"StringLike\":{\"kms:ViaService\":\"s3.*\","
             "\"kms:EncryptionContext:aws:s3:arn\":[\"arn:%s:s3:::%s\",\"arn:%s:s3:::%s/%s*\"]}}}",
             scope->read_only ? "" : ",\"kms:GenerateDataKey\"", partition, scope->bucket,
             partition, scope->bucket, scope->prefix);
}

int s3_sts_policy(const struct s3_sts_scope *scope, struct buf *out)
{
    const char *partition = scope->partition != NULL ? scope->partition : "aws";
    size_t begin = buf_len(out);

    if (scope->bucket[0] == '\0' || strchr(scope->bucket, '/') != NULL ||
        !is_plain(scope->bucket) || !is_plain(scope->prefix) || !is_plain(partition)) {
        return -EINVAL;
    }
    buf_addstr(out, "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":");
    add_actions(scope, out);
    buf_addf(out, ",\"Resource\":\"arn:%s:s3:::%s/%s*\"}", partition, scope->bucket, scope->prefix);
    buf_addf(out,
             ",{\"Effect\":\"Allow\",\"Action\":\"s3:GetBucketLocation\","
             "\"Resource\":\"arn:%s:s3:::%s\"}",
             partition, scope->bucket);
    buf_addf(out,
             ",{\"Effect\":\"Allow\",\"Action\":\"s3:ListBucket\",\"Resource\":\"arn:%s:s3:::%s\"",
             partition, scope->bucket);
    if (scope->prefix[0] != '\0') {
        buf_addf(out, ",\"Condition\":{\"StringLike\":{\"s3:prefix\":\"%s*\"}}", scope->prefix);
    }
    buf_addstr(out, "}");
    if (scope->aws) {
        add_kms(scope, partition, out);
    }
    buf_addstr(out, "]}");
    return buf_error(out) != 0                                ? buf_error(out)
           : buf_len(out) - begin > (size_t)S3_STS_POLICY_MAX ? -EFBIG
                                                              : 0;
}

/* ---- the request ---- */

static void add_field(struct buf *out, const char *name, const char *value)
{
    buf_addf(out, "&%s=", name);
    encode_percent(out, slice_of(value), false);
}

int s3_sts_form(const struct s3_sts_wish *wish, struct buf *out)
{
    buf_addf(out, "Action=AssumeRole&Version=2011-06-15&DurationSeconds=%u", wish->duration_s);
    if (wish->role_arn != NULL && wish->role_arn[0] != '\0') {
        add_field(out, "RoleArn", wish->role_arn);
    }
    add_field(out, "RoleSessionName", wish->session_name);
    add_field(out, "Policy", wish->policy);
    return buf_error(out);
}

/* ---- the answer ---- */

#define RESULT "AssumeRoleResponse/AssumeRoleResult/Credentials/"
#define REFUSAL "ErrorResponse/Error/"

/* Letters that a header can carry: all that keys and tokens are made of. */
static int take_key(struct slice text, char *ret, size_t cap)
{
    if (ret[0] != '\0' || text.len == 0 || text.len >= cap) {
        return -EINVAL;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] <= 0x20 || text.data[i] >= 0x7f) {
            return -EINVAL;
        }
    }
    memcpy(ret, text.data, text.len);
    ret[text.len] = '\0';
    return 0;
}

static void take_code(struct slice text, char ret[S3_STS_CODE_MAX])
{
    size_t len = 0;

    for (size_t i = 0; i < text.len && len + 1 < S3_STS_CODE_MAX; i++) {
        char c = text.data[i];

        if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
            c == '.') {
            ret[len++] = c;
        }
    }
    ret[len] = '\0';
}

/* Behind the first line some servers repeat what was signed, with the caller's own token in it. */
static void take_message(struct slice text, char ret[S3_STS_MESSAGE_MAX])
{
    size_t len = 0;

    text = slice_trim(text);
    while (len < text.len && len + 1 < S3_STS_MESSAGE_MAX && text.data[len] != '\n' &&
           text.data[len] != '\r') {
        ret[len] = '?';
        if (text.data[len] >= 0x20 && text.data[len] < 0x7f) {
            ret[len] = text.data[len];
        }
        len++;
    }
    ret[len] = '\0';
}

static int take_text(void *arg, const char *path, struct slice text)
{
    struct s3_sts_answer *answer = arg;
    int64_t time_ns = 0;
    int r = 0;

    if (strcmp(path, RESULT "AccessKeyId") == 0) {
        r = take_key(slice_trim(text), answer->access_key, sizeof(answer->access_key));
    } else if (strcmp(path, RESULT "SecretAccessKey") == 0) {
        r = take_key(slice_trim(text), answer->secret_key, sizeof(answer->secret_key));
    } else if (strcmp(path, RESULT "SessionToken") == 0) {
        r = take_key(slice_trim(text), answer->token, sizeof(answer->token));
    } else if (strcmp(path, RESULT "Expiration") == 0) {
        r = s3_iso_date_parse(slice_trim(text), &time_ns);
        answer->expires_s = time_ns / 1000000000;
    } else if (strcmp(path, REFUSAL "Code") == 0) {
        take_code(text, answer->code);
    } else if (strcmp(path, REFUSAL "Message") == 0) {
        take_message(text, answer->message);
    }
    return r < 0 ? -EINVAL : 0;
}

int s3_sts_answer_parse(const void *body, size_t len, struct s3_sts_answer *ret)
{
    struct s3_fault fault = S3_FAULT_INIT;
    int r = len > S3_STS_BODY_MAX ? -EINVAL : 0;
    bool whole;

    memset(ret, 0, sizeof(*ret));
    r = r == 0
            ? s3_xml_walk(body, len, &(struct s3_xml_walker){.text = take_text, .arg = ret}, &fault)
            : r;
    whole = ret->access_key[0] != '\0' && ret->secret_key[0] != '\0' && ret->token[0] != '\0' &&
            ret->expires_s > 0;
    if (r == 0 && !whole && (ret->access_key[0] != '\0' || ret->code[0] == '\0')) {
        r = -EINVAL;
    }
    if (r != 0) {
        s3_sts_answer_done(ret);
    } else if (!whole) { /* no half of a key pair stays */
        ret->secret_key[0] = '\0';
        ret->token[0] = '\0';
    }
    return r;
}

void s3_sts_answer_done(struct s3_sts_answer *answer)
{
    OPENSSL_cleanse(answer, sizeof(*answer));
}

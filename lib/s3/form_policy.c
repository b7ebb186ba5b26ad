/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/form_policy.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "s3/checksum.h"
#include "s3/conditions.h"
#include "util/buf.h"
#include "util/cleanup.h"
#include "util/encode.h"

enum { POLICY_MAX = S3_FORM_HEAD_MAX };

/* ---- signature ---- */

/* Behind s3_fault_set(): the field that it is about, as AWS tells it. */
static int about(const char *field, const char *value, struct s3_fault *fault)
{
    (void)s3_fault_detail(fault, "ArgumentName", slice_of(field));
    return s3_fault_detail(fault, "ArgumentValue", slice_of(value));
}

static int missing(const char *field, struct s3_fault *fault)
{
    (void)s3_fault_set(fault, S3_INVALID_ARGUMENT,
                       "Bucket POST must contain a field named '%s'.  If it is specified, please "
                       "check the order of the fields.",
                       field);
    return about(field, "", fault);
}

/* What stands behind the access key: date, region, service, end. */
static int check_scope(const struct slice parts[4], const char *region, struct s3_fault *fault)
{
    struct slice date = parts[0];

    if (date.len != S3_DATE_SIZE - 1 || strspn(date.data, "0123456789") != S3_DATE_SIZE - 1) {
        return s3_fault_set(
            fault, S3_INVALID_ARGUMENT,
            "incorrect date format \"%.*s\". This date in the credential must be in "
            "the format \"yyyyMMdd\".",
            (int)(date.len < 32 ? date.len : 32), date.data);
    }
    if (!slice_eq_str(parts[1], region)) {
        return s3_fault_set(fault, S3_INVALID_ARGUMENT,
                            "the region \"%.*s\" is wrong; expecting \"%s\"",
                            (int)(parts[1].len < 64 ? parts[1].len : 64), parts[1].data, region);
    }
    if (!slice_eq_str(parts[2], "s3")) {
        return s3_fault_set(fault, S3_INVALID_ARGUMENT,
                            "incorrect service \"%.*s\". This endpoint belongs to \"s3\".",
                            (int)(parts[2].len < 64 ? parts[2].len : 64), parts[2].data);
    }
    if (!slice_eq_str(parts[3], "aws4_request")) {
        return s3_fault_set(fault, S3_INVALID_ARGUMENT,
                            "incorrect terminal \"%.*s\". This endpoint uses \"aws4_request\".",
                            (int)(parts[3].len < 64 ? parts[3].len : 64), parts[3].data);
    }
    return 0;
}

/* "AKID/20130524/region/s3/aws4_request"; an access key may hold slashes. */
static int parse_credential(const char *text, const char *region, struct s3_form_auth *ret,
                            struct s3_fault *fault)
{
    struct slice parts[4];
    size_t end = strlen(text);

    for (size_t i = 4; i-- > 0;) {
        const char *slash = end > 0 ? memrchr(text, '/', end) : NULL;

        if (slash == NULL) {
            (void)s3_fault_set(fault, S3_INVALID_ARGUMENT,
                               "the Credential is mal-formed; expecting "
                               "\"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".");
            return about("x-amz-credential", text, fault);
        }
        parts[i] = (struct slice){slash + 1, end - (size_t)(slash + 1 - text)};
        end = (size_t)(slash - text);
    }
    if (check_scope(parts, region, fault) != 0) {
        return about("x-amz-credential", text, fault);
    }
    if (end == 0 || end >= sizeof(ret->access_key)) {
        return s3_fault_set(fault, S3_INVALID_ACCESS_KEY_ID, "%s", "");
    }
    (void)snprintf(ret->access_key, sizeof(ret->access_key), "%.*s", (int)end, text);
    (void)snprintf(ret->date, sizeof(ret->date), "%.8s", parts[0].data);
    return 0;
}

static int parse_v2(const struct s3_form *form, const char *access, struct s3_form_auth *ret,
                    struct s3_fault *fault)
{
    if (access == NULL) {
        return missing("AWSAccessKeyId", fault);
    }
    if (s3_form_get(form, "signature") == NULL) {
        return missing("signature", fault);
    }
    if (s3_form_get(form, "policy") == NULL) {
        return missing("policy", fault);
    }
    if (strlen(access) >= sizeof(ret->access_key)) {
        return s3_fault_set(fault, S3_INVALID_ACCESS_KEY_ID, "%s", "");
    }
    (void)snprintf(ret->access_key, sizeof(ret->access_key), "%s", access);
    ret->kind = S3_FORM_V2;
    return 0;
}

int s3_form_auth_parse(const struct s3_form *form, const char *region, struct s3_form_auth *ret,
                       struct s3_fault *fault)
{
    static const char *const names[] = {"policy", "x-amz-algorithm", "x-amz-credential",
                                        "x-amz-date", "x-amz-signature"};
    const char *access = s3_form_get(form, "AWSAccessKeyId"), *date;
    size_t found = 0;
    int64_t when;

    *ret = (struct s3_form_auth){0};
    for (size_t i = 0; i < 5; i++) {
        found += s3_form_get(form, names[i]) != NULL ? 1 : 0;
    }
    if (access != NULL || s3_form_get(form, "signature") != NULL) {
        return parse_v2(form, access, ret, fault);
    }
    if (found == 0) {
        return 0;
    }
    for (size_t i = 0; i < 5; i++) {
        if (s3_form_get(form, names[i]) == NULL) {
            return missing(names[i], fault);
        }
    }
    if (strcmp(s3_form_get(form, names[1]), "AWS4-HMAC-SHA256") != 0) {
        (void)s3_fault_set(fault, S3_INVALID_ARGUMENT, "Only AWS4-HMAC-SHA256 is supported");
        return about(names[1], s3_form_get(form, names[1]), fault);
    }
    date = s3_form_get(form, "x-amz-date");
    if (s3_timestamp_parse(slice_of(date), &when) != 0) {
        (void)s3_fault_set(fault, S3_INVALID_ARGUMENT,
                           "X-Amz-Date must be formated via ISO8601 Long format");
        return about("x-amz-date", date, fault);
    }
    ret->kind = S3_FORM_V4;
    return parse_credential(s3_form_get(form, "x-amz-credential"), region, ret, fault);
}

int s3_form_auth_verify(const struct s3_form *form, const struct s3_form_auth *auth,
                        const char *secret, const struct s3_signing_key *key,
                        struct s3_fault *fault)
{
    CLEANUP(buf_done) struct buf ours = BUF_INIT(256);
    const char *policy = s3_form_get(form, "policy");
    bool v4 = auth->kind == S3_FORM_V4;
    const char *theirs = s3_form_get(form, v4 ? "x-amz-signature" : "signature");
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned int len = 0;

    if (policy == NULL || theirs == NULL ||
        HMAC(v4 ? EVP_sha256() : EVP_sha1(), v4 ? (const void *)key->bytes : secret,
             v4 ? (int)sizeof(key->bytes) : (int)strlen(secret), (const unsigned char *)policy,
             strlen(policy), mac, &len) == NULL) {
        return s3_fault_set(fault, S3_INTERNAL_ERROR, "cannot check the signature");
    }
    if (v4) {
        encode_hex(&ours, mac, len);
    } else {
        encode_base64(&ours, mac, len);
    }
    if (buf_error(&ours) != 0) {
        return s3_fault_set(fault, S3_INTERNAL_ERROR, "cannot check the signature");
    }
    return s3_checksum_same(slice_of(theirs), slice_of(buf_str(&ours)))
               ? 0
               : s3_fault_set(fault, S3_SIGNATURE_DOES_NOT_MATCH, "%s", "");
}

/* ---- policy ---- */

struct check {
    const struct s3_form *form;
    const struct s3_form_target *target;
    struct s3_form_limits limits;
    bool bucket, key;                 /* a condition names it */
    bool covered[S3_FORM_FIELDS_MAX]; /* by a condition */
    struct s3_fault *fault;
};

static int invalid(struct check *check, const char *what)
{
    return s3_fault_set(check->fault, S3_INVALID_POLICY_DOCUMENT, "Invalid Policy: %s", what);
}

static int condition_failed(struct check *check, const cJSON *condition)
{
    char *text = cJSON_PrintUnformatted(condition);
    int ret = s3_fault_set(check->fault, S3_ACCESS_DENIED,
                           "Invalid according to Policy: Policy Condition failed: %s",
                           text != NULL ? text : "");

    cJSON_free(text);
    return ret;
}

/* The value of a field, or of what the request says itself; marks it as covered. */
static const char *value_of(struct check *check, const char *name)
{
    const struct s3_form_field *fields;
    size_t count;

    if (strcasecmp(name, "bucket") == 0) {
        check->bucket = true;
    }
    check->key = check->key || strcasecmp(name, "key") == 0;
    fields = s3_form_fields(check->form, &count);
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(fields[i].name, name) == 0) {
            check->covered[i] = true;
            return strcasecmp(name, "key") == 0 ? check->target->key : fields[i].value;
        }
    }
    return strcasecmp(name, "bucket") == 0 ? check->target->bucket : "";
}

static bool starts_with(const char *name, const char *value, const char *prefix)
{
    size_t len = strlen(prefix);
    bool list = strcasecmp(name, "Content-Type") == 0;

    while (strncmp(value, prefix, len) == 0) {
        const char *comma = list ? strchr(value, ',') : NULL;

        if (comma == NULL) {
            return true;
        }
        value = comma + 1 + strspn(comma + 1, " ");
    }
    return false;
}

/* A whole number that a JSON number or its text holds. */
static bool whole(const cJSON *item, uint64_t *ret)
{
    if (cJSON_IsNumber(item)) {
        *ret = item->valuedouble >= 0 ? (uint64_t)item->valuedouble : 0;
        return item->valuedouble >= 0 && item->valuedouble < 9007199254740992.0;
    }
    if (cJSON_IsString(item) && item->valuestring[0] != '\0' &&
        strspn(item->valuestring, "0123456789") == strlen(item->valuestring)) {
        errno = 0;
        *ret = strtoull(item->valuestring, NULL, 10);
        return errno == 0;
    }
    return false;
}

static int check_range(struct check *check, const cJSON *condition)
{
    uint64_t min, max;

    if (cJSON_GetArraySize(condition) != 3) {
        return invalid(check, "Invalid content-length-range: wrong number of arguments.");
    }
    if (!whole(cJSON_GetArrayItem(condition, 1), &min) ||
        !whole(cJSON_GetArrayItem(condition, 2), &max)) {
        return invalid(check, "Invalid JSON.");
    }
    check->limits.min = min > check->limits.min ? min : check->limits.min;
    check->limits.max = max < check->limits.max ? max : check->limits.max;
    return 0;
}

static int check_list(struct check *check, const cJSON *condition)
{
    const cJSON *operation = cJSON_GetArrayItem(condition, 0);
    const cJSON *name = cJSON_GetArrayItem(condition, 1);
    const cJSON *wanted = cJSON_GetArrayItem(condition, 2);
    const char *value;
    bool prefix;

    if (operation == NULL) {
        return invalid(check, "Invalid Condition: missing operation identifier.");
    }
    if (!cJSON_IsString(operation)) {
        return invalid(check, "Invalid JSON.");
    }
    if (strcasecmp(operation->valuestring, "content-length-range") == 0) {
        return check_range(check, condition);
    }
    prefix = strcasecmp(operation->valuestring, "starts-with") == 0;
    if (!prefix && strcasecmp(operation->valuestring, "eq") != 0) {
        return invalid(check, "Invalid Condition: unknown operation.");
    }
    if (cJSON_GetArraySize(condition) != 3) {
        return invalid(check, "Invalid Condition: wrong number of arguments.");
    }
    if (!cJSON_IsString(name) || !cJSON_IsString(wanted)) {
        return invalid(check, "Invalid JSON.");
    }
    if (name->valuestring[0] != '$') {
        return condition_failed(check, condition);
    }
    value = value_of(check, name->valuestring + 1);
    return (prefix ? starts_with(name->valuestring + 1, value, wanted->valuestring)
                   : strcmp(value, wanted->valuestring) == 0)
               ? 0
               : condition_failed(check, condition);
}

static int check_object(struct check *check, const cJSON *condition)
{
    const cJSON *only = condition->child;

    if (cJSON_GetArraySize(condition) != 1) {
        return invalid(check, "Invalid Simple-Condition: Simple-Conditions must have exactly one "
                              "property specified.");
    }
    if (!cJSON_IsString(only)) {
        return invalid(check, "Invalid Simple-Condition: value must be a string.");
    }
    return strcmp(value_of(check, only->string), only->valuestring) == 0
               ? 0
               : condition_failed(check, condition);
}

static int check_expiration(struct check *check, const cJSON *expiration, int64_t now_s)
{
    int64_t when_ns;

    if (expiration == NULL) {
        return invalid(check, "Policy missing expiration.");
    }
    if (!cJSON_IsString(expiration)) {
        return invalid(check, "Invalid JSON.");
    }
    if (s3_iso_date_parse(slice_of(expiration->valuestring), &when_ns) != 0) {
        return invalid(check, "Invalid 'expiration' value.");
    }
    return when_ns / 1000000000 > now_s
               ? 0
               : s3_fault_set(check->fault, S3_ACCESS_DENIED,
                              "Invalid according to Policy: Policy expired.");
}

/* Fields that no condition has to name. */
static bool exempt(const char *name)
{
    static const char *const names[] = {"AWSAccessKeyId",  "file",  "policy", "signature",
                                        "x-amz-signature", "bucket"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcasecmp(name, names[i]) == 0) {
            return true;
        }
    }
    return strncasecmp(name, "x-ignore-", 9) == 0;
}

static int check_coverage(const struct check *check)
{
    static const char text[] = "Invalid according to Policy: Extra input fields: %.64s";
    size_t count;
    const struct s3_form_field *fields = s3_form_fields(check->form, &count);

    if (!check->bucket || !check->key) {
        return s3_fault_set(check->fault, S3_ACCESS_DENIED, text, check->bucket ? "key" : "bucket");
    }
    for (size_t i = 0; i < count; i++) {
        if (!check->covered[i] && !exempt(fields[i].name)) {
            return s3_fault_set(check->fault, S3_ACCESS_DENIED, text, fields[i].name);
        }
    }
    return 0;
}

static int check_document(struct check *check, const cJSON *policy, int64_t now_s)
{
    const cJSON *conditions = cJSON_GetObjectItemCaseSensitive(policy, "conditions");
    const cJSON *item;
    int ret;

    cJSON_ArrayForEach(item, policy)
    {
        if (strcmp(item->string, "expiration") != 0 && strcmp(item->string, "conditions") != 0) {
            return invalid(check, "Unexpected member.");
        }
    }
    ret = check_expiration(check, cJSON_GetObjectItemCaseSensitive(policy, "expiration"), now_s);
    if (ret != 0) {
        return ret;
    }
    if (conditions == NULL) {
        return invalid(check, "Policy missing conditions.");
    }
    if (!cJSON_IsArray(conditions)) {
        return invalid(check, "Invalid 'conditions' value: must be a List.");
    }
    cJSON_ArrayForEach(item, conditions)
    {
        ret = cJSON_IsArray(item)    ? check_list(check, item)
              : cJSON_IsObject(item) ? check_object(check, item)
                                     : invalid(check, "Invalid condition test: must be a List or "
                                                      "Object.");
        if (ret != 0) {
            return ret;
        }
    }
    return check_coverage(check);
}

int s3_form_policy_check(const struct s3_form *form, const struct s3_form_target *target,
                         int64_t now_s, struct s3_form_limits *ret, struct s3_fault *fault)
{
    struct check check = {
        .form = form, .target = target, .limits = {0, UINT64_MAX}, .fault = fault};
    const char *text = s3_form_get(form, "policy");
    char *plain = malloc(POLICY_MAX);
    cJSON *policy = NULL;
    size_t len = 0;
    int error;

    if (plain == NULL) {
        return s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
    }
    if (text == NULL || decode_base64(slice_of(text), plain, POLICY_MAX, &len) != 0) {
        error = invalid(&check, "invalid Base64 encoding.");
    } else {
        policy = cJSON_ParseWithLength(plain, len);
        error = cJSON_IsObject(policy) ? check_document(&check, policy, now_s)
                                       : invalid(&check, "Invalid JSON.");
    }
    cJSON_Delete(policy);
    free(plain);
    if (error == 0) {
        *ret = check.limits;
    }
    return error;
}

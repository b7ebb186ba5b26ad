/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/policy_condition.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "s3/wildcard.h"

enum { ADDRESS_MAX = 64, NUMBER_MAX = 20 };

/* What a key holds, and so which operators can be asked of it. */
enum holds { TEXT, NAME, NUMBER, TRUTH, ADDRESS };

/* Which actions have the key. */
enum about { ALL, LISTS, WRITES, LISTED, VERSIONS, TAGGED, TAGGING };

static const struct key {
    const char *name;
    enum holds holds;
    enum about about;
} keys[S3_KEY_COUNT] = {
    [S3_KEY_SOURCE_IP] = {"aws:SourceIp", ADDRESS, ALL},
    [S3_KEY_SECURE_TRANSPORT] = {"aws:SecureTransport", TRUTH, ALL},
    [S3_KEY_USERNAME] = {"aws:username", TEXT, ALL},
    [S3_KEY_PRINCIPAL_ARN] = {"aws:PrincipalArn", NAME, ALL},
    [S3_KEY_REFERER] = {"aws:Referer", TEXT, ALL},
    [S3_KEY_USER_AGENT] = {"aws:UserAgent", TEXT, ALL},
    [S3_KEY_PREFIX] = {"s3:prefix", TEXT, LISTS},
    [S3_KEY_DELIMITER] = {"s3:delimiter", TEXT, LISTS},
    [S3_KEY_MAX_KEYS] = {"s3:max-keys", NUMBER, LISTS},
    [S3_KEY_VERSION_ID] = {"s3:VersionId", TEXT, VERSIONS},
    [S3_KEY_AUTH_TYPE] = {"s3:authType", TEXT, ALL},
    [S3_KEY_SIGNATURE_VERSION] = {"s3:signatureversion", TEXT, ALL},
    [S3_KEY_COPY_SOURCE] = {"s3:x-amz-copy-source", TEXT, WRITES},
    [S3_KEY_EXISTING_TAG] = {"s3:ExistingObjectTag/", TEXT, TAGGED},
    [S3_KEY_REQUEST_TAG] = {"s3:RequestObjectTag/", TEXT, TAGGING},
    [S3_KEY_ACL] = {"s3:x-amz-acl", TEXT, LISTED},
    [S3_KEY_CONTENT_SHA256] = {"s3:x-amz-content-sha256", TEXT, ALL},
    [S3_KEY_GRANT_FULL_CONTROL] = {"s3:x-amz-grant-full-control", TEXT, LISTED},
    [S3_KEY_GRANT_READ] = {"s3:x-amz-grant-read", TEXT, LISTED},
    [S3_KEY_GRANT_READ_ACP] = {"s3:x-amz-grant-read-acp", TEXT, LISTED},
    [S3_KEY_GRANT_WRITE] = {"s3:x-amz-grant-write", TEXT, LISTED},
    [S3_KEY_GRANT_WRITE_ACP] = {"s3:x-amz-grant-write-acp", TEXT, LISTED},
    [S3_KEY_METADATA_DIRECTIVE] = {"s3:x-amz-metadata-directive", TEXT, WRITES},
    [S3_KEY_ENCRYPTION] = {"s3:x-amz-server-side-encryption", TEXT, WRITES},
    [S3_KEY_ENCRYPTION_KEY] = {"s3:x-amz-server-side-encryption-aws-kms-key-id", TEXT, WRITES},
    [S3_KEY_ENCRYPTION_CUSTOMER] = {"s3:x-amz-server-side-encryption-customer-algorithm", TEXT,
                                    WRITES},
    [S3_KEY_STORAGE_CLASS] = {"s3:x-amz-storage-class", TEXT, WRITES},
};

enum compare {
    EQUALS,
    EQUALS_FOLD,
    LIKE,
    NUMBER_EQUALS,
    NUMBER_LESS,
    NUMBER_LESS_EQUALS,
    NUMBER_GREATER,
    NUMBER_GREATER_EQUALS,
    IS_TRUE,
    IN_NET,
    IS_ABSENT
};

static const struct operator
{
    const char *name;
    enum compare compare;
    bool negated;
}
operators[] = {
    {"StringEquals", EQUALS, false},
    {"StringNotEquals", EQUALS, true},
    {"StringEqualsIgnoreCase", EQUALS_FOLD, false},
    {"StringNotEqualsIgnoreCase", EQUALS_FOLD, true},
    {"StringLike", LIKE, false},
    {"StringNotLike", LIKE, true},
    {"ArnEquals", LIKE, false},
    {"ArnNotEquals", LIKE, true},
    {"ArnLike", LIKE, false},
    {"ArnNotLike", LIKE, true},
    {"NumericEquals", NUMBER_EQUALS, false},
    {"NumericNotEquals", NUMBER_EQUALS, true},
    {"NumericLessThan", NUMBER_LESS, false},
    {"NumericLessThanEquals", NUMBER_LESS_EQUALS, false},
    {"NumericGreaterThan", NUMBER_GREATER, false},
    {"NumericGreaterThanEquals", NUMBER_GREATER_EQUALS, false},
    {"Bool", IS_TRUE, false},
    {"IpAddress", IN_NET, false},
    {"NotIpAddress", IN_NET, true},
    {"Null", IS_ABSENT, false},
};

struct address {
    unsigned char bytes[16];
    size_t len; /* 4 or 16 */
};

struct value {
    struct slice text;
    long long number;
    struct address net;
    unsigned bits;
};

struct s3_condition {
    enum compare compare;
    bool negated, if_exists;
    enum s3_policy_key key;
    const char *tag;
    struct value *values;
    size_t count;
};

const char *s3_policy_header(enum s3_policy_key key)
{
    return keys[key].name + sizeof("s3:") - 1;
}

/* ---- values ---- */

static bool parse_number(struct slice text, long long *ret)
{
    char copy[NUMBER_MAX];
    char *end;

    if (text.len == 0 || text.len >= sizeof(copy) ||
        (text.data[0] != '-' && (text.data[0] < '0' || text.data[0] > '9'))) {
        return false;
    }
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    errno = 0;
    *ret = strtoll(copy, &end, 10);
    return end == copy + text.len && end[-1] != '-' && errno == 0;
}

static bool parse_address(struct slice text, struct address *ret)
{
    static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    char copy[ADDRESS_MAX];

    *ret = (struct address){0};
    if (text.len == 0 || text.len >= sizeof(copy)) {
        return false;
    }
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    if (inet_pton(AF_INET, copy, ret->bytes) == 1) {
        ret->len = 4;
        return true;
    }
    if (inet_pton(AF_INET6, copy, ret->bytes) != 1) {
        return false;
    }
    ret->len = 16;
    if (memcmp(ret->bytes, mapped, sizeof(mapped)) == 0) {
        memmove(ret->bytes, ret->bytes + 12, 4);
        ret->len = 4;
    }
    return true;
}

/* "10.0.0.0/8", "2001:db8::/32", or an address alone. */
static bool parse_net(struct value *value)
{
    struct slice text = value->text;
    const char *slash = memchr(text.data, '/', text.len);
    size_t len = slash != NULL ? (size_t)(slash - text.data) : text.len;
    long long bits;

    if (!parse_address((struct slice){text.data, len}, &value->net)) {
        return false;
    }
    value->bits = (unsigned)value->net.len * 8;
    if (slash == NULL) {
        return true;
    }
    if (value->net.len == 4 && memchr(text.data, ':', len) != NULL) {
        return false; /* of which of the two would the bits be? */
    }
    if (!parse_number((struct slice){slash + 1, text.len - len - 1}, &bits) || bits < 0 ||
        bits > (long long)value->bits) {
        return false;
    }
    value->bits = (unsigned)bits;
    return true;
}

static bool in_net(const struct value *net, const struct address *address)
{
    unsigned whole = net->bits / 8, rest = net->bits % 8;

    if (net->net.len != address->len || memcmp(net->net.bytes, address->bytes, whole) != 0) {
        return false;
    }
    return rest == 0 ||
           ((unsigned)net->net.bytes[whole] ^ address->bytes[whole]) >> (8 - rest) == 0;
}

static bool is_truth(struct slice text)
{
    return (text.len == 4 && strncasecmp(text.data, "true", 4) == 0) ||
           (text.len == 5 && strncasecmp(text.data, "false", 5) == 0);
}

/* ---- reading ---- */

struct reader {
    struct arena *arena;
    struct s3_fault *fault;
    const struct s3_action_set *exact, *all;
    struct s3_conditions_read *into;
    size_t room;
};

static int malformed(struct reader *r, const char *what, const char *name)
{
    return s3_fault_set(r->fault, S3_MALFORMED_POLICY, "%s%.100s", what, name);
}

static bool is_listed(unsigned action)
{
    return action == S3_ACTION_PUT_OBJECT || action == S3_ACTION_PUT_OBJECT_ACL ||
           action == S3_ACTION_PUT_VERSION_ACL || action == S3_ACTION_PUT_BUCKET_ACL ||
           action == S3_ACTION_CREATE_BUCKET;
}

static bool is_tagged(unsigned action)
{
    static const enum s3_action tagged[] = {
        S3_ACTION_DELETE_OBJECT_TAGGING,
        S3_ACTION_DELETE_VERSION_TAGGING,
        S3_ACTION_GET_OBJECT,
        S3_ACTION_GET_OBJECT_ACL,
        S3_ACTION_GET_OBJECT_ATTRIBUTES,
        S3_ACTION_GET_OBJECT_TAGGING,
        S3_ACTION_GET_VERSION,
        S3_ACTION_GET_VERSION_ACL,
        S3_ACTION_GET_VERSION_TAGGING,
        S3_ACTION_GET_VERSION_ATTRIBUTES,
        S3_ACTION_PUT_OBJECT_ACL,
        S3_ACTION_PUT_OBJECT_TAGGING,
        S3_ACTION_PUT_VERSION_ACL,
        S3_ACTION_PUT_VERSION_TAGGING,
    };

    for (size_t i = 0; i < sizeof(tagged) / sizeof(tagged[0]); i++) {
        if (action == tagged[i]) {
            return true;
        }
    }
    return false;
}

static bool applies(enum about about, unsigned action)
{
    switch (about) {
    case LISTS:
        return action == S3_ACTION_LIST_BUCKET || action == S3_ACTION_LIST_BUCKET_VERSIONS;
    case WRITES:
        return action == S3_ACTION_PUT_OBJECT;
    case LISTED:
        return is_listed(action);
    case VERSIONS:
        return s3_action_level((enum s3_action)action) == S3_ACTION_OF_OBJECT &&
               strstr(s3_action_name((enum s3_action)action), "Version") != NULL;
    case TAGGED:
        return is_tagged(action);
    case TAGGING:
        return action == S3_ACTION_PUT_OBJECT || action == S3_ACTION_PUT_OBJECT_TAGGING ||
               action == S3_ACTION_PUT_VERSION_TAGGING;
    case ALL:
    default:
        return true;
    }
}

static bool goes_with_actions(const struct reader *r, enum s3_policy_key key)
{
    bool one = false;

    for (unsigned i = 0; i < S3_ACTION_COUNT; i++) {
        bool fits = applies(keys[key].about, i);

        if (!fits && s3_action_in(r->exact, i)) {
            return false;
        }
        one = one || (fits && s3_action_in(r->all, i));
    }
    return one;
}

static int find_key(struct reader *r, const char *name, struct s3_condition *c)
{
    for (unsigned i = 0; i < S3_KEY_COUNT; i++) {
        const char *known = keys[i].name;
        size_t len = strlen(known);
        bool tag = known[len - 1] == '/';

        if (tag ? strncasecmp(name, known, len) == 0 && name[len] != '\0'
                : strcasecmp(name, known) == 0) {
            c->key = (enum s3_policy_key)i;
            c->tag = tag ? arena_strdup(r->arena, name + len) : NULL;
            return !tag || c->tag != NULL ? 0 : s3_fault_set(r->fault, S3_INTERNAL_ERROR, "%s", "");
        }
    }
    return malformed(r, "Policy has an invalid condition key", "");
}

static int find_operator(struct reader *r, const char *name, struct s3_condition *c)
{
    static const char suffix[] = "IfExists";
    size_t len = strlen(name), cut = sizeof(suffix) - 1;

    c->if_exists = len > cut && strcmp(name + len - cut, suffix) == 0;
    len -= c->if_exists ? cut : 0;
    for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
        const struct operator* o = & operators[i];

        if (strlen(o->name) == len && memcmp(o->name, name, len) == 0 &&
            !(o->compare == IS_ABSENT && c->if_exists)) {
            c->compare = o->compare;
            c->negated = o->negated;
            return 0;
        }
    }
    return malformed(r, "Invalid Condition type : ", name);
}

/* An operator that could never say anything of the key would be one that is ignored. */
static bool goes_together(const char *name, const struct s3_condition *c)
{
    switch (keys[c->key].holds) {
    case ADDRESS:
        return c->compare == IN_NET;
    case NUMBER:
        return (c->compare >= NUMBER_EQUALS && c->compare <= NUMBER_GREATER_EQUALS) ||
               c->compare == IS_ABSENT;
    case TRUTH:
        return c->compare == IS_TRUE || c->compare == IS_ABSENT;
    case NAME:
        return c->compare <= LIKE || c->compare == IS_ABSENT;
    case TEXT:
    default:
        return (c->compare <= LIKE && strncmp(name, "Arn", 3) != 0) || c->compare == IS_ABSENT;
    }
}

static int text_of(struct reader *r, const cJSON *json, struct slice *ret)
{
    char number[32];
    const char *text = NULL;

    if (cJSON_IsString(json)) {
        text = json->valuestring;
    } else if (cJSON_IsBool(json)) {
        text = cJSON_IsTrue(json) ? "true" : "false";
    } else if (cJSON_IsNumber(json) && json->valuedouble > -1e15 && json->valuedouble < 1e15 &&
               json->valuedouble == (double)(long long)json->valuedouble) {
        (void)snprintf(number, sizeof(number), "%lld", (long long)json->valuedouble);
        text = number;
    }
    if (text == NULL) {
        return malformed(r, "A value in Condition is neither text, number nor truth", "");
    }
    *ret = slice_of(arena_strdup(r->arena, text));
    return ret->data != NULL ? 0 : s3_fault_set(r->fault, S3_INTERNAL_ERROR, "%s", "");
}

static int check_value(struct reader *r, const struct s3_condition *c, struct value *value)
{
    if (keys[c->key].holds == ADDRESS) {
        return parse_net(value) && c->compare == IN_NET
                   ? 0
                   : malformed(r, "Invalid IP address in Conditions", "");
    }
    if ((c->compare == IS_TRUE || c->compare == IS_ABSENT) && !is_truth(value->text)) {
        return malformed(r, "Neither true nor false for ", keys[c->key].name);
    }
    if (c->compare >= NUMBER_EQUALS && c->compare <= NUMBER_GREATER_EQUALS &&
        !parse_number(value->text, &value->number)) {
        return malformed(r, "Not a whole number for ", keys[c->key].name);
    }
    if (c->key == S3_KEY_COPY_SOURCE && value->text.len > 0 && value->text.data[0] == '/') {
        value->text = (struct slice){value->text.data + 1, value->text.len - 1};
    }
    return 0;
}

static int read_values(struct reader *r, const cJSON *json, struct s3_condition *c)
{
    const cJSON *one = cJSON_IsArray(json) ? json->child : json;
    size_t count = cJSON_IsArray(json) ? (size_t)cJSON_GetArraySize(json) : 1;
    int ret = count > 0 ? 0 : malformed(r, "Condition has no value for ", keys[c->key].name);

    c->values = arena_array(r->arena, count, sizeof(*c->values));
    if (ret == 0 && c->values == NULL) {
        ret = s3_fault_set(r->fault, S3_INTERNAL_ERROR, "%s", "");
    }
    for (; ret == 0 && c->count < count; one = one->next) {
        ret = text_of(r, one, &c->values[c->count].text);
        ret = ret == 0 ? check_value(r, c, &c->values[c->count]) : ret;
        c->count++;
    }
    return ret;
}

/* So wide a net is everybody, as S3 has it. */
static bool is_narrow(const struct s3_condition *c)
{
    bool who = c->key == S3_KEY_USERNAME || c->key == S3_KEY_PRINCIPAL_ARN;

    if (c->negated || c->if_exists || !(who ? c->compare <= LIKE : c->compare == IN_NET)) {
        return false;
    }
    for (size_t i = 0; i < c->count; i++) {
        const struct value *v = &c->values[i];

        if (who ? c->compare == LIKE && (memchr(v->text.data, '*', v->text.len) != NULL ||
                                         memchr(v->text.data, '?', v->text.len) != NULL)
                : v->bits < (v->net.len == 4 ? 8 : 32)) {
            return false;
        }
    }
    return true;
}

static int read_one(struct reader *r, const char *name, const cJSON *json)
{
    struct s3_condition *c = &r->into->list[r->into->count];
    int ret = find_operator(r, name, c);

    if (r->into->count == r->room) {
        return s3_fault_set(r->fault, S3_INTERNAL_ERROR, "%s", "");
    }
    ret = ret == 0 ? find_key(r, json->string, c) : ret;
    ret = ret == 0 ? read_values(r, json, c) : ret;
    if (ret == 0 && !goes_together(name, c)) {
        ret = s3_fault_set(r->fault, S3_MALFORMED_POLICY, "%.60s cannot be asked of %s", name,
                           keys[c->key].name);
    }
    if (ret == 0 && !goes_with_actions(r, c->key)) {
        ret = malformed(
            r, "Conditions do not apply to combination of actions and resources in statement", "");
    }
    r->into->existing_tags = r->into->existing_tags || c->key == S3_KEY_EXISTING_TAG;
    r->into->narrow = r->into->narrow || (ret == 0 && is_narrow(c));
    r->into->count++;
    return ret;
}

int s3_conditions_read(const cJSON *condition, const struct s3_action_set *exact,
                       const struct s3_action_set *all, struct arena *arena,
                       struct s3_conditions_read *ret, struct s3_fault *fault)
{
    struct reader r = {arena, fault, exact, all, ret, 0};
    const cJSON *op, *key;
    int error = 0;

    *ret = (struct s3_conditions_read){0};
    if (!cJSON_IsObject(condition)) {
        return malformed(&r, "Condition is not an object", "");
    }
    cJSON_ArrayForEach(op, condition)
    {
        r.room += cJSON_IsObject(op) ? (size_t)cJSON_GetArraySize(op) : 0;
    }
    ret->list = arena_array(arena, r.room + 1, sizeof(*ret->list));
    if (ret->list == NULL) {
        return s3_fault_set(fault, S3_INTERNAL_ERROR, "%s", "");
    }
    cJSON_ArrayForEach(op, condition)
    {
        struct s3_condition unused;

        if (error == 0 && (!cJSON_IsObject(op) || op->child == NULL)) {
            error = find_operator(&r, op->string, &unused);
            error = error == 0 ? malformed(&r, "No condition key in ", op->string) : error;
        }
        cJSON_ArrayForEach(key, op)
        {
            error = error == 0 ? read_one(&r, op->string, key) : error;
        }
    }
    return error;
}

/* ---- matching ---- */

static bool number_holds(enum compare compare, long long a, long long b)
{
    switch (compare) {
    case NUMBER_LESS:
        return a < b;
    case NUMBER_LESS_EQUALS:
        return a <= b;
    case NUMBER_GREATER:
        return a > b;
    case NUMBER_GREATER_EQUALS:
        return a >= b;
    default:
        return a == b;
    }
}

static bool holds(const struct s3_condition *c, const struct value *value, struct slice said)
{
    struct address address;
    long long number;

    switch (c->compare) {
    case EQUALS:
        return slice_eq(value->text, said);
    case EQUALS_FOLD:
    case IS_TRUE:
        return value->text.len == said.len &&
               strncasecmp(value->text.data, said.data, said.len) == 0;
    case LIKE:
        return s3_wildcard_match(value->text, said, false);
    case IN_NET:
        return parse_address(said, &address) && in_net(value, &address);
    case IS_ABSENT:
        return (value->text.len == 4) == (said.data == NULL); /* "true": it is */
    default:
        return parse_number(said, &number) && number_holds(c->compare, number, value->number);
    }
}

bool s3_conditions_match(const struct s3_conditions_read *conditions,
                         const struct s3_policy_values *values)
{
    for (size_t i = 0; i < conditions->count; i++) {
        const struct s3_condition *c = &conditions->list[i];
        struct slice said = values->get(values->arg, c->key, c->tag);
        bool any = false;

        if (said.data == NULL && c->compare != IS_ABSENT) {
            if (!c->if_exists && !c->negated) {
                return false;
            }
            continue;
        }
        for (size_t k = 0; k < c->count && !any; k++) {
            any = holds(c, &c->values[k], said);
        }
        if (any == c->negated) {
            return false;
        }
    }
    return true;
}

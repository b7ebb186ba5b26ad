/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/policy.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "s3/names.h"
#include "s3/wildcard.h"
#include "util/cleanup.h"

enum { DEPTH_MAX = 8, MEMORY_MAX = 4 * 1024 * 1024 };

static const char resource_prefix[] = "arn:aws:s3:::";

struct list {
    const char **items;
    size_t count;
};

struct statement {
    bool allow, anyone, not_resource;
    struct list principals; /* access keys */
    struct s3_action_set actions;
    struct list resources; /* without resource_prefix; "*" */
    struct s3_conditions_read conditions;
};

struct s3_policy {
    struct arena arena;
    struct statement *statements;
    size_t count;
    bool literal; /* of 2008: "${" is only that */
};

struct reader {
    struct s3_policy *policy;
    const char *bucket;
    const struct s3_policy_keys *keys;
    struct s3_fault *fault;
};

static int malformed(struct reader *r, const char *what, const char *name)
{
    return s3_fault_set(r->fault, S3_MALFORMED_POLICY, "%s%.100s", what, name);
}

static int no_memory(struct reader *r)
{
    return s3_fault_set(r->fault, S3_INTERNAL_ERROR, "out of memory");
}

/* ---- JSON ---- */

/* What the JSON reader would take and mean otherwise: too deep, and a NUL, which would end a text
 * before its end. */
static int check_text(struct reader *r, struct slice text)
{
    bool quoted = false;
    int depth = 0;

    if (!s3_utf8_valid(text) || memchr(text.data, '\0', text.len) != NULL) {
        return malformed(r, "This policy contains invalid Json", "");
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];

        if (quoted && c == '\\') {
            i++;
            if (text.len - i >= 5 && memcmp(text.data + i, "u0000", 5) == 0) {
                return malformed(r, "This policy contains invalid Json", "");
            }
        } else if (c == '"') {
            quoted = !quoted;
        } else if (!quoted && (c == '{' || c == '[')) {
            depth++;
        } else if (!quoted && (c == '}' || c == ']')) {
            depth--;
        }
        if (depth > DEPTH_MAX) {
            return malformed(r, "The policy is nested too deep", "");
        }
    }
    return 0;
}

static int parse_json(struct reader *r, struct slice text, cJSON **ret)
{
    const char *end = NULL;
    size_t rest;
    int error;

    if (text.len > S3_POLICY_TEXT_MAX) {
        return s3_fault_set(r->fault, S3_POLICY_TOO_LARGE,
                            "Policies must not be larger than 20480 bytes");
    }
    if (text.len == 0 || text.data[0] != '{') {
        return malformed(r, "Policies must be valid JSON and the first byte must be '{'", "");
    }
    error = check_text(r, text);
    if (error != 0) {
        return error;
    }
    *ret = cJSON_ParseWithLengthOpts(text.data, text.len, &end, false);
    rest = *ret != NULL ? text.len - (size_t)(end - text.data) : 1;
    while (rest > 0 && strchr(" \t\r\n", text.data[text.len - rest]) != NULL) {
        rest--;
    }
    return *ret != NULL && rest == 0 ? 0 : malformed(r, "This policy contains invalid Json", "");
}

/* Only these members, and none twice. */
static int check_members(struct reader *r, const cJSON *object, const char *const *known)
{
    const cJSON *member;

    cJSON_ArrayForEach(member, object)
    {
        const char *const *name = known;

        while (*name != NULL && strcmp(*name, member->string) != 0) {
            name++;
        }
        if (*name == NULL) {
            return malformed(r, "Unknown field ", member->string);
        }
        for (const cJSON *other = member->next; other != NULL; other = other->next) {
            if (strcmp(other->string, member->string) == 0) {
                return malformed(r, "A policy must not have twice the field ", member->string);
            }
        }
    }
    return 0;
}

/* A text or an array of texts, at least one; `what` says what is wrong otherwise. */
static int read_list(struct reader *r, const cJSON *json, const char *what, struct list *ret)
{
    const cJSON *one = cJSON_IsArray(json) ? json->child : json;
    size_t count = cJSON_IsArray(json) ? (size_t)cJSON_GetArraySize(json) : 1;

    *ret = (struct list){arena_array(&r->policy->arena, count + 1, sizeof(*ret->items)), 0};
    if (ret->items == NULL) {
        return no_memory(r);
    }
    for (; ret->count < count; one = one->next) {
        if (!cJSON_IsString(one) || one->valuestring[0] == '\0') {
            return malformed(r, what, "");
        }
        if (!r->policy->literal && strstr(one->valuestring, "${") != NULL) {
            return malformed(r, "Policy variables are not supported here: ", one->valuestring);
        }
        ret->items[ret->count] = arena_strdup(&r->policy->arena, one->valuestring);
        if (ret->items[ret->count++] == NULL) {
            return no_memory(r);
        }
    }
    return count > 0 ? 0 : malformed(r, what, "");
}

/* ---- statements ---- */

static int read_principal(struct reader *r, const cJSON *json, struct statement *s)
{
    static const char invalid[] = "Invalid principal in policy";
    static const char *const arns[] = {S3_POLICY_ARN, "arn:aws:iam:::user/"};
    int ret;

    if (cJSON_IsObject(json)) {
        if (json->child == NULL || json->child->next != NULL ||
            strcmp(json->child->string, "AWS") != 0) {
            return malformed(r, invalid, "");
        }
        json = json->child;
    }
    ret = read_list(r, json, invalid, &s->principals);
    for (size_t i = 0; ret == 0 && i < s->principals.count; i++) {
        const char **name = &s->principals.items[i];

        for (size_t k = 0; k < 2; k++) {
            size_t len = strlen(arns[k]);

            if (strncmp(*name, arns[k], len) == 0 && (*name)[len] != '\0') {
                *name += len;
                break;
            }
        }
        if (strcmp(*name, "*") == 0) {
            s->anyone = true;
        } else if (strpbrk(*name, "*?:") != NULL ||
                   (r->keys != NULL && !r->keys->known(r->keys->arg, *name))) {
            ret = malformed(r, invalid, "");
        }
    }
    return ret;
}

/* The levels of resources that the statement names: bits of enum s3_action_level. */
static unsigned levels_of(const struct list *resources)
{
    unsigned levels = 0;

    for (size_t i = 0; i < resources->count; i++) {
        const char *text = resources->items[i];

        if (strchr(text, '/') != NULL) {
            levels |= S3_ACTION_OF_OBJECT;
        } else {
            levels |= S3_ACTION_OF_BUCKET;
            levels |= strchr(text, '*') != NULL ? S3_ACTION_OF_OBJECT : 0U;
        }
    }
    return levels;
}

static int read_actions(struct reader *r, const struct list *names, bool negated,
                        struct statement *s, struct s3_action_set *exact)
{
    struct s3_action_set all = {0};

    for (size_t i = 0; i < names->count; i++) {
        struct s3_action_set set;
        bool wild = strpbrk(names->items[i], "*?") != NULL;

        if (!s3_action_find(slice_of(names->items[i]), &set)) {
            return malformed(r, "Policy has invalid action", "");
        }
        for (unsigned a = 0; a < S3_ACTION_COUNT; a++) {
            if (s3_action_in(&set, a)) {
                s3_action_add(&all, a);
                if (!wild && !negated) {
                    s3_action_add(exact, a);
                }
            }
        }
    }
    for (unsigned a = 0; a < S3_ACTION_COUNT; a++) {
        if (s3_action_in(&all, a) != negated) {
            s3_action_add(&s->actions, a);
        }
    }
    return 0;
}

/* Each of the actions must be one of a resource that is named. */
static int check_levels(struct reader *r, const struct list *names, unsigned levels)
{
    for (size_t i = 0; i < names->count; i++) {
        struct s3_action_set set;
        bool applies = false;

        (void)s3_action_find(slice_of(names->items[i]), &set);
        for (unsigned a = 0; a < S3_ACTION_COUNT; a++) {
            applies = applies || (s3_action_in(&set, a) &&
                                  ((unsigned)s3_action_level((enum s3_action)a) & levels) != 0);
        }
        if (!applies) {
            return malformed(r, "Action does not apply to any resource(s) in statement", "");
        }
    }
    return 0;
}

/* Each must be of this bucket, or could be. */
static int read_resources(struct reader *r, const cJSON *json, struct statement *s)
{
    static const char invalid[] = "Policy has invalid resource";
    size_t len = sizeof(resource_prefix) - 1;
    int ret = read_list(r, json, invalid, &s->resources);

    for (size_t i = 0; ret == 0 && i < s->resources.count; i++) {
        const char **text = &s->resources.items[i];

        if (strcmp(*text, "*") != 0) {
            if (strncmp(*text, resource_prefix, len) != 0) {
                return malformed(r, invalid, "");
            }
            *text += len;
        }
        if (!s3_wildcard_match((struct slice){*text, strcspn(*text, "/")}, slice_of(r->bucket),
                               false)) {
            ret = malformed(r, invalid, "");
        }
    }
    return ret;
}

/* One of the two members; NULL with a fault. */
static const cJSON *either(struct reader *r, const cJSON *json, const char *name, const char *other,
                           bool *ret_other)
{
    const cJSON *first = cJSON_GetObjectItemCaseSensitive(json, name);
    const cJSON *second = cJSON_GetObjectItemCaseSensitive(json, other);

    if (first != NULL && second != NULL) {
        (void)s3_fault_set(r->fault, S3_MALFORMED_POLICY, "A statement has either %s or %s", name,
                           other);
        return NULL;
    }
    if (first == NULL && second == NULL) {
        (void)malformed(r, "Missing required field ", name);
    }
    *ret_other = second != NULL;
    return first != NULL ? first : second;
}

static int read_effect(struct reader *r, const cJSON *json, struct statement *s)
{
    const cJSON *effect = cJSON_GetObjectItemCaseSensitive(json, "Effect");

    if (effect == NULL) {
        return malformed(r, "Missing required field ", "Effect");
    }
    if (!cJSON_IsString(effect) ||
        (strcmp(effect->valuestring, "Allow") != 0 && strcmp(effect->valuestring, "Deny") != 0)) {
        return malformed(r,
                         "Invalid effect: ", cJSON_IsString(effect) ? effect->valuestring : "none");
    }
    s->allow = strcmp(effect->valuestring, "Allow") == 0;
    return 0;
}

static int read_variables(struct reader *r, const cJSON *condition)
{
    const cJSON *op, *key, *value;

    cJSON_ArrayForEach(op, condition)
    {
        cJSON_ArrayForEach(key, op)
        {
            if (cJSON_IsString(key) && strstr(key->valuestring, "${") != NULL) {
                return malformed(r, "Policy variables are not supported here: ", key->valuestring);
            }
            cJSON_ArrayForEach(value, key)
            {
                if (cJSON_IsString(value) && strstr(value->valuestring, "${") != NULL) {
                    return malformed(
                        r, "Policy variables are not supported here: ", value->valuestring);
                }
            }
        }
    }
    return 0;
}

/* Operators and keys come once each: of two with one name a reader might see only one. */
static int check_condition(struct reader *r, const cJSON *condition)
{
    const cJSON *groups[2] = {condition, condition->child};

    for (const cJSON *at = groups[0]; at != NULL; at = at == condition ? groups[1] : at->next) {
        if (!cJSON_IsObject(at)) {
            continue; /* told by who reads it */
        }
        for (const cJSON *member = at->child; member != NULL; member = member->next) {
            for (const cJSON *other = member->next; other != NULL; other = other->next) {
                if (strcmp(member->string, other->string) == 0) {
                    return malformed(r, "A policy must not have twice the field ", member->string);
                }
            }
        }
    }
    return r->policy->literal ? 0 : read_variables(r, condition);
}

static int read_statement(struct reader *r, const cJSON *json, struct statement *s)
{
    static const char *const known[] = {"Sid",       "Effect",    "Principal", "NotPrincipal",
                                        "Action",    "NotAction", "Resource",  "NotResource",
                                        "Condition", NULL};
    const cJSON *condition = cJSON_GetObjectItemCaseSensitive(json, "Condition");
    const cJSON *who, *what, *where;
    struct s3_action_set exact = {0};
    struct list names;
    bool no_principal = false, no_action = false;
    int ret = cJSON_IsObject(json) ? check_members(r, json, known)
                                   : malformed(r, "A statement is not an object", "");

    ret = ret == 0 ? read_effect(r, json, s) : ret;
    who = ret == 0 ? either(r, json, "Principal", "NotPrincipal", &no_principal) : NULL;
    what = who != NULL ? either(r, json, "Action", "NotAction", &no_action) : NULL;
    where = what != NULL ? either(r, json, "Resource", "NotResource", &s->not_resource) : NULL;
    if (where == NULL) {
        return -EINVAL;
    }
    ret = no_principal ? malformed(r, "NotPrincipal is not supported here: deny by a Condition", "")
                       : read_principal(r, who, s);
    ret = ret == 0 ? read_list(r, what, "Policy has invalid action", &names) : ret;
    ret = ret == 0 ? read_resources(r, where, s) : ret;
    ret = ret == 0 ? read_actions(r, &names, no_action, s, &exact) : ret;
    if (ret == 0 && condition != NULL) {
        ret = check_condition(r, condition);
        ret = ret == 0 ? s3_conditions_read(condition, &exact, &s->actions, &r->policy->arena,
                                            &s->conditions, r->fault)
                       : ret;
    }
    return ret == 0 && !no_action && !s->not_resource
               ? check_levels(r, &names, levels_of(&s->resources))
               : ret;
}

/* Texts; Sids also differ. */
static int check_sids(struct reader *r, const cJSON *statements)
{
    const cJSON *one;

    cJSON_ArrayForEach(one, statements)
    {
        const cJSON *sid = cJSON_GetObjectItemCaseSensitive(one, "Sid");

        if (sid != NULL && !cJSON_IsString(sid)) {
            return malformed(r, "Sid is not a text", "");
        }
        for (const cJSON *next = one->next; sid != NULL && next != NULL; next = next->next) {
            const cJSON *other = cJSON_GetObjectItemCaseSensitive(next, "Sid");

            if (cJSON_IsString(other) && other->valuestring[0] != '\0' &&
                strcmp(sid->valuestring, other->valuestring) == 0) {
                return malformed(r, "The Statement Ids in the policy are not unique", "");
            }
        }
    }
    return 0;
}

static int read_statements(struct reader *r, const cJSON *json)
{
    struct s3_policy *policy = r->policy;
    const cJSON *one = cJSON_IsArray(json) ? json->child : json;
    size_t count = cJSON_IsArray(json) ? (size_t)cJSON_GetArraySize(json) : 1;
    int ret;

    if (json == NULL) {
        return malformed(r, "Missing required field ", "Statement");
    }
    if (count == 0) {
        return malformed(r, "Could not parse the policy: Statement is empty!", "");
    }
    if (count > S3_POLICY_STATEMENTS_MAX) {
        return malformed(r, "The policy has more than 256 statements", "");
    }
    policy->statements = arena_array(&policy->arena, count, sizeof(*policy->statements));
    ret = policy->statements != NULL ? 0 : no_memory(r);
    while (ret == 0 && policy->count < count) {
        ret = read_statement(r, one, &policy->statements[policy->count++]);
        one = one->next;
    }
    return ret == 0 && cJSON_IsArray(json) ? check_sids(r, json) : ret;
}

static int read_document(struct reader *r, const cJSON *json)
{
    static const char *const known[] = {"Version", "Id", "Statement", NULL};
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(json, "Version");
    const cJSON *id = cJSON_GetObjectItemCaseSensitive(json, "Id");
    int ret = cJSON_IsObject(json) ? check_members(r, json, known)
                                   : malformed(r, "This policy contains invalid Json", "");

    if (ret != 0) {
        return ret;
    }
    r->policy->literal = version == NULL || (cJSON_IsString(version) &&
                                             strcmp(version->valuestring, "2008-10-17") == 0);
    if (!r->policy->literal &&
        (!cJSON_IsString(version) || strcmp(version->valuestring, "2012-10-17") != 0)) {
        return malformed(r, "The policy must contain a valid version string", "");
    }
    if (id != NULL && !cJSON_IsString(id)) {
        return malformed(r, "Id is not a text", "");
    }
    return read_statements(r, cJSON_GetObjectItemCaseSensitive(json, "Statement"));
}

int s3_policy_parse(const void *text, size_t len, const char *bucket,
                    const struct s3_policy_keys *keys, struct s3_policy **ret,
                    struct s3_fault *fault)
{
    struct s3_policy *policy = calloc(1, sizeof(*policy));
    struct reader r = {policy, bucket, keys, fault};
    cJSON *json = NULL;
    int error;

    if (policy == NULL) {
        return no_memory(&r);
    }
    policy->arena = (struct arena)ARENA_INIT(MEMORY_MAX);
    error = parse_json(&r, (struct slice){text, len}, &json);
    error = error == 0 ? read_document(&r, json) : error;
    cJSON_Delete(json);
    if (error != 0) {
        s3_policy_free(policy);
        return error;
    }
    *ret = policy;
    return 0;
}

void s3_policy_free(struct s3_policy *policy)
{
    if (policy != NULL) {
        arena_done(&policy->arena);
        free(policy);
    }
}

/* ---- decisions ---- */

static bool is_about(const struct statement *s, const struct s3_policy_request *request,
                     struct slice resource)
{
    bool who = s->anyone, where = false;

    if (!s3_action_in(&s->actions, request->action)) {
        return false;
    }
    for (size_t i = 0; !who && request->principal != NULL && i < s->principals.count; i++) {
        who = strcmp(s->principals.items[i], request->principal) == 0;
    }
    for (size_t i = 0; who && !where && i < s->resources.count; i++) {
        where = s3_wildcard_match(slice_of(s->resources.items[i]), resource, false);
    }
    return who && where != s->not_resource && s3_conditions_match(&s->conditions, &request->values);
}

enum s3_policy_decision s3_policy_decide(const struct s3_policy *policy,
                                         const struct s3_policy_request *request)
{
    enum s3_policy_decision ret = S3_POLICY_SILENT;
    char text[S3_BUCKET_MAX + S3_KEY_MAX + 2];
    int len = snprintf(text, sizeof(text), "%s%s%s", request->bucket,
                       request->key != NULL ? "/" : "", request->key != NULL ? request->key : "");
    struct slice resource = {text, (size_t)len};

    if (len < 0 || (size_t)len >= sizeof(text)) {
        return S3_POLICY_DENY; /* no name of S3's is so long */
    }
    for (size_t i = 0; i < policy->count && ret != S3_POLICY_DENY; i++) {
        const struct statement *s = &policy->statements[i];

        if ((!s->allow || ret == S3_POLICY_SILENT) && is_about(s, request, resource)) {
            ret = s->allow ? S3_POLICY_ALLOW : S3_POLICY_DENY;
        }
    }
    return ret;
}

bool s3_policy_public(const struct s3_policy *policy)
{
    for (size_t i = 0; i < policy->count; i++) {
        const struct statement *s = &policy->statements[i];

        if (s->allow && s->anyone && !s->conditions.narrow) {
            return true;
        }
    }
    return false;
}

bool s3_policy_existing_tags(const struct s3_policy *policy)
{
    for (size_t i = 0; i < policy->count; i++) {
        if (policy->statements[i].conditions.existing_tags) {
            return true;
        }
    }
    return false;
}

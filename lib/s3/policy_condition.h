/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_condition.h - the Condition of a policy's statement.
 *
 * Every operator and key that is not here is refused when the policy is read: one that was ignored
 * would open what it was to close. What is read lies in the arena given, and is not changed after:
 * any thread may match.
 */
#ifndef S3_POLICY_CONDITION_H
#define S3_POLICY_CONDITION_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "s3/error.h"
#include "s3/policy_action.h"
#include "util/arena.h"
#include "util/slice.h"

/* What a condition may ask of a request; names in policy_condition.c. */
enum s3_policy_key {
    S3_KEY_SOURCE_IP, /* an address without port */
    S3_KEY_SECURE_TRANSPORT,
    S3_KEY_USERNAME,
    S3_KEY_PRINCIPAL_ARN,
    S3_KEY_REFERER,
    S3_KEY_USER_AGENT,
    S3_KEY_PREFIX,
    S3_KEY_DELIMITER,
    S3_KEY_MAX_KEYS,
    S3_KEY_VERSION_ID,
    S3_KEY_AUTH_TYPE,
    S3_KEY_SIGNATURE_VERSION,
    S3_KEY_COPY_SOURCE, /* "bucket/key" as it is meant: decoded, without a slash before */
    S3_KEY_EXISTING_TAG,
    S3_KEY_REQUEST_TAG,
    S3_KEY_HEADER, /* what follows: the value of the header of that name */
    S3_KEY_ACL = S3_KEY_HEADER,
    S3_KEY_CONTENT_SHA256,
    S3_KEY_GRANT_FULL_CONTROL,
    S3_KEY_GRANT_READ,
    S3_KEY_GRANT_READ_ACP,
    S3_KEY_GRANT_WRITE,
    S3_KEY_GRANT_WRITE_ACP,
    S3_KEY_METADATA_DIRECTIVE,
    S3_KEY_ENCRYPTION,
    S3_KEY_ENCRYPTION_KEY,
    S3_KEY_ENCRYPTION_CUSTOMER,
    S3_KEY_STORAGE_CLASS,
    S3_KEY_COUNT
};

/* Of keys from S3_KEY_HEADER on: the header ("x-amz-acl"). */
const char *s3_policy_header(enum s3_policy_key key);

/* What a request says: data NULL when it says nothing. `tag`: the name of the tag for the two keys
 * that want one, else NULL. */
struct s3_policy_values {
    struct slice (*get)(void *arg, enum s3_policy_key key, const char *tag);
    void *arg;
};

struct s3_condition;

struct s3_conditions_read {
    struct s3_condition *list;
    size_t count;
    bool existing_tags; /* one asks for the tags that an object has */
    bool narrow;        /* they name addresses or keys: what they allow is not public */
};

/*
 * Read the value of Condition. MalformedPolicy: form, an operator or key that is unknown or does
 * not go with the other, a value that is none, keys that do not go with the actions: `exact` are
 * those named without wildcards (each must), `all` those meant (one must).
 */
int s3_conditions_read(const cJSON *condition, const struct s3_action_set *exact,
                       const struct s3_action_set *all, struct arena *arena,
                       struct s3_conditions_read *ret, struct s3_fault *fault)
    __attribute__((warn_unused_result));

/* True if all of them hold. */
bool s3_conditions_match(const struct s3_conditions_read *conditions,
                         const struct s3_policy_values *values);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.h - who may do what with a bucket: the JSON document of PutBucketPolicy.
 *
 *     ret = s3_policy_parse(text, len, bucket, NULL, &policy, &fault);     MalformedPolicy
 *     switch (s3_policy_decide(policy, &request)) { ... }
 *     s3_policy_free(policy);
 *
 * What is not understood is refused as a whole, so that no Deny is ever ignored. Supported:
 * Version, Id, Statement; of a statement Sid, Effect, Principal ("*", access keys,
 * arn:aws:iam::skyvol:user/KEY and arn:aws:iam:::user/KEY), Action, NotAction, Resource,
 * NotResource, Condition. Not: NotPrincipal and policy variables. A policy that was read is not
 * changed: any thread may decide with it.
 */
#ifndef S3_POLICY_H
#define S3_POLICY_H

#include "s3/policy_condition.h"

enum { S3_POLICY_TEXT_MAX = 20 * 1024, S3_POLICY_STATEMENTS_MAX = 256 };

#define S3_POLICY_ACCOUNT "skyvol" /* of every access key */
#define S3_POLICY_ARN "arn:aws:iam::" S3_POLICY_ACCOUNT ":user/"

struct s3_policy;

/* Whether an access key is one that there is: a policy that names another is refused. */
struct s3_policy_keys {
    bool (*known)(void *arg, const char *access_key);
    void *arg;
};

/* keys NULL: every name will do. PolicyTooLarge beyond S3_POLICY_TEXT_MAX bytes. */
int s3_policy_parse(const void *text, size_t len, const char *bucket,
                    const struct s3_policy_keys *keys, struct s3_policy **ret,
                    struct s3_fault *fault) __attribute__((warn_unused_result));
void s3_policy_free(struct s3_policy *policy);

struct s3_policy_request {
    enum s3_action action;
    const char *bucket;    /* the one it was parsed for */
    const char *key;       /* NULL: the bucket itself */
    const char *principal; /* access key; NULL: nobody signed */
    struct s3_policy_values values;
};

enum s3_policy_decision { S3_POLICY_SILENT, S3_POLICY_ALLOW, S3_POLICY_DENY };

/* Deny wins over Allow. */
enum s3_policy_decision s3_policy_decide(const struct s3_policy *policy,
                                         const struct s3_policy_request *request);

/* It allows something to everybody, as S3 counts that. */
bool s3_policy_public(const struct s3_policy *policy);
/* It may ask for the tags that an object has. */
bool s3_policy_existing_tags(const struct s3_policy *policy);

#endif

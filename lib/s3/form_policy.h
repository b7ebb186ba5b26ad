/* SPDX-License-Identifier: Apache-2.0 */
/*
 * form_policy.h - who signed a browser's upload, and what the signed policy lets it be.
 *
 *     ret = s3_form_auth_parse(form, region, &auth, &fault);      who, by which signature
 *     if (auth.kind != S3_FORM_ANONYMOUS) {
 *         look up the secret of auth.access_key, derive the key;
 *         ret = s3_form_auth_verify(form, &auth, secret, &key, &fault);   constant time
 *         ret = s3_form_policy_check(form, &target, now_s, &limits, &fault);
 *     }
 *
 * Faults are AWS's: InvalidArgument for the signature's fields, InvalidPolicyDocument for a policy
 * that is none, AccessDenied where the form does not keep to it. Pure: safe from any thread.
 */
#ifndef S3_FORM_POLICY_H
#define S3_FORM_POLICY_H

#include <stdint.h>

#include "s3/form.h"
#include "s3/sign.h"

enum s3_form_kind {
    S3_FORM_ANONYMOUS,
    S3_FORM_V4, /* x-amz-credential, x-amz-signature */
    S3_FORM_V2  /* AWSAccessKeyId, signature: boto3's default still */
};

struct s3_form_auth {
    enum s3_form_kind kind;
    char access_key[S3_ACCESS_KEY_SIZE];
    char date[S3_DATE_SIZE];
};

struct s3_form_target {
    const char *bucket;
    const char *key; /* with the file's name in it */
};

/* content-length-range; 0 and UINT64_MAX without one. */
struct s3_form_limits {
    uint64_t min, max;
};

int s3_form_auth_parse(const struct s3_form *form, const char *region, struct s3_form_auth *ret,
                       struct s3_fault *fault) __attribute__((warn_unused_result));
/* `key` for V4, `secret` for V2. */
int s3_form_auth_verify(const struct s3_form *form, const struct s3_form_auth *auth,
                        const char *secret, const struct s3_signing_key *key,
                        struct s3_fault *fault) __attribute__((warn_unused_result));
int s3_form_policy_check(const struct s3_form *form, const struct s3_form_target *target,
                         int64_t now_s, struct s3_form_limits *ret, struct s3_fault *fault)
    __attribute__((warn_unused_result));

#endif

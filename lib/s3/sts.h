/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sts.h - AssumeRole of AWS's Security Token Service, as MinIO and others have it too: what is
 * asked, and what is answered. Who asks is objstore/sts.h.
 *
 * What the temporary credentials may is what the role (or user) may *and* the session policy says:
 * the objects of one bucket, or of one prefix in it, and nothing else.
 *
 *     ret = s3_sts_policy(&(struct s3_sts_scope){.bucket = "b", .prefix = "v-1/"}, &policy);
 *     ret = s3_sts_form(&(struct s3_sts_wish){.policy = buf_str(&policy), ...}, &form);
 *     ret = s3_sts_answer_parse(body, len, &answer);
 *     s3_sts_answer_done(&answer);
 *
 * No state, no I/O: any thread.
 */
#ifndef S3_STS_H
#define S3_STS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"

enum {
    S3_STS_POLICY_MAX = 2048, /* characters that STS takes */
    S3_STS_FORM_MAX = 16384,
    S3_STS_BODY_MAX = 65536, /* of an answer */
    S3_STS_KEY_MAX = 256,
    S3_STS_TOKEN_MAX = 8192,
    S3_STS_CODE_MAX = 64,
    S3_STS_MESSAGE_MAX = 200,
    S3_STS_DURATION_MIN_S = 900,
    S3_STS_DURATION_MAX_S = 604800,
};

struct s3_sts_scope {
    const char *partition; /* of ARNs; NULL: "aws" */
    const char *bucket;
    const char *prefix; /* "": the whole bucket; else it ends in '/' */
    bool read_only;
    bool aws; /* also ACLs, and the KMS keys that objects of this scope are encrypted with */
};

/*
 * Append the session policy. -EINVAL: a '*', '?', '$', '"', '\\' or control character in bucket or
 * prefix, which would have a meaning of its own there; -EFBIG: too long for STS.
 */
int s3_sts_policy(const struct s3_sts_scope *scope, struct buf *out)
    __attribute__((warn_unused_result));

struct s3_sts_wish {
    const char *role_arn;     /* NULL or "": none, as MinIO needs none */
    const char *session_name; /* 2 to 64 of [A-Za-z0-9=,.@_-], for the store's log */
    const char *policy;
    uint32_t duration_s;
};

/* Append the body of the request: application/x-www-form-urlencoded. */
int s3_sts_form(const struct s3_sts_wish *wish, struct buf *out)
    __attribute__((warn_unused_result));

/* Credentials, or else why there are none. Nothing is NULL. */
struct s3_sts_answer {
    char access_key[S3_STS_KEY_MAX]; /* "": it is a refusal */
    char secret_key[S3_STS_KEY_MAX];
    char token[S3_STS_TOKEN_MAX];
    int64_t expires_s;                /* since 1970 */
    char code[S3_STS_CODE_MAX];       /* of a refusal: letters, digits and dots */
    char message[S3_STS_MESSAGE_MAX]; /* its first line, without control characters */
};

/*
 * -EINVAL: neither, or half of one: parts missing, too long, or with characters that no header can
 * carry. `ret` then holds nothing. -ENOMEM.
 */
int s3_sts_answer_parse(const void *body, size_t len, struct s3_sts_answer *ret)
    __attribute__((warn_unused_result));
void s3_sts_answer_done(struct s3_sts_answer *answer); /* overwrites it */

#endif

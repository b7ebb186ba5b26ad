/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sign_v2.h - URLs that are presigned by AWS Signature Version 2, which boto3, the AWS CLI and
 * s3cmd still make by default. The server's half only, and nothing else of version 2.
 *
 *     ret = s3_auth_parse(&message, &rules, &arena, &auth, &fault);
 *     if (ret == 0 && auth.kind == S3_AUTH_QUERY_V2) {
 *         ret = s3_v2_parse(&message, &rules, &arena, &auth, &fault);
 *         look up the secret of auth.access_key;
 *         ret = s3_v2_verify(&message, host_bucket, &auth, secret, &fault);      constant time
 *     }
 *
 * Version 2 signs the method, Content-MD5, Content-Type, x-amz-* headers, the path and some of the
 * query; neither the host nor other headers. So that nobody adds to a URL, all of its query must be
 * signed: what version 2 leaves out is refused here. A string to sign has only one reading: what
 * would give two of them the same string is refused, too.
 *
 * Errors as in sign.h. No state: safe from any thread.
 */
#ifndef S3_SIGN_V2_H
#define S3_SIGN_V2_H

#include "s3/sign.h"
#include "util/arena.h"

/*
 * Check all that needs no secret, and read it into `auth`, which points into the arena. What the
 * query says in the place of headers (x-amz-*, content-type, content-md5) is a header of `message`
 * from now on, whose array is then the arena's.
 */
int s3_v2_parse(struct s3_message *message, const struct s3_auth_rules *rules, struct arena *arena,
                struct s3_auth *auth, struct s3_fault *fault) __attribute__((warn_unused_result));

/* What was parsed as it is signed; `host_bucket` as s3_host_bucket() has it. `slash`: a bucket
 * without a key is written with one behind it. -EINVAL: a header that is read singly is there
 * twice. */
int s3_v2_string_to_sign(const struct s3_message *message, struct slice host_bucket,
                         const struct s3_auth *auth, bool slash, struct buf *out)
    __attribute__((warn_unused_result));

int s3_v2_verify(const struct s3_message *message, struct slice host_bucket,
                 const struct s3_auth *auth, const char *secret, struct s3_fault *fault)
    __attribute__((warn_unused_result));

#endif

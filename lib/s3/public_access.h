/* SPDX-License-Identifier: Apache-2.0 */
/*
 * public_access.h - what a bucket never lets everybody do (PublicAccessBlockConfiguration).
 *
 *     ret = s3_public_access_parse(body, len, &block, &fault);     MalformedXML
 *     s3_public_access_write(&out, &block);
 *
 * No state: safe from any thread.
 */
#ifndef S3_PUBLIC_ACCESS_H
#define S3_PUBLIC_ACCESS_H

#include <stdbool.h>

#include "s3/error.h"
#include "util/buf.h"

struct s3_public_access {
    bool block_acls, ignore_acls;
    bool block_policy;     /* a policy that is public is refused */
    bool restrict_buckets; /* and one that is there lets in only those whose bucket it is */
};

int s3_public_access_parse(const void *body, size_t len, struct s3_public_access *ret,
                           struct s3_fault *fault) __attribute__((warn_unused_result));
void s3_public_access_write(struct buf *out, const struct s3_public_access *block);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acl.h - S3's access control lists, as far as a store needs them that has none: reading what a
 * client asks for, and saying whether it is what holds anyway (the owner alone, with all rights).
 *
 * That is AWS's own default, ownership "BucketOwnerEnforced": every other list is refused with
 * AccessControlListNotSupported. No state: safe from any thread.
 */
#ifndef S3_ACL_H
#define S3_ACL_H

#include <stdbool.h>

#include "s3/error.h"
#include "s3/sign.h"
#include "util/buf.h"

/* What x-amz-acl, the x-amz-grant-* headers or a body ask for. */
enum s3_acl {
    S3_ACL_NONE,  /* nothing */
    S3_ACL_OWNER, /* what holds anyway */
    S3_ACL_OTHER
};

/*
 * The headers of a request. InvalidArgument: no such canned list, or a grant that is none;
 * InvalidRequest: a canned list of any worth and grants together; UnresolvableGrantByEmailAddress:
 * nobody has one here.
 */
int s3_acl_headers(const struct s3_message *message, const char *owner, enum s3_acl *ret,
                   struct s3_fault *fault) __attribute__((warn_unused_result));

/* The AccessControlPolicy of a body: MalformedACLError when it is none. */
int s3_acl_body(const void *body, size_t len, const char *owner, enum s3_acl *ret,
                struct s3_fault *fault) __attribute__((warn_unused_result));

/* The list that holds for every bucket and object. Neither text is escaped. */
void s3_acl_write(struct buf *out, const char *owner, const char *name);

#endif

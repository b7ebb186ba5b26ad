/* SPDX-License-Identifier: Apache-2.0 */
/* Access control lists and ownership, as AWS answers under BucketOwnerEnforced. */
#include "s3/acl.h"
#include "s3proxy/call.h"

int call_acl_headers(struct call *call, struct s3_fault *fault)
{
    struct slice ownership = s3_message_header(&call->message, "x-amz-object-ownership");
    struct slice method = call->message.method;
    bool create = slice_eq_str(method, "PUT") && call->target.key[0] == '\0';
    int ret;

    if (slice_eq_str(method, "GET") || call->head) {
        return 0; /* they mean nothing */
    }
    if (slice_eq_str(ownership, "ObjectWriter") ||
        slice_eq_str(ownership, "BucketOwnerPreferred")) {
        return s3_fault_set(fault, S3_NOT_IMPLEMENTED, "the owner of a bucket owns its objects");
    }
    if (ownership.data != NULL && !slice_eq_str(ownership, "BucketOwnerEnforced")) {
        return s3_fault_argument(fault, "x-amz-object-ownership", ownership,
                                 "Invalid x-amz-object-ownership header");
    }
    ret = s3_acl_headers(&call->message, call_owner(call, NULL), &call->acl, fault);
    if (ret == 0 && call->acl == S3_ACL_OTHER && !call_has(call, "acl")) {
        ret = s3_fault_set(fault, create ? S3_INVALID_BUCKET_ACL : S3_ACL_NOT_SUPPORTED, "%s", "");
    }
    return ret;
}

static void format_acl(struct call *call, const struct objstore_result *result)
{
    s3_acl_write(&call->reply.body, call_owner(call, result), call_owner_name(call, result));
    reply_xml(&call->reply);
}

/* Only now that bucket and key are known to exist. */
static void format_acl_put(struct call *call, const struct objstore_result *result)
{
    (void)result;
    if (call->acl != S3_ACL_OWNER) {
        call_fault(call,
                   call->acl == S3_ACL_OTHER ? S3_ACL_NOT_SUPPORTED : S3_MISSING_SECURITY_HEADER,
                   "");
        reply_fault(call);
        return;
    }
    call->reply.status = 200;
}

static int parse_acl(struct call *call, struct s3_fault *fault)
{
    size_t len = buf_len(&call->body);
    int ret;

    if (call->acl != S3_ACL_NONE && len > 0) {
        return s3_fault_set(fault, S3_UNEXPECTED_CONTENT, "%s", "");
    }
    if (len == 0) {
        return 0;
    }
    ret = call_digests(call, fault);
    return ret == 0
               ? s3_acl_body(buf_str(&call->body), len, call_owner(call, NULL), &call->acl, fault)
               : ret;
}

int call_route_acl(struct call *call, struct s3_fault *fault)
{
    struct slice method = call->message.method;
    bool bucket = call->target.key[0] == '\0';

    call->op.op = bucket ? OBJSTORE_BUCKET_HEAD : OBJSTORE_HEAD;
    if (!bucket) {
        call->op.key = call->target.key;
        if (call_version(call, fault) != 0) {
            return s3_code_errno(fault->code);
        }
    }
    if (slice_eq_str(method, "GET")) {
        call->format = format_acl;
        return 0;
    }
    call->writes = true;
    call->body_kind = CALL_BODY_MEMORY;
    call->parse = parse_acl;
    call->format = format_acl_put;
    return slice_eq_str(method, "PUT") ? 0 : s3_fault_set(fault, S3_METHOD_NOT_ALLOWED, "%s", "");
}

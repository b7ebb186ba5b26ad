/* SPDX-License-Identifier: Apache-2.0 */
/* The documents that say who may use a bucket. */
#include <string.h>

#include "s3proxy/call.h"

enum { BLOCK_MAX = 1024 };

static bool is_known(void *arg, const char *access_key)
{
    const struct call *call = arg;

    return credentials_find(call->server->credentials, access_key) != NULL;
}

static int keep(struct call *call, const char *text, size_t len, struct s3_fault *fault)
{
    call->op.document = arena_strndup(&call->arena, text, len);
    return call->op.document != NULL ? 0 : s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
}

/* What is kept here must be understood here; what another store keeps is that store's. */
int call_parse_policy(struct call *call, struct s3_fault *fault)
{
    const struct s3_policy_keys keys = {is_known, call};
    const struct s3_public_access *block = call_public_access(call);
    const char *text = buf_str(&call->body);
    size_t len = buf_len(&call->body);
    struct s3_policy *policy = NULL;
    int ret = call_digests(call, fault);

    if (ret == 0 && !stores_embedded(&call->server->stores, call->op.bucket)) {
        ret = len > S3_POLICY_TEXT_MAX ? s3_fault_set(fault, S3_POLICY_TOO_LARGE, "%s", "")
              : len == 0 || strlen(text) != len
                  ? s3_fault_set(fault, S3_MALFORMED_POLICY, "This policy contains invalid Json")
                  : 0;
        return ret == 0 ? keep(call, text, len, fault) : ret;
    }
    if (ret == 0 && call->access != NULL && block == NULL) {
        return s3_fault_set(fault, S3_NO_SUCH_BUCKET, "%s", "");
    }
    ret = ret == 0 ? s3_policy_parse(text, len, call->op.bucket, &keys, &policy, fault) : ret;
    if (ret == 0 && block != NULL && block->block_policy && s3_policy_public(policy)) {
        ret = s3_fault_set(fault, S3_ACCESS_DENIED,
                           "the bucket blocks public policies (BlockPublicPolicy)");
    }
    s3_policy_free(policy);
    return ret == 0 ? keep(call, text, len, fault) : ret;
}

/* Kept as we would write it. */
int call_parse_public_access(struct call *call, struct s3_fault *fault)
{
    struct buf text = BUF_INIT(BLOCK_MAX);
    struct s3_public_access block;
    int ret = call_digests(call, fault);

    ret = ret == 0
              ? s3_public_access_parse(buf_str(&call->body), buf_len(&call->body), &block, fault)
              : ret;
    if (ret == 0) {
        s3_public_access_write(&text, &block);
        ret = keep(call, buf_str(&text), buf_len(&text), fault);
    }
    buf_done(&text);
    return ret;
}

void call_format_policy_status(struct call *call, const struct objstore_result *result)
{
    struct s3_policy *policy = NULL;
    struct s3_fault fault = S3_FAULT_INIT;

    if (s3_policy_parse(result->document, strlen(result->document), call->op.bucket, NULL, &policy,
                        &fault) != 0) {
        call_fault(call, S3_NOT_IMPLEMENTED, "the store's policy says what is not known here");
        reply_fault(call);
        return;
    }
    buf_addf(&call->reply.body,
             "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PolicyStatus "
             "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><IsPublic>%s</IsPublic>"
             "</PolicyStatus>",
             s3_policy_public(policy) ? "true" : "false");
    s3_policy_free(policy);
    reply_xml(&call->reply);
}

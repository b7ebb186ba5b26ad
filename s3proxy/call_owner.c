/* SPDX-License-Identifier: Apache-2.0 */
/* Accounts: whose the buckets are. Only the embedded store keeps owners; elsewhere, and where no
 * account has made a bucket, it is CALL_OWNER's. */
#include <string.h>

#include "s3proxy/call.h"

/* As the store has it. */
static const char *stored(const char *account)
{
    return account != NULL && strcmp(account, CALL_OWNER) == 0 ? "" : account;
}

/* The owner that one bucket of the operation must have; NULL: any. */
static int wanted(struct call *call, const char *bucket, const char *header, const char **ret,
                  struct s3_fault *fault)
{
    const char *expected = call_header(call, header);
    const char *account = expected != NULL ? expected : call->account;
    bool ours = account == NULL || strcmp(account, CALL_OWNER) == 0;

    if (bucket == NULL && expected == NULL) {
        return 0;
    }
    if ((expected != NULL && call->account != NULL && strcmp(expected, call->account) != 0) ||
        (!ours && !stores_embedded(&call->server->stores, bucket)) ||
        (!ours && stores_volume(&call->server->stores, bucket) != NULL)) {
        return s3_fault_set(fault, S3_ACCESS_DENIED, "the bucket is of another owner");
    }
    *ret = stored(account);
    return 0;
}

int call_own(struct call *call, struct s3_fault *fault)
{
    struct objstore_request *op = &call->op;
    int ret;

    if (op->op == OBJSTORE_BUCKET_LIST) {
        op->account = stored(call->account);
        return 0;
    }
    ret = wanted(call, op->bucket, "x-amz-expected-bucket-owner", &op->account, fault);
    return ret == 0 ? wanted(call, op->source_bucket, "x-amz-source-expected-bucket-owner",
                             &op->source_account, fault)
                    : ret;
}

const char *call_owner(const struct call *call, const struct objstore_result *result)
{
    if (result == NULL) {
        return call->account != NULL ? call->account : CALL_OWNER;
    }
    return result->owner != NULL && result->owner[0] != '\0' ? result->owner : CALL_OWNER;
}

const char *call_owner_name(const struct call *call, const struct objstore_result *result)
{
    const char *owner = call_owner(call, result);
    bool own = call->account != NULL && strcmp(call->account, owner) == 0;

    return own && call->display_name != NULL ? call->display_name : owner;
}

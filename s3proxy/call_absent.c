/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a bucket of the embedded store never has, answered as AWS does of a bucket that has it not:
 * object lock, and documents that are deleted although they cannot be put here.
 */
#include "s3proxy/call.h"

static void refuse(struct call *call, enum s3_code code, const char *text)
{
    call_fault(call, code, text);
    reply_fault(call);
}

/* Only now that the bucket is known to exist. */
static void format_no_lock(struct call *call, const struct objstore_result *result)
{
    (void)result;
    refuse(call, S3_INVALID_REQUEST, "Bucket is missing Object Lock Configuration");
}

static void format_lock_put(struct call *call, const struct objstore_result *result)
{
    (void)result;
    refuse(call, S3_INVALID_BUCKET_STATE,
           "Object Lock configuration cannot be enabled on existing buckets");
}

static bool embedded(const struct call *call)
{
    return call->target.bucket[0] != '\0' &&
           stores_embedded(&call->server->stores, call->target.bucket);
}

/* Look whether the bucket is there, under the rights of `action`, and say the rest. */
static int ask_bucket(struct call *call, enum s3_action action,
                      void (*format)(struct call *, const struct objstore_result *))
{
    bool writes = !slice_eq_str(call->message.method, "GET");

    call->op.bucket = call->target.bucket;
    call->op.op = OBJSTORE_BUCKET_HEAD;
    call->told_action = 1 + (int)action;
    call->writes = writes;
    call->body_kind = writes ? CALL_BODY_MEMORY : call->body_kind;
    call->format = format;
    return 0;
}

int call_route_lock(struct call *call, struct s3_fault *fault)
{
    bool retention = call_has(call, "retention");
    bool get = slice_eq_str(call->message.method, "GET");

    if (!(retention || call_has(call, "legal-hold")) || call->target.key[0] == '\0' ||
        !embedded(call)) {
        return 1;
    }
    if (!get && !slice_eq_str(call->message.method, "PUT")) {
        return s3_fault_set(fault, S3_METHOD_NOT_ALLOWED, "%s", "");
    }
    return ask_bucket(
        call,
        retention ? (get ? S3_ACTION_GET_OBJECT_RETENTION : S3_ACTION_PUT_OBJECT_RETENTION)
                  : (get ? S3_ACTION_GET_OBJECT_LEGAL_HOLD : S3_ACTION_PUT_OBJECT_LEGAL_HOLD),
        format_no_lock);
}

bool call_lacks_lock(const struct call *call)
{
    return call->target.key[0] != '\0' && embedded(call);
}

int call_route_absent(struct call *call)
{
    static const struct {
        enum objstore_doc doc;
        enum s3_action action;
    } deleted[] = {
        {OBJSTORE_DOC_ENCRYPTION, S3_ACTION_PUT_ENCRYPTION},
        {OBJSTORE_DOC_LIFECYCLE, S3_ACTION_PUT_LIFECYCLE},
        {OBJSTORE_DOC_REPLICATION, S3_ACTION_PUT_REPLICATION},
        {OBJSTORE_DOC_WEBSITE, S3_ACTION_DELETE_BUCKET_WEBSITE},
    };

    if (!embedded(call)) {
        return 1;
    }
    if (slice_eq_str(call->message.method, "PUT")) {
        return call->op.doc == OBJSTORE_DOC_OBJECT_LOCK
                   ? ask_bucket(call, S3_ACTION_PUT_BUCKET_OBJECT_LOCK, format_lock_put)
                   : 1;
    }
    for (size_t i = 0; i < sizeof(deleted) / sizeof(deleted[0]); i++) {
        if (call->op.doc == deleted[i].doc) {
            return ask_bucket(call, deleted[i].action, format_deleted);
        }
    }
    return 1;
}

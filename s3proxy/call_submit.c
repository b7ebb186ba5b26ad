/* SPDX-License-Identifier: Apache-2.0 */
/* The operation of a call: given to the store, and what the store answers. */
#include <errno.h>
#include <string.h>

#include "s3proxy/call.h"

enum {
    QUICK_MS = 60 * 1000,       /* what moves no bytes, */
    SLOW_MS = 600 * 1000,       /* what moves them inside the store, */
    STREAM_MS = 6 * 3600 * 1000 /* and what comes from or goes to the client */
};

/* Who answers at once is the event loop, which looks at the call by itself. */
bool call_wake_begin(struct call *call)
{
    return !call->now && call->wake(call);
}

void call_wake(struct call *call)
{
    const struct call_server *server = call->server;

    call_wake_end(server, call_wake_begin(call));
}

/* What the store's own InvalidArgument is about. */
static void tell_argument(const struct objstore_request *op, const char *text,
                          struct s3_fault *fault)
{
    const char *name = op->op == OBJSTORE_LIST_VERSIONS ? "version-id-marker"
                       : op->op == OBJSTORE_UPLOAD_LIST ? "upload-id-marker"
                       : op->op == OBJSTORE_LIST        ? "continuation-token"
                                                        : "versionId";
    const char *value = op->op == OBJSTORE_LIST  ? op->token
                        : op->marker2 != NULL    ? op->marker2
                        : op->version_id != NULL ? op->version_id
                                                 : op->source_version_id;

    (void)s3_fault_argument(fault, name, slice_of(value != NULL ? value : ""), text);
}

/* Stores refuse a name that no bucket can have as they do any argument; S3 has an error of its own
 * for it. */
static enum s3_code code_of(const struct call *call, const struct objstore_result *result)
{
    enum s3_code code = reply_code(&call->op, result);
    const char *bucket = call->target.bucket;

    return code == S3_INVALID_ARGUMENT && result->s3_code == (int)S3_OK && bucket[0] != '\0' &&
                   !s3_bucket_valid(slice_of(bucket))
               ? S3_INVALID_BUCKET_NAME
               : code;
}

static void call_done(struct objstore_request *op, const struct objstore_result *result)
{
    struct call *call = op->arg;
    const struct call_server *server = call->server;
    struct objstore_result none = {0};
    bool begun;

    if (result->status == -ENODATA && op->op == OBJSTORE_BUCKET_DOC_GET &&
        call_doc_absent(op->doc, &none.document) == S3_OK) {
        result = &none;
    }
    if (op->op == OBJSTORE_BUCKET_CREATE &&
        result->s3_code == (int)S3_BUCKET_ALREADY_OWNED_BY_YOU &&
        strcmp(call->server->region, "us-east-1") == 0) {
        result = &none; /* as in AWS's first region, and only there */
    }
    if (result->status < 0 && !call->head_ready) {
        enum s3_code code = code_of(call, result);
        struct s3_fault fault = S3_FAULT_INIT;
        bool of_id = op->version_id != NULL || op->source_version_id != NULL ||
                     op->op == OBJSTORE_LIST_VERSIONS || op->op == OBJSTORE_UPLOAD_LIST ||
                     (op->op == OBJSTORE_LIST && op->token != NULL);
        bool say = (code == S3_INVALID_REQUEST || (code == S3_INVALID_ARGUMENT && of_id)) &&
                   stores_embedded(&call->server->stores, call->target.bucket);
        bool hide = call->conceals && (code == S3_NO_SUCH_KEY || code == S3_NO_SUCH_VERSION);

        code = hide ? S3_ACCESS_DENIED : code;
        if (result->status == -ENODATA && call->preflight) {
            call_fault(call, S3_ACCESS_FORBIDDEN,
                       "CORSResponse: CORS is not enabled for this bucket.");
        }
        call->reply.mtime_s = call->whole ? -1 : call->reply.mtime_s; /* its head was made */
        (void)s3_fault_set(&fault, code, "%s", say ? result->error.text : "");
        if (say && code == S3_INVALID_ARGUMENT) {
            tell_argument(op, result->error.text, &fault);
        }
        call_fault_set(call, &fault);
        reply_fault(call);
        if (!hide) {
            reply_marker(call, result);
        }
    } else if (result->status == 0 && !call->whole &&
               !(call->op.op == OBJSTORE_GET && call->head_ready)) {
        call->format(call, result);
    }
    mutex_lock(&call->lock);
    if (!call->again) {
        pipe_end(&call->pipe, result->status);
        call->head_ready = true;
    }
    call->running = false;
    begun = call_wake_begin(call);
    mutex_unlock(&call->lock);
    call_wake_end(server, begun);
}

static uint32_t timeout_ms(enum objstore_op op)
{
    switch (op) {
    case OBJSTORE_GET:
    case OBJSTORE_PUT:
    case OBJSTORE_UPLOAD_PART:
        return STREAM_MS;
    case OBJSTORE_COPY:
    case OBJSTORE_UPLOAD_PART_COPY:
    case OBJSTORE_UPLOAD_COMPLETE:
    case OBJSTORE_DELETE_BATCH:
        return SLOW_MS;
    default:
        return QUICK_MS;
    }
}

/* What is in memory is answered by the event loop itself, before this returns. */
static void submit_to_store(struct call *call, struct objstore *store)
{
    call->now = true;
    call->at_once = objstore_now(store, &call->op);
    call->now = false;
    if (!call->at_once) {
        objstore_submit(store, &call->op);
    }
}

void call_submit(struct call *call)
{
    const struct objstore_result none = {0};

    call->op.arg = call;
    call->op.done = call_done;
    call->op.timeout_ms = timeout_ms(call->op.op);
    mutex_lock(&call->lock);
    call->running = true;
    mutex_unlock(&call->lock);
    if (call->volume != NULL && call->internal) {
        volume_submit_internal(call->volume, &call->op);
    } else if (call->volume != NULL) {
        volume_submit(call->volume, &call->op);
    } else if (call->server->stores.store != NULL) {
        submit_to_store(call, call->server->stores.store);
    } else {
        call_done(&call->op, &none); /* the list of buckets, which are the volumes */
    }
}

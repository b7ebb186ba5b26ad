/* SPDX-License-Identifier: Apache-2.0 */
/* Replies that several operations share. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "s3/xml.h"
#include "s3proxy/call.h"
#include "util/log.h"

void reply_header(struct reply *reply, const char *name, const char *value)
{
    if (value != NULL) {
        buf_add(&reply->headers, name, strlen(name) + 1);
        buf_add(&reply->headers, value, strlen(value) + 1);
    }
}

void reply_etag(struct reply *reply, const char *etag)
{
    char quoted[OBJSTORE_ETAG_MAX + 2];
    size_t len = strnlen(etag, OBJSTORE_ETAG_MAX - 1);

    quoted[0] = '"';
    memcpy(quoted + 1, etag, len);
    memcpy(quoted + 1 + len, "\"", 2);
    reply_header(reply, "ETag", quoted);
}

void reply_xml(struct reply *reply)
{
    reply->status = 200;
    reply->content_type = "application/xml";
    reply->length = buf_len(&reply->body);
}

enum s3_code reply_code(const struct objstore_request *op, const struct objstore_result *result)
{
    const char *text;

    if (result->status == -ENODATA && op->op == OBJSTORE_BUCKET_DOC_GET) {
        return call_doc_absent(op->doc, &text);
    }
    switch (result->s3_code) {
    case S3_OK:
        return s3_code_from_errno(result->status, op->key == NULL);
    case S3_AUTHORIZATION_HEADER_MALFORMED:
    case S3_EXPIRED_TOKEN:
    case S3_INVALID_ACCESS_KEY_ID:
    case S3_INVALID_TOKEN:
    case S3_REQUEST_TIME_TOO_SKEWED:
    case S3_SIGNATURE_DOES_NOT_MATCH:
        log_error("the store refuses us", "operation", objstore_op_name(op->op), "error",
                  result->error.text, NULL);
        return S3_SERVICE_UNAVAILABLE;
    default:
        return (enum s3_code)result->s3_code;
    }
}

void reply_fault(struct call *call)
{
    struct reply *reply = &call->reply;
    struct s3_fault fault;
    enum s3_code code;
    struct s3_xml_error error;
    char retry[16];

    call_fault(call, S3_INTERNAL_ERROR, ""); /* where nobody said what it is */
    mutex_lock(&call->lock);
    fault = call->fault;
    mutex_unlock(&call->lock);
    code = fault.code;
    if (code == S3_METHOD_NOT_ALLOWED) {
        (void)s3_fault_detail(&fault, "Method", call->message.method);
        (void)s3_fault_detail(&fault, "ResourceType",
                              slice_of(call->op.version_id != NULL      ? "DeleteMarker"
                                       : call->target.key[0] != '\0'    ? "OBJECT"
                                       : call->target.bucket[0] != '\0' ? "BUCKET"
                                                                        : "SERVICE"));
    } else if (code == S3_INVALID_RANGE && !slice_eq_str(call->message.method, "PUT")) {
        (void)s3_fault_detail(&fault, "RangeRequested", s3_message_header(&call->message, "range"));
    }
    error = (struct s3_xml_error){
        .code = code,
        .message = fault.text,
        .request_id = call->request_id,
        .bucket = call->target.bucket[0] != '\0' ? call->target.bucket : NULL,
        .key = call->target.key[0] != '\0' ? call->target.key : NULL,
        .region = code == S3_AUTHORIZATION_HEADER_MALFORMED ? call->server->region : NULL,
        .details = fault.detail,
    };

    buf_reset(&reply->body);
    if (code != S3_NOT_MODIFIED && !call->head) {
        buf_reset(&reply->headers);
        reply_details(call, &error);
        s3_xml_error(&reply->body, &error);
    }
    if (code == S3_SLOW_DOWN) { /* the store's own, too */
        (void)snprintf(retry, sizeof(retry), "%u", call->retry_s > 0 ? call->retry_s : 1);
        reply_header(reply, "Retry-After", retry);
    }
    reply_xml(reply);
    reply->status = s3_code_status(code);
    if (code == S3_NOT_MODIFIED) {
        reply->content_type = NULL;
    }
    mutex_lock(&call->lock);
    call->head_ready = !call->running;
    mutex_unlock(&call->lock);
}

void format_empty(struct call *call, const struct objstore_result *result)
{
    (void)result;
    call->reply.status = 200;
}

void format_deleted(struct call *call, const struct objstore_result *result)
{
    (void)result;
    call->reply.status = 204;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a bucket lets pages of other origins do. A request that names its origin has the bucket's
 * rules looked up beside its operation; its reply waits for both.
 */
#include <stdlib.h>
#include <string.h>

#include "s3/cors.h"
#include "s3proxy/call.h"

enum { LOOKUP_MS = 10 * 1000 };

/* What a preflight asks for; of another request, what it is. */
static struct s3_cors_request cors_request(const struct call *call, bool preflight)
{
    struct slice asked = s3_message_header(&call->message, "access-control-request-method");

    return (struct s3_cors_request){
        .origin = s3_message_header(&call->message, "origin"),
        .method = asked.data != NULL || preflight ? asked : call->message.method,
        .headers = s3_message_header(&call->message, "access-control-request-headers"),
    };
}

/* ---- documents ---- */

int call_parse_cors(struct call *call, struct s3_fault *fault)
{
    struct s3_cors *cors = NULL;
    int ret = call_digests(call, fault);

    ret = ret == 0 ? s3_cors_parse(buf_str(&call->body), buf_len(&call->body), &cors, fault) : ret;
    s3_cors_free(cors);
    if (ret == 0) {
        call->op.document = arena_strndup(&call->arena, buf_str(&call->body), buf_len(&call->body));
        ret =
            call->op.document != NULL ? 0 : s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
    }
    return ret;
}

/* ---- preflight ---- */

/* True where a rule fits: its headers are in `headers` then. */
static bool allowed(const char *document, const struct s3_cors_request *request,
                    struct buf *headers)
{
    struct s3_cors *cors = NULL;
    struct s3_fault fault = S3_FAULT_INIT;
    bool fits = false;

    if (s3_cors_parse(document, strlen(document), &cors, &fault) == 0) {
        fits = s3_cors_match(cors, request, headers) && buf_error(headers) == 0;
        s3_cors_free(cors);
    }
    if (!fits) {
        buf_reset(headers);
    }
    return fits;
}

static void format_preflight(struct call *call, const struct objstore_result *result)
{
    struct s3_cors_request request = cors_request(call, true);

    if (!allowed(result->document, &request, &call->reply.headers)) {
        call_fault(call, S3_ACCESS_FORBIDDEN, "");
        reply_fault(call);
        return;
    }
    call->reply.status = 200;
}

int call_route_preflight(struct call *call, struct s3_fault *fault)
{
    struct s3_cors_request request = cors_request(call, true);

    if (request.origin.len == 0) {
        return s3_fault_set(fault, S3_BAD_REQUEST,
                            "Insufficient information. Origin request header needed.");
    }
    if (call->target.bucket[0] == '\0') {
        return s3_fault_set(fault, S3_ACCESS_FORBIDDEN,
                            "CORSResponse: CORS is not enabled for this bucket.");
    }
    call->op.op = OBJSTORE_BUCKET_DOC_GET;
    call->op.doc = OBJSTORE_DOC_CORS;
    call->op.bucket = call->target.bucket;
    call->preflight = true;
    call->format = format_preflight;
    return s3_cors_request_check(&request, fault);
}

/* ---- the rules beside an operation ---- */

struct call_cors {
    struct call *call;
    struct s3_cors_request request; /* a form takes the place of the headers it came from */
    struct objstore_request op;
    struct buf headers;
};

static void cors_done(struct objstore_request *op, const struct objstore_result *result)
{
    struct call_cors *cors = op->arg;
    struct call *call = cors->call;
    const struct call_server *server = call->server;
    bool begun;

    if (result->status == 0) {
        (void)allowed(result->document, &cors->request, &cors->headers);
    }
    mutex_lock(&call->lock);
    call->looking = false;
    begun = call->wake(call);
    mutex_unlock(&call->lock);
    call_wake_end(server, begun);
}

void call_cors_begin(struct call *call)
{
    const struct stores *stores = &call->server->stores;
    struct volume *volume;
    struct call_cors *cors;

    if (s3_message_header(&call->message, "origin").len == 0 || call->target.bucket[0] == '\0' ||
        call->preflight) {
        return;
    }
    volume = stores_volume(stores, call->target.bucket);
    cors = arena_alloc(&call->arena, sizeof(*cors));
    if (cors == NULL || (volume == NULL && stores->store == NULL)) {
        return;
    }
    cors->call = call;
    cors->request = cors_request(call, false);
    cors->headers = (struct buf)BUF_INIT(16 * 1024);
    cors->op = (struct objstore_request){
        .op = OBJSTORE_BUCKET_DOC_GET,
        .doc = OBJSTORE_DOC_CORS,
        .bucket = call->target.bucket,
        .timeout_ms = LOOKUP_MS,
        .done = cors_done,
        .arg = cors,
    };
    call->cors = cors;
    mutex_lock(&call->lock);
    call->looking = true;
    mutex_unlock(&call->lock);
    if (volume != NULL) {
        volume_submit(volume, &cors->op);
    } else {
        objstore_submit(stores->store, &cors->op);
    }
}

struct slice call_cors_headers(const struct call *call)
{
    return call->cors != NULL
               ? (struct slice){buf_str(&call->cors->headers), buf_len(&call->cors->headers)}
               : (struct slice){0};
}

void call_cors_done(struct call *call)
{
    if (call->cors != NULL) {
        buf_done(&call->cors->headers);
    }
}

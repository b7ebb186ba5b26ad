/* SPDX-License-Identifier: Apache-2.0 */
/* A call's body on its way from the server to where the operation reads it. */
#include <errno.h>
#include <string.h>

#include "s3/form.h"
#include "s3proxy/call.h"

/* Another store may not like to wait for bytes that are there. */
static size_t at_least(const struct call *call)
{
    return stores_embedded(&call->server->stores, call->op.bucket) ? PIPE_SIZE / 4 : 1;
}

static ssize_t keep_in_space(struct call *call, const void *bytes, size_t len)
{
    char *place = call->space + call->space_len;

    if (len > call->space_size - call->space_len) {
        return -EFBIG;
    }
    if (bytes != place) {
        memcpy(place, bytes, len);
    }
    call->space_len += len;
    return (ssize_t)len;
}

/* -EBUSY: others have all the memory for such bodies. */
static ssize_t keep_in_body(struct call *call, const void *bytes, size_t len)
{
    buf_add(&call->body, bytes, len);
    if (buf_error(&call->body) != 0) {
        return -EFBIG;
    }
    if (!spaces_gather(call->server->spaces, call->body.cap, &call->gathered)) {
        buf_done(&call->body);
        (void)spaces_gather(call->server->spaces, 0, &call->gathered);
        return -EBUSY;
    }
    return (ssize_t)len;
}

/*
 * The embedded store wants a sum of each object. Here the bytes have just come, and are in the
 * cache of this processor; by the time that a thread of the store has them they seldom are.
 */
void call_sum_begin(struct call *call)
{
    const struct objstore_request *op = &call->op;
    enum s3_checksum_kind kind = op->checksum.kind != OBJSTORE_CHECKSUM_NONE
                                     ? (enum s3_checksum_kind)op->checksum.kind
                                     : S3_CHECKSUM_CRC64NVME;

    if (op->source.sum == NULL && (op->op == OBJSTORE_PUT || op->op == OBJSTORE_UPLOAD_PART) &&
        kind <= S3_CHECKSUM_CRC64NVME && stores_embedded(&call->server->stores, op->bucket) &&
        s3_checksum_init(&call->sum, kind) == 0) {
        call->op.source.sum = &call->sum;
    }
}

ssize_t call_keep(struct call *call, const void *bytes, size_t len)
{
    ssize_t n = (ssize_t)len;

    call_sum_begin(call);
    if (call->body_kind == CALL_BODY_PIPE) {
        if (!call->streaming) {
            call_open_stream(call);
        }
        n = pipe_write(&call->pipe, bytes, len);
        s3_checksum_add(&call->sum, bytes, n > 0 ? (size_t)n : 0);
        if (n > 0 && pipe_wake_reader(&call->pipe, at_least(call))) {
            call_resume(call);
        }
    } else {
        n = call->space != NULL ? keep_in_space(call, bytes, len) : keep_in_body(call, bytes, len);
        s3_checksum_add(&call->sum, bytes, n > 0 ? (size_t)n : 0);
    }
    if (n == -EBUSY) {
        limits_count(call->server->limits, LIMITS_FULL);
        call_fail(call, S3_SLOW_DOWN, "Too many bodies are in memory.");
    } else if (n < 0) {
        bool lengthless = n == -EFBIG && call->body_size == UINT64_MAX;

        call_fail(call,
                  lengthless    ? S3_MISSING_CONTENT_LENGTH
                  : n == -EFBIG ? S3_MAX_MESSAGE_LENGTH_EXCEEDED
                                : S3_INTERNAL_ERROR,
                  "");
    }
    return n;
}

static size_t room_for_body(struct call *call)
{
    if (call->body_kind != CALL_BODY_PIPE) {
        /* A form may begin to use its pipe with these bytes, which has room for so many always. */
        return call->form != NULL ? PIPE_FIRST / 2 : PIPE_SIZE / 2;
    }
    /* What a form holds back may come out with what is fed. */
    return pipe_room(&call->pipe, call->form != NULL ? S3_FORM_HELD_MAX : 0);
}

size_t call_room(struct call *call)
{
    return call->failed ? PIPE_SIZE : room_for_body(call); /* failed: it is thrown away */
}

bool call_wants_large(struct call *call)
{
    return !call->failed && call->body_kind == CALL_BODY_PIPE &&
           stores_embedded(&call->server->stores, call->op.bucket) && pipe_wants_large(&call->pipe);
}

void *call_place(struct call *call, size_t *ret_len)
{
    if (call->failed || call->form != NULL || call->chunked != NULL ||
        call->wire_size == UINT64_MAX) {
        return NULL;
    }
    if (call->body_kind == CALL_BODY_PIPE) {
        return pipe_place(&call->pipe, ret_len);
    }
    if (call->space == NULL || call->space_len == call->space_size) {
        return NULL;
    }
    *ret_len = call->space_size - call->space_len;
    return call->space + call->space_len;
}

size_t call_feed(struct call *call, const void *bytes, size_t len)
{
    const char *data = bytes;
    size_t room = call_room(call), used = len;
    struct slice decoded;

    if (call->failed) {
        return len; /* failed: the rest is thrown away */
    }
    len = len < room ? len : room; /* what is decoded is never longer */
    used = len;
    call->body_seen += len;
    if (call->form != NULL) {
        call_form_feed(call, data, len);
        return used;
    }
    if (call->chunked == NULL) {
        if (call->auth->payload == S3_PAYLOAD_SHA256) {
            s3_checksum_add(&call->sha, data, len);
        }
        if (len > 0) {
            (void)call_keep(call, data, len);
        }
        return used;
    }
    while (len > 0 && !call->failed) {
        struct s3_fault fault = S3_FAULT_INIT;
        size_t eaten = 0;

        if (s3_chunked_decode(call->chunked, data, len, &eaten, &decoded, &fault) != 0) {
            call_fail_with(call, &fault);
            break;
        }
        if (decoded.len > 0) {
            (void)call_keep(call, decoded.data, decoded.len);
        }
        data += eaten;
        len -= eaten;
    }
    return used;
}

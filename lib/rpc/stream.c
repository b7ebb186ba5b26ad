/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.c - a client's streams.
 *
 * CLIENT_START is the batch of headers and status: it completes when the call is over. A receive
 * that timed out stays with gRPC and is waited for again by the next rpc_stream_recv().
 */
#include <errno.h>
#include <string.h>

#include "rpc/client.h"
#include "rpc/client_private.h"

enum { CLOSE_MS = 10000 };

static int start_batch(struct rpc_stream *s, const grpc_op *ops, size_t count,
                       enum client_event event)
{
    if (grpc_call_start_batch(s->handle, ops, count, &s->tags[event], NULL) != GRPC_CALL_OK) {
        return -EIO;
    }
    s->pending[event] = true;
    return 0;
}

static int start_stream(struct rpc_stream *s, const ProtobufCMessage *message)
{
    grpc_op status[2] = {{0}};
    grpc_op send[3] = {{0}};
    size_t n = 0;
    int r;

    status[0].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    status[0].data.recv_status_on_client.trailing_metadata = &s->trailing;
    status[0].data.recv_status_on_client.status = &s->status;
    status[0].data.recv_status_on_client.status_details = &s->status_text;
    status[1].op = GRPC_OP_RECV_INITIAL_METADATA;
    status[1].data.recv_initial_metadata.recv_initial_metadata = &s->initial;
    send[n].op = GRPC_OP_SEND_INITIAL_METADATA;
    send[n].data.send_initial_metadata.count = s->metadata_count;
    send[n++].data.send_initial_metadata.metadata = s->metadata;
    if (message != NULL) {
        s->sending = core_pack(message);
        if (s->sending == NULL) {
            return -ENOMEM;
        }
        send[n].op = GRPC_OP_SEND_MESSAGE;
        send[n++].data.send_message.send_message = s->sending;
        send[n++].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
        s->closed_send = true;
    }
    r = start_batch(s, status, 2, CLIENT_START);
    return r < 0 ? r : start_batch(s, send, n, CLIENT_SEND);
}

int rpc_stream_open(struct rpc_client *client, const struct rpc_request *request,
                    struct rpc_stream **ret, struct error *err)
{
    struct rpc_stream *stream;
    int r = client_begin(client, request, &stream, err);

    if (r < 0) {
        return r;
    }
    r = start_stream(stream, request->message);
    if (r < 0) {
        rpc_stream_free(stream);
        return r;
    }
    *ret = stream;
    return 0;
}

/* The call is over, or about to be: wait for its status. */
static int end_of(struct rpc_stream *s, uint64_t timeout_ms, struct error *err)
{
    int r;

    if (!s->ended) {
        r = client_wait(s, CLIENT_START, timeout_ms);
        if (r < 0) {
            return r;
        }
        s->ended = true;
    }
    return client_status(s, err);
}

int rpc_stream_recv(struct rpc_stream *stream, uint64_t timeout_ms, ProtobufCMessage **ret,
                    struct error *err)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    int r;

    if (stream->ended) {
        return client_status(stream, err);
    }
    op.data.recv_message.recv_message = &stream->received;
    r = stream->pending[CLIENT_RECV] ? 0 : start_batch(stream, &op, 1, CLIENT_RECV);
    if (r < 0) {
        return r;
    }
    r = client_wait(stream, CLIENT_RECV, timeout_ms);
    if (r < 0) {
        return r;
    }
    if (stream->received == NULL) {
        return end_of(stream, timeout_ms, err);
    }
    r = core_unpack(stream->received, stream->method->output, NULL, ret);
    grpc_byte_buffer_destroy(stream->received);
    stream->received = NULL;
    return r < 0 ? error_set(err, r, "the answer is not a %s", stream->method->output->name) : 1;
}

/* The last send, if gRPC still has it. 0, -ETIMEDOUT, or the error the call has ended with. */
static int finish_send(struct rpc_stream *s, uint64_t timeout_ms, struct error *err)
{
    int r = 1;

    if (s->pending[CLIENT_SEND]) {
        r = client_wait(s, CLIENT_SEND, timeout_ms);
        if (r < 0) {
            return r;
        }
    }
    if (s->sending != NULL) {
        grpc_byte_buffer_destroy(s->sending);
        s->sending = NULL;
    }
    if (r == 0) { /* sending fails when the call is over */
        r = end_of(s, timeout_ms, err);
        return r < 0 ? r : -EPIPE;
    }
    return 0;
}

int rpc_stream_send(struct rpc_stream *stream, const ProtobufCMessage *message, uint64_t timeout_ms,
                    struct error *err)
{
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
    int r = stream->closed_send ? -EPIPE : finish_send(stream, timeout_ms, err);

    if (r < 0) {
        return r;
    }
    stream->sending = core_pack(message);
    if (stream->sending == NULL) {
        return -ENOMEM;
    }
    op.data.send_message.send_message = stream->sending;
    r = start_batch(stream, &op, 1, CLIENT_SEND);
    return r < 0 ? r : finish_send(stream, timeout_ms, err);
}

int rpc_stream_close(struct rpc_stream *stream)
{
    grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
    int r;

    if (stream->closed_send) {
        return 0;
    }
    r = finish_send(stream, CLOSE_MS, NULL);
    if (r < 0) {
        return r;
    }
    stream->closed_send = true;
    return start_batch(stream, &op, 1, CLIENT_SEND);
}

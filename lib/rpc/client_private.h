/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_private.h - one call of a client. Private to lib/rpc.
 *
 * Each call has a completion queue of its own, from which only the thread that waits takes; its
 * batches end when the call does, so that closing is: cancel, take what is left, destroy.
 */
#ifndef RPC_CLIENT_PRIVATE_H
#define RPC_CLIENT_PRIVATE_H

#include <sys/queue.h>

#include "rpc/client.h"
#include "rpc/core.h"

enum client_event { CLIENT_UNARY, CLIENT_START, CLIENT_RECV, CLIENT_SEND, CLIENT_EVENTS };

struct rpc_stream {
    const ProtobufCMethodDescriptor *method;
    grpc_call *handle;
    grpc_completion_queue *events;
    struct rpc_cancel *cancel;
    LIST_ENTRY(rpc_stream) link; /* in cancel's list, guarded by its lock */
    char tags[CLIENT_EVENTS];    /* only their addresses matter */
    bool pending[CLIENT_EVENTS];
    enum rpc_code *ret_code;
    bool ended; /* the status is known */
    bool closed_send;
    /* Given to gRPC until the batch that uses it completes. */
    grpc_metadata *metadata;
    size_t metadata_count;
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_byte_buffer *sending;
    grpc_byte_buffer *received;
    grpc_status_code status;
    grpc_slice status_text;
};

/* A handle on the client's channel, with the request's deadline, metadata and cancellation. */
int client_begin(struct rpc_client *client, const struct rpc_request *request,
                 struct rpc_stream **ret, struct error *err) __attribute__((warn_unused_result));

/* Wait for a batch: 1 it has succeeded, 0 it has failed, -ETIMEDOUT. */
int client_wait(struct rpc_stream *stream, enum client_event event, uint64_t timeout_ms)
    __attribute__((warn_unused_result));

/* The status as errno and text, once it is known. */
int client_status(struct rpc_stream *stream, struct error *err) __attribute__((warn_unused_result));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - a gRPC client: unary calls and streams, over unix sockets or TCP, plain or mTLS.
 *
 *     r = rpc_client_new(&(struct rpc_client_config){.target = "unix:/run/meta.sock"}, &client,
 * err); r = rpc_client_call(client, &(struct rpc_request){ .service =
 * &skyvol__meta__v1__volumes__descriptor, .method = "GetVolume", .message = &in.base, .timeout_ms =
 * 5000}, &reply, err); rpc_message_free(reply);
 *
 * A client is one channel that connects when it is needed and reconnects by itself; share it among
 * threads. Calls fail at once with -ECONNREFUSED (UNAVAILABLE) while nobody answers. Errors of the
 * server come as rpc_code_to_errno() of their code with the server's text in err.
 * Nothing is retried here but what gRPC knows never reached the server.
 */
#ifndef RPC_CLIENT_H
#define RPC_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "rpc/code.h"
#include "rpc/tls.h"
#include "util/error.h"

struct rpc_client;
struct rpc_cancel;
struct rpc_stream;

struct rpc_client_config {
    const char *target;         /* "unix:/path" or "host:port" */
    const struct rpc_tls *tls;  /* NULL: plain. Copied */
    const char *server_name;    /* expected in the server's certificate; NULL: the target's host */
    uint32_t max_message_bytes; /* of a reply; 0: 16 MiB */
};

struct rpc_metadata {
    const char *name; /* lower case */
    const char *value;
};

struct rpc_request {
    const ProtobufCServiceDescriptor *service;
    const char *method;
    const ProtobufCMessage *message; /* NULL in rpc_stream_open(): the client streams */
    uint64_t timeout_ms; /* of the whole call; 0: 60 s; UINT64_MAX: none, streams only */
    const struct rpc_metadata *metadata;
    size_t metadata_count;
    struct rpc_cancel *cancel; /* to end the call from another thread; NULL: none */
    enum rpc_code *ret_code;   /* the code as sent, set also on failure; may be NULL */
};

int rpc_client_new(const struct rpc_client_config *config, struct rpc_client **ret,
                   struct error *err) __attribute__((warn_unused_result));
/* When no call or stream runs any more. NULL is fine. */
void rpc_client_free(struct rpc_client *client);

/*
 * Wait until there is a connection, at most so long; it is tried again at once, whatever pauses
 * earlier failures have led to. A call that fails at once does not even read what a server that is
 * back has to say: who tries again and again must wait here in between. -ETIMEDOUT.
 */
int rpc_client_connect(struct rpc_client *client, uint64_t timeout_ms)
    __attribute__((warn_unused_result));

/* Call and wait. *ret is of the method's output type; free it with rpc_message_free(). */
int rpc_client_call(struct rpc_client *client, const struct rpc_request *request,
                    ProtobufCMessage **ret, struct error *err) __attribute__((warn_unused_result));

void rpc_message_free(void *message);

/* Cancels the calls and streams it is given to, now and later: they return -ECANCELED. */
int rpc_cancel_new(struct rpc_cancel **ret) __attribute__((warn_unused_result));
void rpc_cancel_now(struct rpc_cancel *cancel);
void rpc_cancel_free(struct rpc_cancel *cancel); /* when no call uses it any more */

/*
 * Streams. One thread at a time per stream; another may rpc_cancel_now(). The request is sent by
 * rpc_stream_open(), or, if its message is NULL, by rpc_stream_send() until rpc_stream_close().
 * rpc_stream_recv: 1 with a message in *ret (rpc_message_free()), 0 at the end with status OK,
 * -ETIMEDOUT when timeout_ms is over (may be tried again; the call goes on), or the call's error.
 */
int rpc_stream_open(struct rpc_client *client, const struct rpc_request *request,
                    struct rpc_stream **ret, struct error *err) __attribute__((warn_unused_result));
int rpc_stream_recv(struct rpc_stream *stream, uint64_t timeout_ms, ProtobufCMessage **ret,
                    struct error *err) __attribute__((warn_unused_result));
int rpc_stream_send(struct rpc_stream *stream, const ProtobufCMessage *message, uint64_t timeout_ms,
                    struct error *err) __attribute__((warn_unused_result));
int rpc_stream_close(struct rpc_stream *stream) __attribute__((warn_unused_result));
/* Cancels what still runs. NULL is fine. */
void rpc_stream_free(struct rpc_stream *stream);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h - a gRPC server: services of protobuf-c descriptors, handlers that may block.
 *
 *     static const struct rpc_method methods[] = {
 *         {.name = "Probe", .unary = probe, .pool = "quick", .quiet = true},
 *         {.name = "NodeStageVolume", .unary = stage},
 *     };
 *     struct rpc_server_config config = {.listen = listen, .pools = pools, .pool_count = 1};
 *
 *     r = rpc_server_new(&config, &server, err);
 *     r = rpc_server_add(server, &(struct rpc_service){
 *         .descriptor = &csi__v1__node__descriptor, .methods = methods, .method_count = 2});
 *     r = rpc_server_start(server, err);
 *     ...
 *     r = rpc_server_drain(server, 10000);
 *     rpc_server_free(server);
 *
 * Every method runs in a pool of threads: the one it names, or the pool "default". Methods of one
 * pool never wait for those of another. Methods of the descriptor without a handler, and unknown
 * ones, answer UNIMPLEMENTED. A call that finds its pool's queue full answers RESOURCE_EXHAUSTED.
 *
 * Each call is logged when it ends: method, code, ms, peer, request id at info (debug for quiet
 * methods that succeed); at debug its request's fields too, without the secret ones (redact.h).
 *
 * rpc_server_new, add and start are for one thread; drain and free for one, once.
 */
#ifndef RPC_SERVER_H
#define RPC_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "rpc/call.h"
#include "rpc/tls.h"
#include "util/metrics.h"

struct rpc_server;

/* A unary method has `unary`; one that streams in either direction has `stream`. */
struct rpc_method {
    const char *name; /* as in the descriptor */
    int (*unary)(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                 struct error *err);
    /* request is NULL when the client streams: use rpc_call_recv(). */
    int (*stream)(struct rpc_call *call, const ProtobufCMessage *request, struct error *err);
    bool client_streams;
    bool quiet;       /* successes are logged at debug only */
    const char *pool; /* NULL: "default" */
};

struct rpc_service {
    const ProtobufCServiceDescriptor *descriptor;
    const struct rpc_method *methods; /* must outlive the server */
    size_t method_count;
    void *context; /* rpc_call_context() */
    /* Asked before each call in the method's pool thread, if not NULL: 0 or why not (errno). */
    int (*allow)(struct rpc_call *call, struct error *err);
};

struct rpc_pool {
    const char *name;
    uint32_t threads;    /* at most this many, started as needed; 0: 16 */
    uint32_t max_queued; /* calls waiting for a thread; 0: 256 */
};

struct rpc_server_config {
    /* "unix:/path" (created with mode 0600; a socket nobody listens on is replaced) or
     * "host:port", port 0 for a free one; NULL at the end. Copied. */
    const char *const *listen;
    const struct rpc_tls *tls;    /* for the TCP addresses; NULL: plain. Copied */
    mode_t socket_mode;           /* of unix sockets; 0: 0600 */
    const struct rpc_pool *pools; /* may redefine "default". Copied */
    size_t pool_count;
    uint32_t max_message_bytes; /* of a request; 0: 4 MiB */
    struct metrics *metrics;    /* rpc_server_* are counted here; NULL: not */
};

int rpc_server_new(const struct rpc_server_config *config, struct rpc_server **ret,
                   struct error *err) __attribute__((warn_unused_result));

/* Before rpc_server_start. -EINVAL: no such method or pool; -EEXIST; -ENOMEM. */
int rpc_server_add(struct rpc_server *server, const struct rpc_service *service, struct error *err)
    __attribute__((warn_unused_result));

/* Bind and serve. -EADDRINUSE: somebody listens there; -EINVAL (address, certificates); -EACCES
 * (no right to the socket's place, or plain TCP beyond loopback). */
int rpc_server_start(struct rpc_server *server, struct error *err)
    __attribute__((warn_unused_result));

/* The TCP port of the index-th address (0 for a unix socket), after start. */
uint16_t rpc_server_port(const struct rpc_server *server, size_t index);

/*
 * Refuse new calls, let running ones finish for grace_ms, then cancel the rest and wait for their
 * handlers. 0, or -ETIMEDOUT when a handler has ignored its cancellation for ten seconds; then the
 * server cannot be freed, and the process should end.
 */
int rpc_server_drain(struct rpc_server *server, uint64_t grace_ms)
    __attribute__((warn_unused_result));

/* After a drain that returned 0, or of a server that was never started. NULL is fine. */
void rpc_server_free(struct rpc_server *server);

#endif

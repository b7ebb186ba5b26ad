/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_private.h - what server.c and call.c know of each other. Private to lib/rpc.
 *
 * Life of a call (call.c): accept slot -> accepted -> (first message received) -> queued in its
 * pool -> handler -> answered -> freed. A batch given to gRPC holds a reference of the call, as
 * does the handler; after grpc_call_start_batch nothing is touched but through a reference of
 * one's own, for another thread may already have completed the batch. The last reference frees.
 * The server counts slots and live calls and shuts its completion queue down at zero of both, never
 * before: starting a batch on a queue that is shut down aborts the process.
 *
 * Lock order: server, then call. Neither is held while gRPC, a handler or a log is called.
 */
#ifndef RPC_SERVER_PRIVATE_H
#define RPC_SERVER_PRIVATE_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "rpc/core.h"
#include "rpc/server.h"
#include "rpc/tls_private.h"
#include "util/mutex.h"
#include "util/pool.h"
#include "util/random.h"

enum {
    RPC_POLLERS = 2,
    RPC_ACCEPT_SLOTS = 16,
    RPC_LISTEN_MAX = 8,
    RPC_POOLS_MAX = 8,
    RPC_METHODS_MAX = 256,
    RPC_ARENA_MAX = 64 << 20,
    RPC_NAMES_MAX = 64, /* alternative names of a certificate that are looked at */
};

/* A method with its path, its pool and its service. */
struct binding {
    char *path;
    struct rpc_method method;
    struct rpc_service service;
    const ProtobufCMethodDescriptor *descriptor;
    struct pool *pool;
};

enum call_event { EVENT_ACCEPT, EVENT_CLOSE, EVENT_RECV, EVENT_SEND, EVENT_FINISH, EVENT_COUNT };

struct call_tag {
    struct rpc_call *call;
    enum call_event event;
};

enum recv_state { RECV_IDLE, RECV_PENDING, RECV_READY };
enum send_state { SEND_IDLE, SEND_PENDING, SEND_DONE, SEND_FAILED };

struct rpc_call {
    struct rpc_server *server;
    const struct binding *binding; /* NULL: no such method */
    LIST_ENTRY(rpc_call) link;     /* in the server's live calls; guarded by its lock */
    struct call_tag tags[EVENT_COUNT];
    grpc_call *handle;
    grpc_call_details details;
    grpc_metadata_array metadata;
    uint64_t started_ms;
    struct arena arena;      /* of the handler's thread, and of the poller before it */
    struct arena recv_arena; /* of the last message of rpc_call_recv() */
    const char *path;
    const char *request_id;
    const struct rpc_peer *peer; /* NULL: not asked yet */
    enum rpc_code fail_code;     /* RPC_OK: rpc_call_fail() was not called */
    struct error fail_error;
    bool headers_sent;
    /* Given to gRPC until the batch that uses it completes. */
    int close_cancelled;
    grpc_byte_buffer *received;
    grpc_byte_buffer *sending;
    grpc_slice status_text;

    struct mutex lock;
    struct cond changed;
    unsigned refs GUARDED_BY(lock);
    bool cancelled GUARDED_BY(lock);
    enum recv_state recv_state GUARDED_BY(lock);
    enum send_state send_state GUARDED_BY(lock);
    bool waiting_first GUARDED_BY(lock); /* the pending receive is the request of a unary call */
};

struct rpc_server {
    struct rpc_server_config config; /* pointers in it are not used after rpc_server_new */
    struct tls_files tls;
    bool has_tls;
    char *listen[RPC_LISTEN_MAX];
    uint16_t ports[RPC_LISTEN_MAX];
    size_t listen_count;
    struct rpc_pool pool_config[RPC_POOLS_MAX];
    char *pool_name[RPC_POOLS_MAX];
    struct pool *pools[RPC_POOLS_MAX];
    size_t pool_count;
    struct binding bindings[RPC_METHODS_MAX];
    size_t binding_count;
    struct metric *calls;
    struct metric *seconds;
    grpc_server *handle;
    grpc_completion_queue *events;
    pthread_t pollers[RPC_POLLERS];
    size_t poller_count;
    bool started;
    atomic_bool draining;

    struct mutex lock;
    struct cond changed;
    LIST_HEAD(, rpc_call) live GUARDED_BY(lock);
    unsigned live_count GUARDED_BY(lock);
    unsigned slots GUARDED_BY(lock); /* calls given to grpc_server_request_call */
    bool shut_down GUARDED_BY(lock); /* gRPC has told that nothing is accepted any more */
};

/* Ask gRPC for one more call, unless the server drains. */
void call_accept(struct rpc_server *server);
/* A batch or an accept has completed. From a poller thread. */
void call_complete(struct call_tag *tag, bool ok);
/* The pools' job: run the handler. */
void call_run(void *job, void *server);

const struct binding *server_find(const struct rpc_server *server, const char *path, size_t len);
/* Entering and leaving the live calls: out of the list, freed, and only then not counted any more,
 * for at a count of zero the server may go. */
void server_call_begun(struct rpc_server *server, struct rpc_call *call);
void server_call_left(struct rpc_server *server, struct rpc_call *call);
void server_call_ended(struct rpc_server *server);
void server_slot_ended(struct rpc_server *server);
/* False once the server drains; else one slot more. */
bool server_slot_begun(struct rpc_server *server);

/* call_peer.c: who calls, in the call's arena; NULL: out of memory. */
const struct rpc_peer *call_find_peer(struct rpc_call *call);
/* call_log.c: the line that ends each call, and its metrics. */
void call_log_end(struct rpc_call *call, const ProtobufCMessage *request, enum rpc_code code,
                  const char *text);

#endif

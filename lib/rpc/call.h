/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.h - one RPC as its handler on the server sees it.
 *
 *     static int create_volume(struct rpc_call *call, const ProtobufCMessage *request,
 *                              ProtobufCMessage *reply, struct error *err)
 *     {
 *         const Csi__V1__CreateVolumeRequest *in = (const void *)request;
 *         Csi__V1__CreateVolumeResponse *out = (void *)reply;
 *
 *         if (in->name[0] == '\0') {
 *             return error_set(err, -EINVAL, "name is missing: give the volume a name");
 *         }
 *         out->volume = rpc_call_message(call, &csi__v1__volume__descriptor);
 *         ...
 *     }
 *
 * A handler runs in a thread of its method's pool and may block, but not beyond
 * rpc_call_left_ms(). Its request, the reply it fills and all rpc_call_* memory live until it
 * returns; what the reply points to must be of the call's memory or static. 0 sends the reply; a
 * negative errno value sends its code (code.h) and err's text; rpc_call_fail() sends any code.
 * All functions here are for the handler's thread alone, but rpc_call_cancelled(), which any may
 * ask.
 */
#ifndef RPC_CALL_H
#define RPC_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "rpc/code.h"
#include "util/arena.h"
#include "util/error.h"

struct rpc_call;

enum rpc_peer_kind {
    RPC_PEER_UNIX,     /* over a unix socket, whose file mode is the guard */
    RPC_PEER_TLS,      /* with a certificate that our authority signed */
    RPC_PEER_INSECURE, /* plain TCP: nobody knows who */
};

/* Who calls. Lives as long as the call. */
struct rpc_peer {
    enum rpc_peer_kind kind;
    const char *address;      /* as gRPC writes it: "ipv4:10.0.0.1:4711", "unix:" */
    const char *common_name;  /* of the certificate's subject; "" if there is none */
    const char *const *names; /* its subject alternative names */
    size_t name_count;
};

const struct rpc_peer *rpc_call_peer(struct rpc_call *call);

/* True if the peer showed a certificate with `name` as common name or alternative name. */
bool rpc_call_peer_is(struct rpc_call *call, const char *name);

/* "/csi.v1.Node/NodeStageVolume" and the context that was given with the service. */
const char *rpc_call_path(const struct rpc_call *call);
void *rpc_call_context(const struct rpc_call *call);

/* The caller's x-request-id if it sent a sane one, else a random id. */
const char *rpc_call_request_id(const struct rpc_call *call);

/* Request metadata by its lower-case name, such as "authorization"; NULL if absent. May be secret:
 * do not log it. */
const char *rpc_call_metadata(struct rpc_call *call, const char *name);

/* Milliseconds to the caller's deadline, 0 when over; UINT64_MAX when it gave none. */
uint64_t rpc_call_left_ms(const struct rpc_call *call);

/* True once the caller has cancelled or gone, the deadline is over or the server's grace has ended.
 */
bool rpc_call_cancelled(struct rpc_call *call);

/* True once the server drains: a stream with nothing urgent left should return. */
bool rpc_call_draining(struct rpc_call *call);

/* Sleep; -ECANCELED as soon as the call is cancelled or the server drains, 0 after timeout_ms. */
int rpc_call_sleep(struct rpc_call *call, uint64_t timeout_ms) __attribute__((warn_unused_result));

/* Memory of the call, zeroed; NULL when it is out or the call's limit (64 MiB) is reached. */
struct arena *rpc_call_arena(struct rpc_call *call);
void *rpc_call_alloc(struct rpc_call *call, size_t len) __attribute__((warn_unused_result));
char *rpc_call_strdup(struct rpc_call *call, const char *text) __attribute__((warn_unused_result));
char *rpc_call_printf(struct rpc_call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3), warn_unused_result));
/* An initialised message of that type. */
void *rpc_call_message(struct rpc_call *call, const ProtobufCMessageDescriptor *type)
    __attribute__((warn_unused_result));

/* Fix code and text of the answer, whatever the handler returns (not 0). Returns
 * rpc_code_to_errno(code), for `return rpc_call_fail(...)`. */
int rpc_call_fail(struct rpc_call *call, enum rpc_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Streams. rpc_call_send: one message to the caller; returns when the transport has taken it, which
 * a slow caller delays (-ETIMEDOUT then ends the call; -ECANCELED when it is over). The message may
 * be reused at once.
 * rpc_call_recv: the caller's next message in *ret, of the call's memory until the next
 * rpc_call_recv. Returns 1 with a message, 0 when the caller has sent its last, -ETIMEDOUT (may be
 * tried again), -ECANCELED, -EBADMSG (not such a message), -ENOMEM.
 */
int rpc_call_send(struct rpc_call *call, const ProtobufCMessage *message, uint64_t timeout_ms)
    __attribute__((warn_unused_result));
int rpc_call_recv(struct rpc_call *call, uint64_t timeout_ms, const ProtobufCMessage **ret)
    __attribute__((warn_unused_result));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * managed.h - the session that a mount of a managed volume has with the metaserver.
 *
 * A thread opens it, renews its lease, and opens another when it has ended; nobody who mounts,
 * reads or writes waits for that. Session and lease lie in the kept region "managed", so that a
 * successor goes on with the same session and the locks that it holds.
 *
 *     r = managed_new(&config, &m, err);
 *     r = managed_call(m, &(struct managed_request){...}, &reply, err);
 *     managed_free(m);                       closes the session: after an unmount only
 *
 * Every call has a deadline. All functions: any thread; none is called with fs->lock held but
 * those that say so. Lock order: fs->lock, then managed's own.
 */
#ifndef MOUNTER_MANAGED_H
#define MOUNTER_MANAGED_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "mount/channel.h"
#include "mounter/kept/keep.h"
#include "rpc/client.h"
#include "util/error.h"

struct managed;

enum { MANAGED_ID_SIZE = 64 };

struct managed_config {
    const struct mount_channel *channel; /* both are copied */
    const struct mount_ticket *ticket;
    struct keep *keep;
    bool read_only;
    /* The session has ended, and not by us: what it held is another's. From the thread. */
    void (*lost)(void *context);
    /* There is a session (again). From the thread; must not wait for the network for long. */
    void (*opened)(void *context);
    /* The volume has this size: with each answer about the session. From the thread. */
    void (*sized)(void *context, uint64_t size_bytes);
    void *context;
    struct keys *keys; /* asked about new ones while there is a session; NULL: there are none */
};

int managed_new(const struct managed_config *config, struct managed **ret, struct error *err)
    __attribute__((warn_unused_result));
/* Close the session; no event comes after. NULL is allowed. */
void managed_stop(struct managed *m);
/* The same, when nobody calls it any more. */
void managed_free(struct managed *m);

/* Another token or certificate: used from the next connection on. The keys that came with it are
 * asked about, too: newer ones may have been there. */
int managed_set_ticket(struct managed *m, const struct mount_ticket *ticket)
    __attribute__((warn_unused_result));

struct managed_session {
    char id[MANAGED_ID_SIZE];
    uint64_t epoch;
    uint64_t lease_ms;
};

/* The session, if its lease has not ended; waits for one at most wait_ms. -ENOLCK: there is none.
 */
int managed_session(struct managed *m, uint64_t wait_ms, struct managed_session *ret)
    __attribute__((warn_unused_result));
/* Single-node access modes: nobody else can have the volume. */
bool managed_exclusive(const struct managed *m);
const char *managed_volume(const struct managed *m);
/* Ends the calls of the session's thread; for those that it makes. */
struct rpc_cancel *managed_cancel(const struct managed *m);

struct managed_request {
    const ProtobufCServiceDescriptor *service;
    const char *method;
    const ProtobufCMessage *message;
    uint64_t timeout_ms;
    struct rpc_cancel *cancel; /* or NULL */
    enum rpc_code *ret_code;   /* or NULL */
    uint64_t connect_ms;       /* first wait so long for a connection that is down */
};
/* All calls share one connection. -ENOTCONN: there is none yet; those of rpc_client_call(). -ENOENT
 * and -ESTALE may mean that the session has ended: the thread looks. So it does at once, waiting
 * for the connection, when a call that does not wait for one was refused. */
int managed_call(struct managed *m, const struct managed_request *request, ProtobufCMessage **ret,
                 struct error *err) __attribute__((warn_unused_result));

#endif

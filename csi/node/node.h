/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.h - the CSI Node service: mounts by the holder, targets by bind.
 *
 * A mount is named by its key, a hash of volume, options, mount group and identity, and is made by
 * whichever of Stage or Publish first knows all of that: at the staging path by Stage, below
 * mounts_dir by Publish. One volume has one call at a time; another gets ABORTED. Only the mount
 * table is asked about paths, never the file system behind one of our mounts.
 *
 * Locks: node.lock guards the list of busy volumes, keep.lock the duplicates; both are leaves.
 */
#ifndef CSI_NODE_NODE_H
#define CSI_NODE_NODE_H

#include <sys/queue.h>

#include "csi.pb-c.h"
#include "csi/meta.h"
#include "csi/node/record.h"
#include "csi/source.h"
#include "mount/holder.h"
#include "rpc/server.h"
#include "util/mutex.h"

enum {
    NODE_QUICK_MS = 1500,  /* what Unpublish and Unstage may spend on one step */
    NODE_MOUNT_MS = 60000, /* Stage and Publish at most, if the caller is patient */
    NODE_STATFS_MS = 1500,
    NODE_KEEP_MS = 65000, /* to write to the journal what a store has not taken */
};

#define NODE_POOL_UNPUBLISH "unpublish"
#define NODE_POOL_UNSTAGE "unstage"
#define NODE_POOL_STATS "stats"
#define NODE_FS_TYPE "fuse.skyvol"

struct node_busy {
    LIST_ENTRY(node_busy) link;
    const char *volume;
};

struct keep;

struct node {
    const char *id;
    const char *socket; /* of the holder */
    const char *state_dir;
    const char *mounts_dir;
    const char *journal_dir; /* of the holder; NULL: not known */
    bool pod_tokens; /* skyvol-meta is shown the token of the pod: Publish has it, Stage not */
    uint64_t drain_limit_ms; /* from the first Unstage on: then the journal takes the rest */
    struct csi_policy policy;
    void (*asked)(void *context); /* who we are: kubelet does when it registers us. NULL: nobody */
    void *asked_context;
    struct csi_meta meta;
    struct keep *keep;

    struct mutex lock;
    LIST_HEAD(, node_busy) busy GUARDED_BY(lock);
};

/* `node` must outlive the server. */
int node_add(struct rpc_server *server, struct node *node, struct error *err)
    __attribute__((warn_unused_result));

/* -EALREADY while another call works on the volume. `busy` is the caller's until node_unlock. */
int node_lock(struct node *node, struct node_busy *busy, const char *volume)
    __attribute__((warn_unused_result));
void node_unlock(struct node *node, struct node_busy *busy);

/* Handlers: stage.c, publish.c, unpublish.c, stats.c. */
int node_stage(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
               struct error *err);
int node_unstage(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                 struct error *err);
int node_publish(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                 struct error *err);
int node_unpublish(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                   struct error *err);
int node_stats(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
               struct error *err);

#endif

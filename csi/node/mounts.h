/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mounts.h - what Stage and Publish ask for, and the mounts that give it.
 *
 *     CLEANUP(plan_done) struct plan plan = PLAN_INIT;
 *
 *     r = plan_make(node, &input, &plan, err);
 *     r = mounts_ensure(node, call, &record, &plan, at, err);
 *
 * Callers hold the volume's lock. Errors are set for the RPC's answer.
 */
#ifndef CSI_NODE_MOUNTS_H
#define CSI_NODE_MOUNTS_H

#include "csi/node/node.h"

struct plan {
    struct csi_source source;
    char wish[RECORD_HASH_SIZE]; /* of all that was asked for, but for the identity */
    char key[HOLDER_KEY_MAX];
    bool exclusive;             /* a single-node access mode */
    char *pod_token;            /* what kubelet passes for skyvol-meta; NULL: none */
    struct mount_ticket ticket; /* for the metaserver of a managed volume, once attached */
};

#define PLAN_INIT                                                                                  \
    {                                                                                              \
        .source = CSI_SOURCE_INIT                                                                  \
    }

struct plan_input {
    const char *volume_id;
    struct csi_map context;
    struct csi_map secrets;
    const Csi__V1__VolumeCapability *capability; /* checked */
    bool own_identity;                           /* the secrets are this pod's, not the volume's */
};

int plan_make(const struct node *node, const struct plan_input *input, struct plan *ret,
              struct error *err) __attribute__((warn_unused_result));
void plan_done(struct plan *plan);

/*
 * Make the mount `plan->key` at `at`, or see that it is there; recorded before and after. A mount
 * whose mounter and holder are both gone is taken away first.
 */
int mounts_ensure(struct node *node, struct rpc_call *call, struct record *record,
                  struct plan *plan, const char *at, struct error *err)
    __attribute__((warn_unused_result));

/*
 * Publish what is dirty for at most `ms`, unmount, forget. `keep`: the journal on the host's disk
 * takes what is left. -EALREADY: still dirty.
 */
struct mounts_drain {
    uint64_t ms;
    bool keep;
};
int mounts_drop(struct node *node, struct record *record, const char *key,
                const struct mounts_drain *drain, struct error *err)
    __attribute__((warn_unused_result));

/*
 * Hand credentials to the running mounter of `key`: those of the secrets, if they had any, or those
 * that the metaserver has now. A metaserver that does not answer is no error: the mount goes on.
 * Nor is one that refuses, for what is published already.
 */
int mounts_refresh(struct node *node, struct rpc_call *call, struct record *record,
                   struct plan *plan, const char *key, struct error *err)
    __attribute__((warn_unused_result));

/* True if the mount is in the table and the holder serves it (or is not there to be asked, or does
 * not know yet of one that somebody has the device of). */
bool mounts_alive(const struct node *node, const struct record_mount *mount);

/* Take away whatever is mounted at `path`, top first, lazily if need be. Never touches files. */
int mounts_clear(const char *path, struct error *err) __attribute__((warn_unused_result));

/* Same superblock? By the mount table alone. */
bool mounts_same(const char *a, const char *b);

#endif

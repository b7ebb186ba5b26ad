/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "csi/capability.h"
#include "csi/identity.h"
#include "csi/node/keep.h"
#include "csi/node/mounts.h"
#include "mount/mountinfo.h"
#include "util/clock.h"

static int check_stage(const Csi__V1__NodeStageVolumeRequest *in, struct error *err)
{
    int r = csi_required(in->volume_id, "volume_id", CSI_ID_MAX, err);

    r = r < 0 ? r : csi_path(in->staging_target_path, "staging_target_path", err);
    return r < 0 ? r : csi_capability_check(in->volume_capability, err);
}

/* Without keys and not declared public, the identity is not known yet: Publish may bring it. So it
 * is with the pod's token that skyvol-meta wants to see, which no Stage has. */
static bool is_complete(const struct node *node, const struct plan *plan)
{
    if (plan->source.managed) {
        return !node->pod_tokens;
    }
    return plan->source.credentials.access_key != NULL ||
           mount_options_true(&plan->source.options, "anonymous");
}

static int stage_locked(struct node *node, struct rpc_call *call,
                        const Csi__V1__NodeStageVolumeRequest *in, struct plan *plan,
                        struct error *err)
{
    CLEANUP(record_done) struct record record = RECORD_INIT;
    int r = record_load(node->state_dir, in->volume_id, &record, err);

    if (r == 0 && record.staging != NULL &&
        (strcmp(record.staging, in->staging_target_path) != 0 ||
         strcmp(record.wish, plan->wish) != 0)) {
        r = error_set(err, -EEXIST,
                      "volume %s is staged already, at another path or with other "
                      "options: unstage it first",
                      in->volume_id);
    }
    if (r == 0 && mkdir(in->staging_target_path, 0750) < 0 && errno != EEXIST) {
        r = error_set(err, -errno, "cannot make %s: %s", in->staging_target_path,
                      strerrordesc_np(errno));
    }
    if (r == 0 && is_complete(node, plan)) {
        r = mounts_ensure(node, call, &record, plan, in->staging_target_path, err);
    }
    r = r < 0 ? r
              : record_set_staged(&record, in->staging_target_path,
                                  is_complete(node, plan) ? plan->key : NULL, plan->wish);
    return r < 0 ? r : record_save(node->state_dir, &record, err);
}

int node_stage(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
               struct error *err)
{
    const Csi__V1__NodeStageVolumeRequest *in = (const void *)request;
    struct node *node = rpc_call_context(call);
    CLEANUP(plan_done) struct plan plan = PLAN_INIT;
    struct plan_input input = {
        .volume_id = in->volume_id,
        .context = CSI_MAP(in, volume_context),
        .secrets = CSI_MAP(in, secrets),
        .capability = in->volume_capability,
    };
    struct node_busy busy;
    int r = check_stage(in, err);

    (void)reply;
    r = r < 0 ? r : plan_make(node, &input, &plan, err);
    r = r < 0 ? r : node_lock(node, &busy, in->volume_id);
    if (r < 0) {
        return r;
    }
    r = stage_locked(node, call, in, &plan, err);
    node_unlock(node, &busy);
    return r;
}

/* ---- Unstage ---- */

/* Targets that are mounted no more are forgotten; one that is refuses the rest. */
static int settle_targets(struct record *record, struct error *err)
{
    for (size_t i = 0; i < record->target_count;) {
        struct mountinfo m;

        if (mountinfo_find(record->targets[i].target, &m) == 0) {
            return error_set(err, -EBUSY, "volume %s is still published at %s", record->volume,
                             record->targets[i].target);
        }
        record_drop_target(record, record->targets[i].target);
    }
    return 0;
}

/* A store that takes nothing must not hold a node for ever: since when has this been tried? */
static int drain_for(struct node *node, struct record *record, struct mounts_drain *ret,
                     struct error *err)
{
    int64_t now = clock_realtime_ns(clock_real());
    int r = 0;

    if (record->mount_count > 0 && (record->unstaging_ns == 0 || record->unstaging_ns > now)) {
        record->unstaging_ns = now;
        r = record_save(node->state_dir, record, err);
    }
    *ret = (struct mounts_drain){.ms = NODE_QUICK_MS - 500,
                                 .keep = record->unstaging_ns != 0 &&
                                         (uint64_t)(now - record->unstaging_ns) / 1000000 >=
                                             node->drain_limit_ms};
    return r;
}

static int unstage_locked(struct node *node, const Csi__V1__NodeUnstageVolumeRequest *in,
                          struct error *err)
{
    CLEANUP(record_done) struct record record = RECORD_INIT;
    struct mounts_drain drain = {0};
    struct mountinfo m;
    size_t i = 0;
    int r = record_load(node->state_dir, in->volume_id, &record, err);

    if (r == 0 && record.staging != NULL && strcmp(record.staging, in->staging_target_path) != 0) {
        return 0; /* nothing of it is staged there */
    }
    r = r < 0 ? r : settle_targets(&record, err);
    r = r < 0 ? r : drain_for(node, &record, &drain, err);
    if (r < 0) {
        return r;
    }
    record_clear_staged(&record);
    while (r == 0 && i < record.mount_count) {
        AUTOFREE char *key = strdup(record.mounts[i].key);

        r = key != NULL ? mounts_drop(node, &record, key, &drain, err) : -ENOMEM;
    }
    if (r == 0 && mountinfo_find(in->staging_target_path, &m) == 0 &&
        strcmp(m.type, NODE_FS_TYPE) == 0) { /* ours, from before a lost record */
        r = mounts_clear(in->staging_target_path, err);
    }
    return r < 0 ? r : record_save(node->state_dir, &record, err);
}

int node_unstage(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                 struct error *err)
{
    const Csi__V1__NodeUnstageVolumeRequest *in = (const void *)request;
    struct node *node = rpc_call_context(call);
    struct node_busy busy;
    int r = csi_required(in->volume_id, "volume_id", CSI_ID_MAX, err);

    (void)reply;
    r = r < 0 ? r : csi_path(in->staging_target_path, "staging_target_path", err);
    r = r < 0 ? r : node_lock(node, &busy, in->volume_id);
    if (r < 0) {
        return r;
    }
    r = unstage_locked(node, in, err);
    node_unlock(node, &busy);
    keep_wake(node->keep);
    return r;
}

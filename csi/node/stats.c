/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "csi/capability.h"
#include "csi/identity.h"
#include "csi/node/bounded.h"
#include "csi/node/mounts.h"
#include "mount/mountinfo.h"

static int find_path(const struct record *record, const char *path, const char **ret_key,
                     struct error *err)
{
    const struct record_target *t = record_find_target(record, path);
    struct mountinfo m;

    if (t != NULL) {
        *ret_key = t->key;
    } else if (record->staging != NULL && strcmp(record->staging, path) == 0) {
        *ret_key = record->staged;
    } else {
        return error_set(err, -ENOENT, "volume %s is not at %s", record->volume, path);
    }
    if (*ret_key == NULL || mountinfo_find(path, &m) < 0) {
        return error_set(err, -ENOENT, "volume %s is not mounted at %s", record->volume, path);
    }
    return 0;
}

static int add_usage(struct rpc_call *call, Csi__V1__NodeGetVolumeStatsResponse *out,
                     Csi__V1__VolumeUsage__Unit unit, uint64_t total, uint64_t available)
{
    Csi__V1__VolumeUsage *usage = rpc_call_message(call, &csi__v1__volume_usage__descriptor);

    if (usage == NULL) {
        return -ENOMEM;
    }
    usage->unit = unit;
    usage->total = total > INT64_MAX ? INT64_MAX : (int64_t)total;
    usage->available = available > INT64_MAX ? INT64_MAX : (int64_t)available;
    usage->used = usage->total - usage->available;
    out->usage[out->n_usage++] = usage;
    return 0;
}

static void judge(struct node *node, const char *key, int statfs_result,
                  Csi__V1__VolumeCondition *ret, struct rpc_call *call)
{
    struct holder_status status;
    int r = holder_status(node->socket, key, NODE_QUICK_MS / 3, &status, NULL);
    const char *text = "served";

    ret->abnormal = true;
    if (r == -ENOENT || r == -ECONNREFUSED) {
        text = "nobody serves the mount: it is dead until the pod is started again";
    } else if (r == 0 && status.state == HOLDER_FAILED) {
        text = status.error[0] != '\0' ? status.error : "the mounter died too often";
    } else if (statfs_result == -ETIMEDOUT || statfs_result == -EBUSY) {
        text = "the mount does not answer: its store may be stalled";
    } else if (statfs_result < 0) {
        text = strerrordesc_np(-statfs_result);
    } else {
        ret->abnormal = false;
    }
    ret->message = rpc_call_strdup(call, text);
}

int node_stats(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
               struct error *err)
{
    const Csi__V1__NodeGetVolumeStatsRequest *in = (const void *)request;
    Csi__V1__NodeGetVolumeStatsResponse *out = (void *)reply;
    struct node *node = rpc_call_context(call);
    CLEANUP(record_done) struct record record = RECORD_INIT;
    const char *key = NULL;
    struct statvfs s = {.f_frsize = 0};
    int answer;
    int r = csi_required(in->volume_id, "volume_id", CSI_ID_MAX, err);

    r = r < 0 ? r : csi_required(in->volume_path, "volume_path", CSI_PATH_MAX, err);
    r = r < 0 ? r : csi_path_parts(in->volume_path, "volume_path", err);
    r = r < 0 ? r : record_load(node->state_dir, in->volume_id, &record, err);
    r = r < 0 ? r : find_path(&record, in->volume_path, &key, err);
    if (r < 0) {
        return r;
    }
    answer = bounded_statvfs(in->volume_path, NODE_STATFS_MS, &s);
    if (answer < 0) { /* what is known without it */
        s = (struct statvfs){.f_frsize = 1, .f_blocks = record.size_bytes};
    }
    out->usage = rpc_call_alloc(call, 2 * sizeof(void *));
    out->volume_condition = rpc_call_message(call, &csi__v1__volume_condition__descriptor);
    if (out->usage == NULL || out->volume_condition == NULL) {
        return -ENOMEM;
    }
    judge(node, key, answer, out->volume_condition, call);
    r = add_usage(call, out, CSI__V1__VOLUME_USAGE__UNIT__BYTES, s.f_blocks * s.f_frsize,
                  s.f_bavail * s.f_frsize);
    if (r == 0 && s.f_files > 0) {
        r = add_usage(call, out, CSI__V1__VOLUME_USAGE__UNIT__INODES, s.f_files, s.f_favail);
    }
    return out->volume_condition->message != NULL ? r : -ENOMEM;
}

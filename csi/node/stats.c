/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "csi/capability.h"
#include "csi/identity.h"
#include "csi/node/condition.h"
#include "csi/node/journals.h"
#include "csi/node/mounts.h"
#include "mount/bounded.h"
#include "mount/mountinfo.h"
#include "mount/stats_holder.h"
#include "util/clock.h"

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

/* From what the mounter shares: neither it nor the store is asked. */
static bool store_trouble(const struct node *node, const char *key, char *ret, size_t size)
{
    enum { LONG_MS = 2000 }; /* a store may be short of breath for a moment */
    struct mount_stats *stats = NULL;
    uint64_t now = (uint64_t)(clock_realtime_ns(clock_real()) / 1000000);
    uint64_t since = 0;
    uint64_t dirty = 0;
    int error = 0;

    if (mount_stats_fetch(node->socket, key, NODE_QUICK_MS / 3, &stats) == 0) {
        since = mount_stats_get(stats, STATS_STORE_FAILING_SINCE_MS);
        error = (int)mount_stats_get(stats, STATS_STORE_ERROR);
        dirty = mount_stats_get(stats, STATS_DIRTY_BYTES);
    }
    mount_stats_unmap(stats);
    if (since == 0 || now < since + LONG_MS) {
        return false;
    }
    (void)snprintf(ret, size, "for %llu s the store fails: %s; %llu KiB wait to be sent",
                   (unsigned long long)(now - since) / 1000, condition_of_error(error),
                   (unsigned long long)dirty / 1024);
    return true;
}

/* Of this volume, on this node: of a mount with other options or keys, say. */
static bool journal_trouble(const struct node *node, const char *volume, char *ret, size_t size)
{
    uint64_t damaged;
    uint64_t files = journals_of(node->journal_dir, volume, &damaged);

    if (files > 0) {
        (void)snprintf(ret, size,
                       "%llu files that an earlier mount on this node could not send to the store "
                       "are in its journal: run skyvolctl recover --volume %.128s here",
                       (unsigned long long)files, volume);
    } else if (damaged > 0) {
        (void)snprintf(
            ret, size,
            "%llu files of the journal on this node are damaged and set aside: skyvolctl "
            "recover lists them",
            (unsigned long long)damaged);
    }
    return files > 0 || damaged > 0;
}

struct judged {
    const char *key, *volume;
    int statfs_result;
};

/* What is wrong with the mount and what to do, in `told` or a constant; NULL: nothing. */
static const char *trouble_of(struct node *node, const struct judged *of, char *told, size_t size)
{
    struct holder_status status = {.state = HOLDER_RUNNING};
    int r = holder_status(node->socket, of->key, NODE_QUICK_MS / 3, &status, NULL);

    if (r == -ENOENT || r == -ECONNREFUSED) {
        return "nobody serves the mount (is skyvol-holder running on this node?): it is dead until "
               "the pod is started again";
    }
    if (r == 0 && status.state == HOLDER_FAILED) {
        (void)snprintf(
            told, size,
            "the mounter died too often, every call fails: %.300s; delete the pod so that "
            "it is mounted anew, and look at the log of skyvol-holder",
            status.error[0] != '\0' ? status.error : "it did not say why");
        return told;
    }
    if (store_trouble(node, of->key, told, size)) {
        return told;
    }
    if (of->statfs_result == -ETIMEDOUT || of->statfs_result == -EBUSY) {
        return "the mount does not answer: its store may be stalled; requests fail after their "
               "deadline (deadline=), and go on by themselves when it answers";
    }
    if (of->statfs_result < 0) {
        return strerrordesc_np(-of->statfs_result);
    }
    return journal_trouble(node, of->volume, told, size) ? told : NULL;
}

static void judge(struct node *node, const struct judged *of, Csi__V1__VolumeCondition *ret,
                  struct rpc_call *call)
{
    char told[512];
    const char *trouble = trouble_of(node, of, told, sizeof(told));

    ret->abnormal = trouble != NULL;
    ret->message = rpc_call_strdup(call, trouble != NULL ? trouble : "served");
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
    judge(node, &(struct judged){key, record.volume, answer}, out->volume_condition, call);
    r = add_usage(call, out, CSI__V1__VOLUME_USAGE__UNIT__BYTES, s.f_blocks * s.f_frsize,
                  s.f_bavail * s.f_frsize);
    if (r == 0 && s.f_files > 0) {
        r = add_usage(call, out, CSI__V1__VOLUME_USAGE__UNIT__INODES, s.f_files, s.f_favail);
    }
    return out->volume_condition->message != NULL ? r : -ENOMEM;
}

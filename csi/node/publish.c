/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "csi/capability.h"
#include "csi/identity.h"
#include "csi/node/keep.h"
#include "csi/node/mounts.h"
#include "mount/bounded.h"
#include "mount/mountinfo.h"

struct publish {
    struct node *node;
    struct rpc_call *call;
    const Csi__V1__NodePublishVolumeRequest *in;
    struct record record;
    struct plan plan;
    bool read_only;
    struct error *err;
};

static int check_publish(const Csi__V1__NodePublishVolumeRequest *in, struct error *err)
{
    int r = csi_required(in->volume_id, "volume_id", CSI_ID_MAX, err);

    r = r < 0 ? r : csi_path(in->target_path, "target_path", err);
    if (r == 0 && in->staging_target_path[0] != '\0') {
        r = csi_path(in->staging_target_path, "staging_target_path", err);
    }
    return r < 0 ? r : csi_capability_check(in->volume_capability, err);
}

/* 1: published already, and credentials handed on; 0: still to be done. */
static int check_target(struct publish *p)
{
    const struct record_target *t = record_find_target(&p->record, p->in->target_path);
    const struct record_mount *m = t != NULL ? record_find_mount(&p->record, t->key) : NULL;
    struct mountinfo table;
    int r = mountinfo_find(p->in->target_path, &table);

    if (r == -ENOENT) {
        return 0;
    }
    if (r < 0) {
        return r;
    }
    if (t == NULL && strcmp(table.type, NODE_FS_TYPE) != 0) {
        return error_set(p->err, -EBUSY, "at %s something else is mounted (%s)", p->in->target_path,
                         table.type);
    }
    if (t != NULL && m != NULL && mounts_same(m->at, t->target) && mounts_alive(p->node, m)) {
        if (t->read_only != p->read_only || strcmp(t->wish, p->plan.wish) != 0) {
            return error_set(p->err, -EEXIST,
                             "volume %s is published at %s with other options: unpublish it first",
                             p->in->volume_id, t->target);
        }
        r = mounts_refresh(p->node, p->call, &p->record, &p->plan, t->key, p->err);
        return r < 0 ? r : 1;
    }
    return mounts_clear(p->in->target_path, p->err); /* ours, and dead: a new one takes its place */
}

static int check_others(struct publish *p)
{
    struct mountinfo table;

    if (csi_mode_many_targets(p->in->volume_capability->access_mode->mode)) {
        return 0;
    }
    for (size_t i = 0; i < p->record.target_count; i++) {
        const char *other = p->record.targets[i].target;

        if (strcmp(other, p->in->target_path) != 0 && mountinfo_find(other, &table) == 0) {
            return error_set(p->err, -EBUSY,
                             "volume %s is published at %s, and its access mode allows one place",
                             p->in->volume_id, other);
        }
    }
    return 0;
}

static int make_target(struct publish *p)
{
    const char *target = p->in->target_path;
    struct stat st;

    if (mkdir(target, 0750) == 0) {
        return 0;
    }
    if (errno == EEXIST && lstat(target, &st) == 0) {
        return S_ISDIR(st.st_mode)
                   ? 0
                   : error_set(p->err, -EBUSY, "target_path %s is there and no directory", target);
    }
    return error_set(p->err, errno == ENOENT ? -EIO : -errno, "cannot make %s: %s", target,
                     strerrordesc_np(errno));
}

/* Where the mount of this plan is or shall be: staged, or below mounts_dir. */
static int place(struct publish *p, char **ret)
{
    const struct record *record = &p->record;
    const struct record_mount *m = record_find_mount(record, p->plan.key);
    const char *staging = p->in->staging_target_path;
    char *at = NULL;

    if (m != NULL) {
        at = strdup(m->at);
    } else if (staging[0] != '\0' && record->staged == NULL &&
               record_find_mount(record, p->plan.key) == NULL && record->mount_count == 0 &&
               p->plan.source.managed) {
        at = strdup(staging); /* staged before our record was lost */
    } else if (asprintf(&at, "%s/%s", p->node->mounts_dir, p->plan.key) < 0) {
        at = NULL;
    }
    if (at == NULL) {
        return -ENOMEM;
    }
    if (mkdir(at, 0700) < 0 && errno != EEXIST) {
        int r = error_set(p->err, -errno, "cannot make %s: %s", at, strerrordesc_np(errno));

        free(at);
        return r;
    }
    *ret = at;
    return 0;
}

static int bind_target(struct publish *p, const char *at)
{
    struct record_target t = {.target = p->in->target_path,
                              .key = p->plan.key,
                              .wish = p->plan.wish,
                              .read_only = p->read_only};
    int r = record_add_target(&p->record, &t);

    r = r < 0 ? r : record_save(p->node->state_dir, &p->record, p->err);
    if (r < 0) {
        return r;
    }
    r = bounded_bind(at, p->in->target_path, p->read_only, NODE_QUICK_MS);
    if (r < 0) {
        record_drop_target(&p->record, p->in->target_path);
        (void)rmdir(p->in->target_path);
        if (record_save(p->node->state_dir, &p->record, NULL) < 0) {
            keep_wake(p->node->keep); /* the record names a target that is not there: harmless */
        }
        return error_set(p->err, r, "cannot bind %s to %s: %s", at, p->in->target_path,
                         strerrordesc_np(-r));
    }
    return 0;
}

/* Without keys of its own the pod gets what was staged, if it asks for the same. */
static int choose_mount(struct publish *p)
{
    const struct record *record = &p->record;
    const struct record_mount *m;

    if (p->plan.source.credentials.access_key != NULL || record->staged == NULL ||
        strcmp(record->wish, p->plan.wish) != 0) {
        return 0;
    }
    (void)snprintf(p->plan.key, sizeof(p->plan.key), "%s", record->staged);
    m = record_find_mount(record, record->staged);
    if (!p->plan.source.managed && (m == NULL || !mounts_alive(p->node, m))) {
        return error_set(p->err, -EBUSY,
                         "the staged mount of volume %s is dead, and its keys are known to Stage "
                         "only: stage it again",
                         record->volume);
    }
    return 0;
}

static int publish_locked(struct publish *p)
{
    AUTOFREE char *at = NULL;
    int r = record_load(p->node->state_dir, p->in->volume_id, &p->record, p->err);

    r = r < 0 ? r : check_target(p);
    if (r != 0) {
        return r < 0 ? r : 0;
    }
    if (p->in->staging_target_path[0] == '\0' && !p->plan.source.ephemeral) {
        return error_set(p->err, -EBUSY, "staging_target_path is missing: stage the volume first");
    }
    r = check_others(p);
    r = r < 0 ? r : choose_mount(p);
    r = r < 0 ? r : make_target(p);
    r = r < 0 ? r : place(p, &at);
    r = r < 0 ? r : mounts_ensure(p->node, p->call, &p->record, &p->plan, at, p->err);
    return r < 0 ? r : bind_target(p, at);
}

int node_publish(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                 struct error *err)
{
    const Csi__V1__NodePublishVolumeRequest *in = (const void *)request;
    struct node *node = rpc_call_context(call);
    struct publish p = {.node = node, .call = call, .in = in, .err = err};
    struct plan_input input = {
        .volume_id = in->volume_id,
        .context = CSI_MAP(in, volume_context),
        .secrets = CSI_MAP(in, secrets),
        .capability = in->volume_capability,
    };
    struct node_busy busy;
    int r = check_publish(in, err);

    (void)reply;
    if (r == 0) {
        p.read_only = in->readonly || csi_mode_read_only(in->volume_capability->access_mode->mode);
        r = plan_make(node, &input, &p.plan, err);
    }
    if (r == 0 && (r = node_lock(node, &busy, in->volume_id)) == 0) {
        r = publish_locked(&p);
        node_unlock(node, &busy);
        keep_wake(node->keep);
    }
    record_done(&p.record);
    plan_done(&p.plan);
    return r;
}

/* ---- Unpublish ---- */

static int remove_target(const char *target, struct error *err)
{
    struct stat st;

    if (rmdir(target) == 0 || errno == ENOENT) {
        return 0;
    }
    if (errno == ENOTDIR && lstat(target, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0 &&
        unlink(target) == 0) {
        return 0; /* an empty file: a mount point of some other kind */
    }
    return error_set(err, errno == ENOTEMPTY || errno == ENOTDIR ? -EBUSY : -errno,
                     "%s is no mount, but not empty either: it is left as it is", target);
}

static int unpublish_locked(struct node *node, const Csi__V1__NodeUnpublishVolumeRequest *in,
                            struct error *err)
{
    CLEANUP(record_done) struct record record = RECORD_INIT;
    struct mountinfo m;
    int r = record_load(node->state_dir, in->volume_id, &record, err);

    if (r < 0) {
        return r;
    }
    if (record_find_target(&record, in->target_path) == NULL &&
        mountinfo_find(in->target_path, &m) == 0 && strcmp(m.type, NODE_FS_TYPE) != 0) {
        return error_set(err, -EBUSY, "at %s something else is mounted (%s)", in->target_path,
                         m.type);
    }
    r = mounts_clear(in->target_path, err);
    r = r < 0 ? r : remove_target(in->target_path, err);
    if (r < 0 || record_find_target(&record, in->target_path) == NULL) {
        return r;
    }
    record_drop_target(&record, in->target_path);
    return record_save(node->state_dir, &record, err);
}

int node_unpublish(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                   struct error *err)
{
    const Csi__V1__NodeUnpublishVolumeRequest *in = (const void *)request;
    struct node *node = rpc_call_context(call);
    struct node_busy busy;
    int r = csi_required(in->volume_id, "volume_id", CSI_ID_MAX, err);

    (void)reply;
    r = r < 0 ? r : csi_path(in->target_path, "target_path", err);
    r = r < 0 ? r : node_lock(node, &busy, in->volume_id);
    if (r < 0) {
        return r;
    }
    r = unpublish_locked(node, in, err);
    node_unlock(node, &busy);
    keep_wake(node->keep); /* a mount that nobody uses any more goes behind our back */
    return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/node/mounts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "csi/capability.h"
#include "csi/node/keep.h"
#include "csi/token.h"
#include "mount/bounded.h"
#include "mount/mountinfo.h"
#include "util/file.h"
#include "util/log.h"

enum { TEXT_MAX = 65536, CLEAR_MAX = 16 };

void plan_done(struct plan *plan)
{
    csi_source_done(&plan->source);
    mount_ticket_done(&plan->ticket);
    if (plan->pod_token != NULL) {
        explicit_bzero(plan->pod_token, strlen(plan->pod_token));
        free(plan->pod_token);
        plan->pod_token = NULL;
    }
}

/* ---- What is asked for ---- */

static int hash_wish(const struct plan_input *input, struct plan *plan)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(TEXT_MAX);

    buf_addf(&text, "%s\n%s\n%s", input->volume_id,
             plan->source.managed ? "managed" : plan->source.location, plan->source.wish);
    return buf_error(&text) < 0 ? buf_error(&text)
                                : record_hash(buf_str(&text), buf_len(&text), plan->wish);
}

static void add_option(struct buf *text, const struct plan *plan, const char *name)
{
    const char *value = mount_options_get(&plan->source.options, name);

    buf_addf(text, "\n%s", value != NULL ? value : "");
}

/* The key adds the identity: two pods with keys of their own do not share a mount. */
static int hash_key(struct plan *plan)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(TEXT_MAX);
    const char *identity = plan->source.credentials.access_key;
    char hash[RECORD_HASH_SIZE];
    int r;

    buf_addf(&text, "%s\n%s", plan->wish, identity != NULL ? identity : "");
    add_option(&text, plan, "endpoint");
    add_option(&text, plan, "region");
    r = buf_error(&text);
    r = r < 0 ? r : record_hash(buf_str(&text), buf_len(&text), hash);
    if (r == 0) {
        (void)snprintf(plan->key, sizeof(plan->key), "v%.40s", hash);
    }
    return r;
}

static int set_default(struct mount_options *options, const char *name, const char *value,
                       struct error *err)
{
    return mount_options_get(options, name) != NULL
               ? 0
               : mount_options_set(options, name, value, MOUNT_OPTIONS_OPERATOR, err);
}

int plan_make(const struct node *node, const struct plan_input *input, struct plan *ret,
              struct error *err)
{
    const Csi__V1__VolumeCapability__MountVolume *mount = input->capability->mount;
    struct csi_source_input source = {
        .volume_id = input->volume_id,
        .context = input->context,
        .secrets = input->secrets,
        .mount_flags = mount != NULL ? mount->mount_flags : NULL,
        .mount_flag_count = mount != NULL ? mount->n_mount_flags : 0,
        .mount_group = mount != NULL ? mount->volume_mount_group : "",
        .read_only = csi_mode_read_only(input->capability->access_mode->mode),
    };
    int r = csi_source_parse(&node->policy, &source, &ret->source, err);

    ret->exclusive = csi_mode_one_node(input->capability->access_mode->mode);
    r = r < 0 ? r : hash_wish(input, ret);
    if (r == 0 && node->pod_tokens && ret->source.managed) {
        r = csi_token_find(&input->secrets, &input->context, CSI_TOKEN_AUDIENCE, &ret->pod_token,
                           err);
    }
    if (r == 0 && !ret->source.ephemeral &&
        csi_mode_single_node(input->capability->access_mode->mode)) {
        r = set_default(&ret->source.options, "sync", "fsync", err); /* nobody else looks */
    }
    return r < 0 ? r : hash_key(ret);
}

/* ---- The mount table ---- */

bool mounts_same(const char *a, const char *b)
{
    struct mountinfo first;
    struct mountinfo second;

    return mountinfo_find(a, &first) == 0 && mountinfo_find(b, &second) == 0 &&
           first.device_major == second.device_major && first.device_minor == second.device_minor;
}

/*
 * Has anybody its device? A holder that was just started anew knows a mount when its mounter has
 * come to it, or we have offered our duplicates, up to two seconds later. What nobody has any more
 * the kernel has aborted, and says so at once; statfs() is answered from no cache.
 */
static bool is_connected(const char *at)
{
    struct statvfs st;
    int r = bounded_statvfs(at, NODE_QUICK_MS / 3, &st);

    return r != -ENOTCONN && r != -ECONNABORTED;
}

bool mounts_alive(const struct node *node, const struct record_mount *mount)
{
    struct mountinfo m;
    struct holder_status status;
    struct error err = ERROR_INIT;
    int r;

    if (mountinfo_find(mount->at, &m) < 0 || strcmp(m.type, NODE_FS_TYPE) != 0) {
        return false;
    }
    r = holder_status(node->socket, mount->key, NODE_QUICK_MS, &status, &err);
    if (r == 0) {
        return status.state != HOLDER_FAILED;
    }
    if (r != -ENOENT || access(node->socket, F_OK) < 0) {
        return true;
    }
    keep_wake(node->keep); /* what we have of it is offered now */
    return is_connected(mount->at);
}

int mounts_clear(const char *path, struct error *err)
{
    struct mountinfo m;
    int r = 0;

    for (int i = 0; i < CLEAR_MAX && (r = mountinfo_find(path, &m)) == 0; i++) {
        r = bounded_umount(path, UMOUNT_NOFOLLOW, NODE_QUICK_MS / 3);
        if (r == -EBUSY || r == -ETIMEDOUT) { /* some program still sits there: hide it at least */
            r = bounded_umount(path, UMOUNT_NOFOLLOW | MNT_DETACH, NODE_QUICK_MS / 3);
        }
        if (r < 0) {
            return error_set(err, r == -ETIMEDOUT ? -EALREADY : r, "cannot unmount %s: %s", path,
                             strerrordesc_np(-r));
        }
    }
    return r == -ENOENT ? 0 : r;
}

/* ---- Making ---- */

static int set_option(struct plan *plan, const char *name, const char *value, struct error *err)
{
    return value[0] == '\0'
               ? 0
               : mount_options_set(&plan->source.options, name, value, MOUNT_OPTIONS_OPERATOR, err);
}

static int copy_credentials(const Skyvol__Meta__V1__Credentials *from,
                            struct mount_credentials *ret)
{
    if (from == NULL || from->access_key[0] == '\0') {
        return 0;
    }
    mount_credentials_done(ret);
    ret->access_key = strdup(from->access_key);
    ret->secret_key = strdup(from->secret_key);
    ret->session_token = from->session_token[0] != '\0' ? strdup(from->session_token) : NULL;
    return ret->access_key != NULL && ret->secret_key != NULL ? 0 : -ENOMEM;
}

static int read_text(const char *path, char **ret, struct error *err)
{
    CLEANUP(buf_wipe) struct buf text = BUF_INIT(TEXT_MAX);
    int r = file_read(path, &text);

    if (r == 0) {
        *ret = strdup(buf_str(&text));
        r = *ret == NULL ? -ENOMEM : 0;
    }
    return r < 0 ? error_set(err, r, "cannot read %s: %s", path, strerrordesc_np(-r)) : 0;
}

/* The mounter runs in another pod: it gets the texts, not the files' names. */
static int fill_ticket(const struct node *node, const char *token, struct mount_ticket *ret,
                       struct error *err)
{
    const struct csi_meta *meta = &node->meta;
    int r = 0;

    mount_ticket_done(ret);
    if (token[0] == '\0') {
        return 0; /* an older server: the mount does without a session */
    }
    ret->token = strdup(token);
    r = ret->token == NULL ? -ENOMEM : 0;
    if (r == 0 && meta->ca_file != NULL) {
        r = read_text(meta->ca_file, &ret->ca, err);
        r = r < 0 ? r : read_text(meta->cert_file, &ret->cert, err);
        r = r < 0 ? r : read_text(meta->key_file, &ret->key, err);
    }
    return r;
}

/* Where a managed volume is, and with which keys. */
static int attach(struct node *node, struct rpc_call *call, struct record *record,
                  struct plan *plan, struct error *err)
{
    Skyvol__Meta__V1__AttachVolumeRequest ask = SKYVOL__META__V1__ATTACH_VOLUME_REQUEST__INIT;
    CLEANUP(csi_meta_free) Skyvol__Meta__V1__AttachVolumeResponse *answer = NULL;
    const Skyvol__Meta__V1__Store *store;
    size_t root;
    int r;

    ask.id = record->volume;
    ask.node = rpc_call_strdup(call, node->id);
    ask.read_only = mount_options_true(&plan->source.options, "ro");
    ask.exclusive = plan->exclusive;
    if (plan->pod_token != NULL) {
        ask.pod_token = plan->pod_token;
    }
    if (ask.node == NULL) {
        return -ENOMEM;
    }
    r = csi_meta_call(&node->meta, call, &skyvol__meta__v1__volumes__descriptor, "AttachVolume",
                      &ask.base, &answer);
    if (r < 0) {
        return r;
    }
    if (answer->volume == NULL || answer->store == NULL) {
        return error_set(err, -EPROTO, "skyvol-meta tells no store of volume %s", record->volume);
    }
    store = answer->store;
    record->size_bytes = answer->volume->size_bytes;
    root = strlen(store->location);
    while (root > 0 && store->location[root - 1] == '/' && strcmp(store->location, "s3://") != 0) {
        root--;
    }
    if (asprintf(&plan->source.location, "%.*s%s%s%s%s", (int)root, store->location,
                 strcmp(store->location, "s3://") == 0 ? "" : "/", answer->volume->bucket,
                 answer->volume->prefix[0] != '\0' ? "/" : "", answer->volume->prefix) < 0) {
        plan->source.location = NULL;
        return -ENOMEM;
    }
    r = set_option(plan, "endpoint", store->endpoint, err);
    r = r < 0 ? r : set_option(plan, "region", store->s3_region, err);
    r = r < 0 ? r : set_option(plan, "public_only", store->public_only ? "true" : "false", err);
    if (r == 0 && store->virtual_host_style) {
        r = set_option(plan, "path_style", "false", err);
    }
    r = r < 0 ? r : fill_ticket(node, answer->volume_token, &plan->ticket, err);
    explicit_bzero(answer->volume_token, strlen(answer->volume_token));
    return r < 0 ? r : copy_credentials(answer->credentials, &plan->source.credentials);
}

static int format_credentials(const struct plan *plan, struct buf *out)
{
    if (plan->source.credentials.access_key != NULL || plan->ticket.token != NULL) {
        mount_secrets_format(&plan->source.credentials, &plan->ticket, out);
    }
    return buf_error(out);
}

static int holder_errno(const struct node *node, int r, struct error *err)
{
    if (r == -ECONNREFUSED || (r == -ENOENT && access(node->socket, F_OK) < 0)) {
        return error_set(err, -ECONNREFUSED,
                         "skyvol-holder does not answer at %s: is it running on this node?",
                         node->socket);
    }
    return r == -EBUSY ? -EALREADY : r;
}

/* Our caller has no more time, but the mounter still tries: what has it said as yet? */
static int explain_timeout(const struct node *node, const char *key, struct error *err)
{
    struct holder_status status;
    int r = holder_status(node->socket, key, NODE_QUICK_MS, &status, NULL);

    return r == 0 && status.error[0] != '\0' ? error_set(err, -ETIMEDOUT, "%s", status.error)
                                             : -ETIMEDOUT;
}

static int ask_holder(struct node *node, struct rpc_call *call, const struct record *record,
                      struct plan *plan, const char *at, struct error *err)
{
    CLEANUP(buf_done) struct buf json = BUF_INIT(TEXT_MAX);
    CLEANUP(buf_wipe) struct buf keys = BUF_INIT(TEXT_MAX);
    char source[HOLDER_TEXT_MAX];
    uint64_t left = rpc_call_left_ms(call);
    struct mount_config config = {
        .location = plan->source.location,
        .name = record->volume,
        .size_bytes = record->size_bytes,
        .options = plan->source.options,
    };
    struct holder_mount m = {.key = plan->key, .target = at, .source = source};
    const char *memory = mount_options_get(&plan->source.options, "memory");
    int r;

    if (plan->ticket.token != NULL) {
        /* NOLINTBEGIN(performance-no-int-to-ptr): borrowed, and only formatted */
        config.channel =
            (struct mount_channel){.address = (char *)(uintptr_t)node->meta.address,
                                   .server_name = (char *)(uintptr_t)node->meta.server_name,
                                   .volume = record->volume,
                                   .node = (char *)(uintptr_t)node->id,
                                   .mount = plan->key,
                                   .exclusive = plan->exclusive};
        /* NOLINTEND(performance-no-int-to-ptr) */
    }
    if (memory != NULL) {
        config.memory_bytes = strtoull(memory, NULL, 10);
    }
    (void)snprintf(source, sizeof(source), "skyvol:%.200s", record->volume);
    mount_config_format(&config, &json);
    r = buf_error(&json);
    r = r < 0 ? r : format_credentials(plan, &keys);
    if (r < 0) {
        return r;
    }
    m.config = buf_str(&json);
    m.credentials = buf_len(&keys) > 0 ? buf_str(&keys) : NULL;
    m.memory_bytes = config.memory_bytes;
    m.read_only = mount_options_true(&plan->source.options, "ro");
    left = left > NODE_MOUNT_MS ? NODE_MOUNT_MS : left > 1000 ? left - 500 : left;
    r = holder_mount(node->socket, &m, left, err);
    r = r == -ETIMEDOUT ? explain_timeout(node, plan->key, err) : r;
    return r < 0 ? holder_errno(node, r, err) : 0;
}

struct refresh {
    struct node *node;
    struct rpc_call *call;
    struct record *record;
    struct plan *plan;
    const char *key;
    bool new_target; /* for a pod that has not got the volume yet */
};

/* What skyvol-meta refuses a pod it does not get because another pod has it. */
static bool is_refusal(const struct refresh *f, int r)
{
    return f->new_target && f->node->pod_tokens && (r == -EACCES || r == -EKEYREJECTED);
}

static int refresh(const struct refresh *f, struct error *err)
{
    CLEANUP(buf_wipe) struct buf keys = BUF_INIT(TEXT_MAX);
    struct error why = ERROR_INIT;
    int r = f->plan->source.managed ? attach(f->node, f->call, f->record, f->plan, &why) : 0;

    if (is_refusal(f, r)) {
        return r;
    }
    if (r < 0) {
        log_warn("a mount keeps the credentials that it has", "volume", f->record->volume, "error",
                 error_text(&why, r), NULL);
        return 0;
    }
    r = format_credentials(f->plan, &keys);
    if (r == 0 && buf_len(&keys) > 0) {
        r = holder_credentials(f->node->socket, f->key, buf_str(&keys), NODE_QUICK_MS, err);
        r = r < 0 ? holder_errno(f->node, r, err) : 0;
        r = r != -ENOENT ? r
                         : error_set(err, -ECONNREFUSED,
                                     "skyvol-holder was just started and does not know the mount "
                                     "of volume %s yet: its mounter comes to it within seconds",
                                     f->record->volume);
    }
    return r;
}

int mounts_ensure(struct node *node, struct rpc_call *call, struct record *record,
                  struct plan *plan, const char *at, struct error *err)
{
    const struct record_mount *known = record_find_mount(record, plan->key);
    int r = 0;

    if (known != NULL && mounts_alive(node, known)) {
        return refresh(&(struct refresh){node, call, record, plan, plan->key, .new_target = true},
                       err);
    }
    if (known != NULL) {
        log_warn("a mount is dead: it is made anew", "volume", record->volume, "mount", plan->key,
                 NULL);
        r = holder_unmount(node->socket, &(struct holder_unmount){.key = plan->key, .force = true},
                           NODE_QUICK_MS, NULL);
        (void)r; /* the holder may not know it, or not be there */
    }
    r = mounts_clear(at, err);
    if (r == 0 && plan->source.managed) {
        r = attach(node, call, record, plan, err);
    }
    r = r < 0 ? r : record_add_mount(record, plan->key, at);
    r = r < 0 ? r : record_save(node->state_dir, record, err);
    if (r < 0) {
        return r;
    }
    r = ask_holder(node, call, record, plan, at, err);
    if (r == 0 && plan->source.options.note[0] != '\0') {
        log_warn("a volume's options are not all as they were written", "volume", record->volume,
                 "note", plan->source.options.note, NULL);
    }
    if (r == 0) {
        keep_add(node->keep, plan->key, at);
    } else if (!record_uses(record, plan->key)) {
        int undo = mounts_drop(node, record, plan->key, &(struct mounts_drain){0}, NULL);

        (void)undo; /* the sweep tries again */
    }
    return r;
}

int mounts_refresh(struct node *node, struct rpc_call *call, struct record *record,
                   struct plan *plan, const char *key, struct error *err)
{
    return refresh(&(struct refresh){node, call, record, plan, key, .new_target = false}, err);
}

/* ---- Taking away ---- */

int mounts_drop(struct node *node, struct record *record, const char *key,
                const struct mounts_drain *drain, struct error *err)
{
    const struct record_mount *m = record_find_mount(record, key);
    struct holder_unmount unmount = {.key = key, .drain_ms = drain->ms, .keep = drain->keep};
    uint64_t limit_ms = drain->ms + (drain->keep ? NODE_KEEP_MS : NODE_QUICK_MS);
    struct mountinfo table;
    struct error why = ERROR_INIT;
    int r;

    if (m == NULL) {
        return 0;
    }
    r = holder_unmount(node->socket, &unmount, limit_ms, &why);
    if (r == -EBUSY) { /* a program holds a file open: all its bytes are published by now */
        unmount.force = true;
        r = holder_unmount(node->socket, &unmount, limit_ms, &why);
    }
    if (r == -ETIMEDOUT || r == -EPIPE) {
        return error_set(err, -EALREADY,
                         "volume %s still has data to upload: it stays mounted and this is to be "
                         "tried again",
                         record->volume);
    }
    if (r < 0 && drain->keep && r != -ENOENT && r != -ECONNREFUSED && r != -EBUSY) {
        return error_set(err, -EALREADY, "volume %s stays mounted: %s", record->volume,
                         error_text(&why, r));
    }
    if (r == 0 && why.text[0] != '\0') {
        log_warn("a volume leaves data on this node", "volume", record->volume, "why", why.text,
                 NULL);
    }
    if (r < 0 && err != NULL) {
        *err = why;
    }
    if (r < 0 && r != -ENOENT && r != -ECONNREFUSED) {
        return holder_errno(node, r, err); /* busy: it still does what an earlier call asked for */
    }
    if (r < 0 && access(node->socket, F_OK) < 0 && mountinfo_find(m->at, &table) == 0) {
        return holder_errno(node, r, err); /* it may hold bytes: wait for a holder */
    }
    keep_forget(node->keep, key);
    r = mounts_clear(m->at, err);
    if (r < 0) {
        return r;
    }
    if (strncmp(m->at, node->mounts_dir, strlen(node->mounts_dir)) == 0) {
        (void)rmdir(m->at); /* ours, and empty: never anything recursive */
    }
    record_drop_mount(record, key);
    return record_save(node->state_dir, record, err);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From dirty bytes to an object. A publication of an inode: nobody else publishes it meanwhile
 * (node->publishing); what is written meanwhile stays dirty, as the blocks' seq tells.
 *
 * A small file is sent whole by one PUT. A larger one is a multipart upload (upload.c): parts with
 * dirty bytes are sent, the others the store copies from the object that is there. While a file is
 * being written, publish_stream() sends parts as they fill, so that a file may be larger than the
 * pool; publish() ends that upload.
 *
 * Every publication is conditional on the version that the inode was based on: the old object stays
 * until the new one is complete. One that our death cut off may be in the store: see settle.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/fs.h"
#include "mounter/names/graves.h"
#include "mounter/names/seen.h"
#include "mounter/read/reader.h"
#include "mounter/write/holes.h"
#include "mounter/write/publish_internal.h"
#include "mounter/write/settle.h"
#include "objstore/objstore_call.h"
#include "util/log.h"

enum {
    CONFLICT_TRIES = 2,
    SLOWEST_BYTES_PER_MS = 512, /* 0.5 MB/s: a store that is slower counts as stalled */
};
const uint64_t publish_whole_max = 8 << 20;
void job_done(struct job *job)
{
    arena_done(&job->arena);
    theirs_done(&job->theirs);
    free(job->seqs.items);
    free(job->key);
    free(job->base_key);
    free(job->target);
}

void job_progress(struct job *job, uint64_t next_bytes)
{
    uint64_t more_ms = next_bytes / SLOWEST_BYTES_PER_MS;

    mutex_lock(&job->fs->lock);
    job->node->progress_ms = fs_now_ms() + more_ms;
    mutex_unlock(&job->fs->lock);
    if (job->waiter != NULL) {
        (void)pending_renew(job->waiter, more_ms);
    }
}

int job_begin(struct fs *fs, struct job *job)
{
    const struct inode_rec *rec = fs_rec(fs, job->node);
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    CLEANUP(buf_done) struct buf target = BUF_INIT(STATE_TEXT_MAX);
    int ret = fs_data_key(fs, job->node, &key);

    if (ret != 0) {
        return ret;
    }
    job->size = rec->size;
    job->base_valid = rec->base_valid < job->size ? rec->base_valid : job->size;
    job->is_new = (rec->flags & INODE_NEW) != 0;
    job->plain = theirs_none(fs, job->node);
    job->upload = rec->upload;
    job->streamed = job->upload != 0 && state_upload(fs->state, job->upload - 1)->parts > 0;
    memcpy(job->etag, rec->etag, sizeof(job->etag));
    job->arena = (struct arena)ARENA_INIT(1 << 20);
    fs_attr(fs, job->node, &job->attr, &job->arena);
    state_text_get(fs->state, rec->target, &target);
    job->key = strdup(buf_str(&key));
    job->base_key = strdup(buf_str(&key));
    job->target = strdup(buf_str(&target));
    ret = attr_write(&job->attr, &job->arena, &job->meta);
    ret = ret == 0 ? publish_add_token(fs, fs_rec(fs, job->node), &job->arena, &job->meta) : ret;
    if (job->key == NULL || job->base_key == NULL || job->target == NULL) {
        ret = -ENOMEM;
    }
    job->node->meta_changed = false;
    job->node->truncated_to = UINT64_MAX;
    holes_mark(fs, job->node);
    return ret;
}

/* The content of [offset, offset + len) as it is now; notes the blocks it was taken from. */
static int content(struct job *job, uint64_t offset, char *buffer, size_t len)
{
    struct fs *fs = job->fs;
    uint64_t from_base = job->base_valid > offset ? job->base_valid - offset : 0;
    bool covered;
    int ret = 0;

    from_base = from_base < len ? from_base : len;
    mutex_lock(&fs->lock);
    covered = data_covers(fs, job->node, offset, from_base);
    mutex_unlock(&fs->lock);
    memset(buffer, 0, len);
    if (!covered && from_base > 0) {
        ret = reader_read(fs, job->ino, offset, buffer, (size_t)from_base);
    }
    if (job->baseless && (ret == -ESTALE || ret == -ENOENT)) {
        memset(buffer, 0, (size_t)from_base);
        ret = 0;
    }
    if (ret == 0) {
        mutex_lock(&fs->lock);
        if (lost_is(fs, job->node)) {
            ret = lost_eio();
        } else if (job->node->truncated_to != UINT64_MAX ||
                   (covered && !data_covers(fs, job->node, offset, from_base))) {
            /* It was cut meanwhile: all of it once more, as what has been written since would
             * count as the object's. */
            ret = -EAGAIN;
        } else {
            ret = data_seqs_take(fs, job->node, offset, len, &job->seqs);
        }
        data_overlay(fs, job->node, offset, buffer, len);
        mutex_unlock(&fs->lock);
    }
    return ret;
}

/* Conditions where the store has them; where not, a look just before is the next best. */
int job_conditions(struct job *job, struct objstore_request *request, bool complete)
{
    const struct objstore_caps *caps = &job->fs->caps;
    bool match = complete ? caps->conditional_complete && caps->if_match_put : caps->if_match_put;
    bool none =
        complete ? caps->conditional_complete && caps->if_none_match_put : caps->if_none_match_put;
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request head = {.op = OBJSTORE_HEAD, .key = job->key};
    int ret;

    if (job->is_new ? none : match) {
        request->if_none_match = job->is_new ? "*" : NULL;
        request->if_match = job->is_new ? NULL : job->etag;
        return 0;
    }
    ret = volume_call_internal(job->fs->volume, &head, &answer);
    if (job->is_new) {
        return ret == -ENOENT ? 0 : ret == 0 ? -EEXIST : ret;
    }
    return ret != 0 ? ret : strcmp(answer.result.info.etag, job->etag) == 0 ? 0 : -ESTALE;
}

static int put_whole(struct job *job, const char *key, bool conditional)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    bool link = S_ISLNK(job->attr.mode);
    size_t len = link ? strlen(job->target) : (size_t)job->size;
    char *buffer = NULL;
    struct objstore_request put = {
        .op = OBJSTORE_PUT, .key = key, .meta = &job->meta, .timeout_ms = PUBLISH_TIMEOUT_MS};
    int ret = merge_take(job, len, &buffer);

    put.source = (struct objstore_source){.data = buffer, .size = len};
    if (ret == 0 && link) {
        memcpy(buffer, job->target, len);
    } else if (ret == 0) {
        ret = content(job, 0, buffer, len);
    }
    if (ret == 0 && conditional) {
        ret = job_conditions(job, &put, false);
    } else if (!conditional) {
        put.if_none_match = job->fs->caps.if_none_match_put ? "*" : NULL;
    }
    if (ret == 0) {
        data_image_sum(job->fs, &(struct data_image){.len = 0}, &put);
        ret = volume_call_internal(job->fs->volume, &put, &answer);
    }
    if (ret == 0) {
        (void)snprintf(job->result_etag, sizeof(job->result_etag), "%s", answer.result.info.etag);
        job->result_ns = answer.result.info.mtime_ns;
    }
    if (buffer != NULL) {
        merge_give(job->fs, buffer, len);
    }
    return ret;
}

/* ---- the end ---- */

void job_published(struct fs *fs, struct job *job)
{
    struct node *node = job->node;
    struct inode_rec *rec = fs_rec(fs, node);
    uint64_t valid = job->size < node->truncated_to ? job->size : node->truncated_to;
    uint32_t flags = (rec->flags & ~(uint32_t)(INODE_NEW | INODE_CONFLICT | INODE_ONLY)) |
                     (S_ISDIR(rec->mode) ? INODE_MARKER : 0U);

    state_begin(fs->state);
    state_set(fs->state, rec->etag, job->result_etag, sizeof(rec->etag));
    STATE_SET(fs->state, rec->base_size, job->size);
    STATE_SET(fs->state, rec->base_valid, valid);
    STATE_SET(fs->state, rec->flags, flags);
    holes_published(fs, node, valid);
    publish_settled(fs, rec);
    state_commit(fs->state);
    theirs_note(node, job->result_etag, job->plain);
    publish_upload_forget(fs, node);
    node->attrs_set = node->attrs_set && node->meta_changed;
    mount_stats_add(fs->options.stats, STATS_PUBLICATIONS, 1);
    data_clean(fs, node, &job->seqs);
    if ((node->blocks == NULL || HASH_COUNT(node->blocks) == 0) && !node->meta_changed &&
        node->truncated_to == UINT64_MAX && rec->size == job->size) {
        state_begin(fs->state);
        STATE_SET(fs->state, rec->flags, flags & ~(uint32_t)INODE_DIRTY);
        STATE_SET(fs->state, rec->dirty_since_ns, (int64_t)0);
        state_commit(fs->state);
    }
    fs_touch(fs, node);
    node->valid_until_ms = fs_now_ms() + fs->options.attr_timeout_ms;
    fs_opened(node, rec->etag); /* our own pages are right */
    facts_tell(fs->facts, &(struct facts_told){.key = job->key,
                                               .etag = job->result_etag,
                                               .attr = &job->attr,
                                               .target = job->target,
                                               .modified_ns = job->result_ns});
}

/*
 * Parts that were sent ahead are bound to their key: what somebody else has put there goes beside,
 * and ours takes its place, unless it changes once more.
 */
static int move_theirs(struct job *job, const char *beside)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request head = {.op = OBJSTORE_HEAD, .key = job->key};
    int ret = volume_call_internal(job->fs->volume, &head, &answer);

    if (ret == 0) {
        const struct copy_what what = {.from = job->key,
                                       .to = beside,
                                       .if_match = answer.result.info.etag,
                                       .size = answer.result.info.size,
                                       .only_new = true};
        char etag[STATE_ETAG_SIZE];

        (void)snprintf(job->etag, sizeof(job->etag), "%s", answer.result.info.etag);
        ret = remote_copy(job->fs, &what, etag);
    }
    if (ret == 0 || ret == -ENOENT) {
        job->is_new = ret == -ENOENT;
        ret = upload_run(job);
    }
    if (ret == 0) {
        log_warn("publish: the object was changed by somebody else; theirs is kept beside", "key",
                 job->key, "copy", beside, NULL);
    }
    return ret;
}

/* Our bytes under another name. */
static int put_beside(struct job *job, char *beside)
{
    char *key = job->key;
    bool was_new = job->is_new;
    int ret;

    if (job->size <= publish_whole_max) {
        return put_whole(job, beside, false);
    }
    ret = upload_drop(job); /* it is bound to its key */
    if (ret != 0) {
        return ret;
    }
    job->key = beside;
    job->is_new = true;
    ret = upload_run(job);
    job->key = key;
    job->is_new = was_new;
    return ret;
}

/* A key that is too long with the ending is cut, between two characters. */
static char *conflict_name(const struct job *job, const char *kind)
{
    bool linked = strncmp(job->key, VOLUME_LINKS, strlen(VOLUME_LINKS)) == 0;
    const char *key = linked ? job->key + strlen(VOLUME_LINKS) : job->key; /* where it is seen */
    char ending[64];
    size_t room;
    size_t len = strlen(key);
    char *name;

    (void)snprintf(ending, sizeof(ending), ".conflict-%s%llx", kind,
                   (unsigned long long)fs_now_ns());
    room = fs_key_max(job->fs) - strlen(ending);
    if (len > room) {
        for (len = room; len > 0 && ((unsigned char)key[len] & 0xC0) == 0x80;) {
            len--;
        }
    }
    return asprintf(&name, "%.*s%s", (int)len, key, ending) < 0 ? NULL : name;
}

/*
 * The name is somebody else's object's from now on; who opens it next gets that. What was written
 * while a copy was being sent is dirty still, and gets a copy of its own.
 */
static void give_up_name(struct fs *fs, struct node *node) REQUIRES(&fs->lock)
{
    struct inode_rec *rec = fs_rec(fs, node);
    bool more = node->blocks != NULL && HASH_COUNT(node->blocks) > 0;
    uint32_t over = INODE_NEW | INODE_ONLY | (more ? 0U : INODE_DIRTY);

    publish_upload_forget(fs, node);
    state_begin(fs->state);
    STATE_SET(fs->state, rec->flags, (rec->flags & ~over) | INODE_CONFLICT);
    STATE_SET(fs->state, rec->dirty_since_ns, more ? rec->dirty_since_ns : 0);
    STATE_SET(fs->state, rec->etag[0], '\0');
    holes_clear(fs, node);
    publish_settled(fs, rec);
    state_commit(fs->state);
    node->attrs_set = false;
    node->valid_until_ms = 0;
}

/* Somebody else has changed the object: keep our bytes beside it, and say so. */
static int keep_conflict(struct job *job)
{
    struct fs *fs = job->fs;
    AUTOFREE char *name = NULL;
    int ret;

    name = conflict_name(job, "");
    if (name == NULL) {
        return -ENOMEM;
    }
    if (job->streamed) {
        return move_theirs(job, name);
    }
    ret = put_beside(job, name);
    if (ret == -ESTALE || ret == -ENOENT) { /* what lies between the dirty bytes has gone */
        free(name);
        name = conflict_name(job, "partial-");
        job->baseless = true;
        ret = name != NULL ? put_beside(job, name) : -ENOMEM;
    }
    if (ret != 0) {
        log_error("publish: conflict, and the local bytes could not be kept beside", "key",
                  job->key, "error", strerror(-ret), NULL);
        return ret;
    }
    log_warn(job->baseless
                 ? "publish: the object was replaced by somebody else; what was written "
                   "here is kept beside, with zeros in between"
                 : "publish: the object was changed by somebody else; the local bytes are "
                   "kept beside",
             "key", job->key, "copy", name, NULL);
    mutex_lock(&fs->lock);
    fs->conflicts++;
    data_clean(fs, job->node, &job->seqs);
    give_up_name(fs, job->node);
    mutex_unlock(&fs->lock);
    return -ESTALE;
}

/* Has a program written or cut off anything that a copy would have to keep? */
static bool has_bytes(struct fs *fs, const struct job *job) REQUIRES(&fs->lock)
{
    const struct node *node = job->node;
    const struct inode_rec *rec = fs_rec(fs, node);

    if (!S_ISREG(rec->mode)) {
        return false;
    }
    return job->streamed || (node->blocks != NULL && HASH_COUNT(node->blocks) > 0) ||
           (rec->size > 0 && (job->is_new || node->holes.count > 0 || rec->size != rec->base_size ||
                              rec->base_valid < rec->size));
}

/*
 * Somebody else has made or changed the file. If nothing was written to it here, theirs stands, as
 * if they had come first; who wanted to be the only one, or has set attributes, is told.
 */
static int lose_race(struct job *job)
{
    struct fs *fs = job->fs;
    bool any;

    mutex_lock(&fs->lock);
    any = has_bytes(fs, job);
    if (!any) {
        const struct inode_rec *rec = fs_rec(fs, job->node);

        job->left = (rec->flags & INODE_ONLY) == 0 && !job->node->attrs_set && S_ISREG(rec->mode);
        give_up_name(fs, job->node);
    }
    mutex_unlock(&fs->lock);
    return any ? keep_conflict(job) : job->left ? 0 : -ESTALE;
}

static int keep_theirs(struct job *job)
{
    int ret;

    if (job->plain) {
        return 0;
    }
    job->theirs.key = job->key;
    job->theirs.etag = job->etag;
    ret = theirs_keep(job->fs, &job->theirs, &job->arena, &job->meta);
    job->plain = job->theirs.none;
    return ret;
}

/* One that is there already will do: what is to be changed of it is not new. */
static int put_dir(struct job *job)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request put = {.op = OBJSTORE_PUT,
                                   .key = job->key,
                                   .meta = &job->meta,
                                   .if_none_match =
                                       job->is_new && job->fs->caps.if_none_match_put ? "*" : NULL,
                                   .timeout_ms = PUBLISH_TIMEOUT_MS,
                                   .source = {.data = ""}};
    const struct copy_what onto_itself = {.from = job->key,
                                          .to = job->key,
                                          .if_match = job->etag,
                                          .size = job->theirs.size,
                                          .meta = &job->meta,
                                          .ret_ns = &job->result_ns};
    int ret;

    if (job->theirs.size > 0) { /* somebody keeps bytes in it */
        return remote_copy(job->fs, &onto_itself, job->result_etag);
    }
    ret = volume_call(job->fs->volume, &put, &answer);
    (void)snprintf(job->result_etag, sizeof(job->result_etag), "%s", answer.result.info.etag);
    job->result_ns = ret == 0 ? answer.result.info.mtime_ns : 0;
    return ret == -EEXIST ? 0 : ret;
}

/* Written to again by a handle whose file has given its name up. */
static bool is_without_name(const struct job *job)
{
    return S_ISREG(job->attr.mode) && !job->is_new && job->etag[0] == '\0';
}

static int run(struct job *job)
{
    bool unsettled;
    bool plain = !S_ISREG(job->attr.mode);
    int ret = 0;

    ret = seen_note(job->fs, &job->attr);
    ret = ret == 0 ? keep_theirs(job) : ret;
    if (ret != 0) {
        return ret;
    }
    mutex_lock(&job->fs->lock);
    unsettled = fs_rec(job->fs, job->node)->attempt != 0;
    if (unsettled) { /* what was sent then may arrive after what is sent now */
        state_begin(job->fs->state);
        publish_set_late(job->fs, fs_rec(job->fs, job->node));
        state_commit(job->fs->state);
    }
    publish_mark_attempt(job->fs, fs_rec(job->fs, job->node), job->size);
    mutex_unlock(&job->fs->lock);
    if (S_ISDIR(job->attr.mode)) {
        return put_dir(job);
    }
    if (unsettled) {
        publish_wait_copy(job->fs, job->node);
        ret = publish_settle_now(job->fs, job->node, job->key);
    }
    if (ret != 0) {
        return ret;
    }
    if (is_without_name(job)) {
        ret = -ESTALE;
    } else if (plain || (job->size <= publish_whole_max && !job->streamed)) {
        ret = put_whole(job, job->key, true);
        if (ret == 0) {
            (void)!upload_drop(job); /* of an earlier try, when it was larger */
        }
    } else {
        ret = upload_run(job);
    }
    if (ret == -ESTALE || ret == -EEXIST || ret == -ENOENT) {
        int settled =
            publish_settle_now(job->fs, job->node, job->key); /* an attempt that came late */

        return settled != 0 ? settled : ret == -ENOENT && job->is_new ? ret : lose_race(job);
    }
    return ret;
}

/* 0: published, or there was nothing to do; *ret_again: more was written meanwhile. */
static int publish_once(struct fs *fs, uint32_t ino, struct pending *waiter, bool *ret_again)
{
    struct job job = {.fs = fs, .ino = ino, .waiter = waiter};
    const struct inode_rec *rec;
    uint32_t failed;
    int ret;

    *ret_again = false;
    mutex_lock(&fs->lock);
    job.node = fs_node(fs, ino);
    failed = job.node != NULL ? job.node->failed_count : 0;
    ret = claim_wait(fs, ino, waiter, &job.node);
    if (ret == 0 && job.node->failed_count != failed) {
        ret = job.node->failed_error; /* for us it would end the same, one deadline later */
        mutex_unlock(&fs->lock);
        return ret;
    }
    if (ret == -ETIMEDOUT) {
        mutex_unlock(&fs->lock);
        return ret;
    }
    rec = job.node != NULL ? fs_rec(fs, job.node) : NULL;
    if (rec == NULL || (rec->flags & INODE_DIRTY) == 0 ||
        ((rec->flags & INODE_UNLINKED) != 0 && (rec->hidden == 0 || rec->opens == 0))) {
        mutex_unlock(&fs->lock);
        return 0;
    }
    if ((rec->flags & INODE_LOST) != 0) {
        mutex_unlock(&fs->lock);
        return lost_eio();
    }
    job.node->marking = S_ISDIR(rec->mode);
    claim_set(fs, job.node, true);
    ret = job_begin(fs, &job);
    mutex_unlock(&fs->lock);
    ret = ret == 0 ? run(&job) : ret;
    mutex_lock(&fs->lock);
    if (ret == -EAGAIN) {
        *ret_again = true; /* on another base */
        ret = 0;
    } else if (ret == 0) {
        if (!job.left) {
            job_published(fs, &job);
        }
        *ret_again = (fs_rec(fs, job.node)->flags & INODE_DIRTY) != 0;
    } else {
        job.node->failed_count++;
        job.node->failed_error = ret;
    }
    claim_set(fs, job.node, false);
    cond_broadcast(&fs->changed);
    fs_node_put(fs, job.node);
    mutex_unlock(&fs->lock);
    job_done(&job);
    return ret;
}

int publish_for(struct fs *fs, uint32_t ino, struct pending *waiter)
{
    bool again = true;
    int ret = 0;

    /* A writer that never rests must not keep us here: what it wrote before we came is published.
     */
    for (int i = 0; ret == 0 && again && i < 3; i++) {
        ret = publish_once(fs, ino, waiter, &again);
    }
    return ret;
}

int publish(struct fs *fs, uint32_t ino)
{
    return publish_for(fs, ino, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From dirty bytes to an object. A publication of an inode: nobody else publishes it meanwhile
 * (node->publishing); what is written meanwhile stays dirty, as the blocks' seq tells.
 *
 * A file of one part is sent whole by one PUT. A larger one is a multipart upload: parts with dirty
 * bytes are sent, the others the store copies from the object that is there; four at a time. While
 * a new file is being written, publish_stream() sends parts as they fill, so that a file may be
 * larger than the pool; publish() ends that upload.
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
#include "mounter/holes.h"
#include "mounter/publish_internal.h"
#include "mounter/reader.h"
#include "objstore/objstore_call.h"
#include "util/log.h"

enum {
    PARTS_AT_ONCE = 4,
    CONFLICT_TRIES = 2,
    SLOWEST_BYTES_PER_MS = 512, /* 0.5 MB/s: a store that is slower counts as stalled */
};
const uint64_t publish_whole_max = 8 << 20;
static const uint64_t large_part = 512 << 20;

uint64_t publish_part_offset(uint32_t part)
{
    uint64_t before = part - 1;

    return before <= PUBLISH_SMALL_PARTS ? before * publish_whole_max
                                         : PUBLISH_SMALL_PARTS * publish_whole_max +
                                               (before - PUBLISH_SMALL_PARTS) * large_part;
}

uint64_t publish_size_max(void)
{
    return publish_part_offset(STATE_PARTS + 1);
}

static uint64_t part_len(uint32_t part, uint64_t size)
{
    uint64_t from = publish_part_offset(part);
    uint64_t to = publish_part_offset(part + 1);

    return (to < size ? to : size) - from;
}

static uint32_t part_count(uint64_t size)
{
    uint32_t count = 1;

    while (publish_part_offset(count + 1) < size) {
        count++;
    }
    return count;
}

void job_done(struct job *job)
{
    arena_done(&job->arena);
    free(job->seqs.items);
    free(job->etags);
    free(job->key);
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
    int ret = fs_key(fs, job->ino, &key);

    if (ret != 0) {
        return ret;
    }
    job->size = rec->size;
    job->base_valid = rec->base_valid < job->size ? rec->base_valid : job->size;
    job->is_new = (rec->flags & INODE_NEW) != 0;
    job->upload = rec->upload;
    job->streamed =
        job->upload != 0 && state_upload(fs->state, job->upload - 1)->etags[0][0] != '\0';
    memcpy(job->etag, rec->etag, sizeof(job->etag));
    job->arena = (struct arena)ARENA_INIT(1 << 20);
    fs_attr(fs, job->node, &job->attr, &job->arena);
    state_text_get(fs->state, rec->target, &target);
    job->key = strdup(buf_str(&key));
    job->target = strdup(buf_str(&target));
    ret = attr_write(&job->attr, &job->arena, &job->meta);
    ret = ret == 0 ? publish_add_token(fs, fs_rec(fs, job->node), &job->arena, &job->meta) : ret;
    if (job->key == NULL || job->target == NULL) {
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
            ret = -EIO;
        } else if (covered && !data_covers(fs, job->node, offset, from_base)) {
            ret = -EAGAIN; /* it was cut meanwhile: all of it once more */
        } else {
            ret = data_seqs_take(fs, job->node, offset, len, &job->seqs);
        }
        data_overlay(fs, job->node, offset, buffer, len);
        mutex_unlock(&fs->lock);
    }
    return ret;
}

/* Conditions where the store has them; where not, a look just before is the next best. */
static int set_conditions(struct job *job, struct objstore_request *request, bool complete)
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
    ret = volume_call(job->fs->volume, &head, &answer);
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
    AUTOFREE char *buffer = malloc(len > 0 ? len : 1);
    struct objstore_request put = {.op = OBJSTORE_PUT,
                                   .key = key,
                                   .meta = &job->meta,
                                   .timeout_ms = PUBLISH_TIMEOUT_MS,
                                   .source = {.data = buffer, .size = len}};
    int ret = buffer == NULL ? -ENOMEM : 0;

    if (ret == 0 && link) {
        memcpy(buffer, job->target, len);
    } else if (ret == 0) {
        ret = content(job, 0, buffer, len);
    }
    if (ret == 0 && conditional) {
        ret = set_conditions(job, &put, false);
    } else if (!conditional) {
        put.if_none_match = job->fs->caps.if_none_match_put ? "*" : NULL;
    }
    ret = ret == 0 ? volume_call(job->fs->volume, &put, &answer) : ret;
    if (ret == 0) {
        (void)snprintf(job->result_etag, sizeof(job->result_etag), "%s", answer.result.info.etag);
    }
    return ret;
}

/* ---- multipart ---- */

int publish_upload_start(struct fs *fs, struct node *node, const char *key,
                         const struct objstore_meta *meta, uint32_t *ret)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request create = {.op = OBJSTORE_UPLOAD_CREATE, .key = key, .meta = meta};
    int r = volume_call(fs->volume, &create, &answer);
    struct upload_rec *upload;
    uint32_t index;

    if (r != 0) {
        return r;
    }
    mutex_lock(&fs->lock);
    index = state_upload_take(fs->state);
    if (index == UINT32_MAX || strlen(answer.result.upload_id) >= sizeof(upload->id)) {
        r = -EBUSY;
    } else {
        char id[sizeof(upload->id)] = "";

        upload = state_upload(fs->state, index);
        memset(upload->etags, 0, sizeof(upload->etags)); /* free: nobody reads them yet */
        (void)snprintf(id, sizeof(id), "%s", answer.result.upload_id);
        state_begin(fs->state);
        state_set(fs->state, upload->id, id, sizeof(id));
        STATE_SET(fs->state, upload->inode, node->ino);
        STATE_SET(fs->state, fs_rec(fs, node)->upload, index + 1);
        state_commit(fs->state);
        *ret = index + 1;
    }
    mutex_unlock(&fs->lock);
    if (r != 0) {
        struct objstore_request drop = {
            .op = OBJSTORE_UPLOAD_ABORT, .key = key, .upload_id = answer.result.upload_id};
        CLEANUP(objstore_answer_done) struct objstore_answer ignored = OBJSTORE_ANSWER_INIT;

        (void)volume_call(fs->volume, &drop, &ignored);
    }
    return r;
}

/* One part's request: its bytes, or a copy from the object. */
struct part_work {
    uint32_t part;
    char *buffer;
};

static int prepare_part(struct job *job, struct part_work *work, struct objstore_request *request)
{
    uint64_t offset = publish_part_offset(work->part);
    uint64_t len = part_len(work->part, job->size);
    bool last = offset + len == job->size;
    bool dirty;

    mutex_lock(&job->fs->lock);
    dirty = data_any(job->fs, job->node, offset, len);
    mutex_unlock(&job->fs->lock);
    *request =
        (struct objstore_request){.op = OBJSTORE_UPLOAD_PART,
                                  .key = job->key,
                                  .upload_id = state_upload(job->fs->state, job->upload - 1)->id,
                                  .part_number = work->part,
                                  .timeout_ms = PUBLISH_TIMEOUT_MS};
    if (!dirty && !job->baseless && offset + len <= job->base_valid && job->fs->caps.part_copy &&
        !job->is_new && (last || len >= job->fs->caps.part_min)) {
        request->op = OBJSTORE_UPLOAD_PART_COPY;
        request->source_key = job->key;
        request->source_if_match = job->etag;
        request->range = (struct objstore_range){offset, len};
        return 0;
    }
    work->buffer = malloc((size_t)len);
    if (work->buffer == NULL) {
        return -ENOMEM;
    }
    request->source.data = work->buffer;
    request->source.size = len;
    return content(job, offset, work->buffer, (size_t)len);
}

static int send_parts(struct job *job, struct part_work *work, size_t count)
{
    struct objstore_request requests[PARTS_AT_ONCE];
    struct objstore_answer answers[PARTS_AT_ONCE];
    uint64_t bytes = 0;
    int ret = 0;

    for (size_t i = 0; i < count; i++) {
        answers[i] = (struct objstore_answer)OBJSTORE_ANSWER_INIT;
        ret = ret == 0 ? prepare_part(job, &work[i], &requests[i]) : ret;
        bytes += part_len(work[i].part, job->size);
    }
    job_progress(job, bytes);
    ret = ret == 0 ? volume_call_many(job->fs->volume, requests, answers, count) : ret;
    for (size_t i = 0; i < count; i++) {
        if (ret == 0) {
            (void)snprintf(job->etags[work[i].part - 1], STATE_ETAG_SIZE, "%s",
                           answers[i].result.info.etag);
        }
        objstore_answer_done(&answers[i]);
        free(work[i].buffer);
    }
    return ret;
}

static int complete(struct job *job, uint32_t parts)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    AUTOFREE struct objstore_part *list = calloc(parts, sizeof(*list));
    const struct upload_rec *upload = state_upload(job->fs->state, job->upload - 1);
    struct objstore_request request = {.op = OBJSTORE_UPLOAD_COMPLETE,
                                       .key = job->key,
                                       .upload_id = upload->id,
                                       .parts = list,
                                       .parts_count = parts,
                                       .timeout_ms = PUBLISH_TIMEOUT_MS};
    int ret = list == NULL ? -ENOMEM : set_conditions(job, &request, true);

    for (uint32_t i = 0; ret == 0 && i < parts; i++) {
        list[i].number = i + 1;
        (void)snprintf(list[i].etag, sizeof(list[i].etag), "%s", job->etags[i]);
    }
    ret = ret == 0 ? volume_call(job->fs->volume, &request, &answer) : ret;
    if (ret == 0) {
        (void)snprintf(job->result_etag, sizeof(job->result_etag), "%s", answer.result.info.etag);
    }
    return ret;
}

static void abort_upload(struct job *job)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request request = {.op = OBJSTORE_UPLOAD_ABORT, .key = job->key};

    if (job->upload != 0) {
        request.upload_id = state_upload(job->fs->state, job->upload - 1)->id;
        (void)volume_call(job->fs->volume, &request, &answer);
    }
}

/* Of the parts that were sent ahead; the others are sent by each try anew, as they may change. */
static int take_etags(struct job *job, uint32_t parts)
{
    free(job->etags);
    job->etags = calloc(parts, sizeof(*job->etags));
    if (job->etags == NULL) {
        return -ENOMEM;
    }
    if (job->upload != 0) {
        mutex_lock(&job->fs->lock);
        memcpy(job->etags, state_upload(job->fs->state, job->upload - 1)->etags,
               parts * sizeof(*job->etags));
        mutex_unlock(&job->fs->lock);
    }
    return 0;
}

/* The store knows no such upload, or no such bucket. Waits. */
static int upload_gone(struct job *job)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request list = {.op = OBJSTORE_LIST, .max_entries = 1};
    struct fs *fs = job->fs;
    bool is_open;

    if (job->upload == 0 || volume_call(fs->volume, &list, &answer) != 0) {
        return -ENOENT;
    }
    objstore_answer_done(&answer);
    answer = (struct objstore_answer)OBJSTORE_ANSWER_INIT;
    list = (struct objstore_request){.op = OBJSTORE_UPLOAD_LIST_PARTS,
                                     .key = job->key,
                                     .upload_id = state_upload(fs->state, job->upload - 1)->id};
    is_open = volume_call(fs->volume, &list, &answer) != -ENOENT;
    if (is_open) {
        return -ENOENT;
    }
    mutex_lock(&fs->lock);
    publish_upload_forget(fs, job->node);
    if (job->streamed) {
        lost_mark(fs, job->node);
    }
    mutex_unlock(&fs->lock);
    job->upload = 0;
    return job->streamed ? -EIO : -EAGAIN;
}

/*
 * Parts that publish_stream() has sent hold bytes that are nowhere else: they are part of the new
 * object as they are. Blocks that were written over them since stay dirty for the next round.
 */
static int put_parts(struct job *job)
{
    uint32_t parts = part_count(job->size);
    struct part_work work[PARTS_AT_ONCE];
    size_t count = 0;
    int ret = take_etags(job, parts);

    if (ret == 0 && job->upload == 0) {
        ret = publish_upload_start(job->fs, job->node, job->key, &job->meta, &job->upload);
    }
    for (uint32_t part = 1; ret == 0 && part <= parts; part++) {
        if (job->etags[part - 1][0] == '\0') {
            work[count++] = (struct part_work){.part = part};
        }
        if (count == PARTS_AT_ONCE || (part == parts && count > 0)) {
            ret = send_parts(job, work, count);
            count = 0;
        }
    }
    job_progress(job, 0);
    ret = ret == 0 ? complete(job, parts) : ret;
    return ret == -ENOENT ? upload_gone(job) : ret;
}

/* ---- the end ---- */

void job_published(struct fs *fs, struct job *job)
{
    struct node *node = job->node;
    struct inode_rec *rec = fs_rec(fs, node);
    uint64_t valid = job->size < node->truncated_to ? job->size : node->truncated_to;
    uint32_t flags = rec->flags & ~(uint32_t)(INODE_NEW | INODE_CONFLICT);

    state_begin(fs->state);
    state_set(fs->state, rec->etag, job->result_etag, sizeof(rec->etag));
    STATE_SET(fs->state, rec->base_size, job->size);
    STATE_SET(fs->state, rec->base_valid, valid);
    STATE_SET(fs->state, rec->flags, flags);
    holes_published(fs, node, valid);
    publish_settled(fs, rec);
    state_commit(fs->state);
    publish_upload_forget(fs, node);
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
    memcpy(node->opened_etag, rec->etag, sizeof(node->opened_etag)); /* our own pages are right */
}

/*
 * Parts that were sent ahead are bound to their key: what somebody else has put there goes beside,
 * and ours takes its place, unless it changes once more.
 */
static int move_theirs(struct job *job, const char *beside)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request head = {.op = OBJSTORE_HEAD, .key = job->key};
    int ret = volume_call(job->fs->volume, &head, &answer);

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
        ret = put_parts(job);
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
    if (job->upload != 0) { /* it is bound to its key */
        abort_upload(job);
        mutex_lock(&job->fs->lock);
        publish_upload_forget(job->fs, job->node);
        mutex_unlock(&job->fs->lock);
        job->upload = 0;
    }
    job->key = beside;
    job->is_new = true;
    ret = put_parts(job);
    job->key = key;
    job->is_new = was_new;
    return ret;
}

/* A key that is too long with the ending is cut, between two characters. */
static char *conflict_name(const struct job *job, const char *kind)
{
    char ending[64];
    size_t room;
    size_t len = strlen(job->key);
    char *name;

    (void)snprintf(ending, sizeof(ending), ".conflict-%s%llx", kind,
                   (unsigned long long)fs_now_ns());
    room = fs_key_max(job->fs) - strlen(ending);
    if (len > room) {
        for (len = room; len > 0 && ((unsigned char)job->key[len] & 0xC0) == 0x80;) {
            len--;
        }
    }
    return asprintf(&name, "%.*s%s", (int)len, job->key, ending) < 0 ? NULL : name;
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
    {
        struct inode_rec *rec = fs_rec(fs, job->node);

        publish_upload_forget(fs, job->node);
        data_clean(fs, job->node, &job->seqs);
        state_begin(fs->state);
        STATE_SET(fs->state, rec->flags,
                  (rec->flags & ~(uint32_t)(INODE_DIRTY | INODE_NEW)) | INODE_CONFLICT);
        STATE_SET(fs->state, rec->dirty_since_ns, (int64_t)0);
        STATE_SET(fs->state, rec->etag[0], '\0');
        holes_clear(fs, job->node);
        publish_settled(fs, rec);
        state_commit(fs->state);
        job->node->valid_until_ms = 0;
    }
    mutex_unlock(&fs->lock);
    return -ESTALE;
}

/* Who cuts a file publishes it first: no part that was sent ahead reaches beyond the size. */
static bool upload_fits(struct job *job) REQUIRES(&job->fs->lock)
{
    const struct upload_rec *upload;
    uint32_t parts = part_count(job->size);

    if (!job->streamed) {
        return true;
    }
    upload = state_upload(job->fs->state, job->upload - 1);
    return upload->etags[parts][0] == '\0' &&
           (upload->etags[parts - 1][0] == '\0' || publish_part_offset(parts + 1) <= job->size);
}

static int run(struct job *job)
{
    bool fits;
    bool unsettled;
    bool plain = !S_ISREG(job->attr.mode);
    int ret = 0;

    mutex_lock(&job->fs->lock);
    fits = upload_fits(job);
    unsettled = fs_rec(job->fs, job->node)->attempt != 0;
    publish_mark_attempt(job->fs, fs_rec(job->fs, job->node), job->size);
    mutex_unlock(&job->fs->lock);
    if (unsettled) {
        ret = publish_settle_now(job->fs, job->node, job->key);
    }
    if (ret != 0) {
        return ret;
    }
    if (!fits) {
        return -EIO;
    }
    if (plain || (job->size <= publish_whole_max && !job->streamed)) {
        ret = put_whole(job, job->key, true);
        if (ret == 0) {
            abort_upload(job); /* of an earlier try, when it was larger */
        }
    } else {
        ret = put_parts(job);
    }
    if (ret == -ESTALE || ret == -EEXIST || ret == -ENOENT) {
        int settled =
            publish_settle_now(job->fs, job->node, job->key); /* an attempt that came late */

        return settled != 0 ? settled : ret == -ENOENT && job->is_new ? ret : keep_conflict(job);
    }
    return ret;
}

/* 0: published, or there was nothing to do; *ret_again: more was written meanwhile. */
static int publish_once(struct fs *fs, uint32_t ino, struct pending *waiter, bool *ret_again)
{
    struct job job = {.fs = fs, .ino = ino, .waiter = waiter};
    const struct inode_rec *rec;
    int ret;

    *ret_again = false;
    mutex_lock(&fs->lock);
    ret = claim_wait(fs, ino, waiter, &job.node);
    if (ret == -ETIMEDOUT) {
        mutex_unlock(&fs->lock);
        return ret;
    }
    rec = job.node != NULL ? fs_rec(fs, job.node) : NULL;
    if (rec == NULL || (rec->flags & INODE_DIRTY) == 0 || (rec->flags & INODE_UNLINKED) != 0) {
        mutex_unlock(&fs->lock);
        return 0;
    }
    if ((rec->flags & INODE_LOST) != 0) {
        mutex_unlock(&fs->lock);
        return -EIO;
    }
    claim_set(fs, job.node, true);
    ret = job_begin(fs, &job);
    mutex_unlock(&fs->lock);
    ret = ret == 0 ? run(&job) : ret;
    mutex_lock(&fs->lock);
    if (ret == -EAGAIN) {
        *ret_again = true; /* on another base */
        ret = 0;
    } else if (ret == 0) {
        job_published(fs, &job);
        *ret_again = (fs_rec(fs, job.node)->flags & INODE_DIRTY) != 0;
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts that are sent while a file is being written, so that it may be larger than the pool. Their
 * bytes are then in the store's unfinished upload and nowhere else; publish() ends the upload.
 *
 * What the file was based on, if anything, comes first, as parts that the store copies: these are
 * in the upload before any byte is given away, so that nobody can take the base from under us.
 * A part goes when it is full and something follows it, from the blocks it lies in; several at
 * once.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/attr/theirs.h"
#include "mounter/fs.h"
#include "mounter/write/holes.h"
#include "mounter/write/settle.h"
#include "objstore/objstore_call.h"
#include "util/log.h"

enum { PART_TIMEOUT_MS = 300000, STREAM_AT_ONCE = 16, COPIES_AT_ONCE = 16, AGAIN_MS = 1000 };

/* A part on its way; or the beginning of the upload, with number 0. */
struct sent {
    struct objstore_request request;
    struct fs *fs;
    uint32_t ino;
    uint32_t number, upload;
    struct data_image image;
    char *key, *id;
};

static void sent_free(struct sent *sent)
{
    free(sent->key);
    free(sent->id);
    free(sent);
}

static bool is_same(const struct data_seqs *now, const struct data_seqs *then)
{
    return now->count == then->count &&
           (now->count == 0 ||
            memcmp(now->items, then->items, now->count * sizeof(*now->items)) == 0);
}

/* First the part counts, then its blocks go: unless they have been written to since. */
static int take_part(struct fs *fs, struct sent *sent, struct node *node, const char *etag)
    REQUIRES(&fs->lock)
{
    struct data_seqs now = {0};
    int ret = data_seqs_take(fs, node, sent->image.offset, sent->image.len, &now);

    if (ret == 0 && !is_same(&now, &sent->image.seqs)) {
        ret = -EAGAIN;
    }
    if (ret == 0) {
        state_upload_record(fs->state, state_upload(fs->state, sent->upload - 1), sent->number,
                            etag);
        data_clean(fs, node, &now);
    }
    free(now.items);
    return ret;
}

static void part_ended(struct sent *sent, int status, const char *etag)
{
    struct fs *fs = sent->fs;
    struct node *node;

    mutex_lock(&fs->lock);
    node = fs_node(fs, sent->ino);
    node->stream_ms = status == 0 ? fs_now_ms() : node->stream_ms;
    status = status == 0 ? take_part(fs, sent, node, etag) : status;
    data_image_done(fs, &sent->image);
    if (status != 0 && (node->stream_failed == 0 || sent->number < node->stream_failed)) {
        node->stream_failed = sent->number; /* it goes again */
    }
    if (status != 0 && status != -EAGAIN) {
        node->stream_again_ms = fs_now_ms() + AGAIN_MS;
    }
    claim_streaming(fs, node, -1);
    if (status == 0) {
        publish_stream(fs, node);
    }
    cond_broadcast(&fs->changed);
    fs_node_put(fs, node);
    mutex_unlock(&fs->lock);
    if (status != 0 && status != -EAGAIN) {
        log_debug("publish: a part could not be sent ahead", "error", strerror(-status), NULL);
    }
    sent_free(sent);
}

static void part_stored(struct objstore_request *request, const struct objstore_result *result)
{
    part_ended(request->arg, result->status, result->info.etag);
}

static ssize_t read_image(struct objstore_request *request, void *buffer, size_t cap)
{
    struct sent *sent = request->arg;

    return data_image_read(sent->fs->state, &sent->image, buffer, cap);
}

static int rewind_image(struct objstore_request *request)
{
    struct sent *sent = request->arg;

    data_image_rewind(&sent->image);
    return 0;
}

/* What to send, as it is now. -EAGAIN: it is not full any more. */
static int prepare(struct fs *fs, struct sent *sent) REQUIRES(&fs->lock)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct node *node = fs_node(fs, sent->ino);
    const struct upload_rec *upload = state_upload(fs->state, sent->upload - 1);
    uint64_t from = parts_offset(&upload->schedule, sent->number);
    uint64_t to = parts_offset(&upload->schedule, sent->number + 1);
    int ret = fs_key(fs, sent->ino, &key);

    if (ret == 0 && !data_covers(fs, node, from, to - from)) {
        ret = -EAGAIN;
    }
    ret = ret == 0 ? data_image_take(fs, node, from, to - from, &sent->image) : ret;
    if (ret != 0) {
        return ret;
    }
    sent->key = strdup(buf_str(&key));
    sent->id = strdup(upload->id);
    sent->request = (struct objstore_request){
        .op = OBJSTORE_UPLOAD_PART,
        .key = sent->key,
        .upload_id = sent->id,
        .part_number = sent->number,
        .timeout_ms = PART_TIMEOUT_MS,
        .source = {.data = data_image_whole(fs->state, &sent->image), .size = to - from},
        .done = part_stored,
        .arg = sent,
    };
    if (sent->request.source.data == NULL) {
        sent->request.source.read = read_image;
        sent->request.source.rewind = rewind_image;
    }
    return sent->key == NULL || sent->id == NULL ? -ENOMEM : 0;
}

static void run_part(void *arg)
{
    struct sent *sent = arg;
    struct fs *fs = sent->fs;
    int ret;

    mutex_lock(&fs->lock);
    ret = prepare(fs, sent);
    mutex_unlock(&fs->lock);
    if (ret != 0) {
        part_ended(sent, ret, "");
    } else {
        data_image_sum(fs, &sent->image, &sent->request);
        volume_submit_internal(fs->volume, &sent->request);
    }
}

/* ---- the beginning ---- */

struct beginning {
    char *key;
    char etag[STATE_ETAG_SIZE]; /* of the base */
    uint64_t base;
};

/* The parts before those that are sent. */
static int copy_some(struct sent *sent, const struct beginning *b, uint32_t first, uint32_t count)
{
    const struct upload_rec *upload = state_upload(sent->fs->state, sent->upload - 1);
    struct objstore_request requests[COPIES_AT_ONCE];
    struct objstore_answer answers[COPIES_AT_ONCE];
    int ret;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t from = parts_offset(&upload->schedule, first + i);

        answers[i] = (struct objstore_answer)OBJSTORE_ANSWER_INIT;
        requests[i] = (struct objstore_request){
            .op = OBJSTORE_UPLOAD_PART_COPY,
            .key = b->key,
            .upload_id = upload->id,
            .part_number = first + i,
            .source_key = b->key,
            .source_if_match = b->etag,
            .range = {from, parts_offset(&upload->schedule, first + i + 1) - from},
            .timeout_ms = PART_TIMEOUT_MS};
    }
    ret = volume_call_many_internal(sent->fs->volume, requests, answers, count);
    mutex_lock(&sent->fs->lock);
    for (uint32_t i = 0; ret == 0 && i < count; i++) {
        state_upload_record(sent->fs->state, state_upload(sent->fs->state, sent->upload - 1),
                            first + i, answers[i].result.info.etag);
    }
    mutex_unlock(&sent->fs->lock);
    for (uint32_t i = 0; i < count; i++) {
        objstore_answer_done(&answers[i]);
    }
    return ret;
}

static int copy_base(struct sent *sent, const struct beginning *b)
{
    uint32_t copies = parts_copied(&state_upload(sent->fs->state, sent->upload - 1)->schedule);
    int ret = 0;

    for (uint32_t part = 1; ret == 0 && part <= copies; part += COPIES_AT_ONCE) {
        uint32_t left = copies - part + 1;

        ret = copy_some(sent, b, part, left < COPIES_AT_ONCE ? left : COPIES_AT_ONCE);
    }
    return ret;
}

/* The upload that the parts go to; its metadata is that of the file as it is now. */
static int start_upload(struct sent *sent, struct beginning *b)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 20);
    CLEANUP(theirs_done) struct theirs theirs = {.none = true};
    struct fs *fs = sent->fs;
    struct objstore_meta meta;
    struct attr attr;
    struct node *node;
    int ret;

    mutex_lock(&fs->lock);
    node = fs_node(fs, sent->ino);
    ret = fs_key(fs, sent->ino, &key);
    fs_attr(fs, node, &attr, &arena);
    b->base = fs_rec(fs, node)->base_valid;
    memcpy(b->etag, fs_rec(fs, node)->etag, sizeof(b->etag));
    theirs.none = theirs_none(fs, node);
    b->key = strdup(buf_str(&key));
    ret = ret == 0 && b->key == NULL ? -ENOMEM : ret;
    ret = ret == 0 ? attr_write(&attr, &arena, &meta) : ret;
    ret = ret == 0 ? publish_add_token(fs, fs_rec(fs, node), &arena, &meta) : ret;
    mutex_unlock(&fs->lock);
    theirs.key = b->key;
    theirs.etag = b->etag;
    ret = ret == 0 && !theirs.none ? theirs_keep(fs, &theirs, &arena, &meta) : ret;
    return ret == 0 ? publish_upload_start(fs, node, b->key, &meta, b->base, &sent->upload) : ret;
}

/* A copy was refused: the file is not streamed. */
static void drop_upload(struct fs *fs, const char *key, const char *id)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request drop = {
        .op = OBJSTORE_UPLOAD_ABORT, .key = key, .upload_id = id, .timeout_ms = PART_TIMEOUT_MS};

    (void)volume_call_internal(fs->volume, &drop, &answer);
}

static void run_start(void *arg)
{
    struct sent *sent = arg;
    struct fs *fs = sent->fs;
    struct beginning b = {0};
    AUTOFREE char *id = NULL;
    struct node *node;
    int ret = start_upload(sent, &b);

    if (ret == 0) {
        ret = copy_base(sent, &b);
        mutex_lock(&fs->lock);
        node = fs_node(fs, sent->ino);
        if (fs_rec(fs, node)->base_valid != b.base) {
            ret = -EAGAIN; /* cut meanwhile */
        }
        if (ret != 0) {
            id = strdup(state_upload(fs->state, sent->upload - 1)->id);
            publish_upload_forget(fs, node);
        }
        mutex_unlock(&fs->lock);
    }
    if (id != NULL) {
        drop_upload(fs, b.key, id);
    }
    free(b.key);
    mutex_lock(&fs->lock);
    node = fs_node(fs, sent->ino);
    node->streamed = 0;
    node->stream_failed = 0;
    node->stream_again_ms = ret != 0 ? fs_now_ms() + AGAIN_MS : 0;
    node->stream_ms = fs_now_ms();
    claim_streaming(fs, node, -1);
    if (ret == 0) {
        publish_stream(fs, node);
    }
    cond_broadcast(&fs->changed);
    fs_node_put(fs, node);
    mutex_unlock(&fs->lock);
    sent_free(sent);
}

/* ---- which part goes next ---- */

bool upload_took(const struct upload_rec *upload, uint64_t offset, uint64_t len)
{
    for (uint32_t part = parts_copied(&upload->schedule) + 1; part <= upload->parts; part++) {
        if (parts_offset(&upload->schedule, part) < offset + len &&
            parts_offset(&upload->schedule, part + 1) > offset &&
            state_upload_etag(upload, part)[0] != '\0') {
            return true;
        }
    }
    return false;
}

static bool start(struct fs *fs, struct node *node, uint32_t number) REQUIRES(&fs->lock)
{
    struct sent *sent = calloc(1, sizeof(*sent));

    if (sent == NULL) {
        return false;
    }
    sent->fs = fs;
    sent->ino = node->ino;
    sent->number = number;
    sent->upload = fs_rec(fs, node)->upload;
    claim_streaming(fs, node, 1);
    if (tasks_add(fs->streams, number == 0 ? run_start : run_part, sent) != 0) {
        claim_streaming(fs, node, -1);
        free(sent);
        return false;
    }
    return true;
}

/* Worth an upload of its own, and with nothing in the way of a copied base. */
static bool may_start(const struct fs *fs, const struct node *node, const struct inode_rec *rec)
{
    struct parts_schedule schedule;

    if (rec->base_valid > 0 &&
        (rec->base_valid != rec->base_size || rec->base_valid < fs->caps.part_min ||
         !fs->caps.part_copy || !fs->caps.unequal_parts || node->holes.count > 0)) {
        return false;
    }
    parts_schedule_make(&fs->caps, rec->base_valid, UINT64_MAX, &schedule);
    return parts_offset(&schedule, parts_copied(&schedule) + 3) <= rec->size;
}

static bool may_stream(struct fs *fs, struct node *node, const struct inode_rec *rec)
    REQUIRES(&fs->lock)
{
    return rec->attempt == 0 && !fs->ending && !node->publishing && node->wanted == 0 &&
           !claim_held(fs, node) &&
           (rec->flags & (INODE_LOST | INODE_UNLINKED | INODE_DETACHED)) == 0 &&
           (node->stream_again_ms == 0 || fs_now_ms() >= node->stream_again_ms);
}

/*
 * Called after each write, and when a part has arrived: sends what is full. In order: a part that
 * is not full yet holds up those behind it.
 */
void publish_stream(struct fs *fs, struct node *node)
{
    const struct inode_rec *rec = fs_rec(fs, node);
    const struct upload_rec *upload;

    if (rec->size < 2 * fs->caps.part_min || !may_stream(fs, node, rec)) {
        return;
    }
    if (rec->upload == 0) {
        if (node->streaming == 0 && may_start(fs, node, rec)) {
            (void)start(fs, node, 0);
        }
        return;
    }
    if (node->stream_failed != 0 && node->streaming > 0) {
        return; /* two requests for one part must not be under way */
    }
    if (node->stream_failed != 0) {
        node->streamed = node->stream_failed - 1;
        node->stream_failed = 0;
    }
    upload = state_upload(fs->state, rec->upload - 1);
    while (node->streaming < STREAM_AT_ONCE && node->streamed < PARTS_MAX) {
        uint32_t part = node->streamed + 1;
        uint64_t from = parts_offset(&upload->schedule, part);
        uint64_t to = parts_offset(&upload->schedule, part + 1);

        if (state_upload_etag(upload, part)[0] == '\0' &&
            (to >= rec->size || !data_covers(fs, node, from, to - from) ||
             !start(fs, node, part))) {
            return;
        }
        node->streamed = part;
    }
}

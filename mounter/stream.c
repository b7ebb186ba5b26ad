/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts of a new file that are sent while it is being written, so that it may be larger than the
 * pool. Their bytes are then in the store's unfinished upload and nowhere else, in full parts from
 * the first one on; publish() ends the upload.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/fs.h"
#include "objstore/objstore_call.h"
#include "util/log.h"

enum { PART_TIMEOUT_MS = 300000 };

/* A part on its way. */
struct part {
    struct fs *fs;
    uint32_t ino;
    uint32_t number, upload;
};

static void record_part(struct fs *fs, uint32_t upload, uint32_t part, const char *etag)
    REQUIRES(&fs->lock)
{
    char text[STATE_ETAG_SIZE] = "";

    (void)snprintf(text, sizeof(text), "%s", etag);
    state_begin(fs->state);
    state_set(fs->state, state_upload(fs->state, upload - 1)->etags[part - 1], text, sizeof(text));
    state_commit(fs->state);
}

static int stream_part(struct fs *fs, const struct part *part, char *buffer, struct data_seqs *seqs)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    uint64_t offset = publish_part_offset(part->number);
    size_t len = (size_t)(publish_part_offset(part->number + 1) - offset);
    struct objstore_request request = {.op = OBJSTORE_UPLOAD_PART,
                                       .part_number = part->number,
                                       .timeout_ms = PART_TIMEOUT_MS,
                                       .source = {.data = buffer, .size = len}};
    struct node *node;
    bool same = true;
    int ret;

    mutex_lock(&fs->lock);
    node = fs_node(fs, part->ino);
    ret = fs_key(fs, part->ino, &key);
    ret = ret == 0 ? data_seqs_take(fs, node, offset, len, seqs) : ret;
    ret = ret == 0 && !data_covers(fs, node, offset, len) ? -EAGAIN : ret;
    if (ret == 0) {
        data_overlay(fs, node, offset, buffer, len);
        request.key = buf_str(&key);
        request.upload_id = state_upload(fs->state, part->upload - 1)->id;
    }
    mutex_unlock(&fs->lock);
    ret = ret == 0 ? volume_call(fs->volume, &request, &answer) : ret;
    if (ret != 0) {
        return ret;
    }
    mutex_lock(&fs->lock);
    {
        struct data_seqs now = {0};

        ret = data_seqs_take(fs, node, offset, len, &now);
        same = ret == 0 && now.count == seqs->count;
        for (size_t i = 0; same && i < now.count; i++) {
            same = false;
            for (size_t j = 0; j < seqs->count && !same; j++) {
                same = now.items[i].index == seqs->items[j].index &&
                       now.items[i].seq == seqs->items[j].seq;
            }
        }
        free(now.items);
    }
    if (same) { /* first the part counts, then its blocks go */
        record_part(fs, part->upload, part->number, answer.result.info.etag);
        data_clean(fs, node, seqs);
    }
    mutex_unlock(&fs->lock);
    return ret;
}

static void end_part(struct part *part)
{
    struct fs *fs = part->fs;
    struct node *node;

    mutex_lock(&fs->lock);
    node = fs_node(fs, part->ino);
    claim_streaming(fs, node, -1);
    cond_broadcast(&fs->changed);
    fs_node_put(fs, node);
    mutex_unlock(&fs->lock);
    free(part);
}

static void run_stream(void *arg)
{
    struct part *part = arg;
    struct fs *fs = part->fs;
    struct data_seqs seqs = {0};
    size_t len =
        (size_t)(publish_part_offset(part->number + 1) - publish_part_offset(part->number));
    char *buffer = malloc(len);
    int ret = buffer == NULL ? -ENOMEM : stream_part(fs, part, buffer, &seqs);

    if (ret != 0) {
        log_debug("publish: a part could not be sent ahead", "error", strerror(-ret), NULL);
    }
    free(buffer);
    free(seqs.items);
    end_part(part);
}

/* The upload that the parts go to; its metadata is that of the file as it is now. */
static int start_upload(struct fs *fs, const struct part *part, uint32_t *ret_upload)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 20);
    struct objstore_meta meta;
    struct attr attr;
    struct node *node;
    int ret;

    mutex_lock(&fs->lock);
    node = fs_node(fs, part->ino);
    ret = fs_key(fs, part->ino, &key);
    fs_attr(fs, node, &attr, &arena);
    ret = ret == 0 ? attr_write(&attr, &arena, &meta) : ret;
    ret = ret == 0 ? publish_add_token(fs, fs_rec(fs, node), &arena, &meta) : ret;
    mutex_unlock(&fs->lock);
    return ret == 0 ? publish_upload_start(fs, node, buf_str(&key), &meta, ret_upload) : ret;
}

static void run_stream_start(void *arg)
{
    struct part *part = arg;
    struct fs *fs = part->fs;

    if (start_upload(fs, part, &part->upload) == 0) {
        run_stream(part);
        return;
    }
    end_part(part);
}

/*
 * Called after each write: sends the next full part if the file has only new bytes. One part is
 * being sent while the next one fills.
 */
void publish_stream(struct fs *fs, struct node *node)
{
    const struct inode_rec *rec = fs_rec(fs, node);
    const struct upload_rec *upload =
        rec->upload != 0 ? state_upload(fs->state, rec->upload - 1) : NULL;
    struct part *next;
    uint32_t part = 1;
    uint64_t offset;

    if (rec->base_valid > 0 || rec->attempt != 0 || claim_blocked(fs, node) ||
        (rec->flags & (INODE_LOST | INODE_UNLINKED | INODE_DETACHED)) != 0 ||
        rec->size < publish_part_offset(3)) {
        return;
    }
    while (upload != NULL && part <= PUBLISH_SMALL_PARTS && upload->etags[part - 1][0] != '\0') {
        part++;
    }
    offset = publish_part_offset(part);
    if (part > PUBLISH_SMALL_PARTS || publish_part_offset(part + 1) >= rec->size ||
        !data_covers(fs, node, offset, publish_part_offset(part + 1) - offset)) {
        return;
    }
    next = malloc(sizeof(*next));
    if (next == NULL) {
        return;
    }
    *next = (struct part){.fs = fs, .ino = node->ino, .number = part, .upload = rec->upload};
    claim_streaming(fs, node, 1);
    if (tasks_add(fs->streams, rec->upload != 0 ? run_stream : run_stream_start, next) != 0) {
        claim_streaming(fs, node, -1);
        free(next);
    }
}

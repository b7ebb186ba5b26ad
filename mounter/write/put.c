/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small file is published without a thread: its PUT reads the dirty blocks where they lie, and
 * the transfer thread that gets the answer notes it. Whatever is not plain (an earlier attempt of
 * unknown end, a conflict, bytes of the object to be read first, a store without conditions) is
 * left to publish().
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/fs.h"
#include "mounter/names/seen.h"
#include "mounter/read/reader.h"
#include "mounter/write/publish_internal.h"
#include "mounter/write/settle.h"
#include "util/log.h"

struct put {
    struct job job;
    struct objstore_request request;
    struct data_image image;
    struct op *op; /* who waits for it, or NULL */
};

static bool is_plain(struct fs *fs, struct node *node) REQUIRES(&fs->lock)
{
    const struct inode_rec *rec = fs_rec(fs, node);
    bool is_new = (rec->flags & INODE_NEW) != 0;
    uint64_t base = rec->base_valid < rec->size ? rec->base_valid : rec->size;

    return (rec->flags & INODE_DIRTY) != 0 && seen_noted(fs, rec) && theirs_none(fs, node) &&
           (S_ISREG(rec->mode) || (S_ISDIR(rec->mode) && is_new)) &&
           (rec->flags & (INODE_UNLINKED | INODE_LOST | INODE_DETACHED)) == 0 &&
           rec->size <= publish_whole_max && rec->upload == 0 && rec->attempt == 0 &&
           (is_new ? fs->caps.if_none_match_put : fs->caps.if_match_put && rec->etag[0] != '\0') &&
           !claim_blocked(fs, node) && data_covers(fs, node, 0, base);
}

static ssize_t read_image(struct objstore_request *request, void *buffer, size_t cap)
{
    struct put *put = request->arg;

    return data_image_read(put->job.fs->state, &put->image, buffer, cap);
}

static int rewind_image(struct objstore_request *request)
{
    struct put *put = request->arg;

    data_image_rewind(&put->image);
    return 0;
}

/* What the store said. False: somebody with more patience has to go on. */
static bool take_answer(struct fs *fs, struct put *put, int status) REQUIRES(&fs->lock)
{
    struct node *node = put->job.node;

    if (status == 0) {
        put->job.seqs = put->image.seqs; /* they are the job's now */
        put->image.seqs = (struct data_seqs){0};
        job_published(fs, &put->job);
    }
    data_image_done(fs, &put->image);
    mount_stats_add(fs->options.stats, STATS_PUBLICATION_ERRORS,
                    status != 0 && status != -ESTALE ? 1 : 0);
    publish_put_off(node, status);
    claim_set(fs, node, false);
    cond_broadcast(&fs->changed);
    return status == 0;
}

static void answer_op(struct put *put, bool done, bool ending)
{
    if (put->op == NULL) {
        return;
    }
    if (ending) { /* all ends, and nobody waits for answers */
        free(put->op);
    } else if (done) {
        (void)fs_op_fail(put->op, 0);
    } else {
        publish_op(put->op); /* looks what has become of it, and tries again */
    }
}

static void put_done(struct objstore_request *request, const struct objstore_result *result)
{
    struct put *put = request->arg;
    struct fs *fs = put->job.fs;
    int status = result->status;
    bool is_over;
    bool again;
    bool ending;

    (void)snprintf(put->job.result_etag, sizeof(put->job.result_etag), "%s", result->info.etag);
    put->job.result_ns = result->info.mtime_ns;
    if (status == 0 && S_ISREG(put->job.attr.mode) && put->image.len > 0) {
        reader_keep(fs, put->job.key, put->job.result_etag, &put->image);
    }
    mutex_lock(&fs->lock);
    fs->putting--;
    is_over = take_answer(fs, put, status);
    again = put->job.node->writers == 0 && !put->job.node->held &&
            (fs_rec(fs, put->job.node)->flags & INODE_DIRTY) != 0;
    ending = fs->ending;
    if (is_over && !again) {
        fs_node_put(fs, put->job.node);
    }
    mutex_unlock(&fs->lock);
    answer_op(put, is_over, ending && !is_over);
    if (!is_over && put->op == NULL && !ending) {
        publish_patiently(fs, put->job.ino);
    } else if (is_over && again) {
        publish_soon(fs, put->job.ino);
    }
    job_done(&put->job);
    free(put);
    publish_next(fs);
}

static int begin(struct fs *fs, struct put *put) REQUIRES(&fs->lock)
{
    struct node *node = put->job.node;
    int ret = job_begin(fs, &put->job);

    ret = ret == 0 ? data_image_take(fs, node, 0, put->job.size, &put->image) : ret;
    if (ret != 0) {
        return ret;
    }
    node->marking = S_ISDIR(fs_rec(fs, node)->mode);
    claim_set(fs, node, true);
    publish_mark_attempt(fs, fs_rec(fs, node), put->job.size);
    fs->putting++;
    put->request = (struct objstore_request){
        .op = OBJSTORE_PUT,
        .key = put->job.key,
        .meta = &put->job.meta,
        .if_match = put->job.is_new ? NULL : put->job.etag,
        .if_none_match = put->job.is_new ? "*" : NULL,
        .timeout_ms = PUBLISH_TIMEOUT_MS,
        .source = {.data = data_image_whole(fs->state, &put->image), .size = put->job.size},
        .done = put_done,
        .arg = put,
    };
    if (put->request.source.data == NULL) {
        put->request.source.read = read_image;
        put->request.source.rewind = rewind_image;
    }
    return 0;
}

/* NULL: it is not plain, or memory is out. */
struct put *put_begin(struct fs *fs, struct node *node, struct op *op)
{
    struct put *put = is_plain(fs, node) ? calloc(1, sizeof(*put)) : NULL;

    if (put == NULL) {
        return NULL;
    }
    put->op = op;
    put->job = (struct job){
        .fs = fs, .node = node, .ino = node->ino, .waiter = op != NULL ? op->pending : NULL};
    if (begin(fs, put) != 0) {
        job_done(&put->job);
        free(put);
        return NULL;
    }
    return put;
}

void put_submit(struct put *put)
{
    job_progress(&put->job, put->job.size);
    data_image_sum(put->job.fs, &put->image, &put->request);
    volume_submit(put->job.fs->volume, &put->request);
}

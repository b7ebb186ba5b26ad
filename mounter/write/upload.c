/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publications by parts. What was dirty when the publication began is pinned (image.c), so that the
 * object is of one moment. Parts go many at once: the store copies those that are clean; dirty ones
 * are sent from the blocks they lie in; where the object's bytes are between dirty ones, they are
 * fetched into a buffer first and the dirty bytes laid over them.
 *
 * If parts were sent ahead while the file was written (stream.c), its upload is ended here: they
 * are part of the object as they are; what was written over them since stays dirty for the next
 * round. Any other upload is made for one try and dropped if it fails.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/session/eio.h"
#include "mounter/write/holes.h"
#include "mounter/write/publish_internal.h"
#include "mounter/write/settle.h"
#include "objstore/objstore_call.h"
#include "util/log.h"

enum { PARTS_AT_ONCE = 16, TICK_MS = 1000 };

/* One part on its way: SEND or COPY is under way, or FETCH, which SEND follows. */
struct part {
    struct run *run;
    struct parts_item item;
    struct objstore_request request;
    struct data_image image; /* of what is dirty */
    uint64_t from_base;      /* bytes that are fetched first */
    size_t got;
    char *buffer;
    char etag[STATE_ETAG_SIZE];
};

struct run {
    struct job *job;
    struct part *parts;
    size_t count;
    const char *upload_id;
    struct mutex lock; /* of what follows, and of the parts' etags until all have ended */
    struct cond ended;
    unsigned running;
    uint64_t bytes; /* of those that run */
    int status;     /* the first failure */
};

/* ---- the upload itself ---- */

int publish_upload_start(struct fs *fs, struct node *node, const char *key,
                         const struct objstore_meta *meta, uint64_t base, uint32_t *ret)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request create = {.op = OBJSTORE_UPLOAD_CREATE, .key = key, .meta = meta};
    uint64_t pool = state_pool_size(fs->state);
    int r = volume_call_internal(fs->volume, &create, &answer);
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
        struct parts_schedule schedule;
        char id[sizeof(upload->id)] = "";

        upload = state_upload(fs->state, index);
        parts_schedule_make(&fs->caps, base, pool, &schedule);
        (void)snprintf(id, sizeof(id), "%s", answer.result.upload_id);
        state_begin(fs->state);
        state_set(fs->state, upload->id, id, sizeof(id));
        STATE_SET(fs->state, upload->schedule, schedule);
        STATE_SET(fs->state, upload->parts, 0U);
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

        (void)volume_call_internal(fs->volume, &drop, &ignored);
    }
    return r;
}

int upload_drop(struct job *job)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request request = {.op = OBJSTORE_UPLOAD_ABORT, .key = job->key};
    int ret;

    if (job->upload == 0) {
        return 0;
    }
    request.upload_id = state_upload(job->fs->state, job->upload - 1)->id;
    ret = volume_call_internal(job->fs->volume, &request, &answer);
    if (ret != 0 && ret != -ENOENT) {
        return ret; /* it stays known, so that the next try can */
    }
    mutex_lock(&job->fs->lock);
    publish_upload_forget(job->fs, job->node);
    mutex_unlock(&job->fs->lock);
    job->upload = 0;
    job->streamed = false;
    return 0;
}

static int complete(struct run *run)
{
    struct job *job = run->job;
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    AUTOFREE struct objstore_part *list = calloc(run->count, sizeof(*list));
    struct objstore_request request = {.op = OBJSTORE_UPLOAD_COMPLETE,
                                       .key = job->key,
                                       .upload_id = run->upload_id,
                                       .parts = list,
                                       .parts_count = run->count,
                                       .timeout_ms = PUBLISH_TIMEOUT_MS};
    int ret = list == NULL ? -ENOMEM : job_conditions(job, &request, true);

    for (size_t i = 0; ret == 0 && i < run->count; i++) {
        list[i].number = (uint32_t)i + 1;
        (void)snprintf(list[i].etag, sizeof(list[i].etag), "%s", run->parts[i].etag);
    }
    ret = ret == 0 ? volume_call_internal(job->fs->volume, &request, &answer) : ret;
    if (ret == 0) {
        (void)snprintf(job->result_etag, sizeof(job->result_etag), "%s", answer.result.info.etag);
    }
    return ret;
}

/* The store knows no such upload, or no such bucket. Waits. -EAGAIN: go on from what there is. */
static int upload_gone(struct job *job)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request list = {.op = OBJSTORE_LIST, .max_entries = 1};
    struct fs *fs = job->fs;
    bool streamed = job->streamed;
    bool is_open;
    int ret;

    if (job->upload == 0 || volume_call_internal(fs->volume, &list, &answer) != 0) {
        return -ENOENT;
    }
    objstore_answer_done(&answer);
    answer = (struct objstore_answer)OBJSTORE_ANSWER_INIT;
    list = (struct objstore_request){.op = OBJSTORE_UPLOAD_LIST_PARTS,
                                     .key = job->key,
                                     .upload_id = state_upload(fs->state, job->upload - 1)->id};
    is_open = volume_call_internal(fs->volume, &list, &answer) != -ENOENT;
    if (is_open) {
        return -ENOENT;
    }
    ret = publish_settle_now(fs, job->node, job->key); /* it may be gone as it is complete */
    if (ret != 0) {
        job->upload = ret == -EAGAIN ? 0 : job->upload;
        return ret;
    }
    mutex_lock(&fs->lock);
    publish_upload_forget(fs, job->node);
    if (streamed) {
        lost_mark(fs, job->node);
    }
    mutex_unlock(&fs->lock);
    job->upload = 0;
    if (streamed) {
        log_error("bytes are lost: the store has forgotten parts that it had taken", "key",
                  job->key, NULL);
    }
    return streamed ? eio("the store has forgotten parts that it had taken") : -EAGAIN;
}

/* ---- one part ---- */

static void part_ended(struct part *part, int status)
{
    struct run *run = part->run;
    struct fs *fs = run->job->fs;
    struct data_seqs seqs = part->image.seqs;

    part->image.seqs = (struct data_seqs){0};
    mutex_lock(&fs->lock);
    data_image_done(fs, &part->image);
    mutex_unlock(&fs->lock);
    if (part->buffer != NULL) {
        merge_give(fs, part->buffer, part->item.len);
        part->buffer = NULL;
    }
    mutex_lock(&run->lock);
    if (status == 0 && data_seqs_add(&run->job->seqs, &seqs) != 0) {
        status = -ENOMEM;
    }
    free(seqs.items);
    run->status = run->status == 0 ? status : run->status;
    run->bytes -= part->item.len;
    run->running--;
    cond_broadcast(&run->ended);
    mutex_unlock(&run->lock);
}

static void part_stored(struct objstore_request *request, const struct objstore_result *result)
{
    struct part *part = request->arg;

    (void)snprintf(part->etag, sizeof(part->etag), "%s", result->info.etag);
    part_ended(part, result->status);
}

static ssize_t read_image(struct objstore_request *request, void *buffer, size_t cap)
{
    struct part *part = request->arg;

    return data_image_read(part->run->job->fs->state, &part->image, buffer, cap);
}

static int rewind_image(struct objstore_request *request)
{
    struct part *part = request->arg;

    data_image_rewind(&part->image);
    return 0;
}

static void part_request(struct part *part, enum objstore_op op)
{
    const struct run *run = part->run;

    part->request = (struct objstore_request){
        .op = op,
        .key = run->job->key,
        .upload_id = run->upload_id,
        .part_number = (uint32_t)(part - run->parts) + 1,
        .timeout_ms = PUBLISH_TIMEOUT_MS,
        .done = part_stored,
        .arg = part,
    };
}

static void send_part(struct part *part)
{
    struct fs *fs = part->run->job->fs;

    part_request(part, OBJSTORE_UPLOAD_PART);
    part->request.source.size = part->item.len;
    part->request.source.data =
        part->buffer != NULL ? part->buffer : data_image_whole(fs->state, &part->image);
    if (part->request.source.data == NULL) {
        part->request.source.read = read_image;
        part->request.source.rewind = rewind_image;
    }
    data_image_sum(fs, &part->image, &part->request);
    volume_submit_internal(fs->volume, &part->request);
}

static void copy_part(struct part *part)
{
    const struct job *job = part->run->job;

    part_request(part, OBJSTORE_UPLOAD_PART_COPY);
    part->request.source_key = job->base_key;
    part->request.source_if_match = job->etag;
    part->request.range = (struct objstore_range){part->item.offset, part->item.len};
    volume_submit_internal(job->fs->volume, &part->request);
}

static int take_bytes(struct objstore_request *request, const void *data, size_t len)
{
    struct part *part = request->arg;

    if (len > part->from_base - part->got) {
        return -EBADMSG;
    }
    memcpy(part->buffer + part->got, data, len);
    part->got += len;
    return 0;
}

static void part_fetched(struct objstore_request *request, const struct objstore_result *result)
{
    struct part *part = request->arg;
    const struct job *job = part->run->job;
    int status = result->status;

    if (job->baseless && (status == -ESTALE || status == -ENOENT)) {
        memset(part->buffer, 0, (size_t)part->from_base);
        status = 0;
    } else if (status == 0 && part->got != part->from_base) {
        status = eio("a part to be completed: the store gave too few bytes");
    }
    if (status != 0) {
        part_ended(part, status);
        return;
    }
    mutex_lock(&job->fs->lock);
    holes_lay(job->node, part->item.offset, part->buffer, (size_t)part->item.len);
    mutex_unlock(&job->fs->lock);
    data_image_lay(job->fs->state, &part->image, part->buffer);
    send_part(part);
}

static void fetch_part(struct part *part)
{
    const struct job *job = part->run->job;

    part->request = (struct objstore_request){
        .op = OBJSTORE_GET,
        .key = job->base_key,
        .if_match = job->etag,
        .range = {part->item.offset, part->from_base},
        .sink = {.write = take_bytes},
        .timeout_ms = PUBLISH_TIMEOUT_MS,
        .done = part_fetched,
        .arg = part,
    };
    volume_submit_internal(job->fs->volume, &part->request);
}

/* ---- all of them ---- */

/* What is dirty now, of all parts at once. -EAGAIN: the file was cut since the publication began.
 */
static int take_images(struct fs *fs, struct run *run) REQUIRES(&fs->lock)
{
    const struct job *job = run->job;
    int ret = lost_is(fs, job->node)                  ? lost_eio()
              : job->node->truncated_to != UINT64_MAX ? -EAGAIN
                                                      : 0;

    for (size_t i = 0; ret == 0 && i < run->count; i++) {
        struct part *part = &run->parts[i];
        uint64_t base =
            job->base_valid > part->item.offset ? job->base_valid - part->item.offset : 0;

        if (part->item.copy || part->etag[0] != '\0') {
            continue;
        }
        base = base < part->item.len ? base : part->item.len;
        if (!data_covers(fs, job->node, part->item.offset, base)) {
            part->from_base = base;
        }
        ret = data_image_take(fs, job->node, part->item.offset, part->item.len, &part->image);
    }
    return ret;
}

/* The end of a streamed file: its schedule, and the parts that the store has already. */
static int plan_streamed(struct fs *fs, struct run *run) REQUIRES(&fs->lock)
{
    const struct job *job = run->job;
    const struct upload_rec *upload = state_upload(fs->state, job->upload - 1);
    const struct parts_schedule *schedule = &upload->schedule;
    uint32_t copied = parts_copied(schedule);

    run->count = parts_count(schedule, job->size);
    /* Who cuts a file publishes it first: no part that was sent ahead reaches beyond the size. */
    if (run->count > PARTS_MAX || run->count < upload->parts ||
        (run->count == upload->parts && parts_offset(schedule, upload->parts + 1) > job->size)) {
        return eio("parts that were sent ahead do not fit the file");
    }
    run->parts = calloc(run->count, sizeof(*run->parts));
    for (uint32_t i = 0; run->parts != NULL && i < run->count; i++) {
        uint64_t offset = parts_offset(schedule, i + 1);
        uint64_t stop = parts_offset(schedule, i + 2);

        run->parts[i].item =
            (struct parts_item){offset, (stop < job->size ? stop : job->size) - offset, i < copied};
        (void)snprintf(run->parts[i].etag, sizeof(run->parts[i].etag), "%s",
                       state_upload_etag(upload, i + 1));
    }
    return run->parts == NULL ? -ENOMEM : 0;
}

static int plan_fresh(struct fs *fs, struct run *run) REQUIRES(&fs->lock)
{
    struct job *job = run->job;
    AUTOFREE struct parts_range *dirty = NULL;
    AUTOFREE struct parts_item *items = NULL;
    struct parts_file file = {.caps = &fs->caps, .size = job->size};
    int ret = data_ranges(fs, job->node, &dirty, &file.dirty_count);

    if (!job->is_new && !job->baseless && file.caps->part_copy) {
        file.base = job->base_valid;
    }
    file.dirty = dirty;
    ret = ret == 0 ? parts_plan(&file, &items, &run->count) : ret;
    if (ret != 0) {
        return ret;
    }
    run->parts = calloc(run->count, sizeof(*run->parts));
    for (size_t i = 0; run->parts != NULL && i < run->count; i++) {
        run->parts[i].item = items[i];
    }
    return run->parts == NULL ? -ENOMEM : 0;
}

/* Waits until there is memory for it. */
static int take_buffer(struct part *part)
{
    int ret = part->from_base == 0 ? 0 : merge_take(part->run->job, part->item.len, &part->buffer);

    if (part->buffer != NULL) {
        memset(part->buffer + part->from_base, 0, (size_t)(part->item.len - part->from_base));
    }
    return ret;
}

static void start_part(struct run *run, struct part *part)
{
    int ret = take_buffer(part);

    mutex_lock(&run->lock);
    run->running++;
    run->bytes += part->item.len;
    mutex_unlock(&run->lock);
    if (ret != 0) {
        part_ended(part, ret);
    } else if (part->item.copy) {
        copy_part(part);
    } else if (part->from_base > 0) {
        fetch_part(part);
    } else {
        send_part(part);
    }
}

/* Until fewer than `limit` are under way; whoever waits for the file hears of progress. */
static int wait_below(struct run *run, unsigned limit)
{
    uint64_t bytes;
    int status;

    mutex_lock(&run->lock);
    while (run->running >= limit) {
        cond_wait(&run->ended, &run->lock);
    }
    bytes = run->bytes;
    status = run->status;
    mutex_unlock(&run->lock);
    job_progress(run->job, bytes);
    return status;
}

static int send_all(struct run *run)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < run->count; i++) {
        struct part *part = &run->parts[i];

        if (part->etag[0] == '\0') {
            part->run = run;
            start_part(run, part);
            ret = wait_below(run, PARTS_AT_ONCE);
        }
    }
    return wait_below(run, 1);
}

static int plan(struct run *run)
{
    struct fs *fs = run->job->fs;
    int ret;

    mutex_lock(&fs->lock);
    ret = run->job->streamed ? plan_streamed(fs, run) : plan_fresh(fs, run);
    ret = ret == 0 ? take_images(fs, run) : ret;
    mutex_unlock(&fs->lock);
    return ret;
}

static void run_done(struct run *run)
{
    struct fs *fs = run->job->fs;

    mutex_lock(&fs->lock);
    for (size_t i = 0; run->parts != NULL && i < run->count; i++) {
        data_image_done(fs, &run->parts[i].image);
    }
    mutex_unlock(&fs->lock);
    free(run->parts);
    cond_done(&run->ended);
    mutex_done(&run->lock);
}

int upload_run(struct job *job)
{
    struct run run = {.job = job};
    int ret = 0;

    mutex_init(&run.lock);
    cond_init(&run.ended);
    if (!job->streamed) {
        ret = upload_drop(job); /* of an earlier try: its parts are of another plan */
    }
    if (ret == 0 && job->upload == 0) {
        ret = publish_upload_start(job->fs, job->node, job->key, &job->meta, 0, &job->upload);
    }
    ret = ret == 0 ? plan(&run) : ret;
    if (ret == 0) {
        run.upload_id = state_upload(job->fs->state, job->upload - 1)->id;
        ret = send_all(&run);
        ret = ret == 0 ? complete(&run) : ret;
    }
    run_done(&run);
    if (ret == -ENOENT) {
        ret = upload_gone(job);
    }
    if (ret != 0 && !job->streamed) {
        (void)!upload_drop(job);
    }
    return ret;
}

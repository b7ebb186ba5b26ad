/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader_rig.h - a reader over a store whose every answer the test gives, bit by bit.
 *
 * The store keeps the GETs it is sent in the order of their coming, until the test has ended them.
 * Only second GETs come from a thread of the reader's; everything else happens in the test's.
 */
#ifndef TESTS_UNIT_MOUNTER_READER_RIG_H
#define TESTS_UNIT_MOUNTER_READER_RIG_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/fs.h"
#include "mounter/read/reader_internal.h"
#include "objstore/objstore_backend.h"
#include "test.h"
#include "util/container.h"

enum { GETS_MAX = 4096, GRAIN = READER_GRAIN, WAIT_MS = 10000 };

struct get {
    struct objstore_request *request; /* NULL: it has ended */
    uint64_t offset, len;             /* as asked for; len 0: the whole object */
    bool cancelled;
};

struct rig {
    struct objstore store;
    struct mutex lock;
    struct cond changed;
    struct get gets[GETS_MAX];
    unsigned count;
    void (*submitted)(unsigned i); /* NULL, or called before the submit of a GET returns */

    struct fs fs;
    struct keep *keep;
    struct node node;
};

static struct rig *rig;

/* ---- the store ---- */

static void rig_submit(UNUSED struct objstore *store, struct objstore_request *request)
{
    void (*submitted)(unsigned i);
    unsigned number;

    mutex_lock(&rig->lock);
    assert_int_equal(request->op, OBJSTORE_GET);
    assert_true(rig->count < GETS_MAX);
    number = rig->count++;
    rig->gets[number] = (struct get){
        .request = request, .offset = request->range.offset, .len = request->range.len};
    submitted = rig->submitted;
    cond_broadcast(&rig->changed);
    mutex_unlock(&rig->lock);
    if (submitted != NULL) {
        submitted(number);
    }
}

static void rig_cancel(UNUSED struct objstore *store, struct objstore_request *request)
{
    mutex_lock(&rig->lock);
    for (unsigned i = 0; i < rig->count; i++) {
        rig->gets[i].cancelled = rig->gets[i].cancelled || rig->gets[i].request == request;
    }
    cond_broadcast(&rig->changed);
    mutex_unlock(&rig->lock);
}

static void rig_resume(UNUSED struct objstore *store, UNUSED struct objstore_request *request)
{
}

static void rig_free(struct objstore *store)
{
    objstore_base_done(store);
}

static unsigned get_count(void)
{
    unsigned count;

    mutex_lock(&rig->lock);
    count = rig->count;
    mutex_unlock(&rig->lock);
    return count;
}

static UNUSED bool is_cancelled(unsigned i)
{
    bool cancelled;

    mutex_lock(&rig->lock);
    cancelled = rig->gets[i].cancelled;
    mutex_unlock(&rig->lock);
    return cancelled;
}

static struct objstore_request *request_of(unsigned i)
{
    struct objstore_request *request;

    mutex_lock(&rig->lock);
    assert_true(i < rig->count);
    request = rig->gets[i].request;
    mutex_unlock(&rig->lock);
    assert_non_null(request);
    return request;
}

/* What the object of this ETag has at this place. */
static unsigned char byte_at(const char *etag, uint64_t at)
{
    return (unsigned char)(at * 31 + (at >> 13) + (unsigned char)etag[0]);
}

/* The answer to a GET begins; what the sink says of it. */
static int answer_begin(unsigned i, const char *etag, uint64_t size)
{
    struct objstore_request *request = request_of(i);
    struct objstore_info info = {.size = size};
    struct objstore_range range = {rig->gets[i].offset,
                                   rig->gets[i].len != 0 ? rig->gets[i].len : size};

    (void)snprintf(info.etag, sizeof(info.etag), "%s", etag);
    return request->sink.info(request, &info, range);
}

/* Its bytes [from, to), in pieces as a network has them. */
static int answer_bytes(unsigned i, const char *etag, uint64_t from, uint64_t to)
{
    enum { PIECE = 50000 };
    struct objstore_request *request = request_of(i);
    unsigned char piece[PIECE];
    int ret = 0;

    while (ret == 0 && from < to) {
        size_t len = to - from < PIECE ? (size_t)(to - from) : PIECE;

        for (size_t k = 0; k < len; k++) {
            piece[k] = byte_at(etag, rig->gets[i].offset + from + k);
        }
        ret = request->sink.write(request, piece, len);
        from += len;
    }
    return ret;
}

static void answer_end(unsigned i, int status)
{
    struct objstore_request *request = request_of(i);
    struct objstore_result result = {.status = status};

    mutex_lock(&rig->lock);
    rig->gets[i].request = NULL;
    mutex_unlock(&rig->lock);
    request->done(request, &result);
}

static uint64_t len_of(unsigned i, uint64_t size)
{
    return rig->gets[i].len != 0 ? rig->gets[i].len : size;
}

/* All of it, as a good store does. */
static void answer(unsigned i, const char *etag, uint64_t size)
{
    assert_int_equal(answer_begin(i, etag, size), 0);
    assert_int_equal(answer_bytes(i, etag, 0, len_of(i, size)), 0);
    answer_end(i, 0);
}

/* ---- a file system of one file ---- */

static void set_object(const char *etag, uint64_t size)
{
    struct fs *fs = &rig->fs;
    struct inode_rec *rec;

    mutex_lock(&fs->lock);
    rec = state_inode(fs->state, rig->node.ino);
    state_begin(fs->state);
    STATE_SET(fs->state, rec->size, size);
    STATE_SET(fs->state, rec->base_size, size);
    STATE_SET(fs->state, rec->base_valid, size);
    state_set(fs->state, rec->etag, etag, strlen(etag) + 1);
    state_commit(fs->state);
    mutex_unlock(&fs->lock);
}

/* Its record alone: a reader looks up no names. */
LOCK_UNCHECKED
static void make_file(void)
{
    struct state *kept = rig->fs.state;
    struct inode_rec rec = {.flags = INODE_USED, .parent = STATE_ROOT, .mode = S_IFREG | 0644};

    state_begin(kept);
    rig->node.ino = state_inode_alloc(kept);
    assert_int_equal(state_text_new(kept, "file", 4, &rec.name), 0);
    state_inode_fill(kept, rig->node.ino, &rec);
    state_commit(kept);
}

LOCK_UNCHECKED
static void rig_new(uint64_t memory, const char *etag, uint64_t size)
{
    static const struct objstore_ops ops = {
        .submit = rig_submit, .cancel = rig_cancel, .resume = rig_resume, .free = rig_free};
    struct state_config config = {.pool_bytes = 16 << 20};
    struct volume_config volume = {.bucket = "bucket", .prefix = ""};

    rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    mutex_init(&rig->lock);
    cond_init(&rig->changed);
    assert_int_equal(objstore_base_init(&rig->store, &ops, "test"), 0);
    volume.store = &rig->store;
    assert_int_equal(volume_new(&volume, &rig->fs.volume, NULL), 0);
    assert_int_equal(keep_new(&rig->keep), 0);
    config.keep = rig->keep;
    assert_int_equal(state_new(&config, &rig->fs.state, NULL), 0);
    mutex_init(&rig->fs.lock);
    rig->fs.options.memory_bytes = memory;
    assert_int_equal(reader_new(&rig->fs, memory), 0);
    make_file();
    set_object(etag, size);
}

static int rig_end(UNUSED void **state)
{
    unsigned count = get_count();

    for (unsigned i = 0; i < count; i++) { /* what the test has left open */
        if (rig->gets[i].request != NULL) {
            answer_end(i, -ECANCELED);
        }
    }
    reader_stop(&rig->fs);
    mutex_lock(&rig->fs.lock);
    reader_detach(&rig->fs, &rig->node, false);
    mutex_unlock(&rig->fs.lock);
    reader_free(&rig->fs);
    volume_free(rig->fs.volume);
    state_free(rig->fs.state);
    keep_free(rig->keep);
    mutex_done(&rig->fs.lock);
    cond_done(&rig->changed);
    mutex_done(&rig->lock);
    free(rig);
    rig = NULL;
    return 0;
}

/* ---- a read ---- */

struct reading {
    struct reader_wait wait;
    int begun;
    bool told;
};

static void on_done(struct reader_wait *wait)
{
    struct reading *r = container_of(wait, struct reading, wait);

    assert_false(r->told);
    r->told = true;
}

/* Begin to read; true: it is over already. */
static bool begin(struct reading *r, uint64_t handle, uint64_t offset, size_t len)
{
    struct fetch_list start = STAILQ_HEAD_INITIALIZER(start);
    const struct reader_range range = {.handle = handle, .offset = offset, .len = len};
    struct fs *fs = &rig->fs;

    memset(r, 0, sizeof(*r));
    mutex_lock(&fs->lock);
    r->begun = reader_begin(fs, &rig->node, &range, &r->wait, &start);
    mutex_unlock(&fs->lock);
    reader_start(fs, &start);
    r->wait.done = on_done;
    if (r->begun == -EINPROGRESS && reader_arm(fs, &r->wait)) {
        r->told = true;
    }
    return r->begun == 0 || r->told;
}

static bool is_right(const struct reading *r, const char *etag)
{
    struct iovec iov[READER_GRAINS_MAX];
    int count = reader_iov(&r->wait, iov);
    uint64_t at = r->wait.offset;

    for (int i = 0; i < count; i++) {
        const unsigned char *data = iov[i].iov_base;

        for (size_t k = 0; k < iov[i].iov_len; k++, at++) {
            if (data[k] != byte_at(etag, at)) {
                return false;
            }
        }
    }
    return at == r->wait.offset + r->wait.len;
}

static void end(struct reading *r)
{
    reader_end(&rig->fs, &r->wait);
}

static UNUSED struct reader_stats stats_now(void)
{
    struct reader_stats stats;

    reader_get_stats(&rig->fs, &stats);
    return stats;
}

#endif

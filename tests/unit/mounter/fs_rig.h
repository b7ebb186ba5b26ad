/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs_rig.h - a struct fs on a store in memory that counts requests, fails them or holds them back.
 *
 *     struct rig *rig = rig_new(&(const struct fs_options){...});
 *     rig_put(rig, "d/a", "content");
 *     ... functions of mounter/ with rig->fs ...
 *     assert_int_equal(rig_count(rig, OBJSTORE_HEAD), 1);
 *     rig_free(rig);
 */
#ifndef TESTS_UNIT_MOUNTER_FS_RIG_H
#define TESTS_UNIT_MOUNTER_FS_RIG_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mounter/fs.h"
#include "mounter/kept/keep.h"
#include "mounter/names/listing.h"
#include "objstore/dir.h"
#include "objstore/objstore_backend.h"
#include "objstore/objstore_call.h"
#include "test.h"
#include "util/container.h"

enum { RIG_HELD_MAX = 1024 };
#define RIG_BUCKET "bucket"

struct rig {
    struct objstore *inner; /* outlives the fs */
    struct keep *keep;
    struct fs_options options;
    struct fs *fs;

    struct mutex lock;
    unsigned counts[OBJSTORE_OP_COUNT];
    int fail[OBJSTORE_OP_COUNT];
    bool hold[OBJSTORE_OP_COUNT];
    bool goes_on; /* the store outlives this fs */
    struct objstore_request *held[RIG_HELD_MAX];
    size_t held_count;
};

struct rig_store {
    struct objstore base;
    struct rig *rig;
};

static int rig_hand_over(void *context, const char *name, int fd, UNUSED struct error *err)
{
    return keep_adopt(context, name, dup(fd));
}

static void rig_submit(struct objstore *base, struct objstore_request *request)
{
    struct rig *rig = container_of(base, struct rig_store, base)->rig;
    int fail;
    bool hold;

    mutex_lock(&rig->lock);
    rig->counts[request->op]++;
    fail = rig->fail[request->op];
    hold = rig->hold[request->op] && rig->held_count < RIG_HELD_MAX;
    if (hold) {
        rig->held[rig->held_count++] = request;
    }
    mutex_unlock(&rig->lock);
    if (fail != 0 && !hold) {
        objstore_fail(request, fail, "as the test has it");
    } else if (!hold) {
        objstore_submit(rig->inner, request);
    }
}

static void rig_cancel(struct objstore *base, struct objstore_request *request)
{
    objstore_cancel(container_of(base, struct rig_store, base)->rig->inner, request);
}

static void rig_resume(struct objstore *base, struct objstore_request *request)
{
    objstore_resume(container_of(base, struct rig_store, base)->rig->inner, request);
}

/* What was held back goes on, and nothing is any more. */
static void rig_release(struct rig *rig)
{
    struct objstore_request *held[RIG_HELD_MAX];
    size_t count;

    mutex_lock(&rig->lock);
    memset(rig->hold, 0, sizeof(rig->hold));
    count = rig->held_count;
    memcpy(held, rig->held, sizeof(held));
    rig->held_count = 0;
    mutex_unlock(&rig->lock);
    for (size_t i = 0; i < count; i++) {
        objstore_submit(rig->inner, held[i]);
    }
}

static void rig_store_free(struct objstore *base)
{
    struct rig_store *store = container_of(base, struct rig_store, base);

    rig_release(store->rig);
    if (!store->rig->goes_on) {
        objstore_free(store->rig->inner); /* waits for what runs */
        store->rig->inner = NULL;
    }
    objstore_base_done(base);
    free(store);
}

static const struct objstore_ops rig_store_ops = {
    .submit = rig_submit, .cancel = rig_cancel, .resume = rig_resume, .free = rig_store_free};

static void rig_start(struct rig *rig)
{
    struct rig_store *store = calloc(1, sizeof(*store));
    struct fs_config config = {.options = rig->options, .keep = rig->keep};
    struct volume_config volume = {.store = &store->base, .bucket = RIG_BUCKET, .prefix = ""};
    const struct objstore_caps caps = {.batch_delete = true};

    assert_non_null(store);
    store->rig = rig;
    assert_int_equal(objstore_base_init(&store->base, &rig_store_ops, "rig"), 0);
    assert_int_equal(volume_new(&volume, &config.volume, NULL), 0);
    volume_set_caps(config.volume, &caps);
    assert_int_equal(fs_new(&config, &rig->fs, NULL), 0);
}

/* A store without an fs yet: rig_put(), then rig_start(). */
static struct rig *rig_store_new(const struct fs_options *options)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    struct objstore_request create = {.op = OBJSTORE_BUCKET_CREATE, .bucket = RIG_BUCKET};
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;

    assert_non_null(rig);
    mutex_init(&rig->lock);
    rig->options = *options;
    rig->options.memory_bytes = 64 << 20;
    rig->options.dirty_bytes = 16 << 20;
    rig->options.reader_bytes = 24 << 20;
    rig->options.file_mode = 0666;
    rig->options.dir_mode = 0777;
    assert_int_equal(keep_new(&rig->keep), 0);
    assert_int_equal(objstore_mem_new(&rig->inner, NULL), 0);
    assert_int_equal(objstore_call(rig->inner, &create, &answer), 0);
    return rig;
}

/* A successor on the same store and kept memory. */
static inline void rig_succeed(struct rig *rig)
{
    struct keep *next = NULL;

    rig->goes_on = true;
    fs_free(rig->fs);
    rig->goes_on = false;
    assert_int_equal(keep_new(&next), 0);
    assert_int_equal(keep_each(rig->keep, rig_hand_over, next, NULL), 0);
    keep_free(rig->keep);
    rig->keep = next;
    rig_start(rig);
    assert_true(state_adopted(rig->fs->state));
}

static void rig_free(struct rig *rig)
{
    rig_release(rig);
    fs_free(rig->fs);
    objstore_free(rig->inner);
    keep_free(rig->keep);
    mutex_done(&rig->lock);
    free(rig);
}

static void rig_put(struct rig *rig, const char *key, const char *content)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request put = {.op = OBJSTORE_PUT,
                                   .bucket = RIG_BUCKET,
                                   .key = key,
                                   .source = {.data = content, .size = strlen(content)}};

    assert_int_equal(objstore_call(rig->inner, &put, &answer), 0);
}

static inline bool rig_has(struct rig *rig, const char *key)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request head = {.op = OBJSTORE_HEAD, .bucket = RIG_BUCKET, .key = key};

    return objstore_call(rig->inner, &head, &answer) == 0;
}

static inline unsigned rig_count(struct rig *rig, enum objstore_op op)
{
    unsigned count;

    mutex_lock(&rig->lock);
    count = rig->counts[op];
    mutex_unlock(&rig->lock);
    return count;
}

static inline void rig_forget_counts(struct rig *rig)
{
    mutex_lock(&rig->lock);
    memset(rig->counts, 0, sizeof(rig->counts));
    mutex_unlock(&rig->lock);
}

static inline void rig_fail(struct rig *rig, enum objstore_op op, int error)
{
    mutex_lock(&rig->lock);
    rig->fail[op] = error;
    mutex_unlock(&rig->lock);
}

static inline void rig_hold(struct rig *rig, enum objstore_op op)
{
    mutex_lock(&rig->lock);
    rig->hold[op] = true;
    mutex_unlock(&rig->lock);
}

static inline void rig_sleep_ms(long ms)
{
    (void)nanosleep(&(const struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* The count is at least this, within 10 s. */
static inline void rig_await_count(struct rig *rig, enum objstore_op op, unsigned count)
{
    for (int i = 0; i < 2000 && rig_count(rig, op) < count; i++) {
        rig_sleep_ms(5);
    }
    assert_true(rig_count(rig, op) >= count);
}

/* The inode of a path, asked of the store. */
static inline uint32_t rig_lookup(struct rig *rig, const char *path)
{
    struct fs *fs = rig->fs;
    uint32_t parent = STATE_ROOT;

    while (path[0] != '\0') {
        size_t len = strcspn(path, "/");
        CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
        struct remote remote;
        struct node *node;
        char name[NAMES_MAX + 1];

        (void)snprintf(name, sizeof(name), "%.*s", (int)len, path);
        mutex_lock(&fs->lock);
        assert_int_equal(fs_child_key(fs, parent, name, &key), 0);
        mutex_unlock(&fs->lock);
        assert_int_equal(remote_find(fs, buf_str(&key), false, &remote), 0);
        mutex_lock(&fs->lock);
        assert_int_equal(remote_merge(fs, parent, name, &remote, &node), 0);
        parent = node != NULL ? node->ino : 0;
        mutex_unlock(&fs->lock);
        remote_done(&remote);
        assert_int_not_equal(parent, 0);
        path += len + (path[len] == '/');
    }
    return parent;
}

/* As readdir does. */
static inline void rig_list(struct rig *rig, uint32_t dir)
{
    struct listing *listing = NULL;

    assert_int_equal(listing_make(rig->fs, dir, NULL, &listing), 0);
    mutex_lock(&rig->fs->lock);
    listing_unref(listing);
    mutex_unlock(&rig->fs->lock);
}

#endif

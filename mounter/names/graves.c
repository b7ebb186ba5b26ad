/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/graves.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/names/below.h"
#include "mounter/names/fences.h"
#include "mounter/names/graves_internal.h"
#include "mounter/names/pace.h"
#include "util/log.h"
#include "util/random.h"

enum {
    BATCHES = 4, /* at a time */
    AGAIN_MS = 500,
    AGAIN_MAX_MS = 30000,
    DISTRUST_MS = 60000,
    TICK_MS = 1000,
    MS_PER_S = 1000,
};

struct graves {
    struct grave *by_key;
    struct below below;                    /* their keys */
    TAILQ_HEAD(grave_list, grave) waiting; /* oldest first */
    size_t waiting_count;
    struct grave_list covers; /* directories' that are deleted, but not what was below them */
    struct grave **dug;       /* in the transaction under way */
    size_t dug_count, dug_cap;
    unsigned batches, wanted; /* being sent; who wait for some */
    struct pace pace;
    uint32_t next_index;
    uint64_t distrust_until_ms;
    uint64_t late_ms; /* until then what a predecessor had sent may arrive; 0: there was none */
    struct cond work;
    bool haste, ending, started;
    pthread_t thread;
};

/* `etag`: "" or NULL: without a condition. */
static struct grave *make_grave(const char *key, uint32_t index, const struct grave_rec *rec,
                                const char *etag)
{
    size_t size = strlen(key) + 1;
    size_t etag_size = etag != NULL && etag[0] != '\0' ? strlen(etag) + 1 : 0;
    struct grave *grave = calloc(1, sizeof(*grave) + size + etag_size);

    if (grave != NULL) {
        memcpy(grave->key, key, size);
        if (etag_size > 0) {
            grave->etag_text = memcpy(grave->key + size, etag, etag_size);
        }
        grave->index = index;
        grave->etag = rec->etag;
        grave->dug_ms = fs_now_ms();
        grave->retry_ms = (uint64_t)rec->not_before_s * MS_PER_S;
    }
    return grave;
}

static void enter(struct graves *graves, struct grave *grave)
{
    HASH_ADD_STR(graves->by_key, key, grave);
    below_add(&graves->below, grave->key);
    TAILQ_INSERT_TAIL(&graves->waiting, grave, link);
    graves->waiting_count++;
}

static struct grave *find(const struct fs *fs, const char *key) REQUIRES(&fs->lock)
{
    struct grave *grave = NULL;

    if (fs->graves->by_key != NULL) {
        HASH_FIND_STR(fs->graves->by_key, key, grave);
    }
    return grave;
}

/* UINT32_MAX: none is free. */
static uint32_t take_index(struct fs *fs) REQUIRES(&fs->lock)
{
    struct graves *graves = fs->graves;

    if (graves_count(fs) + graves->dug_count + fences_count(fs) >= STATE_GRAVES) {
        return UINT32_MAX;
    }
    for (uint32_t i = 0; i < STATE_GRAVES; i++) {
        uint32_t index = graves->next_index++ % STATE_GRAVES;

        if (state_grave(fs->state, index)->key == 0) {
            return index;
        }
    }
    return UINT32_MAX;
}

/* Others may work with the same names at the same time. */
static bool is_shared(const struct fs *fs)
{
    return fs->options.sync == SYNC_CLOSE;
}

int graves_dig(struct fs *fs, const char *key, const char *etag, bool beside)
{
    struct graves *graves = fs->graves;
    uint32_t index = find(fs, key) == NULL ? take_index(fs) : UINT32_MAX;
    struct grave_rec rec = {.etag = etag != NULL ? graves_hash_etag(etag) : 0};
    int ret;

    if (index == UINT32_MAX) {
        return find(fs, key) != NULL ? 0 : -ENOSPC;
    }
    if (etag == NULL) {
        rec.not_before_s = graves_seconds(fs_now_ms() + GRAVES_LATE_MS);
    }
    if (graves->dug_count == graves->dug_cap) {
        size_t cap = graves->dug_cap + 4;
        struct grave **dug = realloc(graves->dug, cap * sizeof(struct grave *));

        if (dug == NULL) {
            return -ENOMEM;
        }
        graves->dug = dug;
        graves->dug_cap = cap;
    }
    graves->dug[graves->dug_count] = make_grave(key, index, &rec, is_shared(fs) ? etag : NULL);
    if (graves->dug[graves->dug_count] == NULL) {
        return -ENOMEM;
    }
    graves->dug[graves->dug_count]->beside = beside;
    ret = state_text_new(fs->state, key, strlen(key), &rec.key);
    if (ret != 0) {
        free(graves->dug[graves->dug_count]);
        return ret;
    }
    state_set(fs->state, state_grave(fs->state, index), &rec, sizeof(rec));
    graves->dug_count++;
    return 0;
}

int graves_inherit(struct fs *fs, const char *key, uint64_t etag)
{
    uint32_t index = find(fs, key) != NULL ? UINT32_MAX : take_index(fs);
    struct grave_rec rec = {.etag = etag};
    struct grave *grave;
    int ret;

    if (index == UINT32_MAX) {
        return find(fs, key) != NULL ? 0 : -ENOSPC;
    }
    grave = make_grave(key, index, &rec, NULL);
    if (grave == NULL) {
        return -ENOMEM;
    }
    state_begin(fs->state);
    ret = state_text_new(fs->state, key, strlen(key), &rec.key);
    if (ret != 0) {
        state_abort(fs->state);
        free(grave);
        return ret;
    }
    state_set(fs->state, state_grave(fs->state, index), &rec, sizeof(rec));
    state_commit(fs->state);
    grave->tries = 1; /* who knows how old it is: only if the object is still the same */
    grave->late_ms = fs_now_ms() + GRAVES_LATE_MS;
    grave->beside = true;
    enter(fs->graves, grave);
    cond_signal(&fs->graves->work);
    return 0;
}

void graves_dug(struct fs *fs)
{
    struct graves *graves = fs->graves;

    for (size_t i = 0; i < graves->dug_count; i++) {
        enter(graves, graves->dug[i]);
    }
    graves->dug_count = 0;
    pace_removed(&graves->pace, fs_now_ms());
    cond_signal(&graves->work);
}

bool graves_trusted(struct fs *fs)
{
    return fs_now_ms() >= fs->graves->distrust_until_ms;
}

size_t graves_count(const struct fs *fs)
{
    return HASH_COUNT(fs->graves->by_key);
}

bool graves_has(const struct fs *fs, const char *key)
{
    return find(fs, key) != NULL || fences_has(fs, key);
}

/* Any name is absent. */
static bool none(const struct fs *fs) REQUIRES(&fs->lock)
{
    return fs->graves->by_key == NULL && fences_count(fs) == 0;
}

bool graves_has_as(struct fs *fs, uint32_t parent, const char *name, bool is_dir)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);

    if (none(fs) || fs_child_key(fs, parent, name, &key) != 0) {
        return false;
    }
    buf_addstr(&key, is_dir ? "/" : "");
    return graves_has(fs, buf_str(&key));
}

bool graves_has_name(struct fs *fs, uint32_t parent, const char *name)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    const struct grave *file;
    bool beside = false;

    if (none(fs) || longs_beside(name, &beside) != 0 || fs_child_key(fs, parent, name, &key) != 0) {
        return false;
    }
    file = find(fs, buf_str(&key));
    return (file != NULL && (beside || !file->beside)) ||
           (beside ? fences_has(fs, buf_str(&key)) : graves_has_as(fs, parent, name, true));
}

static void hurry(struct graves *graves)
{
    graves->haste = true;
    cond_signal(&graves->work);
}

bool graves_block(struct fs *fs, const struct node *node)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);

    if (fs->graves->by_key == NULL || (fs_rec(fs, node)->flags & INODE_NEW) == 0 ||
        fs_key(fs, node->ino, &key) != 0 || find(fs, buf_str(&key)) == NULL) {
        return fences_block(fs, node);
    }
    hurry(fs->graves);
    return true;
}

/* One whose key begins with that, and is longer. */
static bool has_below(const struct fs *fs, const char *key) REQUIRES(&fs->lock)
{
    const struct graves *graves = fs->graves;
    const struct grave *grave;
    size_t len = strlen(key);

    if (len > 0 && key[len - 1] == '/' && below_known(&graves->below)) {
        return below_count(&graves->below, key) > 0;
    }
    for (grave = graves->by_key; grave != NULL; grave = grave->hh.next) {
        if (strncmp(grave->key, key, len) == 0 && grave->key[len] != '\0') {
            return true;
        }
    }
    return false;
}

bool graves_has_below(const struct fs *fs, const char *key)
{
    return find(fs, key) != NULL || has_below(fs, key);
}

static bool any(const struct fs *fs, const char *key, bool below) REQUIRES(&fs->lock)
{
    return below ? graves_has_below(fs, key) : find(fs, key) != NULL;
}

int graves_wait(struct fs *fs, const char *key, bool below, uint64_t deadline_ms)
{
    int ret = 0;

    mutex_lock(&fs->lock);
    fs->graves->wanted++;
    while (any(fs, key, below) && ret == 0) {
        if (fs_now_ms() >= deadline_ms || fs->ending || fs->given_up) {
            ret = -ETIMEDOUT;
        } else {
            cond_signal(&fs->graves->work);
            cond_wait_ms(&fs->changed, &fs->lock, TICK_MS);
        }
    }
    fs->graves->wanted--;
    mutex_unlock(&fs->lock);
    return ret;
}

/* ---- sending ---- */

/* What was asked of it until now is too old. */
static void forget(struct fs *fs, struct grave *grave) REQUIRES(&fs->lock)
{
    HASH_DEL(fs->graves->by_key, grave);
    below_remove(&fs->graves->below, grave->key);
    fs_gone_key(fs, grave->key);
    free(grave);
}

/* It is deleted, or is not to be. */
static void fill_in(struct fs *fs, struct grave *grave) REQUIRES(&fs->lock)
{
    state_begin(fs->state);
    state_text_release(fs->state, state_grave(fs->state, grave->index)->key);
    STATE_SET(fs->state, state_grave(fs->state, grave->index)->key, 0U);
    state_commit(fs->state);
    forget(fs, grave);
}

static void put_off(struct graves *graves, struct grave *grave)
{
    uint64_t pause = AGAIN_MS;

    for (uint32_t i = 0; i < grave->tries && pause < AGAIN_MAX_MS; i++) {
        pause *= 2;
    }
    grave->tries++;
    grave->retry_ms = fs_now_ms() + pause / 2 + random_below(pause);
    grave->late_ms = fs_now_ms() + GRAVES_LATE_MS;
    grave->sending = false;
    TAILQ_INSERT_TAIL(&graves->waiting, grave, link);
    graves->waiting_count++;
}

static struct grave_rec fence_until(uint64_t late_ms)
{
    return (struct grave_rec){.not_before_s = graves_seconds(late_ms), .etag = GRAVE_FENCE};
}

/* It is deleted, by one of the deletions that were sent. */
static void end_grave(struct fs *fs, struct grave *grave) REQUIRES(&fs->lock)
{
    struct grave_rec *kept = state_grave(fs->state, grave->index);
    struct grave_rec rec = fence_until(grave->late_ms);

    rec.key = kept->key;
    if (fs_now_ms() >= grave->late_ms || fences_renew(fs, grave->key, &rec)) {
        fill_in(fs, grave);
    } else if (fences_add(fs, grave->key, grave->index, &rec) != 0) {
        put_off(fs->graves, grave);
    } else {
        state_begin(fs->state);
        state_set(fs->state, kept, &rec, sizeof(rec));
        state_commit(fs->state);
        forget(fs, grave);
    }
}

/* A record of its own. */
static int fence_new(struct fs *fs, const char *key, struct grave_rec *rec) REQUIRES(&fs->lock)
{
    uint32_t index = take_index(fs);
    int ret;

    if (index == UINT32_MAX) {
        return -ENOSPC;
    }
    state_begin(fs->state);
    ret = state_text_new(fs->state, key, strlen(key), &rec->key);
    ret = ret == 0 ? fences_add(fs, key, index, rec) : ret;
    if (ret != 0) {
        state_abort(fs->state);
        return ret;
    }
    state_set(fs->state, state_grave(fs->state, index), rec, sizeof(*rec));
    state_commit(fs->state);
    return 0;
}

static void wait_late(struct fs *fs)
{
    uint64_t now;

    mutex_lock(&fs->lock);
    while ((now = fs_now_ms()) < fs->graves->late_ms && !fs->ending) {
        cond_wait_ms(&fs->changed, &fs->lock, fs->graves->late_ms - now);
    }
    mutex_unlock(&fs->lock);
}

void graves_fence(struct fs *fs, const char *key)
{
    struct grave_rec rec;
    bool there = true;

    mutex_lock(&fs->lock);
    rec = fence_until(fs->graves->late_ms);
    if (fs_now_ms() < fs->graves->late_ms && !fences_renew(fs, key, &rec)) {
        there = fence_new(fs, key, &rec) == 0;
        cond_signal(&fs->graves->work);
    }
    mutex_unlock(&fs->lock);
    if (!there) {
        wait_late(fs);
    }
}

/* An object that is still to be deleted shows the directory that it is in. */
static bool is_covering(const struct fs *fs, const struct grave *grave) REQUIRES(&fs->lock)
{
    return grave->key[strlen(grave->key) - 1] == '/' && has_below(fs, grave->key);
}

static void uncover(struct fs *fs) REQUIRES(&fs->lock)
{
    struct grave *grave;
    struct grave *next;
    bool again;

    do { /* one may be below another */
        again = false;
        for (grave = TAILQ_FIRST(&fs->graves->covers); grave != NULL; grave = next) {
            next = TAILQ_NEXT(grave, link);
            if (!is_covering(fs, grave)) {
                TAILQ_REMOVE(&fs->graves->covers, grave, link);
                end_grave(fs, grave);
                again = true;
            }
        }
    } while (again && !TAILQ_EMPTY(&fs->graves->covers));
}

static bool refused(int error)
{
    return error == -EACCES || error == -EPERM || error == -ENOTSUP || error == -EROFS;
}

static void batch_end(struct graves_batch *batch)
{
    struct fs *fs = batch->fs;
    const char *first = NULL;
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    size_t failed = 0;
    size_t kept = 0;
    int error = 0;

    mutex_lock(&fs->lock);
    for (size_t i = 0; i < batch->count; i++) {
        struct grave *grave = batch->graves[i];
        int result = batch->errors[i] == -ENOENT ? 0 : batch->errors[i];

        if (result != 0) {
            first = first == NULL ? grave->key : first;
            error = error == 0 ? result : error;
            buf_addstr(&key, first == grave->key ? first : "");
        }
        if (refused(result)) {
            kept++;
            fs->graves->distrust_until_ms = fs_now_ms() + DISTRUST_MS;
        }
        failed += result != 0 && !refused(result);
        if (result == 0 && is_covering(fs, grave)) {
            TAILQ_INSERT_TAIL(&fs->graves->covers, grave, link);
        } else if (result == 0) {
            end_grave(fs, grave);
        } else if (refused(result)) {
            fill_in(fs, grave);
        } else {
            put_off(fs->graves, grave);
        }
    }
    uncover(fs);
    fs->graves->batches--;
    cond_signal(&fs->graves->work);
    cond_broadcast(&fs->changed);
    mutex_unlock(&fs->lock);
    if (kept > 0) {
        log_error("remove: the store refuses to delete objects, they show again", "objects",
                  log_num(kept), "first", buf_str(&key), "error", strerror(-error), NULL);
    } else if (failed > 0) {
        log_warn("remove: not possible now, will be tried again", "objects", log_num(failed),
                 "first", buf_str(&key), "error", strerror(-error), NULL);
    }
    free(batch);
}

static void batch_run(void *arg)
{
    struct graves_batch *batch = arg;

    graves_delete(batch);
    batch_end(batch);
}

/* When the next batch is due, in ms from now; 0: now. */
static uint64_t due_in(const struct graves *graves)
{
    uint64_t now = fs_now_ms();
    const struct grave *first = TAILQ_FIRST(&graves->waiting);
    struct pace_waiting waiting = {.count = graves->waiting_count,
                                   .under_way = graves->batches > 0};
    uint64_t due;

    if (first == NULL || graves->batches >= BATCHES) {
        return TICK_MS;
    }
    waiting.first_ms = first->dug_ms;
    due = pace_due_ms(&graves->pace, &waiting);
    if (graves->waiting_count >= GRAVES_BATCH || graves->wanted > 0 || graves->haste ||
        graves->ending) {
        due = now;
    }
    due = due > first->retry_ms ? due : first->retry_ms;
    return due > now ? due - now : 0;
}

/* Those of one kind: tried before or not. */
static void send_batch(struct fs *fs, struct graves *graves) REQUIRES(&fs->lock)
{
    struct graves_batch *batch = calloc(1, sizeof(*batch));
    uint64_t now = fs_now_ms();
    struct grave *grave;
    struct grave *next;

    if (batch == NULL) {
        return;
    }
    batch->fs = fs;
    for (grave = TAILQ_FIRST(&graves->waiting); grave != NULL && batch->count < GRAVES_BATCH;
         grave = next) {
        next = TAILQ_NEXT(grave, link);
        if (grave->retry_ms <= now &&
            (batch->count == 0 || (grave->tries > 0) == (batch->graves[0]->tries > 0))) {
            TAILQ_REMOVE(&graves->waiting, grave, link);
            graves->waiting_count--;
            grave->sending = true;
            batch->graves[batch->count++] = grave;
        }
    }
    graves->haste = false;
    if (batch->count < GRAVES_BATCH) {
        pace_sent(&graves->pace);
    }
    graves->batches++;
    if (batch->count == 0 || tasks_add(fs->tasks, batch_run, batch) != 0) {
        graves->batches--;
        for (size_t i = 0; i < batch->count; i++) {
            put_off(graves, batch->graves[i]);
        }
        free(batch);
    }
}

/* Of those that have to be tried again, the next that may be goes first. */
static void rotate(struct graves *graves)
{
    uint64_t now = fs_now_ms();
    struct grave *grave;

    TAILQ_FOREACH (grave, &graves->waiting, link) {
        if (grave->retry_ms <= now) {
            TAILQ_REMOVE(&graves->waiting, grave, link);
            TAILQ_INSERT_HEAD(&graves->waiting, grave, link);
            break;
        }
    }
}

static void *sender_main(void *arg)
{
    struct fs *fs = arg;
    struct graves *graves = fs->graves;

    mutex_lock(&fs->lock);
    while (!graves->ending) {
        const struct grave *first = TAILQ_FIRST(&graves->waiting);
        uint64_t wait;
        uint64_t fence;

        if (first != NULL && first->retry_ms > fs_now_ms()) {
            rotate(graves);
        }
        fence = fences_expire(fs, TICK_MS);
        wait = due_in(graves);
        if (wait == 0) {
            send_batch(fs, graves);
        } else {
            cond_wait_ms(&graves->work, &fs->lock, wait < fence ? wait : fence);
        }
    }
    mutex_unlock(&fs->lock);
    return NULL;
}

/* ---- life ---- */

/* Whether these were sent is not known: as if they had been. */
static int adopt(struct fs *fs, struct graves *graves) REQUIRES(&fs->lock)
{
    uint32_t at = 0;
    uint32_t i;

    while (state_next_grave(fs->state, &at, &i)) {
        const struct grave_rec *rec = state_grave(fs->state, i);
        CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
        struct grave *grave;

        state_text_get(fs->state, rec->key, &key);
        if (rec->etag == GRAVE_FENCE) {
            if (fences_add(fs, buf_str(&key), i, rec) != 0) {
                return -ENOMEM;
            }
            continue;
        }
        grave = make_grave(buf_str(&key), i, rec, NULL);
        if (grave == NULL) {
            return -ENOMEM;
        }
        grave->tries = 1;
        grave->late_ms = graves->late_ms;
        grave->beside = true;
        enter(graves, grave);
    }
    return 0;
}

int graves_new(struct fs *fs, struct graves **ret)
{
    struct graves *graves = calloc(1, sizeof(*graves));
    int r;

    if (graves == NULL) {
        return -ENOMEM;
    }
    TAILQ_INIT(&graves->waiting);
    TAILQ_INIT(&graves->covers);
    pace_init(&graves->pace, is_shared(fs));
    cond_init(&graves->work);
    *ret = graves;
    r = fences_new(&fs->fences);
    mutex_lock(&fs->lock);
    graves->late_ms = state_adopted(fs->state) ? fs_now_ms() + GRAVES_LATE_MS : 0;
    r = r == 0 ? adopt(fs, graves) : r;
    mutex_unlock(&fs->lock);
    r = r == 0 ? -pthread_create(&graves->thread, NULL, sender_main, fs) : r;
    graves->started = r == 0;
    return r;
}

void graves_stop(struct fs *fs)
{
    struct graves *graves = fs->graves;

    if (graves != NULL && graves->started) {
        mutex_lock(&fs->lock);
        graves->ending = true;
        cond_signal(&graves->work);
        mutex_unlock(&fs->lock);
        (void)pthread_join(graves->thread, NULL);
        graves->started = false;
    }
}

void graves_free(struct graves *graves)
{
    struct grave *grave;
    struct grave *next;

    if (graves == NULL) {
        return;
    }
    HASH_ITER(hh, graves->by_key, grave, next)
    {
        HASH_DEL(graves->by_key, grave);
        free(grave);
    }
    below_done(&graves->below);
    free(graves->dug);
    cond_done(&graves->work);
    free(graves);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* background.c - publications that nobody waits for, and of all below a directory. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/fs.h"
#include "mounter/names/fences.h"
#include "mounter/write/hold.h"
#include "mounter/write/publish_internal.h"
#include "util/log.h"
#include "util/random.h"

enum {
    DIRTY_AGE_S = 30,
    AGAIN_MS = 1000,
    AGAIN_MAX_MS = 60000,
    PUTS_AT_ONCE = 96,
    HELPERS = 32, /* threads that publish one list */
};
static const int64_t ns_per_s = 1000000000;

/* ---- the lists ---- */

/* Its turn comes; it is in one of the lists only. */
void publish_queue(struct fs *fs, struct node *node)
{
    hold_end(fs, node);
    if (!node->queued) {
        node->queued = true;
        TAILQ_INSERT_TAIL(&fs->ready, node, ready_link);
    }
}

void dirty_add(struct fs *fs, struct node *node)
{
    if (!node->dirty_listed) {
        node->dirty_listed = true;
        TAILQ_INSERT_TAIL(&fs->dirty, node, dirty_link);
    }
}

void dirty_forget(struct fs *fs, struct node *node)
{
    if (node->dirty_listed) {
        node->dirty_listed = false;
        TAILQ_REMOVE(&fs->dirty, node, dirty_link);
    }
    hold_end(fs, node);
    if (node->queued) {
        node->queued = false;
        TAILQ_REMOVE(&fs->ready, node, ready_link);
    }
}

bool publish_is_wanted(struct fs *fs, const struct node *node)
{
    uint32_t flags = fs_rec(fs, node)->flags;

    return (flags & INODE_DIRTY) != 0 && (flags & (INODE_UNLINKED | INODE_LOST)) == 0;
}

/* ---- one after the other, many at once ---- */

struct later {
    struct fs *fs;
    uint32_t ino;
};

/* Each file that the store refuses is tried more and more seldom, so that others have their turn.
 */
void publish_put_off(struct node *node, int error)
{
    bool failed = error != 0 && error != -ESTALE;
    uint64_t pause = AGAIN_MS;

    node->failures = failed ? node->failures + 1 : 0;
    node->error = error;
    for (uint32_t i = 1; i < node->failures && pause < AGAIN_MAX_MS; i++) {
        pause *= 2;
    }
    pause = pause < AGAIN_MAX_MS ? pause : AGAIN_MAX_MS;
    node->retry_ms = failed ? fs_now_ms() + pause / 2 + random_below(pause) : 0;
}

static void run_later(void *arg)
{
    struct later *later = arg;
    struct fs *fs = later->fs;
    struct node *node;
    uint32_t failures = 0;
    int ret = publish(fs, later->ino);

    mutex_lock(&fs->lock);
    node = fs_node(fs, later->ino);
    if (node != NULL) {
        publish_put_off(node, ret);
        failures = node->failures;
    }
    mutex_unlock(&fs->lock);
    if (ret != 0 && ret != -ESTALE) {
        log_warn("publish: not possible now, will be tried again", "error", strerror(-ret), "tries",
                 log_num(failures), NULL);
    }
    free(later);
}

void publish_patiently(struct fs *fs, uint32_t ino)
{
    struct later *later = malloc(sizeof(*later));

    if (later != NULL) { /* else the flusher comes by again */
        *later = (struct later){.fs = fs, .ino = ino};
        if (tasks_add(fs->writers, run_later, later) != 0) {
            free(later);
        }
    }
}

/* Nobody waits for it, and no thread is to: the flusher comes by again. */
static bool is_early(struct fs *fs, const struct node *node) REQUIRES(&fs->lock)
{
    return fs_rec(fs, node)->opens == 0 && fences_block(fs, node);
}

/* Takes the next one off the list: *ret_put, or *ret_ino for a thread. False: none for now. */
static bool take_ready(struct fs *fs, struct put **ret_put, uint32_t *ret_ino) REQUIRES(&fs->lock)
{
    struct node *node;

    while (fs->putting < PUTS_AT_ONCE && (node = TAILQ_FIRST(&fs->ready)) != NULL) {
        node->queued = false; /* what is written from now on needs another turn */
        TAILQ_REMOVE(&fs->ready, node, ready_link);
        if (publish_is_wanted(fs, node) && !fs->ending && !is_early(fs, node)) {
            *ret_put = put_begin(fs, node, NULL);
            *ret_ino = node->ino;
            return true;
        }
    }
    return false;
}

void publish_next(struct fs *fs)
{
    bool more = true;

    while (more) {
        struct put *put = NULL;
        uint32_t ino = 0;

        mutex_lock(&fs->lock);
        more = take_ready(fs, &put, &ino);
        mutex_unlock(&fs->lock);
        if (put != NULL) {
            put_submit(put);
        } else if (more) {
            publish_patiently(fs, ino);
        }
    }
}

bool publish_ask(struct fs *fs, struct node *node)
{
    if (node->queued || node->publishing || !publish_is_wanted(fs, node) ||
        fs_now_ms() < node->retry_ms) {
        return false;
    }
    publish_queue(fs, node);
    return true;
}

void publish_soon(struct fs *fs, uint32_t ino)
{
    struct node *node;

    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    if (node != NULL) {
        publish_queue(fs, node);
    }
    mutex_unlock(&fs->lock);
    publish_next(fs);
}

bool publish_takes_attr(struct fs *fs, const struct node *node)
{
    return fs->options.sync != SYNC_CLOSE && publish_is_wanted(fs, node) &&
           S_ISREG(fs_rec(fs, node)->mode);
}

/* ---- with somebody who waits ---- */

static void run_op(struct op *op)
{
    (void)fs_op_fail(op, publish_for(op->fs, (uint32_t)op->ino, op->pending));
}

void publish_op(struct op *op)
{
    struct fs *fs = op->fs;
    struct put *put = NULL;
    struct node *node;

    mutex_lock(&fs->lock);
    node = fs_node(fs, op->ino);
    if (node != NULL) {
        put = put_begin(fs, node, op);
    }
    mutex_unlock(&fs->lock);
    if (put != NULL) {
        put_submit(put);
    } else {
        fs_op_start(op, run_op);
    }
}

/* ---- what is old ---- */

bool publish_is_due(const struct publish_age *age)
{
    bool moves = age->is_streamed && (age->sending > 0 || age->quiet_ms < DIRTY_AGE_S * 1000);

    return !age->is_open || (age->dirty_ns > DIRTY_AGE_S * ns_per_s && !moves);
}

/* Not if the store has just refused it. */
static bool is_due(struct fs *fs, const struct node *node, int64_t now, uint64_t now_ms)
    REQUIRES(&fs->lock)
{
    const struct inode_rec *rec = fs_rec(fs, node);
    const struct publish_age age = {.is_open = rec->opens > 0,
                                    .dirty_ns = now - rec->dirty_since_ns,
                                    .is_streamed = rec->upload != 0,
                                    .sending = node->streaming,
                                    .quiet_ms = now_ms - node->stream_ms};

    return publish_is_wanted(fs, node) && !node->queued && !node->held && !node->publishing &&
           now_ms >= node->retry_ms && publish_is_due(&age);
}

void publish_old(struct fs *fs)
{
    int64_t now = fs_now_ns();
    uint64_t now_ms = fs_now_ms();
    struct node *node;
    struct node *next;

    mutex_lock(&fs->lock);
    for (node = TAILQ_FIRST(&fs->dirty); node != NULL; node = next) {
        next = TAILQ_NEXT(node, dirty_link);
        if ((fs_rec(fs, node)->flags & INODE_DIRTY) == 0) {
            node->dirty_listed = false;
            TAILQ_REMOVE(&fs->dirty, node, dirty_link);
        } else if (is_due(fs, node, now, now_ms)) {
            publish_queue(fs, node);
        }
    }
    mutex_unlock(&fs->lock);
    publish_next(fs);
}

/* ---- all of them ---- */

/* Of a directory: all that is dirty below it, or what is closed in it. */
struct which {
    uint32_t dir;
    bool names;
};

static bool is_meant(struct fs *fs, const struct node *node, const struct which *which)
    REQUIRES(&fs->lock)
{
    return publish_is_wanted(fs, node) &&
           (which->names ? fs_rec(fs, node)->parent == which->dir && node->writers == 0
                         : fs_is_below(fs, node->ino, which->dir));
}

/* Who is meant now. -ENOMEM. */
static int collect(struct fs *fs, const struct which *which, uint32_t **ret, size_t *ret_count)
{
    const struct node *node;
    uint32_t *inos;
    size_t count = 0;

    mutex_lock(&fs->lock);
    TAILQ_FOREACH (node, &fs->dirty, dirty_link) {
        count++;
    }
    inos = malloc((count + 1) * sizeof(*inos));
    count = 0;
    if (inos != NULL) {
        TAILQ_FOREACH (node, &fs->dirty, dirty_link) {
            if (is_meant(fs, node, which)) {
                inos[count++] = node->ino;
            }
        }
    }
    mutex_unlock(&fs->lock);
    *ret = inos;
    *ret_count = count;
    return inos == NULL ? -ENOMEM : 0;
}

/* Several threads share the work on one list. */
struct batch {
    struct fs *fs;
    const uint32_t *inos;
    size_t count;
    uint64_t deadline_ms;
    struct mutex lock;
    struct cond ended;
    size_t next, left;
    unsigned helpers;
    int first; /* error */
};

static void work_on(struct batch *batch)
{
    mutex_lock(&batch->lock);
    while (batch->next < batch->count) {
        uint32_t ino = batch->inos[batch->next++];
        int ret;

        mutex_unlock(&batch->lock);
        ret = fs_now_ms() < batch->deadline_ms ? publish(batch->fs, ino) : -ETIMEDOUT;
        mutex_lock(&batch->lock);
        batch->left += ret != 0 && ret != -ESTALE;
        batch->first = batch->first == 0 && ret != -ESTALE ? ret : batch->first;
    }
    mutex_unlock(&batch->lock);
}

static void help(void *arg)
{
    struct batch *batch = arg;

    work_on(batch);
    mutex_lock(&batch->lock);
    batch->helpers--;
    cond_broadcast(&batch->ended); /* under the lock: the batch is on its owner's stack */
    mutex_unlock(&batch->lock);
}

/* Publish them. Returns the first error; *ret_left: how many stay dirty. */
static int publish_each(struct fs *fs, const struct which *which, uint64_t deadline_ms,
                        size_t *ret_left)
{
    AUTOFREE uint32_t *inos = NULL;
    struct batch batch = {.fs = fs, .deadline_ms = deadline_ms};
    int ret = collect(fs, which, &inos, &batch.count);

    *ret_left = ret != 0;
    if (ret != 0 || batch.count == 0) {
        return ret;
    }
    batch.inos = inos;
    mutex_init(&batch.lock);
    cond_init(&batch.ended);
    for (size_t i = 1; i < batch.count && i < HELPERS; i++) {
        mutex_lock(&batch.lock);
        batch.helpers++;
        mutex_unlock(&batch.lock);
        if (tasks_add(fs->writers, help, &batch) != 0) {
            mutex_lock(&batch.lock);
            batch.helpers--;
            mutex_unlock(&batch.lock);
        }
    }
    work_on(&batch);
    mutex_lock(&batch.lock);
    while (batch.helpers > 0) {
        cond_wait(&batch.ended, &batch.lock);
    }
    mutex_unlock(&batch.lock);
    cond_done(&batch.ended);
    mutex_done(&batch.lock);
    *ret_left = batch.left;
    return batch.first;
}

int publish_below(struct fs *fs, uint32_t dir)
{
    const struct node *node;
    bool alone;
    size_t left;
    int ret;

    mutex_lock(&fs->lock);
    node = fs_node(fs, dir);
    alone = node != NULL && node->children == 0;
    mutex_unlock(&fs->lock);
    if (!alone) {
        return publish_each(fs, &(const struct which){dir, false}, UINT64_MAX, &left);
    }
    ret = publish(fs, dir);
    return ret == -ESTALE ? 0 : ret; /* kept beside */
}

int publish_names(struct fs *fs, uint32_t dir, uint64_t deadline_ms)
{
    size_t left;

    return publish_each(fs, &(const struct which){dir, true}, deadline_ms, &left);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* background.c - publications that nobody waits for, and of all that is dirty. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/fs.h"
#include "util/log.h"
#include "util/random.h"

enum { DIRTY_AGE_S = 30, AGAIN_MS = 1000, AGAIN_MAX_MS = 60000 };
static const int64_t ns_per_s = 1000000000;

struct later {
    struct fs *fs;
    uint32_t ino;
};

/* Each file that the store refuses is tried more and more seldom, so that others have their turn.
 */
static void put_off(struct node *node, bool failed)
{
    uint64_t pause = AGAIN_MS;

    node->failures = failed ? node->failures + 1 : 0;
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
    int ret;

    mutex_lock(&fs->lock);
    node = fs_node(fs, later->ino);
    if (node != NULL) {
        node->queued = false; /* what is written from now on needs another turn */
    }
    mutex_unlock(&fs->lock);
    ret = publish(fs, later->ino);
    mutex_lock(&fs->lock);
    node = fs_node(fs, later->ino);
    if (node != NULL) {
        put_off(node, ret != 0 && ret != -ESTALE);
        failures = node->failures;
    }
    mutex_unlock(&fs->lock);
    if (ret != 0 && ret != -ESTALE) {
        log_warn("publish: not possible now, will be tried again", "error", strerror(-ret), "tries",
                 log_num(failures), NULL);
    }
    free(later);
}

void publish_soon(struct fs *fs, uint32_t ino)
{
    struct later *later = malloc(sizeof(*later));
    struct node *node;
    bool wanted;

    if (later == NULL) {
        return; /* the flusher comes by again */
    }
    *later = (struct later){.fs = fs, .ino = ino};
    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    wanted = node != NULL && !node->queued;
    if (wanted) {
        node->queued = true;
    }
    mutex_unlock(&fs->lock);
    if (wanted && tasks_add(fs->writers, run_later, later) == 0) {
        return;
    }
    free(later);
    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    if (wanted && node != NULL) {
        node->queued = false;
    }
    mutex_unlock(&fs->lock);
}

void publish_old(struct fs *fs)
{
    int64_t now = fs_now_ns();
    uint64_t now_ms = fs_now_ms();

    for (uint32_t ino = STATE_ROOT; ino < state_inode_limit(fs->state); ino++) {
        const struct inode_rec *rec;
        const struct node *node;
        bool old = false;

        mutex_lock(&fs->lock);
        rec = state_inode(fs->state, ino);
        node = fs_node(fs, ino);
        if (rec != NULL && node != NULL) {
            old = (rec->flags & INODE_DIRTY) != 0 && now_ms >= node->retry_ms &&
                  (rec->flags & (INODE_LOST | INODE_UNLINKED)) == 0 &&
                  (rec->opens == 0 || now - rec->dirty_since_ns > DIRTY_AGE_S * ns_per_s);
        }
        mutex_unlock(&fs->lock);
        if (old) {
            publish_soon(fs, ino);
        }
    }
}

/* Publish what is dirty and below `dir`. Returns the first error; *ret_left: how many stay dirty.
 */
static int publish_each(struct fs *fs, uint32_t dir, uint64_t deadline_ms, size_t *ret_left)
{
    int first = 0;

    *ret_left = 0;
    for (uint32_t ino = STATE_ROOT; ino < state_inode_limit(fs->state); ino++) {
        const struct inode_rec *rec;
        bool dirty;
        int ret;

        mutex_lock(&fs->lock);
        rec = fs_node(fs, ino) != NULL ? state_inode(fs->state, ino) : NULL;
        dirty = rec != NULL && (rec->flags & INODE_DIRTY) != 0 &&
                (rec->flags & (INODE_UNLINKED | INODE_LOST)) == 0 && fs_is_below(fs, ino, dir);
        mutex_unlock(&fs->lock);
        if (!dirty) {
            continue;
        }
        ret = fs_now_ms() < deadline_ms ? publish(fs, ino) : -ETIMEDOUT;
        *ret_left += ret != 0 && ret != -ESTALE;
        first = first == 0 && ret != -ESTALE ? ret : first;
    }
    return first;
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
        return publish_each(fs, dir, UINT64_MAX, &left);
    }
    ret = publish(fs, dir);
    return ret == -ESTALE ? 0 : ret; /* kept beside */
}

int publish_all(struct fs *fs, uint64_t deadline_ms)
{
    size_t left;
    int ret;

    do {
        ret = publish_each(fs, STATE_ROOT, deadline_ms, &left);
    } while (left > 0 && fs_now_ms() < deadline_ms);
    if (left > 0) {
        log_error("publish: files are still not in the store", "files", log_num(left), "error",
                  strerror(-ret), NULL);
        return -ETIMEDOUT;
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writers that wait for memory for dirty bytes: in a line, without threads, until what is published
 * makes room. They are served in order as far as each fits. Who waits is waiting for the store, so
 * the line asks for publications: of the waiting writers' own files first, then of what is oldest.
 */
#include <errno.h>

#include "mounter/fs.h"
#include "mounter/ops.h"
#include "mounter/session/eio.h"

enum { SPACE_WAIT_MS = 55000, TICK_MS = 200, ASK_AT_ONCE = 16 };

/* Time does not help: whoever writes has to know. */
static bool is_final(int error)
{
    switch (error) {
    case -EACCES:
    case -EPERM:
    case -EROFS:
    case -ENOSPC:
    case -EFBIG:
    case -EKEYEXPIRED:
        return true;
    default:
        return false;
    }
}

/* 0: it is to wait on. */
static int reason_to_end(struct fs *fs, const struct op *op) REQUIRES(&fs->lock)
{
    const struct node *node = fs_node(fs, op->ino);

    if (node != NULL && node->failures > 0 && is_final(node->error)) {
        return node->error;
    }
    if (fs->ending) {
        return eio("a write: the mount is ending");
    }
    return fs_now_ms() >= op->until_ms ? eio("a write: no memory became free in time") : 0;
}

/* Whose turn has come, or whose time is over: the first of them, off the line. */
static struct op *next(struct fs *fs, int *ret_result) REQUIRES(&fs->lock)
{
    struct op *op;

    TAILQ_FOREACH (op, &fs->thirsty, thirst) {
        int ret = write_locked(fs, op);

        if (ret == -EAGAIN || (ret == -EDEADLK && !fill_has_room(fs, op))) {
            ret = reason_to_end(fs, op);
            if (ret == 0) {
                continue;
            }
        }
        TAILQ_REMOVE(&fs->thirsty, op, thirst);
        *ret_result = ret;
        return op;
    }
    return NULL;
}

/* Parts of what is streamed make room by themselves. */
static unsigned ask_for(struct fs *fs, struct node *node) REQUIRES(&fs->lock)
{
    if (node == NULL || node->blocks == NULL || node->publishing) {
        return 0;
    }
    if ((fs_rec(fs, node)->flags & INODE_UNLINKED) != 0) {
        return hidden_ask(fs, node);
    }
    publish_stream(fs, node);
    return node->streaming == 0 && publish_ask(fs, node);
}

static void ask(struct fs *fs) REQUIRES(&fs->lock)
{
    const struct op *op;
    struct node *node;
    unsigned asked = 0;

    TAILQ_FOREACH (op, &fs->thirsty, thirst) {
        asked += ask_for(fs, fs_node(fs, op->ino));
    }
    TAILQ_FOREACH (node, &fs->dirty, dirty_link) {
        if (asked >= ASK_AT_ONCE) {
            break;
        }
        asked += ask_for(fs, node);
    }
}

static void serve(void *arg)
{
    struct fs *fs = arg;

    mutex_lock(&fs->lock);
    while (!TAILQ_EMPTY(&fs->thirsty)) {
        int result = 0;
        struct op *op = next(fs, &result);

        if (op == NULL) {
            ask(fs);
        }
        mutex_unlock(&fs->lock);
        if (op != NULL) {
            write_end(op, result);
        } else {
            publish_next(fs);
        }
        mutex_lock(&fs->lock);
        if (op == NULL && !TAILQ_EMPTY(&fs->thirsty)) {
            cond_wait_ms(&fs->changed, &fs->lock, TICK_MS);
        }
    }
    fs->serving = false;
    mutex_unlock(&fs->lock);
}

void space_wait(struct op *op)
{
    struct fs *fs = op->fs;
    bool start;

    mutex_lock(&fs->lock);
    op->until_ms = op->until_ms != 0 ? op->until_ms : fs_now_ms() + SPACE_WAIT_MS;
    TAILQ_INSERT_TAIL(&fs->thirsty, op, thirst);
    start = !fs->serving;
    fs->serving = true;
    mutex_unlock(&fs->lock);
    if (start && tasks_add(fs->streams, serve, fs) != 0) {
        mutex_lock(&fs->lock);
        fs->serving = false; /* the next writer tries again, or the deadline answers */
        mutex_unlock(&fs->lock);
    }
}

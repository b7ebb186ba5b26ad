/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A write that would leave a block of dirty bytes in more pieces than its record has room for: what
 * is between them is read, so that the block is one piece. That takes memory of its own and other
 * writers and publications come in between; so it is tried until the write's time is over, and
 * waits for memory in the line of space.c, as any other write.
 */
#include <errno.h>
#include <stdlib.h>

#include "mounter/fs.h"
#include "mounter/ops.h"
#include "mounter/session/eio.h"

enum { FILL_MS = 55000 };

bool fill_has_room(struct fs *fs, const struct op *op)
{
    const struct node *node = fs_node(fs, op->ino);
    uint64_t stop = (op->offset + op->size + STATE_BLOCK_SIZE - 1) / STATE_BLOCK_SIZE;
    struct state_need need = {0};

    for (uint64_t i = op->offset / STATE_BLOCK_SIZE; node != NULL && i < stop; i++) {
        data_need(fs, node, i * STATE_BLOCK_SIZE, STATE_BLOCK_SIZE, &need);
    }
    return state_pool_has(fs->state, &need);
}

/* -EAGAIN: the file has changed meanwhile; -ENOBUFS: no memory. */
static int fill_block(struct op *op, uint64_t start, char *buffer)
{
    struct fs *fs = op->fs;
    struct op part = {.fs = fs, .ino = op->ino, .offset = start, .size = STATE_BLOCK_SIZE};
    struct extent e = {0};
    struct node *node;
    size_t len = 0;
    int ret = extent_get(&part, &e, buffer, &len);

    if (ret != 0 || len == 0) {
        return ret;
    }
    mutex_lock(&fs->lock);
    node = fs_node(fs, op->ino);
    if (node == NULL || !extent_still(fs, &part, node, &e)) {
        ret = node == NULL ? -ESTALE : -EAGAIN;
    } else if (data_any(fs, node, start, len)) {
        data_overlay(fs, node, start, buffer, len); /* what was written meanwhile */
        ret = data_write(fs, node, start, buffer, len);
        ret = ret == -EAGAIN ? -ENOBUFS : ret;
    }
    mutex_unlock(&fs->lock);
    return ret;
}

static int fill(struct op *op)
{
    uint64_t stop = op->offset + op->size;
    AUTOFREE char *buffer = malloc(STATE_BLOCK_SIZE);
    int ret = buffer == NULL ? -ENOMEM : 0;

    for (uint64_t at = op->offset / STATE_BLOCK_SIZE * STATE_BLOCK_SIZE; ret == 0 && at < stop;
         at += STATE_BLOCK_SIZE) {
        ret = fill_block(op, at, buffer);
    }
    return ret;
}

void write_filled(struct op *op)
{
    struct fs *fs = op->fs;
    int ret = -EDEADLK;

    op->until_ms = op->until_ms != 0 ? op->until_ms : fs_now_ms() + FILL_MS;
    while (ret == -EDEADLK && fs_now_ms() < op->until_ms) {
        ret = fill(op);
        if (ret == 0) {
            mutex_lock(&fs->lock);
            ret = write_locked(fs, op);
            mutex_unlock(&fs->lock);
        } else if (ret == -EAGAIN) {
            ret = -EDEADLK;
        }
    }
    if (ret == -ENOBUFS) {
        space_wait(op); /* and from there here again */
    } else {
        write_end(op, ret == -EDEADLK ? eio("a write: a block stays in too many pieces") : ret);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* One request on its way through a task: see struct op in fs.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/fs.h"
#include "mounter/session/eio.h"

struct op *fs_op_new(fuse_req_t req)
{
    struct fs *fs = fuse_req_userdata(req);
    struct pending *pending = pending_begin(req);
    struct op *op;
    const void *reply;
    size_t len;
    char recorded[STATE_REPLY_MAX];
    bool found = false;

    eio_forget();
    if (pending == NULL) {
        return NULL;
    }
    if (pending_replay(pending)) {
        mutex_lock(&fs->lock);
        found = state_find_applied(fs->state, pending_unique(pending), &reply, &len);
        if (found) {
            memcpy(recorded, reply, len);
        }
        mutex_unlock(&fs->lock);
    }
    op = found ? NULL : calloc(1, sizeof(*op));
    if (op != NULL) {
        op->fs = fs;
        op->pending = pending;
        op->unique = pending_unique(pending);
        return op;
    }
    if (found) {
        uint64_t unique = pending_unique(pending);

        if (len > 0) {
            (void)pending_reply_buf(pending, recorded, len);
        } else {
            (void)pending_reply_err(pending, 0);
        }
        mutex_lock(&fs->lock);
        state_forget_applied(fs->state, unique);
        mutex_unlock(&fs->lock);
    } else {
        (void)pending_reply_err(pending, ENOMEM);
    }
    return NULL;
}

static void run_op(void *arg)
{
    struct op *op = arg;

    eio_forget();
    op->run(op);
}

void fs_op_start(struct op *op, void (*run)(struct op *op))
{
    op->run = run;
    if (tasks_add(op->fs->tasks, run_op, op) != 0) {
        (void)fs_op_fail(op, -ENOMEM);
    }
}

static int finish(struct op *op, int ret)
{
    mutex_lock(&op->fs->lock);
    state_forget_applied(op->fs->state, op->unique);
    mutex_unlock(&op->fs->lock);
    free(op->xattr);
    free(op);
    return ret;
}

int fs_op_end(struct op *op)
{
    int ret = op->error != 0 || op->reply_len == 0
                  ? pending_reply_err(op->pending, op->error)
                  : pending_reply_buf(op->pending, op->reply, op->reply_len);

    return finish(op, ret);
}

int fs_op_fail(struct op *op, int error)
{
    op->error = -error;
    return fs_op_end(op);
}

int fs_op_data(struct op *op, const void *data, size_t len)
{
    return finish(op, pending_reply_buf(op->pending, data, len));
}

int fs_op_lock(struct op *op, const struct flock *lock)
{
    return finish(op, pending_reply_lock(op->pending, lock));
}

int fs_op_applied(struct fs *fs, struct op *op)
{
    return state_applied(fs->state, op->unique, op->reply, op->reply_len);
}

void fs_op_entry(struct fs *fs, struct op *op, struct node *node)
{
    struct inode_rec *rec = fs_rec(fs, node);
    struct fuse_entry_out out = {
        .nodeid = node->ino,
        .generation = rec->generation,
        .entry_valid = fs->options.attr_timeout_ms / 1000,
        .attr_valid = fs->options.attr_timeout_ms / 1000,
        .entry_valid_nsec = (uint32_t)(fs->options.attr_timeout_ms % 1000) * 1000000,
        .attr_valid_nsec = (uint32_t)(fs->options.attr_timeout_ms % 1000) * 1000000,
    };

    fs_stat(fs, node, &out.attr);
    memcpy(op->reply, &out, sizeof(out));
    op->reply_len = sizeof(out);
    STATE_SET(fs->state, rec->nlookup, rec->nlookup + 1);
}

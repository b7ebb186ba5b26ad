/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers of a file's space: fallocate, and where its data and holes are. */
#include <errno.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mounter/fs.h"
#include "mounter/ops.h"
#include "mounter/session/eio.h"
#include "mounter/write/holes.h"

enum { TRIES = 8 };

/* ---- fallocate ---- */

static bool makes_zeros(uint32_t mode)
{
    return (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
}

/* One transaction for the hole, the size and the answer. -EAGAIN: publish first. */
static int space_commit(struct fs *fs, struct op *op, struct node *node) REQUIRES(&fs->lock)
{
    struct inode_rec *rec = fs_rec(fs, node);
    uint64_t end = op->offset + op->size;
    uint64_t to = end < rec->size ? end : rec->size;
    bool grows = (op->mode & FALLOC_FL_KEEP_SIZE) == 0 && end > rec->size;
    bool zeros = makes_zeros(op->mode) && op->offset < to;
    int ret = 0;

    state_begin(fs->state);
    if (zeros) {
        ret = holes_add(fs, node, op->offset, to);
    }
    if (ret == 0 && grows) {
        usage_resized(fs, rec->size, end);
        STATE_SET(fs->state, rec->size, end);
    }
    if (ret == 0 && (zeros || grows)) {
        int64_t now = fs_now_ns();

        STATE_SET(fs->state, rec->mtime_ns, now);
        STATE_SET(fs->state, rec->ctime_ns, now);
        xattr_kill(fs, node, op->uid != 0);
        fs_mark_dirty(fs, node);
    }
    ret = ret == 0 ? fs_op_applied(fs, op) : ret;
    if (ret != 0) {
        state_abort(fs->state);
        return ret == -ENOSPC && zeros ? -EAGAIN : ret;
    }
    state_commit(fs->state);
    return 0;
}

static int space_once(struct fs *fs, struct op *op) REQUIRES(&fs->lock)
{
    struct node *node = fs_node(fs, op->ino);
    struct inode_rec *rec = node != NULL ? fs_rec(fs, node) : NULL;
    uint64_t end = op->offset + op->size;
    int ret;

    if (rec == NULL || lost_is(fs, node)) {
        return rec == NULL ? -ESTALE : lost_eio();
    }
    if (!S_ISREG(rec->mode)) {
        return -ENODEV;
    }
    if (makes_zeros(op->mode) && (rec->upload != 0 || node->streaming > 0)) {
        return -EAGAIN; /* parts that were sent ahead cannot be taken back: an object first */
    }
    ret = usage_resize(fs, rec, end > rec->size ? end : rec->size);
    if (ret != 0) {
        return ret;
    }
    if (makes_zeros(op->mode)) {
        ret = data_punch(fs, node, op->offset, end < rec->size ? end : rec->size);
    }
    return ret == 0 ? space_commit(fs, op, node) : ret;
}

static void space_run(struct op *op)
{
    struct fs *fs = op->fs;
    int ret = -EAGAIN;

    for (int tries = 0; ret == -EAGAIN && tries < TRIES; tries++) {
        if (tries > 0) {
            ret = publish(fs, (uint32_t)op->ino);
            if (ret != 0) {
                break;
            }
        }
        mutex_lock(&fs->lock);
        ret = space_once(fs, op);
        mutex_unlock(&fs->lock);
    }
    (void)fs_op_fail(op, ret == -EAGAIN ? -EBUSY : ret);
}

/* data_punch() comes before holes_add(): killed between the two, the request comes again. */
void fs_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                  struct fuse_file_info *fi)
{
    const int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
    struct op *op = fs_op_new(req);

    (void)fi;
    if (op == NULL) {
        return;
    }
    op->ino = ino;
    op->uid = fuse_req_ctx(req)->uid;
    op->mode = (uint32_t)mode;
    op->offset = (uint64_t)offset;
    op->size = (uint64_t)length;
    if (op->fs->options.read_only) {
        (void)fs_op_fail(op, -EROFS);
    } else if ((mode & ~known) != 0) {
        (void)fs_op_fail(op, -EOPNOTSUPP); /* nothing moves the bytes of an object */
    } else {
        fs_op_start(op, space_run);
    }
}

/* ---- lseek ---- */

/* What holds bytes at `at`, up to *ret_to; where nothing does, false and where something may. */
static bool data_at(struct fs *fs, const struct node *node, uint64_t at, uint64_t *ret_to)
    REQUIRES(&fs->lock)
{
    const struct inode_rec *rec = fs_rec(fs, node);
    uint64_t base = rec->base_valid < rec->size ? rec->base_valid : rec->size;
    uint64_t from;
    uint64_t to;
    bool dirty = data_next(fs, node, at, &from, &to);

    if (rec->upload != 0) { /* what was sent ahead is data, too */
        *ret_to = rec->size;
        return true;
    }
    if (dirty && from <= at) {
        *ret_to = to;
        return true;
    }
    if (at < base && holes_end(node, at) == at) {
        *ret_to = holes_next(node, at) < base ? holes_next(node, at) : base;
        return true;
    }
    *ret_to = at < base ? holes_end(node, at) : rec->size;
    *ret_to = dirty && from < *ret_to ? from : *ret_to;
    return false;
}

static int64_t seek(struct fs *fs, const struct node *node, uint64_t at, bool want_data)
    REQUIRES(&fs->lock)
{
    uint64_t size = fs_rec(fs, node)->size;

    if (at >= size) {
        return -ENXIO;
    }
    while (at < size) {
        uint64_t to;

        if (data_at(fs, node, at, &to) == want_data) {
            return (int64_t)at;
        }
        at = to;
    }
    return want_data ? -ENXIO : (int64_t)size;
}

void fs_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
    struct fs *fs = fuse_req_userdata(req);
    const struct node *node;
    int64_t ret = -EINVAL;

    (void)fi;
    if (off >= 0 && (whence == SEEK_DATA || whence == SEEK_HOLE)) {
        mutex_lock(&fs->lock);
        node = fs_node(fs, ino);
        ret = node == NULL        ? -ESTALE
              : lost_is(fs, node) ? lost_eio()
                                  : seek(fs, node, (uint64_t)off, whence == SEEK_DATA);
        mutex_unlock(&fs->lock);
    }
    if (ret < 0) {
        eio_log(FUSE_LSEEK, ino, (int)-ret);
        (void)fuse_reply_err(req, (int)-ret);
    } else {
        (void)fuse_reply_lseek(req, (off_t)ret);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers of open files: write, flush, fsync, release. open: ops_open.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/fs.h"
#include "mounter/journal/journaled.h"
#include "mounter/names/graves.h"
#include "mounter/ops.h"
#include "mounter/read/reader.h"
#include "mounter/session/eio.h"
#include "mounter/write/hold.h"
#include "mounter/write/holes.h"
#include "objstore/objstore_call.h"
#include "util/log.h"

enum { FSYNCDIR_MS = 55000 };

/* ---- write ---- */

/*
 * Who appends does so at the file's end. The kernel takes the size that it knows for that and asks
 * nobody before, though it was told that its attributes are old: where another mount has written,
 * the bytes would go over the other's, also under a lock.
 */
static void append(struct op *op, struct node *node, const struct inode_rec *rec)
{
    if (op->appends && node->others && op->offset != rec->size) {
        op->offset = rec->size;
        op->moved = true;
        node->untold = true;
    }
}

int write_locked(struct fs *fs, struct op *op)
{
    struct node *node = fs_node(fs, op->ino);
    struct inode_rec *rec = node != NULL ? fs_rec(fs, node) : NULL;
    struct fuse_write_out out = {.size = (uint32_t)op->size};
    uint64_t end;
    int ret;

    if (rec == NULL || (rec->flags & INODE_LOST) != 0 || locks_are_lost(fs->locks, op->ino)) {
        return rec == NULL                      ? -ESTALE
               : (rec->flags & INODE_LOST) != 0 ? lost_eio()
                                                : eio("a lock on the file was lost");
    }
    append(op, node, rec);
    end = op->offset + op->size;
    ret = usage_resize(fs, rec, end > rec->size ? end : rec->size);
    if (ret != 0) {
        return ret;
    }
    ret = data_write(fs, node, op->offset, op->data, (size_t)op->size);
    if (ret != 0) {
        data_truncate(fs, node, rec->size); /* of the part that was done */
        return ret;
    }
    memcpy(op->reply, &out, sizeof(out));
    op->reply_len = sizeof(out);
    state_begin(fs->state);
    if (end > rec->size) {
        usage_resized(fs, rec->size, end);
        STATE_SET(fs->state, rec->size, end);
    }
    STATE_SET(fs->state, rec->mtime_ns, fs_now_ns());
    STATE_SET(fs->state, rec->ctime_ns, fs_now_ns());
    xattr_kill(fs, node, op->kill);
    fs_mark_dirty(fs, node);
    ret = fs_op_applied(fs, op);
    state_commit(fs->state);
    publish_stream(fs, node);
    return ret;
}

/* Nobody but fsync() hears of a page that the kernel wrote in vain, and it writes the next one. */
static void fail_write(struct op *op, int error)
{
    struct fs *fs = op->fs;
    struct node *node;

    if (op->writepage) {
        mutex_lock(&fs->lock);
        node = fs_node(fs, op->ino);
        if (node != NULL) {
            lost_mark(fs, node);
        }
        mutex_unlock(&fs->lock);
        log_error("bytes are lost: a page of a mapped file could not be taken", "inode",
                  log_num(op->ino), "error", strerror(-error), NULL);
    }
    (void)fs_op_fail(op, error);
}

/* The kernel has kept the bytes where it believed them to be. Not in a handler: it waits for
 * others' writes. */
static void end_moved(void *arg)
{
    struct op *op = arg;
    struct fs *fs = op->fs;
    uint64_t ino = op->ino;

    (void)fs_op_end(op);
    if (fs->session != NULL) {
        (void)fuse_lowlevel_notify_inval_inode(session_fuse(fs->session), ino, 0, 0);
    }
}

void write_end(struct op *op, int ret)
{
    if (ret == -EDEADLK) {
        fs_op_start(op, write_filled);
    } else if (ret == -EAGAIN) {
        space_wait(op);
    } else if (ret != 0) {
        fail_write(op, ret);
    } else if (!op->moved || tasks_add(op->fs->tasks, end_moved, op) != 0) {
        (void)fs_op_end(op);
    }
}

void fs_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
              struct fuse_file_info *fi)
{
    struct op *op = fs_op_new(req);
    struct fs *fs;
    int ret;

    if (op == NULL) {
        return;
    }
    fs = op->fs;
    op->ino = ino;
    op->data = data;
    op->size = size;
    op->offset = (uint64_t)off;
    op->writepage = fi->writepage != 0;
    op->appends = !op->writepage && (fi->flags & O_APPEND) != 0;
    op->kill = (session_request_flags() & FUSE_WRITE_KILL_SUIDGID) != 0;
    mutex_lock(&fs->lock);
    ret = write_locked(fs, op);
    mutex_unlock(&fs->lock);
    write_end(op, ret);
}

/* ---- flush, fsync, release ---- */

static bool is_dirty(struct fs *fs, uint64_t ino, bool *ret_lost)
{
    struct node *node;
    uint32_t flags = 0;

    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    if (node != NULL) {
        flags = fs_rec(fs, node)->flags;
    }
    mutex_unlock(&fs->lock);
    *ret_lost = (flags & INODE_LOST) != 0;
    return (flags & INODE_DIRTY) != 0 && (flags & (INODE_UNLINKED | INODE_LOST)) == 0;
}

static void sync_file(fuse_req_t req, fuse_ino_t ino, bool wait)
{
    struct op *op = fs_op_new(req);
    bool lost;

    if (op == NULL) {
        return;
    }
    op->ino = ino;
    if (!is_dirty(op->fs, ino, &lost) || !wait) { /* the last release begins to publish */
        (void)fs_op_fail(op, lost ? lost_eio() : 0);
        return;
    }
    pending_interruptible(op->pending, NULL, NULL); /* the publication goes on */
    if (op->fs->options.sync == SYNC_ASYNC) {
        fs_op_start(op, journaled_op);
    } else {
        publish_op(op);
    }
}

void fs_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fs *fs = fuse_req_userdata(req);

    if (!locks_flush(fs, req, ino, fi)) {
        sync_file(req, ino, fs->options.sync != SYNC_FSYNC);
    }
}

void fs_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)datasync;
    (void)fi;
    sync_file(req, ino, true);
}

/* Names that were taken away have to be gone in the store, those that were given and the
 * directory's own to be there. */
static void fsyncdir_run(struct op *op)
{
    uint64_t deadline_ms = fs_now_ms() + FSYNCDIR_MS;
    int ret = publish_for(op->fs, (uint32_t)op->ino, op->pending);

    ret = ret == 0 ? publish_names(op->fs, (uint32_t)op->ino, deadline_ms) : ret;
    ret = ret == 0 ? graves_wait(op->fs, "", true, deadline_ms) : ret;
    (void)fs_op_fail(op, ret);
}

void fs_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct op *op = fs_op_new(req);

    (void)datasync;
    (void)fi;
    if (op != NULL) {
        op->ino = ino;
        pending_interruptible(op->pending, NULL, NULL);
        fs_op_start(op, fsyncdir_run);
    }
}

static void drop_writer(struct node *node, const struct inode_rec *rec, int flags)
{
    if ((flags & O_ACCMODE) != O_RDONLY && node->writers > 0) {
        node->writers--;
    }
    if (node->writers > rec->opens) { /* after a takeover readers were counted, too */
        node->writers = rec->opens;
    }
}

void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct op *op = fs_op_new(req);
    struct fs *fs;
    struct node *node;
    bool dirty = false;

    if (op == NULL) {
        return;
    }
    fs = op->fs;
    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    if (node != NULL) {
        struct inode_rec *rec = fs_rec(fs, node);

        state_begin(fs->state);
        STATE_SET(fs->state, rec->opens, rec->opens - (rec->opens > 0));
        (void)!fs_op_applied(fs, op);
        state_commit(fs->state);
        drop_writer(node, rec, fi->flags);
        if (rec->opens == 0 && (rec->flags & INODE_UNLINKED) != 0 && !node->hiding &&
            !node->publishing && node->streaming == 0) {
            hidden_drop(fs, node);
        }
        dirty = (rec->flags & INODE_DIRTY) != 0 && node->writers == 0 &&
                (rec->flags & (INODE_UNLINKED | INODE_LOST)) == 0;
        if (rec->opens == 0) {
            reader_quiet(fs, node);
        }
        if (rec->opens == 0 && lost_is(fs, node)) {
            lost_drop(fs, node);
        } else {
            fs_node_put(fs, node);
        }
    }
    mutex_unlock(&fs->lock);
    if (dirty) {
        hold_file(fs, (uint32_t)ino);
    }
    locks_release(fs, ino, fi);
    (void)fs_op_fail(op, 0);
}

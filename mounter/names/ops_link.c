/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handlers of files without a name (O_TMPFILE) and of link(2), which gives them one. A second name
 * for a file that has one is hard.c's on a managed volume; else EPERM: an object has one key.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/fs.h"
#include "mounter/names/hard.h"
#include "mounter/ops.h"

/* ---- O_TMPFILE ---- */

static int make_unnamed(struct fs *fs, struct op *op, struct node **ret) REQUIRES(&fs->lock)
{
    int64_t now = fs_now_ns();
    const struct fs_new_inode what = {
        .parent = (uint32_t)op->ino,
        .name = "",
        .flags = INODE_NEW | INODE_DIRTY | INODE_ATTRS | INODE_UNLINKED,
        .attr = {.mode = op->mode,
                 .uid = op->uid,
                 .gid = op->gid,
                 .xattr = op->xattr,
                 .mtime_ns = now,
                 .ctime_ns = now,
                 .atime_ns = now},
    };

    return fs_node(fs, op->ino) != NULL ? fs_node_make(fs, &what, ret) : -ESTALE;
}

void link_tmpfile_run(struct op *op)
{
    struct fs *fs = op->fs;
    struct node *node = NULL;
    uint32_t ino = 0;
    int ret = xattr_inherit(op);

    mutex_lock(&fs->lock);
    ret = ret == 0 ? make_unnamed(fs, op, &node) : ret;
    ret = ret == 0 ? op_created(fs, op, node) : ret;
    if (ret == 0) {
        ino = node->ino;
    } else if (node != NULL) {
        fs_node_put(fs, node);
    }
    mutex_unlock(&fs->lock);
    if (ret != 0) {
        (void)fs_op_fail(op, ret);
    } else {
        op_reply_entry(op, ino, true);
    }
}

/* ---- link ---- */

/* In a transaction of the caller's. */
static int give_name(struct fs *fs, const struct op *op, struct node *node) REQUIRES(&fs->lock)
{
    struct inode_rec *rec = fs_rec(fs, node);
    struct inode_rec *dir = state_inode(fs->state, op->ino);
    uint32_t old = rec->name;
    int64_t now = fs_now_ns();
    uint32_t cell;
    int ret = state_text_new(fs->state, op->name, strlen(op->name), &cell);

    if (ret == 0) {
        STATE_SET(fs->state, rec->flags, rec->flags & ~(uint32_t)INODE_UNLINKED);
        STATE_SET(fs->state, rec->parent, (uint32_t)op->ino);
        STATE_SET(fs->state, rec->name, cell);
        ret = fs_set_component(fs, rec, op->name);
        STATE_SET(fs->state, rec->ctime_ns, now);
        STATE_SET(fs->state, dir->mtime_ns, now);
        STATE_SET(fs->state, dir->ctime_ns, now);
        state_text_release(fs->state, old);
    }
    return ret;
}

/* One transaction for name, lookup and answer. The answer is made of what the record will be. */
static int link_commit(struct fs *fs, struct op *op, struct node *node) REQUIRES(&fs->lock)
{
    struct fuse_entry_out out;
    int ret;

    state_begin(fs->state);
    ret = give_name(fs, op, node);
    fs_op_entry(fs, op, node);
    memcpy(&out, op->reply, sizeof(out));
    out.attr.nlink = 1;
    memcpy(op->reply, &out, sizeof(out));
    ret = ret == 0 ? fs_op_applied(fs, op) : ret;
    if (ret != 0) {
        state_abort(fs->state);
        return ret;
    }
    state_commit(fs->state);
    ret = fs_node_rename(fs, node, (uint32_t)op->ino, op->name);
    if (fs_node(fs, op->ino) != NULL) {
        listing_drop(fs_node(fs, op->ino));
    }
    return ret;
}

static void link_run(struct op *op)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct fs *fs = op->fs;
    struct node *node;
    bool nameless;
    int ret;

    mutex_lock(&fs->lock);
    node = fs_node(fs, op->ino2);
    nameless = node != NULL && (fs_rec(fs, node)->flags & INODE_UNLINKED) != 0;
    mutex_unlock(&fs->lock);
    if (!nameless && fs->managed != NULL && fs->options.attrs != ATTRS_LIST) {
        ret = hard_link(op);
        if (ret != 0) {
            (void)fs_op_fail(op, ret);
        } else {
            op_reply_entry(op, op->ino2, false);
        }
        return;
    }
    ret = op_check_absent(op);
    mutex_lock(&fs->lock);
    node = fs_node(fs, op->ino2);
    if (node == NULL || fs_node(fs, op->ino) == NULL) {
        ret = -ESTALE;
    } else if (ret == 0 && (fs_rec(fs, node)->flags & INODE_UNLINKED) == 0) {
        ret = -EPERM; /* what link(2) says where there are no hard links */
    } else if (ret == 0 && fs_child(fs, (uint32_t)op->ino, op->name) != NULL) {
        ret = -EEXIST; /* made since we looked */
    }
    ret = ret == 0 ? fs_child_key(fs, (uint32_t)op->ino, op->name, &key) : ret;
    if (ret == 0 && fs_rec(fs, node)->hidden != 0) {
        mutex_unlock(&fs->lock);
        ret = hidden_name(fs, op, (uint32_t)op->ino2, buf_str(&key));
        mutex_lock(&fs->lock);
    }
    ret = ret == 0 ? link_commit(fs, op, node) : ret;
    mutex_unlock(&fs->lock);
    if (ret != 0) {
        (void)fs_op_fail(op, ret);
    } else {
        op_reply_entry(op, op->ino2, false);
    }
}

void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
    struct op *op = op_new_make(req, newparent, newname, S_IFREG);

    if (op != NULL) {
        op->ino2 = ino;
        fs_op_start(op, link_run);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* open(): which version of a file a handle is of. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/fs.h"
#include "mounter/ops.h"
#include "mounter/read/ahead.h"
#include "mounter/read/reader.h"
#include "mounter/write/holes.h"

enum {
    OPEN_BYTES_MAX = 256 * 1024, /* as much comes by one GET */
};

/* ---- which version ---- */

/* One OPEN. Turns (fs_turn()) tell what was asked before and what after. */
struct opening {
    uint64_t since; /* the turn at which open() began, here or at an OPEN that was sent back */
    bool again;     /* that was so: the next ESTALE is the program's */
    bool upload;
};

static bool reads_only(const struct op *op)
{
    return (op->flags & O_ACCMODE) == O_RDONLY;
}

static uint32_t thread_of(struct op *op)
{
    return (uint32_t)fuse_req_ctx(pending_req(op->pending))->pid;
}

/* Of a clean file: what is known of it may be older than this open(). */
static bool needs_store(struct fs *fs, const struct node *node, const struct opening *o)
    REQUIRES(&fs->lock)
{
    return (fs_rec(fs, node)->flags & (INODE_DIRTY | INODE_NEW)) == 0 &&
           !(o->again && node->asked_turn > o->since);
}

/* The newest version there is, where open() asks for it. */
static int open_ask(struct op *op, struct opening *o)
{
    struct fs *fs = op->fs;
    struct node *node;
    uint64_t size = 0;
    bool needs = false;
    int ret = 0;

    mutex_lock(&fs->lock);
    o->since = fs_turn(fs); /* not before what is asked now */
    o->again = reopen_take(fs->reopens, thread_of(op), fs_now_ms(), &o->since);
    node = fs_node(fs, op->ino);
    if (node != NULL) {
        size = fs_rec(fs, node)->size;
        o->upload = fs_rec(fs, node)->upload != 0;
        needs = needs_store(fs, node, o);
    }
    mutex_unlock(&fs->lock);
    if (needs) {
        ret = remote_open(fs, op->ino);
    }
    mutex_lock(&fs->lock);
    node = fs_node(fs, op->ino);
    if (node != NULL && fs_rec(fs, node)->size != size) {
        node->untold = true;
    }
    mutex_unlock(&fs->lock);
    return ret;
}

bool open_wants_bytes(struct fs *fs, const struct node *node)
{
    const struct inode_rec *rec = node != NULL ? fs_rec(fs, node) : NULL;

    return rec != NULL && S_ISREG(rec->mode) &&
           (rec->flags & (INODE_DIRTY | INODE_NEW | INODE_UNLINKED | INODE_LOST)) == 0 &&
           rec->size > 0 && rec->size <= OPEN_BYTES_MAX && (node->others || node->stored_ns == 0) &&
           !reader_has(fs, node, 0, (size_t)rec->size);
}

int open_bring_bytes(struct fs *fs, uint64_t ino)
{
    char byte;
    int ret = reader_read(fs, (uint32_t)ino, 0, &byte, 1);

    return ret == -ESTALE || ret == -ENOENT ? -ESTALE : 0;
}

/* -ESTALE: it has gone, and others have it open. */
static int bring_bytes(struct op *op, const struct opening *o)
{
    int ret = open_bring_bytes(op->fs, op->ino);

    if (ret == 0) {
        return 0;
    }
    ret = remote_open_anew(op->fs, op->ino);
    return ret == -ESTALE && o->again ? 0 : ret;
}

/* ---- the answer ---- */

/* One transaction for the count, the truncation and the answer. */
static int open_commit(struct fs *fs, struct op *op, struct node *node) REQUIRES(&fs->lock)
{
    struct inode_rec *rec = fs_rec(fs, node);
    bool same = fs_opened_is(node, rec->etag);
    bool cut = (op->flags & O_TRUNC) != 0 && rec->size > 0;
    const struct fuse_open_out out = {
        .fh = op->unique, /* tells readers apart, also for a successor */
        .open_flags = same && !cut ? FOPEN_KEEP_CACHE : 0,
    };

    if ((op->flags & O_TRUNC) != 0) {
        data_truncate(fs, node, 0);
        node->truncated_to = 0;
    }
    memcpy(op->reply, &out, sizeof(out));
    op->reply_len = sizeof(out);
    state_begin(fs->state);
    if ((op->flags & O_TRUNC) != 0) {
        int64_t now = fs_now_ns();

        usage_resized(fs, rec->size, 0);
        STATE_SET(fs->state, rec->size, (uint64_t)0);
        STATE_SET(fs->state, rec->base_valid, (uint64_t)0);
        holes_cut(fs, node, 0);
        STATE_SET(fs->state, rec->attempt, rec->attempt != 0 ? (uint64_t)1 : (uint64_t)0);
        STATE_SET(fs->state, rec->mtime_ns, now);
        STATE_SET(fs->state, rec->ctime_ns, now);
        fs_mark_dirty(fs, node);
    }
    return op_commit_open(fs, op, node);
}

static int open_check(struct fs *fs, const struct op *op, const struct opening *o,
                      const struct node *node) REQUIRES(&fs->lock)
{
    uint32_t flags = node != NULL ? fs_rec(fs, node)->flags : 0;

    if (node == NULL) {
        return -ESTALE;
    }
    /* The name is another's by now, and the kernel looks it up again; but not twice. */
    if ((flags & INODE_DETACHED) != 0 &&
        !(o->again && reads_only(op) && node->asked_turn > o->since)) {
        return -ESTALE;
    }
    return !reads_only(op) && (flags & INODE_LOST) != 0 ? lost_eio() : 0;
}

/* Once more by way of a LOOKUP? */
static int send_back(struct fs *fs, struct op *op, const struct opening *o, struct node *node,
                     int ret) REQUIRES(&fs->lock)
{
    bool untold = ret == 0 && node->untold && (op->flags & O_TRUNC) == 0;

    if (o->again || (ret != -ESTALE && !untold)) {
        return ret;
    }
    return reopen_send(fs->reopens, o->since, thread_of(op), fs_now_ms()) ? -ESTALE : ret;
}

/*
 * Does the kernel have the size of this version? Of answers that cross it believes the one to the
 * question that was asked last, and that may be the older one.
 */
static bool is_told(struct fs *fs, const struct node *node) REQUIRES(&fs->lock)
{
    return !node->untold && (!node->others || fs_opened_is(node, fs_rec(fs, node)->etag));
}

/* True: the bytes have to be brought first. */
static bool open_try(struct op *op, const struct opening *o, bool last, int *ret, bool *ret_told)
{
    struct fs *fs = op->fs;
    struct node *node;
    struct ahead_start start;
    bool reads = false;

    mutex_lock(&fs->lock);
    node = fs_node(fs, op->ino);
    if (*ret == 0 && !last && reads_only(op) && open_wants_bytes(fs, node)) {
        mutex_unlock(&fs->lock);
        return true;
    }
    *ret = *ret == 0 ? open_check(fs, op, o, node) : *ret;
    *ret_told = *ret != 0 || is_told(fs, node);
    *ret = send_back(fs, op, o, node, *ret);
    if (*ret == 0) {
        *ret = open_commit(fs, op, node);
        reads = *ret == 0 && reads_only(op);
    }
    if (reads) {
        ahead_opened(fs, node, &start);
    }
    mutex_unlock(&fs->lock);
    if (reads) {
        ahead_start(fs, &start);
    }
    return false;
}

static void open_run(struct op *op)
{
    struct fs *fs = op->fs;
    struct opening o = {0};
    bool told = true;
    int ret = open_ask(op, &o);

    if (ret == 0 && o.upload && (op->flags & O_TRUNC) != 0) {
        ret = publish(fs, (uint32_t)op->ino);
    }
    for (int tries = 0; open_try(op, &o, tries == OPEN_TRIES, &ret, &told); tries++) {
        ret = bring_bytes(op, &o);
    }
    if (ret != 0) {
        (void)fs_op_fail(op, ret);
        return;
    }
    if (!told && fs->session != NULL) {
        /* The kernel believes its attributes for a while: it has to ask again. */
        (void)fuse_lowlevel_notify_inval_inode(session_fuse(fs->session), op->ino, -1, 0);
    }
    (void)fs_op_end(op);
}

void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct op *op = fs_op_new(req);

    if (op == NULL) {
        return;
    }
    op->ino = ino;
    op->flags = (uint32_t)fi->flags;
    if (op->fs->options.read_only && (fi->flags & O_ACCMODE) != O_RDONLY) {
        (void)fs_op_fail(op, -EROFS);
        return;
    }
    fs_op_start(op, open_run);
}

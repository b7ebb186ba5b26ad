/* SPDX-License-Identifier: Apache-2.0 */
/*
 * READ. Bytes that are the store's are answered from the reader's memory: at once by the thread
 * that has read the request if they are there, else by the one that brings them. What has dirty
 * bytes among them, or comes from something that is just being published, is put together in a
 * task of its own; so is what failed the quick way.
 *
 * The bytes go to the kernel by one copy, out of grains. What was considered instead:
 *   - direct I/O (FOPEN_DIRECT_IO) spares the kernel's pages. Who reads a megabyte at a time gets
 *     about a third more by it, but it is chosen at open(), when nobody knows how will be read: who
 *     reads 4 KiB at a time would pay a request for each, and a shared mapping fails. So it is had
 *     where the program asks for it (O_DIRECT), which goes the same way here.
 *   - splice: grains are this process's memory and stay in it, so the kernel could not take the
 *     pages and copies as before, after two more calls. Blocks on disk carry a checksum, which must
 *     be compared before anybody sees them: they have to be read.
 *   - FUSE passthrough needs one file on disk that is the object from end to end, libfuse 3.16 and
 *     CAP_SYS_ADMIN in a mounter that has none; a successor could not tell which files the kernel
 *     still reads by itself, and nothing would be checked.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/fs.h"
#include "mounter/ops.h"
#include "mounter/read/reader.h"
#include "mounter/session/eio.h"
#include "mounter/write/settle.h"

enum { READ_TRIES = 8 };

/* ---- in a task ---- */

static void look_locked(struct fs *fs, const struct op *op, struct node *node, struct extent *ret)
    REQUIRES(&fs->lock)
{
    const struct inode_rec *rec = fs_rec(fs, node);
    uint64_t len = op->offset < rec->size ? rec->size - op->offset : 0;

    ret->size = rec->size;
    ret->base = rec->base_valid < rec->size ? rec->base_valid : rec->size;
    ret->upload = rec->upload != 0 &&
                  upload_took(state_upload(fs->state, rec->upload - 1), op->offset, op->size);
    ret->lost = lost_is(fs, node);
    ret->covered = data_covers(fs, node, op->offset, len < op->size ? len : op->size);
    memcpy(ret->etag, rec->etag, sizeof(ret->etag));
}

static bool extent_sent(const struct extent *e)
{
    return e->upload && !e->covered;
}

/* Between the look and now no publication has made dirty bytes those of another object. */
bool extent_still(struct fs *fs, const struct op *op, struct node *node, const struct extent *e)
{
    struct extent now;

    look_locked(fs, op, node, &now);
    return !extent_sent(&now) && now.base == e->base && now.size >= e->size &&
           (now.covered || !e->covered) && strcmp(now.etag, e->etag) == 0;
}

static int extent_look(struct op *op, struct extent *ret)
{
    struct fs *fs = op->fs;
    struct node *node;

    mutex_lock(&fs->lock);
    node = fs_node(fs, op->ino);
    if (node != NULL) {
        look_locked(fs, op, node, ret);
    }
    mutex_unlock(&fs->lock);
    return node == NULL ? -ESTALE : ret->lost ? lost_eio() : 0;
}

static int extent_read(struct op *op, const struct extent *e, char *buffer, size_t len)
{
    struct fs *fs = op->fs;
    uint64_t from_base = e->base > op->offset ? e->base - op->offset : 0;
    struct node *node;
    int ret = 0;

    from_base = from_base < len ? from_base : len;
    memset(buffer, 0, len);
    if (!e->covered && from_base > 0) {
        ret = reader_read(fs, (uint32_t)op->ino, op->offset, buffer, (size_t)from_base);
    }
    mutex_lock(&fs->lock);
    node = fs_node(fs, op->ino);
    if (ret == 0) {
        ret = node == NULL ? -ESTALE : extent_still(fs, op, node, e) ? 0 : -EAGAIN;
    }
    if (ret == 0) {
        data_overlay(fs, node, op->offset, buffer, len);
    }
    mutex_unlock(&fs->lock);
    return ret;
}

/* Before the next try. `*claimed`: publications are kept away. */
static int look_again(struct op *op, struct extent *e, int error, bool *claimed)
{
    struct fs *fs = op->fs;
    uint32_t ino = (uint32_t)op->ino;
    int ret = 0;

    if (*claimed && extent_sent(e)) {
        mutex_lock(&fs->lock);
        claim_end(fs, ino, 0);
        mutex_unlock(&fs->lock);
        *claimed = false;
    }
    if (extent_sent(e)) {
        ret = publish(fs, ino);
    } else if (!*claimed && error == -ESTALE) {
        ret = publish_settle(fs, ino);
    }
    return ret;
}

/*
 * A publication may put another object in the place of that we read, or have done so: look again.
 * Where one follows the other, the last tries keep them away. Bytes that are only in an unfinished
 * upload can be read once it is an object.
 */
int extent_get(struct op *op, struct extent *e, char *buffer, size_t *ret_len)
{
    struct fs *fs = op->fs;
    bool claimed = false;
    int ret = extent_look(op, e);

    *ret_len = 0;
    for (int tries = 0; ret == 0 && op->offset < e->size; tries++) {
        size_t len =
            e->size - op->offset < op->size ? (size_t)(e->size - op->offset) : (size_t)op->size;

        ret = extent_sent(e) ? -EAGAIN : extent_read(op, e, buffer, len);
        *ret_len = ret == 0 ? len : 0;
        if ((ret != -ESTALE && ret != -EAGAIN) || tries == READ_TRIES) {
            break;
        }
        ret = look_again(op, e, ret, &claimed);
        if (ret == 0 && !claimed && tries >= READ_TRIES / 2) {
            mutex_lock(&fs->lock);
            ret = claim(fs, (uint32_t)op->ino, 0, 0);
            mutex_unlock(&fs->lock);
            claimed = ret == 0;
        }
        ret = ret == 0 ? extent_look(op, e) : ret;
    }
    if (claimed) {
        mutex_lock(&fs->lock);
        claim_end(fs, (uint32_t)op->ino, 0);
        mutex_unlock(&fs->lock);
    }
    return ret == -EAGAIN ? eio("a read: the file changed at every try") : ret;
}

/* For the log. */
static void tell_why(const struct op *op, int error)
{
    struct node *node;

    if (error == -ESTALE) {
        eio_note("a read: the object has gone, or another has taken its place");
    }
    mutex_lock(&op->fs->lock);
    node = fs_node(op->fs, op->ino);
    if (node != NULL) {
        reader_about(op->fs, node);
    } else {
        eio_note("a read: the inode is not known");
    }
    mutex_unlock(&op->fs->lock);
}

static void read_run(struct op *op)
{
    struct extent e = {0};
    AUTOFREE char *buffer = malloc(op->size > 0 ? op->size : 1);
    size_t len = 0;
    int ret = buffer == NULL ? -ENOMEM : extent_get(op, &e, buffer, &len);

    if (ret != 0) {
        tell_why(op, ret);
        (void)fs_op_fail(op, ret == -ENOENT ? -ESTALE : ret == -EBADMSG ? -EIO : ret);
    } else {
        (void)fs_op_data(op, buffer, len);
    }
}

/* ---- from memory ---- */

struct quick {
    struct reader_wait wait;
    struct fs *fs;
    struct pending *pending;
    uint64_t ino, offset, size; /* as asked for */
};

static struct op *new_op(struct fs *fs, struct pending *pending, const struct quick *q)
{
    struct op *op = calloc(1, sizeof(*op));

    if (op != NULL) {
        op->fs = fs;
        op->pending = pending;
        op->unique = pending_unique(pending);
        op->ino = q->ino;
        op->offset = q->offset;
        op->size = q->size;
    }
    return op;
}

static void start_slow(struct quick *q)
{
    struct op *op = new_op(q->fs, q->pending, q);
    bool ending;

    mutex_lock(&q->fs->lock);
    ending = q->fs->ending; /* there are no tasks any more */
    mutex_unlock(&q->fs->lock);
    if (op == NULL || ending) {
        eio_note("the mount is ending");
        (void)pending_reply_err(q->pending, op == NULL ? ENOMEM : EIO);
        free(op);
    } else {
        fs_op_start(op, read_run);
    }
    free(q);
}

static void quick_over(struct reader_wait *wait)
{
    struct quick *q = wait->arg;
    struct iovec iov[READER_GRAINS_MAX];
    int error = wait->error;

    if (error == 0) {
        (void)pending_reply_iov(q->pending, iov, reader_iov(wait, iov));
    }
    reader_end(q->fs, wait);
    if (error == 0) {
        free(q);
    } else {
        start_slow(q); /* it finds out whether there is another object now, or tells the error */
    }
}

/* It has been answered: only the grains are to be given back. */
static void forget_over(struct reader_wait *wait)
{
    struct quick *q = wait->arg;

    reader_end(q->fs, wait);
    free(q);
}

/* A kill in the middle of the kernel's copy is harmless while the pages are there. */
static void reply_now(fuse_req_t req, const struct reader_wait *wait)
{
    struct iovec iov[READER_GRAINS_MAX];
    int count = reader_iov(wait, iov);

    for (int i = 0; i < count; i++) {
        const volatile char *data = iov[i].iov_base;

        for (size_t at = 0; at < iov[i].iov_len; at += 4096) {
            (void)data[at];
        }
        (void)data[iov[i].iov_len - 1];
    }
    (void)fuse_reply_iov(req, iov, count);
}

/* Is all that is asked for the store's, as it is there now? Then *ret_len: how much there is. */
static bool is_plain(struct fs *fs, struct node *node, const struct quick *q, size_t *ret_len)
    REQUIRES(&fs->lock)
{
    const struct inode_rec *rec = fs_rec(fs, node);
    uint64_t len = q->offset < rec->size ? rec->size - q->offset : 0;

    len = len < q->size ? len : q->size;
    *ret_len = (size_t)len;
    return !lost_is(fs, node) && rec->upload == 0 && len <= READER_LEN_MAX &&
           (len == 0 || q->offset + len <= rec->base_valid) && rec->base_valid <= rec->base_size &&
           !data_any(fs, node, q->offset, len);
}

/* -EAGAIN: not this way. */
static int begin_quick(struct quick *q, uint64_t handle, struct fetch_list *start)
{
    struct fs *fs = q->fs;
    struct reader_range range = {.handle = handle, .offset = q->offset};
    struct node *node;
    int ret = -EAGAIN;

    mutex_lock(&fs->lock);
    node = fs_node(fs, q->ino);
    if (node != NULL && is_plain(fs, node, q, &range.len)) {
        ret = range.len == 0 ? 0 : reader_begin(fs, node, &range, &q->wait, start);
    }
    mutex_unlock(&fs->lock);
    return ret;
}

void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct fs *fs = fuse_req_userdata(req);
    struct fetch_list start = STAILQ_HEAD_INITIALIZER(start);
    struct quick *q = malloc(sizeof(*q));
    int ret;

    if (q == NULL) {
        (void)fuse_reply_err(req, ENOMEM);
        return;
    }
    *q = (struct quick){.fs = fs, .ino = ino, .offset = (uint64_t)off, .size = size};
    q->wait.arg = q;
    ret = begin_quick(q, fi->fh, &start);
    if (ret == 0 && q->wait.count == 0) {
        (void)fuse_reply_buf(req, NULL, 0);
        free(q);
        return;
    }
    if (ret == 0) {
        mount_stats_add(fs->options.stats, STATS_READ_HITS, 1);
        reply_now(req, &q->wait);
        reader_end(fs, &q->wait);
        reader_start(fs, &start);
        free(q);
        return;
    }
    q->pending = pending_begin(req);
    if (q->pending != NULL) {
        pending_interruptible(q->pending, NULL, NULL);
    }
    reader_start(fs, &start);
    if (ret != -EINPROGRESS) {
        if (q->pending != NULL) {
            start_slow(q);
        } else {
            free(q);
        }
        return;
    }
    mount_stats_add(fs->options.stats, STATS_READ_MISSES, 1);
    q->wait.done = q->pending != NULL ? quick_over : forget_over;
    if (reader_arm(fs, &q->wait)) {
        q->wait.done(&q->wait);
    }
}

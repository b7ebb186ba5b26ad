/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy_file_range: the store copies. A file is copied from its beginning into an empty one; the
 * kernel asks for at most 2 GiB at a time, so the first request lets the store copy the whole
 * object, of which only the beginning counts (base_valid), and each that follows makes more of it
 * count. What is small, or begins elsewhere, is EOPNOTSUPP: the kernel then copies pages, and a
 * small file is one PUT that nobody waits for, where a COPY would be a round trip.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/attr/theirs.h"
#include "mounter/fs.h"
#include "mounter/names/seen.h"
#include "mounter/ops.h"
#include "mounter/session/eio.h"
#include "mounter/write/holes.h"
#include "mounter/write/settle.h"
#include "objstore/objstore_call.h"

enum { COPY_MIN = 1 << 20, DEADLINE_MS = 600000, TRIES = 4 };
/* What the kernel makes of a longer one: MAX_RW_COUNT. */
static const uint64_t longest = 0x7ffff000;

/* So much is known only in this process: after its death the kernel copies the rest by pages. */
struct copied {
    char etag[STATE_ETAG_SIZE], from[STATE_ETAG_SIZE];
};

struct cfr {
    struct op *op;
    uint32_t from, to;
    uint64_t offset, len; /* asked for, the same offset in both */
    uint64_t total;       /* bytes to be copied */
    struct buf from_key, to_key;
    char from_etag[STATE_ETAG_SIZE], to_etag[STATE_ETAG_SIZE];
    bool to_new, partial;
    struct arena arena;
    struct attr attr; /* of what is made */
    struct objstore_meta meta;
    struct theirs theirs; /* what others said of the object that is there */
};

static struct cfr cfr_of(struct op *op)
{
    return (struct cfr){.op = op,
                        .from = (uint32_t)op->ino,
                        .to = (uint32_t)op->ino2,
                        .offset = op->offset,
                        .len = op->size,
                        .from_key = BUF_INIT(2 * OBJSTORE_KEY_MAX),
                        .to_key = BUF_INIT(2 * OBJSTORE_KEY_MAX),
                        .arena = ARENA_INIT(65536)};
}

/* All that is in the file is in its object. */
static bool is_clean(const struct inode_rec *rec, const struct node *node)
{
    return (rec->flags & INODE_NEW) == 0 && node->blocks == NULL && node->holes.count == 0 &&
           rec->upload == 0 && rec->attempt == 0 && rec->base_valid == rec->size;
}

static void answer(struct op *op, uint64_t len)
{
    const struct fuse_write_out out = {.size = (uint32_t)len};

    memcpy(op->reply, &out, sizeof(out));
    op->reply_len = sizeof(out);
}

/* The record says that this much of the object counts. */
static int count_more(struct fs *fs, struct cfr *c, struct node *node, uint64_t size)
    REQUIRES(&fs->lock)
{
    struct inode_rec *rec = fs_rec(fs, node);
    bool whole = size == rec->base_size && !node->meta_changed;
    int ret;

    answer(c->op, size - c->offset);
    state_begin(fs->state);
    usage_resized(fs, rec->size, size);
    STATE_SET(fs->state, rec->size, size);
    STATE_SET(fs->state, rec->base_valid, size);
    if (whole) {
        STATE_SET(fs->state, rec->flags, rec->flags & ~(uint32_t)INODE_DIRTY);
        STATE_SET(fs->state, rec->dirty_since_ns, (int64_t)0);
    }
    ret = fs_op_applied(fs, c->op);
    if (ret != 0) {
        state_abort(fs->state);
        return ret;
    }
    state_commit(fs->state);
    return 0;
}

/* The store has copied more than was asked for then: -EOPNOTSUPP if not, or if it is another's. */
static int go_on(struct fs *fs, struct cfr *c, struct node *to, const struct inode_rec *from)
    REQUIRES(&fs->lock)
{
    struct inode_rec *rec = fs_rec(fs, to);
    uint64_t end = c->offset + c->len < from->size ? c->offset + c->len : from->size;

    if (to->copied == NULL || strcmp(to->copied->etag, rec->etag) != 0 ||
        strcmp(to->copied->from, from->etag) != 0 || rec->size != c->offset ||
        rec->base_valid != c->offset || end > rec->base_size || to->blocks != NULL ||
        claim_blocked(fs, to)) {
        return -EOPNOTSUPP;
    }
    return count_more(fs, c, to, end);
}

/* -EAGAIN: one of them is to be published first; *ret_which. -EOPNOTSUPP: not by the store. */
static int plan(struct fs *fs, struct cfr *c, uint32_t *ret_which) REQUIRES(&fs->lock)
{
    struct node *from_node = fs_node(fs, c->from);
    struct node *to_node = fs_node(fs, c->to);
    const struct inode_rec *from = from_node != NULL ? fs_rec(fs, from_node) : NULL;
    struct inode_rec *to = to_node != NULL ? fs_rec(fs, to_node) : NULL;

    if (from == NULL || to == NULL || lost_is(fs, from_node) || lost_is(fs, to_node)) {
        return from == NULL || to == NULL ? -ESTALE : lost_eio();
    }
    if (c->from == c->to || !S_ISREG(from->mode) || !S_ISREG(to->mode) ||
        ((from->flags | to->flags) & (INODE_UNLINKED | INODE_DETACHED | INODE_CONFLICT)) != 0 ||
        from->size < COPY_MIN || c->offset >= from->size) {
        return -EOPNOTSUPP;
    }
    if (c->offset > 0) {
        return is_clean(from, from_node) ? go_on(fs, c, to_node, from) : -EOPNOTSUPP;
    }
    if (to->size != 0 || to_node->blocks != NULL || to->upload != 0 || c->len < COPY_MIN ||
        (c->len < from->size && c->len < longest && !fs->caps.part_copy)) {
        return -EOPNOTSUPP;
    }
    if (!is_clean(from, from_node) || to->attempt != 0) {
        *ret_which = is_clean(from, from_node) ? c->to : c->from;
        return -EAGAIN;
    }
    c->total = c->len >= from->size || c->len >= longest ? from->size : c->len;
    c->partial = c->total < from->size;
    memcpy(c->from_etag, from->etag, sizeof(c->from_etag));
    return usage_resize(fs, to, c->total);
}

/* Claims the destination and notes what is about to be sent, as a publication does. */
static int begin(struct fs *fs, struct cfr *c, const struct copy_what *what, struct node **ret)
    REQUIRES(&fs->lock)
{
    struct inode_rec *rec;
    int64_t now = fs_now_ns();
    int r = claim_wait(fs, c->to, NULL, ret);

    if (r != 0) {
        return r;
    }
    rec = fs_rec(fs, *ret);
    if (rec->size != 0 || (*ret)->blocks != NULL || rec->upload != 0 || rec->attempt != 0) {
        return -EOPNOTSUPP; /* written to while we waited */
    }
    r = fs_key(fs, c->from, &c->from_key);
    r = r == 0 ? fs_key(fs, c->to, &c->to_key) : r;
    if (r != 0) {
        return r;
    }
    c->to_new = (rec->flags & INODE_NEW) != 0;
    memcpy(c->to_etag, rec->etag, sizeof(c->to_etag));
    c->theirs.key = buf_str(&c->to_key);
    c->theirs.etag = c->to_etag;
    c->theirs.none = theirs_none(fs, *ret);
    state_begin(fs->state);
    STATE_SET(fs->state, rec->mtime_ns, now);
    STATE_SET(fs->state, rec->ctime_ns, now);
    xattr_kill(fs, *ret, c->op->uid != 0);
    fs_mark_dirty(fs, *ret);
    state_commit(fs->state);
    fs_attr(fs, *ret, &c->attr, &c->arena);
    r = attr_write(&c->attr, &c->arena, &c->meta);
    r = r == 0 ? publish_mark(fs, *ret, what, &c->arena, &c->meta) : r;
    if (r == 0) {
        claim_set(fs, *ret, true);
        (*ret)->meta_changed = false;
        (*ret)->truncated_to = UINT64_MAX;
        holes_mark(fs, *ret);
    }
    return r;
}

/* Where a COPY has no condition on what it replaces, a look just before is the next best. */
static int check_target(struct fs *fs, const struct cfr *c, struct copy_what *what)
{
    CLEANUP(objstore_answer_done) struct objstore_answer reply = OBJSTORE_ANSWER_INIT;
    struct objstore_request head = {.op = OBJSTORE_HEAD, .key = buf_str(&c->to_key)};
    int ret;

    if (!remote_copy_is_blind(fs, what)) {
        what->only_new = c->to_new;
        what->onto = c->to_new ? NULL : c->to_etag;
        return 0;
    }
    ret = volume_call(fs->volume, &head, &reply);
    if (c->to_new) {
        return ret == -ENOENT ? 0 : ret == 0 ? -EEXIST : ret;
    }
    return ret == 0 && strcmp(reply.result.info.etag, c->to_etag) != 0 ? -ESTALE : ret;
}

static int copied(struct fs *fs, struct cfr *c, struct node *node, const char *etag)
    REQUIRES(&fs->lock)
{
    struct inode_rec *rec = fs_rec(fs, node);
    uint64_t end = c->len < c->total ? c->len : c->total;
    char fresh[STATE_ETAG_SIZE] = "";

    (void)snprintf(fresh, sizeof(fresh), "%s", etag);
    state_begin(fs->state);
    state_set(fs->state, rec->etag, fresh, sizeof(fresh));
    STATE_SET(fs->state, rec->base_size, c->total);
    STATE_SET(fs->state, rec->base_valid, (uint64_t)0);
    STATE_SET(fs->state, rec->flags, rec->flags & ~(uint32_t)INODE_NEW);
    holes_published(fs, node, 0);
    publish_settled(fs, rec);
    state_commit(fs->state);
    fs_touch(fs, node);
    theirs_note(node, fresh, c->theirs.none);
    if (end < c->total && node->copied == NULL) {
        node->copied = malloc(sizeof(*node->copied)); /* NULL: the rest is copied by pages */
    }
    if (node->copied != NULL) {
        memcpy(node->copied->etag, fresh, sizeof(fresh));
        memcpy(node->copied->from, c->from_etag, sizeof(c->from_etag));
    }
    fs_opened(node, fresh);
    node->valid_until_ms = fs_now_ms() + fs->options.attr_timeout_ms;
    /* Written to meanwhile: it stays as it is, and the kernel copies pages over it. */
    return rec->size != 0 || node->blocks != NULL ? -EOPNOTSUPP : count_more(fs, c, node, end);
}

static int copy_now(struct cfr *c)
{
    struct fs *fs = c->op->fs;
    struct node *node;
    struct copy_what what = {
        .size = c->total, .partial = c->partial, .if_match = c->from_etag, .meta = &c->meta};
    char etag[STATE_ETAG_SIZE] = "";
    int ret;

    mutex_lock(&fs->lock);
    ret = begin(fs, c, &what, &node);
    mutex_unlock(&fs->lock);
    if (ret != 0) {
        return ret;
    }
    what.from = buf_str(&c->from_key);
    what.to = buf_str(&c->to_key);
    ret = seen_note(fs, &c->attr);
    ret = ret == 0 ? check_target(fs, c, &what) : ret;
    ret = ret == 0 && !c->theirs.none ? theirs_keep(fs, &c->theirs, &c->arena, &c->meta) : ret;
    ret = ret == 0 ? remote_copy(fs, &what, etag) : ret;
    mutex_lock(&fs->lock);
    claim_set(fs, node, false);
    node->copied_ms = ret != 0 ? fs_now_ms() : 0;
    if (ret == 0) {
        ret = copied(fs, c, node, etag);
    }
    cond_broadcast(&fs->changed);
    fs_node_put(fs, node);
    mutex_unlock(&fs->lock);
    /* The source has changed, or the target: pages tell, and the publication finds the conflict. */
    return ret == -ESTALE || ret == -ENOENT || ret == -EEXIST || ret == -EFBIG ? -EOPNOTSUPP : ret;
}

static void cfr_run(struct op *op)
{
    struct fs *fs = op->fs;
    struct cfr c = cfr_of(op);
    uint32_t which = 0;
    int ret = -EAGAIN;

    (void)pending_set_deadline(op->pending, DEADLINE_MS);
    for (int tries = 0; ret == -EAGAIN && tries < TRIES; tries++) {
        ret = which != 0 ? publish(fs, which) : 0;
        if (ret == 0) {
            mutex_lock(&fs->lock);
            ret = plan(fs, &c, &which);
            mutex_unlock(&fs->lock);
        }
    }
    if (ret == 0 && c.total > 0) {
        ret = copy_now(&c);
    }
    buf_done(&c.from_key);
    buf_done(&c.to_key);
    arena_done(&c.arena);
    theirs_done(&c.theirs);
    if (ret != 0) {
        op->reply_len = 0;
        (void)fs_op_fail(op, ret == -EAGAIN ? -EOPNOTSUPP : ret);
    } else {
        (void)fs_op_end(op);
    }
}

/* NOLINTNEXTLINE(readability-function-size): libfuse's table has it so */
void fs_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
                        struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
                        struct fuse_file_info *fi_out, size_t len, int flags)
{
    struct op *op = fs_op_new(req);

    (void)fi_in;
    (void)fi_out;
    if (op == NULL) {
        return;
    }
    op->ino = ino_in;
    op->ino2 = ino_out;
    op->offset = (uint64_t)off_in;
    op->size = len;
    op->uid = fuse_req_ctx(req)->uid;
    if (op->fs->options.read_only) {
        (void)fs_op_fail(op, -EROFS);
    } else if (flags != 0 || off_in != off_out) {
        (void)fs_op_fail(op, -EOPNOTSUPP);
    } else {
        fs_op_start(op, cfr_run);
    }
}

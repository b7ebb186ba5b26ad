/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers of attributes: getattr, setattr, readlink, user attributes, statfs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "mounter/attr/theirs.h"
#include "mounter/fs.h"
#include "mounter/names/seen.h"
#include "mounter/ops.h"
#include "mounter/write/hold.h"
#include "mounter/write/holes.h"
#include "mounter/write/settle.h"
#include "objstore/objstore_call.h"

enum { META_TIMEOUT_MS = 50000, STATFS_BLOCK = 4096 };
static const int64_t ns_per_s = 1000000000;
/* What df shows where no size was set: 1 PiB, as a round number nobody takes for a limit. */
static const uint64_t size_unlimited = UINT64_C(1) << 50;

static void fill_attr(struct fs *fs, struct op *op, struct node *node) REQUIRES(&fs->lock)
{
    struct fuse_attr_out out = {
        .attr_valid = fs->options.attr_timeout_ms / 1000,
        .attr_valid_nsec = (uint32_t)(fs->options.attr_timeout_ms % 1000) * 1000000,
    };

    fs_stat(fs, node, &out.attr);
    memcpy(op->reply, &out, sizeof(out));
    op->reply_len = sizeof(out);
}

/* Called with the lock, which it gives up. */
LOCK_UNCHECKED
static void answer_attr(struct op *op, struct node *node, int ret)
{
    if (ret == 0) {
        fill_attr(op->fs, op, node);
    }
    mutex_unlock(&op->fs->lock);
    if (ret != 0) {
        (void)fs_op_fail(op, ret);
    } else {
        (void)fs_op_end(op);
    }
}

LOCK_UNCHECKED
static void getattr_run(struct op *op)
{
    struct fs *fs = op->fs;
    int ret = remote_refresh(fs, op->ino);
    struct node *node;

    mutex_lock(&fs->lock);
    node = fs_node(fs, op->ino);
    if (node == NULL) {
        ret = -ESTALE;
    } else if (ret == -ESTALE && fs_rec(fs, node)->opens > 0) {
        ret = 0; /* an open file keeps the attributes of its version */
    }
    answer_attr(op, node, ret);
}

void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct op *op = fs_op_new(req);
    struct fs *fs;
    struct node *node;
    bool known;

    (void)fi;
    if (op == NULL) {
        return;
    }
    fs = op->fs;
    op->ino = ino;
    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    known = node != NULL && (ino == STATE_ROOT || fs_now_ms() < node->valid_until_ms ||
                             (fs_rec(fs, node)->flags &
                              (INODE_DIRTY | INODE_NEW | INODE_UNLINKED | INODE_DETACHED)) != 0);
    if (known) {
        fill_attr(fs, op, node);
    }
    mutex_unlock(&fs->lock);
    if (known) {
        (void)fs_op_end(op);
    } else {
        pending_interruptible(op->pending, NULL, NULL);
        fs_op_start(op, getattr_run);
    }
}

/* ---- setattr ---- */

static int64_t time_of(const struct timespec *ts, bool now)
{
    return now ? fs_now_ns() : (int64_t)ts->tv_sec * ns_per_s + ts->tv_nsec;
}

/* With sync=fsync the attributes of a directory are published in the background. */
static bool dir_is_put_later(const struct fs *fs, uint32_t ino)
{
    return fs->options.sync != SYNC_CLOSE && ino != STATE_ROOT;
}

/* Its own, not the time of a write: no listing will tell it. */
static void note_times(struct fs *fs, const struct op *op, struct node *node) REQUIRES(&fs->lock)
{
    struct inode_rec *rec = fs_rec(fs, node);

    if ((op->to_set & FUSE_SET_ATTR_MTIME) != 0 &&
        (op->to_set & (FUSE_SET_ATTR_MTIME_NOW | FUSE_SET_ATTR_SIZE)) == 0) {
        state_begin(fs->state);
        STATE_SET(fs->state, rec->flags, rec->flags | INODE_TIMES);
        state_commit(fs->state);
    }
}

/* Something that only who calls knows, other than that it is the present. */
static bool sets_own(int set)
{
    return (set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0 ||
           (set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) == FUSE_SET_ATTR_MTIME ||
           (set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW)) == FUSE_SET_ATTR_ATIME;
}

/* The new values in the record, in one transaction; dirty unless it is a directory. */
static int apply_attr(struct fs *fs, struct op *op, struct node *node) REQUIRES(&fs->lock)
{
    struct inode_rec *rec = fs_rec(fs, node);
    int set = op->to_set;

    if ((set & FUSE_SET_ATTR_SIZE) != 0 && S_ISREG(rec->mode)) {
        data_truncate(fs, node, op->size);
        if (op->size < node->truncated_to && op->size < rec->size) {
            node->truncated_to = op->size;
        }
    }
    note_times(fs, op, node);
    node->attrs_set = node->attrs_set || sets_own(set);
    state_begin(fs->state);
    if ((set & FUSE_SET_ATTR_MODE) != 0) {
        int ret = xattr_chmod(fs, node, op->stat.st_mode);

        if (ret != 0) {
            state_abort(fs->state);
            return ret;
        }
        STATE_SET(fs->state, rec->mode, (rec->mode & S_IFMT) | (op->stat.st_mode & 07777));
    }
    if ((set & FUSE_SET_ATTR_UID) != 0) {
        STATE_SET(fs->state, rec->uid, op->stat.st_uid);
    }
    if ((set & FUSE_SET_ATTR_GID) != 0) {
        STATE_SET(fs->state, rec->gid, op->stat.st_gid);
    }
    if ((set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW)) != 0) {
        STATE_SET(fs->state, rec->atime_ns,
                  time_of(&op->stat.st_atim, (set & FUSE_SET_ATTR_ATIME_NOW) != 0));
    }
    if ((set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) != 0) {
        STATE_SET(fs->state, rec->mtime_ns,
                  time_of(&op->stat.st_mtim, (set & FUSE_SET_ATTR_MTIME_NOW) != 0));
    }
    if ((set & FUSE_SET_ATTR_SIZE) != 0 && S_ISREG(rec->mode)) {
        usage_resized(fs, rec->size, op->size);
        STATE_SET(fs->state, rec->size, op->size);
        if (op->size < rec->base_valid) {
            STATE_SET(fs->state, rec->base_valid, op->size);
        }
        holes_cut(fs, node, op->size);
        if (rec->attempt > op->size + 1) {
            STATE_SET(fs->state, rec->attempt, op->size + 1);
        }
        if ((set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) == 0) {
            STATE_SET(fs->state, rec->mtime_ns, fs_now_ns());
        }
    }
    if ((set & (FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0) {
        xattr_kill(fs, node, op->kill);
    }
    STATE_SET(fs->state, rec->ctime_ns, fs_now_ns());
    if (!S_ISDIR(rec->mode) || dir_is_put_later(fs, node->ino)) {
        fs_mark_dirty(fs, node);
    }
    state_commit(fs->state);
    return 0;
}

/* The object is the copy; clean unless something was changed meanwhile. */
static void take_copied(struct fs *fs, struct node *node, const char *etag) REQUIRES(&fs->lock)
{
    struct inode_rec *rec = fs_rec(fs, node);
    bool clean = !node->meta_changed && node->blocks == NULL && rec->size == rec->base_size;

    state_begin(fs->state);
    state_set(fs->state, rec->etag, etag, sizeof(rec->etag));
    publish_settled(fs, rec);
    if (clean) {
        STATE_SET(fs->state, rec->flags, rec->flags & ~(uint32_t)INODE_DIRTY);
        STATE_SET(fs->state, rec->dirty_since_ns, (int64_t)0);
    }
    state_commit(fs->state);
    fs_touch(fs, node);
    fs_opened(node, etag);
}

static void copy_ended(struct fs *fs, struct node *node, int error, const char *etag)
    REQUIRES(&fs->lock)
{
    claim_set(fs, node, false);
    if (error == 0) {
        take_copied(fs, node, etag);
        node->valid_until_ms = fs_now_ms() + fs->options.attr_timeout_ms;
    } else {
        node->copied_ms = fs_now_ms();
    }
    cond_broadcast(&fs->changed);
    fs_node_put(fs, node);
}

static bool only_attr_changed(struct fs *fs, const struct node *node) REQUIRES(&fs->lock)
{
    const struct inode_rec *rec = fs_rec(fs, node);

    return (rec->flags & INODE_DIRTY) != 0 &&
           (rec->flags & (INODE_NEW | INODE_LOST | INODE_UNLINKED)) == 0 && node->blocks == NULL &&
           node->holes.count == 0 && rec->upload == 0 && rec->size == rec->base_size &&
           rec->base_valid == rec->size && rec->attempt == 0 && rec->size <= fs->caps.copy_max;
}

/* A clean file whose attributes changed: the store copies the object onto itself. */
static int copy_onto_itself(struct fs *fs, uint32_t ino)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    struct objstore_meta meta;
    CLEANUP(theirs_done) struct theirs theirs = {.none = true};
    struct attr attr;
    struct copy_what what = {.meta = &meta};
    char etag[STATE_ETAG_SIZE];
    char fresh[STATE_ETAG_SIZE] = "";
    int64_t copied_ns = 0;
    struct inode_rec *rec;
    struct node *node;
    int ret;

    mutex_lock(&fs->lock);
    ret = claim_wait(fs, ino, NULL, &node);
    if (ret == -ETIMEDOUT) {
        mutex_unlock(&fs->lock);
        return ret;
    }
    rec = node != NULL ? fs_rec(fs, node) : NULL;
    if (rec == NULL || !only_attr_changed(fs, node)) {
        mutex_unlock(&fs->lock);
        return -EAGAIN; /* there is more to publish than attributes */
    }
    claim_set(fs, node, true);
    node->meta_changed = false;
    ret = fs_key(fs, ino, &key);
    fs_attr(fs, node, &attr, &arena);
    memcpy(etag, rec->etag, sizeof(etag));
    theirs.none = theirs_none(fs, node);
    theirs.key = buf_str(&key);
    theirs.etag = etag;
    what.from = what.to = buf_str(&key);
    what.size = rec->size;
    what.if_match = etag[0] != '\0' ? etag : NULL;
    what.onto = remote_copy_is_blind(fs, &what) ? NULL : what.if_match;
    what.ret_ns = &copied_ns;
    ret = ret == 0 ? attr_write(&attr, &arena, &meta) : ret;
    ret = ret == 0 ? publish_mark(fs, node, &what, &arena, &meta) : ret;
    mutex_unlock(&fs->lock);
    ret = ret == 0 ? seen_note(fs, &attr) : ret;
    ret = ret == 0 && !theirs.none ? theirs_keep(fs, &theirs, &arena, &meta) : ret;
    ret = ret == 0 ? remote_copy(fs, &what, fresh) : ret;
    mutex_lock(&fs->lock);
    if (ret == 0) {
        theirs_note(node, fresh, theirs.none);
        facts_tell(fs->facts, &(struct facts_told){.key = buf_str(&key),
                                                   .etag = fresh,
                                                   .attr = &attr,
                                                   .modified_ns = copied_ns,
                                                   .exact = true});
    }
    copy_ended(fs, node, ret, fresh);
    mutex_unlock(&fs->lock);
    return ret == -ENOENT || ret == -ESTALE ? -EAGAIN : ret;
}

/* The marker with these attributes; somebody else's bytes in it stay. */
static int put_marker(struct fs *fs, struct theirs *theirs, const struct attr *attr,
                      char ret_etag[STATE_ETAG_SIZE])
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    struct objstore_meta meta;
    struct objstore_request put = {
        .op = OBJSTORE_PUT, .key = theirs->key, .meta = &meta, .timeout_ms = META_TIMEOUT_MS};
    int ret = attr_write(attr, &arena, &meta);

    ret = ret == 0 ? seen_note(fs, attr) : ret;
    ret = ret == 0 && !theirs->none ? theirs_keep(fs, theirs, &arena, &meta) : ret;
    if (ret == 0 && theirs->size > 0) {
        const struct copy_what onto_itself = {.from = theirs->key,
                                              .to = theirs->key,
                                              .if_match = theirs->etag,
                                              .size = theirs->size,
                                              .meta = &meta};

        return remote_copy(fs, &onto_itself, ret_etag);
    }
    ret = ret == 0 ? volume_call(fs->volume, &put, &answer) : ret;
    memcpy(ret_etag, answer.result.info.etag, STATE_ETAG_SIZE);
    return ret;
}

static int put_dir_attr(struct fs *fs, uint32_t ino)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    CLEANUP(theirs_done) struct theirs theirs = {.none = true};
    char etag[STATE_ETAG_SIZE] = "";
    char fresh[STATE_ETAG_SIZE] = "";
    struct attr attr;
    struct node *node;
    int ret;

    if (ino == STATE_ROOT) {
        return 0; /* of this mount only: the root has no object */
    }
    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    ret = node == NULL ? -ESTALE : fs_key(fs, ino, &key);
    if (ret == 0) {
        fs_attr(fs, node, &attr, &arena);
        memcpy(etag, fs_rec(fs, node)->etag, sizeof(etag));
        theirs.none = theirs_none(fs, node) || (fs_rec(fs, node)->flags & INODE_MARKER) == 0;
    }
    mutex_unlock(&fs->lock);
    theirs.key = buf_str(&key);
    theirs.etag = etag;
    ret = ret == 0 ? put_marker(fs, &theirs, &attr, fresh) : ret;
    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    if (ret == 0 && node != NULL) {
        struct inode_rec *rec = fs_rec(fs, node);

        state_begin(fs->state);
        STATE_SET(fs->state, rec->flags, rec->flags | INODE_MARKER);
        state_set(fs->state, rec->etag, fresh, sizeof(rec->etag));
        state_commit(fs->state);
        fs_touch(fs, node);
        theirs_note(node, fresh, theirs.none);
        node->valid_until_ms = fs_now_ms() + fs->options.attr_timeout_ms;
    }
    mutex_unlock(&fs->lock);
    return ret;
}

/* Where no close() will follow, the change goes to the store now. */
int attr_store(struct fs *fs, uint32_t ino)
{
    const struct inode_rec *rec;
    struct node *node;
    bool wait;
    bool is_dir;
    int ret;

    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    rec = node != NULL ? fs_rec(fs, node) : NULL;
    is_dir = rec != NULL && S_ISDIR(rec->mode);
    wait = rec != NULL && rec->opens == 0 && (rec->flags & INODE_UNLINKED) == 0 &&
           !publish_takes_attr(fs, node);
    mutex_unlock(&fs->lock);
    if (is_dir && dir_is_put_later(fs, ino)) {
        hold_dir(fs, ino);
        return 0;
    }
    if (is_dir) {
        return put_dir_attr(fs, ino);
    }
    if (!wait) {
        return 0;
    }
    ret = copy_onto_itself(fs, ino);
    return ret == -EAGAIN ? publish(fs, ino) : ret;
}

static int setattr_prepare(struct op *op)
{
    struct fs *fs = op->fs;
    struct node *node;
    bool upload;
    int ret = remote_refresh(fs, op->ino);
    bool replaced = ret == -ESTALE;

    if (replaced) {
        ret = 0; /* open here: its own version is changed, and a conflict found when published */
    }
    mutex_lock(&fs->lock);
    node = fs_node(fs, op->ino);
    upload =
        node != NULL && fs_rec(fs, node)->upload != 0 && (op->to_set & FUSE_SET_ATTR_SIZE) != 0;
    if (node == NULL || (replaced && fs_rec(fs, node)->opens == 0)) {
        ret = -ESTALE;
    } else if (lost_is(fs, node)) {
        ret = lost_eio();
    } else if ((op->to_set & FUSE_SET_ATTR_SIZE) != 0) {
        ret = usage_resize(fs, fs_rec(fs, node), op->size);
    }
    mutex_unlock(&fs->lock);
    return ret == 0 && upload ? publish(fs, (uint32_t)op->ino) : ret;
}

LOCK_UNCHECKED
static void setattr_run(struct op *op)
{
    struct fs *fs = op->fs;
    struct node *node;
    int ret = setattr_prepare(op);

    if (ret == 0) {
        mutex_lock(&fs->lock);
        node = fs_node(fs, op->ino);
        ret = node != NULL ? apply_attr(fs, op, node) : -ESTALE;
        if (node != NULL) {
            op_mark_late(fs, op, node); /* a directory's PUT goes without conditions */
        }
        mutex_unlock(&fs->lock);
        ret = ret != 0 ? ret : attr_store(fs, (uint32_t)op->ino);
    }
    mutex_lock(&fs->lock);
    node = fs_node(fs, op->ino);
    answer_attr(op, node, node == NULL && ret == 0 ? -ESTALE : ret);
}

void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                struct fuse_file_info *fi)
{
    struct op *op = fs_op_new(req);

    (void)fi;
    if (op == NULL) {
        return;
    }
    op->ino = ino;
    op->stat = *attr;
    op->size = (uint64_t)attr->st_size;
    op->to_set = to_set;
    if (op->fs->options.attrs == ATTRS_LIST &&
        (to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0) {
        (void)fs_op_fail(op, -ENOTSUP); /* nobody would see it again */
        return;
    }
    op->kill = (session_request_flags() & FATTR_KILL_SUIDGID) != 0;
    if (op->fs->options.read_only) {
        (void)fs_op_fail(op, -EROFS);
        return;
    }
    fs_op_start(op, setattr_run);
}

void fs_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct fs *fs = fuse_req_userdata(req);
    CLEANUP(buf_done) struct buf target = BUF_INIT(STATE_TEXT_MAX);
    struct node *node;

    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    if (node != NULL) {
        state_text_get(fs->state, fs_rec(fs, node)->target, &target);
    }
    mutex_unlock(&fs->lock);
    if (buf_len(&target) == 0) {
        (void)fuse_reply_err(req, node == NULL ? ESTALE : EINVAL);
    } else {
        (void)fuse_reply_readlink(req, buf_str(&target));
    }
}

void fs_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct fs *fs = fuse_req_userdata(req);
    uint64_t size;
    uint64_t used;
    struct statvfs st = {.f_bsize = STATFS_BLOCK, .f_frsize = STATFS_BLOCK, .f_namemax = NAMES_MAX};

    (void)ino;
    mutex_lock(&fs->lock);
    size = fs->options.size_bytes != 0 ? fs->options.size_bytes : size_unlimited;
    used = usage_bytes(fs) < size ? usage_bytes(fs) : size;
    mutex_unlock(&fs->lock);
    st.f_blocks = size / STATFS_BLOCK;
    st.f_bfree = st.f_bavail = (size - used) / STATFS_BLOCK;
    st.f_files = UINT32_MAX;
    st.f_ffree = st.f_favail = UINT32_MAX;
    (void)fuse_reply_statfs(req, &st);
}

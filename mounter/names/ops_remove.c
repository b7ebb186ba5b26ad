/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers that take names away: unlink, rmdir, rename (the work itself is in rename.c). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/attr/theirs.h"
#include "mounter/fs.h"
#include "mounter/names/doubts.h"
#include "mounter/names/graves.h"
#include "mounter/names/hard.h"
#include "mounter/ops.h"
#include "mounter/session/eio.h"
#include "mounter/write/hold.h"
#include "mounter/write/settle.h"
#include "objstore/objstore_call.h"
#include "util/log.h"

enum { META_TIMEOUT_MS = 50000, UNLINK_TRIES = 4 };

/* A directory that only its content implied would vanish with its last file: give it an object. */
int op_keep_parent(struct op *op)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct fs *fs = op->fs;
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    struct attr attr;
    struct node *dir;
    bool implied;
    int ret;

    mutex_lock(&fs->lock);
    dir = fs_node(fs, op->ino);
    implied = dir != NULL && (fs_rec(fs, dir)->flags & (INODE_MARKER | INODE_NEW)) == 0;
    ret = dir == NULL ? -ESTALE : implied ? fs_key(fs, (uint32_t)op->ino, &key) : 0;
    if (implied) {
        fs_attr(fs, dir, &attr, &arena);
        op_mark_late(fs, op, dir);
    }
    mutex_unlock(&fs->lock);
    if (ret != 0 || !implied) {
        return ret;
    }
    ret = remote_put_marker(fs, buf_str(&key), &attr, true);
    ret = ret == -EEXIST ? 0 : ret;
    mutex_lock(&fs->lock);
    dir = fs_node(fs, op->ino);
    if (ret == 0 && dir != NULL) {
        struct inode_rec *rec = fs_rec(fs, dir);

        state_begin(fs->state);
        STATE_SET(fs->state, rec->flags, rec->flags | INODE_MARKER);
        state_commit(fs->state);
    }
    mutex_unlock(&fs->lock);
    return ret;
}

static int delete_object(struct fs *fs, const char *key)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request request = {
        .op = OBJSTORE_DELETE, .key = key, .timeout_ms = META_TIMEOUT_MS};

    return volume_call(fs->volume, &request, &answer);
}

/* The request comes again: its own deletion may have been sent before. */
static void fence_again(struct op *op, bool is_dir)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    int ret;

    mutex_lock(&op->fs->lock);
    ret = fs_child_key(op->fs, (uint32_t)op->ino, op->name, &key);
    mutex_unlock(&op->fs->lock);
    buf_addstr(&key, is_dir ? "/" : "");
    if (ret == 0) {
        graves_fence(op->fs, buf_str(&key));
    }
}

static bool came_before(const struct op *op)
{
    bool before;

    mutex_lock(&op->fs->lock);
    before = state_intended(op->fs->state, op->unique);
    mutex_unlock(&op->fs->lock);
    return before;
}

/*
 * The name goes; the inode lives as long as somebody has it open. `key`: of the object that is to
 * be deleted in the background, or NULL.
 */
static int forget_name(struct fs *fs, struct op *op, const char *key, bool is_dir)
    REQUIRES(&fs->lock)
{
    bool beside = false;
    struct node *node = fs_child(fs, (uint32_t)op->ino, op->name);
    struct node *dir = fs_node(fs, op->ino);
    int64_t now = fs_now_ns();
    int ret;

    state_begin(fs->state);
    if (key != NULL) {
        /* Of a publication whose end we have not seen, the store may have what we know no ETag of,
         * or get it later. */
        bool late = node != NULL && publish_is_late(fs_rec(fs, node));
        const char *etag = node != NULL ? fs_rec(fs, node)->etag : "";

        facts_forget(fs->facts, key);
        ret = longs_beside(op->name, &beside);
        ret = ret == 0 ? graves_dig(fs, key, late ? NULL : etag, beside) : ret;
        if (ret != 0) {
            state_abort(fs->state);
            return ret;
        }
    }
    if (node != NULL) {
        struct inode_rec *rec = fs_rec(fs, node);

        usage_removed(fs, rec);
        STATE_SET(fs->state, rec->flags, rec->flags | INODE_UNLINKED);
        STATE_SET(fs->state, rec->ctime_ns, now);
    }
    if (dir != NULL) {
        STATE_SET(fs->state, fs_rec(fs, dir)->mtime_ns, now);
        STATE_SET(fs->state, fs_rec(fs, dir)->ctime_ns, now);
    }
    ret = fs_op_applied(fs, op);
    state_commit(fs->state);
    if (key != NULL) {
        graves_dug(fs);
    }
    if (node != NULL) {
        fs_touch(fs, node);
        fs_node_unname(fs, node);
        fs_node_put(fs, node);
    } else {
        fs_gone(fs, (uint32_t)op->ino, op->name, is_dir);
    }
    return ret;
}

/*
 * Wait for a publication under way, and let none begin: its object would appear after we have
 * deleted it. The caller ends the claim when this has returned 0.
 */
static int settle(struct fs *fs, const struct op *op, uint32_t ino, bool *ret_stored)
    REQUIRES(&fs->lock)
{
    const struct state_intent intent = {.unique = op->unique, .inos = {ino}};
    const struct inode_rec *rec;
    const struct node *node;
    int ret = claim(fs, ino, 0, op->unique);

    if (ret != 0) {
        return ret;
    }
    node = fs_child(fs, (uint32_t)op->ino, op->name);
    if (node == NULL || node->ino != ino) {
        claim_end(fs, ino, 0);
        return -ESTALE; /* the name went to another in the wait: the kernel looks it up again */
    }
    rec = state_inode(fs->state, ino);
    if (rec->upload != 0 && rec->opens > 0 && (rec->flags & INODE_LOST) == 0) {
        claim_end(fs, ino, 0);
        return -EAGAIN; /* its readers need the bytes that were sent ahead */
    }
    /* What an unsettled publication has sent may be there, too. */
    *ret_stored = (rec->flags & INODE_NEW) == 0 || rec->attempt != 0;
    state_begin(fs->state);
    ret = state_intend(fs->state, &intent);
    state_commit(fs->state);
    if (ret != 0) {
        claim_end(fs, ino, 0);
    }
    return ret;
}

static int abandon_upload(struct fs *fs, uint32_t ino, const char *key)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request abort_it = {.op = OBJSTORE_UPLOAD_ABORT, .key = key};
    AUTOFREE char *id = NULL;
    struct node *node;

    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    if (node != NULL && fs_rec(fs, node)->upload != 0 && fs_rec(fs, node)->opens == 0) {
        struct inode_rec *rec = fs_rec(fs, node);
        struct upload_rec *upload = state_upload(fs->state, rec->upload - 1);

        id = strdup(upload->id);
        state_begin(fs->state);
        STATE_SET(fs->state, upload->inode, 0U);
        STATE_SET(fs->state, rec->upload, 0U);
        state_commit(fs->state);
    }
    mutex_unlock(&fs->lock);
    if (id != NULL) {
        abort_it.upload_id = id;
        (void)volume_call(fs->volume, &abort_it, &answer);
    }
    return 0;
}

/* *ret_ino is claimed, or 0. -EAGAIN: it has to be published first. */
static LOCK_UNCHECKED
int try_prepare(struct op *op, struct buf *key, uint32_t *ret_ino, bool *ret_stored)
{
    struct fs *fs = op->fs;
    struct node *node;
    uint32_t ino;
    bool locked = false;
    bool again;
    int ret = op_intend(op, &again);

    ret = ret == 0 ? name_find(op, &node, &locked) : ret;
    if (ret != 0) {
        if (locked) {
            mutex_unlock(&fs->lock);
        }
        if (ret == -ENOENT && again) {
            *ret_stored = false;
            return 0; /* done before the crash */
        }
        return ret;
    }
    if (!locked) {
        return eio("the name is not known any more");
    }
    ino = node->ino;
    if ((fs_rec(fs, node)->flags & INODE_LINKED) != 0) {
        mutex_unlock(&fs->lock);
        return -EMLINK; /* for hard_unlink() */
    }
    ret = S_ISDIR(fs_rec(fs, node)->mode) ? -EISDIR : settle(fs, op, ino, ret_stored);
    *ret_ino = ret == 0 || ret == -EAGAIN ? ino : 0;
    ret = ret == 0 ? fs_child_key(fs, (uint32_t)op->ino, op->name, key) : ret;
    mutex_unlock(&fs->lock);
    return ret;
}

static int unlink_prepare(struct op *op, struct buf *key, uint32_t *ret_ino, bool *ret_stored)
{
    int ret = try_prepare(op, key, ret_ino, ret_stored);

    for (int tries = 0; ret == -EAGAIN && tries < UNLINK_TRIES; tries++) {
        ret = publish(op->fs, *ret_ino);
        ret = ret == 0 || ret == -ESTALE ? try_prepare(op, key, ret_ino, ret_stored) : ret;
    }
    if (ret == -EAGAIN) {
        ret = -EBUSY;
    }
    if (ret != 0) {
        *ret_ino = 0;
    }
    return ret;
}

/* With the object's grave, or its deletion now. */
static int take_name(struct op *op, const char *key, bool is_dir)
{
    struct fs *fs = op->fs;
    int ret = -ENOSPC;

    mutex_lock(&fs->lock);
    if (key == NULL || graves_trusted(fs)) {
        ret = forget_name(fs, op, key, is_dir);
    }
    mutex_unlock(&fs->lock);
    if (key != NULL && (ret == -ENOSPC || ret == -ENOMEM)) {
        ret = delete_object(fs, key);
        mutex_lock(&fs->lock);
        ret = ret == 0 ? forget_name(fs, op, NULL, is_dir) : ret;
        mutex_unlock(&fs->lock);
    }
    return ret;
}

static void unlink_run(struct op *op)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct fs *fs = op->fs;
    bool beside = false;
    bool stored = true;
    uint32_t ino = 0;
    bool before = came_before(op);
    bool again = hard_unlinks(op);
    int ret = -ESTALE;

    if (!again && hard_is_known(op)) {
        ret = hard_unlink(op);
        if (ret != -ESTALE && ret != -ENOENT) {
            (void)fs_op_fail(op, ret);
            return;
        }
    }
    ret = again ? -EMLINK : unlink_prepare(op, &key, &ino, &stored);
    if (ret == -EMLINK) {
        (void)fs_op_fail(op, hard_unlink(op));
        return;
    }
    if (ret == 0 && ino != 0) {
        ret = abandon_upload(fs, ino, buf_str(&key));
    }
    if (ret == 0 && stored) {
        ret = rename_hide(fs, ino);
        ret = ret == 0 ? op_keep_parent(op) : ret;
    }
    if (ret == 0 && before) {
        fence_again(op, false);
    }
    /* A grave of its key would be one of the directory's name, too. */
    if (ret == 0 && stored && longs_beside(op->name, &beside) == 0 && beside) {
        ret = delete_object(fs, buf_str(&key));
        stored = false;
    }
    ret = ret == 0 ? take_name(op, stored ? buf_str(&key) : NULL, false) : ret;
    mutex_lock(&fs->lock);
    claim_end(fs, ino, 0);
    mutex_unlock(&fs->lock);
    (void)fs_op_fail(op, ret);
}

bool op_holds_new(struct fs *fs, const struct node *dir)
{
    const struct node *node;

    LIST_FOREACH (node, &dir->below, sibling) {
        if ((fs_rec(fs, node)->flags & INODE_NEW) != 0) {
            return true;
        }
    }
    return false;
}

static int rmdir_check(struct op *op, uint32_t ino, const char *key)
{
    int buried = graves_wait(op->fs, key, true, fs_now_ms() + META_TIMEOUT_MS);
    struct fs *fs = op->fs;
    const struct node *dir;
    int ret = buried != 0 ? buried : doubts_check_empty(fs, ino, key);

    mutex_lock(&fs->lock);
    dir = fs_child(fs, (uint32_t)op->ino, op->name);
    if (ret == 0 && dir != NULL && op_holds_new(fs, dir)) {
        ret = -ENOTEMPTY;
    }
    mutex_unlock(&fs->lock);
    return ret;
}

static LOCK_UNCHECKED
void rmdir_run(struct op *op)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct fs *fs = op->fs;
    struct node *node = NULL;
    bool locked = false;
    bool stored = true;
    bool again;
    uint32_t ino = 0;
    int ret = op_intend(op, &again);

    ret = ret == 0 ? name_find(op, &node, &locked) : ret;
    if (ret == 0) {
        ret = S_ISDIR(fs_rec(fs, node)->mode) ? 0 : -ENOTDIR;
        ino = node->ino;
        ret = ret == 0 ? settle(fs, op, ino, &stored) : ret;
        ino = ret == 0 ? ino : 0;
        ret = ret == 0 ? fs_child_key(fs, (uint32_t)op->ino, op->name, &key) : ret;
        buf_addstr(&key, "/");
    }
    if (locked) {
        mutex_unlock(&fs->lock);
    }
    if (again && (ret == 0 || ret == -ENOENT)) {
        fence_again(op, true);
    }
    if (ret == 0) {
        ret = rmdir_check(op, ino, buf_str(&key));
        ret = ret == 0 ? op_keep_parent(op) : ret;
        ret = ret == 0 ? take_name(op, stored ? buf_str(&key) : NULL, true) : ret;
    } else if (ret == -ENOENT && again) {
        ret = take_name(op, NULL, true);
    }
    mutex_lock(&fs->lock);
    claim_end(fs, ino, 0);
    mutex_unlock(&fs->lock);
    (void)fs_op_fail(op, ret);
}

/* What is known of the name is as young as the kernel believes it to be, which has just looked. */
static bool is_known(struct fs *fs, const struct node *node) REQUIRES(&fs->lock)
{
    return (fs_rec(fs, node)->flags & (INODE_NEW | INODE_DIRTY)) != 0 ||
           fs_now_ms() < node->valid_until_ms + fs->options.attr_timeout_ms;
}

/* Nothing of it is under way, nor needed by those who have it open. */
static bool is_quiet(struct fs *fs, const struct node *node) REQUIRES(&fs->lock)
{
    const struct inode_rec *rec = fs_rec(fs, node);

    return !claim_blocked(fs, node) && rec->upload == 0 && rec->attempt == 0 &&
           (rec->flags & INODE_LOST) == 0 &&
           (rec->opens == 0 || (rec->flags & INODE_NEW) != 0 || rec->base_valid == 0);
}

/* Without asking the store: its deletion waits in kept memory. */
static bool remove_at_once(struct fs *fs, struct op *op, bool is_dir) REQUIRES(&fs->lock)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct node *dir = fs_node(fs, op->ino);
    struct node *node = fs_child(fs, (uint32_t)op->ino, op->name);
    const struct inode_rec *rec = node != NULL ? fs_rec(fs, node) : NULL;
    bool stored;

    if (dir == NULL || rec == NULL || S_ISDIR(rec->mode) != is_dir || !is_known(fs, node) ||
        !is_quiet(fs, node) || !graves_trusted(fs)) {
        return false;
    }
    stored = (rec->flags & INODE_NEW) == 0;
    if (stored && (fs_rec(fs, dir)->flags & (INODE_MARKER | INODE_NEW)) == 0) {
        if (fs->options.sync == SYNC_CLOSE) {
            return false; /* it needs an object of its own before it loses this one */
        }
        state_begin(fs->state);
        fs_mark_dirty(fs, dir); /* it gets one, unless it is removed before */
        state_commit(fs->state);
    }
    if (is_dir && !listing_shows_empty(fs, node)) {
        return false; /* also of a new one: what is below may be in the store already, and unknown
                         here */
    }
    if (fs_child_key(fs, (uint32_t)op->ino, op->name, &key) != 0) {
        return false;
    }
    buf_addstr(&key, is_dir ? "/" : "");
    stored = stored || (is_dir && graves_has_below(fs, buf_str(&key))); /* they would show it */
    return buf_error(&key) == 0 && forget_name(fs, op, stored ? buf_str(&key) : NULL, is_dir) == 0;
}

static void start_remove(fuse_req_t req, fuse_ino_t parent, const char *name,
                         void (*run)(struct op *op))
{
    struct op *op = fs_op_new(req);
    bool done;

    if (op == NULL) {
        return;
    }
    op->ino = parent;
    op->name = name;
    if (op->fs->options.read_only) {
        (void)fs_op_fail(op, -EROFS);
        return;
    }
    mutex_lock(&op->fs->lock);
    done =
        !state_intended(op->fs->state, op->unique) && remove_at_once(op->fs, op, run == rmdir_run);
    mutex_unlock(&op->fs->lock);
    if (done) {
        (void)fs_op_fail(op, 0);
    } else {
        fs_op_start(op, run);
    }
}

void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    start_remove(req, parent, name, unlink_run);
}

void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    start_remove(req, parent, name, rmdir_run);
}

/* ---- renaming what the store does not have ---- */

/* A file that is closed and has never been sent: its object will be put where its name is then. */
static bool is_unsent(struct fs *fs, const struct node *node) REQUIRES(&fs->lock)
{
    const struct inode_rec *rec = fs_rec(fs, node);
    const uint32_t flags = rec->flags & (INODE_NEW | INODE_DIRTY | INODE_UNLINKED | INODE_LOST |
                                         INODE_DETACHED | INODE_LINKED | INODE_CONFLICT);

    return flags == (INODE_NEW | INODE_DIRTY) && S_ISREG(rec->mode) && rec->attempt == 0 &&
           rec->upload == 0 && rec->hidden == 0 && rec->journal == 0 && !node->imported &&
           node->writers == 0 && rec->late_s == 0 && !claim_blocked(fs, node);
}

/*
 * What is at the new name, if that is known: *ret is NULL when there is nothing. The PUT is made on
 * condition that it is so still.
 */
static bool find_target(struct fs *fs, const struct op *op, struct node **ret) REQUIRES(&fs->lock)
{
    struct node *target = fs_child(fs, (uint32_t)op->ino2, op->name2);
    const struct inode_rec *rec = target != NULL ? fs_rec(fs, target) : NULL;

    *ret = target;
    if (target == NULL) {
        return fs->caps.if_none_match_put && (listing_lacks(fs, (uint32_t)op->ino2, op->name2) ||
                                              fs_known_absent(fs, (uint32_t)op->ino2, op->name2));
    }
    return (op->flags & RENAME_NOREPLACE) == 0 && S_ISREG(rec->mode) &&
           (rec->flags & (INODE_LINKED | INODE_CONFLICT)) == 0 && is_known(fs, target) &&
           is_quiet(fs, target) &&
           ((rec->flags & INODE_NEW) != 0 || (fs->caps.if_match_put && rec->etag[0] != '\0'));
}

/* In a transaction: the target's object is what the file is based on, and nothing of it counts. */
static void take_base(struct fs *fs, struct inode_rec *rec, const struct inode_rec *target)
    REQUIRES(&fs->lock)
{
    if ((target->flags & INODE_NEW) == 0) {
        STATE_SET(fs->state, rec->flags, rec->flags & ~(uint32_t)INODE_NEW);
        state_set(fs->state, rec->etag, target->etag, sizeof(rec->etag));
        STATE_SET(fs->state, rec->base_size, target->base_size);
        STATE_SET(fs->state, rec->base_valid, (uint64_t)0);
    }
}

/* One transaction for both names and the answer. */
static int rename_commit(struct fs *fs, struct op *op, struct node *node, struct node *target)
    REQUIRES(&fs->lock)
{
    struct inode_rec *dirs[2] = {state_inode(fs->state, op->ino), state_inode(fs->state, op->ino2)};
    struct inode_rec *rec = fs_rec(fs, node);
    uint32_t old = rec->name;
    int64_t now = fs_now_ns();
    uint32_t cell;
    int ret;

    state_begin(fs->state);
    ret = state_text_new(fs->state, op->name2, strlen(op->name2), &cell);
    if (ret == 0) {
        if (target != NULL) {
            struct inode_rec *gone = fs_rec(fs, target);

            take_base(fs, rec, gone);
            STATE_SET(fs->state, gone->flags, gone->flags | INODE_UNLINKED);
            STATE_SET(fs->state, gone->ctime_ns, now);
        }
        STATE_SET(fs->state, rec->parent, (uint32_t)op->ino2);
        STATE_SET(fs->state, rec->name, cell);
        STATE_SET(fs->state, rec->ctime_ns, now);
        for (int i = 0; i < 2; i++) {
            STATE_SET(fs->state, dirs[i]->mtime_ns, now);
            STATE_SET(fs->state, dirs[i]->ctime_ns, now);
        }
        ret = fs_set_component(fs, rec, op->name2);
        state_text_release(fs->state, old);
    }
    ret = ret == 0 ? fs_op_applied(fs, op) : ret;
    if (ret != 0) {
        state_abort(fs->state);
        return ret;
    }
    state_commit(fs->state);
    return 0;
}

/*
 * Programs that write a file and then give it its name (git, rsync, editors): one PUT, of the new
 * name. As what was closed just now, it is in kept memory until then; fsync of the directory waits
 * for it. Not with sync=close: there a name that was given is to be seen by all.
 */
static bool rename_at_once(struct fs *fs, struct op *op) REQUIRES(&fs->lock)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    const struct node *from = fs_node(fs, op->ino);
    struct node *to = fs_node(fs, op->ino2);
    struct node *node = fs_child(fs, (uint32_t)op->ino, op->name);
    struct node *target = NULL;
    bool beside = true;

    if (fs->options.sync != SYNC_FSYNC || (op->flags & RENAME_EXCHANGE) != 0 || from == NULL ||
        to == NULL || node == NULL || claim_held(fs, from) || claim_held(fs, to) ||
        !is_unsent(fs, node) || longs_beside(op->name2, &beside) != 0 || beside ||
        fs_child_key(fs, (uint32_t)op->ino2, op->name2, &key) != 0 ||
        buf_len(&key) > fs_key_max(fs) || !find_target(fs, op, &target) || target == node ||
        rename_commit(fs, op, node, target) != 0) {
        return false;
    }
    if (target != NULL) {
        fs_touch(fs, target);
        usage_removed(fs, fs_rec(fs, target));
        fs_node_unname(fs, target);
        fs_node_put(fs, target);
    }
    if (fs_node_rename(fs, node, (uint32_t)op->ino2, op->name2) != 0) {
        log_error("rename: out of memory", NULL);
    }
    node->meta_changed = true;
    node->edits++;
    theirs_note(node, fs_rec(fs, node)->etag, true);
    fs_opened(node, fs_rec(fs, node)->etag);
    hold_longer(fs, to);
    return true;
}

void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
               const char *newname, unsigned flags)
{
    struct op *op = fs_op_new(req);
    bool done;
    int ret;

    if (op == NULL) {
        return;
    }
    op->ino = parent;
    op->name = name;
    op->ino2 = newparent;
    op->name2 = newname;
    op->flags = flags;
    ret = op->fs->options.read_only ? -EROFS
          : (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0
              ? -EINVAL
              : fs_name_allowed(newparent, newname);
    if (ret != 0) {
        (void)fs_op_fail(op, ret);
        return;
    }
    mutex_lock(&op->fs->lock);
    done = rename_at_once(op->fs, op);
    mutex_unlock(&op->fs->lock);
    if (done) {
        (void)fs_op_fail(op, 0);
    } else {
        fs_op_start(op, rename_run);
    }
}

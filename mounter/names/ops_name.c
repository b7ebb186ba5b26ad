/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers that deal with names: lookup, forget. What makes them: ops_make.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/attr/theirs.h"
#include "mounter/fs.h"
#include "mounter/managed/facts.h"
#include "mounter/names/doubts.h"
#include "mounter/names/fences.h"
#include "mounter/names/graves.h"
#include "mounter/names/heads.h"
#include "mounter/names/listing.h"
#include "mounter/names/seen.h"
#include "mounter/ops.h"
#include "mounter/read/ahead.h"
#include "mounter/write/hold.h"
#include "mounter/write/settle.h"
#include "objstore/objstore_call.h"

enum { ASK_TRIES = 8, MOVE_WAIT_MS = 1000 };

/* Undo a lookup count that the kernel never learned of. */
static void uncount(struct fs *fs, uint64_t ino, bool opened)
{
    struct node *node;

    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    if (node != NULL) {
        struct inode_rec *rec = fs_rec(fs, node);

        state_begin(fs->state);
        STATE_SET(fs->state, rec->nlookup, rec->nlookup - (rec->nlookup > 0));
        if (opened) {
            STATE_SET(fs->state, rec->opens, rec->opens - (rec->opens > 0));
        }
        state_commit(fs->state);
        node->writers = node->writers < rec->opens ? node->writers : rec->opens;
        fs_node_put(fs, node);
    }
    mutex_unlock(&fs->lock);
}

void op_reply_entry(struct op *op, uint64_t ino, bool opened)
{
    struct fs *fs = op->fs;

    if (fs_op_end(op) == -ENOENT) {
        uncount(fs, ino, opened);
    }
}

int op_entry(struct fs *fs, struct op *op, struct node *node)
{
    int ret;

    state_begin(op->fs->state);
    fs_op_entry(fs, op, node);
    ret = fs_op_applied(fs, op);
    if (ret != 0) {
        state_abort(op->fs->state);
        return ret;
    }
    state_commit(op->fs->state);
    return 0;
}

/* Made here a moment ago, on a volume that nobody else is known to have: nothing is in it yet. */
static bool is_ours_alone(struct fs *fs, const struct node *dir) REQUIRES(&fs->lock)
{
    const struct listed *listed = dir->listed;

    return listed != NULL && listed->ours && listed->listing != NULL &&
           listing_young(fs, listed->listing->made_ms) && fs->locks == NULL;
}

/* An answer that costs nothing: 0 (*ret), -ENOENT, or -EAGAIN: the store has to be asked. */
static int find_listed(struct fs *fs, struct op *op, const char *key, struct node **ret,
                       enum listing_says *ret_says) REQUIRES(&fs->lock)
{
    struct node *dir = fs_node(fs, op->ino);
    CLEANUP(buf_done) struct buf own = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct remote remote;
    struct remote head;
    int r;

    *ret = NULL;
    *ret_says = listing_ask(fs, dir, op->name, key, &remote);
    if (*ret_says == LISTING_ABSENT) { /* where others may make a name, only they know */
        return op->makes || fs->options.sync != SYNC_CLOSE || is_ours_alone(fs, dir) ? -ENOENT
                                                                                     : -EAGAIN;
    }
    if (*ret_says == LISTING_UNKNOWN) {
        return -EAGAIN;
    }
    r = remote_merge(fs, dir->ino, op->name, &remote, ret);
    buf_addstr(&own, key);
    buf_addstr(&own, *ret_says == LISTING_DIR ? "/" : "");
    if (r == -EAGAIN && heads_remote(fs, buf_str(&own), &remote, &head)) {
        r = remote_merge(fs, dir->ino, op->name, &head, ret);
        remote_done(&head);
    }
    remote_done(&remote);
    return r == 0 && *ret == NULL ? -EAGAIN : r;
}

/* The attributes of a name that is known to be there, and of those after it. */
static void find_heads(struct op *op, const char *key, bool is_dir)
{
    CLEANUP(buf_done) struct buf own = BUF_INIT(2 * OBJSTORE_KEY_MAX);

    buf_addstr(&own, key);
    buf_addstr(&own, is_dir ? "/" : "");
    heads_fetch(op->fs, &(const struct heads_place){
                            .dir = (uint32_t)op->ino, .name = op->name, .key = buf_str(&own)});
}

/* From listings that are there or that are worth while. -EAGAIN: ask the store for this name. */
static LOCK_UNCHECKED
int find_cheaply(struct op *op, const char *key, struct node **ret, bool *ret_locked)
{
    struct fs *fs = op->fs;
    enum listing_says says;
    int r;

    mutex_lock(&fs->lock);
    r = find_listed(fs, op, key, ret, &says);
    if (r == -EAGAIN && says == LISTING_UNKNOWN) {
        mutex_unlock(&fs->lock);
        r = listing_fetch(fs, (uint32_t)op->ino, key);
        mutex_lock(&fs->lock);
        r = r == 0 ? find_listed(fs, op, key, ret, &says) : -EAGAIN;
    }
    if (r == -EAGAIN && (says == LISTING_FILE || says == LISTING_DIR)) {
        bool told;

        mutex_unlock(&fs->lock);
        told = says == LISTING_FILE && facts_prefetch(fs, (uint32_t)op->ino, op->name) == 0;
        if (!told) {
            find_heads(op, key, says == LISTING_DIR);
        }
        mutex_lock(&fs->lock);
        *ret = told ? fs_child(fs, (uint32_t)op->ino, op->name) : NULL;
        r = *ret != NULL ? 0 : find_listed(fs, op, key, ret, &says);
    }
    *ret_locked = r == 0;
    if (r != 0) {
        mutex_unlock(&fs->lock);
    }
    return r;
}

/* -EAGAIN: the answer was older than what has been done here since. */
static LOCK_UNCHECKED
int find_once(struct op *op, int tries, struct node **ret, bool *ret_locked)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct fs *fs = op->fs;
    struct remote remote;
    bool beside = false;
    int r = fs_learn_name(fs, (uint32_t)op->ino, op->name);

    *ret_locked = false;
    if (r != 0) {
        return r;
    }
    mutex_lock(&fs->lock);
    r = fs_node(fs, op->ino) == NULL ? -ESTALE
                                     : fs_child_key(fs, (uint32_t)op->ino, op->name, &key);
    if (r == 0 && fs_child(fs, (uint32_t)op->ino, op->name) == NULL &&
        graves_has_name(fs, (uint32_t)op->ino, op->name)) {
        r = -ENOENT;
    }
    mutex_unlock(&fs->lock);
    if (r == -EINVAL) {
        return -ENOENT; /* no key has such a name */
    }
    if (r != 0) {
        return r;
    }
    if (longs_beside(op->name, &beside) != 0) {
        return -ENOENT;
    }
    r = tries == 0 ? find_cheaply(op, buf_str(&key), ret, ret_locked) : -EAGAIN;
    if (r != -EAGAIN) {
        return r;
    }
    r = remote_find(fs, buf_str(&key), beside, &remote);
    if (r == 0 && !remote.exists) {
        r = doubts_find_dir(fs, op, buf_str(&key), &remote);
    }
    if (r != 0) {
        return r;
    }
    remote.asked = tries == ASK_TRIES ? UINT64_MAX : remote.asked;
    mutex_lock(&fs->lock);
    *ret_locked = true;
    r = remote_merge(fs, (uint32_t)op->ino, op->name, &remote, ret);
    remote_done(&remote);
    return r == 0 && *ret == NULL ? -ENOENT : r;
}

/* What it returns with depends on what it found: the checker cannot follow that. */
LOCK_UNCHECKED
int name_find(struct op *op, struct node **ret, bool *ret_locked)
{
    int r = find_once(op, op->fresh ? 1 : 0, ret, ret_locked);

    for (int tries = 1; r == -EAGAIN && tries <= ASK_TRIES; tries++) {
        if (*ret_locked) {
            const struct node *dir = fs_node(op->fs, op->ino);

            if (dir != NULL && claim_held(op->fs, dir)) { /* it is being moved */
                cond_wait_ms(&op->fs->changed, &op->fs->lock, MOVE_WAIT_MS);
            }
            mutex_unlock(&op->fs->lock);
        }
        r = find_once(op, tries, ret, ret_locked);
    }
    return r;
}

/* With the bytes, where a version may be gone the next moment: what OPEN finds is what the kernel
 * was told. */
static LOCK_UNCHECKED
int find_fresh(struct op *op, struct node **ret, bool *ret_locked) /* as name_find() */
{
    struct fs *fs = op->fs;
    int r = name_find(op, ret, ret_locked);

    for (int i = 0; r == 0 && op->fresh && i < OPEN_TRIES && open_wants_bytes(fs, *ret); i++) {
        struct node *node = *ret;
        bool gone;

        node->users++;
        mutex_unlock(&fs->lock);
        gone = open_bring_bytes(fs, node->ino) != 0;
        mutex_lock(&fs->lock);
        node->users--;
        if (!gone && (fs_rec(fs, node)->flags & INODE_DETACHED) == 0) {
            continue;
        }
        fs_node_put(fs, node);
        mutex_unlock(&fs->lock);
        r = name_find(op, ret, ret_locked);
    }
    return r;
}

static LOCK_UNCHECKED
void lookup_run(struct op *op) /* as name_find() */
{
    struct fs *fs = op->fs;
    struct node *node = NULL;
    bool locked = false;
    uint64_t ino = 0;
    int ret = find_fresh(op, &node, &locked);

    if (ret == 0) {
        ret = op_entry(fs, op, node);
        ino = node->ino;
    } else if (ret == -ENOENT) {
        if (!locked) {
            mutex_lock(&fs->lock);
            locked = true;
        }
        fs_note_absent(fs, (uint32_t)op->ino, op->name);
    }
    if (locked) {
        mutex_unlock(&fs->lock);
    }
    if (ret != 0) {
        (void)fs_op_fail(op, ret);
    } else {
        op_reply_entry(op, ino, false);
    }
}

/* For an open() that was sent back: what was asked before it began will not do (reopen.h). */
static bool wants_fresh(struct fs *fs, fuse_req_t req, const struct node *node) REQUIRES(&fs->lock)
{
    uint64_t since = reopen_out(fs->reopens, (uint32_t)fuse_req_ctx(req)->pid, fs_now_ms());

    return since != 0 && fs->options.open_asks &&
           (node == NULL || (S_ISREG(fs_rec(fs, node)->mode) && node->asked_turn <= since) ||
            open_wants_bytes(fs, node));
}

void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct op *op = fs_op_new(req);
    struct fs *fs;
    struct node *node;
    bool known = false;
    uint64_t ino = 0;

    if (op == NULL) {
        return;
    }
    fs = op->fs;
    op->ino = parent;
    op->name = name;
    if (strlen(name) > NAMES_MAX) {
        (void)fs_op_fail(op, -ENAMETOOLONG);
        return;
    }
    mutex_lock(&fs->lock);
    node = fs_child(fs, (uint32_t)parent, name);
    op->fresh = wants_fresh(fs, req, node);
    if (node != NULL) {
        const struct inode_rec *rec = fs_rec(fs, node);

        known = (rec->flags & (INODE_NEW | INODE_DIRTY)) != 0 ||
                (fs_now_ms() < node->valid_until_ms && !op->fresh);
        known = known && op_entry(fs, op, node) == 0;
        ino = node->ino;
    }
    mutex_unlock(&fs->lock);
    if (known) {
        op_reply_entry(op, ino, false);
    } else {
        pending_interruptible(op->pending, NULL, NULL);
        fs_op_start(op, lookup_run);
    }
}

static void forget_one(struct fs *fs, uint64_t ino, uint64_t count) REQUIRES(&fs->lock)
{
    struct node *node = fs_node(fs, ino);
    struct inode_rec *rec = node != NULL ? fs_rec(fs, node) : NULL;

    if (rec != NULL && ino != STATE_ROOT) {
        state_begin(fs->state);
        STATE_SET(fs->state, rec->nlookup, rec->nlookup > count ? rec->nlookup - count : 0);
        state_commit(fs->state);
        fs_node_put(fs, node);
    }
}

/*
 * A FORGET that is replayed is counted twice only if the process died between the count and the
 * release of the slot: the applied record tells.
 */
static void forget_all(fuse_req_t req, size_t count, const struct fuse_forget_data *forgets)
{
    struct fs *fs = fuse_req_userdata(req);
    struct pending *pending = pending_begin(req);
    uint64_t unique;
    const void *reply;
    size_t len;

    if (pending == NULL) {
        return;
    }
    unique = pending_unique(pending);
    mutex_lock(&fs->lock);
    if (!state_find_applied(fs->state, unique, &reply, &len)) {
        for (size_t i = 0; i < count; i++) {
            forget_one(fs, forgets[i].ino, forgets[i].nlookup);
        }
        state_begin(fs->state);
        (void)!state_applied(fs->state, unique, NULL, 0);
        state_commit(fs->state);
    }
    mutex_unlock(&fs->lock);
    pending_reply_none(pending);
    mutex_lock(&fs->lock);
    state_forget_applied(fs->state, unique);
    mutex_unlock(&fs->lock);
}

void fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
    const struct fuse_forget_data one = {.ino = ino, .nlookup = nlookup};

    forget_all(req, 1, &one);
}

void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    forget_all(req, count, forgets);
}

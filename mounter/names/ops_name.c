/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers that deal with names: lookup, making, removing, renaming. */
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

enum { META_TIMEOUT_MS = 50000, ASK_TRIES = 8, MOVE_WAIT_MS = 1000 };

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

/* With the lock: count, record, and leave the answer in op->reply. */
static int entry_of(struct fs *fs, struct op *op, struct node *node) REQUIRES(&fs->lock)
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
        return op->makes || fs->options.sync != SYNC_CLOSE ||
                       (dir->listed != NULL && dir->listed->ours)
                   ? -ENOENT
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
    int r = find_once(op, 0, ret, ret_locked);

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

static LOCK_UNCHECKED
void lookup_run(struct op *op) /* as name_find() */
{
    struct fs *fs = op->fs;
    struct node *node = NULL;
    bool locked = false;
    uint64_t ino = 0;
    int ret = name_find(op, &node, &locked);

    if (ret == 0) {
        ret = entry_of(fs, op, node);
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
    if (node != NULL) {
        const struct inode_rec *rec = fs_rec(fs, node);

        known = (rec->flags & (INODE_NEW | INODE_DIRTY)) != 0 || fs_now_ms() < node->valid_until_ms;
        known = known && entry_of(fs, op, node) == 0;
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

/* ---- making ---- */

/* -EEXIST: there is something; 0: there is nothing. Where it is, *ret is the node (unlocked). */
LOCK_UNCHECKED
int op_check_absent(struct op *op)
{
    struct node *node = NULL;
    bool locked = false;
    int ret = name_find(op, &node, &locked);

    if (locked) {
        mutex_unlock(&op->fs->lock);
    }
    return ret == 0 ? -EEXIST : ret == -ENOENT ? 0 : ret;
}

static int make_inode(struct fs *fs, struct op *op, uint32_t flags, const char *target,
                      struct node **ret) REQUIRES(&fs->lock)
{
    int64_t now = fs_now_ns();
    const struct fs_new_inode what = {
        .parent = (uint32_t)op->ino,
        .name = op->name,
        .flags = flags | INODE_ATTRS,
        .attr = {.mode = op->mode,
                 .uid = op->uid,
                 .gid = op->gid,
                 .rdev = op->rdev,
                 .xattr = op->xattr,
                 .mtime_ns = now,
                 .ctime_ns = now,
                 .atime_ns = now},
        .size = target != NULL ? strlen(target) : 0,
        .target = target,
    };
    struct node *dir = fs_node(fs, op->ino);
    uint32_t ino;
    int r;

    if (dir == NULL) {
        return -ESTALE;
    }
    state_begin(fs->state);
    r = fs_inode_make(fs, &what, &ino);
    if (r == 0) {
        struct inode_rec *up = fs_rec(fs, dir);

        STATE_SET(fs->state, up->mtime_ns, now);
        STATE_SET(fs->state, up->ctime_ns, now);
        state_commit(fs->state);
        r = fs_node_add(fs, ino, op->name, ret);
        if (r == 0) {
            fs_touch(fs, *ret); /* whoever was told that it is absent was told before */
            hold_longer(fs, dir);
        }
    } else {
        state_abort(fs->state);
    }
    return r;
}

/* A node that only this operation has made and that failed to reach the store. */
static void unmake(struct fs *fs, uint32_t ino)
{
    struct node *node;

    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    if (node != NULL) {
        struct inode_rec *rec = fs_rec(fs, node);

        state_begin(fs->state);
        STATE_SET(fs->state, rec->flags, rec->flags | INODE_UNLINKED);
        state_commit(fs->state);
        fs_node_put(fs, node);
    }
    mutex_unlock(&fs->lock);
}

void op_mark_late(struct fs *fs, const struct op *op, const struct node *node)
{
    if (pending_replay(op->pending)) {
        state_begin(fs->state);
        publish_set_late(fs, fs_rec(fs, node));
        state_commit(fs->state);
    }
}

int op_intend(struct op *op, bool *ret_again)
{
    struct state_intent intent = {.unique = op->unique};
    int ret;

    mutex_lock(&op->fs->lock);
    *ret_again = state_intended(op->fs->state, op->unique);
    (void)state_find_intent(op->fs->state, op->unique, &intent);
    state_begin(op->fs->state);
    ret = state_intend(op->fs->state, &intent);
    state_commit(op->fs->state);
    mutex_unlock(&op->fs->lock);
    return ret;
}

/* mknod and symlink: an object at once. The link target is op->name2. */
static void make_object_run(struct op *op)
{
    struct fs *fs = op->fs;
    struct node *node = NULL;
    bool again;
    uint32_t ino = 0;
    int ret = op_intend(op, &again);

    ret = ret == 0 ? op_check_absent(op) : ret;
    ret = ret == 0 ? xattr_inherit(op) : ret;
    mutex_lock(&fs->lock);
    node = ret == 0 || (ret == -EEXIST && again) ? fs_child(fs, (uint32_t)op->ino, op->name) : NULL;
    if (ret == -EEXIST && again && node != NULL) {
        ret = 0; /* made before the crash */
    } else if (ret == 0) {
        ret = make_inode(fs, op, INODE_NEW | INODE_DIRTY, op->name2, &node);
    }
    if (ret == 0) {
        ino = node->ino;
        node->users++;
    }
    mutex_unlock(&fs->lock);
    ret = ret == 0 ? publish(fs, ino) : ret;
    mutex_lock(&fs->lock);
    if (ino != 0) {
        node->users--;
        ret = ret == 0 ? entry_of(fs, op, node) : ret;
    }
    mutex_unlock(&fs->lock);
    if (ret != 0) {
        if (ino != 0) {
            unmake(fs, ino);
        }
        (void)fs_op_fail(op, ret == -ESTALE ? -EEXIST : ret);
        return;
    }
    op_reply_entry(op, ino, false);
}

struct op *op_new_make(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct op *op = fs_op_new(req);
    int ret;

    if (op == NULL) {
        return NULL;
    }
    op->ino = parent;
    op->name = name;
    op->makes = true;
    op->mode = (uint32_t)mode;
    op->uid = fuse_req_ctx(req)->uid;
    op->gid = op->fs->options.one_group ? op->fs->options.group : fuse_req_ctx(req)->gid;
    op->umask = (uint32_t)fuse_req_ctx(req)->umask;
    ret = op->fs->options.read_only ? -EROFS : fs_name_allowed(parent, name);
    if (ret == 0 && op->fs->options.attrs == ATTRS_LIST && !S_ISREG(mode) && !S_ISDIR(mode)) {
        ret = -ENOTSUP; /* listings do not tell it from a file */
    }
    if (ret != 0) {
        (void)fs_op_fail(op, ret);
        return NULL;
    }
    return op;
}

void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct op *op = op_new_make(req, parent, name, mode);

    if (op != NULL) {
        op->rdev = (uint32_t)rdev;
        fs_op_start(op, make_object_run);
    }
}

void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct op *op = op_new_make(req, parent, name, S_IFLNK | 0777);

    if (op != NULL) {
        op->name2 = target;
        fs_op_start(op, make_object_run);
    }
}

int remote_put_marker(struct fs *fs, const char *key, const struct attr *attr, bool only_new)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    struct objstore_meta meta;
    struct objstore_request put = {.op = OBJSTORE_PUT,
                                   .key = key,
                                   .meta = &meta,
                                   .if_none_match =
                                       only_new && fs->caps.if_none_match_put ? "*" : NULL,
                                   .timeout_ms = META_TIMEOUT_MS};
    int ret = strlen(key) > fs_key_max(fs) ? -ENAMETOOLONG : attr_write(attr, &arena, &meta);

    ret = ret == 0 ? fences_wait(fs, key, false, fs_now_ms() + META_TIMEOUT_MS) : ret;
    ret = ret == 0 ? seen_note(fs, attr) : ret;
    return ret == 0 ? volume_call(fs->volume, &put, &answer) : ret;
}

static int mkdir_store(struct op *op, bool again)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct fs *fs = op->fs;
    int64_t now = fs_now_ns();
    const struct attr attr = {.mode = op->mode,
                              .uid = op->uid,
                              .gid = op->gid,
                              .xattr = op->xattr,
                              .mtime_ns = now,
                              .ctime_ns = now,
                              .atime_ns = now};
    int ret;

    mutex_lock(&fs->lock);
    ret = fs_child_key(fs, (uint32_t)op->ino, op->name, &key);
    mutex_unlock(&fs->lock);
    buf_addstr(&key, "/");
    ret = ret == 0 ? remote_put_marker(fs, buf_str(&key), &attr, true) : ret;
    return ret == -EEXIST && again ? 0 : ret;
}

/* The directory is made before its object, by a program's mkdir(): a try of before the crash? */
static bool is_half_made(struct fs *fs, const struct op *op, const struct node *node)
    REQUIRES(&fs->lock)
{
    const struct inode_rec *rec = fs_rec(fs, node);

    return pending_replay(op->pending) && (rec->flags & INODE_NEW) != 0 && rec->nlookup == 0 &&
           rec->opens == 0;
}

/* Here; its object is published in the background. */
static int mkdir_here(struct fs *fs, struct op *op, uint32_t *ret_ino) REQUIRES(&fs->lock)
{
    struct node *node = fs_child(fs, (uint32_t)op->ino, op->name);
    int ret = 0;

    if (node != NULL) {
        ret = is_half_made(fs, op, node) && S_ISDIR(fs_rec(fs, node)->mode) ? 0 : -EEXIST;
    } else {
        ret = make_inode(fs, op, INODE_NEW | INODE_DIRTY, NULL, &node);
    }
    if (ret == 0) {
        listing_new_dir(fs, node);
        *ret_ino = node->ino;
        ret = entry_of(fs, op, node);
    }
    return ret;
}

static void mkdir_run(struct op *op)
{
    struct fs *fs = op->fs;
    struct node *node = NULL;
    bool here = fs->options.sync != SYNC_CLOSE;
    bool again;
    uint32_t ino = 0;
    int ret = op_intend(op, &again);

    ret = ret == 0 ? op_check_absent(op) : ret;
    ret = ret == -EEXIST && (again || (here && pending_replay(op->pending))) ? 0 : ret;
    ret = ret == 0 ? xattr_inherit(op) : ret;
    ret = ret == 0 && !here ? mkdir_store(op, again) : ret;
    mutex_lock(&fs->lock);
    if (ret == 0 && here) {
        ret = mkdir_here(fs, op, &ino);
    } else if (ret == 0) {
        node = fs_child(fs, (uint32_t)op->ino, op->name);
        ret = node == NULL ? make_inode(fs, op, INODE_MARKER, NULL, &node) : 0;
        if (ret == 0) {
            node->valid_until_ms = fs_now_ms() + fs->options.attr_timeout_ms;
            theirs_note(node, "", !again);
            op_mark_late(fs, op, node);
            listing_new_dir(fs, node);
            ret = entry_of(fs, op, node);
            ino = node->ino;
        }
    }
    mutex_unlock(&fs->lock);
    if (ret != 0) {
        (void)fs_op_fail(op, ret);
        return;
    }
    op_reply_entry(op, ino, false);
    if (here) {
        hold_dir(fs, ino);
    }
}

/* The kernel has looked the name up just before: what that told is not asked for again. */
static bool name_is_free(struct fs *fs, const struct op *op) REQUIRES(&fs->lock)
{
    struct node *dir = fs_node(fs, op->ino);

    return dir != NULL && !claim_held(fs, dir) &&
           fs_child(fs, (uint32_t)op->ino, op->name) == NULL &&
           (listing_lacks(fs, dir->ino, op->name) ||
            fs_known_absent(fs, (uint32_t)op->ino, op->name));
}

static bool mkdir_at_once(struct fs *fs, struct op *op, uint32_t *ret_ino) REQUIRES(&fs->lock)
{
    return fs->options.sync != SYNC_CLOSE && name_is_free(fs, op) &&
           mkdir_here(fs, op, ret_ino) == 0;
}

/* ---- create ---- */

static void add_open_out(struct op *op)
{
    const struct fuse_open_out out = {.fh = op->unique, .open_flags = FOPEN_KEEP_CACHE};

    memcpy(op->reply + op->reply_len, &out, sizeof(out));
    op->reply_len += sizeof(out);
}

int op_commit_open(struct fs *fs, struct op *op, struct node *node)
{
    struct inode_rec *rec = fs_rec(fs, node);
    int ret;

    STATE_SET(fs->state, rec->opens, rec->opens + 1);
    ret = fs_op_applied(fs, op);
    if (ret != 0) {
        state_abort(fs->state);
        return ret;
    }
    state_commit(fs->state);
    node->writers += (op->flags & O_ACCMODE) != O_RDONLY;
    fs_opened(node, rec->etag);
    return 0;
}

int op_created(struct fs *fs, struct op *op, struct node *node)
{
    state_begin(fs->state);
    fs_op_entry(fs, op, node);
    add_open_out(op);
    return op_commit_open(fs, op, node);
}

static LOCK_UNCHECKED
void create_run(struct op *op)
{
    struct fs *fs = op->fs;
    struct node *node = NULL;
    bool locked = false;
    uint32_t ino = 0;
    int inherited = xattr_inherit(op);
    int ret = inherited == 0 ? name_find(op, &node, &locked) : inherited;

    if (!locked) {
        mutex_lock(&fs->lock);
    }
    if (ret == 0 && (op->flags & O_EXCL) != 0 && !is_half_made(fs, op, node)) {
        ret = -EEXIST;
    } else if (ret == 0 && S_ISDIR(fs_rec(fs, node)->mode)) {
        ret = -EISDIR;
    } else if (ret == -ENOENT) {
        node = NULL;
        ret = make_inode(fs, op, INODE_NEW | INODE_DIRTY, NULL, &node);
    }
    ret = ret == 0 ? op_created(fs, op, node) : ret;
    if (ret == 0) {
        ino = node->ino;
    }
    mutex_unlock(&fs->lock);
    if (ret != 0) {
        (void)fs_op_fail(op, ret);
    } else {
        op_reply_entry(op, ino, true);
    }
}

/* Where somebody else makes the file before ours is published, both are kept, one as a conflict
 * copy. */
static bool create_at_once(struct fs *fs, struct op *op, uint32_t *ret_ino) REQUIRES(&fs->lock)
{
    struct node *node = NULL;

    if (!fs->caps.if_none_match_put || !name_is_free(fs, op) ||
        make_inode(fs, op, INODE_NEW | INODE_DIRTY, NULL, &node) != 0) {
        return false;
    }
    *ret_ino = node->ino;
    return op_created(fs, op, node) == 0;
}

/* A file that is opened, or a directory: made here without asking the store, or by a task. */
static void make_at_once(struct op *op, bool file)
{
    struct fs *fs = op->fs;
    bool done = xattr_inherit(op) == 0;
    uint32_t ino = 0;

    mutex_lock(&fs->lock);
    done = done && (file ? create_at_once(fs, op, &ino) : mkdir_at_once(fs, op, &ino));
    mutex_unlock(&fs->lock);
    if (done) {
        op_reply_entry(op, ino, file);
        if (!file) {
            hold_dir(fs, ino);
        }
    } else if (ino != 0) {
        unmake(fs, ino);
        (void)fs_op_fail(op, -EBUSY);
    } else {
        fs_op_start(op, file ? create_run : mkdir_run);
    }
}

void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct op *op = op_new_make(req, parent, name, S_IFDIR | (mode & 07777));

    if (op != NULL) {
        make_at_once(op, false);
    }
}

void fs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
               struct fuse_file_info *fi)
{
    struct op *op = op_new_make(req, parent, name, S_IFREG | (mode & 07777));

    if (op == NULL) {
        return;
    }
    op->flags = (uint32_t)fi->flags;
    if (strcmp(name, "/") == 0) {
        fs_op_start(op, link_tmpfile_run);
    } else {
        make_at_once(op, true);
    }
}

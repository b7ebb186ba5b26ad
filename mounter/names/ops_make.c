/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers that make names: mknod, symlink, mkdir, create. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/attr/theirs.h"
#include "mounter/fs.h"
#include "mounter/names/fences.h"
#include "mounter/names/listing.h"
#include "mounter/names/seen.h"
#include "mounter/ops.h"
#include "mounter/write/hold.h"
#include "mounter/write/settle.h"
#include "objstore/objstore_call.h"

enum { META_TIMEOUT_MS = 50000 };

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

/* The answer of what has been made, or found. */
static int made(struct fs *fs, struct op *op, struct node *node) REQUIRES(&fs->lock)
{
    return op->opens ? op_created(fs, op, node) : op_entry(fs, op, node);
}

/*
 * mknod, symlink, and O_EXCL where other nodes may ask for the same: an object at once, as the
 * store says who is the first. The link target is op->name2.
 */
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
        ret = make_inode(fs, op, INODE_NEW | INODE_DIRTY | INODE_ONLY, op->name2, &node);
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
        ret = ret == 0 ? made(fs, op, node) : ret;
    }
    mutex_unlock(&fs->lock);
    if (ret != 0) {
        if (ino != 0) {
            unmake(fs, ino);
        }
        (void)fs_op_fail(op, ret == -ESTALE ? -EEXIST : ret);
        return;
    }
    op_reply_entry(op, ino, op->opens);
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
        ret = op_entry(fs, op, node);
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
            ret = op_entry(fs, op, node);
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

static uint32_t flags_of(const struct op *op)
{
    return INODE_NEW | INODE_DIRTY | ((op->flags & O_EXCL) != 0 ? INODE_ONLY : 0U);
}

/* Other nodes may make the same name at this instant, and this mount asks the store about names. */
static bool asks_store(const struct fs *fs, const struct op *op)
{
    return (op->flags & O_EXCL) != 0 && fs->locks != NULL && fs->options.sync == SYNC_CLOSE;
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
    } else if (ret == 0 && (op->flags & O_TRUNC) != 0 && !is_half_made(fs, op, node)) {
        ret = -ESTALE; /* the kernel looks it up again and finds it: open() cuts it */
    } else if (ret == -ENOENT) {
        node = NULL;
        ret = make_inode(fs, op, flags_of(op), NULL, &node);
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

/* Where somebody else makes the file before ours is published, what was written to ours is kept as
 * a conflict copy. */
static bool create_at_once(struct fs *fs, struct op *op, uint32_t *ret_ino) REQUIRES(&fs->lock)
{
    struct node *node = NULL;

    if (!fs->caps.if_none_match_put || !name_is_free(fs, op) ||
        make_inode(fs, op, flags_of(op), NULL, &node) != 0) {
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
    } else if (asks_store(op->fs, op)) {
        op->opens = true;
        fs_op_start(op, make_object_run);
    } else {
        make_at_once(op, true);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handlers of extended attributes, and what access control lists and capabilities ask of others:
 * a list goes with the mode, a new file inherits, and a write takes capabilities away.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/attr/acl.h"
#include "mounter/fs.h"
#include "mounter/ops.h"

#define CAPABILITY "security.capability"

enum { GROUPS_MAX = 1024 };

static bool starts_with(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool is_acl(const char *name)
{
    return strcmp(name, ACL_ACCESS) == 0 || strcmp(name, ACL_DEFAULT) == 0;
}

/* The kernel has checked who may: trusted.* root, user.* only of files and directories. */
static bool is_kept(const char *name)
{
    return starts_with(name, "user.") || starts_with(name, "trusted.") ||
           starts_with(name, "security.") || is_acl(name);
}

static int xattr_text(struct fs *fs, uint64_t ino, struct buf *out)
{
    struct node *node;

    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    if (node != NULL) {
        state_text_get(fs->state, fs_rec(fs, node)->xattr, out);
    }
    mutex_unlock(&fs->lock);
    return node == NULL ? -ESTALE : buf_error(out);
}

static void reply_sized(fuse_req_t req, int ret, const struct buf *value, size_t size)
{
    if (ret != 0) {
        (void)fuse_reply_err(req, -ret);
    } else if (size == 0) {
        (void)fuse_reply_xattr(req, buf_len(value));
    } else if (buf_len(value) > size) {
        (void)fuse_reply_err(req, ERANGE);
    } else {
        (void)fuse_reply_buf(req, buf_str(value), buf_len(value));
    }
}

void fs_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct fs *fs = fuse_req_userdata(req);
    CLEANUP(buf_done) struct buf text = BUF_INIT(STATE_TEXT_MAX);
    CLEANUP(buf_done) struct buf value = BUF_INIT(STATE_TEXT_MAX);
    int ret = is_kept(name) ? xattr_text(fs, ino, &text) : -EOPNOTSUPP;

    ret = ret == 0 ? attr_xattr_get(buf_str(&text), name, &value) : ret;
    reply_sized(req, ret, &value, size);
}

void fs_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    struct fs *fs = fuse_req_userdata(req);
    bool root = fuse_req_ctx(req)->uid == 0;
    CLEANUP(buf_done) struct buf text = BUF_INIT(STATE_TEXT_MAX);
    CLEANUP(buf_done) struct buf all = BUF_INIT(STATE_TEXT_MAX);
    CLEANUP(buf_done) struct buf names = BUF_INIT(STATE_TEXT_MAX);
    int ret = xattr_text(fs, ino, &text);

    ret = ret == 0 ? attr_xattr_list(buf_str(&text), &all) : ret;
    for (size_t i = 0; ret == 0 && i < buf_len(&all);) {
        const char *name = buf_str(&all) + i;
        size_t len = strlen(name) + 1;

        if (root || !starts_with(name, "trusted.")) {
            buf_add(&names, name, len);
        }
        i += len;
    }
    ret = ret == 0 ? buf_error(&names) : ret;
    reply_sized(req, ret, &names, size);
}

/* The JSON text becomes the record's; in a transaction of the caller's. */
static int set_text(struct fs *fs, struct inode_rec *rec, const struct buf *text)
    REQUIRES(&fs->lock)
{
    uint32_t before = rec->xattr;
    uint32_t cell = 0;
    int ret = 0;

    if (buf_len(text) > 2) { /* not "{}" */
        ret = state_text_new(fs->state, buf_str(text), buf_len(text), &cell);
    }
    if (ret == 0) {
        STATE_SET(fs->state, rec->xattr, cell);
        state_text_release(fs->state, before);
    }
    return ret;
}

/* A list that the mode says all of is not kept. *mode is changed with it. */
static int take_acl(const struct attr_xattr_change *change, struct attr_xattr_change *ret,
                    uint32_t *mode)
{
    uint32_t ignored = 0;
    bool minimal = false;
    int r;

    *ret = *change;
    if (change->value == NULL || !is_acl(change->name)) {
        return 0;
    }
    if (strcmp(change->name, ACL_DEFAULT) == 0) {
        return acl_to_mode(change->value, change->len, &ignored, &minimal);
    }
    r = acl_to_mode(change->value, change->len, mode, &minimal);
    if (minimal) {
        ret->value = NULL;
    }
    return r;
}

static int change_commit(struct fs *fs, struct op *op, struct node *node, uint32_t mode,
                         const struct buf *text) REQUIRES(&fs->lock)
{
    struct inode_rec *rec = fs_rec(fs, node);
    int ret;

    state_begin(fs->state);
    ret = set_text(fs, rec, text);
    ret = ret == 0 ? fs_op_applied(fs, op) : ret;
    if (ret != 0) {
        state_abort(fs->state);
        return ret;
    }
    STATE_SET(fs->state, rec->mode, mode);
    STATE_SET(fs->state, rec->ctime_ns, fs_now_ns());
    if (!S_ISDIR(rec->mode)) {
        fs_mark_dirty(fs, node);
    }
    state_commit(fs->state);
    node->attrs_set = true;
    return 0;
}

static int change_xattr(struct fs *fs, struct op *op) REQUIRES(&fs->lock)
{
    struct node *node = fs_node(fs, op->ino);
    CLEANUP(buf_done) struct buf old = BUF_INIT(STATE_TEXT_MAX);
    CLEANUP(buf_done) struct buf text = BUF_INIT(STATE_TEXT_MAX);
    const struct attr_xattr_change asked = {op->name, op->data, (size_t)op->size, op->to_set};
    const struct inode_rec *rec = node != NULL ? fs_rec(fs, node) : NULL;
    struct attr_xattr_change change;
    uint32_t mode;
    int ret;

    if (rec == NULL || lost_is(fs, node)) {
        return rec == NULL ? -ESTALE : lost_eio();
    }
    mode = rec->mode;
    ret = take_acl(&asked, &change, &mode);
    mode &= op->kill ? ~(uint32_t)S_ISGID : UINT32_MAX;
    state_text_get(fs->state, rec->xattr, &old);
    ret = ret == 0 ? attr_xattr_set(buf_str(&old), &change, &text) : ret;
    if (ret == -ENODATA && asked.value != NULL && change.value == NULL) {
        buf_addstr(&text, buf_str(&old)); /* there was no list to be removed: only the mode */
        ret = 0;
    }
    return ret == 0 ? change_commit(fs, op, node, mode, &text) : ret;
}

static void xattr_run(struct op *op)
{
    struct fs *fs = op->fs;
    int ret;

    mutex_lock(&fs->lock);
    ret = change_xattr(fs, op);
    mutex_unlock(&fs->lock);
    ret = ret == 0 ? attr_store(fs, (uint32_t)op->ino) : ret;
    (void)fs_op_fail(op, ret);
}

/*
 * Who sets a list sets the mode: as after a chmod(2), set-group-id stays only if the group is one
 * of his. The kernel tells that with a flag that libfuse does not pass on; so the process is looked
 * at.
 */
static bool loses_sgid(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct fs *fs = fuse_req_userdata(req);
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    const struct node *node;
    gid_t groups[GROUPS_MAX];
    uint32_t gid = 0;
    bool sgid;
    int count;

    if (strcmp(name, ACL_ACCESS) != 0 || ctx->uid == 0) {
        return false;
    }
    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    sgid = node != NULL && (fs_rec(fs, node)->mode & S_ISGID) != 0;
    gid = sgid ? fs_rec(fs, node)->gid : 0;
    mutex_unlock(&fs->lock);
    if (!sgid || ctx->gid == gid) {
        return false;
    }
    count = fuse_req_getgroups(req, GROUPS_MAX, groups);
    for (int i = 0; i < count && i < GROUPS_MAX; i++) {
        if (groups[i] == gid) {
            return false;
        }
    }
    return true;
}

static void start_xattr(fuse_req_t req, fuse_ino_t ino, const struct attr_xattr_change *change)
{
    bool kills = change->value != NULL && loses_sgid(req, ino, change->name);
    struct op *op = fs_op_new(req);
    int ret;

    if (op == NULL) {
        return;
    }
    op->ino = ino;
    op->kill = kills;
    op->name = change->name;
    op->data = change->value;
    op->size = change->len;
    op->to_set = change->flags;
    ret = op->fs->options.read_only      ? -EROFS
          : !is_kept(change->name)       ? -EOPNOTSUPP
          : change->len > ATTR_XATTR_MAX ? -ENOSPC
                                         : 0;
    if (ret != 0) {
        (void)fs_op_fail(op, ret);
    } else {
        fs_op_start(op, xattr_run);
    }
}

void fs_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                 int flags)
{
    const struct attr_xattr_change change = {name, value != NULL ? value : "", size, flags};

    start_xattr(req, ino, &change);
}

void fs_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    const struct attr_xattr_change change = {.name = name};

    start_xattr(req, ino, &change);
}

/* ---- for others ---- */

int xattr_chmod(struct fs *fs, struct node *node, uint32_t mode)
{
    struct inode_rec *rec = fs_rec(fs, node);
    CLEANUP(buf_done) struct buf old = BUF_INIT(STATE_TEXT_MAX);
    CLEANUP(buf_done) struct buf text = BUF_INIT(STATE_TEXT_MAX);
    CLEANUP(buf_done) struct buf list = BUF_INIT(ATTR_XATTR_MAX);
    AUTOFREE char *value = NULL;
    int ret;

    if (rec->xattr == 0) {
        return 0;
    }
    state_text_get(fs->state, rec->xattr, &old);
    if (attr_xattr_get(buf_str(&old), ACL_ACCESS, &list) != 0) {
        return 0;
    }
    value = malloc(buf_len(&list) + 1);
    if (value == NULL) {
        return -ENOMEM;
    }
    memcpy(value, buf_str(&list), buf_len(&list));
    ret = acl_chmod(value, buf_len(&list), mode);
    if (ret == 0) {
        const struct attr_xattr_change change = {ACL_ACCESS, value, buf_len(&list), 0};

        ret = attr_xattr_set(buf_str(&old), &change, &text);
    }
    return ret == 0 ? set_text(fs, rec, &text) : ret;
}

void xattr_kill(struct fs *fs, struct node *node, bool suid)
{
    struct inode_rec *rec = fs_rec(fs, node);
    CLEANUP(buf_done) struct buf old = BUF_INIT(STATE_TEXT_MAX);
    CLEANUP(buf_done) struct buf text = BUF_INIT(STATE_TEXT_MAX);
    const struct attr_xattr_change change = {.name = CAPABILITY};
    uint32_t mode = rec->mode & ~(uint32_t)S_ISUID;

    mode &= (rec->mode & S_IXGRP) != 0 ? ~(uint32_t)S_ISGID : UINT32_MAX;
    if (suid && mode != rec->mode && !S_ISDIR(rec->mode)) {
        STATE_SET(fs->state, rec->mode, mode);
    }
    if (rec->xattr != 0) {
        state_text_get(fs->state, rec->xattr, &old);
        if (strstr(buf_str(&old), CAPABILITY) != NULL &&
            attr_xattr_set(buf_str(&old), &change, &text) == 0) {
            (void)!set_text(fs, rec, &text); /* it is shorter than it was */
        }
    }
}

/* The directory's default list, and what of it the new file has. -ENODATA: there is none. */
static int inherit_acl(const char *json, struct op *op, struct buf *out)
{
    CLEANUP(buf_done) struct buf list = BUF_INIT(ATTR_XATTR_MAX);
    CLEANUP(buf_done) struct buf own = BUF_INIT(STATE_TEXT_MAX);
    AUTOFREE char *value = NULL;
    size_t len;
    bool minimal = true;
    int ret = attr_xattr_get(json, ACL_DEFAULT, &list);

    if (ret != 0) {
        return -ENODATA;
    }
    len = buf_len(&list);
    value = malloc(len + 1);
    if (value == NULL) {
        return -ENOMEM;
    }
    memcpy(value, buf_str(&list), len);
    ret = acl_create(value, len, &op->mode, &minimal);
    if (ret == 0 && !minimal) {
        const struct attr_xattr_change access = {ACL_ACCESS, value, len, 0};

        ret = attr_xattr_set(NULL, &access, &own);
    }
    if (ret == 0 && S_ISDIR(op->mode)) {
        const struct attr_xattr_change pass_on = {ACL_DEFAULT, buf_str(&list), len, 0};

        ret = attr_xattr_set(buf_len(&own) > 0 ? buf_str(&own) : NULL, &pass_on, out);
    } else if (ret == 0) {
        buf_addstr(out, buf_str(&own));
    }
    return ret;
}

int xattr_inherit(struct op *op)
{
    struct fs *fs = op->fs;
    CLEANUP(buf_done) struct buf text = BUF_INIT(STATE_TEXT_MAX);
    CLEANUP(buf_done) struct buf own = BUF_INIT(STATE_TEXT_MAX);
    const struct inode_rec *dir;
    const struct node *node;
    int ret = -ENODATA;

    mutex_lock(&fs->lock);
    node = fs_node(fs, op->ino);
    dir = node != NULL ? fs_rec(fs, node) : NULL;
    if (dir != NULL && (dir->mode & S_ISGID) != 0) {
        op->gid = fs->options.one_group ? fs->options.group : dir->gid;
        op->mode |= S_ISDIR(op->mode) ? S_ISGID : 0U;
    }
    if (dir != NULL && dir->xattr != 0 && !S_ISLNK(op->mode)) {
        state_text_get(fs->state, dir->xattr, &text);
    }
    mutex_unlock(&fs->lock);
    if (dir == NULL) {
        return -ESTALE;
    }
    if (buf_len(&text) > 0) {
        ret = inherit_acl(buf_str(&text), op, &own);
    }
    if (ret == -ENODATA) {
        op->mode &= S_ISLNK(op->mode) ? UINT32_MAX : ~(op->umask & 0777U);
        return 0;
    }
    free(op->xattr);
    op->xattr = ret == 0 && buf_len(&own) > 0 ? strdup(buf_str(&own)) : NULL;
    return ret == 0 && buf_len(&own) > 0 && op->xattr == NULL ? -ENOMEM : ret;
}

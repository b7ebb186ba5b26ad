/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ops.h - the FUSE handlers, and what they share. One request is one `struct op` (fs.h); a handler
 * answers at once from what is known, or starts the op in a task. Any thread; locks as in fs.h.
 */
#ifndef MOUNTER_OPS_H
#define MOUNTER_OPS_H

#include "mounter/fs.h"

/* ---- ops_read.c: for those who can wait; see there ---- */
struct extent {
    uint64_t size, base;
    bool upload; /* some of it has been sent ahead, and may be nowhere else */
    bool covered, lost;
    char etag[STATE_ETAG_SIZE];
};
/*
 * What op->offset, op->size of the file are now; *ret_len: less at its end. Waits. To be called
 * with zeroed *e, which extent_still() compares with what is true later.
 */
int extent_get(struct op *op, struct extent *e, char *buffer, size_t *ret_len)
    __attribute__((warn_unused_result));
bool extent_still(struct fs *fs, const struct op *op, struct node *node, const struct extent *e)
    REQUIRES(&fs->lock);

/* ---- ops_open.c ---- */
enum { OPEN_TRIES = 8 };
/*
 * A small file that another mount writes again and again: by the first READ its version may have
 * gone from the store. So its bytes are brought when it is opened, or when the kernel is told of
 * it for that. Waits. -ESTALE: this version has gone already; other errors are left to the READ.
 */
bool open_wants_bytes(struct fs *fs, const struct node *node) REQUIRES(&fs->lock);
int open_bring_bytes(struct fs *fs, uint64_t ino) __attribute__((warn_unused_result));

/* ---- fill.c ---- */
/* A block would be in too many pieces: read what is between them, then write. */
void write_filled(struct op *op);
/* Is there memory for that? */
bool fill_has_room(struct fs *fs, const struct op *op) REQUIRES(&fs->lock);

/* ---- ops_name.c, for ops_remove.c ---- */
/* The node of op->ino, op->name, asked of the store if need be. Returns with the lock held when
 * *ret_locked, also on some failures. -ENOENT. */
int name_find(struct op *op, struct node **ret, bool *ret_locked)
    __attribute__((warn_unused_result));
/* Count the lookup, record the answer and leave it in op->reply. */
int op_entry(struct fs *fs, struct op *op, struct node *node) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));
/* A request that comes again may have put an object there before, which may still arrive. */
void op_mark_late(struct fs *fs, const struct op *op, const struct node *node) REQUIRES(&fs->lock);
/* Note that the store is about to be changed; *ret_again: an earlier try had done so. */
int op_intend(struct op *op, bool *ret_again) __attribute__((warn_unused_result));
/* ops_remove.c: a directory that only its content implied would vanish with the name that is about
 * to go: gives op->ino an object. Waits. */
int op_keep_parent(struct op *op) __attribute__((warn_unused_result));
/* ops_remove.c: something in it was made here and is not in the store yet. */
bool op_holds_new(struct fs *fs, const struct node *dir) REQUIRES(&fs->lock);
/* ---- ops_make.c, for others that make names ---- */
/* Begins an operation that makes a name. NULL: answered already. */
struct op *op_new_make(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
/* -EEXIST: there is something of op's name; 0: there is nothing. Waits. */
int op_check_absent(struct op *op) __attribute__((warn_unused_result));
/* Ends the caller's transaction with one more open and the answer, or undoes it. */
int op_commit_open(struct fs *fs, struct op *op, struct node *node) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));
/* A new file's lookup, open count and answer, in one transaction. */
int op_created(struct fs *fs, struct op *op, struct node *node) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));
/* Ends the op; takes the counts back if the kernel has not learned of them. */
void op_reply_entry(struct op *op, uint64_t ino, bool opened);
/* ops_link.c: a file without a name. */
void link_tmpfile_run(struct op *op);
int remote_put_marker(struct fs *fs, const char *key, const struct attr *attr, bool only_new)
    __attribute__((warn_unused_result));

/* ---- rename.c ---- */
void rename_run(struct op *op);
/* The inode of a name, as the store has it. 0: there is none. Waits. */
int rename_resolve(struct fs *fs, uint32_t parent, const char *name, uint32_t *ret)
    __attribute__((warn_unused_result));
/* Keep the bytes of an open file whose name is about to go. Waits. */
int rename_hide(struct fs *fs, uint32_t ino) __attribute__((warn_unused_result));

/* ---- ops_attr.c, ops_xattr.c, for others ---- */
/* Changed attributes of what nobody has open go to the store now. Waits. */
int attr_store(struct fs *fs, uint32_t ino) __attribute__((warn_unused_result));
/* In a transaction: the mode is about to become this, and with it the access list. */
int xattr_chmod(struct fs *fs, struct node *node, uint32_t mode) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));
/* In a transaction, when content or owner change: capabilities end, and suid if it is said. */
void xattr_kill(struct fs *fs, struct node *node, bool suid) REQUIRES(&fs->lock);
/* What a new file has of its directory op->ino: mode, group, lists. Also applies the umask. */
int xattr_inherit(struct op *op) __attribute__((warn_unused_result));

/* ---- handlers, ops_*.c ---- */
void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup);
void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                struct fuse_file_info *fi);
void fs_readlink(fuse_req_t req, fuse_ino_t ino);
void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
               const char *newname, unsigned flags);
void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname);
void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
               struct fuse_file_info *fi);
void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void fs_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
              struct fuse_file_info *fi);
void fs_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void fs_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void fs_statfs(fuse_req_t req, fuse_ino_t ino);
void fs_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                  struct fuse_file_info *fi);
void fs_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
                        struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
                        struct fuse_file_info *fi_out, size_t len, int flags);
void fs_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void fs_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                 int flags);
void fs_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void fs_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void fs_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of inodes: what the names on the way to them say. */
#include <errno.h>
#include <string.h>

#include "mounter/fs.h"
#include "mounter/names/longs.h"
#include "objstore/objstore.h"

size_t fs_key_max(const struct fs *fs)
{
    return OBJSTORE_KEY_MAX - strlen(volume_prefix(fs->volume));
}

static bool too_long(const struct fs *fs, const struct buf *key)
{
    return buf_error(key) != 0 || buf_len(key) > fs_key_max(fs);
}

static int add_component(struct fs *fs, const struct inode_rec *rec, const char *name,
                         struct buf *out)
{
    int r;

    if (rec != NULL && rec->component != 0) {
        state_text_get(fs->state, rec->component, out);
        return buf_error(out);
    }
    r = longs_component(fs->longs, name, out);
    return r == -ENOENT ? -EINVAL : r;
}

int fs_key(struct fs *fs, uint32_t ino, struct buf *out)
{
    uint32_t path[512];
    size_t depth = 0;

    for (uint32_t at = ino; at != STATE_ROOT; at = state_inode(fs->state, at)->parent) {
        const struct inode_rec *rec = state_inode(fs->state, at);

        if (rec == NULL || (rec->flags & INODE_UNLINKED) != 0) {
            return -ESTALE;
        }
        if (depth == sizeof(path) / sizeof(path[0])) {
            return -ENAMETOOLONG;
        }
        path[depth++] = at;
    }
    while (depth-- > 0) {
        const struct inode_rec *rec = state_inode(fs->state, path[depth]);
        CLEANUP(buf_done) struct buf name = BUF_INIT(NAMES_MAX + 1);

        state_text_get(fs->state, rec->name, &name);
        if (add_component(fs, rec, buf_str(&name), out) != 0) {
            return -EINVAL;
        }
        if (S_ISDIR(rec->mode)) {
            buf_addstr(out, "/");
        }
    }
    return too_long(fs, out) ? -ENAMETOOLONG : 0;
}

int fs_child_key(struct fs *fs, uint32_t parent, const char *name, struct buf *out)
{
    const struct node *node = fs_child(fs, parent, name);
    int ret = fs_key(fs, parent, out);

    if (ret == 0 && strlen(name) > NAMES_MAX) {
        ret = -ENAMETOOLONG;
    }
    ret = ret == 0 ? add_component(fs, node != NULL ? fs_rec(fs, node) : NULL, name, out) : ret;
    if (ret == 0) {
        ret = too_long(fs, out) ? -ENAMETOOLONG : 0;
    }
    return ret;
}

int fs_data_key(struct fs *fs, const struct node *node, struct buf *out)
{
    const struct inode_rec *rec = fs_rec(fs, node);

    if (rec->hidden != 0) {
        state_text_get(fs->state, rec->hidden, out);
        return buf_error(out);
    }
    return fs_key(fs, node->ino, out);
}

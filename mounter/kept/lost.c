/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/stat.h>

#include "mounter/fs.h"
#include "mounter/session/eio.h"
#include "mounter/write/holes.h"
#include "util/log.h"

bool lost_is(struct fs *fs, const struct node *node)
{
    return (fs_rec(fs, node)->flags & INODE_LOST) != 0;
}

int lost_eio(void)
{
    return eio("bytes of the file were lost; it is whole again after its last close");
}

void lost_mark(struct fs *fs, struct node *node)
{
    struct inode_rec *rec = fs_rec(fs, node);

    if (!S_ISREG(rec->mode) || lost_is(fs, node)) {
        return;
    }
    state_begin(fs->state);
    STATE_SET(fs->state, rec->flags, rec->flags | INODE_LOST);
    state_commit(fs->state);
    fs->lost++;
}

/* Its object, if there is one, is found by the next lookup, under another inode. */
void lost_drop(struct fs *fs, struct node *node)
{
    struct inode_rec *rec = fs_rec(fs, node);
    bool has_name = (rec->flags & (INODE_UNLINKED | INODE_DETACHED)) == 0;
    struct node *dir = has_name ? fs_node(fs, rec->parent) : NULL;

    if (!node->publishing) { /* else who does reads its id */
        publish_upload_forget(fs, node);
    }
    fs_touch(fs, node);
    data_drop(fs, node);
    if (dir != NULL) {
        listing_drop(dir);
    }
    fs_node_unname(fs, node);
    state_begin(fs->state);
    holes_clear(fs, node);
    STATE_SET(fs->state, rec->flags,
              has_name ? (rec->flags & ~(uint32_t)INODE_DIRTY) | INODE_DETACHED : rec->flags);
    state_commit(fs->state);
    fs_node_put(fs, node);
}

void lost_adopt(struct fs *fs)
{
    for (uint32_t ino = STATE_ROOT + 1; ino < fs->nodes_len; ino++) {
        struct node *node = fs_node(fs, ino);

        if (node == NULL || !lost_is(fs, node)) {
            continue;
        }
        fs->lost++;
        if (fs_rec(fs, node)->opens == 0) {
            lost_drop(fs, node);
        }
    }
}

void lost_torn(void *userdata, uint64_t ino)
{
    struct fs *fs = userdata;
    struct node *node;

    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    if (node != NULL) {
        lost_mark(fs, node);
    }
    mutex_unlock(&fs->lock);
    log_error("bytes are lost: a write was half read when the mounter was replaced", "inode",
              log_num(ino), NULL);
}

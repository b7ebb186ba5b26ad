/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files without a name that outgrow the memory for dirty bytes: while they are open their bytes go
 * to an object below .skyvol/open/, which goes with the last close, or with the name they are
 * given.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/fs.h"
#include "mounter/write/holes.h"
#include "mounter/write/settle.h"
#include "mounter/write/sweep.h"

/* The key of its object; what was there under its name is nothing to it any more. */
static int take_key(struct fs *fs, struct node *node) REQUIRES(&fs->lock)
{
    char key[SWEEP_KEY];
    struct inode_rec *rec = fs_rec(fs, node);
    uint32_t cell;
    int ret;

    sweep_key(fs, key);
    state_begin(fs->state);
    ret = state_text_new(fs->state, key, strlen(key), &cell);
    if (ret != 0) {
        state_abort(fs->state);
        return ret;
    }
    STATE_SET(fs->state, rec->hidden, cell);
    STATE_SET(fs->state, rec->flags, rec->flags | INODE_NEW);
    STATE_SET(fs->state, rec->etag[0], '\0');
    STATE_SET(fs->state, rec->base_size, (uint64_t)0);
    STATE_SET(fs->state, rec->base_valid, (uint64_t)0);
    holes_clear(fs, node);
    publish_settled(fs, rec);
    state_commit(fs->state);
    return 0;
}

/* The bytes of a file that had no name, and that nobody has open any more. */
struct gone_bytes {
    struct fs *fs;
    char *key;
};

static void delete_bytes(void *arg)
{
    struct gone_bytes *gone = arg;

    (void)!remote_delete(gone->fs, gone->key);
    free(gone->key);
    free(gone);
}

void hidden_drop(struct fs *fs, struct node *node)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(256);
    struct inode_rec *rec = fs_rec(fs, node);
    struct gone_bytes *gone = rec->hidden != 0 ? malloc(sizeof(*gone)) : NULL;
    uint32_t old = rec->hidden;

    if (gone == NULL) {
        return;
    }
    state_text_get(fs->state, old, &key);
    *gone = (struct gone_bytes){fs, strdup(buf_str(&key))};
    if (gone->key == NULL || tasks_add(fs->tasks, delete_bytes, gone) != 0) {
        free(gone->key);
        free(gone);
        return; /* a later mount finds it: sweep.c */
    }
    state_begin(fs->state);
    STATE_SET(fs->state, rec->hidden, 0U);
    state_text_release(fs->state, old);
    state_commit(fs->state);
}

struct hide {
    struct fs *fs;
    uint32_t ino;
};

static void hide_run(void *arg)
{
    struct hide *hide = arg;
    struct fs *fs = hide->fs;
    struct node *node;
    int ret = publish(fs, hide->ino);

    mutex_lock(&fs->lock);
    node = fs_node(fs, hide->ino);
    if (node != NULL) {
        struct inode_rec *rec = fs_rec(fs, node);

        node->hiding = false;
        node->users--;
        if (ret != 0) {
            node->failures++;
            node->error = ret;
        }
        if (rec->opens == 0 && (rec->flags & INODE_UNLINKED) != 0) {
            hidden_drop(fs, node); /* closed meanwhile: it came too late */
        }
        fs_node_put(fs, node);
    }
    cond_broadcast(&fs->changed);
    mutex_unlock(&fs->lock);
    free(hide);
}

bool hidden_ask(struct fs *fs, struct node *node)
{
    const struct inode_rec *rec = fs_rec(fs, node);
    struct hide *hide;

    if (node->hiding || (rec->flags & INODE_LOST) != 0 || rec->opens == 0 || !S_ISREG(rec->mode) ||
        (rec->hidden == 0 && take_key(fs, node) != 0)) {
        return node->hiding;
    }
    hide = malloc(sizeof(*hide));
    if (hide == NULL) {
        return false;
    }
    *hide = (struct hide){fs, node->ino};
    if (tasks_add(fs->tasks, hide_run, hide) != 0) {
        free(hide);
        return false;
    }
    node->hiding = true;
    node->users++; /* it stays until hide_run() */
    return true;
}

int hidden_name(struct fs *fs, const struct op *op, uint32_t ino, const char *to)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(256);
    struct copy_what what = {.to = to, .only_new = true};
    char etag[STATE_ETAG_SIZE] = "";
    char fresh[STATE_ETAG_SIZE] = "";
    struct inode_rec *rec;
    struct node *node;
    int ret;

    mutex_lock(&fs->lock);
    ret = claim(fs, ino, 0, op->unique);
    node = ret == 0 ? fs_node(fs, ino) : NULL;
    rec = node != NULL ? fs_rec(fs, node) : NULL;
    if (rec == NULL || rec->hidden == 0) {
        if (ret == 0) {
            claim_end(fs, ino, 0);
        }
        mutex_unlock(&fs->lock);
        return ret;
    }
    state_text_get(fs->state, rec->hidden, &key);
    memcpy(etag, rec->etag, sizeof(etag));
    what.from = buf_str(&key);
    what.size = rec->base_size;
    what.if_match = etag[0] != '\0' ? etag : NULL;
    mutex_unlock(&fs->lock);
    if (etag[0] != '\0') {
        ret = remote_copy(fs, &what, fresh);
    }
    mutex_lock(&fs->lock);
    if (ret == 0) {
        uint32_t old = rec->hidden;

        state_begin(fs->state);
        STATE_SET(fs->state, rec->hidden, 0U);
        state_set(fs->state, rec->etag, fresh, sizeof(fresh));
        state_text_release(fs->state, old);
        state_commit(fs->state);
    }
    claim_end(fs, ino, 0);
    mutex_unlock(&fs->lock);
    if (ret == 0) {
        (void)!remote_delete(fs, buf_str(&key));
    }
    return ret;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import.c - files of the journal become dirty inodes again, before the first request is served.
 *
 * An inode is taken in under INODE_LOST, which the last transaction takes away: should we die in
 * between, our successor drops it (lost.c) and takes the file in anew. The file stays until what
 * it holds is published.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/journal/journaled.h"
#include "mounter/names/graves.h"
#include "mounter/write/holes.h"
#include "util/log.h"

/* One file on its way in. Functions of it below that do not take fs->lock are called with it: clang
 * cannot see that in->fs is fs. */
struct import {
    struct fs *fs;
    const struct journal_file *file;
    const struct journal_entry *entry;
    uint32_t number;
    uint32_t parent, ino;
    char name[NAMES_MAX + 1];
    char *buffer; /* of JOURNAL_PIECE_MAX bytes */
};

/* A directory on the way: the store, or another file of the journal, knows its attributes. */
LOCK_UNCHECKED
static int enter(struct import *in)
{
    struct fs *fs = in->fs;
    struct node *node = fs_child(fs, in->parent, in->name);
    const struct fs_new_inode what = {.parent = in->parent,
                                      .name = in->name,
                                      .attr = {.mode = S_IFDIR | fs->options.dir_mode,
                                               .uid = fs->options.uid,
                                               .gid = fs->options.gid}};
    int r = node == NULL ? fs_node_make(fs, &what, &node) : 0;

    if (r == 0 && !S_ISDIR(fs_rec(fs, node)->mode)) {
        r = -ENOTDIR;
    }
    in->parent = r == 0 ? node->ino : in->parent;
    return r;
}

/* Down to the directory it lies in; its own name stays in in->name. */
LOCK_UNCHECKED
static int walk(struct import *in)
{
    const char *path = in->entry->path;
    int r = 0;

    in->parent = STATE_ROOT;
    if (strncmp(path, VOLUME_LINKS, strlen(VOLUME_LINKS)) == 0) { /* see hard.h */
        size_t len = strlen(path);

        if (len > NAMES_MAX) {
            return -ENAMETOOLONG;
        }
        memcpy(in->name, path, len + 1);
        return 0;
    }
    while (r == 0) {
        size_t len = strcspn(path, "/");

        if (len > NAMES_MAX) {
            return -ENAMETOOLONG;
        }
        memcpy(in->name, path, len);
        in->name[len] = '\0';
        if (path[len] == '\0') {
            return 0;
        }
        r = enter(in);
        path += len + 1;
    }
    return r;
}

/* ---- bytes ---- */

static int add_piece(struct import *in, const struct journal_piece *piece)
{
    struct fs *fs = in->fs;
    struct node *node;
    uint64_t size = in->entry->size;
    size_t len = piece->len;
    int r;

    if (piece->offset >= size) {
        return 0; /* cut off since */
    }
    len = size - piece->offset < len ? (size_t)(size - piece->offset) : len;
    r = journal_file_piece(in->file, piece, in->buffer);
    if (r != 0) {
        return r;
    }
    mutex_lock(&fs->lock);
    node = fs_node(fs, in->ino);
    r = node != NULL ? data_write(fs, node, piece->offset, in->buffer, len) : -ESTALE;
    mutex_unlock(&fs->lock);
    return r;
}

LOCK_UNCHECKED
static int add_upload(struct import *in, uint32_t *ret)
{
    const struct journal_entry *e = in->entry;
    uint32_t index = state_upload_take(in->fs->state);
    struct upload_rec *upload;
    struct parts_schedule schedule;

    _Static_assert(sizeof(schedule) == sizeof(e->schedule), "four lengths");
    memcpy(&schedule, e->schedule, sizeof(schedule));
    if (!parts_schedule_is_sound(&schedule)) {
        return -EPROTO;
    }
    for (uint32_t i = 0; i < e->parts_count; i++) {
        if (e->parts[i].number > STATE_PARTS ||
            e->parts[i].offset != parts_offset(&schedule, e->parts[i].number)) {
            return -EPROTO;
        }
    }
    if (index == UINT32_MAX) {
        return -EAGAIN;
    }
    upload = state_upload(in->fs->state, index);
    memset(upload->id, 0, sizeof(upload->id)); /* free: nobody reads it yet */
    upload->parts = 0;
    upload->schedule = schedule;
    memcpy(upload->id, e->upload_id, strlen(e->upload_id));
    for (uint32_t i = 0; i < e->parts_count; i++) {
        state_upload_record(in->fs->state, upload, e->parts[i].number, e->parts[i].etag);
    }
    *ret = index + 1;
    return 0;
}

/* The last transaction: from here on it is a dirty inode like others. */
LOCK_UNCHECKED
static void finish(struct import *in, struct node *node, uint32_t upload)
{
    struct state *state = in->fs->state;
    const struct journal_entry *e = in->entry;
    struct inode_rec *rec = fs_rec(in->fs, node);

    state_begin(state);
    STATE_SET(state, rec->flags,
              (rec->flags & ~(uint32_t)(INODE_LOST | INODE_NEW)) | INODE_DIRTY |
                  ((e->flags & JOURNAL_NEW) != 0 ? INODE_NEW : 0U) |
                  ((e->flags & JOURNAL_ATTRS) != 0 ? INODE_ATTRS : 0U) |
                  ((e->flags & JOURNAL_MARKER) != 0 ? INODE_MARKER : 0U));
    STATE_SET(state, rec->base_size, e->base_size);
    STATE_SET(state, rec->base_valid, e->base_valid);
    STATE_SET(state, rec->token, e->token);
    STATE_SET(state, rec->attempt, e->attempt);
    STATE_SET(state, rec->dirty_since_ns, e->dirty_since_ns != 0 ? e->dirty_since_ns : 1);
    STATE_SET(state, rec->journal, in->number);
    if (upload != 0) {
        STATE_SET(state, state_upload(state, upload - 1)->inode, node->ino);
        STATE_SET(state, rec->upload, upload);
    }
    state_commit(state);
    node->edits = 1;
    node->edits_kept = 1;
    node->imported = true;
    node->meta_changed = true;
    dirty_add(in->fs, node);
    fs_touch(in->fs, node);
}

LOCK_UNCHECKED
static int end_with_parts(struct import *in, struct node *node)
{
    struct fs *fs = in->fs;
    struct inode_rec *rec = fs_rec(fs, node);
    uint32_t upload = 0;
    int r = in->entry->parts_count > 0 ? add_upload(in, &upload) : 0;

    if (r == 0) { /* holes reach to the base's end */
        state_begin(fs->state);
        STATE_SET(fs->state, rec->base_size, in->entry->base_size);
        STATE_SET(fs->state, rec->base_valid, in->entry->base_valid);
        STATE_SET(fs->state, rec->attempt, in->entry->attempt);
        state_commit(fs->state);
    }
    for (uint32_t i = 0; r == 0 && i < in->entry->holes_count; i++) {
        state_begin(fs->state);
        r = holes_add(fs, node, in->entry->holes[i].from, in->entry->holes[i].to);
        if (r == 0) {
            state_commit(fs->state);
        } else {
            state_abort(fs->state);
        }
    }
    if (r == 0) {
        finish(in, node, upload);
    }
    return r;
}

/* ---- one file ---- */

LOCK_UNCHECKED
static int add_inode(struct import *in)
{
    struct fs *fs = in->fs;
    const struct journal_entry *e = in->entry;
    struct fs_new_inode what = {.name = in->name,
                                .flags = INODE_LOST,
                                .attr = {.mode = e->mode,
                                         .uid = e->uid,
                                         .gid = e->gid,
                                         .rdev = e->rdev,
                                         .mtime_ns = e->mtime_ns,
                                         .ctime_ns = e->ctime_ns,
                                         .atime_ns = e->atime_ns,
                                         .xattr = e->xattr[0] != '\0' ? e->xattr : NULL},
                                .size = e->size,
                                .etag = e->etag,
                                .target = e->kind == JOURNAL_SYMLINK ? e->target : NULL};
    struct node *node = NULL;
    int r = walk(in);

    if (r != 0) {
        return r;
    }
    if (fs_child(fs, in->parent, in->name) != NULL) {
        return -EEXIST;
    }
    what.parent = in->parent;
    what.flags |= strchr(in->name, '/') != NULL ? INODE_LINKED : 0U;
    r = fs_node_make(fs, &what, &node);
    in->ino = r == 0 ? node->ino : 0;
    return r;
}

/* A directory may be there already: as the parent of another, or as the root. */
LOCK_UNCHECKED
static int set_directory(struct import *in, struct node *node)
{
    struct state *state = in->fs->state;
    const struct journal_entry *e = in->entry;
    struct inode_rec *rec = fs_rec(in->fs, node);
    uint32_t xattr = 0;
    int r;

    if (!S_ISDIR(rec->mode) || (rec->flags & INODE_DIRTY) != 0) {
        return -EEXIST;
    }
    state_begin(state);
    r = e->xattr[0] != '\0' ? state_text_new(state, e->xattr, strlen(e->xattr), &xattr) : 0;
    if (r != 0) {
        state_abort(state);
        return r;
    }
    STATE_SET(state, rec->mode, e->mode);
    STATE_SET(state, rec->uid, e->uid);
    STATE_SET(state, rec->gid, e->gid);
    STATE_SET(state, rec->mtime_ns, e->mtime_ns);
    STATE_SET(state, rec->ctime_ns, e->ctime_ns);
    STATE_SET(state, rec->atime_ns, e->atime_ns);
    if (xattr != 0) {
        uint32_t old = rec->xattr;

        STATE_SET(state, rec->xattr, xattr);
        state_text_release(state, old);
    }
    {
        char etag[STATE_ETAG_SIZE] = "";

        memcpy(etag, e->etag, strlen(e->etag));
        state_set(state, rec->etag, etag, sizeof(etag));
    }
    state_commit(state);
    finish(in, node, 0);
    return 0;
}

LOCK_UNCHECKED
static int import_dir(struct import *in)
{
    struct fs *fs = in->fs;
    struct node *node = in->entry->path[0] == '\0' ? fs_node(fs, STATE_ROOT) : NULL;
    int r = node == NULL ? walk(in) : 0;

    if (r == 0 && node == NULL) {
        r = enter(in);
        node = r == 0 ? fs_node(fs, in->parent) : NULL;
    }
    return r == 0 ? set_directory(in, node) : r;
}

static int import_graves(struct import *in);

LOCK_UNCHECKED
static int import_file(struct import *in)
{
    struct fs *fs = in->fs;
    const struct journal_entry *e = in->entry;
    struct node *node;
    int r;

    if (e->kind == JOURNAL_DELETE || e->kind == JOURNAL_RENAME) {
        return e->kind == JOURNAL_DELETE ? import_graves(in) : -EPROTO;
    }
    mutex_lock(&fs->lock);
    if (e->kind == JOURNAL_DIR) {
        r = import_dir(in);
        mutex_unlock(&fs->lock);
        return r;
    }
    r = add_inode(in);
    mutex_unlock(&fs->lock);
    for (uint32_t i = 0; r == 0 && i < e->pieces_count; i++) {
        r = add_piece(in, &e->pieces[i]);
    }
    mutex_lock(&fs->lock);
    node = in->ino != 0 ? fs_node(fs, in->ino) : NULL;
    if (r == 0 && node != NULL) {
        r = end_with_parts(in, node);
    }
    if (r != 0 && node != NULL) {
        lost_drop(fs, node);
    }
    mutex_unlock(&fs->lock);
    return r;
}

/* ---- what is to be deleted ---- */

static int inherit_graves(struct import *in, const char *at, const char *end)
{
    enum { ETAG = 8 };
    struct fs *fs = in->fs;
    int r = 0;

    while (r == 0 && end - at > ETAG &&
           memchr(at + ETAG, '\0', (size_t)(end - at - ETAG)) != NULL) {
        uint64_t etag = 0;

        for (size_t i = 0; i < ETAG; i++) {
            etag |= (uint64_t)(unsigned char)at[i] << (8 * i);
        }
        if (etag != 0) { /* else it could be anybody's by now */
            mutex_lock(&fs->lock);
            r = graves_inherit(fs, at + ETAG, etag);
            mutex_unlock(&fs->lock);
        }
        at += ETAG + strlen(at + ETAG) + 1;
    }
    return r;
}

static int import_graves(struct import *in)
{
    struct fs *fs = in->fs;
    CLEANUP(buf_done) struct buf text = BUF_INIT(in->entry->size + 1);
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < in->entry->pieces_count; i++) {
        r = journal_file_piece(in->file, &in->entry->pieces[i], in->buffer);
        buf_add(&text, in->buffer, in->entry->pieces[i].len);
    }
    r = r == 0 ? buf_error(&text) : r;
    r = r == 0 ? inherit_graves(in, buf_str(&text), buf_str(&text) + buf_len(&text)) : r;
    if (r == 0) {
        mutex_lock(&fs->lock);
        r = journaled_graves_file(fs, in->number);
        mutex_unlock(&fs->lock);
    }
    return r;
}

/* ---- all ---- */

static bool is_known(struct fs *fs, uint32_t number) REQUIRES(&fs->lock)
{
    for (uint32_t ino = STATE_ROOT; ino < state_inode_limit(fs->state); ino++) {
        const struct inode_rec *rec = state_inode(fs->state, ino);

        if (rec != NULL && rec->journal == number) {
            return true;
        }
    }
    return false;
}

/* There is no more room: what has been taken in goes to the store first. */
static bool make_room(struct fs *fs)
{
    bool made = false;

    for (uint32_t ino = STATE_ROOT; ino < state_inode_limit(fs->state); ino++) {
        const struct inode_rec *rec;
        bool dirty;

        mutex_lock(&fs->lock);
        rec = state_inode(fs->state, ino);
        dirty = rec != NULL && rec->journal != 0 && (rec->flags & INODE_DIRTY) != 0;
        mutex_unlock(&fs->lock);
        if (dirty) {
            int r = publish(fs, ino);

            made = made || r == 0 || r == -ESTALE;
        }
    }
    return made;
}

static void tell_left(const struct fs *fs, uint32_t number, const char *path, int r)
{
    log_error("a file of the journal is left there", "journal", journal_path(fs->journal), "number",
              log_num(number), "path", path, "error",
              r == -EEXIST   ? "its name is taken by another file: it comes next time"
              : r == -EPROTO ? "it is of a version that this program does not understand"
              : r == -EAGAIN ? "it does not fit into memory="
                             : strerror(-r),
              NULL);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): it is read into */
static int import_number(struct fs *fs, uint32_t number, char *buffer)
{
    CLEANUP(journal_file_done) struct journal_file file = JOURNAL_FILE_INIT;
    struct error err = ERROR_INIT;
    int r = journal_read(fs->journal, number, &file, &err);
    struct import in = {
        .fs = fs, .file = &file, .entry = &file.entry, .number = number, .buffer = buffer};

    if (r == -EBADMSG) {
        log_error("a file of the journal is damaged: it is set aside, and nothing of it uploaded",
                  "error", error_text(&err, r), NULL);
        r = journal_set_aside(fs->journal, number);
        return r < 0 ? r : -EBADMSG;
    }
    if (r < 0) {
        log_error("a file of the journal cannot be read", "error", error_text(&err, r), NULL);
        return r;
    }
    r = import_file(&in);
    if (r == -EAGAIN && make_room(fs)) {
        r = import_file(&in);
    }
    if (r != 0) {
        tell_left(fs, number, file.entry.path, r);
    }
    return r;
}

int import_journal(struct fs *fs, struct import_result *ret)
{
    AUTOFREE char *buffer = malloc(JOURNAL_PIECE_MAX);
    AUTOFREE uint32_t *numbers = NULL;
    size_t count = 0;
    int r = buffer == NULL ? -ENOMEM : journal_list(fs->journal, &numbers, &count);

    *ret = (struct import_result){0};
    for (size_t i = 0; r == 0 && i < count; i++) {
        bool known;
        int one;

        mutex_lock(&fs->lock);
        known = state_adopted(fs->state) && is_known(fs, numbers[i]);
        mutex_unlock(&fs->lock);
        one = known ? 0 : import_number(fs, numbers[i], buffer);
        ret->files += !known && one == 0;
        ret->damaged += one == -EBADMSG;
        ret->left += one != 0 && one != -EBADMSG;
    }
    if (ret->files > 0) {
        log_warn("files that were not in the store come from the journal", "journal",
                 journal_path(fs->journal), "files", log_num(ret->files), NULL);
    }
    return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What the store says of a name, and how the inodes follow it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/attr/theirs.h"
#include "mounter/fs.h"
#include "mounter/names/collapse.h"
#include "mounter/names/doubts.h"
#include "mounter/names/graves.h"
#include "mounter/names/hard.h"
#include "mounter/names/known.h"
#include "mounter/names/seen.h"
#include "mounter/ops.h"
#include "mounter/read/ahead.h"
#include "mounter/read/reader.h"
#include "mounter/write/hold.h"
#include "objstore/objstore_call.h"

enum { META_TIMEOUT_MS = 50000 };

void remote_done(struct remote *remote)
{
    if (remote->file != NULL) {
        remote_done(remote->file);
        free(remote->file);
        remote->file = NULL;
    }
    arena_done(&remote->arena);
}

/* Defaults for what the object does not say. */
static void complete_attr(struct fs *fs, const struct objstore_info *info, bool is_dir,
                          struct attr *attr)
{
    uint32_t type = is_dir ? S_IFDIR : S_IFREG;
    struct attr fallback;

    seen_defaults(fs, is_dir, &fallback);

    if (!attr->has_mode || (attr->mode & ~(uint32_t)S_IFMT) == attr->mode) {
        attr->mode = type | (attr->has_mode ? attr->mode : fallback.mode);
    }
    if (S_ISDIR(attr->mode) != is_dir) { /* a marker is a directory, whatever it claims */
        attr->mode = type | (attr->mode & 07777);
    }
    attr->uid = attr->has_uid ? attr->uid : fallback.uid;
    attr->gid = attr->has_gid ? attr->gid : fallback.gid;
    attr->mtime_ns = attr->has_mtime ? attr->mtime_ns : info->mtime_ns;
    attr->ctime_ns = attr->has_ctime ? attr->ctime_ns : attr->mtime_ns;
    attr->atime_ns = attr->has_atime ? attr->atime_ns : attr->mtime_ns;
}

static int read_target(struct fs *fs, const char *key, struct remote *ret)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request get = {.op = OBJSTORE_GET, .key = key, .timeout_ms = META_TIMEOUT_MS};
    int r;

    answer.body.max = 4096;
    r = volume_call(fs->volume, &get, &answer);
    if (r == 0) {
        ret->target = arena_strdup(&ret->arena, buf_str(&answer.body));
        r = ret->target == NULL ? -ENOMEM : 0;
    }
    return r;
}

static int interpret(struct fs *fs, const char *key, const struct objstore_result *head,
                     struct remote *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->arena = (struct arena)ARENA_INIT(1 << 20);
    if (head->status != 0) {
        return head->status == -ENOENT ? 0 : head->status;
    }
    ret->exists = true;
    ret->info = head->info;
    attr_read(&head->info.meta, &ret->arena, &ret->attr);
    memset(&ret->info.meta, 0, sizeof(ret->info.meta)); /* it is the result's */
    ret->is_dir = key[0] == '\0' || key[strlen(key) - 1] == '/';
    if (ret->is_dir && ret->info.size > 0) {
        ret->attr.only_ours = false; /* a marker with bytes, which are not ours either */
    }
    complete_attr(fs, &ret->info, ret->is_dir, &ret->attr);
    return 0;
}

static bool is_pointer(const char *key, const struct remote *remote)
{
    return remote->exists && remote->attr.link != NULL && !remote->is_dir &&
           strncmp(key, VOLUME_LINKS, strlen(VOLUME_LINKS)) != 0;
}

/* A name that points to nothing may have become a plain file since it was looked at. */
static int follow(struct fs *fs, const char *key, struct remote *ret)
{
    int r = hard_follow(fs, ret);

    for (int tries = 0; r == 0 && ret->file == NULL && is_pointer(key, ret) && tries < 2; tries++) {
        CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
        struct objstore_request head = {
            .op = OBJSTORE_HEAD, .key = key, .timeout_ms = META_TIMEOUT_MS};

        if (volume_call(fs->volume, &head, &answer) == 0 &&
            strcmp(answer.result.info.etag, ret->info.etag) == 0) {
            break;
        }
        remote_done(ret);
        r = interpret(fs, key, &answer.result, ret);
        r = r == 0 && is_pointer(key, ret) ? hard_follow(fs, ret) : r;
    }
    return r;
}

int remote_interpret(struct fs *fs, const char *key, const struct objstore_result *head,
                     struct remote *ret)
{
    int r = interpret(fs, key, head, ret);

    if (r == 0 && is_pointer(key, ret)) {
        r = follow(fs, key, ret);
    }
    if (r == 0 && ret->exists) {
        hard_count(fs, key, ret);
    }
    return r == 0 && ret->exists && S_ISLNK(ret->attr.mode) ? read_target(fs, key, ret) : r;
}

int remote_interpret_now(struct fs *fs, const char *key, const struct objstore_result *head,
                         struct remote *ret)
{
    int r = interpret(fs, key, head, ret);

    if (r == 0 && (S_ISLNK(ret->attr.mode) || ret->attr.link != NULL)) {
        r = -EAGAIN;
    }
    if (r != 0) {
        remote_done(ret);
    }
    return r;
}

int remote_copy_file(const struct remote *from, struct remote *ret)
{
    *ret = *from;
    ret->arena = (struct arena)ARENA_INIT(1 << 20);
    if (from->attr.xattr != NULL) {
        ret->attr.xattr = arena_strdup(&ret->arena, from->attr.xattr);
        if (ret->attr.xattr == NULL) {
            remote_done(ret);
            return -ENOMEM;
        }
    }
    return 0;
}

/* A directory without an object of its own, as what lies below it shows. */
static void implied_dir(struct fs *fs, struct remote *ret)
{
    memset(&ret->attr, 0, sizeof(ret->attr));
    ret->exists = true;
    ret->is_dir = true;
    ret->info.mtime_ns = fs_now_ns();
    ret->info.etag[0] = '\0';
    complete_attr(fs, &ret->info, true, &ret->attr);
}

void remote_of_listing(struct fs *fs, const struct known_entry *info, bool is_dir,
                       struct remote *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->arena = (struct arena)ARENA_INIT(1 << 20);
    if (info == NULL) {
        implied_dir(fs, ret);
        ret->listed = true;
        return;
    }
    ret->exists = ret->listed = true;
    ret->is_dir = ret->marker = is_dir;
    ret->info.size = info->size;
    ret->info.mtime_ns = info->mtime_ns;
    (void)snprintf(ret->info.etag, sizeof(ret->info.etag), "%s", info->etag);
    complete_attr(fs, &ret->info, is_dir, &ret->attr);
}

static int find_dir(struct fs *fs, const char *key, const struct objstore_result *below,
                    struct remote *ret)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request head = {.op = OBJSTORE_HEAD, .key = key, .timeout_ms = META_TIMEOUT_MS};
    bool enough;
    int r;

    if (below->count == 0 || strcmp(below->entries[0].key, key) != 0) {
        implied_dir(fs, ret);
        return 0;
    }
    seen_refresh(fs);
    mutex_lock(&fs->lock);
    /* What has gone here is doubted in listings: only the object itself says that it is another. */
    enough = seen_enough(fs, true) && !fs_key_removed_lately(fs, key);
    mutex_unlock(&fs->lock);
    if (enough) {
        const struct objstore_info *info = &below->entries[0].info;
        const struct known_entry marker = {key, info->etag, info->size, info->mtime_ns};

        remote_done(ret);
        remote_of_listing(fs, &marker, true, ret);
        return 0;
    }
    (void)volume_call(fs->volume, &head, &answer);
    remote_done(ret);
    r = remote_interpret(fs, key, &answer.result, ret);
    ret->marker = true;
    return r;
}

int remote_find(struct fs *fs, const char *key, bool only_file, struct remote *ret)
{
    AUTOFREE char *dir_key = NULL;
    struct objstore_answer answers[2] = {OBJSTORE_ANSWER_INIT, OBJSTORE_ANSWER_INIT};
    struct objstore_request requests[2];
    uint64_t asked = fs_asked(fs);
    uint64_t turn;
    int r;

    mutex_lock(&fs->lock);
    turn = fs_turn(fs);
    mutex_unlock(&fs->lock);
    memset(ret, 0, sizeof(*ret));
    if (asprintf(&dir_key, "%s/", key) < 0) {
        dir_key = NULL;
        return -ENOMEM;
    }
    only_file = only_file || strlen(dir_key) > fs_key_max(fs); /* then nothing can be below it */
    requests[0] =
        (struct objstore_request){.op = OBJSTORE_HEAD, .key = key, .timeout_ms = META_TIMEOUT_MS};
    requests[1] = (struct objstore_request){
        .op = OBJSTORE_LIST, .key = dir_key, .max_entries = 1, .timeout_ms = META_TIMEOUT_MS};
    (void)volume_call_many(fs->volume, requests, answers, only_file ? 1 : 2);
    r = remote_interpret(fs, key, &answers[0].result, ret);
    if (r == 0 && !only_file) {
        r = answers[1].result.status;
        /* A directory goes before a file of the same name, which is shown under another one. */
        if (r == 0 && answers[1].result.count > 0) {
            r = find_dir(fs, dir_key, &answers[1].result, ret);
        }
    }
    objstore_answer_done(&answers[0]);
    objstore_answer_done(&answers[1]);
    if (r != 0) {
        remote_done(ret);
        memset(ret, 0, sizeof(*ret));
    }
    ret->asked = asked;
    ret->turn = turn;
    return r;
}

/* An object that is older than this when its attributes are read is another when they change. */
enum { SAME_AFTER_S = 3 };
static const int64_t ns_per_s = 1000000000;

static void confirm(struct fs *fs, struct node *node, const struct remote *remote)
    REQUIRES(&fs->lock)
{
    uint64_t made_ms = remote->made_ms != 0 ? remote->made_ms : fs_now_ms();
    int64_t stored_ns = remote->info.mtime_ns;

    node->changed = remote->asked != UINT64_MAX ? remote->asked : node->changed;
    node->asked_turn = remote->turn > node->asked_turn ? remote->turn : node->asked_turn;
    node->valid_until_ms = made_ms + fs->options.attr_timeout_ms;
    if (!remote->listed || seen_enough(fs, remote->is_dir) || node->stored_ns == 0) {
        node->stored_ns = fs_now_ns() - stored_ns > SAME_AFTER_S * ns_per_s ? stored_ns : 0;
    }
}

/*
 * Attributes can be changed without a new ETag, but not without a new time; of that stores tell
 * seconds only, in some answers.
 */
static bool same_version(struct fs *fs, const struct node *node, const struct remote *remote)
    REQUIRES(&fs->lock)
{
    if (strcmp(fs_rec(fs, node)->etag, remote->info.etag) != 0) {
        return false;
    }
    return seen_enough(fs, remote->is_dir) || (remote->is_dir && !remote->marker) ||
           (node->stored_ns == 0 ? fs->options.sync != SYNC_CLOSE && !remote->is_dir
                                 : node->stored_ns / ns_per_s == remote->info.mtime_ns / ns_per_s);
}

/* Without attributes: 1: they are known all the same; 0: there are none; -EAGAIN: have to be asked.
 */
static int merge_listed(struct fs *fs, struct node *node, const struct remote *remote)
    REQUIRES(&fs->lock)
{
    const struct inode_rec *rec = node != NULL ? fs_rec(fs, node) : NULL;

    if (rec != NULL && S_ISDIR(rec->mode) == remote->is_dir && same_version(fs, node, remote)) {
        confirm(fs, node, remote);
        return 1;
    }
    return seen_enough(fs, remote->is_dir) || (remote->is_dir && !remote->marker) ? 0 : -EAGAIN;
}

int remote_add_attr(struct fs *fs, const struct attr *attr, const char *target, struct remote *ret)
{
    ret->attr = *attr;
    ret->attr.xattr = attr->xattr != NULL ? arena_strdup(&ret->arena, attr->xattr) : NULL;
    ret->target = target != NULL ? arena_strdup(&ret->arena, target) : NULL;
    ret->listed = false;
    complete_attr(fs, &ret->info, ret->is_dir, &ret->attr);
    return (attr->xattr != NULL && ret->attr.xattr == NULL) ||
                   (target != NULL && ret->target == NULL)
               ? -ENOMEM
               : 0;
}

/* A listing does not tell: what was known of the same version stays. */
static void note_theirs(struct fs *fs, struct node *node, const struct remote *remote)
    REQUIRES(&fs->lock)
{
    if (!remote->listed || remote->attr.only_ours) {
        theirs_note(node, fs_rec(fs, node)->etag, remote->attr.only_ours);
    }
}

/* The record takes over what the remote says. */
static void update(struct fs *fs, struct node *node, const struct remote *remote)
    REQUIRES(&fs->lock)
{
    struct inode_rec *rec = fs_rec(fs, node);
    const struct attr *attr = &remote->attr;
    char etag[STATE_ETAG_SIZE] = "";
    uint32_t xattr = 0;
    uint32_t target = 0;
    bool older;

    memcpy(etag, remote->info.etag, sizeof(etag));
    /* Names that came and went here are newer than the marker, which is not written for them. */
    older = remote->is_dir && remote->marker && strcmp(etag, rec->etag) == 0 &&
            attr->mtime_ns < rec->mtime_ns;
    if (strcmp(etag, rec->etag) != 0) {
        reader_detach(fs, node, true);
        node->asked_turn = 0;
        node->others = !remote->is_dir;
        node->untold = node->others;
    }
    state_begin(fs->state);
    if (attr->xattr != NULL &&
        state_text_new(fs->state, attr->xattr, strlen(attr->xattr), &xattr) != 0) {
        xattr = 0;
    }
    if (remote->target != NULL &&
        state_text_new(fs->state, remote->target, strlen(remote->target), &target) != 0) {
        target = rec->target;
    }
    STATE_SET(fs->state, rec->mode, attr->mode);
    STATE_SET(fs->state, rec->uid, attr->uid);
    STATE_SET(fs->state, rec->gid, attr->gid);
    STATE_SET(fs->state, rec->rdev, attr->rdev);
    STATE_SET(fs->state, rec->links, remote->links != 0 ? remote->links : rec->links);
    if (!older && (!remote->is_dir || remote->marker || rec->mtime_ns == 0)) {
        STATE_SET(fs->state, rec->mtime_ns, attr->mtime_ns);
        STATE_SET(fs->state, rec->ctime_ns, attr->ctime_ns);
        STATE_SET(fs->state, rec->atime_ns, attr->atime_ns);
    }
    STATE_SET(fs->state, rec->size, remote->info.size);
    STATE_SET(fs->state, rec->base_size, remote->info.size);
    STATE_SET(fs->state, rec->base_valid, remote->info.size);
    STATE_SET(fs->state, rec->flags,
              (rec->flags & ~(uint32_t)(INODE_MARKER | INODE_CONFLICT)) |
                  (remote->marker ? INODE_MARKER : 0U));
    state_set(fs->state, rec->etag, etag, sizeof(etag));
    STATE_SET(fs->state, rec->xattr, xattr);
    if (target != 0 && target != rec->target) {
        uint32_t old = rec->target;

        STATE_SET(fs->state, rec->target, target);
        state_text_release(fs->state, old);
    }
    state_text_release(fs->state, rec->xattr);
    state_commit(fs->state);
    note_theirs(fs, node, remote);
    confirm(fs, node, remote);
}

static bool is_linked_name(const char *name)
{
    return strncmp(name, VOLUME_LINKS, strlen(VOLUME_LINKS)) == 0;
}

static int make_node(struct fs *fs, uint32_t parent, const char *name, const struct remote *remote,
                     struct node **ret) REQUIRES(&fs->lock)
{
    const struct fs_new_inode what = {.parent = parent,
                                      .name = name,
                                      .flags = (remote->marker ? INODE_MARKER : 0U) |
                                               (is_linked_name(name) ? INODE_LINKED : 0U),
                                      .links = remote->links,
                                      .attr = remote->attr,
                                      .size = remote->info.size,
                                      .etag = remote->info.etag,
                                      .target = remote->target};
    int r = fs_node_make(fs, &what, ret);

    if (r == 0) {
        note_theirs(fs, *ret, remote);
        confirm(fs, *ret, remote);
    }
    return r;
}

/* The directory's keys are being changed: what is asked of them now says nothing. */
static bool is_moved(struct fs *fs, uint32_t dir) REQUIRES(&fs->lock)
{
    const struct node *node = fs_node(fs, dir);

    return node != NULL && claim_held(fs, node);
}

/* Another version than the one that is open here. */
static bool is_other(struct fs *fs, const struct node *node, const struct remote *remote)
    REQUIRES(&fs->lock)
{
    const struct inode_rec *rec = fs_rec(fs, node);

    return !remote->is_dir && rec->opens > 0 && strcmp(rec->etag, remote->info.etag) != 0;
}

/*
 * A file that is open stays what it was; its name gets another inode. So it does where the size is
 * another and answers with the old one may still be on their way: of several that cross, the kernel
 * drops those to questions that were asked earlier, and one inode would have the other's size.
 */
static bool parts(struct fs *fs, const struct node *node, const struct remote *remote)
    REQUIRES(&fs->lock)
{
    enum { CROSS_MS = 100 };
    const struct inode_rec *rec = fs_rec(fs, node);

    return is_other(fs, node, remote) || (!remote->is_dir && rec->size != remote->info.size &&
                                          fs_now_ms() < node->told_ms + CROSS_MS);
}

int remote_merge(struct fs *fs, uint32_t parent, const char *name, const struct remote *remote,
                 struct node **ret)
{
    struct node *node = fs_child(fs, parent, name);
    const struct inode_rec *rec = node != NULL ? fs_rec(fs, node) : NULL;
    bool same_type;

    *ret = NULL;
    if (rec != NULL && ((rec->flags & (INODE_DIRTY | INODE_NEW)) != 0 || claim_held(fs, node) ||
                        fs_outdated(fs, node, remote->asked))) {
        *ret = node; /* what is here is newer; who is right is decided when it is published */
        return 0;
    }
    if (node == NULL && (fs_name_outdated(fs, parent, name, remote->asked) ||
                         (is_moved(fs, parent) && remote->asked != UINT64_MAX))) {
        return -EAGAIN;
    }
    if (node == NULL && remote->exists && graves_has_as(fs, parent, name, remote->is_dir)) {
        return 0; /* still there, but not for long */
    }
    if (!remote->exists) {
        if (node != NULL) {
            fs_node_detach(fs, node);
        }
        return 0;
    }
    if (remote->file != NULL) {
        return hard_merge(fs, parent, name, remote, ret);
    }
    if (node == NULL && !remote->is_dir && (*ret = collapse_at(fs, parent, name)) != NULL) {
        return 0; /* becoming a plain file just now: the same one */
    }
    if (remote->listed && doubts_listed(fs, parent, name, remote)) {
        return -EAGAIN;
    }
    if (remote->listed) {
        int known = merge_listed(fs, node, remote);

        if (known != 0) {
            *ret = known > 0 ? node : NULL;
            return known > 0 ? 0 : known;
        }
    }
    same_type = rec != NULL && (rec->mode & S_IFMT) == (remote->attr.mode & S_IFMT);
    if (node != NULL && same_type && node->follows && rec->opens > 0) {
        *ret = node; /* its next lock looks what others have made of it */
        return 0;
    }
    if (node != NULL && (!same_type || parts(fs, node, remote))) {
        fs_node_detach(fs, node);
        node = NULL;
    }
    if (node == NULL) {
        return make_node(fs, parent, name, remote, ret);
    }
    update(fs, node, remote);
    *ret = node;
    return 0;
}

/* Whether what was said when a file was fetched ahead will do. */
enum ahead_use { AHEAD_NO, AHEAD_LOOK, AHEAD_OPEN };

/* What the store says of the key now, or has said when the file was fetched ahead of its open. */
static int ask_again(struct fs *fs, const char *key, enum ahead_use use, struct remote *ret)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request head = {.op = OBJSTORE_HEAD, .key = key, .timeout_ms = META_TIMEOUT_MS};
    int r;

    if (use != AHEAD_NO && ahead_find(fs, key, use == AHEAD_OPEN, ret)) {
        return 0;
    }
    (void)volume_call(fs->volume, &head, &answer);
    r = remote_interpret(fs, key, &answer.result, ret);
    ret->marker = r == 0 && ret->is_dir;
    ret->asked = UINT64_MAX;
    if (r != 0) {
        remote_done(ret);
    }
    return r;
}

/* `ret_changed`: NULL, or a new version is taken over though the file is open, also by an inode
 * whose name has another one by now; true if it was. */
static int refresh(struct fs *fs, uint64_t ino, bool always, enum ahead_use use, bool *ret_changed)
{
    const uint32_t stays =
        INODE_DIRTY | INODE_NEW | INODE_UNLINKED | (ret_changed == NULL ? INODE_DETACHED : 0U);
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct remote remote;
    struct node *node;
    const struct inode_rec *rec;
    uint64_t asked;
    uint64_t turn;
    bool asked_store = false;
    int ret;

    mutex_lock(&fs->lock);
    turn = fs_turn(fs);
    node = fs_node(fs, ino);
    rec = node != NULL ? fs_rec(fs, node) : NULL;
    asked = fs->clock;
    if (rec == NULL || ino == STATE_ROOT || (rec->flags & stays) != 0 ||
        (S_ISDIR(rec->mode) && (rec->flags & INODE_MARKER) == 0) ||
        (!always && fs_now_ms() < node->valid_until_ms)) {
        mutex_unlock(&fs->lock);
        return rec == NULL ? -ESTALE : 0;
    }
    ret = fs_key(fs, (uint32_t)ino, &key);
    node->users++;
    mutex_unlock(&fs->lock);
    if (ret == 0) {
        ret = ask_again(fs, buf_str(&key), use, &remote);
        asked = ret == 0 && remote.asked < asked ? remote.asked : asked;
        remote.asked = asked;
        remote.turn = remote.made_ms == 0 ? turn : 0;
        asked_store = ret == 0;
    }
    mutex_lock(&fs->lock);
    node->users--;
    rec = fs_rec(fs, node);
    if (ret == 0 && (rec->flags & (INODE_DIRTY | INODE_NEW)) == 0 && !claim_held(fs, node) &&
        !fs_outdated(fs, node, asked)) {
        if (!remote.exists) {
            ret = S_ISDIR(rec->mode) ? 0 : -ESTALE; /* as below: it may be made anew */
        } else if (ret_changed != NULL) {
            *ret_changed = strcmp(rec->etag, remote.info.etag) != 0;
            update(fs, node, &remote);
            fs_opened(node, rec->etag);
        } else if (use == AHEAD_LOOK ? is_other(fs, node, &remote) : parts(fs, node, &remote)) {
            /* Another version: the name has to be looked up again; or, of a file that was locked,
             * is looked at by its next lock. */
            ret = node->follows && rec->opens > 0 ? 0 : -ESTALE;
            node->valid_until_ms = ret == 0 ? node->valid_until_ms : 0; /* by the store's word */
        } else {
            update(fs, node, &remote);
        }
    }
    fs_node_put(fs, node);
    mutex_unlock(&fs->lock);
    if (asked_store) {
        remote_done(&remote);
    }
    return ret;
}

int remote_refresh(struct fs *fs, uint64_t ino)
{
    return refresh(fs, ino, false, AHEAD_LOOK, NULL);
}

int remote_open(struct fs *fs, uint64_t ino)
{
    /* Where others have the volume, not what was true before this open(). */
    return refresh(fs, ino, fs->options.open_asks, fs->locks != NULL ? AHEAD_NO : AHEAD_OPEN, NULL);
}

int remote_open_anew(struct fs *fs, uint64_t ino)
{
    return refresh(fs, ino, true, AHEAD_NO, NULL);
}

/*
 * Who appends by a handle that is open does so where the kernel takes the file to end, and it asks
 * nobody. A byte that is given to it makes its size larger: the last one, as it is in the store.
 * Where that does not do (the file was cut), write_locked() puts things right.
 */
static void tell_end(struct fs *fs, uint64_t ino)
{
    struct op part = {.fs = fs, .ino = ino, .size = 1};
    struct extent e = {0};
    struct fuse_bufvec bytes = FUSE_BUFVEC_INIT(1);
    const struct node *node;
    char last = 0;
    size_t len = 0;

    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    if (node != NULL && node->writers > 0) {
        part.offset = fs_rec(fs, node)->size;
    }
    mutex_unlock(&fs->lock);
    if (part.offset-- > 0 && extent_get(&part, &e, &last, &len) == 0 && len == 1) {
        bytes.buf[0].mem = &last;
        (void)fuse_lowlevel_notify_store(session_fuse(fs->session), ino, (off_t)part.offset, &bytes,
                                         0);
    }
}

int remote_follow(struct fs *fs, uint64_t ino)
{
    struct node *node;
    bool changed = false;
    bool empty = false;
    int ret;

    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    if (node != NULL) {
        const struct inode_rec *rec = fs_rec(fs, node);

        node->follows = true;
        empty = (rec->flags & INODE_NEW) != 0 && rec->size == 0 && publish_is_wanted(fs, node);
    }
    mutex_unlock(&fs->lock);
    if (empty) { /* another node may have made it, too, and have written to it under the lock */
        ret = publish(fs, (uint32_t)ino);
        if (ret != 0 && ret != -ESTALE) {
            return ret;
        }
    }
    ret = refresh(fs, ino, true, AHEAD_NO, &changed);
    if (ret == 0 && changed && fs->session != NULL) {
        tell_end(fs, ino);
        (void)fuse_lowlevel_notify_inval_inode(session_fuse(fs->session), ino, 0, 0);
    }
    return ret;
}

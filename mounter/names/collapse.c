/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/collapse.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/attr/theirs.h"
#include "mounter/managed/links.h"
#include "mounter/names/collapse_internal.h"
#include "mounter/names/hard.h"
#include "mounter/names/moves.h"
#include "mounter/names/pointer.h"
#include "mounter/ops.h"
#include "mounter/write/settle.h"
#include "objstore/objstore_call.h"
#include "util/log.h"

enum {
    TIMEOUT_MS = 50000,
    TRIES = 4,
    TICK_MS = 1000,
    AGAIN_MS = 1000,
    AGAIN_MAX_MS = 30000,
    NUMBER_LEN = 16, /* in the kept text: number, ' ', key */
};

/* One under way. Its node is claimed, and what is in `place` used. Under fs->lock but for who has
 * set `active`. */
struct collapse {
    LIST_ENTRY(collapse) link;
    char file[LINKS_FILE_SIZE];
    uint64_t number; /* of the last name */
    uint32_t ino;
    uint32_t dir; /* the last name's; 0: not known yet */
    char name[NAMES_MAX + 1];
    bool active;
    bool doubt; /* a copy may have been made, or may still be */
    uint32_t failures;
    uint64_t retry_ms;
    char etag[STATE_ETAG_SIZE]; /* of what was copied */
    char key[];
};

/* What the copy is. */
struct copy {
    char etag[STATE_ETAG_SIZE];
    int64_t ns;
    bool plain;
    uint64_t size;
    struct attr attr;
    char *target;
    struct objstore_meta meta;
    struct theirs theirs;
    struct arena arena;
};

static void copy_done(struct copy *copy)
{
    theirs_done(&copy->theirs);
    arena_done(&copy->arena);
    free(copy->target);
}

static struct collapse *make(const char *file, const char *key, uint64_t number)
{
    struct collapse *c = calloc(1, sizeof(*c) + strlen(key) + 1);

    if (c != NULL) {
        (void)snprintf(c->file, sizeof(c->file), "%s", file);
        memcpy(c->key, key, strlen(key) + 1);
        c->number = number;
    }
    return c;
}

/* ---- who may ---- */

void collapse_bar(struct fs *fs, struct collapse_bar *bar)
{
    LIST_INSERT_HEAD(&fs->collapse_bars, bar, link);
}

static struct collapse *find_key(const struct fs *fs, const char *key) REQUIRES(&fs->lock)
{
    struct collapse *c;

    LIST_FOREACH (c, &fs->collapses, link) {
        if (strcmp(c->key, key) == 0) {
            return c;
        }
    }
    return NULL;
}

int collapse_bar_key(struct fs *fs, struct collapse_bar *bar)
{
    uint64_t until = fs_now_ms() + TIMEOUT_MS;
    int r = 0;

    mutex_lock(&fs->lock);
    while (r == 0 && find_key(fs, bar->key) != NULL) {
        if (fs_now_ms() >= until || fs->ending) {
            r = -ETIMEDOUT;
        } else {
            cond_wait_ms(&fs->changed, &fs->lock, TICK_MS);
        }
    }
    if (r == 0) {
        collapse_bar(fs, bar);
    }
    mutex_unlock(&fs->lock);
    return r;
}

void collapse_unbar(struct fs *fs, struct collapse_bar *bar)
{
    mutex_lock(&fs->lock);
    LIST_REMOVE(bar, link);
    mutex_unlock(&fs->lock);
}

static bool is_barred(const struct fs *fs, const struct collapse *c) REQUIRES(&fs->lock)
{
    const struct collapse_bar *bar;

    LIST_FOREACH (bar, &fs->collapse_bars, link) {
        if ((bar->key != NULL && strcmp(bar->key, c->key) == 0) ||
            (bar->file != NULL && strcmp(bar->file, c->file) == 0)) {
            return true;
        }
    }
    return false;
}

static bool is_at(struct fs *fs, const struct collapse *c, uint32_t parent, const char *name)
    REQUIRES(&fs->lock)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);

    return c->dir != 0
               ? c->dir == parent && strcmp(c->name, name) == 0
               : fs_child_key(fs, parent, name, &key) == 0 && strcmp(buf_str(&key), c->key) == 0;
}

struct node *collapse_at(struct fs *fs, uint32_t parent, const char *name)
{
    const struct collapse *c;

    LIST_FOREACH (c, &fs->collapses, link) {
        if (is_at(fs, c, parent, name)) {
            return fs_node(fs, c->ino);
        }
    }
    return NULL;
}

bool collapse_below(struct fs *fs, uint32_t dir)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    const struct node *node = LIST_EMPTY(&fs->collapses) ? NULL : fs_node(fs, dir);
    const struct collapse *c;

    if (node == NULL || !S_ISDIR(fs_rec(fs, node)->mode) || fs_key(fs, dir, &key) != 0) {
        return false;
    }
    LIST_FOREACH (c, &fs->collapses, link) {
        if (strncmp(c->key, buf_str(&key), buf_len(&key)) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- where the last name is ---- */

/* One directory further down; c->dir is used. */
static int enter(struct fs *fs, struct collapse *c) REQUIRES(&fs->lock)
{
    struct node *dir = fs_node(fs, c->dir);
    struct node *child = fs_child(fs, c->dir, c->name);
    uint32_t ino;
    int r = 0;

    if (child == NULL) {
        mutex_unlock(&fs->lock);
        r = rename_resolve(fs, c->dir, c->name, &ino);
        mutex_lock(&fs->lock);
        child = fs_child(fs, c->dir, c->name);
    }
    if (r == 0 && (child == NULL || !S_ISDIR(fs_rec(fs, child)->mode))) {
        r = -ENOENT;
    }
    if (r == 0) {
        child->users++;
        c->dir = child->ino;
    }
    dir->users--;
    fs_node_put(fs, dir);
    c->dir = r == 0 ? c->dir : 0;
    return r;
}

static void leave_place(struct fs *fs, struct collapse *c) REQUIRES(&fs->lock)
{
    struct node *dir = c->dir != 0 ? fs_node(fs, c->dir) : NULL;

    if (dir != NULL) {
        dir->users--;
        fs_node_put(fs, dir);
    }
    c->dir = 0;
}

/* The directory is used from now on. */
static int find_place(struct fs *fs, struct collapse *c)
{
    const char *at = c->key;
    int r = 0;

    mutex_lock(&fs->lock);
    fs_node(fs, STATE_ROOT)->users++;
    c->dir = STATE_ROOT;
    while (r == 0) {
        size_t len = strcspn(at, "/");

        r = longs_name(fs->longs, (struct slice){at, len}, false, c->name);
        if (r != 0 || at[len] == '\0') {
            break;
        }
        r = enter(fs, c);
        at += len + 1;
    }
    if (r != 0) {
        leave_place(fs, c);
    }
    mutex_unlock(&fs->lock);
    return r;
}

/* ---- the first step ---- */

/* What it must not be: what cannot be done now, or is not known. */
static int check(struct fs *fs, const struct collapse *c) REQUIRES(&fs->lock)
{
    const struct node *node = fs_node(fs, c->ino);
    const struct node *dir = fs_node(fs, c->dir);
    const struct inode_rec *rec = node != NULL ? fs_rec(fs, node) : NULL;
    const uint32_t wrong =
        INODE_NEW | INODE_UNLINKED | INODE_DETACHED | INODE_LOST | INODE_CONFLICT | INODE_COLLAPSE;

    if (rec == NULL || dir == NULL || (rec->flags & INODE_LINKED) == 0 ||
        (rec->flags & wrong) != 0 || rec->etag[0] == '\0' || rec->hidden != 0) {
        return -ESTALE;
    }
    if ((rec->flags & INODE_DIRTY) != 0 || rec->upload != 0) {
        return -EAGAIN;
    }
    return rec->attempt != 0 || rec->journal != 0 || is_barred(fs, c) ||
                   find_key(fs, c->key) != NULL || locks_any(fs->locks, c->ino) ||
                   claim_below(fs, dir) || moves_pending(fs) ||
                   fs_child(fs, c->dir, c->name) != NULL
               ? -EBUSY
               : 0;
}

static int note(struct fs *fs, struct collapse *c) REQUIRES(&fs->lock)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct inode_rec *rec = state_inode(fs->state, c->ino);
    uint32_t cell;
    int r;

    buf_addf(&text, "%016" PRIx64 " %s", c->number, c->key);
    r = buf_error(&text);
    if (r != 0) {
        return r;
    }
    state_begin(fs->state);
    r = state_text_new(fs->state, buf_str(&text), buf_len(&text), &cell);
    if (r != 0) {
        state_abort(fs->state);
        return r;
    }
    STATE_SET(fs->state, rec->last, cell);
    STATE_SET(fs->state, rec->flags, rec->flags | INODE_COLLAPSE);
    STATE_SET(fs->state, rec->ctime_ns, fs_now_ns());
    state_commit(fs->state);
    c->active = true;
    LIST_INSERT_HEAD(&fs->collapses, c, link);
    return 0;
}

/* The inode of the file, which may have to be looked up. 0: there is none. */
static uint32_t find_inode(struct fs *fs, const struct collapse *c)
{
    char key[POINTER_FILE_KEY];
    const struct node *node;
    uint32_t ino = 0;

    pointer_file_key(c->file, key);
    mutex_lock(&fs->lock);
    node = fs_child(fs, STATE_ROOT, key);
    ino = node != NULL ? node->ino : 0;
    mutex_unlock(&fs->lock);
    if (ino == 0 && rename_resolve(fs, c->dir, c->name, &ino) != 0) {
        ino = 0;
    }
    return ino;
}

static int begin(struct fs *fs, struct collapse *c)
{
    char key[POINTER_FILE_KEY];
    int r = -EAGAIN;

    pointer_file_key(c->file, key);
    c->ino = find_inode(fs, c);
    for (int tries = 0; r == -EAGAIN && tries < 2; tries++) {
        const struct node *node;

        if (tries > 0 && publish(fs, c->ino) != 0) {
            return -EBUSY;
        }
        mutex_lock(&fs->lock);
        r = c->ino == 0 ? -ESTALE : claim(fs, c->ino, 0, 0);
        if (r == 0) {
            node = fs_child(fs, STATE_ROOT, key);
            r = node == NULL || node->ino != c->ino ? -ESTALE : check(fs, c);
            r = r == 0 ? note(fs, c) : r;
            if (r != 0) {
                claim_end(fs, c->ino, 0);
            }
        }
        mutex_unlock(&fs->lock);
    }
    return r == -EAGAIN ? -EBUSY : r;
}

/* ---- the copy ---- */

static int describe(struct fs *fs, struct collapse *c, struct copy *copy)
{
    char key[POINTER_FILE_KEY];
    CLEANUP(buf_done) struct buf target = BUF_INIT(STATE_TEXT_MAX);
    const struct node *node;
    const struct inode_rec *rec;
    int r;

    *copy = (struct copy){.arena = ARENA_INIT(1 << 20)};
    pointer_file_key(c->file, key);
    mutex_lock(&fs->lock);
    node = fs_node(fs, c->ino);
    rec = fs_rec(fs, node);
    memcpy(c->etag, rec->etag, sizeof(c->etag));
    copy->size = rec->base_size;
    copy->plain = theirs_none(fs, node);
    fs_attr(fs, node, &copy->attr, &copy->arena);
    state_text_get(fs->state, rec->target, &target);
    mutex_unlock(&fs->lock);
    copy->target = strdup(buf_str(&target));
    r = copy->target == NULL ? -ENOMEM : attr_write(&copy->attr, &copy->arena, &copy->meta);
    if (r == 0 && !copy->plain) {
        copy->theirs.key = key;
        copy->theirs.etag = c->etag;
        r = theirs_keep(fs, &copy->theirs, &copy->arena, &copy->meta);
        copy->plain = copy->theirs.none;
    }
    return r == 0 ? publish_add_mark(c->number, &copy->arena, &copy->meta) : r;
}

/* Nothing has been done, and nothing of it will be. */
static bool is_refused(int error)
{
    return error == -ENOTSUP || error == -EFBIG || error == -EACCES || error == -EPERM ||
           error == -EROFS || error == -EINVAL || error == -ENOMEM || error == -EKEYEXPIRED;
}

static bool is_the_pointer(const struct collapse *c, const struct pointer *there)
{
    return there->number == c->number && strcmp(there->file, c->file) == 0;
}

/*
 * 0: K is the copy. -EINPROGRESS: that is not known. Else it is not, and will not be: it is left as
 * it is. `seen`: what was at K just now; or NULL.
 */
static int copy_there(struct fs *fs, struct collapse *c, const struct pointer *seen,
                      struct copy *copy)
{
    char from[POINTER_FILE_KEY];
    struct pointer there = {.exists = false};
    char before[STATE_ETAG_SIZE] = "";
    int r = describe(fs, c, copy);

    pointer_file_key(c->file, from);
    for (int tries = 0; r == 0 && tries < TRIES; tries++) {
        const struct copy_what what = {.from = from,
                                       .to = c->key,
                                       .if_match = c->etag,
                                       .onto = there.etag,
                                       .size = copy->size,
                                       .meta = &copy->meta,
                                       .ino = c->ino,
                                       .ret_ns = &copy->ns};

        if (seen != NULL) {
            there = *seen;
            seen = NULL;
        } else {
            r = pointer_read(fs, c->key, &there);
        }
        if (r != 0) {
            break;
        }
        if (there.exists && there.number == 0 && there.mark == c->number) {
            memcpy(copy->etag, there.etag, sizeof(copy->etag));
            return 0;
        }
        if (!is_the_pointer(c, &there) || strcmp(there.etag, before) == 0) {
            return -ESTALE; /* the name has gone, or somebody has written to the file */
        }
        memcpy(before, there.etag, sizeof(before));
        r = remote_copy(fs, &what, copy->etag);
        if (r == 0) {
            return 0;
        }
        c->doubt = c->doubt || !(is_refused(r) || r == -ESTALE || r == -ENOENT);
        r = r == -ESTALE || r == -ENOENT ? 0 : r; /* which of the two was it? */
    }
    return c->doubt || r == 0 ? -EINPROGRESS : r;
}

/* ---- the inode ---- */

static int turn_rec(struct fs *fs, struct collapse *c, const char *etag) REQUIRES(&fs->lock)
{
    struct inode_rec *rec = state_inode(fs->state, c->ino);
    uint32_t old = rec->name;
    uint32_t cell;
    int r;

    state_begin(fs->state);
    r = state_text_new(fs->state, c->name, strlen(c->name), &cell);
    r = r == 0 ? fs_set_component(fs, rec, c->name) : r;
    if (r != 0) {
        state_abort(fs->state);
        return r;
    }
    STATE_SET(fs->state, rec->flags, rec->flags & ~(uint32_t)(INODE_LINKED | INODE_COLLAPSE));
    STATE_SET(fs->state, rec->parent, c->dir);
    STATE_SET(fs->state, rec->name, cell);
    STATE_SET(fs->state, rec->links, 0U);
    state_set(fs->state, rec->etag, etag, sizeof(rec->etag));
    state_text_release(fs->state, old);
    state_text_release(fs->state, rec->last);
    state_commit(fs->state);
    return 0;
}

/* It is the inode of K from now on. */
static int turn(struct fs *fs, struct collapse *c, const struct copy *copy) REQUIRES(&fs->lock)
{
    struct node *node = fs_node(fs, c->ino);
    struct node *other = fs_child(fs, c->dir, c->name);
    int r;

    if (other != NULL) { /* of what was there before the pointer */
        fs_node_detach(fs, other);
    }
    r = turn_rec(fs, c, copy->etag);
    if (r != 0) {
        return r;
    }
    (void)!fs_node_rename(fs, node, c->dir, c->name); /* without memory the next lookup finds it */
    hard_changed(fs, c->dir);
    node->valid_until_ms = fs_now_ms() + fs->options.attr_timeout_ms;
    fs_opened(node, copy->etag);
    theirs_note(node, copy->etag, copy->plain);
    facts_tell(fs->facts, &(struct facts_told){.key = c->key,
                                               .etag = copy->etag,
                                               .attr = &copy->attr,
                                               .target = copy->target,
                                               .modified_ns = copy->ns});
    return 0;
}

static void back_out(struct fs *fs, const struct collapse *c) REQUIRES(&fs->lock)
{
    struct inode_rec *rec = state_inode(fs->state, c->ino);

    state_begin(fs->state);
    state_text_release(fs->state, rec->last);
    STATE_SET(fs->state, rec->flags, rec->flags & ~(uint32_t)INODE_COLLAPSE);
    state_commit(fs->state);
}

/* ---- all of it ---- */

/* To be tried again, more and more seldom. */
static void put_off(struct collapse *c)
{
    uint64_t pause = (uint64_t)AGAIN_MS << (c->failures < 5 ? c->failures : 5);

    c->failures++;
    c->retry_ms = fs_now_ms() + (pause < AGAIN_MAX_MS ? pause : AGAIN_MAX_MS);
    c->active = false;
}

/* For who has set `active`; c may be freed afterwards. As collapse(). */
static int run(struct fs *fs, struct collapse *c, const struct pointer *seen)
{
    CLEANUP(copy_done) struct copy copy = {.ns = 0};
    struct collapse_rest rest = {.file = c->file};
    int r = copy_there(fs, c, seen, &copy);
    bool is_over;

    if (r == 0 && c->dir == 0) {
        r = find_place(fs, c) == 0 ? 0 : -EINPROGRESS;
    }
    mutex_lock(&fs->lock);
    r = r == 0 && turn(fs, c, &copy) != 0 ? -EINPROGRESS : r;
    is_over = r != -EINPROGRESS;
    if (is_over) {
        if (r != 0) {
            back_out(fs, c);
        }
        LIST_REMOVE(c, link);
        claim_end(fs, c->ino, 0);
        leave_place(fs, c);
    } else {
        put_off(c);
    }
    mutex_unlock(&fs->lock);
    if (!is_over) {
        return 0;
    }
    if (r == 0) {
        rest.key = c->key;
        memcpy(rest.etag, c->etag, sizeof(rest.etag));
        collapse_finish(fs, &rest, c->number);
    }
    free(c);
    return r;
}

int collapse(struct fs *fs, const char *file, const char *key)
{
    struct pointer there;
    struct collapse *c;
    int r = fs->caps.if_match_put && !fs->options.read_only ? 0 : -ENOTSUP;

    if (r == 0 && (!pointer_known(fs, key, &there) || strcmp(there.file, file) != 0)) {
        r = pointer_read(fs, key, &there);
    }
    if (r == 0 && (there.number == 0 || strcmp(there.file, file) != 0)) {
        r = -ESTALE; /* it was renamed, or its directory was */
    }
    if (r != 0) {
        return r;
    }
    c = make(file, key, there.number);
    if (c == NULL) {
        return -ENOMEM;
    }
    r = find_place(fs, c);
    r = r == 0 ? begin(fs, c) : r;
    if (r == 0) {
        return run(fs, c, &there);
    }
    mutex_lock(&fs->lock);
    leave_place(fs, c);
    mutex_unlock(&fs->lock);
    free(c);
    return r;
}

/* As far as it had come. */
static void sweep_one(struct fs *fs, const char *file, const struct links_name *last)
{
    struct pointer there;
    bool not_now;

    mutex_lock(&fs->lock);
    not_now = fs->ending || find_key(fs, last->key) != NULL;
    mutex_unlock(&fs->lock);
    if (not_now || !fs->caps.if_match_put || !pointer_is_file(file) ||
        pointer_read(fs, last->key, &there) != 0) {
        return;
    }
    if (there.number == last->number && strcmp(there.file, file) == 0) {
        (void)!collapse(fs, file, last->key); /* or the next time */
    } else if (there.number == 0 && there.exists && there.mark == last->number) {
        collapse_finish_found(fs, file, last, &there);
    }
}

static void sweep_run(void *arg)
{
    struct fs *fs = arg;

    (void)!links_single(fs, sweep_one);
    mutex_lock(&fs->lock);
    fs->collapse_sweeps = false;
    mutex_unlock(&fs->lock);
}

void collapse_sweep(struct fs *fs)
{
    bool sweeps;

    mutex_lock(&fs->lock);
    sweeps = fs->collapse_sweeps;
    fs->collapse_sweeps = true;
    mutex_unlock(&fs->lock);
    if (!sweeps && tasks_add(fs->tasks, sweep_run, fs) != 0) {
        mutex_lock(&fs->lock);
        fs->collapse_sweeps = false;
        mutex_unlock(&fs->lock);
    }
}

/* ---- what has no known end ---- */

struct again {
    struct fs *fs;
    struct collapse *collapse;
};

static void run_again(void *arg)
{
    const struct again *again = arg;

    (void)!run(again->fs, again->collapse, NULL);
    free(arg);
}

/* One that is due, for who calls; or NULL. */
static struct collapse *take_due(struct fs *fs)
{
    struct collapse *c;

    mutex_lock(&fs->lock);
    LIST_FOREACH (c, &fs->collapses, link) {
        if (!c->active && fs_now_ms() >= c->retry_ms) {
            c->active = true;
            break;
        }
    }
    mutex_unlock(&fs->lock);
    return c;
}

void collapse_tick(struct fs *fs)
{
    struct collapse *c;

    while ((c = take_due(fs)) != NULL) {
        struct again *again = malloc(sizeof(*again));

        if (again != NULL) {
            *again = (struct again){fs, c};
        }
        if (again == NULL || tasks_add(fs->tasks, run_again, again) != 0) {
            mutex_lock(&fs->lock);
            put_off(c);
            mutex_unlock(&fs->lock);
            free(again);
        }
    }
}

static int adopt_one(struct fs *fs, struct node *node) REQUIRES(&fs->lock)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(STATE_TEXT_MAX);
    CLEANUP(buf_done) struct buf name = BUF_INIT(STATE_TEXT_MAX);
    const struct inode_rec *rec = fs_rec(fs, node);
    const char *key = NULL;
    struct collapse *c;
    char *end;

    state_text_get(fs->state, rec->last, &text);
    state_text_get(fs->state, rec->name, &name);
    if (buf_len(&text) < NUMBER_LEN + 2 || buf_len(&name) < sizeof(VOLUME_LINKS)) {
        return -EUCLEAN;
    }
    key = buf_str(&text) + NUMBER_LEN + 1;
    c = make(buf_str(&name) + strlen(VOLUME_LINKS), key, strtoull(buf_str(&text), &end, 16));
    if (c == NULL) {
        return -ENOMEM;
    }
    c->ino = node->ino;
    c->doubt = true;
    claim_set(fs, node, true);
    LIST_INSERT_HEAD(&fs->collapses, c, link);
    return 0;
}

int collapse_adopt(struct fs *fs)
{
    int r = 0;

    for (uint32_t ino = STATE_ROOT + 1; r == 0 && ino < state_inode_limit(fs->state); ino++) {
        struct node *node = fs_node(fs, ino);

        if (node != NULL && (fs_rec(fs, node)->flags & INODE_COLLAPSE) != 0) {
            r = adopt_one(fs, node);
        }
    }
    return r;
}

void collapse_free(struct fs *fs)
{
    struct collapse *c;

    mutex_lock(&fs->lock);
    while ((c = LIST_FIRST(&fs->collapses)) != NULL) {
        LIST_REMOVE(c, link);
        free(c);
    }
    mutex_unlock(&fs->lock);
}

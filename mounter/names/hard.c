/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/hard.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/attr/theirs.h"
#include "mounter/managed/links.h"
#include "mounter/names/collapse.h"
#include "mounter/names/fences.h"
#include "mounter/names/graves.h"
#include "mounter/names/listing.h"
#include "mounter/names/pointer.h"
#include "mounter/names/seen.h"
#include "mounter/ops.h"
#include "mounter/read/reader.h"
#include "objstore/objstore_call.h"
#include "util/log.h"
#include "util/random.h"

enum { TIMEOUT_MS = 50000, TRIES = 8, UNLINK_MS = 600000 /* a large file is copied */ };
static const uint64_t renames_mask = 0xffff; /* of a number; the rest is random */

int hard_number(struct fs *fs, const char *key, uint64_t *ret)
{
    struct pointer pointer;
    int r = pointer_read(fs, key, &pointer);

    *ret = r == 0 ? pointer.number : 0;
    return r;
}

/* ---- what the store says ---- */

void hard_count(struct fs *fs, const char *key, struct remote *remote)
{
    remote->links = 0;
    if (fs->managed != NULL && strncmp(key, VOLUME_LINKS, strlen(VOLUME_LINKS)) == 0 &&
        links_count(fs, key + strlen(VOLUME_LINKS), &remote->links) != 0) {
        remote->links = 0;
    }
}

int hard_follow(struct fs *fs, struct remote *remote)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    char key[POINTER_FILE_KEY];
    char file[LINKS_FILE_SIZE];
    struct objstore_request head = {.op = OBJSTORE_HEAD, .key = key, .timeout_ms = TIMEOUT_MS};
    struct remote *found;
    uint64_t number;
    uint64_t asked = fs_asked(fs);
    int r;

    if (!pointer_parse(remote->attr.link, file, &number)) {
        return 0;
    }
    pointer_file_key(file, key);
    found = calloc(1, sizeof(*found));
    if (found == NULL) {
        return -ENOMEM;
    }
    (void)volume_call(fs->volume, &head, &answer);
    r = remote_interpret(fs, key, &answer.result, found);
    found->asked = asked;
    if (r == 0 && found->exists && found->attr.link == NULL) {
        remote->file = found;
        remote->file_key = arena_strdup(&remote->arena, key);
        return remote->file_key != NULL ? 0 : -ENOMEM;
    }
    remote_done(found);
    free(found);
    return r; /* a pointer to nothing is a file as others are, and can be removed */
}

void hard_changed(struct fs *fs, uint32_t dir)
{
    struct node *node = fs_node(fs, dir);
    struct listed *listed = node != NULL ? listed_of(node) : NULL;

    ++fs->clock;
    if (listed != NULL) {
        listed->floor = fs->clock;
        listing_drop(node);
    } else {
        fs->moved = fs->clock;
    }
}

int hard_merge(struct fs *fs, uint32_t parent, const char *name, const struct remote *remote,
               struct node **ret)
{
    struct node *node = fs_child(fs, parent, name);
    struct remote file = *remote->file;

    if (node != NULL) {
        fs_node_detach(fs, node);
    }
    file.asked = remote->asked == UINT64_MAX ? UINT64_MAX : file.asked;
    return remote_merge(fs, STATE_ROOT, remote->file_key, &file, ret);
}

static struct node *node_of(struct fs *fs, const char *file) REQUIRES(&fs->lock)
{
    char key[POINTER_FILE_KEY];

    pointer_file_key(file, key);
    return fs_child(fs, STATE_ROOT, key);
}

/* ---- link ---- */

/* The first name of a file, which becomes a pointer. */
struct first {
    struct op *op;
    struct collapse_bar bar; /* while it has a file: it keeps its names */
    uint32_t ino;
    uint64_t token; /* of the new name; that of the old one differs in a bit */
    bool again;
    struct buf key;
    uint32_t parent;
    uint64_t size;
    char etag[STATE_ETAG_SIZE];
    char copied[STATE_ETAG_SIZE];
    bool timed; /* the copy has the time of this change, */
    bool plain; /* and no metadata but ours */
    char file[LINKS_FILE_SIZE];
    char name[NAMES_MAX + 1];
};

static uint64_t old_number(uint64_t token)
{
    return token ^ (UINT64_C(1) << 40);
}

/* What may not be linked, or has to wait. -EAGAIN: to be published (again). */
static int look(struct fs *fs, struct first *f) REQUIRES(&fs->lock)
{
    struct node *node = fs_node(fs, f->ino);
    const struct inode_rec *rec = node != NULL ? fs_rec(fs, node) : NULL;
    CLEANUP(buf_done) struct buf name = BUF_INIT(NAMES_MAX + 1);

    if (rec == NULL || (rec->flags & (INODE_UNLINKED | INODE_DETACHED)) != 0) {
        return rec == NULL ? -ESTALE : -ENOENT;
    }
    if (lost_is(fs, node)) {
        return -EIO;
    }
    if ((rec->flags & INODE_LINKED) != 0) {
        state_text_get(fs->state, rec->name, &name);
        (void)snprintf(f->file, sizeof(f->file), "%s", buf_str(&name) + strlen(VOLUME_LINKS));
        return 0;
    }
    if ((rec->flags & (INODE_DIRTY | INODE_NEW)) != 0 || rec->upload != 0) {
        return -EAGAIN;
    }
    buf_reset(&f->key);
    state_text_get(fs->state, rec->name, &name);
    (void)snprintf(f->name, sizeof(f->name), "%s", buf_str(&name));
    (void)snprintf(f->file, sizeof(f->file), "%016" PRIx64 "-%016" PRIx64, rec->number, f->token);
    f->parent = rec->parent;
    f->size = rec->base_size;
    memcpy(f->etag, rec->etag, sizeof(f->etag));
    return fs_key(fs, f->ino, &f->key);
}

/* Published and claimed; or a linked file already, then it is not claimed. */
static int settle_first(struct first *f, bool *ret_linked)
{
    struct fs *fs = f->op->fs;
    const struct state_intent intent = {f->op->unique, {f->ino}, f->token};
    int r = -EAGAIN;

    *ret_linked = false;
    for (int tries = 0; r == -EAGAIN && tries < TRIES; tries++) {
        const struct node *node;

        r = tries > 0 || !f->again ? publish_for(fs, f->ino, f->op->pending) : 0;
        mutex_lock(&fs->lock);
        r = r == 0 ? claim(fs, f->ino, 0, f->op->unique) : r;
        if (r == 0) {
            r = look(fs, f);
            node = fs_node(fs, f->ino);
            *ret_linked = r == 0 && (fs_rec(fs, node)->flags & INODE_LINKED) != 0;
            if (*ret_linked) {
                f->bar.file = f->file;
                collapse_bar(fs, &f->bar);
            }
            if (r == 0 && !*ret_linked) {
                state_begin(fs->state);
                r = state_intend(fs->state, &intent);
                state_commit(fs->state);
            }
            if (r != 0 || *ret_linked) {
                claim_end(fs, f->ino, 0);
            }
        }
        mutex_unlock(&fs->lock);
    }
    return r == -EAGAIN ? -EBUSY : r;
}

static int note_special(struct fs *fs)
{
    return seen_note(fs, &(const struct attr){.mode = S_IFLNK | 0777});
}

/* What the copy is to say of itself: it is there anew, so the time of the change goes with it. */
struct words {
    struct attr attr;
    struct objstore_meta meta;
    struct theirs theirs;
    struct arena arena;
};

static void words_done(struct words *words)
{
    theirs_done(&words->theirs);
    arena_done(&words->arena);
}

static int describe(struct first *f, struct words *words)
{
    struct fs *fs = f->op->fs;
    const struct node *node;
    struct inode_rec *rec;
    int r;

    *words = (struct words){.arena = ARENA_INIT(1 << 20)};
    mutex_lock(&fs->lock);
    node = fs_node(fs, f->ino);
    rec = fs_rec(fs, node);
    f->timed = rec->journal == 0; /* else it keeps the token that is in the journal, too */
    if (f->timed) {
        state_begin(fs->state);
        STATE_SET(fs->state, rec->ctime_ns, fs_now_ns());
        state_commit(fs->state);
    }
    f->plain = theirs_none(fs, node);
    fs_attr(fs, node, &words->attr, &words->arena);
    mutex_unlock(&fs->lock);
    r = attr_write(&words->attr, &words->arena, &words->meta);
    if (r == 0 && f->timed && !f->plain) {
        words->theirs.key = buf_str(&f->key);
        words->theirs.etag = f->etag;
        r = theirs_keep(fs, &words->theirs, &words->arena, &words->meta);
        f->plain = words->theirs.none;
    }
    return r;
}

/* The object goes to its own place, and its old one becomes a pointer. */
static int move_object(struct first *f)
{
    struct fs *fs = f->op->fs;
    char key[POINTER_FILE_KEY];
    CLEANUP(words_done) struct words words = {.meta = {0}};
    struct copy_what copy = {.from = buf_str(&f->key),
                             .to = key,
                             .if_match = f->etag[0] != '\0' ? f->etag : NULL,
                             .size = f->size};
    struct pointer there = {.exists = false};
    int r = note_special(fs);

    pointer_file_key(f->file, key);
    r = r == 0 && f->again ? pointer_read(fs, copy.from, &there) : r;
    if (r == 0 && there.number == old_number(f->token)) { /* before the crash */
        r = pointer_read(fs, key, &there);
        memcpy(f->copied, there.etag, sizeof(f->copied));
        return r == 0 && !there.exists ? -EIO : r;
    }
    r = r == 0 ? describe(f, &words) : r;
    copy.meta = f->timed ? &words.meta : NULL;
    r = r == 0 ? remote_copy(fs, &copy, f->copied) : r;
    return r == 0 ? pointer_put(fs, &(const struct pointer_put){.key = copy.from,
                                                                .file = f->file,
                                                                .number = old_number(f->token),
                                                                .if_match = f->etag})
                  : r;
}

/* The inode follows its object. */
static int move_inode(struct fs *fs, const struct first *f, uint32_t links) REQUIRES(&fs->lock)
{
    struct node *node = fs_node(fs, f->ino);
    struct inode_rec *rec = fs_rec(fs, node);
    uint32_t old = rec->name;
    uint32_t old_component = rec->component;
    char key[POINTER_FILE_KEY];
    uint32_t cell;
    int r;

    pointer_file_key(f->file, key);
    state_begin(fs->state);
    r = state_text_new(fs->state, key, strlen(key), &cell);
    if (r != 0) {
        state_abort(fs->state);
        return r;
    }
    STATE_SET(fs->state, rec->flags, rec->flags | INODE_LINKED);
    STATE_SET(fs->state, rec->parent, (uint32_t)STATE_ROOT);
    STATE_SET(fs->state, rec->name, cell);
    STATE_SET(fs->state, rec->component, 0U);
    STATE_SET(fs->state, rec->links, links);
    state_set(fs->state, rec->etag, f->copied, sizeof(rec->etag));
    state_text_release(fs->state, old);
    state_text_release(fs->state, old_component);
    state_commit(fs->state);
    r = fs_node_rename(fs, node, STATE_ROOT, key);
    fs_opened(node, f->copied);
    if (f->timed) {
        theirs_note(node, f->copied, f->plain);
        node->valid_until_ms = fs_now_ms() + fs->options.attr_timeout_ms;
    }
    hard_changed(fs, f->parent);
    return r;
}

/* What a failed link(2) has told the metaserver. */
static void take_back(struct fs *fs, uint64_t number)
{
    struct links_left left;

    if (links_remove(fs, number, &left) == 0) {
        free(left.last_key);
    }
}

/* A file with one name becomes one with two, of which the second has no pointer yet. */
static int make_linked(struct first *f, const char *new_key, bool *ret_added)
{
    struct fs *fs = f->op->fs;
    uint32_t links = 0;
    bool linked;
    int r = settle_first(f, &linked);

    *ret_added = false;
    if (r != 0 || linked) {
        return r;
    }
    r = links_add(fs,
                  &(const struct links_add){
                      .file = f->file,
                      .names = {{old_number(f->token), buf_str(&f->key)}, {f->token, new_key}},
                      .count = 2,
                      .make = true},
                  &links);
    if (r == 0) {
        r = move_object(f);
        if (r != 0 && r != -ETIMEDOUT) { /* nothing points to it */
            take_back(fs, f->token);
            take_back(fs, old_number(f->token));
        }
    }
    mutex_lock(&fs->lock);
    r = r == 0 ? move_inode(fs, f, links) : r;
    claim_end(fs, f->ino, 0);
    mutex_unlock(&fs->lock);
    if (r == 0) {
        facts_forget(fs->facts, buf_str(&f->key));
        *ret_added = true;
    }
    return r;
}

static int child_key(const struct op *op, struct buf *ret)
{
    struct fs *fs = op->fs;
    int r;

    buf_reset(ret);
    mutex_lock(&fs->lock);
    r = fs_node(fs, op->ino) == NULL ? -ESTALE : fs_child_key(fs, (uint32_t)op->ino, op->name, ret);
    mutex_unlock(&fs->lock);
    return r;
}

/* The directory may be moved meanwhile: then the pointer goes where it is now. */
static int put_name(const struct op *op, const char *file, uint64_t token, struct buf *key)
{
    struct fs *fs = op->fs;
    int r = 0;

    for (int tries = 0; r == 0 && tries < TRIES; tries++) {
        CLEANUP(buf_done) struct buf now = BUF_INIT(2 * OBJSTORE_KEY_MAX);

        r = fences_wait(fs, buf_str(key), false, fs_now_ms() + TIMEOUT_MS);
        r = r == 0 ? pointer_put(fs, &(const struct pointer_put){.key = buf_str(key),
                                                                 .file = file,
                                                                 .number = token,
                                                                 .if_match = ""})
                   : r;
        r = r == 0 ? child_key(op, &now) : r;
        if (r != 0 || strcmp(buf_str(&now), buf_str(key)) == 0) {
            return r;
        }
        r = remote_delete(fs, buf_str(key));
        buf_reset(key);
        buf_addstr(key, buf_str(&now));
    }
    return r == 0 ? -EBUSY : r;
}

/*
 * A file has got a name, or lost one: the count, and the time of change, which the store has to
 * know at once: published later, it would be a conflict with what other nodes write.
 */
static void set_links(struct fs *fs, const char *file, uint32_t links)
{
    struct node *node;
    uint32_t ino = 0;

    mutex_lock(&fs->lock);
    node = node_of(fs, file);
    if (node != NULL) {
        struct inode_rec *rec = fs_rec(fs, node);

        ino = node->ino;
        fs_touch(fs, node);
        state_begin(fs->state);
        STATE_SET(fs->state, rec->links, links);
        STATE_SET(fs->state, rec->ctime_ns, fs_now_ns());
        fs_mark_dirty(fs, node);
        state_commit(fs->state);
    }
    mutex_unlock(&fs->lock);
    if (ino != 0) {
        (void)!publish(fs, ino); /* the name is what was asked for */
    }
}

static int commit_link(struct fs *fs, struct op *op, uint32_t ino) REQUIRES(&fs->lock)
{
    struct node *node = fs_node(fs, ino);
    struct node *dir = fs_node(fs, op->ino);
    int64_t now = fs_now_ns();
    int r;

    if (node == NULL) {
        return -ESTALE;
    }
    state_begin(fs->state);
    if (dir != NULL) {
        STATE_SET(fs->state, fs_rec(fs, dir)->mtime_ns, now);
        STATE_SET(fs->state, fs_rec(fs, dir)->ctime_ns, now);
    }
    state_commit(fs->state);
    hard_changed(fs, (uint32_t)op->ino);
    state_begin(fs->state);
    fs_op_entry(fs, op, node);
    r = fs_op_applied(fs, op);
    if (r != 0) {
        state_abort(fs->state);
        return r;
    }
    state_commit(fs->state);
    return 0;
}

/* The same token for the same request, however often it comes. */
static int begin(struct first *f)
{
    struct fs *fs = f->op->fs;
    struct state_intent intent = {.unique = f->op->unique};
    int r;

    mutex_lock(&fs->lock);
    f->again = state_find_intent(fs->state, f->op->unique, &intent) && intent.token != 0;
    if (!f->again) {
        random_bytes(&intent.token, sizeof(intent.token));
        intent.token = (intent.token & ~renames_mask) | (UINT64_C(1) << 63);
    }
    f->token = intent.token;
    state_begin(fs->state);
    r = state_intend(fs->state, &intent);
    state_commit(fs->state);
    mutex_unlock(&fs->lock);
    return r;
}

static int file_of(struct fs *fs, uint32_t ino, char ret[LINKS_FILE_SIZE])
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    int r;

    mutex_lock(&fs->lock);
    r = fs_node(fs, ino) == NULL ? -ESTALE : fs_key(fs, ino, &key);
    mutex_unlock(&fs->lock);
    if (r == 0) {
        if (strncmp(buf_str(&key), VOLUME_LINKS, strlen(VOLUME_LINKS)) != 0) {
            return -ESTALE;
        }
        (void)snprintf(ret, LINKS_FILE_SIZE, "%s", buf_str(&key) + strlen(VOLUME_LINKS));
    }
    return r;
}

static int link_it(struct first *f)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct op *op = f->op;
    struct fs *fs = op->fs;
    char file[LINKS_FILE_SIZE];
    uint32_t links = 2;
    bool added = false;
    int r = child_key(op, &key);

    r = r == 0 ? make_linked(f, buf_str(&key), &added) : r;
    r = r == 0 ? file_of(fs, f->ino, file) : r;
    if (r == 0 && !added) {
        r = links_add(fs,
                      &(const struct links_add){
                          .file = file, .names = {{f->token, buf_str(&key)}}, .count = 1},
                      &links);
        r = r == -ENOENT ? -EIO : r; /* the metaserver does not know it: its database is older */
    }
    if (r != 0) {
        return r;
    }
    r = put_name(op, file, f->token, &key);
    if (r != 0 && r != -ETIMEDOUT) {
        take_back(fs, f->token);
    }
    if (r == 0 && !(added && f->timed)) {
        set_links(fs, file, links);
    }
    mutex_lock(&fs->lock);
    r = r == 0 ? commit_link(fs, op, f->ino) : r;
    mutex_unlock(&fs->lock);
    return r;
}

/* Nothing has the name; or what this request has put there before the crash. */
static int check_name(struct op *op, uint64_t token, bool again)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    uint64_t number = 0;
    int r = op_check_absent(op);

    if (r == -EEXIST && again) {
        r = child_key(op, &key);
        r = r == 0 ? hard_number(op->fs, buf_str(&key), &number) : r;
        r = r == 0 && number != token ? -EEXIST : r;
    }
    return r;
}

int hard_link(struct op *op)
{
    struct first f = {.op = op, .ino = (uint32_t)op->ino2, .key = BUF_INIT(2 * OBJSTORE_KEY_MAX)};
    int r = begin(&f);

    (void)pending_set_deadline(op->pending, 4 * TIMEOUT_MS);
    r = r == 0 ? check_name(op, f.token, f.again) : r;
    r = r == 0 ? link_it(&f) : r;
    if (f.bar.file != NULL) {
        collapse_unbar(op->fs, &f.bar);
    }
    buf_done(&f.key);
    return r;
}

/* ---- unlink ---- */

/* Nobody can come to it any more; who has it open keeps its bytes. */
static void remove_file(struct fs *fs, const char *file)
{
    char key[POINTER_FILE_KEY];
    const struct node *node;
    uint32_t ino = 0;
    int r = 0;

    pointer_file_key(file, key);
    mutex_lock(&fs->lock);
    node = node_of(fs, file);
    ino = node != NULL ? node->ino : 0;
    if (ino != 0 && claim(fs, ino, 0, 0) != 0) {
        ino = 0;
    }
    mutex_unlock(&fs->lock);
    r = ino != 0 ? rename_hide(fs, ino) : 0;
    r = r == 0 ? remote_delete(fs, key) : r;
    mutex_lock(&fs->lock);
    if (ino != 0) {
        struct node *gone = fs_node(fs, ino);
        struct inode_rec *rec = fs_rec(fs, gone);

        usage_removed(fs, rec);
        state_begin(fs->state);
        STATE_SET(fs->state, rec->flags, rec->flags | INODE_UNLINKED);
        STATE_SET(fs->state, rec->ctime_ns, fs_now_ns());
        state_commit(fs->state);
        fs_touch(fs, gone);
        fs_node_unname(fs, gone);
        claim_end(fs, ino, 0);
    }
    mutex_unlock(&fs->lock);
    if (r != 0) {
        log_warn("a file without a name is left in the store for now", "key", key, "error",
                 strerror(-r), NULL);
    } else {
        (void)!links_drop(fs, file); /* what is left, hard_sweep() finds */
    }
}

void hard_forget(struct fs *fs, uint64_t number)
{
    struct links_left left;
    int r = number != 0 ? links_remove(fs, number, &left) : -ENOTSUP;

    if (r != 0 && r != -ENOTSUP) {
        log_warn("a name that is gone is still counted: its file will be left in the store",
                 "error", strerror(-r), NULL);
    }
    if (r != 0 || left.file[0] == '\0') { /* done already, or of another database */
        return;
    }
    if (left.links == 0) {
        remove_file(fs, left.file);
    } else if (!left.alone || left.last_key == NULL ||
               collapse(fs, left.file, left.last_key) != 0) {
        set_links(fs, left.file, left.links);
    }
    free(left.last_key);
}

bool hard_is_known(struct op *op)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct pointer there;

    return op->fs->managed != NULL && child_key(op, &key) == 0 &&
           pointer_known(op->fs, buf_str(&key), &there);
}

bool hard_unlinks(struct op *op)
{
    struct state_intent intent = {0};
    bool found;

    mutex_lock(&op->fs->lock);
    found = state_find_intent(op->fs->state, op->unique, &intent) && intent.token != 0;
    mutex_unlock(&op->fs->lock);
    return found;
}

static int unlink_begin(const struct op *op, const char *key, uint64_t *ret_number, bool *ret_there)
{
    struct fs *fs = op->fs;
    struct state_intent intent = {.unique = op->unique};
    struct pointer there;
    bool again;
    int r = pointer_read(fs, key, &there);

    if (r != 0) {
        return r;
    }
    mutex_lock(&fs->lock);
    again = state_find_intent(fs->state, op->unique, &intent) && intent.token != 0;
    *ret_there = there.exists && (!again || there.number == intent.token);
    if (again) {
        *ret_number = intent.token;
    } else if (!there.exists || there.number == 0) {
        r = there.exists ? -ESTALE : -ENOENT;
    } else {
        *ret_number = intent.token = there.number;
        state_begin(fs->state);
        r = state_intend(fs->state, &intent);
        state_commit(fs->state);
    }
    mutex_unlock(&fs->lock);
    return r;
}

static int unlink_commit(struct fs *fs, struct op *op) REQUIRES(&fs->lock)
{
    struct node *dir = fs_node(fs, op->ino);
    int64_t now = fs_now_ns();
    int r;

    fs_gone(fs, (uint32_t)op->ino, op->name, false);
    hard_changed(fs, (uint32_t)op->ino);
    state_begin(fs->state);
    if (dir != NULL) {
        STATE_SET(fs->state, fs_rec(fs, dir)->mtime_ns, now);
        STATE_SET(fs->state, fs_rec(fs, dir)->ctime_ns, now);
    }
    r = fs_op_applied(fs, op);
    state_commit(fs->state);
    return r;
}

static int unlink_at(struct op *op, const char *key)
{
    struct fs *fs = op->fs;
    uint64_t number = 0;
    bool there = false;
    bool again = hard_unlinks(op);
    int r = unlink_begin(op, key, &number, &there);

    if (r == 0) {
        r = links_ready(fs);
        r = r == -ENOTSUP ? 0 : r; /* not managed any more: the file stays, without a name */
    }
    r = r == 0 ? op_keep_parent(op) : r;
    r = r == 0 && there ? remote_delete(fs, key) : r;
    if (r == 0 && again) {
        graves_fence(fs, key);
    }
    if (r == 0) {
        (void)pending_set_deadline(op->pending, UNLINK_MS);
        hard_forget(fs, number);
    }
    mutex_lock(&fs->lock);
    r = r == 0 ? unlink_commit(fs, op) : r;
    mutex_unlock(&fs->lock);
    return r;
}

int hard_unlink(struct op *op)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct collapse_bar bar = {.key = NULL};
    int r = child_key(op, &key);

    if (r == 0) {
        bar.key = buf_str(&key);
        r = collapse_bar_key(op->fs, &bar);
    }
    if (r == 0) {
        r = unlink_at(op, buf_str(&key));
        collapse_unbar(op->fs, &bar);
    }
    return r;
}

/* ---- rename ---- */

int hard_rename(struct fs *fs, struct hard_move *what)
{
    struct pointer from;
    struct pointer to;
    uint32_t links;
    uint64_t number;
    int r = pointer_read(fs, what->from, &from);

    r = r == 0 ? pointer_read(fs, what->to, &to) : r;
    if (r != 0) {
        return r;
    }
    number = from.number != 0 ? from.number : what->again && to.number != 0 ? to.number - 1 : 0;
    if (number == 0) {
        return from.exists ? -ESTALE : -ENOENT;
    }
    what->moved = number;
    if (to.number != number + 1) { /* else: put before the crash */
        what->replaced = to.number;
        r = links_add(fs,
                      &(const struct links_add){
                          .file = from.file, .names = {{number + 1, what->to}}, .count = 1},
                      &links);
        r = r == -ENOENT ? -EIO : r;
        r = r == 0 ? pointer_put(fs, &(const struct pointer_put){.key = what->to,
                                                                 .file = from.file,
                                                                 .number = number + 1})
                   : r;
    }
    r = r == 0 && from.exists ? remote_delete(fs, what->from) : r;
    if (r == 0 && what->again) {
        graves_fence(fs, what->from);
    }
    return r;
}

/* ---- what a node's death has left ---- */

static void sweep_one(struct fs *fs, const char *file)
{
    if (pointer_is_file(file)) {
        remove_file(fs, file);
    }
}

void hard_sweep(struct fs *fs)
{
    if (fs->managed != NULL && !fs->options.read_only) {
        (void)!links_unlinked(fs, sweep_one);
        collapse_sweep(fs);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moving: a copy by the store, then the deletion of the old key; of directories, of every key
 * below. An intent is recorded before the first deletion, so that a request that comes again after
 * a crash goes on: a key that is gone from the old place has been moved already.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/managed/links.h"
#include "mounter/names/fences.h"
#include "mounter/names/graves.h"
#include "mounter/names/hard.h"
#include "mounter/names/moves.h"
#include "mounter/ops.h"
#include "mounter/write/settle.h"
#include "mounter/write/sweep.h"
#include "objstore/objstore_call.h"
#include "util/log.h"
#include "util/random.h"

enum { META_TIMEOUT_MS = 50000, ASK_TRIES = 8 };
int rename_hide(struct fs *fs, uint32_t ino)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    char hidden[SWEEP_KEY];
    char etag[STATE_ETAG_SIZE] = "";
    struct copy_what what = {.to = hidden};
    struct inode_rec *rec;
    struct node *node;
    uint32_t cell;
    int ret;

    mutex_lock(&fs->lock);
    sweep_key(fs, hidden);
    node = fs_node(fs, ino);
    rec = node != NULL ? fs_rec(fs, node) : NULL;
    if (rec == NULL || rec->opens == 0 || rec->base_valid == 0 || rec->hidden != 0 ||
        (rec->flags & INODE_NEW) != 0) {
        mutex_unlock(&fs->lock);
        return 0; /* nothing of the object is needed any more */
    }
    ret = fs_key(fs, ino, &key);
    what.from = buf_str(&key);
    what.size = rec->base_size;
    memcpy(etag, rec->etag, sizeof(etag));
    what.if_match = etag[0] != '\0' ? etag : NULL;
    node->users++;
    mutex_unlock(&fs->lock);
    {
        char copied[STATE_ETAG_SIZE] = "";

        ret = ret == 0 ? remote_copy(fs, &what, copied) : ret;
        memcpy(etag, copied, sizeof(etag));
    }
    mutex_lock(&fs->lock);
    node->users--;
    if (ret == 0) {
        state_begin(fs->state);
        ret = state_text_new(fs->state, hidden, strlen(hidden), &cell);
        if (ret == 0) {
            STATE_SET(fs->state, rec->hidden, cell);
            state_set(fs->state, rec->etag, etag, sizeof(etag));
            state_commit(fs->state);
        } else {
            state_abort(fs->state);
        }
    }
    mutex_unlock(&fs->lock);
    return ret == -ENOENT || ret == -ESTALE ? 0 : ret; /* it is gone already: readers get ESTALE */
}

/* ---- directories ---- */

static int is_empty_dir(struct fs *fs, const char *key)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request list = {
        .op = OBJSTORE_LIST, .key = key, .max_entries = 2, .timeout_ms = META_TIMEOUT_MS};
    int ret = volume_call(fs->volume, &list, &answer);

    for (size_t i = 0; ret == 0 && i < answer.result.count; i++) {
        ret = strcmp(answer.result.entries[i].key, key) != 0 ? -ENOTEMPTY : 0;
    }
    return ret;
}

/* Open files below keep their bytes under new keys: they have to learn their new versions. */
static int relearn(struct fs *fs, uint32_t dir)
{
    for (uint32_t ino = STATE_ROOT + 1; ino < state_inode_limit(fs->state); ino++) {
        CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
        CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
        struct objstore_request head = {.op = OBJSTORE_HEAD, .timeout_ms = META_TIMEOUT_MS};
        const struct inode_rec *rec;
        bool wanted = false;
        uint32_t up = ino;

        mutex_lock(&fs->lock);
        rec = fs_node(fs, ino) != NULL ? state_inode(fs->state, ino) : NULL;
        for (int depth = 0; rec != NULL && depth < 512 && up != STATE_ROOT && up != dir; depth++) {
            up = state_inode(fs->state, up)->parent;
        }
        wanted = rec != NULL && up == dir && ino != dir && rec->opens > 0 && S_ISREG(rec->mode) &&
                 (rec->flags & (INODE_UNLINKED | INODE_DETACHED | INODE_NEW)) == 0 &&
                 fs_key(fs, ino, &key) == 0;
        mutex_unlock(&fs->lock);
        if (!wanted) {
            continue;
        }
        head.key = buf_str(&key);
        if (volume_call(fs->volume, &head, &answer) == 0) {
            struct inode_rec *changed;

            mutex_lock(&fs->lock);
            changed = state_inode(fs->state, ino);
            if (changed != NULL && changed->base_size == answer.result.info.size) {
                state_begin(fs->state);
                state_set(fs->state, changed->etag, answer.result.info.etag, STATE_ETAG_SIZE);
                state_commit(fs->state);
            }
            mutex_unlock(&fs->lock);
        }
    }
    return 0;
}

/* ---- the operation ---- */

struct move {
    struct op *op;
    uint32_t ino, target; /* target 0: nothing is there */
    bool is_dir, target_is_dir, again, claimed, exchange;
    bool linked, target_linked; /* names of files with hard links: hard.h */
    bool late, buried;          /* what was sent of it may still arrive under its old name */
    struct hard_move hard;
    uint64_t token; /* of its note */
    struct move_note note;
    bool noted;
    struct buf from, to; /* keys, without '/' at the end */
    uint64_t size;
    char etag[STATE_ETAG_SIZE];
    char target_etag[STATE_ETAG_SIZE]; /* of an exchange */
};

static int resolve_once(struct fs *fs, uint32_t parent, const char *name, bool believe,
                        uint32_t *ret)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct remote remote;
    struct node *node;
    const struct inode_rec *rec;
    bool beside;
    int r;

    mutex_lock(&fs->lock);
    node = fs_child(fs, parent, name);
    rec = node != NULL ? fs_rec(fs, node) : NULL;
    if (rec != NULL && (rec->flags & (INODE_DIRTY | INODE_NEW)) != 0) {
        *ret = node->ino;
        mutex_unlock(&fs->lock);
        return 0;
    }
    mutex_unlock(&fs->lock);
    r = fs_learn_name(fs, parent, name);
    mutex_lock(&fs->lock);
    r = r == 0 ? fs_child_key(fs, parent, name, &key) : r;
    mutex_unlock(&fs->lock);
    r = r == 0 ? longs_beside(name, &beside) : r;
    r = r == 0 ? remote_find(fs, buf_str(&key), beside, &remote) : r;
    if (r != 0) {
        return r;
    }
    remote.asked = believe ? UINT64_MAX : remote.asked;
    mutex_lock(&fs->lock);
    r = remote_merge(fs, parent, name, &remote, &node);
    *ret = r == 0 && node != NULL ? node->ino : 0;
    mutex_unlock(&fs->lock);
    remote_done(&remote);
    return r;
}

int rename_resolve(struct fs *fs, uint32_t parent, const char *name, uint32_t *ret)
{
    int r = -EAGAIN;

    for (int tries = 0; r == -EAGAIN && tries <= ASK_TRIES; tries++) {
        r = resolve_once(fs, parent, name, tries == ASK_TRIES, ret);
    }
    return r;
}

static int check_move(struct move *m)
{
    struct op *op = m->op;

    if (m->ino == 0 && !m->again) {
        return -ENOENT;
    }
    if (m->exchange) {
        return m->ino == 0 || m->target == 0 ? -ENOENT : 0;
    }
    if (m->target != 0 && (op->flags & RENAME_NOREPLACE) != 0) {
        return -EEXIST;
    }
    if (m->target != 0 && m->is_dir != m->target_is_dir) {
        return m->is_dir ? -ENOTDIR : -EISDIR;
    }
    return 0;
}

static void end_claim(struct move *m)
{
    struct fs *fs = m->op->fs;

    if (m->claimed) {
        mutex_lock(&fs->lock);
        claim_end(fs, m->ino, m->target);
        mutex_unlock(&fs->lock);
        m->claimed = false;
    }
}

/* Of the inode, or of one below it. */
static bool has_upload(struct fs *fs, uint32_t ino, bool below) REQUIRES(&fs->lock)
{
    uint32_t from = below ? STATE_ROOT + 1 : ino;
    uint32_t to = below ? state_inode_limit(fs->state) : ino + 1;

    for (uint32_t i = from; i < to; i++) {
        const struct inode_rec *rec = fs_node(fs, i) != NULL ? state_inode(fs->state, i) : NULL;

        if (rec != NULL && rec->upload != 0 && (rec->flags & INODE_UNLINKED) == 0 &&
            fs_is_below(fs, i, ino)) {
            return true;
        }
    }
    return false;
}

static int begin_move(struct move *m)
{
    struct op *op = m->op;
    struct fs *fs = op->fs;
    const struct state_intent intent = {op->unique, {m->ino, m->target}, m->token};
    struct node *node;
    int ret;

    mutex_lock(&fs->lock);
    ret = claim(fs, m->ino, m->target, op->unique);
    if (ret != 0) {
        mutex_unlock(&fs->lock);
        return ret;
    }
    m->claimed = true;
    node = m->ino != 0 ? fs_node(fs, m->ino) : NULL;
    m->linked = node != NULL && (fs_rec(fs, node)->flags & INODE_LINKED) != 0;
    if (node != NULL && !m->linked && fs_child(fs, (uint32_t)op->ino, op->name) != node) {
        ret = -ESTALE; /* the name went to another in the wait: the kernel looks it up again */
    } else if (node != NULL && lost_is(fs, node)) {
        ret = lost_eio(); /* what is in the store must not take another's place */
    } else if (node != NULL && has_upload(fs, m->ino, node->children > 0)) {
        ret = -EAGAIN; /* parts that were sent ahead are bound to the old key: publish first */
    }
    m->is_dir = node != NULL && S_ISDIR(fs_rec(fs, node)->mode);
    node = m->target != 0 ? fs_node(fs, m->target) : NULL;
    m->target_linked = node != NULL && (fs_rec(fs, node)->flags & INODE_LINKED) != 0;
    if (ret == 0 && node != NULL && fs_rec(fs, node)->upload != 0 && fs_rec(fs, node)->opens > 0 &&
        !lost_is(fs, node)) {
        ret = -EAGAIN; /* its readers need the bytes that were sent ahead */
    }
    if (ret == 0 && node != NULL && m->exchange &&
        (lost_is(fs, node) || has_upload(fs, m->target, node->children > 0))) {
        ret = lost_is(fs, node) ? lost_eio() : -EAGAIN;
    }
    m->target_is_dir = node != NULL && S_ISDIR(fs_rec(fs, node)->mode);
    ret = ret == 0 ? check_move(m) : ret;
    if (ret == 0 && m->target_is_dir && !m->exchange && !m->again && op_holds_new(fs, node)) {
        ret = -ENOTEMPTY;
    }
    ret = ret == 0 ? fs_child_key(fs, (uint32_t)op->ino, op->name, &m->from) : ret;
    ret = ret == 0 ? fs_child_key(fs, (uint32_t)op->ino2, op->name2, &m->to) : ret;
    if (ret == 0) {
        state_begin(fs->state);
        ret = state_intend(fs->state, &intent);
        state_commit(fs->state);
    }
    mutex_unlock(&fs->lock);
    return ret;
}

static int start_note(struct move *m)
{
    int ret = move_note_init(&m->note, m->token, buf_str(&m->from), buf_str(&m->to));

    if (ret == 0) {
        m->noted = true;
        m->note.exchange = m->exchange;
        m->note.a_dir = m->is_dir;
        m->note.b_dir = m->exchange ? m->target_is_dir : m->is_dir;
        if (m->again) { /* as far as it had come */
            ret = move_note_read(m->op->fs, &m->note);
            ret = ret == -ENOENT ? 0 : ret;
        }
    }
    return ret;
}

static int exchange_store(struct move *m)
{
    int ret = start_note(m);

    ret = ret == 0 ? move_note_run(m->op->fs, &m->note) : ret;
    if (ret == 0 && !m->is_dir) {
        ret = remote_etag(m->op->fs, buf_str(&m->to), m->etag);
    }
    if (ret == 0 && !m->target_is_dir) {
        ret = remote_etag(m->op->fs, buf_str(&m->from), m->target_etag);
    }
    return ret;
}

/* One object is moved at once; more are noted first. */
static int dir_store(struct move *m)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request list = {
        .op = OBJSTORE_LIST, .max_entries = 2, .timeout_ms = META_TIMEOUT_MS};
    struct fs *fs = m->op->fs;
    AUTOFREE char *from = NULL;
    AUTOFREE char *to = NULL;
    struct tree tree = {0};
    int ret;

    if (asprintf(&from, "%s/", buf_str(&m->from)) < 0 ||
        asprintf(&to, "%s/", buf_str(&m->to)) < 0) {
        return -ENOMEM;
    }
    ret = m->target != 0 ? is_empty_dir(fs, to) : 0;
    if (ret == -ENOTEMPTY && m->again) {
        ret = 0; /* by ourselves, before the crash */
    }
    list.key = from;
    ret = ret == 0 ? volume_call(fs->volume, &list, &answer) : ret;
    if (ret == 0 && answer.result.count < 2 && !m->again) {
        tree.from = from;
        tree.to = to;
        return tree_move(fs, &tree);
    }
    ret = ret == 0 ? start_note(m) : ret;
    return ret == 0 ? move_note_run(fs, &m->note) : ret;
}

/*
 * A file of one name. What is deleted is what was copied: another mount may have put something else
 * at the old name in between, which stays. `here` becomes the version that was copied.
 */
static int file_store(struct move *m, struct copy_what *what, char here[STATE_ETAG_SIZE],
                      const char *there)
{
    struct fs *fs = m->op->fs;
    int ret = -ESTALE;

    for (int tries = 0; ret == -ESTALE && tries < ASK_TRIES; tries++) {
        ret = tries > 0 || here[0] == '\0' ? remote_version(fs, what->from, here, &what->size) : 0;
        what->if_match = here;
        ret = ret == 0 ? remote_copy_over(fs, what, there, m->etag) : ret;
    }
    if (ret == -ENOENT && m->again) {
        ret = remote_etag(fs, what->to, m->etag); /* copied and removed before the crash */
    } else {
        ret = ret == 0 ? remote_delete_version(fs, what->from, here) : ret;
    }
    if (ret == 0 && m->again && !m->late) { /* else it gets a grave, which holds as long */
        graves_fence(fs, what->from);
    }
    return ret;
}

/* `here`, `there`: what is known to be at the old and the new name. */
static void find_objects(struct move *m, struct copy_what *what, char here[STATE_ETAG_SIZE],
                         char there[STATE_ETAG_SIZE])
{
    struct fs *fs = m->op->fs;
    const struct node *node;

    mutex_lock(&fs->lock);
    node = m->ino != 0 ? fs_node(fs, m->ino) : NULL;
    if (node != NULL) {
        what->size = fs_rec(fs, node)->base_size;
        memcpy(here, fs_rec(fs, node)->etag, STATE_ETAG_SIZE);
        m->late = publish_is_late(fs_rec(fs, node));
    }
    node = m->target != 0 ? fs_node(fs, m->target) : NULL;
    if (node != NULL) {
        memcpy(there, fs_rec(fs, node)->etag, STATE_ETAG_SIZE);
    }
    mutex_unlock(&fs->lock);
}

/*
 * All but one file's COPY goes without conditions: what a predecessor has sent of that has to be
 * over before it is done once more.
 */
static void wait_for_predecessor(const struct move *m, const struct copy_what *what)
{
    struct fs *fs = m->op->fs;

    if (m->exchange || m->is_dir || m->linked || m->target_linked ||
        remote_copy_is_blind(fs, what)) {
        if (m->again) {
            publish_wait_blind(fs);
        }
        state_note_blind(fs->state);
    }
}

static int move_store(struct move *m)
{
    struct fs *fs = m->op->fs;
    struct copy_what what = {.from = buf_str(&m->from), .to = buf_str(&m->to)};
    char here[STATE_ETAG_SIZE] = "";
    char there[STATE_ETAG_SIZE] = "";
    uint64_t deadline_ms = fs_now_ms() + META_TIMEOUT_MS;
    int ret = m->exchange ? fences_wait(fs, what.from, m->is_dir, deadline_ms)
                          : graves_wait(fs, what.from, m->is_dir, deadline_ms);

    ret = ret == 0 ? fences_wait(fs, what.to, m->is_dir, deadline_ms) : ret;
    if (ret != 0) {
        return ret;
    }
    find_objects(m, &what, here, there);
    wait_for_predecessor(m, &what);
    if (m->exchange) {
        return exchange_store(m);
    }
    ret = op_keep_parent(m->op);
    if (ret != 0 || m->is_dir) {
        return ret == 0 ? dir_store(m) : ret;
    }
    if (m->linked || m->target_linked) {
        ret = links_ready(fs);
        ret = ret == -ENOTSUP ? 0 : ret;
    }
    if (ret == 0 && m->target_linked) {
        ret = hard_number(fs, what.to, &m->hard.replaced);
    }
    ret = ret == 0 && m->target != 0 && !m->target_linked ? rename_hide(fs, m->target) : ret;
    if (ret != 0 || m->linked) {
        m->hard.from = what.from;
        m->hard.to = what.to;
        m->hard.again = m->again;
        return ret == 0 ? hard_rename(fs, &m->hard) : ret;
    }
    return file_store(m, &what, here, there);
}

static void drop_target(struct fs *fs, struct node *target) REQUIRES(&fs->lock)
{
    struct inode_rec *rec = fs_rec(fs, target);

    fs_touch(fs, target);
    usage_removed(fs, rec);
    fs_node_unname(fs, target);
    state_begin(fs->state);
    STATE_SET(fs->state, rec->flags, rec->flags | INODE_UNLINKED);
    state_commit(fs->state);
    fs_node_put(fs, target);
}

/* What was sent to the old name and comes now is deleted. In a transaction. */
static void bury_late(struct fs *fs, struct move *m) REQUIRES(&fs->lock)
{
    int ret;

    if (!m->late || m->is_dir) {
        return;
    }
    ret = graves_dig(fs, buf_str(&m->from), NULL, true);
    if (ret != 0) {
        log_warn("rename: what was sent to the old name may come back", "key", buf_str(&m->from),
                 "error", strerror(-ret), NULL);
    }
    m->buried = ret == 0;
}

/* *ret_cell: 0 as long as it has its old name. In a transaction. */
static int give_name(struct fs *fs, struct move *m, struct inode_rec *rec, uint32_t *ret_cell)
    REQUIRES(&fs->lock)
{
    struct op *op = m->op;
    uint32_t old = rec->name;
    int ret = state_text_new(fs->state, op->name2, strlen(op->name2), ret_cell);

    if (ret != 0) {
        return ret;
    }
    STATE_SET(fs->state, rec->flags, rec->flags & ~(uint32_t)INODE_DETACHED);
    STATE_SET(fs->state, rec->parent, (uint32_t)op->ino2);
    STATE_SET(fs->state, rec->name, *ret_cell);
    ret = fs_set_component(fs, rec, op->name2);
    STATE_SET(fs->state, rec->ctime_ns, fs_now_ns());
    if (m->etag[0] != '\0') {
        state_set(fs->state, rec->etag, m->etag, sizeof(rec->etag));
    }
    if (m->again) {
        publish_set_late(fs, rec); /* the copy that a predecessor had sent */
    }
    bury_late(fs, m);
    ret = ret == 0 ? fs_op_applied(fs, op) : ret;
    state_text_release(fs->state, old);
    return ret;
}

static int end_move(struct move *m)
{
    struct op *op = m->op;
    struct fs *fs = op->fs;
    struct node *node;
    struct node *target;
    uint32_t cell = 0;
    int ret = 0;

    mutex_lock(&fs->lock);
    node = m->ino != 0 && !m->linked ? fs_node(fs, m->ino) : NULL;
    target = fs_child(fs, (uint32_t)op->ino2, op->name2);
    if (m->linked) {
        fs_gone(fs, (uint32_t)op->ino, op->name, false);
        hard_changed(fs, (uint32_t)op->ino2);
    }
    if (target != NULL && target != node) {
        drop_target(fs, target);
    }
    state_begin(fs->state);
    ret = node != NULL ? give_name(fs, m, fs_rec(fs, node), &cell) : fs_op_applied(fs, op);
    state_commit(fs->state);
    if (m->buried) {
        graves_dug(fs);
    }
    if (node != NULL && cell != 0) {
        int renamed = fs_node_rename(fs, node, (uint32_t)op->ino2, op->name2);

        ret = ret == 0 ? renamed : ret;
        fs_opened(node, m->etag);
    }
    for (int i = 0; i < 2; i++) {
        struct node *dir = fs_node(fs, i == 0 ? op->ino : op->ino2);

        if (dir != NULL) {
            listing_drop(dir);
        }
    }
    mutex_unlock(&fs->lock);
    return ret;
}

/* Each has the other's name now. One transaction for both and the answer. */
static int exchange_commit(struct fs *fs, const struct move *m, struct node *a, struct node *b)
    REQUIRES(&fs->lock)
{
    struct op *op = m->op;
    struct inode_rec *recs[2] = {fs_rec(fs, a), fs_rec(fs, b)};
    const char *names[2] = {op->name2, op->name};
    const uint32_t parents[2] = {(uint32_t)op->ino2, (uint32_t)op->ino};
    const char *etags[2] = {m->etag, m->target_etag};
    const bool linked[2] = {m->linked, m->target_linked};
    int ret = 0;

    state_begin(fs->state);
    for (int i = 0; ret == 0 && i < 2; i++) {
        uint32_t old = recs[i]->name;
        uint32_t cell = 0;

        if (linked[i]) {
            continue; /* its name is a pointer in the store, and has been moved there */
        }
        ret = state_text_new(fs->state, names[i], strlen(names[i]), &cell);
        if (ret == 0) {
            STATE_SET(fs->state, recs[i]->parent, parents[i]);
            STATE_SET(fs->state, recs[i]->name, cell);
            ret = fs_set_component(fs, recs[i], names[i]);
            STATE_SET(fs->state, recs[i]->ctime_ns, fs_now_ns());
            state_text_release(fs->state, old);
            if (etags[i][0] != '\0') {
                state_set(fs->state, recs[i]->etag, etags[i], STATE_ETAG_SIZE);
            }
        }
    }
    ret = ret == 0 ? fs_op_applied(fs, op) : ret;
    if (ret != 0) {
        state_abort(fs->state);
        return ret;
    }
    state_commit(fs->state);
    if (linked[0] || linked[1]) {
        fs_gone(fs, parents[1], names[1], m->is_dir);
        fs_gone(fs, parents[0], names[0], m->target_is_dir);
        hard_changed(fs, parents[0]);
        hard_changed(fs, parents[1]);
    }
    ret = linked[0] ? 0 : fs_node_rename(fs, a, parents[0], names[0]);
    return ret == 0 && !linked[1] ? fs_node_rename(fs, b, parents[1], names[1]) : ret;
}

static int end_exchange(struct move *m)
{
    struct op *op = m->op;
    struct fs *fs = op->fs;
    struct node *nodes[2];
    int ret;

    mutex_lock(&fs->lock);
    nodes[0] = fs_node(fs, m->ino);
    nodes[1] = fs_node(fs, m->target);
    ret =
        nodes[0] == NULL || nodes[1] == NULL ? -ESTALE : exchange_commit(fs, m, nodes[0], nodes[1]);
    for (int i = 0; ret == 0 && i < 2; i++) {
        struct node *dir = fs_node(fs, i == 0 ? op->ino : op->ino2);

        if (!(i == 0 ? m->linked : m->target_linked)) {
            fs_opened(nodes[i], fs_rec(fs, nodes[i])->etag);
        }
        if (dir != NULL) {
            listing_drop(dir);
        }
    }
    mutex_unlock(&fs->lock);
    if (ret == 0 && m->is_dir) {
        (void)relearn(fs, m->ino);
    }
    if (ret == 0 && m->target_is_dir) {
        (void)relearn(fs, m->target);
    }
    return ret;
}

/* What is dirty has to be there to be copied; from the claim on, it waits for the new key. */
static int settle_move(struct move *m)
{
    struct fs *fs = m->op->fs;
    int ret = -EAGAIN;

    for (int tries = 0; ret == -EAGAIN && tries < ASK_TRIES; tries++) {
        end_claim(m);
        /* A request that comes again has published before, and its claim may be held for it. */
        if (!(m->again && tries == 0)) {
            ret = m->ino != 0 ? publish_below(fs, m->ino) : 0;
            ret = ret == 0 && (tries > 0 || m->exchange) && m->target != 0
                      ? publish_below(fs, m->target)
                      : ret;
        } else {
            ret = 0;
        }
        ret = ret == 0 ? begin_move(m) : ret;
    }
    return ret == -EAGAIN ? -EBUSY : ret;
}

static void forget_names(struct move *m)
{
    end_claim(m);
    hard_forget(m->op->fs, m->hard.moved);
    hard_forget(m->op->fs, m->hard.replaced);
}

/*
 * Two names of one file: nothing is to be done; unless both are ours, of before the crash, and one
 * is to go.
 */
static int end_same(struct move *m)
{
    struct op *op = m->op;
    struct fs *fs = op->fs;
    uint64_t numbers[2] = {0, 0};
    int ret;

    mutex_lock(&fs->lock);
    ret = fs_child_key(fs, (uint32_t)op->ino, op->name, &m->from);
    ret = ret == 0 ? fs_child_key(fs, (uint32_t)op->ino2, op->name2, &m->to) : ret;
    mutex_unlock(&fs->lock);
    m->hard = (struct hard_move){buf_str(&m->from), buf_str(&m->to), .again = true};
    ret = ret == 0 ? hard_number(fs, m->hard.from, &numbers[0]) : ret;
    ret = ret == 0 ? hard_number(fs, m->hard.to, &numbers[1]) : ret;
    if (ret != 0 || numbers[0] == 0 || numbers[1] != numbers[0] + 1) {
        return ret;
    }
    m->linked = true;
    ret = hard_rename(fs, &m->hard);
    ret = ret == 0 ? end_move(m) : ret;
    if (ret == 0) {
        forget_names(m);
    }
    return ret;
}

static int run_move(struct move *m)
{
    struct op *op = m->op;
    struct fs *fs = op->fs;
    int ret;

    struct state_intent before = {0};

    m->exchange = (op->flags & RENAME_EXCHANGE) != 0;
    mutex_lock(&fs->lock);
    m->again = state_find_intent(fs->state, op->unique, &before);
    mutex_unlock(&fs->lock);
    m->token = before.token;
    if (m->token == 0) {
        random_bytes(&m->token, sizeof(m->token));
    }
    if (m->again) {
        struct node *node;

        /* The store may have it under the new name already: what is asked there says too little. */
        mutex_lock(&fs->lock);
        node = fs_child(fs, (uint32_t)op->ino, op->name);
        m->ino = node != NULL ? node->ino : 0;
        m->target = m->exchange ? before.inos[1] : 0;
        mutex_unlock(&fs->lock);
    }
    ret = m->ino != 0 ? 0 : rename_resolve(fs, (uint32_t)op->ino, op->name, &m->ino);
    if (ret == 0 && m->target == 0) {
        ret = rename_resolve(fs, (uint32_t)op->ino2, op->name2, &m->target);
    }
    if (ret == 0 && m->ino != 0 && m->ino == m->target && !m->again) {
        return 0;
    }
    if (ret == 0 && m->ino != 0 && m->ino == m->target) {
        return end_same(m);
    }
    ret = ret == 0 ? settle_move(m) : ret;
    ret = ret == 0 ? move_store(m) : ret;
    if (m->exchange) {
        return ret == 0 ? end_exchange(m) : ret;
    }
    ret = ret == 0 ? end_move(m) : ret;
    if (ret == 0 && (m->linked || m->target_linked)) {
        forget_names(m);
    }
    if (ret == 0 && m->is_dir) {
        (void)relearn(fs, m->ino);
    }
    return ret;
}

void rename_run(struct op *op)
{
    struct move m = {
        .op = op, .from = BUF_INIT(2 * OBJSTORE_KEY_MAX), .to = BUF_INIT(2 * OBJSTORE_KEY_MAX)};
    int ret;

    (void)pending_set_deadline(op->pending, 600000); /* a directory may hold a million keys */
    ret = run_move(&m);
    end_claim(&m);
    if (m.noted && ret == 0) {
        move_note_end(op->fs, &m.note); /* after the state says so: see start_note() */
    } else if (m.noted) {
        moves_expect(op->fs);
    }
    move_note_done(&m.note);
    buf_done(&m.from);
    buf_done(&m.to);
    (void)fs_op_fail(op, ret);
}

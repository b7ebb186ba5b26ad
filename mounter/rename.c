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

#include "mounter/fs.h"
#include "objstore/objstore_call.h"
#include "util/random.h"

enum {
    COPY_TIMEOUT_MS = 300000,
    META_TIMEOUT_MS = 50000,
    AT_ONCE = 16,
    COPY_PARTS = 8,
    ASK_TRIES = 8
};
static const uint64_t copy_part = 512 << 20;

static int call(struct fs *fs, bool internal, struct objstore_request *request,
                struct objstore_answer *answer)
{
    return internal ? volume_call_internal(fs->volume, request, answer)
                    : volume_call(fs->volume, request, answer);
}

/* Beyond what one COPY takes (5 GiB): parts, several at a time. */
static int copy_parts(struct fs *fs, const struct copy_what *what, const char *id,
                      struct objstore_part *parts, uint32_t count)
{
    int ret = 0;

    for (uint32_t from = 0; ret == 0 && from < count; from += COPY_PARTS) {
        struct objstore_request requests[COPY_PARTS];
        struct objstore_answer answers[COPY_PARTS];
        uint32_t n = count - from < COPY_PARTS ? count - from : COPY_PARTS;

        for (uint32_t i = 0; i < n; i++) {
            uint64_t offset = (from + i) * copy_part;
            uint64_t len = what->size - offset < copy_part ? what->size - offset : copy_part;

            answers[i] = (struct objstore_answer)OBJSTORE_ANSWER_INIT;
            requests[i] = (struct objstore_request){.op = OBJSTORE_UPLOAD_PART_COPY,
                                                    .key = what->to,
                                                    .upload_id = id,
                                                    .part_number = from + i + 1,
                                                    .source_key = what->from,
                                                    .source_if_match = what->if_match,
                                                    .range = {offset, len},
                                                    .timeout_ms = COPY_TIMEOUT_MS};
        }
        ret = volume_call_many(fs->volume, requests, answers, n);
        for (uint32_t i = 0; i < n; i++) {
            parts[from + i].number = from + i + 1;
            memcpy(parts[from + i].etag, answers[i].result.info.etag, OBJSTORE_ETAG_MAX);
            objstore_answer_done(&answers[i]);
        }
    }
    return ret;
}

static int copy_large(struct fs *fs, const struct copy_what *what, char ret_etag[STATE_ETAG_SIZE])
{
    CLEANUP(objstore_answer_done) struct objstore_answer created = OBJSTORE_ANSWER_INIT;
    CLEANUP(objstore_answer_done) struct objstore_answer head_answer = OBJSTORE_ANSWER_INIT;
    CLEANUP(objstore_answer_done) struct objstore_answer done = OBJSTORE_ANSWER_INIT;
    uint32_t count = (uint32_t)((what->size + copy_part - 1) / copy_part);
    AUTOFREE struct objstore_part *parts = calloc(count, sizeof(*parts));
    struct objstore_request head = {.op = OBJSTORE_HEAD, .key = what->from};
    struct objstore_request create = {.op = OBJSTORE_UPLOAD_CREATE, .key = what->to};
    struct objstore_request complete = {.op = OBJSTORE_UPLOAD_COMPLETE,
                                        .key = what->to,
                                        .parts = parts,
                                        .parts_count = count,
                                        .if_none_match = what->only_new ? "*" : NULL,
                                        .timeout_ms = COPY_TIMEOUT_MS};
    int ret = parts == NULL ? -ENOMEM : 0;

    if (what->internal || !fs->caps.part_copy) {
        return -EFBIG;
    }
    ret = ret == 0 ? volume_call(fs->volume, &head, &head_answer) : ret;
    create.meta = what->meta != NULL ? what->meta : &head_answer.result.info.meta;
    ret = ret == 0 ? volume_call(fs->volume, &create, &created) : ret;
    if (ret != 0) {
        return ret;
    }
    ret = copy_parts(fs, what, created.result.upload_id, parts, count);
    complete.upload_id = created.result.upload_id;
    ret = ret == 0 ? volume_call(fs->volume, &complete, &done) : ret;
    if (ret != 0) {
        struct objstore_request drop = {
            .op = OBJSTORE_UPLOAD_ABORT, .key = what->to, .upload_id = created.result.upload_id};

        (void)volume_call(fs->volume, &drop, &done);
        return ret;
    }
    memcpy(ret_etag, done.result.info.etag, STATE_ETAG_SIZE);
    return 0;
}

int remote_copy(struct fs *fs, const struct copy_what *what, char ret_etag[STATE_ETAG_SIZE])
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request copy = {.op = OBJSTORE_COPY,
                                    .key = what->to,
                                    .source_key = what->from,
                                    .source_if_match = what->if_match,
                                    .replace_meta = what->meta != NULL,
                                    .meta = what->meta,
                                    .timeout_ms = COPY_TIMEOUT_MS};
    int ret;

    if (what->size > fs->caps.copy_max) {
        return copy_large(fs, what, ret_etag);
    }
    ret = call(fs, what->internal, &copy, &answer);
    if (ret == 0) {
        memcpy(ret_etag, answer.result.info.etag, STATE_ETAG_SIZE);
    }
    return ret;
}

static int delete_key(struct fs *fs, const char *key)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request request = {
        .op = OBJSTORE_DELETE, .key = key, .timeout_ms = META_TIMEOUT_MS};

    return volume_call(fs->volume, &request, &answer);
}

int rename_hide(struct fs *fs, uint32_t ino)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    char hidden[64] = VOLUME_RESERVED "open/";
    char etag[STATE_ETAG_SIZE] = "";
    struct copy_what what = {.to = hidden, .internal = true};
    struct inode_rec *rec;
    struct node *node;
    uint32_t cell;
    int ret;

    random_id(hidden + strlen(hidden));
    mutex_lock(&fs->lock);
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

/* Keys of one page, each with its new name, copied and then removed. */
static int move_page(struct fs *fs, const char *from, const char *to,
                     const struct objstore_result *page)
{
    int ret = 0;

    for (size_t start = 0; ret == 0 && start < page->count; start += AT_ONCE) {
        struct objstore_request requests[AT_ONCE];
        struct objstore_answer answers[AT_ONCE];
        struct buf names[AT_ONCE];
        size_t n = page->count - start < AT_ONCE ? page->count - start : AT_ONCE;

        for (size_t i = 0; i < n; i++) {
            const char *key = page->entries[start + i].key;

            names[i] = (struct buf)BUF_INIT(2 * OBJSTORE_KEY_MAX);
            buf_addstr(&names[i], to);
            buf_addstr(&names[i], key + strlen(from));
            answers[i] = (struct objstore_answer)OBJSTORE_ANSWER_INIT;
            requests[i] = (struct objstore_request){.op = OBJSTORE_COPY,
                                                    .key = buf_str(&names[i]),
                                                    .source_key = key,
                                                    .timeout_ms = COPY_TIMEOUT_MS};
        }
        ret = volume_call_many(fs->volume, requests, answers, n);
        for (size_t i = 0; i < n; i++) {
            const struct objstore_entry *e = &page->entries[start + i];

            if (answers[i].result.status != 0 && e->info.size > fs->caps.copy_max) {
                char etag[STATE_ETAG_SIZE];
                const struct copy_what what = {
                    .from = e->key, .to = buf_str(&names[i]), .size = e->info.size};

                ret = remote_copy(fs, &what, etag);
            }
            objstore_answer_done(&answers[i]);
            buf_done(&names[i]);
        }
    }
    return ret;
}

static int remove_page(struct fs *fs, const struct objstore_result *page)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    AUTOFREE struct objstore_victim *victims = calloc(page->count, sizeof(*victims));
    struct objstore_request batch = {.op = OBJSTORE_DELETE_BATCH,
                                     .victims = victims,
                                     .victims_count = page->count,
                                     .timeout_ms = META_TIMEOUT_MS};
    int ret = 0;

    if (victims == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < page->count; i++) {
        victims[i].key = page->entries[i].key;
        if (!fs->caps.batch_delete) {
            ret = ret == 0 ? delete_key(fs, victims[i].key) : ret;
        }
    }
    if (fs->caps.batch_delete) {
        ret = volume_call(fs->volume, &batch, &answer);
        for (size_t i = 0; ret == 0 && i < page->count; i++) {
            ret = victims[i].error == -ENOENT ? 0 : victims[i].error;
        }
    }
    return ret;
}

/* What was moved is gone from the listing: the first page is always what is left. */
static int move_tree(struct fs *fs, const char *from, const char *to)
{
    bool more = true;
    int ret = 0;

    while (ret == 0 && more) {
        CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
        struct objstore_request list = {
            .op = OBJSTORE_LIST, .key = from, .timeout_ms = META_TIMEOUT_MS};

        ret = volume_call(fs->volume, &list, &answer);
        more = ret == 0 && answer.result.count > 0;
        if (more) {
            ret = move_page(fs, from, to, &answer.result);
            ret = ret == 0 ? remove_page(fs, &answer.result) : ret;
        }
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
    bool is_dir, target_is_dir, again, claimed;
    struct buf from, to; /* keys, as they are in the store */
    uint64_t size;
    char etag[STATE_ETAG_SIZE];
};

static int resolve_once(struct fs *fs, uint32_t parent, const char *name, bool believe,
                        uint32_t *ret)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct remote remote;
    struct node *node;
    const struct inode_rec *rec;
    int r;

    mutex_lock(&fs->lock);
    node = fs_child(fs, parent, name);
    rec = node != NULL ? fs_rec(fs, node) : NULL;
    if (rec != NULL && (rec->flags & (INODE_DIRTY | INODE_NEW)) != 0) {
        *ret = node->ino;
        mutex_unlock(&fs->lock);
        return 0;
    }
    r = fs_child_key(fs, parent, name, &key);
    mutex_unlock(&fs->lock);
    r = r == 0 ? remote_find(fs, buf_str(&key), false, &remote) : r;
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

static int resolve(struct fs *fs, uint32_t parent, const char *name, uint32_t *ret)
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
    const struct state_intent intent = {op->unique, {m->ino, m->target}};
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
    if (node != NULL && fs_child(fs, (uint32_t)op->ino, op->name) != node) {
        ret = -ESTALE; /* the name went to another in the wait: the kernel looks it up again */
    } else if (node != NULL && lost_is(fs, node)) {
        ret = -EIO; /* what is in the store must not take another's place */
    } else if (node != NULL && has_upload(fs, m->ino, node->children > 0)) {
        ret = -EAGAIN; /* parts that were sent ahead are bound to the old key: publish first */
    }
    m->is_dir = node != NULL && S_ISDIR(fs_rec(fs, node)->mode);
    node = m->target != 0 ? fs_node(fs, m->target) : NULL;
    if (ret == 0 && node != NULL && fs_rec(fs, node)->upload != 0 && fs_rec(fs, node)->opens > 0 &&
        !lost_is(fs, node)) {
        ret = -EAGAIN; /* its readers need the bytes that were sent ahead */
    }
    m->target_is_dir = node != NULL && S_ISDIR(fs_rec(fs, node)->mode);
    ret = ret == 0 ? check_move(m) : ret;
    ret = ret == 0 ? fs_child_key(fs, (uint32_t)op->ino, op->name, &m->from) : ret;
    ret = ret == 0 ? fs_child_key(fs, (uint32_t)op->ino2, op->name2, &m->to) : ret;
    if (ret == 0 && m->is_dir) {
        buf_addstr(&m->from, "/");
        buf_addstr(&m->to, "/");
    }
    if (ret == 0) {
        state_begin(fs->state);
        ret = state_intend(fs->state, &intent);
        state_commit(fs->state);
    }
    mutex_unlock(&fs->lock);
    return ret;
}

/* Of the copy that was made before the crash. */
static int learn_etag(struct move *m)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request head = {.op = OBJSTORE_HEAD, .key = buf_str(&m->to)};
    int ret = volume_call(m->op->fs->volume, &head, &answer);

    if (ret == 0) {
        (void)snprintf(m->etag, sizeof(m->etag), "%s", answer.result.info.etag);
    }
    return ret;
}

static int move_store(struct move *m)
{
    struct fs *fs = m->op->fs;
    struct copy_what what = {.from = buf_str(&m->from), .to = buf_str(&m->to)};
    struct node *node;
    int ret;

    if (m->is_dir) {
        ret = m->target != 0 ? is_empty_dir(fs, buf_str(&m->to)) : 0;
        if (ret == -ENOTEMPTY && m->again) {
            ret = 0; /* by ourselves, before the crash */
        }
        return ret == 0 ? move_tree(fs, buf_str(&m->from), buf_str(&m->to)) : ret;
    }
    ret = m->target != 0 ? rename_hide(fs, m->target) : 0;
    mutex_lock(&fs->lock);
    node = m->ino != 0 ? fs_node(fs, m->ino) : NULL;
    what.size = node != NULL ? fs_rec(fs, node)->base_size : 0;
    mutex_unlock(&fs->lock);
    ret = ret == 0 ? remote_copy(fs, &what, m->etag) : ret;
    if (ret == -ENOENT && m->again) {
        return learn_etag(m); /* copied and removed before the crash */
    }
    return ret == 0 ? delete_key(fs, buf_str(&m->from)) : ret;
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

static int end_move(struct move *m)
{
    struct op *op = m->op;
    struct fs *fs = op->fs;
    struct node *node;
    struct node *target;
    uint32_t cell = 0;
    int ret = 0;

    mutex_lock(&fs->lock);
    node = m->ino != 0 ? fs_node(fs, m->ino) : NULL;
    target = fs_child(fs, (uint32_t)op->ino2, op->name2);
    if (target != NULL && target != node) {
        drop_target(fs, target);
    }
    state_begin(fs->state);
    if (node != NULL) {
        struct inode_rec *rec = fs_rec(fs, node);

        ret = state_text_new(fs->state, op->name2, strlen(op->name2), &cell);
        if (ret == 0) {
            uint32_t old = rec->name;

            STATE_SET(fs->state, rec->flags, rec->flags & ~(uint32_t)INODE_DETACHED);
            STATE_SET(fs->state, rec->parent, (uint32_t)op->ino2);
            STATE_SET(fs->state, rec->name, cell);
            STATE_SET(fs->state, rec->ctime_ns, fs_now_ns());
            if (m->etag[0] != '\0') {
                state_set(fs->state, rec->etag, m->etag, sizeof(rec->etag));
            }
            ret = fs_op_applied(fs, op);
            state_text_release(fs->state, old);
        }
    } else {
        ret = fs_op_applied(fs, op);
    }
    state_commit(fs->state);
    if (node != NULL && cell != 0) {
        int renamed = fs_node_rename(fs, node, (uint32_t)op->ino2, op->name2);

        ret = ret == 0 ? renamed : ret;
        memcpy(node->opened_etag, m->etag, sizeof(node->opened_etag));
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

/* What is dirty has to be there to be copied; from the claim on, it waits for the new key. */
static int settle_move(struct move *m)
{
    struct fs *fs = m->op->fs;
    int ret = -EAGAIN;

    for (int tries = 0; ret == -EAGAIN && tries < ASK_TRIES; tries++) {
        end_claim(m);
        /* A request that comes again has published before, and its claim may be held for it. */
        ret = m->ino != 0 && !(m->again && tries == 0) ? publish_below(fs, m->ino) : 0;
        ret = ret == 0 && tries > 0 && m->target != 0 ? publish_below(fs, m->target) : ret;
        ret = ret == 0 ? begin_move(m) : ret;
    }
    return ret == -EAGAIN ? -EBUSY : ret;
}

static int run_move(struct move *m)
{
    struct op *op = m->op;
    struct fs *fs = op->fs;
    int ret;

    mutex_lock(&fs->lock);
    m->again = state_intended(fs->state, op->unique);
    mutex_unlock(&fs->lock);
    if (m->again) {
        struct node *node;

        /* The store may have it under the new name already: what is asked there says too little. */
        mutex_lock(&fs->lock);
        node = fs_child(fs, (uint32_t)op->ino, op->name);
        m->ino = node != NULL ? node->ino : 0;
        mutex_unlock(&fs->lock);
    }
    ret = m->ino != 0 ? 0 : resolve(fs, (uint32_t)op->ino, op->name, &m->ino);
    ret = ret == 0 ? resolve(fs, (uint32_t)op->ino2, op->name2, &m->target) : ret;
    if (ret == 0 && m->ino != 0 && m->ino == m->target) {
        return 0;
    }
    ret = ret == 0 ? settle_move(m) : ret;
    ret = ret == 0 ? move_store(m) : ret;
    ret = ret == 0 ? end_move(m) : ret;
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
    buf_done(&m.from);
    buf_done(&m.to);
    (void)fs_op_fail(op, ret);
}

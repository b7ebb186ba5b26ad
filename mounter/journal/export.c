/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/journal/export.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/fs.h"
#include "util/log.h"
#include "util/random.h"

enum { DEPTH_MAX = 512, TRIES = 4, AT_ONCE = 4 << 20, GRAVES_MAX = 64 << 20 };

/* The blocks of an inode, by their place in the file. */
struct export_block {
    uint64_t index;
    uint32_t block;
};

struct export_blocks {
    struct export_block *items;
    size_t count, cap;
};

/* What is being copied of one inode. */
struct copy {
    const struct export *x;
    struct export_item *item;
    struct export_blocks blocks;
    char *buffer;
    uint64_t bytes; /* dirty */
    uint32_t number;
    bool changed; /* since it was begun */
};

static int add_block(struct export_blocks *list, uint64_t index, uint32_t block)
{
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 64 : 2 * list->cap;
        struct export_block *items = realloc(list->items, cap * sizeof(*items));

        if (items == NULL) {
            return -ENOMEM;
        }
        list->items = items;
        list->cap = cap;
    }
    list->items[list->count++] = (struct export_block){index, block};
    return 0;
}

static int compare_blocks(const void *a, const void *b)
{
    const struct export_block *x = a;
    const struct export_block *y = b;

    return x->index < y->index ? -1 : x->index > y->index;
}

LOCK_UNCHECKED
static struct node *node_of(const struct export *x, uint32_t ino)
{
    return x->fs != NULL ? fs_node(x->fs, ino) : NULL;
}

/* With the lock. */
static int list_blocks(const struct export *x, uint32_t ino, struct export_blocks *ret)
{
    const struct node *node = node_of(x, ino);
    const struct block_ref *ref;
    int r = 0;

    ret->count = 0;
    if (x->fs != NULL) {
        for (ref = node != NULL ? node->blocks : NULL; r == 0 && ref != NULL; ref = ref->hh.next) {
            r = add_block(ret, ref->index, ref->block);
        }
    } else {
        for (uint32_t block = 0; r == 0 && block < state_block_limit(x->state); block++) {
            const struct block_rec *rec = state_block(x->state, block);

            r = rec->inode == ino ? add_block(ret, rec->index, block) : 0;
        }
    }
    if (ret->count > 0) {
        qsort(ret->items, ret->count, sizeof(*ret->items), compare_blocks);
    }
    return r;
}

static uint64_t dirty_bytes(const struct export *x, const struct export_blocks *blocks)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < blocks->count; i++) {
        const struct block_rec *rec = state_block(x->state, blocks->items[i].block);

        for (uint32_t e = 0; e < rec->count; e++) {
            bytes += rec->extents[e].to - rec->extents[e].from;
        }
    }
    return bytes;
}

/* ---- what it is ---- */

/* The names from the root on, by '/'. -ESTALE: it has no name (any more). */
static int path_of(const struct state *state, uint32_t ino, struct buf *out)
{
    uint32_t path[DEPTH_MAX];
    size_t depth = 0;

    for (uint32_t at = ino; at != STATE_ROOT;) {
        const struct inode_rec *rec = state_inode(state, at);

        if (rec == NULL || (rec->flags & (INODE_UNLINKED | INODE_DETACHED)) != 0) {
            return -ESTALE;
        }
        if (depth == DEPTH_MAX) {
            return -ENAMETOOLONG;
        }
        path[depth++] = at;
        at = rec->parent;
    }
    while (depth-- > 0) {
        state_text_get(state, state_inode(state, path[depth])->name, out);
        if (depth > 0) {
            buf_addstr(out, "/");
        }
    }
    return buf_error(out);
}

static enum journal_kind kind_of(uint32_t mode)
{
    return S_ISREG(mode)   ? JOURNAL_FILE
           : S_ISDIR(mode) ? JOURNAL_DIR
           : S_ISLNK(mode) ? JOURNAL_SYMLINK
                           : JOURNAL_SPECIAL;
}

static int fill_parts(const struct export *x, const struct inode_rec *rec, struct arena *arena,
                      struct journal_entry *ret)
{
    const struct upload_rec *upload = state_upload(x->state, rec->upload - 1);
    struct journal_part *parts;
    uint32_t count = 0;

    for (uint32_t i = 0; i < upload->parts; i++) {
        count += upload->etags[i][0] != '\0';
    }
    if (count == 0) {
        return 0; /* nothing of it is nowhere else */
    }
    parts = arena_array(arena, count, sizeof(*parts));
    ret->upload_id = arena_strndup(arena, upload->id, strnlen(upload->id, sizeof(upload->id)));
    if (parts == NULL || ret->upload_id == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < upload->parts; i++) {
        if (upload->etags[i][0] != '\0') {
            parts[ret->parts_count] = (struct journal_part){
                .number = i + 1,
                .offset = parts_offset(&upload->schedule, i + 1),
                .etag = arena_strndup(arena, upload->etags[i],
                                      strnlen(upload->etags[i], STATE_ETAG_SIZE))};
            if (parts[ret->parts_count++].etag == NULL) {
                return -ENOMEM;
            }
        }
    }
    ret->parts = parts;
    memcpy(ret->schedule, &upload->schedule, sizeof(ret->schedule));
    return 0;
}

static int fill_holes(const struct export *x, const struct inode_rec *rec, struct arena *arena,
                      struct journal_entry *ret)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(STATE_TEXT_MAX + 1);
    struct journal_hole *holes;
    size_t count;

    state_text_get(x->state, rec->holes, &text);
    count = buf_len(&text) / sizeof(struct hole);
    holes = arena_array(arena, count + 1, sizeof(*holes));
    if (buf_error(&text) != 0 || holes == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        struct hole hole;

        memcpy(&hole, text.data + i * sizeof(hole), sizeof(hole));
        holes[i] = (struct journal_hole){hole.from, hole.to};
    }
    ret->holes = holes;
    ret->holes_count = (uint32_t)count;
    return 0;
}

static char *text_of(const struct export *x, uint32_t cell, struct arena *arena)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(STATE_TEXT_MAX + 1);

    state_text_get(x->state, cell, &text);
    return buf_error(&text) != 0 ? NULL : arena_strdup(arena, buf_str(&text));
}

/* With the lock: all but the bytes. */
static int fill_entry(const struct export *x, uint32_t ino, struct arena *arena,
                      struct journal_entry *ret)
{
    const struct inode_rec *rec = state_inode(x->state, ino);
    CLEANUP(buf_done) struct buf path = BUF_INIT(JOURNAL_PATH_MAX);
    int r = path_of(x->state, ino, &path);

    if (r != 0) {
        return r;
    }
    *ret = (struct journal_entry){
        .kind = kind_of(rec->mode),
        .flags = ((rec->flags & INODE_NEW) != 0 ? JOURNAL_NEW : 0U) |
                 ((rec->flags & INODE_ATTRS) != 0 ? JOURNAL_ATTRS : 0U) |
                 ((rec->flags & INODE_MARKER) != 0 ? JOURNAL_MARKER : 0U),
        .path = arena_strdup(arena, buf_str(&path)),
        .target = text_of(x, rec->target, arena),
        .xattr = text_of(x, rec->xattr, arena),
        .etag = arena_strndup(arena, rec->etag, strnlen(rec->etag, STATE_ETAG_SIZE)),
        .size = rec->size,
        .base_size = rec->base_size,
        .base_valid = rec->base_valid < rec->base_size ? rec->base_valid : rec->base_size,
        .token = rec->token,
        /* A publication may be under way, or begin before this is read: see settle.c. */
        .attempt = rec->attempt != 0 ? rec->attempt : rec->size + 1,
        .mode = rec->mode,
        .uid = rec->uid,
        .gid = rec->gid,
        .rdev = rec->rdev,
        .mtime_ns = rec->mtime_ns,
        .ctime_ns = rec->ctime_ns,
        .atime_ns = rec->atime_ns,
        .dirty_since_ns = rec->dirty_since_ns,
    };
    if (ret->path == NULL || ret->target == NULL || ret->xattr == NULL || ret->etag == NULL) {
        return -ENOMEM;
    }
    r = rec->upload != 0 ? fill_parts(x, rec, arena, ret) : 0;
    return r == 0 && rec->holes != 0 ? fill_holes(x, rec, arena, ret) : r;
}

/* With the lock. 1: it is dirty and has a name; 0: nothing to keep; -EIO: bytes are lost. */
static int is_wanted(const struct export *x, uint32_t ino)
{
    const struct inode_rec *rec = state_inode(x->state, ino);

    if (rec == NULL || (rec->flags & (INODE_UNLINKED | INODE_DETACHED)) != 0) {
        return 0;
    }
    if ((rec->flags & INODE_LOST) != 0) {
        return -EIO;
    }
    return (rec->flags & INODE_DIRTY) != 0;
}

/* With the lock: the file's number and the token of the next publication, before either is used. */
static void prepare(const struct export *x, uint32_t ino, uint32_t *ret_number)
{
    struct inode_rec *rec = state_inode(x->state, ino);

    state_begin(x->state);
    if (rec->token == 0) {
        uint64_t token;

        random_bytes(&token, sizeof(token));
        STATE_SET(x->state, rec->token, token | 1);
    }
    *ret_number = rec->journal;
    if (rec->journal == 0) {
        *ret_number = journal_number(x->journal);
        STATE_SET(x->state, rec->journal, *ret_number);
    }
    state_commit(x->state);
}

/* ---- its bytes ---- */

/* Begin anew: 1: *c says what there is to copy. */
static int begin(struct copy *c)
{
    const struct export *x = c->x;
    const struct node *node;
    int r = is_wanted(x, c->item->ino);

    if (r <= 0) {
        return r;
    }
    node = node_of(x, c->item->ino);
    c->item->edits = node != NULL ? node->edits : 0;
    c->changed = false;
    prepare(x, c->item->ino, &c->number);
    r = list_blocks(x, c->item->ino, &c->blocks);
    c->bytes = dirty_bytes(x, &c->blocks);
    return r < 0 ? r : 1;
}

/* With the lock: the dirty bytes of one block to `to`, one run behind the other. */
static void copy_block(struct copy *c, const struct export_block *b, struct block_rec *ret,
                       char *to)
{
    const struct block_rec *rec = state_block(c->x->state, b->block);

    *ret = *rec;
    if (rec->inode != c->item->ino || rec->index != b->index) {
        c->changed = true; /* it has been published, and its block is another's */
        ret->count = 0;
    }
    for (uint32_t e = 0; e < ret->count; e++) {
        size_t len = ret->extents[e].to - ret->extents[e].from;

        memcpy(to, state_block_data(c->x->state, b->block) + ret->extents[e].from, len);
        to += len;
    }
}

static int add_runs(struct copy *c, const struct block_rec *rec, const char *from)
{
    int r = 0;

    for (uint32_t e = 0; r == 0 && e < rec->count; e++) {
        size_t len = rec->extents[e].to - rec->extents[e].from;

        r = journal_add(c->item->writer, rec->index * STATE_BLOCK_SIZE + rec->extents[e].from, from,
                        len);
        from += len;
    }
    return r;
}

/* Large: one block after the other. Who writes to the file meanwhile makes it begin anew. */
static int copy_slowly(struct copy *c)
{
    const struct export *x = c->x;
    int r = 0;

    for (size_t i = 0; r == 0 && !c->changed && i < c->blocks.count; i++) {
        const struct node *node;
        struct block_rec rec;

        mutex_lock(x->lock);
        node = node_of(x, c->item->ino);
        c->changed = node != NULL && node->edits != c->item->edits;
        copy_block(c, &c->blocks.items[i], &rec, c->buffer);
        mutex_unlock(x->lock);
        r = add_runs(c, &rec, c->buffer);
    }
    return r;
}

/* What is small is copied in one moment, and then written. */
static int write_at_once(struct copy *c, const struct block_rec *recs)
{
    const char *at = c->buffer;
    int r = 0;

    for (size_t i = 0; r == 0 && i < c->blocks.count; i++) {
        r = add_runs(c, &recs[i], at);
        for (uint32_t e = 0; e < recs[i].count; e++) {
            at += recs[i].extents[e].to - recs[i].extents[e].from;
        }
    }
    return r;
}

/* With the lock. */
static int copy_at_once(struct copy *c, struct block_rec **ret)
{
    struct block_rec *recs = calloc(c->blocks.count > 0 ? c->blocks.count : 1, sizeof(*recs));
    char *at = c->buffer;

    if (recs == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < c->blocks.count; i++) {
        copy_block(c, &c->blocks.items[i], &recs[i], at);
        for (uint32_t e = 0; e < recs[i].count; e++) {
            at += recs[i].extents[e].to - recs[i].extents[e].from;
        }
    }
    *ret = recs;
    return 0;
}

static int get_buffer(struct copy *c, size_t size)
{
    free(c->buffer);
    c->buffer = malloc(size);
    return c->buffer == NULL ? -ENOMEM : 0;
}

/* *ret_again: it changed on the way. */
static int write_once(struct copy *c, bool *ret_again)
{
    const struct export *x = c->x;
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(16 << 20);
    AUTOFREE struct block_rec *recs = NULL;
    struct journal_entry entry = {0};
    bool small = false;
    int r;

    mutex_lock(x->lock);
    r = begin(c);
    small = r == 1 && c->bytes <= AT_ONCE;
    r = r == 1 ? get_buffer(c, small ? (size_t)c->bytes + 1 : STATE_BLOCK_SIZE) : r;
    if (r == 0 && small && c->number != 0) {
        r = copy_at_once(c, &recs);
        r = r == 0 ? fill_entry(x, c->item->ino, &arena, &entry) : r;
    }
    mutex_unlock(x->lock);
    if (r != 0 || c->number == 0) {
        return r;
    }
    r = journal_begin(x->journal, c->number, &c->item->writer);
    if (r == 0) {
        r = small ? write_at_once(c, recs) : copy_slowly(c);
    }
    if (r == 0 && !small && !c->changed) {
        const struct node *node;

        mutex_lock(x->lock);
        node = node_of(x, c->item->ino);
        c->changed =
            (node != NULL && node->edits != c->item->edits) || is_wanted(x, c->item->ino) != 1;
        r = c->changed ? 0 : fill_entry(x, c->item->ino, &arena, &entry);
        mutex_unlock(x->lock);
    }
    *ret_again = c->changed;
    return r == 0 && !c->changed ? journal_end(c->item->writer, &entry) : r;
}

int export_write(const struct export *x, struct export_item *item)
{
    struct copy c = {.x = x, .item = item};
    bool again = true;
    int r = 0;

    item->writer = NULL;
    for (int i = 0; r == 0 && again && i < TRIES; i++) {
        again = false;
        journal_drop(TAKE(item->writer));
        c.number = 0;
        r = write_once(&c, &again);
    }
    r = r == 0 && again ? -EAGAIN : r;
    if (r != 0) {
        journal_drop(TAKE(item->writer));
    }
    free(c.blocks.items);
    free(c.buffer);
    item->result = r == -ESTALE ? 0 : r; /* its name went meanwhile */
    return item->result;
}

void export_commit(const struct export *x, struct export_item *items, size_t count)
{
    struct journal_writer *writers[EXPORT_BATCH];
    size_t n = 0;
    int r;

    for (size_t i = 0; i < count; i++) {
        if (items[i].writer != NULL) {
            writers[n++] = TAKE(items[i].writer);
        }
    }
    r = n > 0 ? journal_commit(x->journal, writers, n) : 0;
    for (size_t i = 0; i < n; i++) {
        journal_drop(writers[i]);
    }
    mutex_lock(x->lock);
    for (size_t i = 0; i < count; i++) {
        struct node *node = node_of(x, items[i].ino);

        items[i].result = items[i].result == 0 ? r : items[i].result;
        if (items[i].result == 0 && node != NULL) {
            node->edits_kept = items[i].edits;
        }
    }
    mutex_unlock(x->lock);
}

/* ---- what is to be deleted ---- */

static void list_graves(const struct export *x, struct buf *out)
{
    for (uint32_t i = 0; i < STATE_GRAVES; i++) {
        const struct grave_rec *grave = state_grave(x->state, i);
        unsigned char etag[sizeof(grave->etag)];

        if (grave->key == 0 || grave->etag == GRAVE_FENCE) {
            continue;
        }
        for (size_t at = 0; at < sizeof(etag); at++) {
            etag[at] = (unsigned char)(grave->etag >> (8 * at));
        }
        buf_add(out, etag, sizeof(etag));
        state_text_get(x->state, grave->key, out);
        buf_add(out, "", 1);
    }
}

int export_graves(const struct export *x, uint32_t *ret_number)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(GRAVES_MAX);
    struct journal_entry entry = {.kind = JOURNAL_DELETE, .path = "removed"};
    struct journal_writer *w = NULL;
    uint32_t number;
    int r;

    *ret_number = 0;
    mutex_lock(x->lock);
    list_graves(x, &text);
    mutex_unlock(x->lock);
    if (buf_error(&text) != 0 || buf_len(&text) == 0) {
        return buf_error(&text);
    }
    number = journal_number(x->journal);
    entry.size = buf_len(&text);
    r = journal_begin(x->journal, number, &w);
    r = r == 0 ? journal_add(w, 0, buf_str(&text), buf_len(&text)) : r;
    r = r == 0 ? journal_end(w, &entry) : r;
    r = r == 0 ? journal_commit(x->journal, &w, 1) : r;
    journal_drop(w);
    *ret_number = r == 0 ? number : 0;
    return r;
}

/* ---- all ---- */

/* With the lock: it is dirty, and the journal has it not, or not as it is now. */
static bool is_missing(const struct export *x, uint32_t ino)
{
    const struct inode_rec *rec = state_inode(x->state, ino);
    const struct node *node = node_of(x, ino);

    return is_wanted(x, ino) == 1 &&
           (rec->journal == 0 || node == NULL || node->edits_kept != node->edits);
}

int export_all(const struct export *x, uint32_t *ret_files, struct error *err)
{
    struct export_item items[EXPORT_BATCH];
    size_t count = 0;
    uint32_t limit = state_inode_limit(x->state);
    int first = 0;

    for (uint32_t ino = STATE_ROOT; ino <= limit; ino++) {
        bool missing = false;

        if (ino < limit) {
            mutex_lock(x->lock);
            missing = is_missing(x, ino);
            mutex_unlock(x->lock);
        }
        if (missing) {
            items[count] = (struct export_item){.ino = ino};
            first = export_write(x, &items[count]) < 0 && first == 0 ? items[count].result : first;
            count += items[count].result == 0;
        }
        if (count == EXPORT_BATCH || (ino == limit && count > 0)) {
            export_commit(x, items, count);
            first = first == 0 ? items[0].result : first;
            count = 0;
        }
    }
    *ret_files = journal_files(x->journal);
    if (first != 0) {
        (void)error_set(err, first,
                        "%s: %s: free some space there, or raise the journal's limit, or bring the "
                        "store back",
                        journal_path(x->journal), strerror(-first));
    }
    return first;
}

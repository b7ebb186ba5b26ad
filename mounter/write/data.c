/* SPDX-License-Identifier: Apache-2.0 */
/* Dirty bytes: blocks of kept memory, each with up to STATE_EXTENTS ranges that count. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/fs.h"
#include "mounter/write/holes.h"

static struct block_ref *find_block(const struct node *node, uint64_t index)
{
    struct block_ref *ref;

    HASH_FIND(hh, node->blocks, &index, sizeof(index), ref);
    return ref;
}

static struct block_ref *add_ref(struct node *node, uint64_t index, uint32_t block)
{
    struct block_ref *ref = calloc(1, sizeof(*ref));

    if (ref == NULL) {
        return NULL;
    }
    ref->index = index;
    ref->block = block;
    HASH_ADD(hh, node->blocks, index, sizeof(ref->index), ref);
    if (ref->hh.tbl == NULL) {
        free(ref);
        return NULL;
    }
    return ref;
}

static void drop_ref(struct fs *fs, struct node *node, struct block_ref *ref) REQUIRES(&fs->lock)
{
    state_block_release(fs->state, ref->block);
    HASH_DEL(node->blocks, ref);
    free(ref);
}

/* The extents with [from, to) among them. -EDEADLK: they are too many pieces. */
static int add_extent(struct block_rec *rec, uint32_t from, uint32_t to)
{
    struct block_extent out[STATE_EXTENTS + 1];
    uint32_t count = 0;
    bool placed = false;

    for (uint32_t i = 0; i < rec->count; i++) {
        struct block_extent e = rec->extents[i];

        if (e.to < from) {
            out[count++] = e;
        } else if (e.from > to) {
            if (!placed) {
                out[count++] = (struct block_extent){from, to};
                placed = true;
            }
            out[count++] = e;
        } else { /* they touch: one grows */
            from = e.from < from ? e.from : from;
            to = e.to > to ? e.to : to;
        }
        if (count > STATE_EXTENTS) {
            return -EDEADLK;
        }
    }
    if (!placed) {
        if (count == STATE_EXTENTS) {
            return -EDEADLK;
        }
        out[count++] = (struct block_extent){from, to};
        /* Those that were grown over lie before: keep the order. */
        for (uint32_t i = count - 1; i > 0 && out[i - 1].from > out[i].from; i--) {
            struct block_extent swap = out[i];

            out[i] = out[i - 1];
            out[i - 1] = swap;
        }
    }
    memcpy(rec->extents, out, count * sizeof(*out));
    rec->count = count;
    return 0;
}

/* Its bytes are being sent as they are: the writer goes on in a copy. */
static void copy_block(struct fs *fs, uint32_t from, uint32_t to) REQUIRES(&fs->lock)
{
    const struct block_rec *rec = state_block(fs->state, from);

    for (uint32_t i = 0; i < rec->count; i++) {
        const struct block_extent *e = &rec->extents[i];

        state_block_write(fs->state, to, e->from, state_block_data(fs->state, from) + e->from,
                          e->to - e->from);
    }
}

static int write_block(struct fs *fs, struct node *node, uint64_t offset, const char *data,
                       size_t len) REQUIRES(&fs->lock)
{
    uint64_t index = offset / STATE_BLOCK_SIZE;
    uint32_t from = (uint32_t)(offset % STATE_BLOCK_SIZE);
    struct block_ref *ref = find_block(node, index);
    struct block_rec rec = {.inode = node->ino, .index = index};
    uint32_t block = UINT32_MAX;
    int ret;

    if (ref != NULL) {
        block = ref->block;
        rec = *state_block(fs->state, block);
    }
    ret = add_extent(&rec, from, from + (uint32_t)len);
    if (ret != 0) {
        return ret;
    }
    state_begin(fs->state);
    if (ref == NULL) {
        block = state_block_take(fs->state, (uint32_t)len);
        ref = block != UINT32_MAX ? add_ref(node, index, block) : NULL;
        if (ref == NULL) {
            state_abort(fs->state);
            if (block != UINT32_MAX) {
                state_block_untake(fs->state, block);
            }
            return block == UINT32_MAX ? -EAGAIN : -ENOMEM;
        }
    } else if (state_block_pinned(fs->state, block)) {
        uint32_t fresh = state_block_take(fs->state, STATE_BLOCK_SIZE);

        if (fresh == UINT32_MAX) {
            state_abort(fs->state);
            return -EAGAIN;
        }
        copy_block(fs, block, fresh);
        state_block_release(fs->state, block);
        ref->block = block = fresh;
    }
    state_block_write(fs->state, block, from, data, (uint32_t)len); /* before it counts */
    state_set(fs->state, state_block(fs->state, block), &rec, sizeof(rec));
    state_commit(fs->state);
    ref->seq = ++fs->block_seq; /* never one that a dropped block of this index had */
    return 0;
}

void data_need(struct fs *fs, const struct node *node, uint64_t offset, uint64_t len,
               struct state_need *need)
{
    uint64_t first = offset / STATE_BLOCK_SIZE;
    uint64_t last = len > 0 ? (offset + len - 1) / STATE_BLOCK_SIZE : first;

    for (uint64_t i = first; i <= last; i++) {
        const struct block_ref *ref = find_block(node, i);
        uint64_t start = i * STATE_BLOCK_SIZE;
        uint64_t end =
            offset + len < start + STATE_BLOCK_SIZE ? offset + len : start + STATE_BLOCK_SIZE;

        state_pool_need(fs->state, ref != NULL ? ref->block : UINT32_MAX,
                        offset > start ? (uint32_t)(offset - start) : 0, (uint32_t)(end - start),
                        need);
    }
}

int data_write(struct fs *fs, struct node *node, uint64_t offset, const char *data, size_t len)
{
    struct state_need need = {0};

    data_need(fs, node, offset, len, &need);
    if (!state_pool_has(fs->state, &need)) {
        return -EAGAIN; /* nothing has been changed: the whole write comes again */
    }
    while (len > 0) {
        size_t room = STATE_BLOCK_SIZE - (size_t)(offset % STATE_BLOCK_SIZE);
        size_t here = len < room ? len : room;
        int ret = write_block(fs, node, offset, data, here);

        if (ret != 0) {
            return ret;
        }
        offset += here;
        data += here;
        len -= here;
    }
    return 0;
}

void data_truncate(struct fs *fs, struct node *node, uint64_t size)
{
    struct block_ref *ref;
    struct block_ref *next;

    HASH_ITER(hh, node->blocks, ref, next)
    {
        uint64_t start = ref->index * STATE_BLOCK_SIZE;
        struct block_rec rec = *state_block(fs->state, ref->block);
        uint32_t keep;

        if (start + STATE_BLOCK_SIZE <= size) {
            continue;
        }
        ref->seq = ++fs->block_seq;
        keep = size > start ? (uint32_t)(size - start) : 0;
        while (rec.count > 0 && rec.extents[rec.count - 1].from >= keep) {
            rec.count--;
        }
        if (rec.count > 0 && rec.extents[rec.count - 1].to > keep) {
            rec.extents[rec.count - 1].to = keep;
        }
        state_begin(fs->state);
        if (rec.count == 0) {
            drop_ref(fs, node, ref);
        } else {
            state_set(fs->state, state_block(fs->state, ref->block), &rec, sizeof(rec));
        }
        state_commit(fs->state);
    }
}

/* A part of a block: in zeros. They join what is dirty there, so the pieces do not grow in number.
 */
static void zero_part(struct fs *fs, struct node *node, const struct block_rec *rec, uint64_t from,
                      uint64_t to) REQUIRES(&fs->lock)
{
    static const char zeros[STATE_BLOCK_SIZE];
    uint64_t start = rec->index * STATE_BLOCK_SIZE;
    uint32_t low = from > start ? (uint32_t)(from - start) : 0;
    uint32_t high = to < start + STATE_BLOCK_SIZE ? (uint32_t)(to - start) : STATE_BLOCK_SIZE;
    bool dirty = false;

    for (uint32_t i = 0; i < rec->count; i++) {
        dirty = dirty || (rec->extents[i].from < high && rec->extents[i].to > low);
    }
    if (dirty) {
        (void)!write_block(fs, node, start + low, zeros, high - low); /* there is room */
    }
}

/* The blocks at the ends are written to: they may need copies, as in data_write(). */
static bool has_room_to_punch(struct fs *fs, const struct node *node, uint64_t from, uint64_t to)
    REQUIRES(&fs->lock)
{
    const struct block_ref *ends[2] = {find_block(node, from / STATE_BLOCK_SIZE),
                                       find_block(node, (to - 1) / STATE_BLOCK_SIZE)};
    struct state_need need = {0};

    for (int i = 0; i < 2; i++) {
        if (ends[i] != NULL && state_block_pinned(fs->state, ends[i]->block)) {
            state_pool_need(fs->state, ends[i]->block, 0, STATE_BLOCK_SIZE, &need);
        }
    }
    return state_pool_has(fs->state, &need);
}

int data_punch(struct fs *fs, struct node *node, uint64_t from, uint64_t to)
{
    struct block_ref *ref;
    struct block_ref *next;

    if (from >= to) {
        return 0;
    }
    if (!has_room_to_punch(fs, node, from, to)) {
        return -EAGAIN;
    }

    HASH_ITER(hh, node->blocks, ref, next)
    {
        uint64_t start = ref->index * STATE_BLOCK_SIZE;

        if (start >= to || start + STATE_BLOCK_SIZE <= from) {
            continue;
        }
        if (start < from || start + STATE_BLOCK_SIZE > to) {
            const struct block_rec rec = *state_block(fs->state, ref->block);

            zero_part(fs, node, &rec, from, to);
        } else {
            state_begin(fs->state);
            drop_ref(fs, node, ref);
            state_commit(fs->state);
        }
    }
    cond_broadcast(&fs->changed);
    return 0;
}

static bool next_in_block(struct fs *fs, const struct block_ref *ref, uint64_t offset,
                          uint64_t *ret_from, uint64_t *ret_to) REQUIRES(&fs->lock)
{
    const struct block_rec *rec = state_block(fs->state, ref->block);
    uint64_t start = ref->index * STATE_BLOCK_SIZE;

    for (uint32_t i = 0; i < rec->count; i++) {
        if (start + rec->extents[i].to > offset) {
            *ret_from = start + rec->extents[i].from;
            *ret_to = start + rec->extents[i].to;
            return true;
        }
    }
    return false;
}

bool data_next(struct fs *fs, const struct node *node, uint64_t offset, uint64_t *ret_from,
               uint64_t *ret_to)
{
    uint64_t index = offset / STATE_BLOCK_SIZE;
    const struct block_ref *ref = find_block(node, index);
    const struct block_ref *first = NULL;

    if (ref != NULL && next_in_block(fs, ref, offset, ret_from, ret_to)) {
        return true;
    }
    for (ref = node->blocks; ref != NULL; ref = ref->hh.next) {
        if (ref->index > index && (first == NULL || ref->index < first->index)) {
            first = ref;
        }
    }
    return first != NULL && next_in_block(fs, first, offset, ret_from, ret_to);
}

void data_each(struct fs *fs, const struct node *node, uint64_t offset, uint64_t len,
               data_visit_fn *visit, void *arg)
{
    uint64_t end = offset + len;

    for (uint64_t index = offset / STATE_BLOCK_SIZE; index * STATE_BLOCK_SIZE < end; index++) {
        const struct block_ref *ref = find_block(node, index);
        const struct block_rec *rec = ref != NULL ? state_block(fs->state, ref->block) : NULL;
        uint64_t start = index * STATE_BLOCK_SIZE;

        for (uint32_t i = 0; rec != NULL && i < rec->count; i++) {
            uint64_t from = start + rec->extents[i].from;
            uint64_t to = start + rec->extents[i].to;

            from = from < offset ? offset : from;
            to = to > end ? end : to;
            if (from < to &&
                !visit(arg, &(struct data_piece){from, to, ref->block, (uint32_t)(from - start)})) {
                return;
            }
        }
    }
}

struct overlay {
    struct fs *fs;
    char *buffer;
    uint64_t offset;
};

static bool lay_over(void *arg, const struct data_piece *p)
{
    struct overlay *o = arg;

    memcpy(o->buffer + (p->from - o->offset), data_bytes(o->fs->state, p),
           (size_t)(p->to - p->from));
    return true;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): lay_over() writes there */
void data_overlay(struct fs *fs, struct node *node, uint64_t offset, char *buffer, size_t len)
{
    struct overlay o = {fs, buffer, offset};

    holes_lay(node, offset, buffer, len);
    if (node->blocks != NULL) {
        data_each(fs, node, offset, len, lay_over, &o);
    }
}

struct cover {
    const struct node *node;
    uint64_t reached;
};

static bool cover(void *arg, const struct data_piece *p)
{
    struct cover *c = arg;

    if (p->from != c->reached && !holes_cover(c->node, c->reached, p->from)) {
        return false;
    }
    c->reached = p->to;
    return true;
}

bool data_covers(struct fs *fs, struct node *node, uint64_t offset, uint64_t len)
{
    struct cover c = {node, offset};

    if (node->blocks != NULL) {
        data_each(fs, node, offset, len, cover, &c);
    }
    return holes_cover(node, c.reached, offset + len);
}

static bool found_one(void *arg, const struct data_piece *p)
{
    (void)p;
    *(bool *)arg = true;
    return false;
}

bool data_any(struct fs *fs, struct node *node, uint64_t offset, uint64_t len)
{
    bool found = holes_any(node, offset, offset + len);

    if (!found && node->blocks != NULL && HASH_COUNT(node->blocks) > 0) {
        data_each(fs, node, offset, len, found_one, &found);
    }
    return found;
}

int data_seqs_take(struct fs *fs, struct node *node, uint64_t offset, uint64_t len,
                   struct data_seqs *ret)
{
    struct block_ref *ref;
    struct block_ref *next;

    HASH_ITER(hh, node->blocks, ref, next)
    {
        const struct block_rec *rec = state_block(fs->state, ref->block);
        uint64_t start = ref->index * STATE_BLOCK_SIZE;

        if (start + STATE_BLOCK_SIZE <= offset || start >= offset + len) {
            continue;
        }
        if (start + rec->extents[0].from < offset ||
            start + rec->extents[rec->count - 1].to > offset + len) {
            continue; /* it has bytes beyond the range, written since the range was chosen */
        }
        if (ret->count == ret->cap) {
            size_t cap = ret->cap == 0 ? 64 : 2 * ret->cap;
            struct block_seq *items = realloc(ret->items, cap * sizeof(*items));

            if (items == NULL) {
                return -ENOMEM;
            }
            ret->items = items;
            ret->cap = cap;
        }
        ret->items[ret->count++] = (struct block_seq){ref->index, ref->seq};
    }
    return 0;
}

int data_seqs_add(struct data_seqs *seqs, const struct data_seqs *more)
{
    size_t count = seqs->count + more->count;

    if (count > seqs->cap) {
        size_t cap = count < 2 * seqs->cap ? 2 * seqs->cap : count;
        struct block_seq *items = realloc(seqs->items, cap * sizeof(*items));

        if (items == NULL) {
            return -ENOMEM;
        }
        seqs->items = items;
        seqs->cap = cap;
    }
    if (more->count > 0) {
        memcpy(seqs->items + seqs->count, more->items, more->count * sizeof(*more->items));
    }
    seqs->count = count;
    return 0;
}

void data_clean(struct fs *fs, struct node *node, const struct data_seqs *seqs)
{
    for (size_t i = 0; i < seqs->count; i++) {
        struct block_ref *ref = find_block(node, seqs->items[i].index);

        if (ref != NULL && ref->seq == seqs->items[i].seq) {
            state_begin(fs->state);
            drop_ref(fs, node, ref);
            state_commit(fs->state);
        }
    }
    cond_broadcast(&fs->changed);
}

void data_drop(struct fs *fs, struct node *node)
{
    struct block_ref *ref;
    struct block_ref *next;

    HASH_ITER(hh, node->blocks, ref, next)
    {
        state_begin(fs->state);
        drop_ref(fs, node, ref);
        state_commit(fs->state);
    }
    cond_broadcast(&fs->changed);
}

int data_adopt(struct fs *fs)
{
    for (uint32_t block = 0; block < state_block_limit(fs->state); block++) {
        const struct block_rec *rec = state_block(fs->state, block);
        struct node *node = rec->inode != 0 ? fs_node(fs, rec->inode) : NULL;

        if (node != NULL && add_ref(node, rec->index, block) == NULL) {
            return -ENOMEM;
        }
        if (node == NULL && rec->inode != 0) {
            state_begin(fs->state);
            state_block_release(fs->state, block);
            state_commit(fs->state);
        }
    }
    /* Of a write that was cut off, before it comes again: nothing counts beyond the size. */
    for (uint32_t ino = STATE_ROOT + 1; ino < fs->nodes_len; ino++) {
        struct node *node = fs_node(fs, ino);

        if (node != NULL && node->blocks != NULL) {
            data_truncate(fs, node, fs_rec(fs, node)->size);
        }
    }
    return 0;
}

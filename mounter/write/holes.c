/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/write/holes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(HOLES_MAX * sizeof(struct hole) <= STATE_TEXT_MAX, "holes fit into one text");

/* The list with [from, to) in it, joined with what it touches. */
static int insert(struct holes *list, uint64_t from, uint64_t to)
{
    struct hole *items;
    size_t first = 0;
    size_t last;

    while (first < list->count && list->items[first].to < from) {
        first++;
    }
    for (last = first; last < list->count && list->items[last].from <= to; last++) {
        from = list->items[last].from < from ? list->items[last].from : from;
        to = list->items[last].to > to ? list->items[last].to : to;
    }
    if (first == last) {
        if (list->count == HOLES_MAX) {
            return -ENOSPC;
        }
        items = realloc(list->items, (list->count + 1) * sizeof(*items));
        if (items == NULL) {
            return -ENOMEM;
        }
        list->items = items;
        memmove(items + first + 1, items + first, (list->count - first) * sizeof(*items));
        list->count++;
    } else {
        memmove(list->items + first + 1, list->items + last,
                (list->count - last) * sizeof(*list->items));
        list->count -= last - first - 1;
    }
    list->items[first] = (struct hole){from, to};
    return 0;
}

/* The record's text, in the caller's transaction. */
static int store(struct fs *fs, struct node *node) REQUIRES(&fs->lock)
{
    struct inode_rec *rec = fs_rec(fs, node);
    uint32_t old = rec->holes;
    uint32_t cell = 0;
    int ret = 0;

    if (node->holes.count > 0) {
        ret = state_text_new(fs->state, (const char *)node->holes.items,
                             node->holes.count * sizeof(struct hole), &cell);
    }
    if (ret == 0) {
        STATE_SET(fs->state, rec->holes, cell);
        state_text_release(fs->state, old);
    }
    return ret;
}

static void cut(struct holes *list, uint64_t size)
{
    while (list->count > 0 && list->items[list->count - 1].from >= size) {
        list->count--;
    }
    if (list->count > 0 && list->items[list->count - 1].to > size) {
        list->items[list->count - 1].to = size;
    }
}

int holes_add(struct fs *fs, struct node *node, uint64_t from, uint64_t to)
{
    const struct inode_rec *rec = fs_rec(fs, node);
    uint64_t valid = rec->base_valid;
    int ret;

    if (rec->attempt > valid + 1) {
        valid = rec->attempt - 1; /* what has been sent may become the base: see settle.c */
    }

    if (node->publishing && from < to) {
        ret = insert(&node->fresh_holes, from, to);
        if (ret != 0) {
            return ret;
        }
    }
    to = to < valid ? to : valid;
    if (from >= to) {
        return 0;
    }
    ret = insert(&node->holes, from, to);
    return ret == 0 ? store(fs, node) : ret;
}

void holes_cut(struct fs *fs, struct node *node, uint64_t size)
{
    cut(&node->fresh_holes, size);
    if (node->holes.count > 0 && node->holes.items[node->holes.count - 1].to > size) {
        cut(&node->holes, size);
        (void)!store(fs, node); /* there is less to note than before */
    }
}

void holes_mark(struct fs *fs, struct node *node)
{
    (void)fs;
    node->fresh_holes.count = 0;
}

void holes_published(struct fs *fs, struct node *node, uint64_t valid)
{
    struct holes fresh = node->fresh_holes;

    cut(&fresh, valid);
    node->fresh_holes = (struct holes){0};
    if (node->holes.count > 0 || fresh.count > 0) {
        free(node->holes.items);
        node->holes = fresh;
        if (store(fs, node) != 0) { /* no room for text: better known only here than the old ones */
            STATE_SET(fs->state, fs_rec(fs, node)->holes, 0U);
        }
    } else {
        free(fresh.items);
    }
}

void holes_clear(struct fs *fs, struct node *node)
{
    holes_mark(fs, node);
    holes_published(fs, node, 0);
}

int holes_adopt(struct fs *fs, struct node *node)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(STATE_TEXT_MAX);
    const struct inode_rec *rec = fs_rec(fs, node);

    if (rec->holes == 0) {
        return 0;
    }
    state_text_get(fs->state, rec->holes, &text);
    node->holes.items = malloc(buf_len(&text) > 0 ? buf_len(&text) : 1);
    if (node->holes.items == NULL) {
        return -ENOMEM;
    }
    memcpy(node->holes.items, buf_str(&text), buf_len(&text));
    node->holes.count = buf_len(&text) / sizeof(struct hole);
    return 0;
}

void holes_free(struct node *node)
{
    free(node->holes.items);
    free(node->fresh_holes.items);
    node->holes = node->fresh_holes = (struct holes){0};
}

void holes_lay(const struct node *node, uint64_t offset, char *buffer, size_t len)
{
    uint64_t end = offset + len;

    for (size_t i = 0; i < node->holes.count && node->holes.items[i].from < end; i++) {
        uint64_t from = node->holes.items[i].from;
        uint64_t to = node->holes.items[i].to;

        from = from > offset ? from : offset;
        to = to < end ? to : end;
        if (from < to) {
            memset(buffer + (from - offset), 0, (size_t)(to - from));
        }
    }
}

uint64_t holes_end(const struct node *node, uint64_t from)
{
    for (size_t i = 0; i < node->holes.count && node->holes.items[i].from <= from; i++) {
        if (from < node->holes.items[i].to) {
            return node->holes.items[i].to;
        }
    }
    return from;
}

uint64_t holes_next(const struct node *node, uint64_t from)
{
    for (size_t i = 0; i < node->holes.count; i++) {
        if (from < node->holes.items[i].to) {
            return from > node->holes.items[i].from ? from : node->holes.items[i].from;
        }
    }
    return UINT64_MAX;
}

bool holes_cover(const struct node *node, uint64_t from, uint64_t to)
{
    return from >= to || holes_end(node, from) >= to;
}

bool holes_any(const struct node *node, uint64_t from, uint64_t to)
{
    return from < to && holes_next(node, from) < to;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/known.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct item {
    uint64_t size;
    int64_t mtime_ns;
    uint32_t key, etag; /* in the page's text */
};

struct known_page {
    uint64_t asked, made_ms;
    size_t bytes;
    size_t count;
    uint32_t from, to; /* in the text */
    char *text;
    struct item items[];
};

enum { PAGES_MAX = 4096 };

struct known {
    struct known_page **pages; /* by `from` */
    size_t count, cap;
    size_t bytes, bytes_max;
};

static const char *from_of(const struct known_page *page)
{
    return page->text + page->from;
}

static const char *to_of(const struct known_page *page)
{
    return page->text + page->to;
}

int known_new(size_t bytes_max, struct known **ret)
{
    struct known *known = calloc(1, sizeof(*known));

    if (known == NULL) {
        return -ENOMEM;
    }
    known->bytes_max = bytes_max;
    *ret = known;
    return 0;
}

static void free_page(struct known *known, struct known_page *page)
{
    known->bytes -= page->bytes;
    free(page->text);
    free(page);
}

void known_clear(struct known *known)
{
    for (size_t i = 0; i < known->count; i++) {
        free_page(known, known->pages[i]);
    }
    known->count = 0;
}

void known_free(struct known *known)
{
    if (known != NULL) {
        known_clear(known);
        free(known->pages);
        free(known);
    }
}

bool known_ordered(const struct known_range *range)
{
    const char *last = NULL;

    for (size_t i = 0; i < range->count; i++) {
        const char *key = range->entries[i].key;

        if (strcmp(key, range->from) < 0 || strcmp(key, range->to) > 0 ||
            (last != NULL && strcmp(last, key) >= 0)) {
            return false;
        }
        last = key;
    }
    return true;
}

static uint32_t put(struct known_page *page, size_t *used, const char *text)
{
    size_t at = *used;
    size_t size = strlen(text) + 1;

    memcpy(page->text + at, text, size);
    *used += size;
    return (uint32_t)at;
}

static struct known_page *make_page(const struct known_range *range)
{
    size_t text = strlen(range->from) + strlen(range->to) + 2;
    size_t used = 0;
    struct known_page *page;

    for (size_t i = 0; i < range->count; i++) {
        text += strlen(range->entries[i].key) + strlen(range->entries[i].info.etag) + 2;
    }
    page = text < UINT32_MAX ? malloc(sizeof(*page) + range->count * sizeof(page->items[0])) : NULL;
    if (page == NULL) {
        return NULL;
    }
    *page = (struct known_page){.asked = range->asked,
                                .made_ms = range->made_ms,
                                .bytes = sizeof(*page) + range->count * sizeof(struct item) + text,
                                .count = range->count,
                                .text = malloc(text)};
    if (page->text == NULL) {
        free(page);
        return NULL;
    }
    page->from = put(page, &used, range->from);
    page->to = put(page, &used, range->to);
    for (size_t i = 0; i < range->count; i++) {
        const struct objstore_entry *e = &range->entries[i];

        page->items[i] = (struct item){.size = e->info.size, .mtime_ns = e->info.mtime_ns};
        page->items[i].key = put(page, &used, e->key);
        page->items[i].etag = put(page, &used, e->info.etag);
    }
    return page;
}

static void remove_at(struct known *known, size_t at)
{
    free_page(known, known->pages[at]);
    known->count--;
    memmove(&known->pages[at], &known->pages[at + 1],
            (known->count - at) * sizeof(known->pages[0]));
}

static void evict_oldest(struct known *known)
{
    size_t oldest = 0;

    for (size_t i = 1; i < known->count; i++) {
        if (known->pages[i]->made_ms < known->pages[oldest]->made_ms) {
            oldest = i;
        }
    }
    remove_at(known, oldest);
}

/* The first page that begins after the key. */
static size_t after(const struct known *known, const char *key)
{
    size_t low = 0;
    size_t high = known->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(from_of(known->pages[middle]), key) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

int known_add(struct known *known, const struct known_range *range)
{
    struct known_page *page = make_page(range);
    size_t at;

    if (page == NULL) {
        return -ENOMEM;
    }
    while (known->count > 0 &&
           (known->count == PAGES_MAX || known->bytes + page->bytes > known->bytes_max)) {
        evict_oldest(known);
    }
    at = after(known, range->from);
    if (at > 0 && strcmp(to_of(known->pages[at - 1]), range->from) >= 0) {
        at--;
    }
    while (at < known->count && strcmp(from_of(known->pages[at]), range->to) <= 0) {
        remove_at(known, at);
    }
    if (known->count == known->cap) {
        size_t cap = known->cap == 0 ? 16 : 2 * known->cap;
        struct known_page **pages = realloc(known->pages, cap * sizeof(struct known_page *));

        if (pages == NULL) {
            free(page->text);
            free(page);
            return -ENOMEM;
        }
        known->pages = pages;
        known->cap = cap;
    }
    memmove(&known->pages[at + 1], &known->pages[at],
            (known->count - at) * sizeof(known->pages[0]));
    known->pages[at] = page;
    known->count++;
    known->bytes += page->bytes;
    return 0;
}

bool known_seek(const struct known *known, const char *key, const struct known_oldest *oldest,
                struct known_position *ret)
{
    size_t at = after(known, key);
    const struct known_page *page = at > 0 ? known->pages[at - 1] : NULL;
    size_t low = 0;
    size_t high;

    if (page == NULL || strcmp(to_of(page), key) < 0 || page->asked < oldest->asked ||
        page->made_ms < oldest->made_ms) {
        return false;
    }
    high = page->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(page->text + page->items[middle].key, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *ret = (struct known_position){
        .page = page, .at = low, .to = to_of(page), .asked = page->asked, .made_ms = page->made_ms};
    return true;
}

bool known_next(struct known_position *pos, struct known_entry *ret)
{
    const struct item *item;

    if (pos->at >= pos->page->count) {
        return false;
    }
    item = &pos->page->items[pos->at++];
    *ret = (struct known_entry){.key = pos->page->text + item->key,
                                .etag = pos->page->text + item->etag,
                                .size = item->size,
                                .mtime_ns = item->mtime_ns};
    return true;
}

size_t known_bytes(const struct known *known)
{
    return known->bytes;
}

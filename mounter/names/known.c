/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/known.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/buf.h"

struct item {
    uint64_t size;
    int64_t mtime_ns;
    uint32_t key, etag; /* in the page's text */
};

struct known_page {
    uint64_t asked, made_ms;
    size_t bytes;
    size_t count;
    uint32_t from, end; /* in the text */
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

static const char *end_of(const struct known_page *page)
{
    return page->text + page->end;
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

/* What a page is made of: an answer of the store, or a part of another page. */
struct source {
    uint64_t asked, made_ms;
    const char *from, *end;
    const struct objstore_entry *entries;
    const struct known_page *page; /* if there are no entries */
    size_t first, count;
};

static struct known_entry entry_at(const struct known_page *page, size_t at)
{
    const struct item *item = &page->items[at];

    return (struct known_entry){.key = page->text + item->key,
                                .etag = page->text + item->etag,
                                .size = item->size,
                                .mtime_ns = item->mtime_ns};
}

static struct known_entry source_at(const struct source *source, size_t i)
{
    const struct objstore_entry *e;

    if (source->page != NULL) {
        return entry_at(source->page, source->first + i);
    }
    e = &source->entries[i];
    return (struct known_entry){e->key, e->info.etag, e->info.size, e->info.mtime_ns};
}

static struct known_page *make_page(const struct source *source)
{
    size_t text = strlen(source->from) + strlen(source->end) + 2;
    size_t used = 0;
    struct known_page *page;

    for (size_t i = 0; i < source->count; i++) {
        const struct known_entry e = source_at(source, i);

        text += strlen(e.key) + strlen(e.etag) + 2;
    }
    page =
        text < UINT32_MAX ? malloc(sizeof(*page) + source->count * sizeof(page->items[0])) : NULL;
    if (page == NULL) {
        return NULL;
    }
    *page = (struct known_page){.asked = source->asked,
                                .made_ms = source->made_ms,
                                .bytes = sizeof(*page) + source->count * sizeof(struct item) + text,
                                .count = source->count,
                                .text = malloc(text)};
    if (page->text == NULL) {
        free(page);
        return NULL;
    }
    page->from = put(page, &used, source->from);
    page->end = put(page, &used, source->end);
    for (size_t i = 0; i < source->count; i++) {
        const struct known_entry e = source_at(source, i);

        page->items[i] = (struct item){.size = e.size, .mtime_ns = e.mtime_ns};
        page->items[i].key = put(page, &used, e.key);
        page->items[i].etag = put(page, &used, e.etag);
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

/* The first entry of the page that is not below the key. */
static size_t lower(const struct known_page *page, const char *key)
{
    size_t low = 0;
    size_t high = page->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(page->text + page->items[middle].key, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static int insert(struct known *known, size_t at, struct known_page *page)
{
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

/* Keeps what a page says of [from, end) beside it. Without memory it is forgotten. */
static void keep_part(struct known *known, size_t at, const struct known_page *page,
                      const char *from, const char *end)
{
    size_t first = lower(page, from);
    struct source part = {.asked = page->asked,
                          .made_ms = page->made_ms,
                          .from = from,
                          .end = end,
                          .page = page,
                          .first = first,
                          .count = lower(page, end) - first};
    struct known_page *kept = strcmp(from, end) < 0 ? make_page(&part) : NULL;

    if (kept != NULL) {
        (void)!insert(known, at, kept);
    }
}

/* Older pages keep what the new one says nothing of. Returns where that belongs. */
static size_t make_way(struct known *known, const struct known_page *page)
{
    size_t at = after(known, from_of(page));

    if (at > 0 && strcmp(end_of(known->pages[at - 1]), from_of(page)) > 0) {
        at--;
    }
    while (at < known->count && strcmp(from_of(known->pages[at]), end_of(page)) < 0) {
        struct known_page *old = known->pages[at];
        size_t others = --known->count; /* out of the table, but not gone yet */

        memmove(&known->pages[at], &known->pages[at + 1], (others - at) * sizeof(known->pages[0]));
        keep_part(known, at, old, end_of(page), end_of(old));
        others = known->count;
        keep_part(known, at, old, from_of(old), from_of(page));
        at += known->count - others;
        free_page(known, old);
    }
    return at;
}

int known_add(struct known *known, const struct known_range *range)
{
    CLEANUP(buf_done) struct buf end = BUF_INIT(1 << 20);
    struct source source = {.asked = range->asked,
                            .made_ms = range->made_ms,
                            .from = range->from,
                            .entries = range->entries,
                            .count = range->count};
    struct known_page *page;

    buf_addstr(&end, range->to);
    buf_addstr(&end, "\x01");
    source.end = buf_str(&end);
    page = buf_error(&end) == 0 ? make_page(&source) : NULL;
    if (page == NULL) {
        return -ENOMEM;
    }
    while (known->count > 0 &&
           (known->count >= PAGES_MAX || known->bytes + page->bytes > known->bytes_max)) {
        evict_oldest(known);
    }
    return insert(known, make_way(known, page), page);
}

bool known_seek(const struct known *known, const char *key, const struct known_oldest *oldest,
                struct known_position *ret)
{
    size_t at = after(known, key);
    const struct known_page *page = at > 0 ? known->pages[at - 1] : NULL;

    if (page == NULL || strcmp(end_of(page), key) <= 0 || page->asked < oldest->asked ||
        page->made_ms < oldest->made_ms) {
        return false;
    }
    *ret = (struct known_position){.page = page,
                                   .at = lower(page, key),
                                   .end = end_of(page),
                                   .asked = page->asked,
                                   .made_ms = page->made_ms};
    return true;
}

bool known_next(struct known_position *pos, struct known_entry *ret)
{
    if (pos->at >= pos->page->count) {
        return false;
    }
    *ret = entry_at(pos->page, pos->at++);
    return true;
}

bool known_ends(const struct known_position *pos, const char *prefix)
{
    size_t len = strlen(prefix);

    return strncmp(pos->end, prefix, len) != 0 || strcmp(pos->end + len, KNOWN_LAST) > 0;
}

const char *known_end_before(const struct known *known, const char *key,
                             const struct known_oldest *oldest)
{
    size_t at = after(known, key);
    const struct known_page *page = at > 0 ? known->pages[at - 1] : NULL;

    return page != NULL && strcmp(end_of(page), key) <= 0 && page->asked >= oldest->asked &&
                   page->made_ms >= oldest->made_ms
               ? end_of(page)
               : NULL;
}

size_t known_bytes(const struct known *known)
{
    return known->bytes;
}

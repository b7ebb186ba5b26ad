/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories: what the store lists, with what is not in the store yet.
 *
 * A directory is first looked for in the pages of known.h. Where they end, the store is asked: once
 * without delimiter, from there on and for the topmost of the directories above it that has been
 * read lately, as who walks a tree will need what follows; that page may answer all that is left.
 * What is left then is listed with a delimiter, so that subtrees of any size below are stepped
 * over. A walk over n keys so costs about n / 1000 requests, and one directory never many more than
 * it has entries.
 */
#include "mounter/names/listing.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/names/doubts.h"
#include "mounter/names/known.h"
#include "mounter/names/seen.h"
#include "objstore/objstore_call.h"

enum {
    META_TIMEOUT_MS = 50000,
    ENTRIES_MAX = 20 * 1000 * 1000,
    LARGE = 10000, /* entries; from so many on find(1) and others look at them in no order */
    LOOKS_PER_MS = 5,
    WALK_MS = 30000, /* a directory above that was read so lately is being walked */
};
/* ---- the array ---- */

static atomic_size_t bytes_of_all; /* there is one file system in a process */

size_t listing_bytes(void)
{
    return atomic_load(&bytes_of_all);
}

/* It is made, and grows no more. */
static void close_up(struct listing *listing)
{
    struct listing_entry *entries =
        realloc(listing->entries, (listing->count + 1) * sizeof(*entries));
    char *text = realloc(listing->text, listing->text_len + 1);

    if (entries != NULL) {
        listing->entries = entries;
        listing->cap = listing->count + 1;
    }
    if (text != NULL) {
        listing->text = text;
        listing->text_cap = listing->text_len + 1;
    }
    listing->took_ms = fs_now_ms() - listing->made_ms;
    listing->bytes = sizeof(*listing) + listing->cap * sizeof(*entries) + listing->text_cap;
    (void)atomic_fetch_add(&bytes_of_all, listing->bytes);
}

void listing_unref(struct listing *listing)
{
    if (listing != NULL && --listing->users == 0) {
        (void)atomic_fetch_sub(&bytes_of_all, listing->bytes);
        free(listing->entries);
        free(listing->text);
        free(listing);
    }
}

struct listed *listed_of(struct node *dir)
{
    if (dir->listed == NULL) {
        dir->listed = calloc(1, sizeof(*dir->listed));
    }
    return dir->listed;
}

static void forget(struct listed *listed)
{
    if (listed != NULL && listed->listing != NULL) {
        LIST_REMOVE(listed, link);
        listing_unref(listed->listing);
        listed->listing = NULL;
    }
}

void listing_drop(struct node *dir)
{
    forget(dir->listed);
}

void listing_remember(struct fs *fs, struct node *dir, struct listing *listing)
{
    forget(dir->listed);
    dir->listed->listing = listing;
    dir->listed->ours = false;
    LIST_INSERT_HEAD(&fs->listings, dir->listed, link);
}

void listed_free(struct node *dir)
{
    listing_drop(dir);
    free(dir->listed);
    dir->listed = NULL;
}

static int add_text(struct listing *listing, const char *text, uint32_t *ret)
{
    size_t size = strlen(text) + 1;

    if (listing->text_cap - listing->text_len < size) {
        size_t cap = listing->text_cap == 0 ? 1024 : 2 * listing->text_cap;
        char *grown;

        cap = cap < listing->text_len + size ? listing->text_len + size : cap;
        grown = cap <= UINT32_MAX ? realloc(listing->text, cap) : NULL;
        if (grown == NULL) {
            return -ENOMEM;
        }
        listing->text = grown;
        listing->text_cap = cap;
    }
    memcpy(listing->text + listing->text_len, text, size);
    *ret = (uint32_t)listing->text_len;
    listing->text_len += size;
    return 0;
}

static int add(struct listing *listing, const char *name, const struct listing_entry *entry,
               const char *etag)
{
    struct listing_entry *e;
    int ret;

    if (listing->count == listing->cap) {
        size_t cap = listing->cap == 0 ? 64 : 2 * listing->cap;
        struct listing_entry *entries =
            cap <= ENTRIES_MAX ? realloc(listing->entries, cap * sizeof(*entries)) : NULL;

        if (entries == NULL) {
            return -ENOMEM;
        }
        listing->entries = entries;
        listing->cap = cap;
    }
    e = &listing->entries[listing->count];
    *e = *entry;
    ret = add_text(listing, name, &e->name);
    ret = ret == 0 ? add_text(listing, etag, &e->etag) : ret;
    listing->count += ret == 0;
    return ret;
}

/* By key: as if a directory's name ended in '/'. */
static int compare(const char *a, bool a_dir, const char *b, bool b_dir)
{
    unsigned char x;
    unsigned char y;

    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    x = *a != '\0' ? (unsigned char)*a : a_dir ? '/' : '\0';
    y = *b != '\0' ? (unsigned char)*b : b_dir ? '/' : '\0';
    return (x > y) - (x < y);
}

static int by_key(const void *a, const void *b, void *context)
{
    const struct listing *listing = context;
    const struct listing_entry *x = a;
    const struct listing_entry *y = b;

    return compare(listing_name(listing, x), x->is_dir, listing_name(listing, y), y->is_dir);
}

static struct listing_entry *find(const struct listing *listing, const char *name, bool is_dir)
{
    size_t low = 0;
    size_t high = listing->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct listing_entry *e = &listing->entries[middle];
        int order = compare(listing_name(listing, e), e->is_dir, name, is_dir);

        if (order == 0) {
            return e;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

struct listing_entry *listing_find(const struct listing *listing, const char *name)
{
    struct listing_entry *dir = find(listing, name, true);

    return dir != NULL ? dir : find(listing, name, false);
}

/* Sorted, each once, without the hidden ones. */
static void tidy(struct listing *listing)
{
    size_t kept = 0;
    bool sorted = true;

    for (size_t i = 1; sorted && i < listing->count; i++) {
        sorted = by_key(&listing->entries[i - 1], &listing->entries[i], listing) <= 0;
    }
    if (!sorted) {
        qsort_r(listing->entries, listing->count, sizeof(*listing->entries), by_key, listing);
    }
    for (size_t i = 0; i < listing->count; i++) {
        struct listing_entry *e = &listing->entries[i];

        if (e->hidden) {
            continue;
        }
        if (kept > 0 && by_key(&listing->entries[kept - 1], e, listing) == 0) {
            if (e->told || (e->implied && !listing->entries[kept - 1].told)) {
                listing->entries[kept - 1] = *e;
            }
            continue;
        }
        listing->entries[kept++] = *e;
    }
    listing->count = kept;
}

/* ---- from pages and answers ---- */

struct maker {
    struct fs *fs;
    uint32_t dir;
    struct pending *waiter;
    struct listing *listing;
    struct buf prefix; /* of the directory */
    struct buf walk;   /* of the directory that is being walked: it, or one above it */
    struct buf cursor; /* all before it has been taken */
    struct buf last;   /* ask for what comes after it; "": for all below `walk` or `prefix` */
    bool complete;
    unsigned asked;
};

static bool begins(const char *key, const char *prefix)
{
    return strncmp(key, prefix, strlen(prefix)) == 0;
}

static void set(struct buf *buf, const char *text, const char *more)
{
    buf_reset(buf);
    buf_addstr(buf, text);
    buf_addstr(buf, more);
}

/* The page was entered before the directory that ends at `end`, so it would have its marker. */
static bool begins_before(const struct maker *m, const char *key, const char *end)
{
    size_t len = (size_t)(end - key);
    int order = strncmp(buf_str(&m->cursor), key, len);

    return order < 0 || (order == 0 && buf_len(&m->cursor) <= len);
}

/*
 * One key at or below the directory as a name. What
 * lies deeper stands for its directory, whose own marker comes first.
 */
static int take(struct maker *m, const char *key, const struct known_entry *info, bool from_page)
{
    struct slice component = slice_of(key + strlen(buf_str(&m->prefix)));
    const char *slash = memchr(component.data, '/', component.len);
    bool marker = slash != NULL && slash[1] == '\0';
    struct listing_entry entry = {.is_dir = slash != NULL,
                                  .told = info != NULL && (slash == NULL || marker),
                                  .size = info != NULL ? info->size : 0,
                                  .mtime_ns = info != NULL ? info->mtime_ns : 0};
    struct listing *l = m->listing;
    char name[NAMES_MAX + 1];

    entry.implied = from_page && entry.is_dir && !marker && begins_before(m, key, slash + 1);
    if (component.len == 0) {
        return 0; /* the directory's own marker */
    }
    component.len = slash != NULL ? (size_t)(slash - component.data) : component.len;
    if (longs_name(m->fs->longs, component, false, name) != 0) {
        l->omits = true;
        return 0;
    }
    if (entry.is_dir && l->count > 0 && l->entries[l->count - 1].is_dir &&
        strcmp(listing_name(l, &l->entries[l->count - 1]), name) == 0) {
        return 0;
    }
    return add(l, name, &entry, entry.told ? info->etag : "");
}

bool listing_young(const struct fs *fs, uint64_t made_ms)
{
    return fs_now_ms() < made_ms + fs->options.attr_timeout_ms;
}

bool listing_tells(const struct fs *fs, const struct listing *listing)
{
    return listing_young(fs, listing->made_ms) ||
           (listing->count >= LARGE &&
            fs_now_ms() < listing->made_ms + 2 * listing->took_ms + listing->count / LOOKS_PER_MS);
}

struct known_oldest listing_oldest(struct fs *fs, const struct node *dir) REQUIRES(&fs->lock)
{
    uint64_t now = fs_now_ms();
    uint64_t timeout = fs->options.attr_timeout_ms;
    struct known_oldest oldest = {.asked = fs->moved, .made_ms = now > timeout ? now - timeout : 0};

    if (dir != NULL && dir->listed != NULL && dir->listed->floor > oldest.asked) {
        oldest.asked = dir->listed->floor;
    }
    return oldest;
}

static void older(struct listing *listing, uint64_t asked, uint64_t made_ms)
{
    listing->asked = asked < listing->asked ? asked : listing->asked;
    listing->made_ms = made_ms < listing->made_ms ? made_ms : listing->made_ms;
}

/* What pages say, from the cursor on. */
static int take_known(struct fs *fs, struct maker *m) REQUIRES(&fs->lock)
{
    struct known_oldest oldest = listing_oldest(fs, fs_node(fs, m->dir));
    const char *prefix = buf_str(&m->prefix);
    struct known_position pos;
    int ret = 0;

    while (ret == 0 && !m->complete && known_seek(fs->known, buf_str(&m->cursor), &oldest, &pos)) {
        struct known_entry entry = {0};
        const char *last = NULL;

        older(m->listing, pos.asked, pos.made_ms);
        while (ret == 0 && known_next(&pos, &entry) && begins(entry.key, prefix)) {
            ret = take(m, entry.key, &entry, true);
            last = entry.key;
        }
        m->complete = known_ends(&pos, prefix);
        listing_up_to(pos.end, &m->last);
        set(&m->cursor, pos.end, "");
        if (!m->complete && last != NULL) { /* what is left of a directory below is stepped over */
            const char *slash = strchr(last + strlen(prefix), '/');
            size_t len = slash != NULL ? (size_t)(slash - last) : 0;

            if (slash != NULL && strncmp(pos.end, last, len + 1) == 0) {
                buf_reset(&m->cursor);
                buf_add(&m->cursor, last, len);
                buf_addstr(&m->cursor, "0"); /* comes after '/' */
            }
        }
    }
    return ret == 0 && (buf_error(&m->cursor) != 0 || buf_error(&m->last) != 0) ? -ENOMEM : ret;
}

void listing_before(const char *key, struct buf *ret)
{
    size_t len = strlen(key);
    unsigned char c = len > 0 ? (unsigned char)key[len - 1] : 0;

    buf_reset(ret);
    if (c > ' ' && c < 0x7f) {
        char lower[3] = {(char)(c - 1), '~', '\0'};

        buf_add(ret, key, len - 1);
        buf_addstr(ret, lower);
    }
}

void listing_up_to(const char *end, struct buf *ret)
{
    size_t len = strlen(end);

    if (len > 0 && end[len - 1] == '\x01') {
        buf_reset(ret);
        buf_add(ret, end, len - 1);
    } else {
        listing_before(end, ret);
    }
}

int listing_flat(struct fs *fs, const char *prefix, const char *start_after)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    CLEANUP(buf_done) struct buf from = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    CLEANUP(buf_done) struct buf to = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct objstore_request list = {.op = OBJSTORE_LIST,
                                    .key = prefix,
                                    .start_after = start_after[0] != '\0' ? start_after : NULL,
                                    .timeout_ms = META_TIMEOUT_MS};
    struct known_range range = {.asked = fs_asked(fs), .made_ms = fs_now_ms()};
    int ret;

    seen_refresh(fs);
    ret = fs->unordered ? -EAGAIN : volume_call(fs->volume, &list, &answer);
    if (ret != 0) {
        return ret;
    }
    range.entries = answer.result.entries;
    range.count = answer.result.count;
    if (answer.result.truncated && range.count == 0) {
        return -EAGAIN; /* all of it is ours, and not shown */
    }
    set(&from, start_after[0] != '\0' ? start_after : prefix, start_after[0] != '\0' ? "\x01" : "");
    if (answer.result.truncated) {
        set(&to, range.entries[range.count - 1].key, "");
    } else {
        set(&to, prefix, KNOWN_LAST);
    }
    range.from = buf_str(&from);
    range.to = buf_str(&to);
    if (buf_error(&from) != 0 || buf_error(&to) != 0) {
        return -ENOMEM;
    }
    mutex_lock(&fs->lock);
    if (!known_ordered(&range)) {
        fs->unordered = true;
        known_clear(fs->known);
        ret = -EAGAIN;
    } else if (!fs->unordered) {
        ret = known_add(fs->known, &range);
    }
    mutex_unlock(&fs->lock);
    return ret;
}

/* What is left, with a delimiter. */
static int fetch_rest(struct maker *m)
{
    AUTOFREE char *token = NULL;
    struct fs *fs = m->fs;
    uint64_t asked = fs_asked(fs);
    uint64_t made_ms = fs_now_ms();
    int ret = 0;

    seen_refresh(fs);
    do {
        CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
        const char *last = buf_str(&m->last);
        struct objstore_request list = {.op = OBJSTORE_LIST,
                                        .key = buf_str(&m->prefix),
                                        .delimiter = "/",
                                        .token = token,
                                        .start_after = last[0] != '\0' ? last : NULL,
                                        .timeout_ms = META_TIMEOUT_MS};

        ret = volume_call(fs->volume, &list, &answer);
        for (size_t i = 0; ret == 0 && i < answer.result.count; i++) {
            const struct objstore_entry *e = &answer.result.entries[i];
            const struct known_entry info = {e->key, e->info.etag, e->info.size, e->info.mtime_ns};

            ret = take(m, e->key, e->prefix ? NULL : &info, false);
        }
        free(token);
        token = NULL;
        if (ret == 0 && answer.result.truncated && answer.result.next_token != NULL) {
            token = strdup(answer.result.next_token);
            ret = token == NULL ? -ENOMEM : pending_renew(m->waiter, 0);
        }
    } while (ret == 0 && token != NULL);
    older(m->listing, asked, made_ms);
    m->complete = true;
    return ret;
}

bool listing_walked(const struct node *dir)
{
    return dir->listed != NULL && dir->listed->read_ms != 0 &&
           fs_now_ms() < dir->listed->read_ms + WALK_MS;
}

int listing_walk(struct fs *fs, uint32_t dir, struct buf *ret)
{
    uint32_t top = dir;

    for (int depth = 0; top != STATE_ROOT && depth < 1024; depth++) {
        const struct inode_rec *rec = state_inode(fs->state, top);
        const struct node *above = rec != NULL ? fs_node(fs, rec->parent) : NULL;

        if (above == NULL || !listing_walked(above)) {
            break;
        }
        top = above->ino;
    }
    return fs_key(fs, top, ret);
}

static int fetch(struct maker *m)
{
    CLEANUP(buf_done) struct buf start = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    const char *prefix = buf_str(&m->prefix);
    size_t len = strlen(prefix);
    int ret;

    if (m->asked++ > 0) {
        return fetch_rest(m);
    }
    if (buf_len(&m->last) > 0) {
        set(&start, buf_str(&m->last), "");
    } else if (strcmp(buf_str(&m->walk), prefix) != 0) {
        CLEANUP(buf_done) struct buf name = BUF_INIT(2 * OBJSTORE_KEY_MAX);

        buf_add(&name, prefix, len - 1);
        listing_before(buf_str(&name), &start);
        if (buf_len(&start) == 0) {
            set(&m->walk, prefix, "");
        }
    }
    ret = listing_flat(m->fs, buf_str(&m->walk), buf_str(&start));
    if (ret == -EAGAIN) {
        buf_reset(&m->last); /* all of it: pages were not right, or there is none */
        ret = fetch_rest(m);
    }
    return ret;
}

/* ---- what is only known here ---- */

/* A file and a directory of one name: the file is shown under its other name. */
static int separate(struct longs *longs, struct listing *listing)
{
    size_t sorted = listing->count; /* what is added comes behind */
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < sorted; i++) {
        struct listing view = *listing;
        const struct listing_entry *dir = &listing->entries[i];
        struct listing_entry *file = NULL;
        CLEANUP(buf_done) struct buf component = BUF_INIT(OBJSTORE_KEY_MAX + 1);
        char other[NAMES_MAX + 1];

        view.count = sorted;
        file = dir->is_dir ? find(&view, listing_name(listing, dir), false) : NULL;
        if (file != NULL && longs_component(longs, listing_name(listing, file), &component) == 0 &&
            longs_name(longs, slice_of(buf_str(&component)), true, other) == 0) {
            struct listing_entry moved = *file;

            file->hidden = true;
            moved.etag = 0;
            ret = add(listing, other, &moved, listing->text + file->etag);
        }
    }
    if (listing->count > sorted) {
        tidy(listing);
    }
    return ret;
}

/* With what is only here yet, and without what is here no more. */
static int merge_local(struct fs *fs, struct maker *m) REQUIRES(&fs->lock)
{
    struct listing *listing = m->listing;
    const struct node *dir = fs_node(fs, m->dir);
    const struct node *node;
    size_t listed = listing->count;
    int ret = 0;

    for (size_t i = 0; i < listed; i++) {
        struct listing_entry *e = &listing->entries[i];

        e->hidden = fs_name_hidden(fs, m->dir, listing_name(listing, e), e->is_dir, listing->asked);
    }
    if (dir == NULL) {
        return -ESTALE;
    }
    LIST_FOREACH (node, &dir->below, sibling) {
        const struct inode_rec *rec = fs_rec(fs, node);
        const char *name = node->name_key + sizeof(uint32_t);
        bool nowhere = (rec->flags & INODE_LINKED) != 0; /* its names are in the store */
        struct listing view = {.entries = listing->entries, .count = listed, .text = listing->text};
        struct listing_entry *e = find(&view, name, S_ISDIR(rec->mode));
        const struct listing_entry fresh = {.is_dir = S_ISDIR(rec->mode)};
        bool ours = (rec->flags & INODE_NEW) != 0 || node->changed > listing->asked;

        if (e != NULL) {
            e->hidden = false;
        } else if (ours && !nowhere && ret == 0) {
            ret = add(listing, name, &fresh, "");
        }
    }
    tidy(listing);
    return ret;
}

/* What the store says of names that were made or taken away here, and listed otherwise. */
static int settle_doubts(struct maker *m)
{
    CLEANUP(doubts_done) struct doubts doubts = {0};
    int ret = doubts_ask(m->fs, m->dir, m->listing, &doubts);

    for (size_t i = 0; ret == 0 && i < doubts.count; i++) {
        const struct doubt *doubt = &doubts.items[i];
        const struct listing_entry fresh = {.is_dir = doubt->is_dir};

        if (doubt->name == NULL) {
            m->listing->entries[doubt->entry].hidden = !doubt->exists;
        } else if (doubt->exists) {
            ret = add(m->listing, doubt->name, &fresh, "");
        }
    }
    if (doubts.count > 0) {
        tidy(m->listing);
    }
    return ret;
}

static int make(struct maker *m)
{
    struct fs *fs = m->fs;
    int ret;

    mutex_lock(&fs->lock);
    ret = fs_node(fs, m->dir) != NULL ? fs_key(fs, m->dir, &m->prefix) : -ESTALE;
    ret = ret == 0 ? listing_walk(fs, m->dir, &m->walk) : ret;
    set(&m->cursor, buf_str(&m->prefix), "");
    while (ret == 0 && !m->complete) {
        ret = fs->unordered ? 0 : take_known(fs, m);
        if (ret == 0 && !m->complete) {
            mutex_unlock(&fs->lock);
            ret = fetch(m);
            mutex_lock(&fs->lock);
        }
    }
    mutex_unlock(&fs->lock);
    if (ret == 0) {
        tidy(m->listing);
        ret = separate(m->fs->longs, m->listing);
    }
    ret = ret == 0 ? settle_doubts(m) : ret;
    if (ret == 0) {
        mutex_lock(&fs->lock);
        ret = merge_local(fs, m);
        mutex_unlock(&fs->lock);
    }
    return ret;
}

static void remember(struct fs *fs, uint32_t ino, struct listing *listing) REQUIRES(&fs->lock)
{
    struct node *dir = fs_node(fs, ino);
    struct listed *listed = dir != NULL ? listed_of(dir) : NULL;

    if (listed != NULL) {
        listing_remember(fs, dir, listing);
        listed->read_ms = fs_now_ms();
        listing->users++;
    }
}

void listing_expire(struct fs *fs, size_t bytes_max)
{
    struct listed *listed = LIST_FIRST(&fs->listings);
    size_t bytes = 0;

    while (listed != NULL) {
        struct listed *next = LIST_NEXT(listed, link);

        bytes += listed->listing->bytes;
        /* The newest stays in any case: somebody may just be reading it. */
        if (!listing_tells(fs, listed->listing) ||
            (bytes > bytes_max && listed != LIST_FIRST(&fs->listings))) {
            bytes -= listed->listing->bytes;
            forget(listed);
        }
        listed = next;
    }
}

int listing_make(struct fs *fs, uint32_t dir, struct pending *waiter, struct listing **ret)
{
    struct listing *listing = calloc(1, sizeof(*listing));
    struct maker m = {.fs = fs,
                      .dir = dir,
                      .waiter = waiter,
                      .listing = listing,
                      .prefix = BUF_INIT(2 * OBJSTORE_KEY_MAX),
                      .walk = BUF_INIT(2 * OBJSTORE_KEY_MAX),
                      .cursor = BUF_INIT(2 * OBJSTORE_KEY_MAX),
                      .last = BUF_INIT(2 * OBJSTORE_KEY_MAX)};
    int r;

    if (listing == NULL) {
        return -ENOMEM;
    }
    listing->users = 1;
    listing->asked = listing->made_ms = UINT64_MAX;
    r = make(&m);
    buf_done(&m.prefix);
    buf_done(&m.walk);
    buf_done(&m.cursor);
    buf_done(&m.last);
    close_up(listing);
    mutex_lock(&fs->lock);
    if (r != 0) {
        listing_unref(listing);
    } else {
        remember(fs, dir, listing);
        *ret = listing;
    }
    mutex_unlock(&fs->lock);
    return r;
}

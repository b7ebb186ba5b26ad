/* SPDX-License-Identifier: Apache-2.0 */
/* Lookups that listings answer. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/names/known.h"
#include "mounter/names/listing.h"

enum {
    SHOWN_MAX = 20000,    /* entries that are looked through without leaving the lock */
    MISSES_MS = 2000,     /* lookups that are nearer to each other may be of one program */
    VAIN_MAX = 3,         /* pages for lookups that nobody has used: then */
    VAIN_EVERY = 16,      /* only one lookup in so many asks for one */
    FROM_THE_FIRST = 500, /* a directory of fewer names is listed from its first */
};

bool listing_remote(struct fs *fs, const struct listing *listing, const struct listing_entry *entry,
                    struct remote *ret)
{
    const struct known_entry info = {
        .etag = listing->text + entry->etag, .size = entry->size, .mtime_ns = entry->mtime_ns};

    if (!entry->told && !entry->implied) {
        return false;
    }
    remote_of_listing(fs, entry->told ? &info : NULL, entry->is_dir, ret);
    ret->asked = listing->asked;
    ret->made_ms = listing_young(fs, listing->made_ms) ? listing->made_ms : fs_now_ms();
    return true;
}

static enum listing_says ask_listing(struct fs *fs, const struct listing *listing, const char *name,
                                     struct remote *ret, uint64_t *ret_asked) REQUIRES(&fs->lock)
{
    const struct listing_entry *e;

    if (listing == NULL || !listing_tells(fs, listing) || listing->asked < fs->moved) {
        return LISTING_UNKNOWN;
    }
    *ret_asked = listing->asked;
    e = listing_find(listing, name);
    if (e == NULL) {
        return listing_young(fs, listing->made_ms) ? LISTING_ABSENT : LISTING_UNKNOWN;
    }
    return !listing_remote(fs, listing, e, ret) ? LISTING_UNKNOWN
           : e->is_dir                          ? LISTING_DIR
                                                : LISTING_FILE;
}

/* The directory of this key: the first key at or below it tells. */
static enum listing_says ask_dir(struct fs *fs, const char *key, const struct known_oldest *oldest,
                                 struct remote *ret, uint64_t *ret_asked) REQUIRES(&fs->lock)
{
    CLEANUP(buf_done) struct buf dir = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct known_position pos;
    struct known_entry entry;

    buf_addstr(&dir, key);
    buf_addstr(&dir, "/");
    if (buf_error(&dir) != 0 || !known_seek(fs->known, buf_str(&dir), oldest, &pos)) {
        return LISTING_UNKNOWN;
    }
    *ret_asked = pos.asked < *ret_asked ? pos.asked : *ret_asked;
    if (!known_next(&pos, &entry)) {
        return known_ends(&pos, buf_str(&dir)) ? LISTING_ABSENT : LISTING_UNKNOWN;
    }
    if (strncmp(entry.key, buf_str(&dir), buf_len(&dir)) != 0) {
        return LISTING_ABSENT;
    }
    remote_of_listing(fs, strcmp(entry.key, buf_str(&dir)) == 0 ? &entry : NULL, true, ret);
    ret->asked = pos.asked;
    ret->made_ms = pos.made_ms;
    return LISTING_DIR;
}

static enum listing_says ask_known(struct fs *fs, const char *key, bool beside,
                                   const struct known_oldest *oldest, struct remote *ret,
                                   uint64_t *ret_asked) REQUIRES(&fs->lock)
{
    struct known_position pos;
    struct known_entry entry;
    enum listing_says dir;

    *ret_asked = fs->clock;
    dir = beside ? LISTING_ABSENT : ask_dir(fs, key, oldest, ret, ret_asked);
    if (dir != LISTING_ABSENT || !known_seek(fs->known, key, oldest, &pos)) {
        return dir == LISTING_ABSENT ? LISTING_UNKNOWN : dir;
    }
    *ret_asked = pos.asked < *ret_asked ? pos.asked : *ret_asked;
    if (!known_next(&pos, &entry) || strcmp(entry.key, key) != 0) {
        return LISTING_ABSENT;
    }
    remote_of_listing(fs, &entry, false, ret);
    ret->asked = pos.asked;
    ret->made_ms = pos.made_ms;
    return LISTING_FILE;
}

enum listing_says listing_ask(struct fs *fs, struct node *dir, const char *name, const char *key,
                              struct remote *ret)
{
    struct known_oldest oldest = listing_oldest(fs, dir);
    enum listing_says says = LISTING_UNKNOWN;
    uint64_t asked = fs->clock;
    bool beside = false;

    if (dir == NULL || fs->unordered || longs_beside(name, &beside) != 0) {
        return LISTING_UNKNOWN;
    }
    says = ask_known(fs, key, beside, &oldest, ret, &asked);
    if (says != LISTING_UNKNOWN && dir->listed != NULL && dir->listed->vain > 0) {
        dir->listed->vain--; /* names in no order may hit one of many pages by chance */
    }
    if (says == LISTING_UNKNOWN && dir->listed != NULL) {
        says = ask_listing(fs, dir->listed->listing, name, ret, &asked);
    }
    /* A name that has come or gone here since is not what it was then. */
    if (says == LISTING_ABSENT &&
        (fs_name_outdated(fs, dir->ino, name, asked) || fs_child(fs, dir->ino, name) != NULL ||
         fs_touched_lately(fs, dir->ino, name))) {
        return LISTING_UNKNOWN;
    }
    return says;
}

/* Below this directory there is nothing, as pages tell. */
static bool pages_show_empty(struct fs *fs, const struct node *dir) REQUIRES(&fs->lock)
{
    CLEANUP(buf_done) struct buf cursor = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    CLEANUP(buf_done) struct buf prefix = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct known_oldest oldest = listing_oldest(fs, dir);
    struct known_position pos;
    struct known_entry entry;

    if (fs->unordered || fs_key(fs, dir->ino, &prefix) != 0) {
        return false;
    }
    buf_addstr(&cursor, buf_str(&prefix));
    while (buf_error(&cursor) == 0 && known_seek(fs->known, buf_str(&cursor), &oldest, &pos)) {
        while (known_next(&pos, &entry)) {
            if (strncmp(entry.key, buf_str(&prefix), buf_len(&prefix)) != 0) {
                return true;
            }
            if (strcmp(entry.key, buf_str(&prefix)) != 0 &&
                !fs_key_hidden(fs, entry.key, pos.asked)) {
                return false;
            }
        }
        if (known_ends(&pos, buf_str(&prefix))) {
            return true;
        }
        buf_reset(&cursor);
        buf_addstr(&cursor, pos.end);
    }
    return false;
}

bool listing_shows_empty(struct fs *fs, struct node *dir)
{
    const struct listing *listing = dir->listed != NULL ? dir->listed->listing : NULL;

    if (!LIST_EMPTY(&dir->below)) {
        return false;
    }
    if (listing != NULL && listing->omits) {
        return false;
    }
    if (listing == NULL || !listing_young(fs, listing->made_ms) || listing->asked < fs->moved ||
        listing->asked < dir->listed->floor || listing->count > SHOWN_MAX) {
        return pages_show_empty(fs, dir);
    }
    for (size_t i = 0; i < listing->count; i++) {
        if (!fs_name_hidden(fs, dir->ino, listing_name(listing, &listing->entries[i]),
                            listing->entries[i].is_dir, listing->asked)) {
            return false;
        }
    }
    return true;
}

void listing_new_dir(struct fs *fs, struct node *dir)
{
    struct listed *listed = listed_of(dir);
    struct listing *listing = listed != NULL ? calloc(1, sizeof(*listing)) : NULL;

    if (listing != NULL) {
        *listing = (struct listing){.users = 1, .asked = fs->clock, .made_ms = fs_now_ms()};
        listing_remember(fs, dir, listing);
        listed->ours = true;
    }
}

bool listing_lacks(struct fs *fs, uint32_t dir, const char *name)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct remote remote;
    enum listing_says says = LISTING_UNKNOWN;

    if (fs_child_key(fs, dir, name, &key) == 0) {
        says = listing_ask(fs, fs_node(fs, dir), name, buf_str(&key), &remote);
    }
    if (says == LISTING_FILE || says == LISTING_DIR) {
        remote_done(&remote);
    }
    return says == LISTING_ABSENT;
}

static bool promising(struct fs *fs, struct node *dir) REQUIRES(&fs->lock)
{
    struct listed *listed = listed_of(dir);
    uint64_t now = fs_now_ms();

    if (listed == NULL || fs->unordered) {
        return false;
    }
    listed->missed = now < listed->missed_ms + MISSES_MS ? listed->missed + 1 : 1;
    listed->missed_ms = now;
    if ((listed->missed < 2 && !listing_walked(dir)) ||
        (listed->vain >= VAIN_MAX && listed->missed % VAIN_EVERY != 0)) {
        return false;
    }
    listed->vain++;
    return true;
}

/*
 * Who walks a tree in the order of its names wants all keys, so the next page is the one that goes
 * on where what is known ends, if that lies below the same directory: then no page overlaps
 * another. One program at a time; others begin at their names.
 */
static bool goes_on(struct fs *fs, struct node *dir, const char *key, struct buf *ret)
    REQUIRES(&fs->lock)
{
    CLEANUP(buf_done) struct buf own = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    const struct known_oldest oldest = listing_oldest(fs, dir);
    struct listed *listed = listed_of(dir);
    const char *end;

    if (listed == NULL || listed->going_on || fs_now_ms() < listed->far_ms ||
        !listing_walked(dir) || fs_key(fs, dir->ino, &own) != 0) {
        return false;
    }
    end = known_end_before(fs->known, key, &oldest);
    if (end == NULL || strncmp(end, buf_str(&own), buf_len(&own)) != 0) {
        return false;
    }
    listing_up_to(end, ret);
    listed->going_on = buf_len(ret) > 0;
    return listed->going_on;
}

/* True: the key is covered now. */
static bool has_come(struct fs *fs, uint32_t ino, const char *key) REQUIRES(&fs->lock)
{
    CLEANUP(buf_done) struct buf below = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct node *dir = fs_node(fs, ino);
    const struct known_oldest oldest = listing_oldest(fs, dir);
    struct listed *listed = dir != NULL ? listed_of(dir) : NULL;
    struct known_position pos;
    bool come;

    buf_addf(&below, "%s/", key);
    come = buf_error(&below) == 0 && known_seek(fs->known, buf_str(&below), &oldest, &pos);
    if (listed != NULL) {
        listed->going_on = false;
        listed->far_ms = come ? listed->far_ms : fs_now_ms() + MISSES_MS;
    }
    return come;
}

int listing_fetch(struct fs *fs, uint32_t ino, const char *key)
{
    CLEANUP(buf_done) struct buf prefix = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    CLEANUP(buf_done) struct buf start = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    CLEANUP(buf_done) struct buf next = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    bool on = false;
    struct node *dir;
    int ret;

    mutex_lock(&fs->lock);
    dir = fs_node(fs, ino);
    ret = dir != NULL && promising(fs, dir) ? listing_walk(fs, ino, &prefix) : -EAGAIN;
    if (ret == 0) {
        CLEANUP(buf_done) struct buf own = BUF_INIT(2 * OBJSTORE_KEY_MAX);

        ret = fs_key(fs, ino, &own);
        if (strcmp(buf_str(&own), buf_str(&prefix)) != 0 || dir->children >= FROM_THE_FIRST ||
            listing_walked(dir)) {
            listing_before(key, &start);
            ret = buf_len(&start) == 0 ? -EAGAIN : ret;
            on = ret == 0 && goes_on(fs, dir, key, &next);
        }
    }
    mutex_unlock(&fs->lock);
    if (on) {
        bool come;

        ret = listing_flat(fs, buf_str(&prefix), buf_str(&next));
        mutex_lock(&fs->lock);
        come = has_come(fs, ino, key);
        mutex_unlock(&fs->lock);
        if (ret != 0 || come) {
            return ret;
        }
    }
    return ret == 0 ? listing_flat(fs, buf_str(&prefix), buf_str(&start)) : ret;
}

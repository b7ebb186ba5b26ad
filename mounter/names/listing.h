/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listing.h - what one directory holds, as one array: made by listing_make(), read by readdir.c.
 *
 * Entries are in the order of their keys (a directory's ends in '/'), as a listing of the store has
 * them, so that who walks a tree in the order of readdir follows the pages of known.h. A listing
 * does not change once it is made; it is shared by counting, under fs->lock.
 */
#ifndef MOUNTER_LISTING_H
#define MOUNTER_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mounter/fs.h"
#include "mounter/names/known.h"

/* What has been listed of a directory; in kept memory there is nothing of it. */
struct listed {
    struct listing *listing; /* the last one, or NULL */
    uint64_t read_ms;        /* when it was listed last */
    uint64_t floor;          /* fs->clock: what was asked before may lack a name, see fs_node_put */
    uint64_t missed_ms;      /* when a name was asked of the store last */
    uint32_t missed;         /* names in a row, less than MISSES_MS apart */
    bool ours;               /* made here, and not long ago: others will hardly know it */
    LIST_ENTRY(listed) link; /* in fs->listings, while it remembers one */
    uint32_t vain;           /* pages in a row that were asked for and not used */
    bool going_on;           /* somebody lists on from where what is known ends */
    uint64_t far_ms;         /* until then: from there the next name is more than a page away */
};

struct listing_entry {
    uint64_t size;
    int64_t mtime_ns;
    uint32_t name, etag; /* in the listing's text */
    bool is_dir;
    bool told;    /* the store has told size, time and ETag; of a directory: of its marker */
    bool implied; /* a directory without a marker */
    bool asked;   /* its attributes are being or have been fetched */
    bool hidden;  /* while it is made: to be left out */
};

struct listing {
    struct listing_entry *entries;
    size_t count, cap;
    char *text;
    size_t text_len, text_cap;
    unsigned users; /* handles that read it, and the node that remembers it */
    uint64_t asked; /* fs_asked() before its oldest part */
    uint64_t made_ms;
    uint64_t took_ms; /* from then until it was made */
    bool omits;       /* something that has no name */
    size_t bytes;     /* that count in listing_bytes() */
};

static inline const char *listing_name(const struct listing *listing,
                                       const struct listing_entry *entry)
{
    return listing->text + entry->name;
}

/*
 * Asks the store as far as needed. Waits; the waiter's deadline moves with every page that comes.
 * *ret has one user. -ECANCELED: nobody waits any more.
 */
int listing_make(struct fs *fs, uint32_t dir, struct pending *waiter, struct listing **ret)
    __attribute__((warn_unused_result));
void listing_unref(struct listing *listing); /* NULL is allowed */
/* By name; a directory goes before a file. NULL: none. */
struct listing_entry *listing_find(const struct listing *listing, const char *name);
/* What the entry says, for remote_merge(); remote_done() it. False: nothing. */
bool listing_remote(struct fs *fs, const struct listing *listing, const struct listing_entry *entry,
                    struct remote *ret) REQUIRES(&fs->lock);
bool listing_young(const struct fs *fs, uint64_t made_ms) REQUIRES(&fs->lock);
/*
 * What it says that there is, may be told: for as long as what the store has said is believed, and
 * of a directory of 10,000 names and more until a program can have looked at each, at 0.2 ms (and
 * as long as it took to list it). Else who reads such a directory would have to ask for each of its
 * names once more. That there is no such name it only says while it is young.
 */
bool listing_tells(const struct fs *fs, const struct listing *listing) REQUIRES(&fs->lock);
/* Pages that are older say nothing of this directory (or NULL). */
struct known_oldest listing_oldest(struct fs *fs, const struct node *dir) REQUIRES(&fs->lock);

/* One page without delimiter into fs->known. "": from the first key. Waits. -EAGAIN: no use. */
int listing_flat(struct fs *fs, const char *prefix, const char *start_after)
    __attribute__((warn_unused_result));
/* In place of the one before, with the caller's use; dir->listed is there. */
void listing_remember(struct fs *fs, struct node *dir, struct listing *listing) REQUIRES(&fs->lock);
/* Bytes of all listings that are made. */
size_t listing_bytes(void);
/* Forget those that are too old to be believed, and the oldest beyond `bytes_max`. */
void listing_expire(struct fs *fs, size_t bytes_max) REQUIRES(&fs->lock);
/* A key just before this one: listing after it begins with it, or little before. "": none. */
void listing_before(const char *key, struct buf *ret);
/* The same for the end of a page (known.h): exactly, if it is the end of an answer. */
void listing_up_to(const char *end, struct buf *ret);
/* The directory was read lately. */
bool listing_walked(const struct node *dir);
/* The key of the topmost directory above `dir` down to which all have been read lately. */
int listing_walk(struct fs *fs, uint32_t dir, struct buf *ret) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * known.h - ranges of keys that the store has listed: sorted pages of a flat listing.
 *
 * A page says of every key from its `from` to its `to`, both included, whether there was such an
 * object when the store was asked, and its size, ETag and time. One flat listing of a directory so
 * answers readdir and lookups in all the directories below it.
 *
 *     known_add(known, &range);                            what a LIST without delimiter said
 *     if (known_seek(known, "dir/", &oldest, &pos)) {
 *         while (known_next(&pos, &entry)) { ... }         all keys from "dir/" up to pos.end
 *     }
 *
 * Pages do not overlap: older ones keep what a newer one says nothing of. Beyond the limit of bytes
 * the oldest go. Not thread-safe: under the file system's lock; what a position or an entry points
 * to is valid until the next known_add() or known_clear(). Keys are in the order of their bytes; a
 * store that lists in another order must not be believed (known_ordered()).
 */
#ifndef MOUNTER_KNOWN_H
#define MOUNTER_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "objstore/objstore.h"
#include "util/cleanup.h"

/* After every key below what it is appended to. */
#define KNOWN_LAST "\xff\xff\xff\xff"

struct known;
struct known_page;

struct known_entry {
    const char *key;
    const char *etag;
    uint64_t size;
    int64_t mtime_ns; /* as the store has it */
};

/* An answer of the store: all keys of [from, to]. */
struct known_range {
    const char *from, *to;
    uint64_t asked;   /* fs_asked() before */
    uint64_t made_ms; /* when it was asked */
    const struct objstore_entry *entries;
    size_t count;
};

/* Pages that were asked for earlier are not believed. */
struct known_oldest {
    uint64_t asked, made_ms;
};

struct known_position {
    const struct known_page *page;
    size_t at;
    const char *end; /* of this and all keys after it the page says nothing */
    uint64_t asked, made_ms;
};

int known_new(size_t bytes_max, struct known **ret) __attribute__((warn_unused_result));
void known_free(struct known *known); /* NULL is allowed */
DEFINE_CLEANUP(struct known *, known_free);
void known_clear(struct known *known);

/* The keys are in ascending order and in the range: only then may it be added. */
bool known_ordered(const struct known_range *range);
int known_add(struct known *known, const struct known_range *range)
    __attribute__((warn_unused_result));

/* A page that covers the key; *ret stands before the first entry that is not below it. */
bool known_seek(const struct known *known, const char *key, const struct known_oldest *oldest,
                struct known_position *ret);
/* False: no more in this page. */
bool known_next(struct known_position *pos, struct known_entry *ret);
/* The page goes on to the last key that begins so; it has to cover one that does. */
bool known_ends(const struct known_position *pos, const char *prefix);
/* What is known ends before this key: `end` of the page before it, from which on nothing is known
 * up to the key; NULL: the key is covered, or nothing before it is known. */
const char *known_end_before(const struct known *known, const char *key,
                             const struct known_oldest *oldest);
size_t known_bytes(const struct known *known);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chained.h - a hash table for very many records: one pointer in each, and one for each bucket.
 *
 * The record embeds a struct chain; the caller hashes and compares:
 *
 *     for (struct chain *c = chained_first(&table, hash); c != NULL; c = c->next) {
 *         struct thing *thing = container_of(c, struct thing, chain);
 *         if (thing->key == key) { ... }
 *     }
 *
 * Records are the caller's and must not go away while they are in a table. The bucket depends on a
 * seed of the table, so that names cannot be chosen to meet in one. Not thread-safe. uthash takes
 * seven times as much for each record; it is for tables of any size that matters less.
 */
#ifndef UTIL_CHAINED_H
#define UTIL_CHAINED_H

#include <stdint.h>

struct chain {
    struct chain *next;
};

typedef uint64_t chained_hash_fn(struct chain *chain);

struct chained {
    struct chain **buckets;
    unsigned bits; /* 2^bits buckets */
    uint32_t count;
    uint64_t seed;
    chained_hash_fn *hash; /* of a record in it, always the same */
};

/* -ENOMEM. */
int chained_init(struct chained *table, chained_hash_fn *hash) __attribute__((warn_unused_result));
void chained_done(struct chained *table); /* records stay; all zero is allowed */

/* What may be of this hash, and others. */
struct chain *chained_first(const struct chained *table, uint64_t hash);
/* It is in no table. Without memory to grow, chains become longer. */
void chained_add(struct chained *table, struct chain *chain);
/* It is in this table, and its hash has not changed since it was added. */
void chained_remove(struct chained *table, struct chain *chain);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "util/chained.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "util/random.h"

enum { BITS_FIRST = 6, BITS_MAX = 31 };

static struct chain **bucket_of(const struct chained *table, uint64_t hash)
{
    const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);

    return &table->buckets[((hash ^ table->seed) * golden) >> (64 - table->bits)];
}

int chained_init(struct chained *table, chained_hash_fn *hash)
{
    *table = (struct chained){.bits = BITS_FIRST, .hash = hash};
    random_bytes(&table->seed, sizeof(table->seed));
    table->buckets = calloc((size_t)1 << BITS_FIRST, sizeof(struct chain *));
    return table->buckets != NULL ? 0 : -ENOMEM;
}

void chained_done(struct chained *table)
{
    free(table->buckets);
    *table = (struct chained){0};
}

struct chain *chained_first(const struct chained *table, uint64_t hash)
{
    return *bucket_of(table, hash);
}

static void put(struct chained *table, struct chain *chain)
{
    struct chain **bucket = bucket_of(table, table->hash(chain));

    chain->next = *bucket;
    *bucket = chain;
}

static void grow(struct chained *table)
{
    struct chain **old = table->buckets;
    size_t count = (size_t)1 << table->bits;
    struct chain **buckets;

    if (table->bits == BITS_MAX) {
        return;
    }
    buckets = calloc(2 * count, sizeof(struct chain *));
    if (buckets == NULL) {
        return;
    }
    table->buckets = buckets;
    table->bits++;
    for (size_t i = 0; i < count; i++) {
        while (old[i] != NULL) {
            struct chain *chain = old[i];

            old[i] = chain->next;
            put(table, chain);
        }
    }
    free(old);
}

void chained_add(struct chained *table, struct chain *chain)
{
    if (table->count >> table->bits != 0) {
        grow(table);
    }
    put(table, chain);
    table->count++;
}

void chained_remove(struct chained *table, struct chain *chain)
{
    struct chain **at = bucket_of(table, table->hash(chain));

    while (*at != NULL && *at != chain) {
        at = &(*at)->next;
    }
    assert(*at == chain);
    *at = chain->next;
    chain->next = NULL;
    table->count--;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "util/chained.h"
#include "util/container.h"

enum { MANY = 20000 };

struct thing {
    struct chain chain;
    uint64_t key;
};

static uint64_t key_of(struct chain *chain)
{
    return container_of(chain, struct thing, chain)->key;
}

static unsigned found(const struct chained *table, uint64_t key)
{
    unsigned count = 0;

    for (struct chain *c = chained_first(table, key); c != NULL; c = c->next) {
        count += key_of(c) == key;
    }
    return count;
}

static void what_was_added_is_found_until_it_is_removed(void **state UNUSED)
{
    static struct thing things[MANY];
    struct chained table;

    assert_int_equal(chained_init(&table, key_of), 0);
    for (uint64_t i = 0; i < MANY; i++) {
        assert_int_equal(found(&table, i * 7), 0);
        things[i].key = i * 7;
        chained_add(&table, &things[i].chain);
    }
    assert_int_equal(table.count, MANY);
    for (uint64_t i = 0; i < MANY; i += 2) {
        chained_remove(&table, &things[i].chain);
    }
    for (uint64_t i = 0; i < MANY; i++) {
        assert_int_equal(found(&table, i * 7), i % 2);
    }
    assert_int_equal(table.count, MANY / 2);
    chained_done(&table);
    chained_done(&table);
}

static void records_of_one_hash_are_all_found(void **state UNUSED)
{
    struct thing things[3] = {{.key = 5}, {.key = 5}, {.key = 5}};
    struct chained table;

    assert_int_equal(chained_init(&table, key_of), 0);
    for (int i = 0; i < 3; i++) {
        chained_add(&table, &things[i].chain);
    }
    assert_int_equal(found(&table, 5), 3);
    chained_remove(&table, &things[1].chain);
    assert_int_equal(found(&table, 5), 2);
    chained_done(&table);
}

static void chains_stay_short_whatever_the_hashes(void **state UNUSED)
{
    static struct thing things[MANY];
    struct chained table;
    unsigned longest = 0;

    assert_int_equal(chained_init(&table, key_of), 0);
    for (uint64_t i = 0; i < MANY; i++) { /* alike in all but the highest bits */
        things[i].key = i << 40;
        chained_add(&table, &things[i].chain);
    }
    for (uint64_t i = 0; i < MANY; i++) {
        unsigned length = 0;

        for (struct chain *c = chained_first(&table, things[i].key); c != NULL; c = c->next) {
            length++;
        }
        longest = length > longest ? length : longest;
    }
    assert_in_range(longest, 1, 64);
    chained_done(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_is_found_until_it_is_removed),
        cmocka_unit_test(records_of_one_hash_are_all_found),
        cmocka_unit_test(chains_stay_short_whatever_the_hashes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

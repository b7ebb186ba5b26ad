/* SPDX-License-Identifier: Apache-2.0 */
#include "util/random.h"

#include <ctype.h>
#include <string.h>

#include "test.h"

static void check_id(const char *id)
{
    assert_int_equal(strlen(id), RANDOM_ID_SIZE - 1);
    for (const char *c = id; *c != '\0'; c++) {
        assert_true(isdigit((unsigned char)*c) || (*c >= 'a' && *c <= 'f'));
    }
}

/* Over several fillings of the pool. */
static void names_of_a_pool_never_come_twice(UNUSED void **state)
{
    enum { COUNT = 300 };
    static char ids[COUNT][RANDOM_ID_SIZE];
    struct random_pool pool = {.left = 0};

    for (size_t i = 0; i < COUNT; i++) {
        random_pool_id(&pool, ids[i]);
        check_id(ids[i]);
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(ids[i], ids[k]);
        }
    }
}

static void two_names_differ(UNUSED void **state)
{
    char one[RANDOM_ID_SIZE], two[RANDOM_ID_SIZE];

    random_id(one);
    random_id(two);
    check_id(one);
    check_id(two);
    assert_string_not_equal(one, two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_a_pool_never_come_twice),
        cmocka_unit_test(two_names_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

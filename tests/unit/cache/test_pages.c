/* SPDX-License-Identifier: Apache-2.0 */
/* Pages for cached bytes. */
#include <stdio.h>
#include <string.h>

#include "cache/pages.h"
#include "test.h"

enum { COUNT = 256 };

static void there_are_as_many_as_were_asked_for(UNUSED void **state)
{
    CLEANUP(pages_free_p) struct pages *pages = NULL;
    char *taken[COUNT];

    assert_int_equal(pages_new(COUNT, &pages), 0);
    for (int i = 0; i < COUNT; i++) {
        taken[i] = pages_take(pages);
        assert_non_null(taken[i]);
        memset(taken[i], i, CACHE_PAGE_SIZE);
    }
    assert_null(pages_take(pages));
    for (int i = 0; i < COUNT; i++) { /* none overlaps another */
        assert_int_equal((unsigned char)taken[i][0], i);
        assert_int_equal((unsigned char)taken[i][CACHE_PAGE_SIZE - 1], i);
    }
    pages_give(pages, taken[7]);
    assert_int_equal(pages_taken(pages), COUNT - 1);
    assert_ptr_equal(pages_take(pages), taken[7]);
}

static long resident_kib(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long size = 0;
    long resident = 0;

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &size, &resident), 2);
    (void)fclose(file);
    return resident * 4;
}

static void trimming_gives_the_memory_of_free_pages_back(UNUSED void **state)
{
    CLEANUP(pages_free_p) struct pages *pages = NULL;
    char *taken[COUNT];
    long before;

    assert_int_equal(pages_new(COUNT, &pages), 0);
    before = resident_kib();
    for (int i = 0; i < COUNT; i++) {
        taken[i] = pages_take(pages);
        memset(taken[i], 1, CACHE_PAGE_SIZE);
    }
    assert_true(resident_kib() - before > 15 * 1024);
    for (int i = 1; i < COUNT; i++) {
        pages_give(pages, taken[i]);
    }
    pages_trim(pages, 2);
#ifndef __SANITIZE_THREAD__ /* whose own memory grows with ours */
    assert_true(resident_kib() - before < 2 * 1024);
#endif
    assert_int_equal(taken[0][5], 1); /* who has one keeps it */
    assert_int_equal(pages_taken(pages), 1);
    for (int i = 1; i < COUNT; i++) { /* and they can be had again */
        assert_non_null(pages_take(pages));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_are_as_many_as_were_asked_for),
        cmocka_unit_test(trimming_gives_the_memory_of_free_pages_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

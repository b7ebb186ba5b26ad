/* SPDX-License-Identifier: Apache-2.0 */
/* index_place.h - a directory for one index, with set_up() and tear_down() of a test. */
#ifndef TESTS_INDEX_PLACE_H
#define TESTS_INDEX_PLACE_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "test.h"

struct place {
    char directory[64], path[96];
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof(*place));

    assert_non_null(place);
    (void)snprintf(place->directory, sizeof(place->directory), "/tmp/skyvol-index-XXXXXX");
    assert_non_null(mkdtemp(place->directory));
    (void)snprintf(place->path, sizeof(place->path), "%s/index.sqlite", place->directory);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    static const char *const tails[] = {"", "-wal", "-shm", "-turn"};

    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        char path[128];

        (void)snprintf(path, sizeof(path), "%s%s", place->path, tails[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(place->directory), 0);
    free(place);
    return 0;
}

#endif

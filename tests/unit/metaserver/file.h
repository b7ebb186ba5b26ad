/* SPDX-License-Identifier: Apache-2.0 */
/* file.h - a database file of a test's own, all that SQLite lays beside it, and memory for answers.
 */
#ifndef TESTS_UNIT_METASERVER_FILE_H
#define TESTS_UNIT_METASERVER_FILE_H

#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "util/arena.h"

enum { FILE_ARENA_BYTES = 64 << 20 };

/* The first member of a test's fixture. */
struct file_fixture {
    char path[96];
    struct arena arena;
};

static inline void file_make(char path[96])
{
    int fd;

    (void)snprintf(path, 96, "/tmp/skyvol-db-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
}

static inline void file_remove(const char *path)
{
    static const char *const ends[] = {"", "-wal", "-shm"};

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        char name[112];

        (void)snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        (void)unlink(name);
    }
}

static inline void *file_fixture_new(size_t size)
{
    struct file_fixture *f = calloc(1, size);

    assert_non_null(f);
    f->arena = (struct arena)ARENA_INIT(FILE_ARENA_BYTES);
    file_make(f->path);
    return f;
}

/* After the database has been closed. */
static inline void file_fixture_free(struct file_fixture *f)
{
    file_remove(f->path);
    arena_done(&f->arena);
    free(f);
}

#endif

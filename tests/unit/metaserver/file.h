/* SPDX-License-Identifier: Apache-2.0 */
/* file.h - a database file of a test's own, and all that SQLite lays beside it. */
#ifndef TESTS_UNIT_METASERVER_FILE_H
#define TESTS_UNIT_METASERVER_FILE_H

#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

#endif

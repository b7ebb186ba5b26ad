/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/dir_changes.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#include "util/cleanup.h"

enum { FILE_MODE = 0640 };

atomic_uint_least64_t *dir_changes_open(const char *root)
{
    AUTOFREE char *path = NULL;
    AUTOCLOSE int fd = -1;
    void *memory;

    if (asprintf(&path, "%s/changes", root) < 0) {
        path = NULL;
        return NULL;
    }
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    /* Allocated and not only made longer: a full disk would kill who writes to the mapping. */
    if (fd < 0 || posix_fallocate(fd, 0, sizeof(atomic_uint_least64_t)) != 0) {
        return NULL;
    }
    memory = mmap(NULL, sizeof(atomic_uint_least64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    dir_changes_count(memory);
    return memory;
}

void dir_changes_close(atomic_uint_least64_t *changes)
{
    if (changes != NULL) {
        (void)munmap(changes, sizeof(*changes));
    }
}

void dir_changes_count(atomic_uint_least64_t *changes)
{
    if (changes != NULL) {
        (void)atomic_fetch_add(changes, 1);
    }
}

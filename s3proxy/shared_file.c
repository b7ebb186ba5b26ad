/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/shared_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/cleanup.h"

static int map(int fd, size_t size, void **ret)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (memory == MAP_FAILED) {
        return -ENOMEM;
    }
    *ret = memory;
    return 0;
}

int shared_file_create(const char *path, size_t size, uint64_t layout, void **ret)
{
    AUTOCLOSE int fd = -1;
    int r;

    if (unlink(path) < 0 && errno != ENOENT) {
        return -errno;
    }
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    r = -posix_fallocate(fd, 0, (off_t)size); /* a full disk is no SIGBUS later */
    r = r == 0 ? map(fd, size, ret) : r;
    if (r == 0) {
        *(uint64_t *)*ret = layout;
    }
    return r;
}

int shared_file_open(const char *path, size_t size, uint64_t layout, void **ret, int *ret_fd)
{
    AUTOCLOSE int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    void *memory = NULL;
    struct stat st;
    int r;

    if (fd < 0 || fstat(fd, &st) < 0) {
        return -errno;
    }
    if (st.st_size != (off_t)size) {
        return -EINVAL;
    }
    r = map(fd, size, &memory);
    if (r == 0 && *(const uint64_t *)memory != layout) {
        (void)munmap(memory, size);
        r = -EINVAL;
    }
    if (r == 0) {
        *ret = memory;
        *ret_fd = take_fd(&fd);
    }
    return r;
}

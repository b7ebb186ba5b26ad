/* SPDX-License-Identifier: Apache-2.0 */
/* Which bytes of a file are in memory, and bringing in a few that are not. */
#include "objstore/dir_cached.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "test.h"
#include "util/cleanup.h"

/* HOLE: between two places that are looked at one by one. */
enum { MIB = 1 << 20, SIZE = 8 * MIB, HOLE = 3 * MIB + 64 * 1024, HOLE_LEN = 64 * 1024 };

static int open_file(void)
{
    char path[] = "/var/tmp/skyvol-cached.XXXXXX"; /* /tmp may be in memory */
    int fd = mkstemp(path);
    char *bytes = calloc(1, MIB);

    assert_true(fd >= 0);
    (void)unlink(path);
    for (int i = 0; i < SIZE / HOLE_LEN; i++) { /* small pieces, that can leave memory alone */
        assert_int_equal(write(fd, bytes, HOLE_LEN), HOLE_LEN);
        assert_int_equal(fsync(fd), 0);
    }
    free(bytes);
    return fd;
}

static size_t absent(int fd)
{
    size_t pages = (size_t)SIZE / (size_t)sysconf(_SC_PAGESIZE), ret = 0;
    unsigned char *there = calloc(1, pages);
    void *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);

    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(mincore(map, SIZE, there), 0);
    for (size_t i = 0; i < pages; i++) {
        ret += (there[i] & 1) == 0;
    }
    (void)munmap(map, SIZE);
    free(there);
    return ret;
}

static bool can_tell(int fd)
{
    char byte;
    struct iovec one = {&byte, 1};

    assert_int_equal(preadv2(fd, &one, 1, 0, 0), 1);
    return preadv2(fd, &one, 1, 0, RWF_NOWAIT) == 1;
}

static bool counts_pages(int fd)
{
    const uint64_t range[2] = {0, SIZE};
    uint64_t told[5] = {0};

    return syscall(451, fd, range, told, 0) == 0 && told[0] > 0;
}

/* The kernel may give up some of it at any moment, but hardly each time. */
static bool is_found(int fd, uint64_t offset, uint64_t end)
{
    static char bytes[SIZE];
    bool ret = false;

    for (int i = 0; i < 100 && !ret; i++) {
        assert_int_equal(pread(fd, bytes, end - offset, (off_t)offset), end - offset);
        ret = dir_cached(fd, offset, end);
    }
    return ret;
}

/* False: the kernel keeps them. */
static bool drop(int fd, off_t offset, off_t len)
{
    size_t before = absent(fd);

    for (int i = 0; i < 100 && absent(fd) == before; i++) {
        assert_int_equal(posix_fadvise(fd, offset, len, POSIX_FADV_DONTNEED), 0);
    }
    return absent(fd) > before;
}

static void all_that_is_here_is_found(void **state UNUSED)
{
    AUTOCLOSE int fd = open_file();

    if (!can_tell(fd)) {
        skip();
    }
    assert_true(is_found(fd, 0, SIZE));
    assert_true(is_found(fd, 1, 2));
    assert_true(is_found(fd, SIZE - 1, SIZE));
    assert_true(dir_cached_load(fd, 0, SIZE, MIB));
}

static void a_hole_between_looks_is_found_and_filled(void **state UNUSED)
{
    AUTOCLOSE int fd = open_file();
    size_t before;

    if (!can_tell(fd) || absent(fd) != 0 || !counts_pages(fd) || !drop(fd, HOLE, HOLE_LEN)) {
        skip();
    }
    before = absent(fd);
    assert_false(dir_cached(fd, 0, SIZE));
    assert_true(is_found(fd, 0, MIB));
    assert_true(is_found(fd, SIZE - MIB, SIZE));
    assert_false(dir_cached_load(fd, 0, SIZE, 4096));
    (void)drop(fd, HOLE, HOLE_LEN);
    assert_true(dir_cached_load(fd, 0, SIZE, MIB));
    for (int i = 0; i < 1000 && absent(fd) >= before; i++) { /* its first byte was waited for */
        usleep(1000);
    }
    assert_true(absent(fd) < before);
}

static void what_is_gone_is_loaded_up_to_a_bound(void **state UNUSED)
{
    AUTOCLOSE int fd = open_file();

    if (!can_tell(fd) || !drop(fd, 0, SIZE) || absent(fd) < SIZE / 4096 / 2) {
        skip();
    }
    assert_false(dir_cached(fd, 0, SIZE));
    assert_false(dir_cached_load(fd, 0, SIZE, MIB));
    assert_true(dir_cached_load(fd, 0, SIZE, SIZE));
    assert_true(dir_cached_load(fd, 0, SIZE, SIZE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_is_here_is_found),
        cmocka_unit_test(a_hole_between_looks_is_found_and_filled),
        cmocka_unit_test(what_is_gone_is_loaded_up_to_a_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

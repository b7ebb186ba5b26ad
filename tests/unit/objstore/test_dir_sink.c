/* SPDX-License-Identifier: Apache-2.0 */
/* What a directory store gives as a file, through a volume's wrappers: its descriptor or its bytes.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "objstore/objstore_call.h"
#include "test.h"
#include "util/cleanup.h"
#include "volume/open.h"

enum { SIZE = 300000, FROM = 70000, LEN = 200000 };

static char root[] = "/tmp/skyvol-test-sink.XXXXXX";
static char data[SIZE], got[SIZE];
static size_t got_len;
static struct objstore *store;
static int answer, files; /* what file() says; how often it came */

static int take_bytes(struct objstore_request *request UNUSED, const void *bytes, size_t len)
{
    memcpy(got + got_len, bytes, len);
    got_len += len;
    return 0;
}

static int take_file(struct objstore_request *request UNUSED, int fd, struct objstore_range range)
{
    files++;
    if (answer == 0) {
        assert_int_equal(pread(fd, got, range.len, (off_t)range.offset), range.len);
        got_len = range.len;
        (void)close(fd);
    }
    return answer;
}

static int get(uint64_t offset, uint64_t len)
{
    CLEANUP(objstore_answer_done) struct objstore_answer a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = OBJSTORE_GET,
                                 .bucket = "bucket",
                                 .key = "k",
                                 .range = {offset, len},
                                 .sink = {.write = take_bytes, .file = take_file}};

    got_len = 0;
    files = 0;
    return objstore_call(store, &r, &a);
}

static size_t open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count;
}

/* Where the file system cannot tell what is in memory, bytes are all there is. */
static bool can_tell(void)
{
    char name[] = "/tmp/skyvol-test-sink.XXXXXX", byte = 'x';
    struct iovec one = {&byte, 1};
    AUTOCLOSE int fd = mkstemp(name);

    (void)unlink(name);
    return fd >= 0 && write(fd, &byte, 1) == 1 && preadv2(fd, &one, 1, 0, RWF_NOWAIT) == 1;
}

/* At times the kernel does not want to tell what is in memory. */
static void a_range_lies_in_the_file(void **state UNUSED)
{
    int given = 0;

    if (!can_tell()) {
        skip();
    }
    answer = 0;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(get(FROM, LEN), 0);
        given += files;
        assert_int_equal(got_len, LEN);
        assert_memory_equal(got, data + FROM, LEN);
    }
    assert_true(given > 0);
    assert_int_equal(get(0, 0), 0);
    assert_int_equal(got_len, SIZE);
    assert_memory_equal(got, data, SIZE);
}

/* 0 when all has left memory. Whether it has is not found out by reading: that would bring it back.
 */
static int drop_one(const char *path, const struct stat *status, int type, struct FTW *walk UNUSED)
{
    enum { PAGES = SIZE / 4096 + 1 };
    AUTOCLOSE int fd =
        type == FTW_F && status->st_size == SIZE ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    unsigned char there[PAGES] = {0};
    int count = 0;
    void *map;

    if (fd >= 0) {
        assert_int_equal(fsync(fd), 0);
        assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
        map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
        assert_ptr_not_equal(map, MAP_FAILED);
        assert_int_equal(mincore(map, SIZE, there), 0);
        (void)munmap(map, SIZE);
    }
    for (size_t i = 0; i < PAGES; i++) {
        count += there[i] & 1;
    }
    return count;
}

static void what_has_left_memory_is_read_for_it(void **state UNUSED)
{
    bool left = false;

    answer = 0;
    for (int i = 0; i < 100 && !left; i++) { /* the kernel need not let go of it at once */
        left = nftw(root, drop_one, 16, FTW_PHYS) == 0;
        assert_int_equal(get(FROM, LEN), 0);
        assert_int_equal(got_len, LEN);
        assert_memory_equal(got, data + FROM, LEN);
    }
    if (!left || !can_tell()) {
        skip();
    }
    assert_int_equal(files, 1);
}

static void who_does_not_take_it_gets_the_bytes(void **state UNUSED)
{
    answer = -ENOTSUP;
    assert_int_equal(get(FROM, LEN), 0);
    assert_int_equal(got_len, LEN);
    assert_memory_equal(got, data + FROM, LEN);
}

static void few_bytes_come_as_such(void **state UNUSED)
{
    answer = 0;
    assert_int_equal(get(FROM, 4096), 0);
    assert_int_equal(files, 0);
    assert_int_equal(got_len, 4096);
}

static void a_refusal_ends_it_and_leaves_nothing_open(void **state UNUSED)
{
    size_t before = open_files();

    answer = -ECANCELED;
    for (int i = 0; i < 20; i++) {
        int ret = get(FROM, LEN);

        assert_int_equal(ret, files > 0 ? -ECANCELED : 0);
    }
    assert_int_equal(open_files(), before);
}

static int set_up(void **state UNUSED)
{
    CLEANUP(objstore_answer_done) struct objstore_answer a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = OBJSTORE_BUCKET_CREATE, .bucket = "bucket"};
    struct volume_open_config config = {0};
    struct error err = ERROR_INIT;
    char location[64];

    assert_non_null(mkdtemp(root));
    for (size_t i = 0; i < SIZE; i++) {
        data[i] = (char)(i * 7 + i / 251);
    }
    (void)snprintf(location, sizeof(location), "dir://%s", root);
    config.location = location;
    assert_int_equal(volume_open_store(&config, &store, &err), 0);
    assert_int_equal(objstore_call(store, &r, &a), 0);
    r = (struct objstore_request){
        .op = OBJSTORE_PUT, .bucket = "bucket", .key = "k", .source = {.data = data, .size = SIZE}};
    return objstore_call(store, &r, &a);
}

static int remove_one(const char *path, const struct stat *status UNUSED, int type UNUSED,
                      struct FTW *walk UNUSED)
{
    return remove(path);
}

static int tear_down(void **state UNUSED)
{
    objstore_free(store);
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_lies_in_the_file),
        cmocka_unit_test(what_has_left_memory_is_read_for_it),
        cmocka_unit_test(who_does_not_take_it_gets_the_bytes),
        cmocka_unit_test(few_bytes_come_as_such),
        cmocka_unit_test(a_refusal_ends_it_and_leaves_nothing_open),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks on disk: what comes back is what was put, or nothing. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/disk.h"
#include "test.h"
#include "util/log.h"

enum { MIB = 1 << 20, BLOCK = DISK_BLOCK_MAX };

static char dir[] = "/tmp/skyvol-disk-XXXXXX";
static unsigned char bytes[BLOCK];
static unsigned char got[BLOCK];

static int remove_one(const char *path, UNUSED const struct stat *st, UNUSED int type,
                      UNUSED struct FTW *ftw)
{
    return remove(path);
}

static int set_up(UNUSED void **state)
{
    memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
    return mkdtemp(dir) == NULL;
}

static int tear_down(UNUSED void **state)
{
    return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct disk_cache *open_cache(const char *name, uint64_t size)
{
    const struct disk_cache_config config = {.dir = dir, .name = name, .size = size, .free_min = 1};
    struct disk_cache *cache = NULL;
    struct error err = ERROR_INIT;

    assert_int_equal(disk_cache_new(&config, &cache, &err), 0);
    return cache;
}

static struct disk_block block_of(uint64_t i)
{
    struct disk_block block = {.index = i};

    disk_cache_object("object", 6, block.object);
    return block;
}

/* Every block has bytes of its own. */
static void fill(uint64_t i, size_t len)
{
    for (size_t at = 0; at < len; at += sizeof(i)) {
        uint64_t word = (i + 1) * UINT64_C(0x9E3779B97F4A7C15) + at;

        memcpy(bytes + at, &word, len - at < sizeof(word) ? len - at : sizeof(word));
    }
}

static void put(struct disk_cache *cache, uint64_t i, size_t len)
{
    struct disk_block block = block_of(i);

    fill(i, len);
    disk_cache_put(cache, &block, bytes, len);
}

/* True if it is there; then it is right. */
static bool check(struct disk_cache *cache, uint64_t i, size_t len)
{
    struct disk_block block = block_of(i);

    memset(got, 0, sizeof(got));
    if (disk_cache_get(cache, &block, got, len) != 0) {
        return false;
    }
    fill(i, len);
    assert_memory_equal(got, bytes, len);
    return true;
}

static size_t count_there(struct disk_cache *cache, uint64_t blocks, size_t len)
{
    size_t there = 0;

    for (uint64_t i = 0; i < blocks; i++) {
        there += check(cache, i, len);
    }
    return there;
}

static void blocks_are_there_again_after_a_restart(UNUSED void **state)
{
    struct disk_cache *cache = open_cache("volume", 16 * MIB);

    for (uint64_t i = 0; i < 100; i++) {
        put(cache, i, i % 3 == 0 ? BLOCK : 1000 + i);
    }
    disk_cache_free(cache);
    cache = open_cache("volume", 16 * MIB);
    for (uint64_t i = 0; i < 100; i++) {
        assert_true(check(cache, i, i % 3 == 0 ? BLOCK : 1000 + i));
    }
    assert_false(check(cache, 0, BLOCK - 1)); /* of another length: another block */
    disk_cache_free(cache);
}

static void another_name_sees_nothing_and_two_processes_do_not_share(UNUSED void **state)
{
    struct disk_cache *cache = open_cache("volume", MIB);
    struct disk_cache *other = open_cache("other", MIB);
    struct disk_cache *second = NULL;
    const struct disk_cache_config config = {.dir = dir, .name = "volume", .size = MIB};
    struct error err = ERROR_INIT;

    put(cache, 1, BLOCK);
    assert_false(check(other, 1, BLOCK));
    assert_int_equal(disk_cache_new(&config, &second, &err), -EBUSY);
    assert_null(second);
    disk_cache_free(cache);
    disk_cache_free(other);
}

static void it_never_exceeds_its_size(UNUSED void **state)
{
    struct disk_cache *cache = open_cache("volume", 4 * MIB);
    struct disk_cache_stats stats;
    size_t there;

    for (uint64_t i = 0; i < 400; i++) {
        put(cache, i, BLOCK);
    }
    disk_cache_get_stats(cache, &stats);
    assert_true(stats.bytes <= 4 * MIB && stats.bytes >= 3 * MIB);
    there = count_there(cache, 400, BLOCK);
    assert_true(there >= 48 && there <= 64);
    disk_cache_free(cache);
}

/* The one file of that name below the directory. */
static int open_file(const char *name, int flags)
{
    uint64_t object[2];
    char path[256];
    int fd;

    disk_cache_object("volume", 6, object);
    (void)snprintf(path, sizeof(path), "%s/skyvol-%016llx%016llx/%s", dir,
                   (unsigned long long)object[0], (unsigned long long)object[1], name);
    fd = open(path, flags | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void its_file_gives_back_what_is_evicted(UNUSED void **state)
{
    struct disk_cache *cache = open_cache("volume", 4 * MIB);
    struct stat st;
    int fd;

    for (uint64_t i = 0; i < 400; i++) {
        put(cache, i, i % 2 == 0 ? BLOCK : 100);
    }
    fd = open_file("data", O_RDONLY);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(st.st_blocks * 512 <= 4 * MIB + BLOCK);
    (void)close(fd);
    disk_cache_free(cache);
}

static void flipped_bits_are_never_given_out(UNUSED void **state)
{
    static const char *const files[] = {"data", "index"};

    for (int f = 0; f < 2; f++) {
        struct disk_cache *cache = open_cache("volume", 4 * MIB);
        struct disk_cache_stats stats;
        struct stat st;
        size_t there;
        int fd;

        for (uint64_t i = 0; i < 60; i++) {
            put(cache, i, BLOCK);
        }
        disk_cache_free(cache);
        fd = open_file(files[f], O_RDWR);
        assert_int_equal(fstat(fd, &st), 0);
        for (off_t at = 5000; at < st.st_size; at += f == 0 ? 3 * BLOCK : 300) {
            unsigned char byte;

            if (pread(fd, &byte, 1, at) == 1) {
                byte ^= 4;
                assert_int_equal(pwrite(fd, &byte, 1, at), 1);
            }
        }
        (void)close(fd);
        cache = open_cache("volume", 4 * MIB);
        there = count_there(cache, 60, BLOCK); /* compares each */
        assert_true(there > 10 && there < 60);
        disk_cache_get_stats(cache, &stats);
        assert_int_equal(stats.hits, there);
        for (uint64_t i = 0; i < 60; i++) { /* and what was dropped can be put again */
            put(cache, i, BLOCK);
        }
        assert_true(count_there(cache, 60, BLOCK) > there);
        disk_cache_free(cache);
    }
}

static void a_cut_file_is_survived(UNUSED void **state)
{
    struct disk_cache *cache = open_cache("volume", 4 * MIB);
    int fd;

    for (uint64_t i = 0; i < 60; i++) {
        put(cache, i, BLOCK);
    }
    disk_cache_free(cache);
    fd = open_file("data", O_RDWR);
    assert_int_equal(ftruncate(fd, 10 * BLOCK + 5), 0);
    (void)close(fd);
    cache = open_cache("volume", 4 * MIB);
    assert_true(count_there(cache, 60, BLOCK) <= 11);
    disk_cache_free(cache);
    fd = open_file("index", O_RDWR);
    assert_int_equal(ftruncate(fd, 7), 0);
    (void)close(fd);
    cache = open_cache("volume", 4 * MIB); /* begun anew */
    assert_int_equal(count_there(cache, 60, BLOCK), 0);
    put(cache, 1, BLOCK);
    assert_true(check(cache, 1, BLOCK));
    disk_cache_free(cache);
}

static void a_write_that_fails_keeps_nothing_and_harms_nothing(UNUSED void **state)
{
    struct disk_cache *cache = open_cache("volume", 8 * MIB);
    struct disk_cache_stats stats;
    struct rlimit before;
    struct rlimit small;

    for (uint64_t i = 0; i < 20; i++) {
        put(cache, i, BLOCK);
    }
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    small = before;
    small.rlim_cur = 20 * BLOCK + 3000; /* the next write is short, those after it fail */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (uint64_t i = 20; i < 40; i++) {
        put(cache, i, BLOCK);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    disk_cache_get_stats(cache, &stats);
    assert_true(stats.failed >= 1);
    assert_int_equal(count_there(cache, 40, BLOCK), 20);
    disk_cache_free(cache);
    cache = open_cache("volume", 8 * MIB);
    assert_int_equal(count_there(cache, 40, BLOCK), 20);
    disk_cache_free(cache);
}

static void a_kill_at_any_moment_leaves_whole_blocks_or_none(UNUSED void **state)
{
    for (int round = 0; round < 10; round++) {
        struct disk_cache *cache;
        pid_t child = fork();

        assert_true(child >= 0);
        if (child == 0) {
            cache = open_cache("volume", 4 * MIB);
            for (uint64_t i = 0;; i++) {
                put(cache, (i * 7919 + (uint64_t)round) % 200, BLOCK);
            }
        }
        (void)usleep((useconds_t)(20000 + round * 3700));
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        cache = open_cache("volume", 4 * MIB);
        (void)count_there(cache, 200, BLOCK); /* compares each that is there */
        disk_cache_free(cache);
    }
}

static void a_scan_leaves_what_is_used_often(UNUSED void **state)
{
    struct disk_cache *cache = open_cache("volume", 8 * MIB);

    for (uint64_t i = 0; i < 30; i++) {
        put(cache, i, BLOCK);
    }
    for (int round = 0; round < 4; round++) {
        assert_int_equal(count_there(cache, 30, BLOCK), 30);
    }
    for (uint64_t i = 1000; i < 2000; i++) { /* eight times what fits */
        put(cache, i, BLOCK);
    }
    assert_true(count_there(cache, 30, BLOCK) >= 25);
    disk_cache_free(cache);
}

static bool is_in_memory(int fd)
{
    struct statfs st;

    return fstatfs(fd, &st) == 0 && st.f_type == TMPFS_MAGIC;
}

/* As the mounter names them: the key and the ETag, each with its NUL. */
static void two_versions_of_a_key_share_nothing_also_after_a_restart(UNUSED void **state)
{
    static const char names[2][8] = {"key\0v1", "key\0v2"};
    struct disk_cache *cache = open_cache("volume", 4 * MIB);
    struct disk_block block[2] = {{.index = 3}, {.index = 3}};

    for (int v = 0; v < 2; v++) {
        disk_cache_object(names[v], sizeof(names[v]), block[v].object);
    }
    fill(1, BLOCK);
    disk_cache_put(cache, &block[0], bytes, BLOCK);
    assert_false(disk_cache_has(cache, &block[1]));
    assert_int_equal(disk_cache_get(cache, &block[1], got, BLOCK), -ENOENT);
    fill(2, BLOCK);
    disk_cache_put(cache, &block[1], bytes, BLOCK);
    for (int turn = 0; turn < 2; turn++) {
        for (int v = 0; v < 2; v++) {
            fill((uint64_t)v + 1, BLOCK);
            assert_int_equal(disk_cache_get(cache, &block[v], got, BLOCK), 0);
            assert_memory_equal(got, bytes, BLOCK);
        }
        disk_cache_free(cache);
        cache = open_cache("volume", 4 * MIB);
    }
    assert_int_equal(disk_cache_get(cache, &block[0], got, BLOCK - 1), -ENOENT);
    assert_false(disk_cache_has(cache, &block[0])); /* dropped: it cannot be what it should be */
    disk_cache_free(cache);
}

/* A disk that goes bad while it is in use; or gives what was written elsewhere. */
static void what_changes_under_an_open_cache_is_not_given_out(UNUSED void **state)
{
    struct disk_cache *cache = open_cache("volume", 4 * MIB);
    struct disk_cache_stats stats;
    enum { LAST = 4 * MIB / (32 * 1024) - 1 }; /* slots are taken from the last one on */
    unsigned char first[BLOCK];
    int fd = open_file("data", O_RDWR);

    for (uint64_t i = 0; i < 4; i++) {
        put(cache, i, BLOCK);
    }
    assert_int_equal(count_there(cache, 4, BLOCK), 4);
    assert_int_equal(pread(fd, first, BLOCK, (off_t)LAST * BLOCK), BLOCK);
    assert_int_equal(pwrite(fd, first, BLOCK, (off_t)(LAST - 1) * BLOCK), BLOCK);
    assert_int_equal(pwrite(fd, "x", 1, (off_t)(LAST - 2) * BLOCK + 77), 1);
    (void)close(fd);
    assert_int_equal(count_there(cache, 4, BLOCK), 2);
    disk_cache_get_stats(cache, &stats);
    assert_int_equal(stats.bad, 2);
    assert_int_equal(stats.blocks, 2);
    disk_cache_free(cache);
}

static void the_kernel_keeps_no_pages_of_what_was_got(UNUSED void **state)
{
    enum { BLOCKS = 16, PAGE = 4096, SLOTS = 4 * MIB / (32 * 1024) };
    struct disk_cache *cache = open_cache("volume", 4 * MIB);
    int fd = open_file("data", O_RDWR);
    unsigned char resident[BLOCKS * BLOCK / PAGE];
    size_t pages = 0;
    void *map;

    for (uint64_t i = 0; i < BLOCKS; i++) {
        put(cache, i, BLOCK);
    }
    assert_int_equal(fdatasync(fd), 0); /* only what is written can be let go */
    assert_int_equal(count_there(cache, BLOCKS, BLOCK), BLOCKS);
    map = mmap(NULL, sizeof(resident) * PAGE, PROT_READ, MAP_SHARED, fd,
               (off_t)(SLOTS - BLOCKS) * BLOCK); /* slots are taken from the last one on */
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(mincore(map, sizeof(resident) * PAGE, resident), 0);
    for (size_t i = 0; i < sizeof(resident); i++) {
        pages += resident[i] & 1U;
    }
    (void)munmap(map, sizeof(resident) * PAGE);
    if (is_in_memory(fd)) {
        print_message("on a tmpfs there is nothing to let go\n");
    } else {
        assert_true(pages < sizeof(resident) / 4);
    }
    (void)close(fd);
    disk_cache_free(cache);
}

static void *put_and_get(void *arg)
{
    struct disk_cache *cache = arg;
    struct disk_block block = {.index = 0};
    unsigned char mine[BLOCK];
    unsigned char back[BLOCK];

    disk_cache_object("shared", 6, block.object);
    for (unsigned i = 0; i < 120; i++) {
        block.index = i % 40; /* more than there is room for, so that they are evicted meanwhile */
        memset(mine, (int)block.index + 1, BLOCK);
        disk_cache_put(cache, &block, mine, BLOCK);
        if (disk_cache_get(cache, &block, back, BLOCK) == 0) {
            assert_memory_equal(back, mine, BLOCK);
        }
    }
    return NULL;
}

static void many_threads_put_and_get_the_same_blocks(UNUSED void **state)
{
    struct disk_cache *cache = open_cache("volume", MIB);
    struct disk_cache_stats stats;
    pthread_t threads[4];

    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, put_and_get, cache), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    disk_cache_get_stats(cache, &stats);
    assert_true(stats.bytes <= MIB);
    assert_int_equal(stats.bad, 0);
    assert_true(stats.hits > 0);
    disk_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blocks_are_there_again_after_a_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_name_sees_nothing_and_two_processes_do_not_share,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_never_exceeds_its_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(its_file_gives_back_what_is_evicted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(flipped_bits_are_never_given_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cut_file_is_survived, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_write_that_fails_keeps_nothing_and_harms_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_kill_at_any_moment_leaves_whole_blocks_or_none, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_scan_leaves_what_is_used_often, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_versions_of_a_key_share_nothing_also_after_a_restart,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_changes_under_an_open_cache_is_not_given_out, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_kernel_keeps_no_pages_of_what_was_got, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(many_threads_put_and_get_the_same_blocks, set_up,
                                        tear_down),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

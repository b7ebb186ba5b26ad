/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory store on a disk that gets full: -ENOSPC, nothing half done is seen, what was there
 * stays, and all goes on once there is room. The disk is a small tmpfs in a mount namespace of our
 * own; where none may be made the test is skipped.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "objstore/dir.h"
#include "objstore/objstore_call.h"
#include "test.h"
#include "util/cleanup.h"
#include "util/log.h"

enum { LARGE = 1 << 20, SMALL = 4096, OBJECTS_MAX = 20000 };

#define BUCKET "bucket"
#define ANSWER CLEANUP(objstore_answer_done) struct objstore_answer

static char root[] = "/tmp/skyvol-test-full.XXXXXX";
static bool mounted;
static struct objstore *store;
static char data[2 * LARGE];

static void write_file(const char *path, const char *text)
{
    AUTOCLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, text, strlen(text)) < 0) {
        print_message("cannot write %s\n", path);
    }
}

/* Before any thread runs. */
static void make_disk(void)
{
    char map[64];
    uid_t uid = geteuid();

    (void)snprintf(map, sizeof(map), "0 %u 1", uid);
    if (mkdtemp(root) == NULL ||
        unshare(uid == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0) {
        return;
    }
    if (uid != 0) {
        write_file("/proc/self/uid_map", map);
    }
    mounted = mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
              mount("tmpfs", root, "tmpfs", 0, "size=12m,mode=0700") == 0;
}

static void open_store(void)
{
    struct objstore_dir_config config = {.root = root, .part_min = 1};
    struct objstore_request r = {.op = OBJSTORE_BUCKET_CREATE, .bucket = BUCKET};
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct error err = ERROR_INIT;
    int ret;

    assert_int_equal(objstore_dir_new(&config, &store, &err), 0);
    ret = objstore_call(store, &r, &a);
    assert_true(ret == 0 || ret == -EEXIST);
}

static int put(const char *name, size_t size)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {
        .op = OBJSTORE_PUT, .bucket = BUCKET, .key = name, .source = {.data = data, .size = size}};

    return objstore_call(store, &r, &a);
}

static int numbered(enum objstore_op op, const char *kind, int number, size_t size)
{
    char name[64];
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = op, .bucket = BUCKET, .key = name};

    (void)snprintf(name, sizeof(name), "%s/%06d", kind, number);
    return op == OBJSTORE_PUT ? put(name, size) : objstore_call(store, &r, &a);
}

static void assert_holds(const char *name, size_t size)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = OBJSTORE_GET, .bucket = BUCKET, .key = name};

    assert_int_equal(objstore_call(store, &r, &a), 0);
    assert_int_equal(buf_len(&a.body), size);
    assert_memory_equal(buf_str(&a.body), data, size);
}

/* Puts until one fails: how many went in. The failed one must be -ENOSPC, and not be there. */
static int fill(const char *kind, size_t size)
{
    int count = 0;
    int ret = 0;

    while (count < OBJECTS_MAX && (ret = numbered(OBJSTORE_PUT, kind, count, size)) == 0) {
        count++;
    }
    assert_int_equal(ret, -ENOSPC);
    assert_int_equal(numbered(OBJSTORE_HEAD, kind, count, 0), -ENOENT);
    return count;
}

static int upload(size_t size)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    ANSWER b = OBJSTORE_ANSWER_INIT;
    struct objstore_request start = {
        .op = OBJSTORE_UPLOAD_CREATE, .bucket = BUCKET, .key = "upload"};
    struct objstore_request part = {.op = OBJSTORE_UPLOAD_PART,
                                    .bucket = BUCKET,
                                    .key = "upload",
                                    .part_number = 1,
                                    .source = {.data = data, .size = size}};
    struct objstore_request drop = {.op = OBJSTORE_UPLOAD_ABORT, .bucket = BUCKET, .key = "upload"};
    int ret = objstore_call(store, &start, &a);

    if (ret == 0) {
        part.upload_id = drop.upload_id = a.result.upload_id;
        ret = objstore_call(store, &part, &b);
        assert_int_equal(objstore_call(store, &drop, &b), 0);
    }
    return ret;
}

static void a_full_disk_refuses_and_keeps_what_it_has(void **state UNUSED)
{
    int large;
    int small;

    if (!mounted) {
        print_message("no tmpfs can be mounted here\n");
        skip();
    }
    open_store();
    assert_int_equal(put("kept", LARGE), 0);
    large = fill("large", LARGE);
    assert_true(large > 2);
    assert_int_equal(put("kept", 2 * LARGE), -ENOSPC);
    assert_holds("kept", LARGE);
    assert_int_equal(upload(2 * LARGE), -ENOSPC);
    small = fill("small", SMALL);
    assert_holds("kept", LARGE);
    for (int i = 0; i < large; i++) {
        char name[64];

        (void)snprintf(name, sizeof(name), "large/%06d", i);
        assert_holds(name, LARGE);
    }
    print_message("%d objects of 1 MiB and %d of 4 KiB filled the disk\n", large, small);
    /* To the last byte: deleting must not need what it is there to give. */
    for (int i = 0; i < small; i++) {
        assert_int_equal(numbered(OBJSTORE_DELETE, "small", i, 0), 0);
    }
    assert_int_equal(numbered(OBJSTORE_DELETE, "large", 0, 0), 0);
    objstore_free(store);
    open_store();
    assert_int_equal(put("again", LARGE / 2), 0);
    assert_holds("again", LARGE / 2);
    assert_int_equal(upload(LARGE / 4), 0);
    objstore_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_refuses_and_keeps_what_it_has),
    };
    int failed;

    make_disk();
    log_set_level(LOG_ERROR);
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (char)(i * 31 + i / 251);
    }
    failed = cmocka_run_group_tests_name("store_full", tests, NULL, NULL);
    (void)umount2(root, MNT_DETACH);
    (void)rmdir(root);
    return failed;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* objstore_now() beside objstore_submit(): the same answers, and none where one would wait. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "objstore/dir.h"
#include "objstore/objstore_call.h"
#include "objstore/retry.h"
#include "s3/error.h"
#include "test.h"
#include "util/cleanup.h"

enum { BIG = 200 * 1024 };

struct stores {
    char root[64];
    struct objstore *store; /* asked at once, */
    struct objstore *other; /* and one that another process might have */
};

/* What came of one request. */
struct answer {
    struct objstore *store;
    int calls, status, s3_code;
    bool marker, file, again;
    struct objstore_info info;
    struct objstore_range range;
    struct buf body;
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void call(struct objstore *store, struct objstore_request request)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;

    assert_int_equal(objstore_call(store, &request, &answer), 0);
}

static void put(struct objstore *store, const char *key, const char *bytes, size_t len)
{
    static const struct objstore_meta meta = {.content_type = "text/x"};

    call(store, (struct objstore_request){.op = OBJSTORE_PUT,
                                          .bucket = "bucket",
                                          .key = key,
                                          .meta = &meta,
                                          .tags = "a=b",
                                          .source = {.data = bytes, .size = len}});
}

static int set_up(void **state)
{
    struct stores *s = calloc(1, sizeof(*s));
    struct error err = ERROR_INIT;
    struct objstore_dir_config config = {.threads = 1, .not_durable = true};
    const struct objstore_retry_config retry = {0};

    assert_non_null(s);
    (void)snprintf(s->root, sizeof(s->root), "/tmp/skyvol-now.XXXXXX");
    assert_non_null(mkdtemp(s->root));
    config.root = s->root;
    assert_int_equal(objstore_dir_new(&config, &s->other, &err), 0);
    config.now = true;
    assert_int_equal(objstore_dir_new(&config, &s->store, &err), 0);
    assert_int_equal(objstore_retry_new(s->store, &retry, &s->store), 0);
    call(s->other, (struct objstore_request){
                       .op = OBJSTORE_BUCKET_CREATE, .bucket = "bucket", .account = "me"});
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct stores *s = *state;

    objstore_free(s->store);
    objstore_free(s->other);
    assert_int_equal(nftw(s->root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(s);
    return 0;
}

static int on_info(struct objstore_request *request, const struct objstore_info *info,
                   struct objstore_range range)
{
    struct answer *a = request->arg;

    a->info = *info;
    a->range = range;
    return 0;
}

static int on_write(struct objstore_request *request, const void *data, size_t len)
{
    struct answer *a = request->arg;

    buf_add(&a->body, data, len);
    return buf_error(&a->body);
}

static int on_file(struct objstore_request *request, int fd, struct objstore_range range)
{
    struct answer *a = request->arg;
    char *bytes = malloc((size_t)range.len);

    assert_non_null(bytes);
    assert_int_equal(pread(fd, bytes, (size_t)range.len, (off_t)range.offset), range.len);
    buf_add(&a->body, bytes, (size_t)range.len);
    free(bytes);
    (void)close(fd);
    a->file = true;
    return 0;
}

static void on_done(struct objstore_request *request, const struct objstore_result *result)
{
    struct answer *a = request->arg;

    a->calls++;
    a->status = result->status;
    a->s3_code = result->s3_code;
    a->marker = result->delete_marker;
    if (request->op == OBJSTORE_HEAD) {
        a->info = result->info;
    }
    if (a->again) { /* who is answered asks once more: that one has to wait for its turn */
        struct objstore_request more = *request;

        assert_false(objstore_now(a->store, &more));
    }
}

/* True when it was answered at once. */
static bool ask(struct objstore *store, struct objstore_request request, struct answer *ret)
{
    *ret = (struct answer){.store = store, .again = ret->again, .body = BUF_INIT(1 << 20)};
    request.bucket = request.bucket != NULL ? request.bucket : "bucket";
    request.sink.info = on_info;
    request.sink.write = on_write;
    request.sink.file = request.op == OBJSTORE_GET ? on_file : NULL;
    request.done = on_done;
    request.arg = ret;
    return objstore_now(store, &request);
}

static struct answer at_once(struct objstore *store, struct objstore_request request)
{
    struct answer a = {0};

    assert_true(ask(store, request, &a));
    assert_int_equal(a.calls, 1);
    return a;
}

static void the_answers_are_those_of_a_thread(void **state)
{
    static char big[BIG];
    static const struct objstore_request rows[] = {
        {.op = OBJSTORE_GET, .key = "small"},
        {.op = OBJSTORE_HEAD, .key = "small"},
        {.op = OBJSTORE_GET, .key = "empty"},
        {.op = OBJSTORE_HEAD, .key = "empty"},
        {.op = OBJSTORE_GET, .key = "big"},
        {.op = OBJSTORE_GET, .key = "big", .range = {1, 2}},
        {.op = OBJSTORE_GET, .key = "big", .range = {BIG - 70000, OBJSTORE_TO_END}},
        {.op = OBJSTORE_GET, .key = "small", .range = {3, OBJSTORE_TO_END}},
        {.op = OBJSTORE_GET, .key = "small", .range = {5, 1}},
        {.op = OBJSTORE_GET, .key = "small", .part_number = 1},
        {.op = OBJSTORE_GET, .key = "small", .part_number = 2},
        {.op = OBJSTORE_HEAD, .key = "small", .list_parts = true},
        {.op = OBJSTORE_GET, .key = "small", .if_match = "x"},
        {.op = OBJSTORE_GET, .key = "small", .if_none_match = "*"},
        {.op = OBJSTORE_GET, .key = "small", .version_id = "null"},
        {.op = OBJSTORE_GET, .key = "small", .version_id = "no id"},
        {.op = OBJSTORE_GET, .key = "small", .account = "me"},
        {.op = OBJSTORE_GET, .key = "small", .account = "somebody"},
        {.op = OBJSTORE_GET, .key = "absent"},
        {.op = OBJSTORE_HEAD, .key = "absent", .bucket = "no-bucket"},
    };
    struct stores *s = *state;

    for (size_t i = 0; i < BIG; i++) {
        big[i] = (char)(i * 7 / 3);
    }
    put(s->other, "small", "hello", 5);
    put(s->other, "empty", "", 0);
    put(s->other, "big", big, BIG);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct objstore_request request = rows[i];
        CLEANUP(objstore_answer_done) struct objstore_answer thread = OBJSTORE_ANSWER_INIT;
        struct answer now = at_once(s->store, request);

        request.bucket = request.bucket != NULL ? request.bucket : "bucket";
        assert_int_equal(objstore_call(s->other, &request, &thread), now.status);
        assert_int_equal(now.s3_code, thread.result.s3_code);
        assert_int_equal(buf_len(&now.body), buf_len(&thread.body));
        assert_memory_equal(buf_str(&now.body), buf_str(&thread.body), buf_len(&now.body));
        if (now.status == 0) {
            assert_string_equal(now.info.etag, thread.result.info.etag);
            assert_int_equal(now.info.mtime_ns, thread.result.info.mtime_ns);
            assert_int_equal(now.info.tag_count, 1);
        }
        assert_int_equal(now.file, buf_len(&now.body) > 64 * 1024);
        buf_done(&now.body);
    }
}

static void what_another_has_changed_is_seen(void **state)
{
    struct stores *s = *state;
    struct answer a;

    for (int i = 0; i < 50; i++) {
        char text[16];

        (void)snprintf(text, sizeof(text), "%d", i);
        put(i % 2 == 0 ? s->other : s->store, "k", text, strlen(text));
        a = at_once(s->store, (struct objstore_request){.op = OBJSTORE_GET, .key = "k"});
        assert_int_equal(a.status, 0);
        assert_string_equal(buf_str(&a.body), text);
        buf_done(&a.body);
        call(s->other,
             (struct objstore_request){.op = OBJSTORE_DELETE, .bucket = "bucket", .key = "k"});
        a = at_once(s->store, (struct objstore_request){.op = OBJSTORE_HEAD, .key = "k"});
        assert_int_equal(a.status, -ENOENT);
    }
    call(s->other, (struct objstore_request){.op = OBJSTORE_BUCKET_DOC_PUT,
                                             .bucket = "bucket",
                                             .doc = OBJSTORE_DOC_VERSIONING,
                                             .document = "<VersioningConfiguration><Status>Enabled"
                                                         "</Status></VersioningConfiguration>"});
    put(s->other, "k", "x", 1);
    call(s->other,
         (struct objstore_request){.op = OBJSTORE_DELETE, .bucket = "bucket", .key = "k"});
    a = at_once(s->store, (struct objstore_request){.op = OBJSTORE_GET, .key = "k"});
    assert_int_equal(a.status, -ENOENT);
    assert_true(a.marker);
}

/* 0 when the bytes of all objects have left memory. Whether they have is not found out by reading:
 * that would bring them back. */
static int drop_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    int fd =
        type == FTW_F && strstr(path, "/data/") != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    unsigned char there = 0;
    void *map;

    (void)ftw;
    if (fd >= 0) {
        assert_int_equal(fsync(fd), 0);
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        map = mmap(NULL, (size_t)st->st_size, PROT_READ, MAP_SHARED, fd, 0);
        assert_ptr_not_equal(map, MAP_FAILED);
        assert_int_equal(mincore(map, (size_t)st->st_size, &there), 0);
        (void)munmap(map, (size_t)st->st_size);
        (void)close(fd);
    }
    return there & 1;
}

static void bytes_on_the_disk_are_not_waited_for(void **state)
{
    const struct objstore_request get = {.op = OBJSTORE_GET, .key = "k"};
    struct stores *s = *state;
    struct answer a = {0};

    put(s->other, "k", "cold", 4);
    if (nftw(s->root, drop_one, 16, FTW_PHYS) != 0) {
        skip(); /* a file system of memory */
    }
    assert_false(ask(s->store, get, &a));
    assert_int_equal(a.calls, 0);
    assert_int_equal(buf_len(&a.body), 0);
    call(s->store, (struct objstore_request){.op = OBJSTORE_GET, .bucket = "bucket", .key = "k"});
    a = at_once(s->store, get);
    assert_string_equal(buf_str(&a.body), "cold");
    buf_done(&a.body);
}

/* Its bytes are in the index, where files are made later; a range of them, too. */
static void what_has_no_file_yet_is_answered(void **state)
{
    struct stores *s = *state;
    const struct objstore_dir_config config = {.root = s->root, .threads = 1, .now = true};
    struct objstore *durable = NULL;
    struct error err = ERROR_INIT;
    struct answer a;
    char path[128];
    int data;

    (void)snprintf(path, sizeof(path), "%s/data", s->root);
    data = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(flock(data, LOCK_EX), 0); /* nobody makes any */
    assert_int_equal(objstore_dir_new(&config, &durable, &err), 0);
    put(durable, "small", "0123456789", 10);
    a = at_once(durable, (struct objstore_request){.op = OBJSTORE_GET, .key = "small"});
    assert_string_equal(buf_str(&a.body), "0123456789");
    buf_done(&a.body);
    a = at_once(durable,
                (struct objstore_request){.op = OBJSTORE_GET, .key = "small", .range = {3, 4}});
    assert_string_equal(buf_str(&a.body), "3456");
    buf_done(&a.body);
    assert_int_equal(close(data), 0);
    objstore_free(durable);
}

static void a_bucket_of_the_same_name_is_another(void **state)
{
    const struct objstore_request get = {.op = OBJSTORE_GET, .key = "k"};
    struct stores *s = *state;
    struct answer a;

    for (int i = 0; i < 10; i++) {
        put(s->other, "k", "x", 1);
        a = at_once(s->store, get);
        assert_string_equal(buf_str(&a.body), "x");
        buf_done(&a.body);
        call(s->other,
             (struct objstore_request){.op = OBJSTORE_DELETE, .bucket = "bucket", .key = "k"});
        call(s->other, (struct objstore_request){.op = OBJSTORE_BUCKET_DELETE, .bucket = "bucket"});
        a = at_once(s->store, get);
        assert_int_equal(a.s3_code, S3_NO_SUCH_BUCKET);
        call(s->other, (struct objstore_request){.op = OBJSTORE_BUCKET_CREATE,
                                                 .bucket = "bucket",
                                                 .account = i % 2 == 0 ? "you" : "me"});
        a = at_once(s->store,
                    (struct objstore_request){.op = OBJSTORE_HEAD, .key = "k", .account = "me"});
        assert_int_equal(a.status, i % 2 == 0 ? -EACCES : -ENOENT);
    }
}

/* Finds the one file of an object. */
static char found_file[256];
static int find_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    if (type == FTW_F && strstr(path, "/data/") != NULL) {
        (void)snprintf(found_file, sizeof(found_file), "%s", path);
    }
    return 0;
}

static void damage_is_for_a_thread_to_tell(void **state)
{
    const struct objstore_request get = {.op = OBJSTORE_GET, .key = "k"};
    struct stores *s = *state;
    struct answer a;

    put(s->other, "k", "hello", 5);
    a = at_once(s->store, get);
    buf_done(&a.body);
    assert_int_equal(nftw(s->root, find_one, 16, FTW_PHYS), 0);
    assert_int_equal(truncate(found_file, 4), 0);
    assert_false(ask(s->store, get, &a));
    assert_false(ask(
        s->store, (struct objstore_request){.op = OBJSTORE_GET, .key = "k", .range = {0, 1}}, &a));
    assert_int_equal(truncate(found_file, 5), 0);
    a = at_once(s->store, get);
    buf_done(&a.body);
    assert_int_equal(unlink(found_file), 0); /* it is open still, and nobody is to be told so */
    assert_false(ask(s->store, get, &a));
}

static void expect_body(struct stores *s, struct objstore_range range, const char *expected)
{
    struct answer a = at_once(
        s->store, (struct objstore_request){.op = OBJSTORE_GET, .key = "k", .range = range});

    assert_int_equal(buf_len(&a.body), strlen(expected));
    assert_memory_equal(buf_str(&a.body), expected, strlen(expected));
    buf_done(&a.body);
}

/* Bytes are kept of a file that was not changed for a second or two. */
static void bytes_that_are_kept_are_those_of_the_file(void **state)
{
    const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    const struct objstore_range all = {0, OBJSTORE_TO_END}, some = {1, 3};
    struct stores *s = *state;

    put(s->other, "k", "hello", 5);
    expect_body(s, all, "hello");
    assert_int_equal(nftw(s->root, find_one, 16, FTW_PHYS), 0);
    sleep(2); /* the time of its last change cannot be set */
    for (int i = 0; i < 3; i++) {
        expect_body(s, all, "hello");
        expect_body(s, some, "ell");
    }
    {
        AUTOCLOSE int fd = open(found_file, O_WRONLY | O_CLOEXEC);

        assert_int_equal(pwrite(fd, "HELLO", 5, 0), 5);
        assert_int_equal(futimens(fd, long_ago), 0);
    }
    expect_body(s, some, "ELL");
    expect_body(s, all, "HELLO");
    assert_int_equal(unlink(found_file), 0);
    assert_false(ask(s->store, (struct objstore_request){.op = OBJSTORE_GET, .key = "k"},
                     &(struct answer){0}));
}

/* How many objects' files we have open: all, or those that were removed. */
static int files_open(const char *root, bool removed)
{
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;
    int count = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        char target[512];
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);

        target[n > 0 ? n : 0] = '\0';
        count += strstr(target, root) != NULL && strstr(target, "/data/") != NULL &&
                 (!removed || strstr(target, "(deleted)") != NULL);
    }
    (void)closedir(dir);
    return count;
}

static void removed_objects_give_their_room_back(void **state)
{
    struct stores *s = *state;
    int most = 0;

    for (int i = 0; i < 5; i++) {
        char key[2] = {(char)('a' + i), '\0'};
        struct answer a;

        put(s->other, key, "x", 1);
        a = at_once(s->store, (struct objstore_request){.op = OBJSTORE_GET, .key = key});
        buf_done(&a.body);
        call(s->other,
             (struct objstore_request){.op = OBJSTORE_DELETE, .bucket = "bucket", .key = key});
    }
    for (int i = 0; i < 1000; i++) { /* 10 s */
        int now = files_open(s->root, true);

        most = now > most ? now : most;
        if (most > 0 && now == 0) {
            return;
        }
        (void)usleep(10000);
    }
    fail_msg("%d removed files stay open", most);
}

/* None takes the place of another; they are closed after a second, for which we may be too slow. */
static void many_files_stay_open(void **state)
{
    enum { FILES = 24, SIZE = 20 * 1024 };
    static const char bytes[SIZE];
    struct stores *s = *state;
    char key[2] = "a";
    int now = 0;

    for (int i = 0; i < FILES; i++, key[0]++) {
        put(s->other, key, bytes, sizeof(bytes));
    }
    for (int tries = 0; now < FILES && tries < 200; tries++) {
        for (key[0] = 'a'; key[0] < 'a' + FILES; key[0]++) {
            struct answer a =
                at_once(s->store, (struct objstore_request){.op = OBJSTORE_GET, .key = key});

            buf_done(&a.body);
        }
        now = files_open(s->root, false);
    }
    assert_int_equal(now, FILES);
}

static void only_a_store_opened_for_it_answers(void **state)
{
    struct stores *s = *state;
    struct answer a = {0};

    put(s->other, "k", "x", 1);
    assert_false(ask(s->other, (struct objstore_request){.op = OBJSTORE_GET, .key = "k"}, &a));
    assert_false(ask(s->store, (struct objstore_request){.op = OBJSTORE_TAGS_GET, .key = "k"}, &a));
    assert_false(ask(s->store, (struct objstore_request){.op = OBJSTORE_GET, .key = ""}, &a));
    assert_int_equal(a.calls, 0);
    a.again = true;
    assert_true(ask(s->store, (struct objstore_request){.op = OBJSTORE_HEAD, .key = "k"}, &a));
}

/* Writers and a reader at a time: what was acknowledged before a question is seen by it. */
struct writing {
    struct objstore *store;
    atomic_int acknowledged;
};

enum { WRITES = 300 };

static void *write_all(void *arg)
{
    struct writing *w = arg;

    for (int i = 1; i <= WRITES; i++) {
        char text[16];

        (void)snprintf(text, sizeof(text), "%d", i);
        put(w->store, "k", text, strlen(text));
        atomic_store(&w->acknowledged, i);
    }
    return NULL;
}

static void nothing_stale_is_read_while_others_write(void **state)
{
    struct stores *s = *state;
    struct writing w = {.store = s->other};
    pthread_t thread;
    int known, at_once_count = 0;

    put(s->other, "k", "0", 1);
    assert_int_equal(pthread_create(&thread, NULL, write_all, &w), 0);
    do {
        struct answer a = {0};

        known = atomic_load(&w.acknowledged);
        if (ask(s->store, (struct objstore_request){.op = OBJSTORE_GET, .key = "k"}, &a)) {
            assert_int_equal(a.status, 0);
            assert_true(strtol(buf_str(&a.body), NULL, 10) >= known);
            at_once_count++;
        }
        buf_done(&a.body);
    } while (known < WRITES);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(at_once_count > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_answers_are_those_of_a_thread, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_another_has_changed_is_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bytes_on_the_disk_are_not_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_has_no_file_yet_is_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bucket_of_the_same_name_is_another, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_is_for_a_thread_to_tell, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bytes_that_are_kept_are_those_of_the_file, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(removed_objects_give_their_room_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_files_stay_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_a_store_opened_for_it_answers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_stale_is_read_while_others_write, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

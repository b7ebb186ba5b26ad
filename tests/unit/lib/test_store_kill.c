/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that writes to a directory store is killed in the middle, again and again. Afterwards,
 * each time: what was acknowledged is there and whole, nothing half done is seen, and no file lies
 * about that the index does not name.
 *
 * The writer tells each acknowledgement through a pipe. Write number n of a key has a content that
 * follows from (key, n); every fifth deletes, every third comes in three parts. As a key has one
 * writer, the state found must be that of the last acknowledged write or of the one after it. The
 * test's own process has no threads and does not open the store: writer and checker are its
 * children.
 *
 * In a bucket with versions write n makes version n, or a delete marker; but every seventh removes
 * the version three before it for good. So which versions there are, and in which order, follows
 * from the number of the last write.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "objstore/dir.h"
#include "objstore/objstore_call.h"
#include "test.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/random.h"

enum {
    KILLS = 30,
    KILLS_VERSIONED = 10,
    REMOVE_EVERY = 7,
    REMOVE_BEFORE = 3,
    KEYS = 6,
    SIZE_MAX_BYTES = 100000,
    DELETE_EVERY = 5,
    UPLOAD_EVERY = 3,
    PARTS = 3
};

#define BUCKET "bucket"
#define ANSWER CLEANUP(objstore_answer_done) struct objstore_answer

struct acknowledgement {
    uint32_t key;
    uint32_t number;
};

static struct objstore *store; /* of a child */
static int acknowledgements;   /* the writer's end of the pipe */
static uint32_t last[KEYS];    /* write acknowledged last; 0: none */
static size_t files_found;
static bool versioned; /* this run's bucket keeps versions */

static bool deletes(uint32_t number)
{
    return number % DELETE_EVERY == 0;
}

static size_t content(uint32_t key, uint32_t number, unsigned char *data)
{
    size_t most = versioned ? SIZE_MAX_BYTES / 30 : SIZE_MAX_BYTES; /* all of them are read back */
    size_t size = (number * 7919U + key * 104729U) % most;

    for (size_t i = 0; i < size; i++) {
        data[i] = (unsigned char)(i * 31 + i / 256 + number + key * 17);
    }
    return size;
}

static void key_name(uint32_t key, char ret[32])
{
    (void)snprintf(ret, 32, "dir/%u/../file", key);
}

static int upload_parts(const char *name, const char *id, const unsigned char *data, size_t size)
{
    struct objstore_part parts[PARTS];
    struct objstore_request end = {.op = OBJSTORE_UPLOAD_COMPLETE,
                                   .bucket = BUCKET,
                                   .key = name,
                                   .upload_id = id,
                                   .parts = parts,
                                   .parts_count = PARTS};
    ANSWER a = OBJSTORE_ANSWER_INIT;

    memset(parts, 0, sizeof(parts));
    for (uint32_t i = 0; i < PARTS; i++) {
        ANSWER part = OBJSTORE_ANSWER_INIT;
        size_t from = size * i / PARTS;
        struct objstore_request r = {
            .op = OBJSTORE_UPLOAD_PART,
            .bucket = BUCKET,
            .key = name,
            .upload_id = id,
            .part_number = i + 1,
            .source = {.data = data + from, .size = size * (i + 1) / PARTS - from}};
        int ret = objstore_call(store, &r, &part);

        if (ret != 0) {
            return ret;
        }
        parts[i].number = i + 1;
        memcpy(parts[i].etag, part.result.info.etag, sizeof(parts[i].etag));
    }
    return objstore_call(store, &end, &a);
}

static int upload_once(const char *name, const unsigned char *data, size_t size)
{
    struct objstore_request start = {.op = OBJSTORE_UPLOAD_CREATE, .bucket = BUCKET, .key = name};
    ANSWER a = OBJSTORE_ANSWER_INIT;
    int ret = objstore_call(store, &start, &a);

    return ret == 0 ? upload_parts(name, a.result.upload_id, data, size) : ret;
}

/* The newest is that of the write before; from there they are counted, as all were made. */
static int remove_version(const char *name)
{
    ANSWER all = OBJSTORE_ANSWER_INIT;
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request list = {
        .op = OBJSTORE_LIST_VERSIONS, .bucket = BUCKET, .key = name, .max_entries = REMOVE_BEFORE};
    struct objstore_request r = {.op = OBJSTORE_DELETE, .bucket = BUCKET, .key = name};
    int ret = objstore_call(store, &list, &all);

    if (ret != 0 || all.result.count != REMOVE_BEFORE) {
        return -EIO;
    }
    r.version_id = all.result.entries[REMOVE_BEFORE - 1].info.version_id;
    return objstore_call(store, &r, &a);
}

static int write_once(uint32_t key, uint32_t number, unsigned char *data)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    char name[32];
    struct objstore_request r = {.op = OBJSTORE_PUT, .bucket = BUCKET, .key = name};

    key_name(key, name);
    if (versioned && number % REMOVE_EVERY == 0) {
        return remove_version(name);
    }
    if (deletes(number)) {
        r.op = OBJSTORE_DELETE;
    } else if (number % UPLOAD_EVERY == 0) {
        return upload_once(name, data, content(key, number, data));
    } else {
        r.source.data = data;
        r.source.size = content(key, number, data);
    }
    return objstore_call(store, &r, &a);
}

static void *write_for_ever(void *arg)
{
    const struct acknowledgement *start = arg;
    struct acknowledgement now = *start;
    unsigned char *data = malloc(SIZE_MAX_BYTES);

    for (now.number++; data != NULL && write_once(now.key, now.number, data) == 0; now.number++) {
        if (write(acknowledgements, &now, sizeof(now)) != (ssize_t)sizeof(now)) {
            break;
        }
    }
    _exit(1); /* only a kill ends this well */
}

static void open_store(const char *root)
{
    struct objstore_dir_config config = {.root = root, .part_min = 1};
    struct objstore_request r = {.op = OBJSTORE_BUCKET_CREATE, .bucket = BUCKET};
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct error err = ERROR_INIT;
    int ret = objstore_dir_new(&config, &store, &err);

    if (ret == 0) {
        ret = objstore_call(store, &r, &a);
    }
    if (versioned && (ret == 0 || ret == -EEXIST)) {
        r = (struct objstore_request){.op = OBJSTORE_BUCKET_DOC_PUT,
                                      .bucket = BUCKET,
                                      .doc = OBJSTORE_DOC_VERSIONING,
                                      .document = "<VersioningConfiguration><Status>Enabled"
                                                  "</Status></VersioningConfiguration>"};
        ret = objstore_call(store, &r, &a);
    }
    if (ret != 0 && ret != -EEXIST) {
        print_error("%s%s\n", err.text, a.result.error.text);
        _exit(1);
    }
}

static void writer(const char *root)
{
    struct acknowledgement start[KEYS];
    pthread_t threads[KEYS];

    open_store(root);
    for (uint32_t i = 0; i < KEYS; i++) {
        start[i] = (struct acknowledgement){.key = i, .number = last[i]};
        if (pthread_create(&threads[i], NULL, write_for_ever, &start[i]) != 0) {
            _exit(1);
        }
    }
    (void)pthread_join(threads[0], NULL);
    _exit(1);
}

/* True if what the store holds under the key is what write `number` left; counts its file. */
static bool holds(uint32_t key, uint32_t number, int status, const struct buf *body)
{
    unsigned char *expected;
    size_t size;
    bool same;

    if (number == 0 || deletes(number)) {
        return status == -ENOENT;
    }
    expected = malloc(SIZE_MAX_BYTES);
    if (expected == NULL) {
        return false;
    }
    size = content(key, number, expected);
    same = status == 0 && buf_len(body) == size && memcmp(buf_str(body), expected, size) == 0;
    free(expected);
    return same;
}

/* Which of the two writes it is that is seen; exits when neither. */
static uint32_t check_key(uint32_t key, bool *ret_has_file)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    char name[32];
    struct objstore_request r = {.op = OBJSTORE_GET, .bucket = BUCKET, .key = name};
    int status;

    key_name(key, name);
    status = objstore_call(store, &r, &a);
    *ret_has_file = status == 0 && buf_len(&a.body) > 0;
    for (uint32_t number = last[key]; number <= last[key] + 1; number++) {
        if (holds(key, number, status, &a.body)) {
            return number;
        }
    }
    print_error("key %u: acknowledged write %u, found status %d and %zu bytes\n", key, last[key],
                status, buf_len(&a.body));
    _exit(1);
}

/* The write that made the newest version of those that write `number` left, before `below`. */
static uint32_t made_by(uint32_t number, uint32_t below)
{
    for (uint32_t n = below - 1; n > 0; n--) {
        bool removed =
            n % REMOVE_EVERY == REMOVE_EVERY - REMOVE_BEFORE && n + REMOVE_BEFORE <= number;

        if (n % REMOVE_EVERY != 0 && !removed) {
            return n;
        }
    }
    return 0;
}

static bool is_made_by(uint32_t key, uint32_t number, const struct objstore_entry *e)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {
        .op = OBJSTORE_GET, .bucket = BUCKET, .key = e->key, .version_id = e->info.version_id};

    if (e->delete_marker || deletes(number)) {
        return e->delete_marker && deletes(number);
    }
    return holds(key, number, objstore_call(store, &r, &a), &a.body);
}

/* All versions of the key are those that write `number` left; counts their files. */
static bool holds_versions(uint32_t key, uint32_t number, size_t *ret_files)
{
    struct objstore_request r = {.op = OBJSTORE_LIST_VERSIONS, .bucket = BUCKET};
    uint32_t next = made_by(number, number + 1);
    char name[32], marker[32] = "", marker2[OBJSTORE_VERSION_MAX] = "";
    bool newest = true, more = true;

    key_name(key, name);
    r.key = name;
    *ret_files = 0;
    while (more) {
        ANSWER a = OBJSTORE_ANSWER_INIT;

        r.marker = marker[0] != '\0' ? marker : NULL;
        r.marker2 = marker2[0] != '\0' ? marker2 : NULL;
        if (objstore_call(store, &r, &a) != 0) {
            return false;
        }
        for (size_t i = 0; i < a.result.count; i++) {
            const struct objstore_entry *e = &a.result.entries[i];

            if (next == 0 || e->latest != newest || !is_made_by(key, next, e)) {
                return false;
            }
            *ret_files += e->info.size > 0 ? 1 : 0;
            next = made_by(number, next);
            newest = false;
        }
        more = a.result.truncated;
        if (more) {
            (void)snprintf(marker, sizeof(marker), "%s", a.result.next_marker);
            (void)snprintf(marker2, sizeof(marker2), "%s", a.result.next_marker2);
        }
    }
    return next == 0;
}

static uint32_t check_versions(uint32_t key, size_t *ret_files)
{
    for (uint32_t number = last[key]; number <= last[key] + 1; number++) {
        if (holds_versions(key, number, ret_files)) {
            return number;
        }
    }
    print_error("key %u: acknowledged write %u, but other versions\n", key, last[key]);
    _exit(1);
}

static int count_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path;
    (void)st;
    (void)ftw;
    files_found += type == FTW_F;
    return 0;
}

static size_t count_files(const char *root, const char *folder)
{
    AUTOFREE char *path = NULL;

    if (asprintf(&path, "%s/%s", root, folder) < 0) {
        _exit(1);
    }
    files_found = 0;
    (void)nftw(path, count_file, 16, FTW_PHYS);
    return files_found;
}

/* Superseded files go in the background: they have 10 s. */
static void check_no_orphans(const char *root, size_t expected)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    size_t data = 0;
    size_t unfinished = 0;

    for (int i = 0; i < 1000; i++) {
        data = count_files(root, "data");
        unfinished = count_files(root, "tmp") - 1; /* the checker's own lease */
        if (data == expected && unfinished == 0) {
            return;
        }
        (void)nanosleep(&pause, NULL);
    }
    print_error("%zu data files, %zu expected; %zu files in tmp\n", data, expected, unfinished);
    _exit(1);
}

/* What a killed writer had begun is still an open upload, with the parts it acknowledged. */
static void abort_uploads(void)
{
    ANSWER open = OBJSTORE_ANSWER_INIT;
    struct objstore_request list = {.op = OBJSTORE_UPLOAD_LIST, .bucket = BUCKET};

    if (objstore_call(store, &list, &open) != 0 || open.result.truncated) {
        _exit(1);
    }
    for (size_t i = 0; i < open.result.count; i++) {
        ANSWER a = OBJSTORE_ANSWER_INIT;
        struct objstore_request drop = {.op = OBJSTORE_UPLOAD_ABORT,
                                        .bucket = BUCKET,
                                        .key = open.result.uploads[i].key,
                                        .upload_id = open.result.uploads[i].upload_id};

        if (objstore_call(store, &drop, &a) != 0) {
            _exit(1);
        }
    }
}

static void checker(const char *root)
{
    size_t with_file = 0;

    open_store(root);
    abort_uploads();
    for (uint32_t i = 0; i < KEYS; i++) {
        bool has_file = false;
        size_t files = 0;
        struct acknowledgement seen = {
            .key = i, .number = versioned ? check_versions(i, &files) : check_key(i, &has_file)};

        with_file += versioned ? files : has_file;
        if (write(acknowledgements, &seen, sizeof(seen)) != (ssize_t)sizeof(seen)) {
            _exit(1);
        }
    }
    check_no_orphans(root, with_file);
    objstore_free(store);
    _exit(0);
}

/* Runs a child, kills it after kill_ms (0: lets it end), takes what it acknowledged. */
static int run_child(void (*child)(const char *), const char *root, unsigned kill_ms)
{
    const struct timespec pause = {.tv_nsec = (long)kill_ms * 1000000};
    struct acknowledgement ack;
    int ends[2];
    int status = 0;
    pid_t pid;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    (void)fcntl(ends[1], F_SETPIPE_SZ, 1 << 20); /* nobody reads before the kill */
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        acknowledgements = ends[1];
        child(root);
    }
    (void)close(ends[1]);
    if (kill_ms > 0) {
        struct pollfd acked = {.fd = ends[0], .events = POLLIN};

        (void)poll(&acked, 1, 20000); /* however slow the machine: something has been written */
        (void)nanosleep(&pause, NULL);
        (void)kill(pid, SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    while (read(ends[0], &ack, sizeof(ack)) == (ssize_t)sizeof(ack)) {
        assert_true(ack.key < KEYS);
        last[ack.key] = ack.number;
    }
    (void)close(ends[0]);
    return status;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void kill_writers(int kills)
{
    char root[] = "/tmp/skyvol-test-kill.XXXXXX";
    uint32_t writes = 0;

    memset(last, 0, sizeof(last));
    assert_non_null(mkdtemp(root));
    for (int i = 0; i < kills; i++) {
        int status = run_child(writer, root, 20 + (unsigned)random_below(120));

        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        status = run_child(checker, root, 0);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        writes += last[i];
    }
    print_message("%d kills, %u writes\n", kills, writes);
    assert_true(writes > (uint32_t)kills);
    assert_int_equal(nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void a_killed_writer_loses_nothing_and_leaves_nothing(void **state UNUSED)
{
    versioned = false;
    kill_writers(KILLS);
}

static void of_versions_too(void **state UNUSED)
{
    versioned = true;
    kill_writers(KILLS_VERSIONED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_writer_loses_nothing_and_leaves_nothing),
        cmocka_unit_test(of_versions_too),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests_name("store_kill", tests, NULL, NULL);
}

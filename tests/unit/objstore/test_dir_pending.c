/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of small objects when the power goes, and when the disk takes no flush.
 *
 * A child writes and ends without closing its store, while each flush of all waits: so all it wrote
 * has rows. The test's own process then takes from the files what a disk may not have of them, and
 * opens the store. It has no threads while it forks.
 */
#include "objstore/dir_pending.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "objstore/dir.h"
#include "objstore/fake_disk.h"
#include "objstore/objstore_call.h"
#include "test.h"
#include "util/cleanup.h"

enum { SIZE = 5000, FILES = 12, WAIT_S = 20 };

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static size_t files_found;

static int count_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path;
    (void)st;
    (void)ftw;
    files_found += type == FTW_F;
    return 0;
}

static char root[64];

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof(root), "/tmp/skyvol-pending.XXXXXX");
    assert_non_null(mkdtemp(root));
    atomic_store(&disk, DISK_WORKS);
    atomic_store(&flushes, 0);
    file_system = EXT4_SUPER_MAGIC;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *path_in(const char *folder, const char *file, char ret[512])
{
    (void)snprintf(ret, 512, "%s/%s%s", root, folder, file);
    return ret;
}

static struct objstore *open_store(void)
{
    struct objstore_dir_config config = {.root = root, .threads = 1};
    struct objstore *store = NULL;
    struct error err = ERROR_INIT;

    assert_int_equal(objstore_dir_new(&config, &store, &err), 0);
    return store;
}

static int call(struct objstore *store, struct objstore_request request)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;

    return objstore_call(store, &request, &answer);
}

static void create(struct objstore *store, const char *bucket)
{
    assert_int_equal(
        call(store, (struct objstore_request){.op = OBJSTORE_BUCKET_CREATE, .bucket = bucket}), 0);
}

static void fill(char *bytes, size_t size, int seed)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (char)(i / 7 + (size_t)seed * 13);
    }
}

static void put(struct objstore *store, const char *key, size_t size, int seed)
{
    AUTOFREE char *bytes = malloc(size);

    assert_non_null(bytes);
    fill(bytes, size, seed);
    assert_int_equal(
        call(store, (struct objstore_request){.op = OBJSTORE_PUT,
                                              .bucket = "bucket",
                                              .key = key,
                                              .source = {.data = bytes, .size = size}}),
        0);
}

static void delete_key(struct objstore *store, const char *key)
{
    assert_int_equal(
        call(store,
             (struct objstore_request){.op = OBJSTORE_DELETE, .bucket = "bucket", .key = key}),
        0);
}

static char in_pieces[SIZE];
static size_t given;

static ssize_t read_piece(struct objstore_request *request, void *buffer, size_t cap)
{
    size_t len = SIZE - given < 700 ? SIZE - given : 700;

    (void)request;
    assert_true(len <= cap);
    memcpy(buffer, in_pieces + given, len);
    given += len;
    return (ssize_t)len;
}

/* From a source that does not keep what it gave. */
static void put_in_pieces(struct objstore *store, const char *key, int seed)
{
    fill(in_pieces, SIZE, seed);
    given = 0;
    assert_int_equal(
        call(store, (struct objstore_request){.op = OBJSTORE_PUT,
                                              .bucket = "bucket",
                                              .key = key,
                                              .source = {.read = read_piece, .size = SIZE}}),
        0);
    memset(in_pieces, 0, sizeof(in_pieces));
}

static void check(struct objstore *store, const char *key, const char *version, int seed)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request get = {
        .op = OBJSTORE_GET, .bucket = "bucket", .key = key, .version_id = version};
    char bytes[SIZE];

    fill(bytes, sizeof(bytes), seed);
    assert_int_equal(objstore_call(store, &get, &answer), 0);
    assert_int_equal(buf_len(&answer.body), SIZE);
    assert_memory_equal(buf_str(&answer.body), bytes, SIZE);
}

/* A number or a text of the index; ret NULL: only the number. */
static int64_t ask(const char *sql, char ret[512])
{
    char path[512];
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    int64_t number;

    assert_int_equal(sqlite3_open(path_in("index.sqlite", "", path), &db), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(db, WAIT_S * 1000), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    (void)sqlite3_step(s);
    number = sqlite3_column_int64(s, 0);
    if (ret != NULL) {
        const char *text = (const char *)sqlite3_column_text(s, 0);

        (void)path_in("data/", text != NULL ? text : "", ret);
    }
    assert_int_equal(sqlite3_finalize(s), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    return number;
}

static int64_t rows(void)
{
    return ask("SELECT count(*) FROM pending", NULL);
}

static void file_of(const char *key, char ret[512])
{
    char sql[128];

    (void)snprintf(sql, sizeof(sql), "SELECT file FROM object WHERE key = CAST('%s' AS BLOB)", key);
    (void)ask(sql, ret);
}

/* Runs `act` in a process that ends as if it was killed. */
static void in_child(void (*act)(struct objstore *store))
{
    pid_t child = fork();
    int status = 0;

    assert_true(child >= 0);
    if (child == 0) {
        atomic_store(&disk, DISK_WAITS);
        act(open_store());
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void write_some(struct objstore *store)
{
    char key[8];

    create(store, "bucket");
    for (int i = 0; i < FILES; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        if (i % 2 == 0) {
            put(store, key, SIZE, i);
        } else {
            put_in_pieces(store, key, i);
        }
    }
    put(store, "k0", SIZE, 100);
    put(store, "gone", SIZE, 101);
    delete_key(store, "gone");
}

static void check_some(struct objstore *store)
{
    char key[8];

    for (int i = 0; i < FILES; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        check(store, key, NULL, i == 0 ? 100 : i);
    }
    assert_int_equal(
        call(store,
             (struct objstore_request){.op = OBJSTORE_HEAD, .bucket = "bucket", .key = "gone"}),
        -ENOENT);
}

static size_t data_files(void)
{
    char path[512];

    files_found = 0;
    assert_int_equal(nftw(path_in("data", "", path), count_one, 16, FTW_PHYS), 0);
    return files_found;
}

static void make_folders_of(const char *path)
{
    for (const char *end = strchr(path + strlen(root) + 1, '/'); end != NULL;
         end = strchr(end + 1, '/')) {
        char folder[512];

        (void)snprintf(folder, sizeof(folder), "%.*s", (int)(end - path), path);
        assert_true(mkdir(folder, 0700) == 0 || errno == EEXIST);
    }
}

/* What a disk may have of a file that was being made, or was not flushed. */
static void lose(const char *key, int how)
{
    char path[512];
    char zeros[SIZE] = "";
    AUTOCLOSE int fd = -1;

    file_of(key, path);
    if (how == 0) {
        assert_true(unlink(path) == 0 || errno == ENOENT);
        return;
    }
    make_folders_of(path);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, how == 1 ? 0 : how == 2 ? SIZE / 3 : 2 * SIZE), 0);
    if (how > 2) {
        assert_int_equal(write(fd, zeros, SIZE), SIZE);
    }
}

static void what_the_files_lost_is_written_anew(void **state)
{
    char key[8];
    struct objstore *store;

    (void)state;
    in_child(write_some);
    assert_int_equal(rows(), FILES); /* not of what was replaced or deleted */
    for (int i = 0; i < FILES - 1; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        lose(key, i % 4);
    }
    store = open_store();
    assert_int_equal(rows(), 0);
    assert_true(atomic_load(&flushes) > 0);
    check_some(store);
    objstore_free(store);
}

static void assert_owner(const char *path, uid_t uid)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, uid);
}

/* As root looks after what a server has that is not. */
static void what_root_writes_anew_is_its_owners(void **state)
{
    enum { OWNER = 65534 };
    char path[512];

    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    in_child(write_some);
    assert_int_equal(chown(path_in("data", "", path), OWNER, OWNER), 0);
    /* What was made already, if there is some. */
    (void)nftw(path_in("data/bucket", "", path), remove_one, 16, FTW_DEPTH | FTW_PHYS);
    objstore_free(open_store());
    file_of("k1", path);
    for (int i = 0; i < 3; i++) { /* the file and both folders */
        assert_owner(path, OWNER);
        *strrchr(path, '/') = '\0';
    }
}

static void nothing_comes_back_that_was_replaced_or_deleted(void **state)
{
    char path[512];
    struct objstore *store;

    (void)state;
    in_child(write_some);
    assert_int_equal(nftw(path_in("data", "", path), remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    store = open_store();
    assert_int_equal(data_files(), FILES);
    check_some(store);
    objstore_free(store);
    assert_int_equal(data_files(), FILES);
}

/* As another process deletes it: the index itself notes what file is left over. */
static void delete_its_object(const char *file)
{
    char sql[512];

    (void)snprintf(sql, sizeof(sql), "DELETE FROM object WHERE file = '%s'", file);
    (void)ask(sql, NULL);
    before_rename = NULL;
}

static void open_and_die_at_the_first_rename(void)
{
    pid_t child = fork();
    int status = 0;

    assert_true(child >= 0);
    if (child == 0) {
        before_rename = delete_its_object;
        dies_after_rename = true;
        (void)open_store();
        _exit(2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_file_written_anew_for_a_deleted_object_is_found(void **state)
{
    char path[512];

    (void)state;
    in_child(write_some);
    assert_int_equal(nftw(path_in("data", "", path), remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    open_and_die_at_the_first_rename();
    assert_int_equal(data_files(), 1);
    assert_int_equal(ask("SELECT count(*) FROM object", NULL), FILES - 1);
    objstore_free(open_store());
    assert_int_equal(data_files(), FILES - 1);
    assert_int_equal(ask("SELECT count(*) FROM garbage", NULL), 0);
    assert_int_equal(rows(), 0);
}

static void write_versions(struct objstore *store)
{
    create(store, "bucket");
    assert_int_equal(
        call(store, (struct objstore_request){.op = OBJSTORE_BUCKET_DOC_PUT,
                                              .bucket = "bucket",
                                              .doc = OBJSTORE_DOC_VERSIONING,
                                              .document = "<VersioningConfiguration><Status>Enabled"
                                                          "</Status></VersioningConfiguration>"}),
        0);
    put(store, "k", SIZE, 1);
    put(store, "k", SIZE, 2);
}

static void an_older_version_is_written_anew_too(void **state)
{
    char path[512];
    char version[512];
    struct objstore *store;

    (void)state;
    in_child(write_versions);
    assert_int_equal(rows(), 2);
    assert_int_equal(nftw(path_in("data", "", path), remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    store = open_store();
    check(store, "k", NULL, 2);
    (void)ask("SELECT version FROM version", version);
    check(store, "k", strrchr(version, '/') + 1, 1);
    objstore_free(store);
}

/* By then the flusher waits for seconds before its next try. */
static void two_flushes_fail(void)
{
    for (int i = 0; i < WAIT_S * 100 && atomic_load(&flushes) < 2; i++) {
        (void)usleep(10000);
    }
    assert_true(atomic_load(&flushes) >= 2);
}

static void a_store_whose_flush_fails_opens_and_keeps_the_rows(void **state)
{
    struct objstore *store;

    (void)state;
    in_child(write_some);
    lose("k1", 0);
    atomic_store(&disk, DISK_FAILS);
    store = open_store();
    assert_int_equal(rows(), FILES);
    check_some(store);
    put(store, "more", SIZE, 5);
    assert_int_equal(rows(), FILES); /* it flushes its own file */
    two_flushes_fail();
    lose("k2", 2);
    atomic_store(&disk, DISK_WORKS);
    objstore_free(store);
    assert_int_equal(rows(), 0);
    store = open_store();
    check_some(store);
    check(store, "more", NULL, 5);
    objstore_free(store);
}

static void after_a_flush_that_failed_files_are_written_anew(void **state)
{
    struct objstore *store = open_store();

    (void)state;
    create(store, "bucket");
    atomic_store(&disk, DISK_FAILS);
    put(store, "k", SIZE, 1);
    assert_int_equal(rows(), 1);
    two_flushes_fail();
    assert_int_equal(rows(), 1);
    put(store, "more", SIZE, 2);
    assert_int_equal(rows(), 1);
    lose("k", 3); /* the kernel gives up what it could not write */
    atomic_store(&disk, DISK_WORKS);
    objstore_free(store);
    assert_int_equal(rows(), 0);
    store = open_store();
    check(store, "k", NULL, 1);
    objstore_free(store);
}

static void rows_are_for_small_objects_and_go_when_the_store_is_closed(void **state)
{
    struct objstore *store = open_store();

    (void)state;
    atomic_store(&disk, DISK_WAITS);
    create(store, "bucket");
    put(store, "big", DIR_PENDING_MAX + 1, 1);
    assert_int_equal(
        call(store,
             (struct objstore_request){.op = OBJSTORE_PUT, .bucket = "bucket", .key = "none"}),
        0);
    assert_int_equal(rows(), 0);
    put(store, "small", DIR_PENDING_MAX, 1);
    put(store, "least", 1, 1);
    assert_int_equal(rows(), 2);
    atomic_store(&disk, DISK_WORKS);
    objstore_free(store);
    assert_int_equal(rows(), 0);
    assert_true(atomic_load(&flushes) > 0);
}

static void rows_go(void)
{
    for (int i = 0; i < WAIT_S * 100 && rows() > 0; i++) {
        (void)usleep(10000);
    }
    assert_int_equal(rows(), 0);
}

static void a_thread_flushes_before_long(void **state)
{
    struct objstore *store = open_store();

    (void)state;
    create(store, "bucket");
    put(store, "k", SIZE, 1);
    rows_go();
    assert_true(atomic_load(&flushes) > 0);
    objstore_free(store);
}

static bool flock_is_free(void)
{
    char path[512];
    AUTOCLOSE int fd = open(path_in("data", "", path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

static int64_t garbage(void)
{
    return ask("SELECT count(*) FROM garbage", NULL);
}

/* A loss of power brings back what was removed and not flushed: somebody has to know of it. */
static void what_is_removed_is_forgotten_when_that_is_durable(void **state)
{
    struct objstore *store = open_store();
    char path[512];

    (void)state;
    create(store, "bucket");
    put(store, "k", SIZE, 1);
    file_of("k", path);
    rows_go();
    atomic_store(&disk, DISK_FAILS);
    delete_key(store, "k");
    for (int i = 0; i < WAIT_S * 100 && access(path, F_OK) == 0; i++) {
        (void)usleep(10000);
    }
    assert_int_equal(access(path, F_OK), -1);
    (void)usleep(100000);
    assert_int_equal(garbage(), 1);
    atomic_store(&disk, DISK_WORKS);
    objstore_free(store);
    assert_int_equal(garbage(), 0);
}

static void copy(struct objstore *store, const char *key, const char *from)
{
    assert_int_equal(call(store, (struct objstore_request){.op = OBJSTORE_COPY,
                                                           .bucket = "bucket",
                                                           .key = key,
                                                           .source_bucket = "bucket",
                                                           .source_key = from}),
                     0);
}

static void check_range(struct objstore *store, const char *key, int seed)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request get = {
        .op = OBJSTORE_GET, .bucket = "bucket", .key = key, .range = {SIZE - 9, 5}};
    char bytes[SIZE];

    fill(bytes, sizeof(bytes), seed);
    assert_int_equal(objstore_call(store, &get, &answer), 0);
    assert_int_equal(buf_len(&answer.body), 5);
    assert_memory_equal(buf_str(&answer.body), bytes + SIZE - 9, 5);
}

/* Nobody makes files as long as this is open. */
static int hold_flushes(void)
{
    char path[512];
    int data = open(path_in("data", "", path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_int_equal(flock(data, LOCK_EX), 0);
    return data;
}

static void what_has_no_file_yet_is_read(void **state)
{
    struct objstore *store = open_store();
    int held = hold_flushes();
    char path[512];

    (void)state;
    create(store, "bucket");
    put(store, "k", SIZE, 1);
    put_in_pieces(store, "pieces", 2);
    assert_int_equal(data_files(), 0);
    check(store, "k", NULL, 1);
    check_range(store, "k", 1);
    check(store, "pieces", NULL, 2);
    copy(store, "copy", "k");
    check(store, "copy", NULL, 1);
    lose("k", 2); /* as far as it is written */
    check(store, "k", NULL, 1);
    assert_int_equal(close(held), 0);
    rows_go();
    file_of("pieces", path);
    assert_int_equal(access(path, R_OK), 0);
    check(store, "k", NULL, 1);
    check(store, "pieces", NULL, 2);
    objstore_free(store);
}

/* Of a key that is written again and again there is one file. */
static void what_is_replaced_before_it_has_a_file_leaves_nothing(void **state)
{
    struct objstore *store = open_store();
    int held = hold_flushes();

    (void)state;
    create(store, "bucket");
    for (int i = 0; i < FILES; i++) {
        put(store, "k", SIZE, i);
    }
    put(store, "gone", SIZE, 0);
    delete_key(store, "gone");
    assert_int_equal(rows(), 1);
    assert_int_equal(garbage(), 0);
    assert_int_equal(data_files(), 0);
    assert_int_equal(close(held), 0);
    rows_go();
    assert_int_equal(data_files(), 1);
    check(store, "k", NULL, FILES - 1);
    objstore_free(store);
}

static void a_file_that_was_begun_is_garbage_when_it_is_replaced(void **state)
{
    struct objstore *store = open_store();

    (void)state;
    create(store, "bucket");
    atomic_store(&disk, DISK_WAITS);
    put(store, "k", SIZE, 1);
    for (int i = 0; i < WAIT_S * 100 && data_files() == 0; i++) {
        (void)usleep(10000);
    }
    put(store, "k", SIZE, 2);
    assert_int_equal(garbage(), 1);
    put(store, "k", SIZE, 3);
    assert_int_equal(garbage(), 1);
    assert_int_equal(rows(), 1);
    atomic_store(&disk, DISK_WORKS);
    rows_go();
    check(store, "k", NULL, 3);
    objstore_free(store);
    assert_int_equal(garbage(), 0);
    assert_int_equal(data_files(), 1);
}

/* A worker that starts beside others does not wait for the disk; what it finds is flushed anew. */
static void who_opens_a_store_beside_others_waits_for_no_flush(void **state)
{
    struct objstore *first = open_store();
    struct objstore *second;
    int before;

    (void)state;
    create(first, "bucket");
    before = atomic_load(&flushes);
    atomic_store(&disk, DISK_WAITS);
    put(first, "k", SIZE, 1);
    while (flock_is_free()) { /* until the flusher has it */
        (void)usleep(10000);
    }
    second = open_store();
    check(second, "k", NULL, 1);
    assert_int_equal(rows(), 1);
    atomic_store(&disk, DISK_WORKS);
    objstore_free(second);
    objstore_free(first);
    assert_int_equal(rows(), 0);
    assert_true(atomic_load(&flushes) > before);
}

static void a_file_system_that_tells_nothing_of_failures_gets_no_rows(void **state)
{
    struct objstore *store;

    (void)state;
    file_system = OVERLAYFS_SUPER_MAGIC;
    store = open_store();
    atomic_store(&disk, DISK_WAITS);
    create(store, "bucket");
    put(store, "k", SIZE, 1);
    assert_int_equal(rows(), 0);
    atomic_store(&disk, DISK_WORKS);
    objstore_free(store);
}

static void left_rows_are_written_on_such_a_file_system_too(void **state)
{
    struct objstore *store;

    (void)state;
    in_child(write_some);
    lose("k3", 1);
    file_system = OVERLAYFS_SUPER_MAGIC;
    store = open_store();
    assert_int_equal(rows(), 0);
    check_some(store);
    objstore_free(store);
}

/* Another process has been at it for long: the rows become no more. */
static void too_many_rows_make_writes_flush_themselves(void **state)
{
    struct objstore *store = open_store();
    int held = hold_flushes();
    int64_t before;
    int64_t after = 0;

    (void)state;
    create(store, "bucket");
    (void)ask("INSERT INTO pending VALUES(1, 'bucket/00/x', 'x')", NULL);
    (void)ask("INSERT INTO pending VALUES(9000, 'bucket/00/y', 'y')", NULL);
    for (int i = 0; i < WAIT_S * 10; i++) {
        before = rows();
        put(store, "k", SIZE, i);
        after = rows();
        if (before == after) {
            break;
        }
        (void)usleep(100000);
    }
    assert_int_equal(before, after);
    assert_int_equal(close(held), 0);
    objstore_free(store);
    assert_int_equal(rows(), 0);
}

#define IN_A_STORE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_STORE(what_the_files_lost_is_written_anew),
        IN_A_STORE(what_root_writes_anew_is_its_owners),
        IN_A_STORE(nothing_comes_back_that_was_replaced_or_deleted),
        IN_A_STORE(a_file_written_anew_for_a_deleted_object_is_found),
        IN_A_STORE(an_older_version_is_written_anew_too),
        IN_A_STORE(a_store_whose_flush_fails_opens_and_keeps_the_rows),
        IN_A_STORE(after_a_flush_that_failed_files_are_written_anew),
        IN_A_STORE(rows_are_for_small_objects_and_go_when_the_store_is_closed),
        IN_A_STORE(a_thread_flushes_before_long),
        IN_A_STORE(what_is_removed_is_forgotten_when_that_is_durable),
        IN_A_STORE(what_has_no_file_yet_is_read),
        IN_A_STORE(what_is_replaced_before_it_has_a_file_leaves_nothing),
        IN_A_STORE(a_file_that_was_begun_is_garbage_when_it_is_replaced),
        IN_A_STORE(who_opens_a_store_beside_others_waits_for_no_flush),
        IN_A_STORE(a_file_system_that_tells_nothing_of_failures_gets_no_rows),
        IN_A_STORE(left_rows_are_written_on_such_a_file_system_too),
        IN_A_STORE(too_many_rows_make_writes_flush_themselves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

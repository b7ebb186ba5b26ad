/* SPDX-License-Identifier: Apache-2.0 */
/* Open stores: a handle that is opened while the store's row changes is not kept. */
#include "fixture.h"

#include <dirent.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <sqlite3.h>
#include <time.h>

static void move(struct fixture *f, const char *place)
{
    char location[128];
    const struct db_store row = {.name = "moved",
                                 .location = location,
                                 .endpoint = "",
                                 .s3_region = "",
                                 .region = "",
                                 .sts_endpoint = "",
                                 .role_arn = ""};
    int r = db_store_delete(f->meta.db, "moved");

    assert_true(r == 0 || r == -ENOENT);
    (void)snprintf(location, sizeof(location), "dir://%s/%s", f->dir, place);
    assert_int_equal(db_store_add(f->meta.db, &row), 0);
    meta_store_forget(&f->meta, "moved");
}

/* 0, or -ENOENT: the bucket lies in one of the two places only. */
static int ask(struct meta *meta, enum objstore_op op)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request request = {.op = op, .bucket = "here"};
    struct objstore *store = NULL;
    struct error err = ERROR_INIT;
    int r = meta_store_get(meta, "moved", &store, &err);

    if (r == 0) {
        r = objstore_call(store, &request, &answer);
        meta_store_put(meta, store);
    }
    return r;
}

static void *ask_early(void *arg)
{
    int r = ask(arg, OBJSTORE_BUCKET_HEAD);

    return r == 0 || r == -ENOENT ? NULL : arg;
}

/* Who opens a store comes to its index last. */
static int openings(const char *path)
{
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;
    int count = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        char link[300], target[PATH_MAX];
        ssize_t len;

        (void)snprintf(link, sizeof(link), "/proc/self/fd/%s", entry->d_name);
        len = readlink(link, target, sizeof(target) - 1);
        target[len > 0 ? len : 0] = '\0';
        count += strcmp(target, path) == 0;
    }
    (void)closedir(dir);
    return count;
}

static void wait_for_openings(const char *path, int count)
{
    for (int i = 0; i < 3000 && openings(path) < count; i++) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
    assert_true(openings(path) >= count);
}

static int remove_one(const char *path, UNUSED const struct stat *st, UNUSED int type,
                      UNUSED struct FTW *at)
{
    return remove(path);
}

static void remove_place(const struct fixture *f, const char *place)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", f->dir, place);
    assert_int_equal(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void a_handle_that_is_opened_during_a_change_is_not_kept(void **state)
{
    struct fixture *f = *state;
    char path[128];
    sqlite3 *other = NULL;
    void *wrong = NULL;
    pthread_t thread;

    move(f, "two");
    assert_int_equal(ask(&f->meta, OBJSTORE_BUCKET_CREATE), 0);
    move(f, "one");
    assert_int_equal(ask(&f->meta, OBJSTORE_BUCKET_HEAD), -ENOENT);
    meta_store_forget(&f->meta, "moved");
    (void)snprintf(path, sizeof(path), "%s/one/index.sqlite", f->dir);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(other, "PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE", NULL, NULL, NULL),
        SQLITE_OK);

    assert_int_equal(pthread_create(&thread, NULL, ask_early, &f->meta), 0);
    wait_for_openings(path, 2); /* it has read the row, and waits for the lock */
    move(f, "two");
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    assert_int_equal(pthread_join(thread, &wrong), 0);
    assert_null(wrong);

    assert_int_equal(ask(&f->meta, OBJSTORE_BUCKET_HEAD), 0);
    assert_int_equal(openings(path), 0);
    meta_store_forget(&f->meta, "moved");
    remove_place(f, "one");
    remove_place(f, "two");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_handle_that_is_opened_during_a_change_is_not_kept,
                                        fixture_setup, fixture_teardown),
    };

    return cmocka_run_group_tests_name("open stores", tests, NULL, NULL);
}

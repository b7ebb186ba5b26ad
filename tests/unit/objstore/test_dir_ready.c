/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small PUTs whose bytes are there, which go to the committer at once.
 *
 * A connection of the test's own holds the index, so that what is submitted meanwhile gathers, in
 * the order of its coming, and is committed together.
 */
#include <errno.h>
#include <ftw.h>
#include <linux/magic.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "objstore/dir.h"
#include "objstore/dir_internal.h"
#include "objstore/fake_disk.h"
#include "objstore/objstore_call.h"
#include "s3/error.h"
#include "test.h"
#include "util/container.h"

#define ANSWER CLEANUP(objstore_answer_done) struct objstore_answer

enum { MANY = 64 };

struct place {
    char root[64];
    struct objstore *store;
    sqlite3 *holder; /* of the index */
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void run(sqlite3 *db, const char *sql)
{
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
}

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    struct objstore_dir_config config = {.root = place->root, .threads = 2};
    struct error err = ERROR_INIT;
    char path[96];

    assert_non_null(place);
    file_system = EXT4_SUPER_MAGIC;
    (void)snprintf(place->root, sizeof(place->root), "/tmp/skyvol-ready.XXXXXX");
    assert_non_null(mkdtemp(place->root));
    assert_int_equal(objstore_dir_new(&config, &place->store, &err), 0);
    (void)snprintf(path, sizeof(path), "%s/index.sqlite", place->root);
    assert_int_equal(sqlite3_open(path, &place->holder), SQLITE_OK);
    (void)sqlite3_busy_timeout(place->holder, 10000);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;

    objstore_free(place->store);
    (void)sqlite3_close(place->holder);
    assert_int_equal(nftw(place->root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(place);
    return 0;
}

/* One of several that are under way. */
struct sent {
    struct objstore_request request;
    struct mutex lock;
    struct cond ended;
    bool done;
    int status, code;
    char version[OBJSTORE_VERSION_MAX];
};

static void note(struct objstore_request *request, const struct objstore_result *result)
{
    struct sent *sent = request->arg;

    mutex_lock(&sent->lock);
    sent->done = true;
    sent->status = result->status;
    sent->code = result->s3_code;
    memcpy(sent->version, result->info.version_id, sizeof(sent->version));
    cond_signal(&sent->ended);
    mutex_unlock(&sent->lock);
}

static size_t commits_of(struct dir_store *store)
{
    const struct job *job;
    size_t count = 0;

    mutex_lock(&store->lock);
    TAILQ_FOREACH (job, &store->commits, link) {
        count++;
    }
    mutex_unlock(&store->lock);
    return count;
}

static void send_one(struct place *place, struct sent *sent)
{
    sent->request.done = note;
    sent->request.arg = sent;
    mutex_init(&sent->lock);
    cond_init(&sent->ended);
    objstore_submit(place->store, &sent->request);
}

/* Returns when it waits for its commit, behind those before. */
static void send_behind(struct place *place, struct sent *sent)
{
    struct dir_store *store = container_of(place->store, struct dir_store, base);
    size_t before = commits_of(store);

    send_one(place, sent);
    while (commits_of(store) == before) {
        (void)usleep(1000);
    }
}

static int answer(struct sent *sent)
{
    mutex_lock(&sent->lock);
    while (!sent->done) {
        cond_wait(&sent->ended, &sent->lock);
    }
    mutex_unlock(&sent->lock);
    mutex_done(&sent->lock);
    cond_done(&sent->ended);
    return sent->status;
}

/* The committer takes one, and waits with it for the index; the others come behind it. */
static void hold(struct place *place, struct sent *first)
{
    struct dir_store *store = container_of(place->store, struct dir_store, base);

    run(place->holder, "BEGIN IMMEDIATE");
    send_one(place, first); /* nobody but the submitter made it ready */
    while (commits_of(store) != 0) {
        (void)usleep(1000);
    }
}

static int simple(struct place *place, struct objstore_request request, struct objstore_answer *a)
{
    return objstore_call(place->store, &request, a);
}

/* The key and what else there is; the bucket and what else. */
#define PUT(name, ...)                                                                             \
    {                                                                                              \
        .op = OBJSTORE_PUT, .bucket = name, .source = {.data = "bytes", .size = 5},                \
        .key = __VA_ARGS__                                                                         \
    }
#define BUCKET(what, ...)                                                                          \
    (struct objstore_request)                                                                      \
    {                                                                                              \
        .op = what, .bucket = __VA_ARGS__                                                          \
    }

static void of_many_conditions_one_is_met(void **state)
{
    struct place *place = *state;
    struct sent first = {.request = PUT("here", "other")};
    struct sent *sent = calloc(MANY, sizeof(*sent));
    ANSWER a = OBJSTORE_ANSWER_INIT;
    int won = 0;

    assert_non_null(sent);
    assert_int_equal(simple(place, BUCKET(OBJSTORE_BUCKET_CREATE, "here"), &a), 0);
    hold(place, &first);
    for (size_t i = 0; i < MANY; i++) {
        sent[i].request = (struct objstore_request)PUT("here", "one", .if_none_match = "*");
        send_one(place, &sent[i]);
        assert_int_equal(commits_of(container_of(place->store, struct dir_store, base)), i + 1);
    }
    run(place->holder, "COMMIT");
    assert_int_equal(answer(&first), 0);
    for (size_t i = 0; i < MANY; i++) {
        int status = answer(&sent[i]);

        assert_true(status == 0 || status == -EEXIST);
        assert_true(status == 0 || sent[i].code == S3_PRECONDITION_FAILED);
        won += status == 0;
    }
    assert_int_equal(won, 1);
    free(sent);
}

static void each_fails_by_itself_with_its_own_words(void **state)
{
    struct place *place = *state;
    struct sent first = {.request = PUT("here", "other")};
    struct sent none = {.request = PUT("none", "k")};
    struct sent match = {.request = PUT("here", "k", .if_match = "*")};
    struct sent theirs = {.request = PUT("here", "k", .account = "bob")};
    struct sent good = {.request = PUT("here", "k", .account = "ann")};
    ANSWER a = OBJSTORE_ANSWER_INIT;

    assert_int_equal(simple(place, BUCKET(OBJSTORE_BUCKET_CREATE, "here", .account = "ann"), &a),
                     0);
    hold(place, &first);
    send_behind(place, &none);
    send_behind(place, &match);
    send_behind(place, &theirs);
    send_behind(place, &good);
    run(place->holder, "COMMIT");
    assert_int_equal(answer(&first), 0);
    assert_int_equal(answer(&none), -ENOENT);
    assert_int_equal(none.code, S3_NO_SUCH_BUCKET);
    assert_int_equal(answer(&match), -ENOENT);
    assert_int_not_equal(match.code, S3_NO_SUCH_BUCKET);
    assert_int_equal(answer(&theirs), -EACCES);
    assert_int_equal(theirs.code, S3_ACCESS_DENIED);
    assert_int_equal(answer(&good), 0);
}

/* In one transaction: what one has changed of the bucket, the next finds. */
static void a_bucket_may_change_between_two(void **state)
{
    struct place *place = *state;
    struct sent first = {.request = PUT("here", "other")};
    struct sent before = {.request = PUT("kept", "k")};
    struct sent keep = {.request = {.op = OBJSTORE_BUCKET_DOC_PUT,
                                    .bucket = "kept",
                                    .doc = OBJSTORE_DOC_VERSIONING,
                                    .document = "<VersioningConfiguration><Status>Enabled</Status>"
                                                "</VersioningConfiguration>"}};
    struct sent after = {.request = PUT("kept", "k")};
    struct sent anns = {.request = PUT("moved", "k", .account = "ann", .if_match = "none")};
    struct sent gone = {.request = BUCKET(OBJSTORE_BUCKET_DELETE, "moved")};
    struct sent nowhere = {.request = PUT("moved", "k", .account = "ann")};
    struct sent anew = {.request = BUCKET(OBJSTORE_BUCKET_CREATE, "moved", .account = "bob")};
    struct sent stranger = {.request = PUT("moved", "k", .account = "ann")};
    struct sent bobs = {.request = PUT("moved", "k", .account = "bob")};
    struct sent *all[] = {&before, &keep, &after, &anns, &gone, &nowhere, &anew, &stranger, &bobs};
    ANSWER a = OBJSTORE_ANSWER_INIT;

    assert_int_equal(simple(place, BUCKET(OBJSTORE_BUCKET_CREATE, "here"), &a), 0);
    assert_int_equal(simple(place, BUCKET(OBJSTORE_BUCKET_CREATE, "kept"), &a), 0);
    assert_int_equal(simple(place, BUCKET(OBJSTORE_BUCKET_CREATE, "moved", .account = "ann"), &a),
                     0);
    hold(place, &first);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        send_behind(place, all[i]);
    }
    run(place->holder, "COMMIT");
    assert_int_equal(answer(&first), 0);
    assert_int_equal(answer(&before), 0);
    assert_string_equal(before.version, "");
    assert_int_equal(answer(&keep), 0);
    assert_int_equal(answer(&after), 0);
    assert_int_equal(strlen(after.version), 32);
    assert_int_equal(answer(&anns), -ENOENT);
    assert_int_equal(answer(&gone), 0);
    assert_int_equal(answer(&nowhere), -ENOENT);
    assert_int_equal(nowhere.code, S3_NO_SUCH_BUCKET);
    assert_int_equal(answer(&anew), 0);
    assert_int_equal(answer(&stranger), -EACCES);
    assert_int_equal(answer(&bobs), 0);
}

/* What is wrong with the bytes is said where nothing else is. */
static void wrong_bytes_are_told_last(void **state)
{
    struct place *place = *state;
    static const char md5[] = "AAAAAAAAAAAAAAAAAAAAAA==";
    ANSWER a = OBJSTORE_ANSWER_INIT;

    assert_int_equal(simple(place, BUCKET(OBJSTORE_BUCKET_CREATE, "here", .account = "ann"), &a),
                     0);
    assert_int_equal(
        simple(place, (struct objstore_request)PUT("none", "k", .content_md5 = md5), &a), -ENOENT);
    assert_int_equal(a.result.s3_code, S3_NO_SUCH_BUCKET);
    assert_int_equal(
        simple(place,
               (struct objstore_request)PUT("here", "k", .content_md5 = md5, .account = "bob"), &a),
        -EACCES);
    assert_int_equal(
        simple(place, (struct objstore_request)PUT("here", "k", .content_md5 = md5), &a), -EBADMSG);
    assert_int_equal(a.result.s3_code, S3_BAD_DIGEST);
    assert_int_equal(
        simple(place, (struct objstore_request){.op = OBJSTORE_HEAD, .bucket = "here", .key = "k"},
               &a),
        -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(of_many_conditions_one_is_met, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_fails_by_itself_with_its_own_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bucket_may_change_between_two, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_bytes_are_told_last, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

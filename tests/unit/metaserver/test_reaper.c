/* SPDX-License-Identifier: Apache-2.0 */
/* What a deletion deletes, and above all what it does not. */
#include "fixture.h"

#include "objstore/faults.h"

/* A volume of its own bucket, as a create leaves it: row, bucket and marker. */
static struct db_volume volume(enum db_state state)
{
    return (struct db_volume){.id = "v-1",
                              .name = "one",
                              .store = "default",
                              .bucket = "skyvol-v-1",
                              .prefix = "",
                              .state = state,
                              .own_bucket = true,
                              .parameters = "{}",
                              .created_ns = 1};
}

static struct db_volume in_prefix(const char *id, const char *prefix)
{
    struct db_volume v = volume(DB_DELETING);

    v.id = id;
    v.name = id;
    v.bucket = "shared";
    v.prefix = prefix;
    v.own_bucket = false;
    return v;
}

static void mark(struct fixture *f, const struct db_volume *v)
{
    struct error err = ERROR_INIT;

    assert_int_equal(marker_write(&f->meta, f->store, v, &err), 0);
}

/* Reap it once, as it lies in the database. True when its row has gone. */
static bool reaped(struct fixture *f, const char *id)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    struct db_volume v;

    assert_int_equal(db_volume_get(f->meta.db, id, &arena, &v), 0);
    reaper_volume(&f->meta, &v);
    return db_volume_get(f->meta.db, id, &arena, &v) == -ENOENT;
}

static void message_of(struct fixture *f, const char *id, char *to, size_t size)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    struct db_volume v;

    assert_int_equal(db_volume_get(f->meta.db, id, &arena, &v), 0);
    (void)snprintf(to, size, "%s", v.message);
}

static void a_volume_goes_with_its_objects_marker_bucket_and_row(void **state)
{
    struct fixture *f = *state;
    struct db_volume v = volume(DB_DELETING);

    fixture_bucket(f, v.bucket);
    mark(f, &v);
    fixture_put(f, v.bucket, "a");
    fixture_put(f, v.bucket, "d/b");
    assert_int_equal(db_volume_add(f->meta.db, &v), 0);
    assert_true(reaped(f, v.id));
    assert_false(fixture_has_bucket(f, v.bucket));
}

static void without_a_marker_no_object_is_deleted(void **state)
{
    struct fixture *f = *state;
    struct db_volume v = volume(DB_DELETING);
    char text[512];

    fixture_bucket(f, v.bucket);
    fixture_put(f, v.bucket, "precious");
    assert_int_equal(db_volume_add(f->meta.db, &v), 0);
    assert_false(reaped(f, v.id));
    assert_true(fixture_has(f, v.bucket, "precious"));
    message_of(f, v.id, text, sizeof(text));
    assert_non_null(strstr(text, "no marker"));
}

static void without_a_marker_no_object_of_a_prefix_is_deleted(void **state)
{
    struct fixture *f = *state;
    struct db_volume v = in_prefix("v-1", "v-1/");

    fixture_bucket(f, "shared");
    fixture_put(f, "shared", "v-1/precious");
    assert_int_equal(db_volume_add(f->meta.db, &v), 0);
    assert_false(reaped(f, v.id));
    assert_true(fixture_has(f, "shared", "v-1/precious"));
    /* emptied by hand: nothing is left to be careful about */
    assert_int_equal(fixture_call(f, OBJSTORE_DELETE, "shared", "v-1/precious"), 0);
    assert_true(reaped(f, v.id));
    assert_true(fixture_has_bucket(f, "shared"));
}

static void a_bucket_whose_marker_was_not_written_yet_goes_when_it_is_empty(void **state)
{
    struct fixture *f = *state;
    struct db_volume v = volume(DB_DELETING);

    fixture_bucket(f, v.bucket);
    assert_int_equal(db_volume_add(f->meta.db, &v), 0);
    assert_true(reaped(f, v.id));
    assert_false(fixture_has_bucket(f, v.bucket));
}

/* A create that adopts is killed between its marker and its row: only the marker knows. */
static void what_was_adopted_is_spared_also_when_only_the_marker_says_so(void **state)
{
    struct fixture *f = *state;
    struct db_volume v = volume(DB_CREATING);
    struct db_volume adopting;

    v.adopt_asked = true;
    fixture_bucket(f, v.bucket);
    fixture_put(f, v.bucket, "precious");
    assert_int_equal(db_volume_add(f->meta.db, &v), 0);
    adopting = v;
    adopting.adopted = true;
    mark(f, &adopting);
    assert_int_equal(db_volume_tombstone(f->meta.db, v.id), 0);
    assert_true(reaped(f, v.id));
    assert_true(fixture_has(f, v.bucket, "precious"));
    assert_false(fixture_has(f, v.bucket, MARKER_NAME));
}

static void another_volumes_bucket_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct db_volume v = volume(DB_DELETING);
    struct db_volume other = v;
    char text[512];

    other.id = "v-2";
    fixture_bucket(f, v.bucket);
    mark(f, &other);
    fixture_put(f, v.bucket, "theirs");
    assert_int_equal(db_volume_add(f->meta.db, &v), 0);
    assert_false(reaped(f, v.id));
    assert_true(fixture_has(f, v.bucket, "theirs"));
    message_of(f, v.id, text, sizeof(text));
    assert_non_null(strstr(text, "v-2"));
}

/* Two clusters that give one name to a volume give it one id. */
static void another_clusters_volume_of_the_same_id_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct db_volume v = volume(DB_DELETING);

    fixture_bucket(f, v.bucket);
    f->meta.cluster = "theirs";
    mark(f, &v);
    f->meta.cluster = "ours";
    fixture_put(f, v.bucket, "theirs");
    assert_int_equal(db_volume_add(f->meta.db, &v), 0);
    assert_false(reaped(f, v.id));
    assert_true(fixture_has(f, v.bucket, "theirs"));
}

static void a_prefix_is_not_the_prefix_of_a_longer_one(void **state)
{
    struct fixture *f = *state;
    struct db_volume one = in_prefix("vol1", "vol1/");
    struct db_volume ten = in_prefix("vol10", "vol10/");

    fixture_bucket(f, "shared");
    mark(f, &one);
    mark(f, &ten);
    fixture_put(f, "shared", "vol1/a");
    fixture_put(f, "shared", "vol10/a");
    fixture_put(f, "shared", "vol1");
    assert_int_equal(db_volume_add(f->meta.db, &one), 0);
    assert_true(reaped(f, one.id));
    assert_false(fixture_has(f, "shared", "vol1/a"));
    assert_false(fixture_has(f, "shared", "vol1/" MARKER_NAME));
    assert_true(fixture_has(f, "shared", "vol10/a"));
    assert_true(fixture_has(f, "shared", "vol10/" MARKER_NAME));
    assert_true(fixture_has(f, "shared", "vol1"));
}

/* A pod that was not taken down writes once more when the marker has gone already. */
static void what_is_written_after_the_marker_went_is_deleted_too(void **state)
{
    struct fixture *f = *state;
    struct db_volume v = volume(DB_DELETING);

    fixture_bucket(f, v.bucket);
    assert_int_equal(db_volume_add(f->meta.db, &v), 0);
    assert_int_equal(db_volume_verified(f->meta.db, v.id), 0);
    fixture_put(f, v.bucket, "late");
    assert_false(reaped(f, v.id));
    assert_true(reaped(f, v.id));
    assert_false(fixture_has_bucket(f, v.bucket));
}

static void open_uploads_below_the_prefix_end_and_others_do_not(void **state)
{
    struct fixture *f = *state;
    struct db_volume v = in_prefix("vol1", "vol1/");
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request list = {.op = OBJSTORE_UPLOAD_LIST, .bucket = "shared"};

    fixture_bucket(f, "shared");
    mark(f, &v);
    assert_int_equal(fixture_call(f, OBJSTORE_UPLOAD_CREATE, "shared", "vol1/big"), 0);
    assert_int_equal(fixture_call(f, OBJSTORE_UPLOAD_CREATE, "shared", "vol10/big"), 0);
    assert_int_equal(db_volume_add(f->meta.db, &v), 0);
    assert_true(reaped(f, v.id));
    assert_int_equal(objstore_call(f->store, &list, &answer), 0);
    assert_int_equal(answer.result.count, 1);
    assert_string_equal(answer.result.uploads[0].key, "vol10/big");
}

static void more_objects_than_a_batch_go_and_are_counted(void **state)
{
    struct fixture *f = *state;
    struct db_volume v = volume(DB_DELETING);
    char key[32];

    fixture_bucket(f, v.bucket);
    mark(f, &v);
    for (int i = 0; i < 1200; i++) {
        (void)snprintf(key, sizeof(key), "d/%d", i);
        fixture_put(f, v.bucket, key);
    }
    assert_int_equal(db_volume_add(f->meta.db, &v), 0);
    assert_true(reaped(f, v.id));
    assert_false(fixture_has_bucket(f, v.bucket));
}

static void a_store_that_is_down_is_tried_again_later_and_the_text_says_why(void **state)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    struct fixture *f = *state;
    struct db_volume v = volume(DB_DELETING);
    struct db_page page = {.max = 10, .state = DB_DELETING};
    struct error err = ERROR_INIT;

    fixture_bucket(f, v.bucket);
    mark(f, &v);
    fixture_put(f, v.bucket, "a");
    assert_int_equal(objstore_faults_new(f->store, "delete_batch:1:ECONNRESET", &f->store, &err),
                     0);
    f->meta.stores[0].store = f->store;
    assert_int_equal(db_volume_add(f->meta.db, &v), 0);
    assert_false(reaped(f, v.id));
    assert_int_equal(db_volume_get(f->meta.db, v.id, &arena, &v), 0);
    assert_int_equal(v.error, -ECONNRESET);
    assert_int_equal(v.attempts, 1);
    assert_non_null(strstr(v.message, "skyvol-v-1"));
    page.due_ns = v.retry_ns - 1; /* not yet */
    assert_int_equal(db_volume_list(f->meta.db, &arena, &page), 0);
    assert_int_equal(page.count, 0);
    page.due_ns = v.retry_ns;
    assert_int_equal(db_volume_list(f->meta.db, &arena, &page), 0);
    assert_int_equal(page.count, 1);
    assert_true(reaped(f, v.id));
    assert_false(fixture_has_bucket(f, v.bucket));
}

static void a_creation_that_nobody_came_back_for_is_undone(void **state)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    struct fixture *f = *state;
    struct db_volume v = volume(DB_CREATING);
    struct db_volume fresh = volume(DB_CREATING);

    fresh.id = "v-2";
    fresh.name = "two";
    fresh.created_ns = INT64_MAX;
    fixture_bucket(f, v.bucket);
    mark(f, &v);
    assert_int_equal(db_volume_add(f->meta.db, &v), 0);
    assert_int_equal(db_volume_add(f->meta.db, &fresh), 0);
    assert_int_equal(meta_busy(&f->meta, v.id), 0); /* a call has come back for it */
    reaper_sweep(&f->meta);
    assert_int_equal(db_volume_get(f->meta.db, v.id, &arena, &v), 0);
    assert_int_equal(v.state, DB_CREATING);
    meta_free(&f->meta, v.id);
    reaper_sweep(&f->meta);
    assert_true(reaped(f, v.id));
    assert_false(fixture_has_bucket(f, v.bucket));
    assert_int_equal(db_volume_get(f->meta.db, fresh.id, &arena, &fresh), 0);
    assert_int_equal(fresh.state, DB_CREATING);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(a_volume_goes_with_its_objects_marker_bucket_and_row),
        T(without_a_marker_no_object_is_deleted),
        T(without_a_marker_no_object_of_a_prefix_is_deleted),
        T(a_bucket_whose_marker_was_not_written_yet_goes_when_it_is_empty),
        T(what_was_adopted_is_spared_also_when_only_the_marker_says_so),
        T(another_volumes_bucket_is_left_alone),
        T(another_clusters_volume_of_the_same_id_is_left_alone),
        T(a_prefix_is_not_the_prefix_of_a_longer_one),
        T(what_is_written_after_the_marker_went_is_deleted_too),
        T(open_uploads_below_the_prefix_end_and_others_do_not),
        T(more_objects_than_a_batch_go_and_are_counted),
        T(a_store_that_is_down_is_tried_again_later_and_the_text_says_why),
        T(a_creation_that_nobody_came_back_for_is_undone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

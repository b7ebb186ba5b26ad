/* SPDX-License-Identifier: Apache-2.0 */
/* The database: its schema's history, its backups; credentials at rest. */
#include "fixture.h"

#include <sqlite3.h>

#include "util/file.h"

/* The schema of version 1, as it was released: never to be edited. */
static const char version_1[] =
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE store(name TEXT PRIMARY KEY, location TEXT NOT NULL, endpoint TEXT NOT NULL,"
    " s3_region TEXT NOT NULL, region TEXT NOT NULL, virtual_host INTEGER NOT NULL,"
    " sealed BLOB, created_ns INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE volume(id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, store TEXT NOT NULL,"
    " bucket TEXT NOT NULL, prefix TEXT NOT NULL, size_bytes INTEGER NOT NULL,"
    " state INTEGER NOT NULL, adopted INTEGER NOT NULL, own_bucket INTEGER NOT NULL,"
    " adopt_asked INTEGER NOT NULL, parameters TEXT NOT NULL, created_ns INTEGER NOT NULL,"
    " deleted INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '') WITHOUT ROWID;"
    "CREATE INDEX volume_store ON volume(store);"
    "CREATE INDEX volume_state ON volume(state, id);"
    "INSERT INTO meta VALUES('incarnation', 'born-in-1');"
    "INSERT INTO store VALUES('default', 'mem://', '', '', 'lab', 0, NULL, 7);"
    "INSERT INTO volume VALUES('v-old', 'old', 'default', 'b', '', 11, 3, 0, 1, 0, '{\"k\":\"v\"}',"
    " 5, 17, 'store down');"
    "PRAGMA user_version=1; PRAGMA application_id=1397446989;";

static void a_database_of_version_1_is_brought_up_to_date_with_all_it_holds(void **state)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    struct db_volume v;
    struct db_store store;
    sqlite3 *raw = NULL;

    db_close(f->meta.db);
    f->meta.db = NULL;
    assert_int_equal(unlink(f->database), 0);
    assert_int_equal(sqlite3_open(f->database, &raw), SQLITE_OK);
    assert_int_equal(sqlite3_exec(raw, version_1, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(raw), SQLITE_OK);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(db_open(f->database, &f->meta.db, &err), 0);
        assert_string_equal(db_incarnation(f->meta.db), "born-in-1");
        assert_int_equal(db_store_get(f->meta.db, "default", &arena, &store), 0);
        assert_string_equal(store.region, "lab");
        assert_int_equal(db_volume_get(f->meta.db, "v-old", &arena, &v), 0);
        assert_int_equal(v.state, DB_DELETING);
        assert_int_equal(v.size_bytes, 11);
        assert_int_equal(v.deleted, 17);
        assert_string_equal(v.parameters, "{\"k\":\"v\"}");
        assert_string_equal(v.message, "store down");
        assert_false(v.verified);
        if (again == 0) {
            db_close(f->meta.db);
        }
    }
}

static void another_programs_database_is_left_as_it_is(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    struct db *db = NULL;
    char path[160];
    sqlite3 *raw = NULL;

    (void)snprintf(path, sizeof(path), "%s/other.db", f->dir);
    assert_int_equal(sqlite3_open(path, &raw), SQLITE_OK);
    assert_int_equal(sqlite3_exec(raw,
                                  "CREATE TABLE theirs(x); PRAGMA user_version=1;"
                                  "PRAGMA application_id=5",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_close(raw), SQLITE_OK);
    assert_int_equal(db_open(path, &db, &err), -EUCLEAN);
    assert_null(db);
    assert_int_equal(unlink(path), 0);
}

static void a_backup_is_a_database_of_its_own_and_overwrites_nothing(void **state)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    const struct db_store row = {.name = "lab",
                                 .location = "mem://",
                                 .endpoint = "",
                                 .s3_region = "",
                                 .region = "r",
                                 .sealed = "S",
                                 .sealed_len = 1};
    struct db_store found;
    struct db *copy = NULL;
    char path[160];
    uint64_t bytes = 0;

    (void)snprintf(path, sizeof(path), "%s/copy.db", f->dir);
    assert_int_equal(db_store_add(f->meta.db, &row), 0);
    assert_int_equal(db_backup(f->meta.db, path, &bytes), 0);
    assert_true(bytes > 0);
    assert_int_equal(db_backup(f->meta.db, path, &bytes), -EEXIST);
    assert_int_equal(db_store_delete(f->meta.db, "lab"), 0);
    assert_int_equal(db_open(path, &copy, &err), 0);
    assert_int_equal(db_store_get(copy, "lab", &arena, &found), 0);
    assert_string_equal(db_incarnation(copy), db_incarnation(f->meta.db));
    db_close(copy);
    assert_int_equal(unlink(path), 0);
}

/* ---- seal ---- */

static void keys_are(struct fixture *f, const char *text)
{
    struct error err = ERROR_INIT;

    (void)unlink(f->keys);
    assert_int_equal(file_create(f->keys, text, strlen(text), 0600), 0);
    assert_int_equal(seal_reload(f->meta.seal, &err), 0);
}

#define KEY_A "a 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"
#define KEY_B "b ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100\n"

static void what_an_old_key_sealed_opens_until_the_key_is_taken_away(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf old = BUF_INIT(4096);
    CLEANUP(buf_done) struct buf fresh = BUF_INIT(4096);
    CLEANUP(buf_done) struct buf plain = BUF_INIT(4096);

    keys_are(f, KEY_A);
    assert_int_equal(seal_put(f->meta.seal, "row", "secret", &old), 0);
    keys_are(f, "# the newest on top\n" KEY_B KEY_A);
    assert_int_equal(seal_put(f->meta.seal, "row", "secret", &fresh), 0);
    assert_int_equal(seal_get(f->meta.seal, "row", buf_str(&old), buf_len(&old), &plain), 0);
    assert_string_equal(buf_str(&plain), "secret");
    keys_are(f, KEY_B);
    assert_int_equal(seal_get(f->meta.seal, "row", buf_str(&old), buf_len(&old), &plain), -ENOKEY);
    buf_reset(&plain);
    assert_int_equal(seal_get(f->meta.seal, "row", buf_str(&fresh), buf_len(&fresh), &plain), 0);
    assert_string_equal(buf_str(&plain), "secret");
}

static void no_byte_of_what_is_sealed_can_be_changed_nor_the_whole_moved(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf sealed = BUF_INIT(4096);
    CLEANUP(buf_done) struct buf plain = BUF_INIT(4096);

    assert_int_equal(seal_put(f->meta.seal, "row", "secret", &sealed), 0);
    assert_null(memmem(buf_str(&sealed), buf_len(&sealed), "secret", 6));
    assert_int_equal(seal_get(f->meta.seal, "row2", buf_str(&sealed), buf_len(&sealed), &plain),
                     -EBADMSG);
    for (size_t i = 0; i < buf_len(&sealed); i++) {
        int r;

        sealed.data[i] = (char)(sealed.data[i] ^ 1);
        r = seal_get(f->meta.seal, "row", buf_str(&sealed), buf_len(&sealed), &plain);
        assert_true(r == -EBADMSG || r == -ENOKEY);
        sealed.data[i] = (char)(sealed.data[i] ^ 1);
        assert_int_equal(seal_get(f->meta.seal, "row", buf_str(&sealed), i, &plain), -EBADMSG);
    }
    assert_int_equal(buf_len(&plain), 0);
    assert_int_equal(seal_get(f->meta.seal, "row", buf_str(&sealed), buf_len(&sealed), &plain), 0);
}

static void a_key_file_that_is_wrong_changes_nothing(void **state)
{
    static const char *const wrong[] = {"", "a 00\n", "a zz\n", KEY_A "nonsense\n"};
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf sealed = BUF_INIT(4096);
    CLEANUP(buf_done) struct buf plain = BUF_INIT(4096);

    assert_int_equal(seal_put(f->meta.seal, "row", "secret", &sealed), 0);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct error err = ERROR_INIT;

        assert_int_equal(unlink(f->keys), 0);
        assert_int_equal(file_create(f->keys, wrong[i], strlen(wrong[i]), 0600), 0);
        assert_int_equal(seal_reload(f->meta.seal, &err), -EINVAL);
    }
    assert_int_equal(seal_get(f->meta.seal, "row", buf_str(&sealed), buf_len(&sealed), &plain), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(a_database_of_version_1_is_brought_up_to_date_with_all_it_holds),
        T(another_programs_database_is_left_as_it_is),
        T(a_backup_is_a_database_of_its_own_and_overwrites_nothing),
        T(what_an_old_key_sealed_opens_until_the_key_is_taken_away),
        T(no_byte_of_what_is_sealed_can_be_changed_nor_the_whole_moved),
        T(a_key_file_that_is_wrong_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

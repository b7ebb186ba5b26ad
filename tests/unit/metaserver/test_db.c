/* SPDX-License-Identifier: Apache-2.0 */
/* Backups; credentials at rest. */
#include "fixture.h"

#include "util/file.h"

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
        T(a_backup_is_a_database_of_its_own_and_overwrites_nothing),
        T(what_an_old_key_sealed_opens_until_the_key_is_taken_away),
        T(no_byte_of_what_is_sealed_can_be_changed_nor_the_whole_moved),
        T(a_key_file_that_is_wrong_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

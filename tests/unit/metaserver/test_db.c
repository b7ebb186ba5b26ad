/* SPDX-License-Identifier: Apache-2.0 */
/* Rows and backups; credentials at rest, renewed, and under another key. */
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
    assert_int_equal(db_backup(f->meta.db, "/tmp/no-such-directory/x", &bytes), -ENOENT);
    assert_int_equal(db_store_delete(f->meta.db, "lab"), 0);
    assert_int_equal(db_open(path, &copy, &err), 0);
    assert_int_equal(db_store_get(copy, "lab", &arena, &found), 0);
    assert_string_equal(db_incarnation(copy), db_incarnation(f->meta.db));
    db_close(copy);
    assert_int_equal(unlink(path), 0);
}

static struct db_volume a_volume(const char *id, const char *name)
{
    return (struct db_volume){.id = id,
                              .name = name,
                              .store = "default",
                              .bucket = "b",
                              .prefix = "",
                              .parameters = "{}",
                              .state = DB_CREATING};
}

static enum db_state state_of(struct fixture *f, const char *id)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    struct db_volume v;

    return db_volume_get(f->meta.db, id, &arena, &v) == 0 ? v.state : 0;
}

static void a_volume_goes_its_way_and_no_other(void **state)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    struct fixture *f = *state;
    struct db *db = f->meta.db;
    const struct db_store store = {
        .name = "default", .location = "mem://", .endpoint = "", .s3_region = "", .region = ""};
    struct db_volume v = a_volume("v-1", "one");
    struct db_volume same_name = a_volume("v-2", "one");

    assert_int_equal(db_store_add(db, &store), 0);
    assert_int_equal(db_store_add(db, &store), -EEXIST);
    assert_int_equal(db_volume_add(db, &v), 0);
    assert_int_equal(db_volume_add(db, &v), -EEXIST);
    assert_int_equal(db_volume_add(db, &same_name), -EEXIST);
    assert_int_equal(db_store_delete(db, "default"), -EBUSY);
    assert_int_equal(db_volume_ready(db, "v-1", true), 0);
    assert_int_equal(db_volume_ready(db, "v-1", false), -ENOENT); /* only once */
    assert_int_equal(db_volume_by_name(db, "one", &arena, &v), 0);
    assert_true(v.state == DB_READY && v.adopted);
    assert_int_equal(db_volume_resize(db, "v-1", UINT64_C(1) << 50), 0);
    assert_int_equal(db_volume_tombstone(db, "v-1"), 0);
    assert_int_equal(db_volume_failed(db, "v-1", -EPERM, 99, "kept"), 0);
    assert_int_equal(db_volume_get(db, "v-1", &arena, &v), 0);
    assert_true(v.size_bytes == UINT64_C(1) << 50);
    assert_true(v.state == DB_DELETING && v.error == -EPERM && v.attempts == 1);
    assert_int_equal(db_volume_tombstone(db, "v-1"),
                     0); /* asked again: at once, with a clean sheet */
    assert_int_equal(db_volume_get(db, "v-1", &arena, &v), 0);
    assert_true(v.error == 0 && v.retry_ns == 0);
    assert_int_equal(db_volume_ready(db, "v-1", false), -ENOENT);
    assert_true(state_of(f, "v-1") == DB_DELETING);
    assert_int_equal(db_volume_remove(db, "v-1"), 0);
    assert_int_equal(db_volume_tombstone(db, "v-1"), -ENOENT);
    assert_int_equal(db_store_delete(db, "default"), 0);
    assert_int_equal(db_store_delete(db, "default"), -ENOENT);
}

static void a_store_keeps_whose_word_its_endpoint_is(void **state)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    struct fixture *f = *state;
    struct db *db = f->meta.db;
    const struct db_store of_user = {.name = "secret-1",
                                     .location = "s3://",
                                     .endpoint = "https://h",
                                     .s3_region = "",
                                     .region = "",
                                     .public_only = true};
    struct db_store got;

    assert_int_equal(db_store_add(db, &of_user), 0);
    assert_int_equal(db_store_get(db, "secret-1", &arena, &got), 0);
    assert_true(got.public_only);
    assert_int_equal(db_store_restrict(db, "secret-1", false), 0);
    assert_int_equal(db_store_get(db, "secret-1", &arena, &got), 0);
    assert_false(got.public_only);
    assert_int_equal(db_store_restrict(db, "other", true), -ENOENT);
    assert_int_equal(db_store_delete(db, "secret-1"), 0);
}

static void pages_follow_one_another_and_hide_what_is_being_made(void **state)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 20);
    struct fixture *f = *state;
    struct db_page page = {.max = 4};
    size_t seen = 0;

    for (int i = 0; i < 10; i++) {
        char id[16];
        struct db_volume v = a_volume(id, id);

        (void)snprintf(id, sizeof(id), "v-%02d", i);
        v.state = i == 5 ? DB_CREATING : DB_READY;
        v.created_ns = i;
        assert_int_equal(db_volume_add(f->meta.db, &v), 0);
    }
    do {
        assert_int_equal(db_volume_list(f->meta.db, &arena, &page), 0);
        assert_true(page.count <= 4);
        for (size_t i = 0; i < page.count; i++) {
            assert_string_not_equal(page.volumes[i].id, "v-05");
        }
        seen += page.count;
        page.after = page.volumes[page.count - 1].id;
    } while (page.more);
    assert_int_equal(seen, 9);
    page = (struct db_page){.max = 4, .state = DB_CREATING, .before_ns = 6};
    assert_int_equal(db_volume_list(f->meta.db, &arena, &page), 0);
    assert_int_equal(page.count, 1);
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

/* ---- credentials in rows ---- */

static Skyvol__Meta__V1__Credentials keys_of(char *access, char *secret)
{
    Skyvol__Meta__V1__Credentials c = SKYVOL__META__V1__CREDENTIALS__INIT;

    c.access_key = access;
    c.secret_key = secret;
    return c;
}

static void add_sealed(struct fixture *f, const Skyvol__Meta__V1__Credentials *keys)
{
    CLEANUP(buf_done) struct buf sealed = BUF_INIT(32768);
    struct db_store row = {
        .name = "lab", .location = "mem://", .endpoint = "", .s3_region = "", .region = ""};

    assert_int_equal(meta_seal(&f->meta, "lab", keys, &sealed), 0);
    row.sealed = buf_str(&sealed);
    row.sealed_len = buf_len(&sealed);
    assert_int_equal(db_store_add(f->meta.db, &row), 0);
}

static void assert_secret(struct fixture *f, const char *secret)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    struct mount_credentials plain = {0};
    struct error err = ERROR_INIT;
    struct db_store row;

    assert_int_equal(db_store_get(f->meta.db, "lab", &arena, &row), 0);
    assert_int_equal(meta_unseal(&f->meta, &row, &plain, &err), 0);
    assert_string_equal(plain.secret_key, secret);
    mount_credentials_done(&plain);
}

static void rows_move_under_the_newest_key_so_that_the_old_one_can_go(void **state)
{
    char access[] = "AK", secret[] = "s3cr3t";
    const Skyvol__Meta__V1__Credentials keys = keys_of(access, secret);
    struct fixture *f = *state;

    keys_are(f, KEY_A);
    add_sealed(f, &keys);
    keys_are(f, KEY_B KEY_A);
    meta_reseal(&f->meta);
    keys_are(f, KEY_B);
    assert_secret(f, "s3cr3t");
    keys_are(f, KEY_A); /* a key that is lost: the row stays as it is, for the day it is found */
    meta_reseal(&f->meta);
    keys_are(f, KEY_B);
    assert_secret(f, "s3cr3t");
}

static void other_credentials_replace_the_old_and_the_same_change_nothing(void **state)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    char access[] = "AK", secret[] = "s3cr3t", other[] = "0ther";
    const Skyvol__Meta__V1__Credentials keys = keys_of(access, secret);
    const Skyvol__Meta__V1__Credentials fresh = keys_of(access, other);
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    struct objstore *before = NULL, *after = NULL;
    struct db_store row, again;

    add_sealed(f, &keys);
    assert_int_equal(db_store_get(f->meta.db, "lab", &arena, &row), 0);
    assert_int_equal(meta_renew(&f->meta, &row, &keys, &err), 0);
    assert_int_equal(db_store_get(f->meta.db, "lab", &arena, &again), 0);
    assert_memory_equal(row.sealed, again.sealed, row.sealed_len);
    assert_int_equal(meta_store_get(&f->meta, "lab", &before, &err), 0);
    assert_int_equal(meta_renew(&f->meta, &row, &fresh, &err), 0);
    assert_secret(f, "0ther");
    assert_int_equal(meta_store_get(&f->meta, "lab", &after, &err), 0);
    assert_ptr_not_equal(before, after); /* whoever calls from now on uses the new ones */
    meta_store_put(&f->meta, before);
    meta_store_put(&f->meta, after);
    meta_store_forget(&f->meta, "lab");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(a_backup_is_a_database_of_its_own_and_overwrites_nothing),
        T(a_volume_goes_its_way_and_no_other),
        T(a_store_keeps_whose_word_its_endpoint_is),
        T(pages_follow_one_another_and_hide_what_is_being_made),
        T(rows_move_under_the_newest_key_so_that_the_old_one_can_go),
        T(other_credentials_replace_the_old_and_the_same_change_nothing),
        T(what_an_old_key_sealed_opens_until_the_key_is_taken_away),
        T(no_byte_of_what_is_sealed_can_be_changed_nor_the_whole_moved),
        T(a_key_file_that_is_wrong_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

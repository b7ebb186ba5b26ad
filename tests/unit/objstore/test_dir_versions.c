/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory store's versions, in the index by itself: against a model that keeps a plain list,
 * under thousands of chance changes. Chance has a seed that a failure names.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "objstore/dir_index.h"
#include "test.h"

enum { KEYS = 4, VERSIONS_MAX = 64, CHANGES = 4000, PAGE = 3 };

static const char *const keys[KEYS] = {"a", "a/b", "a/c", "b\xf4\x8f\xbf\xbf"};

struct entry {
    char id[OBJSTORE_VERSION_MAX];
    char file[DIR_FILE_NAME_MAX];
    bool marker;
};

/* Newest first. */
struct model_key {
    struct entry versions[VERSIONS_MAX];
    size_t count;
};

struct place {
    char directory[64], path[96];
    struct dir_index *index;
    struct dir_bucket bucket;
    struct model_key model[KEYS];
    unsigned files;
    unsigned seed;
    int64_t now;
};

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    struct error err = ERROR_INIT;

    assert_non_null(p);
    (void)snprintf(p->directory, sizeof(p->directory), "/tmp/skyvol-versions-XXXXXX");
    assert_non_null(mkdtemp(p->directory));
    (void)snprintf(p->path, sizeof(p->path), "%s/index.sqlite", p->directory);
    assert_int_equal(dir_index_open(p->path, false, &p->index, &err), 0);
    assert_int_equal(dir_index_bucket_create(p->index, "bucket", 1), 0);
    assert_int_equal(dir_index_bucket(p->index, "bucket", &p->bucket), 0);
    p->seed = (unsigned)getpid();
    p->now = 1000;
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    static const char *const tails[] = {"", "-wal", "-shm"};

    dir_index_close(p->index);
    for (size_t i = 0; i < 3; i++) {
        char path[128];

        (void)snprintf(path, sizeof(path), "%s%s", p->path, tails[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(p->directory), 0);
    free(p);
    return 0;
}

static void switch_to(struct place *p, enum dir_versioning versioning)
{
    assert_int_equal(dir_index_bucket_versioning(p->index, p->bucket.id, versioning), 0);
    assert_int_equal(dir_index_bucket(p->index, "bucket", &p->bucket), 0);
    assert_int_equal(p->bucket.versioning, versioning);
}

/* ---- the model ---- */

static void model_remove(struct model_key *k, size_t i)
{
    memmove(&k->versions[i], &k->versions[i + 1], (k->count - i - 1) * sizeof(k->versions[0]));
    k->count--;
}

static void model_push(struct model_key *k, const char *id, const char *file, bool marker)
{
    for (size_t i = 0; i < k->count; i++) { /* there is one "null" */
        if (strcmp(k->versions[i].id, id) == 0) {
            assert_string_equal(id, "null");
            model_remove(k, i);
            break;
        }
    }
    memmove(&k->versions[1], &k->versions[0], k->count * sizeof(k->versions[0]));
    k->count++;
    (void)snprintf(k->versions[0].id, OBJSTORE_VERSION_MAX, "%s", id);
    (void)snprintf(k->versions[0].file, DIR_FILE_NAME_MAX, "%s", file);
    k->versions[0].marker = marker;
}

static const char *expected_id(const struct place *p, const char *told)
{
    if (p->bucket.versioning == DIR_VERSIONED) {
        assert_int_equal(strlen(told), 32);
        return told;
    }
    assert_string_equal(told, p->bucket.versioning == DIR_SUSPENDED ? "null" : "");
    return "null";
}

/* ---- changes, on both ---- */

static void put(struct place *p, size_t key)
{
    const struct dir_conditions none = {0};
    char file[DIR_FILE_NAME_MAX];
    struct dir_object object = {.info = {.size = 3, .mtime_ns = p->now}, .file = file};

    (void)snprintf(file, sizeof(file), "1/aa/%u", p->files++);
    (void)snprintf(object.info.etag, OBJSTORE_ETAG_MAX, "%.100s", file);
    assert_int_equal(dir_index_put(p->index, &p->bucket, keys[key], &object, &none), 0);
    model_push(&p->model[key], expected_id(p, object.info.version_id), file, false);
}

static void mark(struct place *p, size_t key)
{
    struct dir_deletion deletion = {.now_ns = p->now};
    struct model_key *k = &p->model[key];

    assert_int_equal(dir_index_delete(p->index, &p->bucket, keys[key], &deletion), 0);
    if (p->bucket.versioning == DIR_UNVERSIONED) {
        assert_false(deletion.marker);
        k->count = 0;
        return;
    }
    assert_true(deletion.marker);
    model_push(k, expected_id(p, deletion.version_id), "", true);
}

static void remove_version(struct place *p, size_t key, size_t i)
{
    struct model_key *k = &p->model[key];
    struct dir_deletion deletion = {.version = k->versions[i].id, .now_ns = p->now};
    char etag[OBJSTORE_ETAG_MAX];

    if (!k->versions[i].marker) {
        (void)snprintf(etag, sizeof(etag), "%.100s", k->versions[i].file);
        deletion.conditions.if_match = "another";
        assert_int_equal(dir_index_delete(p->index, &p->bucket, keys[key], &deletion), -ESTALE);
        deletion.conditions.if_match = etag;
    }
    assert_int_equal(dir_index_delete(p->index, &p->bucket, keys[key], &deletion), 0);
    assert_int_equal(deletion.marker, k->versions[i].marker);
    assert_string_equal(deletion.version_id, k->versions[i].id);
    model_remove(k, i);
}

/* ---- what the index says ---- */

static void check_key(struct place *p, size_t key)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 20);
    const struct model_key *k = &p->model[key];
    struct objstore_info marker;
    struct dir_object object;
    bool known;
    int ret = dir_index_get(p->index, &p->bucket, keys[key], &arena, &object);

    if (k->count > 0 && !k->versions[0].marker) {
        assert_int_equal(ret, 0);
        assert_string_equal(object.file, k->versions[0].file);
        assert_int_equal(dir_index_get_marker(p->index, &p->bucket, keys[key], &marker), -ENOENT);
    } else {
        assert_int_equal(ret, -ENOENT);
        ret = dir_index_get_marker(p->index, &p->bucket, keys[key], &marker);
        assert_int_equal(ret, k->count > 0 ? 0 : -ENOENT);
        if (ret == 0) {
            assert_string_equal(marker.version_id, k->versions[0].id);
        }
    }
    for (size_t i = 0; i < k->count; i++) {
        const struct entry *e = &k->versions[i];

        assert_int_equal(
            dir_index_get_version(p->index, &p->bucket, keys[key], e->id, &arena, &object), 0);
        assert_int_equal(object.marker, e->marker);
        assert_string_equal(object.info.version_id, e->id);
        if (!e->marker) {
            assert_string_equal(object.file, e->file);
            assert_int_equal(dir_index_has_file(p->index, e->file, &known), 0);
            assert_true(known);
        }
    }
}

/* All pages of PAGE entries, following the markers as a client does. */
static void check_list(struct place *p)
{
    char after[OBJSTORE_KEY_MAX + 1] = "", after_version[OBJSTORE_VERSION_MAX] = "";
    size_t key = 0, i = 0;
    bool more = true;

    while (more) {
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 20);
        struct dir_list list = {.prefix = "", .max = PAGE, .versions = true};
        struct dir_listing page;

        list.after = after[0] != '\0' ? after : NULL;
        list.after_version = after[0] != '\0' ? after_version : NULL;
        assert_int_equal(dir_index_list(p->index, &p->bucket, &list, &arena, &page), 0);
        for (size_t n = 0; n < page.count; n++, i++) {
            const struct objstore_entry *e = &page.entries[n];

            while (key < KEYS && i == p->model[key].count) {
                key++;
                i = 0;
            }
            assert_true(key < KEYS);
            assert_string_equal(e->key, keys[key]);
            assert_string_equal(e->info.version_id, p->model[key].versions[i].id);
            assert_int_equal(e->delete_marker, p->model[key].versions[i].marker);
            assert_int_equal(e->latest, i == 0);
            (void)snprintf(after, sizeof(after), "%s", e->key);
            (void)snprintf(after_version, sizeof(after_version), "%s", e->info.version_id);
        }
        more = page.truncated;
        assert_true(!more || page.count == PAGE);
    }
    while (key < KEYS && i == p->model[key].count) {
        key++;
        i = 0;
    }
    assert_int_equal(key, KEYS);
}

/* Files that nothing names are garbage, those that something names are not. */
static void check_garbage(struct place *p)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 22);
    const char **files;
    size_t count, live = 0;

    assert_int_equal(dir_index_garbage(p->index, 100000, &arena, &files, &count), 0);
    for (size_t key = 0; key < KEYS; key++) {
        for (size_t i = 0; i < p->model[key].count; i++) {
            const struct entry *e = &p->model[key].versions[i];

            live += e->marker ? 0 : 1;
            for (size_t n = 0; n < count && !e->marker; n++) {
                assert_string_not_equal(files[n], e->file);
            }
        }
    }
    assert_int_equal(count + live, p->files);
}

static void change(struct place *p)
{
    size_t key = (size_t)rand_r(&p->seed) % KEYS;
    int what = rand_r(&p->seed) % 100;
    struct model_key *k = &p->model[key];

    p->now += rand_r(&p->seed) % 3 - 1; /* clocks stand still, and go back */
    if (k->count > VERSIONS_MAX - 2 || (what < 35 && k->count > 0)) {
        remove_version(p, key, (size_t)rand_r(&p->seed) % k->count);
    } else if (what < 75) {
        put(p, key);
    } else if (what < 98) {
        mark(p, key);
    } else {
        switch_to(p, p->bucket.versioning == DIR_VERSIONED ? DIR_SUSPENDED : DIR_VERSIONED);
    }
    check_key(p, key);
}

static void chance_changes_agree_with_a_list(void **state)
{
    struct place *p = *state;

    print_message("seed %u\n", p->seed);
    for (int i = 0; i < CHANGES; i++) {
        if (i == 50) {
            switch_to(p, DIR_VERSIONED); /* never back to none */
        } else if (i > 50) {
            change(p);
        } else if (i % 4 == 3) {
            mark(p, (size_t)i % KEYS);
        } else {
            put(p, (size_t)i % KEYS);
        }
        if (i % 16 == 0) {
            check_list(p);
        }
    }
    check_list(p);
    check_garbage(p);
}

static void a_bucket_with_versions_is_not_empty(void **state)
{
    struct place *p = *state;

    switch_to(p, DIR_VERSIONED);
    mark(p, 0); /* nothing but a marker */
    assert_int_equal(dir_index_bucket_delete(p->index, "bucket"), -ENOTEMPTY);
    put(p, 0);
    mark(p, 0);
    remove_version(p, 0, 0);
    remove_version(p, 0, 1);
    assert_int_equal(dir_index_bucket_delete(p->index, "bucket"), -ENOTEMPTY);
    remove_version(p, 0, 0);
    assert_int_equal(dir_index_bucket_delete(p->index, "bucket"), 0);
}

static void without_versions_there_are_no_rows_of_them(void **state)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 16);
    struct place *p = *state;
    struct dir_object object;
    struct dir_deletion other = {.version = "0123456789abcdef0123456789abcdef"};
    struct dir_deletion none = {.version = "no id"};

    put(p, 0);
    put(p, 0);
    check_key(p, 0);
    check_list(p);
    check_garbage(p);
    assert_int_equal(dir_index_get(p->index, &p->bucket, keys[0], &arena, &object), 0);
    assert_string_equal(object.info.version_id, "");
    assert_int_equal(dir_index_delete(p->index, &p->bucket, keys[0], &other), 0);
    assert_int_equal(dir_index_delete(p->index, &p->bucket, keys[0], &none), -EINVAL);
    other.conditions.if_match = "*";
    assert_int_equal(dir_index_delete(p->index, &p->bucket, keys[0], &other), -ENOENT);
    check_key(p, 0);
    remove_version(p, 0, 0); /* "null" is the object itself */
    check_key(p, 0);
}

/* A client that lists a page, deletes what it was told and asks for the next sees everything. */
static void a_purge_page_by_page_finds_all(void **state)
{
    struct place *p = *state;
    char after[OBJSTORE_KEY_MAX + 1] = "", after_version[OBJSTORE_VERSION_MAX] = "";
    bool more = true;

    put(p, 0);
    switch_to(p, DIR_VERSIONED);
    for (int i = 0; i < 5; i++) {
        put(p, 0);
        put(p, 1);
    }
    switch_to(p, DIR_SUSPENDED);
    put(p, 0);
    mark(p, 1);
    switch_to(p, DIR_VERSIONED);
    put(p, 0);
    for (int i = 0; more && i < 20; i++) {
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 20);
        struct dir_list list = {.prefix = "", .max = 2, .versions = true};
        struct dir_listing page;

        list.after = after[0] != '\0' ? after : NULL;
        list.after_version = after[0] != '\0' ? after_version : NULL;
        assert_int_equal(dir_index_list(p->index, &p->bucket, &list, &arena, &page), 0);
        for (size_t n = 0; n < page.count; n++) {
            const struct objstore_entry *e = &page.entries[n];
            struct dir_deletion deletion = {.version = e->info.version_id};

            assert_int_equal(e->latest, n == 0 || strcmp(e->key, page.entries[n - 1].key) != 0);
            assert_int_equal(dir_index_delete(p->index, &p->bucket, e->key, &deletion), 0);
            (void)snprintf(after, sizeof(after), "%s", e->key);
            (void)snprintf(after_version, sizeof(after_version), "%s", e->info.version_id);
        }
        more = page.truncated;
    }
    assert_int_equal(dir_index_bucket_delete(p->index, "bucket"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(chance_changes_agree_with_a_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bucket_with_versions_is_not_empty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_versions_there_are_no_rows_of_them, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_purge_page_by_page_finds_all, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that are remembered are those that the index would tell. */
#include "objstore/dir_rows.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "index_place.h"
#include "objstore/dir_hurry.h"
#include "objstore/dir_index_internal.h"

enum { ROUNDS = 3000, MEMORY = 1 << 20 };

struct pair {
    struct dir_index *writer, *reader;
    struct dir_bucket bucket;
    struct arena arena;
};

static struct dir_index *open_writer(const char *path)
{
    struct error err = ERROR_INIT;
    struct dir_index *index = NULL;

    assert_int_equal(dir_index_open(path, false, &index, &err), 0);
    return index;
}

static void put(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                const struct dir_object *object)
{
    const struct dir_conditions none = {0};
    struct dir_object copy = *object;

    assert_int_equal(dir_index_begin(index), 0);
    assert_int_equal(dir_index_put(index, bucket, key, &copy, &none), 0);
    assert_int_equal(dir_index_commit(index), 0);
}

static void put_file(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                     const char *file)
{
    const struct dir_object object = {.file = file, .info = {.size = 1, .etag = "e"}};

    put(index, bucket, key, &object);
}

static void begin(struct pair *p, const struct place *place)
{
    struct error err = ERROR_INIT;

    *p = (struct pair){.arena = ARENA_INIT(MEMORY)};
    p->writer = open_writer(place->path);
    assert_int_equal(dir_index_begin(p->writer), 0);
    assert_int_equal(dir_index_bucket_create(p->writer, "bucket", 1), 0);
    assert_int_equal(dir_index_commit(p->writer), 0);
    assert_int_equal(dir_index_bucket(p->writer, "bucket", &p->bucket), 0);
    assert_int_equal(dir_index_open_hurried(place->path, &p->reader, &err), 0);
    assert_non_null(p->reader->rows);
}

static void end(struct pair *p)
{
    arena_done(&p->arena);
    dir_index_close(p->reader);
    dir_index_close(p->writer);
}

static int get(struct pair *p, const char *key, struct dir_object *ret)
{
    int found;

    dir_hurry_begin(DIR_HURRY_READ);
    found = dir_index_get(p->reader, &p->bucket, key, &p->arena, ret);
    return dir_hurry_end() == 0 ? found : -EAGAIN;
}

static bool remembers(struct pair *p, const char *key)
{
    struct dir_object object;

    return dir_rows_find(p->reader->rows, &p->bucket, key, &p->arena, &object);
}

static void a_row_is_told_whole(void **state)
{
    const struct objstore_pair user[] = {{"a", "1"}, {"b", ""}};
    struct dir_object object = {
        .file = "1/ab/f",
        .tags = "t=1",
        .info = {.size = 7,
                 .etag = "etag",
                 .mtime_ns = 5,
                 .meta = {.content_type = "text/x", .user = user, .user_count = 2},
                 .checksum = {.kind = OBJSTORE_CHECKSUM_CRC32, .value = "sum", .composite = true},
                 .parts = 3}};
    struct dir_object first, again;
    struct pair p;

    begin(&p, *state);
    put(p.writer, &p.bucket, "k", &object);
    assert_false(remembers(&p, "k"));
    assert_int_equal(get(&p, "k", &first), 0);
    arena_done(&p.arena); /* what is remembered is nobody else's memory */
    assert_true(remembers(&p, "k"));
    assert_int_equal(get(&p, "k", &again), 0);
    assert_string_equal(again.file, "1/ab/f");
    assert_string_equal(again.tags, "t=1");
    assert_int_equal(again.info.size, 7);
    assert_string_equal(again.info.etag, "etag");
    assert_int_equal(again.info.mtime_ns, 5);
    assert_string_equal(again.info.meta.content_type, "text/x");
    assert_null(again.info.meta.expires);
    assert_int_equal(again.info.meta.user_count, 2);
    assert_string_equal(again.info.meta.user[0].value, "1");
    assert_string_equal(again.info.meta.user[1].name, "b");
    assert_int_equal(again.info.checksum.kind, OBJSTORE_CHECKSUM_CRC32);
    assert_string_equal(again.info.checksum.value, "sum");
    assert_true(again.info.checksum.composite);
    assert_int_equal(again.info.parts, 3);
    assert_int_equal(again.info.tag_count, 1);
    end(&p);
}

static void it_is_of_its_key_and_bucket_alone(void **state)
{
    struct dir_object object;
    struct pair p;

    begin(&p, *state);
    put_file(p.writer, &p.bucket, "k", "1/ab/f");
    assert_int_equal(get(&p, "k", &object), 0);
    assert_false(remembers(&p, "K"));
    assert_false(remembers(&p, "k1"));
    p.bucket.id++;
    assert_false(remembers(&p, "k"));
    p.bucket.id--;
    p.bucket.versioning = DIR_SUSPENDED; /* its version would be named */
    assert_false(remembers(&p, "k"));
    p.bucket.versioning = DIR_UNVERSIONED;
    assert_true(remembers(&p, "k"));
    end(&p);
}

/* A commit that has nothing to do with it, too: nobody asks what it was about. */
static void a_commit_ends_it(void **state)
{
    struct dir_object object;
    struct pair p;

    begin(&p, *state);
    put_file(p.writer, &p.bucket, "k", "1/ab/f");
    assert_int_equal(get(&p, "k", &object), 0);
    assert_true(remembers(&p, "k"));
    put_file(p.writer, &p.bucket, "other", "1/ab/g");
    assert_false(remembers(&p, "k"));
    assert_int_equal(get(&p, "k", &object), 0);
    assert_true(remembers(&p, "k"));
    assert_int_equal(dir_index_begin(p.writer), 0); /* what is not committed does not count */
    assert_int_equal(dir_index_garbage_forget(p.writer, "1/ab/x"), 0);
    assert_true(remembers(&p, "k"));
    dir_index_rollback(p.writer);
    assert_true(remembers(&p, "k"));
    end(&p);
}

static void what_was_read_before_a_commit_is_not_kept_after_it(void **state)
{
    const struct dir_object old = {.file = "1/ab/f"};
    struct dir_object object;
    struct pair p;

    begin(&p, *state);
    put_file(p.writer, &p.bucket, "k", "1/ab/f");
    assert_false(remembers(&p, "k"));
    put_file(p.writer, &p.bucket, "k", "1/ab/g");
    dir_rows_keep(p.reader->rows, &p.bucket, "k", &old);
    assert_false(remembers(&p, "k"));
    assert_false(remembers(&p, "k"));
    /* Nor what a look that is open still has told of. */
    assert_int_equal(dir_index_look(p.reader), 0);
    assert_int_equal(get(&p, "k", &object), 0);
    assert_string_equal(object.file, "1/ab/g");
    put_file(p.writer, &p.bucket, "k", "1/ab/h");
    assert_int_equal(get(&p, "k", &object), 0);
    assert_string_equal(object.file, "1/ab/g");
    assert_false(remembers(&p, "k"));
    dir_index_rollback(p.reader);
    assert_false(remembers(&p, "k"));
    assert_int_equal(get(&p, "k", &object), 0);
    assert_string_equal(object.file, "1/ab/h");
    end(&p);
}

static void long_words_and_old_rows_have_no_place(void **state)
{
    char words[8000], key[32];
    struct dir_object long_one = {.file = "1/ab/f", .info.meta.content_type = words}, object;
    size_t kept = 0;
    struct pair p;

    memset(words, 'w', sizeof(words) - 1);
    words[sizeof(words) - 1] = '\0';
    begin(&p, *state);
    put(p.writer, &p.bucket, "long", &long_one);
    assert_int_equal(dir_index_begin(p.writer), 0);
    for (int i = 0; i < 2000; i++) {
        const struct dir_conditions none = {0};

        object = (struct dir_object){.file = "1/ab/f"};
        (void)snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(dir_index_put(p.writer, &p.bucket, key, &object, &none), 0);
    }
    assert_int_equal(dir_index_commit(p.writer), 0);
    assert_int_equal(get(&p, "long", &object), 0);
    assert_false(remembers(&p, "long"));
    assert_int_equal(get(&p, "long", &object), 0);
    assert_string_equal(object.info.meta.content_type, words);
    for (int i = 0; i < 2000; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(get(&p, key, &object), 0);
        arena_reset(&p.arena);
    }
    for (int i = 0; i < 2000; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        kept += remembers(&p, key);
    }
    assert_in_range(kept, 100, 600);
    end(&p);
}

static void wait_for(int fd)
{
    char byte;

    assert_int_equal(read(fd, &byte, 1), 1);
}

/* A process of its own, and the log is moved and begun anew meanwhile. */
static void write_rounds(const char *path, const struct dir_bucket *bucket, int from, int to)
{
    struct dir_index *index = open_writer(path);
    struct dir_deletion deletion = {0};
    char file[32];

    for (int i = 0; i < ROUNDS; i++) {
        (void)snprintf(file, sizeof(file), "1/ab/%d", i);
        wait_for(from);
        if (i % 5 == 4) {
            assert_int_equal(dir_index_begin(index), 0);
            assert_int_equal(dir_index_delete(index, bucket, "k", &deletion), 0);
            assert_int_equal(dir_index_commit(index), 0);
        } else {
            put_file(index, bucket, "k", file);
        }
        assert_int_equal(write(to, "+", 1), 1);
        if (i % 100 == 50) {
            (void)dir_index_move_log(index, true);
        }
    }
    dir_index_close(index);
}

static void what_another_process_has_committed_is_told(void **state)
{
    const struct place *place = *state;
    int there[2], back[2], status, told = 0, refused = 0;
    struct pair p;
    pid_t child;

    begin(&p, place);
    assert_int_equal(pipe(there), 0);
    assert_int_equal(pipe(back), 0);
    dir_index_close(p.writer); /* no connection crosses a fork */
    p.writer = NULL;
    dir_index_close(p.reader);
    child = fork();
    if (child == 0) {
        (void)close(there[1]);
        (void)close(back[0]);
        write_rounds(place->path, &p.bucket, there[0], back[1]);
        _exit(0);
    }
    (void)close(there[0]);
    (void)close(back[1]); /* so that its end is seen */
    assert_int_equal(dir_index_open_hurried(place->path, &p.reader, &(struct error)ERROR_INIT), 0);
    for (int i = 0; i < ROUNDS; i++) {
        struct dir_object object;
        char file[32];
        int found;

        (void)snprintf(file, sizeof(file), "1/ab/%d", i);
        assert_int_equal(write(there[1], "+", 1), 1);
        wait_for(back[0]);
        while ((found = get(&p, "k", &object)) != 0 && found != -ENOENT && refused < ROUNDS) {
            refused++; /* it was not to be had at once: who asks goes another way then */
            (void)usleep(1000);
        }
        assert_int_equal(found, i % 5 == 4 ? -ENOENT : 0);
        if (found == 0) {
            assert_string_equal(object.file, file);
            told += remembers(&p, "k");
            assert_int_equal(get(&p, "k", &object), 0);
            assert_string_equal(object.file, file);
        }
        arena_reset(&p.arena);
    }
    assert_true(told > ROUNDS / 2); /* else there was nothing to see */
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    (void)close(there[1]);
    (void)close(back[0]);
    end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_row_is_told_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_is_of_its_key_and_bucket_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_commit_ends_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_read_before_a_commit_is_not_kept_after_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(long_words_and_old_rows_have_no_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_another_process_has_committed_is_told, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

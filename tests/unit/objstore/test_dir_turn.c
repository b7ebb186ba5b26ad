/* SPDX-License-Identifier: Apache-2.0 */
/* Who writes to an index when others do, and how its log ends. */
#include "objstore/dir_turn.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "index_place.h"
#include "objstore/dir_index.h"

enum { TURNS = 60, HELD_US = 1000 };

static struct dir_index *open_index(const char *path)
{
    struct error err = ERROR_INIT;
    struct dir_index *index = NULL;

    assert_int_equal(dir_index_open(path, false, &index, &err), 0);
    assert_int_equal(dir_index_take_turns(index, path), 0);
    return index;
}

static void who_waits_is_heard_of_once(void **state)
{
    const struct place *place = *state;
    struct dir_turn one, other;

    dir_turn_open(&one, place->path);
    dir_turn_open(&other, place->path);
    assert_non_null(one.shared);
    dir_turn_begin(&one);
    assert_false(dir_turn_end(&one));
    dir_turn_begin(&one);
    dir_turn_begin(&other);
    dir_turn_wait(&other); /* as long as it waits at most: it has died, say */
    assert_true(dir_turn_end(&one));
    dir_turn_begin(&one); /* gives way to nobody, and goes on */
    assert_false(dir_turn_end(&one));
    dir_turn_close(&one);
    dir_turn_close(&other);
}

static void without_room_for_the_file_there_are_no_turns(void **state)
{
    struct dir_turn turn;

    (void)state;
    dir_turn_open(&turn, "/nonexistent/index");
    assert_null(turn.shared);
    dir_turn_begin(&turn);
    dir_turn_wait(&turn);
    assert_false(dir_turn_end(&turn));
    dir_turn_close(&turn);
}

struct writer {
    const char *path;
    pthread_barrier_t *start;
    int number;
};

static int order[2 * TURNS]; /* by the index's lock */
static int order_len;

static void *write_often(void *arg)
{
    struct writer *writer = arg;
    struct dir_index *index = open_index(writer->path);

    (void)pthread_barrier_wait(writer->start);
    for (int i = 0; i < TURNS; i++) {
        char name[32];

        assert_int_equal(dir_index_begin(index), 0);
        order[order_len++] = writer->number;
        (void)snprintf(name, sizeof(name), "bucket-%d-%d", writer->number, i);
        assert_int_equal(dir_index_bucket_create(index, name, 1), 0);
        (void)usleep(HELD_US);
        assert_int_equal(dir_index_commit(index), 0);
    }
    dir_index_close(index);
    return NULL;
}

/* Each wants the index again as soon as it has given it up. Who sleeps meanwhile hardly gets it. */
static void two_that_write_all_the_time_take_turns(void **state)
{
    const struct place *place = *state;
    struct dir_index *index = open_index(place->path);
    pthread_barrier_t start;
    pthread_t threads[2];
    struct writer writers[2] = {{place->path, &start, 0}, {place->path, &start, 1}};
    int turns = 0;

    order_len = 0;
    (void)pthread_barrier_init(&start, NULL, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, write_often, &writers[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    (void)pthread_barrier_destroy(&start);
    assert_int_equal(order_len, 2 * TURNS);
    for (int i = 1; i < 2 * TURNS; i++) {
        turns += order[i] != order[i - 1];
    }
    if (turns < TURNS / 2) { /* of 2 * TURNS - 1 */
        fail_msg("%d changes of the writer", turns);
    }
    dir_index_close(index);
}

/* Says that it has opened the index, waits, and says that it has begun to change it. */
static void change_until_killed(const char *path, int tell, int told)
{
    struct dir_index *index = NULL;
    char byte = 0;

    (void)alarm(60);
    if (dir_index_open(path, false, &index, NULL) == 0 && dir_index_take_turns(index, path) == 0 &&
        write(tell, &byte, 1) == 1 && read(told, &byte, 1) == 1 && dir_index_begin(index) == 0 &&
        dir_index_bucket_create(index, "lost", 1) == 0 && write(tell, &byte, 1) == 1) {
        (void)pause();
    }
    _exit(1);
}

static void who_is_killed_with_the_index_keeps_nobody(void **state)
{
    const struct place *place = *state;
    struct dir_index *index;
    struct dir_bucket bucket;
    int up[2], down[2], status;
    char byte = 0;
    pid_t child;

    assert_int_equal(pipe(up), 0);
    assert_int_equal(pipe(down), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        change_until_killed(place->path, up[1], down[0]);
    }
    assert_int_equal(read(up[0], &byte, 1), 1);
    index = open_index(place->path);
    assert_int_equal(write(down[1], &byte, 1), 1);
    assert_int_equal(read(up[0], &byte, 1), 1);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(dir_index_begin(index), 0);
    assert_int_equal(dir_index_bucket(index, "lost", &bucket), -ENOENT);
    assert_int_equal(dir_index_bucket_create(index, "kept", 1), 0);
    assert_int_equal(dir_index_commit(index), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    for (int i = 0; i < 2; i++) {
        (void)close(up[i]);
        (void)close(down[i]);
    }
    dir_index_close(index);
}

static uint64_t write_one(struct dir_index *index, int i)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "bucket-%d", i);
    assert_int_equal(dir_index_begin(index), 0);
    assert_int_equal(dir_index_bucket_create(index, name, 1), 0);
    assert_int_equal(dir_index_commit(index), 0);
    return dir_index_log_pages(index);
}

static void the_log_grows_until_it_is_moved(void **state)
{
    enum { WRITES = 1200 }; /* beyond where SQLite would move it */
    const struct place *place = *state;
    struct dir_index *index = open_index(place->path), *mover = open_index(place->path);
    struct dir_bucket bucket;
    uint64_t pages = 0;

    for (int i = 0; i < WRITES; i++) {
        uint64_t now = write_one(index, i);

        assert_true(now > pages);
        pages = now;
    }
    /* Who still reads of an earlier moment keeps the log from beginning again, and nobody waits
     * for that to end. */
    assert_int_equal(dir_index_look(mover), 0);
    assert_int_equal(dir_index_bucket(mover, "bucket-0", &bucket), 0);
    assert_true(write_one(index, WRITES) > pages);
    assert_int_equal(dir_index_move_log(index, false), 0);
    assert_true(write_one(index, WRITES + 1) > pages);
    dir_index_rollback(mover);
    assert_int_equal(dir_index_move_log(mover, false), 0);
    assert_true(write_one(index, WRITES + 2) < pages);
    dir_index_close(mover);
    dir_index_close(index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_waits_is_heard_of_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_room_for_the_file_there_are_no_turns, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(two_that_write_all_the_time_take_turns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_is_killed_with_the_index_keeps_nobody, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_log_grows_until_it_is_moved, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

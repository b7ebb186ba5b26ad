/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions and their locks: leases, fences, conflicts, splitting, circles, a restart. */
#include "file.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "metaserver/live.h"

enum { LEASE_MS = 20000, SHORT_MS = 1 };

struct fixture {
    struct file_fixture file;
    struct live *live;
};

static void reopen(struct fixture *f, uint64_t lease_ms)
{
    struct error err = ERROR_INIT;

    live_close(f->live);
    f->live = NULL;
    assert_int_equal(live_open(f->file.path, lease_ms, &f->live, &err), 0);
}

static int setup(void **state)
{
    struct fixture *f = file_fixture_new(sizeof(*f));

    reopen(f, LEASE_MS);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    live_close(f->live);
    file_fixture_free(&f->file);
    return 0;
}

static struct live_session begin(struct fixture *f, const char *volume, const char *node,
                                 const char *mount)
{
    struct live_session s = {.volume = volume, .node = node, .mount = mount};
    struct error err = ERROR_INIT;

    assert_int_equal(live_session_add(f->live, &s, &f->file.arena, &err), 0);
    return s;
}

static int get(struct fixture *f, const struct live_session *s)
{
    struct live_session found;

    return live_session_get(f->live, s->id, s->epoch, &f->file.arena, &found);
}

/* Of key "k". */
static int lock_span(struct fixture *f, const struct live_session *s, const struct live_lock *what,
                     enum live_lock_how how)
{
    struct live_lock l = *what;
    struct live_answer answer;

    l.key = "k";
    l.pid = 7;
    return live_lock(f->live, s, &l, how, &f->file.arena, &answer);
}
#define lock(f, s, owner_, start_, end_, exclusive_, how)                                          \
    lock_span(f, s,                                                                                \
              &(struct live_lock){                                                                 \
                  .owner = (owner_), .start = (start_), .end = (end_), .exclusive = (exclusive_)}, \
              how)

static void unlock(struct fixture *f, const struct live_session *s, uint64_t owner, uint64_t start,
                   uint64_t end)
{
    const struct live_lock l = {.key = "k", .start = start, .end = end, .owner = owner};

    assert_int_equal(live_unlock(f->live, s, &l), 0);
}

static uint64_t locks(struct fixture *f)
{
    struct live_counts counts;

    assert_int_equal(live_count(f->live, &counts), 0);
    return counts.locks;
}

static void a_newer_session_of_the_same_mount_fences_the_older_one(void **state)
{
    struct fixture *f = *state;
    struct live_session one = begin(f, "v", "n", "m");
    struct live_session other = begin(f, "v", "n", "other");
    struct live_session two;

    assert_int_equal(lock(f, &one, 1, 0, 9, true, LIVE_LOCK_TRY), 0);
    two = begin(f, "v", "n", "m");
    assert_true(two.epoch > one.epoch);
    assert_int_equal(get(f, &one), -ESTALE);
    assert_int_equal(live_session_renew(f->live, one.id, one.epoch), -ESTALE);
    assert_int_equal(lock(f, &one, 1, 0, 9, true, LIVE_LOCK_TRY), -ESTALE);
    assert_int_equal(locks(f), 0);
    assert_int_equal(get(f, &two), 0);
    assert_int_equal(get(f, &other), 0);
    assert_int_equal(live_session_renew(f->live, two.id, two.epoch + 1), -ESTALE);
    assert_int_equal(live_session_renew(f->live, "guessed", 1), -ENOENT);
}

static void a_volume_for_one_node_refuses_another_and_tells_until_when(void **state)
{
    struct fixture *f = *state;
    struct live_session alone = {.volume = "v", .node = "first", .mount = "m", .exclusive = true};
    struct live_session second = {.volume = "v", .node = "second", .mount = "m", .exclusive = true};
    struct error err = ERROR_INIT;

    assert_int_equal(live_session_add(f->live, &alone, &f->file.arena, &err), 0);
    assert_int_equal(live_session_add(f->live, &second, &f->file.arena, &err), -EBUSY);
    assert_non_null(strstr(err.text, "node first"));
    assert_non_null(strstr(err.text, "lease ends at 20"));
    second.exclusive = false;
    assert_int_equal(live_session_add(f->live, &second, &f->file.arena, &err), -EBUSY);
    second.volume = "w";
    assert_int_equal(live_session_add(f->live, &second, &f->file.arena, &err), 0);
    second.node = "first"; /* another mount of the same node */
    second.volume = "v";
    second.mount = "m2";
    assert_int_equal(live_session_add(f->live, &second, &f->file.arena, &err), 0);
    assert_int_equal(live_check_unused(f->live, "v", &err), -EBUSY);
    assert_non_null(strstr(err.text, "first"));
    assert_int_equal(live_session_remove(f->live, alone.id, alone.epoch), 0);
    assert_int_equal(live_session_remove(f->live, alone.id, alone.epoch), 0);
    assert_int_equal(live_session_remove(f->live, second.id, second.epoch), 0);
    assert_int_equal(live_check_unused(f->live, "v", &err), 0);
}

static void a_lease_that_is_not_renewed_ends_with_its_locks(void **state)
{
    struct fixture *f = *state;
    struct live_session s = begin(f, "v", "n", "m");
    uint64_t position = live_position(f->live);

    assert_int_equal(lock(f, &s, 1, 0, 9, true, LIVE_LOCK_TRY), 0);
    reopen(f, SHORT_MS); /* all leases are granted anew: short ones here */
    assert_int_equal(locks(f), 1);
    while (live_sweep(f->live) == 0) {
    }
    assert_int_equal(get(f, &s), -ENOENT);
    assert_int_equal(locks(f), 0);
    assert_true(live_position(f->live) != position);
}

static void locks_outlive_the_metaserver(void **state)
{
    struct fixture *f = *state;
    struct live_session a = begin(f, "v", "a", "m");
    struct live_session b = begin(f, "v", "b", "m");

    assert_int_equal(lock(f, &a, 1, 0, 9, true, LIVE_LOCK_TRY), 0);
    reopen(f, LEASE_MS);
    assert_int_equal(lock(f, &b, 1, 9, 20, false, LIVE_LOCK_TRY), -EAGAIN);
    assert_int_equal(lock(f, &b, 1, 10, 20, false, LIVE_LOCK_TRY), 0);
}

static void ranges_conflict_split_and_join_as_with_fcntl(void **state)
{
    struct fixture *f = *state;
    struct live_session a = begin(f, "v", "a", "m");
    struct live_session b = begin(f, "v", "b", "m");

    assert_int_equal(lock(f, &a, 1, 0, INT64_MAX, true, LIVE_LOCK_TRY), 0);
    assert_int_equal(lock(f, &a, 1, 0, INT64_MAX, true, LIVE_LOCK_TRY), 0);
    assert_int_equal(locks(f), 1);
    unlock(f, &a, 1, 10, 19);
    assert_int_equal(locks(f), 2);
    assert_int_equal(lock(f, &b, 1, 10, 19, true, LIVE_LOCK_TRY), 0);
    assert_int_equal(lock(f, &b, 1, 9, 19, true, LIVE_LOCK_TRY), -EAGAIN);
    assert_int_equal(lock(f, &b, 1, 19, 20, false, LIVE_LOCK_TEST), -EAGAIN);
    assert_int_equal(lock(f, &a, 2, 5, 5, false, LIVE_LOCK_TRY), -EAGAIN); /* another owner */
    unlock(f, &b, 1, 0, INT64_MAX);
    assert_int_equal(lock(f, &a, 1, 10, 19, true, LIVE_LOCK_TRY), 0);
    assert_int_equal(locks(f), 1); /* joined */
    assert_int_equal(lock(f, &a, 1, 100, 199, false, LIVE_LOCK_TRY), 0);
    assert_int_equal(locks(f), 3); /* its middle is shared now */
    assert_int_equal(lock(f, &b, 1, 120, 130, false, LIVE_LOCK_TRY), 0);
    assert_int_equal(lock(f, &b, 1, 199, 200, false, LIVE_LOCK_TRY), -EAGAIN);
    unlock(f, &a, 1, 0, INT64_MAX);
    unlock(f, &b, 1, 0, INT64_MAX);
    assert_int_equal(locks(f), 0);
}

static void one_volume_does_not_lock_another(void **state)
{
    struct fixture *f = *state;
    struct live_session a = begin(f, "v", "a", "m");
    struct live_session b = begin(f, "w", "b", "m");

    assert_int_equal(lock(f, &a, 1, 0, 9, true, LIVE_LOCK_TRY), 0);
    assert_int_equal(lock(f, &b, 1, 0, 9, true, LIVE_LOCK_TRY), 0);
    unlock(f, &b, 1, 0, 9);
    assert_int_equal(locks(f), 1);
}

static void posix_and_bsd_locks_do_not_see_each_other(void **state)
{
    struct fixture *f = *state;
    struct live_session a = begin(f, "v", "a", "m");
    struct live_session b = begin(f, "v", "b", "m");
    struct live_lock whole = {
        .key = "k", .family = LIVE_FLOCK, .exclusive = true, .end = INT64_MAX, .owner = 1};
    struct live_answer answer;

    assert_int_equal(lock(f, &a, 1, 0, INT64_MAX, true, LIVE_LOCK_TRY), 0);
    assert_int_equal(live_lock(f->live, &b, &whole, LIVE_LOCK_TRY, &f->file.arena, &answer), 0);
    assert_int_equal(live_lock(f->live, &a, &whole, LIVE_LOCK_TRY, &f->file.arena, &answer),
                     -EAGAIN);
    assert_string_equal(answer.node, "b");
    assert_int_equal(live_unlock_id(f->live, &a, answer.id), 0); /* not his */
    assert_int_equal(locks(f), 2);
    assert_int_equal(live_unlock_id(f->live, &b, answer.id), 0);
    assert_int_equal(locks(f), 1);
}

static void who_would_close_a_circle_is_told_and_the_others_get_on(void **state)
{
    struct fixture *f = *state;
    struct live_session a = begin(f, "v", "a", "m");
    struct live_session b = begin(f, "v", "b", "m");
    struct live_session c = begin(f, "v", "c", "m");

    assert_int_equal(lock(f, &a, 1, 0, 0, true, LIVE_LOCK_TRY), 0);
    assert_int_equal(lock(f, &b, 2, 1, 1, true, LIVE_LOCK_TRY), 0);
    assert_int_equal(lock(f, &c, 3, 2, 2, true, LIVE_LOCK_TRY), 0);
    assert_int_equal(lock(f, &a, 1, 1, 1, false, LIVE_LOCK_WAIT), -EAGAIN);
    assert_int_equal(lock(f, &b, 2, 2, 2, false, LIVE_LOCK_WAIT), -EAGAIN);
    assert_int_equal(lock(f, &c, 3, 0, 0, false, LIVE_LOCK_TRY), -EAGAIN);
    assert_int_equal(lock(f, &c, 3, 0, 0, false, LIVE_LOCK_WAIT), -EDEADLK);
    unlock(f, &c, 3, 0, INT64_MAX);
    assert_int_equal(lock(f, &b, 2, 2, 2, false, LIVE_LOCK_WAIT), 0);
    assert_int_equal(lock(f, &c, 3, 0, 0, false, LIVE_LOCK_WAIT), -EAGAIN); /* no circle now */
}

struct waiting {
    struct live *live;
    uint64_t position, seen;
};

static void *wait_main(void *arg)
{
    struct waiting *w = arg;

    w->seen = live_wait(w->live, w->position, 20000);
    return NULL;
}

static void who_waits_hears_of_what_is_given_up(void **state)
{
    struct fixture *f = *state;
    struct live_session a = begin(f, "v", "a", "m");
    struct waiting w = {.live = f->live};
    pthread_t thread;

    assert_int_equal(lock(f, &a, 1, 0, 0, true, LIVE_LOCK_TRY), 0);
    w.position = live_position(f->live);
    assert_int_equal(live_wait(f->live, w.position, 1), w.position);
    assert_int_equal(pthread_create(&thread, NULL, wait_main, &w), 0);
    unlock(f, &a, 1, 0, 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(w.seen != w.position);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_newer_session_of_the_same_mount_fences_the_older_one),
        T(a_volume_for_one_node_refuses_another_and_tells_until_when),
        T(a_lease_that_is_not_renewed_ends_with_its_locks),
        T(locks_outlive_the_metaserver),
        T(ranges_conflict_split_and_join_as_with_fcntl),
        T(one_volume_does_not_lock_another),
        T(posix_and_bsd_locks_do_not_see_each_other),
        T(who_would_close_a_circle_is_told_and_the_others_get_on),
        T(who_waits_hears_of_what_is_given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

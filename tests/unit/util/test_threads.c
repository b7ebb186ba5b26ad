/* SPDX-License-Identifier: Apache-2.0 */
/* Queue, pool and signals. */
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/log.h"
#include "util/mutex.h"
#include "util/pool.h"
#include "util/queue.h"
#include "util/signals.h"

static void a_queue_keeps_order_and_its_limit(void **state UNUSED)
{
    struct queue *queue;
    int items[4];
    void *item;

    assert_int_equal(queue_new(0, &queue), -EINVAL);
    assert_int_equal(queue_new(3, &queue), 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++) {
            assert_int_equal(queue_push(queue, &items[i], 0), 0);
        }
        assert_int_equal(queue_push(queue, &items[3], 0), -ETIMEDOUT);
        assert_int_equal(queue_len(queue), 3);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(queue_pop(queue, 0, &item), 0);
            assert_ptr_equal(item, &items[i]);
        }
        assert_int_equal(queue_pop(queue, 10, &item), -ETIMEDOUT);
    }
    assert_int_equal(queue_push(queue, &items[0], 0), 0);
    queue_close(queue);
    assert_int_equal(queue_push(queue, &items[1], 1000), -EPIPE);
    assert_int_equal(queue_pop(queue, 1000, &item), 0);
    assert_int_equal(queue_pop(queue, 1000, &item), -EPIPE);
    queue_free(queue);
}

static void *push_many(void *queue)
{
    static int item;

    for (int i = 0; i < 5000; i++) {
        if (queue_push(queue, &item, UINT64_MAX) != 0) {
            break;
        }
    }
    return NULL;
}

static void a_small_queue_passes_everything_between_threads(void **state UNUSED)
{
    pthread_t threads[3];
    struct queue *queue;
    void *item;

    assert_int_equal(queue_new(2, &queue), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, push_many, queue), 0);
    }
    for (int i = 0; i < 15000; i++) {
        assert_int_equal(queue_pop(queue, 20000, &item), 0);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(queue_len(queue), 0);
    queue_free(queue);
}

struct gate {
    struct mutex lock;
    struct cond changed;
    bool open;
    int waiting;
    int done;
};

static void wait_at_gate(void *job UNUSED, void *context)
{
    struct gate *gate = context;

    mutex_lock(&gate->lock);
    gate->waiting++;
    cond_broadcast(&gate->changed);
    while (!gate->open) {
        cond_wait(&gate->changed, &gate->lock);
    }
    gate->done++;
    mutex_unlock(&gate->lock);
}

static void a_pool_starts_all_its_threads_before_a_job_waits(void **state UNUSED)
{
    struct gate gate = {.open = false};
    struct pool *pool;

    mutex_init(&gate.lock);
    cond_init(&gate.changed);
    assert_int_equal(pool_new(&(struct pool_config){.name = "gate",
                                                    .threads = 5,
                                                    .max_queued = 3,
                                                    .run = wait_at_gate,
                                                    .context = &gate},
                              &pool),
                     0);
    for (int i = 0; i < 5; i++) { /* each is running before the next comes */
        assert_int_equal(pool_submit(pool, NULL), 0);
        mutex_lock(&gate.lock);
        while (gate.waiting <= i) {
            cond_wait(&gate.changed, &gate.lock);
        }
        mutex_unlock(&gate.lock);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pool_submit(pool, NULL), 0);
    }
    assert_int_equal(pool_submit(pool, NULL), -EBUSY);
    mutex_lock(&gate.lock);
    gate.open = true;
    cond_broadcast(&gate.changed);
    mutex_unlock(&gate.lock);
    pool_free(pool);
    assert_int_equal(gate.done, 8);
    cond_done(&gate.changed);
    mutex_done(&gate.lock);
}

static void count_one(void *job UNUSED, void *context)
{
    atomic_fetch_add((atomic_int *)context, 1);
}

static void freeing_a_pool_runs_what_is_queued(void **state UNUSED)
{
    atomic_int count = 0;
    struct pool *pool;

    assert_int_equal(pool_new(&(struct pool_config){.name = "count",
                                                    .threads = 3,
                                                    .max_queued = 10000,
                                                    .run = count_one,
                                                    .context = &count},
                              &pool),
                     0);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(pool_submit(pool, NULL), 0);
    }
    pool_free(pool);
    assert_int_equal(atomic_load(&count), 10000);
    assert_int_equal(
        pool_new(&(struct pool_config){.threads = 0, .max_queued = 1, .run = count_one}, &pool),
        -EINVAL);
}

static atomic_int reloads;

static void reload(void *context UNUSED)
{
    atomic_fetch_add(&reloads, 1);
}

static atomic_int stops;

static void stop_once(void *context UNUSED)
{
    atomic_fetch_add(&stops, 1);
}

static void stop_again(void *context UNUSED)
{
    atomic_fetch_add(&stops, 10);
}

static void wait_for_stops(int wanted)
{
    for (int i = 0; i < 5000 && atomic_load(&stops) != wanted; i++) {
        (void)usleep(1000);
    }
    assert_int_equal(atomic_load(&stops), wanted);
}

static void a_second_signal_is_a_call_of_its_own(void **state UNUSED)
{
    struct signals *signals;

    assert_int_equal(
        signals_new(&(struct signals_config){.stop = stop_once, .again = stop_again}, &signals), 0);
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    wait_for_stops(1);
    assert_int_equal(kill(getpid(), SIGINT), 0);
    wait_for_stops(11);
    signals_free(signals);
}

static void signals_become_calls(void **state UNUSED)
{
    struct signals *signals;

    assert_int_equal(signals_new(&(struct signals_config){.reload = reload}, &signals), 0);
    assert_false(signals_wait_stop_ms(signals, 1));
    assert_int_equal(kill(getpid(), SIGHUP), 0);
    for (int i = 0; i < 5000 && atomic_load(&reloads) == 0; i++) {
        (void)usleep(1000);
    }
    assert_int_equal(atomic_load(&reloads), 1);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    for (int i = 0; i < 5000 && log_get_level() != LOG_DEBUG; i++) {
        (void)usleep(1000);
    }
    assert_int_equal(log_get_level(), LOG_DEBUG);
    log_set_level(LOG_INFO);
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    signals_wait_stop(signals);
    assert_true(signals_wait_stop_ms(signals, 0));
    signals_free(signals);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_queue_keeps_order_and_its_limit),
        cmocka_unit_test(a_small_queue_passes_everything_between_threads),
        cmocka_unit_test(a_pool_starts_all_its_threads_before_a_job_waits),
        cmocka_unit_test(freeing_a_pool_runs_what_is_queued),
        cmocka_unit_test(signals_become_calls),
        cmocka_unit_test(a_second_signal_is_a_call_of_its_own),
    };

    signals_block();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

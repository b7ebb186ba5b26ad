/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - a job waits in the queue and is counted in `pending` until a thread takes it.
 *
 * idle counts the threads that wait, those already signalled included; each takes one pending job,
 * so a thread is missing exactly when pending > idle. Both change under the lock only, hence no
 * job ever waits while a thread could still be started. Lock order: pool, then queue.
 */
#include "util/pool.h"

#include <stdbool.h>
#include <stdio.h>

#include "util/mutex.h"
#include "util/queue.h"

enum { POOL_THREADS_MAX = 1024, POOL_STACK_BYTES = 1 << 20 };

struct pool {
    struct pool_config config;
    char name[16];
    struct queue *jobs;
    struct mutex lock;
    struct cond changed;
    bool closed GUARDED_BY(lock);
    uint32_t pending GUARDED_BY(lock);
    uint32_t idle GUARDED_BY(lock);
    uint32_t started GUARDED_BY(lock);
    pthread_t threads[];
};

/* Wait for a job; false when the pool is closed and everything has run. */
static bool take_job(struct pool *pool, void **ret)
{
    bool taken = false;

    mutex_lock(&pool->lock);
    while (pool->pending == 0 && !pool->closed) {
        pool->idle++;
        cond_wait(&pool->changed, &pool->lock);
        pool->idle--;
    }
    if (pool->pending > 0) {
        pool->pending--;
        taken = queue_pop(pool->jobs, 0, ret) == 0;
    }
    mutex_unlock(&pool->lock);
    return taken;
}

static void *run_jobs(void *arg)
{
    struct pool *pool = arg;
    void *job;

    (void)pthread_setname_np(pthread_self(), pool->name);
    while (take_job(pool, &job)) {
        pool->config.run(job, pool->config.context);
    }
    return NULL;
}

static int start_thread_locked(struct pool *pool) REQUIRES(&pool->lock)
{
    pthread_attr_t attributes;
    int r = pthread_attr_init(&attributes);

    if (r != 0) {
        return -r;
    }
    r = pthread_attr_setstacksize(
        &attributes, pool->config.stack_bytes > 0 ? pool->config.stack_bytes : POOL_STACK_BYTES);
    if (r == 0) {
        r = pthread_create(&pool->threads[pool->started], &attributes, run_jobs, pool);
    }
    if (r == 0) {
        pool->started++;
    }
    (void)pthread_attr_destroy(&attributes);
    return -r;
}

int pool_new(const struct pool_config *config, struct pool **ret)
{
    struct pool *pool;
    int r;

    if (config->threads == 0 || config->threads > POOL_THREADS_MAX || config->run == NULL) {
        return -EINVAL;
    }
    pool = calloc(1, sizeof(*pool) + config->threads * sizeof(pool->threads[0]));
    if (pool == NULL) {
        return -ENOMEM;
    }
    mutex_init(&pool->lock);
    cond_init(&pool->changed);
    pool->config = *config;
    (void)snprintf(pool->name, sizeof(pool->name), "%s", config->name != NULL ? config->name : "");
    r = queue_new(config->max_queued, &pool->jobs);
    if (r == 0) {
        mutex_lock(&pool->lock);
        r = start_thread_locked(pool);
        mutex_unlock(&pool->lock);
    }
    if (r < 0) {
        pool_free(pool);
        return r;
    }
    *ret = pool;
    return 0;
}

static int submit_locked(struct pool *pool, void *job) REQUIRES(&pool->lock)
{
    int r;

    if (pool->closed) {
        return -EPIPE;
    }
    r = queue_push(pool->jobs, job, 0);
    if (r < 0) {
        return -EBUSY;
    }
    pool->pending++;
    if (pool->pending > pool->idle && pool->started < pool->config.threads) {
        /* Without it the job runs later, on a thread that exists: the first always does. */
        (void)start_thread_locked(pool);
    }
    cond_signal(&pool->changed);
    return 0;
}

int pool_submit(struct pool *pool, void *job)
{
    int r;

    mutex_lock(&pool->lock);
    r = submit_locked(pool, job);
    mutex_unlock(&pool->lock);
    return r;
}

void pool_free(struct pool *pool)
{
    uint32_t started;

    if (pool == NULL) {
        return;
    }
    mutex_lock(&pool->lock);
    pool->closed = true;
    started = pool->started;
    cond_broadcast(&pool->changed);
    mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < started; i++) {
        (void)pthread_join(pool->threads[i], NULL);
    }
    queue_free(pool->jobs);
    cond_done(&pool->changed);
    mutex_done(&pool->lock);
    free(pool);
}

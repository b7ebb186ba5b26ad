/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.h - threads that run jobs from a bounded queue.
 *
 *     r = pool_new(&(struct pool_config){.name = "quick", .threads = 4, .max_queued = 64,
 *                                        .run = run_job}, &pool);
 *     r = pool_submit(pool, job);              -EBUSY: the queue is full
 *     pool_free(pool);                         runs what is queued, then ends the threads
 *
 * Threads are started when a job finds none idle, up to the limit, and stay. The first is started
 * by pool_new(), so that a pool that exists can work. Safe from any thread, jobs included (but
 * pool_free, which no job may call).
 */
#ifndef UTIL_POOL_H
#define UTIL_POOL_H

#include <stddef.h>
#include <stdint.h>

struct pool;

struct pool_config {
    const char *name;    /* of the threads, for ps and gdb; at most 15 characters are used */
    uint32_t threads;    /* 1 to 1024 */
    uint32_t max_queued; /* jobs that wait for a thread; 1 to 1048576 */
    size_t stack_bytes;  /* 0: 1 MiB */
    void (*run)(void *job, void *context);
    void *context;
};

int pool_new(const struct pool_config *config, struct pool **ret)
    __attribute__((warn_unused_result));

/* 0, -EBUSY (all threads busy and the queue full) or -EPIPE (being freed). Never waits. */
int pool_submit(struct pool *pool, void *job) __attribute__((warn_unused_result));

void pool_free(struct pool *pool);

#endif

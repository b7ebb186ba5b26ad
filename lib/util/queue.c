/* SPDX-License-Identifier: Apache-2.0 */
/* queue.c - a ring under one mutex; two conditions, one for each side that waits. */
#include "util/queue.h"

#include <stdbool.h>

#include "util/clock.h"
#include "util/mutex.h"

enum { QUEUE_MAX = 1 << 20 };

struct queue {
    struct mutex lock;
    struct cond not_empty;
    struct cond not_full;
    bool closed GUARDED_BY(lock);
    size_t head GUARDED_BY(lock); /* the oldest item */
    size_t len GUARDED_BY(lock);
    size_t max;
    void *items[];
};

int queue_new(size_t max, struct queue **ret)
{
    struct queue *queue;

    if (max == 0 || max > QUEUE_MAX) {
        return -EINVAL;
    }
    queue = calloc(1, sizeof(*queue) + max * sizeof(queue->items[0]));
    if (queue == NULL) {
        return -ENOMEM;
    }
    mutex_init(&queue->lock);
    cond_init(&queue->not_empty);
    cond_init(&queue->not_full);
    queue->max = max;
    *ret = queue;
    return 0;
}

void queue_free(struct queue *queue)
{
    if (queue == NULL) {
        return;
    }
    cond_done(&queue->not_full);
    cond_done(&queue->not_empty);
    mutex_done(&queue->lock);
    free(queue);
}

/* Wait on `cond` until `until_ms`; false when that is over. */
static bool wait_locked(struct queue *queue, struct cond *cond, uint64_t until_ms)
    REQUIRES(&queue->lock)
{
    uint64_t now = clock_monotonic_ms(clock_real());

    if (now >= until_ms) {
        return false;
    }
    cond_wait_ms(cond, &queue->lock, until_ms - now);
    return true;
}

static uint64_t deadline_of(uint64_t timeout_ms)
{
    uint64_t until;

    if (__builtin_add_overflow(clock_monotonic_ms(clock_real()), timeout_ms, &until) ||
        until > INT64_MAX) {
        return INT64_MAX;
    }
    return until;
}

static int push_locked(struct queue *queue, void *item, uint64_t until_ms) REQUIRES(&queue->lock)
{
    while (!queue->closed && queue->len == queue->max) {
        if (!wait_locked(queue, &queue->not_full, until_ms)) {
            return -ETIMEDOUT;
        }
    }
    if (queue->closed) {
        return -EPIPE;
    }
    queue->items[(queue->head + queue->len) % queue->max] = item;
    queue->len++;
    cond_signal(&queue->not_empty);
    return 0;
}

int queue_push(struct queue *queue, void *item, uint64_t timeout_ms)
{
    uint64_t until = deadline_of(timeout_ms);
    int r;

    mutex_lock(&queue->lock);
    r = push_locked(queue, item, until);
    mutex_unlock(&queue->lock);
    return r;
}

static int pop_locked(struct queue *queue, uint64_t until_ms, void **ret) REQUIRES(&queue->lock)
{
    while (!queue->closed && queue->len == 0) {
        if (!wait_locked(queue, &queue->not_empty, until_ms)) {
            return -ETIMEDOUT;
        }
    }
    if (queue->len == 0) {
        return -EPIPE;
    }
    *ret = queue->items[queue->head];
    queue->head = (queue->head + 1) % queue->max;
    queue->len--;
    cond_signal(&queue->not_full);
    return 0;
}

int queue_pop(struct queue *queue, uint64_t timeout_ms, void **ret)
{
    uint64_t until = deadline_of(timeout_ms);
    int r;

    mutex_lock(&queue->lock);
    r = pop_locked(queue, until, ret);
    mutex_unlock(&queue->lock);
    return r;
}

void queue_close(struct queue *queue)
{
    mutex_lock(&queue->lock);
    queue->closed = true;
    cond_broadcast(&queue->not_empty);
    cond_broadcast(&queue->not_full);
    mutex_unlock(&queue->lock);
}

size_t queue_len(struct queue *queue)
{
    size_t len;

    mutex_lock(&queue->lock);
    len = queue->len;
    mutex_unlock(&queue->lock);
    return len;
}

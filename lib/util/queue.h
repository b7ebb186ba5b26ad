/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.h - a bounded first-in first-out queue of pointers between threads, with deadlines.
 *
 *     r = queue_push(queue, job, 1000);       waits up to 1 s for room; 0: not at all
 *     r = queue_pop(queue, 1000, &item);
 *     queue_close(queue);                     pushes fail; pops empty it, then fail
 *
 * The queue never owns what the pointers point to. Safe from any thread.
 */
#ifndef UTIL_QUEUE_H
#define UTIL_QUEUE_H

#include <stddef.h>
#include <stdint.h>

struct queue;

/* max: 1 to 1048576 items; the room is taken at once. -EINVAL, -ENOMEM. */
int queue_new(size_t max, struct queue **ret) __attribute__((warn_unused_result));
void queue_free(struct queue *queue); /* nobody may be using it */

/* 0, -ETIMEDOUT (full for timeout_ms), -EPIPE (closed). */
int queue_push(struct queue *queue, void *item, uint64_t timeout_ms)
    __attribute__((warn_unused_result));
/* 0, -ETIMEDOUT (empty for timeout_ms), -EPIPE (closed and empty). */
int queue_pop(struct queue *queue, uint64_t timeout_ms, void **ret)
    __attribute__((warn_unused_result));

void queue_close(struct queue *queue);
size_t queue_len(struct queue *queue);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tasks.h - threads for the parts of operations that wait for the store.
 *
 * A FUSE handler must not wait; what has to is a task. Threads are made when a task finds none
 * idle, up to the limit, and end after some idle seconds; beyond the limit tasks wait in line. A
 * stalled store can therefore hold up at most those operations that need it, each until its
 * deadline.
 */
#ifndef MOUNTER_TASKS_H
#define MOUNTER_TASKS_H

struct tasks;

int tasks_new(unsigned limit, struct tasks **ret) __attribute__((warn_unused_result));

/* Waits for what runs and what is in line. NULL is allowed. */
void tasks_free(struct tasks *tasks);

/* run(arg) in some thread. -ENOMEM, -EAGAIN: nobody will run it. */
int tasks_add(struct tasks *tasks, void (*run)(void *arg), void *arg)
    __attribute__((warn_unused_result));

#endif

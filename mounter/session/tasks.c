/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/session/tasks.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "util/mutex.h"

enum { IDLE_MS = 5000, STACK_SIZE = 512 * 1024 };

struct task {
    STAILQ_ENTRY(task) link;
    void (*run)(void *arg);
    void *arg;
};

struct tasks {
    struct mutex lock;
    struct cond work;  /* a task, or the end */
    struct cond ended; /* a thread has ended */
    STAILQ_HEAD(, task) queue;
    unsigned queued, idle, threads, limit;
    bool ending;
};

static struct task *next_locked(struct tasks *tasks) REQUIRES(&tasks->lock)
{
    struct task *task = STAILQ_FIRST(&tasks->queue);

    if (task != NULL) {
        STAILQ_REMOVE_HEAD(&tasks->queue, link);
        tasks->queued--;
    }
    return task;
}

static void *thread_main(void *arg)
{
    struct tasks *tasks = arg;
    bool tired = false;

    mutex_lock(&tasks->lock);
    for (;;) {
        struct task *task = next_locked(tasks);

        if (task != NULL) {
            mutex_unlock(&tasks->lock);
            task->run(task->arg);
            free(task);
            mutex_lock(&tasks->lock);
            tired = false;
            continue;
        }
        if (tasks->ending || tired) {
            break;
        }
        tasks->idle++;
        cond_wait_ms(&tasks->work, &tasks->lock, IDLE_MS);
        tasks->idle--;
        tired = true;
    }
    tasks->threads--;
    cond_broadcast(&tasks->ended);
    mutex_unlock(&tasks->lock);
    return NULL;
}

static int start_thread(struct tasks *tasks)
{
    pthread_attr_t attr;
    pthread_t thread;
    int ret;

    if (pthread_attr_init(&attr) != 0) {
        return -ENOMEM;
    }
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attr, STACK_SIZE);
    ret = -pthread_create(&thread, &attr, thread_main, tasks);
    (void)pthread_attr_destroy(&attr);
    return ret;
}

int tasks_new(unsigned limit, struct tasks **ret)
{
    struct tasks *tasks = calloc(1, sizeof(*tasks));

    if (tasks == NULL) {
        return -ENOMEM;
    }
    mutex_init(&tasks->lock);
    cond_init(&tasks->work);
    cond_init(&tasks->ended);
    STAILQ_INIT(&tasks->queue);
    tasks->limit = limit;
    *ret = tasks;
    return 0;
}

int tasks_add(struct tasks *tasks, void (*run)(void *arg), void *arg)
{
    struct task *task = calloc(1, sizeof(*task));
    bool start;
    int ret = 0;

    if (task == NULL) {
        return -ENOMEM;
    }
    task->run = run;
    task->arg = arg;
    mutex_lock(&tasks->lock);
    STAILQ_INSERT_TAIL(&tasks->queue, task, link);
    tasks->queued++;
    start = tasks->queued > tasks->idle && tasks->threads < tasks->limit;
    if (start) {
        tasks->threads++;
    } else {
        cond_signal(&tasks->work);
    }
    mutex_unlock(&tasks->lock);
    if (start && start_thread(tasks) != 0) {
        mutex_lock(&tasks->lock);
        tasks->threads--;
        if (tasks->threads == 0 && STAILQ_FIRST(&tasks->queue) == task) {
            (void)next_locked(tasks);
            free(task);
            ret = -EAGAIN;
        }
        cond_signal(&tasks->work);
        mutex_unlock(&tasks->lock);
    }
    return ret;
}

void tasks_free(struct tasks *tasks)
{
    if (tasks == NULL) {
        return;
    }
    mutex_lock(&tasks->lock);
    tasks->ending = true;
    cond_broadcast(&tasks->work);
    while (tasks->threads > 0) {
        cond_wait(&tasks->ended, &tasks->lock); /* every task ends by its own deadline */
    }
    mutex_unlock(&tasks->lock);
    cond_done(&tasks->work);
    cond_done(&tasks->ended);
    mutex_done(&tasks->lock);
    free(tasks);
}

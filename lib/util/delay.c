/* SPDX-License-Identifier: Apache-2.0 */
#include "util/delay.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "util/clock.h"
#include "util/mutex.h"

enum { IDLE_MS = 1000 };

struct delay {
    struct mutex lock; /* of all entries' link, due_ms and waiting */
    struct cond changed;
    TAILQ_HEAD(, delay_entry) entries;
    void (*run)(struct delay_entry *entry, bool early);
    bool ending;
    pthread_t thread;
};

/* A walk over all: there are as many as requests that are being repeated, which is few. */
static struct delay_entry *next_locked(struct delay *delay, uint64_t *ret_wait_ms)
    REQUIRES(&delay->lock)
{
    uint64_t now = clock_monotonic_ms(clock_real());
    struct delay_entry *first = TAILQ_FIRST(&delay->entries);
    struct delay_entry *entry;

    TAILQ_FOREACH (entry, &delay->entries, link) {
        first = entry->due_ms < first->due_ms ? entry : first;
    }
    if (first == NULL || first->due_ms <= now || delay->ending) {
        *ret_wait_ms = IDLE_MS;
        return first;
    }
    *ret_wait_ms = first->due_ms - now;
    return NULL;
}

static void *thread_main(void *arg)
{
    struct delay *delay = arg;
    uint64_t wait_ms;

    mutex_lock(&delay->lock);
    for (;;) {
        struct delay_entry *entry = next_locked(delay, &wait_ms);
        bool early;

        if (entry == NULL) {
            if (delay->ending) {
                break;
            }
            cond_wait_ms(&delay->changed, &delay->lock, wait_ms);
            continue;
        }
        TAILQ_REMOVE(&delay->entries, entry, link);
        entry->waiting = false;
        early = entry->due_ms == 0 || delay->ending;
        mutex_unlock(&delay->lock);
        delay->run(entry, early);
        mutex_lock(&delay->lock);
    }
    mutex_unlock(&delay->lock);
    return NULL;
}

int delay_new(void (*run)(struct delay_entry *entry, bool early), struct delay **ret)
{
    struct delay *delay = calloc(1, sizeof(*delay));
    int r;

    if (delay == NULL) {
        return -ENOMEM;
    }
    delay->run = run;
    TAILQ_INIT(&delay->entries);
    mutex_init(&delay->lock);
    cond_init(&delay->changed);
    r = -pthread_create(&delay->thread, NULL, thread_main, delay);
    if (r != 0) {
        cond_done(&delay->changed);
        mutex_done(&delay->lock);
        free(delay);
        return r;
    }
    *ret = delay;
    return 0;
}

bool delay_add(struct delay *delay, struct delay_entry *entry, uint64_t due_ms)
{
    bool added;

    mutex_lock(&delay->lock);
    added = !delay->ending;
    if (added) {
        entry->due_ms = due_ms > 0 ? due_ms : 1; /* 0 is for the cancelled */
        entry->waiting = true;
        TAILQ_INSERT_TAIL(&delay->entries, entry, link);
        cond_signal(&delay->changed);
    }
    mutex_unlock(&delay->lock);
    return added;
}

bool delay_cancel(struct delay *delay, struct delay_entry *entry)
{
    bool waiting;

    mutex_lock(&delay->lock);
    waiting = entry->waiting;
    if (waiting) {
        entry->due_ms = 0;
        cond_signal(&delay->changed);
    }
    mutex_unlock(&delay->lock);
    return waiting;
}

void delay_end(struct delay *delay)
{
    bool ended;

    mutex_lock(&delay->lock);
    ended = delay->ending;
    delay->ending = true;
    cond_signal(&delay->changed);
    mutex_unlock(&delay->lock);
    if (!ended) {
        (void)pthread_join(delay->thread, NULL);
    }
}

void delay_free(struct delay *delay)
{
    if (delay == NULL) {
        return;
    }
    delay_end(delay);
    cond_done(&delay->changed);
    mutex_done(&delay->lock);
    free(delay);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/trying.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "util/clock.h"
#include "util/log.h"
#include "util/url.h"

enum { FIRST_MS = 3000, AGAIN_MS = 15000, LOOK_MS = 100, DEADLINE_MS = 60000, MS_PER_S = 1000 };

static atomic_int last_error; /* of this process's tries; a process is one mount */

void trying_failed(int error)
{
    atomic_store(&last_error, error);
}

static uint64_t now_ms(void)
{
    return clock_monotonic_ms(clock_real());
}

/* Who says so at once will say it again: nobody need wait to hear of it. */
static bool is_refused(int error)
{
    return error == -ECONNREFUSED || error == -EHOSTUNREACH;
}

static void tell(const struct trying *t, int error)
{
    uint64_t now = now_ms();
    uint64_t left = t->until_ms > now ? (t->until_ms - now + MS_PER_S - 1) / MS_PER_S : 0;

    log_warn(is_refused(error) ? "the store cannot be reached; it is tried again until the deadline"
                               : "the store has not answered yet; it is tried until the deadline",
             "store", url_shown(t->store), "error",
             error != 0 ? strerrordesc_np(-error) : "no answer", "seconds_left",
             log_num((int64_t)left), NULL);
}

static void *trying_main(void *arg)
{
    struct trying *t = arg;
    uint64_t next = now_ms() + FIRST_MS;
    bool refused = false;

    (void)pthread_setname_np(pthread_self(), "trying");
    mutex_lock(&t->lock);
    while (!t->ended) {
        int error = atomic_load(&last_error);

        if (now_ms() >= next || (!refused && is_refused(error))) {
            refused = refused || is_refused(error);
            next = now_ms() + AGAIN_MS;
            mutex_unlock(&t->lock);
            tell(t, error);
            mutex_lock(&t->lock);
        } else {
            cond_wait_ms(&t->changed, &t->lock, LOOK_MS);
        }
    }
    mutex_unlock(&t->lock);
    return NULL;
}

void trying_begin(struct trying *t)
{
    t->until_ms = now_ms() + (t->deadline_ms != 0 ? t->deadline_ms : DEADLINE_MS);
    atomic_store(&last_error, 0);
    mutex_init(&t->lock);
    cond_init(&t->changed);
    t->started = pthread_create(&t->thread, NULL, trying_main, t) == 0;
}

void trying_end(struct trying *t)
{
    mutex_lock(&t->lock);
    t->ended = true;
    cond_signal(&t->changed);
    mutex_unlock(&t->lock);
    if (t->started) {
        (void)pthread_join(t->thread, NULL);
    }
    cond_done(&t->changed);
    mutex_done(&t->lock);
}

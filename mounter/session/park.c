/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers of an idle session. Each reader waits in read(2) with a large slot whose pages are
 * present (slots.h), 1 MiB each. After a few seconds without a request all but one leave read(2) by
 * a signal, give their slot back and wait here. Who gets the next request wakes them before it
 * handles it.
 */
#include <signal.h>

#include "mounter/session/session_internal.h"
#include "util/log.h"

enum { IDLE_TICKS = 3 };

LOCK_UNCHECKED
void park_init(struct session *s)
{
    mutex_init(&s->park_lock);
    cond_init(&s->unparked);
}

LOCK_UNCHECKED
void park_done(struct session *s)
{
    cond_done(&s->unparked);
    mutex_done(&s->park_lock);
}

static bool is_ending(const struct session *s)
{
    return atomic_load(&s->stopping) || atomic_load(&s->gone);
}

void park_here(struct session *s)
{
    mutex_lock(&s->park_lock);
    if (s->parked + 1 < s->thread_count) {
        s->parked++;
        while (atomic_load(&s->parking) && !is_ending(s)) {
            cond_wait(&s->unparked, &s->park_lock);
        }
        s->parked--;
    }
    mutex_unlock(&s->park_lock);
}

void park_end(struct session *s)
{
    mutex_lock(&s->park_lock);
    atomic_store(&s->parking, false);
    cond_broadcast(&s->unparked);
    mutex_unlock(&s->park_lock);
}

void park_joins(struct session *s)
{
    mutex_lock(&s->park_lock);
    s->joined = true;
    mutex_unlock(&s->park_lock);
}

/* Again at every tick: a reader may have gone into read(2) just after a signal. */
static bool park_readers(struct session *s)
{
    bool all;

    mutex_lock(&s->park_lock);
    all = s->joined || s->parked + 1 >= s->thread_count;
    if (!all) {
        atomic_store(&s->parking, true);
        for (unsigned i = 0; i < s->started; i++) {
            (void)pthread_kill(s->threads[i], session_wake_signal());
        }
    }
    mutex_unlock(&s->park_lock);
    return all;
}

bool session_tick(struct session *s)
{
    uint64_t requests = atomic_load(&s->requests);
    uint64_t age_ms;

    if (requests != s->idle_requests) {
        s->idle_requests = requests;
        s->idle_ticks = 0;
        s->cooled = false;
        return false;
    }
    if (s->cooled || ++s->idle_ticks < IDLE_TICKS || pending_count(s, &age_ms) > 0 ||
        is_ending(s)) {
        return false;
    }
    if (park_readers(s)) {
        s->cooled = true;
        if (slots_cool(s->slots) != 0) {
            log_debug("free request slots keep their memory", NULL);
        }
    }
    return s->cooled;
}

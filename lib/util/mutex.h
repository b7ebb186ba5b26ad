/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mutex.h - mutex and condition variable whose use clang can check.
 *
 * Mark each guarded member GUARDED_BY(lock). Mark each function that expects
 * its caller to hold the lock REQUIRES(&x->lock), give its name the suffix
 * `_locked`, and pass it x itself: the analysis compares expressions, so it
 * cannot see that block->cache->lock is cache->lock. `make clang` then
 * finds a missing or doubled lock at compile time; ThreadSanitizer finds what
 * is left.
 *
 * A failing lock or unlock is a programming error, so the calls abort
 * instead of returning a code nobody could act on.
 */
#ifndef UTIL_MUTEX_H
#define UTIL_MUTEX_H

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#if defined(__clang__)
#define LOCK_ATTR(x) __attribute__((x))
#else
#define LOCK_ATTR(x)
#endif

/*
 * Checking members needs clang 19 or later with -fexperimental-late-parse-attributes. The address
 * matters: in C, clang relates &lock to &x->lock, but not lock to x->lock.
 */
#if defined(LOCK_CHECK_MEMBERS)
#define GUARDED_BY(lock) LOCK_ATTR(guarded_by(&lock))
#else
#define GUARDED_BY(lock)
#endif

#define REQUIRES(lock) LOCK_ATTR(requires_capability(lock))
#define ACQUIRES(lock) LOCK_ATTR(acquire_capability(lock))
#define RELEASES(lock) LOCK_ATTR(release_capability(lock))

/* For constructors and destructors: nobody else knows the object. */
#define LOCK_UNCHECKED LOCK_ATTR(no_thread_safety_analysis)

struct LOCK_ATTR(capability("mutex")) mutex {
    pthread_mutex_t impl;
};

struct cond {
    pthread_cond_t impl;
};

static inline void mutex_or_die(int error)
{
    if (error != 0) {
        abort();
    }
}

static inline void mutex_init(struct mutex *m)
{
    mutex_or_die(pthread_mutex_init(&m->impl, NULL));
}

static inline void mutex_done(struct mutex *m)
{
    mutex_or_die(pthread_mutex_destroy(&m->impl));
}

LOCK_UNCHECKED
static inline void mutex_lock(struct mutex *m) ACQUIRES(m)
{
    mutex_or_die(pthread_mutex_lock(&m->impl));
}

LOCK_UNCHECKED
static inline void mutex_unlock(struct mutex *m) RELEASES(m)
{
    mutex_or_die(pthread_mutex_unlock(&m->impl));
}

static inline void cond_init(struct cond *c)
{
    pthread_condattr_t monotonic;

    mutex_or_die(pthread_condattr_init(&monotonic));
    mutex_or_die(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC));
    mutex_or_die(pthread_cond_init(&c->impl, &monotonic));
    mutex_or_die(pthread_condattr_destroy(&monotonic));
}

static inline void cond_done(struct cond *c)
{
    mutex_or_die(pthread_cond_destroy(&c->impl));
}

/* Always wait in a loop that tests the predicate: wake-ups can be spurious. */
static inline void cond_wait(struct cond *c, struct mutex *m) REQUIRES(m)
{
    mutex_or_die(pthread_cond_wait(&c->impl, &m->impl));
}

/* As cond_wait, for at most timeout_ms (monotonic, so a change of the date does not matter). */
static inline void cond_wait_ms(struct cond *c, struct mutex *m, uint64_t timeout_ms) REQUIRES(m)
{
    struct timespec until;
    int error;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(timeout_ms / 1000);
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    error = pthread_cond_timedwait(&c->impl, &m->impl, &until);
    mutex_or_die(error == ETIMEDOUT ? 0 : error);
}

static inline void cond_signal(struct cond *c)
{
    mutex_or_die(pthread_cond_signal(&c->impl));
}

static inline void cond_broadcast(struct cond *c)
{
    mutex_or_die(pthread_cond_broadcast(&c->impl));
}

#endif

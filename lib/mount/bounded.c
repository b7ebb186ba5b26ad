/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bounded.c - a job belongs to its thread and to the one that waits: whoever leaves last frees it.
 * Lock: job->lock, a leaf.
 */
#include "mount/bounded.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mount.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/mutex.h"

enum { STACK_BYTES = 256 << 10 };

struct job {
    struct mutex lock;
    struct cond changed;
    bool ended GUARDED_BY(lock);
    bool abandoned GUARDED_BY(lock);
    int (*run)(struct job *job);
    char source[PATH_MAX];
    char target[PATH_MAX];
    int flags;
    int result;
    struct statvfs stats;
};

static atomic_int running;

static void job_free(struct job *job)
{
    cond_done(&job->changed);
    mutex_done(&job->lock);
    free(job);
}

static void *job_main(void *arg)
{
    struct job *job = arg;
    int result = job->run(job);
    bool last;

    atomic_fetch_sub(&running, 1);
    mutex_lock(&job->lock);
    job->result = result;
    job->ended = true;
    last = job->abandoned;
    cond_signal(&job->changed);
    mutex_unlock(&job->lock);
    if (last) {
        job_free(job);
    }
    return NULL;
}

static int job_new(int (*run)(struct job *), const char *target, struct job **ret)
{
    struct job *job = calloc(1, sizeof(*job));

    if (job == NULL) {
        return -ENOMEM;
    }
    mutex_init(&job->lock);
    cond_init(&job->changed);
    job->run = run;
    (void)snprintf(job->target, sizeof(job->target), "%s", target);
    *ret = job;
    return 0;
}

static int job_start(struct job *job)
{
    pthread_attr_t attr;
    pthread_t thread;
    int r;

    if (atomic_fetch_add(&running, 1) >= BOUNDED_MAX) {
        atomic_fetch_sub(&running, 1);
        return -EBUSY;
    }
    r = pthread_attr_init(&attr);
    if (r == 0) {
        (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
        r = pthread_create(&thread, &attr, job_main, job);
        (void)pthread_attr_destroy(&attr);
    }
    if (r != 0) {
        atomic_fetch_sub(&running, 1);
    }
    return -r;
}

/* Consumes the job. */
static int job_wait(struct job *job, uint64_t timeout_ms, struct statvfs *stats)
{
    uint64_t until = clock_monotonic_ms(clock_real()) + timeout_ms;
    uint64_t now = 0;
    int r = job_start(job);
    bool ended;

    if (r < 0) {
        job_free(job);
        return r;
    }
    mutex_lock(&job->lock);
    while (!job->ended && (now = clock_monotonic_ms(clock_real())) < until) {
        cond_wait_ms(&job->changed, &job->lock, until - now);
    }
    ended = job->ended;
    job->abandoned = !ended;
    r = ended ? job->result : -ETIMEDOUT;
    mutex_unlock(&job->lock);
    if (ended) {
        if (stats != NULL) {
            *stats = job->stats;
        }
        job_free(job);
    }
    return r;
}

static int run_umount(struct job *job)
{
    return umount2(job->target, job->flags) == 0 ? 0 : -errno;
}

static int run_bind(struct job *job)
{
    int r;

    if (mount(job->source, job->target, NULL, MS_BIND, NULL) < 0) {
        return -errno;
    }
    if (job->flags == 0 ||
        mount(NULL, job->target, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV,
              NULL) == 0) {
        return 0;
    }
    r = -errno;
    (void)umount2(job->target, UMOUNT_NOFOLLOW | MNT_DETACH);
    return r;
}

static int run_statvfs(struct job *job)
{
    return statvfs(job->target, &job->stats) == 0 ? 0 : -errno;
}

int bounded_umount(const char *target, int flags, uint64_t timeout_ms)
{
    struct job *job = NULL;
    int r = job_new(run_umount, target, &job);

    if (r < 0) {
        return r;
    }
    job->flags = flags;
    return job_wait(job, timeout_ms, NULL);
}

int bounded_bind(const char *source, const char *target, int read_only, uint64_t timeout_ms)
{
    struct job *job = NULL;
    int r = job_new(run_bind, target, &job);

    if (r < 0) {
        return r;
    }
    (void)snprintf(job->source, sizeof(job->source), "%s", source);
    job->flags = read_only;
    return job_wait(job, timeout_ms, NULL);
}

int bounded_statvfs(const char *path, uint64_t timeout_ms, struct statvfs *ret)
{
    struct job *job = NULL;
    int r = job_new(run_statvfs, path, &job);

    return r < 0 ? r : job_wait(job, timeout_ms, ret);
}

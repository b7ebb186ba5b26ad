/* SPDX-License-Identifier: Apache-2.0 */
/* signals.c - one thread with sigwaitinfo; SIGUSR2 with our own value ends it. */
#include "util/signals.h"

#include <signal.h>
#include <string.h>

#include "util/clock.h"
#include "util/log.h"
#include "util/mutex.h"

struct signals {
    struct signals_config config;
    pthread_t thread;
    struct mutex lock;
    struct cond changed;
    bool stop GUARDED_BY(lock);
    bool again; /* of the thread */
};

static void our_set(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGHUP);
    (void)sigaddset(set, SIGUSR1);
    (void)sigaddset(set, SIGUSR2);
}

void signals_block(void)
{
    sigset_t set;

    our_set(&set);
    (void)sigaddset(&set, SIGPIPE); /* like ignoring it, but not inherited by what we exec */
    mutex_or_die(pthread_sigmask(SIG_BLOCK, &set, NULL));
}

static void toggle_level(void)
{
    enum log_level level = log_get_level() == LOG_DEBUG ? LOG_INFO : LOG_DEBUG;

    log_set_level(level);
    log_info("log level changed", "level", level == LOG_DEBUG ? "debug" : "info", NULL);
}

/* Who asks once too often ends the process at once, as if the signal had never been taken. */
static void stop_or_die(struct signals *signals, int number)
{
    bool second;

    mutex_lock(&signals->lock);
    second = signals->stop;
    mutex_unlock(&signals->lock);
    if (second && signals->config.again != NULL && !signals->again) {
        signals->again = true;
        log_warn("second signal: what takes time is given up", NULL);
        signals->config.again(signals->config.context);
        return;
    }
    if (second) {
        log_warn("second signal: not waiting for the drain", NULL);
        _exit(128 + number);
    }
    log_info("stopping", "signal", sigdescr_np(number), NULL);
    signals_stop(signals);
    if (signals->config.stop != NULL) {
        signals->config.stop(signals->config.context);
    }
}

static void *take_signals(void *arg)
{
    struct signals *signals = arg;
    siginfo_t info;
    sigset_t set;

    (void)pthread_setname_np(pthread_self(), "signals");
    our_set(&set);
    for (;;) {
        int number = sigwaitinfo(&set, &info);

        if (number == SIGUSR2 && info.si_code == SI_QUEUE && info.si_value.sival_ptr == signals) {
            return NULL;
        }
        if (number == SIGUSR1) {
            toggle_level();
        } else if (number == SIGHUP && signals->config.reload != NULL) {
            signals->config.reload(signals->config.context);
        } else if (number == SIGTERM || number == SIGINT) {
            stop_or_die(signals, number);
        }
    }
}

int signals_new(const struct signals_config *config, struct signals **ret)
{
    struct signals *signals = calloc(1, sizeof(*signals));
    int r;

    if (signals == NULL) {
        return -ENOMEM;
    }
    signals->config = *config;
    mutex_init(&signals->lock);
    cond_init(&signals->changed);
    signals_block();
    r = pthread_create(&signals->thread, NULL, take_signals, signals);
    if (r != 0) {
        cond_done(&signals->changed);
        mutex_done(&signals->lock);
        free(signals);
        return -r;
    }
    *ret = signals;
    return 0;
}

void signals_wait_stop(struct signals *signals)
{
    mutex_lock(&signals->lock);
    while (!signals->stop) {
        cond_wait(&signals->changed, &signals->lock);
    }
    mutex_unlock(&signals->lock);
}

bool signals_wait_stop_ms(struct signals *signals, uint64_t timeout_ms)
{
    uint64_t until = clock_monotonic_ms(clock_real()) + timeout_ms;
    uint64_t now;
    bool stop;

    mutex_lock(&signals->lock);
    while (!signals->stop && (now = clock_monotonic_ms(clock_real())) < until) {
        cond_wait_ms(&signals->changed, &signals->lock, until - now);
    }
    stop = signals->stop;
    mutex_unlock(&signals->lock);
    return stop;
}

void signals_stop(struct signals *signals)
{
    mutex_lock(&signals->lock);
    signals->stop = true;
    cond_broadcast(&signals->changed);
    mutex_unlock(&signals->lock);
}

void signals_free(struct signals *signals)
{
    if (signals == NULL) {
        return;
    }
    (void)pthread_sigqueue(signals->thread, SIGUSR2, (union sigval){.sival_ptr = signals});
    (void)pthread_join(signals->thread, NULL);
    cond_done(&signals->changed);
    mutex_done(&signals->lock);
    free(signals);
}

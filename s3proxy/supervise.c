/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/supervise.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "s3proxy/counters.h"
#include "s3proxy/limits.h"
#include "s3proxy/tls_files.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/memory.h"
#include "util/status.h"

enum {
    LOOK_MS = 50,          /* while something is to be told */
    DRAIN_LOOK_MS = 500,   /* of what is still under way */
    DRAIN_MAX_MS = 30000,  /* nginx's worker_shutdown_timeout */
    REPLACE_MAX_MS = 30000 /* until workers that do not come are told, too */
};

/* What the log is told of, when it has come to pass. */
struct life {
    uint64_t opened;   /* so many workers have begun when those that are waited for serve */
    bool waits, again; /* for them; they replace others */
    uint64_t since_ms; /* that began, or the drain did */
    uint64_t inside;   /* requests under way when it did */
    uint64_t left;     /* and when it was last looked at */
    bool forced;       /* by a second signal */
};

struct watch {
    const struct supervise_config *config;
    struct life life;
    struct limits *limits;
    struct counters *counters;
    struct metrics *metrics;
    struct status *status;
    struct tls_files tls;
    atomic_bool draining;
};

static int health(void *context, struct buf *text)
{
    struct watch *watch = context;

    if (atomic_load(&watch->draining)) {
        buf_addstr(text, "draining");
        return -ESHUTDOWN;
    }
    return 0;
}

static int watch_init(struct watch *watch, const struct supervise_config *config, struct error *err)
{
    int ret = limits_create(config->limits, &watch->limits);

    if (ret != 0) {
        return error_set(err, ret, "%s: %s", config->limits, strerror(-ret));
    }
    if (config->status == NULL) {
        return 0;
    }
    ret = counters_create(config->counters, &watch->counters);
    if (ret != 0) {
        return error_set(err, ret, "%s: %s", config->counters, strerror(-ret));
    }
    ret = metrics_new(&watch->metrics);
    ret = ret == 0 ? counters_show(watch->counters, watch->limits, watch->metrics) : ret;
    return ret == 0 ? status_new(&(struct status_config){.address = config->status,
                                                         .metrics = watch->metrics,
                                                         .health = health,
                                                         .context = watch},
                                 &watch->status, err)
                    : ret;
}

static void watch_done(struct watch *watch)
{
    status_free(watch->status);
    metrics_free(watch->metrics);
    counters_close(watch->counters);
    limits_close(watch->limits);
}

/* ---- what the log is told ---- */

static void workers_begin(struct watch *watch, bool again)
{
    watch->life.opened = limits_opened(watch->limits) + watch->config->workers;
    watch->life.waits = true;
    watch->life.again = again;
    watch->life.since_ms = clock_monotonic_ms(clock_real());
}

static void look_at_workers(struct watch *watch)
{
    struct life *life = &watch->life;
    uint64_t waited = clock_monotonic_ms(clock_real()) - life->since_ms;

    if (limits_opened(watch->limits) < life->opened) {
        if (waited > REPLACE_MAX_MS) {
            life->waits = false;
            log_warn(life->again ? "reload asked for, and not all new workers came"
                                 : "not all workers came",
                     "workers", log_num(watch->config->workers), NULL);
        }
        return;
    }
    life->waits = false;
    if (life->again) {
        log_info("reloaded: new workers serve, the old ones end what they had", "workers",
                 log_num(watch->config->workers), NULL);
    } else if (watch->config->serves != NULL) {
        watch->config->serves(watch->config->context);
    }
}

static void drain_begins(struct watch *watch)
{
    watch->life.waits = false;
    watch->life.since_ms = clock_monotonic_ms(clock_real());
    watch->life.inside = limits_inside(watch->limits);
    watch->life.left = watch->life.inside;
}

static void tell_end(const struct watch *watch, int status)
{
    const struct life *life = &watch->life;
    uint64_t took = clock_monotonic_ms(clock_real()) - life->since_ms;
    uint64_t cut = life->forced || took >= DRAIN_MAX_MS ? life->left : 0;
    char seconds[32];

    if (!atomic_load(&watch->draining)) {
        log_error("nginx has ended by itself", "status", log_num(status), NULL);
        return;
    }
    (void)snprintf(seconds, sizeof(seconds), "%llu.%03u", (unsigned long long)(took / 1000),
                   (unsigned)(took % 1000));
    log_info("ended", "drained_requests", log_num(life->inside > cut ? life->inside - cut : 0),
             "cut_off_requests", log_num(cut), "seconds", seconds, NULL);
}

/* ---- signals ---- */

static void reload(struct watch *watch, pid_t child)
{
    if (!atomic_load(&watch->draining)) {
        workers_begin(watch, true);
        (void)kill(child, SIGHUP);
    }
}

/* To drain is SIGQUIT to nginx. */
static void end(struct watch *watch, pid_t child)
{
    if (!atomic_exchange(&watch->draining, true)) {
        drain_begins(watch);
        (void)kill(child, SIGQUIT);
        return;
    }
    if (!watch->life.forced) {
        watch->life.forced = true;
        watch->life.left = limits_inside(watch->limits);
    }
    (void)kill(child, SIGTERM);
}

/* How long a signal may be waited for at most; -1: for ever. */
static int pause_ms(const struct watch *watch, bool helper_waits)
{
    return watch->life.waits                               ? LOOK_MS
           : helper_waits || atomic_load(&watch->draining) ? DRAIN_LOOK_MS
           : watch->tls.cert != NULL                       ? TLS_FILES_LOOK_MS
                                                           : -1;
}

static void look(struct watch *watch, pid_t child)
{
    if (watch->life.waits) {
        look_at_workers(watch);
    }
    if (atomic_load(&watch->draining)) {
        /* At their last moment nginx closes all: what was there before was cut off. */
        if (!watch->life.forced &&
            clock_monotonic_ms(clock_real()) - watch->life.since_ms < DRAIN_MAX_MS) {
            watch->life.left = limits_inside(watch->limits);
        }
    } else if (tls_files_changed(&watch->tls)) {
        reload(watch, child);
    }
}

/* Hand signals on until nginx has ended: its exit status. */
static int wait_for_end(pid_t child, const sigset_t *signals, struct watch *watch,
                        struct key_helper *helper)
{
    int status;

    for (;;) {
        int ms = pause_ms(watch, key_helper_again(helper));
        const struct timespec most = {.tv_sec = ms / 1000,
                                      .tv_nsec = (long)(ms % 1000) * 1000 * 1000};
        int number = sigtimedwait(signals, NULL, ms >= 0 ? &most : NULL);

        look(watch, child);
        if (number < 0) {
            continue;
        }
        if (number == SIGCHLD) {
            if (waitpid(child, &status, WNOHANG) == child) {
                return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
            }
            if (helper->pid > 0 && waitpid(helper->pid, &status, WNOHANG) == helper->pid) {
                key_helper_ended(helper);
            }
        } else if (number == SIGHUP) {
            reload(watch, child);
        } else {
            end(watch, child);
        }
    }
}

static _Noreturn void become_nginx(const struct supervise_config *config, const sigset_t *before)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* a killed parent leaves no server behind */
    (void)sigprocmask(SIG_SETMASK, before, NULL);
    (void)execl(config->nginx, "nginx", "-p", config->run_dir, "-e", "stderr", "-c", config->conf,
                (char *)NULL);
    (void)fprintf(stderr, "skyvol-s3: cannot run %s: %s\n", config->nginx, strerror(errno));
    _exit(127);
}

int supervise(const struct supervise_config *config, struct error *err)
{
    static const int handled[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGCHLD};
    struct watch watch = {.config = config};
    sigset_t signals, before;
    struct key_helper none = {0};
    struct key_helper *helper = config->helper != NULL ? config->helper : &none;
    pid_t child;
    int ret;

    (void)sigemptyset(&signals);
    for (size_t i = 0; i < sizeof(handled) / sizeof(handled[0]); i++) {
        (void)sigaddset(&signals, handled[i]);
    }
    (void)sigprocmask(SIG_BLOCK, &signals, &before);
    ret = watch_init(&watch, config, err);
    if (ret != 0) {
        watch_done(&watch);
        return ret;
    }
    helper->signals = &signals;
    helper->mask = &before;
    key_helper_start(helper);
    tls_files_init(&watch.tls, config->tls_cert, config->tls_key);
    workers_begin(&watch, false);
    child = fork();
    if (child == 0) {
        become_nginx(config, &before);
    }
    memory_give_back(); /* from here on it sleeps */
    ret = child < 0 ? error_set(err, -errno, "cannot start a process: %s", strerror(errno))
                    : wait_for_end(child, &signals, &watch, helper);
    if (child >= 0) {
        tell_end(&watch, ret);
    }
    key_helper_stop(helper);
    watch_done(&watch);
    return ret;
}

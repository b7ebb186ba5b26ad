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
#include "util/memory.h"
#include "util/status.h"

struct watch {
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

/* Hand signals on until nginx has ended: its exit status. To drain is SIGQUIT to nginx. */
static int wait_for_end(pid_t child, const sigset_t *signals, struct watch *watch,
                        struct key_helper *helper)
{
    static const struct timespec pause = {.tv_nsec = 500 * 1000 * 1000};
    static const struct timespec look = {.tv_sec = TLS_FILES_LOOK_MS / 1000};
    int status;

    for (;;) {
        const struct timespec *most = watch->tls.cert != NULL ? &look : NULL;
        int number = sigtimedwait(signals, NULL, key_helper_again(helper) ? &pause : most);

        if (!atomic_load(&watch->draining) && tls_files_changed(&watch->tls)) {
            (void)kill(child, SIGHUP); /* as ours below */
        }
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
            (void)kill(child, SIGHUP);
        } else {
            (void)kill(child, atomic_exchange(&watch->draining, true) ? SIGTERM : SIGQUIT);
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
    struct watch watch = {0};
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
    child = fork();
    if (child == 0) {
        become_nginx(config, &before);
    }
    memory_give_back(); /* from here on it sleeps */
    ret = child < 0 ? error_set(err, -errno, "cannot start a process: %s", strerror(errno))
                    : wait_for_end(child, &signals, &watch, helper);
    key_helper_stop(helper);
    watch_done(&watch);
    return ret;
}

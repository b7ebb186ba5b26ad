/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/key_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"

enum { FIRST_ANSWER_MS = 6000, LOOK_MS = 50 };

static _Noreturn void become(const struct key_helper *helper, int out)
{
    static const char why[] = "skyvol-s3: cannot run skyvol-s3-keys\n";

    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)sigprocmask(SIG_SETMASK, helper->mask, NULL);
    (void)dup2(out, STDOUT_FILENO);
    (void)execv(helper->program, helper->arguments);
    (void)!write(STDERR_FILENO, why, sizeof(why) - 1);
    _exit(127);
}

/* Its end of the pipe. */
static int start(struct key_helper *helper, int *ret)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0) {
        return -errno;
    }
    helper->pid = fork();
    if (helper->pid == 0) {
        become(helper, ends[1]);
    }
    (void)close(ends[1]);
    if (helper->pid < 0) {
        int error = errno;

        (void)close(ends[0]);
        helper->pid = 0;
        return -error;
    }
    *ret = ends[0];
    return 0;
}

static bool told_to_end(const sigset_t *signals)
{
    sigset_t pending;

    if (sigpending(&pending) < 0) {
        return false;
    }
    for (int number = 1; number < SIGRTMIN; number++) {
        if (number != SIGCHLD && sigismember(signals, number) == 1 &&
            sigismember(&pending, number) == 1) {
            return true;
        }
    }
    return false;
}

static void launch(struct key_helper *helper, bool wait)
{
    uint64_t until = clock_monotonic_ms(clock_real()) + FIRST_ANSWER_MS;
    AUTOCLOSE int fd = -1;
    int ret = start(helper, &fd);
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    if (ret < 0) {
        helper->ended_ms = clock_monotonic_ms(clock_real());
        log_error("skyvol-s3-keys not started", "error", strerrordesc_np(-ret), NULL);
        return;
    }
    while (wait && clock_monotonic_ms(clock_real()) < until && !told_to_end(helper->signals) &&
           poll(&poll_fd, 1, LOOK_MS) == 0) {
    }
}

void key_helper_start(struct key_helper *helper)
{
    if (helper->program != NULL) {
        launch(helper, true);
    }
}

void key_helper_ended(struct key_helper *helper)
{
    helper->pid = 0;
    helper->ended_ms = clock_monotonic_ms(clock_real());
    log_error("skyvol-s3-keys ended; it is started again", NULL);
}

bool key_helper_again(struct key_helper *helper)
{
    if (helper->program == NULL || helper->pid != 0) {
        return false;
    }
    if (clock_monotonic_ms(clock_real()) - helper->ended_ms < KEY_HELPER_PAUSE_MS) {
        return true;
    }
    launch(helper, false);
    return helper->pid == 0;
}

void key_helper_stop(struct key_helper *helper)
{
    if (helper->pid != 0) {
        (void)kill(helper->pid, SIGTERM);
        while (waitpid(helper->pid, NULL, 0) < 0 && errno == EINTR) {
        }
        helper->pid = 0;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/detach.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mount/bounded.h"
#include "util/clock.h"

/* 0 when it has ended with 0. */
static int wait_for(pid_t child, uint64_t timeout_ms)
{
    enum { LOOK_NS = 5000000 };
    uint64_t until = clock_monotonic_ms(clock_real()) + timeout_ms;
    int status = 0;
    pid_t got;

    while ((got = waitpid(child, &status, WNOHANG)) == 0 &&
           clock_monotonic_ms(clock_real()) < until) {
        (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    }
    if (got == 0) {
        (void)kill(child, SIGKILL);
        (void)waitpid(child, &status, 0);
        return -ETIMEDOUT;
    }
    return got == child && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

static int by_helper(const char *target, uint64_t timeout_ms)
{
    static char name[] = "fusermount3";
    static char how[] = "-uqz";
    static char end[] = "--";
    char *path = strdup(target);
    char *const argv[] = {name, how, end, path, NULL};
    pid_t child;
    int r = path != NULL ? -posix_spawnp(&child, name, NULL, NULL, argv, environ) : -ENOMEM;

    r = r == 0 ? wait_for(child, timeout_ms) : r == -ENOENT ? -EPERM : r;
    free(path);
    return r;
}

int mount_detach(const char *target, uint64_t timeout_ms)
{
    int r = bounded_umount(target, UMOUNT_NOFOLLOW | MNT_DETACH, timeout_ms);

    return r == -EPERM ? by_helper(target, timeout_ms) : r;
}

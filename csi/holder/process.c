/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/holder/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount/mountinfo.h"
#include "mount/readahead.h"

static int begin(struct process *ret)
{
    pid_t pid = fork();
    int r;

    if (pid < 0) {
        return -errno;
    }
    if (pid == 0) {
        sigset_t none;

        (void)sigemptyset(&none);
        (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
        return 1;
    }
    ret->pid = pid;
    r = process_open(pid, &ret->pidfd);
    if (r < 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    return r;
}

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0) {
        (void)close(fd);
    }
    return good;
}

void process_prefer(int oom_score_adj)
{
    char number[16];

    (void)snprintf(number, sizeof(number), "%d", oom_score_adj);
    (void)write_file("/proc/self/oom_score_adj", number);
}

/*
 * A successor needs 25 ms of a processor before it can answer, for which programs wait: on a busy
 * node that would be a second. Its session is a scheduling group of its own (autogroup), in which
 * nobody else is; so both numbers, of the group and of the threads in it.
 */
void process_hurry(pid_t pid, bool hurry)
{
    enum { HURRY = -10 };
    char path[64];
    struct dirent *entry;
    DIR *tasks;

    (void)snprintf(path, sizeof(path), "/proc/%d/autogroup", pid);
    (void)write_file(path, hurry ? "-10" : "0");
    (void)snprintf(path, sizeof(path), "/proc/%d/task", pid);
    tasks = opendir(path);
    while (tasks != NULL && (entry = readdir(tasks)) != NULL) {
        id_t task = (id_t)strtoul(entry->d_name, NULL, 10);

        if (task > 0) {
            (void)setpriority(PRIO_PROCESS, task, hurry ? HURRY : 0);
        }
    }
    if (tasks != NULL) {
        (void)closedir(tasks);
    }
}

/* In the child: everything best effort but the exec. */
static void become_mounter(const struct process_mounter *config)
{
    enum { FD = 3 };
    char program[] = "skyvol-mount";
    char option[] = "--holder-fd=3";
    char export[] = "--export-journal";
    char *argv[] = {program, option, config->export_journal ? export : NULL, NULL};

    (void)setsid(); /* it outlives us, also if a terminal goes away */
    process_prefer(PROCESS_OOM_MOUNTER);
    if (config->urgent) {
        process_hurry(getpid(), true);
    }
    if (config->cgroup != NULL) {
        cgroups_enter(config->cgroups, config->cgroup);
    }
    if (dup2(config->socket, FD) < 0) {
        _exit(126);
    }
    (void)fcntl(FD, F_SETFD, 0); /* dup2() onto itself leaves close-on-exec set */
    (void)close_range(FD + 1, ~0U, 0);
    (void)execv(config->program, argv);
    _exit(127);
}

int process_start_mounter(const struct process_mounter *config, struct process *ret)
{
    int r = begin(ret);

    if (r == 1) {
        become_mounter(config);
    }
    return r;
}

int process_start_mount(const struct process_mount *config, struct process *ret)
{
    int r = begin(ret);

    if (r == 1) {
        unsigned long flags = MS_NOSUID | MS_NODEV | (config->read_only ? MS_RDONLY : 0);
        char options[160];

        (void)snprintf(
            options, sizeof(options),
            "fd=%d,rootmode=40000,user_id=%u,group_id=%u,allow_other,default_permissions",
            config->device, geteuid(), getegid());
        r = mount(config->source, config->target, "fuse.skyvol", flags, options);
        r = r < 0 ? errno : 0;
        if (r == 0) { /* the mounter may not: it has no privileges */
            (void)!mount_readahead_set(config->target, MOUNT_READAHEAD_DEFAULT);
        }
        _exit(r);
    }
    return r;
}

/*
 * By the connection's number, which mountinfo knows: no path of the mount is walked. Never by
 * MNT_FORCE, which also unmounts what nobody uses just now: writes would then go to the directory
 * below, unseen. Where fusectl is not mounted, it is, in a mount namespace of this helper alone.
 */
static void abort_connection(const char *target)
{
    static const char fusectl[] = "/sys/fs/fuse/connections";
    struct mountinfo *m = malloc(sizeof(*m));
    char path[96];

    if (m != NULL && mountinfo_find(target, m) == 0 && strncmp(m->type, "fuse", 4) == 0) {
        (void)snprintf(path, sizeof(path), "%s/%u/abort", fusectl, m->device_minor);
        if (!write_file(path, "1") && unshare(CLONE_NEWNS) == 0 &&
            mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
            mount("fusectl", fusectl, "fusectl", 0, NULL) == 0) {
            (void)write_file(path, "1");
        }
    }
    free(m);
}

int process_start_unmount(const struct process_unmount *config, struct process *ret)
{
    int r = begin(ret);

    if (r == 1) {
        struct mountinfo *m = malloc(sizeof(*m));

        if (m == NULL) {
            _exit(ENOMEM);
        }
        if (mountinfo_find(config->target, m) < 0 || strcmp(m->type, "fuse.skyvol") != 0) {
            _exit(0);
        }
        if (config->abort || config->only_abort) {
            pid_t pid = fork(); /* its mount namespace must not become ours */

            if (pid == 0) {
                abort_connection(config->target);
                _exit(0);
            }
            (void)waitpid(pid, NULL, 0);
        }
        if (config->only_abort) {
            _exit(0);
        }
        r = umount2(config->target, UMOUNT_NOFOLLOW | (config->detach ? MNT_DETACH : 0));
        _exit(r < 0 && errno != EINVAL ? errno : 0);
    }
    return r;
}

int process_open(pid_t pid, int *ret)
{
    int fd = pidfd_open(pid, 0); /* close-on-exec by itself */

    if (fd < 0) {
        return -errno;
    }
    *ret = fd;
    return 0;
}

int process_reap(pid_t pid)
{
    int status;

    if (waitpid(pid, &status, WNOHANG) != pid) {
        return 255; /* a predecessor's child: the keeper reaps it */
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

uint64_t process_start_time(pid_t pid)
{
    enum { FIELD = 22, FIRST_AFTER_NAME = 3 };
    char path[64];
    char text[1024];
    const char *at;
    ssize_t n;
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    n = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    at = strrchr(text, ')'); /* the name may hold anything */
    if (at == NULL || strncmp(at, ") Z", 3) == 0) {
        return 0; /* a zombie serves nobody */
    }
    for (int field = FIRST_AFTER_NAME - 1; at != NULL && field < FIELD; field++) {
        at = strchr(at + 1, ' ');
    }
    return at != NULL ? strtoull(at, NULL, 10) : 0;
}

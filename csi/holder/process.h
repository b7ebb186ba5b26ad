/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.h - the processes that the supervisor starts, each with a pidfd to see its end.
 *
 * Mounters are sessions of their own: they outlive the supervisor. Helpers do in a process of
 * their own what may hang, mount(2) and umount2(2): the supervisor never touches a path that may
 * lead into a file system of ours.
 */
#ifndef HOLDER_PROCESS_H
#define HOLDER_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "csi/holder/cgroup.h"

struct process {
    pid_t pid;
    int pidfd;
};

struct process_mounter {
    const char *program;
    const struct cgroups *cgroups;
    const char *cgroup;  /* the group of it to be in, or NULL */
    int socket;          /* becomes descriptor 3, "--holder-fd=3" */
    bool export_journal; /* mount nothing: write what is dirty to the journal */
    bool urgent;         /* programs wait for it: it goes before others until it is ready */
};
int process_start_mounter(const struct process_mounter *config, struct process *ret)
    __attribute__((warn_unused_result));

struct process_mount {
    const char *target;
    const char *source;
    int device;
    bool read_only;
};
/* The helper's exit status is an errno value, 0: mounted. */
int process_start_mount(const struct process_mount *config, struct process *ret)
    __attribute__((warn_unused_result));

/*
 * Unmount; with `detach` even if it is in use; with `abort` the FUSE connection is ended first, so
 * that whoever waits in it gets an error. Exit status as above; 0 also if nothing was mounted.
 */
struct process_unmount {
    const char *target;
    bool detach;
    bool abort;
    bool only_abort;
};
int process_start_unmount(const struct process_unmount *config, struct process *ret)
    __attribute__((warn_unused_result));

/* A pidfd of a process that need not be our child. */
int process_open(pid_t pid, int *ret) __attribute__((warn_unused_result));

/* Reap our child, after its pidfd has become readable: its exit status, 128 + signal, or 255. */
int process_reap(pid_t pid);

/* In clock ticks since boot, 0 if there is no such process. */
uint64_t process_start_time(pid_t pid);

enum { PROCESS_OOM_HOLDER = -900, PROCESS_OOM_MOUNTER = -500 };

/* The processor's priority of a process and all its threads. Best effort, as the next one. */
void process_hurry(pid_t pid, bool hurry);

/* Out of memory, the kernel takes workloads first, then a mounter, then us: that is what can be
 * brought back at all. Best effort: without CAP_SYS_RESOURCE all stays as it is. */
void process_prefer(int oom_score_adj);

#endif

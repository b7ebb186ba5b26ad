/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervisor.h - mounts, starts and watches mounters, answers the node plugin.
 *
 * One thread and one poll loop; nothing in it waits for a file system. What it knows is also in
 * descriptors at the keeper, so its death costs nothing but the calls under way: its successor
 * asks the keeper, or, after an upgrade or the death of the whole holder, the predecessor, the
 * mounters and the node plugin, whoever has them.
 */
#ifndef HOLDER_SUPERVISOR_H
#define HOLDER_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>

#include "csi/holder/cgroup.h"

struct supervisor_config {
    const char *socket;            /* where to listen */
    const char *mounter;           /* the program skyvol-mount */
    const struct cgroups *cgroups; /* one for each mount */
    int keeper;                    /* socket to the keeper */
    bool resend;                   /* mounters may ask the kernel for RESEND */
    unsigned crash_limit;          /* so many deaths within crash_window_ms end a mount */
    uint64_t crash_window_ms;
    uint64_t start_timeout_ms; /* a mounter that is not ready by then is killed */
    uint64_t memory_bytes;     /* of a mount that names none */
    uint64_t budget_bytes;     /* of all mounts together; 0: no limit */
    const char *journal_dir;   /* for what a store has not taken when a mount ends; NULL: none */
    uint64_t journal_max;      /* bytes */
};

/* Returns the program's exit status: 0 after SIGTERM or a hand-over, KEEPER_CANNOT_START when it
 * could not begin to work, 1 without a keeper. */
int supervisor_run(const struct supervisor_config *config);

#endif

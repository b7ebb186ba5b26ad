/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mounted.h - one mount of the holder: what is kept of it, and where it stands.
 *
 *   MOUNTING --helper mounted--> STARTING --ready--> RUNNING <--ready-- RESTARTING
 *       |                           |                 | ^ |                ^  |
 *       |                         failed           died | drain          wait |
 *       v                           v                 v | v                |  v
 *    (gone) <----unmounted---- UNMOUNTING <--drained-- DRAINING   BACKOFF -+ FAILED
 *
 *   ORPHAN: inherited from a predecessor; its mounter is alive or not, and has not come yet.
 *
 * Everything a successor of the supervisor must know is in descriptors that the keeper has too:
 * the device, the mounter's memory, and the sealed texts "mount" (target, source, ...), "mounter"
 * (process id), "config" and "credentials". One thread: the supervisor's.
 */
#ifndef HOLDER_MOUNTED_H
#define HOLDER_MOUNTED_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "csi/holder/keeper.h"
#include "mount/holder.h"
#include "util/cleanup.h"

enum phase {
    PHASE_MOUNTING,
    PHASE_STARTING,
    PHASE_RUNNING,
    PHASE_RESTARTING,
    PHASE_BACKOFF,
    PHASE_ORPHAN,
    PHASE_DRAINING,
    PHASE_UNMOUNTING,
    PHASE_FAILED,
};

enum { MOUNTED_DEATHS_MAX = 64 };

struct kept_fd {
    char name[KEEPER_NAME_MAX];
    int fd;
};

struct mounted {
    TAILQ_ENTRY(mounted) link;
    char key[HOLDER_KEY_MAX];
    char target[PATH_MAX];
    char source[HOLDER_TEXT_MAX];
    bool read_only;
    uint64_t memory_bytes;
    struct kept_fd kept[HOLDER_FDS_MAX];
    unsigned kept_count;

    enum phase phase;
    uint64_t deadline_ms; /* when this phase has lasted too long; UINT64_MAX: never */
    bool was_ready;       /* some mounter of it has been: a death is repaired, not reported */
    bool force;           /* of the unmount under way */
    bool planned;         /* the mounter is being replaced by our own will */
    bool exporting;       /* in PHASE_FAILED: `mounter` writes dirty bytes to the journal */
    bool exported;        /* it has */
    int export_result;    /* what it said */
    int result;           /* what the waiter is told at the end of the unmount under way */
    char error[HOLDER_ERROR_MAX];
    int trying_result; /* why the mounter is not ready yet, as it says; 0: it has not said */
    char trying[HOLDER_ERROR_MAX];
    int waiter; /* the client that asked and waits for the end of this phase; -1 */

    pid_t mounter; /* 0: none */
    int mounter_pidfd;
    int mounter_socket;
    pid_t helper; /* mounts or unmounts; 0: none */
    int helper_pidfd;

    uint32_t restarts;
    uint32_t oom_kills;              /* of these deaths, by the kernel for lack of memory */
    uint64_t cgroup_oom_kills;       /* what the cgroup had counted when the mounter was started */
    uint64_t died_ms;                /* when programs began to wait; 0: they do not */
    uint64_t pause_ms, pause_max_ms; /* the last one, the longest one */
    uint64_t deaths_ms[MOUNTED_DEATHS_MAX]; /* ring */
    unsigned deaths;
};

TAILQ_HEAD(mounted_list, mounted);

/* -EINVAL: not a key. -ENOMEM. */
int mounted_new(const char *key, struct mounted **ret) __attribute__((warn_unused_result));

/* Closes everything; ends no process. NULL is allowed. */
void mounted_free(struct mounted *m);
DEFINE_CLEANUP(struct mounted *, mounted_free);

/* The descriptor of that name, borrowed, or -1. */
int mounted_fd(const struct mounted *m, const char *name);

/* Keep fd (taken, also on failure), in place of what had the name. -ENOSPC, -EINVAL. */
int mounted_set_fd(struct mounted *m, const char *name, int fd) __attribute__((warn_unused_result));

/* Target, source and so on to the sealed text "mount" and back. -EBADMSG, -ENOMEM. */
int mounted_seal(struct mounted *m) __attribute__((warn_unused_result));
int mounted_unseal(struct mounted *m) __attribute__((warn_unused_result));

/* The same for the mounter's process: "mounter". Unseal gives 0 for one that is not alive. */
int mounted_seal_mounter(struct mounted *m) __attribute__((warn_unused_result));
pid_t mounted_unseal_mounter(const struct mounted *m);

/* True if both descriptors hold the same bytes (sealed texts). */
bool mounted_same_text(int a, int b);

enum holder_state mounted_state(const struct mounted *m);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * holder.h - what the node plugin asks the holder of its node (program skyvol-holder).
 *
 * Each call opens the holder's socket, asks, waits for the answer at most `timeout_ms`, and
 * closes: no state on this side. A call may be repeated: mounting what is mounted with the same
 * configuration and unmounting what is not there are successes.
 *
 *     struct holder_mount m = {.key = key, .target = staging, .source = "skyvol:bucket/prefix",
 *                              .config = json, .credentials = secret_json};
 *
 *     r = holder_mount("/run/skyvol/holder.sock", &m, 60000, &err);
 *
 * Errors common to all: -ENOENT and -ECONNREFUSED (no holder there), -ETIMEDOUT, -EPIPE (the holder
 * died meanwhile: ask again), -EBADMSG, -EPERM. `err` tells, and never holds a secret. Blocking;
 * any thread.
 */
#ifndef MOUNT_HOLDER_H
#define MOUNT_HOLDER_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/error.h"

enum {
    HOLDER_KEY_MAX = 128,  /* bytes with NUL, of [A-Za-z0-9._-] */
    HOLDER_LIST_MAX = 256, /* mounts of one holder */
    HOLDER_FDS_MAX = 28,   /* descriptors of one mount */
    HOLDER_TEXT_MAX = 256,
    HOLDER_ERROR_MAX = ERROR_TEXT_MAX,
};

#define HOLDER_SOCKET_DEFAULT "/run/skyvol/holder.sock"

struct holder_mount {
    const char *key;         /* names the mount: volume, options, group, identity */
    const char *target;      /* absolute path of an existing directory (staging) */
    const char *source;      /* what mountinfo shows */
    const char *config;      /* JSON object for the mounter; no secrets */
    const char *credentials; /* JSON object or NULL; reaches the mounter as a sealed memfd */
    bool read_only;
    uint64_t memory_bytes; /* of the mounter; 0: the holder's default */
};

/*
 * Returns when the mounter is ready. Errors: -EEXIST (the key is mounted with another target or
 * configuration), -EBUSY (another call for it is under way), -ENOSPC (too many, or beyond the
 * node's memory budget), -EINVAL, and what the mounter says of bucket and credentials.
 */
int holder_mount(const char *socket, const struct holder_mount *mount, uint64_t timeout_ms,
                 struct error *err) __attribute__((warn_unused_result));

/*
 * Publish what is dirty for at most drain_ms, then unmount and end the mounter. With drain_ms 0 it
 * is not asked to publish. -EBUSY: a program has files open there; nothing has changed.
 * `force` detaches even then. `keep`: what is dirty after drain_ms is written to the journal on the
 * host's disk and the unmount goes on; err then tells of it, with code 0. Errors: -ETIMEDOUT (still
 * dirty after drain_ms; still mounted), -ENOSPC and the like (the journal cannot take it).
 */
struct holder_unmount {
    const char *key;
    uint64_t drain_ms;
    bool force;
    bool keep;
};
int holder_unmount(const char *socket, const struct holder_unmount *unmount, uint64_t timeout_ms,
                   struct error *err) __attribute__((warn_unused_result));

/* Replace the credentials of a running mount. -ENOENT: no such mount (see err). */
int holder_credentials(const char *socket, const char *key, const char *credentials,
                       uint64_t timeout_ms, struct error *err) __attribute__((warn_unused_result));

/* Replace the mounter of a running mount by a newer program; programs on it notice nothing. */
int holder_replace(const char *socket, const char *key, uint64_t timeout_ms, struct error *err)
    __attribute__((warn_unused_result));

enum holder_state {
    HOLDER_STARTING,   /* mounted, the mounter is not ready yet */
    HOLDER_RUNNING,    /* requests are answered */
    HOLDER_RESTARTING, /* the mounter died; its successor is under way, requests wait */
    HOLDER_UNMOUNTING,
    HOLDER_FAILED, /* died too often: the connection is aborted, all calls on it fail */
};
const char *holder_state_name(enum holder_state state);

struct holder_status {
    char key[HOLDER_KEY_MAX];
    char target[PATH_MAX];
    char source[HOLDER_TEXT_MAX];
    enum holder_state state;
    pid_t mounter;                   /* 0: none at the moment */
    uint32_t restarts;               /* since the mount was made */
    uint32_t oom_kills;              /* of these, by the kernel for lack of memory */
    uint32_t pause_ms, pause_max_ms; /* the last wait for a successor; the longest */
    char error[HOLDER_ERROR_MAX];    /* also what keeps a mount from being ready as yet */
};

/* -ENOENT: no such mount (see err). */
int holder_status(const char *socket, const char *key, uint64_t timeout_ms,
                  struct holder_status *ret, struct error *err) __attribute__((warn_unused_result));

/* Up to HOLDER_LIST_MAX; the caller frees *ret. */
int holder_list(const char *socket, uint64_t timeout_ms, struct holder_status **ret,
                size_t *ret_count, struct error *err) __attribute__((warn_unused_result));

/*
 * Duplicates of what the holder keeps for one mount (device and kept memory), for the node plugin
 * to own too; and back, to a holder that has lost them. Offering what it already has does nothing.
 */
struct holder_descriptors {
    char names[HOLDER_FDS_MAX][32];
    int fds[HOLDER_FDS_MAX];
    unsigned count;
};
int holder_fetch(const char *socket, const char *key, uint64_t timeout_ms,
                 struct holder_descriptors *ret, struct error *err)
    __attribute__((warn_unused_result));
int holder_offer(const char *socket, const char *key, const struct holder_descriptors *descriptors,
                 uint64_t timeout_ms, struct error *err) __attribute__((warn_unused_result));
void holder_descriptors_done(struct holder_descriptors *descriptors);

#endif

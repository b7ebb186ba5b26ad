/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - one FUSE connection: taken over or mounted, served by a few threads, handed on.
 *
 *     r = session_new(&config, &s, err);      // mounts (standalone) or takes the device over
 *     r = session_start(s, err);              // INIT, then what was in flight, then new requests
 *     r = session_wait(s, UINT64_MAX);        // until unmounted, aborted or session_stop()
 *     session_free(s);
 *
 * The file system is a plain table of libfuse low-level operations whose handlers answer through
 * mounter/session/pending.h. Every request is read by the kernel straight into a slot of the kept
 * region "slots" (mounter/session/slots.h), so a successor finds each one that is unanswered and
 * handles it again. What the first process and the kernel agreed on in FUSE_INIT lies in the kept
 * region "session": the `init` operation of a successor runs as usual, but its wishes are replaced
 * by what was agreed on then.
 *
 * With `resend` the kernel (6.9 and later) is asked to deliver every unanswered request again; then
 * those come instead of the slots' copies, and FORGETs, which have no answer, come from the slots.
 * The slots alone are enough; it is a second way to the same end, for a kernel that has it.
 */
#ifndef MOUNTER_SESSION_H
#define MOUNTER_SESSION_H

#include <fuse3/fuse_lowlevel.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mounter/kept/keep.h"
#include "util/cleanup.h"
#include "util/error.h"

struct session;

enum { SESSION_WRITE_MAX = 1 << 20 }; /* the largest max_write, in bytes */

struct session_config {
    const struct fuse_lowlevel_ops *ops;
    void *userdata;         /* what fuse_req_userdata() gives; borrowed */
    struct keep *keep;      /* borrowed, outlives the session */
    int device;             /* /dev/fuse, mounted by the holder, duplicated; -1: mount here */
    const char *mountpoint; /* with device -1 */
    const char *options;    /* with device -1: for mount(8), "allow_other,fsname=..."; or NULL */
    unsigned threads;       /* that read requests: 1 to 64; 0: 4 */
    unsigned large_slots;   /* at least threads + 1; 0: 4 * threads. 1 MiB each when touched */
    unsigned small_slots;   /* requests that wait for something; 0: 1024. 4 KiB each */
    uint64_t deadline_ms;   /* of a request; 0: 60 000 */
    bool resend;            /* ask the kernel to deliver again what is in flight */
    /*
     * Called by session_new(): a WRITE to this inode was half read when the predecessor died, and
     * the kernel has answered it EIO. NULL is allowed.
     */
    void (*torn)(void *userdata, uint64_t ino);
    struct mount_stats *stats; /* where requests are counted; outlives the session; or NULL */
};

/*
 * Errors: -EINVAL (a number out of range), -ENOMEM, what mount(2) or the keep say; err tells.
 * ops and userdata must stay valid until session_free(), the rest of config only for the call.
 */
int session_new(const struct session_config *config, struct session **ret, struct error *err)
    __attribute__((warn_unused_result));

/*
 * Unmounts if session_new() mounted, and closes. Every pending must have been answered or be of
 * an operation that has ended; call after session_stop() and session_wait(). NULL is allowed.
 */
void session_free(struct session *s);
DEFINE_CLEANUP(struct session *, session_free);

/* Handle INIT and what is in flight, then start the threads. The file system must be ready. */
int session_start(struct session *s, struct error *err) __attribute__((warn_unused_result));

/* True when the device was taken over from a predecessor. Valid after session_new(). */
bool session_taken_over(const struct session *s);

/*
 * Stop reading requests; those in flight go on and may still be answered. What is unanswered when
 * the process ends is in its slot for the successor. Any thread; from a signal handler too.
 */
void session_stop(struct session *s);

/*
 * Wait until the reading threads have ended. 0: session_stop(); -ENODEV: unmounted or aborted;
 * -ETIMEDOUT.
 */
int session_wait(struct session *s, uint64_t timeout_ms) __attribute__((warn_unused_result));

/* Unmount what session_new() has mounted, even if it is in use. */
void session_unmount(struct session *s);

/*
 * Nobody answers any more, though requests are in flight: they fail (ENOTCONN), and answers that
 * still come go nowhere. After session_wait(), instead of session_free(), before the process ends.
 * True: session_new() has mounted and nobody has unmounted; the caller does.
 */
bool session_abandon(struct session *s);

/* Wait until no request is in flight, with the readers stopped. -ETIMEDOUT. */
int session_drain(struct session *s, uint64_t timeout_ms) __attribute__((warn_unused_result));

/* True while a request of this name is unanswered, or was when the predecessor died. */
bool session_in_flight(struct session *s, uint64_t unique);

/* For fuse_lowlevel_notify_*(): never from a handler, never with a lock held. */
struct fuse_session *session_fuse(const struct session *s);

/*
 * In a handler: what libfuse keeps from it. Of a WRITE write_flags (FUSE_WRITE_KILL_SUIDGID), of a
 * SETATTR valid (FATTR_KILL_SUIDGID), else 0. An O_TMPFILE comes as a create of the name "/".
 */
uint32_t session_request_flags(void);

/*
 * Every second, by one thread: when nothing has come for a while, memory of requests is given back,
 * and all readers but one wait without any. The first request ends that. True: just now.
 */
bool session_tick(struct session *s);

struct session_stats {
    uint64_t requests;      /* read from the device */
    uint64_t replayed;      /* handled again after the takeover */
    uint64_t deadlines;     /* answered EIO because nobody did in time */
    uint64_t interrupts;    /* answered EINTR */
    uint32_t in_flight;     /* now */
    uint64_t oldest_age_ms; /* of the oldest in flight, 0 if none */
};
void session_stats(struct session *s, struct session_stats *ret);

#endif

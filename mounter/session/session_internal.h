/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session_internal.h - what session.c (reading and dispatch) and pending.c (answers) share.
 *
 * Lock order: libfuse's locks come before session->lock (libfuse calls the interrupt function
 * with a request's lock held); no libfuse function is called under session->lock.
 */
#ifndef MOUNTER_SESSION_INTERNAL_H
#define MOUNTER_SESSION_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "mounter/session/pending.h"
#include "mounter/session/session.h"
#include "mounter/session/slots.h"
#include "util/mutex.h"

enum {
    SESSION_THREADS_MAX = 64,
    SESSION_SMALL_DEFAULT = 1024,
    SESSION_THREADS_DEFAULT = 4,
    SESSION_DEADLINE_DEFAULT_MS = 60000,
};

#define SESSION_RESEND_BIT (1ULL << 63) /* in unique: the kernel delivers this one again */

TAILQ_HEAD(pending_list, pending);

/* What holds a slot: the dispatch (1) and each pending begun in it (BATCH_FORGET: several). */
struct slot_use {
    atomic_uint users;      /* may still look at the bytes; 0: the slot is given back */
    atomic_uint unanswered; /* 0: the slot is empty for a successor */
    uint32_t opcode;        /* as the kernel named it */
    uint64_t begun_ns;
};

struct kept_session;

struct session {
    struct fuse_lowlevel_ops ops; /* the file system's, with init wrapped */
    void (*init)(void *userdata, struct fuse_conn_info *conn);
    struct fuse_session *fuse;
    struct slots *slots;
    struct slot_use *use;      /* one for each slot */
    struct mount_stats *stats; /* or NULL */
    struct kept_session *kept;
    bool mounted_here;
    bool taken_over;
    bool resend;
    uint64_t deadline_ms;
    unsigned thread_count;

    int *adopted; /* occupied slots of the predecessor, by unique */
    uint64_t *adopted_unique;
    int adopted_count;

    int wake; /* eventfd: a reader has ended, or session_stop() */
    atomic_bool stopping;
    atomic_bool gone; /* unmounted or aborted */
    atomic_uint running;
    pthread_t threads[SESSION_THREADS_MAX];
    atomic_uint started; /* threads to be joined */

    struct mutex park_lock; /* taken alone */
    struct cond unparked;
    atomic_bool parking; /* readers but one are to wait without a slot: park.c */
    unsigned parked GUARDED_BY(park_lock);
    bool joined GUARDED_BY(park_lock); /* the threads are being joined */
    uint64_t idle_requests;            /* session_tick(): their count when it was last looked at */
    unsigned idle_ticks;
    bool cooled;

    struct mutex lock;
    struct cond watched; /* the watch has something to do */
    struct cond changed; /* a cancel callback has returned; a pending is gone */
    struct pending_list pendings GUARDED_BY(lock);
    unsigned in_flight GUARDED_BY(lock);
    struct pending *cancelling GUARDED_BY(lock); /* whose cancel callback runs */
    bool watch_quits GUARDED_BY(lock);
    pthread_t watch;
    bool watch_started;

    atomic_ullong requests;
    atomic_ullong replayed;
    atomic_ullong deadlines;
    atomic_ullong interrupts;
};

/* The request that this thread has handed to libfuse; session is NULL outside a handler. */
struct dispatch {
    struct session *session;
    uint64_t unique; /* without the resend bit */
    int slot;
    bool replay;
    bool begun; /* the handler has begun a pending */
    bool init;  /* FUSE_INIT is being answered */
    uint32_t flags;
};
extern _Thread_local struct dispatch session_dispatch;

/* An answer has gone out; the last user has gone. */
void session_slot_answered(struct session *s, int slot);
void session_slot_done(struct session *s, int slot);

/* Is it unanswered? How many are, and how old is the oldest (0: none)? */
bool pending_find(struct session *s, uint64_t unique);
uint32_t pending_count(struct session *s, uint64_t *ret_oldest_ms);

/* ---- park.c ---- */
void park_init(struct session *s);
void park_done(struct session *s);
/* A reader that has no slot: waits while there is nothing to do but for one. */
void park_here(struct session *s);
/* There is something to do, or the end. */
void park_end(struct session *s);
/* Before the threads are joined: nobody signals them any more. */
void park_joins(struct session *s);
/* What makes read(2) return. */
int session_wake_signal(void);

/* The thread that answers for deadlines and interrupts. */
int pending_watch_start(struct session *s) __attribute__((warn_unused_result));
void pending_watch_stop(struct session *s);

#endif
